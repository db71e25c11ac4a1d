"""Which steps of a run a page or a picture keeps: of a long one a selection, in memory that does not grow."""

MOST_DIFFERING = 10


class Album:
    """The first step, the last, the first ones that differ, and evenly in between, no more than about `most`.

    make: a function of (record, result) that gives what is kept of a step.
    """

    def __init__(self, make, most):
        self.make, self.most = make, most
        self.stride, self.kept, self.differing, self.last = 1, {}, [], None

    def add(self, record, result):
        """Take in one step of a run, which `result` has already taken in."""
        differs = (
            result.steps_differing > len(self.differing) and len(self.differing) < MOST_DIFFERING
        )
        if differs:
            self.differing.append(record.number)
        if differs or (record.number - 1) % self.stride == 0:
            self.kept[record.number] = self.make(record, result)
        self.last = record
        if len(self.kept) > self.most + len(self.differing):
            self.stride *= 2
            stays = {n for n in self.kept if (n - 1) % self.stride == 0 or n in self.differing}
            self.kept = {n: kept for n, kept in self.kept.items() if n in stays}

    def steps(self, result):
        """What is kept of each step, in order."""
        if self.last is not None and self.last.number not in self.kept:
            self.kept[self.last.number] = self.make(self.last, result)
        return [self.kept[number] for number in sorted(self.kept)]
