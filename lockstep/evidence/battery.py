"""Other problems for a derivation: one problem can hide a mistake that another shows."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from lockstep.errors import Unusable
from lockstep.network.problem import Problem, make_problem
from lockstep.run.result import Result

_WIDTHS = (
    (1, 2, 1),
    (2, 1, 2),
    (2, 3, 1),
    (3, 2, 2),
    (2, 2, 2),
    (3, 4, 2),
    (4, 3, 5),
    (5, 6, 3),
    (7, 4, 6),
    (8, 9, 5),
)
_SAMPLES = (1, 2, 5)
STEPS = 3  # enough for what is carried from one step to the next


@dataclass(frozen=True)
class Counterexample:
    """A problem that does not match, with the field names of the JSON document.

    Attributes:
        sizes: The widths of its inputs, hidden layer and outputs.
        samples: The number of its samples.
        quantity: What differs first; None where the derivation cannot be run on the problem.
    """

    sizes: list[int]
    samples: int
    quantity: str | None


@dataclass(frozen=True)
class Battery:
    """How many other problems were tried and match, and the smallest that does not.

    Attributes:
        problems: How many were tried.
        matching: How many of them match.
        smallest: The smallest that does not match; None where all do.
    """

    problems: int
    matching: int
    smallest: Counterexample | None


def battery(
    number: int, problem: Problem, scalars: bool, judge: Callable[[Problem], Result]
) -> Battery:
    """Try a derivation on other problems of growing size with the same settings.

    Args:
        number: how many.
        problem: whose settings they have.
        scalars: the derivation is in scalars, so only the values change.
        judge: gives the result for a problem, with the derivation loaded afresh.
    """
    fixed = problem.network_settings | dict(lr=problem.lr, dtype=problem.dtype, steps=STEPS)
    every = sorted(product(_WIDTHS, _SAMPLES), key=lambda shape: (shape[1] + 1) * sum(shape[0]))
    failing = []
    for i in range(number):
        sizes, samples = (problem.sizes, 1) if scalars else every[i * len(every) // number]
        other = make_problem(fixed | dict(sizes=sizes, samples=samples, seed=i + 1))
        quantity = None
        try:
            result = judge(other)
            quantity = result.first.quantity if result.first else None
            matches = result.verdict != "mismatch"
        except Unusable:
            matches = False
        if not matches:
            failing.append(Counterexample(list(sizes), samples, quantity))
    return Battery(number, number - len(failing), failing[0] if failing else None)
