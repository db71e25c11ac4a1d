"""What a check of gradients gives: a result that prints as a report, or an exception."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.measured import SAFETY, Measured
from lockstep.network.names import Array, element
from lockstep.run.record import Entry
from lockstep.text import counted, grouped, percent

_LITTLE = 1e-3  # of a value: where no smaller error could be detected, the report says so
_LOST = 1000  # a side that is less accurate than the other by this factor gets a remark


class GradientMismatch(AssertionError):
    """A gradient differs by more than rounding explains; the message is the report.

    It is an AssertionError, so a test fails with the report.

    Attributes:
        first_mismatch: The first wrong element, a dict with the keys of the JSON document. Its
            `quantity` is the name of the input.
        diagnoses: What each wrong gradient looks like, a dict each; its keys are those of the JSON
            document.

    Examples:
        >>> import numpy as np
        >>> from lockstep import check_gradients
        >>> try:
        ...     check_gradients(lambda x: {"x": -2 * x}, lambda x: (x * x).sum(), x=np.ones(3))
        ... except GradientMismatch as mismatch:
        ...     print(mismatch.diagnoses[0]["mistake"])
        sign-flipped
    """

    __module__ = "lockstep"  # a test's summary line has room for little

    def __init__(
        self, report: str, first_mismatch: dict[str, Any], diagnoses: list[dict[str, Any]]
    ) -> None:
        super().__init__(report)
        self.first_mismatch, self.diagnoses = first_mismatch, diagnoses


@dataclass
class CheckResult:
    """A match, or undecided where a gradient is not finite on both sides. It prints as the report.

    Attributes:
        verdict: "match" or "undecided".
        resolution: How fine the check could see. `typical` and `worst` are the median and the
            largest of bound / |value|, and `blind` is how many values rounding alone could change
            by their whole value.
        accuracy: By input, how far `hand` and `torch` each are from the truth in float32, relative
            to the largest value; None where that is not known.
        remarks: Sentences that are not the verdict.
        worst_ratio: The largest difference / bound.
        values: How many values were compared.
        seen: By input, the smallest relative error that could be detected (the median).
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
            head = "undecided: a gradient is not finite on both sides"
            return "\n".join([head, *self.remarks])
        largest = f"The largest difference is {percent(self.worst_ratio)} of what rounding explains"
        if self.worst_ratio == 0:
            largest = "Both sides are the same to the last bit"
        typical, blind = self.resolution["typical"], self.resolution["blind"]
        smallest = f"Smallest detectable error: {typical:.0e} of a value (typical). "
        judged = f"All {grouped(self.values)} values could be judged."
        if blind:
            judged = (
                f"{grouped(blind)} of {counted(self.values, 'value')} could not be judged: "
                "rounding alone could change them by their whole value."
            )
        gradients = counted(len(self.accuracy), "gradient")
        lines = [
            f"match: {counted(self.values, 'value')} of {gradients}. {largest}.",
            (smallest if typical < 1 else "") + judged,
        ]
        for name, sides in self.accuracy.items():
            line = f"  {name}: right"
            if self.seen[name] > _LITTLE:
                line += ", as far as could be seen"
            if None not in sides.values():
                line += "; in float32 yours is off by {hand:.2g}, PyTorch by {torch:.2g}"
            lines.append(line.format(**sides))
        return "\n".join([*lines, *(f"remark: {remark}" for remark in self.remarks)])


@np.errstate(divide="ignore", invalid="ignore")
def matched(measured: Measured) -> CheckResult:
    """The result where no gradient is wrong."""
    own, values, remarks = measured.hand.gradients, measured.torch.gradients, measured.remarks
    blank = [name for name in own if not np.isfinite(values[name]).all()]
    if blank:
        remarks.append(
            f"{', '.join(blank)}: not a finite number for both, so nothing is known of it"
        )
    finest, ratios, typical, accuracy = [], [], {}, {}
    for name, value in values.items():
        bound, apart, size = measured.bound[name], np.abs(own[name] - value), np.abs(value)
        relative = np.where(size != 0, bound / size, np.where(bound > 0, np.inf, 0.0))
        finest.append(relative.ravel())
        ratios.append(np.where(apart > 0, apart / bound, 0.0).ravel())
        known = relative[size > 0]
        typical[name] = float(np.median(known)) if known.size else 0.0
        largest = np.max(size, initial=0.0)
        accuracy[name] = {
            side: float(errors[name].max() / largest) if errors and largest else None
            for side, errors in (("hand", measured.hand.single), ("torch", measured.torch.single))
        }
        remarks += _less_accurate(name, measured)
    remarks += _little_known(typical)
    seen = np.concatenate(finest)
    if not len(seen):
        raise ValueError(
            "the gradients that hand returned have no element; expected at least one to compare"
        )
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


def _little_known(typical: dict[str, float]) -> Iterator[str]:
    """A remark where rounding hides most. typical: as `CheckResult.seen`."""
    little = {name: error for name, error in typical.items() if error > _LITTLE}
    if little:
        names, least = ", ".join(little), min(little.values())
        known = f"nothing is known of {names}: rounding alone changes a value by more than all"
        if least < 1:
            known = (
                f"little is known of {names}: rounding alone changes a value by {percent(least)}"
            )
        yield f"{known} of it; try inputs of another size"


# in which dtype, whose gradient, than whose, and how far these are off, relative to each element
_Loss = tuple[str, str, str, Array, Array]


def _losses(name: str, measured: Measured) -> Iterator[_Loss]:
    """Where one side may be less accurate than the other."""
    hand, torch = measured.hand, measured.torch
    yours, pytorchs = ("your", "PyTorch's"), ("PyTorch's", "yours")
    if measured.wide:
        truth = measured.wide[name]
        far = [np.abs(side.gradients[name] - truth) for side in (hand, torch)]
        mine, its = ((apart / np.abs(truth)).astype(np.float64) for apart in far)
        lost = (mine >= 0.1) & (its < 1e-7)
        yield "float64", *yours, np.where(lost, mine, 0.0), its
        lost = (its >= 0.1) & (mine < 1e-7) & (far[1] <= SAFETY * torch.moves[name])
        yield "float64", *pytorchs, np.where(lost, its, 0.0), mine
    # PyTorch's was moved by noise besides, so only yours is judged
    mine, its = (side.moves[name] / np.abs(torch.gradients[name]) for side in (hand, torch))
    yield "float64", *yours, mine, its
    if hand.single:
        yield "float32", *yours, hand.lost[name], torch.lost[name]
        yield "float32", *pytorchs, torch.lost[name], hand.lost[name]


@np.errstate(all="ignore")
def _less_accurate(name: str, measured: Measured) -> Iterator[str]:
    """A remark where one side loses more than three digits against the other."""
    own, value = measured.hand.gradients[name], measured.torch.gradients[name]
    for dtype, who, other, worse, better in _losses(name, measured) if own.size else ():
        least = 2.0**-53 if dtype == "float64" else 2.0**-24
        ratio = np.nan_to_num(worse / np.maximum(better, least), nan=0.0, posinf=0.0)
        if ratio.max() <= _LOST:
            continue
        place = tuple(map(int, np.unravel_index(int(ratio.argmax()), ratio.shape)))
        small = abs(own[place]) < 1e-3 * max(np.abs(own).max(), np.abs(value).max())
        why = "by cancellation, as a variance from E[x²] − E[x]² does"
        if small and 0.1 <= worse[place] <= 2:  # all that is left is nothing
            why = "in a tail, where a factor such as o·(1 − o) rounds to nothing"
        digits = min(int(np.log10(ratio.max())), int(-np.log10(least)))
        yield (
            f"{name}: right, but in {dtype} {who} gradient loses {digits} digits more "
            f"than {other} at {name}{element(place)}, {why}"
        )
        return


def mismatch(
    first: Entry, report: list[str], diagnoses: list[Diagnosis], agreeing: Sequence[str] = ()
) -> GradientMismatch:
    """The exception with its report.

    Args:
        first: The first wrong element; without an index where the whole gradient is.
        report: The first lines, which say what is wrong.
        diagnoses: One a wrong gradient.
        agreeing: The names of right gradients.
    """
    likely, *others = diagnoses
    report.append(f"  mistake   {likely.mistake}: {likely.says}")
    if likely.remedy:
        report.append(f"  remedy    {likely.remedy}")
    report += [f"  too       {found.quantity} differs: {found.mistake}" for found in others]
    if agreeing:
        report.append(f"  right     {', '.join(agreeing)}")
    found = [asdict(diagnosis) for diagnosis in diagnoses]
    return GradientMismatch("\n".join(report), asdict(first), found)
