"""Single-head attention's gradients, derived by hand.

a = softmax(s), s = q kᵀ/√d, out = a v. A row of softmax has ∂a_i/∂s_j = a_i (δ_ij − a_j), so with g the gradient of a
that of s is a (g − Σ g a): what is left of g when its average, weighted with a, is taken away.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from lockstep import check_gradients, watch  # noqa: E402


def reference(q, k, v, target):
    a = watch("a", torch.softmax(watch("s", q @ k.T / q.shape[1] ** 0.5), dim=1))
    return ((a @ v - target) ** 2).sum() / 2


def hand(q, k, v, target):
    root = np.sqrt(np.array(q.shape[1], q.dtype))  # ()
    s = q @ k.T / root  # (N, M)
    e = np.exp(s - s.max(axis=1, keepdims=True))  # (N, M)
    a = e / e.sum(axis=1, keepdims=True)  # (N, M)
    d_out = a @ v - target  # (N, n)
    d_a = d_out @ v.T  # (N, M)
    d_s = a * (d_a - (d_a * a).sum(axis=1, keepdims=True))  # (N, M)
    return {
        "target": -d_out,  # (N, n)
        "v": a.T @ d_out,  # (M, n)
        "a": d_a,  # (N, M)
        "s": d_s,  # (N, M)
        "q": d_s @ k / root,  # (N, d)
        "k": d_s.T @ q / root,  # (M, d)
    }


def inputs(random):
    shapes = dict(q=(4, 6), k=(5, 6), v=(5, 3), target=(4, 3))
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


if __name__ == "__main__":
    print(check_gradients(hand, reference, **inputs(np.random.default_rng(0))))
