"""σ and σ' side by side, for single numbers and for arrays alike, element by element.

σ' takes the pre-activation z and s = σ(z), which every caller has at hand. The lecture writes
σ'(h1) for the slope at the pre-activation z_h1. Its example is linear.
"""

import math
from functools import partial

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


def leaky_relu(z: Number, slope: float = 0.01) -> Number:
    """σ(z) = z where z > 0, otherwise slope · z."""
    return np.where(z > 0, z, slope * z)


def leaky_relu_prime(z: Number, s: Number, slope: float = 0.01) -> Number:
    """σ'(z): 1 where z > 0, otherwise the slope."""
    return np.where(z > 0, np.ones_like(z), slope)


def elu(z: Number) -> Number:
    """σ(z) = z where z > 0, otherwise eᶻ − 1 (Clevert et al. 2016, α = 1)."""
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def elu_prime(z: Number, s: Number) -> Number:
    """σ'(z): 1 where z > 0, otherwise s + 1 = eᶻ."""
    return np.where(z > 0, np.ones_like(z), s + 1)


def softplus(z: Number) -> Number:
    """σ(z) = log(1 + eᶻ), without overflow."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def softplus_prime(z: Number, s: Number) -> Number:
    """σ'(z) = 1/(1 + e⁻ᶻ)."""
    return sigmoid(z)


def silu(z: Number) -> Number:
    """σ(z) = z/(1 + e⁻ᶻ) (also called swish)."""
    return z * sigmoid(z)


def silu_prime(z: Number, s: Number) -> Number:
    """σ'(z) = g (1 + z (1 − g)) with g = 1/(1 + e⁻ᶻ)."""
    return sigmoid(z) * (1 + z * (1 - sigmoid(z)))


def erf(z: Number) -> Number:
    """The error function, in the dtype of z: NumPy has none."""
    return np.asarray(_erf(z), np.asarray(z).dtype)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(z: Number) -> Number:
    """σ(z) = z Φ(z), with the normal distribution Φ(z) = (1 + erf(z/√2))/2 (Hendrycks 2016)."""
    return z * (1 + erf(z / math.sqrt(2))) / 2


def gelu_prime(z: Number, s: Number) -> Number:
    """σ'(z) = Φ(z) + z φ(z), with the normal density φ(z) = e^(−z²/2)/√(2π)."""
    return (1 + erf(z / math.sqrt(2))) / 2 + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def gelu_tanh(z: Number) -> Number:
    """σ(z) = z (1 + t)/2 with t = tanh(√(2/π) (z + 0.044715 z³)), nearly `gelu`."""
    return z * (1 + _bent(z)) / 2


def gelu_tanh_prime(z: Number, s: Number) -> Number:
    """σ'(z) = (1 + t)/2 + z/2 (1 − t²) √(2/π) (1 + 3 · 0.044715 z²)."""
    return (1 + _bent(z)) / 2 + z / 2 * (1 - _bent(z) ** 2) * _C * (1 + 3 * 0.044715 * z * z)


_C = math.sqrt(2 / math.pi)


def _bent(z: Number) -> Number:
    """The t of `gelu_tanh`."""
    return np.tanh(_C * (z + 0.044715 * z * z * z))


def softmax(z: Number) -> Number:
    """eᶻ/Σ eᶻ over a row, which is first shifted by its largest; (N, n) as z."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_prime(z: Number, s: Number) -> Number:
    """Its derivative stands in that of the loss: a cross-entropy's ∂L/∂z."""
    return 1


# by name, how often σ(z) is rounded
ROUNDINGS = {
    "linear": 0,
    "sigmoid": 3,  # exp, +, /
    "tanh": 2,
    "relu": 0,
    "leaky_relu": 1,
    "elu": 2,
    "softplus": 4,  # exp, log1p, +
    "silu": 4,
    "gelu": 5,
    "gelu_tanh": 8,
}

ACTIVATIONS: dict[str, Pair] = {
    "linear": (linear, linear_prime),
    "sigmoid": (sigmoid, sigmoid_prime),
    "tanh": (tanh, tanh_prime),
    "relu": (relu, relu_prime),
    "leaky_relu": (leaky_relu, leaky_relu_prime),
    "elu": (elu, elu_prime),
    "softplus": (softplus, softplus_prime),
    "silu": (silu, silu_prime),
    "gelu": (gelu, gelu_prime),
    "gelu_tanh": (gelu_tanh, gelu_tanh_prime),
}


def activation(which: str | Pair) -> Pair:
    """The pair (σ, σ').

    Args:
        which: A name of `ACTIVATIONS`, `leaky_relu:0.2` with its slope, or softmax, which belongs
            to a cross-entropy; or such a pair itself, for numbers of another kind: symbols,
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
    if which == "softmax":
        return softmax, softmax_prime
    name, slope = named(which)
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {which!r}")
    sigma, sigma_prime = ACTIVATIONS[name]
    if slope is None:
        return sigma, sigma_prime
    return partial(sigma, slope=slope), partial(sigma_prime, slope=slope)


def named(which: str) -> tuple[str, float | None]:
    """The name of an activation, and the slope that stands behind it, if one does.

    Examples:
        >>> named("leaky_relu:0.2"), named("relu")
        (('leaky_relu', 0.2), ('relu', None))
    """
    name, _, slope = which.partition(":")
    return (name, float(slope)) if slope and name == "leaky_relu" else (which, None)
