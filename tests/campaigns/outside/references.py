"""What a reference may do: updates in place, checkpoints, functions of its own, other precision,
branches on its numbers; and where PyTorch's gradient is less right than the one by hand.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from tests.campaigns.outside.case import POSITIVE, REGULAR, case, sizes
from tests.campaigns.outside.formulas import draw, sigmoid, softmax
from tests.campaigns.outside.sequences import connectionist_temporal_recursion


@case()
class updated_in_place:
    """Rows are written, added to and scaled where they lie."""

    def inputs(random):
        m, n = sizes(random, 2)
        return draw(random, x=n, W=(m, n), w=(m + 1, n))

    def reference(x, W, w):
        y = torch.zeros_like(w)
        y[0] = torch.sin(x)
        y[1:] += W * x
        y[1].mul_(x)
        return (y * w).sum()

    def hand(x, W, w):
        d_y = w[1:].copy()  # (m, n), of W x
        d_x = w[0] * np.cos(x) + d_y[0] * W[0] * x
        d_y[0] *= x
        return {"x": d_x + (d_y * W).sum(axis=0), "W": d_y * x}


@case()
class checkpointed:
    """The inner layers are computed again on the way back."""

    def inputs(random):
        n, m = sizes(random, 2)
        return draw(random, x=n, W=(m, n), V=(n, m))

    def reference(x, W, V):
        def block(x):
            return torch.tanh(V @ torch.tanh(W @ x))

        return (checkpoint(block, x, use_reentrant=False) ** 2).sum()

    def hand(x, W, V):
        h = np.tanh(W @ x)  # (m,)
        y = np.tanh(V @ h)  # (n,)
        d_o = 2 * y * (1 - y * y)
        d_z = V.T @ d_o * (1 - h * h)
        return {"x": W.T @ d_z, "W": np.outer(d_z, x), "V": np.outer(d_o, h)}


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, incoming):
        (x,) = ctx.saved_tensors
        return 3 * x * x * incoming


@case()
class own_function_inside:
    def inputs(random):
        m, n = sizes(random, 2)
        return draw(random, x=n, W=(m, n))

    def reference(x, W):
        return Cube.apply(W @ x).mean()

    def hand(x, W):
        d_z = 3 * (W @ x) ** 2 / len(W)
        return {"x": W.T @ d_z, "W": np.outer(d_z, x)}


@case()
class double_precision_inside:
    """The reference adds in float64, whatever comes in."""

    def inputs(random):
        m, n = sizes(random, 2)
        return draw(random, x=(m, n), w=n)

    def reference(x, w):
        return torch.tanh((x.double() * w.double()).sum(1)).mean()

    def hand(x, w):
        d_z = (1 - np.tanh(x @ w) ** 2) / len(x)
        return {"x": np.outer(d_z, w), "w": x.T @ d_z}


@case(kinds=("plain", "single", "tied"), agree=1e-6)
class constant_in_single_precision:
    """A number becomes a tensor, and so a float32."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return draw(random, x=n)

    def reference(x):
        return torch.sin(x * torch.tensor([0.7])).sum()

    def hand(x):
        return {"x": 0.7 * np.cos(0.7 * x)}


@case(kinds=("plain", "single", "scaled", "zeroed"), agree=1e-6)
class angles_in_single_precision:
    """Positions come from arange().float(), as in many a code for rotary positions."""

    def inputs(random):
        T, half = sizes(random, 2)
        return draw(random, x=(T, 2 * half), w=(T, 2 * half))

    def reference(x, w):
        T, d = x.shape
        frequency = 1.0 / (100.0 ** (torch.arange(0, d, 2).float() / d))
        angle = torch.outer(torch.arange(T).float(), frequency)
        c, s = angle.cos(), angle.sin()
        a, b = x[:, ::2], x[:, 1::2]
        y = torch.stack([a * c - b * s, a * s + b * c], 2).flatten(1)
        return (y * w).sum()

    def hand(x, w):
        T, d = x.shape
        frequency = 100.0 ** (-np.arange(0, d, 2, dtype=x.dtype) / d)
        angle = np.outer(np.arange(T, dtype=x.dtype), frequency)
        c, s = np.cos(angle), np.sin(angle)
        a, b = w[:, ::2], w[:, 1::2]
        return {"x": np.stack([a * c + b * s, b * c - a * s], 2).reshape(x.shape)}


@case(kinds=("plain", "single", "offset"), smooth=False)
class branch_on_a_number:
    """Which formula applies depends on the sign of a sum that is far from 0."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(x=random.choice([-3, 3]) + random.normal(size=n) / 2)

    def reference(x):
        return (x**2).sum() if x.sum() > 0 else torch.sin(x).sum()

    def hand(x):
        return {"x": 2 * x if x.sum() > 0 else np.cos(x)}


@case()
class derivative_by_functional_gradient:
    """The reference takes the slope of its own network with torch.func."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return draw(random, a=n, b=n) | dict(t=np.array(random.normal()))

    def reference(a, b, t):
        return torch.func.grad(lambda t: (a * torch.sin(b * t)).sum())(t) ** 2

    def hand(a, b, t):
        c, s = np.cos(b * t), np.sin(b * t)
        d = 2 * (a * b) @ c
        return {"a": d * b * c, "b": d * a * (c - b * t * s), "t": -d * (a * b * b) @ s}


@case(smooth=False)
class identity_from_two_relus:
    """relu(x) − relu(−x) is x. PyTorch's gradient at 0 is 0; the derivative there is 1."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return draw(random, x=n, w=n)

    def reference(x, w):
        return ((torch.relu(x) - torch.relu(-x)) * w).sum()

    def hand(x, w):
        return {"x": w, "w": x}


@case(smooth=False, agree=1e-7)
class hard_sigmoid:
    """PyTorch takes 1/6 in float32 on the way back."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return draw(random, x=n, w=n)

    def reference(x, w):
        return (F.hardsigmoid(x) * w).sum()

    def hand(x, w):
        return {"x": np.where(np.abs(x) < 3, w / 6, 0)}


def digamma(x):
    """By its recurrence up to where the asymptotic series holds."""
    shift = np.zeros_like(x)
    for _ in range(12):
        shift, x = shift - 1 / x, x + 1
    s = 1 / x**2
    series = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s / 132))))
    return shift + np.log(x) - 1 / (2 * x) - series


@case(kinds=REGULAR)
class dirichlet_likelihood:
    def inputs(random):
        N, K = sizes(random, 2)
        return dict(a=random.uniform(0.5, 4, K), x=random.dirichlet(np.full(K, 2.0), N))

    def reference(a, x):
        normaliser = torch.lgamma(a.sum()) - torch.lgamma(a).sum()
        return len(x) * normaliser + ((a - 1) * x.log()).sum()

    def hand(a, x):
        d_a = len(x) * (digamma(a.sum()) - digamma(a)) + np.log(x).sum(axis=0)
        return {"a": d_a, "x": (a - 1) / x}


@case(kinds=REGULAR, agree=1e-8)
class slope_of_digamma:
    """PyTorch's is 2e-10 off at 1, and the one by hand is not."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(x=random.uniform(0.5, 4, n), w=random.normal(size=n))

    def reference(x, w):
        return (torch.digamma(x) * w).sum()

    def hand(x, w):
        total = np.zeros_like(x)
        for _ in range(12):
            total, x = total + 1 / x**2, x + 1
        s = 1 / x**2
        series = 1 / x + s / 2 + s / x * (1 / 6 - s * (1 / 30 - s * (1 / 42 - s / 30)))
        return {"x": w * (total + series)}


def exponential(A):
    """The matrix exponential, by its series of a matrix halved eight times, squared again."""
    result = term = np.eye(len(A), dtype=A.dtype)
    for k in range(1, 14):
        term = term @ A / (256 * k)
        result = result + term
    for _ in range(8):
        result = result @ result
    return result


@case(kinds=REGULAR, agree=1e-8)
class matrix_exponential:
    """The derivative is a corner of the exponential of a matrix of twice the size."""

    def inputs(random):
        (n,) = sizes(random, 1, most=5)
        return draw(random, A=(n, n), W=(n, n))

    def reference(A, W):
        return (torch.linalg.matrix_exp(A) * W).sum()

    def hand(A, W):
        n, T = len(A), A.T
        whole = np.block([[T, W], [np.zeros_like(A), T]])
        return {"A": exponential(whole)[:n, n:], "W": exponential(A)}


@case()
class connectionist_temporal_loss:
    """torch's own, of normalised scores."""

    inputs = connectionist_temporal_recursion.inputs

    def reference(z, extended):
        labels = extended[1::2]
        lengths = torch.tensor([len(z)]), torch.tensor([len(labels)])
        y = F.log_softmax(z, 1)[:, None]
        return F.ctc_loss(y, labels[None], *lengths, reduction="sum")

    hand = connectionist_temporal_recursion.hand


@case(kinds=POSITIVE)
class relative_error:
    """|x − y|/|y| squared, of numbers that are not 0."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(x=random.uniform(1, 2, n), y=random.uniform(3, 4, n))

    def reference(x, y):
        return (((x - y) / y) ** 2).mean()

    def hand(x, y):
        d_r = 2 * (x / y - 1) / len(x)
        return {"x": d_r / y, "y": -d_r * x / y**2}


@case(but="tiny")
class expanded_and_strided:
    """Views: every other column, a transposed matrix, an expanded row."""

    def inputs(random):
        m, n = sizes(random, 2)
        return draw(random, x=(m, 2 * n), r=m)

    def reference(x, r):
        rows = r.expand(x.shape[1] // 2, -1)
        return (x[:, ::2].T * rows * x[:, 1::2].T).sum() + x.as_strided((2,), (1,)).prod()

    def hand(x, r):
        d_x = np.empty_like(x)
        d_x[:, ::2] = r[:, None] * x[:, 1::2]
        d_x[:, 1::2] = r[:, None] * x[:, ::2]
        d_x[0, :2] += x[0, 1::-1]
        return {"x": d_x, "r": (x[:, ::2] * x[:, 1::2]).sum(axis=1)}


@case()
class vectorised_by_vmap:
    """A function of one sample, mapped over the samples by torch."""

    def inputs(random):
        N, K, n = sizes(random, 3)
        return draw(random, x=(N, n), W=(K, n)) | dict(y=random.integers(0, K, N))

    def reference(x, W, y):
        def loss(x, y):
            z = W @ x
            return torch.logsumexp(z, 0) - z.gather(0, y[None])[0]

        return torch.vmap(loss)(x, y).mean()

    def hand(x, W, y):
        d_z = softmax(x @ W.T) / len(x)  # (N, K)
        d_z[np.arange(len(x)), y] -= 1 / len(x)
        return {"x": d_z @ W, "W": d_z.T @ x}


@case()
class forward_hook:
    """A layer's output is scaled by a hook, which belongs to the function."""

    def inputs(random):
        n, m = sizes(random, 2)
        return draw(random, x=n, W=(m, n), b=m)

    def reference(x, W, b):
        layer = torch.nn.Sigmoid()
        layer.register_forward_hook(lambda module, given, result: result * math.pi)
        return layer(W @ x + b).sum()

    def hand(x, W, b):
        z = W @ x + b
        d_z = math.pi * sigmoid(z) * sigmoid(-z)  # (m,)
        return {"x": W.T @ d_z, "W": np.outer(d_z, x), "b": d_z}
