"""The gradient of log Σ exp, derived by hand.

l = log Σ exp z_j
∂l/∂z_k = exp z_k / Σ exp z_j: softmax
(l = m + log Σ exp(z_j − m) with m = max z is the same, and exp does not overflow)
"""

import numpy as np
import torch
from gallery import show


def reference(z, weight):
    return (torch.logsumexp(z, dim=1) * weight).sum()


def hand(z, weight):
    most = z.max(axis=1, keepdims=True)  # (N, 1)
    e = np.exp(z - most)  # (N, n)
    total = e.sum(axis=1, keepdims=True)  # (N, 1)
    return {
        "weight": (most + np.log(total))[:, 0],  # (N,)
        "z": weight[:, None] * e / total,  # (N, n)
    }


def inputs(random, N=6, n=7):
    return dict(z=4 * random.normal(size=(N, n)), weight=random.normal(size=N))


if __name__ == "__main__":
    show(hand, reference, inputs)
