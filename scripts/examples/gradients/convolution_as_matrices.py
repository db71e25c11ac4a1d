"""A 1-d convolution's gradients, derived by hand, as one product of matrices.

X: every window of x laid out as a row of c_in·K numbers;  W: every kernel laid out likewise
Y = X Wᵀ + b;  L = ½ Σ (Y − target)²
d_W = d_Yᵀ X, d_X = d_Y W and d_b = Σ d_Y, as in a linear layer
an element of x stands in up to K windows, and their gradients add
"""

import numpy as np
import torch
from gallery import show


def reference(x, w, b, target):
    return ((torch.nn.functional.conv1d(x, w, b) - target) ** 2).sum() / 2


def hand(x, w, b, target):
    (n, c_in, _), (c_out, _, kernel), length = x.shape, w.shape, target.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=2)  # (N, c_in, T, K)
    X = windows.transpose(0, 2, 1, 3).reshape(n * length, c_in * kernel)  # (N·T, c_in·K)
    W = w.reshape(c_out, c_in * kernel)  # (c_out, c_in·K)
    d_Y = X @ W.T + b - target.transpose(0, 2, 1).reshape(n * length, c_out)  # (N·T, c_out)
    d_X = (d_Y @ W).reshape(n, length, c_in, kernel)  # (N, T, c_in, K)
    d_x = np.zeros_like(x)  # (N, c_in, T + K − 1)
    for k in range(kernel):
        d_x[:, :, k : k + length] += d_X[:, :, :, k].transpose(0, 2, 1)
    d_target = -d_Y.reshape(n, length, c_out).transpose(0, 2, 1)  # (N, c_out, T)
    return {"target": d_target, "b": d_Y.sum(axis=0), "w": (d_Y.T @ X).reshape(w.shape), "x": d_x}


def inputs(random, N=2, c_in=3, c_out=4, T=7, K=3):
    shapes = dict(x=(N, c_in, T + K - 1), w=(c_out, c_in, K), b=(c_out,), target=(N, c_out, T))
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


if __name__ == "__main__":
    show(hand, reference, inputs)
