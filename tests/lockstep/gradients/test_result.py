"""What a check says: how fine it could see, how accurate both sides are, and what stays unknown."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients
from lockstep.gradients.result import labelled

X = np.random.default_rng(0).normal(size=(3, 4))


def cubes(x):
    return (x**3).sum()


def d_cubes(x):
    return {"x": 3 * x**2}


def test_a_result_prints_what_it_holds():
    result = check_gradients(lambda x: {"x": 3 * x * x}, cubes, x=X)
    lines = str(result).splitlines()
    assert lines[0].startswith("match: 12 values of 1 gradient. ")
    assert lines[1].startswith("Smallest detectable error: ")
    assert lines[1].endswith("All 12 values could be judged.")
    assert lines[2].startswith("  x: right; rounding puts yours off by ")
    assert (result.verdict, result.values, result.reasons) == ("match", 12, [])
    assert 0 < result.accuracy["x"]["hand"] < 1e-15
    assert 1e-16 < result.seen["x"] <= result.resolution["worst"] < 1e-13


def test_what_was_not_tested_is_listed_with_inputs_that_would_show_it(monkeypatch):
    monkeypatch.setattr(
        "lockstep.gradients.result.untested", lambda it: [("mask", "try x"), ("mask", "y")]
    )
    result = check_gradients(d_cubes, cubes, x=X)
    assert result.cannot_see == ["mask"]
    assert str(result).endswith("not tested: mask: try x\nnot tested: mask: y")


@pytest.mark.parametrize(
    ("at", "is_complex", "label"),
    [
        ((2, 1), False, "x[2, 1]"),
        ((), False, "x"),
        ((2, 0), True, "x[2].real"),
        ((1,), True, "x.imag"),
    ],
)
def test_elements_are_labelled_as_they_are_written(at, is_complex, label):
    assert labelled("x", at, is_complex) == label


def stable(x):
    e = np.exp(-np.abs(x))
    return {"x": e / (1 + e) ** 2}


def by_sigmoid(x):
    s = 1 / (1 + np.exp(-x))
    return {"x": s * (1 - s)}


def sigmoids(x):
    return torch.sigmoid(x).sum()


def stable_sigmoids(x):
    return (1 / (1 + (-x).exp())).sum()


@pytest.mark.parametrize(
    ("hand", "reference", "x", "who"),
    [
        (stable, sigmoids, [0.0, 40.0], "PyTorch's gradient loses 15 digits more than yours"),
        (stable, sigmoids, [0.0, 36.7], "PyTorch's gradient loses 15 digits more than yours"),
        (
            by_sigmoid,
            stable_sigmoids,
            [0.0, 40.0],
            "your gradient loses 15 digits more than PyTorc",
        ),
        (by_sigmoid, sigmoids, [0.0, 4.0], ""),
    ],
)
def test_a_side_that_loses_all_in_a_tail_gets_a_remark_and_no_blame(hand, reference, x, who):
    result = check_gradients(hand, reference, x=np.array(x))
    assert result.verdict == "match"
    said = "; ".join(result.remarks)
    assert who in said
    assert result.seen["x"] < 1e-13  # of the element that is not lost
    assert bool(who) == ("in a tail, where a factor such as o·(1 − o) rounds to nothing" in said)


def test_in_float32_both_sides_are_measured_against_float64():
    x = np.array([0.0, 20.0, 2.0], np.float32)
    result = check_gradients(by_sigmoid, sigmoids, x=x)
    assert any("in float32 yours and PyTorch's lose 7 digits" in said for said in result.remarks)
    one = check_gradients(stable, sigmoids, x=x)
    assert any("in float32 PyTorch's gradient loses" in said for said in one.remarks)


def test_a_gradient_that_is_zero_to_rounding_beside_others_is_judged_and_said():
    def reference(x, b):
        return ((x + b).softmax(1) ** 2).sum()

    def hand(x, b):
        e = np.exp(x + b)
        s = e / e.sum(axis=1, keepdims=True)
        d = 2 * s * (s - (s * s).sum(axis=1, keepdims=True))
        return {"x": d, "b": d.sum(axis=1, keepdims=True)}

    b = X[:, :1] * 3
    result = check_gradients(hand, reference, x=X, b=b)
    assert (result.verdict, result.resolution["blind"]) == ("match", 0)
    assert result.remarks == ["b: zero on both sides, to rounding"]
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x, b: {"x": 0 * x, "b": 0 * b + 1e-9}, reference, x=X, b=b)


def test_little_is_known_of_a_gradient_of_which_few_digits_are_left():
    def reference(x):
        return ((x * x).mean() - x.mean() ** 2) ** 2

    def hand(x):
        return {"x": 4 * ((x * x).mean() - x.mean() ** 2) * (x - x.mean()) / x.size}

    result = check_gradients(hand, reference, x=np.random.default_rng(0).normal(size=9) + 3e6)
    assert any(remark.startswith("little is known of x") for remark in result.remarks)
    assert "x: right, as far as could be seen" in str(result)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_zeros_are_judged_in_every_precision(kind):
    x = X.astype(kind)
    result = check_gradients(
        lambda x: {"x": np.where(x > 0, 1.0, 0.0)}, lambda x: x.relu().sum(), x=x
    )
    assert result.resolution["blind"] == 0


def test_gradients_that_are_zero_everywhere_have_no_accuracy():
    result = check_gradients(lambda x: {"x": 0 * x}, lambda x: (0 * x).sum(), x=X)
    assert result.accuracy == {"x": {"hand": None, "torch": None}}
    assert "\nAll 12 values could be judged.\n  x: right" in str(result)


def test_infinite_gradients_on_both_sides_are_undecided_and_the_rest_is_judged():
    def hand(x):
        return {"x": 0.5 / np.sqrt(x)}

    x = np.array([0.0, 1.0, 4.0])
    result = check_gradients(hand, lambda x: x.sqrt().sum(), x=x)
    assert result.verdict == "undecided"
    assert result.reasons == ["the gradient of x is not finite on both sides"]
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 0.6 / np.sqrt(x)}, lambda x: x.sqrt().sum(), x=x)


def test_an_empty_gradient_beside_others_has_nothing_to_say():
    result = check_gradients(
        lambda x, e: {"x": 2 * x, "e": e},
        lambda x, e: (x**2).sum() + e.sum(),
        x=X,
        e=np.zeros((0, 3)),
    )
    assert (result.verdict, result.values) == ("match", 12)


def test_a_mismatch_lists_all_that_is_wrong_and_all_that_is_right():
    def reference(a, b, c):
        return (a * b * c).sum()

    def hand(a, b, c):
        return {"a": -b * c, "b": a * c, "c": 2 * a * b}

    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, reference, a=X, b=X + 1, c=X + 2)
    report = str(error.value)
    assert [found["quantity"] for found in error.value.diagnoses] == ["a", "c"]
    assert "\n  too       c differs: scaled-by-constant" in report
    assert report.endswith("\n  right     b")
    assert "apart" in report


def test_a_difference_that_is_not_finite_is_not_put_into_numbers():
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x: {"x": np.inf * (3 + 0 * x)}, cubes, x=X)
    assert "apart" not in str(error.value)
