"""What a check of gradients gives: a result that prints as a short report, or an exception whose message is one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lockstep.gradients.measured import SAFETY, Measured
from lockstep.gradients.mistakes import Wrong, by_shape
from lockstep.network.names import element
from lockstep.run.record import Entry
from lockstep.text import counted, ulps

_LITTLE = 1e-3  # of a value: where no smaller error would be found, that is said
_LOST = 1000  # a side that is so many times less accurate than the other gets a remark


class GradientMismatch(AssertionError):
    """A gradient differs by more than rounding explains; the message is the report.

    first_mismatch, diagnoses: as in the JSON document; `quantity` is the input's name.
    """

    __module__ = "lockstep"  # a test's summary line has room for little

    def __init__(self, report, first_mismatch, diagnoses):
        super().__init__(report)
        self.first_mismatch, self.diagnoses = first_mismatch, diagnoses


@dataclass
class CheckResult:
    """A match, or undecided where a gradient is not finite on both sides alike.

    resolution: as in the JSON document. accuracy: by input, how far hand and torch each are from the truth in float32,
    relative to the largest value (None where that was not to be had). remarks: sentences. worst_ratio: the largest
    difference over its bound; seen: by input, the relative error that would typically have been found.
    """

    verdict: str
    resolution: dict[str, Any]
    accuracy: dict[str, dict[str, float | None]]
    remarks: list[str]
    worst_ratio: float
    values: int
    seen: dict[str, float]

    def __str__(self):
        if self.verdict == "undecided":
            return "\n".join(
                ["undecided: a gradient is not finite on both sides alike", *self.remarks]
            )
        least = f"none above {self.worst_ratio:.2g} of what rounding was measured to do"
        if self.worst_ratio == 0:
            least = "each the same to the last bit"
        lines = [
            f"match: {self.values} values of {counted(len(self.accuracy), 'gradient')}, {least}."
        ]
        seen = self.resolution
        found = f"An error of {seen['typical']:.0e} of a value would typically have been found"
        if seen["typical"] >= 1:
            found = "No error as small as a value would typically have been found"
        lines.append(f"{found}; {seen['blind']} of {self.values} values are out of reach.")
        for name, sides in self.accuracy.items():
            hand, torch = sides["hand"], sides["torch"]
            known = hand is not None and torch is not None
            off = (
                f"; in float32 yours is off by {hand:.2g}, PyTorch by {torch:.2g}" if known else ""
            )
            little = ", as far as could be seen" if self.seen[name] > _LITTLE else ""
            lines.append(f"  {name}: right{little}{off}")
        return "\n".join(lines + [f"remark: {remark}" for remark in self.remarks])


def matched(own, values, measured: Measured, remarks):
    if not sum(array.size for array in own.values()):
        raise ValueError(
            "the gradients that hand returned have no element; expected at least one to compare"
        )
    blank = [name for name in own if not np.isfinite(values[name]).all()]
    if blank:
        remarks.append(
            f"{', '.join(blank)}: not a finite number for both, so nothing is known of it"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = {
            name: np.where(
                values[name] != 0, bound / np.abs(values[name]), np.where(bound > 0, np.inf, 0.0)
            )
            for name, bound in measured.bound.items()
        }
        apart = {name: np.abs(own[name] - values[name]) for name in own}
        ratio = _flat(
            {
                name: np.where(apart[name] > 0, apart[name] / measured.bound[name], 0.0)
                for name in own
            }
        )
    seen = _flat(relative)
    resolution = {
        "typical": float(np.median(seen)),
        "worst": float(seen.max()),
        "blind": int((seen >= 1).sum()),
    }
    typical: dict[str, float] = {}
    accuracy = {}
    for name in own:
        scale = np.abs(values[name]).max() if values[name].size else 0.0
        sides = {"hand": measured.single_hand, "torch": measured.single_torch}
        accuracy[name] = {
            side: None if errors is None or not scale else float(errors[name].max() / scale)
            for side, errors in sides.items()
        }
        remarks += _less_accurate(name, own[name], values[name], measured)
        known = relative[name][np.abs(values[name]) > 0]
        typical[name] = float(np.median(known)) if known.size else 0.0
    little = [name for name in typical if typical[name] > _LITTLE]
    if little:
        least = min(typical[name] for name in little)
        remarks.append(
            f"little is known of {', '.join(little)}, so much does rounding do here: no error below {least:.0e} of a "
            "value would typically have been found; try inputs of another size"
            if least < 1
            else f"nothing is known of {', '.join(little)}: rounding alone changes a value by more than all of it; try "
            "inputs of another size"
        )
    verdict = "undecided" if blank else "match"
    return CheckResult(
        verdict, resolution, accuracy, remarks, float(np.nanmax(ratio)), len(seen), typical
    )


def _flat(arrays):
    return np.concatenate([array.ravel() for array in arrays.values()])


def _less_accurate(name, own, value, measured: Measured):
    """A remark where one side loses more than three digits against the other: in float32, or all of them in float64."""
    seen: list[
        tuple
    ] = []  # dtype, its rounding, and (worse, better) for a side that may be the worse
    with np.errstate(all="ignore"):
        if measured.wide is not None:
            truth = measured.wide[name]
            off = [
                (np.abs(side - truth) / np.abs(truth)).astype(np.float64) for side in (own, value)
            ]
            gone = [np.where((a >= 0.1) & (b < 1e-7), a, 0.0) for a, b in (off, off[::-1])]
            gone[1] *= (
                np.abs(value - truth) <= SAFETY * measured.moves_torch[name]
            )  # by rounding, not by a formula
            seen.append(("float64", 2.0**-53, (gone[0], off[1]), (gone[1], off[0])))
        moves = [
            moved[name] / np.abs(value) for moved in (measured.moves_hand, measured.moves_torch)
        ]
        seen.append(
            ("float64", 2.0**-53, tuple(moves))
        )  # PyTorch's was moved by noise besides, so only yours is judged
        if measured.single_hand is not None:
            single = measured.lost_hand[name], measured.lost_torch[name]
            seen.append(("float32", 2.0**-24, single, single[::-1]))
        for dtype, least, *sides in seen:
            for who, other, (worse, better) in zip(
                ("your", "PyTorch's"), ("PyTorch's", "yours"), sides, strict=False
            ):
                ratio = np.nan_to_num(worse / np.maximum(better, least), nan=0.0, posinf=0.0)
                if ratio.size and ratio.max() > _LOST:
                    place = np.unravel_index(int(ratio.argmax()), ratio.shape)
                    small = abs(own[place]) < 1e-3 * max(np.abs(own).max(), np.abs(value).max())
                    tail = small and 0.1 <= worse[place] <= 2  # all that is left is nothing
                    why = (
                        "in a tail, where a factor such as o·(1 − o) rounds to nothing"
                        if tail
                        else "by cancellation, as a variance from E[x²] − E[x]² does"
                    )
                    digits = min(int(np.log10(ratio.max())), int(-np.log10(least)))
                    return [
                        f"{name}: right, but in {dtype} {who} gradient loses {digits} digits more than {other} at "
                        f"{name}{element(tuple(map(int, place)))}, {why}"
                    ]
    return []


def shape_mismatch(name, own, value):
    found = by_shape(name, own, value)
    return _mismatch(Entry(1, name, None, name), [found], "another shape")


def mismatch(wrong: list[Wrong], agreeing, diagnoses):
    """The exception for gradients of which some are wrong. agreeing: the names of those that are right."""
    it = wrong[0]
    index = tuple(int(i) for i in np.argwhere(it.off & np.isfinite(it.value))[0])
    with np.errstate(invalid="ignore"):
        first = Entry(
            step=1,
            quantity=it.name,
            index=list(index),
            label=f"{it.name}{element(index)}",
            manual=float(it.own[index]),
            torch=float(it.value[index]),
            difference=float(abs(it.own[index] - it.value[index])),
            allowed=float(it.bound[index]),
        )
    how_many = f"{int(it.off.sum())} of {counted(it.off.size, 'element')} differ"
    return _mismatch(first, diagnoses, how_many, agreeing)


def _mismatch(first, diagnoses, how_many, agreeing=()):
    report = _report(first, diagnoses, how_many, agreeing)
    return GradientMismatch(report, asdict(first), [asdict(found) for found in diagnoses])


def _report(first, diagnoses, how_many, agreeing=()):
    where = f", first {first.label}" if first.index is not None else ""
    lines = [f"{first.quantity}: mismatch, {how_many}{where}"]
    if first.index is not None:
        with np.errstate(all="ignore"):
            apart = float(ulps(first.manual, first.torch, "float64"))
        far = (
            f"{apart:.3g} ULP"
            if apart < 1e6
            else f"{first.difference / abs(first.torch or 1):.2g} of the value"
        )
        less = f"{first.difference / first.allowed:.1e}".replace("e+", "e") if first.allowed else ""
        times = f", {less} times less" if less else ""
        allowed = f"rounding allows {first.allowed:.2g}{times}"
        lines += [f"  yours     {first.manual!r}", f"  PyTorch   {first.torch!r}"]
        if np.isfinite(first.difference):
            lines += [
                f"  apart     {first.difference:.2g} ({far if first.torch else 'where it is 0'}); {allowed}"
            ]
    lines.append(f"  mistake   {diagnoses[0].mistake}: {diagnoses[0].says}")
    if diagnoses[0].remedy:
        lines.append(f"  remedy    {diagnoses[0].remedy}")
    for found in diagnoses[1:]:
        lines.append(f"  too       {found.quantity} differs: {found.mistake}")
    if agreeing:
        lines.append(f"  right     {', '.join(agreeing)}")
    return "\n".join(lines)
