"""The control: errors of three times the allowed difference are planted; each must be caught."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lockstep.bound.allowed import allowed
from lockstep.network.problem import Problem
from lockstep.run.judge import Judgement
from lockstep.run.record import Record

TIMES = 3


@dataclass(frozen=True)
class Planted:
    """An error in one element, with the field names of the JSON document.

    Attributes:
        quantity: The name of the quantity in matrices.
        index: The place of the element in it, counted from 0; empty for `loss`.
        label: What the report calls the element.
        torch: PyTorch's value, to which the error was added.
        error: The error.
        allowed: How far the two sides may be apart there.
        caught: Whether this very element was found as the first mismatch.
    """

    quantity: str
    index: list[int]
    label: str
    torch: float
    error: float
    allowed: float
    caught: bool


@dataclass(frozen=True)
class Control:
    """The errors planted into a step, one a quantity, and how many of them were caught.

    Attributes:
        step: The number of the step.
        caught: How many of the errors were caught.
        planted: The errors, in the order of computation.
    """

    step: int
    caught: int
    planted: list[Planted]


def control(
    problem: Problem, record: Record, fixed: bool, judged: Callable[[Record], Judgement]
) -> Control:
    """Plant an error into one element of each quantity in turn; the same elements on every run.

    Args:
        problem: what is trained.
        record: a step of the run.
        fixed: the step is judged by a tolerance of the user's. The errors are measured by rounding
            all the same, so that a tolerance that is too wide is seen to be.
        judged: what the run judges a record by.
    """
    bound = allowed(problem, record.start, record.torch) if fixed else record.allowed
    random = np.random.default_rng(0)
    right = {name: np.asarray(record.torch[name], np.float64) for name in record.manual}
    planted = []
    for name, positions in record.spans():
        position = int(random.choice(positions))
        index = record.place(position)[1]
        value = float(right[name][index])
        wrong = max(value + TIMES * float(bound[name][index]), float(np.nextafter(value, np.inf)))
        manual = right | {name: right[name].copy()}
        manual[name][index] = wrong
        changed = replace(record, manual=manual, misshapen={}, bound=lambda: record.allowed)
        caught = judged(changed) == Judgement("mismatch", position)
        label, limit = record.named(name, index), float(record.allowed[name][index])
        planted.append(Planted(name, list(index), label, value, wrong - value, limit, caught))
    return Control(record.number, sum(one.caught for one in planted), planted)
