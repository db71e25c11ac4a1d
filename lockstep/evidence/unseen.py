"""What a problem cannot show: mistakes that would change nothing on it beyond rounding."""

from contextlib import suppress
from dataclasses import replace

import numpy as np

from lockstep.explain.case import Case, StandIn
from lockstep.explain.catalogue import Mistake
from lockstep.network.problem import Problem
from lockstep.run.record import Record
from lockstep.run.result import History

_CONSTANT = 0.37  # what stands for a fitted constant; any value but 0 and 1 would do
_LARGEST = 2 * 10**7  # multiply-adds of a step beyond which trying every mistake takes too long


@np.errstate(all="ignore")
def cannot_see(problem: Problem, steps: list[tuple[Record, History]]) -> list[str] | None:
    """The mistakes that would change no quantity beyond rounding in some steps.

    Args:
        problem: what the steps are of.
        steps: the steps, and what there was before each.

    Returns:
        The names in the catalogue's order; None where trying them takes longer than a moment.
    """
    if problem.multiply_adds > _LARGEST:
        return None
    seen: dict[str, bool] = {}
    for record, history in steps:
        right = replace(record, manual=record.torch, covered={}, misshapen={}, printed={})
        case = Case(right, problem, history)
        for mistake in case.mistakes:
            seen[mistake.name] = seen.get(mistake.name, False) or _changes(case, mistake)
    return [name for name, changes in seen.items() if not changes]


def _changes(case: Case, mistake: Mistake) -> bool:
    """Whether the mistake, in any of its forms, gives its quantity another value."""
    n = case.many(mistake)
    if mistake.each and n < 2:
        return False  # nothing can be left out
    given = {"c": _CONSTANT, f"{mistake.each}": [0], f"but_{mistake.each}": list(range(1, n))}
    for text in mistake.formulas:
        with suppress(ValueError, IndexError):  # the shapes do not fit: it would not run
            result = case.value(mistake.quantity, {mistake.quantity: StandIn(text, given)})
            if case.off(mistake.quantity, result).any():
                return True
    return False
