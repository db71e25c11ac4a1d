"""Random problems on which rounding is at its worst; right steps in other orders of summation."""

import numpy as np
import torch

from lockstep.network.network import Network
from lockstep.network.problem import Problem
from manual_backprop import two_layer
from manual_backprop.activations import activation
from manual_backprop.losses import divisor
from tests.lecture import ACTIVATIONS, LOSSES

KINDS = (
    "plain",
    "decades",
    "saturated",
    "solved",
    "equal",
    "zeros",
    "tiny",
    "kinks",
    "integers",
    "cancelling",
)


def hard_problem(random, kind, largest=40, steps=3, dtype=None, most_samples=None):
    """A Problem of a kind of KINDS, drawn from a numpy Generator.

    Widths go from 1 to `largest`, samples from 1 to `most_samples` (default: the same).
    """
    dtype = dtype or str(random.choice(["float64", "float32"]))
    hidden, output = (str(random.choice(ACTIVATIONS)) for _ in range(2))
    n_in, n_hidden, n_out = (int((largest + 1) ** random.uniform(0, 1)) for _ in range(3))
    samples = int(((most_samples or largest) + 1) ** random.uniform(0, 1))
    normal = random.standard_normal
    W_h, b_h = normal((n_hidden, n_in)) / np.sqrt(n_in), normal(n_hidden)
    W_o, b_o = normal((n_out, n_hidden)) / np.sqrt(n_hidden), normal(n_out)
    x, y = normal((samples, n_in)), normal((samples, n_out))
    match kind:
        case "decades":
            x, y = x * 10 ** random.uniform(-3, 3, (1, n_in)), y * 10 ** random.uniform(-3, 3)
            W_h, W_o = W_h * 10 ** random.uniform(-3, 3), W_o * 10 ** random.uniform(-3, 3)
        case "saturated":
            W_h, b_h, W_o = W_h * 30, b_h * 30, W_o * 10 ** random.uniform(0, 2)
        case "equal":
            x, y = np.tile(x[:1], (samples, 1)), np.tile(y[:1], (samples, 1))
            if random.random() < 0.5:
                x, W_h = np.tile(x[:, :1], (1, n_in)), np.tile(W_h[:, :1], (1, n_in))
        case "zeros":
            zeroed = int(random.integers(4))
            W_h, b_h = W_h * (zeroed != 0), b_h * (zeroed > 1)
            x, W_o = x * (zeroed != 2), W_o * (zeroed != 3)
        case "tiny":
            scale = float(np.finfo(dtype).tiny) ** random.uniform(0.2, 1)
            x, W_h, b_h, y = x * scale, W_h * scale**0.5, b_h * scale, y * scale
        case "kinks":
            hidden = "relu"
            x, W_h, b_h = np.round(4 * x) / 4, np.round(4 * W_h) / 4, np.round(4 * b_h) / 4
            b_h = b_h - (x[:1] @ W_h.T + b_h)[0]  # the first sample's z_h is 0 but for rounding
            if random.random() < 0.5:
                x = x + random.uniform(-1, 1, x.shape) * np.finfo(dtype).eps
        case "integers":
            W_h, b_h, W_o, b_o, x, y = (np.round(3 * array) for array in (W_h, b_h, W_o, b_o, x, y))
        case "cancelling":
            x, W_h = (
                np.hstack([x, -x]) * 1e3,
                np.hstack([W_h, W_h * (1 + 1e-6 * normal(W_h.shape))]),
            )
            n_in *= 2
    arrays = [array.astype(dtype) for array in (W_h, b_h, W_o, b_o, x, y)]
    if kind == "solved":
        o = two_layer.forward(*arrays[:5], activation(hidden)[0], activation(output)[0])[3]
        arrays[5] = (o * (1 + 10 ** random.uniform(-16, -3) * normal(o.shape))).astype(dtype)
    lr, loss = float(10 ** random.uniform(-3, -1)), str(random.choice(LOSSES))
    frozen = tuple(name for name in ("b_h", "b_o") if random.random() < 0.1)
    sizes, activations = (n_in, n_hidden, n_out), (hidden, output)
    return Problem(
        Network(sizes, activations, loss, biases=(True, True), frozen=frozen),
        parameters=dict(zip(("W_h", "b_h", "W_o", "b_o"), arrays[:4], strict=True)),
        x=arrays[4],
        y=arrays[5],
        lr=lr,
        steps=steps,
        batch_size=None,
        dtype=dtype,
    )


def _loops(a, b):
    """a @ b, one term after the other."""
    total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for k in range(a.shape[1]):
        total = total + a[:, k : k + 1] * b[k]
    return total


# The product of two matrices in each style, and whether 2/m is multiplied in after the sums.
STYLES = {
    "as written": (np.matmul, False),
    "einsum": (lambda a, b: np.einsum("ik,kj->ij", a, b), False),
    "loops": (_loops, False),
    "reversed": (lambda a, b: _loops(a[:, ::-1], b[::-1]), False),
    "columns": (lambda a, b: (b.T @ a.T).T, False),
    "factor last": (np.matmul, True),
}


def right_step(problem, style="as written"):
    """A right step in another order of summation, as `compare` takes it. style: a key of STYLES."""
    times, factor_last = STYLES[style]
    (sigma_h, prime_h), (sigma_o, prime_o) = map(activation, problem.network.activations)

    def total(a):
        return times(np.ones((1, len(a)), a.dtype), a)[0]

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        m = divisor(problem.loss, *y.shape)
        z_h = times(x, W_h.T) + b_h
        h = sigma_h(z_h)
        z_o = times(h, W_o.T) + b_o
        o = sigma_o(z_o)
        error = (o - y) * prime_o(z_o, o)
        delta_o = error if factor_last else error * (2 / m)
        delta_h = times(delta_o, W_o) * prime_h(z_h, h)
        quantities = dict(
            delta_o=delta_o,
            delta_h=delta_h,
            grad_W_o=times(delta_o.T, h),
            grad_b_o=total(delta_o),
            grad_W_h=times(delta_h.T, x),
            grad_b_h=total(delta_h),
        )
        if factor_last:
            quantities = {name: array * (2 / m) for name, array in quantities.items()}
        before = dict(W_o=W_o, b_o=b_o, W_h=W_h, b_h=b_h)
        after = {
            f"new_{name}": value
            if name in problem.frozen
            else value - lr * quantities[f"grad_{name}"]
            for name, value in before.items()
        }
        squares = ((y - o) ** 2).reshape(-1, 1)
        return dict(z_h=z_h, h=h, z_o=z_o, o=o, loss=total(squares)[0] / m) | quantities | after

    return step


def _in_place(step):
    def changing(W_h, b_h, W_o, b_o, x, y, lr):
        got = step(W_h, b_h, W_o, b_o, x, y, lr)
        for name, array in dict(W_h=W_h, b_h=b_h, W_o=W_o, b_o=b_o).items():
            array[...] = got[f"new_{name}"]
            got[f"new_{name}"] = array
        x[...], y[...] = np.nan, np.nan  # nothing that a step does to its arguments changes the run
        return got

    return changing


def _returning(convert):
    def dress(step):
        def dressed(W_h, b_h, W_o, b_o, x, y, lr):
            return {
                name: convert(array) for name, array in step(W_h, b_h, W_o, b_o, x, y, lr).items()
            }

        return dressed

    return dress


# What else a right step may do: how it returns, and what it does to its arguments.
DRESSES = {
    "arrays": lambda step: step,
    "tensors": _returning(torch.as_tensor),
    "lists": _returning(lambda array: np.asarray(array).tolist()),
    "in place": _in_place,
}
