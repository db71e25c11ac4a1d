# einsum, in place, and a print in each step
import numpy as np


def step(x, y, W_h, b_h, W_o, b_o, lr):
    h = np.einsum("ni,hi->nh", x, W_h) + b_h
    np.negative(h, out=h)
    np.exp(h, out=h)
    h = 1 / (1 + h)
    o = 1 / (1 + np.exp(-np.einsum("nh,oh->no", h, W_o) - b_o))
    print("loss", ((o - y) ** 2).sum() / 2)
    e = (o - y) * (o - o**2)
    back = np.einsum("no,oh->nh", e, W_o) * (h - h**2)
    results = dict(grad_W_o=np.einsum("no,nh->oh", e, h), grad_b_o=e.sum(0))
    results.update(grad_W_h=np.einsum("nh,ni->hi", back, x), grad_b_h=back.sum(0))
    for name, old in (("W_h", W_h), ("b_h", b_h), ("W_o", W_o), ("b_o", b_o)):
        old -= lr * results[f"grad_{name}"]
        results[f"new_{name}"] = old
    return results
