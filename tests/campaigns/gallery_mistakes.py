"""One small edit each, planted into copies of the gallery: what check_gradients makes of them.

`python -m tests.campaigns.gallery_mistakes` prints every mistake with the name it gets, and how many were found, named, misnamed.
A mistake that the catalogue has no name for is `unknown`: named is then to say so, misnamed is any other name.
"""

import sys
import types

import numpy as np

from lockstep import GradientMismatch, check_gradients
from tests.gallery import FOLDER, expression

CURVED = [  # not quadratic, so that difference quotients are wrong beyond rounding
    "attention",
    "batch_norm",
    "cross_entropy",
    "gelu",
    "gelu_tanh",
    "layer_norm",
    "logsumexp",
    "lstm_cell",
    "rms_norm",
    "swiglu",
    "tied_weights",
    "unit_vectors",
]
# of which file, what is written there, what instead, the name that it deserves
PLANTED = [
    ("attention", '"target": -d_out', '"target": d_out', "sign-flipped"),
    ("attention", "d_s @ k / root", "d_s @ k", "scaled-by-constant"),
    ("attention", "d_s.T @ q / root", "d_s.T @ q / root**2", "scaled-by-constant"),
    ("attention", "d_s.T @ q", "d_s @ q", "transposed-gradient"),
    ("attention", "(d_a - (d_a * a).sum(axis=1, keepdims=True))", "d_a", "term-missing"),
    (
        "attention",
        "(d_a * a).sum(axis=1, keepdims=True)",
        "(d_a * a).mean(axis=1, keepdims=True)",
        "scaled-by-constant",
    ),
    ("attention", "(d_a - (d_a * a)", "(d_a + (d_a * a)", "sign-flipped"),
    ("attention", "a.T @ d_out", "a @ d_out", "transposed-weights"),
    (
        "attention",
        "np.tri(len(q), len(k))",
        "np.tri(len(q), len(k), -1) + np.eye(len(q), len(k))[::-1]",
        "unknown",
    ),
    ("attention", "q @ k.T / root, -np.inf", "q @ k.T, -np.inf", "scaled-by-constant"),
    ("batch_norm", "- x_hat * (g * x_hat).mean(axis=0)", "", "term-missing"),
    ("batch_norm", "g - g.mean(axis=0) - x_hat", "g - x_hat", "term-missing"),
    (
        "batch_norm",
        "r * (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0))",
        "r * g",
        "term-missing",
    ),
    (
        "batch_norm",
        "((x - mean) ** 2).mean(axis=0)",
        "((x - mean) ** 2).sum(axis=0) / (len(x) - 1)",
        "scaled-by-constant",
    ),
    ("batch_norm", '"bias": d_y.sum(axis=0)', '"bias": d_y.mean(axis=0)', "scaled-by-constant"),
    ("batch_norm", '"bias": d_y.sum(axis=0)', '"bias": d_y', "wrong-shape"),
    ("batch_norm", "g = d_y * weight", "g = d_y", "factor-missing"),
    ("convolution", "d_x[:, :, k : k + length] += np", "d_x[:, :, k : k + length] = np", "unknown"),
    (
        "convolution",
        '"b": d_y.sum(axis=(0, 2))',
        '"b": d_y.mean(axis=(0, 2))',
        "scaled-by-constant",
    ),
    ("convolution", '"b": d_y.sum(axis=(0, 2))', '"b": d_y.sum(axis=0)', "wrong-shape"),
    ("convolution", '"w": d_w', '"w": d_w / len(x)', "scaled-by-constant"),
    ("convolution", '"w": d_w', '"w": d_w[:, :, ::-1]', "wrong-index"),
    (
        "convolution",
        "for k in range(kernel):\n        d_w",
        "for k in range(kernel - 1):\n        d_w",
        "partial-sum",
    ),
    ("convolution_as_matrices", '"b": d_Y.sum(axis=0)', '"b": d_Y[0]', "unknown"),
    ("convolution_as_matrices", '"w": (d_Y.T @ X)', '"w": 2 * (d_Y.T @ X)', "scaled-by-constant"),
    (
        "convolution_as_matrices",
        '"w": (d_Y.T @ X).reshape(w.shape)',
        '"w": d_Y.T @ X',
        "wrong-shape",
    ),
    ("cross_entropy", "p / len(z)", "p", "scaled-by-constant"),
    ("cross_entropy", "p / len(z)", "p / z.size", "scaled-by-constant"),
    ("cross_entropy", "p / len(z)", "-p / len(z)", "sign-flipped"),
    ("cross_entropy", "label] -= 1", "label] -= 0", "term-missing"),
    ("cross_entropy", "p[np.arange(len(z)), label] -= 1", "p[:, label] -= 1", "unknown"),
    ("cross_entropy", "p / len(z)}", "(p / len(z)).T}", "transposed-gradient"),
    (
        "embedding",
        "np.add.at(d_table, token, d_rows)",
        "d_table[token] += d_rows",
        "one-sample-only",
    ),
    (
        "embedding",
        "d_rows = table[token] - target",
        "d_rows = 2 * (table[token] - target)",
        "scaled-by-constant",
    ),
    ("embedding", '"table": d_table', '"table": d_table / len(token)', "scaled-by-constant"),
    ("gelu", "weight * (Phi + x * phi)", "weight * Phi", "term-missing"),
    ("gelu", "weight * (Phi + x * phi)", "weight * x * phi", "term-missing"),
    ("gelu", "weight * (Phi + x * phi)", "weight * (Phi - x * phi)", "sign-flipped"),
    (
        "gelu",
        "Phi = (1 + erf(x / math.sqrt(2))) / 2",
        "Phi = (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2",
        "unknown",
    ),
    ("gelu", "math.sqrt(2 * math.pi)", "math.sqrt(math.pi)", "scaled-by-constant"),
    ("gelu", '"weight": x * Phi', '"weight": x * Phi * 2', "scaled-by-constant"),
    ("gelu_tanh", "3 * A * x * x", "2 * A * x * x", "term-missing"),
    ("gelu_tanh", "(1 - t * t) * d_u / 2", "(1 - t) * d_u / 2", "wrong-activation-derivative"),
    ("gelu_tanh", "(1 - t * t) * d_u / 2", "d_u / 2", "missing-activation-derivative"),
    ("gelu_tanh", "(1 - t * t) * d_u / 2", "(1 - t * t) * d_u", "scaled-by-constant"),
    (
        "gelu_tanh",
        "A = math.sqrt(2 / math.pi), 0.044715",
        "A = math.sqrt(2 / math.pi), 0.0447",
        "unknown",
    ),
    (
        "layer_norm",
        "d_hat - through_mean - through_variance",
        "d_hat - through_mean",
        "term-missing",
    ),
    (
        "layer_norm",
        "d_hat - through_mean - through_variance",
        "d_hat - through_variance",
        "term-missing",
    ),
    (
        "layer_norm",
        "d_hat - through_mean - through_variance",
        "d_hat - through_mean + through_variance",
        "sign-flipped",
    ),
    ("layer_norm", "/ x.size  # (N, n)\n    d_hat", "# (N, n)\n    d_hat", "scaled-by-constant"),
    ("layer_norm", "2 * (x_hat * weight", "(x_hat * weight", "scaled-by-constant"),
    (
        "layer_norm",
        "((x - mean) ** 2).mean(axis=1, keepdims=True)",
        "x.var(axis=1, keepdims=True, ddof=1)",
        "scaled-by-constant",
    ),
    ("layer_norm", "d_hat = d_out * weight", "d_hat = d_out", "factor-missing"),
    (
        "layer_norm",
        '"bias": d_out.sum(axis=0)',
        '"bias": d_out.sum(axis=0, keepdims=True)',
        "wrong-shape",
    ),
    ("layer_norm", "+ EPS", "", "term-missing"),
    (
        "logsumexp",
        "weight[:, None] * e / total",
        "weight[:, None] * e",
        "missing-activation-derivative",
    ),
    ("logsumexp", "weight[:, None] * e / total", "e / total", "factor-missing"),
    ("logsumexp", "(most + np.log(total))[:, 0]", "np.log(total)[:, 0]", "term-missing"),
    ("lstm_cell", "d_c_new * g * i * (1 - i)", "d_c_new * g", "missing-activation-derivative"),
    (
        "lstm_cell",
        "d_c_new * i * (1 - g * g)",
        "d_c_new * i * (1 - g)",
        "wrong-activation-derivative",
    ),
    ("lstm_cell", "* (1 - t * t) + 1", "* (1 - t * t)", "term-missing"),
    ("lstm_cell", "o * (1 - t * t) + 1", "o + 1", "missing-activation-derivative"),
    ("lstm_cell", "d_c_new * c * f * (1 - f)", "d_c_new * h * f * (1 - f)", "wrong-layer-input"),
    ("lstm_cell", '"c": d_c_new * f', '"c": d_c_new * i', "factor-missing"),
    ("lstm_cell", '"b": d_z.sum(axis=0)', '"b": d_z.mean(axis=0)', "scaled-by-constant"),
    (
        "max_pooling",
        "first = windows.argmax(axis=3)[..., None]",
        "first = windows.argmin(axis=3)[..., None]",
        "unknown",
    ),
    (
        "max_pooling",
        "d_windows = np.zeros_like(windows)",
        "d_windows = np.ones_like(windows)",
        "unknown",
    ),
    ("rms_norm", "r**3 * x * (g * x).mean", "r**2 * x * (g * x).mean", "factor-missing"),
    ("rms_norm", " - r**3 * x * (g * x).mean(axis=1, keepdims=True)", "", "term-missing"),
    (
        "rms_norm",
        "(g * x).mean(axis=1, keepdims=True)",
        "(g * x).sum(axis=1, keepdims=True)",
        "scaled-by-constant",
    ),
    ("rms_norm", "g - r**3", "g + r**3", "sign-flipped"),
    ("rms_norm", "(d_y * x * r).sum(axis=0)", "(d_y * x).sum(axis=0)", "factor-missing"),
    ("swiglu", "(s + a * s * (1 - s))", "s", "term-missing"),
    ("swiglu", "d_a @ W.T + d_b @ V.T", "d_a @ W.T", "term-missing"),
    ("swiglu", "d_a @ W.T + d_b @ V.T", "d_b @ V.T", "term-missing"),
    ("swiglu", "d_a @ W.T + d_b @ V.T", "d_a @ W.T - d_b @ V.T", "sign-flipped"),
    ("swiglu", "a * s * (1 - s)", "a * (1 - s)", "wrong-activation-derivative"),
    ("swiglu", '"W": x.T @ d_a', '"W": d_a.T @ x', "transposed-gradient"),
    ("tied_weights", "h.T @ d_o + d_z.T @ x", "h.T @ d_o", "term-missing"),
    ("tied_weights", "h.T @ d_o + d_z.T @ x", "d_z.T @ x", "term-missing"),
    ("tied_weights", "d_z @ W - d_o", "d_z @ W", "term-missing"),
    ("tied_weights", "(d_o @ W.T) * (1 - h * h)", "(d_o @ W.T)", "missing-activation-derivative"),
    ("tied_weights", "(1 - h * h)", "(1 - np.tanh(h) ** 2)", "derivative-at-wrong-point"),
    (
        "unit_vectors",
        "target - u * (u * target).sum(axis=1, keepdims=True)",
        "target",
        "term-missing",
    ),
    ("unit_vectors", "keepdims=True)) / length", "keepdims=True))", "factor-missing"),
    ("unit_vectors", "(target - u *", "(target + u *", "sign-flipped"),
    ("weight_decay", "x.T @ d_o + decay * w", "x.T @ d_o", "term-missing"),
    ("weight_decay", "x.T @ d_o + decay * w", "x.T @ d_o + 2 * decay * w", "scaled-by-constant"),
    ("weight_decay", "x.T @ d_o + decay * w", "x.T @ d_o - decay * w", "sign-flipped"),
    ("weight_decay", '"decay": (w * w).sum() / 2', '"decay": (w * w).sum()', "scaled-by-constant"),
    (
        "weight_decay",
        "2 * (x @ w + b - y) / len(y)",
        "2 * (x @ w + b - y) / x.size",
        "scaled-by-constant",
    ),
    (
        "weight_decay",
        "2 * (x @ w + b - y) / len(y)",
        "2 * (y - x @ w - b) / len(y)",
        "sign-flipped",
    ),
    ("weight_decay", '"b": d_o.sum()', '"b": d_o', "wrong-shape"),
]


def planted(name, written, instead):
    """The hand of the gallery's file with one edit."""
    source = (FOLDER / f"{name}.py").read_text()
    assert source.count(written) == 1, (
        f"{name}: {written!r} stands there {source.count(written)} times"
    )
    module = types.ModuleType(f"{name}_mistaken")
    exec(compile(source.replace(written, instead), f"{name}_mistaken.py", "exec"), module.__dict__)
    return module.hand


def by_difference_quotients(name, h=1e-3):
    """A hand that takes central differences of the reference, of the first floating-point input."""
    import torch

    it = expression(name)

    def hand(**given):
        wanted = next(key for key, array in given.items() if array.dtype.kind == "f")
        gradient = np.zeros_like(given[wanted])
        for i in np.ndindex(gradient.shape):
            ends = []
            for sign in (1, -1):
                moved = {key: array.copy() for key, array in given.items()}
                moved[wanted][i] += sign * h
                ends.append(
                    float(
                        it.reference(**{key: torch.tensor(array) for key, array in moved.items()})
                    )
                )
            gradient[i] = (ends[0] - ends[1]) / (2 * h)
        return {wanted: gradient}

    return hand


def diagnosed(name, hand, seed=0):
    """The first diagnosis; None where nothing was found."""
    it = expression(name)
    try:
        check_gradients(hand, it.reference, **it.inputs(np.random.default_rng(seed)))
    except GradientMismatch as error:
        return error.diagnoses[0]
    return None


def main():
    found = named = misnamed = 0
    cases = [
        (name, f"{written}  →  {instead}", planted(name, written, instead), deserved)
        for name, written, instead, deserved in PLANTED
    ]
    cases += [
        (name, "difference quotients", by_difference_quotients(name), "finite-differences")
        for name in CURVED
    ]
    for name, edit, hand, deserved in cases:
        got = diagnosed(name, hand)
        found += got is not None
        named += got is not None and got["mistake"] == deserved
        misnamed += got is not None and got["mistake"] not in (deserved, "unknown")
        mark = " " if got and got["mistake"] == deserved else "!"
        print(
            f"{mark} {name}: {' '.join(edit.split())}\n      {deserved}: {got['mistake'] + ', ' + got['says'] if got else 'NOT FOUND'}"
        )
    print(
        f"{len(cases)} planted: {found} found, {named} named as they deserve, {misnamed} misnamed"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
