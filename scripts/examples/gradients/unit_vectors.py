"""The gradient of a vector divided by its length, derived by hand.

u = x/|x|;  L = Σ u target
∂u_i/∂x_j = (δ_ij − u_i u_j)/|x|: what points along u changes the length alone
d_x = (g − u (u·g))/|x|, with g the gradient of u
"""

import numpy as np
import torch
from gallery import show


def reference(x, target):
    return (torch.nn.functional.normalize(x, dim=1) * target).sum()


def hand(x, target):
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))  # (N, 1)
    u = x / length  # (N, n)
    return {
        "target": u,  # (N, n)
        "x": (target - u * (u * target).sum(axis=1, keepdims=True)) / length,  # (N, n)
    }


def inputs(random, N=6, n=5):
    return dict(x=random.normal(size=(N, n)), target=random.normal(size=(N, n)))


if __name__ == "__main__":
    show(hand, reference, inputs)
