"""What a wrong gradient looks like: a symmetry, a factor, a lack of digits, one edit away."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import (
    agree,
    differing,
    factor,
    in_single,
    many,
    quotients,
    ratios,
    stored_by_columns,
    usual,
)
from lockstep.gradients.measured import SAFETY, Reference, asked, same_draws
from lockstep.network.names import Array, Index, Quantities, element

FACTORS = (
    "look for a factor that is missing, or there twice: of a mean against a sum, ½, √d, 1/(1 − p)"
)
_LOOK = (
    "mark intermediates with lockstep.watch, and return their gradients too, "
    "to see which is the first wrong one"
)
_LOOK_ON = (
    "mark what is made of it with lockstep.watch too: "
    "if its gradient is right, one formula is left to look at"
)
_NOT_EDITED = "The operations of the reference could not be edited to look for the mistake"


@dataclass
class Wrong:
    """A gradient that is wrong.

    own, value: by hand and by PyTorch; bound: how far two right ones may be apart; single:
    PyTorch's error in float32.
    """

    name: str
    own: Array
    value: Array
    bound: Array
    single: Array | None = None

    @cached_property
    def off(self) -> Array:
        """Where it is not the right one, to rounding."""
        return ~agree(self.own, self.value, self.bound)


@np.errstate(all="ignore")
def diagnose(wrong: list[Wrong], reference: Reference, inputs: Quantities) -> list[Diagnosis]:
    """A diagnosis of every wrong gradient, in their order. inputs: in float64."""
    found = {it.name: _by_itself(it, inputs) for it in wrong}
    left = [it for it in wrong if found[it.name] is None and np.isfinite(it.own).all()]
    named, why = _by_edits(left, reference, inputs) if left else ({}, "")
    for it in left:
        with suppress(ValueError, TypeError):  # the reference may end a little further
            found[it.name] = named.get(it.name) or _by_quotients(it, reference, inputs)
    return [found[it.name] or _by_facts(it, it.name in inputs, why) for it in wrong]


def _by_itself(it: Wrong, inputs: Quantities) -> Diagnosis | None:
    """A symmetry, a constant factor or float32's digits."""
    own, value = it.own, it.value
    if not np.isfinite(own).all():
        return None
    c, why = times(own, value, 4 * it.bound, inputs, own.size > 1)
    how = stored_by_columns(own, value, it.bound)
    size = np.max(np.abs(value), initial=0.0)
    near = 1e-4 * size
    if it.single is not None:
        near = np.maximum(SAFETY * it.single + 1e-6 * size, near)
    if not own.any():
        mistake, says, remedy = "gradient-missing", "zero everywhere", "return it"
    elif c == -1:
        mistake, says, remedy = "sign-flipped", "minus the right one", "change its sign"
    elif how:
        mistake, says, remedy = "transposed-gradient", f"transposed: {how}", "transpose it"
    elif c:
        mistake, says, remedy = "scaled-by-constant", f"{c:.12g} times the right one{why}", FACTORS
    elif many(it.off, value) and in_single(own, value, near):
        mistake, remedy = "single-precision", "compute in float64"
        says = "right to about 7 digits, as in float32"
    else:
        return None
    return Diagnosis(it.name, mistake, f"the gradient of {it.name} is {says}", remedy)


def times(
    own: Array, part: Array, bound: Array, inputs: Quantities, several: bool
) -> tuple[float | None, str]:
    """How many times a part counts in a gradient, and the usual cause of that in words.

    Returns 0, −1 or a factor other than 1, which has a usual cause if it is not seen in several
    elements; None where own is no multiple of the part.
    """
    c = factor(own, part, bound)
    if c is None or c in (0, -1):
        return c, ""
    if abs(c) <= 1e-3 or abs(c - 1) <= 1e-5:
        return None, ""
    why = _cause(c, inputs)
    return (c, why) if why or several else (None, "")


def by_shape(name: str, own: Array, value: Array) -> Diagnosis:
    """A gradient of another shape: transposed, not summed over an axis, or just another."""
    says = (
        f"the gradient of {name} has shape {own.shape}; expected {value.shape}, the shape of {name}"
    )
    near = 1e-8 + 1e-5 * np.abs(value)
    how = stored_by_columns(own, value, near)
    if how:
        says = f"{says}: it is transposed; {how}"
        return Diagnosis(name, "transposed-gradient", says, "transpose it")
    remedy = "return it in the shape of the input"
    for axes in _sets_of_axes(own) if own.size else ():
        for how, reduced in (("summed", own.sum(axis=axes)), ("averaged", own.mean(axis=axes))):
            fits = np.squeeze(reduced).shape == np.squeeze(value).shape
            if fits and agree(reduced.reshape(value.shape), value, near).all():
                says += f"; {how} over axis {', '.join(map(str, axes))} it is right"
                remedy = "sum over the axes along which the input was broadcast"
                return Diagnosis(name, "wrong-shape", says, remedy)
    if own.size == value.size and agree(own.reshape(value.shape), value, near).all():
        says, remedy = f"{says}; its numbers, reshaped, are right", "reshape it"
    return Diagnosis(name, "wrong-shape", says, remedy)


def _sets_of_axes(array: Array) -> Iterator[Index]:
    """The sets of axes that are longer than 1, small ones first."""
    axes = [axis for axis, n in enumerate(array.shape) if n > 1]
    for size in range(1, len(axes) + 1):
        yield from itertools.combinations(axes, size)


def _by_edits(
    wrong: list[Wrong], reference: Reference, inputs: Quantities
) -> tuple[dict[str, Diagnosis], str]:
    """What `edits.search` finds. It rests on what PyTorch keeps private, and may change."""
    try:
        from lockstep.gradients.edits import search
    except (ImportError, AttributeError) as error:
        return {}, f"PyTorch {torch.__version__} lacks what that needs ({error})"
    return search(wrong, reference, inputs)


def _by_quotients(it: Wrong, reference: Reference, inputs: Quantities) -> Diagnosis | None:
    """Whether a sample of the wrong elements are difference quotients of the reference."""
    if it.name not in inputs or it.off.sum() < 0.3 * it.off.size:
        return None

    def loss(moved: Array) -> float:
        given = {name: torch.tensor(array) for name, array in (inputs | {it.name: moved}).items()}
        with torch.no_grad(), same_draws():
            return float(asked(reference, given))

    found = quotients(loss, inputs[it.name], it.own - it.value, it.value, it.off)
    for width, kind, error, theirs, noise in found:
        size = np.abs(error)
        near = np.abs(error - theirs) <= np.maximum(64 * noise, 1e-3 * size)
        if near.all() and (64 * noise < 0.1 * size).mean() > 0.5:
            says = f"the gradient of {it.name} is a difference quotient, {kind}, of width {width:g}"
            return Diagnosis(it.name, "finite-differences", says, "derive it")
    return None


def _by_facts(it: Wrong, is_input: bool, why: str) -> Diagnosis:
    """What can be said where nothing explains it. why: the reference could not be edited, or ""."""
    elements = f"{it.off.size} elements"
    says = differing(it.own, it.off, lambda place: it.name + element(place), elements)
    if not np.isfinite(it.own).all():
        return Diagnosis(it.name, "unknown", says)
    pattern = _pattern(it) or ratios(it.own, it.value, it.off) or "PyTorch's is 0 there"
    says += f"; {pattern}{f'. {_NOT_EDITED}: {why}' if why else ''}"
    return Diagnosis(it.name, "unknown", says, _LOOK if is_input else _LOOK_ON)


def _pattern(it: Wrong) -> str:
    """Along which axes yours is the right one times, or plus, what stays the same there; or ""."""
    own, value, slack = it.own, it.value, 8 * it.bound
    for along in sorted(_sets_of_axes(own), key=len, reverse=True):
        c = (own * value).sum(along, keepdims=True) / (value * value).sum(along, keepdims=True)
        shift = (own - value).mean(along, keepdims=True)
        axes = f"ax{'is' if len(along) == 1 else 'es'} {' and '.join(map(str, along))}"
        same = f"something that stays the same along {axes}"
        if agree(own, c * value, slack * (1 + np.abs(c))).all():
            return f"yours is the right one times {same}"
        if agree(own, value + shift, slack).all():
            return f"yours is the right one plus {same}"
    return ""


def _cause(c: float, inputs: Quantities) -> str:
    """ ", which is 1/N or …" for a factor with usual causes, three at the most, else nothing."""
    factors = {
        "what a 2 too many makes, as of a square halved": 2.0,
        "what a missing 2 makes, as of a square": 0.5,
        "√2": 2**0.5,
        "1/√2": 0.5**0.5,
    }
    for p in (0.1, 0.2, 0.25, 0.3, 0.4):
        factors |= {f"1/(1 − {p}) (as in dropout)": 1 / (1 - p), f"1 − {p} (as in dropout)": 1 - p}
    for name, array in inputs.items():
        numbers = {f"the length of axis {axis} of {name}": n for axis, n in enumerate(array.shape)}
        if array.ndim > 1:
            numbers[f"the size of {name}"] = array.size
        for number, n in numbers.items():
            if n > 1:
                factors |= {words.format(number): made(n) for words, made in _OF_A_NUMBER.items()}
        if array.size == 1 and array.dtype.kind == "f" and array.item():
            p = array.item()
            factors |= {name: p, f"1/{name}": 1 / p, f"1 − {name}": 1 - p}
            factors |= {f"1/(1 − {name})": 1 / (1 - p)} if p != 1 else {}
    words = list(usual(c, factors, 1e-9))[:3]
    return f", which is {' or '.join(words)}" if words else ""


# what a number of things makes where it is forgotten, or there too often
_OF_A_NUMBER: dict[str, Callable[[int], float]] = {
    "1 over {}": lambda n: 1 / n,
    "{}": float,
    "the root of {}": lambda n: n**0.5,
    "1 over the root of {}": lambda n: n**-0.5,
    "n/(n − 1) for {}": lambda n: n / (n - 1),
    "(n − 1)/n for {}": lambda n: (n - 1) / n,
}
