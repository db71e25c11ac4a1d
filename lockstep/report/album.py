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
        differs = len(self.differing) < min(result.steps_differing, MOST_DIFFERING)
        if differs:
            self.differing.append(record.number)
        if differs or (record.number - 1) % self.stride == 0:
            self.kept[record.number] = self.make(record, result)
        self.last = record
        if len(self.kept) > self.most + len(self.differing):
            self.stride *= 2
            for n in list(self.kept):
                if (n - 1) % self.stride and n not in self.differing:
                    del self.kept[n]

    def steps(self, result: Comparison) -> list[Kept]:
        """What is kept of each step, in order."""
        if self.last is not None and self.last.number not in self.kept:
            self.kept[self.last.number] = self.make(self.last, result)
        return [self.kept[number] for number in sorted(self.kept)]
