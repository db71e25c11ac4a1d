"""Other problems for a derivation: one problem can hide a mistake that another shows."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from lockstep.errors import Unusable
from lockstep.network.names import Sizes
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
        quantity: What differs first.
    """

    sizes: list[int]
    samples: int
    quantity: str | None


@dataclass(frozen=True)
class Battery:
    """How many other problems were tried and match, and the smallest that does not.

    Attributes:
        problems: How many could be tried.
        matching: How many of them match.
        smallest: The smallest that does not match; None where all do.
    """

    problems: int
    matching: int
    smallest: Counterexample | None


def battery(
    number: int, problem: Problem, scalars: bool, judge: Callable[[Problem], Result]
) -> tuple[Battery, str]:
    """Try a derivation on other problems of growing size with the same settings.

    A derivation may be written for a single output, or for a number of samples above one: then all
    problems have these.

    Args:
        number: How many.
        problem: Whose settings they have.
        scalars: The derivation is in scalars, so only the values change.
        judge: Gives the result for a problem, with the derivation loaded afresh.

    Returns:
        What was found, and why the first that could not be tried could not be, or "".
    """
    fixed = problem.network_settings | dict(lr=problem.lr, dtype=problem.dtype, steps=STEPS)
    every = _shapes(problem, scalars)
    failing, reasons = [], []
    for i in range(number):
        sizes, samples = every[i * len(every) // number]
        try:
            result = judge(make_problem(fixed | dict(sizes=sizes, samples=samples, seed=i + 1)))
        except Unusable as reason:
            reasons.append(str(reason))
            continue
        if not result.values:
            reasons.append("nothing was compared")
        elif result.verdict == "mismatch":
            quantity = result.first.quantity if result.first else None
            failing.append(Counterexample(list(sizes), samples, quantity))
    tried = number - len(reasons)
    smallest = failing[0] if failing else None
    return Battery(tried, tried - len(failing), smallest), (*reasons, "")[0]


def _shapes(problem: Problem, scalars: bool) -> list[tuple[Sizes, int]]:
    """The widths and numbers of samples to try, small ones first."""
    if scalars:
        return [(problem.sizes, 1)]
    n_out, samples = problem.sizes[2], problem.batch_samples
    widths = [(a, b, 1) if n_out == 1 else (a, b, c) for a, b, c in _WIDTHS]
    numbers = _SAMPLES if samples == 1 else (samples,)
    return sorted(product(widths, numbers), key=lambda shape: (shape[1] + 1) * sum(shape[0]))
