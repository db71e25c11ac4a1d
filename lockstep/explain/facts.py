"""What can be said of a wrong quantity without a formula, from its numbers and the right ones.

The first half is about plain arrays (own, right, and the bound to which two right ones agree) and
serves the network's quantities and any expression's gradients alike. The second half asks it about
a step of the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from lockstep.bound.bounded import Bounded, growth
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.formulas import evaluate
from lockstep.network.names import Array, Index
from lockstep.run.record import Record
from lockstep.text import right_digits

if TYPE_CHECKING:
    from lockstep.explain.case import Case, Replaced

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
        best = int(np.argmax(np.abs(right)))
        for c in (0.0, -1.0, float(own.flat[best] / right.flat[best])):
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


def is_single(own: Array, right: Bounded) -> bool:
    """Whether own holds float32's numbers, and differs by float32's rounding alone."""
    return in_single(own, right.value, growth(right.k) * 2.0**-24 * right.scale)


def quotients(
    loss: Callable[[Array], float], start: Array, error: Array, right: Array, off: Array
) -> Iterator[tuple[float, str, Array, Array, Array]]:
    """Central and one-sided difference quotients of usual widths, for a dozen wrong elements.

    Args:
        loss: The value of a function.
        start: Where it is differentiated.
        error: Your derivatives less the right ones.
        right: The right derivatives.
        off: Which elements are wrong.

    Yields:
        A width, the kind, how far yours are from the derivative, how far the quotients are, and
        what rounding does to these.
    """
    wrong = np.argwhere(off)
    places = [tuple(at) for at in wrong[:: max(1, len(wrong) // _SAMPLE)]][:_SAMPLE]
    yours, exact = (np.array([array[place] for place in places]) for array in (error, right))

    def moved(by: float) -> Array:
        copies = np.repeat(start[None], len(places), axis=0)
        for number, place in enumerate(places):
            copies[number, *place] += by
        return np.array([loss(copy) for copy in copies])

    here = loss(start)
    for h in _WIDTHS:
        ahead, behind = moved(h), moved(-h)
        noise = 2.0**-53 * np.maximum(np.abs(ahead), abs(here)) / h
        yield h, "central", yours, (ahead - behind) / (2 * h) - exact, noise
        yield h, "one-sided", yours, (ahead - here) / h - exact, noise
        yield h, "one-sided", yours, (here - behind) / h - exact, noise


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
    if not ratio.size or not np.isfinite(ratio).all() or not np.isfinite(own).all():
        return ""
    low, high = f"{ratio.min():.12g}", f"{ratio.max():.12g}"
    return f"yours / PyTorch's: {low if low == high else f'between {low} and {high}'}"


def by_columns(record: Record, name: str, own: Array) -> Diagnosis | None:
    """A matrix that is right but for its being stored by columns. own: what was returned."""
    how = stored_by_columns(np.asarray(own, np.float64), record.torch[name], record.allowed[name])
    is_weight = name.removeprefix("grad_").removeprefix("new_").startswith("W")
    rows = "has the weights into neuron" if is_weight else "is sample"
    remedy = f"row j {rows} j, as in nn.Linear"
    says = f"{name} is stored by columns: {how}"
    return Diagnosis(name, "transposed-gradient", says, remedy) if how else None


@np.errstate(all="ignore")
def by_facts(case: Case, name: str, accepted: Replaced) -> Diagnosis:
    """What can be said of a wrong quantity of the network without a formula."""
    record, own, returned = case.record, case.own[name], case.returned(name)
    right = case.evaluated(accepted, name)[name]
    off = case.off(name, right)
    stored = by_columns(record, name, own) if name not in record.covered else None
    if stored:
        return stored
    base = name.removeprefix("new_")
    start = record.start.parameters.get(base) if name != base else None
    if returned > 1:
        if name in case.network.gradients and (clipped := _clipped(name, own, right)):
            return clipped
        if record.dtype == "float64" and many(off, right.value) and np.isfinite(own).all():
            digits = _by_its_digits(case, name, right, off)
            if digits:
                return digits
        if start is not None and (c := factor(own - start, right.value - start, right.bound())):
            says = f"{name} is updated with {c:.9g} times the learning rate"
            remedy = "compare the learning rates, and what the gradient is multiplied by"
            return Diagnosis(name, "learning-rate", says, remedy)
    elements = f"{returned} elements of {name}"
    says = differing(own, off, lambda place: record.named(name, place), elements)
    known = ratios(own, record.torch[name], off)
    if start is not None and (change := ratios(own - start, record.torch[name] - start, off)):
        known = f"of what is added, {change}"
    return Diagnosis(name, "unknown", f"{says}; {known}" if known else says)


def _clipped(name: str, own: Array, right: Bounded) -> Diagnosis | None:
    """A gradient that is right but for values cut off at a limit, which is its largest."""
    limit = float(np.abs(own).max())
    over = np.abs(right.value) > limit + right.bound()
    if not over.any() or over.all() or not math.isfinite(limit):
        return None
    if not agree(own, np.clip(right.value, -limit, limit), right.bound()).all():
        return None
    says = f"{name} is cut off at {limit:.9g}: {over.sum()} of its {own.size} values are larger"
    return Diagnosis(
        name, "gradient-clipped", says, "compare the gradients before they are clipped"
    )


def _by_its_digits(case: Case, name: str, right: Bounded, off: Array) -> Diagnosis | None:
    """A quantity that is right to the digits of single precision or of difference quotients."""
    own = case.own[name]
    if is_single(own, right):
        says = f"{name} is right to about 7 digits, as in float32"
        remedy = "compute in float64, or compare with --dtype float32"
        return Diagnosis(name, "single-precision", says, remedy)
    error = own - right.value
    width, size = _width(case, name, error, off), np.abs(right.value).max()
    if width is None or size == 0:
        return None
    digits = right_digits(float(np.abs(error).max() / size))
    says = f"{name} is right to about {digits} digits, as difference quotients of width {width:.1g}"
    remedy = "a difference quotient is only near the derivative: compare the formula itself"
    return Diagnosis(name, "finite-differences", says, remedy)


def _width(case: Case, name: str, error: Array, off: Array) -> float | None:
    """The width with which difference quotients of the loss have errors like these, or None."""
    network, parameter = case.network, name.removeprefix("grad_")
    start = np.array(case.record.start.parameters.get(parameter, ()), np.float64)
    if name not in network.gradients or start.size > _MOST_PARAMETERS:
        return None

    def loss(moved: Array) -> float:
        names = case.names | {parameter: Bounded.exact(moved, case.precision)}
        for quantity in network.forward:
            names[quantity] = evaluate(case.right[quantity], names)
        return float(names["loss"].value)

    def size(array: Array) -> float:
        return float(np.sqrt(np.mean(np.square(array))))

    for width, _, own, theirs, noise in quotients(loss, start, error, case.record.torch[name], off):
        sizes, rounding = (size(own), size(theirs)), size(noise)
        both_noise = all(0.02 * rounding <= each <= 5 * rounding for each in sizes)
        if both_noise or size(own - theirs) <= 0.2 * size(own):
            return width
    return None
