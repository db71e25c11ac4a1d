"""Gradient descent on f(x) = x³ − 4x² + 6, by hand: the derivative is a backward difference.

torch_reference/gradient_descent.py is this file's mirror: the same functions in the same order.
"""

from typing import TypeAlias

import numpy as np

from manual_backprop.number import Number

Path: TypeAlias = list[tuple[float, float]]  # [(x, f(x)), …]


def f(x: Number) -> Number:
    return x**3 - 4 * x**2 + 6


def derivative(x: Number, delta: float = 0.01) -> Number:
    """f'(x), approximately: off by about delta/2 · f''(x)."""
    return (f(x) - f(x - delta)) / delta


def descend(start: float, steps: int, learning_rate: float, delta: float = 0.01) -> Path:
    """The path [(x, f(x)), …], the start included; it ends early where x is no longer finite."""
    x = np.float64(start)
    with np.errstate(over="ignore", invalid="ignore"):
        path = [(float(x), float(f(x)))]
        while len(path) <= steps and np.isfinite(x):
            x = x - learning_rate * derivative(x, delta)
            path.append((float(x), float(f(x))))
    return path


def ending(path: Path) -> str:
    """Where the path ended: the lecture's two lines, or, where x ran away, when that began."""
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
    """The lecture's function: descend, print where it ended, return the path."""
    path = descend(start, steps, learning_rate, delta)
    print(ending(path))
    return path
