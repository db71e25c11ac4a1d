"""A function in the precisions that it accepts: which of its tensors are right in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import from_numpy

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
from lockstep.network.names import Array, Quantities
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
    shapes: Mapping[str, tuple[int, ...]]


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

    @property
    def table(self) -> dict[str, dict[str, Any]]:
        """By precision the largest errors of all tensors, and each tensor's."""
        return {
            precision: {
                "hand": max(it.hand for it in of.values()),
                "torch": max(
                    (it.torch for it in of.values() if it.torch is not None), default=None
                ),
                "ratio": max(
                    (it.ratio for it in of.values() if it.ratio is not None), default=None
                ),
                "tensors": {name: vars(it) for name, it in of.items()},
            }
            for precision, of in self.tensors.items()
        }


@dataclass
class _Draws:
    """Errors of all draws, (draws, *shape), by precision and tensor.

    Attributes:
        truth: The right tensors.
        hand, torch: Your errors, and PyTorch's.
        noise: What rounding may put a tensor off by.
        scatter: What two calls of yours are apart.
    """

    truth: Quantities
    hand: dict[str, Quantities]
    torch: dict[str, Quantities]
    noise: dict[str, dict[str, float]]
    scatter: dict[str, dict[str, float]]

    def theirs(self, name: str, precision: str) -> Array | None:
        """PyTorch's errors of a tensor; None where it has none that are finite."""
        found = self.torch.get(precision, {}).get(name)
        return found if found is not None and np.isfinite(found).all() else None


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
    draws = _drawn(sides, accepted, np.random.default_rng([seed, 0x1ADDE2]), found)
    names = list(draws.truth)
    for before, precision in zip([None, *reversed(accepted)], reversed(accepted), strict=False):
        of = found.tensors.setdefault(precision, {})
        for name in names:
            of[name] = _tensor(draws, name, precision, before)
    found.tensors = {precision: found.tensors[precision] for precision in accepted}
    for name in names:
        _judge(found, draws, name, [it for it in accepted if _is_finite(draws, name, it)], known)
    return found


def _drawn(
    sides: Sides, accepted: Sequence[str], random: np.random.Generator, found: Climbed
) -> _Draws:
    """Errors of both sides for random incoming gradients, scaled so that float16 holds them."""
    first = _incoming(sides, random)
    truth = sides.torch("float64", first)
    scale = _scale(sides, first, truth) if "float16" in accepted else 1.0
    if scale > 1:
        found.remarks.append(
            f"incoming gradients were multiplied by {scale:g}: float16 has no small numbers"
        )
    total = sum(it.size for it in truth.values())
    count = int(np.clip(_MOST // max(total, 1), *_DRAWS))
    incoming = [
        _times(it, scale) for it in (first, *(_incoming(sides, random) for _ in range(count - 1)))
    ]
    rights = [sides.torch("float64", it) for it in incoming]
    narrow = [precision for precision in accepted if precision != "float64"]
    hand = {precision: [sides.hand(precision, it) for it in incoming] for precision in accepted}
    torch = {precision: [sides.torch(precision, it) for it in incoming] for precision in narrow}
    found.incoming, found.truth = incoming[0], rights[0]
    found.own = {precision: each[0] for precision, each in hand.items()}
    return _Draws(
        {name: np.array([right[name] for right in rights]) for name in truth},
        {precision: _errors(each, rights) for precision, each in hand.items()},
        {precision: _errors(each, rights) for precision, each in torch.items()},
        {
            precision: _noise(sides, precision, incoming[0], rights[0])
            for precision in {*narrow, "float32"}
        },
        {precision: _scatter(sides, precision, found) for precision in accepted},
    )


def _errors(found: list[Quantities], rights: list[Quantities]) -> Quantities:
    """By tensor the errors of all draws; one that is not there is zero."""
    pairs = list(zip(found, rights, strict=True))
    return {
        name: np.array([own.get(name, 0.0) - right[name] for own, right in pairs])
        for name in rights[0]
    }


def _scatter(sides: Sides, precision: str, found: Climbed) -> dict[str, float]:
    """By tensor how far a second call of yours is from the first, as sums of atomics are."""
    again, own = sides.hand(precision, found.incoming), found.own[precision]
    return {name: size(again[name] - own[name]) for name in found.truth}


def _scale(sides: Sides, incoming: Quantities, truth: Quantities) -> float:
    """What incoming gradients are multiplied by, so that float16 holds all that is computed."""
    gradients = [it for name, it in truth.items() if name not in sides.shapes]
    scale = scale_of(gradients, incoming.values())
    while scale > 1 and not _all_finite(sides, _times(incoming, scale)):
        scale *= _STEP
    return max(scale, 1.0)


def _incoming(sides: Sides, random: np.random.Generator) -> Quantities:
    numbers = {name: np.asarray(random.normal(size=it)) for name, it in sides.shapes.items()}
    return {name: on_the_grid(from_numpy(it)).numpy() for name, it in numbers.items()}


def _times(arrays: Quantities, scale: float) -> Quantities:
    return {name: array * scale for name, array in arrays.items()}


def _all_finite(sides: Sides, incoming: Quantities) -> bool:
    """Whether float16 holds all that both sides compute."""
    both = sides.hand("float16", incoming), sides.torch("float16", incoming)
    return all(np.isfinite(array).all() for side in both for array in side.values())


def _noise(
    sides: Sides, precision: str, incoming: Quantities, truth: Quantities
) -> dict[str, float]:
    """By tensor how far a precision's rounding may put it off: noise is twice as large."""
    found = dict.fromkeys(truth, 0.0)
    for draw in range(_NOISES):
        moved = sides.noise(precision, incoming, draw + 1)
        for name, right in truth.items():
            found[name] = max(found[name], size(moved.get(name, right) - right) / 2)
    return found


def _is_finite(draws: _Draws, name: str, precision: str) -> bool:
    return bool(np.isfinite(draws.hand[precision][name]).all())


def _tensor(draws: _Draws, name: str, precision: str, before: str | None) -> Tensor:
    whole = size(draws.truth[name]) or 1.0
    theirs = draws.torch.get(precision, {}).get(name)
    own = size(draws.hand[precision][name])
    coarser = size(draws.hand[before][name]) if before else 0.0
    return Tensor(
        own / whole,
        None if theirs is None else size(theirs) / whole,
        own / coarser if coarser else None,
    )


def _judge(
    found: Climbed, draws: _Draws, name: str, finite: Sequence[str], known: Sequence[str]
) -> None:
    """Judge one tensor in all precisions in which it is finite."""
    for precision in found.tensors:
        if precision not in finite:
            _overflowed(found, draws, name, precision)
    part, is_lost = underflow(draws.truth[name]) if "float16" in finite else (0.0, False)
    if part > _UNDERFLOW:
        found.remarks.append(
            f"{name}: {percent(part)} of its numbers are below the smallest that float16 has with "
            f"all digits{', so it was not judged there' if is_lost else ''}"
        )
    able = [it for it in finite if not (is_lost and it == "float16")]
    able = [it for it in able if _is_more_than_rounding(found, draws, name, it)]
    halves = tuple(it for it in reversed(HALVES) if it in able)
    if len(halves) == 2:
        wrong = list(_between(found, draws, name, halves, bool(known)))
        if wrong and all(_is_below(found, draws, name, it) for it in wrong):
            able.remove("float16")
            found.remarks.append(
                f"{name}: on its way there are numbers that are too small for float16, as its "
                "error there is no larger, so it was not judged there"
            )
        else:
            found.findings += wrong
    for precision in able:
        if precision not in known and all(it.name != name for it in found.findings):
            found.findings += _in_one(found, draws, name, precision, able)


def _is_below(found: Climbed, draws: _Draws, name: str, it: Finding) -> bool:
    """Whether the error may be float16's smallest numbers, rounded and times an incoming gradient.

    Such an error is no factor, and a small part of what it is in.
    """
    incoming = max(map(size, found.incoming.values()), default=0.0)
    is_small = size(draws.hand["float16"][name]) <= SUBNORMAL * incoming
    return is_small and it.factor is None and it.error < _FELT


def _is_more_than_rounding(found: Climbed, draws: _Draws, name: str, precision: str) -> bool:
    """Whether a tensor is larger than what rounding in a precision makes of nothing."""
    noise = draws.noise["float32" if precision == "float64" else precision][name]
    is_more = size(draws.truth[name]) > _LARGER * noise
    if not is_more and precision != "float64":
        found.remarks.append(
            f"{name}: rounding in {precision} is as large as it is, so it was not judged there"
        )
    return is_more


def _between(
    found: Climbed, draws: _Draws, name: str, halves: tuple[str, ...], is_known: bool
) -> Iterator[Finding]:
    """What does not shrink from bfloat16 to float16."""
    truth, hand = draws.truth[name], [draws.hand[it][name] for it in halves]
    theirs = [it for half in halves if (it := draws.theirs(name, half)) is not None]
    torchs = theirs if len(theirs) == 2 else None
    least = RATIO * size(hand[0])
    if is_known:  # right in float32: what is wrong in one half alone does not show here
        least = max(ALONE * _explained(draws, name, it, halves) for it in halves)
    found.seen[name] = least / (size(truth) or 1.0)
    scatter = _SCATTERS * max(draws.scatter[it][name] for it in halves)
    if size(hand[1]) <= scatter:  # it is as far from itself, as sums of atomics are
        found.seen[name] = max(found.seen[name], scatter / (size(truth) or 1.0))
        return
    explained = [_explained(draws, name, it, halves) for it in halves]
    off = [size(it) > ALONE * most for it, most in zip(hand, explained, strict=True)]
    if is_known and sum(off) == 1:  # one alone is wrong
        return
    factor = by_factor(truth, hand, torchs, halves)
    if factor is not None:
        rest = [it - factor * truth for it in hand]
        if not any(by_ratio(truth, rest, torchs, halves)):
            yield Finding(name, "", halves, abs(factor), 1 + factor)
            return
    for where, error in by_ratio(truth, hand, torchs, halves):
        yield Finding(name, where, halves, error)


def _in_one(
    found: Climbed, draws: _Draws, name: str, precision: str, finite: Sequence[str]
) -> Iterator[Finding]:
    """What is beyond the rounding of one precision: a code path of its own that is wrong."""
    truth, off = draws.truth[name], draws.hand[precision][name]
    whole, explained = size(truth) or 1.0, _explained(draws, name, precision, finite)
    if precision in HALVES:
        found.seen.setdefault(name, ALONE * explained / whole)
    if size(off) <= ALONE * explained:
        theirs = draws.torch.get(precision, {}).get(name)
        if precision in HALVES and (c := factor_alone(truth, off, theirs, precision)) is not None:
            yield Finding(name, "", (precision,), abs(c), 1 + c, CONSTANTS * unit(precision))
        return
    inside, its_unit = _INSIDE.get(precision, ("", 0.0))
    room = explained * its_unit / unit(precision)
    if precision == "float64":
        room = max(room, *(draws.noise["float32"][name], _torchs(draws, name, "float32")))
    if size(off) <= ALONE * room:
        remark = f"{precision} is computed with {inside} inside, and was judged as that"
        found.remarks += [remark] if remark not in found.remarks else []
        return
    c, error = factors(off, truth)
    is_factor = abs(c) * whole > 0.99 * size(off) and abs(c) > 6 * error
    times = 1 + c if is_factor else None
    yield Finding(name, "", (precision,), size(off) / whole, times, explained / whole)


def _explained(draws: _Draws, name: str, precision: str, finite: Sequence[str]) -> float:
    """The error that rounding explains in a precision.

    PyTorch's own there, and your own code's in a finer one, if both are known; else what noise
    does too.
    """
    least = max(unit(precision) * size(draws.truth[name]), draws.scatter[precision][name])
    finer = [
        _believable(draws, name, it) * unit(precision) / unit(it)
        for it in finite
        if unit(it) < unit(precision) and it != "float64"  # which may be float32 inside
    ]
    theirs = _torchs(draws, name, precision)
    if finer and theirs and precision in HALVES:
        return max(least / 2, theirs, *finer)
    noise = draws.noise.get(precision, {}).get(name, 0.0)
    return max(least, noise, theirs, *finer)


def _believable(draws: _Draws, name: str, precision: str) -> float:
    """Your error in a precision, no more than rounding explains there: else it is none of that."""
    most = max(draws.noise[precision][name], _torchs(draws, name, precision))
    return min(size(draws.hand[precision][name]), ALONE * most)


def _torchs(draws: _Draws, name: str, precision: str) -> float:
    """PyTorch's own error in a precision; 0 where it has none that is finite."""
    theirs = draws.theirs(name, precision)
    return 0.0 if theirs is None else size(theirs)


def _overflowed(found: Climbed, draws: _Draws, name: str, precision: str) -> None:
    """Yours is not finite: a remark where PyTorch's is not either, else it is wrong."""
    if draws.theirs(name, precision) is not None:
        found.findings.append(Finding(name, "", (precision,), np.inf))
    else:
        found.remarks.append(
            f"{name}: {precision} overflows on the way, so it was not judged there"
        )
