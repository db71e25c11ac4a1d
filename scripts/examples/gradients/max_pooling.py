"""The gradient of max pooling, derived by hand.

y = the largest element of a window
∂y/∂x = 1 for that element and 0 for the others of the window
(where several are equally large the maximum has a kink; PyTorch and argmax take the first of them)
"""

import numpy as np
import torch
from gallery import show


def reference(x, weight):
    return (torch.nn.functional.max_pool1d(x, 3) * weight).sum()


def hand(x, weight):
    windows = x.reshape(*x.shape[:2], -1, 3)  # (N, c, T, 3)
    first = windows.argmax(axis=3)[..., None]  # (N, c, T, 1)
    d_windows = np.zeros_like(windows)  # (N, c, T, 3)
    np.put_along_axis(d_windows, first, weight[..., None], axis=3)
    return {
        "weight": windows.max(axis=3),  # (N, c, T)
        "x": d_windows.reshape(x.shape),  # (N, c, 3·T)
    }


def inputs(random, N=2, c=3, T=4):
    x = random.normal(size=(N, c, 3 * T))
    x[0, 0, :3] = 1.5  # a window of equals
    return dict(x=x, weight=random.normal(size=(N, c, T)))


if __name__ == "__main__":
    show(hand, reference, inputs)
