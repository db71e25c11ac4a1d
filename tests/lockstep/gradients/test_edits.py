"""Naming by edits: every kind of mistake gets its name, and what is none of them gets none."""

import time

import numpy as np
import pytest
import torch

from lockstep import watch
from lockstep.gradients import edits
from lockstep.gradients.edits import search
from lockstep.gradients.graph import intermediates, traced, traced_as_it_is
from lockstep.gradients.measured import same_draws
from lockstep.gradients.mistakes import Wrong

F = torch.nn.functional


def right(reference, inputs, wanted=None):
    """PyTorch's gradients by name, of inputs and marks."""
    wanted = inputs if wanted is None else wanted
    given = {
        name: torch.tensor(array, requires_grad=name in wanted and array.dtype.kind == "f")
        for name, array in inputs.items()
    }
    with same_draws() as marks:
        loss = reference(**given)
        tensors = {name: t for name, t in (given | marks).items() if t.requires_grad}
    found = torch.autograd.grad(loss.sum(), list(tensors.values()))
    return {name: g.numpy() for name, g in zip(tensors, found, strict=True)}


def searched(reference, own, inputs, seconds=60.0, wanted=None, near=1e-12):
    """What `search` finds for gradients by hand, and why it could not search."""
    wanted = [name for name in inputs if inputs[name].dtype.kind == "f"] if wanted is None else wanted
    values = right(reference, inputs, wanted)
    wrong = [
        Wrong(name, array, values[name], near * (1e-3 + np.abs(values[name])).astype(np.float64))
        for name, array in own.items()
    ]
    assert all(it.off.any() for it in wrong), "the gradients by hand are right"
    return search(wrong, reference, inputs, wanted, time.monotonic() + seconds)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def matrices(seed=0, **shapes):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


XG = dict(x=(4, 3), g=(4, 3))
SQUARE = dict(x=(4, 4), g=(4, 4))
LAYER = dict(x=(5, 3), W=(3, 3), V=(3, 3), g=(5, 3))
FUNCTIONS = {
    "sigmoid": lambda x, g: (torch.sigmoid(x) * g).sum(),
    "tanh": lambda x, g: (torch.tanh(x) * g).sum(),
    "relu": lambda x, g: (torch.relu(x) * g).sum(),
    "softmax": lambda x, g: (torch.softmax(x, 1) * g).sum(),
}


def network(x, W, V, g):
    h = torch.tanh(x @ W)
    return (torch.tanh(h @ V) * g).sum()


def by_hand(slope_h=None, slope_o=None, back=None, left=None):
    """The gradients of `network`, of which parts are replaced."""

    def hand(x, W, V, g):
        h = np.tanh(x @ W)
        o = np.tanh(h @ V)
        d_o = g * (1 - o * o if slope_o is None else slope_o(h, o, x @ W))
        d_h = d_o @ (V.T if back is None else back(W, V))
        d_z = d_h * (1 - h * h if slope_h is None else slope_h(h, o, x @ W))
        return {"W": (x if left is None else left(h)).T @ d_z}

    return hand


def mean_and_sum(x, g):
    return ((x - x.mean(1, keepdim=True)) * g).sum() / len(x)


def masked(x, m, g):
    return (torch.where(m > 0, x * x, 0.0) * g).sum()


def rows(table, token, g):
    return (table[token] * g).sum()


def d_rows(wins):
    def hand(table, token, g):
        d = np.zeros_like(table)
        for k in wins(range(len(token))):
            d[token[k]] = g[k]
        return {"table": d}

    return hand


TOKENS = dict(matrices(table=(5, 3), g=(6, 3)), token=np.array([0, 2, 2, 4, 0, 1]))

CASES = {
    "a slope that is left out": (
        "missing-activation-derivative",
        "the derivative of `tanh` in test_edits.py",
        network,
        by_hand(slope_o=lambda h, o, z: 1),
        LAYER,
    ),
    "1 − tanh for 1 − tanh²": (
        "wrong-activation-derivative",
        "1 − tanh in place of the derivative of `tanh`",
        network,
        by_hand(slope_h=lambda h, o, z: 1 - h),
        LAYER,
    ),
    "the slope of another layer": (
        "wrong-layer-derivative",
        "is taken at the result of `tanh`",
        network,
        by_hand(slope_h=lambda h, o, z: 1 - o * o),
        LAYER,
    ),
    "the slope at what goes in": (
        "derivative-at-wrong-point",
        "at what goes in, by its formula for the result",
        network,
        by_hand(slope_h=lambda h, o, z: 1 - z * z),
        LAYER,
    ),
    "the slope at the result's result": (
        "derivative-at-wrong-point",
        "taken at its result, not at what goes in",
        network,
        by_hand(slope_h=lambda h, o, z: 1 - np.tanh(h) ** 2),
        LAYER,
    ),
    "weights untransposed": (
        "transposed-weights",
        "V of",
        network,
        by_hand(back=lambda W, V: V),
        LAYER,
    ),
    "the weights of another layer": (
        "wrong-weights",
        "W in place of V",
        network,
        by_hand(back=lambda W, V: W.T),
        LAYER,
    ),
    "the input of another layer": (
        "wrong-layer-input",
        "in place of x",
        network,
        by_hand(left=lambda h: h),
        LAYER,
    ),
    "x (1 − x) for σ'": (
        "derivative-at-wrong-point",
        "`sigmoid`",
        FUNCTIONS["sigmoid"],
        lambda x, g: {"x": g * x * (1 - x)},
        XG,
    ),
    "1 − σ for σ'": (
        "wrong-activation-derivative",
        "1 − sigmoid in place of",
        FUNCTIONS["sigmoid"],
        lambda x, g: {"x": g * (1 - sigmoid(x))},
        XG,
    ),
    "relu without its mask": (
        "missing-activation-derivative",
        "`relu`",
        FUNCTIONS["relu"],
        lambda x, g: {"x": g},
        XG,
    ),
    "the diagonal of softmax's Jacobian": (
        "partial-sum",
        "only the diagonal of its Jacobian",
        FUNCTIONS["softmax"],
        lambda x, g: {"x": g * softmax(x) * (1 - softmax(x))},
        XG,
    ),
    "a term that is missing": (
        "term-missing",
        "lacks the term through `mean`",
        mean_and_sum,
        lambda x, g: {"x": g / 4},
        XG,
    ),
    "a term there twice": (
        "scaled-by-constant",
        "counts 2 times",
        mean_and_sum,
        lambda x, g: {"x": (g - 2 * g.mean(1, keepdims=True)) / 4},
        XG,
    ),
    "a term with the wrong sign": (
        "sign-flipped",
        "has the wrong sign",
        mean_and_sum,
        lambda x, g: {"x": (g + g.mean(1, keepdims=True)) / 4},
        XG,
    ),
    "a mean along the wrong axis": (
        "wrong-axis",
        "wrong axis",
        mean_and_sum,
        lambda x, g: {"x": (g - g.mean(1)) / 4},
        SQUARE,
    ),
    "a sum along the wrong axis": (
        "wrong-axis",
        "axis 0 in place of axis 1",
        lambda x, g, b: ((x + b[:, None]) * g).sum(),
        lambda x, g, b: {"b": g.sum(0)},
        SQUARE | dict(b=(4,)),
    ),
    "a factor that is left out": (
        "factor-missing",
        "m, a factor of `x * m`",
        lambda x, m, g, W: ((x + (x * m) @ W) * g).sum(),
        lambda x, m, g, W: {"x": g + g @ W.T},
        XG | dict(m=(4, 3), W=(3, 3)),
    ),
    "a factor there twice": (
        "factor-twice",
        "there twice",
        lambda x, m, g: ((x + (x * m).sin()) * g).sum(),
        lambda x, m, g: {"x": g + g * np.cos(x * m) * m * m},
        XG | dict(m=(4, 3)),
    ),
    "a quotient without its divisor": (
        "factor-missing",
        "1/",
        lambda x, g: (x / x.norm(dim=1, keepdim=True) * g).sum(),
        lambda x, g: {
            "x": g - x * (g * x).sum(1, keepdims=True) / (x * x).sum(1, keepdims=True)
        },
        XG,
    ),
    "a mask that is always on": (
        "mask",
        "the mask of `where`",
        masked,
        lambda x, m, g: {"x": 2 * x * g},
        XG | dict(m=(4, 3)),
    ),
    "one row only": (
        "one-sample-only",
        "only the first",
        lambda x, W, g: (torch.sin(x @ W) * g).sum(),
        lambda x, W, g: {"W": np.outer(x[0], (g * np.cos(x @ W))[0])},
        dict(x=(5, 3), W=(3, 2), g=(5, 2)),
    ),
    "all rows but the last": (
        "partial-sum",
        "all but the last",
        lambda x, W, g: (torch.sin(x @ W) * g).sum(),
        lambda x, W, g: {"W": x[:-1].T @ (g * np.cos(x @ W))[:-1]},
        dict(x=(5, 3), W=(3, 2), g=(5, 2)),
    ),
    "the first row for all": (
        "one-sample-only",
        "the first row of g",
        lambda x, g: (torch.sin(x) * g).sum(),
        lambda x, g: {"x": np.cos(x) * g[:1]},
        XG,
    ),
    "rows shifted by one": (
        "wrong-index",
        "shifted by one",
        lambda x, g: (torch.sin(x) * g).sum(),
        lambda x, g: {"x": np.cos(x) * np.roll(g, 1, 0)},
        XG,
    ),
    "the wrong row": (
        "wrong-index",
        "off by one",
        lambda x, g: (x[1].sin() * g).sum(),
        lambda x, g: {"x": np.stack([0 * g, 0 * g, g * np.cos(x[1]), 0 * g])},
        dict(x=(4, 3), g=(3,)),
    ),
    "the last one wins": ("one-sample-only", "the last one", rows, d_rows(iter), TOKENS),
    "the first one wins": ("one-sample-only", "the first one", rows, d_rows(reversed), TOKENS),
    "an incoming gradient transposed": (
        "transposed-gradient",
        "the incoming gradient of `A @ B`",
        lambda A, B, g: ((A @ B).sin() * g).sum(),
        lambda A, B, g: {"B": A.T @ (g * np.cos(A @ B)).T},
        dict(A=(4, 4), B=(4, 4), g=(4, 4)),
    ),
    "an ε that is left out of the forward pass": (
        "term-missing",
        "the constant 0.01 of",
        lambda x, g: (x / (x.var(1, keepdim=True) + 0.01).sqrt() * g).sum(),
        lambda x, g: {"g": x / x.std(1, keepdims=True, ddof=1)},
        XG,
    ),
    "n for n − 1 in the forward pass": (
        "scaled-by-constant",
        "divides by n",
        lambda x, g: (x / (x.var(1, keepdim=True, correction=1) + 0.01).sqrt() * g).sum(),
        lambda x, g: {"g": x / np.sqrt(x.var(1, keepdims=True) + 0.01)},
        XG,
    ),
    "an activation that the forward pass lacks": (
        "activation-forgotten",
        "`relu`",
        lambda x, W, g: (torch.relu(x @ W) @ W * g).sum(),
        lambda x, W, g: {"g": x @ W @ W},
        dict(x=(5, 3), W=(3, 3), g=(5, 3)),
    ),
    "a conjugate that is left out": (
        "conjugate",
        "a conjugate",
        lambda x, y: (torch.complex(x, y) * torch.complex(y, x * x)).exp().abs().sum(),
        None,
        dict(x=(3,), y=(3,)),
    ),
    "two mistakes": (
        "missing-activation-derivative",
        "; and ",
        network,
        by_hand(slope_o=lambda h, o, z: 1, back=lambda W, V: V),
        LAYER,
    ),
}
CASES.pop("a conjugate that is left out")


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_gets_its_name_and_its_place(case):
    mistake, words, reference, hand, given = CASES[case]
    inputs = given if isinstance(next(iter(given.values())), np.ndarray) else matrices(**given)
    found, why = searched(reference, hand(**inputs), inputs)
    assert why == ""
    assert {name: it.mistake for name, it in found.items()} == dict.fromkeys(found, mistake)
    says = next(iter(found.values())).says
    assert words in says
    assert "\0" not in says
