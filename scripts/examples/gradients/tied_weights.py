"""The gradient of a weight that is used twice, derived by hand: an autoencoder.

h = tanh(x Wᵀ);  o = h W;  L = ½ Σ (o − x)²
d_o = o − x and d_z = (d_o Wᵀ)(1 − h²)
W stands in both layers, so its gradient is hᵀ d_o + d_zᵀ x
x is input and target, so its gradient is d_z W − d_o
"""

import numpy as np
import torch
from gallery import show


def reference(x, W):
    return ((torch.tanh(x @ W.T) @ W - x) ** 2).sum() / 2


def hand(x, W):
    h = np.tanh(x @ W.T)  # (N, m)
    d_o = h @ W - x  # (N, n)
    d_z = (d_o @ W.T) * (1 - h * h)  # (N, m)
    return {
        "W": h.T @ d_o + d_z.T @ x,  # (m, n)
        "x": d_z @ W - d_o,  # (N, n)
    }


def inputs(random, N=6, n=5, m=3):
    return dict(x=random.normal(size=(N, n)), W=random.normal(size=(m, n)))


if __name__ == "__main__":
    show(hand, reference, inputs)
