"""What a wrong gradient looks like: the ways to look for its mistake, likeliest first."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property

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
    usual,
)
from lockstep.gradients.kinks import Kinks
from lockstep.gradients.measured import Check, Measured
from lockstep.gradients.patterns import Known, by_pattern, few_digits, where
from lockstep.gradients.probe import by_probing, used_as_a_whole
from lockstep.gradients.quotients import quotient
from lockstep.gradients.result import first_of, labelled
from lockstep.network.names import Array, Index, Quantities

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
_CLIPPED = "compare before the gradient is clipped"
_NOT_EDITED = "The operations of the reference could not be edited to look for the mistake"


@dataclass
class Wrong:
    """A gradient that is wrong.

    own, value: by hand and by PyTorch; bound: how far two right ones may be apart; complex: whether
    the last axis holds real and imaginary parts.
    """

    name: str
    own: Array
    value: Array
    bound: Array
    complex: bool = False

    @cached_property
    def off(self) -> Array:
        """Where it is not the right one, to rounding."""
        return ~agree(self.own, self.value, self.bound)

    @property
    def wrong(self) -> Array:
        """Where it is not, and there is a right one."""
        return self.off & np.isfinite(self.value)

    def label(self, at: Index) -> str:
        """An element as a reader writes it."""
        return labelled(self.name, at, self.complex)

    def judge(self, bound: Array) -> None:
        """Judge it by another bound."""
        self.bound = bound
        self.__dict__.pop("off", None)


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


def _by_patterns(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    """What the numbers show alone, such as rows in another order."""
    for one in left:
        if found := by_pattern(one, search.known):
            yield found


def _by_digits(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    """Constants of few digits; and where exactly a gradient is wrong that nothing explains."""
    for one in left:
        search.facts[one.name] = where(one, search.known)
        if found := few_digits(one, search.known):
            yield found


def _by_use(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    """Whether incoming gradients are used that are known as such."""
    yield from used_as_a_whole(search.it, search.seen, _finite(left))


def _by_probes(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    """What incoming gradients show that are known as such."""
    if search.it.incoming:
        yield from _by_proportion(search, left)


def _by_proportion(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    """What incoming gradients show that only look like ones."""
    yield from by_probing(search.it, search.seen, _finite(left))


def _finite(left: list[Wrong]) -> list[str]:
    return [one.name for one in left if np.isfinite(one.own).all()]


def _by_added(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    """Gradients with a multiple of an input added, as a penalty has it."""
    for one in left:
        for name, array in search.it.inputs.items():
            if array.shape != one.own.shape or array.dtype.kind != "f" or one.off.sum() < 3:
                continue
            c = factor(one.own - one.value, array, 4 * one.bound)
            if c and abs(c) > 1e-6 and np.unique(array).size > 2:
                says = f"the gradient of {one.name} is the right one plus {c:.6g} · {name}"
                yield Diagnosis(one.name, "term-too-many", says, f"look for the term with {name}")
                break


def _at_a_kink(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    """Gradients that are wrong only at kinks."""
    for one in left:
        outside = search.kinks.outside.get(one.name)
        if outside is None or not outside.any() or (one.off & ~outside).any():
            continue
        at = first_of(outside)
        low, high = (side[one.name][at] for side in (search.kinks.low, search.kinks.high))
        says = (
            f"{one.label(at)} is at a kink or tie: on its sides the gradient is between "
            f"{low:.6g} and {high:.6g}; yours is {one.own[at]:.6g}"
        )
        together = low - 1e-9 <= one.own[at] <= high + 1e-9
        if together:
            says += ", but not together with the other elements of the tie: they share one gradient"
        yield Diagnosis(
            one.name, "kink", says, "take the gradient of one side, or a mean of the sides"
        )


def _by_themselves(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    for one in left:
        if (diagnosis := _by_itself(one, search.it)) is not None:
            yield diagnosis


def _by_itself(it: Wrong, known: Check) -> Diagnosis | None:
    """A symmetry, a constant factor or float32's digits."""
    own, value = it.own, it.value
    zero = own.any() and (np.abs(value) <= it.bound).all()  # of which nothing is a multiple
    if not np.isfinite(own).all() or zero:
        return None
    c, why = times(own, value, 4 * it.bound, known.inputs, own.size > 1, known.used)
    how = stored_by_columns(own, value, it.bound)
    near = 1e-4 * np.max(np.abs(value), initial=0.0)
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
    elif _is_wide(known) and many(it.off, value) and in_single(own, value, near):
        mistake, remedy = "single-precision", "compute in float64"
        says = "right to about 7 digits, as in float32"
    else:
        return None
    return Diagnosis(it.name, mistake, f"the gradient of {it.name} is {says}", remedy)


def _is_wide(known: Check) -> bool:
    """Whether the inputs are float64: in float32 every number is one of float32."""
    return any(array.dtype == np.float64 for array in known.inputs.values())


def _round_norm(own: Array) -> float:
    """The norm of a gradient if it is a number with two decimals at most, such as 1.0; else 0."""
    norm = float(np.sqrt(np.square(own).sum()))
    limit = round(norm, 2)
    return limit if abs(norm - limit) <= 1e-12 * norm else 0.0


def _by_edits(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    """What an edit of the reference explains. It rests on what PyTorch keeps private."""
    usable = [one for one in left if np.isfinite(one.own).all()]
    if not usable:
        return
    try:
        from lockstep.gradients.edits import search as edits
    except (ImportError, AttributeError) as error:
        search.not_edited = f"PyTorch {torch.__version__} lacks what that needs ({error})"
        return
    it = search.it
    found, search.not_edited = edits(
        usable, it.reference, it.inputs, it.wanted, search.deadline, it.used
    )
    yield from found.values()


def _by_quotients(search: _Search, left: list[Wrong]) -> Iterator[Diagnosis]:
    for one in left:
        apart = np.abs(one.own - one.value)[one.off]
        if not np.median(apart) <= 0.3 * np.median(np.abs(one.value[one.off])):
            continue  # no quotient that anyone would use
        found = quotient(search.it, one.name, one.own, one.value, one.off)
        if found:
            yield found


def times(
    own: Array,
    part: Array,
    bound: Array,
    inputs: Quantities,
    several: bool,
    used: Container[str] = (),
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
    why = _cause(c, inputs, used)
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


def _by_facts(it: Wrong, check: Check, fact: str, why: str) -> Diagnosis:
    """What can be said where nothing explains it. why: the reference could not be edited, or ""."""
    elements = f"{it.off.size} elements"
    says = differing(it.own, it.off, it.label, elements)
    if not np.isfinite(it.own).all():
        return Diagnosis(it.name, "unknown", says)
    pattern = _pattern(it) or fact or ratios(it.own, it.value, it.off) or "PyTorch's is 0 there"
    says += f"; {pattern}{f'. {_NOT_EDITED}: {why}' if why else ''}"
    inexact = sorted(_INEXACT.intersection(check.used))
    apart = np.abs(it.own - it.value)[it.off]
    if inexact and np.max(apart, initial=0.0) <= 1e-8 * np.max(np.abs(it.value)):
        says += (
            f". PyTorch's own `{inexact[0].removeprefix('linalg_')}` is right to few digits more"
        )
    return Diagnosis(it.name, "unknown", says, _LOOK if it.name in check.inputs else _LOOK_ON)


_INEXACT = frozenset("linalg_matrix_exp digamma polygamma special_zeta erfinv igamma".split())


_LOOKS: tuple[Callable[[_Search, list[Wrong]], Iterator[Diagnosis]], ...] = (
    _at_a_kink,
    _by_use,
    _by_themselves,
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
        shift = (own - value).mean(along, keepdims=True)
        axes = f"ax{'is' if len(along) == 1 else 'es'} {' and '.join(map(str, along))}"
        same = f"something that stays the same along {axes}"
        if agree(own, c * value, slack * (1 + np.abs(c))).all():
            return f"yours is the right one times {same}"
        if agree(own, value + shift, slack).all():
            return f"yours is the right one plus {same}"
    return ""


def _cause(c: float, inputs: Quantities, used: Container[str]) -> str:
    """ ", which is 1/N" for a factor with a usual cause, the likeliest one; else nothing.

    used: The names of the reference's operations, which say what causes there may be.
    """

    def has(*names: str) -> bool:
        return any(name in used for name in names)

    factors: dict[str, float] = {}
    draws = has("bernoulli", "native_dropout", "bernoulli_")
    for name, array in inputs.items():
        if array.size == 1 and array.dtype.kind == "f" and (p := array.item()):
            factors |= {name: p, f"1/{name}": 1 / p}
            if 0 < p < 1 and (draws or name in _SHARES or any(_MASK in each for each in inputs)):
                factors |= {
                    f"1 − {name}": 1 - p,
                    f"1/(1 − {name})": 1 / (1 - p),
                    f"{name} · (1 − {name}), so {name} stands for 1/(1 − {name})": p * (1 - p),
                }
    factors["what a 2 too many makes, as of a square halved"] = 2.0
    factors["what a missing 2 makes, as of a square"] = 0.5
    roots = has("sqrt", "rsqrt", "pow", "linalg_vector_norm") or has(*_ATTENTION)
    spread = has("var", "std", "var_mean", "std_mean", "mean")
    for name, array in inputs.items():
        numbers = {f"the length of axis {axis} of {name}": n for axis, n in enumerate(array.shape)}
        if array.ndim > 1:
            numbers[f"the size of {name}"] = array.size
        for number, n in numbers.items():
            made = {f"1 over {number}": 1 / n, number: float(n)} if n > 1 else {}
            if n > 1 and roots:
                made |= {f"the root of {number}": n**0.5, f"1 over the root of {number}": n**-0.5}
            if n > 1 and spread:
                made |= {f"n/(n − 1) for {number}": n / (n - 1)}
                made |= {f"(n − 1)/n for {number}": (n - 1) / n}
            factors |= made
    for p in (0.1, 0.2, 0.25, 0.3, 0.4, 0.5) if draws else ():
        factors |= {f"1/(1 − {p}) (as in dropout)": 1 / (1 - p), f"1 − {p} (as in dropout)": 1 - p}
    factors |= {"√2": 2**0.5, "1/√2": 0.5**0.5} if roots else {}
    words = next(iter(usual(c, factors, 1e-9)), "")
    return f", which is {words}" if words else ""


_SHARES = ("p", "rate", "dropout", "drop", "keep")  # names of a share that is dropped
_MASK = "mask"
_ATTENTION = ("_scaled_dot_product_flash_attention_for_cpu", "scaled_dot_product_attention")
