"""The losses are one sum of squares, divided by m: L = Σ (y − o)² / m, ∂L/∂o = 2 (o − y) / m."""


def square(a):
    return a * a


def divisor(loss, n_samples, n_out):
    """m, a whole number, so that exact kinds of number stay exact.

    mse: N·n_out, the mean over all elements, `nn.MSELoss()`. sum: 1, `nn.MSELoss(reduction="sum")`.
    half_sum: 2, the lecture's ½ Σ.
    """
    return {"mse": n_samples * n_out, "sum": 1, "half_sum": 2}[loss]
