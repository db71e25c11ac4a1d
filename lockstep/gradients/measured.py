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

import numpy as np
import torch

from lockstep.gradients.inputs import parts
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
        changed = {
            name: change(name, self.inputs[name])
            for name in (self.wanted if names is None else names)
        }
        return self.inputs | {
            name: np.asarray(array, self.inputs[name].dtype) for name, array in changed.items()
        }

    def whole(self, torch: Quantities) -> float:
        """The size that gradients have here: of the largest, or of the value over the inputs."""
        inputs = [np.max(np.abs(self.inputs[name]), initial=0.0) for name in self.wanted]
        value = abs(self.value()) / max([*inputs, 1e-300])
        sizes = [np.abs(one[np.isfinite(one)]) for one in torch.values()]
        largest = [float(np.max(size, initial=0.0)) for size in sizes]
        return float(max([*largest, *([value] if np.isfinite(value) else [])]))


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
        seen: Array = np.asarray(np.abs(self.torch[name]))
        seen *= self.unit[name]
        seen[~np.isfinite(seen)] = 0.0
        seen += self.least(name)
        seen += np.maximum(self.by_torch[name], self.by_noise[name])
        return seen


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
        _demand_steady(side, seen.unit, it.inputs)
    directed = modes() if it.on_cpu else ()
    for mode in directed:
        with rounded(mode), limited(max(_PATIENCE, 20 * it.seconds)):
            found = _guarded(lambda: _by_hand(it), it.who, "rounding", seen)
        for side in sides[:-1]:  # state that shows after some calls is no rounding
            _demand_steady(side, seen.unit, it.inputs)
        _grow(seen.by_hand, found, own)
        with rounded(mode):
            found = _guarded(lambda: it.torch(), "reference", "rounding", seen)
        _grow(seen.by_torch, found, seen.torch)
    if directed:
        _forget_branches(it, seen)
    else:
        _by_moves(it, seen)
    narrow = set[str]()
    for noise in noisy(it):
        found = _guarded(lambda: it.torch(mode=noise), "reference", "noise", seen)  # noqa: B023
        _grow(seen.by_noise, found, seen.torch)
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
        largest = np.maximum(seen.references(name), seen.by_hand[name])
        seen.bound[name] = np.asarray(safety * largest)
    return seen


def _truth(it: Check, seen: Measured) -> Quantities:
    """PyTorch's gradients in float64 where the inputs have less, if the reference can do that."""
    if min(seen.unit.values()) < 2.0**-30:
        return {}
    floats = floating(it.inputs)
    wide = {
        name: array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
        if name in floats
        else array
        for name, array in it.inputs.items()
    }
    try:
        found = it.torch(wide)
    except (ValueError, TypeError):  # it has constants in another precision
        return {}
    return {name: array for name, array in found.items() if name in seen.own}


def fixed(
    it: Check, own: Quantities, values: Quantities, rtol: float, atol: float, words: str = ""
) -> Measured:
    """A tolerance in place of the measured bound: the user's, or what the words say."""
    seen = _unmeasured(it, own, values)
    seen.tolerance = words or f"your tolerance (rtol {rtol:g}, atol {atol:g})"
    for name, value in seen.torch.items():
        seen.bound[name] = np.asarray(atol + rtol * np.abs(value))
    return seen


def _unmeasured(it: Check, own: Quantities, values: Quantities) -> Measured:
    torch = {name: values[name] for name in own}
    by_hand, by_torch, by_noise = (
        {name: np.zeros(value.shape) for name, value in torch.items()} for _ in range(3)
    )
    return Measured(
        own,
        torch,
        by_hand,
        by_torch,
        by_noise,
        bound={},
        unit={name: it.unit(name) for name in own},
        remarks=[],
        whole=it.whole(torch),
    )


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


def _by_hand(it: Check) -> Quantities:
    return it.hand(it.inputs) if it.hand is not None else {}


def _guarded(side: Callable[[], Quantities], who: str, under: str, seen: Measured) -> Quantities:
    """A side under another rounding or noise; nothing where that fails, with a remark."""
    try:
        return side()
    except (ValueError, TypeError) as error:
        remark = f"the bound is measured without {who} under another {under}: {error}"
        if remark not in seen.remarks:
            seen.remarks.append(remark)
        return {}


def _forget_branches(it: Check, seen: Measured) -> None:
    """Directed rounding may change an index or a branch, which is no rounding of the result.

    Such a change is as large as the gradients, and moving the inputs does not show it.
    """
    for side in reversed(_sides(it, seen)):
        large = {name: change > SMALL * seen.whole for name, change in side.largest.items()}
        if not any(where.any() for where in large.values()):
            continue
        by_moves = {name: np.zeros(change.shape) for name, change in side.largest.items()}
        for inputs in _moves(it, _FEW, all_floats=side.who == "reference"):
            try:
                _grow(by_moves, side.call(inputs), side.values)
            except (ValueError, TypeError):  # nothing is known
                return
        for name, where in large.items():
            branches = where & (by_moves[name] < 1e-3 * side.largest[name])
            if branches.any():
                side.largest[name][branches] = by_moves[name][branches]
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
                _grow(side.largest, side.call(inputs), side.values)
    for side in sides[:-1]:  # state that showed meanwhile is no rounding
        unmoved = {name: np.zeros(value.shape) for name, value in side.values.items()}
        _demand_steady(replace(side, largest=unmoved), seen.unit, it.inputs)
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
            small = apart <= SMALL * np.max(np.abs(own), initial=0.0)
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


def _demand_steady(side: _Side, unit: dict[str, float], inputs: Quantities) -> None:
    """Raise where another call on the same inputs changes more than rounding does."""
    second = side.call(inputs)
    for name, before in side.largest.items():
        first = side.values[name]
        known = np.isfinite(first)
        whole = np.max(np.abs(first), initial=0.0, where=known)
        again = second.get(name, np.zeros(()))
        another = name in second and (known != np.isfinite(again)).any()
        least = np.maximum(_UNSTEADY * unit[name] * whole, SAFETY * before)
        if another or (np.abs(again - first) > least).any():
            third = side.call(inputs).get(name, again)
            apart = np.abs((third - again) - (again - first)).max(initial=0.0)
            grows = apart <= _ALIKE * np.abs(again - first).max(initial=0.0)
            raise Unsteady(side.who, name, name in second and not another and bool(grows))


def _grow(largest: Quantities, ones: Quantities, others: Quantities) -> None:
    """Take in the sizes of differences."""
    for name in largest if ones else ():
        apart = np.asarray(ones.get(name, np.zeros(())) - others[name])
        np.abs(apart, out=apart)
        np.maximum(largest[name], apart, out=largest[name], where=np.isfinite(apart))


def noises(
    it: Check, seen: Measured, where: dict[str, Array], louder: float = 1.0
) -> Iterator[Quantities]:
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
