"""check_gradients: any hand-derived gradient against PyTorch's, and the likely mistake."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.gradients.measured import (
    SAFETY,
    Hand,
    Measured,
    Reference,
    asked,
    blamed,
    differentiated,
    in_precision,
    leaves,
    measure,
    reference_gradients,
    same_draws,
)
from lockstep.gradients.mistakes import Wrong, by_shape, diagnose
from lockstep.gradients.result import CheckResult, GradientMismatch, matched, mismatch
from lockstep.network.names import Array, Quantities, element
from lockstep.run.record import Entry
from lockstep.text import counted, distance

Code = Callable[..., Any]  # of the user's
_REPORTED = (GradientMismatch, ValueError, TypeError)


def check_gradients(hand: Code, reference: Reference, /, **inputs: Any) -> CheckResult:
    """Check gradients derived by hand against PyTorch's automatic differentiation.

    How far two right gradients may be apart is measured for every element, from what rounding does
    to both sides; there is no tolerance to choose.

    Args:
        hand: Gets the inputs by name, as NumPy arrays. It returns a dict of gradients by input
            name, any subset, each an array or a tensor in the shape of its input. Intermediates
            that the reference marks with `lockstep.watch` may be returned too.
        reference: Gets the inputs by name, as torch tensors. It returns a scalar built with torch.
        inputs: Arrays or tensors of any shape. Floating-point ones are differentiated; integers and
            booleans are passed on as they are. Choose sizes above 1 that differ from each other.

    Returns:
        A match, with how fine the check could see; `print` it.

    Raises:
        GradientMismatch: A gradient is wrong. It is an AssertionError, and its message is the
            report.
        ValueError: Something cannot be used: a reference that gives other gradients at a second
            call, an exception in `hand` or `reference`, inputs that are not finite.
        TypeError: `hand` returns no dict of real numbers, or the reference no scalar tensor.

    Examples:
        >>> import numpy as np
        >>> from lockstep import check_gradients
        >>> def hand(x, w):
        ...     return {"x": 2 * (x @ w)[:, None] * w, "w": 2 * x.T @ (x @ w)}
        >>> def reference(x, w):
        ...     return ((x @ w) ** 2).sum()
        >>> random = np.random.default_rng(0)
        >>> x, w = random.normal(size=(5, 3)), random.normal(size=3)
        >>> check_gradients(hand, reference, x=x, w=w).verdict
        'match'
    """
    __tracebackhide__ = True
    try:
        return _checked(hand, reference, inputs)
    except _REPORTED as error:  # without the frames between the user's code and its cause
        raise error.with_traceback(None) from error.__cause__


def check_function(function: Any, reference: Code, /, **inputs: Any) -> CheckResult:
    """Check the backward, and the forward, of a torch.autograd.Function.

    Reports call the result of the forward `output`, or `output_0`, `output_1` … if there are
    several. If an input has that name already, an underscore is added: `output_`.

    Args:
        function: The class. Its `apply` gets the inputs as tensors; single integers and booleans
            as Python's. They are bound to the arguments of `forward` by name, or, where the names
            differ, in the order in which they are given here.
        reference: Gets the inputs by name, as tensors. It returns what the forward returns, in the
            same shapes, built with torch.
        inputs: As for `check_gradients`.

    Returns:
        A match, with how fine the check could see; `print` it.

    Raises:
        GradientMismatch: A gradient or an output is wrong, or the backward returns None for an
            input that the output depends on.
        ValueError: As for `check_gradients`.
        TypeError: As for `check_gradients`; or the reference gives no tensor.

    Examples:
        >>> import torch
        >>> from lockstep import check_function
        >>> class Cube(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x**3
        ...
        ...     @staticmethod
        ...     def backward(ctx, incoming):
        ...         return incoming * 3 * ctx.saved_tensors[0] ** 2
        >>> check_function(Cube, lambda x: x**3, x=torch.linspace(-2, 2, 9)).verdict
        'match'
    """
    __tracebackhide__ = True
    try:
        return _checked_function(function, reference, inputs)
    except _REPORTED as error:
        raise error.with_traceback(None) from error.__cause__


def _checked_function(function: Any, reference: Code, inputs: dict[str, Any]) -> CheckResult:
    """Check a Function as a hand: the gradient of Σ output · weight by the weight is the output."""
    arrays = {name: _as_array(name, value) for name, value in inputs.items()}
    random = np.random.default_rng(0)
    kind = np.float64 if any(array.dtype == np.float64 for array in arrays.values()) else np.float32
    weights = {
        name: random.normal(size=shape).astype(kind)
        for name, shape in _outputs(reference, arrays).items()
    }
    forward = getattr(function, "forward", None)
    order, arguments = list(arrays), list(inspect.signature(forward).parameters) if forward else []
    if set(order) <= set(arguments):
        order.sort(key=arguments.index)

    def by_function(**given: Tensor) -> Any:
        passed = [given[name] for name in order]  # single integers and booleans as Python's
        return getattr(function, "apply", function)(
            *(one if one.dim() or one.is_floating_point() else one.item() for one in passed)
        )

    def scalar(call: Code = reference, /, **given: Tensor) -> Tensor:
        total = torch.zeros(())
        factors = [given.pop(name) for name in weights]
        for result, weight in zip(_several(call(**given)), factors, strict=True):
            if result.shape != weight.shape:
                shape = tuple(weight.shape)
                raise ValueError(f"an output has shape {tuple(result.shape)}; expected {shape}")
            total = total + (result * weight).sum()
        return total

    every = weights | arrays
    reached = reference_gradients(scalar, in_precision(np.float64, every))

    def hand(**given: Array) -> Quantities:
        """Both passes of the function; where it gives None, zeros."""
        tensors = leaves(given)
        found = differentiated(scalar(by_function, **tensors), tensors)
        return {name: np.zeros_like(given[name]) for name in reached} | found

    return _checked(hand, scalar, every, "the function")


def _outputs(reference: Code, arrays: Quantities) -> dict[str, tuple[int, ...]]:
    """The shapes of what the reference gives, by names that no input and no mark has."""
    with same_draws() as marks:
        results = _several(asked(reference, leaves(arrays)))
    shapes = {}
    for k, result in enumerate(results):
        if not isinstance(result, Tensor):
            kind = type(result).__name__
            raise TypeError(f"reference gives {kind}; expected a tensor, or several")
        name = f"output_{k}" if len(results) > 1 else "output"
        while name in arrays or name in marks:
            name += "_"
        shapes[name] = tuple(result.shape)
    return shapes


def _several(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def _checked(
    hand: Code, reference: Reference, inputs: dict[str, Any], who: str = "hand"
) -> CheckResult:
    arrays = {name: _as_array(name, value) for name, value in inputs.items()}
    if not any(array.dtype.kind == "f" for array in arrays.values()):
        raise TypeError(
            "no input holds floating-point numbers; "
            "expected at least one that can be differentiated, as x.astype(float)"
        )
    wide = in_precision(np.float64, arrays)
    values = _steady(reference, wide)
    narrow = any(array.dtype == np.float32 for array in arrays.values())
    by_name = _by_name(hand, who, values, arrays)
    try:
        own = by_name(wide)
    except (ValueError, TypeError):
        if not narrow:
            raise
        by_name = _in_single(by_name)
        own = by_name(wide)
    for name, array in own.items():
        if array.shape != values[name].shape:
            first, diagnosis = Entry(1, name, None, name), by_shape(name, array, values[name])
            raise mismatch(first, [f"{name}: mismatch, another shape"], [diagnosis])
    measured = measure(by_name, reference, wide, values, in_precision(np.float64, own))
    single = [name for name in own if own[name].dtype == np.float32 and narrow]
    if single and measured.torch.single:
        for name in single:
            errors = measured.torch.single[name] + 2.0**-24 * np.abs(values[name])
            measured.bound[name] = SAFETY * errors
        measured.remarks.append("hand knows only float32, so it is judged at that precision")
    _demand_right(measured, reference, wide)
    return matched(measured)


def _demand_right(measured: Measured, reference: Reference, inputs: Quantities) -> None:
    """Raise the mismatch, if there is one, with its diagnoses."""
    own, torch = measured.hand.gradients, measured.torch
    looked = [
        Wrong(name, own[name], value, measured.bound[name], torch.single.get(name))
        for name, value in torch.gradients.items()
    ]
    wrong = [it for it in looked if (it.off & np.isfinite(it.value)).any()]
    if wrong:
        first, report = _first(wrong[0])
        right = [it.name for it in looked if not it.off.any()]
        raise mismatch(first, report, diagnose(wrong, reference, inputs), right)
    for it in looked:
        for place in np.argwhere(it.off):  # what is left has no number on PyTorch's side
            at = tuple(map(int, place))
            raise ValueError(
                f"reference is not differentiable there: PyTorch's gradient of {it.name} is "
                f"{it.value[at]} at {it.name}{element(at)}, yours {it.own[at]!s}; "
                "expected a reference with finite gradients "
                "(torch.where passes on NaN also from the branch that it leaves out)"
            )


def _first(it: Wrong) -> tuple[Entry, list[str]]:
    """The first wrong element, and what the report says of it."""
    at = tuple(map(int, np.argwhere(it.off & np.isfinite(it.value))[0]))
    own, value, allowed = (float(array[at]) for array in (it.own, it.value, it.bound))
    apart, label = abs(own - value), it.name + element(at)
    how_many = f"{int(it.off.sum())} of {counted(it.off.size, 'element')} differ"
    report = [
        f"{it.name}: mismatch, {how_many}, first {label}",
        f"  yours     {own!r}",
        f"  PyTorch   {value!r}",
    ]
    if np.isfinite(apart):
        far = distance(own, value, "float64")
        report.append(f"  apart     {apart:.2g} ({far}); rounding explains {allowed:.2g}")
    return Entry(1, it.name, list(at), label, own, value, apart, allowed), report


def _by_name(hand: Code, who: str, values: Quantities, arrays: Quantities) -> Hand:
    """The hand as a function of a dict of arrays, which looks at what it returns."""

    def by_name(given: Quantities) -> Quantities:
        try:
            with np.errstate(all="ignore"):
                got = hand(**{name: array.copy() for name, array in given.items()})
        except Exception as error:
            raise blamed(who, error) from error
        if not isinstance(got, dict):
            kind = "nothing" if got is None else type(got).__name__
            raise TypeError(f"hand returned {kind}; expected a dict of gradients by input name")
        if not got:
            raise ValueError("hand returned an empty dict; expected at least one gradient")
        answer = {}
        for name, value in got.items():
            if name not in values:
                raise ValueError(f"hand returned {_why_not(name, values, arrays)}")
            array = _array(value)
            if array.dtype.kind not in "fiub":
                kind = type(value).__name__ if array.dtype.kind == "O" else str(array.dtype)
                raise TypeError(f"hand returned {kind} for {name!r}; expected real numbers")
            answer[name] = array if array.dtype.kind == "f" else array.astype(np.float64)
        return answer

    return by_name


def _in_single(by_name: Hand) -> Hand:
    """A hand that refuses float64, as one that takes the nearest float32."""
    return lambda given: by_name(in_precision(np.float32, given))


def _steady(reference: Reference, inputs: Quantities) -> Quantities:
    """PyTorch's gradients, if they are the same when it is asked again."""
    values, again = (reference_gradients(reference, inputs) for _ in range(2))
    for name, value in values.items():
        if name not in again or not np.array_equal(value, again[name], equal_nan=True):
            raise ValueError(
                "reference gives different gradients when it is called twice; "
                "expected a function of its inputs: draw random numbers with torch, "
                "which starts every call from the same seed, or pass them as an input"
            )
    return values


def _as_array(name: str, value: Any) -> Array:
    """An input as an array of real numbers, integers or booleans."""
    try:
        array = _array(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"input {name!r} is no array: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"input {name!r} holds {array.dtype}; expected real numbers, integers or booleans"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"input {name!r} has a value that is not finite; expected finite numbers")
    known = array.dtype in (np.float32, np.float64) or array.dtype.kind != "f"
    return array if known else array.astype(np.float64)


def _array(value: Any) -> Array:
    """A tensor, or anything that NumPy takes, as an array."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _why_not(name: str, values: Quantities, arrays: Quantities) -> str:
    """Why there is no gradient by this name."""
    if name not in arrays:
        known = f"the name of an input or of what is watched: {', '.join(values)}"
        return f"{name!r}; expected {known}"
    kind = arrays[name].dtype.kind
    if kind == "f":
        return (
            f"a gradient for {name!r}, which reference does not depend on (what is used under "
            "no_grad or detached does not count); expected it left out, or used in reference"
        )
    holds = "booleans" if kind == "b" else "integers"
    return f"a gradient for {name!r}, which holds {holds}; expected none"
