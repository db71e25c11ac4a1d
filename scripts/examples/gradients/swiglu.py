"""SwiGLU's gradients, derived by hand.

a = x W, b = x V;  y = a σ(a) b;  L = ½ Σ (y − target)²
(a σ)' = σ + a σ (1 − σ)
d_a = d_y b (σ + a σ (1 − σ)) and d_b = d_y a σ
d_W = xᵀ d_a, d_V = xᵀ d_b, and x gets d_a Wᵀ + d_b Vᵀ: both ways add
"""

import numpy as np
import torch
from gallery import show


def reference(x, W, V, target):
    y = torch.nn.functional.silu(x @ W) * (x @ V)
    return ((y - target) ** 2).sum() / 2


def hand(x, W, V, target):
    a, b = x @ W, x @ V  # (N, m) (N, m)
    s = 1 / (1 + np.exp(-a))  # (N, m)
    g = a * s * b - target  # (N, m)
    d_a = g * b * (s + a * s * (1 - s))  # (N, m)
    d_b = g * a * s  # (N, m)
    return {
        "target": -g,  # (N, m)
        "W": x.T @ d_a,  # (n, m)
        "V": x.T @ d_b,  # (n, m)
        "x": d_a @ W.T + d_b @ V.T,  # (N, n)
    }


def inputs(random, N=5, n=4, m=6):
    shapes = dict(x=(N, n), W=(n, m), V=(n, m), target=(N, m))
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


if __name__ == "__main__":
    show(hand, reference, inputs)
