"""What a wrong gradient looks like: the ways to look for its mistake, likeliest first."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from lockstep.errors import first_line_of
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import (
    agree,
    differing,
    factor,
    in_single,
    many,
    ratios,
    stored_by_columns,
)
from lockstep.gradients.kinks import Kinks
from lockstep.gradients.measured import Check, Measured
from lockstep.gradients.patterns import Known, by_pattern, few_digits, where
from lockstep.gradients.probe import by_probing, used_as_a_whole
from lockstep.gradients.quotients import quotient
from lockstep.gradients.result import first_of
from lockstep.gradients.wrong import FACTORS, Wrong, times
from lockstep.network.names import Array, Index

_LOOK = (
    "mark intermediates with lockstep.watch, and return their gradients too, "
    "to see which is the first wrong one"
)
_LOOK_ON = (
    "mark what is made of it with lockstep.watch too: "
    "if its gradient is right, one formula is left to look at"
)
_CLIPPED = "compare before the gradient is clipped"
_NOT_EDITED = "The operations of the reference could not be edited to look for the mistake"


@np.errstate(all="ignore")
def diagnose(
    it: Check, seen: Measured, wrong: list[Wrong], kinks: Kinks, deadline: float
) -> list[Diagnosis]:
    """A diagnosis of every wrong gradient, in their order.

    Nothing that fails here changes the verdict: the report names what failed.

    Args:
        it: Both sides.
        seen: What is known of them.
        wrong: The wrong gradients.
        kinks: What is known of kinks.
        deadline: The time, as `time.monotonic` counts it, when the search ends.
    """
    search = _Search(it, seen, kinks, deadline)
    found: dict[str, Diagnosis] = {}
    why: list[str] = []
    for look in _LOOKS:
        left = [one for one in wrong if one.name not in found]
        if not left or time.monotonic() > deadline:
            break
        try:
            for diagnosis in look(search, left):
                found.setdefault(diagnosis.quantity, diagnosis)
        except Exception as error:  # whatever happens, the verdict stands
            says = first_line_of(error)
            why.append(f"{type(error).__name__}{': ' if says else ''}{says}")
    if search.not_edited:
        why.append(search.not_edited)
    for name in it.incoming:  # an output, whose gradient by the incoming one is itself
        if name in found:
            found[name].says = found[name].says.replace(f"the gradient of {name}", name)
    return [
        found.get(one.name) or _by_facts(one, it, search.facts.get(one.name, ""), "; ".join(why))
        for one in wrong
    ]


@dataclass
class _Search:
    """What is looked through for mistakes.

    Attributes:
        facts: What is known of a gradient though nothing explains it.
        not_edited: Why operations could not be edited.
    """

    it: Check
    seen: Measured
    kinks: Kinks
    deadline: float
    facts: dict[str, str] = field(default_factory=dict)
    not_edited: str = ""

    @property
    def known(self) -> Known:
        """What is known beside the wrong gradients."""
        return Known(self.seen.torch, self.it.inputs, self.seen.own)


Look = Callable[[_Search, list[Wrong]], Iterable[Diagnosis]]


def _each(look: Callable[[_Search, Wrong], Diagnosis | None]) -> Look:
    """What is looked for in one gradient at a time."""
    return lambda search, left: filter(None, (look(search, one) for one in left))


def _by_incoming(look: Callable[[Check, Measured, list[str]], Iterable[Diagnosis]]) -> Look:
    """What incoming gradients show of those that are finite, by their names."""
    return lambda search, left: look(
        search.it, search.seen, [one.name for one in left if one.is_finite]
    )


@_each
def _by_patterns(search: _Search, one: Wrong) -> Diagnosis | None:
    """What the numbers show alone, such as rows in another order."""
    return by_pattern(one, search.known)


@_each
def _by_digits(search: _Search, one: Wrong) -> Diagnosis | None:
    """Constants of few digits; and where exactly a gradient is wrong that nothing explains."""
    search.facts[one.name] = where(one, search.known)
    return few_digits(one, search.known)


_by_use = _by_incoming(used_as_a_whole)  # whether those that are known as such are used
_by_proportion = _by_incoming(by_probing)  # also those that only look like incoming gradients


def _by_probes(search: _Search, left: list[Wrong]) -> Iterable[Diagnosis]:
    """What incoming gradients show that are known as such."""
    return _by_proportion(search, left) if search.it.incoming else ()


@_each
def _by_added(search: _Search, one: Wrong) -> Diagnosis | None:
    """A gradient with a multiple of an input added, as a penalty has it."""
    for name, array in search.it.inputs.items():
        if array.shape != one.own.shape or array.dtype.kind != "f" or one.off.sum() < 3:
            continue
        c = factor(one.error, array, 4 * one.bound)
        if c and abs(c) > 1e-6 and np.unique(array).size > 2:
            says = f"the gradient of {one.name} is the right one plus {c:.6g} · {name}"
            return Diagnosis(one.name, "term-too-many", says, f"look for the term with {name}")
    return None


@_each
def _at_a_kink(search: _Search, one: Wrong) -> Diagnosis | None:
    """A gradient that is wrong only at kinks."""
    outside = search.kinks.outside.get(one.name)
    if outside is None or not outside.any() or (one.off & ~outside).any():
        return None
    at = first_of(outside)
    low, high = (side[one.name][at] for side in (search.kinks.low, search.kinks.high))
    says = (
        f"{one.label(at)} is at a kink or tie: on its sides the gradient is between "
        f"{low:.6g} and {high:.6g}; yours is {one.own[at]:.6g}"
    )
    if low - 1e-9 <= one.own[at] <= high + 1e-9:
        says += ", but not together with the other elements of the tie: they share one gradient"
    return Diagnosis(
        one.name, "kink", says, "take the gradient of one side, or a mean of the sides"
    )


@_each
def _by_itself(search: _Search, it: Wrong) -> Diagnosis | None:
    """A symmetry, a constant factor or float32's digits."""
    own, value = it.own, it.value
    zero = own.any() and (np.abs(value) <= it.bound).all()  # of which nothing is a multiple
    if zero or not it.is_finite:
        return None
    c, why = times(own, value, 4 * it.bound, search.it, own.size > 1)
    how = stored_by_columns(own, value, it.bound)
    near = 1e-4 * np.abs(value).max()
    # in float32 every number is one of float32
    is_wide = any(array.dtype == np.float64 for array in search.it.inputs.values())
    if not own.any():
        mistake, says, remedy = "gradient-missing", "zero everywhere", "return it"
    elif c == -1:
        mistake, says, remedy = "sign-flipped", "minus the right one", "change its sign"
    elif how:
        mistake, says, remedy = "transposed-gradient", f"transposed: {how}", "transpose it"
    elif c and not why and 0 < c < 1 and (limit := _round_norm(own)):
        mistake, says, remedy = "gradient-clipped", f"scaled to a norm of {limit:g}", _CLIPPED
    elif c:
        mistake, says, remedy = "scaled-by-constant", f"{c:.12g} times the right one{why}", FACTORS
    elif is_wide and many(it.off, value) and in_single(own, value, near):
        mistake, remedy = "single-precision", "compute in float64"
        says = "right to about 7 digits, as in float32"
    else:
        return None
    return Diagnosis(it.name, mistake, f"the gradient of {it.name} is {says}", remedy)


def _round_norm(own: Array) -> float:
    """The norm of a gradient if it is a number with two decimals at most, such as 1.0; else 0."""
    norm = float(np.sqrt(np.square(own).sum()))
    limit = round(norm, 2)
    return limit if abs(norm - limit) <= 1e-12 * norm else 0.0


def _by_edits(search: _Search, left: list[Wrong]) -> Iterable[Diagnosis]:
    """What an edit of the reference explains. It rests on what PyTorch keeps private."""
    usable = [one for one in left if one.is_finite]
    if not usable:
        return ()
    try:
        from lockstep.gradients.edits import search as edits
    except (ImportError, AttributeError) as error:
        search.not_edited = f"PyTorch {torch.__version__} lacks what that needs ({error})"
        return ()
    found, search.not_edited = edits(usable, search.it, search.deadline)
    return found.values()


@_each
def _by_quotients(search: _Search, one: Wrong) -> Diagnosis | None:
    """Difference quotients, if they are as near as those that anyone would use."""
    if not np.median(np.abs(one.error[one.off])) <= 0.3 * np.median(np.abs(one.value[one.off])):
        return None
    return quotient(search.it, one.name, one.own, one.value, one.off)


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


def _by_facts(it: Wrong, check: Check, fact: str, why: str) -> Diagnosis:
    """What can be said where nothing explains it. why: the reference could not be edited, or ""."""
    elements = f"{it.off.size} elements"
    says = differing(it.own, it.off, it.label, elements)
    if not it.is_finite:
        return Diagnosis(it.name, "unknown", says)
    pattern = _pattern(it) or fact or ratios(it.own, it.value, it.off) or "PyTorch's is 0 there"
    says += f"; {pattern}{f'. {_NOT_EDITED}: {why}' if why else ''}"
    inexact = sorted(_INEXACT.intersection(check.used))
    apart = np.abs(it.error[it.off])
    if inexact and np.max(apart, initial=0.0) <= 1e-8 * np.abs(it.value).max():
        says += (
            f". PyTorch's own `{inexact[0].removeprefix('linalg_')}` is right to few digits more"
        )
    return Diagnosis(it.name, "unknown", says, _LOOK if it.name in check.inputs else _LOOK_ON)


_INEXACT = frozenset("linalg_matrix_exp digamma polygamma special_zeta erfinv igamma".split())


_LOOKS: tuple[Look, ...] = (
    _at_a_kink,
    _by_use,
    _by_itself,
    _by_patterns,
    _by_quotients,
    _by_probes,
    _by_edits,
    _by_proportion,
    _by_added,
    _by_digits,
)


def _pattern(it: Wrong) -> str:
    """Along which axes yours is the right one times, or plus, what stays the same there; or ""."""
    own, value, slack = it.own, it.value, 8 * it.bound
    for along in sorted(_sets_of_axes(own), key=len, reverse=True):
        c = (own * value).sum(along, keepdims=True) / (value * value).sum(along, keepdims=True)
        shift = it.error.mean(along, keepdims=True)
        axes = f"ax{'is' if len(along) == 1 else 'es'} {' and '.join(map(str, along))}"
        same = f"something that stays the same along {axes}"
        if agree(own, c * value, slack * (1 + np.abs(c))).all():
            return f"yours is the right one times {same}"
        if agree(own, value + shift, slack).all():
            return f"yours is the right one plus {same}"
    return ""
