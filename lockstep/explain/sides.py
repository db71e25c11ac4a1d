"""Explanations that rest on where the numbers come from: on paper, in a recording, or computed here."""

from collections.abc import Iterator
from itertools import takewhile

import numpy as np

from lockstep.explain.case import trained
from lockstep.explain.catalogue import Mistake, catalogue
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.few_digits import too_few_digits
from lockstep.explain.formulas import sources
from lockstep.explain.search import diagnose
from lockstep.network.names import COMPUTED, FORWARD, Quantities
from lockstep.network.problem import Problem
from lockstep.run.record import Jump, Record
from lockstep.run.result import History
from lockstep.sides.written import Written, as_answer, half_a_unit


def explain(
    record: Record, problem: Problem, history: History, written: dict[int, Written] | None
) -> list[Diagnosis]:
    """Which mistake gives the numbers of a step that differs, in the order of computation.

    Args:
        record: The step.
        problem: What was trained.
        history: PyTorch's gradients of the steps before.
        written: The numbers of all steps, where they come from paper.
    """
    if record.jump:
        return [_of_a_jump(record.jump)]
    if written is not None and not record.misshapen:
        found = _by_whole_trainings(record, problem, written)
        if found:
            return found
    if record.origin is not None:
        few = too_few_digits(record, problem, record.origin.text, record.origin.earlier)
        if few:
            return [few]
    found = diagnose(record, problem, history)
    unsaid = record.origin.unsaid if record.origin else ()
    for first in found[:1]:
        if unsaid and first.mistake == "unknown" and first.quantity in FORWARD:
            names = ", ".join(unsaid)
            first.remedy = f"give {names} in each line: one that changes in between looks like this"
    return found


def _of_a_jump(jump: Jump) -> Diagnosis:
    """The diagnosis of a step that does not start where the one before ended."""
    if jump.is_old:
        says = f"{jump.name} is what step {jump.before} started from: its new value was not kept"
        return Diagnosis(jump.name, "not-updated", says, "store what the update computed")
    says = f"{jump.name} changed between two steps, and nothing gives the reason"
    return Diagnosis(jump.name, "unknown", says, "look for what else writes to it")


def _by_whole_trainings(
    record: Record, problem: Problem, written: dict[int, Written]
) -> list[Diagnosis]:
    """The catalogue's mistakes that, made at every step from the first, give the written numbers."""
    start, right = problem.parameters, sources(problem)
    later = {number: written[number] for number in sorted(written) if number >= record.number}
    wrong = _differing(problem, trained(problem, right, {}, start), later)
    if not wrong:
        return _unquoted(record)
    found: dict[str, Diagnosis] = {}
    for mistake in catalogue(problem):
        formula = None if mistake.name in found else _reproducing(mistake, problem, later, wrong)
        if formula is not None:
            found[mistake.name] = _reproduced(mistake, formula, wrong)
    return list(found.values())


def _reproducing(
    mistake: Mistake, problem: Problem, later: dict[int, Written], wrong: set[tuple[int, str]]
) -> str | None:
    """The first of a mistake's formulas with which a whole training gives the wrong numbers."""
    right = sources(problem)
    for formula in mistake.formulas if mistake.is_plain else ():
        training = trained(problem, right, {mistake.quantity: formula}, problem.parameters)
        try:
            if not _differing(problem, training, later, wrong):
                return formula
        except (ValueError, IndexError):
            continue  # the shapes do not fit
    return None


def _reproduced(mistake: Mistake, formula: str, wrong: set[tuple[int, str]]) -> Diagnosis:
    digits = ", ".join(f"{name} of step {number}" for number, name in sorted(wrong))
    says = mistake.says.format(q=mistake.quantity, c="", cause="")
    return Diagnosis(
        mistake.quantity,
        mistake.name,
        f"{says}; trained like that from the first step on, every digit of {digits} comes out",
        mistake.remedy,
        formula,
        sorted({name for _, name in wrong}, key=COMPUTED.index),
    )


def _unquoted(record: Record) -> list[Diagnosis]:
    """The diagnosis of numbers that are right to their digits, but not in quotes; else []."""
    for name, value in record.manual.items():
        covered = record.covered.get(name, np.ones(value.shape, bool))
        halves = np.vectorize(lambda n: half_a_unit(repr(float(n))), otypes=[float])(value)
        apart = np.abs(value - record.torch[name])
        differs = (apart > record.allowed[name])[covered].any()
        if differs and (apart <= halves * (1 + 1e-9))[covered].all():
            says = (
                f"{name} is right to the digits it is written with; a bare number is judged like a "
                "computed one"
            )
            remedy = 'put a printed number in quotes, as in h1 = "0.593"'
            return [Diagnosis(name, "too-few-digits", says, remedy)]
    return []


def _differing(
    problem: Problem,
    training: Iterator[tuple[int, Quantities]],
    later: dict[int, Written],
    only: set[tuple[int, str]] | None = None,
) -> set[tuple[int, str]]:
    """The (step, name) whose numbers a training does not give; of those in `only`, the first."""
    differing: set[tuple[int, str]] = set()
    for number, quantities in takewhile(lambda step: step[0] <= max(later), training):
        if number not in later:
            continue
        samples = len(problem.batch(number)[0])
        answer = as_answer(later[number], problem, samples, quantities)
        for name, value in answer.values.items():
            if only and (number, name) not in only:
                continue
            apart, printed = (
                np.abs(value - quantities[name]),
                answer.printed.get(name, np.zeros(())),
            )
            small = 1e-9 * np.abs(quantities[name])
            if not (apart <= np.where(printed > 0, printed * (1 + 1e-9), small)).all():
                differing.add((number, name))
                if only:
                    return differing
    return differing
