"""Gradient descent on f(x) = x³ − 4x² + 6, by PyTorch: autograd's derivative and optim.SGD.

manual_backprop/gradient_descent.py is this file's mirror: the same functions in the same order.
"""

import math
from typing import TypeAlias

import torch
from torch import Tensor

Path: TypeAlias = list[tuple[float, float]]  # [(x, f(x)), …]


def f(x: Tensor) -> Tensor:
    """The lecture's curve, f(x) = x³ − 4x² + 6. Right of 0 its minimum is at 8/3."""
    return x**3 - 4 * x**2 + 6


def derivative(x: float) -> float:
    """f'(x), by autograd: exact but for rounding.

    Args:
        x: Where.

    Examples:
        >>> derivative(2.0)
        -4.0
    """
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(f(at), at)
    return slope.item()


def descend(start: float, steps: int, learning_rate: float) -> Path:
    """Repeat x ← x − learning_rate · f'(x).

    Args:
        start: The first x.
        steps: The number of steps.
        learning_rate: The factor in front of the derivative.

    Returns:
        The path [(x, f(x)), …], the start included; it ends early where x is no longer finite.

    Examples:
        >>> len(descend(0.5, 100, 0.05))
        101
    """
    x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = torch.optim.SGD([x], lr=0.0)
    optimizer.param_groups[0]["lr"] = learning_rate  # any number: SGD itself refuses a negative one
    path = [(x.item(), f(x).item())]
    while len(path) <= steps and math.isfinite(x.item()):
        optimizer.zero_grad()
        f(x).backward()
        optimizer.step()
        path.append((x.item(), f(x).item()))
    return path


def ending(path: Path) -> str:
    """Where a path ended.

    Args:
        path: What `descend` returns.

    Returns:
        The lecture's two lines; or, where x ran away, one line that says when that began.

    Examples:
        >>> print(ending(descend(0.5, 100, 0.05)))
        Local minimum occurs at: 2.67
        Number of steps:  100
    """
    x, steps = path[-1][0], len(path) - 1
    inside = [n for n, (x, _) in enumerate(path) if -1 <= x <= 4]  # the plotted range
    if not math.isfinite(x):
        return f"no minimum: x overflowed at step {steps}"
    if steps not in inside:
        return f"no minimum: x left the plotted range at step {inside[-1] + 1 if inside else 0}"
    if x <= 0:
        return f"no minimum: at step {steps} x = {x!r} is not right of the curve's top at 0"
    return f"Local minimum occurs at: {round(x, 2)}\nNumber of steps:  {steps}"


def gradient_desc(start: float, steps: int, learning_rate: float) -> Path:
    """The lecture's function: descend, print where it ended, return the path.

    Examples:
        >>> path = gradient_desc(0.5, 100, 0.05)
        Local minimum occurs at: 2.67
        Number of steps:  100
    """
    path = descend(start, steps, learning_rate)
    print(ending(path))
    return path
