"""The same step in exact arithmetic, from the same floats."""

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from lockstep.network.names import Array, Quantities
from lockstep.network.problem import Problem
from manual_backprop import two_layer
from manual_backprop.activations import activation

DIGITS = 50
LARGEST = (
    10**6
)  # multiply-adds of a step beyond which exact arithmetic takes longer than some seconds


@cache
def _mp() -> Any:
    """Arithmetic of 50 digits, from a package that nothing else needs."""
    import mpmath

    context = mpmath.MPContext()
    context.dps = DIGITS
    return context


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + _mp().exp(-z))


# From z alone: 1 − s·s and s·(1 − s) would lose digits at the ends, which the truth must not.
_SMOOTH = {
    "sigmoid": (_sigmoid, lambda z, s: _sigmoid(z) * _sigmoid(-z)),
    "tanh": (lambda z: _mp().tanh(z), lambda z, s: _mp().sech(z) ** 2),
}


def is_small(problem: Problem) -> bool:
    """Whether a step of the problem in exact arithmetic takes no longer than some seconds."""
    return problem.multiply_adds <= LARGEST


def arithmetic(problem: Problem) -> str:
    """What the truth is computed in, in words."""
    smooth = {problem.hidden_activation, problem.output_activation} & _SMOOTH.keys()
    return f"{DIGITS}-digit arithmetic" if smooth else "exact fractions"


def truth(problem: Problem, parameters: Quantities, x: Array, y: Array, lr: float) -> Quantities:
    """The quantities of a step, exactly.

    Args:
        problem: The settings.
        parameters: Finite floats that the step starts from; x, y, lr likewise.

    Returns:
        Object arrays by name, in the order of computation: fractions, without any rounding, for
        linear and relu; 50-digit mpmath numbers where there is a sigmoid or a tanh.
    """
    number = Fraction if arithmetic(problem) == "exact fractions" else _mp().mpf
    exactly = np.frompyfunc(lambda value: number(float(value)), 1, 1)

    def by_element(name: str) -> Any:
        if name not in _SMOOTH:
            return activation(name)
        sigma, sigma_prime = _SMOOTH[name]
        return np.frompyfunc(sigma, 1, 1), np.frompyfunc(sigma_prime, 2, 1)

    return two_layer.step(
        **{name: exactly(np.asarray(array)) for name, array in parameters.items()},
        x=exactly(x),
        y=exactly(y),
        lr=number(lr),
        hidden_activation=by_element(problem.hidden_activation),
        output_activation=by_element(problem.output_activation),
        loss=problem.loss,
        frozen=problem.frozen,
    )


def error(value: float, exact: Any) -> float:
    """How far a float is from the exact number, as a float; infinite where it is not finite."""
    if not np.isfinite(value):
        return float("inf")
    number = Fraction if isinstance(exact, Fraction | int) else _mp().mpf
    return _float(abs(number(float(value)) - exact))


def _float(exact: Any) -> float:
    """The nearest float; infinite beyond the largest."""
    try:
        return float(exact)
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")
