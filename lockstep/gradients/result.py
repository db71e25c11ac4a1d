"""What a check of gradients gives: a result that prints as a report, or an exception."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.measured import SAFETY, Measured
from lockstep.gradients.mistakes import Wrong, by_shape
from lockstep.network.names import Array, Quantities, element
from lockstep.run.record import Entry
from lockstep.text import counted, ulps

_LITTLE = 1e-3  # of a value: where no smaller error would be found, the report says so
_LOST = 1000  # a side that is so many times less accurate than the other gets a remark


class GradientMismatch(AssertionError):
    """A gradient differs by more than rounding explains; the message is the report.

    first_mismatch, diagnoses: as in the JSON document; `quantity` is the input's name.
    """

    __module__ = "lockstep"  # a test's summary line has room for little

    def __init__(
        self, report: str, first_mismatch: dict[str, Any], diagnoses: list[dict[str, Any]]
    ) -> None:
        super().__init__(report)
        self.first_mismatch, self.diagnoses = first_mismatch, diagnoses


@dataclass
class CheckResult:
    """A match, or undecided where a gradient is not finite on both sides alike.

    resolution: as in the JSON document. accuracy: by input, how far hand and torch each are from
    the truth in float32, relative to the largest value (None where that was not to be had).
    remarks: sentences. worst_ratio: the largest difference over its bound. seen: by input, the
    relative error that would typically have been found.
    """

    verdict: str
    resolution: dict[str, Any]
    accuracy: dict[str, dict[str, float | None]]
    remarks: list[str]
    worst_ratio: float
    values: int
    seen: dict[str, float]

    def __str__(self) -> str:
        if self.verdict == "undecided":
            head = "undecided: a gradient is not finite on both sides alike"
            return "\n".join([head, *self.remarks])
        least = f"none above {self.worst_ratio:.2g} of what rounding was measured to do"
        if self.worst_ratio == 0:
            least = "each the same to the last bit"
        found = f"An error of {self.resolution['typical']:.0e} of a value would typically have been"
        if self.resolution["typical"] >= 1:
            found = "No error as small as a value would typically have been"
        blind = f"{self.resolution['blind']} of {self.values} values are out of reach"
        lines = [
            f"match: {self.values} values of {counted(len(self.accuracy), 'gradient')}, {least}.",
            f"{found} found; {blind}.",
        ]
        for name, sides in self.accuracy.items():
            little = ", as far as could be seen" if self.seen[name] > _LITTLE else ""
            off = ""
            if None not in sides.values():
                off = "; in float32 yours is off by {hand:.2g}, PyTorch by {torch:.2g}"
            lines.append(f"  {name}: right{little}{off.format(**sides)}")
        return "\n".join([*lines, *(f"remark: {remark}" for remark in self.remarks)])


@np.errstate(divide="ignore", invalid="ignore")
def matched(own: Quantities, values: Quantities, measured: Measured) -> CheckResult:
    """The result where no gradient is wrong. own, values: by hand and by PyTorch."""
    if not sum(array.size for array in own.values()):
        raise ValueError(
            "the gradients that hand returned have no element; expected at least one to compare"
        )
    remarks = measured.remarks
    blank = [name for name in own if not np.isfinite(values[name]).all()]
    if blank:
        remarks.append(
            f"{', '.join(blank)}: not a finite number for both, so nothing is known of it"
        )
    finest, ratios, typical, accuracy = [], [], {}, {}
    for name in own:
        value, bound = values[name], measured.bound[name]
        apart, size = np.abs(own[name] - value), np.abs(value)
        relative = np.where(value != 0, bound / size, np.where(bound > 0, np.inf, 0.0))
        finest.append(relative.ravel())
        ratios.append(np.where(apart > 0, apart / bound, 0.0).ravel())
        known = relative[size > 0]
        typical[name] = float(np.median(known)) if known.size else 0.0
        accuracy[name] = _accuracy(name, np.max(size, initial=0.0), measured)
        remarks += _less_accurate(name, own[name], value, measured)
    remarks += _little_known(typical)
    seen = np.concatenate(finest)
    return CheckResult(
        verdict="undecided" if blank else "match",
        resolution={
            "typical": float(np.median(seen)),
            "worst": float(seen.max()),
            "blind": int((seen >= 1).sum()),
        },
        accuracy=accuracy,
        remarks=remarks,
        worst_ratio=float(np.nanmax(np.concatenate(ratios))),
        values=len(seen),
        seen=typical,
    )


def _accuracy(name: str, size: float, measured: Measured) -> dict[str, float | None]:
    """Each side's largest error in float32, over the largest value."""
    sides = {"hand": measured.single_hand, "torch": measured.single_torch}
    return {
        side: float(errors[name].max() / size) if errors is not None and size else None
        for side, errors in sides.items()
    }


def _little_known(typical: dict[str, float]) -> list[str]:
    """A remark where rounding leaves little to be seen. typical: as `CheckResult.seen`."""
    little = [name for name in typical if typical[name] > _LITTLE]
    if not little:
        return []
    names, least = ", ".join(little), min(typical[name] for name in little)
    if least < 1:
        return [
            f"little is known of {names}, so much does rounding do here: no error below "
            f"{least:.0e} of a value would typically have been found; try inputs of another size"
        ]
    return [
        f"nothing is known of {names}: rounding alone changes a value by more than all of it; "
        "try inputs of another size"
    ]


@dataclass
class _Loss:
    """How far a side that may be the worse one is off, and the other, relative to each element."""

    dtype: str
    who: str
    other: str
    worse: Array
    better: Array


def _losses(name: str, own: Array, value: Array, measured: Measured) -> Iterator[_Loss]:
    yours, torchs = ("your", "PyTorch's"), ("PyTorch's", "yours")
    if measured.wide is not None:
        truth = measured.wide[name]
        mine, its = (
            (np.abs(side - truth) / np.abs(truth)).astype(np.float64) for side in (own, value)
        )
        rounding = np.abs(value - truth) <= SAFETY * measured.moves_torch[name]
        yield _Loss("float64", *yours, np.where((mine >= 0.1) & (its < 1e-7), mine, 0.0), its)
        yield _Loss(
            "float64", *torchs, np.where((its >= 0.1) & (mine < 1e-7) & rounding, its, 0.0), mine
        )
    # PyTorch's was moved by noise besides, so only yours is judged
    moves = (moved[name] / np.abs(value) for moved in (measured.moves_hand, measured.moves_torch))
    yield _Loss("float64", *yours, *moves)
    if measured.single_hand is not None:
        mine, its = measured.lost_hand[name], measured.lost_torch[name]
        yield _Loss("float32", *yours, mine, its)
        yield _Loss("float32", *torchs, its, mine)


@np.errstate(all="ignore")
def _less_accurate(name: str, own: Array, value: Array, measured: Measured) -> list[str]:
    """A remark where one side loses more than three digits against the other."""
    for loss in _losses(name, own, value, measured):
        least = 2.0**-53 if loss.dtype == "float64" else 2.0**-24
        ratio = np.nan_to_num(loss.worse / np.maximum(loss.better, least), nan=0.0, posinf=0.0)
        if not ratio.size or ratio.max() <= _LOST:
            continue
        place = tuple(map(int, np.unravel_index(int(ratio.argmax()), ratio.shape)))
        small = abs(own[place]) < 1e-3 * max(np.abs(own).max(), np.abs(value).max())
        why = "by cancellation, as a variance from E[x²] − E[x]² does"
        if small and 0.1 <= loss.worse[place] <= 2:  # all that is left is nothing
            why = "in a tail, where a factor such as o·(1 − o) rounds to nothing"
        digits = min(int(np.log10(ratio.max())), int(-np.log10(least)))
        return [
            f"{name}: right, but in {loss.dtype} {loss.who} gradient loses {digits} digits more "
            f"than {loss.other} at {name}{element(place)}, {why}"
        ]
    return []


def shape_mismatch(name: str, own: Array, value: Array) -> GradientMismatch:
    """The exception for a gradient of another shape."""
    return _mismatch(Entry(1, name, None, name), "another shape", [by_shape(name, own, value)], [])


def mismatch(
    wrong: list[Wrong], agreeing: list[str], diagnoses: list[Diagnosis]
) -> GradientMismatch:
    """The exception for gradients of which some are wrong. agreeing: the names of right ones."""
    it = wrong[0]
    index = tuple(map(int, np.argwhere(it.off & np.isfinite(it.value))[0]))
    own, value = float(it.own[index]), float(it.value[index])
    first = Entry(
        step=1,
        quantity=it.name,
        index=list(index),
        label=it.name + element(index),
        manual=own,
        torch=value,
        difference=abs(own - value),
        allowed=float(it.bound[index]),
    )
    how_many = f"{int(it.off.sum())} of {counted(it.off.size, 'element')} differ"
    return _mismatch(first, how_many, diagnoses, agreeing)


def _mismatch(
    first: Entry, how_many: str, diagnoses: list[Diagnosis], agreeing: list[str]
) -> GradientMismatch:
    """The exception with its report."""
    lines = [f"{first.quantity}: mismatch, {how_many}"]
    if first.index is not None:
        lines = [f"{lines[0]}, first {first.label}", *_numbers(first)]
    likely, *others = diagnoses
    lines.append(f"  mistake   {likely.mistake}: {likely.says}")
    if likely.remedy:
        lines.append(f"  remedy    {likely.remedy}")
    lines += [f"  too       {found.quantity} differs: {found.mistake}" for found in others]
    if agreeing:
        lines.append(f"  right     {', '.join(agreeing)}")
    found = [asdict(diagnosis) for diagnosis in diagnoses]
    return GradientMismatch("\n".join(lines), asdict(first), found)


def _numbers(first: Entry) -> Iterator[str]:
    """Both numbers of the first wrong element, how far they are apart, and what rounding allows."""
    own, value = first.manual, first.torch
    apart, allowed = first.difference or 0.0, first.allowed
    yield f"  yours     {own!r}"
    yield f"  PyTorch   {value!r}"
    if not np.isfinite(apart):
        return
    far = "where it is 0"
    if value:
        with np.errstate(all="ignore"):
            in_ulps = float(ulps(own, value, "float64"))
        far = f"{in_ulps:.3g} ULP" if in_ulps < 1e6 else f"{apart / abs(value):.2g} of the value"
    less = f", {apart / allowed:.1e} times less".replace("e+", "e") if allowed else ""
    yield f"  apart     {apart:.2g} ({far}); rounding allows {allowed:.2g}{less}"
