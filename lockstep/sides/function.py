"""A step function as a side by hand: it asks by argument name and answers by name."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.conventions import PLAIN, Conventions
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Meant, Network
from lockstep.network.problem import Problem, Start, State, zeros
from lockstep.setup.files import nearest
from lockstep.sides.answer import (
    Answer,
    of_another_optimizer,
    scalar_names_anywhere,
    sort_out,
    why_not,
)
from lockstep.sides.code import Argument, Code, Source
from lockstep.sides.side import Side, Turn


@dataclass
class Found:
    """What is known of a function's conventions, by all that call it.

    Attributes:
        conventions: Those that were said or found.
        searches: How often they may still be searched.
    """

    conventions: Conventions
    searches: int


class Function(Side):
    """A step function of the user's. It may keep state, so it is called once a training step.

    It asks by argument name, in either vocabulary, for parameters, data, lr and computed quantities
    (PyTorch's values). Arguments with a default and an unknown name are left alone.
    """

    kind = "function"
    others = True

    def __init__(self, code: Code, said: Conventions = PLAIN, found: Found | None = None) -> None:
        self.code, self.prints_here = code, code.is_here
        self._said, self._found = said, found or Found(said, 2 if not said.layout else 0)
        self._where = f"{code.path}: {code.source.name}"  # what a message starts with
        self._asked: list[Argument] = []
        self._meant: dict[str, Meant] = {}
        self._kept: Quantities = {}  # of the optimiser's memory, what the step keeps itself

    @property
    def asks_for(self) -> list[str]:
        """The quantities that it asks for, whole or in part."""
        return [of for of, _ in self._meant.values()]

    def again(self) -> "Function":
        """The side for another problem, without what it kept between calls if that is possible."""
        return Function(self.code.again(), self._said, self._found)

    @property
    def conventions(self) -> Conventions:  # type: ignore[override]
        return self._found.conventions

    @property
    def is_open(self) -> bool:  # type: ignore[override]
        return self._found.searches > 0 and not self.asks_for_scalars

    def under(self, conventions: Conventions) -> "Function":
        return Function(self.code.again(), conventions, Found(conventions, 0))

    def adopt(self, conventions: Conventions) -> None:
        self._found.searches -= 1
        if conventions != self.conventions:
            self._found.conventions = conventions
            self.code, old = self.code.fresh(), self.code
            old.close()

    def close(self) -> None:
        self.code.close()

    def sources(self, step: int) -> list[Source]:
        """The step function, and the functions of its file that it called."""
        return [self.code.source, *self.code.helpers]

    def prepare(self, problem: Problem) -> None:
        network = problem.network
        names = [it.name for it in self.code.arguments]
        known = (*network.given, "lr", "step", *network.judged)
        self._meant = network.meant(names, problem.batch_samples, known)
        named = self.conventions.meant(network, names)
        self._meant |= {name: (of, None) for name, of in named.items()}
        self._asked = [
            it for it in self.code.arguments if it.name in self._meant or not it.optional
        ]
        asked = {it.name for it in self._asked if self._meant.get(it.name, ("", 0))[1] is not None}
        self.asks_for_scalars = not scalar_names_anywhere().isdisjoint(asked)
        for argument in self._asked:
            if argument.name not in self._meant:
                raise Unusable(
                    f"{self._where} asks for {argument.name!r}: "
                    f"{_why_unknown(argument.name, network, problem.batch_samples)}"
                )

    def turn(self, number: int, problem: Problem, state: State) -> Turn | None:
        """Where the next step starts: memory that the function keeps itself is its own."""
        memory = {**(state.memory or {}), **self._kept}
        return super().turn(number, problem, State(state.parameters, memory or None))

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        start = turn.start
        given = {it.name: self._given(it.name, start, problem, torch) for it in self._asked}
        try:
            got = self.code.call(given)
        except Unusable as error:
            raise Unusable(f"{error}{self._of_labels(str(error), start)}") from error
        where, asked = f"{self._where} returned", [it.name for it in self._asked]
        own = self.conventions
        answer = sort_out(got, problem, start, torch, where, asked, own, strict=False)
        self._kept = {
            name: answer.values[f"new_{name}"].astype(problem.dtype)
            for name in problem.network.memory
            if self._keeps(name, answer)
        }
        answer.asked = [of for of, i in self._meant.values() if i is None and of in torch]
        return self._without_what_was_given(answer, problem, torch)

    def _of_labels(self, error: str, start: Start) -> str:
        """What else there is to say where labels were taken for rows of targets."""
        has_y = any(of == "y" for of, _ in self._meant.values())
        if "broadcast" not in error or not has_y or start.y.ndim > 1 or not _is_about(start, error):
            return ""
        return "; y holds labels here, one a sample: np.eye(n_out)[y] makes rows of 0 and 1 of them"

    def _keeps(self, name: str, answer: Answer) -> bool:
        """Whether the function keeps this memory: it returns all of it, and asks for none."""
        new = f"new_{name}"
        is_asked = any(of == name for of, _ in self._meant.values())
        is_whole = new in answer.values and new not in answer.covered
        return is_whole and not is_asked and bool(np.isfinite(answer.values[new]).all())

    def _given(self, name: str, start: Start, problem: Problem, torch: Quantities) -> Any:
        """What an argument gets: a copy of an array, or a number."""
        of, i = self._meant[name]
        if of in ("lr", "step"):
            return getattr(start, of)
        network = problem.network
        given = zeros(network, start.parameters) | start.given
        arrays = given if of in given else torch
        if i is not None:
            return float(np.ravel(arrays[of])[i])
        array = self.conventions.given(network, name, of, arrays, start.numbers(network))
        return array.copy() if np.ndim(array) else float(array)

    def _without_what_was_given(
        self, answer: Answer, problem: Problem, torch: Quantities
    ) -> Answer:
        """The answer without the computed values that were asked for and returned unchanged."""
        asked = {self._meant[it.name] for it in self._asked}
        for name in list(answer.values):
            shape = torch[name].shape
            one_by_one = [(name, i) in asked for i in range(int(np.prod(shape)))]
            is_asked = (name, None) in asked
            was_asked = np.reshape(one_by_one, shape) | is_asked
            covered = answer.covered.get(name, np.ones(shape, bool))
            same: Array = covered & was_asked & (answer.values[name] == torch[name])
            if is_asked and not same[covered].all():
                continue  # one element that comes out alike is no proof that none was derived
            if same.any():
                answer.given.append(name)
                answer.covered[name] = covered & ~same
                if (same == covered).all():
                    del answer.values[name], answer.covered[name]
        return answer


def _is_about(start: Start, error: str) -> bool:
    """Whether a shape in an error of NumPy's is that of the labels."""
    return f"({len(start.y)},)" in error


def _why_unknown(name: str, network: Network, samples: int) -> str:
    """Why a step cannot ask for a name, and what it can ask for."""
    elsewhere = why_not(name) or of_another_optimizer(name, network, samples)
    if elsewhere:
        return elsewhere
    known = (*network.given, "lr", "step", *network.computed)
    near = nearest(name, (*known, *network.scalars(samples))) or f": {', '.join(known)}"
    return f"expected names of quantities{near}"
