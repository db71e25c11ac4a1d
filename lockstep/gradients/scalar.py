"""A layer as a scalar, which one check covers whole.

It is the sum of its outputs times random incoming gradients. Its gradient by an incoming gradient
is the output itself, so one check covers the forward and the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.check import Code, Options, as_function, checked
from lockstep.gradients.inputs import Given, given
from lockstep.gradients.measured import Unsteady
from lockstep.gradients.reference import Named, asked, clones, floating, same_draws
from lockstep.gradients.result import CheckResult, GradientMismatch, mismatch
from lockstep.network.names import Quantities
from lockstep.run.record import Entry
from lockstep.text import counted

OURS = 0x10C57E9  # no input drawn by the user has the numbers of an incoming gradient
_NOTHING = 16  # units in the last place of the largest result, of which another may be made
_APART = 0.1  # of a result: what is further apart is no rounding, whatever the precision
_ALIKE = 2.0**14  # units in the last place between two runs on the same numbers


@dataclass
class Layer:
    """A layer as a scalar.

    Attributes:
        known: The inputs and the incoming gradients.
        outputs: The names of outputs that are compared, which are those of incoming gradients.
        numbers: Which of the layer's outputs these are.
        given: How many outputs the reference gives.
        scalar: The reference as a scalar, from tensors by name.
        wide: The same of tensors in float64, whatever precision the inputs have.
        options: How it is checked.
    """

    known: Given
    outputs: list[str]
    numbers: list[int]
    given: int
    scalar: Code
    wide: Code
    options: Options

    @property
    def arrays(self) -> Quantities:
        """The inputs and the incoming gradients as arrays."""
        return self.known.arrays

    def miscounted(self, results: list[Any], which: str = "") -> ValueError:
        """What to raise for another number of outputs. which: what is said of them."""
        return ValueError(
            f"forward returned {counted(len(results), 'output')}{which}; "
            f"the reference gives {self.given}; expected as many"
        )

    def without_incoming(self, passed: Named) -> Named:
        return {name: value for name, value in passed.items() if name not in self.outputs}


def as_scalar(reference: Code, inputs: Named, options: Options, skipped: list[int] | None) -> Layer:
    """The layer, with a random incoming gradient for every output that is compared."""
    plain = given(inputs)
    function = as_function(reference, plain, options)
    with same_draws() as marks:
        for wanted in ([], floating(plain.arrays)):  # of Python's numbers alone it makes others
            results = several(asked(function, clones(plain.arrays, wanted)))
            if any(isinstance(result, Tensor) for result in results):
                break
    compared = _compared(results, skipped or [], {*inputs, *marks})
    random = np.random.default_rng([options.seed, OURS])
    weights = {name: like(results[k], random) for name, k in compared.items()}

    def scalar(**passed: Any) -> Tensor:
        incoming = [passed.pop(name) for name in compared]
        results = several(reference(**passed))
        return weighed_sum([results[k] for k in compared.values()], incoming)

    known = given(weights | inputs)
    return Layer(
        known,
        list(compared),
        list(compared.values()),
        len(results),
        as_function(scalar, known, options),
        as_function(scalar, replace(known, kinds={}), options),
        options,
    )


def _compared(results: list[Any], skipped: list[int], taken: set[str]) -> dict[str, int]:
    """Names for the reference's outputs that are compared, and which these are.

    taken: names of inputs and of marks, which no output may have.
    """
    names = {}
    for k, result in enumerate(results):
        if not isinstance(result, Tensor):
            kind = type(result).__name__
            raise TypeError(f"reference gives {kind}; expected a tensor, or several")
        if k not in skipped and (result.is_floating_point() or result.is_complex()):
            name = f"output_{k}" if len(results) > 1 else "output"
            while name in taken:
                name += "_"
            names[name] = k
    if not names:
        raise TypeError("reference gives no floating-point output; expected one to differentiate")
    return names


def like(output: Tensor, random: np.random.Generator) -> Tensor:
    """Random numbers in the shape and the dtype of an output."""
    numbers = random.normal(size=output.shape)
    if output.is_complex():
        numbers = numbers + 1j * random.normal(size=output.shape)
    return torch.from_numpy(np.asarray(numbers)).to(output.dtype)


def weighed(output: Tensor, weight: Tensor) -> Tensor:
    """The scalar whose gradient by the output is the weight, and by the weight the output."""
    total = (output * weight.conj()).sum()
    return total.real if total.is_complex() else total


def weighed_sum(outputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    """A layer's scalar from its outputs, and their incoming gradients."""
    return torch.stack([weighed(o, w) for o, w in zip(outputs, weights, strict=True)]).sum()


def several(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def wrong(name: str, mistake: str, says: str, remedy: str) -> GradientMismatch:
    """A mismatch that is no element's."""
    diagnosis = Diagnosis(name, mistake, says, remedy)
    return mismatch(Entry(1, name, None, name), [f"{name}: mismatch"], [diagnosis])


def checked_twice(answer: Code, layer: Layer, it: Any, who: str) -> CheckResult:
    """The check of both passes; another answer at a later call is a mismatch."""
    try:
        return checked(layer.known, answer, layer.scalar, layer.options, it, who, layer.outputs)
    except Unsteady as error:
        if error.who == "reference":
            raise
        mistake = "gradients-accumulated" if error.grows else "unknown"
        says = f"{who} gives another gradient of {error.gradient} when it is called again"
        more = ", by as much each time" if error.grows else ""
        remedy = "keep nothing from one call to the next"
        raise wrong(error.gradient, mistake, says + more, remedy) from None


def alike(one: Tensor | None, other: Tensor | None, eps: float = 0.0, least: float = 0.0) -> bool:
    """Whether two runs on the same numbers agree.

    Args:
        one, other: Their results.
        eps: Of the precision; by default that of the tensors.
        least: The size of other results: what is nothing beside them may differ.
    """
    if one is None or other is None:
        return all(it is None or not it.any() for it in (one, other))
    return not bool(unlike(one, other, eps, least).any())


def unlike(one: Tensor, other: Tensor, eps: float, least: float) -> Tensor:
    """Which elements of two runs on the same numbers do not agree; see `alike`."""
    is_same = (one == other) | (one.isnan() & other.isnan())
    apart = (one - other).abs().masked_fill(is_same, 0.0)
    whole = float(other.abs().nan_to_num().max()) if other.numel() else 0.0
    eps = max(eps, torch.finfo(one.dtype).eps)
    room = max(_ALIKE * eps * whole, _NOTHING * eps * least)
    return ~(apart <= min(room, _APART * max(whole, least)))


def differentiable(known: Given) -> list[str]:
    """The names of what can be differentiated, Python's own numbers left out."""
    return [name for name in floating(known.arrays) if name not in known.numbers]
