"""Ten derivations as a student might write them, each with one slip, which stands beside it.

They were written before the naming was tried on them.
`python -m tests.campaigns.students.derivations` reports what it says.
"""

import numpy as np

from lockstep import compare

BATCH = {"sizes": "3-4-2", "samples": 5, "hidden_activation": "sigmoid", "seed": 4}
SCALARS = {"hidden_activation": "sigmoid", "output_activation": "sigmoid", "seed": 4}


def s(z):
    return 1 / (1 + np.exp(-z))


def forgot_the_hidden_bias(W_h, b_h, W_o, b_o, x, y, lr):
    h = s(x @ W_h.T)
    o = h @ W_o.T + b_o
    delta_o = 2 * (o - y) / o.size
    return dict(o=o, grad_W_o=delta_o.T @ h)


def divided_by_samples_only(W_h, b_h, W_o, b_o, x, y, lr):
    h = s(x @ W_h.T + b_h)
    o = h @ W_o.T + b_o
    delta_o = 2 * (o - y) / len(x)
    delta_h = delta_o @ W_o * h * (1 - h)
    return dict(
        grad_W_o=delta_o.T @ h,
        grad_b_o=delta_o.sum(0),
        grad_W_h=delta_h.T @ x,
        grad_b_h=delta_h.sum(0),
    )


def used_the_input_in_the_derivative(W_h, b_h, W_o, b_o, x, y, lr):
    z_h = x @ W_h.T + b_h
    h = s(z_h)
    o = h @ W_o.T + b_o
    delta_o = 2 * (o - y) / o.size
    delta_h = delta_o @ W_o * z_h * (1 - z_h)
    return dict(h=h, o=o, delta_o=delta_o, delta_h=delta_h)


def kept_only_the_last_sample(W_h, b_h, W_o, b_o, x, y, lr):
    gradient = np.zeros_like(W_o)
    for row, target in zip(x, y, strict=True):
        h = s(W_h @ row + b_h)
        o = W_o @ h + b_o
        gradient = np.outer(2 * (o - target) / y.size, h)
    return dict(grad_W_o=gradient)


def subtracted_the_other_way_round(w31, w41, h1, h2, b3, y1, lr):
    z_o1 = w31 * h1 + w41 * h2 + b3
    o1 = s(z_o1)
    return dict(z_o1=z_o1, o1=o1, delta_o1=(y1 - o1) * o1 * (1 - o1))


def swapped_the_weights_on_the_way_back(w31, w41, w32, w42, delta_o1, delta_o2, h1, h2):
    delta_h1 = (delta_o1 * w31 + delta_o2 * w41) * h1 * (1 - h1)
    delta_h2 = (delta_o1 * w32 + delta_o2 * w42) * h2 * (1 - h2)
    return dict(delta_h1=delta_h1, delta_h2=delta_h2)


def added_the_gradient(W_o, b_o, delta_o, h, lr):
    return dict(new_W_o=W_o + lr * delta_o.T @ h, new_b_o=b_o + lr * delta_o.sum(0))


def regularized_out_of_habit(W_h, W_o, delta_h, delta_o, x, h, lr):
    return dict(grad_W_h=delta_h.T @ x + 1e-3 * W_h, grad_W_o=delta_o.T @ h + 1e-3 * W_o)


def clipped_the_error(W_o, h, o, y):
    delta_o = 2 * np.clip(o - y, -0.5, 0.5) / o.size
    return dict(delta_o=delta_o, grad_W_o=delta_o.T @ h)


def updated_the_weights_first(W_h, b_h, W_o, b_o, x, y, lr):
    h = s(x @ W_h.T + b_h)
    o = h @ W_o.T + b_o
    delta_o = 2 * (o - y) / o.size
    W_o -= lr * delta_o.T @ h
    delta_h = delta_o @ W_o * h * (1 - h)
    W_h -= lr * delta_h.T @ x
    return dict(new_W_o=W_o, new_W_h=W_h)


# derivation, problem, the name it should get (None: no name of the catalogue fits, so unknown)
DERIVATIONS = (
    (forgot_the_hidden_bias, BATCH, "bias-forgotten"),
    (divided_by_samples_only, BATCH, "scaled-by-constant"),
    (used_the_input_in_the_derivative, BATCH, "derivative-at-wrong-point"),
    (kept_only_the_last_sample, BATCH, "one-sample-only"),
    (subtracted_the_other_way_round, SCALARS, "sign-flipped"),
    (swapped_the_weights_on_the_way_back, SCALARS, "transposed-weights"),
    (added_the_gradient, BATCH, "update-sign"),
    (regularized_out_of_habit, BATCH, "weight-decay"),
    (clipped_the_error, BATCH, None),
    (updated_the_weights_first, BATCH, "updated-weights-used"),
)


def names(derivation, problem):
    """The verdict and the names that the referee gives."""
    result = compare(derivation, problem | {"steps": 3, "show": "none"})
    return result.verdict, [diagnosis["mistake"] for diagnosis in result.diagnoses]


if __name__ == "__main__":
    for derivation, problem, name in DERIVATIONS:
        print(f"{derivation.__name__:38}{name or 'nothing known':28}", *names(derivation, problem))
