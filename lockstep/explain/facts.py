"""What can be said of a wrong quantity without a formula, from its numbers and the right ones.

The first half is about plain arrays (own, right, and the bound to which two right ones agree) and
serves the network's quantities and any expression's gradients alike. The second half asks it about
a step of the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockstep.bound.bounded import Bounded, growth
from lockstep.explain.catalogue import GRADIENTS
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.formulas import evaluate
from lockstep.network.names import FORWARD, Array
from lockstep.run.record import Record

if TYPE_CHECKING:
    from lockstep.explain.case import Case, Replaced

Index = tuple[int, ...]

_WIDTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 2.0**-26, 1e-8, 1e-9, 1e-10)
_SAMPLE = 12  # elements that are differenced
_MOST_PARAMETERS = 2000  # of a network; with more, errors like those of quotients are no sign


def agree(own: Array, right: Array, bound: Array | float) -> Array:
    """Where two arrays are the same to within the bound. NaN agrees with NaN, inf with inf."""
    with np.errstate(invalid="ignore"):
        near = np.isfinite(right) & (np.abs(own - right) <= bound)
    same: Array = near | (np.isnan(own) & np.isnan(right)) | (own == right)
    return same


def factor(own: Array, right: Array, bound: Array) -> float | None:
    """The number c for which own is c · right to rounding: 0, −1 or another one; or None."""
    with np.errstate(all="ignore"):
        best = np.unravel_index(int(np.argmax(np.abs(right))), right.shape)
        for c in (0.0, -1.0, float(own[best] / right[best])):
            if math.isfinite(c) and agree(own, c * right, (1 + abs(c)) * bound).all():
                return c
    return None


def usual(c: float, factors: dict[str, float], near: float) -> dict[str, float]:
    """Those of the factors, by their words, that c is to a relative error."""
    return {words: f for words, f in factors.items() if f and abs(c / f - 1) < near}


def stored_by_columns(own: Array, right: Array, bound: Array) -> str:
    """How to read a matrix that is right but for the order of its numbers, or ""."""
    if own.ndim < 2 or own.ndim != right.ndim or own.size != right.size:
        return ""
    transpose = own.T, f"its transpose, of shape {right.shape}, is right"
    by_columns = own.reshape(right.shape[::-1]).T, "its numbers, read column by column, are right"
    for read, how in (transpose, by_columns):
        if read.shape == right.shape and agree(read, right, bound).all():
            return how
    return ""


def many(off: Array, right: Array) -> bool:
    """Whether enough elements are wrong for a lack of precision: a few wrong ones are none."""
    return bool(off.size > 1 and off.sum() >= 0.3 * max(int(np.count_nonzero(right)), 1))


def in_single(own: Array, right: Array, near: Array | float) -> bool:
    """Whether own holds float32's numbers, no further than `near` from the right ones."""
    close = np.abs(own - right) <= near
    return bool(close.all() and (own.astype(np.float32) == own).all())


@dataclass
class Quotients:
    """Difference quotients of some wrong elements, of one width.

    error: how far yours are from the derivative; theirs: how far the quotients are; noise: what
    rounding does to these.
    """

    width: float
    kind: str
    error: Array
    theirs: Array
    noise: Array


def quotients(
    loss: Callable[[Index, float], float], error: Array, right: Array, off: Array
) -> Iterator[Quotients]:
    """Central and one-sided difference quotients of usual widths, for a dozen wrong elements.

    Args:
        loss: the value where the element at an index is moved by a number.
        error: your derivatives less the right ones.
        right: the right derivatives.
        off: which elements are wrong.
    """
    wrong = np.argwhere(off)
    places = [tuple(map(int, at)) for at in wrong[:: max(1, len(wrong) // _SAMPLE)]][:_SAMPLE]
    yours, exact = (np.array([array[place] for place in places]) for array in (error, right))
    here = loss(places[0], 0.0)
    for h in _WIDTHS:
        ahead, behind = (np.array([loss(place, by) for place in places]) for by in (h, -h))
        noise = 2.0**-53 * np.maximum(np.abs(ahead), abs(here)) / h
        yield Quotients(h, "central", yours, (ahead - behind) / (2 * h) - exact, noise)
        yield Quotients(h, "one-sided", yours, (ahead - here) / h - exact, noise)
        yield Quotients(h, "one-sided", yours, (here - behind) / h - exact, noise)


def differing(own: Array, off: Array, label: Callable[[Index], str], elements: str) -> str:
    """Which elements differ: how many, the first three, and whether some are not finite.

    elements: all there are, in words, such as "12 elements".
    """
    places = np.argwhere(off)
    first = ", ".join(label(tuple(map(int, place))) for place in places[:3])
    where = f" ({first}{', and more' * (len(places) > 3)})" if own.ndim else ""
    strange = int((~np.isfinite(own)).sum())
    says = f"{len(places)} of {elements} differ{where}"
    return says + (f"; {strange} of {off.size} of yours are not finite" if strange else "")


def ratios(own: Array, right: Array, off: Array) -> str:
    """What yours is of the right one where they differ; "" where that is no number."""
    with np.errstate(all="ignore"):
        ratio = (own / right)[off & (right != 0)]
    if not ratio.size or not np.isfinite(ratio).all():
        return ""
    low, high = f"{ratio.min():.12g}", f"{ratio.max():.12g}"
    return f"yours / PyTorch's: {low if low == high else f'between {low} and {high}'}"


def by_columns(record: Record, name: str, own: Array) -> Diagnosis | None:
    """A matrix that is right but for its being stored by columns. own: what was returned."""
    how = stored_by_columns(np.asarray(own, np.float64), record.torch[name], record.allowed[name])
    remedy = "row j has the weights into neuron j, as in nn.Linear"
    says = f"{name} is stored by columns: {how}"
    return Diagnosis(name, "transposed-gradient", says, remedy) if how else None


@np.errstate(all="ignore")
def by_its_rate(case: Case, name: str, accepted: Replaced) -> Diagnosis | None:
    """A new parameter that another multiple of lr · gradient was subtracted from."""
    base = name.removeprefix("new_")
    if name == base or case.returned(name) < 2:
        return None
    right, _ = _right(case, name, accepted)
    start = np.asarray(case.record.parameters[base], np.float64)
    c = factor(case.own[name] - start, right.value - start, right.bound())
    remedy = "compare the learning rates, and what the gradient is multiplied by"
    says = f"{name} is updated with {c:.9g} times the learning rate" if c else ""
    return Diagnosis(name, "learning-rate", says, remedy) if c else None


@np.errstate(all="ignore")
def by_its_digits(case: Case, name: str, accepted: Replaced) -> Diagnosis | None:
    """A quantity that is right to the digits of single precision or of difference quotients."""
    right, off = _right(case, name, accepted)
    own = case.own[name]
    if case.record.dtype != "float64" or case.returned(name) < 2 or not many(off, right.value):
        return None
    if in_single(own, right.value, growth(right.k) * 2.0**-24 * right.scale):
        says = f"{name} is right to about 7 digits, as in float32"
        remedy = "compute in float64, or compare with --dtype float32"
        return Diagnosis(name, "single-precision", says, remedy)
    error = own - right.value
    width, size = _width(case, name, error, off), np.abs(right.value).max()
    if width is None or size == 0:
        return None
    digits = max(int(-np.log10(np.abs(error).max() / size)), 0)
    says = f"{name} is right to about {digits} digits, as difference quotients of width {width:.1g}"
    remedy = "a difference quotient is only near the derivative: compare the formula itself"
    return Diagnosis(name, "finite-differences", says, remedy)


def _right(case: Case, name: str, accepted: Replaced) -> tuple[Bounded, Array]:
    """What the formula of a quantity gives, and which elements are off."""
    right = case.evaluated(accepted, name)[name]
    return right, case.off(name, right)


def _width(case: Case, name: str, error: Array, off: Array) -> float | None:
    """The width with which difference quotients of the loss have errors like these, or None."""
    parameter = name.removeprefix("grad_")
    start = np.array(case.record.parameters.get(parameter, ()), np.float64)
    if name not in GRADIENTS or start.size > _MOST_PARAMETERS:
        return None

    def loss(place: Index, by: float) -> float:
        moved = start.copy()
        moved[place] += by
        names = case.names | {parameter: Bounded.exact(moved, case.precision)}
        for quantity in FORWARD:
            names[quantity] = evaluate(case.right[quantity], names)
        return float(names["loss"].value)

    for found in quotients(loss, error, case.record.torch[name], off):
        yours, theirs, noise = map(_rms, (found.error, found.theirs, found.noise))
        both_noise = all(0.02 * noise <= size <= 5 * noise for size in (yours, theirs))
        if both_noise or _rms(found.error - found.theirs) <= 0.2 * yours:
            return found.width
    return None


def _rms(array: Array) -> float:
    return float(np.sqrt(np.mean(np.square(array))))


@np.errstate(all="ignore")
def unknown(case: Case, name: str, accepted: Replaced) -> Diagnosis:
    """The facts about a quantity that no mistake explains: which elements, and their ratio."""
    _, off = _right(case, name, accepted)
    own, torch = case.own[name], case.record.torch[name]
    elements = f"{case.returned(name)} elements of {name}"
    says = differing(own, off, lambda place: case.record.named(name, place), elements)
    known = ratios(own, torch, off) if np.isfinite(own).all() else ""
    return Diagnosis(name, "unknown", f"{says}; {known}" if known else says)
