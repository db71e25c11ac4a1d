"""A step function as a side by hand: it asks by argument name and answers by name."""

import contextlib
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.names import COMPUTED, GIVEN, Quantities
from lockstep.network.names import scalars as scalar_table
from lockstep.network.options import file_and_function
from lockstep.network.problem import Problem
from lockstep.sides.answer import Answer, nearest, scalar_names_anywhere, sort_out, why_not
from lockstep.sides.side import Side, Turn


def load(location: str) -> Callable[..., Any]:
    """The function of a derivation file.

    Args:
        location: FILE.py or FILE.py:FUNCTION; the function is `step` where none is named.

    Raises:
        Unusable: If the file cannot be read, is no Python, raises, or has no such function.
    """
    path, name = file_and_function(location)
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise Unusable(f"{path}: cannot be read: {error.strerror}") from None
    module = types.ModuleType(Path(path).stem)
    module.__file__ = path
    try:
        code = compile(source, path, "exec")
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise Unusable(f"{path}{line}: expected Python: {getattr(error, 'msg', error)}") from None
    folder = str(Path(path).resolve().parent)
    sys.path.insert(0, folder)  # so that a derivation can import what lies beside it
    try:
        with users_code(path):
            exec(code, module.__dict__)
    finally:
        sys.path.remove(folder)
    function = module.__dict__.get(name)
    if not callable(function):
        there = [n for n, value in vars(module).items() if inspect.isfunction(value)]
        known = ", ".join(there) or "none is there"
        raise Unusable(f"{path}: has no function {name!r}; expected one out of: {known}")
    return function  # type: ignore[no-any-return]


@contextlib.contextmanager
def users_code(path: str) -> Iterator[None]:
    """Run code of the user's: what it prints goes to standard error.

    Raises:
        Unusable: If it raises, with the line of theirs.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr), np.errstate(all="ignore"):
            yield
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if frame.filename == path]
        line = f", line {theirs[-1].lineno}" if theirs else ""
        text = " ".join(str(error).split())
        raise Unusable(f"{path}{line}: {type(error).__name__}: {text}") from None


class Function(Side):
    """A step function of the user's. It may keep state, so it is called once a training step.

    Args:
        step: Asks by argument name, in either vocabulary, for parameters, data, lr and computed
            quantities (PyTorch's values). Arguments with a default and an unknown name are left
            alone.
        afresh: Gives the same function without what it keeps between calls; None where that is
            not possible.
    """

    kind = "function"
    others = True

    def __init__(
        self, step: Callable[..., Any], afresh: Callable[[], Callable[..., Any]] | None = None
    ) -> None:
        self.step: Callable[..., Any] = step
        self.afresh = afresh
        code = getattr(inspect.unwrap(step), "__code__", None)
        self.name = getattr(step, "__name__", "step")
        self.path = code.co_filename if code else self.name
        self._asked: list[inspect.Parameter] = []
        self._scalars: dict[str, tuple[str, int]] = {}

    def again(self) -> "Function":
        """The side for another problem, without what it kept between calls if that is possible."""
        return Function(self.afresh() if self.afresh else self.step, self.afresh)

    def prepare(self, problem: Problem) -> None:
        self._scalars = scalar_table(problem.sizes, problem.batch_samples)
        known = (*GIVEN, "lr", *COMPUTED, *self._scalars)
        try:
            arguments = inspect.signature(self.step).parameters.values()
        except (TypeError, ValueError):
            raise Unusable(f"{self.path}: expected a function with named arguments") from None
        self._asked = [
            it
            for it in arguments
            if it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)
            and (it.name in known or it.default is it.empty)
        ]
        asked = {it.name for it in self._asked} - {"lr"}
        self.asks_for_scalars = not scalar_names_anywhere().isdisjoint(asked)
        for argument in self._asked:
            if argument.name not in known:
                raise Unusable(
                    f"{self.path}: {self.name} asks for {argument.name!r}: "
                    f"{_why_unknown(argument.name, known)}"
                )

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        start = turn.start
        arrays = {**start.parameters, "x": start.x, "y": start.y, **torch}
        given = {it.name: self._given(it.name, arrays, start.lr) for it in self._asked}
        first = [given.pop(it.name) for it in self._asked if it.kind is it.POSITIONAL_ONLY]
        with users_code(self.path):
            got = self.step(*first, **given)
        where = f"{self.path}: {self.name} returned"
        return sort_out(got, problem, len(start.x), torch, where)

    def _given(self, name: str, arrays: Quantities, lr: float) -> Any:
        """What an argument gets: a copy of an array, or a number."""
        if name in self._scalars:
            of, i = self._scalars[name]
            return float(np.ravel(arrays[of])[i])
        if name == "lr":
            return lr
        return arrays[name].copy() if np.ndim(arrays[name]) else float(arrays[name])


def _why_unknown(name: str, known: tuple[str, ...]) -> str:
    """Why a step cannot ask for a name, and what it can ask for."""
    elsewhere = why_not(name)
    if elsewhere:
        return elsewhere
    near = nearest(name, known) or f": {', '.join((*GIVEN, 'lr', *COMPUTED))}"
    return f"expected names of quantities{near}"
