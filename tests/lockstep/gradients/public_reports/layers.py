"""Reports about layers of networks, their gradients in NumPy."""

import math
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from tests.lockstep.gradients.public_reports import normal, sigmoid

EPS = 1e-5


class RmsNormRowAsColumn:
    """BobMcDear/attorch #17 (2026): a correction by row is broadcast along the columns.

    Its trailing axis is missing. Where the block is square, nothing complains.
    """

    def inputs(random):
        return normal(random, x=(6, 6), weight=6, dy=(6, 6))

    def reference(x, weight, dy):
        return (functional.rms_norm(x, x.shape[-1:], weight, EPS) * dy).sum()

    def right(x, weight, dy, along=np.s_[:, None]):
        r = 1 / np.sqrt((x * x).mean(1) + EPS)  # (N,)
        g = dy * weight  # (N, D)
        c = (g * x).mean(1) * r**3  # (N,)
        return {"x": g * r[:, None] - x * c[along]}  # (N, D)

    wrong = partial(right, along=np.s_[None, :])


class LayerNormMeanTwice:
    """tenstorrent/tt-metal PR #53215 (2026): a register is added up twice.

    So mean(g) is subtracted twice. A test with a tolerance of 0.5 passed.
    """

    def inputs(random):
        return normal(random, x=(4, 8), gamma=8, dy=(4, 8))

    def reference(x, gamma, dy):
        centred = x - x.mean(1, keepdim=True)
        var = (centred * centred).mean(1, keepdim=True)
        return (centred * torch.rsqrt(var + EPS) * gamma * dy).sum()

    def right(x, gamma, dy, times=1):
        r = 1 / np.sqrt(x.var(1, keepdims=True) + EPS)  # (N, 1)
        n = (x - x.mean(1, keepdims=True)) * r  # (N, D)
        g = dy * gamma  # (N, D)
        means = times * g.mean(1, keepdims=True) + n * (g * n).mean(1, keepdims=True)  # (N, D)
        return {"x": r * (g - means)}

    wrong = partial(right, times=2)


class LayerNormMeanTwiceInTheLibrary(LayerNormMeanTwice):
    """The same mistake; the reference calls PyTorch's own layer_norm."""

    def reference(x, gamma, dy):
        return (functional.layer_norm(x, x.shape[-1:], gamma, None, EPS) * dy).sum()


class GroupNormOtherGroup:
    """tenstorrent/tt-metal PR #56202 (2026): channel c takes the statistics of group c % G.

    Its group is c // (C / G). The gradients of some channels are right all the same.
    """

    def inputs(random):
        return normal(random, x=(2, 6, 5), gamma=6, beta=6, dy=(2, 6, 5))

    def reference(x, gamma, beta, dy):
        return (functional.group_norm(x, 2, gamma, beta, EPS) * dy).sum()

    groups = np.arange(6) // 3

    def right(x, gamma, beta, dy, group=groups):
        grouped = x.reshape(len(x), 2, -1)  # (N, G, C / G · H)
        mean = grouped.mean(2)[:, group, None]  # (N, C, 1)
        r = 1 / np.sqrt(grouped.var(2) + EPS)[:, group, None]  # (N, C, 1)
        return {"gamma": (dy * (x - mean) * r).sum((0, 2)), "beta": dy.sum((0, 2))}  # (C,)

    wrong = partial(right, group=np.arange(6) % 2)


class BatchNormWithoutScale:
    """denizyuret/Knet.jl #288 (2018): the gradient of x is computed before dy is scaled by γ."""

    def inputs(random):
        return normal(random, x=(5, 3), gamma=3, beta=3, dy=(5, 3))

    def reference(x, gamma, beta, dy):
        return (functional.batch_norm(x, None, None, gamma, beta, True, 0.1, EPS) * dy).sum()

    def right(x, gamma, beta, dy, scaled=True):
        r = 1 / np.sqrt(x.var(0) + EPS)  # (D,)
        n = (x - x.mean(0)) * r  # (N, D)
        g = dy * gamma if scaled else dy  # (N, D)
        d_x = r * (g - g.mean(0) - n * (g * n).mean(0))  # (N, D)
        return {"x": d_x, "gamma": (dy * n).sum(0), "beta": dy.sum(0)}

    wrong = partial(right, scaled=False)


class LoraWithoutMask:
    """foundation-model-stack/fms-acceleration #97 (2024): the adapter's way back has no mask.

    Dropout's mask is left out in the gradient of the input alone.
    """

    def inputs(random):
        mask = random.integers(0, 2, (5, 4)) * 2.0  # (N, D)
        return dict(mask=mask, **normal(random, x=(5, 4), W=(4, 3), A=(4, 2), B=(2, 3), g=(5, 3)))

    def reference(x, W, A, B, mask, g):
        return ((x @ W + 0.5 * (x * mask) @ A @ B) * g).sum()

    def right(x, W, A, B, mask, g, masked=True):
        d = 0.5 * g @ B.T  # (N, rank)
        adapter = d @ A.T * (mask if masked else 1)  # (N, D)
        d_B = 0.5 * ((x * mask) @ A).T @ g  # (rank, D_out)
        return {"x": g @ W.T + adapter, "A": (x * mask).T @ d, "B": d_B}

    wrong = partial(right, masked=False)


class SwigluRowsIntoTheFirst:
    """ByteDance-Seed/Triton-distributed #180, PR #185 (2026): the output's pointer stands still.

    Every row's gradient is written to row 0, and the last one stays there.
    """

    def inputs(random):
        return normal(random, a=(4, 3), b=(4, 3), g=(4, 3))

    def reference(a, b, g):
        return (functional.silu(a) * b * g).sum()

    def right(a, b, g):
        s = sigmoid(a)
        return {"a": g * b * s * (1 + a * (1 - s)), "b": g * a * s}

    def wrong(a, b, g):
        rows = {name: np.zeros_like(d) for name, d in dict(a=a, b=b).items()}
        for name, d in SwigluRowsIntoTheFirst.right(a, b, g).items():
            rows[name][0] = d[-1]
        return rows


class ExpertWithoutUp:
    """linkedin/Liger-Kernel PR #1413 (2026): on one GPU a product of the expert's d_x is lost.

    The outputs and the gradients of the weights are right; d_x is 50 to 64 % off.
    """

    def inputs(random):
        return normal(random, x=(4, 3), Wg=(3, 5), Wu=(3, 5), g=(4, 5))

    def reference(x, Wg, Wu, g):
        return (functional.silu(x @ Wg) * (x @ Wu) * g).sum()

    def right(x, Wg, Wu, g, up=1):
        a, b = x @ Wg, x @ Wu  # (N, H)
        s = sigmoid(a)
        d_a, d_b = g * b * s * (1 + a * (1 - s)), g * a * s  # (N, H)
        return {"x": d_a @ Wg.T + up * d_b @ Wu.T, "Wg": x.T @ d_a, "Wu": x.T @ d_b}

    wrong = partial(right, up=0)


class EmbeddingLastWins:
    """tenstorrent/tt-metal #6232 (2024): the gradient of a repeated token is not added up.

    It is overwritten, so only the last occurrence counts.
    """

    def inputs(random):
        return dict(token=np.array([0, 2, 2, 4, 0, 1]), **normal(random, table=(5, 3), g=(6, 3)))

    def reference(table, token, g):
        return (table[token] * g).sum()

    def right(table, token, g):
        d = np.zeros_like(table)
        np.add.at(d, token, g)
        return {"table": d}

    def wrong(table, token, g):
        d = np.zeros_like(table)
        d[token] = g
        return {"table": d}


class GroupedKeysNotSummed:
    """stanford-crfm/levanter PR #449 (2024): the gradient of shared keys is not summed.

    The queries of a group share a key, so its gradient is a sum over the group.
    """

    def inputs(random):
        return normal(random, q=(2, 3, 4, 5), k=(2, 6, 5), g=(2, 3, 4, 6))

    def reference(q, k, g):
        return (torch.einsum("hrnd,hmd->hrnm", q, k) * g).sum()

    def right(q, k, g):
        return {"k": np.einsum("hrnm,hrnd->hmd", g, q)}

    def wrong(q, k, g):
        return {"k": np.einsum("hrnm,hrnd->hrmd", g, q)}


class BiasNotSummed:
    """deeplearning4j/nd4j #2424 (2017), apache/tvm PR #2465 (2019): a broadcast is not undone."""

    def inputs(random):
        return normal(random, x=(3, 4), bias=(1, 4), label=(3, 4))

    def reference(x, bias, label):
        return ((x + bias - label) ** 2).sum()

    def right(x, bias, label):
        return {"bias": 2 * (x + bias - label).sum(0, keepdims=True)}

    def wrong(x, bias, label):
        return {"bias": 2 * (x + bias - label)}


class GeluWithSixDigits:
    """huggingface/candle PR #1160 (2023), flagos-ai/FlagGems PR #159 (2024): short constants.

    GELU's derivative has constants of six digits. It was accepted, as it serves float32.
    """

    k = math.sqrt(2 / math.pi)

    def inputs(random):
        return normal(random, x=12, g=12)

    def reference(x, g):
        return (functional.gelu(x, approximate="tanh") * g).sum()

    def right(x, g, constants=(k / 2, 3 * 0.044715 * k / 2, k, 0.044715 * k)):
        a, b, c, d = constants
        t = np.tanh(c * x + d * x**3)
        return {"x": g * (0.5 + (a * x + b * x**3) * (1 - t * t) + 0.5 * t)}

    wrong = partial(right, constants=(0.398942, 0.0535161, 0.797885, 0.0356774))


class SigmoidTail:
    """tenstorrent/tt-metal #55724, PRs #55727 #56358 (2026): σ (1 − σ) is 0 above 16.75.

    That is so in float32, where the derivative is a normal number. The formula is right, but it
    loses all digits; σ(x) σ(−x) keeps them.
    """

    def inputs(random):
        x = np.array([1.0, 5.0, 10.0, 16.0, 20.0, 30.0], np.float32)
        return dict(x=x, g=np.ones_like(x))

    def reference(x, g):
        return (torch.sigmoid(x) * g).sum()

    def right(x, g):
        return {"x": g * sigmoid(x) * sigmoid(-x)}

    def inaccurate(x, g):
        return {"x": g * sigmoid(x) * (1 - sigmoid(x))}


class SoftmaxDiagonal:
    """deeplearning4j/libnd4j #440 (2017): softmax's derivative is p (1 − p), its diagonal."""

    def inputs(random):
        return normal(random, z=(4, 5), g=(4, 5))

    def reference(z, g):
        return (torch.softmax(z, 1) * g).sum()

    def right(z, g):
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)  # (N, K)
        return {"z": p * (g - (g * p).sum(1, keepdims=True))}

    def wrong(z, g):
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)  # (N, K)
        return {"z": p * (1 - p) * g}


class LogSoftmax:
    """uxlfoundation/oneDNN #616 (2019), mlpack/mlpack #2360 (2020): log-softmax's derivative.

    One subtracts Σ g · output, the other adds p, where p Σ g should be subtracted.
    """

    def inputs(random):
        return normal(random, z=(4, 5), g=(4, 5))

    def reference(z, g):
        return (torch.log_softmax(z, 1) * g).sum()

    def output(z):
        return z - np.log(np.exp(z).sum(1, keepdims=True))  # (N, K)

    def right(z, g):
        return {"z": g - np.exp(LogSoftmax.output(z)) * g.sum(1, keepdims=True)}

    def wrong(z, g):
        return {"z": g - (g * LogSoftmax.output(z)).sum(1, keepdims=True)}

    def added(z, g):
        return {"z": g + np.exp(LogSoftmax.output(z))}


class RecurrenceCut:
    """qixianbiao/RNN #2 (2018): a later state's gradient is not passed on to the earlier one."""

    def inputs(random):
        return normal(random, x=(5, 3), W=(4, 3), U=(4, 4), g=(5, 4))

    def reference(x, W, U, g):
        h, loss = torch.zeros(len(U), dtype=x.dtype), 0
        for x_t, g_t in zip(x, g, strict=True):
            h = torch.tanh(W @ x_t + U @ h)
            loss = loss + (g_t * h).sum()
        return loss

    def right(x, W, U, g, passed_on=1):
        h = [np.zeros(len(U), x.dtype)]
        for x_t in x:
            h.append(np.tanh(W @ x_t + U @ h[-1]))  # (n_hidden,)
        d_W, d_U, d_h = np.zeros_like(W), np.zeros_like(U), np.zeros_like(h[0])
        for t in reversed(range(len(x))):
            d_z = (g[t] + passed_on * d_h) * (1 - h[t + 1] ** 2)  # (n_hidden,)
            d_W, d_U, d_h = d_W + np.outer(d_z, x[t]), d_U + np.outer(d_z, h[t]), U.T @ d_z
        return {"W": d_W, "U": d_U}

    wrong = partial(right, passed_on=0)


class TwoLayers:
    """maziarraissi/backprop #1 (2019), Bot-Academy/NeuralNetworkFromScratch PR #3 (2023).

    One takes the values before the activation for the gradient of the next weights, the other
    leaves σ' of the outputs out.
    """

    def inputs(random):
        return normal(random, x=(6, 3), W_h=(3, 4), W_o=(4, 2), y=(6, 2))

    def reference(x, W_h, W_o, y):
        return ((torch.sigmoid(torch.sigmoid(x @ W_h) @ W_o) - y) ** 2).sum() / 2

    def right(x, W_h, W_o, y, activation=sigmoid, sloped=True):
        z = x @ W_h  # (N, n_hidden)
        h = sigmoid(z)
        o = sigmoid(h @ W_o)  # (N, n_out)
        delta_o = (o - y) * (o * (1 - o) if sloped else 1)
        delta_h = delta_o @ W_o.T * h * (1 - h)  # (N, n_hidden)
        return {"W_o": activation(z).T @ delta_o, "W_h": x.T @ delta_h}

    before_activation = partial(right, activation=np.asarray)
    without_slope = partial(right, sloped=False)


class LstmGates:
    """CaptainE/RNN-LSTM-in-numpy #1 (2023), hanbt/learn_dl #53 (2019): an LSTM's gates.

    One takes σ(f) for the forget gate's slope, where f is σ(z) already. The other returns the
    forget gate's bias gradient for all gates.
    """

    def inputs(random):
        biases = dict.fromkeys(("b_f", "b_i", "b_o", "b_a"), 4)
        return normal(random, z=(5, 16), **biases, c=(5, 4), g=(5, 4))

    def reference(z, b_f, b_i, b_o, b_a, c, g):
        z_f, z_i, z_o, z_a = z.chunk(4, 1)
        f, i, o = torch.sigmoid(z_f + b_f), torch.sigmoid(z_i + b_i), torch.sigmoid(z_o + b_o)
        return (o * torch.tanh(f * c + i * torch.tanh(z_a + b_a)) * g).sum()

    def right(z, b_f, b_i, b_o, b_a, c, g, slope=lambda s: s * (1 - s)):
        z_f, z_i, z_o, z_a = np.split(z, 4, 1)  # (N, n_hidden)
        f, i, o, a = sigmoid(z_f + b_f), sigmoid(z_i + b_i), sigmoid(z_o + b_o), np.tanh(z_a + b_a)
        t = np.tanh(f * c + i * a)
        d_c = g * o * (1 - t * t)
        d_f, d_i, d_o = d_c * c * slope(f), d_c * a * i * (1 - i), g * t * o * (1 - o)
        d_a = d_c * i * (1 - a * a)
        return {"b_f": d_f.sum(0), "b_i": d_i.sum(0), "b_o": d_o.sum(0), "b_a": d_a.sum(0)}

    def forget_for_all(**given):
        right = LstmGates.right(**given)
        return right | {"b_i": right["b_f"], "b_o": right["b_f"]}

    sigmoid_twice = partial(right, slope=sigmoid)


class ConvolutionWithoutStride:
    """Kulbear/deep-learning-coursera PR #34 (2018): the backward pass forgets the stride."""

    def inputs(random):
        return normal(random, x=9, w=3, g=4)

    def reference(x, w, g):
        return (functional.conv1d(x[None, None], w[None, None], stride=2) * g).sum()

    def right(x, w, g, stride=2):
        d_x, d_w = np.zeros_like(x), np.zeros_like(w)
        for t in range(len(g)):
            window = slice(t * stride, t * stride + len(w))
            d_x[window] += g[t] * w
            d_w += g[t] * x[window]
        return {"x": d_x, "w": d_w}

    wrong = partial(right, stride=1)


class IgnoredLabels:
    """PaddlePaddle/Paddle PR #28622 (2020): samples with an ignored label have a gradient."""

    def inputs(random):
        return normal(random, z=(5, 4)) | dict(y=np.array([1, 0, 3, 1, 2]))

    def reference(z, y):
        return functional.cross_entropy(z, y, ignore_index=1, reduction="none").mean()

    def right(z, y, ignored=1):
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)  # (N, K)
        return {"z": (p - np.eye(z.shape[1])[y]) * (y != ignored)[:, None] / len(z)}

    wrong = partial(right, ignored=-1)


class UpdatedWeights:
    """VikParuchuri/zero_to_gpt #12 (2025): the gradient is sent back through updated weights."""

    def inputs(random):
        return normal(random, x=(5, 3), W=(3, 4))

    def reference(x, W):
        return x @ W

    class right:
        def forward(x, W):
            return x @ W, (x, W)

        def backward(dout, cache):
            x, W = cache
            return dout @ W.T, x.T @ dout

    class wrong(right):
        def backward(dout, cache):
            x, W = cache
            d_W = x.T @ dout
            W = W - 0.1 * d_W
            return dout @ W.T, d_W
