"""What a step returned: arrays of the table's shapes by the table's names, in either vocabulary."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.conventions import PLAIN, Conventions
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Meant, Network
from lockstep.network.problem import Problem, Start
from lockstep.setup.files import nearest
from lockstep.setup.options import OPTIMIZERS


@dataclass
class Answer:
    """What a step returned.

    Attributes:
        values: Arrays of the table's shapes by the table's names, in the order of computation.
        covered: Of quantities that were returned in part, which elements were. The other elements
            hold PyTorch's values.
        misshapen: Values of another shape than the table's.
        printed: How far a number may be off by its printing, or by inputs in fewer digits.
        given: What was asked for and returned unchanged, in whole or in part; it is not judged.
        asked: The computed quantities that were asked for.
        names: The names that were used, by the quantity, where they are not the table's.
        reshaped: What came in a shape that can be read in one way alone.
        extra: Names that mean nothing here, each with what it may have been meant for, as the rest
            of a sentence; they are not judged.
    """

    values: Quantities = field(default_factory=dict)
    covered: Quantities = field(default_factory=dict)
    misshapen: Quantities = field(default_factory=dict)
    printed: Quantities = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    reshaped: list[str] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)


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
    start: Start,
    torch: Quantities,
    where: str,
    beside: Iterable[str] = (),
    conventions: Conventions = PLAIN,
    strict: bool = True,
) -> Answer:
    """An Answer from what a step returned by name, in either vocabulary.

    Args:
        got: What was returned; of a value that is no number, why not.
        problem: Its network says which names exist, and which shapes are right.
        start: What the step started from.
        torch: PyTorch's quantities, for the elements that were not returned.
        where: What a message starts with.
        beside: The names that the step asked for, which tell its vocabulary.
        conventions: How its arrays are laid out and named.
        strict: Whether every name must be that of a computed quantity; else one of them must.

    Raises:
        Unusable: If no name is that of a computed quantity, or, where that is demanded, one is not;
            or a value is no number.
    """
    network, samples = problem.network, len(start.x)
    meant = _meant(got, network, samples, beside)
    meant |= {name: (of, None) for name, of in conventions.meant(network, got).items()}
    numbers = start.numbers(network)
    answer = Answer()
    whole: Quantities = {}
    parts: dict[str, dict[int, float]] = {}
    for name, value in got.items():
        of, i = meant.get(name, ("", None))
        if of not in network.judged:
            elsewhere = _elsewhere(name, network, samples)
            answer.extra[name] = "" if elsewhere else _near(name, network, samples)
        elif isinstance(value, Unusable):
            raise value
        elif i is None:
            for own, array in conventions.ours(network, name, of, value, numbers).items():
                _add(answer, whole, own, array, name, where)
        else:
            parts.setdefault(of, {})[i] = _number(value, f"{where} {name}")
    if answer.extra and (strict or not (whole or parts)):
        name = next(iter(answer.extra))
        raise Unusable(f"{where} {name!r}: {_unknown(name, network, samples)}")
    twice = next((name for name in parts if name in whole), None)
    if twice:
        raise Unusable(f"{where} {twice} and scalars of it; expected one of the two")
    for name in network.judged:
        if name in parts:
            _put_together(answer, name, parts[name], torch[name])
        elif name in whole:
            _put(answer, name, whole[name], network.shape(name, samples))
    return answer


def _meant(
    got: Mapping[str, Array | Unusable], network: Network, samples: int, beside: Iterable[str]
) -> dict[str, Meant]:
    """What the names mean, used together with those beside them."""
    arrays = {name: it for name, it in got.items() if not isinstance(it, Unusable)}
    wide = [name for name, array in arrays.items() if array.size > 1]
    return network.meant((*got, *beside), samples, (*network.judged, *network.given), wide)


def _add(answer: Answer, whole: Quantities, own: str, array: Array, name: str, where: str) -> None:
    """Add a quantity that came under a name."""
    if own in whole:
        raise Unusable(f"{where} {own} twice, also as {name}; expected one of the two")
    if name != own:
        answer.names[own] = name
    whole[own] = array


def _number(value: Array, what: str) -> float:
    if value.size != 1:
        raise Unusable(f"{what} of shape {value.shape}; expected a single number")
    return float(value.ravel()[0])


def _put(answer: Answer, name: str, array: Array, shape: tuple[int, ...]) -> None:
    """A quantity in whole."""
    read = as_shaped(array, shape)
    if read is None:
        answer.misshapen[name] = array
        return
    if shape and array.shape != shape:
        answer.reshaped.append(name)
    answer.values[name] = read


def as_shaped(array: Array, shape: tuple[int, ...]) -> Array | None:
    """An array in a shape, where it has that, or there is one way alone to read it so.

    These are a loss in brackets, a row or a column of biases, a list of numbers for a column.
    """
    is_loss = not shape and array.size == 1
    is_biases = len(shape) == 1 and array.shape in ((1, *shape), (*shape, 1))
    is_column = shape[1:] == (1,) and array.shape == shape[:1]
    if is_loss or is_biases or is_column or array.shape == shape:
        return array.reshape(shape)
    return None


def _unknown(name: str, network: Network, samples: int) -> str:
    """Why a name is none that a step may return."""
    elsewhere = _elsewhere(name, network, samples)
    near = _near(name, network, samples) or f": {', '.join(network.computed)}"
    return elsewhere or f"expected names of computed quantities{near}"


def _near(name: str, network: Network, samples: int) -> str:
    """What a name that means nothing may have been meant for, as the rest of a sentence."""
    scalars = network.scalars(samples)
    computed = (scalar for scalar, (of, _) in scalars.items() if of in network.judged)
    return nearest(name, (*network.judged, *computed))


def _elsewhere(name: str, network: Network, samples: int) -> str | None:
    """Why a name that means something is none that a step may return; or None."""
    last = network.of("grad_a", network.depth)
    if last not in network.judged and network.meant([name], samples, [last]):
        error = network.of("delta", network.depth)
        why = f"{network.loss} is a loss of the pre-activations here, so there is no {last}"
        return f"{why}; return {error}"
    own = network.quantity(name, network.given)
    if own in network.parameters:
        return f"it is what a step starts from; what the step makes of it is new_{own}"
    return why_not(name) or of_another_optimizer(name, network, samples)


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
