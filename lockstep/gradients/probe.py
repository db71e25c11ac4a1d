"""Which part of the incoming gradient a backward uses: it is linear in it, so parts can be probed.

An incoming gradient is what the reference's value is proportional to: that of a Function or a
layer, or an input `g` of a reference such as `(layer(x) * g).sum()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.inputs import largest
from lockstep.gradients.measured import Check, Measured
from lockstep.network.names import Array, Quantities, Sizes

_MOST = 32  # rows along an axis that are probed one by one
_NEAR = 1e-9  # of the largest element: two gradients that are the same


def used_as_a_whole(it: Check, seen: Measured, names: list[str]) -> Iterator[Diagnosis]:
    """Wrong gradients that do not depend on a known incoming gradient, or as its square does."""
    for incoming in it.incoming if it.hand is not None else ():
        wrong = [name for name in names if name != incoming]
        yield from _as_a_whole(it, seen, incoming, wrong)


def by_probing(it: Check, seen: Measured, names: list[str]) -> Iterator[Diagnosis]:
    """What is wrong with the use of the incoming gradient, for wrong gradients by name."""
    if it.hand is None:
        return
    for incoming in it.incoming or _proportional(it):
        wrong = [name for name in names if name != incoming]
        found = [] if it.incoming else list(_as_a_whole(it, seen, incoming, wrong))
        yield from found
        wrong = _without(wrong, found)
        for axis, length in enumerate(it.inputs[incoming].shape if wrong else ()):
            if 1 < length <= _MOST:  # pragma: no branch
                found = list(_along(it, incoming, axis, wrong))
                yield from found
                wrong = _without(wrong, found)


def _without(names: list[str], found: list[Diagnosis]) -> list[str]:
    named = {diagnosis.quantity for diagnosis in found}
    return [name for name in names if name not in named]


def _proportional(it: Check) -> list[str]:
    """The inputs to which the reference's value is proportional."""
    here = it.value()
    return [
        name
        for name, array in it.inputs.items()
        if array.dtype.kind == "f"
        and array.ndim
        and here
        # no zeros: a loop of the reference may never end with them
        and all(
            abs(it.value(it.inputs | {name: by * array}) - by * here) <= _NEAR * by * abs(here)
            for by in (2.0, 2.0**-20)
        )
    ]


def _yours(it: Check, incoming: str, array: Array) -> Quantities:
    assert it.hand is not None
    return it.hand(it.inputs | {incoming: array})


def _as_a_whole(it: Check, seen: Measured, incoming: str, names: list[str]) -> Iterator[Diagnosis]:
    """Gradients that do not depend on the incoming one, or as its square does."""
    array = it.inputs[incoming]
    without, twice = (_yours(it, incoming, by * array) for by in (0.0, 2.0))
    called = _called(it, incoming)
    right, nothing = it.torch(it.inputs), it.torch(it.inputs | {incoming: 0 * array})
    for name in names:
        own = seen.own[name]
        zero = np.zeros_like(own)
        is_needed = (right.get(name, zero) != nothing.get(name, zero)).any()
        if not own.any() or not is_needed:  # of another output alone
            continue
        if _same(without[name], own):
            says = f"the gradient of {name} does not use {called}"
            yield Diagnosis(name, "incoming-gradient-ignored", says, f"multiply with {called}")
        elif _same(twice[name], 4 * own) and not without[name].any():
            says = f"the gradient of {name} has {called} as a factor twice"
            yield Diagnosis(name, "factor-twice", says, "multiply with it once")


@dataclass
class _Parts:
    """A wrong gradient in parts, one from each row of an incoming gradient along an axis.

    Attributes:
        name: Of the gradient.
        called: The incoming one in words.
        axis: Along which it was taken apart.
        yours, right: The parts, (rows, *shape of the gradient).
    """

    name: str
    called: str
    axis: int
    yours: Array
    right: Array

    @property
    def rows(self) -> str:
        """What is along the axis, in words."""
        return f"place (axis {self.axis})" if self.axis else "row"


def _along(it: Check, incoming: str, axis: int, names: list[str]) -> Iterator[Diagnosis]:
    """Gradients that use other rows of the incoming one than PyTorch's do, along an axis."""
    array = it.inputs[incoming]
    nothing = _yours(it, incoming, np.zeros_like(array))
    names = [name for name in names if not nothing[name].any()]  # else the parts don't add up
    probed = []
    for row in range(array.shape[axis]):
        one = np.zeros_like(array)
        at: tuple[Any, ...] = (*[slice(None)] * axis, row)
        one[at] = array[at]
        probed.append((_yours(it, incoming, one), it.torch(it.inputs | {incoming: one})))
    for name in names:
        yours = np.array([by_hand[name] for by_hand, _ in probed])
        nothing_used = np.zeros_like(yours[0])
        right = np.array([by_torch.get(name, nothing_used) for _, by_torch in probed])
        parts = _Parts(name, _called(it, incoming), axis, yours, right)
        if not all(map(_same, yours, right)):
            found = _left_out(parts) or _misplaced(parts, array.shape)
            yield from [found] if found else []


def _left_out(it: _Parts) -> Diagnosis | None:
    """Whether rows of the incoming gradient are not used, and the others rightly."""
    used = _rows(it.yours)
    lost = sorted(_rows(it.right) - used)
    if not (lost and used and all(_same(it.yours[row], it.right[row]) for row in used)):
        return None
    says = f"the gradient of {it.name} has no part from {_listed(it.rows, lost)} of {it.called}"
    return Diagnosis(it.name, "partial-sum", says, "sum over all of them")


def _misplaced(it: _Parts, shape: Sizes) -> Diagnosis | None:
    """Whether rows of yours use rows of the incoming gradient that do not belong to them."""
    name, called, rows, yours, right = it.name, it.called, it.rows, it.yours, it.right
    used, needed = _rows(yours), _rows(right)
    if yours[0].shape == shape:  # else only the first axes are the same
        yours, right = (np.moveaxis(parts, it.axis + 1, 1) for parts in (yours, right))
    elif it.axis or not yours[0].ndim:  # pragma: no cover
        return None
    more = [_rows(own) - _rows(part) for own, part in zip(yours, right, strict=True)]
    only = min(used, default=0)
    if len(needed) > 1 and len(used) == 1 and more[only]:
        says = f"the gradient of {name} uses only {rows} {only} of {called}, for all"
        mistake = "partial-sum" if it.axis else "one-sample-only"
        return Diagnosis(name, mistake, says, f"use every {rows} of it, where it belongs")
    several = len(yours[0]) > 1
    if several and all(more) and all(len(_rows(own)) == len(own) for own in yours):
        says = f"every {rows} of the gradient of {name} uses all of {called}, as a sum of it"
        return Diagnosis(name, "wrong-axis", says, f"use the {rows} that belongs to it")
    return None if it.axis else _elsewhere(called, name, yours, right)


def _rows(part: Array) -> set[int]:
    """The rows of an array that are not zero."""
    return set(np.flatnonzero(part.reshape(len(part), -1).any(axis=1)).tolist())


def _elsewhere(called: str, name: str, yours: Array, right: Array) -> Diagnosis | None:
    """Whether rows of the incoming gradient are used at other rows of yours than they belong."""
    for row, (own, part) in enumerate(zip(yours, right, strict=True)):
        mine, its = _rows(own), _rows(part)
        if its and len(its) < len(own) and mine and not mine & its:
            says = (
                f"the gradient of {name}: row {min(mine)} uses row {row} of {called}, "
                f"which belongs to row {min(its)}"
            )
            return Diagnosis(name, "wrong-index", says, "use the index of the forward pass")
    return None


def _listed(rows: str, numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"{rows} {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{rows}s {numbers[0]} … {numbers[-1]}"
    return f"{rows}s {', '.join(map(str, numbers[:4]))}{' …' * (len(numbers) > 4)}"


def _same(one: Array, other: Array) -> bool:
    return bool((np.abs(one - other) <= _NEAR * largest(other)).all())


def _called(it: Check, incoming: str) -> str:
    """An incoming gradient in words."""
    if incoming not in it.incoming:
        return incoming
    of = "" if len(it.incoming) == 1 else f" of {incoming}"
    return f"the incoming gradient{of}"
