"""Whose gradient is it? Difference quotients of the reference's value decide between the two sides.

Ridders' extrapolation (Advances in Engineering Software 4, 1982) of central difference quotients
along a direction gives the derivative to about twelve digits, and an estimate of its own error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lockstep.gradients.kinks import scale
from lockstep.gradients.measured import Check, Measured
from lockstep.network.names import Quantities

_WIDTHS = (2.0**-3, 2.0**-7, 2.0**-13, 2.0**-20)  # to begin with, relative to the inputs
_SHRINK, _ROWS = 1.6, 9
_ALONE = 24  # elements that are looked at one by one
_SURE = 30  # errors of the quotients


def yours_is_the_derivative(it: Check, seen: Measured, off: Quantities) -> bool:
    """Whether PyTorch's gradient is not the derivative of the reference, and yours is.

    off: by input, which elements differ.
    """
    asked_for = {name: where for name, where in off.items() if where.any()}
    if not asked_for or not all(name in it.wanted for name in asked_for):
        return False
    return all(_yours(it, seen, direction) for direction in _directions(it, asked_for))


def _directions(it: Check, off: Quantities) -> Iterator[Quantities]:
    """Along all elements that differ with random weights, then along some of them alone."""
    random = np.random.default_rng(it.seed)
    for _ in range(3):
        yield {
            name: where
            * random.choice([-1.0, 1.0], where.shape)
            * random.uniform(1, 2, where.shape)
            for name, where in off.items()
        }
    for name, where in off.items():
        for place in np.argwhere(where)[:_ALONE]:
            alone = np.zeros(where.shape)
            alone[tuple(place)] = 1.0
            yield {name: alone}


def _yours(it: Check, seen: Measured, direction: Quantities) -> bool:
    """Whether the derivative along a direction is yours, and not PyTorch's."""
    if any(it.inputs[name].dtype.kind == "c" for name in direction):
        return False
    steps = {name: by * scale(it.inputs[name]) for name, by in direction.items()}
    yours, torchs = (
        sum(float(np.sum(side[name] * step)) for name, step in steps.items())
        for side in (seen.own, seen.torch)
    )
    derivative, error = _ridders(it, steps)
    from_yours, from_torchs = abs(derivative - yours), abs(derivative - torchs)
    return from_yours <= _SURE * error and from_torchs > max(_SURE * error, 3 * from_yours)


def _ridders(it: Check, steps: Quantities) -> tuple[float, float]:
    """The derivative of the reference's value along steps, and an estimate of its error."""
    here = it.value()
    best, error = np.nan, np.inf
    for width in _WIDTHS:
        previous: list[float] = []
        for row in range(_ROWS):
            h = width / _SHRINK**row
            ends = [it.value(_along(it, steps, way * h)) for way in (1, -1)]
            rounding = it.unit(next(iter(steps))) * max(abs(here), *map(abs, ends)) / h
            current = [(ends[0] - ends[1]) / (2 * h)]
            for order, before in enumerate(previous, 1):
                factor = _SHRINK ** (2 * order)
                current.append((current[-1] * factor - before) / (factor - 1))
                wrong = max(abs(current[-1] - current[-2]), abs(current[-1] - before), rounding)
                if wrong < error:
                    best, error = current[-1], wrong
            previous = current
    return best, error


def _along(it: Check, steps: Quantities, by: float) -> Quantities:
    moved = {
        name: (it.inputs[name] + by * step).astype(it.inputs[name].dtype)
        for name, step in steps.items()
    }
    return it.inputs | moved
