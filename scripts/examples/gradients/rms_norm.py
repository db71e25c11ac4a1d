"""RMSNorm's gradients, derived by hand.

y = weight x r with r = 1/√(mean(x²) + ε);  L = mean (y − target)²
∂r/∂x_j = −r³ x_j/n
d_x = r g − r³ x mean(g x), with g = d_y weight: directly, and through r
d_weight = Σ d_y x r, over the samples
"""

import numpy as np
import torch
from gallery import show

EPS = 1e-6


def reference(x, weight, target):
    y = torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps=EPS)
    return ((y - target) ** 2).mean()


def hand(x, weight, target):
    r = 1 / np.sqrt((x * x).mean(axis=1, keepdims=True) + EPS)  # (N, 1)
    d_y = 2 * (x * r * weight - target) / x.size  # (N, n)
    g = d_y * weight  # (N, n)
    return {
        "target": -d_y,  # (N, n)
        "weight": (d_y * x * r).sum(axis=0),  # (n,)
        "x": r * g - r**3 * x * (g * x).mean(axis=1, keepdims=True),  # (N, n)
    }


def inputs(random, N=6, n=10):
    return dict(
        x=random.normal(size=(N, n)),
        weight=random.normal(size=n),
        target=random.normal(size=(N, n)),
    )


if __name__ == "__main__":
    show(hand, reference, inputs)
