"""A 1-d convolution's gradients, derived by hand, by a loop over the kernel's places.

y[n, o, t] = Σ_c Σ_k w[o, c, k] x[n, c, t + k] + b[o];  L = ½ Σ (y − target)²
each place k multiplies x, shifted by k, with the matrix w[·, ·, k]
d_w[·, ·, k] = the products of d_y with x shifted by k, summed over n and t
d_x shifted by k gets the products of w[·, ·, k] with d_y; where shifts meet they add
"""

import numpy as np
import torch
from gallery import show


def reference(x, w, b, target):
    return ((torch.nn.functional.conv1d(x, w, b) - target) ** 2).sum() / 2


def hand(x, w, b, target):
    kernel, length = w.shape[2], target.shape[2]
    y = np.zeros_like(target) + b[:, None]  # (N, c_out, T)
    for k in range(kernel):
        y += np.einsum("oc,nct->not", w[:, :, k], x[:, :, k : k + length])
    d_y = y - target  # (N, c_out, T)
    d_w, d_x = np.zeros_like(w), np.zeros_like(x)
    for k in range(kernel):
        d_w[:, :, k] = np.einsum("not,nct->oc", d_y, x[:, :, k : k + length])  # (c_out, c_in)
        d_x[:, :, k : k + length] += np.einsum("oc,not->nct", w[:, :, k], d_y)  # (N, c_in, T)
    return {"target": -d_y, "b": d_y.sum(axis=(0, 2)), "w": d_w, "x": d_x}


def inputs(random, N=2, c_in=3, c_out=4, T=7, K=3):
    shapes = dict(x=(N, c_in, T + K - 1), w=(c_out, c_in, K), b=(c_out,), target=(N, c_out, T))
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


if __name__ == "__main__":
    show(hand, reference, inputs)
