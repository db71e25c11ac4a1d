"""by_pattern: mistakes that the numbers of a wrong gradient show, and numbers that show none."""

import numpy as np
import pytest

from lockstep.gradients.patterns import Known, by_pattern, few_digits, where
from lockstep.gradients.wrong import Wrong

RANDOM = np.random.default_rng(0)
SHAPE = (6, 5)
TOKEN = np.array([0, 2, 2, 4, 0, 1, 2, 5])
LABEL = np.array([0, 4, 1, 1, 3, 2])
G, X, Z, TABLED, SLICES = (
    RANDOM.normal(size=shape) for shape in (SHAPE, SHAPE, SHAPE, (8, 5), (3, 4, 4))
)
ROW, COLUMN, LINE, SQUARE = (RANDOM.normal(size=shape) for shape in (5, 6, 12, (4, 4)))
MASK = RANDOM.integers(0, 2, SHAPE)
POSITIVE = np.exp(X)
GATHERED = np.zeros(SHAPE)
np.add.at(GATHERED, TOKEN, TABLED)
LAST, FIRST = np.zeros(SHAPE), np.zeros(SHAPE)
LAST[TOKEN] = TABLED
FIRST[TOKEN[::-1]] = TABLED[::-1]
ONE_HOT = np.eye(5)[LABEL]
SYMMETRIC = SQUARE + SQUARE.T
TIED = np.where(np.arange(30).reshape(SHAPE) % 7 == 3, 0.0, X)
UNIT = X / np.linalg.norm(X, axis=1, keepdims=True)
ACROSS = G - UNIT * (UNIT * G).sum(1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rows(order, value=G):
    """Rows of a gradient, zeros for −1."""
    return np.where(np.array(order)[:, None] < 0, 0, value[order])


def given(own, value, relative=1e-15, complex_parts=False, returned=None, **known):
    """The wrong gradient of x, and what is known. known: inputs by name, gradients as d_name."""
    gradients = {name[2:]: array for name, array in known.items() if name.startswith("d_")}
    inputs = {name: array for name, array in known.items() if not name.startswith("d_")}
    size = np.abs(value)
    it = Wrong("x", own, value, relative * (size + np.max(size, initial=0) / 8), complex_parts)
    return it, Known({"x": value} | gradients, inputs, returned or {})


def diagnosed(*args, **known):
    return by_pattern(*given(*args, **known))


# yours, the right one, what else is known, the mistake, a part of the sentence
CERTAIN = {
    "another's gradient": (Z, G, dict(x=X, z=X, d_z=Z), "swapped-gradients", "gradient of z"),
    "minus another's": (-Z, G, dict(x=X, z=X, d_z=Z), "swapped-gradients", "minus"),
    "another's, transposed": (Z, G, dict(x=X, z=X, d_z=Z.T), "swapped-gradients", "transposed"),
    "shifted": (np.roll(G, 1, 0), G, {}, "wrong-index", "row i − 1 (shifted along axis 0, around"),
    "shifted back": (rows([1, 2, 3, 4, 5, -1]), G, {}, "wrong-index", "row i + 1"),
    "shifted columns": (np.roll(G, -1, 1), G, {}, "wrong-index", "column i + 1"),
    "shifted line": (np.roll(LINE, 1), LINE, {}, "wrong-index", "element i − 1"),
    "reversed": (SLICES[:, :, ::-1], SLICES, {}, "wrong-index", "reverse order (axis 2)"),
    "interleaved": (rows([0, 3, 1, 4, 2, 5]), G, {}, "wrong-index", "interleaved"),
    "permuted": (rows([3, 0, 2, 5, 1, 4]), G, {}, "wrong-index", "row 0 holds that of row 3"),
    "permuted line": (np.sort(LINE), LINE, {}, "wrong-index", "and so on"),
    "one row for all": (rows([2] * 6), G, {}, "one-sample-only", "every row holds the gradient of"),
    "all into one row": (
        rows([5, -1, -1, -1, -1, -1]),
        G,
        {},
        "one-sample-only",
        "row 0 (axis 0), alone, holds the gradient of row 5",
    ),
    "some columns": (
        np.where(np.arange(5) > 3, G, 0),
        G,
        {},
        "one-sample-only",
        "only column 4 (axis 1) counted",
    ),
    "some rows": (rows([0, 1, -1, -1, -1, -1]), G, {}, "partial-sum", "only rows 0 … 1 (axis 0)"),
    "no last row": (rows([0, 1, 2, 3, 4, -1]), G, {}, "partial-sum", "zero in row 5"),
    "every other slice": (
        np.where(np.arange(12) % 2 == 1, LINE, 0),
        LINE,
        {},
        "partial-sum",
        "elements 1 … 11, every 2nd",
    ),
    "axes interchanged": (SLICES.swapaxes(1, 2), SLICES, {}, "transposed-gradient", "1 and 2"),
    "mean along an axis": (
        np.broadcast_to(G.mean(0), SHAPE),
        G,
        {},
        "wrong-axis",
        "mean of the right one along axis 0",
    ),
    "both triangles": (
        2 * SYMMETRIC - np.diag(np.diag(SYMMETRIC)),
        SYMMETRIC,
        {},
        "symmetric-convention",
        "counts for both of its places",
    ),
    "one triangle, and the diagonal twice": (
        np.tril(2 * SYMMETRIC),
        SYMMETRIC,
        {},
        "symmetric-convention",
        "in the lower triangle alone",
    ),
    "one triangle": (
        np.tril(2 * SYMMETRIC - np.diag(np.diag(SYMMETRIC))),
        SYMMETRIC,
        {},
        "symmetric-convention",
        "right in every symmetric direction",
    ),
    "made symmetric": ((SQUARE + SQUARE.T) / 2, SQUARE, {}, "symmetric-convention", "(G + Gᵀ)/2"),
    "another triangle": (
        SQUARE + (SQUARE.T - SQUARE) / 3,
        SQUARE,
        dict(x=SYMMETRIC),
        "symmetric-convention",
        "antisymmetric",
    ),
    "last token": (LAST, GATHERED, dict(token=TOKEN, g=TABLED), "one-sample-only", "last one"),
    "first token": (FIRST, GATHERED, dict(token=TOKEN, d_g=TABLED), "one-sample-only", "first one"),
    "mean of tokens": (
        GATHERED / np.maximum(np.bincount(TOKEN), 1)[:, None],
        GATHERED,
        dict(token=TOKEN, g=TABLED),
        "scaled-by-constant",
        "averaged",
    ),
    "clipped": (np.clip(G, -0.5, 0.5), G, {}, "gradient-clipped", "cut off at -0.5 and 0.5"),
    "clipped above": (np.minimum(G, 0.7), G, {}, "gradient-clipped", "cut off at 0.7"),
    "clipped below": (np.maximum(G, -0.3), G, {}, "gradient-clipped", "at -0.3"),
    "norm": (G / np.linalg.norm(G), G, {}, "gradient-clipped", "norm of 1"),
    "decimals": (np.round(G, 4), G, {}, "too-few-digits", "rounded to 4 decimals"),
    "digits": (
        np.vectorize(lambda x: float(f"{x:.5g}"))(G * POSITIVE**3),
        G * POSITIVE**3,
        {},
        "too-few-digits",
        "rounded to 5 significant digits",
    ),
}
# yours, the right one, what else is known, where yours is wrong and what it is there
PLACES = {
    "leak": (np.where(X < 0, 0.1 * G, G), G, dict(x=X), "wrong exactly where x is negative"),
    "zero where negative": (np.where(X < 0, 0, G), G, dict(x=X), "0 exactly where x is negative"),
    "zero where it is negative": (np.maximum(X, 0), X * 1, dict(x=X), "yours is 0 exactly where"),
    "not masked": (
        np.where(X < 0, Z, G),
        np.where(X < 0, 0, G),
        dict(x=X),
        "the right one is 0, and yours is not, exactly where x is negative",
    ),
    "causal": (SQUARE, np.tril(SQUARE), {}, "exactly above the diagonal"),
    "block": (
        np.where(np.arange(5) > 2, -G, G),
        G,
        {},
        "yours is minus the right one exactly in columns 3 … 4 (axis 1)",
    ),
    "block, otherwise": (np.where(np.arange(5) > 2, Z, G), G, {}, "wrong exactly in columns 3"),
    "nowhere": (Z, G, dict(x=X, name=np.array(["a"] * 30).reshape(SHAPE)), ""),
    "one number": (np.array(2.0), np.array(1.0), {}, ""),
}
DIGITS = {
    "constant": (G * (X * X * 0.33333 + 1), G * (X * X / 3 + 1), dict(x=X, g=G)),
    "both signs": (G * (np.cos(X) + 1e-7 * np.sin(X)), G * np.cos(X), dict(x=X, g=G)),
    "one sign": (G * (1 + 1e-7 * (1 + Z * Z)), G, {}),
}


@pytest.mark.parametrize("case", CERTAIN)
def test_what_leaves_no_doubt_is_named(case):
    own, value, known, mistake, words = CERTAIN[case]
    it = diagnosed(own, value, **known)
    assert it is not None
    assert (it.mistake, it.quantity) == (mistake, "x")
    assert words in it.says
    assert it.remedy


@pytest.mark.parametrize("case", PLACES)
def test_where_a_gradient_is_wrong_is_said(case):
    own, value, known, words = PLACES[case]
    says = where(*given(own, value, **known))
    assert words in says if words else not says


@pytest.mark.parametrize("case", DIGITS)
def test_few_digits_are_seen_by_errors_that_are_no_noise(case):
    own, value, known = DIGITS[case]
    it = few_digits(*given(own, value, **known))
    assert it.mistake == "too-few-digits"
    assert "a constant of few digits" in it.says


def test_a_complex_conjugate_is_named_where_the_last_axis_holds_real_and_imaginary_parts():
    value = RANDOM.normal(size=(4, 2))
    own = value * [1, -1]
    assert diagnosed(own, value, complex_parts=True).mistake == "conjugate"
    assert diagnosed(own, value) is None


@pytest.mark.parametrize("returned", [G, Z])
def test_another_gradient_is_named_also_if_that_one_is_returned_where_it_belongs(returned):
    known = dict(x=X, z=X, d_z=Z)
    assert diagnosed(Z, G, returned={"z": returned}, **known).mistake == "swapped-gradients"


def test_two_numbers_are_swapped_if_both_gradients_are_seen_in_the_others_place():
    own, other = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    known = dict(x=own, z=other, d_z=own)
    both = diagnosed(own, other, returned={"x": own, "z": other}, **known)
    assert both.mistake == "swapped-gradients"
    assert diagnosed(own, other, **known) is None


def test_a_gradient_like_anothers_but_for_a_factor_is_not_swapped():
    assert diagnosed(G, G * X, x=X, z=X, d_z=G) is None


def everything(shape, random):
    """Inputs, gradients and intermediates beside a gradient of this shape."""

    def draw(*sizes):
        return random.normal(size=sizes)

    inputs = dict(
        x=draw(*shape),
        other=draw(*shape),
        w=draw(*shape[-1:]),
        token=random.integers(0, shape[0], 7),
        y=random.integers(0, shape[-1], shape[:-1]),
        mask=random.integers(0, 2, shape),
        p=np.array(0.3),
    )
    return inputs | dict(
        d_other=draw(*shape),
        d_w=draw(*shape[-1:]),
        d_more=draw(3, *shape),
    )


def test_random_numbers_are_not_named():
    random = np.random.default_rng(1)
    shapes = [(1,), (2,), (3,), (20,), (1, 3), (3, 1), (2, 2), (4, 5), (4, 4), (2, 3, 4), (3, 2, 2)]
    for trial in range(300):
        shape = shapes[trial % len(shapes)]
        value, noise = random.normal(size=(2, *shape))
        own = [noise, value + noise, value * noise, value * (1 + 10.0 ** -(trial % 9) * noise)]
        known = given(own[trial % 4], value, **everything(shape, random))
        assert by_pattern(*known) is None, trial
        assert few_digits(*known) is None, trial


def test_gradients_of_one_number_are_not_named():
    random = np.random.default_rng(2)
    for trial in range(60):
        shape = ((4, 3), (6,), (2, 2, 2))[trial % 3]
        value = np.full(shape, 0.7)
        own = np.full(shape, random.normal()) if trial % 2 else value + random.normal(size=shape)
        known = given(own, value, **everything(shape, random))
        assert by_pattern(*known) is None, trial
        assert few_digits(*known) is None, trial


@pytest.mark.parametrize(
    ("own", "value"),
    [
        (np.array(2.0), np.array(1.0)),
        (G * 1, G),
        (G.T, G),
        (np.where(X < 0, np.nan, G), G),
        (np.empty((0, 3)), np.empty((0, 3))),
        (np.array([2.0, 1.0]), np.array([1.0, 2.0])),
        (np.array([0.0, 2.0]), np.array([1.0, 2.0])),
    ],
)
def test_what_can_show_no_pattern_is_left(own, value):
    if own.shape != value.shape:
        it = Wrong("x", own, value, 1e-15)
        it.off = np.ones(value.shape, bool)
        assert by_pattern(it, Known({}, {}, {})) is None
    else:
        assert diagnosed(own, value, x=value, y=np.arange(3)) is None


# what looks like a pattern at first: yours, the right one, what else is known
NEARLY = {
    "zeros at no regular rows": (rows([-1, 1, -1, -1, 4, -1]), G, {}),
    "not fair to a symmetric input": (SQUARE * LINE[:4], SQUARE, dict(x=SYMMETRIC)),
    "other parts of a sum": (G.sum(0) + G[0] * ROW, G.sum(0), dict(d_z=G)),
    "other rows by an index": (LAST + Z, GATHERED, dict(token=TOKEN, g=TABLED)),
    "lines of a multiple": (np.outer(COLUMN, ROW) * 2.5 * Z, np.outer(COLUMN, ROW), dict(w=ROW)),
    "a few errors": (G * (1 + 1e-7 * (np.arange(5) > 3) * Z), G, dict(x=X, z=X)),
    "errors of all sizes": (G * (1 + 1e-8 * np.exp(9 * Z)), G, dict(x=X)),
}


@pytest.mark.parametrize("case", NEARLY)
def test_what_is_nearly_a_pattern_is_not_named(case):
    own, value, known = NEARLY[case]
    assert diagnosed(own, value, **known) is None
    assert few_digits(*given(own, value, **known)) is None


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_it_works_at_the_precision_of_the_gradients(kind):
    own, value = np.roll(G, 1, 0).astype(kind), G.astype(kind)
    near = float(np.finfo(kind).eps)
    noise = 1 + near * RANDOM.uniform(-1, 1, SHAPE).astype(kind)
    assert diagnosed(own * noise, value, 4 * near).mistake == "wrong-index"


@pytest.mark.slow
def test_a_million_numbers_are_looked_at():
    random = np.random.default_rng(3)
    value, own, other = random.normal(size=(3, 1000, 1000))
    known = dict(x=other, token=random.integers(0, 1000, 5000))
    assert diagnosed(own, value, **known) is None
    assert diagnosed(np.roll(value, 1, 0), value, **known).mistake == "wrong-index"
