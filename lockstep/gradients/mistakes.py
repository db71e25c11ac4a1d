"""What a wrong gradient of any torch expression looks like: a symmetry, a factor, a lack of digits, one edit away."""

import itertools
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.measured import SAFETY, asked, same_draws
from lockstep.network.names import element

_QUOTIENTS = [10.0**-e for e in range(1, 9)]  # usual steps of difference quotients
_FACTORS = (
    "look for a factor that is missing, or there twice: of a mean against a sum, ½, √d, 1/(1 − p)"
)
_LOOK = "mark intermediates with lockstep.watch, and return their gradients too, to see which is the first wrong one"
_LOOK_ON = "mark what is made of it with lockstep.watch too: if its gradient is right, one formula is left to look at"
_SAMPLE = 12  # elements that are differenced
_DROPOUT = (0.1, 0.2, 0.25, 0.3, 0.4)


@dataclass
class Wrong:
    """A gradient that is wrong. own, value: by hand, by PyTorch; bound: how far two right ones may be apart; single:
    PyTorch's error in float32."""

    name: str
    own: np.ndarray
    value: np.ndarray
    bound: np.ndarray
    single: np.ndarray | None = None

    def is_(self, other, slack=1.0):
        """Whether it is the other gradient, to rounding."""
        return bool(agree(self.own, other, slack * self.bound).all())

    @cached_property
    def off(self):
        """Where it is not the right one, to rounding."""
        return ~agree(self.own, self.value, self.bound)


def agree(own, value, bound):
    with np.errstate(invalid="ignore"):
        near = np.isfinite(value) & (np.abs(own - value) <= bound)
    return near | (np.isnan(own) & np.isnan(value)) | (own == value)


def diagnose(wrong: list[Wrong], reference, inputs: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """A diagnosis of every wrong gradient, in their order. inputs: in float64."""
    found = {it.name: by_itself(it, inputs) for it in wrong}
    left = [it for it in wrong if found[it.name] is None and np.isfinite(it.own).all()]
    why = ""
    if left:
        named, why = by_edits(left, reference, inputs)
        found |= named
    for it in left:
        with suppress(ValueError, TypeError):  # it may be undefined a little further
            found[it.name] = found[it.name] or by_quotients(it, reference, inputs)
    return [found[it.name] or by_facts(it, it.name in inputs, why) for it in wrong]


def by_itself(it: Wrong, inputs):
    """A symmetry, a constant factor or float32's digits, or None."""
    name, own, value = it.name, it.own, it.value
    if not np.isfinite(own).all():
        return None
    if not own.any():
        return Diagnosis(
            name, "gradient-missing", f"the gradient of {name} is zero everywhere", "return it"
        )
    if it.is_(-value):
        return Diagnosis(
            name,
            "sign-flipped",
            f"the gradient of {name} is minus the right one",
            "turn the sign round",
        )
    if own.ndim == 2 and own.shape[0] == own.shape[1] and it.is_(value.T):
        return Diagnosis(
            name, "transposed-gradient", f"the gradient of {name} is transposed", "transpose it"
        )
    constant = _ratio(own, value)
    why = cause(constant, inputs)
    plausible = abs(constant) > 1e-3 and abs(constant - 1) > 1e-5 and (own.size > 1 or why)
    if plausible and it.is_(constant * value, 4 * max(1, abs(constant))):
        says = f"the gradient of {name} is {constant:.12g} times the right one{why}"
        return Diagnosis(name, "scaled-by-constant", says, _FACTORS)
    size, error = np.max(np.abs(value), initial=0.0), np.max(np.abs(own - value), initial=0.0)
    most = it.off.sum() >= 0.3 * max(int(np.count_nonzero(value)), 1) and own.size > 1
    near = (
        error < 1e-4 * size
        or it.single is not None
        and agree(own, value, SAFETY * it.single + 1e-6 * size).all()
    )
    if most and near and (own.astype(np.float32) == own).all():
        return Diagnosis(
            name,
            "single-precision",
            f"the gradient of {name} is right to about 7 digits, as in float32",
            "compute in float64",
        )
    return None


def _ratio(own, value):
    """own / value where value is largest; 0 where that cannot be said."""
    best = np.unravel_index(int(np.argmax(np.abs(value))), value.shape)
    return float(own[best] / value[best]) if value[best] else 0.0


def by_shape(name, own, value):
    """A gradient of another shape: transposed, not summed or averaged over a broadcast axis, or just another."""
    says = (
        f"the gradient of {name} has shape {own.shape}; expected {value.shape}, the shape of {name}"
    )
    if own.shape == value.shape[::-1] and np.allclose(own.T, value):
        return Diagnosis(name, "transposed-gradient", f"{says}: it is transposed", "transpose it")
    for axes in _axes_to_sum(own.shape, value.shape):
        for how, reduced in (("summed", own.sum(axis=axes)), ("averaged", own.mean(axis=axes))):
            if np.allclose(reduced.reshape(value.shape), value):
                says += f"; {how} over axis {', '.join(map(str, axes))} it is right"
                remedy = "sum over the axes along which the input was broadcast"
                return Diagnosis(name, "wrong-shape", says, remedy)
    if own.size == value.size and np.allclose(own.reshape(value.shape), value):
        return Diagnosis(
            name, "wrong-shape", f"{says}; its numbers, reshaped, are right", "reshape it"
        )
    return Diagnosis(name, "wrong-shape", says, "return it in the shape of the input")


def _axes_to_sum(shape, wanted):
    """The sets of axes, smallest first, whose sum leaves the numbers that the wanted shape has, in its order."""
    numbers = [n for n in wanted if n > 1]
    axes = range(len(shape))
    for size in range(1, len(shape) + 1):
        for chosen in itertools.combinations(axes, size):
            if [shape[i] for i in axes if i not in chosen and shape[i] > 1] == numbers and min(
                shape
            ) > 0:
                yield chosen


def by_edits(wrong: list[Wrong], reference, inputs) -> tuple[dict[str, Any], str]:
    """Of each gradient the first way or operation of the reference that, edited, gives it; None where there is none.

    Returns that by name, and why the operations could not be edited, "" if they could.
    """
    found: dict[str, Any] = {it.name: None for it in wrong}
    try:
        from lockstep.gradients import edits, graph
    except (ImportError, AttributeError) as error:  # they rest on what PyTorch keeps private
        return found, f"PyTorch {torch.__version__} lacks what that needs ({error})"
    try:
        return found, _edited(found, wrong, reference, inputs, edits, graph)
    except graph.CANNOT as error:
        return found, _in_short(error)


def _edited(found, wrong, reference, inputs, edits, graph):
    simple, why = _traced(wrong, reference, inputs, graph)
    passed = []
    for way in edits.ways(simple[0]() if simple else graph.plain(reference, inputs)):
        passed.append(way)
        for it in wrong:
            found[it.name] = found[it.name] or _by_way(it, way, inputs)
        if all(found.values()):
            return why
    for edit in edits.edits(*simple) if simple else ():
        for it in wrong:
            if found[it.name] is None and it.is_(edit.gradients[it.name], 4):
                found[it.name] = Diagnosis(it.name, edit.mistake, edit.says, edit.remedy)
        if all(found.values()):
            return why
    for way, it in itertools.product(passed, wrong):
        found[it.name] = found[it.name] or _by_way(it, way, inputs, any_factor=True)
    if simple and len(simple[1]) > edits.FEW:
        why = f"it has more than {edits.FEW} operations, so only those in loops were"
    return why


def _traced(wrong: list[Wrong], reference, inputs, graph):
    """What `graph.traced` gives if it is the same function, else None; and why not."""
    try:
        run, operations = graph.traced(reference, inputs)
        right = run().gradients()
    except graph.CANNOT as error:  # branches that depend on values, other libraries
        return None, _in_short(error)
    same = all(it.name in right and agree(right[it.name], it.value, it.bound).all() for it in wrong)
    return ((run, operations), "") if same else (None, "traced, it has other gradients")


def _in_short(error):
    text = str(error).strip().partition("\n")[0]
    return text or type(error).__name__


def _by_way(it: Wrong, way, inputs, any_factor=False):
    name, part = it.name, way.part[it.name]
    slack = 4 * it.bound + 2.0**-48 * np.abs(part)
    if not (np.abs(part) > slack).any():
        return None
    if agree(it.own, it.value - part, slack).all():
        says = f"the gradient of {name} lacks what comes by way of {way.place}"
        return Diagnosis(name, "term-missing", says, "add it: the gradients by several ways add up")
    if way.others is not None and agree(it.own, it.value - way.others[name], slack).all():
        says = f"the gradient of {name} has only what comes by way of {way.place}; the other ways are missing"
        return Diagnosis(
            name, "term-missing", says, "add them: the gradients by several ways add up"
        )
    if agree(it.own, it.value - 2 * part, 2 * slack).all():
        says = f"in the gradient of {name} what comes by way of {way.place} has the wrong sign"
        return Diagnosis(name, "sign-flipped", says, "turn its sign round")
    constant = _ratio(it.own - it.value + part, part)
    why = cause(constant, inputs)
    several = any_factor and np.count_nonzero(it.off & (np.abs(part) > slack)) >= 3
    plausible = abs(constant) > 1e-3 and abs(constant - 1) > 1e-5 and (why or several)
    if (
        plausible
        and agree(it.own, it.value - (1 - constant) * part, max(1, abs(constant)) * slack).all()
    ):
        says = f"in the gradient of {name} what comes by way of {way.place} counts {constant:.12g} times{why}"
        return Diagnosis(name, "scaled-by-constant", says, _FACTORS)
    return None


def by_quotients(it: Wrong, reference, inputs):
    """Whether a sample of the wrong elements are difference quotients of the reference, one-sided or central."""
    if it.name not in inputs or it.off.sum() < 0.3 * it.off.size:
        return None
    places = [
        tuple(place)
        for place in np.argwhere(it.off)[:: max(1, int(it.off.sum()) // _SAMPLE)][:_SAMPLE]
    ]

    def value(place, by):
        moved = inputs[it.name].copy()
        moved[place] += by
        given = {k: torch.tensor(moved if k == it.name else v) for k, v in inputs.items()}
        with torch.no_grad(), same_draws():
            return float(asked(reference, given))

    own = np.array([it.own[place] for place in places])
    error = np.abs(own - [it.value[place] for place in places])
    here = value(places[0], 0.0)
    for h in _QUOTIENTS:
        ahead, behind = (np.array([value(place, sign * h) for place in places]) for sign in (1, -1))
        for how, quotient in (
            ("central", (ahead - behind) / (2 * h)),
            ("one-sided", (ahead - here) / h),
        ):
            noise = 64 * 2.0**-53 * np.maximum(np.abs(ahead), abs(here)) / h
            if (np.abs(own - quotient) <= np.maximum(noise, 1e-3 * error)).all() and (
                noise < 0.1 * error
            ).mean() > 0.5:
                says = f"the gradient of {it.name} is a difference quotient, {how}, with a step of {h:g}"
                return Diagnosis(it.name, "finite-differences", says, "derive it")
    return None


def by_facts(it: Wrong, is_input, why):
    """What can be said where nothing explains it. why: as `by_edits` gives it."""
    off = it.off
    if not np.isfinite(it.own).all():
        return Diagnosis(
            it.name,
            "unknown",
            f"{int((~np.isfinite(it.own)).sum())} of {off.size} of yours are not finite",
        )
    places = [f"{it.name}{element(tuple(map(int, place)))}" for place in np.argwhere(off)[:3]]
    more = ", and more" if off.sum() > 3 else ""
    says = f"{int(off.sum())} of {off.size} elements differ ({', '.join(places)}{more}); {_pattern(it)}"
    if why:
        says += (
            f". The operations of the reference could not be edited to look for the mistake: {why}"
        )
    return Diagnosis(it.name, "unknown", says, _LOOK if is_input else _LOOK_ON)


def _pattern(it: Wrong):
    """Along which axes yours is the right one times, or plus, what stays the same there; else the range of ratios."""
    own, value, slack = it.own, it.value, 8 * it.bound
    long = [axis for axis, n in enumerate(own.shape) if n > 1]
    with np.errstate(all="ignore"):
        for size in range(len(long), 0, -1):
            for along in itertools.combinations(long, size):
                times = (own * value).sum(along, keepdims=True) / (value * value).sum(
                    along, keepdims=True
                )
                plus = (own - value).mean(along, keepdims=True)
                for word, fits in (
                    ("times", agree(own, times * value, slack * (1 + np.abs(times)))),
                    ("plus", agree(own, value + plus, slack)),
                ):
                    if fits.all():
                        axes = f"ax{'is' if size == 1 else 'es'} {' and '.join(map(str, along))}"
                        return f"yours is the right one {word} something that stays the same along {axes}"
        ratio = (own / np.where(value == 0, np.nan, value))[it.off]
    if not np.isfinite(ratio).any():
        return "where the right one is 0"
    low, high = f"{np.nanmin(ratio):.3g}", f"{np.nanmax(ratio):.3g}"
    return f"yours over the right one is {low if low == high else f'{low} to {high}'}"


def cause(constant, inputs):
    """ ", which is 1/N or …" for a factor with usual causes, three at the most, else nothing."""
    factors = {
        "what a 2 too many makes, as of a square halved": 2.0,
        "what a missing 2 makes, as of a square": 0.5,
        "√2": 2**0.5,
        "1/√2": 0.5**0.5,
    }
    for p in _DROPOUT:
        factors |= {f"1/(1 − {p}) (as in dropout)": 1 / (1 - p), f"1 − {p} (as in dropout)": 1 - p}
    for name, array in inputs.items():
        for axis, n in enumerate(array.shape):
            if n > 1:
                words = f"the length of axis {axis} of {name}"
                factors |= {
                    f"1 over {words}": 1 / n,
                    words: float(n),
                    f"the root of {words}": n**0.5,
                    f"1 over the root of {words}": n**-0.5,
                    f"n/(n − 1) for {words}": n / (n - 1),
                    f"(n − 1)/n for {words}": (n - 1) / n,
                }
        if array.size > 1:
            factors |= {
                f"1 over the size of {name}": 1 / array.size,
                f"the size of {name}": float(array.size),
            }
        elif array.size and array.dtype.kind == "f" and array.item():
            p = array.item()
            factors |= {name: p, f"1/{name}": 1 / p, f"1 − {name}": 1 - p} | (
                {f"1/(1 − {name})": 1 / (1 - p)} if p != 1 else {}
            )
    usual = [
        words for words, value in factors.items() if value and abs(constant / value - 1) < 1e-9
    ]
    return f", which is {' or '.join(usual[:3])}" if usual else ""
