"""How long a step takes: the median of a block, and what a verified step is."""

import time
from collections.abc import Callable
from statistics import median

from lockstep.bound.allowed import tolerance
from lockstep.network.problem import Problem
from lockstep.run.result import Result
from lockstep.run.steps import records
from lockstep.sides.built_in import BuiltIn

Step = Callable[[], object]  # makes one training step, and goes on from there at the next call


def block_seconds(step: Step, repeats: int) -> float:
    """The time of a step: the median over the calls of a block, after one that is not timed."""
    step()  # what the part before left in the caches is not its own
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return median(times)


def verified_step(problem: Problem, free: bool = True) -> Step:
    """A step of a run: both sides, the bound, the verdict.

    Args:
        problem: with more steps than will be made.
        free: whether the side by hand also trains on its own weights, for the drift.
    """
    side = BuiltIn()
    side.trains_alone = free
    result = Result(problem, side, shows="none")
    steps = records(problem, tolerance(problem, {}), side)

    def verified() -> None:
        result.add(next(steps))

    return verified
