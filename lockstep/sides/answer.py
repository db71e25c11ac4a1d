"""What a step returned: arrays of the table's shapes by the table's names, in either vocabulary."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.files import nearest
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Network
from lockstep.network.options import OPTIMIZERS
from lockstep.network.problem import Problem


@dataclass
class Answer:
    """What a step returned.

    Attributes:
        values: Arrays of the table's shapes by the table's names, in the order of computation.
        covered: Of quantities that were returned in part, which elements were. The other elements
            hold PyTorch's values.
        misshapen: Values of another shape than the table's.
        printed: How far a printed number may be off by its printing.
        given: What was asked for and returned unchanged, in whole or in part; it is not judged.
        asked: The computed quantities that were asked for.
        names: The names that were used, by the quantity, where they are not the table's.
        reshaped: Biases that came as a row or a column.
    """

    values: Quantities = field(default_factory=dict)
    covered: Quantities = field(default_factory=dict)
    misshapen: Quantities = field(default_factory=dict)
    printed: Quantities = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    reshaped: list[str] = field(default_factory=list)


def why_not(name: str) -> str | None:
    """Why a name that exists elsewhere does not exist here, or None."""
    if name in scalar_names_anywhere():
        return (
            "scalars exist for one sample, the weights' names for 2 inputs, 2 hidden neurons and 1 "
            "or 2 outputs; expected the matrix names of this problem"
        )
    return None


def of_another_optimizer(name: str, network: Network, samples: int) -> str | None:
    """What to set for a name that an optimiser's memory has, and not this network's; or None."""
    for optimizer, settings in OPTIMIZERS.items():
        momentum = {"momentum": 0.9} if optimizer == "sgd" else {}
        other = replace(network, optimizer=optimizer, settings=tuple((settings | momentum).items()))
        if other.meant([name], samples, (*other.memory, *other.update)):
            option = "--momentum" if momentum else f"--optimizer {optimizer}"
            return f"it is the memory of an optimiser; expected {option} to be given too"
    return None


def scalar_names_anywhere() -> set[str]:
    """Every scalar name of the lecture's network."""
    return set(Network((2, 2, 2), ("linear", "linear")).scalars(1))


def sort_out(
    got: Mapping[str, Array | Unusable],
    problem: Problem,
    samples: int,
    torch: Quantities,
    where: str,
    beside: Iterable[str] = (),
) -> Answer:
    """An Answer from what a step returned by name, in either vocabulary.

    Args:
        got: What was returned; of a value that is no number, why not.
        problem: Its network says which names exist, and which shapes are right.
        samples: How many samples the step saw.
        torch: PyTorch's quantities, for the elements that were not returned.
        where: What a message starts with.
        beside: The names that the step asked for, which tell its vocabulary.

    Raises:
        Unusable: If no name is that of a computed quantity, one of them is that of a given one, or
            a value is no number.
    """
    network = problem.network
    wide = [
        name for name, value in got.items() if not isinstance(value, Unusable) and value.size > 1
    ]
    meant = network.meant((*got, *beside), samples, (*network.judged, *network.given), wide)
    answer = Answer()
    whole: Quantities = {}
    parts: dict[str, dict[int, float]] = {}
    for name, value in got.items():
        of, i = meant.get(name, ("", None))
        if of not in network.judged:
            raise Unusable(f"{where} {name!r}: {_unknown(name, network, samples)}")
        if isinstance(value, Unusable):
            raise value
        if i is None and of in whole:
            raise Unusable(f"{where} {of} twice, also as {name}; expected one of the two")
        if i is None and name != of:
            answer.names[of] = name
        if i is None:
            whole[of] = value
        elif value.size == 1:
            parts.setdefault(of, {})[i] = float(value.ravel()[0])
        else:
            shape = f"of shape {value.shape}; expected a single number"
            raise Unusable(f"{where} {name} {shape}")
    twice = next((name for name in parts if name in whole), None)
    if twice:
        raise Unusable(f"{where} {twice} and scalars of it; expected one of the two")
    for name in network.judged:
        if name in parts:
            _put_together(answer, name, parts[name], torch[name])
        elif name in whole:
            is_numbered = network.depth != 2 or name in answer.names
            _put(answer, name, whole[name], network.shape(name, samples), is_numbered)
    return answer


def _put(
    answer: Answer, name: str, array: Array, shape: tuple[int, ...], is_numbered: bool
) -> None:
    """A quantity in whole. Under a numbered name biases may come as a row or a column."""
    if not shape and array.size == 1:
        array = array.reshape(())
    if is_numbered and len(shape) == 1 and array.shape in ((1, *shape), (*shape, 1)):
        array = array.reshape(shape)
        answer.reshaped.append(name)
    (answer.values if array.shape == shape else answer.misshapen)[name] = array


def _unknown(name: str, network: Network, samples: int) -> str:
    """Why a name is none that a step may return."""
    scalars = network.scalars(samples)
    names = (
        *network.judged,
        *(scalar for scalar, (of, _) in scalars.items() if of in network.judged),
    )
    near = nearest(name, names) or f": {', '.join(network.computed)}"
    last = network.of("grad_a", network.depth)
    if last not in network.judged and network.meant([name], samples, [last]):
        error = network.of("delta", network.depth)
        why = f"{network.loss} is a loss of the pre-activations here, so there is no {last}"
        return f"{why}; return {error}"
    elsewhere = why_not(name) or of_another_optimizer(name, network, samples)
    return elsewhere or f"expected names of computed quantities{near}"


def _put_together(answer: Answer, name: str, parts: dict[int, float], torch: Array) -> None:
    """A quantity from its scalars; PyTorch's values stand in the place of missing ones."""
    array = np.array(torch, dtype=np.float64)
    covered = np.zeros(array.size, dtype=bool)
    covered[list(parts)] = True
    array.ravel()[list(parts)] = list(parts.values())
    answer.values[name] = array
    if not covered.all():
        answer.covered[name] = covered.reshape(array.shape)


def as_numbers(value: Any, what: str) -> Array:
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
    except Exception as error:  # of the user's own __array__
        kind = f"{type(value).__name__}, which raises {type(error).__name__} when it is read"
        raise Unusable(f"{what} as {kind}; expected an array of numbers") from None
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


def _is_number(item: Any) -> bool:
    try:
        return float(item) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def _array_of(tensor: Any, what: str) -> Array:
    """A torch tensor as an array; of a float type that NumPy lacks, such as bfloat16, too."""
    try:
        tensor = tensor.cpu().to_dense() if tensor.is_sparse else tensor.cpu()
        narrow = tensor.is_floating_point() and tensor.itemsize < 4
        return np.asarray((tensor.float() if narrow else tensor).numpy())
    except (RuntimeError, TypeError, NotImplementedError):
        raise Unusable(
            f"{what} as a tensor without numbers; expected an array of real numbers"
        ) from None
