"""diagnose: each look names what it is for, through `check_gradients`."""

import sys

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients

RANDOM = np.random.default_rng(3)


def draw(*shape):
    return RANDOM.normal(size=shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def diagnosed(reference, hand, **inputs):
    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, reference, **inputs)
    return error.value.diagnoses[0]


def loop(x, W):
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(x_t + W @ h)
    return h.sum()


def loop_by_hand(slope=0, used=0, sign=1):
    """Steps from which the slope and the state are taken, and the sign of what comes back."""

    def hand(x, W):
        h = [np.zeros_like(x[0])]
        for x_t in x:
            h.append(np.tanh(x_t + W @ h[-1]))
        d_x, d_W, d_h = np.zeros_like(x), np.zeros_like(W), np.ones_like(h[0])
        for t in reversed(range(len(x))):
            d_x[t] = d_h * (1 - h[t + 1 - slope] ** 2)
            d_W += np.outer(d_x[t], h[t + used])
            d_h = sign * W.T @ d_x[t]
        return {"x": d_x, "W": d_W}

    return hand


def residual(x, W):
    for _ in range(3):
        x = x + torch.tanh(W @ x)
    return x.sum()


def residual_by_hand(x, W):
    """Without what comes back by x itself."""
    steps = [x]
    for _ in range(3):
        steps.append(steps[-1] + np.tanh(W @ steps[-1]))
    d_x = np.ones_like(x)
    for x_t in reversed(steps[:-1]):
        d_x = W.T @ (d_x * (1 - np.tanh(W @ x_t) ** 2))
    return {"x": d_x}


VECTOR, OTHER, MATRIX = draw(8), draw(8), draw(4, 4)
POSITIVE = np.exp(VECTOR)
UPPER = np.triu(np.full((4, 4), -np.inf), 1)
SOFT = np.exp(MATRIX) / np.exp(MATRIX).sum(1, keepdims=True)
COMPLEX = draw(4) + 1j * draw(4)
INDEX, ALSO = np.array([0, 2, 1, 1]), np.array([3, 2, 0, 1])
# the mistake, a part of the sentence, reference, hand, inputs
CASES = {
    "a loop's slope at another step": (
        "wrong-layer-derivative",
        "at every step",
        loop,
        loop_by_hand(slope=1),
        dict(x=draw(5, 4), W=MATRIX),
    ),
    "a loop's state of another step": (
        "wrong-layer-input",
        "of another step",
        loop,
        lambda x, W: {"W": loop_by_hand(used=1)(x, W)["W"]},
        dict(x=draw(5, 4), W=MATRIX),
    ),
    "a loop's sign": (
        "sign-flipped",
        "at every step",
        loop,
        loop_by_hand(sign=-1),
        dict(x=draw(5, 4), W=MATRIX),
    ),
    "a loop's term": (
        "term-missing",
        "at every step",
        residual,
        residual_by_hand,
        dict(x=draw(4), W=MATRIX),
    ),
    "both factors of a square": (
        "term-missing",
        "lacks the term through `x @ x`",
        lambda x, w: (x @ w) / (x @ x),
        lambda x, w: {"x": w / (x @ x)},
        dict(x=VECTOR, w=OTHER),
    ),
    "a mask of −inf": (
        "mask",
        "the mask m",
        lambda x, m, g: (torch.softmax(x + m, 1) * g).sum(),
        lambda x, m, g: {"x": SOFT * (g - (SOFT * g).sum(1, keepdims=True))},
        dict(x=MATRIX, m=UPPER, g=draw(4, 4)),
    ),
    "a clip": (
        "mask",
        "the mask of `where`",
        lambda x, y: torch.nn.functional.huber_loss(x, y, delta=0.7),
        lambda x, y: {"x": (x - y) / len(x)},
        dict(x=VECTOR, y=OTHER),
    ),
    "a constant term": (
        "term-missing",
        "3, a term of `x + 3`",
        lambda x, g: ((x + 3) ** 3 * g).sum(),
        lambda x, g: {"x": 3 * x**2 * g},
        dict(x=VECTOR, g=OTHER),
    ),
    "a system transposed": (
        "transposed-weights",
        "the matrix of",
        lambda A, b, w: torch.linalg.solve(A, b) @ w,
        lambda A, b, w: {"b": np.linalg.solve(A, w)},
        dict(A=MATRIX, b=draw(4), w=draw(4)),
    ),
    "an ε in a logarithm": (
        "log-epsilon",
        "1e-6 is added",
        lambda x, g: (torch.log(x) * g).sum(),
        lambda x, g: {"x": g / (x + 1e-6)},
        dict(x=POSITIVE, g=OTHER),
    ),
    "an ε outside a root": (
        "epsilon-placement",
        "outside `sqrt`",
        lambda x, v: (x / torch.sqrt(v + 1e-5)).sum(),
        lambda x, v: {"x": 1 / (np.sqrt(v) + 1e-5)},
        dict(x=VECTOR, v=POSITIVE),
    ),
    "an ε outside one over a root": (
        "epsilon-placement",
        "outside `rsqrt`",
        lambda x, v: (x * torch.rsqrt(v + 1e-5)).sum(),
        lambda x, v: {"x": 1 / (np.sqrt(v) + 1e-5)},
        dict(x=VECTOR, v=POSITIVE),
    ),
    "a conjugate in a formula": (
        "conjugate",
        "a conjugate",
        lambda z, w: ((z * w).abs() ** 2 * torch.arange(1, 5)).sum(),
        lambda z, w: {"z": 2 * np.arange(1, 5) * z * w * w},
        dict(z=COMPLEX, w=draw(4) + 1j * draw(4)),
    ),
    "another index": (
        "wrong-index",
        "also in place of index",
        lambda x, index, also, g: (
            torch.zeros(4, dtype=x.dtype).index_add(0, index, x.sin()[also]) ** 2 * g
        ).sum(),
        lambda x, index, also, g: {
            "x": np.bincount(
                also, (2 * g * np.bincount(index, np.sin(x)[also], 4))[also] * np.cos(x)[also], 4
            )
        },
        dict(x=draw(4), index=INDEX, also=ALSO, g=draw(4)),
    ),
    "a slope at another point": (
        "derivative-at-wrong-point",
        "is taken at x",
        lambda x: torch.tanh(x * x * x).sum(),
        lambda x: {"x": (1 - np.tanh(x) ** 2) * 3 * x * x},
        dict(x=VECTOR),
    ),
    "the slope of σ once too often": (
        "extra-activation-derivative",
        "which the loss contains already",
        lambda w, x, y: torch.nn.functional.binary_cross_entropy_with_logits(x @ w, y),
        lambda w, x, y: {
            "w": x.T @ ((sigmoid(x @ w) - y) * sigmoid(x @ w) * sigmoid(-x @ w)) / len(y)
        },
        dict(w=draw(4), x=draw(8, 4), y=(OTHER > 0) * 1.0),
    ),
    "a part of a slope": (
        "wrong-activation-derivative",
        "a part of the derivative of",
        lambda x, g: (torch.nn.functional.leaky_relu(x, 0.1) * g).sum(),
        lambda x, g: {"x": g * (x > 0)},
        dict(x=VECTOR, g=OTHER),
    ),
    "an exclusive cumulative sum": (
        "partial-sum",
        "leaves out the element itself",
        lambda x, g: (torch.cumprod(x, 0) * g).sum(),
        lambda x, g: {
            "x": np.array([(np.cumprod(x) * g)[i + 1 :].sum() / x[i] for i in range(len(x))])
        },
        dict(x=VECTOR, g=OTHER),
    ),
    "a kernel turned round": (
        "wrong-index",
        "reversed along its last two axes",
        lambda x, v, g: (torch.nn.functional.conv2d(x, v) * g).sum(),
        lambda x, v, g: {
            "x": sum(
                np.pad(v[0, 0, 2 - i, 2 - j] * g, ((0, 0), (0, 0), (i, 2 - i), (j, 2 - j)))
                for i in range(3)
                for j in range(3)
            )
        },
        dict(x=draw(1, 1, 5, 5), v=draw(1, 1, 3, 3), g=draw(1, 1, 3, 3)),
    ),
    "few digits": (
        "too-few-digits",
        "constant of few digits",
        lambda x, g: ((x**3 / 3 + x) * g).sum(),
        lambda x, g: {"x": g * (x * x * 0.99993 + 1.00004)},
        dict(x=draw(20), g=draw(20)),
    ),
    "a norm": (
        "gradient-clipped",
        "scaled to a norm of 1",
        lambda x: (x**3).sum(),
        lambda x: {"x": 3 * x**2 / np.linalg.norm(3 * x**2)},
        dict(x=VECTOR),
    ),
    "a kink": (
        "kink",
        "is at a kink or tie",
        lambda x: torch.relu(x).sum(),
        lambda x: {"x": np.where(x == 0, 3.0, x > 0)},
        dict(x=np.array([0.0, 1.0, -1.0])),
    ),
    "p for 1/(1 − p)": (
        "scaled-by-constant",
        "p · (1 − p), so p stands for 1/(1 − p)",
        lambda x, p: (x / (1 - p)).sum(),
        lambda x, p: {"x": np.full_like(x, p)},
        dict(x=draw(4), p=0.3),
    ),
    "a plain 2": (
        "scaled-by-constant",
        "which is what a 2 too many makes, as of a square halved",
        lambda x: x.sum(),
        lambda x: {"x": np.full_like(x, 2)},
        dict(x=draw(4)),
    ),
    "a root": (
        "scaled-by-constant",
        "which is the root of the length of axis 0 of x",
        lambda x: (x**3).sum() / x.shape[0] ** 0.5,
        lambda x: {"x": 3 * x**2},
        dict(x=draw(5)),
    ),
    "n − 1": (
        "scaled-by-constant",
        "which is n/(n − 1) for the length of axis 0 of x",
        lambda x: x.var(unbiased=False),
        lambda x: {"x": 2 * (x - x.mean()) / (len(x) - 1)},
        dict(x=draw(7)),
    ),
    "no cause": (
        "scaled-by-constant",
        "1.23 times the right one",
        lambda x: (x**3).sum(),
        lambda x: {"x": 1.23 * 3 * x**2},
        dict(x=draw(7)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_mistake_gets_its_name(case):
    mistake, words, reference, hand, inputs = CASES[case]
    got = diagnosed(reference, hand, **inputs)
    assert got["mistake"] == mistake
    assert words in got["says"]
    assert not got["says"].endswith(",")


def test_a_plain_two_has_one_cause_alone():
    got = diagnosed(lambda x: x.sum(), lambda x: {"x": np.full_like(x, 2)}, x=np.ones(4))
    assert "root" not in got["says"]
    assert " or " not in got["says"]


def test_what_cannot_be_recorded_is_said_and_changes_no_verdict():
    def reference(x):
        return torch.tensor(float(x.detach().sum())) + (x.sin() * x.cos()).sum()

    got = diagnosed(reference, lambda x: {"x": np.cos(x) ** 3 + x}, x=VECTOR)
    assert got["mistake"] == "unknown"


def test_a_penalty_on_what_has_none_is_a_term_too_many():
    b = np.array([0.3, -1.2, 0.7, 2.0])

    def hand(b):
        return {"b": np.sin(b) + 0.1 * b}

    with pytest.raises(GradientMismatch, match=r"term-too-many: .* plus 0\.1 · b"):
        check_gradients(hand, lambda b: -b.cos().sum(), b=b)


def test_without_the_search_through_edits_the_report_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "lockstep.gradients.edits", None)
    with pytest.raises(GradientMismatch, match="lacks what that needs"):
        check_gradients(
            lambda x: {"x": np.cos(x) + np.exp(x) * x},
            lambda x: x.sin().sum(),
            x=np.linspace(0.1, 2, 7),
        )


def test_a_factor_of_dropout_is_named_where_a_mask_is_drawn():
    def reference(x):
        return torch.nn.functional.dropout(x * x, 0.2).sum()

    x = np.linspace(1, 2, 9)
    drawn = {"torch": None}

    def hand(x):
        if drawn["torch"] is None:
            state = torch.default_generator.get_state()
            torch.default_generator.manual_seed(0)
            drawn["torch"] = torch.nn.functional.dropout(torch.ones(9, dtype=torch.float64), 0.2)
            torch.default_generator.set_state(state)
        return {"x": 2 * x * drawn["torch"].numpy() * 0.8}

    with pytest.raises(GradientMismatch, match=r"0\.8 times .* 1 − 0\.2 \(as in dropout\)"):
        check_gradients(hand, reference, x=x)
