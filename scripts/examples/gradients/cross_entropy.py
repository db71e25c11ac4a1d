"""The gradient of softmax cross-entropy, derived by hand.

p = softmax(z)
the loss of a row with label t is −log p_t = log Σ exp z_k − z_t
its derivative by z_k is exp z_k / Σ exp z_j − [k = t] = p_k − [k = t]
the mean over the rows divides by N
"""

import numpy as np
import torch
from gallery import show


def reference(z, label):
    return torch.nn.functional.cross_entropy(z, label)


def hand(z, label):
    e = np.exp(z - z.max(axis=1, keepdims=True))  # (N, n)
    p = e / e.sum(axis=1, keepdims=True)  # (N, n)
    p[np.arange(len(z)), label] -= 1  # (N, n)
    return {"z": p / len(z)}  # (N, n)


def inputs(random, N=8, n=5):
    return dict(z=3 * random.normal(size=(N, n)), label=random.integers(0, n, N))


if __name__ == "__main__":
    show(hand, reference, inputs)
