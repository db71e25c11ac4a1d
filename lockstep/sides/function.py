"""The door through which a step comes in: it asks by argument name and answers by name, in either vocabulary."""

import contextlib
import inspect
import sys
import traceback
import types
from pathlib import Path

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.names import COMPUTED, GIVEN
from lockstep.network.names import scalars as scalar_table
from lockstep.network.options import file_and_function
from lockstep.sides.answer import _nearest, _why_not, scalar_names_anywhere, sort_out


def load(location):
    """The function of a derivation file. location: FILE.py or FILE.py:FUNCTION (default: step). Raises Unusable."""
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
        with _users_code(path):
            exec(code, module.__dict__)
    finally:
        sys.path.remove(folder)
    function = module.__dict__.get(name)
    if not callable(function):
        there = [n for n, value in vars(module).items() if inspect.isfunction(value)]
        raise Unusable(
            f"{path}: has no function {name!r}; expected one out of: {', '.join(there) or 'none is there'}"
        )
    return function


@contextlib.contextmanager
def _users_code(path):
    """Run code of the user's: what it prints goes to standard error, what it raises is told with the line of theirs."""
    try:
        with contextlib.redirect_stdout(sys.stderr), np.errstate(all="ignore"):
            yield
    except (Exception, SystemExit) as error:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path
        ]
        line = f", line {frames[-1].lineno}" if frames else ""
        text = " ".join(str(error).split())
        raise Unusable(f"{path}{line}: {type(error).__name__}: {text}") from None


def door(step, problem):
    """The step as a function of (parameters, x, y, lr, torch) that gives an Answer.

    step: asks by argument name, in either vocabulary, for parameters, data, lr and computed quantities (PyTorch's);
    arguments with a default and an unknown name are left alone. Raises Unusable.
    """
    scalars = scalar_table(problem.sizes, problem.batch_samples)
    where = getattr(inspect.unwrap(step), "__code__", None)
    path = where.co_filename if where else getattr(step, "__name__", "step")
    known = (*GIVEN, "lr", *COMPUTED, *scalars)
    try:
        arguments = inspect.signature(step).parameters.values()
    except (TypeError, ValueError):
        raise Unusable(f"{path}: expected a function with named arguments") from None
    asked = [
        argument
        for argument in arguments
        if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    ]
    asked = [
        argument
        for argument in asked
        if argument.name in known or argument.default is argument.empty
    ]
    for argument in asked:
        if argument.name not in known:
            why = (
                _why_not(argument.name)
                or f"expected names of quantities{_nearest(argument.name, known)}"
            )
            if why == "expected names of quantities":
                why += f": {', '.join((*GIVEN, 'lr', *COMPUTED))}"
            raise Unusable(f"{path}: {step.__name__} asks for {argument.name!r}: {why}")

    def answer(parameters, x, y, lr, torch):
        arrays = {**parameters, "x": x, "y": y, **torch}
        given = {}
        for argument in asked:
            name = argument.name
            if name in scalars:
                of, i = scalars[name]
                given[name] = float(np.ravel(arrays[of])[i])
            elif name == "lr":
                given[name] = lr
            else:
                given[name] = arrays[name].copy() if np.ndim(arrays[name]) else float(arrays[name])
        positional = [
            given.pop(argument.name)
            for argument in asked
            if argument.kind is argument.POSITIONAL_ONLY
        ]
        with _users_code(path):
            got = step(*positional, **given)
        return sort_out(
            got, problem, len(x), torch, f"{path}: {getattr(step, '__name__', 'step')} returned"
        )

    return answer


def asks_for_scalars(step):
    """Whether a step asks for the lecture's scalars, and so is meant for one shape only."""
    return not scalar_names_anywhere().isdisjoint(set(inspect.signature(step).parameters) - {"lr"})
