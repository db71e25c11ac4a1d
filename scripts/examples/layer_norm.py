"""LayerNorm's gradients, derived by hand.

With x̂ = (x − μ)·r, r = 1/√(v + ε), every x_j moves x̂_i in three ways: directly, through the mean, through the variance:
∂x̂_i/∂x_j = r (δ_ij − 1/n − x̂_i x̂_j / n). Summed against the gradient g of x̂ that is r (g − mean(g) − x̂ mean(g x̂)).
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from lockstep import check_gradients, watch  # noqa: E402

EPS = 1e-5


def reference(x, weight, bias, target):
    x_hat = watch("x_hat", torch.nn.functional.layer_norm(x, x.shape[-1:], eps=EPS))
    return ((x_hat * weight + bias - target) ** 2).mean()


def hand(x, weight, bias, target):
    mean = x.mean(axis=1, keepdims=True)  # (N, 1)
    r = 1 / np.sqrt(((x - mean) ** 2).mean(axis=1, keepdims=True) + EPS)  # (N, 1)
    x_hat = (x - mean) * r  # (N, n)
    d_out = 2 * (x_hat * weight + bias - target) / x.size  # (N, n)
    d_hat = d_out * weight  # (N, n)
    through_mean = d_hat.mean(axis=1, keepdims=True)  # (N, 1)
    through_variance = x_hat * (d_hat * x_hat).mean(axis=1, keepdims=True)  # (N, n)
    return {
        "target": -d_out,  # (N, n)
        "bias": d_out.sum(axis=0),  # (n,)
        "weight": (d_out * x_hat).sum(axis=0),  # (n,)
        "x_hat": d_hat,  # (N, n)
        "x": r * (d_hat - through_mean - through_variance),  # (N, n)
    }


def inputs(random):
    x, target = random.normal(size=(6, 10)), random.normal(size=(6, 10))
    return dict(x=x, weight=random.normal(size=10), bias=random.normal(size=10), target=target)


if __name__ == "__main__":
    print(check_gradients(hand, reference, **inputs(np.random.default_rng(0))))
