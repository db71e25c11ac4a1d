"""A function in the precisions that it accepts: which of its tensors are right in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import as_tensor, float64

from lockstep.gradients.ladder import (
    ALONE,
    CONSTANTS,
    HALVES,
    RATIO,
    SUBNORMAL,
    by_factor,
    by_ratio,
    factor_alone,
    factors,
    on_the_grid,
    scale_of,
    size,
    underflow,
    unit,
)
from lockstep.network.names import Array, Quantities, Sizes
from lockstep.text import percent

_MOST = 4_000_000  # numbers of all draws together
_DRAWS = (2, 6)  # of incoming gradients, at least and at most
_NOISES = 2  # draws of noise; the larger counts
_LARGER = 4  # times noise: a tensor that is no larger may be nothing but rounding
_SCATTERS = 4  # times what two calls are apart, which is no formula's error
_STEP = 2.0**-4  # by which the scale is taken back where float16 overflows
# what a precision may be computed in inside, which is no mistake where it was not asked for
_INSIDE = {"float64": ("float32", 2.0**-24), "float32": ("TF32, of 11 bits,", 2.0**-11)}
_FELT = 0.1  # relative: an error from which it is no rounding of small numbers
_UNDERFLOW = 0.01  # of a tensor's numbers below float16's normal ones, from which it is said


@dataclass(frozen=True)
class Sides:
    """A function and its reference, as tensors by name from incoming gradients, in float64.

    Attributes:
        hand: The function in a precision.
        torch: The reference in a precision.
        noise: The reference in float64, each of whose results is made wrong by as much as a
            precision rounds; with the number of the draw.
        shapes: Those of the outputs, by name.
    """

    hand: Callable[[str, Quantities], Quantities]
    torch: Callable[[str, Quantities], Quantities]
    noise: Callable[[str, Quantities, int], Quantities]
    shapes: Mapping[str, Sizes]


@dataclass
class Tensor:
    """A gradient or output in one precision.

    Attributes:
        hand, torch: The root mean square of the errors, relative to the tensor's; None where
            PyTorch does not compute in this precision.
        ratio: Yours over that in the precision before, which is the coarser one; None where there
            is none.
    """

    hand: float
    torch: float | None
    ratio: float | None = None


@dataclass
class Finding:
    """A tensor that is wrong in some precisions.

    Attributes:
        name: Of the tensor.
        where: The row or block; empty for the whole.
        precisions: In which it was found.
        error: Relative to the gradient there.
        factor: What it is times the right one, where that is what is wrong.
        explained: What rounding explains, relative.
    """

    name: str
    where: str
    precisions: tuple[str, ...]
    error: float
    factor: float | None = None
    explained: float = 0.0


@dataclass
class Climbed:
    """What the precisions showed.

    Attributes:
        tensors: By precision, the finest first, by name.
        findings: What is wrong, in the order of the tensors, whole tensors first.
        seen: By name the smallest error of a formula that would have been found in halves.
        remarks: Sentences.
        incoming, truth: The first draw of incoming gradients, and its right tensors, by name.
        own: Yours of that draw, by precision.
    """

    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    incoming: Quantities = field(default_factory=dict)
    truth: Quantities = field(default_factory=dict)
    own: dict[str, Quantities] = field(default_factory=dict)

    def sides(self, it: Finding) -> tuple[Array, Array]:
        """Yours and the right one of a tensor that is wrong."""
        return self.own[it.precisions[-1]][it.name], self.truth[it.name]

    @property
    def table(self) -> dict[str, dict[str, Any]]:
        """By precision the largest errors of all tensors, and each tensor's."""
        return {
            precision: {
                **{side: _most(of, side) for side in ("hand", "torch", "ratio")},
                "tensors": {name: vars(it) for name, it in of.items()},
            }
            for precision, of in self.tensors.items()
        }


def _most(of: dict[str, Tensor], side: str) -> float | None:
    known = [it for tensor in of.values() if (it := getattr(tensor, side)) is not None]
    return max(known, default=None)


@dataclass
class _Drawn:
    """A gradient or output in all draws, (draws, *shape), by precision.

    Attributes:
        name: Its name.
        truth: The right one.
        hand, torch: Your errors, and PyTorch's.
        noise: What rounding may put it off by: half of what noise does, which is twice as large.
        scatter: What two calls of yours are apart, as sums of atomics are.
    """

    name: str
    truth: Array
    hand: Quantities
    torch: Quantities
    noise: dict[str, float]
    scatter: dict[str, float]

    @property
    def whole(self) -> float:
        """Its size, or 1 where it is zero."""
        return size(self.truth) or 1.0

    def theirs(self, precision: str) -> Array | None:
        """PyTorch's errors; None where it has none that are finite."""
        found = self.torch.get(precision)
        return found if found is not None and np.isfinite(found).all() else None

    def torchs(self, precision: str) -> float:
        """The size of these; 0 where there are none."""
        theirs = self.theirs(precision)
        return 0.0 if theirs is None else size(theirs)

    def explained(self, precision: str, finite: Sequence[str]) -> float:
        """The error that rounding explains in a precision.

        PyTorch's own there, and your own code's in a finer one, if both are known; else what noise
        does too.
        """
        least = max(unit(precision) * size(self.truth), self.scatter[precision])
        finer = [
            self._believable(it) * unit(precision) / unit(it)
            for it in finite
            if unit(it) < unit(precision) and it != "float64"  # which may be float32 inside
        ]
        theirs = self.torchs(precision)
        if finer and theirs and precision in HALVES:
            return max(least / 2, theirs, *finer)
        return max(least, self.noise.get(precision, 0.0), theirs, *finer)

    def _believable(self, precision: str) -> float:
        """Your error, no more than rounding explains there: else it is none of that."""
        most = max(self.noise[precision], self.torchs(precision))
        return min(size(self.hand[precision]), ALONE * most)


@np.errstate(all="ignore")
def climb(sides: Sides, accepted: Sequence[str], known: Sequence[str], seed: int) -> Climbed:
    """Judge a function in several precisions, by tensor.

    Args:
        sides: Both sides.
        accepted: The precisions that it accepts, the finest first.
        known: Those in which every element was found right already.
        seed: Of the incoming gradients.
    """
    found = Climbed()
    drawn = _drawn(sides, accepted, np.random.default_rng([seed, 0x1ADDE2]), found)
    for before, precision in zip([*accepted[1:], None], accepted, strict=True):
        found.tensors[precision] = {it.name: _tensor(it, precision, before) for it in drawn}
    for it in drawn:
        _judge(found, it, known)
    return found


def _drawn(
    sides: Sides, accepted: Sequence[str], random: np.random.Generator, found: Climbed
) -> list[_Drawn]:
    """Errors of both sides for random incoming gradients."""
    incoming, scale = _all_incoming(sides, random, "float16" in accepted)
    if scale > 1:
        found.remarks.append(
            f"incoming gradients were multiplied by {scale:g}: float16 has no small numbers"
        )
    rights = [sides.torch("float64", it) for it in incoming]
    found.incoming, found.truth = incoming[0], rights[0]
    narrow = [it for it in accepted if it != "float64"]
    hand = {it: [sides.hand(it, each) for each in incoming] for it in accepted}
    torch = {it: [sides.torch(it, each) for each in incoming] for it in narrow}
    found.own = {it: each[0] for it, each in hand.items()}
    noise = {it: _noise(sides, it, found) for it in {*narrow, "float32"}}
    scatter = {it: _scatter(sides, it, found) for it in accepted}

    def errors(name: str, side: dict[str, list[Quantities]]) -> Quantities:
        """By precision; a tensor that is not there is zero."""
        return {
            it: np.array(
                [own.get(name, 0.0) - its[name] for own, its in zip(each, rights, strict=True)]
            )
            for it, each in side.items()
        }

    return [
        _Drawn(
            name,
            np.array([each[name] for each in rights]),
            errors(name, hand),
            errors(name, torch),
            {it: sizes[name] for it, sizes in noise.items()},
            {it: sizes[name] for it, sizes in scatter.items()},
        )
        for name in found.truth
    ]


def _noise(sides: Sides, precision: str, found: Climbed) -> dict[str, float]:
    """By tensor how far a precision's rounding may put it off."""
    moved = [sides.noise(precision, found.incoming, 1 + draw) for draw in range(_NOISES)]
    return {
        name: max(0.0, *(size(each.get(name, right) - right) / 2 for each in moved))
        for name, right in found.truth.items()
    }


def _scatter(sides: Sides, precision: str, found: Climbed) -> dict[str, float]:
    """By tensor how far a second call of yours is from the first."""
    again, own = sides.hand(precision, found.incoming), found.own[precision]
    return {name: size(again[name] - own[name]) for name in found.truth}


def _all_incoming(
    sides: Sides, random: np.random.Generator, for_float16: bool
) -> tuple[list[Quantities], float]:
    """Random incoming gradients, scaled so that float16 holds what is computed; and the scale."""
    first = _incoming(sides, random)
    truth = sides.torch("float64", first)
    scale = _scale(sides, first, truth) if for_float16 else 1.0
    total = sum(it.size for it in truth.values())
    count = int(np.clip(_MOST // max(total, 1), *_DRAWS))
    every = [first, *(_incoming(sides, random) for _ in range(count - 1))]
    return [_times(it, scale) for it in every], scale


def _scale(sides: Sides, incoming: Quantities, truth: Quantities) -> float:
    """What incoming gradients are multiplied by, so that float16 holds all that is computed."""
    gradients = [it for name, it in truth.items() if name not in sides.shapes]
    scale = scale_of(gradients, incoming.values())
    while scale > 1 and not _all_finite(sides, _times(incoming, scale)):
        scale *= _STEP
    return max(scale, 1.0)


def _incoming(sides: Sides, random: np.random.Generator) -> Quantities:
    return {
        name: on_the_grid(as_tensor(random.normal(size=shape), dtype=float64)).numpy()
        for name, shape in sides.shapes.items()
    }


def _times(arrays: Quantities, scale: float) -> Quantities:
    return {name: array * scale for name, array in arrays.items()}


def _all_finite(sides: Sides, incoming: Quantities) -> bool:
    """Whether float16 holds all that both sides compute."""
    both = sides.hand("float16", incoming), sides.torch("float16", incoming)
    return all(np.isfinite(array).all() for side in both for array in side.values())


def _tensor(it: _Drawn, precision: str, before: str | None) -> Tensor:
    own, theirs = size(it.hand[precision]), it.torch.get(precision)
    coarser = size(it.hand[before]) if before else 0.0
    return Tensor(
        own / it.whole,
        None if theirs is None else size(theirs) / it.whole,
        own / coarser if coarser else None,
    )


def _judge(found: Climbed, it: _Drawn, known: Sequence[str]) -> None:
    """Judge one tensor in all precisions in which that can be done."""
    able = list(_able(found, it))
    halves = tuple(half for half in reversed(HALVES) if half in able)
    if len(halves) == 2:
        wrong = list(_between(found, it, halves, bool(known)))
        if wrong and all(_is_below(found, it, one) for one in wrong):
            able.remove("float16")
            found.remarks.append(
                f"{it.name}: on its way there are numbers that are too small for float16, as its "
                "error there is no larger, so it was not judged there"
            )
        else:
            found.findings += wrong
    for precision in able:
        if precision not in known and all(one.name != it.name for one in found.findings):
            found.findings += _in_one(found, it, precision, able)


def _able(found: Climbed, it: _Drawn) -> Iterator[str]:
    """The precisions in which a tensor can be judged, with remarks on the others."""
    finite = [precision for precision, off in it.hand.items() if np.isfinite(off).all()]
    for precision in it.hand:
        if precision in finite:
            continue
        if it.theirs(precision) is not None:
            found.findings.append(Finding(it.name, "", (precision,), np.inf))
        else:
            found.remarks.append(
                f"{it.name}: {precision} overflows on the way, so it was not judged there"
            )
    part, is_lost = underflow(it.truth) if "float16" in finite else (0.0, False)
    if part > _UNDERFLOW:
        found.remarks.append(
            f"{it.name}: {percent(part)} of its numbers are below the smallest that float16 has "
            f"with all digits{', so it was not judged there' if is_lost else ''}"
        )
    for precision in finite:
        if is_lost and precision == "float16":
            continue
        noise = it.noise["float32" if precision == "float64" else precision]
        if size(it.truth) > _LARGER * noise:
            yield precision
        elif precision != "float64":
            found.remarks.append(
                f"{it.name}: rounding in {precision} is as large as it is, so it was not judged "
                "there"
            )


def _is_below(found: Climbed, it: _Drawn, wrong: Finding) -> bool:
    """Whether the error may be float16's smallest numbers, rounded and times an incoming gradient.

    Such an error is no factor, and a small part of what it is in.
    """
    incoming = max(map(size, found.incoming.values()), default=0.0)
    is_small = size(it.hand["float16"]) <= SUBNORMAL * incoming
    return is_small and wrong.factor is None and wrong.error < _FELT


def _between(
    found: Climbed, it: _Drawn, halves: tuple[str, ...], is_known: bool
) -> Iterator[Finding]:
    """What does not shrink from bfloat16 to float16."""
    name, truth, hand = it.name, it.truth, [it.hand[half] for half in halves]
    theirs = [off for half in halves if (off := it.theirs(half)) is not None]
    torchs = theirs if len(theirs) == 2 else None
    most = [ALONE * it.explained(half, halves) for half in halves]
    # right in float32: what is wrong in one half alone does not show here
    found.seen[name] = (max(most) if is_known else RATIO * size(hand[0])) / it.whole
    scatter = _SCATTERS * max(it.scatter[half] for half in halves)
    if size(hand[1]) <= scatter:  # it is as far from itself
        found.seen[name] = max(found.seen[name], scatter / it.whole)
        return
    if is_known and sum(size(off) > least for off, least in zip(hand, most, strict=True)) == 1:
        return  # one alone is wrong
    factor = by_factor(truth, hand, torchs, halves)
    if factor is not None:
        rest = [off - factor * truth for off in hand]
        if not any(by_ratio(truth, rest, torchs, halves)):
            yield Finding(name, "", halves, abs(factor), 1 + factor)
            return
    for where, error in by_ratio(truth, hand, torchs, halves):
        yield Finding(name, where, halves, error)


def _in_one(found: Climbed, it: _Drawn, precision: str, finite: Sequence[str]) -> Iterator[Finding]:
    """What is beyond the rounding of one precision: a code path of its own that is wrong."""
    off, explained = it.hand[precision], it.explained(precision, finite)
    if precision in HALVES:
        found.seen.setdefault(it.name, ALONE * explained / it.whole)
    if size(off) <= ALONE * explained:
        theirs = it.torch.get(precision)
        if precision in HALVES and (c := factor_alone(it.truth, off, theirs, precision)):
            yield Finding(it.name, "", (precision,), abs(c), 1 + c, CONSTANTS * unit(precision))
        return
    inside, its_unit = _INSIDE.get(precision, ("", 0.0))
    room = explained * its_unit / unit(precision)
    if precision == "float64":
        room = max(room, it.noise["float32"], it.torchs("float32"))
    if size(off) <= ALONE * room:
        remark = f"{precision} is computed with {inside} inside, and was judged as that"
        found.remarks += [remark] if remark not in found.remarks else []
        return
    c, error = factors(off, it.truth)
    is_factor = abs(c) * it.whole > 0.99 * size(off) and abs(c) > 6 * error
    times = 1 + c if is_factor else None
    yield Finding(it.name, "", (precision,), size(off) / it.whole, times, explained / it.whole)
