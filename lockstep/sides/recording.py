"""A recording: what a program in any language computed as it trained, a line a step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.conventions import Conventions, conventions
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Meant, Network
from lockstep.network.problem import Problem, Start, State, zeros
from lockstep.setup.files import read_lines
from lockstep.setup.options import DESCRIBING, array_option, demand_describing
from lockstep.setup.problem import checked
from lockstep.sides.answer import Answer, scalar_names_anywhere
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


@dataclass
class _Started:
    """What a line's step starts from.

    Attributes:
        arrays: Parameters and memory by name.
        claims: What it says otherwise than the line before.
        unsaid: The names of those that it does not give in full.
    """

    arrays: Quantities
    claims: list[Claim]
    unsaid: list[str]


class Recording(Side):
    """The lines of a file, or of standard input, as they come.

    Attributes:
        keys: What its problem line says, checked, and what its first step starts from.
        assumed: Keys of its problem that neither it nor anything else says.

    Raises:
        Unusable: With the number of the line, for whatever cannot be read.
    """

    kind = "recording"
    noun = "the recording"
    by_its_own_weights = True

    def __init__(self, path: str, said: Mapping[str, Any] = {}) -> None:
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
        self._said = self.conventions = conventions({**self.keys, **said})
        self._line: Line | None = None
        self._next = _line(*first, self._said)
        self._before = Answer()  # what the line before gave
        self._own_from: tuple[int, str] | None = None  # where PyTorch's own parameter went in
        self._names: set[str] = set()  # the quantities that some line gives, or a part of them
        self.assumed: set[str] = set()
        where, numbers = self._next.where, self._next.numbers
        self.keys |= {
            name: _of_dimensions(where, name, numbers[name])
            for name in numbers
            if name in ("x", "y") or (array_option(name) and _is_given(name, numbers[name]))
        }

    def prepare(self, problem: Problem) -> None:
        network = problem.network
        missing = [
            name
            for name in (*network.parameters, *network.masked, "x", "y")
            if not {name, network[name].numbered} & self.keys.keys()
            and not {*(network.scalar_names(name, 1) or ())} & self._next.numbers.keys()
        ]
        if self._problem and missing:
            names = ", ".join(missing)
            where = "here or in the first step's line"
            raise Unusable(f"{self._problem}problem: expected {names} as well, {where}")

    @property
    def is_open(self) -> bool:  # type: ignore[override]
        return not self._said.layout

    def under(self, conventions: Conventions) -> Recording:
        other = copy(self)
        other.conventions, other._names = conventions, set()
        return other

    def adopt(self, conventions: Conventions) -> None:
        self.conventions = conventions

    def turn(self, number: int, problem: Problem, state: State) -> Turn | None:
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
        started = self._started(line, last, problem, state)
        network = problem.network
        kept = {name: started.arrays[name] for name in network.memory}
        is_first = line.step == 1 and state.memory is None and not any(map(np.any, kept.values()))
        start = replace(
            _as_given(line, problem.start(line.step, state)),
            parameters={name: started.arrays[name] for name in network.parameters},
            memory=None if is_first or not kept else kept,
        )
        return Turn(line.step, start, started.claims, Origin(tuple(started.unsaid)))

    def _started(self, line: Line, last: Line | None, problem: Problem, state: State) -> _Started:
        """The parameters, and the memory, that a line's step starts from."""
        network = problem.network
        follows = last is None or line.step == last.step + 1
        found = _Started({}, [], [])
        memory = zeros(network, state.parameters) | (state.memory or {})
        for name, own in (state.parameters | memory).items():
            given, here = _given(line, name, network, own)
            ended, there = self._ended(name, own) if follows else (own, np.zeros(own.shape, bool))
            found.arrays[name] = np.where(here, given, ended)
            if last and not here.all():
                found.unsaid.append(name)
            if last and not (here | there).all() and network.parameter(name) not in problem.frozen:
                self._own_from = self._own_from or (line.step, name)
            differs = here & there & (given != ended)
            if differs.any():
                found.claims.append(Claim(name, given, ended, differs))
        if found.unsaid and last and not follows:
            raise Unusable(
                f"{line.where}step {line.step} comes after step {last.step}; expected "
                f"{', '.join(found.unsaid)} as well, which it starts from"
            )
        return found

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        """The line's quantities."""
        assert self._line is not None
        line, where, samples = self._line, self._line.where.rstrip(), len(turn.start.x)
        network = problem.network
        meant = _meant(line, samples, network)
        given = {name for name, (of, _) in meant.items() if of in (*network.given, "lr")}
        got = {name: numbers for name, numbers in line.numbers.items() if name not in given}
        if "lr" in line.numbers:
            self.assumed.discard("lr")
        pairs = {name: (numbers, line.halves[name]) for name, numbers in got.items()}
        found = as_answer(pairs, problem, turn.start, torch, where, given, self.conventions)
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
        missing = [name for name in problem.network.computed if name not in self._names]
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
        line = _line(*following, self._said)
        if line.step <= last.step:
            raise Unusable(
                f"{following[0]}step {line.step} comes after step {last.step}; expected a larger "
                "number"
            )
        self._line = self._next = line
        return line

    def _ended(self, name: str, own: Array) -> tuple[Array, Array]:
        """A parameter as the line before says that it ended, and which of its elements it says."""
        new = f"new_{name}"
        if new not in self._before.values:
            return own, np.zeros(own.shape, bool)
        there = self._before.covered.get(new, np.ones(own.shape, bool))
        return np.where(there, self._before.values[new], own).astype(own.dtype), there


def _is_given(name: str, array: Array) -> bool:
    """Whether a name is that of a whole parameter: b1 and b2 are scalars of the lecture's too."""
    return array.ndim > 0 or name not in scalar_names_anywhere()


def _as_given(line: Line, usual: Start) -> Start:
    """A step's start with the samples, masks and learning rate that its line gives."""
    x, y = _rows(line, "x", usual.x), _rows(line, "y", usual.y)
    if len(x) != len(y):
        raise Unusable(f"{line.where}x has {len(x)} rows, y has {len(y)}; expected as many")
    masks = {name: _rows(line, name, mask) for name, mask in usual.masks.items()}
    lr = line.numbers.get("lr", np.float64(usual.lr))
    if lr.ndim:
        raise Unusable(f"{line.where}lr: expected a number, got a list")
    return replace(usual, x=x, y=y, masks=masks, lr=float(lr))


def _rows(line: Line, name: str, array: Array) -> Array:
    """x, y or a mask as the line gives it, else as the problem does."""
    if name not in line.numbers:
        return array
    given = line.numbers[name]
    if array.ndim == 1 and given.ndim == 1 and len(given) and not (given % 1).any():
        return given.astype(array.dtype)
    if given.ndim != array.ndim or given.shape[1:] != array.shape[1:] or not len(given):
        expected = f"rows of {array.shape[1]} numbers" if array.ndim == 2 else "a list of labels"
        raise Unusable(
            f"{line.where}{name}: expected {expected}, got an array of shape {given.shape}"
        )
    return given.astype(array.dtype)


def _meant(line: Line, samples: int, network: Network) -> dict[str, Meant]:
    """What the names of a line mean."""
    wide = [name for name, numbers in line.numbers.items() if np.size(numbers) > 1]
    return network.meant(line.numbers, samples, (*network.given, *network.judged), wide)


def _given(line: Line, name: str, network: Network, own: Array) -> tuple[Array, Array]:
    """A parameter, or a memory, as the line gives it, and which of its elements it gives."""
    meant = _meant(line, 1, network)
    values, here = own.copy(), np.zeros(own.shape, bool)
    for word, (of, i) in meant.items():
        numbers = line.numbers[word]
        if of != name:
            continue
        if i is not None:
            values.flat[i], here.flat[i] = numbers.item(), True
        elif numbers.shape != own.shape:
            raise Unusable(f"{line.where}{word}: expected shape {own.shape}, got {numbers.shape}")
        else:
            return numbers.astype(own.dtype), np.ones(own.shape, bool)
    return values, here


def _problem(where: str, values: dict[str, Any]) -> dict[str, Any]:
    """The checked keys of a problem line."""
    if set(values) != {"problem"} or not isinstance(values["problem"], dict):
        raise Unusable(
            f'{where}expected {{"problem": {{...}}}} alone, with the keys of a problem file'
        )
    demand_describing(values["problem"], lambda key: f"{where}{key}", "a recording")
    return checked(values["problem"], lambda key: f"{where}{key}", DESCRIBING)


def _of_dimensions(where: str, name: str, array: Array) -> Array:
    """The array, if it has as many dimensions as the table of names says."""
    if name == "y" and array.ndim == 1 and array.size and not (array % 1).any():
        return array.astype(np.int64)  # labels
    is_bias = re.search(r"(^|_)b(_[ho]|\d+)$", name) is not None
    wanted = 1 if is_bias else 2
    if array.ndim != wanted or not array.size:
        forms = {1: "a list of numbers", 2: "a list of rows, each a list of numbers"}
        shape = f"got an array of shape {array.shape}" if array.ndim else "got a number"
        raise Unusable(f"{where}{name}: expected {forms[wanted]}, {shape}")
    return array


def _line(where: str, values: dict[str, Any], said: Conventions) -> Line:
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
            array, half = written(value, f"{where}{name}")
            ours = {name: array} if said.is_plain else said.of_given(name, array)
            of_halves = {name: half} if said.is_plain else said.of_given(name, half)
            numbers |= {name: array} if ours is None else ours
            halves |= {name: half} if of_halves is None else of_halves
    return Line(where, step, numbers, halves)
