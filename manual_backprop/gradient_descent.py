"""Gradient descent on f(x) = x³ − 4x² + 6, by hand: the derivative is a backward difference.

torch_reference/gradient_descent.py is this file's mirror: the same functions in the same order.
"""

from typing import TypeAlias

import numpy as np

from manual_backprop.number import Number

Path: TypeAlias = list[tuple[float, float]]  # [(x, f(x)), …]


def f(x: Number) -> Number:
    """The lecture's curve, f(x) = x³ − 4x² + 6. Right of 0 its minimum is at 8/3."""
    return x**3 - 4 * x**2 + 6


def derivative(x: Number, delta: float = 0.01) -> Number:
    """f'(x), approximately, by the lecture's backward difference (f(x) − f(x − δ)) / δ.

    It is off by about δ/2 · f''(x), so a descent settles near 8/3 + δ/2.

    Args:
        x: Where.
        delta: The width δ.

    Examples:
        >>> round(float(derivative(8 / 3)), 4)
        -0.0399
    """
    return (f(x) - f(x - delta)) / delta


def descend(start: float, steps: int, learning_rate: float, delta: float = 0.01) -> Path:
    """Repeat x ← x − learning_rate · f'(x).

    Args:
        start: The first x.
        steps: The number of steps.
        learning_rate: The factor in front of the derivative.
        delta: The width of the backward difference.

    Returns:
        The path [(x, f(x)), …], the start included; it ends early where x is no longer finite.

    Examples:
        >>> len(descend(0.5, 100, 0.05))
        101
    """
    x = np.float64(start)
    with np.errstate(over="ignore", invalid="ignore"):
        path = [(float(x), float(f(x)))]
        while len(path) <= steps and np.isfinite(x):
            x = x - learning_rate * derivative(x, delta)
            path.append((float(x), float(f(x))))
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
    if not np.isfinite(x):
        return f"no minimum: x overflowed at step {steps}"
    if steps not in inside:
        return f"no minimum: x left the plotted range at step {inside[-1] + 1 if inside else 0}"
    if x <= 0:
        return f"no minimum: at step {steps} x = {x!r} is not right of the curve's top at 0"
    return f"Local minimum occurs at: {round(x, 2)}\nNumber of steps:  {steps}"


def gradient_desc(start: float, steps: int, learning_rate: float, delta: float = 0.01) -> Path:
    """The lecture's function: descend, print where it ended, return the path.

    Examples:
        >>> path = gradient_desc(0.5, 100, 0.05)
        Local minimum occurs at: 2.67
        Number of steps:  100
    """
    path = descend(start, steps, learning_rate, delta)
    print(ending(path))
    return path
