"""by_probing: which part of an incoming gradient a backward uses."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_function, check_gradients
from lockstep.gradients.measured import Check, Measured
from lockstep.gradients.probe import by_probing, used_as_a_whole

RANDOM = np.random.default_rng(5)
X, G = RANDOM.normal(size=(2, 4, 3))
WIDE, GIVEN = RANDOM.normal(size=(2, 4, 7))


def reference(x, g):
    return (torch.tanh(x) * g).sum()


def slope(x):
    return 1 - np.tanh(x) ** 2


def rows(x):
    """A backward in which rows mix."""
    return (x.cumsum(0) ** 2).sum(1)


def mixed(x, g):
    return (rows(x) * g).sum()


def by_row(x, g, used):
    """The gradient of `mixed` of which some rows of the incoming one are used."""
    parts = 2 * np.cumsum(x, 0) * (g * used)[:, None]
    return np.cumsum(parts[::-1], 0)[::-1]


# the mistake, a part of the sentence, reference, hand, inputs
CASES = {
    "not used": (
        "incoming-gradient-ignored",
        "does not use g",
        reference,
        lambda x, g: {"x": slope(x)},
        dict(x=X, g=G),
    ),
    "used twice": (
        "factor-twice",
        "has g as a factor twice",
        reference,
        lambda x, g: {"x": slope(x) * g * g},
        dict(x=X, g=G),
    ),
    "one row for all": (
        "one-sample-only",
        "uses only row 0 of g, for all",
        reference,
        lambda x, g: {"x": slope(x) * g[0]},
        dict(x=X, g=G),
    ),
    "one column for all": (
        "partial-sum",
        "uses only place (axis 1) 0 of g, for all",
        reference,
        lambda x, g: {"x": slope(x) * g[:, :1]},
        dict(x=X, g=G),
    ),
    "a row lost": (
        "partial-sum",
        "has no part from row 2 of g",
        mixed,
        lambda x, g: {"x": by_row(x, g, np.arange(4) != 2)},
        dict(x=X, g=G[:, 0]),
    ),
    "rows lost": (
        "partial-sum",
        "has no part from rows 1 … 2 of g",
        mixed,
        lambda x, g: {"x": by_row(x, g, np.array([1, 0, 0, 1]))},
        dict(x=X, g=G[:, 0]),
    ),
    "rows lost here and there": (
        "partial-sum",
        "has no part from rows 0, 2 of g",
        mixed,
        lambda x, g: {"x": by_row(x, g, np.array([0, 1, 0, 1]))},
        dict(x=X, g=G[:, 0]),
    ),
    "other rows": (
        "wrong-index",
        "uses row 0 of g, which belongs to row 0",
        reference,
        lambda x, g: {"x": slope(x) * np.roll(g, 1, 0)},
        dict(x=X, g=G),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_use_of_an_incoming_gradient_is_named(case):
    mistake, words, function, hand, inputs = CASES[case]
    own = hand(**inputs)
    seen = Measured(own, {}, {}, {}, {}, {}, {}, [])
    for incoming in ([], ["g"]):
        it = Check(lambda given: hand(**given), function, inputs, ["x"], ["x"], incoming=incoming)
        got = [*used_as_a_whole(it, seen, ["x"])] or [*by_probing(it, seen, ["x"])]
        assert [one.mistake for one in got] == [mistake]
        assert words.replace(" g", " the incoming gradient" if incoming else " g") in got[0].says


@pytest.mark.parametrize("used", [lambda x, g: g * slope(x) + x, lambda x, g: g.T.reshape(x.shape)])
def test_another_mistake_is_none_of_the_incoming_gradient(used):
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x, g: {"x": used(x, g)}, reference, x=WIDE, g=GIVEN)
    assert "incoming" not in error.value.diagnoses[0]["mistake"]


def test_a_zero_gradient_and_one_of_a_number_have_no_rows():
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            lambda x, y, g: {"x": np.zeros_like(x), "y": 3.0 + g[0] * y},
            lambda x, y, g: ((x * y) * g).sum(),
            x=X[:, 0],
            y=2.0,
            g=G[:, 0],
        )
    assert error.value.diagnoses[0]["mistake"] == "gradient-missing"


def test_a_gradient_that_uses_the_sum_of_the_incoming_one_is_named():
    class Summed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, given):
            return 2 * ctx.saved_tensors[0] * given.sum(0)

    with pytest.raises(GradientMismatch, match="wrong-axis: every row of the gradient of x uses"):
        check_function(Summed, lambda x: x**2, x=X)


def test_an_axis_of_length_1_is_not_probed():
    def hand(x, g):
        return {"x": slope(x) * g[:, ::-1]}

    with pytest.raises(GradientMismatch):
        check_gradients(hand, reference, x=X[:1], g=G[:1])
