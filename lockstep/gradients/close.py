"""assert_gradients_close: assert_close without a tolerance to choose."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.errors import observed
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import agree, differing, factor
from lockstep.gradients.inputs import largest
from lockstep.gradients.ladder import precision_of, unit
from lockstep.gradients.measured import DRAWS, SAFETY
from lockstep.gradients.reference import Named, Noise, as_array, blamed, same_draws
from lockstep.gradients.result import first_of, labelled, mismatch
from lockstep.gradients.wrong import FACTORS
from lockstep.network.names import Array, Quantities, Sizes
from lockstep.run.record import Entry
from lockstep.run.threads import threads
from lockstep.text import counted

_SAME = 0.1  # of the largest: what is expected may be in another precision than `like` computes


def assert_gradients_close(
    actual: Any, expected: Any, /, *, like: Callable[[], Any], seed: int = 0
) -> dict[str, float]:
    """Assert that gradients are those expected, to what rounding explains.

    It stands where torch.testing.assert_close does. The tolerance is measured: `like` runs again
    while every operation, forward and backward, is made wrong by a unit in the last place of the
    precision of `actual`. It is printed.

    Args:
        actual: A tensor or an array, or a dict, a tuple or a list of them.
        expected: The same as PyTorch has them.
        like: Computes what is expected with torch, without arguments: the reference, and
            torch.autograd.grad of it.
        seed: Of the noise.

    Returns:
        By tensor the largest difference that was allowed.

    Raises:
        GradientMismatch: A gradient is further off; it is an AssertionError.
        ValueError: `like` raises an exception, or gives other tensors.

    Examples:
        >>> import torch
        >>> from lockstep import assert_gradients_close
        >>> x = torch.linspace(-2, 2, 9, requires_grad=True)
        >>> def like():
        ...     return torch.autograd.grad(torch.tanh(x).sum(), x)
        >>> allowed = assert_gradients_close([1 - torch.tanh(x) ** 2], like(), like=like)
        0: right; rounding in float32 explains 4.7e-06 at most
    """
    __tracebackhide__ = True
    own, right = _flat(actual), _flat(expected)
    for side, which in ((own, "actual"), (right, "expected")):
        for name, it in side.items():
            if not _is_float(it):
                kind = str(getattr(it, "dtype", type(it).__name__))
                raise ValueError(f"{which}: {name} is {kind}; expected floating-point numbers")
    if not own or _shapes(own) != _shapes(right):
        raise ValueError(f"got tensors {_shapes(own)}, expected {_shapes(right)}")
    kinds = {name: precision_of(it.dtype) for name, it in own.items()}
    allowed, lines = dict[str, float](), list[str]()
    with threads(1), np.errstate(all="ignore"):
        mine, theirs = _wide(own), _wide(right)
        for name, bound in _bounds(theirs, kinds, like, seed).items():
            allowed[name] = float(largest(bound))
            off = ~agree(mine[name], theirs[name], bound)
            if off.any():
                raise observed(_wrong(name, mine[name], theirs[name], bound, off, kinds[name]))
            most = f"{allowed[name]:.2g} at most"
            lines.append(f"{name}: right; rounding in {kinds[name]} explains {most}")
    text = "\n".join(lines)
    print(text)
    observed(_Right(text))
    return allowed


@dataclass
class _Right:
    """What a report of a test session has of tensors that are right."""

    text: str
    verdict: str = "match"
    resolution: dict[str, float] = field(default_factory=lambda: {"typical": 0.0})

    def __str__(self) -> str:
        return self.text


def _flat(value: Any) -> Named:
    """Tensors by name: of a tuple their numbers, of a single one `gradient`."""
    if isinstance(value, dict):
        return {str(name): it for name, it in value.items()}
    if isinstance(value, list | tuple):
        return {str(n): it for n, it in enumerate(value)}
    return {"gradient": value}


def _is_float(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point()
    return isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f"


def _shapes(side: Named) -> dict[str, Sizes]:
    return {name: tuple(it.shape) for name, it in side.items()}


def _wide(side: Named) -> Quantities:
    """Tensors or arrays as arrays in float64."""
    return {
        name: np.asarray(as_array(it.double() if isinstance(it, Tensor) else it), np.float64)
        for name, it in side.items()
    }


def _bounds(
    right: Quantities, kinds: dict[str, str], like: Callable[[], Any], seed: int
) -> Quantities:
    """How far each number may be off. kinds: the precisions of the actual gradients, by name."""
    base = _computed(like)
    if _shapes(base) != _shapes(right):
        shapes = f"{_shapes(base)}, expected {_shapes(right)}"
        raise ValueError(f"like gives other tensors than those expected: {shapes}")
    again = _computed(like)
    for name, it in base.items():
        if not np.isfinite(it).all():
            raise ValueError(f"like gives numbers that are not finite: {name}")
        if not _is_near(again[name], it):
            raise ValueError(
                f"like gives another {name} at a second call, as x.grad does, which adds up; "
                "expected torch.autograd.grad"
            )
        if not _is_near(right[name], it):
            raise ValueError(f"expected: {name} is not what like gives; expected the same numbers")
    units = {name: unit(kind) for name, kind in kinds.items()}
    moved = {name: np.zeros_like(it) for name, it in base.items()}
    for draw in range(1, DRAWS + 1):
        again = _computed(like, Noise(seed + draw, 2 * max(units.values())))
        moved = {n: np.maximum(it, np.abs(again[n] - base[n])) for n, it in moved.items()}
    return {n: SAFETY * (it + units[n] * np.abs(right[n])) for n, it in moved.items()}


def _computed(like: Callable[[], Any], mode: Noise | None = None) -> Quantities:
    """What `like` gives, by name."""
    try:
        with same_draws(), torch.enable_grad(), mode or nullcontext():
            found = like()
        return _wide(_flat(found))
    except Exception as error:
        raise blamed("like", error) from error


def _is_near(one: Array, other: Array) -> bool:
    return bool(largest(one - other) <= _SAME * largest(other))


def _wrong(
    name: str, own: Array, right: Array, bound: Array, off: Array, kind: str
) -> AssertionError:
    at = first_of(off)
    c = factor(own, right, bound)
    label, values = labelled(name, at), (float(own[at]), float(right[at]))
    says = differing(own, off, lambda place: labelled(name, place), counted(own.size, "element"))
    found = Diagnosis(name, "unknown", says, "check_gradients and check_function name the mistake")
    if not own.any():
        found = Diagnosis(name, "gradient-missing", f"{name} is zero everywhere", "return it")
    elif c is not None:
        mistake = "sign-flipped" if c == -1 else "scaled-by-constant"
        found = Diagnosis(name, mistake, f"{name} is {c:.6g} times the right one", FACTORS)
    apart, many = abs(values[0] - values[1]), counted(off.size, "element")
    report = [
        f"{name}: mismatch, {int(off.sum())} of {many} differ, first {label}",
        f"  yours     {values[0]!r}",
        f"  expected  {values[1]!r}",
        f"  apart     {apart:.2g}; rounding in {kind} explains {float(bound[at]):.2g}",
    ]
    return mismatch(
        Entry(1, name, list(at), label, *values, apart, float(bound[at])), report, [found]
    )
