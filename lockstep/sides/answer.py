"""What a step returned: arrays of the table's shapes by the table's names, in either vocabulary."""

import contextlib
import difflib
import math
from dataclasses import dataclass, field

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.names import COMPUTED, shape_of
from lockstep.network.names import scalars as scalar_table


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


def _nearest(name, names):
    """ "; did you mean h1 or h2?", or nothing."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _why_not(name):
    """Why a name that exists elsewhere does not exist here, or None."""
    if name in scalar_names_anywhere():
        return (
            "scalars exist for one sample, the weights' names for 2 inputs, 2 hidden neurons and 1 or 2 outputs; "
            "expected the matrix names of this problem"
        )
    return None


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
        raise Unusable(
            f"{what} as rows of different lengths; expected an array of numbers"
        ) from None
    if (
        array.dtype.kind == "O" and array.size
    ):  # fractions, tensors in a list, and what else float() takes
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            array = np.array([float(item) for item in array.flat]).reshape(array.shape)
    if array.dtype.kind not in "fiub":
        kind = "complex numbers" if array.dtype.kind == "c" else type(value).__name__
        if array.dtype.kind == "O" and array.size > 1:
            kind += (
                f" with {short(next(item for item in array.flat if not _is_number(item)))} in it"
            )
        raise Unusable(f"{what} as {kind}; expected an array of real numbers")
    return (
        array if array.dtype.kind == "f" and array.dtype.itemsize <= 8 else array.astype(np.float64)
    )


def _is_number(item):
    try:
        return float(item) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def _array_of(tensor, what):
    """A torch tensor as an array, whatever it is stored in; of a float type that NumPy lacks, such as bfloat16, too."""
    try:
        tensor = tensor.cpu().to_dense() if tensor.is_sparse else tensor.cpu()
        return (
            tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor
        ).numpy()
    except (RuntimeError, TypeError, NotImplementedError):
        raise Unusable(
            f"{what} as a tensor without numbers; expected an array of real numbers"
        ) from None
