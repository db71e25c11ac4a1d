"""A recognised program as a side by hand: its steps start where its own parameters are."""

from __future__ import annotations

import linecache
import os
import shlex
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from lockstep.look.conventions import conventions
from lockstep.look.drift import biases
from lockstep.look.recognised import Mapped, Recognised
from lockstep.look.scalars import Place
from lockstep.look.seen import Sighting
from lockstep.look.source import Program
from lockstep.network.names import Array, Index, Quantities
from lockstep.network.problem import Problem, Start, State
from lockstep.sides.answer import Answer
from lockstep.sides.code import Source
from lockstep.sides.side import Side, Turn
from lockstep.text import base_name


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
        own = self._memory(number, memory) if memory else memory
        return Start(it.network.named(parameters), x, y, lr, own, {}, number)

    def _memory(self, number: int, memory: Quantities) -> Quantities:
        """The optimiser's memory before a step: as a variable held it, else PyTorch's."""
        before = self._it.steps[number - 2]
        held = {name: before.get(f"new_{name}") for name in memory}
        own = {name: it.value.astype(self._it.dtype) for name, it in held.items() if it}
        return memory | {n: value for n, value in own.items() if value.shape == memory[n].shape}

    def turn(self, number: int, problem: Problem, state: State) -> Turn | None:
        """Where a step starts."""
        if number > self._steps:
            return None
        return Turn(number, self._start(number, state.memory))

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        """What the program's variables held in this step."""
        found = Answer()
        mapped = self._it.steps[turn.number - 1]
        for name in problem.network.judged:
            if name in mapped and (self._it.reading.knows_update or name[:4] != "new_"):
                value: Array = np.asarray(mapped[name].value)
                same = value.shape == torch[name].shape
                (found.values if same else found.misshapen)[name] = value
                if mapped[name].at.name != name:
                    found.names[name] = mapped[name].at.name
        return found

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
        at: Sighting | Place = it.at
        if it.at.parts:  # each has a line of its own
            own = float(it.value[index]) * it.factor
            at = min(it.at.parts, key=lambda part: np.abs(part.value - own).min())
        text = self._program.text(at.line, at.file)
        return f"{self._place(at.line, at.file, it.at.where)}: {text}"

    def _place(self, line: int, file: str, where: str) -> str:
        function = "" if where == "<module>" else f", in {where}"
        return f"{self._program.place(line, file)}{function}"

    def remarks(self, problem: Problem) -> list[str]:
        """What stands in no variable, and how the program ran."""
        found = list(self._told)
        held = {name for step in self._it.steps[: self._steps] for name in step}
        shared = map(problem.network.name, self._it.shared)
        held |= {"loss", *(f"{kind}_{b}" for b in shared for kind in ("grad", "new"))}
        inside = [name for name in problem.network.computed if name not in held]
        if not self._it.reading.knows_update:
            found.append(
                "its updates are those of no known optimizer, or at a learning rate that no "
                "variable holds: not judged; --optimizer and --lr say them"
            )
        if self._it.reading.begins_late:
            found.append(
                "the first change of the parameters is no step along their gradients, the later "
                "ones are: judged from the second on"
            )
        if self._it.multiple and not self._it.is_added_up:
            times, series = self._it.multiple
            factor = Fraction(times).limit_denominator(10**6)
            found.append(
                f"the loss in {self._program.place(series.line, series.file)} is {factor} times "
                "the one whose gradients these are: a convention of yours, or a factor is missing"
            )
        if self._it.other:
            place = self._program.place(self._it.other.line, self._it.other.file)
            loss = self._it.reading.settings.loss
            found.append(
                f"the loss in {place} is not {loss}, whose gradients these are, nor a multiple of "
                "it: if it is meant, they are not its gradients"
            )
        reading = self._it.reading
        rate = reading.settings.lr
        if reading.knows_update and reading.said_lr and rate and "lr" not in self._it.said:
            factor = Fraction(rate / reading.said_lr).limit_denominator(10**6)
            if factor in self._usual_factors():
                found.append(
                    f"the updates go {factor} times as far as with the learning rate "
                    f"{reading.said_lr:g}: a factor of the loss may be missing in the gradients"
                )
        for l, name in self._unused():
            found.append(
                f"{name} is trained, and no part of the forward pass of layer {l}, which has no "
                "biases"
            )
        idle = list(dict.fromkeys(self._idle(problem)))
        if idle:
            found.append(
                f"{', '.join(idle)} never {'changes' if len(idle) == 1 else 'change'}: if that is "
                f"meant, say --frozen {shlex.quote(','.join(idle))}"
            )
        for name, at in self._it.shared.items():
            found.append(
                f"{at.name.split(', ')[0]} is one bias for all neurons of layer {name[1:]}: it was "
                "compared with the sum of PyTorch's, to six digits"
            )
        computed = reading.witness, self._it.multiple, self._it.other
        is_computed = any(computed) or "loss" in self._it.said
        if reading.kind == "sigmoid" and not is_computed:
            squares = "half_sum" if reading.settings.loss == "bce_sum" else "half_sum_over_n"
            found.append(
                f"no variable holds the loss; {reading.settings.loss} is the one whose derivative "
                f"is o − y. If squares were meant, σ' is missing there: say --loss {squares}"
            )
        if inside:
            found.append(
                f"no variable holds {', '.join(inside)}: judged through what is computed from "
                f"{'it' if len(inside) == 1 else 'them'}"
            )
        return found

    def _unused(self) -> Iterator[tuple[int, str]]:
        """By layer without biases a variable that is called and trained like some."""
        known = {it.at.name for it in self._it.steps[0].values()}
        for l, has_biases in enumerate(self._it.network.biases, 1):
            if not has_biases:
                names = biases(self._it.model.seen, self._it.network.sizes[l])
                yield from ((l, name) for name in names[:1] if name not in known)

    def _usual_factors(self) -> set[Fraction]:
        """What gradients may be times the right ones, where a factor of the loss is lost."""
        batch = self._it.reading.batches[0]
        n, n_out = len(batch.x), self._it.network.sizes[-1]
        sizes = {Fraction(size) for size in (1, n, n_out, n * n_out)}
        found = {f * c for f in sizes for c in (1, 2, Fraction(1, 2))}
        return {*found, *(1 / f for f in found)} - {Fraction(1)}

    def _idle(self, problem: Problem) -> Iterator[str]:
        """The variables of parameters that no step changed, and that are not said to be frozen."""
        batches = self._it.reading.batches[: self._steps]
        for name, it in batches[0].step.names.items():
            steps = [batch.step for batch in batches]
            stays = all(np.array_equal(step.parameters[name], step.new[name]) for step in steps)
            if stays and problem.network.name(name) not in problem.frozen:
                yield from dict.fromkeys(it.name.split(", "))

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


def written(it: Mapped) -> str:
    """What a variable holds as an expression: -dZ.T, d2 / 4, sum_b * 2."""
    name = it.at.name + (".T" if it.transposed else "")
    if it.factor in (1, -1):
        return name if it.factor == 1 else f"-{name}"
    return f"{name} / {it.factor:g}" if abs(it.factor) > 1 else f"{name} * {1 / it.factor:g}"


def _times(factor: float) -> str:
    return "the sign turned" if factor == -1 else f"times {factor:g}"
