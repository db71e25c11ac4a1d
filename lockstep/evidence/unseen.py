"""What a problem cannot show: mistakes that would change nothing on it beyond rounding, and what would show them."""

from dataclasses import replace

import numpy as np

from lockstep.explain.case import Case
from lockstep.explain.catalogue import catalogue

_CONSTANT = 0.37  # what stands for a fitted constant; any value but 0 and 1 would do
_LARGEST = (
    2 * 10**7
)  # multiply-adds of a step beyond which trying every mistake would take longer than a moment


def is_small(problem):
    """Whether trying every mistake on a problem takes no longer than a moment."""
    return problem.multiply_adds <= _LARGEST


def cannot_see(problem, records, histories):
    """The names of the mistakes that would change no quantity beyond rounding in these steps, in the catalogue's order.

    records, histories: some steps of the run, and what `case.History` knew before each.
    """
    tried: dict[str, bool] = {}
    for record, history in zip(records, histories, strict=True):
        right = replace(record, manual=record.torch, covered={}, misshapen={}, printed={})
        case = Case(right, problem, history)
        for mistake in catalogue(case.right):
            if tried.get(mistake.name) or not _changes(case, mistake):
                tried.setdefault(mistake.name, False)
            else:
                tried[mistake.name] = True
    return [name for name, seen in tried.items() if not seen]


def _changes(case, mistake):
    """Whether the mistake, in any of its forms, gives its quantity another value."""
    everything = list(range(case.samples)), list(range(case.sizes[2]))
    extra = {
        "c": _CONSTANT,
        "sample": [0],
        "but_sample": everything[0][1:],
        "one": [0],
        "but_one": everything[1][1:],
    }
    for formula in mistake.formulas:
        few = case.samples if "sample]" in formula else case.sizes[2] if "one]" in formula else 2
        if few < 2:
            continue  # nothing can be left out
        try:
            with np.errstate(all="ignore"):
                result = case.evaluated({mistake.quantity: (formula, extra)}, mistake.quantity)[
                    mistake.quantity
                ]
        except (ValueError, IndexError):
            continue  # the shapes do not fit: it would not run
        if (
            np.shape(result.value) != np.shape(case.own[mistake.quantity])
            or case.off(mistake.quantity, result).any()
        ):
            return True
    return False


def would_show(problem, steps):
    """Options with which the same network would show more, as text; "" where nothing is left to ask for."""
    options = []
    if problem.batch_samples == 1:
        options.append("--samples 5")
    if "linear" in (problem.hidden_activation, problem.output_activation):
        options.append("--hidden-activation sigmoid --output-activation tanh")
    if steps < 2:
        options.append("--steps 2")
    if len(set(problem.sizes)) > 1:
        options.append("a square network such as --sizes 3-3-3")
    return ", ".join(options)
