"""What inputs may be: dicts, lists, modules, masks, constants of every type."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from tests.campaigns.outside.case import case, sizes
from tests.campaigns.outside.formulas import draw, sigmoid, softmax


@case(varied="params x")
class parameters_in_a_dict:
    def inputs(random):
        N, n, m, k = sizes(random, 4)
        params = draw(random, W1=(m, n), b1=m, W2=(k, m), b2=k)
        return dict(params=params, x=random.normal(size=(N, n)), y=random.integers(0, k, N))

    def reference(params, x, y):
        h = torch.tanh(x @ params["W1"].T + params["b1"])
        return F.cross_entropy(h @ params["W2"].T + params["b2"], y)

    def hand(params, x, y):
        W2 = params["W2"]
        h = np.tanh(x @ params["W1"].T + params["b1"])  # (N, m)
        d_o = softmax(h @ W2.T + params["b2"]) / len(x)  # (N, k)
        d_o[np.arange(len(x)), y] -= 1 / len(x)
        d_z = d_o @ W2 * (1 - h * h)  # (N, m)
        d_params = {
            "W1": d_z.T @ x,
            "b1": d_z.sum(axis=0),
            "W2": d_o.T @ h,
            "b2": d_o.sum(axis=0),
        }
        return {"params": d_params, "x": d_z @ params["W1"]}


@case(varied="weights x")
class parameters_in_a_list:
    """A deep linear network."""

    def inputs(random):
        n, *widths = sizes(random, 4, most=4)
        shapes = zip(widths, [n, *widths], strict=False)
        return dict(
            weights=[random.normal(size=shape) for shape in shapes], x=random.normal(size=n)
        )

    def reference(weights, x):
        for W in weights:
            x = W @ x
        return (x * x).sum() / 2

    def hand(weights, x):
        h = [x]
        for W in weights:
            h.append(W @ h[-1])
        delta, d_weights = h[-1], []
        for W, before in zip(weights[::-1], h[-2::-1], strict=True):
            d_weights.append(np.outer(delta, before))
            delta = W.T @ delta
        return {"weights": d_weights[::-1], "x": delta}


NETWORK = torch.nn.Sequential(
    torch.nn.Linear(4, 3), torch.nn.Sigmoid(), torch.nn.Linear(3, 2)
).double()


@case(varied="params x", but="single")
class module_by_functional_call:
    """The parameters of an nn.Module, by the names of named_parameters."""

    def inputs(random):
        names = {"0.weight": (3, 4), "0.bias": 3, "2.weight": (2, 3), "2.bias": 2}
        N = int(random.integers(1, 6))
        return dict(params=draw(random, **names), x=random.normal(size=(N, 4)))

    def reference(params, x):
        return (torch.func.functional_call(NETWORK, params, (x,)) ** 2).mean()

    def hand(params, x):
        W, b, V, c = (params[name] for name in ("0.weight", "0.bias", "2.weight", "2.bias"))
        h = sigmoid(x @ W.T + b)  # (N, 3)
        o = h @ V.T + c  # (N, 2)
        d_o = 2 * o / o.size
        d_z = d_o @ V * h * (1 - h)  # (N, 3)
        d_params = {
            "0.weight": d_z.T @ x,
            "0.bias": d_z.sum(axis=0),
            "2.weight": d_o.T @ h,
            "2.bias": d_o.sum(axis=0),
        }
        return {"params": d_params, "x": d_z @ W}


LAYER = torch.nn.Linear(3, 5)


@case(agree=1e-6, kinds=("plain", "single", "scaled", "tied", "zeroed"))
class layer_in_the_closure:
    """An nn.Linear that is no input, in float32, and so the input becomes float32 too."""

    def inputs(random):
        N = int(random.integers(1, 6))
        return draw(random, x=(N, 3), w=(N, 5))

    def reference(x, w):
        return (torch.tanh(LAYER(x.float())) * w).sum()

    def hand(x, w):
        W, b = (p.detach().numpy().astype(x.dtype) for p in LAYER.parameters())
        return {"x": w * (1 - np.tanh(x @ W.T + b) ** 2) @ W}


@case(varied="x W")
class dropout:
    """Inverted dropout, with the mask as floats 0 and 1."""

    def inputs(random):
        N, n, m = sizes(random, 3)
        mask = (random.random((N, n)) < 0.7).astype(float)
        return draw(random, x=(N, n), W=(m, n), w=(N, m)) | dict(mask=mask, p=0.3)

    def reference(x, W, w, mask, p):
        return (torch.tanh((x * mask / (1 - p)) @ W.T) * w).sum()

    def hand(x, W, w, mask, p):
        kept = x * mask / (1 - p)  # (N, n)
        d_z = w * (1 - np.tanh(kept @ W.T) ** 2)  # (N, m)
        return {"x": d_z @ W * mask / (1 - p), "W": d_z.T @ kept}


@case()
class constants_of_every_type:
    """An integer power, a switch, a word, a float, and None."""

    def inputs(random):
        (n,) = sizes(random, 1)
        options = dict(power=3, squash=bool(random.random() < 0.5), reduction="mean", bias=None)
        return draw(random, x=n) | options | dict(scale=0.5)

    def reference(x, power, squash, reduction, bias, scale):
        y = scale * x ** int(power)
        y = torch.tanh(y) if squash else y
        y = y if bias is None else y + bias
        return getattr(y, reduction)()

    def hand(x, power, squash, reduction, bias, scale):
        d_y = scale * int(power) * x ** (int(power) - 1) / (len(x) if reduction == "mean" else 1)
        return {"x": d_y * (1 - np.tanh(scale * x ** int(power)) ** 2) if squash else d_y}


@case()
class number_and_loop:
    """Single numbers as inputs, with a loop over them in Python."""

    def inputs(random):
        return dict(a=np.array(random.normal()), b=np.array(random.normal()), times=4)

    def reference(a, b, times):
        y = b
        for _ in range(times):
            y = torch.sin(a * y + b)
        return y

    def hand(a, b, times):
        y = [b]
        for _ in range(times):
            y.append(np.sin(a * y[-1] + b))
        d_a, d_b, d_y = 0.0, 0.0, 1.0
        for before in y[-2::-1]:
            d_z = d_y * np.cos(a * before + b)
            d_a, d_b, d_y = d_a + d_z * before, d_b + d_z, d_z * a
        return {"a": d_a, "b": d_b + d_y}


@case()
class tied_autoencoder:
    """W and its transpose: the gradient has two terms."""

    def inputs(random):
        N, n, m = sizes(random, 3)
        return draw(random, x=(N, n), W=(m, n), b=m, c=n)

    def reference(x, W, b, c):
        return ((torch.sigmoid(x @ W.T + b) @ W + c - x) ** 2).sum() / len(x)

    def hand(x, W, b, c):
        h = sigmoid(x @ W.T + b)  # (N, m)
        d_o = 2 * (h @ W + c - x) / len(x)  # (N, n)
        d_z = d_o @ W.T * h * (1 - h)  # (N, m)
        return {"W": h.T @ d_o + d_z.T @ x, "b": d_z.sum(axis=0), "c": d_o.sum(axis=0)}


@case()
class residual_block:
    """x + V relu-free: y = x + V tanh(W x), twice through the same weights."""

    def inputs(random):
        n, m = sizes(random, 2)
        return draw(random, x=n, W=(m, n), V=(n, m), w=n)

    def reference(x, W, V, w):
        for _ in range(2):
            x = x + V @ torch.tanh(W @ x)
        return x @ w

    def hand(x, W, V, w):
        steps = []
        for _ in range(2):
            steps.append((x, np.tanh(W @ x)))
            x = x + V @ steps[-1][1]
        d_x, d_W, d_V = w, np.zeros_like(W), np.zeros_like(V)
        for x, h in reversed(steps):
            d_V += np.outer(d_x, h)
            d_z = V.T @ d_x * (1 - h * h)
            d_W += np.outer(d_z, x)
            d_x = d_x + W.T @ d_z
        return {"x": d_x, "W": d_W, "V": d_V}


@case()
class broadcast_bias_and_gain:
    """Gradients of what is broadcast are summed over where it was."""

    def inputs(random):
        N, T, n = sizes(random, 3)
        return draw(random, x=(N, T, n), gain=(T, 1), bias=(N, 1, n), w=(N, T, n))

    def reference(x, gain, bias, w):
        return (torch.tanh(gain * x + bias) * w).sum()

    def hand(x, gain, bias, w):
        d_z = w * (1 - np.tanh(gain * x + bias) ** 2)  # (N, T, n)
        return {
            "x": d_z * gain,
            "gain": (d_z * x).sum(axis=(0, 2))[:, None],
            "bias": d_z.sum(axis=1, keepdims=True),
        }


@case(smooth=False)
class branches_by_where:
    """Two formulas and a mask of which applies."""

    def inputs(random):
        n = int(random.integers(2, 9))
        return draw(random, x=n, w=n) | dict(first=random.random(n) < 0.5)

    def reference(x, w, first):
        return (torch.where(first, torch.sin(x), x * x) * w).sum()

    def hand(x, w, first):
        return {"x": w * np.where(first, np.cos(x), 2 * x)}


@case()
class stopped_gradient:
    """A target network: no gradient goes through it."""

    def inputs(random):
        N, n = sizes(random, 2)
        return draw(random, x=(N, n), w=n, old=n, reward=N)

    def reference(x, w, old, reward):
        target = reward + 0.9 * torch.tanh(x @ old).detach()
        return ((torch.tanh(x @ w) - target) ** 2).mean()

    def hand(x, w, old, reward):
        q = np.tanh(x @ w)  # (N,)
        d_z = 2 * (q - reward - 0.9 * np.tanh(x @ old)) / len(x) * (1 - q * q)
        return {"w": x.T @ d_z, "x": np.outer(d_z, w)}


@case(smooth=False)
class mixed_kinds_of_numbers:
    """Integers of another width and booleans among the factors."""

    def inputs(random):
        n = int(random.integers(2, 9))
        count = random.integers(0, 4, n).astype(np.int32)
        return draw(random, x=n) | dict(count=count, on=random.random(n) < 0.5)

    def reference(x, count, on):
        return (count * on * torch.exp(-x * x)).sum()

    def hand(x, count, on):
        return {"x": (-2 * x * np.exp(-x * x) * (count * on)).astype(x.dtype)}


@case()
class position_encodings:
    """Sines of the position are added; they are constants."""

    def inputs(random):
        T, half = sizes(random, 2)
        return draw(random, x=(T, 2 * half), w=(T, 2 * half))

    def reference(x, w):
        T, d = x.shape
        rate = torch.exp(-math.log(1e4) * torch.arange(0, d, 2, dtype=x.dtype) / d)
        angle = torch.arange(T, dtype=x.dtype)[:, None] * rate
        return (torch.tanh(x + torch.cat([angle.sin(), angle.cos()], 1)) * w).sum()

    def hand(x, w):
        T, d = x.shape
        rate = np.exp(-math.log(1e4) * np.arange(0, d, 2, dtype=x.dtype) / d)
        angle = np.arange(T, dtype=x.dtype)[:, None] * rate
        return {"x": w * (1 - np.tanh(x + np.hstack([np.sin(angle), np.cos(angle)])) ** 2)}
