"""The record of a training step: both sides, what it started from, how much they may differ."""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lockstep.bound.allowed import Allowed, Limits
from lockstep.network.names import Array, Index, Quantities
from lockstep.network.network import Network
from lockstep.network.problem import Start
from lockstep.sides.side import Origin

CHUNK = 2**15  # values that are looked at together: what fits into a processor's cache


@dataclass(frozen=True)
class Entry:
    """One element of a step, with the field names of the JSON document.

    Where the whole quantity has another shape, `index` and the numbers are None.

    Attributes:
        step: The number of the step.
        quantity: The name of the quantity in matrices, such as `delta_h`.
        index: The place of the element in it, counted from 0; empty for `loss`.
        label: What the report calls the element, such as `delta_h1` or `delta_h[2, 1]`.
        manual: The value by hand.
        torch: PyTorch's value.
        difference: How far the two are apart.
        allowed: How far rounding, or the tolerance given, lets them be apart.
    """

    step: int
    quantity: str
    index: list[int] | None
    label: str
    manual: float | None = None
    torch: float | None = None
    difference: float | None = None
    allowed: float | None = None


@dataclass(frozen=True)
class Jump:
    """An element of a parameter that a step starts from, and that is not where the last one ended.

    Attributes:
        name: The parameter.
        index: The element.
        start: What the step starts from.
        end: What the step before ended with.
        before: The number of the step before.
        is_old: Whether it is what the step before started from.
    """

    name: str
    index: Index
    start: float
    end: float
    before: int
    is_old: bool


@dataclass
class Record:
    """One training step, both sides.

    The flat arrays (float64) hold all numbers one after the other, in the order of `manual`; a
    *position* is a place in them.

    Attributes:
        number: The number of the step.
        start: What it starts from.
        manual: What was returned by hand, arrays by name.
        torch: PyTorch's quantities.
        bound: Gives `allowed`, how much they may differ; called when that is first looked at.
        network: What is trained.
        dtype: The run's.
        covered: Of quantities that were returned in part, which elements were.
        misshapen: What was returned in another shape than the table's.
        given: What was asked for and returned unchanged, in whole or in part; it is not judged.
        asked: The computed quantities that were asked for, as PyTorch has them.
        printed: Half a unit of printed numbers' last digits; or what float32 inputs explain.
        room: What the digits of written numbers leave open of those that follow from them.
        names: What was used in place of the table's names, by the quantity.
        reshaped: What came in a shape that can be read in one way alone.
        extra: Names that mean nothing here, and what they may have been meant for.
        jump: Where the step does not start where the one before ended.
        origin: Of a recording, where its numbers come from.
        free: By hand, the parameters of its own training up to here.
        torch_free: Beside a recording, PyTorch's of its own training up to here.
    """

    number: int
    start: Start
    manual: Quantities
    torch: Quantities
    bound: Callable[[], Limits]
    network: Network
    dtype: str
    covered: Quantities = field(default_factory=dict)
    misshapen: Quantities = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    printed: Quantities = field(default_factory=dict)
    room: Quantities = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    reshaped: list[str] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    jump: Jump | None = None
    origin: Origin | None = None
    free: Quantities | None = None
    torch_free: Quantities | None = None

    @property
    def samples(self) -> int:
        """N, how many samples the step sees."""
        return len(self.start.x)

    def returned(self) -> dict[str, Array]:
        """What was returned by hand and nothing else: of a quantity in part, its scalars."""
        found: dict[str, Array] = {}
        for name, array in self.manual.items():
            if name in self.covered:
                places = map(tuple, np.argwhere(self.covered[name]).tolist())
                found |= {self.named(name, place): array[place] for place in places}
            else:
                found[name] = array
        return found | self.misshapen

    @property
    def is_finite(self) -> bool:
        """Whether what the step starts from is finite."""
        arrays = (*self.start.given.values(), np.asarray(self.start.lr))
        return all(bool(np.isfinite(array).all()) for array in arrays)

    @cached_property
    def allowed(self) -> Limits:
        return self.bound()

    @cached_property
    def flat_manual(self) -> Array:
        return self._flat(self.manual, self.manual)

    @cached_property
    def flat_torch(self) -> Array:
        return self._flat(self.torch, self.manual)

    @cached_property
    def flat_allowed(self) -> Array:
        return self._flat(self.allowed, self.manual)

    @cached_property
    def difference(self) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(np.abs(self.flat_manual - self.flat_torch))

    @cached_property
    def size(self) -> int:
        """How many elements were returned."""
        left_out = sum(int(np.sum(~part)) for part in self.covered.values())
        return sum([array.size for array in self.manual.values()]) - left_out

    def _flat(self, side: Limits, names: Iterable[str]) -> Array:
        arrays = [
            side[name][self.covered[name]] if name in self.covered else side[name] for name in names
        ]
        return np.concatenate(arrays, axis=None, dtype=np.float64) if arrays else np.empty(0)

    def elements(self, name: str) -> Sequence[int] | Array:
        """The elements of a quantity that were returned, as positions in it."""
        if name in self.covered:
            return np.flatnonzero(self.covered[name])
        return range(np.size(self.manual[name]))

    @cached_property
    def _ends(self) -> list[int]:
        """Where each quantity ends in the flat arrays."""
        return list(itertools.accumulate(len(self.elements(name)) for name in self.manual))

    def spans(self) -> Iterator[tuple[str, range]]:
        """(name, range of its positions in the flat arrays) of each quantity."""
        for name, (start, end) in zip(
            self.manual, itertools.pairwise([0, *self._ends]), strict=True
        ):
            yield name, range(start, end)

    def worst_positions(self) -> dict[str, int]:
        """By quantity the position of its largest difference for what is allowed."""
        ratio = self.ratio()
        return {
            name: at.start + int(ratio[at.start : at.stop].argmax()) for name, at in self.spans()
        }

    def place(self, position: int) -> tuple[str, Index]:
        """The name and the index of a position in the flat arrays."""
        which = bisect(self._ends, position)
        name = list(self.manual)[which]
        element = self.elements(name)[
            position - self._ends[which]
        ]  # counted from the quantity's end
        return name, tuple(int(i) for i in np.unravel_index(element, np.shape(self.manual[name])))

    def position(self, name: str, index: Index) -> int:
        """The position in the flat arrays of an element."""
        inside = int(np.ravel_multi_index(index, np.shape(self.manual[name])))
        return dict(self.spans())[name].start + list(self.elements(name)).index(inside)

    def named(self, name: str, index: Index) -> str:
        """What a report calls an element."""
        return self.network.label(name, index, self.samples)

    def yours(self, name: str) -> str:
        """What the user calls a quantity, in brackets, where that is another name."""
        return f" (your {self.names[name]})" if name in self.names else ""

    def entry(self, position: int | str) -> Entry:
        """One element; of a quantity of another shape, or of a jump, its name stands for it."""
        jump = self.jump
        if jump and position == jump.name:
            label, apart = self.named(jump.name, jump.index), abs(jump.start - jump.end)
            ends = jump.start, jump.end
            return Entry(self.number, jump.name, list(jump.index), label, *ends, apart, 0.0)
        if isinstance(position, str):
            return Entry(self.number, position, None, position)
        name, index = self.place(position)
        manual, torch = float(self.manual[name][index]), float(self.torch[name][index])
        return Entry(
            step=self.number,
            quantity=name,
            index=list(index),
            label=self.named(name, index),
            manual=manual,
            torch=torch,
            difference=abs(manual - torch),
            allowed=float(self.allowed[name][index]),
        )

    def drifting(self) -> list[tuple[Array, Array]]:
        """Pairs of parameters after this step, each side's own training up to here."""
        if self.free is not None:
            return [(array, self.torch[f"new_{name}"]) for name, array in self.free.items()]
        return [
            (self.manual[f"new_{name}"].astype(array.dtype), array)
            for name, array in (self.torch_free or {}).items()
            if f"new_{name}" in self.manual and f"new_{name}" not in self.covered
        ]

    def chunks(self) -> Iterator[tuple[int, Array, Array, Array]]:
        """(first position, manual, torch, allowed) of all values, in pieces of a cache."""
        first = 0
        for names in self._groups():
            size = sum(len(self.elements(name)) for name in names)
            if len(names) > 1 or size <= CHUNK or names[0] in self.covered:
                sides = [
                    self._flat(side, names) for side in (self.manual, self.torch, self.allowed)
                ]
                yield first, sides[0], sides[1], sides[2]
            else:
                by_hand, torch = self.manual[names[0]].reshape(-1), self.torch[names[0]].reshape(-1)
                for start in range(0, size, CHUNK):
                    where = slice(start, start + CHUNK)
                    limit = self._limit(names[0], where)
                    yield first + start, by_hand[where], torch[where], limit
            first += size

    def _groups(self) -> Iterator[list[str]]:
        """The quantities in order; those that are small are looked at together."""
        group: list[str] = []
        room = CHUNK
        for name, array in self.manual.items():
            if group and array.size > room:
                yield group
                group, room = [], CHUNK
            group.append(name)
            room -= array.size
        if self.size:
            yield group

    def _limit(self, name: str, where: slice) -> Array:
        """A piece of what is allowed."""
        if isinstance(self.allowed, Allowed):
            return self.allowed.piece(name, where)
        return self.allowed[name].reshape(-1)[where]

    def ratio(self) -> Array:
        """difference / allowed for every element; 0 where both are equal."""
        with np.errstate(all="ignore"):
            ratio = self.difference / self.flat_allowed
        ratio[self.flat_manual == self.flat_torch] = 0.0
        return ratio
