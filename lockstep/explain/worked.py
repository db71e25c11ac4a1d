"""Numbers on paper as people work them: each from the numbers before it as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lockstep.bound.bounded import Bounded
from lockstep.explain.case import Case
from lockstep.explain.diagnosis import Diagnosis
from lockstep.network.names import Array, Quantities
from lockstep.network.problem import Problem
from lockstep.run.record import Record
from lockstep.run.result import History

_FEWEST = 2  # numbers that show how digits were cut off
_COARSER = 30.0  # times as coarse: from such a number nobody works one of so many digits
_MOST = 400  # written numbers whose digits are moved one by one


class _AsWritten(Case):
    """A step whose formulas get what is written, and what follows from it where nothing is."""

    def _as_returned(self, name: str, result: Bounded) -> Bounded:
        covered = self.record.covered.get(name)
        own = self.own[name] if covered is None else np.where(covered, self.own[name], result.value)
        scale = np.maximum(result.scale, np.abs(own))
        return Bounded(own, scale, result.k, result.precision)

    def moved(self, name: str, by: Array) -> dict[str, Bounded]:
        """What the formulas give where a quantity is written otherwise."""
        before, self._by_right_ones = self.own[name], {}
        self.own[name] = before + by
        try:
            return self.evaluated({})
        finally:
            self.own[name], self._by_right_ones = before, {}


def as_worked(records: Iterator[Record], problem: Problem) -> Iterator[Record]:
    """The steps of numbers on paper; see `worked`."""
    before: Record | None = None
    for record in records:
        before = worked(record, problem, before)
        yield before


def worked(record: Record, problem: Problem, before: Record | None) -> Record:
    """The step with what the digits of the numbers before each one leave open.

    A number is right where it is PyTorch's, to half a unit of its last digit, or where its formula
    gives it from the numbers before it, each anywhere in half a unit of its own.

    Args:
        record: The step.
        problem: What is trained.
        before: The step before, whose new parameters may be what this one was worked from.
    """
    written = sum(int(np.count_nonzero(half)) for half in record.printed.values())
    if not 0 < written <= _MOST or record.misshapen or _is_right(record):
        return record
    found = _opened(record, problem, {})
    if before is not None and not _is_right(found):
        halves = _started(record, before)
        own = replace(record, start=replace(record.start, parameters=_own_start(record, before)))
        again = _opened(own, problem, halves)
        if _is_right(again):
            found = replace(found, room=again.room, bound=again.bound)
    return found


def _is_right(record: Record) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((record.difference <= record.flat_allowed).all())


def _own_start(record: Record, before: Record) -> Quantities:
    """The parameters as the step before has them written."""
    found = dict(record.start.parameters)
    for name, array in found.items():
        new = before.manual.get(f"new_{name}")
        if new is not None:
            covered = before.covered.get(f"new_{name}", True)
            found[name] = np.where(covered, new, array)
    return found


def _started(record: Record, before: Record) -> Quantities:
    """By parameter half a unit of the last digits that the step before has of it."""
    names = record.start.parameters
    return {n: before.printed[f"new_{n}"] for n in names if f"new_{n}" in before.printed}


def _opened(record: Record, problem: Problem, halves: Quantities) -> Record:
    """The step with its room; halves: of the parameters that it starts from."""
    case = _AsWritten(record, problem, History())
    base = case.evaluated({})
    room = {name: np.zeros(half.shape) for name, half in record.printed.items()}
    for unit, value, moved in _moves(case, record, problem, halves):
        for name, it in room.items():
            it += np.where(
                _may_follow(unit, value, record.printed[name], case.own[name]),
                np.abs(moved[name].value - base[name].value),
                0.0,
            )
    more = {}
    for name, half in record.printed.items():
        own, torch = case.own[name], np.asarray(record.torch[name], np.float64)
        follows = np.abs(own - base[name].value) <= base[name].bound() + half + room[name]
        apart = np.abs(own - torch) * (1 + 1e-12)
        more[name] = np.where(follows & (half > 0), np.maximum(room[name], apart), 0.0)
    return replace(_with_more(record, more), room=room)


def _with_more(record: Record, more: Quantities) -> Record:
    """The step in which quantities may differ by so much more."""
    allowed = {name: record.allowed[name] + more.get(name, 0.0) for name in record.allowed}
    return replace(record, bound=lambda: allowed)


def _may_follow(half: float, value: float, its_half: Array, its_value: Array) -> Array:
    """Whether numbers may have been worked from one of so many digits: of about as many.

    Args:
        half, value: Half a unit of that one, and it.
        its_half, its_value: The same of the numbers.
    """
    by_decimals = half <= _COARSER * its_half
    by_digits = half * np.abs(its_value) <= _COARSER * its_half * abs(value)
    return (its_half > 0) & (by_decimals | by_digits)


def _moves(
    case: _AsWritten, record: Record, problem: Problem, halves: Quantities
) -> Iterator[tuple[float, float, dict[str, Bounded]]]:
    """Half a unit of each written number, it, and what follows where it is that much larger."""
    for name, half in record.printed.items():
        for at in map(tuple, np.argwhere(half > 0)):
            by = np.zeros(half.shape)
            by[at] = half[at]
            yield float(half[at]), float(case.own[name][at]), case.moved(name, by)
    for name, half in halves.items():
        for at in map(tuple, np.argwhere(half > 0)):
            parameters = dict(record.start.parameters)
            value = float(parameters[name][at])
            parameters[name] = parameters[name].copy()
            parameters[name][at] += half[at]
            start = replace(record.start, parameters=parameters)
            moved = _AsWritten(replace(record, start=start), problem, History()).evaluated({})
            yield float(half[at]), value, moved


def cut_off(record: Record, problem: Problem) -> tuple[list[Diagnosis], Record]:
    """The diagnosis of numbers whose digits were cut off, and not rounded; [] where they are not.

    Each is nearer to 0 than what it follows from, by less than a unit of its last digit. At least
    two such numbers that rounding does not give tell it, and most others must be like them.

    Returns:
        The diagnosis, and the record with a whole unit in the place of half a one.
    """
    case = _AsWritten(record, problem, History())
    base = case.evaluated({})
    wrong: dict[str, Array] = {}
    apart = 0
    for name, half in record.printed.items():
        own, torch = case.own[name], np.asarray(record.torch[name], np.float64)
        returned = record.covered.get(name, np.ones(half.shape, bool)) & (half > 0)
        is_cut = _is_cut(own, base[name].value, half) | _is_cut(own, torch, half)
        off = returned & (np.abs(own - torch) > half * (1 + 1e-9))
        apart += int(np.sum(returned & ~is_cut))
        if (off & is_cut).any():
            wrong[name] = off & is_cut
    many = sum(int(it.sum()) for it in wrong.values())
    if many < _FEWEST or apart >= many:
        return [], record
    name = next(iter(wrong))
    at = tuple(map(int, np.argwhere(wrong[name])[0]))
    label, right = record.named(name, at), float(record.torch[name][at])
    says = f"digits are cut off, not rounded: {label} is {right:.6g}, and "
    says += f"{float(case.own[name][at]):g} is written"
    remedy = "round to the nearest: 0.5967 is 0.597"
    found = [Diagnosis(name, "too-few-digits", says, remedy, "", [*wrong])]
    units = {name: 2 * half for name, half in record.printed.items()}
    return found, replace(_with_more(record, record.printed), printed=units)


def _is_cut(own: Array, right: Array, half: Array) -> Array:
    """Which numbers are those that cutting off digits makes of right ones."""
    sign = np.where(own == 0, 1.0, np.sign(own) * np.sign(right))
    rest = np.abs(right) - sign * np.abs(own)
    return np.asarray((rest > -2e-3 * half) & (rest < 2.002 * half))
