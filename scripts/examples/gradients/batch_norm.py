"""BatchNorm's gradients in training, derived by hand.

μ = mean(x), v = mean((x − μ)²), over the N samples of a feature (divided by N, not N − 1)
x̂ = (x − μ) r with r = 1/√(v + ε);  y = x̂ weight + bias;  L = Σ (y − target)²
∂x̂_i/∂x_j = r (δ_ij − 1/N − x̂_i x̂_j/N): directly, through the mean, through the variance
d_x = r (g − mean(g) − x̂ mean(g x̂)), with g = d_y weight the gradient of x̂
"""

import numpy as np
import torch
from gallery import show

EPS = 1e-5


def reference(x, weight, bias, target):
    y = torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=EPS)
    return ((y - target) ** 2).sum()


def hand(x, weight, bias, target):
    mean = x.mean(axis=0)  # (n,)
    r = 1 / np.sqrt(((x - mean) ** 2).mean(axis=0) + EPS)  # (n,)
    x_hat = (x - mean) * r  # (N, n)
    d_y = 2 * (x_hat * weight + bias - target)  # (N, n)
    g = d_y * weight  # (N, n)
    return {
        "target": -d_y,  # (N, n)
        "bias": d_y.sum(axis=0),  # (n,)
        "weight": (d_y * x_hat).sum(axis=0),  # (n,)
        "x": r * (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0)),  # (N, n)
    }


def inputs(random, N=8, n=5):
    x, target = random.normal(size=(N, n)), random.normal(size=(N, n))
    return dict(x=x, weight=random.normal(size=n), bias=random.normal(size=n), target=target)


if __name__ == "__main__":
    show(hand, reference, inputs)
