"""Explanations that rest on where the numbers come from: on paper, in a recording, or here."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from lockstep.explain.catalogue import catalogue
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.formulas import evaluate, formulas, surroundings
from lockstep.explain.search import diagnose
from lockstep.explain.worked import cut_off
from lockstep.network.names import Array, Quantities
from lockstep.network.problem import Problem, State
from lockstep.run.record import Jump, Record
from lockstep.run.result import History
from lockstep.sides.written import (
    ENOUGH,
    FEWEST,
    Printed,
    Written,
    as_answer,
    half_units,
    printed_as,
)
from lockstep.text import right_digits
from manual_backprop import network as by_hand
from manual_backprop.activations import activation

_EXACT = 17  # of digits: as many as none is lost
_MANY = 3  # mistakes that give the same few digits, of which none is told
_DRAWS = 8  # how often the start is moved within its digits to see how far a step moves,
_ROOM = 4.0  # and how many times the largest such move is allowed


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
    cut, found = list[Diagnosis](), list[Diagnosis]()
    if written is not None and not record.misshapen:
        cut, record = cut_off(record, problem)
        if cut and (record.difference <= record.flat_allowed).all():
            return cut
    if not cut and not record.misshapen and (record.origin or written is not None):
        found = _by_whole_trainings(record, problem, written or {})
        found = found or _by_printed_digits(record, problem)
    if not found:
        found = diagnose(record, problem, history)
        unsaid = record.origin.unsaid if record.origin else ()
        for first in found[:1]:
            is_unknown = first.mistake == "unknown"
            if unsaid and is_unknown and first.quantity in problem.network.forward:
                names = ", ".join(unsaid)
                what = f"give {names} in each line: one that changes in between looks like this"
                first.remedy = what
    return cut + (found if written is None else list(_few(found, record)))


def _few(found: list[Diagnosis], record: Record) -> Iterator[Diagnosis]:
    """The diagnoses; in place of many that few digits do not tell apart, that they do not."""
    for _, group in groupby(found, lambda it: it.explains):
        alike = list(group)
        names = [it.mistake for it in alike if not it.together]
        first = alike[0]
        if len(names) < _MANY or first.quantity not in record.printed:
            yield from alike
            continue
        says = f"its few digits are those of several mistakes: {', '.join(dict.fromkeys(names))}"
        remedy = "write more digits, or more of the numbers before it"
        yield Diagnosis(first.quantity, "unknown", says, remedy, "", first.explains)


def _of_a_jump(jump: Jump) -> Diagnosis:
    """The diagnosis of a step that does not start where the one before ended."""
    if jump.is_old:
        says = f"{jump.name} is what step {jump.before} started from: its new value was not kept"
        return Diagnosis(jump.name, "not-updated", says, "store what the update computed")
    says = f"{jump.name} changed between two steps, and nothing gives the reason"
    return Diagnosis(jump.name, "unknown", says, "look for what else writes to it")


# Numbers on paper


def _by_whole_trainings(
    record: Record, problem: Problem, written: dict[int, Written]
) -> list[Diagnosis]:
    """The mistakes that, made at every step from the first, give the written numbers."""
    later = {number: written[number] for number in sorted(written) if number >= record.number}
    wrong = set(_differing(problem, {}, later))
    digits = ", ".join(f"{name} of step {number}" for number, name in sorted(wrong))
    explains = sorted({name for _, name in wrong}, key=problem.network.judged.index)
    found: dict[str, Diagnosis] = {}
    for mistake in catalogue(problem.network) if wrong else ():
        quantity, says = mistake.quantity, mistake.says.format(q=mistake.quantity, c="", cause="")
        special = mistake.fitted or mistake.each or mistake.history
        says += f"; trained like that from the first step on, every digit of {digits} comes out"
        for formula in mistake.formulas if not special else ():
            with suppress(ValueError, IndexError):  # the shapes do not fit
                if mistake.name not in found and wrong.isdisjoint(
                    _differing(problem, {quantity: formula}, later)
                ):
                    found[mistake.name] = Diagnosis(
                        quantity, mistake.name, says, mistake.remedy, formula, explains
                    )
    return list(found.values())


def _differing(
    problem: Problem, replaced: dict[str, str], later: dict[int, Written]
) -> Iterator[tuple[int, str]]:
    """The (step, name) whose numbers a training with some formulas replaced does not give."""
    network, state = problem.network, problem.state
    right = formulas(network)
    for number in range(1, max(later, default=0) + 1):
        start = problem.start(number, state)
        names = surroundings(network, start, activation)
        with np.errstate(all="ignore"):
            for name, formula in (right | replaced).items():
                names[name] = evaluate(formula, names, right)
        state = State(network.after(names), network.kept(names))
        answer = as_answer(later.get(number, {}), problem, start, names)
        for name, value in answer.values.items():
            apart, printed = np.abs(value - names[name]), answer.printed.get(name, np.zeros(()))
            small = 1e-9 * np.abs(names[name])
            if not (apart <= np.where(printed > 0, printed * (1 + 1e-9), small)).all():
                yield number, name


# Numbers printed with too few digits, as by C's %f and %g


def _half_a_unit(values: Array, form: Printed, usual: int) -> Array:
    """Half a unit of the last printed digit; numbers too short to tell have `usual` decimals."""
    decimals, digits = (form.decimals, form.digits) if form.digits >= FEWEST else (usual, _EXACT)
    return half_units(values, decimals, digits)


@np.errstate(all="ignore")
def _by_printed_digits(record: Record, problem: Problem) -> list[Diagnosis]:
    """The diagnosis of a step that is right to the digits that were printed, and no further."""
    printed = {
        name: printed_as(value[record.covered.get(name, ...)])
        for name, value in record.manual.items()
        if not np.any(record.printed.get(name, 0.0))
    }
    enough = ENOUGH[record.dtype]
    short = [name for name in printed if FEWEST <= printed[name].digits < enough - 1]
    if not short:
        return []
    usual = max(printed[name].decimals for name in short)
    longest = max(printed[name].digits for name in short)
    right, *draws = _moved_starts(record, problem, usual, longest)
    wrong = []
    for name, value in record.manual.items():
        apart = np.abs(value - record.torch[name])
        allowed = record.allowed[name]
        if np.any((apart > allowed)[record.covered.get(name, ...)]):
            wrong.append(name)
        if name in printed:
            allowed = allowed + _half_a_unit(value, printed[name], usual) * (1 + 1e-9)
        allowed = allowed + _ROOM * np.max(
            [abs(draw[name] - right[name]) for draw in draws], axis=0
        )
        if not np.all((apart <= allowed)[record.covered.get(name, ...)]):
            return []
    name = wrong[0]
    off = np.abs(record.manual[name] - record.torch[name]) / np.abs(record.torch[name])
    digits = right_digits(float(np.nanmax(off)))
    words = printed[name if name in short else short[0]].words
    says = f"{name} is right to {digits} digits, as far as {words} reach, here and before"
    remedy = (
        'put a printed number in quotes, as in h1 = "0.593", '
        f'or print {enough} significant digits, as with "%.{enough}g" in C'
    )
    return [Diagnosis(name, "too-few-digits", says, remedy, explains=wrong)]


def _moved_starts(
    record: Record, problem: Problem, decimals: int, digits: int
) -> Iterator[Quantities]:
    """The step, and the same step from starts that are moved within their printed digits.

    A start counts as printed where it has about as many digits as what was computed from it: a
    weight such as 0.5878 beside numbers of 14 decimals is just short by itself.
    """
    random = np.random.default_rng(0)
    network, began = problem.network, record.start
    start = {name: array for name, array in began.given.items() if array.dtype.kind == "f"}
    room = {name: np.zeros(value.shape) for name, value in start.items()}
    for name, value in start.items():
        form = printed_as(value)
        if min(abs(form.decimals - decimals), abs(form.digits - digits)) <= 1:
            room[name] = _half_a_unit(value, form, _EXACT)
    for size in (0, *[1] * _DRAWS):
        moved: dict[str, Any] = {
            name: value.astype(float) + size * random.choice([-1.0, 1.0], value.shape) * room[name]
            for name, value in start.items()
        }
        moved_start = replace(
            began,
            parameters={name: moved[name] for name in began.parameters},
            x=moved["x"],
            y=moved.get("y", began.y),
        )
        yield network.named(by_hand.step(**network.start(moved_start), **network.training))
