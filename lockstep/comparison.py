"""One step judged: where the two sides differ by more than rounding allows."""

from dataclasses import dataclass

import numpy as np

from lockstep.quantities import label
from lockstep.tolerance import Precision


@dataclass
class Moment:
    """One training step, both sides: what it started from, what came out, and how much that may differ.

    manual, torch, allowed: dicts of arrays by name. The flat arrays (float64) hold the same numbers one after the
    other, in the order of `manual`; they are what the judgement looks at.
    """

    number: int
    parameters: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    lr: float
    manual: dict[str, np.ndarray]
    torch: dict[str, np.ndarray]
    allowed: dict[str, np.ndarray]
    sizes: tuple[int, int, int]
    dtype: str

    def __post_init__(self):
        self.flat_manual, self.flat_torch, self.flat_allowed = (
            np.concatenate([np.ravel(side[name]) for name in self.manual], dtype=np.float64)
            for side in (self.manual, self.torch, self.allowed)
        )
        with np.errstate(invalid="ignore", over="ignore"):
            self.difference = np.abs(self.flat_manual - self.flat_torch)

    def place(self, position):
        """The name and the index of a position in the flat arrays."""
        for name, array in self.manual.items():
            size = np.size(array)
            if position < size:
                return name, tuple(int(i) for i in np.unravel_index(position, np.shape(array)))
            position -= size
        raise IndexError(position)

    def position(self, name, index):
        """The position in the flat arrays of an element."""
        names = list(self.manual)
        before = sum(np.size(self.manual[earlier]) for earlier in names[: names.index(name)])
        return before + (int(np.ravel_multi_index(index, np.shape(self.manual[name]))) if index else 0)

    def named(self, name, index):
        """What a report calls an element."""
        return label(name, index, self.sizes, len(self.x))

    def entry(self, position):
        """One element as the report's and the JSON's fields."""
        name, index = self.place(position)
        return {
            "step": self.number,
            "quantity": name,
            "index": list(index),
            "label": self.named(name, index),
            "manual": float(self.flat_manual[position]),
            "torch": float(self.flat_torch[position]),
            "difference": float(self.difference[position]),
            "allowed": float(self.flat_allowed[position]),
        }

    def ratio(self):
        """difference / allowed for every element; 0 where both are equal."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.difference / self.flat_allowed
        ratio[self.flat_manual == self.flat_torch] = 0.0
        return ratio


def judge(moment, fixed=False):
    """The verdict on one step: ("match" | "mismatch" | "undecided", position of the first element that decided it).

    Undecided: a number that is not finite on both sides alike, before any mismatch in the order of computation.
    fixed: the tolerance is the user's, so nothing is known of overflow on the way.
    """
    with np.errstate(invalid="ignore"):
        agree = moment.difference <= moment.flat_allowed
    if agree.all() and np.isfinite(moment.difference).all():
        return "match", None

    finite_m, finite_t = np.isfinite(moment.flat_manual), np.isfinite(moment.flat_torch)
    allowed = np.where(np.isnan(moment.flat_allowed), np.inf, moment.flat_allowed)
    both, neither = finite_m & finite_t, ~finite_m & ~finite_t
    one = ~both & ~neither
    if not fixed:  # terms near the largest number overflow in one order of summation and not in another
        precision = Precision.of(moment.dtype)
        finite_value = np.abs(np.where(finite_m, moment.flat_manual, moment.flat_torch))
        with np.errstate(over="ignore"):
            on_the_way = one & (finite_value + allowed / precision.u >= precision.largest)
        one, neither = one & ~on_the_way, neither | on_the_way
    with np.errstate(invalid="ignore"):
        differs = one | (both & ~(moment.difference <= allowed))

    def first(where):
        return int(np.argmax(where)) if where.any() else len(where)

    if not differs.any() and not neither.any():
        return "match", None  # where allowed is not a number, its scale overflowed: nothing is known
    order = list(moment.manual)
    stage = [
        order.index(moment.place(at)[0]) if at < len(differs) else len(order) for at in map(first, (differs, neither))
    ]
    if stage[0] <= stage[1]:
        return "mismatch", first(differs)
    return "undecided", first(neither)


def ulps(a, b, dtype):
    """The distance of a from b in units of b's last place; infinite where one is not finite."""
    a, b = np.asarray(a, dtype=dtype), np.asarray(b, dtype=dtype)
    with np.errstate(all="ignore"):
        distance = np.abs(a.astype(np.float64) - b) / np.spacing(np.abs(b)).astype(np.float64)
    distance = np.where(np.isfinite(a) & np.isfinite(b), distance, np.inf)
    return np.where(a == b, 0.0, distance)
