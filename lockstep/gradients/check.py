"""check_gradients: any hand-derived gradient against PyTorch's, with a measured bound and the likely mistake."""

from __future__ import annotations

import inspect

import numpy as np
import torch

from lockstep.gradients.measured import (
    SAFETY,
    asked,
    blamed,
    in_precision,
    marked,
    measure,
    reference_gradients,
)
from lockstep.gradients.mistakes import Wrong, diagnose
from lockstep.gradients.result import GradientMismatch, matched, mismatch, shape_mismatch
from lockstep.network.names import element


def check_gradients(hand, reference, /, **inputs):
    """Check gradients derived by hand against PyTorch's automatic differentiation.

    hand: gets the inputs as NumPy arrays by name and returns a dict of gradients by input name, any subset, as arrays
    or tensors. reference: gets them as torch tensors and returns a scalar built with torch. inputs: arrays or tensors;
    floating-point ones are differentiated, others passed on as they are. Intermediates that reference marks with
    `lockstep.watch` may be returned too.

    Returns a CheckResult. Raises GradientMismatch, an AssertionError; ValueError or TypeError for what cannot be used.
    The bound is measured, see `lockstep.gradients.measured`.
    """
    __tracebackhide__ = True
    outcome = _outcome(lambda: _checked(hand, reference, inputs))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def check_function(function, reference, /, **inputs):
    """Check the backward, and the forward, of a torch.autograd.Function.

    function: its `apply` gets the inputs as tensors, in the order of its forward's arguments if they have these names,
    else as they are given here; single integers and booleans as Python's. reference: gets them by name and returns the
    same as the forward, of any shape, built with torch. The rest is as in `check_gradients`; what the forward gives is
    called `output` in reports, or `output_0`, `output_1` … where it gives several. A name that an input has already
    gets an underscore behind it: `output_`.
    """
    __tracebackhide__ = True
    outcome = _outcome(lambda: _checked_function(function, reference, inputs))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _checked_function(function, reference, inputs):
    hand, scalar, given = _as_gradients(function, reference, inputs)
    return _checked(hand, scalar, given, "the function")


def _as_gradients(function, reference, inputs):
    """A Function as a hand: of Σ output · given the gradient by `given` is the output, so that both are checked."""
    arrays = {name: _as_array(name, value) for name, value in inputs.items()}
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    with marked() as marks:
        results = _several(asked(reference, tensors))
    for result in results:
        if not isinstance(result, torch.Tensor):
            kind = type(result).__name__
            raise TypeError(f"reference gives {kind}; expected a tensor, or several")
    shapes = [tuple(result.shape) for result in results]
    names = ["output"] if len(shapes) == 1 else [f"output_{k}" for k in range(len(shapes))]
    names = [_free(name, arrays.keys() | marks) for name in names]
    random = np.random.default_rng(0)
    single = all(array.dtype != np.float64 for array in arrays.values())
    given = {name: random.normal(size=shape) for name, shape in zip(names, shapes, strict=True)}
    given = {name: array.astype(np.float32) if single else array for name, array in given.items()}
    apply, order = getattr(function, "apply", function), _order(function, arrays)

    def scalar(**inputs):
        weights = [inputs.pop(name) for name in names]
        results = _several(reference(**inputs))
        return sum((result * weight).sum() for result, weight in zip(results, weights, strict=True))

    reached = reference_gradients(scalar, in_precision(np.float64, given | arrays))

    def hand(**inputs):
        weights = [torch.tensor(inputs.pop(name)) for name in names]
        tensors = {name: torch.tensor(inputs[name]) for name in order}
        leaves = {
            name: tensor.requires_grad_()
            for name, tensor in tensors.items()
            if tensor.is_floating_point()
        }
        results = _several(apply(*(_plain(tensor) for tensor in tensors.values())))
        found = torch.autograd.grad(results, list(leaves.values()), weights, allow_unused=True)
        gradients = {
            name: torch.zeros_like(leaves[name]) if gradient is None else gradient
            for name, gradient in zip(leaves, found, strict=True)
            if gradient is not None or name in reached  # None stands for zeros
        }
        return {
            name: result.detach() for name, result in zip(names, results, strict=True)
        } | gradients

    return hand, scalar, given | arrays


def _free(name, taken):
    """The name, with an underscore behind it for each time that it is taken: an input may be called `output`."""
    while name in taken:
        name += "_"
    return name


def _order(function, inputs):
    """The inputs' names in the order in which the Function's forward has them, if it names them all; else as given."""
    forward = getattr(function, "forward", None)
    names = list(inspect.signature(forward).parameters) if forward else []
    return [name for name in names if name in inputs] if set(inputs) <= set(names) else list(inputs)


def _several(outputs):
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def _plain(tensor):
    return tensor.item() if tensor.dim() == 0 and not tensor.is_floating_point() else tensor


def _outcome(check):
    """The result, or the exception to raise, without the frames that lie between the user's code and its cause."""
    try:
        return check()
    except (GradientMismatch, ValueError, TypeError) as error:
        return error.with_traceback(None)


def _checked(hand, reference, inputs, who="hand"):
    arrays = {name: _as_array(name, value) for name, value in inputs.items()}
    if not any(array.dtype.kind == "f" for array in arrays.values()):
        raise TypeError(
            "no input holds floating-point numbers; expected at least one that can be differentiated, as "
            "x.astype(float)"
        )
    wide = in_precision(np.float64, arrays)
    values = reference_gradients(reference, wide)
    again = reference_gradients(reference, wide)
    if any(
        name not in again or not np.array_equal(values[name], again[name], equal_nan=True)
        for name in values
    ):
        raise ValueError(
            "reference gives different gradients when it is called twice; expected a function of its inputs: "
            "draw random numbers with torch, which starts every call from the same seed, or pass them as an input"
        )

    def by_name(given):
        try:
            with np.errstate(all="ignore"):
                got = hand(**{name: array.copy() for name, array in given.items()})
        except Exception as error:
            raise blamed(who, error) from error
        return _answered(got, values, arrays)

    try:
        own = by_name(wide)
    except (ValueError, TypeError):
        if not any(array.dtype == np.float32 for array in arrays.values()):
            raise
        by_name = _in_single(by_name)
        own = by_name(wide)
    single = [name for name in own if own[name].dtype == np.float32]
    for name, array in own.items():
        if array.shape != values[name].shape:
            raise shape_mismatch(name, array, values[name])
    own = {name: array.astype(np.float64) for name, array in own.items()}
    measured = measure(by_name, reference, wide, values, own)
    remarks = list(measured.remarks)
    if (
        single
        and measured.single_torch is not None
        and any(array.dtype == np.float32 for array in arrays.values())
    ):
        for name in single:
            measured.bound[name] = SAFETY * (
                measured.single_torch[name] + 2.0**-24 * np.abs(values[name])
            )
        remarks.append("hand knows only float32, so it is judged at that precision")
    errors = measured.single_torch or {}
    looked = [
        Wrong(name, own[name], values[name], measured.bound[name], errors.get(name)) for name in own
    ]
    wrong = [it for it in looked if (it.off & np.isfinite(it.value)).any()]
    if wrong:
        right = [it.name for it in looked if not it.off.any()]
        raise mismatch(wrong, right, diagnose(wrong, reference, wide))
    for it in looked:
        _demand_differentiable(it)
    return matched(own, values, measured, remarks)


def _in_single(by_name):
    """A hand that refuses float64, as one that takes the nearest float32."""
    return lambda given: by_name(in_precision(np.float32, given))


def _as_array(name, value):
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value.to(torch.float64) if value.dtype == torch.bfloat16 else value).numpy()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"input {name!r} is no array: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"input {name!r} holds {array.dtype}; expected real numbers, integers or booleans"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"input {name!r} has a value that is not finite; expected finite numbers")
    return (
        array
        if array.dtype in (np.float32, np.float64) or array.dtype.kind != "f"
        else array.astype(np.float64)
    )


def _answered(got, values, arrays):
    """What hand returned, as arrays of floats by name. Raises ValueError or TypeError for what cannot be used."""
    if not isinstance(got, dict):
        kind = "nothing" if got is None else type(got).__name__
        raise TypeError(f"hand returned {kind}; expected a dict of gradients by input name")
    if not got:
        raise ValueError("hand returned an empty dict; expected at least one gradient")
    answer = {}
    for name, value in got.items():
        if name not in values and name in arrays and arrays[name].dtype.kind == "f":
            raise ValueError(
                f"hand returned a gradient for {name!r}, which reference does not depend on (what is used under "
                "no_grad or detached does not count); expected it left out, or used in reference"
            )
        if name not in values and name in arrays:
            holds = "booleans" if arrays[name].dtype.kind == "b" else "integers"
            raise ValueError(
                f"hand returned a gradient for {name!r}, which holds {holds}; expected none"
            )
        if name not in values:
            known = f"the name of an input or of what is watched: {', '.join(values)}"
            raise ValueError(f"hand returned {name!r}; expected {known}")
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        if array.dtype.kind not in "fiub":
            kind = type(value).__name__ if array.dtype.kind == "O" else str(array.dtype)
            raise TypeError(f"hand returned {kind} for {name!r}; expected real numbers")
        answer[name] = array if array.dtype.kind == "f" else array.astype(np.float64)
    return answer


def _demand_differentiable(it: Wrong):
    if it.off.any():  # what is left of a mismatch has no number on PyTorch's side
        place = tuple(int(i) for i in np.argwhere(it.off)[0])
        raise ValueError(
            f"reference is not differentiable there: PyTorch's gradient of {it.name} is {it.value[place]} at "
            f"{it.name}{element(place)}, yours {it.own[place]!s}; expected a reference with finite gradients "
            "(torch.where passes on NaN also from the branch that it leaves out)"
        )
