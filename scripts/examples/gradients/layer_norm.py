"""LayerNorm's gradients, derived by hand.

μ = mean(x), v = mean((x − μ)²), over the n features of a sample
x̂ = (x − μ) r with r = 1/√(v + ε);  y = x̂ weight + bias;  L = mean (y − target)²
∂x̂_i/∂x_j = r (δ_ij − 1/n − x̂_i x̂_j/n): directly, through the mean, through the variance
d_x = r (g − mean(g) − x̂ mean(g x̂)), with g = d_y weight the gradient of x̂
"""

import numpy as np
import torch
from gallery import show

from lockstep import watch

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


def inputs(random, N=6, n=10):
    x, target = random.normal(size=(N, n)), random.normal(size=(N, n))
    return dict(x=x, weight=random.normal(size=n), bias=random.normal(size=n), target=target)


if __name__ == "__main__":
    show(hand, reference, inputs)
