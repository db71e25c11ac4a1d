"""Naming by edits: every kind of mistake gets its name, and what is none of them gets none."""

import itertools
import time

import numpy as np
import pytest
import torch

from lockstep import watch
from lockstep.gradients import edits
from lockstep.gradients.edits import search
from lockstep.gradients.graph import traced, traced_as_it_is
from lockstep.gradients.measured import Check, same_draws
from lockstep.gradients.wrong import Wrong

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
    found = torch.autograd.grad(loss.sum(), list(tensors.values()), allow_unused=True)
    return {name: g.numpy() for name, g in zip(tensors, found, strict=True) if g is not None}


def searched(reference, own, inputs, seconds=60.0, wanted=None, near=1e-12):
    """What `search` finds for gradients by hand, and why it could not search."""
    wanted = (
        [name for name in inputs if inputs[name].dtype.kind == "f"] if wanted is None else wanted
    )
    values = right(reference, inputs, wanted)
    wrong = [
        Wrong(name, array, values[name], near * (1e-3 + np.abs(values[name])).astype(np.float64))
        for name, array in own.items()
    ]
    assert all(it.off.any() for it in wrong), "the gradients by hand are right"
    it = Check(None, reference, inputs, wanted, wanted)
    return search(wrong, it, time.monotonic() + seconds)


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


def d_rms_norm(x, g):
    """With r² in place of r³."""
    r = 1 / np.sqrt((x * x).mean(1, keepdims=True))
    return {"x": g * r - r**2 * x * (g * x).mean(1, keepdims=True)}


def d_standardized(x, g):
    """With the term through the mean twice, and that through the deviation turned round."""
    s = x.std(1, keepdims=True, ddof=1)
    n = (x - x.mean(1, keepdims=True)) / s
    d_s = (g * n).sum(1, keepdims=True) / (x.shape[1] - 1)
    return {"x": (g - 2 * g.mean(1, keepdims=True) + n * d_s) / s}


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
    "no weights at all": (
        "wrong-weights",
        "V, a factor of `… @ V`",
        network,
        by_hand(back=lambda W, V: np.eye(3)),
        LAYER,
    ),
    "the slope of another function": (
        "wrong-activation-derivative",
        "y (1 − y) in place of the derivative of `tanh`",
        network,
        by_hand(slope_h=lambda h, o, z: h * (1 - h)),
        LAYER,
    ),
    "a slope that is there once too often": (
        "extra-activation-derivative",
        "has the derivative of `sigmoid`",
        lambda x, g: ((torch.sigmoid(x) - g).exp() * x * g).sum(),
        lambda x, g: {
            "x": sigmoid(x)
            * (1 - sigmoid(x))
            * g
            * np.exp(sigmoid(x) - g)
            * (1 + x * sigmoid(x) * (1 - sigmoid(x)))
        },
        XG,
    ),
    "a factor of a term that is left out": (
        "factor-missing",
        "lacks the factor",
        lambda x, g: (x * (x * x).mean(1, keepdim=True).rsqrt() * g).sum(),
        d_rms_norm,
        XG,
    ),
    "a constant factor of a value that is left out": (
        "scaled-by-constant",
        "0.3, a factor of `x * 0.3`",
        lambda x, g: ((0.3 * x) * torch.tanh(x) * g).sum(),
        lambda x, g: {"x": g * (0.3 * np.tanh(x) + x * (1 - np.tanh(x) ** 2))},
        XG,
    ),
    "a triangle that is left out": (
        "mask",
        "the mask of `tril`",
        lambda x, g: ((x.sin().tril() + x) * g).sum(),
        lambda x, g: {"x": g * (np.cos(x) + 1)},
        SQUARE,
    ),
    "only one of three terms": (
        "term-missing",
        "has only the term through `exp`",
        lambda x, g: ((x.sin() + x.exp() + x.tanh()) * g).sum(),
        lambda x, g: {"x": g * np.exp(x)},
        XG,
    ),
    "the input of a column's product": (
        "transposed-weights",
        "transposed the wrong way round",
        lambda A, x: (A @ x).sin().sum(),
        lambda A, x: {"x": A @ np.cos(A @ x)},
        dict(A=(4, 4), x=(4, 2)),
    ),
    "a gradient that stops too early": (
        "factor-missing",
        "is exactly that of the result of `x / …`",
        lambda x, g: ((x / x.norm()).exp() * g).sum(),
        lambda x, g: {"x": g * np.exp(x / np.linalg.norm(x))},
        dict(x=(5,), g=(5,)),
    ),
    "a sum over all axes": (
        "bias-summed-over-neurons",
        "over all axes",
        lambda x, b, g: (torch.sin(x + b) * g).sum(),
        lambda x, b, g: {"b": np.full(3, (g * np.cos(x + b)).sum())},
        XG | dict(b=(3,)),
    ),
    "a shift the wrong way": (
        "wrong-index",
        "goes the wrong way",
        lambda x, g: (torch.roll(x, 1, 0).sin() * g).sum(),
        lambda x, g: {"x": np.roll(g * np.cos(np.roll(x, 1, 0)), 1, 0)},
        XG,
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
        lambda x, g: {"x": g - x * (g * x).sum(1, keepdims=True) / (x * x).sum(1, keepdims=True)},
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
    "the first one wins": (
        "one-sample-only",
        "the first one",
        lambda table, token, g: (F.embedding(token, table) * g).sum(),
        d_rows(reversed),
        TOKENS,
    ),
    "a term by a part of it": (
        "scaled-by-constant",
        "the term through `1 - x` in test_edits.py",
        lambda x, g: ((1 - x).exp() * g).sum() + (x.sin() * g).sum(),
        lambda x, g: {"x": g * (np.cos(x) - 0.837 * np.exp(1 - x))},
        XG,
    ),
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
        "a conjugate of",
        lambda x, y, a, b: (torch.complex(x, y) * torch.complex(a, b)).exp().real.sum(),
        lambda x, y, a, b: {"x": (np.exp((x + 1j * y) * (a + 1j * b)).conj() * (a + 1j * b)).real},
        dict(x=(5,), y=(5,), a=(5,), b=(5,)),
    ),
    "two terms that are wrong": (
        "sign-flipped",
        "; and the term through",
        lambda x, g: (((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)) * g).sum(),
        d_standardized,
        XG,
    ),
}


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_gradient_that_is_wrong_in_no_known_way_gets_no_name(case):
    *_, reference, hand, given = CASES[case]
    inputs = given if isinstance(next(iter(given.values())), np.ndarray) else matrices(**given)
    wrong = {
        name: np.random.default_rng(7).normal(size=array.shape)
        for name, array in hand(**inputs).items()
    }
    assert searched(reference, wrong, inputs) == ({}, "")


def recurrent(x, W, U):
    h = torch.zeros(x.shape[1], len(U), dtype=x.dtype)
    for x_t in x:
        h = torch.tanh(x_t @ W.T + h @ U.T)
    return (h**2).sum() / 2


def test_a_mistake_that_a_loop_repeats_is_one_mistake():
    inputs = matrices(x=(6, 4, 5), W=(3, 5), U=(3, 3))

    def hand(x, W, U):
        h = [np.zeros((x.shape[1], len(U)))]
        for x_t in x:
            h.append(np.tanh(x_t @ W.T + h[-1] @ U.T))
        d_h, d_W, d_U = h[-1], 0 * W, 0 * U
        for t in reversed(range(len(x))):
            d_z = d_h * (1 - h[t + 1])
            d_W, d_U, d_h = d_W + d_z.T @ x[t], d_U + d_z.T @ h[t], d_z @ U
        return {"W": d_W, "U": d_U}

    found, _ = searched(recurrent, hand(**inputs), inputs)
    assert [it.mistake for it in found.values()] == ["wrong-activation-derivative"] * 2


def euler(y):
    for _ in range(50):
        y = y + 0.02 * torch.stack([y[0] - y[0] * y[1], y[0] * y[1] - y[1]])
    return y.sum()


@pytest.mark.slow
def test_the_search_behind_many_steps_ends_after_some_thousand_tries(monkeypatch):
    tries = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(tries))  # which every try looks at
    inputs = dict(y=np.array([1.0, 0.5]))
    own = {"y": right(euler, inputs)["y"] * np.array([1.01, 1])}
    assert searched(euler, own, inputs, seconds=20_000) == ({}, "")


def test_the_search_ends_at_its_time_limit_and_says_so():
    inputs = dict(y=np.array([1.0, 0.5]))
    for seconds in (0.0, 0.3):
        found, why = searched(euler, {"y": np.array([3.0, 2.0])}, inputs, seconds)
        assert (found, why) == ({}, edits.TOO_LONG)


def branches(x):
    y = x
    while y.norm() < 100:
        y = y * 2 if y.sum() > 0 else -3 * y
    return (y**2).sum()


def in_place(x):
    y = x.sin()
    y[0] = y[1].clone() * 3
    y[1:] *= 2
    y.exp_()
    return (y * x.detach()).sum()


def partly_constant(x):
    with torch.no_grad():
        scale = x.abs().max()
    return (F.dropout(x / scale, 0.5) ** 3).sum() + (x.numpy(force=True).sum() * x).sum()


def library(x):
    y = F.layer_norm(x, x.shape[1:])
    y = F.gelu(y) + F.silu(F.group_norm(y, 1)) + torch.logsumexp(y, 1, keepdim=True)
    return F.cross_entropy(y, torch.tensor([0, 2, 1, 1])) + torch.fft.fft(y).abs().sum()


class Doubled(torch.autograd.Function):
    """x², with a backward of its own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, incoming):
        return 3 * incoming * ctx.saved_tensors[0]


def with_a_function(x):
    return (Doubled.apply(x).sin() + x.sin()).sum()


def odd(x):
    """Operations at their edges: means of one, empty tensors, rows that are left out."""
    z = x[:, :0] * 2
    z += 1
    rows = F.embedding(torch.tensor([0, 2, 2]), x, padding_idx=2)
    taken = x.gather(1, torch.tensor([[0], [2], [1], [1]]))
    scale = x.var() + x[:1].mean(0).sum() + x.cumsum(1).square().mean()
    return (rows.sum() + z.sum() + taken.exp().sum() + x.roll(1, 0).sin().sum()) * scale


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("reference", [branches, in_place, partly_constant, library, odd, network])
def test_operation_by_operation_a_reference_has_the_same_gradients(reference, kind):
    inputs = matrices(**(LAYER if reference is network else dict(x=(4, 3))))
    inputs = {name: array.astype(kind) for name, array in inputs.items()}
    expected = right(reference, inputs)
    for trace in (traced, traced_as_it_is):
        joint = trace(reference, inputs, list(inputs))
        assert set(joint.gradients) == set(expected)
        for name, value in expected.items():
            got = joint.gradients[name].value.numpy()
            assert got.dtype == kind
            assert np.abs(got - value).max() < 100 * np.finfo(kind).eps * np.abs(value).max()
            if joint.forward:
                again = joint.forward.gradients({})[name].numpy()
                np.testing.assert_allclose(again, got, rtol=0, atol=1e-4 * np.abs(got).max())


def test_a_function_with_a_backward_of_its_own_is_edited_as_it_is():
    x = np.random.default_rng(0).normal(size=(4, 3))
    own = {"x": 3 * x + np.cos(x)}
    found, why = searched(with_a_function, own, dict(x=x))
    assert (found["x"].mistake, why) == ("missing-activation-derivative", "")


@pytest.mark.slow
@pytest.mark.parametrize("reference", [in_place, library, odd, with_a_function])
def test_no_reference_gives_a_name_to_random_numbers(reference):
    inputs = matrices(x=(4, 3))
    assert searched(reference, matrices(1, x=(4, 3)), inputs) == ({}, "")


def test_a_reference_that_is_its_input_has_no_operation_to_edit():
    assert searched(lambda x: x, {"x": np.array(3.0)}, dict(x=np.array(2.0))) == ({}, "")


def test_a_reference_of_too_many_numbers_says_so(monkeypatch):
    monkeypatch.setattr(edits, "_MOST", 10)
    _, why = searched(network, {"x": np.ones((5, 3))}, matrices(**LAYER))
    assert why == "its operations have too many numbers"


def test_what_the_reference_raises_becomes_the_reason():
    calls = []

    def reference(x):
        calls.append(None)
        if len(calls) > 1:
            raise ZeroDivisionError("not again")
        return (x**2).sum()

    found, why = searched(reference, {"x": np.ones(3)}, dict(x=np.arange(3.0)))
    assert (found, why) == ({}, "not again")


def test_only_what_is_wanted_is_differentiated_and_closures_keep_their_dtype():
    weight = torch.nn.Linear(3, 2).double()

    def reference(**given):
        index = given["params['index']"].long()  # a float that has no gradient
        return (weight(given["params['x']"])[index] ** 2).sum()

    inputs = {"params['x']": matrices(x=(4, 3))["x"], "params['index']": np.array([1.0, 3.0])}
    name = "params['x']"
    value = right(reference, inputs, [name])[name]
    own = {name: np.where(np.arange(4)[:, None] == 3, 0, value)}
    found, why = searched(reference, own, inputs, wanted=[name])
    assert (found[name].quantity, why) == (name, "")
    assert found[name].mistake in ("one-sample-only", "partial-sum")


def test_a_watched_gradient_is_named_too():
    def reference(x, g):
        return (watch("s", torch.sin(x)).exp() * g).sum()

    inputs = matrices(**XG)
    found, _ = searched(reference, {"s": inputs["g"]}, inputs)
    assert found["s"].mistake == "missing-activation-derivative"
    assert "`exp` in test_edits.py" in found["s"].says


def test_the_intermediates_have_names_values_and_gradients():
    inputs = matrices(**XG)
    joint = traced(FUNCTIONS["tanh"], inputs, list(inputs))
    calls = {node.call[0]: node for node in joint.reaching if node.call}
    tanh = next(calls[name] for name in calls if name.startswith("`tanh` in test_edits.py"))
    np.testing.assert_allclose(tanh.value.numpy(), np.tanh(inputs["x"]), rtol=1e-14)
    assert np.array_equal(joint.reaching[tanh].value.numpy(), inputs["g"])


@pytest.mark.parametrize(
    ("function", "slope", "mistake"),
    [
        (F.softplus, sigmoid, "mask"),
        (F.elu, np.exp, "mask"),
        (F.elu, np.ones_like, "missing-activation-derivative"),
        (F.hardtanh, np.ones_like, "missing-activation-derivative"),
    ],
)
def test_one_branch_of_a_derivative_taken_everywhere_is_no_other_function(function, slope, mistake):
    x = np.array([25.0, 1, -3])
    found, _ = searched(lambda x: function(x).sum(), {"x": slope(x)}, {"x": x}, near=1e-14)
    assert found["x"].mistake == mistake
    if mistake == "mask":
        assert found["x"].says.endswith("has two branches, and yours takes one everywhere")
