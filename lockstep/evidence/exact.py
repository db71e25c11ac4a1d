"""The same step in exact arithmetic, from the same floats."""

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from lockstep.network.names import Quantities
from lockstep.network.network import WITH_ACTIVATION
from lockstep.network.problem import Problem, Start
from manual_backprop import network as by_hand
from manual_backprop.activations import activation
from manual_backprop.number import Pair

DIGITS = 50
LARGEST = (
    10**6
)  # multiply-adds of a step beyond which exact arithmetic takes longer than some seconds


@cache
def _mp() -> Any:
    """Arithmetic of 50 digits, from a package that nothing else needs.

    Its numbers get the functions that NumPy asks elements of an array for.
    """
    import mpmath

    context = mpmath.MPContext()
    context.dps = DIGITS
    for name in ("exp", "log", "log1p", "sqrt", "tanh"):
        function = getattr(context, name)
        setattr(context.mpf, name, lambda number, function=function: function(number))
    return context


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + _mp().exp(-z))


def _phi(z: Any) -> Any:
    return _mp().ncdf(z)


def _silu_prime(z: Any, s: Any) -> Any:
    return _sigmoid(z) * (1 + z * _sigmoid(-z))


# From z alone: 1 − s·s and s·(1 − s) would lose digits at the ends, which the truth must not.
_SMOOTH: dict[str, tuple[Any, Any]] = {
    "sigmoid": (_sigmoid, lambda z, s: _sigmoid(z) * _sigmoid(-z)),
    "tanh": (lambda z: _mp().tanh(z), lambda z, s: _mp().sech(z) ** 2),
    "elu": (lambda z: z if z > 0 else _mp().expm1(z), lambda z, s: 1 if z > 0 else _mp().exp(z)),
    "softplus": (lambda z: _mp().log1p(_mp().exp(z)), lambda z, s: _sigmoid(z)),
    "silu": (lambda z: z * _sigmoid(z), _silu_prime),
    "gelu": (lambda z: z * _phi(z), lambda z, s: _phi(z) + z * _mp().npdf(z)),
}


def is_small(problem: Problem) -> bool:
    """Whether a step of the problem in exact arithmetic takes no longer than some seconds."""
    return problem.multiply_adds <= LARGEST


def arithmetic(problem: Problem) -> str:
    """What the truth is computed in, in words."""
    network = problem.network
    rational = {*network.activations} <= {"linear", "relu"} and network.optimizer == "sgd"
    if rational and network.loss not in WITH_ACTIVATION:
        return "exact fractions"
    return f"{DIGITS}-digit arithmetic"


def truth(problem: Problem, start: Start) -> Quantities:
    """The quantities of a step, exactly.

    Args:
        problem: The network.
        start: Finite floats that the step starts from.

    Returns:
        Object arrays by name, in the order of computation: fractions, without any rounding, where
        the formulas have nothing else; 50-digit mpmath numbers where there is a sigmoid, a root …
    """
    network = problem.network
    number = Fraction if arithmetic(problem) == "exact fractions" else _mp().mpf
    by_element = np.frompyfunc(lambda value: number(float(value)), 1, 1)

    def exact(arrays: Quantities) -> Quantities:
        return {name: by_element(array) for name, array in arrays.items()}

    lr: Any = number(start.lr)
    exactly = replace(
        start,
        parameters=exact(start.parameters),
        x=by_element(start.x),
        y=start.y if network.labels else by_element(start.y),
        lr=lr,
        memory=None if start.memory is None else exact(start.memory),
        masks=exact(start.masks),
    )
    training = network.training
    training |= {name: number(value) for name, value in network.settings if value is not True}
    training |= {"l1": number(network.l1), "l2": number(network.l2)}
    training["activations"] = [_by_element(which) for which in network.activations]
    return network.named(by_hand.step(**network.start(exactly), **training))


def _by_element(name: str) -> Pair:
    """σ and σ' of an activation on arrays of exact numbers."""
    if name not in _SMOOTH:
        return activation(name)
    sigma, sigma_prime = _SMOOTH[name]
    return np.frompyfunc(sigma, 1, 1), np.frompyfunc(sigma_prime, 2, 1)


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
