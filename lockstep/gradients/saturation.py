"""Gradients by hand that lose their digits where they saturate, by a formula that is right."""

from __future__ import annotations

import numpy as np

from lockstep.gradients.inputs import largest
from lockstep.gradients.measured import SAFETY, Check, Measured
from lockstep.network.names import Array, Quantities

_WAY = 2.0 ** (-np.arange(-32, 96) / 8)  # from 16 times the inputs to 1/4096 of them


def saturated(it: Check, seen: Measured, off: Quantities) -> Quantities:
    """Which wrong elements are off by rounding alone, as the formula by hand saturates there.

    A sigmoid as (1 + tanh(x/2))/2 loses its digits in its tail and ends at 0; a move of the inputs
    by a unit in the last place doesn't show it. So both sides run on the way from beyond the inputs
    to 0. Nowhere may they be apart by more than rounding changes the largest gradients. And yours
    must be 0 at first, and then be as large as that rounding, with few right digits. A gradient
    that is cut off has all of them, one that is missing stays 0, one that underflows is smaller.

    off: by name, which elements are wrong.
    """
    most = {name: largest(seen.torch[name]) for name in off}
    slight = {
        name: where
        & (np.abs(seen.own[name] - seen.torch[name]) <= SAFETY * seen.unit[name] * most[name])
        for name, where in off.items()
    }
    found = {name: _Way(where) for name, where in slight.items() if where.any()}
    nothing = {name: np.zeros(where.shape, bool) for name, where in off.items()}
    if it.hand is None or not found:
        return nothing
    for part in _WAY:
        inputs = it.moved(lambda _, array: array * part)  # noqa: B023
        try:
            own, torch = it.hand(inputs), it.torch(inputs)
        except (ValueError, TypeError):  # outside of what they take
            return nothing
        for name, way in found.items():
            mine, value = (side.get(name, np.zeros(())) for side in (own, torch))
            way.take_in(mine, value, seen.unit[name])
    for name, way in found.items():
        rounding = seen.unit[name] * np.minimum(way.largest, most[name])
        slight[name] &= (way.apart <= SAFETY * rounding) & (way.first >= rounding / SAFETY)
    return slight


class _Way:
    """What was seen of each element on the way.

    Attributes:
        apart: How far the two sides were apart at most.
        largest: The largest gradient.
        vanished: Whether yours was 0, and has been ever since.
        first: How large it was when it was 0 no longer, if it had few right digits; else 0.
    """

    def __init__(self, like: Array) -> None:
        self.apart, self.largest = np.zeros(like.shape), np.zeros(like.shape)
        self.vanished, self.first = np.ones(like.shape, bool), np.zeros(like.shape)
        self.begun = False

    def take_in(self, own: Array, value: Array, unit: float) -> None:
        """Note the gradients at the next point."""
        error, size = np.abs(own - value), np.abs(value)
        self.apart, self.largest = np.maximum(self.apart, error), np.maximum(self.largest, size)
        appears = self.vanished & (own != 0) & (error >= np.sqrt(unit) * size)
        if self.begun:
            self.first[appears] = np.abs(own)[appears]
        self.vanished &= own == 0
        self.begun = True
