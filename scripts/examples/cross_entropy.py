"""Softmax cross-entropy's gradient, derived by hand.

With p = softmax(z) the loss of a row is −log p_t = log Σ exp z_k − z_t, so its derivative by z_k is p_k − [k = t].
The mean over the rows divides by N.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from lockstep import check_gradients  # noqa: E402


def reference(z, label):
    return torch.nn.functional.cross_entropy(z, label)


def hand(z, label):
    e = np.exp(z - z.max(axis=1, keepdims=True))  # (N, n)
    p = e / e.sum(axis=1, keepdims=True)  # (N, n)
    p[np.arange(len(z)), label] -= 1  # (N, n)
    return {"z": p / len(z)}  # (N, n)


def inputs(random):
    return dict(z=3 * random.normal(size=(8, 5)), label=random.integers(0, 5, 8))


if __name__ == "__main__":
    print(check_gradients(hand, reference, **inputs(np.random.default_rng(0))))
