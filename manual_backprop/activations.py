"""σ and σ' side by side, for single numbers and for arrays alike.

σ' takes the pre-activation z and s = σ(z), which every caller has at hand.
"""

import numpy as np


def linear(z):
    return z


def linear_prime(z, s):
    return 1


def sigmoid(z):
    with np.errstate(over="ignore"):  # exp(1000) is infinite, and 1 / inf the right 0
        return 1 / (1 + np.exp(-z))


def sigmoid_prime(z, s):
    return s * (1 - s)


def tanh(z):
    return np.tanh(z)


def tanh_prime(z, s):
    return 1 - s * s


def relu(z):
    return np.maximum(z, 0)


def relu_prime(z, s):
    return z > 0  # 0 at z = 0, as in PyTorch


ACTIVATIONS = {
    "linear": (linear, linear_prime),
    "sigmoid": (sigmoid, sigmoid_prime),
    "tanh": (tanh, tanh_prime),
    "relu": (relu, relu_prime),
}


def activation(which):
    """The pair (σ, σ').

    which: a name of ACTIVATIONS, or such a pair itself (for numbers of another kind:
    symbols, fractions, numbers that carry their rounding errors).
    """
    return ACTIVATIONS[which] if isinstance(which, str) else which
