"""The losses: L and its derivative side by side. L is a scalar, its derivative is (N, n_out).

Squares take the outputs o and the targets y: the error term at the output is ∂L/∂o times the
derivative of the activation, δ_o = ∂L/∂o · σ'. The lecture's loss is `half_sum`. A cross-entropy
belongs to its activation: L takes the pre-activations z of the outputs, in which no digit is lost,
and the derivative is δ itself, ∂L/∂z, of the outputs o = σ(z).
"""

from typing import Any

import numpy as np

from manual_backprop.activations import softplus
from manual_backprop.number import Number, Pair


def square(a: Number) -> Number:
    """a², element by element."""
    return a * a


def mse(o: Number, y: Number) -> Number:
    """`nn.MSELoss()`: the mean over all N·n_out elements."""
    return square(y - o).sum() / y.size


def mse_prime(o: Number, y: Number) -> Number:
    """∂L/∂o = 2 (o − y)/(N·n_out), (N, n_out)."""
    return 2 * (o - y) / y.size


def sum_of_squares(o: Number, y: Number) -> Number:
    """`nn.MSELoss(reduction="sum")`: the sum over all N·n_out elements."""
    return square(y - o).sum()


def sum_of_squares_prime(o: Number, y: Number) -> Number:
    """∂L/∂o = 2 (o − y), (N, n_out)."""
    return 2 * (o - y)


def half_sum(o: Number, y: Number) -> Number:
    """The lecture's L = ½ Σ (y − o)²."""
    return square(y - o).sum() / 2


def half_sum_prime(o: Number, y: Number) -> Number:
    """∂L/∂o = o − y, (N, n_out); the lecture's o1 − y1 and o2 − y2."""
    return o - y


def sum_over_n(o: Number, y: Number) -> Number:
    """1/N Σ (y − o)²: summed over the outputs, the mean over the samples."""
    return square(y - o).sum() / y.shape[0]


def sum_over_n_prime(o: Number, y: Number) -> Number:
    """∂L/∂o = 2 (o − y)/N, (N, n_out)."""
    return 2 * (o - y) / y.shape[0]


def half_sum_over_n(o: Number, y: Number) -> Number:
    """1/(2N) Σ (y − o)², the J of many courses."""
    return square(y - o).sum() / (2 * y.shape[0])


def half_sum_over_n_prime(o: Number, y: Number) -> Number:
    """∂L/∂o = (o − y)/N, (N, n_out)."""
    return (o - y) / y.shape[0]


def bce(z: Number, y: Number) -> Number:
    """`nn.BCEWithLogitsLoss()`: −y log o − (1 − y) log(1 − o), the mean over all elements."""
    return (softplus(z) - y * z).sum() / y.size


def bce_prime(o: Number, y: Number) -> Number:
    """∂L/∂z = (o − y)/(N·n_out), (N, n_out), with o = sigmoid(z)."""
    return (o - y) / y.size


def bce_sum(z: Number, y: Number) -> Number:
    """`nn.BCEWithLogitsLoss(reduction="sum")`: summed over all elements."""
    return (softplus(z) - y * z).sum()


def bce_sum_prime(o: Number, y: Number) -> Number:
    """∂L/∂z = o − y, (N, n_out), with o = sigmoid(z)."""
    return o - y


def bce_over_n(z: Number, y: Number) -> Number:
    """The same, summed over the outputs, the mean over the samples."""
    return (softplus(z) - y * z).sum() / y.shape[0]


def bce_over_n_prime(o: Number, y: Number) -> Number:
    """∂L/∂z = (o − y)/N, (N, n_out), with o = sigmoid(z)."""
    return (o - y) / y.shape[0]


def log_softmax(z: Number) -> Number:
    """log of softmax(z), a row a sample, (N, n_out): zᵢ − log Σ eᶻ, shifted by the largest z."""
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy(z: Number, y: Number) -> Number:
    """`nn.CrossEntropyLoss()`: −Σ y log o over the classes, the mean over the samples."""
    return -(y * log_softmax(z)).sum() / y.shape[0]


def cross_entropy_prime(o: Number, y: Number) -> Number:
    """∂L/∂z = (o − y)/N, (N, n_out), with o = softmax(z)."""
    return (o - y) / y.shape[0]


def cross_entropy_sum(z: Number, y: Number) -> Number:
    """`nn.CrossEntropyLoss(reduction="sum")`: summed over the samples."""
    return -(y * log_softmax(z)).sum()


def cross_entropy_sum_prime(o: Number, y: Number) -> Number:
    """∂L/∂z = o − y, (N, n_out), with o = softmax(z)."""
    return o - y


def cross_entropy_by_o(o: Number, y: Number, eps: Number = 0) -> Number:
    """−Σ y log o as textbooks write it: the digits that o has lost near 0 are lost here too."""
    return -(y * np.log(o + eps)).sum()


def cross_entropy_by_o_prime(o: Number, y: Number, eps: Number = 0) -> Number:
    """Its derivative by z, o Σ y o/(o + ε) − o y/(o + ε), (N, n_out), with o = softmax(z)."""
    return o * (y * o / (o + eps)).sum(axis=1, keepdims=True) - o * (y / (o + eps))


def bce_by_o(o: Number, y: Number, eps: Number = 0) -> Number:
    """−Σ (y log o + (1 − y) log(1 − o)), likewise, near 0 and near 1."""
    return -(y * np.log(o + eps) + (1 - y) * np.log(1 - o + eps)).sum()


def bce_by_o_prime(o: Number, y: Number, eps: Number = 0) -> Number:
    """Its derivative by z, ((1 − y)/(1 − o + ε) − y/(o + ε)) o (1 − o), with o = sigmoid(z)."""
    return ((1 - y) / (1 - o + eps) - y / (o + eps)) * (o * (1 - o))


def penalty(W: Number, l1: Number, l2: Number) -> Number:
    """λ₁ Σ |W| + λ₂/2 Σ W², what a layer's weights add to the loss; 0 where both λ are 0."""
    return (l1 * np.abs(W).sum() if l1 else 0) + (l2 / 2 * square(W).sum() if l2 else 0)


def penalty_prime(W: Number, l1: Number, l2: Number) -> Number:
    """Its derivative λ₁ sign(W) + λ₂ W, in the shape of W; 0 where both λ are 0."""
    return (l1 * np.sign(W) if l1 else 0) + (l2 * W if l2 else 0)


LOSSES: dict[str, Pair] = {
    "mse": (mse, mse_prime),
    "sum": (sum_of_squares, sum_of_squares_prime),
    "half_sum": (half_sum, half_sum_prime),
    "sum_over_n": (sum_over_n, sum_over_n_prime),
    "half_sum_over_n": (half_sum_over_n, half_sum_over_n_prime),
    "bce": (bce, bce_prime),
    "bce_sum": (bce_sum, bce_sum_prime),
    "bce_over_n": (bce_over_n, bce_over_n_prime),
    "cross_entropy": (cross_entropy, cross_entropy_prime),
    "cross_entropy_sum": (cross_entropy_sum, cross_entropy_sum_prime),
}

# by name, the activation that belongs to a cross-entropy
OUTPUT_ACTIVATIONS = {
    "bce": "sigmoid",
    "bce_sum": "sigmoid",
    "bce_over_n": "sigmoid",
    "cross_entropy": "softmax",
    "cross_entropy_sum": "softmax",
}


def loss_function(which: str | Pair) -> Pair:
    """The pair of L and its derivative.

    Args:
        which: A name of `LOSSES`, or such a pair itself.

    Returns:
        Of squares L and ∂L/∂o, both functions of the outputs o and the targets y, (N, n_out). Of a
        cross-entropy L, a function of z and y, and ∂L/∂z, a function of o and y.

    Raises:
        ValueError: The name is not one of `LOSSES`.

    Examples:
        >>> import numpy as np
        >>> L, L_prime = loss_function("half_sum")
        >>> o, y = np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])
        >>> float(L(o, y)), L_prime(o, y).tolist()
        (2.5, [[1.0, 2.0]])
    """
    if not isinstance(which, str):
        return which
    if which not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {which!r}")
    return LOSSES[which]


def divisor(which: str, n_samples: int, n_out: int) -> int:
    """m in L = Σ … / m: what the sum of the elements' losses is divided by.

    Args:
        which: A name of `LOSSES`.
        n_samples: N.
        n_out: The number of outputs.

    Examples:
        >>> [divisor(which, 5, 2) for which in LOSSES]
        [10, 1, 2, 5, 10, 10, 1, 5, 5, 1]
    """
    halves = 2 if which.startswith("half") else 1
    if which in ("mse", "bce"):
        return n_samples * n_out
    return halves * (n_samples if which.endswith("over_n") or which == "cross_entropy" else 1)


# by name of a cross-entropy, its sum over all samples as a function of z, as one of o, and the
# derivative of that by z
SUMS: dict[str, tuple[Any, Any, Any]] = {
    which: (bce_sum, bce_by_o, bce_by_o_prime)
    if which.startswith("bce")
    else (cross_entropy_sum, cross_entropy_by_o, cross_entropy_by_o_prime)
    for which in OUTPUT_ACTIVATIONS
}


def one_hot(labels: Number, n_out: int, dtype: Any) -> Number:
    """A row with a 1 at its label for each sample, (N, n_out); targets in rows stay as they are.

    Args:
        labels: (N,), whole numbers from 0, or (N, n_out).
        n_out: The number of classes.
        dtype: Of the result.

    Examples:
        >>> import numpy as np
        >>> one_hot(np.array([2, 0]), 3, np.float64).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if labels.ndim == 2:
        return labels
    return (1 * np.equal.outer(labels, np.arange(n_out))).astype(dtype)
