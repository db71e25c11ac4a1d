"""Other problems for a derivation: one problem can hide a mistake that another shows."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from lockstep.errors import Unusable
from lockstep.network.names import Sizes
from lockstep.network.problem import Problem
from lockstep.run.result import Result
from lockstep.setup.problem import alike, make_problem

# of the inputs and the first hidden layer; the next ones are as wide, or one neuron wider
_WIDTHS = ((1, 2), (2, 1), (2, 3), (3, 2), (2, 2), (3, 4), (4, 3), (5, 6), (7, 4), (8, 9))
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

    A derivation may be written for a number of outputs, or of samples above one: all problems have
    these. Targets are drawn in the form that they are given in, and masks where there are any.

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
            other = make_problem(fixed | dict(sizes=sizes, samples=samples, seed=i + 1))
            result = judge(alike(problem, other))
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
    (*_, n_out), samples = problem.sizes, problem.batch_samples
    between = problem.network.depth - 1
    widths = [(a, *(b + i % 2 for i in range(between)), n_out) for a, b in _WIDTHS]
    numbers = _SAMPLES if samples == 1 else (samples,)
    return sorted(product(widths, numbers), key=lambda shape: (shape[1] + 1) * sum(shape[0]))
