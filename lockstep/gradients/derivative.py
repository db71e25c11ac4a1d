"""Whose gradient is it? Difference quotients of the reference's value decide between the two sides.

Ridders' extrapolation (Advances in Engineering Software 4, 1982) of central difference quotients
along a direction gives the derivative to about twelve digits, and an estimate of its own error.
The narrowest quotient that tells the two sides apart decides, as what lies beside the inputs, such
as a kink, disturbs it least. It counts only where PyTorch's gradient does not change within it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

from lockstep.gradients.inputs import largest
from lockstep.gradients.kinks import scale
from lockstep.gradients.measured import Check, Measured, noisy
from lockstep.gradients.reference import asked, clones, same_draws, way_back
from lockstep.network.names import Array, Quantities

_WIDTHS = tuple(2.0**-k for k in (44, 36, 28, 20, 13, 7, 3, 1))  # at first, relative to the inputs
_SHRINK, _ROWS = 1.6, 9
_ALONE = 24  # elements that are looked at one by one
_LITTLE = 1e-6  # of the largest value: no gradient that is cut differs by less
_SURE = 30  # errors of the quotients
_KNOWN = 1e-3  # of the derivative: quotients that know less tell nothing
_STEADY = 0.25  # of the difference between the sides: PyTorch's may change by less within a width


def yours_is_the_derivative(it: Check, seen: Measured, off: Quantities) -> bool:
    """Whether PyTorch's gradient is not the derivative of the reference, and yours is.

    off: by input, which elements differ.
    """
    asked_for = {name: where for name, where in off.items() if where.any()}
    if not asked_for or not asked_for.keys() <= {*it.wanted}:
        return False
    sides = [(seen.own[name], seen.torch[name]) for name in asked_for]
    large = any(largest(own - value) > _LITTLE * largest(value) for own, value in sides)
    if large and _is_cut(it):
        return False
    sure = False  # along some direction; along the others nothing may speak against it
    for direction in _directions(it, asked_for):
        yours = _yours(it, seen, direction)
        if yours is False:
            return False
        sure |= yours is True
    return sure


def _is_cut(it: Check) -> bool:
    """Whether the reference means its gradient to be no derivative.

    It detaches, computes without gradients, changes gradients by hooks, or has a Function of its
    own.
    """
    watching = _Cuts()
    with torch.enable_grad(), same_draws(), watching:
        loss = asked(it.reference, clones(it.inputs, it.attached))
    return watching.found or any(isinstance(node, BackwardCFunction) for node in way_back(loss))


class _Cuts(TorchFunctionMode):
    """Looks for what cuts or changes gradients on the way."""

    found = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        needs = any(isinstance(each, Tensor) and each.requires_grad for each in args)
        self.found |= needs and (func in _CUTTING or not torch.is_grad_enabled())
        return func(*args, **(kwargs or {}))


_CUTTING = {
    Tensor.detach,
    Tensor.detach_,
    Tensor.data.__get__,  # type: ignore[attr-defined]
    Tensor.register_hook,
    Tensor.numpy,
    Tensor.item,
    Tensor.tolist,
    Tensor.__float__,
    Tensor.__complex__,
}


def _directions(it: Check, off: Quantities) -> Iterator[Quantities]:
    """Along each element that differs; of many, along some, and along all with random weights."""
    random = np.random.default_rng(it.seed)
    for _ in range(3 if sum(where.sum() for where in off.values()) > _ALONE else 0):
        yield {
            name: where
            * random.choice([-1.0, 1.0], where.shape)
            * random.uniform(1, 2, where.shape)
            for name, where in off.items()
        }
    for name, where in off.items():
        for number in np.flatnonzero(where)[:_ALONE]:
            alone = np.zeros(where.shape)
            alone.flat[number] = 1.0
            yield {name: alone}


def _yours(it: Check, seen: Measured, direction: Quantities) -> bool | None:
    """Whether the derivative along a direction is yours, and not PyTorch's.

    None where it is not known well enough, and may be yours.
    """
    if any(it.inputs[name].dtype.kind == "c" for name in direction):
        return False
    may_be = False
    for least in (0.0, 1.0):  # beside a larger number, a step as small as a tiny input is nothing
        steps = {
            name: by * np.maximum(scale(it.inputs[name]), least) for name, by in direction.items()
        }
        yours, torchs = (_sum(side, steps) for side in (seen.own, seen.torch))
        apart, size = abs(yours - torchs), max(abs(yours), abs(torchs))
        known = min(apart, _KNOWN * size)
        found = _ridders(it, seen, steps, known)
        off, error = abs(found.value - yours), _SURE * found.error
        if error < known:
            is_yours = off <= min(error, abs(found.value - torchs) / 3)
            return is_yours and abs(_beside(it, steps, found) - torchs) <= _STEADY * apart
        may_be |= off <= error < 1e-6 * abs(yours)
    return None if may_be else False


def _sum(gradients: Quantities, steps: Quantities) -> float:
    """The derivative along steps."""
    return sum(float(np.sum(gradients[name] * step)) for name, step in steps.items())


@dataclass
class _Slope:
    """The derivative along a direction by difference quotients.

    Attributes:
        value: The derivative.
        error: An estimate of how far it is off.
        weights: By width how much its quotient counts.
    """

    value: float = np.nan
    error: float = np.inf
    weights: dict[float, float] = field(default_factory=dict)


def _ridders(it: Check, seen: Measured, steps: Quantities, apart: float) -> _Slope:
    """The derivative of the reference's value along steps, by the first width that tells.

    Args:
        it: The two sides.
        seen: Their gradients.
        steps: How far each input moves, by name.
        apart: How far it has to be known.
    """
    unit = max(map(it.unit, steps))
    least = _shaking(it) / unit
    if sum(np.count_nonzero(step) for step in steps.values()) > 1:  # each moves as it is rounded
        sizes = (np.sum(np.abs(seen.torch[name] * step)) for name, step in steps.items())
        least = max(least, float(sum(sizes)))
    best = _Slope()
    for first in _WIDTHS:
        quotients = []
        for width in first / _SHRINK ** np.arange(_ROWS):
            moves, moved = _moves(it, steps, width)
            up, down = (it.value(_along(it, moves, way)) for way in (1, -1))
            rounding = unit * max(least, abs(up), abs(down)) / moved
            quotients.append((width, moved, (up - down) / (2 * moved), rounding))
        best = min(best, _to_zero(np.array(quotients)), key=lambda slope: slope.error)
        if _SURE * best.error < apart:
            break
    return best


def _moves(it: Check, steps: Quantities, width: float) -> tuple[Quantities, float]:
    """What inputs of limited precision move by, up and down, and which width that is."""
    moves = {
        name: it.inputs[name] + (width * step).astype(it.inputs[name].dtype) - it.inputs[name]
        for name, step in steps.items()
    }
    signs = {name: np.sign(step) for name, step in steps.items()}
    return moves, np.float64(_sum(moves, signs)) / _sum(steps, signs)  # which may be 0


def _to_zero(quotients: Array) -> _Slope:
    """Quotients extrapolated to width 0; of each the width, that moved by, itself, its rounding."""
    widths, moved, values, rounding = quotients.T
    best = _Slope()
    previous: list[Array] = []
    for k, row in enumerate(np.column_stack([values, np.eye(_ROWS)])):
        current = [row]  # a quotient, and how much each counts in it
        for order, before in enumerate(previous, 1):
            factor = (moved[k - order] / moved[k]) ** 2
            last = current[-1]
            current.append((last * factor - before) / (factor - 1))
            value = float(current[-1][0])
            error = float(max(abs(value - last[0]), abs(value - before[0]), rounding[k]))
            if error < best.error:
                counts = zip(widths.tolist(), current[-1][1:].tolist(), strict=True)
                best = _Slope(value, error, {width: by for width, by in counts if by})
        previous = current
    return best


def _beside(it: Check, steps: Quantities, slope: _Slope) -> float:
    """PyTorch's derivative along steps on both sides of the inputs, extrapolated as the slope is.

    NaN where there is none.
    """
    total = 0.0
    for width, weight in slope.weights.items():
        moves, _ = _moves(it, steps, width)
        for way in (1, -1):
            try:
                total += weight / 2 * _sum(it.torch(_along(it, moves, way)), steps)
            except (ValueError, TypeError, KeyError):  # it has no gradient there
                return np.nan
    return total


def _shaking(it: Check) -> float:
    """How far rounding moves the reference's value, which may be a sum of larger terms."""
    here = it.value()
    under_noise = []
    for noise in islice(noisy(it), 4):
        with noise:
            under_noise.append(it.value())
    return float(largest(np.array(under_noise) - here))


def _along(it: Check, moves: Quantities, way: int) -> Quantities:
    return it.moved(lambda name, array: array + way * moves[name], moves)
