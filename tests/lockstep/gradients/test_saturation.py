"""A formula that loses its digits where it saturates is right; one that is wrong there is not."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients, check_layer

softplus = torch.nn.functional.softplus


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_tanh(x):
    return x.dtype.type(0.5) * (1 + np.tanh(x / 2))


def checked(slope, x, reference=softplus):
    return check_gradients(lambda x: {"x": slope(x)}, lambda x: reference(x).sum(), x=x)


@pytest.mark.parametrize(
    ("kind", "least"),
    [("float32", -30), ("float64", -20), ("float64", -36.5), ("float64", -90), ("float64", -600)],
)
def test_digits_that_a_right_formula_loses_in_its_tail_are_no_mistake(kind, least):
    result = checked(by_tanh, np.array([least, 0.5, 1], kind))
    assert result.verdict == "match"
    assert any("right, but" in remark and "x[0]" in remark for remark in result.remarks)


def test_it_is_told_where_and_how_many_values_saturate():
    result = checked(by_tanh, np.array([1, -90.0, -60, 0.5]))
    assert "x: right, but your gradient loses digits at x[1], where it saturates (2 values)" in (
        result.remarks
    )


def test_an_output_of_a_layer_may_saturate_too():
    def forward(x):
        return by_tanh(x), x

    def backward(dout, x):
        return dout * sigmoid(x) * sigmoid(-x)

    x = np.array([-90.0, 0.5, 1])
    result = check_layer(forward, backward, torch.sigmoid, x=x)
    assert any(remark.startswith("output: right, but") for remark in result.remarks)
    with pytest.raises(GradientMismatch, match="output: mismatch"):
        check_layer(lambda x: (np.where(x < -80, 0, sigmoid(x)), x), backward, torch.sigmoid, x=x)


@pytest.mark.slow
@pytest.mark.parametrize("least", [-60.0, -90.0, -300.0])
@pytest.mark.parametrize(
    "slope",
    [
        lambda x: np.where(x < -50, 0, sigmoid(x)),  # cut off
        lambda x: np.array([0, 1, 1]) * sigmoid(x),  # missing
        lambda x: np.where(x < -50, 1.001, 1) * sigmoid(x),
        lambda x: np.where(x < -50, 2, 1) * by_tanh(x) * 1.001,
        lambda x: by_tanh(x) + np.where(x < 0, 1e-13, 0),
        lambda x: np.array([0.9, 1, 1]) * sigmoid(x),
    ],
)
def test_a_gradient_that_is_wrong_in_the_tail_is_found(slope, least):
    with pytest.raises(GradientMismatch):
        checked(slope, np.array([least, 0.5, 1]))


def test_a_small_element_beside_large_ones_is_judged_by_itself():
    def reference(r):  # two powers that are 40 decades apart
        return (r**-12 - r**-6).sum()

    r = np.array([1e-3, 1.0])
    right = {"r": -12 * r**-13 + 6 * r**-7}
    assert check_gradients(lambda r: right, reference, r=r).verdict == "match"
    for wrong in (lambda r: -12 * r**-13, lambda r: np.where(r > 0.5, 0, -12 * r**-13)):
        with pytest.raises(GradientMismatch):
            check_gradients(lambda r: {"r": wrong(r)}, reference, r=r)  # noqa: B023


def test_a_reference_that_ends_on_the_way_excuses_nothing():
    def ends(x):
        if (x.abs() > 100).any():
            raise ValueError("too large")
        return softplus(x)

    with pytest.raises(GradientMismatch):
        checked(by_tanh, np.array([-90.0, 0.5, 1]), ends)
    numbers = by_tanh(np.array([-90.0, 0.5, 1]))
    with pytest.raises(GradientMismatch):
        check_gradients({"x": numbers}, lambda x: softplus(x).sum(), x=np.array([-90.0, 0.5, 1]))
