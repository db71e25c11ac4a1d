"""What a check of gradients gives: a result that prints as a report, or an exception."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lockstep.errors import Mismatch
from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.inputs import largest
from lockstep.gradients.measured import MOVED_SAFETY, Check, Measured
from lockstep.gradients.unseen import Unseen, untested
from lockstep.network.names import Array, Index, Quantities, Sizes, element
from lockstep.run.record import Entry
from lockstep.text import columns, counted, distance, grouped, listed, percent

_LITTLE = 1e-3  # of a value: where no smaller error could be detected, the report says so
_SAMPLE = 2**16  # values that are looked at for a remark on accuracy
_LOST = 1000  # a side that is less accurate than the other by this factor gets a remark


class GradientMismatch(Mismatch):
    """A gradient differs by more than rounding explains.

    The `quantity` of its `first_mismatch`, and of its diagnoses, is the name of an input.

    Attributes:
        head: The first lines of the report, which say what is wrong, without the mistake.

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
    head: Sequence[str] = ()


@dataclass
class CheckResult:
    """A match, or undecided where nothing is known of a gradient. It prints as the report.

    Attributes:
        verdict: "match" or "undecided".
        resolution: How fine the check could see. `typical` and `worst` are the median and the
            largest of bound / |value|, and `blind` is how many values rounding alone could change
            by their whole value.
        accuracy: By input, how far `hand` and `torch` each are from the truth, relative to the
            largest value: for float32 inputs measured against float64 where the reference can
            compute in it, else by what rounding was seen to do. None where that is not known.
        remarks: Sentences that are not the verdict.
        worst_ratio: The largest difference / bound.
        values: How many values were compared.
        same: Whether both sides are the same to the last bit.
        seen: By input, the smallest relative error that could be detected (the median).
        unseen: The mistakes that these inputs would not have shown, each with a sentence: what was
            not tested, and inputs that would show it.
        reasons: Why the verdict is undecided.
        tolerance: The tolerance that was given in place of the measured bound, in words; or "".
        precisions: Of a Function, by precision, the finest first: the largest error of a tensor of
            yours (`hand`) and of PyTorch's (`torch`), root mean square, relative to the tensor's;
            `ratio`, yours over that in the precision before, which is coarser; `tensors`, each.
        refused: The precisions that it does not take, and why.
        seed: Of what was drawn.
        inputs: A digest of the inputs: the same for the same numbers.
        guards: Of a Function: `zeros`, the gradients that are zero on both sides, so that returning
            zeros would pass; `aliasing`, the results that share memory with what was given;
            `deterministic`, whether a second call gives the same bits.
        judged: The precision in which every element was judged, of a Function.
        in_halves: The smallest error of a formula, relative to a tensor, that would have been found
            in a path of its own for halves, where another precision has been judged.
        by_tensor: Whether no element was judged, but each tensor as a whole, in half precision.
    """

    verdict: str
    resolution: dict[str, Any]
    accuracy: dict[str, dict[str, float | None]]
    remarks: list[str]
    worst_ratio: float
    values: int
    same: bool
    seen: dict[str, float]
    unseen: list[Unseen] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    tolerance: str = ""
    precisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    inputs: str = ""
    guards: dict[str, Any] = field(default_factory=dict)
    judged: str = ""
    in_halves: float = 0.0
    by_tensor: bool = False

    @property
    def cannot_see(self) -> list[str]:
        """The names of mistakes that these inputs would not have shown."""
        return list(dict.fromkeys(mistake for mistake, _ in self.unseen))

    @property
    def untested(self) -> list[str]:
        """What these inputs did not test: a mistake, and a sentence."""
        return [f"{mistake}: {sentence}" for mistake, sentence in self.unseen]

    def document(self) -> dict[str, Any]:
        """The result for other programs: plain dicts, lists and numbers."""
        names = (
            "verdict resolution accuracy values worst_ratio precisions refused cannot_see untested "
            "reasons remarks seed inputs guards"
        )
        return {name: getattr(self, name) for name in names.split()}

    def __str__(self) -> str:
        lines = [f"undecided: {'; '.join(self.reasons)}"] if self.verdict == "undecided" else []
        lines += self._by_tensor() if self.by_tensor else self._by_element()
        lines += self._table()
        lines += [f"remark: {remark}" for remark in self.remarks]
        return "\n".join([*lines, *(f"not tested: {sentence}" for sentence in self.untested)])

    def _by_element(self) -> Iterator[str]:
        typical, blind = self.resolution["typical"], self.resolution["blind"]
        values = counted(self.values, "value")
        largest = "Both sides are the same to the last bit"
        if not self.same:
            explained = self.tolerance or "what rounding explains"
            largest = f"The largest difference is {percent(self.worst_ratio)} of {explained}"
        facts = f"{values} of {counted(len(self.accuracy), 'gradient')}. {largest}."
        smallest = f"Smallest detectable error: {typical:.0e} of a value (typical)."
        if self.verdict == "match" and len(self.precisions) > 1:
            where = f" in {self.judged}" if self.judged else ""
            where += f", of {self.in_halves:.0e} of a gradient in halves" if self.in_halves else ""
            yield (
                f"match: right in {listed([*self.precisions])}. A mistake of {typical:.0e} of a "
                f"value would have been found{where}."
            )
            smallest = facts
        elif self.verdict == "match":
            yield f"match: {facts}"
        judged = f"All {grouped(self.values)} values could be judged."
        if blind:
            judged = (
                f"{grouped(blind)} of {values} could not be judged: "
                "rounding alone could change them by their whole value."
            )
        yield f"{smallest} {judged}" if 0 < typical < 1 else judged
        for name, sides in self.accuracy.items():
            line = f"  {name}: right"
            if self.seen[name] > _LITTLE:
                line += ", as far as could be seen"
            if self.seen[name] >= 1:
                line = f"  {name}: not known"
            if None not in sides.values() and any(sides.values()):
                line += "; rounding puts yours off by {hand:.2g}, PyTorch's by {torch:.2g}"
            yield line.format(**sides)

    def _by_tensor(self) -> Iterator[str]:
        """Of halves alone: whether it is right, and how small a mistake would have been seen."""
        if self.verdict == "match":
            yield (
                f"match: right in {listed([*self.precisions])}. A formula that is off by "
                f"{self.resolution['worst']:.0e} of a gradient would have been found."
            )
        for name, least in self.seen.items():
            yield f"  {name}: {f'right, to {least:.0e} of it' if least < 1 else 'not known'}"

    def _table(self) -> list[str]:
        """What each precision's rounding puts both sides off by, where there are several."""
        if len(self.precisions) < 2 and not self.by_tensor:
            return []
        rows = [["precision", "yours", "PyTorch's", "yours / before"]]
        for name, it in self.precisions.items():
            ends = it["hand"], it["torch"], it["ratio"]
            rows.append([name, *("" if end is None else f"{end:.2g}" for end in ends)])
        return columns(rows, "<>>>")


def first_of(where: Array) -> Index:
    """The place of the first element where something holds."""
    return tuple(np.argwhere(where)[0].tolist())


def unraveled(number: int, shape: Sizes) -> Index:
    """The place of an element by its number."""
    return tuple(int(i) for i in np.unravel_index(number, shape))


def is_single(own: Array) -> bool:
    """Whether all numbers are float32's."""
    return bool((own.astype(np.float32) == own).all())


def labelled(name: str, at: Index, is_complex: bool = False) -> str:
    """An element as a reader writes it: x[2, 1], or x[2].imag where complex numbers are pairs."""
    if is_complex:
        return f"{name}{element(at[:-1])}.{'imag' if at[-1] else 'real'}"
    return name + element(at)


@np.errstate(all="ignore")
def matched(it: Check, seen: Measured) -> CheckResult:
    """The result where no gradient is wrong."""
    values = seen.torch
    reasons: list[str] = []
    finest, typical, accuracy = [], {}, {}
    for name, value in values.items():
        zero = _is_zero(seen, name)
        finest.append(_fineness(seen, name, zero))
        known = finest[-1][value.ravel() != 0]
        typical[name] = _median(known) if known.size else 0.0
        accuracy[name] = _accuracy(name, seen, zero, it.hand is not None)
        if not np.isfinite(value).all():
            typical[name] = np.inf
            reasons.append(f"the gradient of {name} is not finite on both sides")
        elif zero:
            seen.remarks.append(f"{name}: zero on both sides, to rounding")
        elif known.size and (known >= 1).all():
            reasons.append(
                f"rounding alone changes the gradient of {name} by more than all of it; "
                "try inputs of another size"
            )
        else:
            seen.remarks += _less_accurate(name, seen)
    seen.remarks += _little_known(typical)
    finenesses = np.concatenate(finest)
    if not len(finenesses):
        raise ValueError(
            "the gradients that hand returned have no element; expected at least one to compare"
        )
    return CheckResult(
        verdict="undecided" if reasons else "match",
        resolution={
            "typical": _median(finenesses),
            "worst": float(finenesses.max()),
            "blind": int((finenesses >= 1).sum()),
        },
        accuracy=accuracy,
        remarks=seen.remarks,
        worst_ratio=max(_worst_ratio(seen, name) for name in values),
        values=len(finenesses),
        same=all(np.array_equal(seen.own[name], value) for name, value in values.items()),
        seen=typical,
        unseen=untested(it),
        reasons=reasons,
        tolerance=seen.tolerance,
    )


def _median(errors: Array) -> float:
    """The median; of an even number the smaller one, as a mean with a huge one says nothing."""
    return float(np.quantile(errors, 0.5, method="lower"))


def _fineness(seen: Measured, name: str, zero: bool) -> Array:
    """By element the smallest relative error that could be detected, in float32 to save memory.

    Where the gradient is zero, it is relative to the size that gradients have here.
    """
    size = np.abs(seen.torch[name])
    size = np.where((size == 0) | zero, seen.whole, size)
    relative = np.asarray(seen.bound[name] / size)
    nothing = seen.bound[name] <= MOVED_SAFETY * seen.least(name)
    relative[nothing & (size == 0)] = 0.0
    relative[~np.isfinite(size)] = np.inf
    return relative.ravel().astype(np.float32)


def _worst_ratio(seen: Measured, name: str) -> float:
    """The largest difference / bound; elements that are right otherwise do not count."""
    ratio = np.asarray(np.abs(seen.own[name] - seen.torch[name]))
    ratio[seen.accepted.get(name, np.zeros(ratio.shape, bool))] = 0.0
    ratio /= seen.bound[name]
    return float(largest(ratio[np.isfinite(ratio)]))


def _is_zero(seen: Measured, name: str) -> bool:
    """Whether a gradient that rounding alone explains is zero beside what others are."""
    value, bound = np.abs(seen.torch[name]), seen.bound[name]
    by_rounding = value.any() and (value <= bound).all()
    near = max(1e-6, 2.0**12 * seen.unit[name])
    return bool(by_rounding and largest(bound) <= near * seen.whole)


def _accuracy(name: str, seen: Measured, zero: bool, calls: bool) -> dict[str, float | None]:
    """How far both sides are from the truth. calls: whether yours is code, which was run again."""
    value = seen.torch[name]
    whole = largest(value[np.isfinite(value)])
    if seen.tolerance or zero or not whole:
        return {"hand": None, "torch": None}
    truth = seen.truth.get(name)
    off = seen.by_hand[name], seen.by_torch[name]
    if truth is not None:
        off = seen.own[name] - truth, value - truth
    yours, torchs = (float(largest(each[np.isfinite(each)]) / whole) for each in off)
    return {"hand": yours if calls or truth is not None else None, "torch": torchs}


def _little_known(typical: dict[str, float]) -> Iterator[str]:
    """A remark where rounding hides most. typical: as `CheckResult.seen`."""
    little = {name: error for name, error in typical.items() if _LITTLE < error < 1}
    if little:
        yield (
            f"little is known of {', '.join(little)}: rounding alone changes a value by "
            f"{percent(min(little.values()))} of it; try inputs of another size"
        )


@np.errstate(all="ignore")
def _less_accurate(name: str, seen: Measured) -> Iterator[str]:
    """A remark where one side loses more than three digits against the other."""
    shape, least = seen.own[name].shape, seen.unit[name]
    if seen.tolerance or not seen.own[name].size:
        return
    step = 1 + seen.own[name].size // _SAMPLE

    def some(quantities: Quantities) -> Array:
        return quantities[name].reshape(-1)[::step]

    own, value = some(seen.own), some(seen.torch)
    size = np.maximum(np.abs(own), np.abs(value))  # in a tail one side may be zero
    errors = [some(seen.by_hand) / size, some(seen.by_torch) / size]
    if name in seen.truth:
        truth = some(seen.truth)
        errors = [np.abs(side - truth) / np.abs(truth) for side in (own, value)]
    if name in seen.accepted:  # another convention is no loss
        errors = [np.where(some(seen.accepted), 0.0, each) for each in errors]
    dtype = "float64" if least < 2.0**-30 else "float32"
    both = name in seen.truth and bool((np.minimum(*errors) >= 0.5).any())
    for who, other, (worse, better) in (
        ("your", "PyTorch's", errors),
        ("PyTorch's", "yours", errors[::-1]),
    ):
        ratio = np.nan_to_num(worse / np.maximum(better, least), nan=0.0, posinf=0.0)
        if both or np.where(worse > _LOST * least, ratio, 0.0).max() > _LOST:
            number = int(np.nan_to_num(worse).argmax())
            is_small = abs(own[number]) < 1e-3 * max(largest(own), largest(value))
            in_single = who == "your" and dtype == "float64" and is_single(own)
            why = _why(is_small and worse[number] >= 0.1, in_single)
            lost = int(np.log10(np.clip(worse[number] / least, 1.0, 1 / least)))
            side = "yours and PyTorch's lose" if both else f"{who} gradient loses"
            more = "" if both else f" more than {other}"
            at = name + element(unraveled(number * step, shape))
            yield f"{name}: right, but in {dtype} {side} {lost} digits{more} at {at}, {why}"
            return


def _why(is_nothing: bool, in_single: bool) -> str:
    """Why a gradient loses digits. is_nothing: all that is left."""
    if is_nothing:
        return "in a tail, where a factor such as o·(1 − o) rounds to nothing"
    if in_single:
        return "as it is computed in float32"
    return "by cancellation, as a variance from E[x²] − E[x]² does"


def in_lines(it: Entry, what: str, explained: str = "rounding explains") -> list[str]:
    """What a report says of the first wrong element. what: how many there are, or what is wrong."""
    own: Any = it.manual
    value: Any = it.torch
    lines = [
        f"{it.quantity}: mismatch, {what}, first {it.label}",
        f"  yours     {own!r}",
        f"  PyTorch   {value!r}",
    ]
    if np.isfinite(apart := abs(own - value)):
        far = distance(own, value, "float64")
        lines.append(f"  apart     {apart:.2g} ({far}); {explained} {it.allowed:.2g}")
    return lines


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
    head, report = report, [*report]
    for likely in diagnoses[:1]:
        report.append(f"  mistake   {likely.mistake}: {likely.says}")
        if likely.remedy:
            report.append(f"  remedy    {likely.remedy}")
    report += [f"  too       {found.quantity} differs: {found.mistake}" for found in diagnoses[1:]]
    if agreeing:
        report.append(f"  right     {', '.join(agreeing)}")
    found = [asdict(diagnosis) for diagnosis in diagnoses]
    error = GradientMismatch("\n".join(report), asdict(first), found)
    error.head = head
    return error
