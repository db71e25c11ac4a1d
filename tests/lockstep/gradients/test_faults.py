"""Small inputs on which a check of gradients once went wrong: it blamed, passed, refused or fell.

Each case is the smallest of its kind.
"""

import math
import re

import numpy as np
import pytest
import torch
from torch.autograd import Function
from torch.nn import functional

from lockstep import GradientMismatch, check_function, check_gradients

A = np.array
NOT_THE_DERIVATIVE = "PyTorch's gradient is not the derivative"


def case(name, hand, reference, words="", check=check_gradients, **inputs):
    """A line of a table. words: what must be said, a regular expression."""
    return pytest.param(check, hand, reference, inputs, words, id=name)


def mismatch(check, hand, reference, inputs):
    with pytest.raises(GradientMismatch) as error:
        check(hand, reference, **inputs)
    return error.value


# Right by hand, and once blamed: how rounding comes about


def accumulated(a):
    t, w = 0.0, np.empty(a.size)
    for k in range(a.size):
        w[k] = t
        t += 0.01
    return {"a": w}


def rotated(a):
    """The cosines of equally spaced angles, by rotating again and again."""
    angle = 2 * math.pi / a.size
    w, c, s = np.empty(a.size), 1.0, 0.0
    for k in range(a.size):
        w[k] = c
        c, s = c * math.cos(angle) - s * math.sin(angle), s * math.cos(angle) + c * math.sin(angle)
    return {"a": w}


def rows_of_cosines(x, w):
    k = np.arange(x.size)
    return {"x": np.cos(2 * np.pi * np.outer(k, k) / x.size) @ w}


def added_in_python_floats(x):
    total = 0.0
    for value in x.tolist():
        total += value
    return {"x": np.full_like(x, 2 * total)}


def added_in_float32(x):
    total = np.float32(0)
    for value in x.astype(np.float32):
        total += value
    return {"x": np.full(x.shape, 2 * total, np.float32)}


def rms_norm(x):
    r = 1 / np.sqrt((x * x).mean() + 1e-6)
    return {"x": r - r**3 * x * x.sum() / x.size}


def rms_norm_in_float32(x):
    h = x.float()
    return (h * torch.rsqrt(h.pow(2).mean() + 1e-6)).type_as(x).sum()


class TanhInFloat32(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.float().tanh().to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return (g.float() * (1 - x.float().tanh() ** 2)).to(g.dtype)


DRAWN = np.random.default_rng(0).normal(size=(2, 128))
ROUNDING = [
    case(
        "a grid that is added up",
        accumulated,
        lambda a: (a * (0.01 * torch.arange(a.numel(), dtype=a.dtype))).sum(),
        a=np.ones(1200),
    ),
    case(
        "angles by recurrence",
        rotated,
        lambda a: (a * torch.cos(2 * math.pi * torch.arange(2000).to(a) / 2000)).sum(),
        a=np.ones(2000),
    ),
    case(
        "a Fourier transform as a matrix",
        rows_of_cosines,
        lambda x, w: (torch.fft.fft(x).real * w).sum(),
        x=DRAWN[0],
        w=DRAWN[1],
    ),
    case(
        "40 000 equal numbers added in a loop",
        added_in_python_floats,
        lambda x: x.sum() ** 2,
        x=np.full(40000, 0.1),
    ),
    case(
        "1 000 numbers of float32 added in a loop",
        added_in_float32,
        lambda x: x.sum() ** 2,
        x=np.full(1000, 0.1, np.float32),
    ),
    case(
        "a reference that computes in float32",
        rms_norm,
        rms_norm_in_float32,
        "float32|precision",
        x=A([0.3, 1.7, -0.4]),
    ),
    case(
        "a Function that computes in float32",
        TanhInFloat32,
        torch.tanh,
        check=check_function,
        x=A([0.5, 1.5], np.float32),
    ),
    case(
        "a constant of float32",
        lambda x: {"x": np.full_like(x, 0.79788456)},
        lambda x: (2 / torch.pi) ** 0.5 * x.sum(),
        x=A([0.5, 1.5], np.float32),
    ),
]

# Right by hand, and once blamed: PyTorch's gradient is not the derivative


def sigmoid_of_distance(x):
    e = torch.exp(-x.abs())
    return torch.where(x >= 0, 1 / (1 + e), e / (1 + e)).sum()


def ctc_of_one_step(lp):
    one = torch.tensor([1])
    return functional.ctc_loss(lp[:, None], one[None], one, one, reduction="sum")


def cholesky_below(M):
    return {"M": A([[-M[1, 0] / (2 * M[0, 0] ** 1.5), 0], [1 / M[0, 0] ** 0.5, 0]])}


WHOSE = [
    case(
        "relu(x) − relu(−x) at 0",
        lambda x: {"x": np.ones_like(x)},
        lambda x: (x.relu() - (-x).relu()).sum(),
        NOT_THE_DERIVATIVE,
        x=A([0.0, 1.0, -2.0]),
    ),
    case(
        "the sigmoid by exp(−|x|) at 0",
        lambda x: {"x": 1 / (1 + np.exp(-x)) / (1 + np.exp(x))},
        sigmoid_of_distance,
        NOT_THE_DERIVATIVE,
        x=A([0.0]),
    ),
    case(
        "ctc_loss of one step",
        lambda lp: {"lp": A([[0.0, -1.0]])},
        ctc_of_one_step,
        NOT_THE_DERIVATIVE,
        lp=np.log(A([[0.25, 0.75]])),
    ),
    case(
        "cholesky, which reads the lower triangle",
        cholesky_below,
        lambda M: torch.linalg.cholesky(M)[1, 0],
        NOT_THE_DERIVATIVE,
        M=A([[4.0, 1.0], [1.0, 3.0]]),
    ),
    case(
        "digamma, 2e-10 off",
        lambda x: {"x": np.full_like(x, np.pi**2 / 6)},
        lambda x: torch.digamma(x).sum(),
        NOT_THE_DERIVATIVE,
        x=A([1.0]),
    ),
]

# Right by hand, and once blamed: equals of which any may be taken


def first_two(x, w):
    d = np.zeros_like(x)
    d[np.argsort(-x, kind="stable")[:2]] = w
    return {"x": d}


TIES = [
    case(
        "pooling of zeros from relu",
        lambda x, b, w: {"b": A([0.0, w[0]])},
        lambda x, b, w: (functional.max_pool1d((torch.relu(x) + b)[None], 2)[0] * w).sum(),
        x=A([-1.0, -2.0]),
        b=np.zeros(2),
        w=np.ones(1),
    ),
    case(
        "topk of zeros",
        first_two,
        lambda x, w: (torch.topk(x, 2).values * w).sum(),
        x=np.zeros(4),
        w=A([1.0, 2.0]),
    ),
]

# Right by hand, and once refused


class Scale(Function):
    @staticmethod
    def forward(ctx, x, scale=2.0, causal=False):
        ctx.scale = float(scale)
        return x * ctx.scale

    @staticmethod
    def backward(ctx, g):
        return g * ctx.scale, None, None


class Mode(Function):
    @staticmethod
    def forward(ctx, x, mode):
        return x * {"same": 2}[mode]

    @staticmethod
    def backward(ctx, g):
        return g * 2, None


class Largest(Function):
    @staticmethod
    def forward(ctx, x):
        value, ctx.index = x.max(0)
        ctx.n = len(x)
        ctx.mark_non_differentiable(ctx.index)
        return value, ctx.index

    @staticmethod
    def backward(ctx, g, _):
        return functional.one_hot(ctx.index, ctx.n) * g


class InputCalledOutput(Function):
    @staticmethod
    def forward(ctx, output):
        return output * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


CONSTANT = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
TAKEN = [
    case(
        "labels that may not exceed 1",
        lambda p, y: {"p": -(y / p - (1 - y) / (1 - p)) / p.size},
        lambda p, y: functional.binary_cross_entropy(p, y),
        p=A([0.3, 0.6]),
        y=A([1.0, 0.0]),
    ),
    case(
        "a constant of float64 that is no input",
        lambda x: {"x": A([4.0, 6.0])},
        lambda x: (CONSTANT @ x).sum(),
        x=np.ones(2),
    ),
    case(
        "integers of a negative stride",
        lambda x, i: {"x": np.ones(3)},
        lambda x, i: x[i].sum(),
        x=np.ones(3),
        i=np.arange(3)[::-1],
    ),
    case(
        "integers of another byte order",
        lambda x, i: {"x": np.ones(3)},
        lambda x, i: x[i].sum(),
        x=np.ones(3),
        i=np.arange(3).astype(">i8"),
    ),
    case(
        "a sparse gradient",
        lambda w, i: {"w": np.ones((2, 3))},
        lambda w, i: functional.embedding(i, w, sparse=True).sum(),
        w=np.ones((2, 3)),
        i=A([0, 1]),
    ),
    case(
        "a complex view",
        lambda x: {"x": A([1.0, 1.0, 0.0, 0.0])},
        lambda x: torch.view_as_real(torch.view_as_complex(x.view(-1, 2)))[0].sum(),
        x=np.ones(4),
    ),
    case(
        "a complex input",
        lambda x: {"x": 2 * x},
        lambda x: (x * x.conj()).real.sum(),
        x=A([1 + 2j, -0.5j]),
    ),
    case(
        "an input called output",
        InputCalledOutput,
        lambda output: output * 2,
        check=check_function,
        output=np.ones(2),
    ),
    case("a string", Mode, lambda x, mode: x * 2, check=check_function, x=np.ones(2), mode="same"),
    case(
        "an optional argument that is left out before one that is given",
        Scale,
        lambda x, causal: 2 * x,
        check=check_function,
        x=A([1.0, 2.0]),
        causal=False,
    ),
    case(
        "a constant number without a gradient",
        Scale,
        lambda x, scale: scale * x,
        check=check_function,
        x=A([1.0, 2.0]),
        scale=3.0,
    ),
    case(
        "None", Scale, lambda x, causal: 2 * x, check=check_function, x=A([1.0, 2.0]), causal=None
    ),
    case(
        "an output of indices",
        Largest,
        lambda x: tuple(x.max(0)),
        check=check_function,
        x=A([1.0, 3.0, 2.0]),
    ),
]

# Wrong by hand, and once passed, or the check fell


class Viewed(Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g.view(-1).view(g.shape)


def penalty(x):
    (g,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    return (g * g).sum()


LOGITS = A([[0.1, 0.5, -0.3, 0.2], [0.2, 0.1, 0.4, -0.5], [0.7, -0.2, 0.3, 0.1]])
WRONG = [
    case(
        "another path for float64",
        lambda x: {"x": 2 * x * (1e6 if x.dtype == np.float64 else 1)},
        lambda x: (x**2).sum(),
        "scaled-by-constant",
        x=A([1.0, 2.0]),
    ),
    case(
        "a difference quotient",
        lambda x: {"x": (np.sin(x + 1.49e-8) - np.sin(x)) / 1.49e-8},
        lambda x: torch.sin(x).sum(),
        "finite-differences",
        x=A([0.3, 1.0, 2.0]),
    ),
    case(
        "beside class labels held as floats",
        lambda z, y: {"z": np.exp(z) / np.exp(z).sum(1, keepdims=True) / len(z)},  # no − 1
        lambda z, y: functional.cross_entropy(z, y.long()),
        z=LOGITS,
        y=A([2.0, 1.0, 2.0]),
    ),
    case(
        "beside a mask of floats",
        lambda x, m: {"x": np.where(m == 1, 20 * x, 0)},
        lambda x, m: torch.where(m == 1, x**2, 0 * x).sum(),
        "scaled-by-constant",
        x=A([1.0, 2.0, 3.0]),
        m=A([1.0, 0.0, 1.0]),
    ),
    case(
        "behind a tie of constants",
        lambda x, w: {"w": np.full_like(w, 10.0)},
        lambda x, w: (x.max(0).values * 0 + w * (x[0] > x[1])).sum() + w.sum(),
        x=A([3.0, 3.0]),
        w=np.ones(3),
    ),
    case(
        "beside a floor",
        lambda w, x: {"x": 10 * w[np.floor(x).astype(int)]},
        lambda w, x: (w[x.floor().long()] * x).sum(),
        "scaled-by-constant",
        w=A([1.0, 2.0, 4.0]),
        x=A([1.5, 2.25]),
    ),
    case(
        "outside the hull at a tie",
        lambda x: {"x": A([10.0, -7.0])},
        lambda x: x.max(0).values,
        "kink",
        x=A([2.0, 2.0]),
    ),
    case(
        "outside the hull at the edge of a clamp",
        lambda x: {"x": A([20.0])},
        lambda x: x.clamp(max=1).sum(),
        "kink",
        x=A([1.0]),
    ),
    case(
        "outside the hull at the border of an image",
        lambda image, grid: {"grid": A([[[[20.0, 3.0]]]])},
        lambda image, grid: functional.grid_sample(
            image, grid, padding_mode="border", align_corners=True
        ).sum(),
        "kink",
        image=np.arange(9.0).reshape(1, 1, 3, 3),
        grid=A([[[[1.0, 0.0]]]]),
    ),
    case(
        "near the edge of a domain",
        lambda M: {"M": A([[0.7, 0.1], [0.3, 0.9]])},
        lambda M: torch.linalg.cholesky(M).sum(),
        M=A([[1.0, 0.95], [0.95, 1.0]]),
    ),
    case(
        "a reference that differentiates",
        lambda x: {"x": 36 * x**3 + 0.1 * x**2},
        penalty,
        x=A([1.0, 2.0, 0.5]),
    ),
    case(
        "a backward that raises for a transposed incoming gradient",
        Viewed,
        lambda x: 2 * x,
        "incoming gradient",
        check=check_function,
        x=A([[1.0, 2.0], [3.0, 4.0]]),
    ),
    # what is said
    case(
        "a numerator left out",
        lambda y, x: {"y": 1 / (x * x + y * y)},
        lambda y, x: torch.atan2(y, x).sum(),
        r"factor-missing.*\bx\b",
        y=A([1.0, 2.0, -0.5]),
        x=A([3.0, -1.0, 0.7]),
    ),
    case(
        "two gradients interchanged",
        lambda a, b: {"a": a, "b": b},
        lambda a, b: (a * b).sum(),
        "swapped-gradients",
        a=A([1.0, 2.0, -0.5]),
        b=A([3.0, 5.0, 0.7]),
    ),
    case(
        "rows shifted by one",
        lambda x, g: {"x": np.roll(g, 1, 0)},
        lambda x, g: (x * g).sum(),
        "wrong-index.*row",
        x=np.ones((4, 3)),
        g=DRAWN[0, :12].reshape(4, 3),
    ),
    case(
        "p in place of 1/(1 − p)",
        lambda x, p: {"x": np.full_like(x, p)},
        lambda x, p: (x / (1 - p)).sum(),
        r"\bp\b",
        x=A([1.0, 2.0]),
        p=0.3,
    ),
]
COLUMNS = ("check", "hand", "reference", "inputs", "words")


@pytest.mark.slow
@pytest.mark.parametrize(COLUMNS, ROUNDING + WHOSE + TIES + TAKEN)
def test_what_is_right_is_a_match_and_a_remark_says_why(check, hand, reference, inputs, words):
    result = check(hand, reference, **inputs)
    assert result.verdict == "match"
    assert not words or any(re.search(words, remark) for remark in result.remarks), result.remarks


@pytest.mark.slow
@pytest.mark.parametrize(COLUMNS, WRONG)
def test_what_is_wrong_is_a_mismatch_and_named(check, hand, reference, inputs, words):
    found = mismatch(check, hand, reference, inputs).diagnoses
    said = " ".join(f"{it['mistake']}: {it['says']}" for it in found)
    assert re.search(words, said), said


def test_an_inaccurate_matrix_exponential_of_pytorch_is_passed_or_mentioned():
    """PyTorch's is 1e-12 off for norms of 0.01 to 0.05, 5e-9 of an element."""

    def by_series(M, W):
        out = term = np.eye(len(M), dtype=M.dtype)
        for k in range(1, 25):
            term = term @ M / k
            out = out + term
        return {"W": out}

    def reference(M, W):
        return (torch.linalg.matrix_exp(M) * W).sum()

    given = dict(M=A([[0.01, 0.02], [0.015, -0.01]]), W=np.ones((2, 2)))
    try:
        assert check_gradients(by_series, reference, **given).verdict == "match"
    except GradientMismatch as error:
        assert "matrix_exp" in str(error)  # noqa: PT017


def test_a_hand_that_draws_at_random_is_refused():
    random = np.random.default_rng()

    def hand(x):
        return {"x": 4 * x * (random.random(x.shape) < 0.5)}

    with pytest.raises(ValueError, match="hand"):
        check_gradients(hand, lambda x: (x**2).sum(), x=np.linspace(1, 2, 20))


def test_a_hand_that_adds_to_what_it_kept_is_refused():
    kept = [0.0]

    def hand(x):
        kept[0] = kept[0] + 2 * x
        return {"x": kept[0]}

    with pytest.raises(ValueError, match="hand"):
        check_gradients(hand, lambda x: (x * x).sum(), x=A([1.0, 2.0]))


def test_hand_gets_the_given_dtype_and_no_other():
    seen = set()

    def hand(x):
        seen.add(x.dtype)
        return {"x": 2 * x}

    check_gradients(hand, lambda x: (x * x).sum(), x=A([1.0, 2.0], np.float32))
    assert seen == {np.dtype(np.float32)}


def test_a_small_error_is_not_called_a_factor_of_1():
    def hand(x):
        return {"x": np.full_like(x, 0.5 * (1 + 1e-7))}

    given = dict(x=A([1.0, 2.0, 3.0]))
    error = mismatch(check_gradients, hand, lambda x: (0.5 * x + 1e-12 * x**2).sum(), given)
    assert not re.search(r"\b1(\.0+)?( times|$|;)", error.diagnoses[0]["says"])


def test_a_plain_2_is_not_called_the_root_of_a_length():
    given = dict(x=np.arange(4.0) / 3)
    error = mismatch(
        check_gradients, lambda x: {"x": 2 * np.cos(x)}, lambda x: torch.sin(x).sum(), given
    )
    (found,) = error.diagnoses
    assert found["mistake"] == "scaled-by-constant"
    assert "2 times" in found["says"]
    assert "root" not in found["says"]
    assert "√" not in found["says"]


@pytest.mark.slow
def test_a_mistake_behind_200_steps_is_reported():
    def lotka_volterra(y):
        for _ in range(200):
            y = y + 0.01 * torch.stack([y[0] - y[0] * y[1], y[0] * y[1] - y[1]])
        return y.sum()

    def hand(y):
        states = [y]
        for _ in range(200):
            a, b = states[-1]
            states.append(states[-1] + 0.01 * A([a - a * b, a * b - b]))
        g = np.ones_like(y)
        for a, b in states[-2::-1]:
            g = g + 0.01 * g @ A([[1 - b, -a], [b, a - 1]])
        return {"y": g * A([1.01, 1])}

    found = mismatch(check_gradients, hand, lotka_volterra, dict(y=A([1.0, 0.5])))
    assert found.first_mismatch["label"] == "y[0]"
