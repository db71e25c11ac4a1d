"""The record of a training step: both sides, what it started from, how much they may differ."""

import itertools
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lockstep.network.names import label


@dataclass(frozen=True)
class Entry:
    """One element of a step, with the field names of the JSON document.

    index: None where the whole quantity has another shape, and so are the numbers then.
    """

    step: int
    quantity: str
    index: list[int] | None
    label: str
    manual: float | None = None
    torch: float | None = None
    difference: float | None = None
    allowed: float | None = None


@dataclass
class Record:
    """One training step, both sides: what it started from, what came out, and how much that may differ.

    manual, torch: dicts of arrays by name. bound: a function that gives `allowed`, such a dict too; it is called when
    that is first looked at, for a bound costs more than the step. covered: of quantities that were returned in part,
    which elements were. misshapen: what was returned in another shape than the table's. The flat arrays (float64) hold
    the same numbers one after the other, in the order of `manual`; they are what the judgement looks at.
    """

    number: int
    parameters: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    lr: float
    manual: dict[str, np.ndarray]
    torch: dict[str, np.ndarray]
    bound: Callable[[], dict[str, np.ndarray]]
    sizes: tuple[int, int, int]
    dtype: str
    covered: dict[str, np.ndarray] = field(default_factory=dict)
    misshapen: dict[str, np.ndarray] = field(default_factory=dict)
    printed: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # half a unit of printed numbers' last digits
    agrees: Callable[[], bool] = lambda: False  # whether it does at sight; see `at_sight`
    jump: Any = None  # `recording.Jump`, where the step does not start where the one before ended
    own: dict[str, np.ndarray] | None = (
        None  # PyTorch's parameters after its own run up to here, of a recording
    )

    @cached_property
    def allowed(self):
        return self.bound()

    @cached_property
    def flat_manual(self):
        return self._flat(self.manual)

    @cached_property
    def flat_torch(self):
        return self._flat(self.torch)

    @cached_property
    def flat_allowed(self):
        return self._flat(self.allowed)

    @cached_property
    def difference(self):
        with np.errstate(invalid="ignore", over="ignore"):
            return np.abs(self.flat_manual - self.flat_torch)

    @cached_property
    def size(self):
        """How many elements were returned."""
        return sum([array.size for array in self.manual.values()]) - sum(
            [np.sum(~part) for part in self.covered.values()]
        )

    def _flat(self, side):
        if not self.manual:
            return np.empty(0)
        if not self.covered:
            return np.concatenate([side[name] for name in self.manual], axis=None, dtype=np.float64)
        parts = [
            side[name][self.covered[name]] if name in self.covered else np.ravel(side[name])
            for name in self.manual
        ]
        return np.concatenate(parts, dtype=np.float64)

    def elements(self, name):
        """The elements of a quantity that were returned, as positions in it."""
        if name in self.covered:
            return np.flatnonzero(self.covered[name])
        return range(np.size(self.manual[name]))

    @cached_property
    def _ends(self):
        """Where each quantity ends in the flat arrays."""
        return list(itertools.accumulate(len(self.elements(name)) for name in self.manual))

    def spans(self):
        """(name, range of its positions in the flat arrays) of each quantity."""
        for name, (start, end) in zip(
            self.manual, itertools.pairwise([0, *self._ends]), strict=True
        ):
            yield name, range(start, end)

    def worst_positions(self):
        """By quantity the position of its largest difference for what is allowed."""
        ratio = self.ratio()
        return {
            name: at.start + int(ratio[at.start : at.stop].argmax()) for name, at in self.spans()
        }

    def place(self, position):
        """The name and the index of a position in the flat arrays."""
        which = bisect(self._ends, position)
        name = list(self.manual)[which]
        element = self.elements(name)[
            position - self._ends[which]
        ]  # counted from the quantity's end
        return name, tuple(int(i) for i in np.unravel_index(element, np.shape(self.manual[name])))

    def position(self, name, index):
        """The position in the flat arrays of an element."""
        inside = int(np.ravel_multi_index(index, np.shape(self.manual[name])))
        return dict(self.spans())[name].start + list(self.elements(name)).index(inside)

    def named(self, name, index):
        """What a report calls an element."""
        return label(name, index, self.sizes, len(self.x))

    def entry(self, position):
        """One element as the report's and the JSON's fields; of a quantity of another shape, its name."""
        if self.jump and position == self.jump.name:
            return self._entry_of_the_jump()
        if isinstance(position, str):
            return Entry(self.number, position, None, position)
        name, index = self.place(position)
        return Entry(
            step=self.number,
            quantity=name,
            index=list(index),
            label=self.named(name, index),
            manual=float(self.flat_manual[position]),
            torch=float(self.flat_torch[position]),
            difference=float(self.difference[position]),
            allowed=float(self.flat_allowed[position]),
        )

    def drifting(self, free):
        """Pairs of parameters after this step, each side's own run up to here. free: by hand, or None."""
        if free is not None:
            return [(array, self.torch[f"new_{name}"]) for name, array in free.items()]
        own = self.own or {}
        return [
            (self.manual[f"new_{name}"].astype(array.dtype), array)
            for name, array in own.items()
            if f"new_{name}" in self.manual and f"new_{name}" not in self.covered
        ]

    def _entry_of_the_jump(self):
        jump = self.jump
        label = self.named(jump.name, jump.index)
        apart = abs(jump.start - jump.end)
        return Entry(
            self.number, jump.name, list(jump.index), label, jump.start, jump.end, apart, 0.0
        )

    def ratio(self):
        """difference / allowed for every element; 0 where both are equal."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.difference / self.flat_allowed
        ratio[self.flat_manual == self.flat_torch] = 0.0
        return ratio
