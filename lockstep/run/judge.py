"""One step judged: where the two sides differ by more than rounding allows."""

from dataclasses import dataclass, replace

import numpy as np

from lockstep.bound.bounded import Precision
from lockstep.network.names import Array
from lockstep.run.record import Record
from lockstep.run.resolution import Ratios

_SURE = (
    0.999  # a difference so near to what is allowed is looked at without the quotient's rounding
)


SAMPLED = 4096  # of a step's values, about this many count for the median of the resolution


@dataclass(frozen=True)
class Judgement:
    """The verdict on one step.

    Attributes:
        verdict: "match", "mismatch" or "undecided".
        position: Of the first element that decided it; None for a match. A quantity of another
            shape, or a parameter that does not start where the step before ended, is given by
            its name.
    """

    verdict: str
    position: int | str | None = None


MATCH = Judgement("match")


@dataclass(frozen=True)
class Worst:
    """The largest difference / allowed of a step, and where it is."""

    ratio: float
    position: int

    @property
    def is_surely_a_match(self) -> bool:
        """Whether every difference is finite and within its bound."""
        return self.ratio < _SURE


def worst(record: Record, ratios: Ratios) -> Worst:
    """The element with the largest difference for what is allowed.

    Args:
        record: The step.
        ratios: Collects how fine the step could see.
    """
    found = Worst(0.0, 0)
    every = max(record.size // SAMPLED, 1)
    with np.errstate(all="ignore"):
        for start, manual, torch, allowed in record.chunks():
            ratio = np.subtract(manual, torch)
            np.abs(ratio, out=ratio)
            ratio /= allowed
            at = int(ratio.argmax())
            if np.isnan(ratio[at]):  # 0 / 0 among them
                ratio[(manual == torch) & np.isfinite(manual)] = 0.0
                at = int(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)))
            if not ratio[at] <= found.ratio:
                found = Worst(float(ratio[at]), start + at)
            ratios.add(allowed, torch, every)
    return found


def judge(record: Record, fixed: bool = False) -> Judgement:
    """The verdict on one step.

    Undecided is a number that is not finite on both sides alike, before any mismatch in the order
    of computation.

    Args:
        record: The step.
        fixed: Whether the tolerance is the user's, so that nothing is known of overflow on the way.
    """
    if record.jump:
        return Judgement("mismatch", record.jump.name)
    if record.misshapen:
        return _with_shapes(record, fixed)
    if (record.difference <= record.flat_allowed).all() and np.isfinite(record.difference).all():
        return MATCH

    differs, neither = _undone(record, fixed)
    if not differs.any() and not neither.any():
        return MATCH  # where allowed is not a number, its scale overflowed: nothing is known
    order = list(record.manual)
    stages = [
        order.index(record.place(at)[0]) if at < len(where) else len(order)
        for where in (differs, neither)
        for at in [_first(where)]
    ]
    if stages[0] <= stages[1]:
        return Judgement("mismatch", _first(differs))
    return Judgement("undecided", _first(neither))


def _undone(record: Record, fixed: bool) -> tuple[Array, Array]:
    """Which values differ, and which are finite on neither side."""
    finite_m, finite_t = np.isfinite(record.flat_manual), np.isfinite(record.flat_torch)
    allowed = np.where(np.isnan(record.flat_allowed), np.inf, record.flat_allowed)
    both, neither = finite_m & finite_t, ~finite_m & ~finite_t
    one = ~both & ~neither
    if (
        not fixed
    ):  # terms near the largest number overflow in one order of summation, not in another
        precision = Precision.of(record.dtype)
        finite_value = np.abs(np.where(finite_m, record.flat_manual, record.flat_torch))
        with np.errstate(over="ignore"):
            on_the_way = one & (finite_value + allowed / precision.u >= precision.largest)
        one, neither = one & ~on_the_way, neither | on_the_way
    return one | (both & ~(record.difference <= allowed)), neither


def _first(where: Array) -> int:
    return int(np.argmax(where)) if where.any() else len(where)


def _with_shapes(record: Record, fixed: bool) -> Judgement:
    """The verdict where some quantity has another shape: whatever is first in the computation."""
    misshapen = next(iter(record.misshapen))
    found = judge(replace(record, misshapen={}, bound=lambda: record.allowed), fixed)
    if isinstance(found.position, int):
        name, _ = record.place(found.position)
        order = record.network.judged
        if order.index(name) < order.index(misshapen):
            return found
    return Judgement("mismatch", misshapen)
