# plain Python, one sample at a time
from math import exp


def step(x, y, W_h, b_h, W_o, b_o, lr):
    grad_W_h = [[0.0] * len(W_h[0]) for _ in W_h]
    grad_b_h = [0.0] * len(W_h)
    grad_W_o = [[0.0] * len(W_o[0]) for _ in W_o]
    grad_b_o = [0.0] * len(W_o)
    for sample, target in zip(x, y):
        h = []
        for weights, bias in zip(W_h, b_h):
            h.append(1 / (1 + exp(-sum(w * v for w, v in zip(weights, sample)) - bias)))
        o = []
        for weights, bias in zip(W_o, b_o):
            o.append(1 / (1 + exp(-sum(w * v for w, v in zip(weights, h)) - bias)))
        delta_o = [(o[k] - target[k]) * o[k] * (1 - o[k]) for k in range(len(o))]
        delta_h = []
        for j in range(len(h)):
            back = sum(delta_o[k] * W_o[k][j] for k in range(len(o)))
            delta_h.append(back * h[j] * (1 - h[j]))
        for k in range(len(o)):
            grad_b_o[k] += delta_o[k]
            for j in range(len(h)):
                grad_W_o[k][j] += delta_o[k] * h[j]
        for j in range(len(h)):
            grad_b_h[j] += delta_h[j]
            for i in range(len(sample)):
                grad_W_h[j][i] += delta_h[j] * sample[i]

    def down(old, gradient):
        return [w - lr * g for w, g in zip(old, gradient)]

    return {
        "grad_W_o": grad_W_o,
        "grad_b_o": grad_b_o,
        "grad_W_h": grad_W_h,
        "grad_b_h": grad_b_h,
        "new_W_o": [down(old, new) for old, new in zip(W_o, grad_W_o)],
        "new_b_o": down(b_o, grad_b_o),
        "new_W_h": [down(old, new) for old, new in zip(W_h, grad_W_h)],
        "new_b_h": down(b_h, grad_b_h),
    }
