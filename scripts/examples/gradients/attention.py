"""The gradients of scaled dot-product attention with a causal mask, derived by hand.

s = q kᵀ/√d, −∞ where the key comes later than the query;  a = softmax(s);  out = a v
L = ½ Σ (out − target)²
∂a_i/∂s_j = a_i (δ_ij − a_j), along a row of softmax
d_out = out − target
d_v = aᵀ d_out and d_a = d_out vᵀ, as in any product of matrices
d_s = a (d_a − Σ d_a a): d_a without its average weighted with a; 0 under the mask, where a is 0
d_q = d_s k/√d and d_k = d_sᵀ q/√d
"""

import numpy as np
import torch
from gallery import show

from lockstep import watch


def reference(q, k, v, target):
    later = torch.ones(len(q), len(k), dtype=torch.bool).triu(1)
    s = watch("s", q @ k.T / q.shape[1] ** 0.5)
    a = watch("a", torch.softmax(s.masked_fill(later, -torch.inf), dim=1))
    return ((a @ v - target) ** 2).sum() / 2


def hand(q, k, v, target):
    root = np.sqrt(np.array(q.shape[1], q.dtype))  # ()
    s = np.where(np.tri(len(q), len(k)), q @ k.T / root, -np.inf)  # (N, M)
    e = np.exp(s - s.max(axis=1, keepdims=True))  # (N, M)
    a = e / e.sum(axis=1, keepdims=True)  # (N, M)
    d_out = a @ v - target  # (N, n)
    d_a = d_out @ v.T  # (N, M)
    d_s = a * (d_a - (d_a * a).sum(axis=1, keepdims=True))  # (N, M)
    return {
        "target": -d_out,  # (N, n)
        "v": a.T @ d_out,  # (M, n)
        "a": d_a,  # (N, M)
        "s": d_s,  # (N, M)
        "q": d_s @ k / root,  # (N, d)
        "k": d_s.T @ q / root,  # (M, d)
    }


def inputs(random, N=4, M=4, d=6, n=3):
    shapes = dict(q=(N, d), k=(M, d), v=(M, n), target=(N, n))
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


if __name__ == "__main__":
    show(hand, reference, inputs)
