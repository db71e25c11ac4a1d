"""The gradient of GELU's version by tanh, derived by hand.

y = x (1 + t)/2, with t = tanh u and u = √(2/π) (x + 0.044715 x³)
u' = √(2/π) (1 + 3·0.044715 x²)
t' = (1 − t²) u'
y' = (1 + t)/2 + x t'/2
"""

import math

import numpy as np
import torch
from gallery import show

C, A = math.sqrt(2 / math.pi), 0.044715


def reference(x, weight):
    return (torch.nn.functional.gelu(x, approximate="tanh") * weight).sum()


def hand(x, weight):
    t = np.tanh(C * (x + A * x**3))  # (n,)
    d_u = C * (1 + 3 * A * x * x)  # (n,)
    return {
        "weight": x * (1 + t) / 2,  # (n,)
        "x": weight * ((1 + t) / 2 + x * (1 - t * t) * d_u / 2),  # (n,)
    }


def inputs(random, n=20):
    return dict(x=2 * random.normal(size=n), weight=random.normal(size=n))


if __name__ == "__main__":
    show(hand, reference, inputs)
