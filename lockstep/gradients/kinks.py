"""Kinks, ties and jumps: where a gradient is not one number but anything between two.

At a kink the gradients on its sides differ, and no bound on rounding says which is right. So the
reference is differentiated at points close by. An element that jumps as near as rounding reaches,
and stays where it jumped to, is at a kink; right is what lies in the hull of the gradients there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from lockstep.gradients.inputs import largest
from lockstep.gradients.measured import SAFETY, Check, Measured, noises, noisy
from lockstep.gradients.reference import Noise
from lockstep.network.names import Array, Quantities

_NEAR, _FAR = 2.0**10, 2.0**18  # distances in units in the last place; a slope is 256 times more
_AT = 16.0  # of inputs and of noise: rounding does not reach a kink that is farther away
_FEW, _MANY = 8, 32  # points that differ in all inputs: at first, and where some jump
_SINGLE = 64  # elements that are moved alone
_CLOSE = 2.0**14  # units in the last place to which a hull is known
_LOUDER = 2.0**8  # noise that tells rounding, which grows with it, from jumps
_STEP = 2.0**20  # units in the last place of the largest gradient: a smaller jump hides little
_LARGE = 1e-3  # of a value: a bound beyond which rounding may have crossed a kink


@dataclass
class Kinks:
    """What was seen around the inputs, by name.

    Attributes:
        jumps: Which elements jump.
        low, high: The smallest and the largest gradients seen beside them.
        slack: To how much these are known.
        outside: Which elements lie outside of their hull.
    """

    jumps: Quantities = field(default_factory=dict)
    low: Quantities = field(default_factory=dict)
    high: Quantities = field(default_factory=dict)
    slack: Quantities = field(default_factory=dict)
    outside: Quantities = field(default_factory=dict)


@dataclass
class _Direction:
    """Where inputs are moved to, by name: −1 to 1 for each element; and which one moves alone."""

    by: Quantities
    input: str = ""
    number: int = -1


@dataclass
class _Point:
    """Gradients at a point close to the inputs, and which elements jump on the way there.

    Those that are still on the move halfway, as a cosine of a huge number is, are at no kink.
    Neither are those that jump farther away than rounding reaches, or go on changing from there.
    """

    gradients: Quantities
    jumps: Quantities
    unsteady: Quantities
    reached: Quantities
    moved: _Direction


def crossed_by_rounding(it: Check, seen: Measured) -> Quantities:
    """Where rounding itself jumps between a few values: noise crosses a kink there.

    Their bounds shrink to what rounding does on either side.
    """
    at = {}
    for name, noise in seen.by_noise.items():
        least = np.maximum(_LARGE * np.abs(seen.torch[name]), _STEP * seen.unit[name] * seen.whole)
        where = np.flatnonzero(SAFETY * noise > least)
        if len(where):
            at[name] = where[:: max(1, len(where) // 4096)]
    found: Quantities = {}
    runs, louder = ([*noises(it, seen, at, by)] if at else [] for by in (1.0, _LOUDER))
    for name, places in at.items():
        values = np.sort([seen.torch[name].flat[places], *(run[name] for run in runs)], axis=0)
        gaps, widest = np.diff(values, axis=0), np.ptp(values, axis=0)
        apart = gaps >= 1e-3 * widest
        inside = np.where(apart, 0.0, gaps).sum(axis=0)
        few = (apart.sum(axis=0) <= 2) & (inside < 1e-3 * widest)
        beyond = np.ptp([run[name] for run in louder], axis=0)  # rounding would grow
        few &= np.isfinite(widest) & (widest > 0) & (beyond < 8 * widest)
        jumping = np.zeros(seen.bound[name].shape, bool)
        jumping.flat[places] = few
        if jumping.any():
            found[name] = jumping
            for changes in (seen.by_noise, seen.by_torch, seen.by_hand):
                changes[name].flat[places[few]] = inside[few]
            seen.bound[name][jumping] = SAFETY * seen.references(name)[jumping]
    return found


def look_around(it: Check, seen: Measured, off: Quantities) -> Kinks:
    """Which of the wrong elements are at a kink, and whether they lie outside of its hull."""
    points = list(_points(it, seen, off, _everywhere(it)))
    jumping = {name: _jumped(name, points) for name in off}
    points += _points(it, seen, off, _apart(it, seen, jumping))
    found = Kinks()
    for name, wrong in off.items():
        beside = np.array([point.gradients[name] for point in points] or [seen.torch[name]])
        low, high = beside.min(axis=0), beside.max(axis=0)
        size = np.maximum(np.abs(low), np.abs(high))
        slack = seen.bound[name] + _CLOSE * seen.unit[name] * size
        jumps, own = _jumped(name, points), seen.own[name]
        outside = jumps & ((own < low - slack) | (own > high + slack))
        for together in _coupled(name, points, jumps):
            if _from_the_plane(own, beside, together) > np.max(slack.flat[together]):
                outside.flat[together] = True
        found.jumps[name], found.outside[name] = jumps & wrong, outside & wrong
        found.low[name], found.high[name], found.slack[name] = low, high, slack
    return found


def _jumped(name: str, points: list[_Point]) -> Array:
    """The elements that jump on the way to some point, and mostly stay there."""
    often = np.sum([point.jumps[name] for point in points], axis=0)
    unsteady = np.sum([point.unsteady[name] for point in points], axis=0)
    reached = np.any([point.reached[name] for point in points], axis=0)
    return np.asarray(reached & (2 * unsteady <= often))


def _coupled(name: str, points: list[_Point], jumps: Array) -> Iterator[Array]:
    """Groups of elements that jump together, if each was moved alone: a tie shares one gradient."""
    alone = [point for point in points if point.moved.input == name]
    moved = {point.moved.number for point in alone}
    group = {i: {i} for i in np.flatnonzero(jumps).tolist()}
    for point in alone:
        together = np.flatnonzero(point.jumps[name] & jumps).tolist()
        for i in together[1:]:
            merged = group[together[0]] | group[i]
            group |= dict.fromkeys(merged, merged)
    for first, members in group.items():
        if first == min(members) and len(members) > 1 and members <= moved:
            yield np.array(sorted(members))


def _from_the_plane(own: Array, beside: Array, together: Array) -> float:
    """How far elements are from every weighted mean of the gradients seen beside them."""
    seen = beside.reshape(len(beside), -1)[:, together]
    spread = (seen - seen[0])[1:].T
    error = own.flat[together] - seen[0]
    weights = np.linalg.lstsq(spread, error, rcond=1e-9)[0]
    return float(largest(spread @ weights - error))


def _points(
    it: Check, seen: Measured, off: Quantities, directions: Iterable[_Direction]
) -> Iterator[_Point]:
    """Gradients close to the inputs, along some directions."""
    for direction, noise in zip(directions, itertools.cycle(noisy(it))):
        noise.louder = _AT
        try:
            half, near, far = (_moved(it, direction, by) for by in (_NEAR / 2, _NEAR, _FAR))
            at = _moved(it, direction, _AT, noise)
        except (ValueError, TypeError):  # the reference may end there
            continue
        point = _Point({}, {}, {}, {}, direction)
        for name in off:
            value = seen.torch[name]
            nearest, halfway, beside, beyond = (
                found.get(name, np.zeros_like(value)) for found in (at, half, near, far)
            )
            changed = np.abs(beside - value)
            rounding = np.maximum(4 * SAFETY * seen.references(name), seen.bound[name])
            finite, quarter = np.isfinite(beside), changed / 4
            jumps = finite & (changed > rounding) & (changed > np.abs(beyond - value) / 8)
            point.gradients[name] = np.where(finite, beside, value)
            point.jumps[name] = jumps
            point.unsteady[name] = jumps & ~(np.abs(beside - halfway) <= quarter)
            point.reached[name] = jumps & (np.abs(beside - nearest) <= quarter)
        yield point


def _everywhere(it: Check) -> Iterator[_Direction]:
    """Each input up and down, and all at random."""
    for name in it.wanted:
        for way in (1.0, -1.0):
            yield _Direction({name: np.full(it.inputs[name].shape, way)})
    yield from _at_random(it, _FEW)


def _at_random(it: Check, draws: int) -> Iterator[_Direction]:
    random = np.random.default_rng([it.seed, draws])
    for _ in range(draws):
        yield _Direction({name: random.uniform(-1, 1, it.inputs[name].shape) for name in it.wanted})


def _apart(it: Check, seen: Measured, jumping: Quantities) -> Iterator[_Direction]:
    """What tells the elements of a tie apart.

    All at random, as the gradient by hand orders them, and those that jump one by one.
    """
    if any(jumps.any() for jumps in jumping.values()):
        yield from _at_random(it, _MANY)
    for name in it.wanted:
        shape = it.inputs[name].shape
        jumps = jumping.get(name, np.zeros(()))
        if jumps.shape != shape or not jumps.any():
            continue
        own = seen.own[name]
        for order in (own, np.where(own != 0, 1 / own, 0.0)):
            most = largest(order[np.isfinite(order)])
            for way in (1.0, -1.0) if most else ():
                yield _Direction({name: np.nan_to_num(order * (way / most))})
        for number in np.flatnonzero(jumps)[:_SINGLE].tolist():
            for way in (1.0, -1.0):
                by = np.zeros(shape)
                by.flat[number] = way
                yield _Direction({name: by}, name, number)


def _moved(it: Check, direction: _Direction, by: float, noise: Noise | None = None) -> Quantities:
    """PyTorch's gradients where the inputs are moved by so many units in the last place."""

    def change(name: str, array: Array) -> Array:
        if name not in direction.by:
            return array
        limits = np.finfo(array.dtype)
        far = by * float(limits.eps) / 2 * np.abs(array)
        # what is steep at 0 is smooth closer by; a kink is not
        at_zero = by * max(2.0**-110, float(limits.tiny) / _NEAR)
        step: Array = np.where(array == 0, at_zero, far) * direction.by[name]
        return array + step

    return it.torch(it.moved(change), noise)


def scale(array: Array) -> Array:
    """The sizes of the elements; of zeros, that of the others, or 1."""
    size = np.abs(array)
    others = size[(size > 0) & np.isfinite(size)]
    return np.where(size > 0, size, np.median(others) if others.size else 1.0)
