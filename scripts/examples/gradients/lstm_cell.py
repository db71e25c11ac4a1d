"""An LSTM cell's gradients, derived by hand.

z = x Wᵀ + h Uᵀ + b, in four parts;  i, f, o = σ and g = tanh of them
c' = f c + i g;  h' = o tanh c';  L = ½ Σ h'² + Σ c'
d_o = d_h' tanh c' and d_c' = d_h' o (1 − tanh² c') + 1
d_i = d_c' g, d_f = d_c' c, d_g = d_c' i
each part of d_z is that times the slope: σ (1 − σ), or 1 − tanh²
d_W = d_zᵀ x, d_U = d_zᵀ h, d_b = Σ d_z, and back to x, h by W, U; d_c = d_c' f
"""

import numpy as np
import torch
from gallery import show


def reference(x, h, c, W, U, b):
    h_new, c_new = torch.lstm_cell(x, (h, c), W, U, b, torch.zeros_like(b))
    return (h_new**2).sum() / 2 + c_new.sum()


def sigma(z):
    return 1 / (1 + np.exp(-z))


def hand(x, h, c, W, U, b):
    z_i, z_f, z_g, z_o = np.split(x @ W.T + h @ U.T + b, 4, axis=1)  # (N, n) each
    i, f, g, o = sigma(z_i), sigma(z_f), np.tanh(z_g), sigma(z_o)  # (N, n) each
    t = np.tanh(f * c + i * g)  # (N, n)
    d_h_new = o * t  # (N, n)
    d_c_new = d_h_new * o * (1 - t * t) + 1  # (N, n)
    d_i = d_c_new * g * i * (1 - i)  # (N, n)
    d_f = d_c_new * c * f * (1 - f)  # (N, n)
    d_g = d_c_new * i * (1 - g * g)  # (N, n)
    d_o = d_h_new * t * o * (1 - o)  # (N, n)
    d_z = np.concatenate([d_i, d_f, d_g, d_o], axis=1)  # (N, 4·n)
    return {
        "b": d_z.sum(axis=0),  # (4·n,)
        "W": d_z.T @ x,  # (4·n, n_in)
        "U": d_z.T @ h,  # (4·n, n)
        "x": d_z @ W,  # (N, n_in)
        "h": d_z @ U,  # (N, n)
        "c": d_c_new * f,  # (N, n)
    }


def inputs(random, N=3, n_in=4, n=5):
    shapes = dict(x=(N, n_in), h=(N, n), c=(N, n), W=(4 * n, n_in), U=(4 * n, n), b=(4 * n,))
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


if __name__ == "__main__":
    show(hand, reference, inputs)
