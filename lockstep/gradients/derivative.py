"""Whose gradient is it? Difference quotients of the reference's value decide between the two sides.

Ridders' extrapolation (Advances in Engineering Software 4, 1982) of central difference quotients
along a direction gives the derivative to about twelve digits, and an estimate of its own error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

from lockstep.gradients.kinks import scale
from lockstep.gradients.measured import Check, Measured, noisy
from lockstep.gradients.reference import asked, clones, same_draws, way_back
from lockstep.network.names import Quantities

_WIDTHS = (2.0**-3, 2.0**-7, 2.0**-13, 2.0**-20)  # to begin with, relative to the inputs
_SHRINK, _ROWS = 1.6, 9
_ALONE = 24  # elements that are looked at one by one
_LITTLE = 1e-6  # of the largest value: no gradient that is cut differs by less
_SURE = 30  # errors of the quotients


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
        yours, torchs = (
            sum(float(np.sum(side[name] * step)) for name, step in steps.items())
            for side in (seen.own, seen.torch)
        )
        derivative, error = _ridders(it, steps)
        if _SURE * error < abs(yours - torchs):
            return abs(derivative - yours) <= min(_SURE * error, abs(derivative - torchs) / 3)
        may_be |= abs(derivative - yours) <= _SURE * error < 1e-6 * abs(yours)
    return None if may_be else False


def _ridders(it: Check, steps: Quantities) -> tuple[float, float]:
    """The derivative of the reference's value along steps, and an estimate of its error."""
    shaking = _shaking(it) / it.unit(next(iter(steps)))
    best, error = np.nan, np.inf
    for width in _WIDTHS:
        previous: list[float] = []
        for row in range(_ROWS):
            h = width / _SHRINK**row
            ends = [it.value(_along(it, steps, way * h)) for way in (1, -1)]
            rounding = it.unit(next(iter(steps))) * max(shaking, *map(abs, ends)) / h
            current = [(ends[0] - ends[1]) / (2 * h)]
            for order, before in enumerate(previous, 1):
                factor = _SHRINK ** (2 * order)
                current.append((current[-1] * factor - before) / (factor - 1))
                wrong = max(abs(current[-1] - current[-2]), abs(current[-1] - before), rounding)
                if wrong < error:
                    best, error = current[-1], wrong
            previous = current
    return best, error


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
