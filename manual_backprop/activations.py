"""σ and σ' side by side, for single numbers and for arrays alike, element by element.

σ' takes the pre-activation z and s = σ(z), which every caller has at hand. The lecture writes
σ'(h1) for the slope at the pre-activation z_h1. Its example is linear.
"""

import numpy as np

from manual_backprop.number import Number, Pair


def linear(z: Number) -> Number:
    """σ(z) = z, the lecture's choice."""
    return z


def linear_prime(z: Number, s: Number) -> Number:
    """σ'(z) = 1."""
    return 1


def sigmoid(z: Number) -> Number:
    """σ(z) = 1/(1 + e⁻ᶻ)."""
    with np.errstate(over="ignore"):  # exp(1000) is infinite, and 1 / inf the right 0
        return 1 / (1 + np.exp(-z))


def sigmoid_prime(z: Number, s: Number) -> Number:
    """σ'(z) = s (1 − s)."""
    return s * (1 - s)


def tanh(z: Number) -> Number:
    """σ(z) = tanh z."""
    return np.tanh(z)


def tanh_prime(z: Number, s: Number) -> Number:
    """σ'(z) = 1 − s²."""
    return 1 - s * s


def relu(z: Number) -> Number:
    """σ(z) = max(z, 0)."""
    return np.maximum(z, 0)


def relu_prime(z: Number, s: Number) -> Number:
    """σ'(z): 1 where z > 0, otherwise 0."""
    return z > 0  # 0 at z = 0, as in PyTorch


# by name, how often σ(z) is rounded
ROUNDINGS = {"linear": 0, "sigmoid": 3, "tanh": 2, "relu": 0}  # sigmoid: exp, +, /

ACTIVATIONS: dict[str, Pair] = {
    "linear": (linear, linear_prime),
    "sigmoid": (sigmoid, sigmoid_prime),
    "tanh": (tanh, tanh_prime),
    "relu": (relu, relu_prime),
}


def activation(which: str | Pair) -> Pair:
    """The pair (σ, σ').

    Args:
        which: A name of `ACTIVATIONS`, or such a pair itself, for numbers of another kind: symbols,
            fractions, numbers that carry their rounding errors.

    Returns:
        σ, a function of z, and σ', a function of z and s = σ(z).

    Raises:
        ValueError: The name is not one of `ACTIVATIONS`.

    Examples:
        >>> sigma, sigma_prime = activation("sigmoid")
        >>> float(sigma(0.0)), float(sigma_prime(0.0, 0.5))
        (0.5, 0.25)
    """
    if not isinstance(which, str):
        return which
    if which not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {which!r}")
    return ACTIVATIONS[which]
