"""GELU's gradient, derived by hand.

y = x Φ(x), with Φ(x) = (1 + erf(x/√2))/2 the normal distribution function
Φ' = φ, φ(x) = exp(−x²/2)/√(2π) the density
y' = Φ + x φ
(not the gradient of the version by tanh, which differs from it in the fourth digit)
"""

import math

import numpy as np
import torch
from gallery import show

erf = np.vectorize(math.erf, otypes=[float])


def reference(x, weight):
    return (torch.nn.functional.gelu(x) * weight).sum()


def hand(x, weight):
    Phi = (1 + erf(x / math.sqrt(2))) / 2  # (n,)
    phi = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)  # (n,)
    return {
        "weight": x * Phi,  # (n,)
        "x": weight * (Phi + x * phi),  # (n,)
    }


def inputs(random, n=20):
    return dict(x=2 * random.normal(size=n), weight=random.normal(size=n))


if __name__ == "__main__":
    show(hand, reference, inputs)
