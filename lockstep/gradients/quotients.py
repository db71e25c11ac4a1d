"""Difference quotients in place of derivatives, known by their error or by their grid."""

from __future__ import annotations

import itertools
import math

import numpy as np

from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import quotients
from lockstep.gradients.measured import Check
from lockstep.network.names import Array

_WIDTHS = (
    *(10.0**-k for k in range(2, 14)),
    2.0**-26,
    *(2.0 ** (-52 / 3), 2.0 ** (-52 / 5), 1.49e-8, 1.5e-8, 6e-6),  # roots of the epsilon, and near
)
_KINDS = {1: "one-sided", 2: "central", 12: "central, of five points"}
_MOST = 64  # elements that are looked at
_CHANCE = 1e-9  # that numbers lie so near a grid by accident


def quotient(it: Check, name: str, own: Array, value: Array, off: Array) -> Diagnosis | None:
    """A gradient whose wrong elements are difference quotients of the reference."""
    if name not in it.wanted or it.inputs[name].dtype.kind != "f" or not off.any():
        return None
    found = _by_error(it, name, own, value, off) or _by_grid(
        own[off], value[off], it.inputs[name][off], it.value()
    )
    if not found:
        return None
    width, kind = found
    says = f"the gradient of {name} is a difference quotient, {kind}, of width {width:.3g}"
    return Diagnosis(name, "finite-differences", says, "derive it")


def _by_error(
    it: Check, name: str, own: Array, value: Array, off: Array
) -> tuple[float, str] | None:
    """Quotients of the reference's value that are wrong by the same amounts.

    If those of several widths are, they are no worse than yours: it is PyTorch's that is another.
    """
    if off.sum() < 0.3 * off.size:
        return None
    start = it.inputs[name]
    tried = quotients(
        lambda moved: it.value(it.inputs | {name: moved}), start, own - value, value, off
    )
    found: list[tuple[float, str]] = []
    for width, kind, error, theirs, noise in tried:
        size, left = np.abs(error), np.abs(error - theirs)
        near = left <= np.maximum(64 * noise, 1e-3 * size)
        seen = (left < 0.01 * size) & (noise < size)
        if near.all() and seen.mean() > 0.5:
            found.append((width, kind))
    widths = [width for width, _ in found]
    return found[0] if found and max(widths) < 2 * min(widths) else None


def _by_grid(own: Array, value: Array, start: Array, loss: float) -> tuple[float, str] | None:
    """The width with which own · width are differences of floats, which lie on a coarse grid.

    The right values must not lie there too, as regular numbers would. Of several grids it is the
    coarsest; of the same one for several widths, that of floats as large as the loss. start: the
    inputs, with which a width may grow.
    """
    mantissas = np.frexp(own)[0] * 2.0**16
    usable = np.isfinite(own) & (mantissas != np.round(mantissas))  # short ones lie on any grid
    first = np.unique(own[usable], return_index=True)[1][:_MOST]
    used, right, at = (array[usable][first] for array in (own, value, start))
    n = used.size
    in_single = (used.astype(np.float32) == used).all()  # these have a grid of their own
    if n < 3 or in_single or not (np.abs(used - right) <= 1e-2 * np.abs(right)).all():
        return None
    # numbers off the grid give n on average, with a deviation of √n
    least = n + 6 * math.sqrt(n) - math.log(_CHANCE)
    spacing = math.frexp(loss)[1] - 53 if math.isfinite(loss) else 0
    found: list[tuple[float, int, float, str]] = []
    for width, points in itertools.product(_WIDTHS, _KINDS):
        growing = at + width * np.maximum(1.0, np.abs(at)) - at  # exactly, as it was rounded
        for step, exponent in itertools.product((width, growing), range(-60, -34)):
            unit = step * (points / 2.0**exponent)
            surprise = _on_grid(used * unit)
            if surprise > least > 2 * _on_grid(right * unit):
                found.append((round(surprise), -abs(exponent - spacing), width, _KINDS[points]))
    return max(found)[2:] if found else None


def _on_grid(numbers: Array) -> float:
    """How surprising it is that numbers are so near to whole ones: the logarithm of the chance."""
    if not (np.abs(numbers) > 4).all():
        return 0.0
    distance = 2 * np.abs(numbers - np.round(numbers))
    resolved = np.maximum(distance, np.abs(numbers) * 2.0**-50)
    return float(-np.log(np.clip(resolved, 2.0**-50, 1)).sum())
