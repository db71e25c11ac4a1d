"""The losses: L and ∂L/∂o side by side, both of the outputs o and the targets y, (N, n_out).

The error term at the output is ∂L/∂o times the derivative of the activation: δ_o = ∂L/∂o · σ'.
L is a scalar, and ∂L/∂o has the shape of o. The lecture's loss is `half_sum`.
"""

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


LOSSES: dict[str, Pair] = {
    "mse": (mse, mse_prime),
    "sum": (sum_of_squares, sum_of_squares_prime),
    "half_sum": (half_sum, half_sum_prime),
}


def loss_function(which: str | Pair) -> Pair:
    """The pair (L, ∂L/∂o).

    Args:
        which: A name of `LOSSES`, or such a pair itself.

    Returns:
        L and ∂L/∂o, both functions of the outputs o and the targets y, (N, n_out).

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
    """m in L = Σ (y − o)² / m and ∂L/∂o = 2 (o − y) / m.

    Args:
        which: A name of `LOSSES`.
        n_samples: N.
        n_out: The number of outputs.

    Examples:
        >>> [divisor(which, 5, 2) for which in LOSSES]
        [10, 1, 2]
    """
    return {"mse": n_samples * n_out, "sum": 1, "half_sum": 2}[which]
