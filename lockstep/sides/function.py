"""A step function as a side by hand: it asks by argument name and answers by name."""

from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.files import nearest
from lockstep.network.names import COMPUTED, GIVEN, Array, Quantities, scalar_names
from lockstep.network.names import scalars as scalar_table
from lockstep.network.problem import Problem
from lockstep.sides.answer import Answer, scalar_names_anywhere, sort_out, why_not
from lockstep.sides.code import Argument, Code
from lockstep.sides.side import Side, Turn


class Function(Side):
    """A step function of the user's. It may keep state, so it is called once a training step.

    It asks by argument name, in either vocabulary, for parameters, data, lr and computed quantities
    (PyTorch's values). Arguments with a default and an unknown name are left alone.
    """

    kind = "function"
    others = True

    def __init__(self, code: Code) -> None:
        self.code, self.source, self.prints_here = code, code.source, code.is_here
        self._where = f"{code.path}: {code.source.name}"  # what a message starts with
        self._asked: list[Argument] = []
        self._scalars: dict[str, tuple[str, int]] = {}

    def again(self) -> "Function":
        """The side for another problem, without what it kept between calls if that is possible."""
        return Function(self.code.again())

    def close(self) -> None:
        self.code.close()

    def prepare(self, problem: Problem) -> None:
        self._scalars = scalar_table(problem.sizes, problem.batch_samples)
        known = (*GIVEN, "lr", *COMPUTED, *self._scalars)
        self._asked = [it for it in self.code.arguments if it.name in known or not it.optional]
        asked = {it.name for it in self._asked} - {"lr"}
        self.asks_for_scalars = not scalar_names_anywhere().isdisjoint(asked)
        for argument in self._asked:
            if argument.name not in known:
                raise Unusable(
                    f"{self._where} asks for {argument.name!r}: "
                    f"{_why_unknown(argument.name, known)}"
                )

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        start = turn.start
        arrays = {**start.parameters, "x": start.x, "y": start.y, **torch}
        given = {it.name: self._given(it.name, arrays, start.lr) for it in self._asked}
        got = self.code.call(given)
        answer = sort_out(got, problem, len(start.x), torch, f"{self._where} returned")
        return self._without_what_was_given(answer, problem, torch)

    def _given(self, name: str, arrays: Quantities, lr: float) -> Any:
        """What an argument gets: a copy of an array, or a number."""
        if name in self._scalars:
            of, i = self._scalars[name]
            return float(np.ravel(arrays[of])[i])
        if name == "lr":
            return lr
        return arrays[name].copy() if np.ndim(arrays[name]) else float(arrays[name])

    def _without_what_was_given(
        self, answer: Answer, problem: Problem, torch: Quantities
    ) -> Answer:
        """The answer without the computed values that were asked for and returned unchanged."""
        asked = {it.name for it in self._asked}
        for name in [name for name in COMPUTED if name in answer.values]:
            scalars = scalar_names(name, problem.sizes, problem.batch_samples) or ()
            one_by_one = [name in asked or scalar in asked for scalar in scalars]
            was_asked = np.reshape(one_by_one, torch[name].shape) if scalars else name in asked
            covered = answer.covered.get(name, np.ones(torch[name].shape, bool))
            same: Array = covered & was_asked & (answer.values[name] == torch[name])
            if name in asked and not same[covered].all():
                continue  # one element that comes out alike is no proof that none was derived
            if same.any():
                answer.given.append(name)
                answer.covered[name] = covered & ~same
                if (same == covered).all():
                    del answer.values[name], answer.covered[name]
        return answer


def _why_unknown(name: str, known: tuple[str, ...]) -> str:
    """Why a step cannot ask for a name, and what it can ask for."""
    elsewhere = why_not(name)
    if elsewhere:
        return elsewhere
    near = nearest(name, known) or f": {', '.join((*GIVEN, 'lr', *COMPUTED))}"
    return f"expected names of quantities{near}"
