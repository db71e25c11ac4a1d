"""Whose gradient is it? Difference quotients of the reference's value decide between the two sides.

Ridders' extrapolation (Advances in Engineering Software 4, 1982) of central difference quotients
along a direction gives the derivative to about twelve digits, and an estimate of its own error.
The narrowest quotient that tells the two sides apart decides, as what lies beside the inputs, such
as a kink, disturbs it least. It counts only where PyTorch's gradient does not change within it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

from lockstep.gradients.kinks import scale
from lockstep.gradients.measured import Check, Measured, noisy
from lockstep.gradients.reference import asked, clones, same_draws, way_back
from lockstep.network.names import Array, Quantities

_WIDTHS = tuple(2.0**-k for k in (44, 36, 28, 20, 13, 7, 3))  # at first, relative to the inputs
_SHRINK, _ROWS = 1.6, 9
_ALONE = 24  # elements that are looked at one by one
_LITTLE = 1e-6  # of the largest value: no gradient that is cut differs by less
_SURE = 30  # errors of the quotients
_STEADY = 0.25  # of the difference between the sides: PyTorch's may change by less within a width


def yours_is_the_derivative(it: Check, seen: Measured, off: Quantities) -> bool:
    """Whether PyTorch's gradient is not the derivative of the reference, and yours is.

    off: by input, which elements differ.
    """
    asked_for = {name: where for name, where in off.items() if where.any()}
    if not asked_for or not all(name in it.wanted for name in asked_for):
        return False
    apart = {name: np.max(np.abs(seen.own[name] - seen.torch[name])) for name in asked_for}
    large = any(apart[n] > _LITTLE * np.max(np.abs(seen.torch[n])) for n in asked_for)
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
    for _ in range(3 if sum(int(where.sum()) for where in off.values()) > _ALONE else 0):
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
        apart = abs(yours - torchs)
        found = _ridders(
            it, steps, apart, max(_size(side, steps) for side in (seen.own, seen.torch))
        )
        if _SURE * found.error < apart:
            off = abs(found.value - yours)
            is_yours = off <= min(_SURE * found.error, abs(found.value - torchs) / 3)
            return is_yours and abs(_beside(it, steps, found) - torchs) <= _STEADY * apart
        may_be |= abs(found.value - yours) <= _SURE * found.error < 1e-6 * abs(yours)
    return None if may_be else False


def _sum(gradients: Quantities, steps: Quantities) -> float:
    """The derivative along steps."""
    return sum(float(np.sum(gradients[name] * step)) for name, step in steps.items())


def _size(gradients: Quantities, steps: Quantities) -> float:
    """What the derivative along steps could be, if nothing cancelled."""
    return sum(float(np.sum(np.abs(gradients[name] * step))) for name, step in steps.items())


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


def _ridders(it: Check, steps: Quantities, apart: float, size: float) -> _Slope:
    """The derivative of the reference's value along steps, by the first width that tells.

    Args:
        it: The two sides.
        steps: How far each input moves, by name.
        apart: How far the derivatives of the two sides are apart.
        size: What they are about, as inputs that round move by a little more or less.
    """
    unit = max(map(it.unit, steps))
    least = max(_shaking(it) / unit, size)
    best = _Slope()
    for first in _WIDTHS:
        widths = first / _SHRINK ** np.arange(_ROWS)
        up, down = (
            np.array([it.value(_along(it, steps, way * width)) for width in widths])
            for way in (1, -1)
        )
        rounding = unit * np.maximum(least, np.maximum(np.abs(up), np.abs(down))) / widths
        found = _to_zero(widths, (up - down) / (2 * widths), rounding)
        best = min(best, found, key=lambda slope: slope.error)
        if _SURE * best.error < apart:
            break
    return best


def _to_zero(widths: Array, quotients: Array, rounding: Array) -> _Slope:
    """Quotients extrapolated to width 0."""
    best = _Slope()
    previous: list[Array] = []
    for row, least in zip(np.column_stack([quotients, np.eye(_ROWS)]), rounding, strict=True):
        current = [row]  # a quotient, and how much each counts in it
        for order, before in enumerate(previous, 1):
            factor = _SHRINK ** (2 * order)
            last = current[-1]
            current.append((last * factor - before) / (factor - 1))
            value = float(current[-1][0])
            error = float(max(abs(value - last[0]), abs(value - before[0]), least))
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
        for way in (width, -width):
            try:
                total += weight / 2 * _sum(it.torch(_along(it, steps, way)), steps)
            except (ValueError, TypeError, KeyError):  # it has no gradient there
                return np.nan
    return total


def _shaking(it: Check) -> float:
    """How far rounding moves the reference's value, which may be a sum of larger terms."""
    here = it.value()
    under_noise = []
    for noise, _ in zip(noisy(it), range(4), strict=False):
        with noise:
            under_noise.append(it.value())
    return float(np.max(np.abs(np.array(under_noise) - here)))


def _along(it: Check, steps: Quantities, by: float) -> Quantities:
    return it.moved(lambda name, array: array + by * steps[name], steps)
