"""assert_gradients_close: assert_close without a tolerance to choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.errors import observed
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import agree, differing, factor
from lockstep.gradients.ladder import precision_of
from lockstep.gradients.measured import DRAWS, SAFETY
from lockstep.gradients.mistakes import FACTORS
from lockstep.gradients.reference import Noise, as_array, blamed, same_draws
from lockstep.gradients.result import first_of, labelled, mismatch
from lockstep.network.names import Array, Quantities
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
            if not (isinstance(it, Tensor) and it.is_floating_point()) and not _is_float(it):
                kind = str(getattr(it, "dtype", type(it).__name__))
                raise ValueError(f"{which}: {name} is {kind}; expected floating-point numbers")
    if not own or own.keys() != right.keys() or any(own[n].shape != right[n].shape for n in own):
        shapes = [{n: tuple(it.shape) for n, it in side.items()} for side in (own, right)]
        raise ValueError(f"got tensors {shapes[0]}, expected {shapes[1]}")
    allowed, lines = dict[str, float](), list[str]()
    with threads(1), np.errstate(all="ignore"):
        for name, bound in _bounds(own, right, like, seed).items():
            mine, theirs = _wide(own[name]), _wide(right[name])
            kind = precision_of(own[name].dtype)
            allowed[name] = float(bound.max(initial=0.0))
            off = ~agree(mine, theirs, bound)
            if off.any():
                raise observed(_wrong(name, mine, theirs, bound, off, kind))
            lines.append(f"{name}: right; rounding in {kind} explains {allowed[name]:.2g} at most")
    print("\n".join(lines))
    observed(_Right("\n".join(lines)))
    return allowed


@dataclass
class _Right:
    """What a report of a test session has of tensors that are right."""

    text: str
    verdict: str = "match"
    resolution: dict[str, float] = field(default_factory=lambda: {"typical": 0.0})

    def __str__(self) -> str:
        return self.text


def _flat(value: Any) -> dict[str, Any]:
    """Tensors by name: of a tuple their numbers, of a single one `gradient`."""
    if isinstance(value, dict):
        return {str(name): it for name, it in value.items()}
    if isinstance(value, list | tuple):
        return {str(n): it for n, it in enumerate(value)}
    return {"gradient": value}


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f"


def _wide(value: Any) -> Array:
    array = as_array(value.detach().double().cpu() if isinstance(value, Tensor) else value)
    return np.asarray(array, np.float64)


def _bounds(
    own: dict[str, Any], right: dict[str, Any], like: Callable[[], Any], seed: int
) -> Quantities:
    """How far each number may be off."""
    eps = {
        name: float(torch.finfo(getattr(torch, precision_of(it.dtype))).eps)
        for name, it in own.items()
    }

    def computed(mode: Any = None) -> Quantities:
        try:
            with same_draws(), torch.enable_grad():
                if mode is None:
                    return {name: _wide(it) for name, it in _flat(like()).items()}
                with mode:
                    found = like()
                return {name: _wide(it) for name, it in _flat(found).items()}
        except Exception as error:
            raise blamed("like", error) from error

    base = computed()
    if base.keys() != right.keys() or any(base[n].shape != right[n].shape for n in base):
        shapes = [{n: tuple(it.shape) for n, it in side.items()} for side in (base, right)]
        names = f"{shapes[0]}, expected {shapes[1]}"
        raise ValueError(f"like gives other tensors than those expected: {names}")
    again = computed()
    for name, it in base.items():
        if not np.isfinite(it).all():
            raise ValueError(f"like gives numbers that are not finite: {name}")
        if not np.abs(again[name] - it).max(initial=0.0) <= _SAME * np.abs(it).max(initial=0.0):
            raise ValueError(
                f"like gives another {name} at a second call, as x.grad does, which adds up; "
                "expected torch.autograd.grad"
            )
        apart = np.abs(it - _wide(right[name])).max(initial=0.0)
        if not apart <= _SAME * np.abs(it).max(initial=0.0):
            raise ValueError(f"expected: {name} is not what like gives; expected the same numbers")
    moved = {name: np.zeros_like(it) for name, it in base.items()}
    for draw in range(1, DRAWS + 1):
        again = computed(Noise(seed + draw, max(eps.values())))
        moved = {n: np.maximum(it, np.abs(again[n] - base[n])) for n, it in moved.items()}
    return {n: SAFETY * (it + eps[n] / 2 * np.abs(_wide(right[n]))) for n, it in moved.items()}


def _wrong(
    name: str, own: Array, right: Array, bound: Array, off: Array, kind: str
) -> AssertionError:
    at = first_of(off) if off.ndim else ()
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
