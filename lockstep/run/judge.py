"""One step judged: where the two sides differ by more than rounding allows."""

from dataclasses import replace

import numpy as np

from lockstep.bound.bounded import Precision
from lockstep.network.names import COMPUTED


def judge(record, fixed=False):
    """The verdict on one step: ("match" | "mismatch" | "undecided", position of the first element that decided it).

    A quantity of another shape is a mismatch, told by its name in place of a position; so is a step that does not start
    where the one before ended, told by the parameter.

    Undecided: a number that is not finite on both sides alike, before any mismatch in the order of computation.
    fixed: the tolerance is the user's, so nothing is known of overflow on the way.
    """
    if record.jump:
        return "mismatch", record.jump.name
    if record.misshapen:
        return _with_shapes(record, fixed)
    agree = record.difference <= record.flat_allowed
    if agree.all() and np.isfinite(record.difference).all():
        return "match", None

    finite_m, finite_t = np.isfinite(record.flat_manual), np.isfinite(record.flat_torch)
    allowed = np.where(np.isnan(record.flat_allowed), np.inf, record.flat_allowed)
    both, neither = finite_m & finite_t, ~finite_m & ~finite_t
    one = ~both & ~neither
    if (
        not fixed
    ):  # terms near the largest number overflow in one order of summation and not in another
        precision = Precision.of(record.dtype)
        finite_value = np.abs(np.where(finite_m, record.flat_manual, record.flat_torch))
        with np.errstate(over="ignore"):
            on_the_way = one & (finite_value + allowed / precision.u >= precision.largest)
        one, neither = one & ~on_the_way, neither | on_the_way
    differs = one | (both & ~(record.difference <= allowed))

    def first(where):
        return int(np.argmax(where)) if where.any() else len(where)

    if not differs.any() and not neither.any():
        return (
            "match",
            None,
        )  # where allowed is not a number, its scale overflowed: nothing is known
    order = list(record.manual)
    stage = [
        order.index(record.place(at)[0]) if at < len(differs) else len(order)
        for at in map(first, (differs, neither))
    ]
    if stage[0] <= stage[1]:
        return "mismatch", first(differs)
    return "undecided", first(neither)


def _with_shapes(record, fixed):
    """The verdict where some quantity has another shape: whatever comes first in the order of computation."""
    misshapen = next(iter(record.misshapen))
    said, position = judge(replace(record, misshapen={}, bound=lambda: record.allowed), fixed)
    if said != "match" and COMPUTED.index(record.place(position)[0]) < COMPUTED.index(misshapen):
        return said, position
    return "mismatch", misshapen
