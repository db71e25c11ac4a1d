"""A bound for any torch expression, measured from what rounding is seen to do.

Two right answers differ by no more than a constant times what rounding is seen to do to them. Both
sides run again on the same inputs while the processor rounds down, up and toward zero. PyTorch's
side also runs with *noise*: every operation, forward and backward, is made wrong by a unit in the
last place. Where rounding modes can't be set, the inputs are moved by a unit in the last place
instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import numpy as np
import torch

from lockstep.gradients.inputs import largest, parts
from lockstep.gradients.reference import (
    Noise,
    Reference,
    asked,
    floating,
    gradients,
    leaves,
    same_draws,
)
from lockstep.gradients.rounding import limited, modes, rounded
from lockstep.network.names import Array, Quantities

Hand = Callable[[Quantities], Quantities]

DRAWS = 8  # of noise; the largest effect counts
SAFETY = 16  # two right answers were seen 3.3 measured changes apart
_MOVED_DRAWS, MOVED_SAFETY = 24, 64  # where rounding modes can't be set: moves see less
SMALL = 1e-2  # of the largest value: a change beyond may be no rounding
_FEW = 4  # moved inputs that tell rounding from branches
_U = 2.0**-53
_PATIENCE = 5.0  # seconds for code by hand under another rounding, where it may never end
_ALIKE = 1e-2  # of what a gradient grows by from call to call
_UNSTEADY = 2.0**20  # units in the last place between two calls that are no longer rounding


class Unsteady(ValueError):
    """A side that gives other numbers when it is called again.

    Attributes:
        who: What computes it, in words, or "reference".
        gradient: The name of one that differs.
        grows: Whether it grows by the same with each call, as where it is added to.
    """

    def __init__(self, who: str, gradient: str, grows: bool) -> None:
        expected = (
            "a function of its inputs: draw random numbers with torch, which starts every call "
            "from the same seed, or pass them as an input"
            if who == "reference"
            else "the same: set accumulated gradients to zero, and pass random masks as inputs"
        )
        super().__init__(
            f"{who} gives different gradients when it is called again ({gradient}); "
            f"expected {expected}"
        )
        self.who, self.gradient, self.grows = who, gradient, grows


@dataclass
class Check:
    """Both sides of a check, as functions of arrays by name.

    Attributes:
        hand: Gradients by name from the inputs; None where they were computed elsewhere.
        reference: The scalar from tensors.
        inputs: Every array and number, by name.
        wanted: The names of inputs whose gradients are compared.
        attached: The names of inputs that are differentiated, intermediates' inputs included.
        who: What computes by hand, in words.
        seed: Of the noise.
        on_cpu: Whether PyTorch computes on the processor, whose rounding can be directed.
        incoming: The names of inputs that are incoming gradients.
        units: Unit roundoffs of inputs in a precision that NumPy does not have.
        seconds: How long a call of hand takes.
        used: The names of PyTorch's operations, once they are known.
    """

    hand: Hand | None
    reference: Reference
    inputs: Quantities
    wanted: list[str]
    attached: list[str]
    who: str = "hand"
    seed: int = 0
    on_cpu: bool = True
    incoming: list[str] = field(default_factory=list)
    units: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    used: set[str] = field(default_factory=set)

    def torch(self, inputs: Quantities | None = None, mode: Noise | None = None) -> Quantities:
        """PyTorch's gradients, complex ones as pairs; inputs without an effect are left out."""
        found = gradients(self.reference, inputs or self.inputs, self.attached, mode)
        return {name: parts(array) for name, array in found.items()}

    def value(self, inputs: Quantities | None = None) -> float:
        """The reference's value; NaN where it has none."""
        # a reference may differentiate inside
        tensors = leaves(inputs or self.inputs, self.attached)
        try:
            with torch.enable_grad(), same_draws():
                return float(asked(self.reference, tensors).detach())
        except (ValueError, TypeError):
            return np.nan

    def unit(self, name: str) -> float:
        """The unit roundoff of a gradient; of an intermediate's, that of the widest input."""
        names = [name] if name in self.inputs else self.wanted
        return min((self.units.get(each) or _unit(self.inputs[each]) for each in names), default=_U)

    def moved(
        self, change: Callable[[str, Array], Array], names: Iterable[str] | None = None
    ) -> Quantities:
        """The inputs with some changed: those that are differentiated, or those that are named."""
        its = {name: self.inputs[name] for name in (self.wanted if names is None else names)}
        moved = {name: np.asarray(change(name, it), it.dtype) for name, it in its.items()}
        return self.inputs | moved

    def whole(self, torch: Quantities) -> float:
        """The size that gradients have here: of the largest, or of the value over the inputs."""
        inputs = [largest(self.inputs[name]) for name in self.wanted]
        value = abs(self.value()) / max([*inputs, 1e-300])
        sizes = [largest(one[np.isfinite(one)]) for one in torch.values()]
        return float(max(size for size in [*sizes, value] if np.isfinite(size)))


def _unit(array: Array) -> float:
    return float(np.finfo(array.dtype).eps) / 2


@dataclass
class Measured:
    """Both sides' gradients, and the largest changes by rounding that were seen of each element.

    Attributes:
        own, torch: The gradients by hand and PyTorch's, by name, in float64.
        by_hand: How far rounding moves those by hand.
        by_torch: How far directed rounding moves PyTorch's.
        by_noise: How far noise moves them.
        bound: How far two right gradients may be apart.
        unit: Unit roundoffs by name.
        remarks: Sentences.
        tolerance: The tolerance that was given in place of the bound, in words; or "".
        truth: PyTorch's gradients in float64, of inputs in a lower precision.
        whole: The size that gradients have here.
        accepted: Which elements are right though they differ from PyTorch's, as at a kink.
    """

    own: Quantities
    torch: Quantities
    by_hand: Quantities
    by_torch: Quantities
    by_noise: Quantities
    bound: Quantities
    unit: dict[str, float]
    remarks: list[str]
    tolerance: str = ""
    truth: Quantities = field(default_factory=dict)
    whole: float = 0.0
    accepted: Quantities = field(default_factory=dict)

    def least(self, name: str) -> float:
        """The smallest normal number: what underflow on the way may do to a gradient."""
        return _TINY.get(self.unit[name], 2.0**-126)

    def references(self, name: str) -> Array:
        """How far rounding moves PyTorch's, by whatever was seen, and the last place at least."""
        size = np.nan_to_num(np.abs(self.torch[name]), nan=0.0, posinf=0.0)
        seen = np.maximum(self.by_torch[name], self.by_noise[name])
        return np.asarray(size * self.unit[name] + self.least(name) + seen)


_TINY = {  # the smallest normal number by unit roundoff
    float(np.finfo(kind).eps) / 2: float(np.finfo(kind).tiny)
    for kind in (np.float16, np.float32, np.float64)
}


def measure(it: Check, own: Quantities, values: Quantities) -> Measured:
    """What rounding is seen to do to both sides.

    Args:
        it: The two sides.
        own: The gradients by hand.
        values: PyTorch's gradients.

    Raises:
        ValueError: One side gives other numbers when it is called again.
    """
    seen = _unmeasured(it, own, values)
    sides = _sides(it, seen)
    for side in (*sides, *sides[:-1]):
        side.demand_steady(seen, it.inputs)
    directed = modes() if it.on_cpu else ()
    for mode, side in product(directed, sides):
        by_hand = side is not sides[-1]
        end = limited(max(_PATIENCE, 20 * it.seconds)) if by_hand else contextlib.nullcontext()
        with rounded(mode), end:
            found = side.tried(it.inputs, "rounding", seen)
        if by_hand:  # state that shows after some calls is no rounding
            side.demand_steady(seen, it.inputs)
        side.grow(found)
    if directed:
        _forget_branches(it, seen)
    else:
        _by_moves(it, seen)
    narrow = set[str]()
    for noise in noisy(it):
        side = _Side("reference", partial(it.torch, mode=noise), seen.torch, seen.by_noise)
        side.grow(side.tried(it.inputs, "noise", seen))
        it.used |= noise.used
        narrow |= noise.narrow
    if narrow:
        inside = ", ".join(f"`{name.strip('_')}`" for name in sorted(narrow)[:3])
        seen.remarks.append(
            f"reference computes in a lower precision than its inputs have ({inside}), "
            "and is only right to that"
        )
    seen.truth = _truth(it, seen)
    safety = SAFETY if directed else MOVED_SAFETY
    for name in own:
        most = np.maximum(seen.references(name), seen.by_hand[name])
        seen.bound[name] = np.asarray(safety * most)
    return seen


def _truth(it: Check, seen: Measured) -> Quantities:
    """PyTorch's gradients in float64 where the inputs have less, if the reference can do that."""
    if min(seen.unit.values()) < 2.0**-30:
        return {}
    wide = {
        name: it.inputs[name].astype(np.result_type(it.inputs[name].dtype, np.float64))
        for name in floating(it.inputs)
    }
    try:
        found = it.torch(it.inputs | wide)
    except (ValueError, TypeError):  # it has constants in another precision
        return {}
    return {name: array for name, array in found.items() if name in seen.own}


def fixed(
    it: Check, own: Quantities, values: Quantities, rtol: float, atol: float, words: str
) -> Measured:
    """A tolerance in place of the measured bound: the user's, or what the words say."""
    seen = _unmeasured(it, own, values)
    seen.tolerance = words or f"your tolerance (rtol {rtol:g}, atol {atol:g})"
    for name, value in seen.torch.items():
        seen.bound[name] = np.asarray(atol + rtol * np.abs(value))
    return seen


def _unmeasured(it: Check, own: Quantities, values: Quantities) -> Measured:
    torch = {name: values[name] for name in own}
    by_hand, by_torch, by_noise = (_zeros(torch) for _ in range(3))
    unit = {name: it.unit(name) for name in own}
    whole = it.whole(torch)
    return Measured(own, torch, by_hand, by_torch, by_noise, {}, unit, [], whole=whole)


def _zeros(like: Quantities) -> Quantities:
    return {name: np.zeros(array.shape) for name, array in like.items()}


@dataclass
class _Side:
    """One of the two sides, and what rounding was seen to do to it.

    Attributes:
        who: What computes, in words, or "reference".
        call: Gradients by name from the inputs.
        values: Those of the first call.
        largest: The largest changes of each element so far.
    """

    who: str
    call: Hand
    values: Quantities
    largest: Quantities

    def tried(self, inputs: Quantities, under: str, seen: Measured) -> Quantities:
        """Its gradients under another rounding or noise; none where that fails, with a remark."""
        try:
            return self.call(inputs)
        except (ValueError, TypeError) as error:
            remark = f"the bound is measured without {self.who} under another {under}: {error}"
            seen.remarks += [remark] if remark not in seen.remarks else []
            return {}

    def grow(self, found: Quantities) -> None:
        """Take in how far other gradients are from the first ones."""
        for name, most in self.largest.items() if found else ():
            apart = np.abs(np.asarray(found.get(name, np.zeros(())) - self.values[name]))
            np.maximum(most, apart, out=most, where=np.isfinite(apart))

    def demand_steady(self, seen: Measured, inputs: Quantities) -> None:
        """Raise where another call on the same inputs changes more than rounding does."""
        second = self.call(inputs)
        for name, before in self.largest.items():
            first = self.values[name]
            known = np.isfinite(first)
            again = second.get(name, np.zeros(()))
            another = name in second and (known != np.isfinite(again)).any()
            most = _UNSTEADY * seen.unit[name] * largest(first[known])
            change = again - first
            if another or (np.abs(change) > np.maximum(most, SAFETY * before)).any():
                third = self.call(inputs).get(name, again)
                grows = largest((third - again) - change) <= _ALIKE * largest(change)
                raise Unsteady(self.who, name, name in second and not another and bool(grows))


def _sides(it: Check, seen: Measured) -> list[_Side]:
    """The side by hand, if it can be called, and PyTorch's."""
    reference = _Side("reference", it.torch, seen.torch, seen.by_torch)
    if it.hand is None:
        return [reference]
    return [_Side(it.who, it.hand, seen.own, seen.by_hand), reference]


def noisy(it: Check) -> Iterator[Noise]:
    """Modes under which the reference is to run: the draws of noise."""
    floats = floating(it.inputs)
    arrays = [name for name in floats if it.inputs[name].ndim]  # a number alone widens nothing
    widest = min((2 * it.unit(name) for name in arrays or floats), default=2.0**-52)
    for draw in range(DRAWS):
        yield Noise(DRAWS * it.seed + draw, widest)


def _forget_branches(it: Check, seen: Measured) -> None:
    """Directed rounding may change an index or a branch, which is no rounding of the result.

    Such a change is as large as the gradients, and moving the inputs does not show it.
    """
    for side in reversed(_sides(it, seen)):
        large = {name: change > SMALL * seen.whole for name, change in side.largest.items()}
        if not any(where.any() for where in large.values()):
            continue
        moved = replace(side, largest=_zeros(side.largest))
        for inputs in _moves(it, _FEW, all_floats=side.who == "reference"):
            try:
                moved.grow(side.call(inputs))
            except (ValueError, TypeError):  # nothing is known
                return
        for name, where in large.items():
            by_moves, most = moved.largest[name], side.largest[name]
            branches = where & (by_moves < 1e-3 * most)
            if branches.any():
                most[branches] = by_moves[branches]
                seen.remarks.append(
                    f"{side.who} takes another branch, or another index, under another rounding "
                    f"(gradient of {name}); that is not counted as rounding"
                )


def _by_moves(it: Check, seen: Measured) -> None:
    """Both sides with the inputs moved by a unit in the last place."""
    sides = _sides(it, seen)
    for inputs in _moves(it, _MOVED_DRAWS):
        for side in sides:
            with contextlib.suppress(ValueError, TypeError):  # at the edge of what it takes
                side.grow(side.call(inputs))
    for side in sides[:-1]:  # state that showed meanwhile is no rounding
        replace(side, largest=_zeros(side.values)).demand_steady(seen, it.inputs)
    seen.remarks.append(
        "rounding can't be directed here, so the bound is measured with inputs that are moved "
        "by a unit in the last place"
    )


def moved_by_hand(it: Check, seen: Measured) -> None:
    """What rounding does to a formula by hand whose errors cancel under directed rounding.

    It changes how far the formula is from PyTorch's as the inputs move; a mistake hardly does.
    Large changes are jumps, or no rounding, and do not count.
    """
    if it.hand is None:
        return
    for inputs in _moves(it, _MOVED_DRAWS):
        try:
            by_hand, by_torch = it.hand(inputs), it.torch(inputs)
        except (ValueError, TypeError):  # at the edge of what they take
            continue
        for name, own in seen.own.items():
            value = seen.torch[name]
            moved = by_torch.get(name, value)
            error, before = by_hand.get(name, own) - moved, own - value
            # what only scales with the gradient is no rounding
            scaled = np.abs(error * (value / moved) - before)
            apart = np.asarray(np.fmin(np.abs(error - before), scaled))
            small = apart <= SMALL * largest(own)
            np.maximum(seen.by_hand[name], apart, out=seen.by_hand[name], where=small)


def _moves(it: Check, draws: int, all_floats: bool = False) -> Iterator[Quantities]:
    """The inputs that are differentiated, or all, moved by a unit in the last place at random."""
    random = np.random.default_rng(it.seed)
    floats = floating(it.inputs)
    for _ in range(draws):
        yield it.moved(
            lambda _, array: array * (1 + 2 * _unit(array) * random.integers(-1, 2, array.shape)),
            floats if all_floats else it.wanted,
        )


def noises(it: Check, seen: Measured, where: Quantities, louder: float) -> Iterator[Quantities]:
    """PyTorch's gradients at some elements under noise, draw by draw.

    where: The elements' numbers, by name.
    louder: how many times as much noise as in `measure`.
    """
    for noise in noisy(it):
        noise.louder = louder
        found = it.torch(mode=noise)
        yield {
            name: found.get(name, np.zeros_like(seen.torch[name])).flat[at]
            for name, at in where.items()
        }
