"""A recording: what a program in any language computed as it trained, a line a step."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.files import read_lines
from lockstep.network.names import COMPUTED, GIVEN, Array, Quantities, scalar_names, scalars
from lockstep.network.options import DESCRIBING, check, demand_describing
from lockstep.network.problem import Problem, Start
from lockstep.sides.answer import Answer
from lockstep.sides.side import Claim, Origin, Side, Turn
from lockstep.sides.written import as_answer, written


@dataclass
class Line:
    """A line of a recording.

    Attributes:
        where: What a message about it starts with.
        step: The number of its step.
        numbers: Arrays by name.
        halves: The same, of numbers in quotes half a unit of the last digit, else 0.
    """

    where: str
    step: int
    numbers: Quantities
    halves: Quantities


class Recording(Side):
    """The lines of a file, or of standard input, as they come.

    Attributes:
        keys: What its problem line says, checked, and what its first step starts from.
        assumed: Keys of its problem that neither it nor anything else says.

    Raises:
        Unusable: With the number of the line, for whatever cannot be read.
    """

    kind = "recording"
    by_its_own_weights = True

    def __init__(self, path: str) -> None:
        self._lines = read_lines(path)
        first = next(self._lines, None)
        self.keys: dict[str, Any] = {}
        self._problem = ""  # where its problem line stands
        if first and "problem" in first[1]:
            self._problem, values = first
            self.keys = _problem(self._problem, values)
            first = next(self._lines, None)
        if first is None:
            raise Unusable(
                f"{path}: has no step; expected a line of JSON a step, such as "
                f'{{"step": 1, "h": [[0.5]]}}'
            )
        self._line: Line | None = None
        self._next = _line(*first)
        self._before = Answer()  # what the line before gave
        self._own_from: tuple[int, str] | None = None  # where PyTorch's own parameter went in
        self._names: set[str] = set()  # the quantities that some line gives, or a part of them
        self.assumed: set[str] = set()
        numbers = self._next.numbers
        self.keys |= {
            name: _of_dimensions(self._next.where, name, numbers[name])
            for name in GIVEN
            if name in numbers
        }
        missing = [n for n in GIVEN if n not in self.keys and not _in_part(n, self._next)]
        if self._problem and missing:
            names = ", ".join(missing)
            where = "here or in the first step's line"
            raise Unusable(f"{self._problem}problem: expected {names} as well, {where}")

    def turn(self, number: int, problem: Problem, parameters: Quantities) -> Turn | None:
        """Where the next line's step starts.

        Each element of a parameter is taken from this line if given, otherwise from the line
        before's new value, otherwise from PyTorch's own.
        """
        if number > problem.steps:
            return None
        last = self._line
        line = self._advance()
        if line is None:
            return None
        x, y = self._data(line, problem)
        lr = line.numbers.get("lr", np.float64(problem.lr))
        if lr.ndim:
            raise Unusable(f"{line.where}lr: expected a number, got a list")
        follows = last is None or line.step == last.step + 1
        started: Quantities = {}
        claims: list[Claim] = []
        unsaid: list[str] = []
        for name, own in parameters.items():
            given, here = _given(line, name, problem, own)
            ended, there = self._ended(name, own) if follows else (own, np.zeros(own.shape, bool))
            started[name] = np.where(here, given, ended)
            if last and not here.all():
                unsaid.append(name)
            if last and not (here | there).all() and name not in problem.frozen:
                self._own_from = self._own_from or (line.step, name)
            differs = here & there & (given != ended)
            if differs.any():
                claims.append(Claim(name, given, ended, differs))
        if unsaid and last and not follows:
            gap = f"step {line.step} comes after step {last.step}"
            raise Unusable(
                f"{line.where}{gap}; expected {', '.join(unsaid)} as well, which it starts from"
            )
        origin = Origin(tuple(unsaid))
        return Turn(line.step, Start(started, x, y, float(lr)), claims, origin)

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        """The line's quantities."""
        assert self._line is not None
        line, where, samples = self._line, self._line.where.rstrip(), len(turn.start.x)
        table = scalars(problem.sizes, samples)
        got = {
            name: numbers
            for name, numbers in line.numbers.items()
            if name != "lr" and table.get(name, (name,))[0] not in GIVEN
        }
        if "lr" in line.numbers:
            self.assumed.discard("lr")
        pairs = {name: (numbers, line.halves[name]) for name, numbers in got.items()}
        found = as_answer(pairs, problem, samples, torch, where)
        self._names |= {*found.values, *found.misshapen}
        self._before = found
        return found

    def remarks(self, problem: Problem) -> list[str]:
        """What was not judged, what was assumed, and where a step started that no line gives."""
        remarks = []
        if not self._problem:
            remarks.append(
                "the recording has no problem line: it was judged by the other options, or as the "
                "lecture's"
            )
        if self.assumed:
            keys = [key for key in ("lr", "loss") if key in self.assumed]
            usual = ", ".join(f"{key} {getattr(problem, key)}" for key in keys)
            remarks.append(f"not given by the recording, so the defaults were used: {usual}")
        missing = [name for name in COMPUTED if name not in self._names]
        if missing:
            remarks.append(f"not recorded, so not judged: {', '.join(missing)}")
        if self._own_from:
            step, name = self._own_from
            remarks.append(
                f"from step {step} on {name} starts from PyTorch's own run, where no line gives "
                "all of it"
            )
        return remarks

    def _advance(self) -> Line | None:
        """The next line, which becomes the current one; None at the end."""
        last, self._line = self._line, self._next
        if last is None:
            return self._line
        following = next(self._lines, None)
        if following is None:
            return None
        line = _line(*following)
        if line.step <= last.step:
            raise Unusable(
                f"{following[0]}step {line.step} comes after step {last.step}; expected a larger "
                "number"
            )
        self._line = self._next = line
        return line

    def _data(self, line: Line, problem: Problem) -> tuple[Array, Array]:
        """x and y of the line, or the problem's."""
        x, y = (
            _rows(line, name, array)
            for name, array in zip(("x", "y"), problem.batch(line.step), strict=True)
        )
        if len(x) != len(y):
            raise Unusable(f"{line.where}x has {len(x)} rows, y has {len(y)}; expected as many")
        return x, y

    def _ended(self, name: str, own: Array) -> tuple[Array, Array]:
        """A parameter as the line before says that it ended, and which of its elements it says."""
        new = f"new_{name}"
        if new not in self._before.values:
            return own, np.zeros(own.shape, bool)
        there = self._before.covered.get(new, np.ones(own.shape, bool))
        return np.where(there, self._before.values[new], own).astype(own.dtype), there


def _rows(line: Line, name: str, array: Array) -> Array:
    """x or y as the line gives it, else as the problem does."""
    if name not in line.numbers:
        return array
    given = line.numbers[name]
    if given.ndim != 2 or given.shape[1] != array.shape[1] or not len(given):
        raise Unusable(
            f"{line.where}{name}: expected rows of {array.shape[1]} numbers, got an array of shape "
            f"{given.shape}"
        )
    return given.astype(array.dtype)


def _given(line: Line, name: str, problem: Problem, own: Array) -> tuple[Array, Array]:
    """A parameter as the line gives it, and which of its elements it gives."""
    numbers = line.numbers
    if name in numbers:
        if numbers[name].shape != own.shape:
            raise Unusable(
                f"{line.where}{name}: expected shape {own.shape}, got {numbers[name].shape}"
            )
        return numbers[name].astype(own.dtype), np.ones(own.shape, bool)
    values, here = own.copy(), np.zeros(own.shape, bool)
    for i, scalar in enumerate(scalar_names(name, problem.sizes, 1) or ()):
        if scalar in numbers:
            values.flat[i], here.flat[i] = numbers[scalar].item(), True
    return values, here


def _in_part(name: str, line: Line) -> bool:
    """Whether a line gives some scalar of a quantity, under the lecture's names."""
    return any(scalar in line.numbers for scalar in scalar_names(name, (2, 2, 2), 1) or ())


def _problem(where: str, values: dict[str, Any]) -> dict[str, Any]:
    """The checked keys of a problem line."""
    if set(values) != {"problem"} or not isinstance(values["problem"], dict):
        raise Unusable(
            f'{where}expected {{"problem": {{...}}}} alone, with the keys of a problem file'
        )
    demand_describing(values["problem"], lambda key: f"{where}{key}", "a recording")
    return check(values["problem"], lambda key: f"{where}{key}", DESCRIBING)


def _of_dimensions(where: str, name: str, array: Array) -> Array:
    """The array, if it has as many dimensions as the table of names says."""
    wanted = 1 if name.startswith("b_") else 2
    if array.ndim != wanted or not array.size:
        forms = {1: "a list of numbers", 2: "a list of rows, each a list of numbers"}
        shape = f"got an array of shape {array.shape}" if array.ndim else "got a number"
        raise Unusable(f"{where}{name}: expected {forms[wanted]}, {shape}")
    return array


def _line(where: str, values: dict[str, Any]) -> Line:
    """A Line of what a line says."""
    if "problem" in values:
        raise Unusable(f"{where}a second problem; expected one, in the first line")
    step = values.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 < step < 2**63:
        got = f"got {short(step)}" if "step" in values else "got none"
        or_problem = ', or first {"problem": {...}}' if where.endswith("line 1: ") else ""
        raise Unusable(
            f'{where}expected the number of its step, 1 or more, as in "step": 1{or_problem}; {got}'
        )
    numbers: Quantities = {}
    halves: Quantities = {}
    for name, value in values.items():
        if name not in ("step", "torch"):
            numbers[name], halves[name] = written(value, f"{where}{name}")
    return Line(where, step, numbers, halves)
