"""Which steps of a run a page or a picture keeps: a selection, in memory that does not grow."""

from collections.abc import Callable
from typing import Generic, TypeVar

from lockstep.evidence.comparison import Comparison
from lockstep.run.record import Record

MOST_DIFFERING = 10

Kept = TypeVar("Kept")


class Album(Generic[Kept]):
    """The first step, the last, the first ones that differ, and evenly in between.

    Args:
        make: a function of (record, result) that gives what is kept of a step.
        most: about how many steps are kept at most.
    """

    def __init__(self, make: Callable[[Record, Comparison], Kept], most: int) -> None:
        self.make, self.most = make, most
        self.stride = 1
        self.kept: dict[int, Kept] = {}
        self.differing: list[int] = []
        self.last: Record | None = None

    def add(self, record: Record, result: Comparison) -> None:
        """Take in one step of a run, which `result` has already taken in."""
        number, self.last = record.number, record
        if len(self.differing) < min(result.steps_differing, MOST_DIFFERING):
            self.differing.append(number)
        if self._is_kept(number):
            self.kept[number] = self.make(record, result)
        if len(self.kept) > self.most + len(self.differing):
            self.stride *= 2
            self.kept = {n: kept for n, kept in self.kept.items() if self._is_kept(n)}

    def _is_kept(self, number: int) -> bool:
        return number in self.differing or (number - 1) % self.stride == 0

    def steps(self, result: Comparison) -> list[Kept]:
        """What is kept of each step, in order."""
        if self.last and self.last.number not in self.kept:
            self.kept[self.last.number] = self.make(self.last, result)
        return list(self.kept.values())
