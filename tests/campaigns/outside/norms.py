"""Normalisation: over samples, channels, groups; with statistics that are learnt or stored."""

import numpy as np
import torch
import torch.nn.functional as F

from tests.campaigns.outside.case import case, sizes

EPS = 1e-5


def standardised(x, axes):
    """x̂ and 1/σ."""
    centred = x - x.mean(axis=axes, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + EPS)
    return centred * r, r


def backward(g, x_hat, r, axes):
    """From the gradient of x̂ to that of x: directly, through the mean, through σ."""
    through_mean = g.mean(axis=axes, keepdims=True)
    through_deviation = x_hat * (g * x_hat).mean(axis=axes, keepdims=True)
    return r * (g - through_mean - through_deviation)


def image(random, *, C=None):
    """x, incoming gradient (N, C, H, W), weight and bias (C,)."""
    N, c, H, W = sizes(random, 4, most=4)
    C = C or c
    x, w = random.normal(size=(2, N, C, H, W))
    return dict(x=x, w=w, weight=random.normal(size=C), bias=random.normal(size=C))


def channels(v):
    return v[:, None, None]


@case()
class batch_norm_of_images:
    def inputs(random):
        return image(random)

    def reference(x, w, weight, bias):
        return (F.batch_norm(x, None, None, weight, bias, training=True) * w).sum()

    def hand(x, w, weight, bias):
        axes = (0, 2, 3)
        x_hat, r = standardised(x, axes)
        return {
            "x": backward(w * channels(weight), x_hat, r, axes),
            "weight": (w * x_hat).sum(axis=axes),
            "bias": w.sum(axis=axes),
        }


@case(varied="x weight bias")
class batch_norm_in_evaluation:
    """With stored statistics, which do not depend on x."""

    def inputs(random):
        N, n = sizes(random, 2)
        arrays = {name: random.normal(size=n) for name in ("mean", "weight", "bias")}
        x, w = random.normal(size=(2, N, n))
        return dict(x=x, w=w, var=random.uniform(0.5, 2, n), **arrays)

    def reference(x, w, mean, var, weight, bias):
        return (F.batch_norm(x, mean, var, weight, bias, training=False) * w).sum()

    def hand(x, w, mean, var, weight, bias):
        r = 1 / np.sqrt(var + EPS)  # (n,)
        return {
            "x": w * weight * r,
            "weight": (w * (x - mean) * r).sum(axis=0),
            "bias": w.sum(axis=0),
        }


@case()
class group_norm:
    def inputs(random):
        groups, each = sizes(random, 2, least=1, most=3)
        return image(random, C=groups * each) | dict(groups=groups)

    def reference(x, w, weight, bias, groups):
        return (F.group_norm(x, int(groups), weight, bias) * w).sum()

    def hand(x, w, weight, bias, groups):
        grouped = (len(x), int(groups), -1)
        x_hat, r = standardised(x.reshape(grouped), 2)
        d_hat = (w * channels(weight)).reshape(grouped)
        return {
            "x": backward(d_hat, x_hat, r, 2).reshape(x.shape),
            "weight": (w * x_hat.reshape(x.shape)).sum(axis=(0, 2, 3)),
            "bias": w.sum(axis=(0, 2, 3)),
        }


@case()
class instance_norm:
    def inputs(random):
        return {name: value for name, value in image(random).items() if name in "xw"}

    def reference(x, w):
        return (F.instance_norm(x) * w).sum()

    def hand(x, w):
        x_hat, r = standardised(x, (2, 3))
        return {"x": backward(w, x_hat, r, (2, 3)), "w": x_hat}


@case()
class layer_norm_with_residual:
    """Pre-norm block: x + U·norm(x)."""

    def inputs(random):
        N, n = sizes(random, 2)
        x, w = random.normal(size=(2, N, n))
        return dict(x=x, U=random.normal(size=(n, n)), w=w)

    def reference(x, U, w):
        return ((x + F.layer_norm(x, x.shape[1:]) @ U.T) * w).sum()

    def hand(x, U, w):
        x_hat, r = standardised(x, 1)
        return {"x": w + backward(w @ U, x_hat, r, 1), "U": w.T @ x_hat}


@case()
class layer_norm_by_welford:
    """Mean and variance in one pass, by Welford's update."""

    def inputs(random):
        (n,) = sizes(random, 1, most=12)
        return dict(x=random.normal(size=n), w=random.normal(size=n))

    def reference(x, w):
        return (F.layer_norm(x, x.shape) * w).sum()

    def hand(x, w):
        mean, M, n = 0.0, 0.0, len(x)
        for k, x_k in enumerate(x, 1):
            before = x_k - mean
            mean = mean + before / k
            M = M + before * (x_k - mean)
        r = 1 / np.sqrt(M / n + EPS)
        x_hat = (x - mean) * r
        return {"x": backward(w, x_hat, r, 0), "w": x_hat}


@case(but="offset")
class variance_in_one_pass:
    """E[x²] − E[x]², which cancels."""

    def inputs(random):
        N, n = sizes(random, 2)
        return dict(x=random.normal(size=(N, n)), w=random.normal(size=N))

    def reference(x, w):
        return (torch.log1p(x.var(1, correction=0)) * w).sum()

    def hand(x, w):
        mean = x.mean(axis=1)
        variance = (x * x).mean(axis=1) - mean**2  # (N,)
        d_v = w / (1 + variance)
        return {"x": d_v[:, None] * 2 * (x - mean[:, None]) / x.shape[1]}


@case(but="zeroed tied integers tiny")
class standard_deviation:
    def inputs(random):
        N, n = sizes(random, 2)
        return dict(x=random.normal(size=(N, n)), w=random.normal(size=n))

    def reference(x, w):
        return x.std(0) @ w

    def hand(x, w):
        centred = x - x.mean(axis=0)
        s = np.sqrt((centred**2).sum(axis=0) / (len(x) - 1))  # (n,)
        return {"x": w * centred / ((len(x) - 1) * s), "w": s}


@case(but="zeroed tied integers tiny")
class weight_norm:
    """W = g v/‖v‖, a row a neuron."""

    def inputs(random):
        N, n, m = sizes(random, 3)
        shapes = dict(x=(N, n), v=(m, n), g=m, w=(N, m))
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    def reference(x, v, g, w):
        return (x @ torch._weight_norm(v, g[:, None], 0).T * w).sum()

    def hand(x, v, g, w):
        length = np.sqrt((v * v).sum(axis=1, keepdims=True))  # (m, 1)
        u = v / length  # (m, n)
        d_W = w.T @ x  # (m, n)
        d_g = (d_W * u).sum(axis=1)  # (m,)
        d_v = g[:, None] / length * (d_W - d_g[:, None] * u)
        return {"x": w @ (g[:, None] * u), "v": d_v, "g": d_g}


@case(but="zeroed tied integers tiny", varied="W")
class spectral_norm_layer:
    """σ = uᵀWv with u and v held."""

    def inputs(random):
        m, n = sizes(random, 2)
        W, G = random.normal(size=(2, m, n))
        U, _, Vt = np.linalg.svd(W)
        return dict(W=W, G=G, u=U[:, 0].copy(), v=Vt[0].copy())

    def reference(W, G, u, v):
        return (W / (u @ W @ v) * G).sum()

    def hand(W, G, u, v):
        s = u @ W @ v
        return {"W": G / s - (G * W).sum() / s**2 * np.outer(u, v)}


@case(agree=1e-5, but="tiny")
class llama_rms_norm:
    """As LLaMA's: in float32 inside, whatever comes in."""

    def inputs(random):
        N, n = sizes(random, 2)
        x, w = random.normal(size=(2, N, n))
        return dict(x=x, weight=random.normal(size=n), w=w)

    def reference(x, weight, w):
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
        return (weight * h.to(x.dtype) * w).sum()

    def hand(x, weight, w):
        r = 1 / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-6)  # (N, 1)
        g = w * weight  # (N, n)
        return {
            "x": r * g - r**3 * x * (g * x).mean(axis=1, keepdims=True),
            "weight": (w * x * r).sum(axis=0),
        }


@case()
class local_response_norm:
    def inputs(random):
        N, C, L = sizes(random, 3)
        x, w = random.normal(size=(2, N, C, L))
        return dict(x=x, w=w)

    def reference(x, w):
        return (F.local_response_norm(x, 3, alpha=0.3, beta=0.75, k=1.0) * w).sum()

    def hand(x, w):
        def neighbours(a):
            padded = np.pad(a, ((0, 0), (1, 1), (0, 0)))
            return padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]

        d = 1 + 0.1 * neighbours(x * x)  # (N, C, L)
        d_d = -0.75 * w * x * d**-1.75
        return {"x": w * d**-0.75 + 0.2 * x * neighbours(d_d)}


@case(kinds=("plain", "single", "scaled", "offset", "saturated"), smooth=False)
class min_max_scaling:
    def inputs(random):
        (n,) = sizes(random, 1, least=3, most=10)
        return dict(x=random.normal(size=n), w=random.normal(size=n))

    def reference(x, w):
        return ((x - x.min()) / (x.max() - x.min()) * w).sum()

    def hand(x, w):
        low, span = x.min(), x.max() - x.min()
        y = (x - low) / span
        d_x = w / span
        d_x[x.argmin()] -= (w * (1 - y)).sum() / span
        d_x[x.argmax()] -= (w * y).sum() / span
        return {"x": d_x}


@case()
class centred_columns:
    def inputs(random):
        N, n = sizes(random, 2)
        x, target = random.normal(size=(2, N, n))
        return dict(x=x, target=target)

    def reference(x, target):
        return ((x - x.mean(0) - target) ** 2).sum()

    def hand(x, target):
        d_c = 2 * (x - x.mean(axis=0) - target)
        return {"x": d_c - d_c.mean(axis=0), "target": -d_c}
