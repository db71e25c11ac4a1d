"""check_gradients: any hand-derived gradient against PyTorch's, with a measured bound and the likely mistake."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lockstep.comparison import ulps
from lockstep.gradient_mistakes import Wrong, by_shape, diagnose
from lockstep.measured import Measured, blamed, measure, reference_gradients
from lockstep.quantities import element
from lockstep.report.digits import counted

_LOST = 1000  # a side that is so many times less accurate than the other gets a remark


class GradientMismatch(AssertionError):
    """A gradient differs by more than rounding explains; the message is the report.

    first_mismatch, diagnoses: as in the JSON document; `quantity` is the input's name.
    """

    __module__ = "lockstep"  # a test's summary line has room for little

    def __init__(self, report, first_mismatch, diagnoses):
        super().__init__(report)
        self.first_mismatch, self.diagnoses = first_mismatch, diagnoses


@dataclass
class CheckResult:
    """A match, or undecided where a gradient is not finite on both sides alike.

    resolution: as in the JSON document. accuracy: by input, how far hand and torch each are from the truth in float32,
    relative (None where that was not to be had). remarks: sentences.
    """

    verdict: str
    resolution: dict[str, Any]
    accuracy: dict[str, dict[str, float | None]]
    remarks: list[str]
    worst_ratio: float
    values: int

    def __str__(self):
        if self.verdict == "undecided":
            return "\n".join(["undecided: a gradient is not finite on both sides alike", *self.remarks])
        least = f"none above {self.worst_ratio:.2g} of what rounding was measured to do"
        lines = [f"match: {self.values} values of {counted(len(self.accuracy), 'gradient')}, {least}."]
        seen = self.resolution
        lines.append(f"An error of {seen['typical']:.0e} of a value would typically have been found; "
                     f"{seen['blind']} of {self.values} values are out of reach.")  # fmt: skip
        for name, sides in self.accuracy.items():
            hand, torch = sides["hand"], sides["torch"]
            known = hand is not None and torch is not None
            off = f"; in float32 yours is off by {hand:.1e}, PyTorch by {torch:.1e}" if known else ""
            lines.append(f"  {name}: right{off}")
        return "\n".join(lines + [f"remark: {remark}" for remark in self.remarks])


def check_gradients(hand, reference, /, **inputs):
    """Check gradients derived by hand against PyTorch's automatic differentiation.

    hand: gets the inputs as NumPy arrays by name and returns a dict of gradients by input name, any subset, as arrays
    or tensors. reference: gets them as torch tensors and returns a scalar built with torch. inputs: arrays or tensors;
    floating-point ones are differentiated, others passed on as they are. Intermediates that reference marks with
    `lockstep.watch` may be returned too.

    Returns a CheckResult. Raises GradientMismatch, an AssertionError; ValueError or TypeError for what cannot be used.
    The bound is measured, see `lockstep.measured`.
    """
    __tracebackhide__ = True
    outcome = _outcome(lambda: _checked(hand, reference, inputs))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def check_function(function, reference, /, **inputs):
    """Check the backward, and the forward, of a torch.autograd.Function.

    function: its `apply` gets the inputs as tensors, in the order in which they are given here. reference: gets them by
    name and returns the same as the forward, of any shape, built with torch. The rest is as in `check_gradients`; what
    the forward gives is called `output` in reports.
    """
    __tracebackhide__ = True
    outcome = _outcome(lambda: _checked(*_as_gradients(function, reference, inputs)))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _as_gradients(function, reference, inputs):
    """A Function as a hand: of Σ output · given the gradient by `given` is the output, so that both are checked."""
    arrays = {name: _as_array(name, value) for name, value in inputs.items()}
    try:
        shape = reference(**{name: torch.tensor(array) for name, array in arrays.items()}).shape
    except Exception as error:
        raise blamed("reference", error) from error
    given = np.random.default_rng(0).normal(size=tuple(shape))
    if all(array.dtype != np.float64 for array in arrays.values()):
        given = given.astype(np.float32)

    def hand(output, **inputs):
        tensors = {name: torch.tensor(array) for name, array in inputs.items()}
        leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items() if tensor.is_floating_point()}
        result = function.apply(*tensors.values())
        found = torch.autograd.grad(result, list(leaves.values()), torch.tensor(output), allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}
        return {"output": result.detach()} | gradients

    def scalar(output, **inputs):
        return (reference(**inputs) * output).sum()

    return hand, scalar, {"output": given} | arrays


def _outcome(check):
    """The result, or the exception to raise, without the frames that lie between the user's code and its cause."""
    try:
        return check()
    except (GradientMismatch, ValueError, TypeError) as error:
        return error.with_traceback(None)


def _checked(hand, reference, inputs):
    arrays = {name: _as_array(name, value) for name, value in inputs.items()}
    if not any(array.dtype.kind == "f" for array in arrays.values()):
        raise TypeError("no input holds floating-point numbers; expected at least one that can be differentiated")
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in arrays.items()}
    values = reference_gradients(reference, wide)
    again = reference_gradients(reference, wide)
    if any(name not in again or not np.array_equal(values[name], again[name], equal_nan=True) for name in values):
        raise ValueError(
            "reference gives different gradients when it is called twice; expected a function of its inputs: "
            "draw random numbers with torch, which starts every call from the same seed, or pass them as an input"
        )

    def by_name(given):
        try:
            with np.errstate(all="ignore"):
                got = hand(**{name: array.copy() for name, array in given.items()})
        except Exception as error:
            raise blamed("hand", error) from error
        return _answered(got, values, arrays)

    own = by_name(wide)
    single = [name for name in own if own[name].dtype == np.float32]
    for name, array in own.items():
        if array.shape != values[name].shape:
            raise _shape_mismatch(name, array, values[name])
    own = {name: array.astype(np.float64) for name, array in own.items()}
    measured = measure(by_name, reference, wide, values, own)
    remarks = list(measured.remarks)
    if single and measured.single_torch is not None and any(array.dtype == np.float32 for array in arrays.values()):
        for name in single:
            measured.bound[name] = 64 * (measured.single_torch[name] + 2.0**-24 * np.abs(values[name]))
        remarks.append("hand knows only float32, so it is judged at that precision")
    looked = [Wrong(name, own[name], values[name], measured.bound[name]) for name in own]
    wrong = [it for it in looked if (it.off & np.isfinite(it.value)).any()]
    if wrong:
        raise _mismatch(wrong[0], diagnose(wrong, reference, wide))
    for it in looked:
        _demand_differentiable(it)
    return _matched(own, values, measured, remarks)


def _as_array(name, value):
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value.to(torch.float64) if value.dtype == torch.bfloat16 else value).numpy()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"input {name!r} is no array: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"input {name!r} holds {array.dtype}; expected real numbers, integers or booleans")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"input {name!r} has a value that is not finite; expected finite numbers")
    return array if array.dtype in (np.float32, np.float64) or array.dtype.kind != "f" else array.astype(np.float64)


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
            raise ValueError(f"hand returned a gradient for {name!r}, which holds {holds}; expected none")
        if name not in values:
            raise ValueError(f"hand returned {name!r}; expected names out of {', '.join(values)}")
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


def _matched(own, values, measured: Measured, remarks):
    if not sum(array.size for array in own.values()):
        raise ValueError("the gradients that hand returned have no element; expected at least one to compare")
    blank = [name for name in own if not np.isfinite(values[name]).all()]
    if blank:
        remarks.append(f"{', '.join(blank)}: not a finite number for both, so nothing is known of it")
    bounds = np.concatenate([measured.bound[name].ravel() for name in own])
    sizes = np.abs(np.concatenate([values[name].ravel() for name in own]))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(np.concatenate([(own[name] - values[name]).ravel() for name in own]))
        seen = np.where(sizes > 0, bounds / sizes, np.where(bounds > 0, np.inf, 0.0))
        ratio = np.where(apart > 0, apart / bounds, 0.0)
    blind = int(np.count_nonzero(seen >= 1))
    resolution = {"typical": float(np.median(seen)), "worst": float(seen.max()), "blind": blind}
    accuracy = {}
    for name in own:
        scale = np.abs(values[name]).max() if values[name].size else 0.0
        sides = {"hand": measured.single_hand, "torch": measured.single_torch}
        accuracy[name] = {
            side: None if errors is None or not scale else float(errors[name].max() / scale)
            for side, errors in sides.items()
        }
        remarks += _less_accurate(name, own[name], values[name], measured)
    worst = float(ratio.max()) if ratio.size else 0.0
    return CheckResult("undecided" if blank else "match", resolution, accuracy, remarks, worst, len(bounds))


def _less_accurate(name, own, value, measured: Measured):
    """A remark where one side loses more than three digits against the other: in float32, or all of them in float64."""
    seen = []
    with np.errstate(all="ignore"):
        if measured.wide is not None:
            truth = measured.wide[name]
            off = [(np.abs(side - truth) / np.abs(truth)).astype(np.float64) for side in (own, value)]
            gone = [np.where((a >= 0.1) & (b < 1e-7), a, 0.0) for a, b in (off, off[::-1])]
            seen.append(("float64", 2.0**-53, (gone[0], off[1]), (gone[1], off[0])))
        if measured.single_hand is not None:
            single = measured.lost_hand[name], measured.lost_torch[name]
            seen.append(("float32", 2.0**-24, single, single[::-1]))
        for dtype, least, *sides in seen:
            for who, other, (worse, better) in zip(("yours", "PyTorch's"), ("PyTorch's", "yours"), sides, strict=True):
                ratio = np.nan_to_num(worse / np.maximum(better, least), nan=0.0, posinf=0.0)
                if ratio.size and ratio.max() > _LOST:
                    place = np.unravel_index(int(ratio.argmax()), ratio.shape)
                    tail = worse[place] >= 0.1 and abs(own[place]) < 1e-3 * max(np.abs(own).max(), np.abs(value).max())
                    why = ("in a tail, where a factor such as o·(1 − o) rounds to nothing" if tail
                           else "by cancellation, as a variance from E[x²] − E[x]² does")  # fmt: skip
                    digits = int(np.log10(ratio.max()))
                    return [f"{name}: right, but in {dtype} {who} loses {digits} digits more than {other} at "
                            f"{name}{element(tuple(map(int, place)))}, {why}"]  # fmt: skip
    return []


def _shape_mismatch(name, own, value):
    found = by_shape(name, own, value)
    nothing = dict.fromkeys(("index", "manual", "torch", "difference", "allowed"))
    first = {"step": 1, "quantity": name, "label": name} | nothing
    return GradientMismatch(_report(first, [found], "has another shape"), first, [found])


def _mismatch(it: Wrong, diagnoses):
    index = tuple(int(i) for i in np.argwhere(it.off & np.isfinite(it.value))[0])
    with np.errstate(invalid="ignore"):
        first = {
            "step": 1,
            "quantity": it.name,
            "index": list(index),
            "label": f"{it.name}{element(index)}",
            "manual": float(it.own[index]),
            "torch": float(it.value[index]),
            "difference": float(abs(it.own[index] - it.value[index])),
            "allowed": float(it.bound[index]),
        }
    how_many = f"differs in {int(it.off.sum())} of {it.off.size} elements"
    return GradientMismatch(_report(first, diagnoses, how_many), first, diagnoses)


def _report(first, diagnoses, how_many):
    where = f", first {first['label']}" if first["index"] is not None else ""
    lines = [f"{first['quantity']}: mismatch, the gradient {how_many}{where}"]
    if first["index"] is not None:
        with np.errstate(all="ignore"):
            apart = float(ulps(first["manual"], first["torch"], "float64"))
        allowed = f"rounding allows {first['allowed']:.2g}"
        lines += [f"  yours     {first['manual']!r}", f"  PyTorch   {first['torch']!r}"]
        lines += [f"  apart     {first['difference']:.2g} ({apart:.3g} ULP); {allowed}"]
    lines.append(f"  mistake   {diagnoses[0]['mistake']}: {diagnoses[0]['says']}")
    if diagnoses[0]["remedy"]:
        lines.append(f"  remedy    {diagnoses[0]['remedy']}")
    for found in diagnoses[1:]:
        lines.append(f"  too       {found['quantity']} differs, perhaps only because of that: {found['mistake']}")
    return "\n".join(lines)
