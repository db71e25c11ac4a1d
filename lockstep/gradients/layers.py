"""check_layer: a layer's forward and backward as a pair of functions, as courses have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.errors import observed
from lockstep.gradients.check import REPORTED, Code, Options, taken_out
from lockstep.gradients.inputs import digest, flat, given
from lockstep.gradients.reference import Named, as_array, at_once
from lockstep.gradients.result import CheckResult
from lockstep.gradients.scalar import (
    Layer,
    alike,
    as_scalar,
    checked_twice,
    differentiable,
    several,
    wrong,
)
from lockstep.network.names import Array, Quantities
from lockstep.run.threads import threads


def check_layer(
    forward: Code,
    backward: Code,
    reference: Code,
    /,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    diagnose: bool = True,
    time_limit: float = 10.0,
    **inputs: Any,
) -> CheckResult:
    """Check a layer as a pair of functions: forward returns (out, cache), backward the gradients.

    Args:
        forward: Gets the inputs by name, as NumPy arrays, and returns the output, or a tuple of
            outputs, and a cache of any kind.
        backward: Gets the incoming gradient (a tuple of them for a tuple of outputs) and the cache.
            It returns a dict of gradients by input name, or a tuple in the order of the inputs;
            None for an input that has none.
        reference: Gets the inputs by name, as tensors, and returns the output, or the outputs.
        rtol, atol, seed, diagnose, time_limit: As for `check_gradients`.
        inputs: As for `check_gradients`.

    Returns:
        A match, with how fine the check could see; `print` it.

    Raises:
        GradientMismatch: A gradient or an output is wrong.
        ValueError, TypeError: As for `check_gradients`.

    Examples:
        >>> import numpy as np
        >>> from lockstep import check_layer
        >>> def forward(x, w):
        ...     return x @ w, (x, w)
        >>> def backward(dout, cache):
        ...     x, w = cache
        ...     return dout @ w.T, x.T @ dout
        >>> random = np.random.default_rng(0)
        >>> x, w = random.normal(size=(4, 3)), random.normal(size=(3, 2))
        >>> check_layer(forward, backward, lambda x, w: x @ w, x=x, w=w).verdict
        'match'
    """
    __tracebackhide__ = True
    try:
        options = taken_out(
            reference,
            inputs,
            rtol=rtol,
            atol=atol,
            seed=seed,
            device="cpu",
            diagnose=diagnose,
            time_limit=time_limit,
        )
        with threads(1):
            return observed(_checked_layer(forward, backward, reference, inputs, options))
    except REPORTED as error:
        raise observed(error).with_traceback(None) from error.__cause__


def _checked_layer(
    forward: Code, backward: Code, reference: Code, inputs: Named, options: Options
) -> CheckResult:
    layer = as_scalar(reference, inputs, options, None)
    it = _Pair(forward, backward, layer, list(inputs))
    result = checked_twice(it.answer, layer, it, "the layer")
    plain = {name: as_array(value) for name, value in it.answer(layer.arrays).items()}
    for form, words in _ARRAY_FORMS:
        found = it.answer(layer.arrays, form)
        for name, value in plain.items():
            if not alike(_tensor(found[name]), _tensor(value)):
                raise wrong(
                    name,
                    "strides",
                    f"the gradient of {name} is wrong where the incoming gradient is {words}; "
                    "with the same numbers in a plain array it is right",
                    "use its strides, or begin with dout = np.ascontiguousarray(dout)",
                )
    left = [name for name in differentiable(layer.known) if name not in plain]
    if left:
        result.remarks.append(
            f"backward gives no gradient of {', '.join(left)}, so none was checked"
        )
    if it.overwrites:
        result.remarks.append(
            "backward overwrites the incoming gradient: work on a copy if it is needed elsewhere"
        )
    result.seed, result.inputs = options.seed, digest(given(inputs))
    return result


@dataclass
class _Pair:
    """A forward and a backward that are called by the names of the inputs.

    Attributes:
        forward, backward: The functions.
        layer: The reference as a scalar.
        names: Of the inputs, in their order.
        overwrites: Whether backward has overwritten an incoming gradient.
    """

    forward: Code
    backward: Code
    layer: Layer
    names: list[str]
    overwrites: bool = False

    def answer(self, arrays: Quantities, form: Callable[[Array], Array] = np.array) -> Named:
        """The outputs and the gradients by name. form: what lays out an incoming gradient."""
        layer = self.layer
        incoming = tuple(form(arrays[name]) for name in layer.outputs)
        arguments = layer.without_incoming(layer.known.for_hand(arrays))
        result = at_once("forward", self.forward(**arguments))
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError("forward returned no pair; expected (out, cache)")
        out, cache = result
        outputs = several(out)
        if len(outputs) != layer.given:
            raise layer.miscounted(outputs)
        upstream = incoming if isinstance(out, tuple | list) else incoming[0]
        found = at_once("backward", self.backward(upstream, cache))
        gradients = flat(_by_input(found, self.names), layer.known)
        gradients = {name: value for name, value in gradients.items() if value is not None}
        if not gradients:
            raise ValueError("backward returned no gradient; expected at least one")
        for name, mine in zip(layer.outputs, incoming, strict=True):
            self.overwrites |= not np.array_equal(arrays[name], mine)
        return {
            n: outputs[k] for n, k in zip(layer.outputs, layer.numbers, strict=True)
        } | gradients


def _tensor(value: Any) -> Tensor:
    return torch.from_numpy(np.array(as_array(value), order="C"))


def _by_columns(array: Array) -> Array:
    return np.array(array, order="F")  # a copy in any case: a backward may overwrite it


def _sliced(array: Array) -> Array:
    wider = np.zeros((*array.shape, 2), array.dtype)
    wider[..., 0] = array
    return wider[..., 0]


_ARRAY_FORMS = (
    (_by_columns, "stored by columns"),
    (_sliced, "sliced from a larger one"),
)


def _by_input(found: Any, names: list[str]) -> Named:
    """What backward returned, by the names of inputs; dx is understood for x."""
    if isinstance(found, dict):
        short = {f"d{name}": name for name in names if f"d{name}" not in names}
        return {short.get(key) or key: value for key, value in found.items()}
    values = list(found) if isinstance(found, tuple | list) else [found]
    if len(values) > len(names):
        raise ValueError(
            f"backward returned {len(values)} gradients; expected at most {len(names)}, "
            f"in the order of the inputs: {', '.join(names)}"
        )
    return dict(zip(names, values, strict=False))
