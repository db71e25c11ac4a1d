"""check_gradients: any hand-derived gradient against PyTorch's, with a measured bound and the likely mistake."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.comparison import ulps
from lockstep.facts import diagnosis
from lockstep.measured import Measured, measure, reference_gradients
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
            if sides["hand"] is not None and sides["torch"] is not None:
                lines.append(
                    f"  {name}: in float32 yours is off by {sides['hand']:.1e}, PyTorch by {sides['torch']:.1e}"
                )
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
    arrays = {name: _as_array(name, value) for name, value in inputs.items()}
    if not any(array.dtype.kind == "f" for array in arrays.values()):
        raise TypeError("no input holds floating-point numbers; expected at least one that can be differentiated")
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in arrays.items()}
    values = reference_gradients(reference, wide)
    again = reference_gradients(reference, wide)
    if any(not np.array_equal(values[name], again[name], equal_nan=True) for name in values):
        raise ValueError(
            "reference gives different gradients when it is called twice; expected a function of its inputs"
        )

    def by_name(given):
        return _answered(hand({name: array.copy() for name, array in given.items()}), values, arrays)

    def hand_by_name(given):
        with np.errstate(all="ignore"):
            return by_name(given)

    hand = _called_by_keyword(hand)
    own = hand_by_name(wide)
    in_single = all(array.dtype == np.float32 for array in own.values())
    narrow = any(array.dtype == np.float32 for array in arrays.values())
    for name, array in own.items():
        if array.shape != values[name].shape:
            _raise_shape(name, array, values[name])
    own = {name: array.astype(np.float64) for name, array in own.items()}
    measured = measure(hand_by_name, reference, wide, values, own)
    remarks = list(measured.remarks)
    if in_single and narrow and measured.single_torch is not None:
        measured.bound = _single_bound(measured, values)
        remarks.append("hand knows only float32, so it is judged at that precision")
    wrong = {name: ~_agree(own[name], values[name], measured.bound[name]) for name in own}
    first = next((name for name in own if wrong[name].any()), None)
    if first is not None:
        diagnoses = [
            _diagnosed(name, own[name], values[name], measured.bound[name], arrays) for name in own if wrong[name].any()
        ]
        raise _mismatch(first, own[first], values[first], measured.bound[first], wrong[first], diagnoses)
    return _matched(own, values, measured, remarks)


def _as_array(name, value):
    array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"input {name!r} holds {array.dtype}; expected real numbers, integers or booleans")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"input {name!r} has a value that is not finite; expected finite numbers")
    return array if array.dtype in (np.float32, np.float64) or array.dtype.kind != "f" else array.astype(np.float64)


def _called_by_keyword(hand):
    return lambda given: hand(**given)


def _answered(got, values, arrays):
    """What hand returned, as arrays of floats by name. Raises ValueError or TypeError for what cannot be used."""
    if not isinstance(got, dict):
        kind = "nothing" if got is None else type(got).__name__
        raise TypeError(f"hand returned {kind}; expected a dict of gradients by input name")
    if not got:
        raise ValueError("hand returned an empty dict; expected at least one gradient")
    answer = {}
    for name, value in got.items():
        if name not in values:
            if name in arrays:
                raise ValueError(f"hand returned a gradient for {name!r}, which holds integers; expected none")
            raise ValueError(f"hand returned {name!r}; expected names out of {', '.join(values)}")
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        if array.dtype.kind not in "fiub":
            kind = type(value).__name__ if array.dtype.kind == "O" else str(array.dtype)
            raise TypeError(f"hand returned {kind} for {name!r}; expected real numbers")
        answer[name] = array if array.dtype.kind == "f" else array.astype(np.float64)
    return answer


def _agree(own, value, bound):
    with np.errstate(invalid="ignore"):
        return (np.abs(own - value) <= bound) | (np.isnan(own) & np.isnan(value)) | (own == value)


def _single_bound(measured: Measured, values):
    return {name: 64 * (measured.single_torch[name] + 2.0**-24 * np.abs(values[name])) for name in measured.bound}  # type: ignore[index]


def _matched(own, values, measured, remarks):
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
        hand, torch = accuracy[name]["hand"], accuracy[name]["torch"]
        if hand is not None and torch is not None and hand > _LOST * max(torch, 2.0**-24):
            digits = int(np.log10(hand / max(torch, 2.0**-24)))
            remarks.append(
                f"{name}: right, but the formula by hand loses {digits} digits more than PyTorch's: cancellation"
            )
    worst = float(ratio.max()) if ratio.size else 0.0
    return CheckResult("undecided" if blank else "match", resolution, accuracy, remarks, worst, len(bounds))


def _raise_shape(name, own, value):
    __tracebackhide__ = True
    says = f"the gradient of {name} has shape {own.shape}; expected {value.shape}, the shape of {name}"
    found = diagnosis(name, "wrong-shape", says, "return it in the shape of the input")
    if own.shape == value.shape[::-1] and np.allclose(own.T, value):
        found = diagnosis(name, "transposed-gradient", f"{says}: it is transposed", "transpose it")
    else:
        extra = own.ndim - value.ndim
        if extra >= 0 and own.size > value.size:
            axes = tuple(range(extra)) + tuple(
                extra + i for i, n in enumerate(value.shape) if n == 1 and own.shape[extra + i] != 1
            )
            summed = own.sum(axis=axes).reshape(value.shape) if own.sum(axis=axes).size == value.size else None
            if summed is not None and np.allclose(summed, value):
                says += f"; summed over axis {', '.join(map(str, axes))} it is right"
                remedy = "sum over the axes along which the input was broadcast"
                found = diagnosis(name, "wrong-shape", says, remedy)
    nothing = dict.fromkeys(("index", "manual", "torch", "difference", "allowed"))
    first = {"step": 1, "quantity": name, "label": name} | nothing
    raise GradientMismatch(_report(first, [found], "has another shape"), first, [found])


def _mismatch(name, own, value, bound, wrong, diagnoses):
    index = tuple(int(i) for i in np.argwhere(wrong)[0]) if own.ndim else ()
    with np.errstate(invalid="ignore"):
        first = {
            "step": 1,
            "quantity": name,
            "index": list(index),
            "label": f"{name}{element(index)}",
            "manual": float(own[index]),
            "torch": float(value[index]),
            "difference": float(abs(own[index] - value[index])),
            "allowed": float(bound[index]),
        }
    how_many = f"differs in {int(wrong.sum())} of {wrong.size} elements"
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


def _diagnosed(name, own, value, bound, arrays):
    """What a wrong gradient looks like: a symmetry, a factor, a lack of digits, or just the facts."""
    off = ~_agree(own, value, bound)
    if not np.isfinite(own).all():
        says = f"{int((~np.isfinite(own)).sum())} of {own.size} of yours are not finite"
        return diagnosis(name, "unknown", says)
    if _agree(-own, value, bound).all():
        return diagnosis(name, "sign-flipped", f"the gradient of {name} is minus the right one", "turn the sign round")
    if own.ndim == 2 and own.shape[0] == own.shape[1] and _agree(own.T, value, bound).all():
        return diagnosis(name, "transposed-gradient", f"the gradient of {name} is transposed", "transpose it")
    best = np.unravel_index(int(np.argmax(np.abs(value))), value.shape) if value.size else ()
    constant = float(own[best] / value[best]) if value.size and value[best] else 0.0
    cause = _cause(constant, arrays)
    if constant and (own.size > 1 or cause) and _agree(own / constant, value, bound * 4).all():
        says = f"the gradient of {name} is {constant:.12g} times the right one{cause}"
        return diagnosis(name, "scaled-by-constant", says, "check the factors: means against sums, ½, temperature")
    with np.errstate(all="ignore"):
        size = float(np.max(np.abs(value), initial=0.0))
        error = float(np.max(np.abs(own - value), initial=0.0))
    most = off.sum() >= 0.3 * max(int(np.count_nonzero(value)), 1) and own.size > 1
    if most and error < 1e-4 * size and (own.astype(np.float32) == own).all():
        return diagnosis(name, "single-precision", f"the gradient of {name} is right to about 7 digits, as in float32",
                         "compute in float64")  # fmt: skip
    ratio = (own / np.where(value == 0, np.nan, value))[off]
    places = [f"{name}{element(tuple(map(int, place)))}" for place in np.argwhere(off)[:3]]
    says = (
        f"{int(off.sum())} of {off.size} elements differ ({', '.join(places)}{', and more' if off.sum() > 3 else ''})"
    )
    if np.isfinite(ratio).any():
        low, high = f"{np.nanmin(ratio):.12g}", f"{np.nanmax(ratio):.12g}"
        says += f"; yours over the right one is {low if low == high else f'{low} to {high}'}"
    return diagnosis(name, "unknown", says)


def _cause(constant, arrays):
    """ ", which is 1/N, …" for a factor with a usual cause, else nothing."""
    factors = {"2": 2.0, "½": 0.5}
    for name, array in arrays.items():
        for axis, n in enumerate(array.shape):
            if n > 1:
                words = f"the length of axis {axis} of {name}"
                factors |= {f"1 over {words}": 1 / n, words: float(n), f"the root of {words}": n**0.5,
                            f"1 over the root of {words}": n**-0.5, f"n/(n − 1) for {words}": n / (n - 1),
                            f"(n − 1)/n for {words}": (n - 1) / n}  # fmt: skip
        if array.size > 1:
            factors |= {f"1 over the size of {name}": 1 / array.size, f"the size of {name}": float(array.size)}
    usual = [words for words, value in factors.items() if abs(constant / value - 1) < 1e-9]
    return f", which is {usual[0]}" if usual else ""
