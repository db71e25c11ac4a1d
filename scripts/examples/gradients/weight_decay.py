"""The gradient of a loss with weight decay, derived by hand.

o = x w + b;  L = mean (o − y)² + λ/2 Σ w²
d_o = 2 (o − y)/N
d_w = xᵀ d_o + λ w: the two terms' gradients add; the bias is not decayed
d_λ = ½ Σ w²
"""

import numpy as np
from gallery import show


def reference(x, w, b, y, decay):
    return ((x @ w + b - y) ** 2).mean() + decay / 2 * (w**2).sum()


def hand(x, w, b, y, decay):
    d_o = 2 * (x @ w + b - y) / len(y)  # (N,)
    return {
        "y": -d_o,  # (N,)
        "w": x.T @ d_o + decay * w,  # (n,)
        "b": d_o.sum(),  # ()
        "decay": (w * w).sum() / 2,  # ()
        "x": np.outer(d_o, w),  # (N, n)
    }


def inputs(random, N=7, n=4):
    x, w = random.normal(size=(N, n)), random.normal(size=n)
    return dict(x=x, w=w, b=random.normal(), y=random.normal(size=N), decay=0.1)


if __name__ == "__main__":
    show(hand, reference, inputs)
