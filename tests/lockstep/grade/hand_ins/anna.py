import numpy as np


def step(x, y, W_h, b_h, W_o, b_o, lr):
    h = 1 / (1 + np.exp(-(x @ W_h.T + b_h)))
    o = 1 / (1 + np.exp(-(h @ W_o.T + b_o)))
    delta_o = (o - y) * o * (1 - o)
    delta_h = delta_o @ W_o * h * (1 - h)
    grad_W_o, grad_b_o = delta_o.T @ h, delta_o.sum(axis=0)
    grad_W_h, grad_b_h = delta_h.T @ x, delta_h.sum(axis=0)
    return {
        "h": h,
        "o": o,
        "delta_o": delta_o,
        "delta_h": delta_h,
        "grad_W_o": grad_W_o,
        "grad_b_o": grad_b_o,
        "grad_W_h": grad_W_h,
        "grad_b_h": grad_b_h,
        "new_W_o": W_o - lr * grad_W_o,
        "new_b_o": b_o - lr * grad_b_o,
        "new_W_h": W_h - lr * grad_W_h,
        "new_b_h": b_h - lr * grad_b_h,
    }
