# weights are (inputs, outputs), and everything has a name of its own
import numpy as np

NAMES = {
    "w1": "W1.T",
    "w2": "W2.T",
    "d2": "delta2",
    "d1": "delta1",
    "gw1": "grad_W1.T",
    "gw2": "grad_W2.T",
    "nw1": "new_W1.T",
    "nw2": "new_W2.T",
}


def sig(t):
    return 1.0 / (1.0 + np.exp(-t))


def step(x, y, w1, b1, w2, b2, lr):
    a1 = sig(np.dot(x, w1) + b1)
    a2 = sig(np.dot(a1, w2) + b2)
    d2 = (a2 - y) * a2 * (1 - a2)
    d1 = np.dot(d2, w2.T) * a1 * (1 - a1)
    gw2, gw1 = np.dot(a1.T, d2), np.dot(x.T, d1)
    grad_b2, grad_b1 = np.sum(d2, 0), np.sum(d1, 0)
    return dict(
        d2=d2,
        d1=d1,
        gw1=gw1,
        gw2=gw2,
        grad_b1=grad_b1,
        grad_b2=grad_b2,
        nw1=w1 - lr * gw1,
        nw2=w2 - lr * gw2,
        new_b1=b1 - lr * grad_b1,
        new_b2=b2 - lr * grad_b2,
    )
