"""A recognised program as a side by hand: its steps start where its own parameters are."""

from __future__ import annotations

import linecache
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from lockstep.look.conventions import conventions
from lockstep.look.recognised import Recognised
from lockstep.look.remarks import remarks
from lockstep.look.scalars import Place
from lockstep.look.seen import Found, Sighting
from lockstep.look.source import Program
from lockstep.network.names import Array, Index, Quantities
from lockstep.network.network import PER_SAMPLE
from lockstep.network.problem import Problem, Start, State
from lockstep.sides.answer import Answer
from lockstep.sides.code import Source
from lockstep.sides.side import Side, Turn
from lockstep.text import base_name

_SCALED = 4  # numbers that inputs are scaled by at most, one after the other: lr / N * X.T


class Looked(Side):
    """The training steps that were seen of a program.

    Args:
        recognised: What the program trains.
        program: Its text.
        told: Sentences on how it ran.
        steps: How many of them are judged.
    """

    kind = "program"
    noun = "the program"
    by_its_own_weights = True

    def __init__(
        self, recognised: Recognised, program: Program, told: list[str], steps: int
    ) -> None:
        self._it, self._program, self._told = recognised, program, told
        self.file = base_name(program.path)
        self._steps = min(steps, len(recognised.steps))

    @property
    def problem(self) -> Problem:
        """The problem of the first step."""
        start = self._start(1, None)
        parts = start.parameters, start.x, start.y, start.lr
        return Problem(self._it.network, *parts, self._steps, None, self._it.dtype)

    def _start(self, number: int, memory: Quantities | None) -> Start:
        it = self._it
        batch, dtype = it.reading.batches[number - 1], it.dtype
        parameters = {n: p.astype(dtype) for n, p in batch.step.parameters.items()}
        y = batch.y if batch.y.ndim == 1 else batch.y.astype(dtype)
        x, lr = batch.x.astype(dtype), batch.lr or it.reading.settings.lr or 0.0
        own = memory and self._memory(number, memory)
        return Start(it.network.named(parameters), x, y, lr, own, {}, number)

    def _memory(self, number: int, memory: Quantities) -> Quantities:
        """The optimiser's memory before a step: as a variable held it, else PyTorch's."""
        before = self._it.steps[number - 2]
        held = {name: before.get(f"new_{name}") for name in memory}
        own = {name: it.ours.astype(self._it.dtype) for name, it in held.items() if it}
        return memory | {n: value for n, value in own.items() if value.shape == memory[n].shape}

    def turn(self, number: int, problem: Problem, state: State) -> Turn | None:
        """Where a step starts."""
        if number > self._steps:
            return None
        return Turn(number, self._start(number, state.memory))

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        """What the program's variables held in this step."""
        found, network = Answer(), problem.network
        mapped = self._it.steps[turn.number - 1]
        rooms = self._rooms(turn, problem, torch)
        parameters = self._it.reading.batches[turn.number - 1].step.names
        names = {network.name(name): it.name for name, it in parameters.items()}
        for name in network.judged:
            it = mapped.get(name)
            if it and (self._it.reading.knows_update or name[:4] != "new_"):
                same = it.ours.shape == torch[name].shape
                (found.values if same else found.misshapen)[name] = it.ours
                if name in rooms and same:
                    found.printed[name] = rooms[name]
                names[name] = it.at.name
        found.names = {name: text for name, text in names.items() if name != text}
        return found

    def _rooms(self, turn: Turn, problem: Problem, torch: Quantities) -> Quantities:
        """How far a gradient by inputs that alone are float32 may be off.

        Beside weights in float64, NumPy rounds the product of inputs and a number to float32.
        """
        if not self._it.x_is_narrow:
            return {}
        network, x = problem.network, np.abs(turn.start.x.astype(np.float64))
        W1 = network.name("W1")
        delta = np.abs(torch[network.name("delta1")])
        room: Array = _SCALED * 2.0**-24 * (delta.T @ x)  # (n_1, n_0)
        return {f"grad_{W1}": room, f"new_{W1}": turn.start.lr * room}

    def sources(self, step: int) -> list[Source]:
        """Its file or its cells, then the modules beside it, with what their lines compute."""
        computes: dict[str, dict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
        for name, it in self._it.steps[step - 1].items():
            file = it.at.file or self._program.path
            computes[file][it.at.line][name] = "" if written(it) == name else written(it)
        own = computes.pop(self._program.path, {})
        found = []
        for name, first, lines in self._program.parts:
            inside = range(first, first + len(lines))
            of_part = {n - first + 1: of for n, of in own.items() if n in inside}
            found.append(Source(name, tuple(f"{line}\n" for line in lines), 1, of_part))
        for file, of_file in computes.items():
            name = os.path.relpath(file, self._program.folder)
            found.append(Source(name, tuple(linecache.getlines(file)), 1, of_file))
        return found

    def line_of(self, name: str, step: int, index: Index) -> str:
        """line 30, in backward: d1 = …"""
        it = self._it.steps[step - 1][name]
        at: Sighting | Place = self._part(name, step, index) or it.at
        text = self._program.text(at.line, at.file)
        return f"{self._place(at.line, at.file, it.at.where)}: {text}"

    def called(self, name: str, step: int, index: Index) -> str:
        """w3, of the element [1, 0] of w1, w2; w3, w4."""
        part = self._part(name, step, index)
        return part.name if part else ""

    def _part(self, name: str, step: int, index: Index) -> Place | None:
        """The variable of one number, or one a sample, that an element is."""
        network = self._it.network
        held = self._it.steps[step - 1].get(name)
        given = self._it.reading.batches[step - 1].step.names
        by_name = {network.name(numbered): it for numbered, it in given.items()}
        at = held.at if held else by_name.get(name)
        if at is None or not at.parts:
            return None
        if network[name].family in PER_SAMPLE:
            return at.parts[index[-1]]
        shape = network.shape(name, 1)
        is_turned = held is not None and held.transposed
        turned = (index[::-1], shape[::-1]) if is_turned else (index, shape)
        return at.parts[int(np.ravel_multi_index(*turned))]

    def _place(self, line: int, file: str, where: str) -> str:
        function = "" if where == "<module>" else f", in {where}"
        return f"{self._program.place(line, file)}{function}"

    def remarks(self, problem: Problem) -> list[str]:
        """How the program ran, and what it does beside what is judged."""
        return [*self._told, *remarks(self._it, self._program, self._steps)]

    @property
    def recognised(self) -> list[dict[str, Any]]:
        """By quantity the variable of the first step, its factor, and where it is computed."""
        return [
            {
                "quantity": name,
                "name": it.at.name,
                "factor": it.factor,
                "transposed": it.transposed,
                "function": None if it.at.where == "<module>" else it.at.where,
                "file": base_name(it.at.file) or self.file,
                "line": it.at.line,
                "text": self._program.text(it.at.line, it.at.file),
            }
            for name, it in self._it.steps[0].items()
        ]

    def introduction(self) -> Iterator[list[str]]:
        """What was recognised, as rows of a table: a quantity, the variable, its line."""
        for name, it in self._it.steps[0].items():
            factor = "" if it.factor == 1 else f" ({_times(it.factor)})"
            mark = "" if it.is_right else "  ?"
            turned = ".T" if it.transposed else ""
            place = self._place(it.at.line, it.at.file, it.at.where)
            yield [f"  {name}", f"{it.at.name}{turned}{factor}{mark}", place]

    def sentences(self) -> list[str]:
        """The network, the training and the conventions, in words."""
        return conventions(self._it)


def written(it: Found) -> str:
    """What a variable holds as an expression: -dZ.T, d2 / 4, sum_b * 2."""
    name = it.at.name + (".T" if it.transposed else "")
    if it.factor in (1, -1):
        return name if it.factor == 1 else f"-{name}"
    return f"{name} / {it.factor:g}" if abs(it.factor) > 1 else f"{name} * {1 / it.factor:g}"


def _times(factor: float) -> str:
    return "the sign turned" if factor == -1 else f"times {factor:g}"
