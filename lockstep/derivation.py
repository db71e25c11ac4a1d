"""The door through which a step comes in: it asks by argument name and answers by name, in either vocabulary."""

import contextlib
import difflib
import inspect
import math
import sys
import traceback
import types
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np

from lockstep.keys import Unusable, file_and_function, short
from lockstep.quantities import COMPUTED, GIVEN, scalar_names, shape_of
from lockstep.quantities import scalars as scalar_table
from manual_backprop import neuron_by_neuron, two_layer


@dataclass
class Answer:
    """What a step returned: `values`, arrays of the table's shapes by the table's names, in the order of computation.

    covered: for quantities of which only some scalars were returned, which elements these are (the others hold
    PyTorch's values). misshapen: values of another shape than the table says. printed: how far a printed number may be
    off by its printing. flat: `values` one after the other, where they were made so.
    """

    values: dict[str, np.ndarray]
    covered: dict[str, np.ndarray]
    misshapen: dict[str, np.ndarray]
    printed: dict[str, np.ndarray] = field(default_factory=dict)
    flat: np.ndarray | None = None


def built_in(problem):
    """The project's own step by hand for this problem: neuron by neuron where it is the lecture's network."""
    module = neuron_by_neuron if problem.is_the_lectures else two_layer
    return partial(module.step, **problem.network_settings)


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
        raise Unusable(f"{path}: has no function {name!r}; expected one out of: {', '.join(there) or 'none is there'}")
    return function


@contextlib.contextmanager
def _users_code(path):
    """Run code of the user's: what it prints goes to standard error, what it raises is told with the line of theirs."""
    try:
        with contextlib.redirect_stdout(sys.stderr), np.errstate(all="ignore"):
            yield
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = f", line {frames[-1].lineno}" if frames else ""
        text = " ".join(str(error).split())
        raise Unusable(f"{path}{line}: {type(error).__name__}: {text}") from None


def _nearest(name, names):
    """ "; did you mean h1 or h2?", or nothing."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


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
    asked = [argument for argument in arguments if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)]
    asked = [argument for argument in asked if argument.name in known or argument.default is argument.empty]
    for argument in asked:
        if argument.name not in known:
            why = _why_not(argument.name) or f"expected names of quantities{_nearest(argument.name, known)}"
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
        positional = [given.pop(argument.name) for argument in asked if argument.kind is argument.POSITIONAL_ONLY]
        with _users_code(path):
            got = step(*positional, **given)
        return sort_out(got, problem, len(x), torch, f"{path}: {getattr(step, '__name__', 'step')} returned")

    return answer


def _why_not(name):
    """Why a name that exists elsewhere does not exist here, or None."""
    if name in scalar_names_anywhere():
        return (
            "scalars exist for one sample, the weights' names for 2 inputs, 2 hidden neurons and 1 or 2 outputs; "
            "expected the matrix names of this problem"
        )
    return None


def asks_for_scalars(step):
    """Whether a step asks for the lecture's scalars, and so is meant for one shape only."""
    return not scalar_names_anywhere().isdisjoint(set(inspect.signature(step).parameters) - {"lr"})


def scalar_names_anywhere():
    """Every scalar name of the lecture's network."""
    return set(scalar_table((2, 2, 2), 1))


def sort_out(got, problem, samples, torch, where):
    """An Answer from a dict by name, in either vocabulary. where: what a message starts with. Raises Unusable."""
    scalars = scalar_table(problem.sizes, samples)
    if not isinstance(got, dict):
        kind = "nothing" if got is None else type(got).__name__
        raise Unusable(f"{where} {kind}; expected a dict of quantities by name")
    if not got:
        raise Unusable(f"{where} an empty dict; expected at least one quantity")
    whole: dict[str, np.ndarray] = {}
    parts: dict[str, dict[int, float]] = {}
    for name, value in got.items():
        if name in COMPUTED:
            whole[name] = _numbers(value, f"{where} {name}")
        elif name in scalars and scalars[name][0] in COMPUTED:
            of, i = scalars[name]
            number = _numbers(value, f"{where} {name}")
            if number.size != 1:
                raise Unusable(f"{where} {name} of shape {number.shape}; expected a single number")
            parts.setdefault(of, {})[i] = float(number.ravel()[0])
        else:
            names = (*COMPUTED, *(scalar for scalar, (of, _) in scalars.items() if of in COMPUTED))
            near = _nearest(str(name), names) or f": {', '.join(COMPUTED)}"
            why = _why_not(name) or f"expected names of computed quantities{near}"
            raise Unusable(f"{where} {name!r}: {why}")
    twice = next((name for name in parts if name in whole), None)
    if twice:
        raise Unusable(f"{where} {twice} and scalars of it; expected one of the two")

    result = Answer({}, {}, {})
    for name in COMPUTED:
        shape = shape_of(name, problem.sizes, samples)
        if name in parts:
            array = np.array(torch[name], dtype=np.float64)
            covered = np.zeros(array.size, dtype=bool)
            covered[list(parts[name])] = True
            array.ravel()[list(parts[name])] = list(parts[name].values())
            result.values[name] = array
            if not covered.all():
                result.covered[name] = covered.reshape(shape)
        elif name in whole:
            (result.values if whole[name].shape == shape else result.misshapen)[name] = whole[name]
    return result


def _numbers(value, what):
    """A returned value as an array of floats. Raises Unusable for whatever is not numbers."""
    if isinstance(value, np.ma.MaskedArray):
        raise Unusable(f"{what} as a masked array; expected an array of numbers, all of them")
    if value is ...:
        raise Unusable(f"{what} as ...; expected a number: the formula is not filled in yet")
    if hasattr(value, "detach"):
        value = _array_of(value.detach(), what)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):
        raise Unusable(f"{what} as rows of different lengths; expected an array of numbers") from None
    if array.dtype.kind == "O" and array.size:  # fractions, tensors in a list, and what else float() takes
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            array = np.array([float(item) for item in array.flat]).reshape(array.shape)
    if array.dtype.kind not in "fiub":
        kind = "complex numbers" if array.dtype.kind == "c" else type(value).__name__
        if array.dtype.kind == "O" and array.size > 1:
            kind += f" with {short(next(item for item in array.flat if not _is_number(item)))} in it"
        raise Unusable(f"{what} as {kind}; expected an array of real numbers")
    return array if array.dtype.kind == "f" and array.dtype.itemsize <= 8 else array.astype(np.float64)


def _is_number(item):
    try:
        return float(item) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def _array_of(tensor, what):
    """A torch tensor as an array, whatever it is stored in; of a float type that NumPy lacks, such as bfloat16, too."""
    try:
        tensor = tensor.cpu().to_dense() if tensor.is_sparse else tensor.cpu()
        return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
    except (RuntimeError, TypeError, NotImplementedError):
        raise Unusable(f"{what} as a tensor without numbers; expected an array of real numbers") from None


def built_in_door(problem):
    """The built-in step as `door` would give it, without the checks that it does not need."""
    step = built_in(problem)
    if step.func is two_layer.step:
        return lambda parameters, x, y, lr, torch: Answer(step(**parameters, x=x, y=y, lr=lr), {}, {})
    named_out = itemgetter(*(scalar for name in COMPUTED for scalar in scalar_names(name, problem.sizes, 1)))
    one_step = np.dtype([(name, problem.dtype, shape_of(name, problem.sizes, 1)) for name in COMPUTED])
    numbers = np.ndarray.tolist if problem.dtype == "float64" else list  # Python's floats are quicker, float32 stays

    def answer(parameters, x, y, lr, torch):
        given = numbers(np.concatenate([*parameters.values(), x, y], axis=None))  # in the order of its arguments
        flat = np.array(named_out(step(*given, lr)), dtype=problem.dtype)
        at = flat.view(one_step).reshape(())
        return Answer({name: at[name] for name in COMPUTED}, {}, {}, flat=flat)

    return answer
