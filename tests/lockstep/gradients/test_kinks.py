"""Kinks, ties and jumps: right is what lies between the gradients seen beside them."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients

AT_ZERO, TIE = np.array([-1.0, 0.0, 2.0]), np.array([2.0, 2.0, 1.0])


def relu(x):
    return x.relu().sum()


def both_ways(x):
    return (x.relu() - (-x).relu()).sum()


def largest(x):
    return 3 * x.max()


def sorted_first(x):
    return (x.sort().values * torch.tensor([1.0, 2.0, 4.0], dtype=x.dtype)).sum()


def ends_at_zero(x):
    if (x < 0).any():
        raise ValueError("below zero")
    return x.clamp(min=1.0).sum() + x.sqrt().sum() * 0 + x.relu().sum()


def complex_relu(z):
    return z.real.relu().sum() + z.imag.sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "x", "gradient", "says"),
    [
        (relu, AT_ZERO, [0, 0, 1], ""),
        (relu, AT_ZERO, [0, 0.5, 1], "x[1] is at a kink or tie, where the gradient may be"),
        (relu, AT_ZERO, [0, 1, 1], "anything from 0 to 1; yours is"),
        (relu, AT_ZERO.astype(np.float32), [0, 1, 1], "anything from 0 to 1; yours is"),
        (both_ways, AT_ZERO, [1, 1, 1], "at x[1]: on both sides it is 1, as yours"),
        (largest, TIE, [3, 0, 0], "x[0] is at a kink or tie"),
        (largest, TIE, [0.9, 2.1, 0], "yours is (2 values like this)"),
        (sorted_first, TIE, [2, 4, 1], ""),
        (sorted_first, TIE, [4, 2, 1], "(2 values like this)"),
        (ends_at_zero, np.array([1.0, 2.0]), [2, 2], ""),
        (ends_at_zero, np.array([1.0, 2.0]), [1, 2], "from 1 to 2"),
    ],
)
def test_at_a_kink_every_gradient_between_its_sides_is_right_and_told(reference, x, gradient, says):
    result = check_gradients(lambda x: {"x": np.array(gradient, x.dtype)}, reference, x=x)
    assert result.verdict == "match"
    assert says in "; ".join(result.remarks)
    assert bool(says) == any("kink" in said or "both sides" in said for said in result.remarks)
    assert result.worst_ratio < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "x", "gradient", "says"),
    [
        (relu, AT_ZERO, [0, 1.5, 1], "on its sides the gradient is between 0 and 1; yours is 1.5"),
        (relu, AT_ZERO, [0, -0.1, 1], "yours is -0.1"),
        (both_ways, AT_ZERO, [1, 0.5, 1], "between 1 and 1; yours is 0.5"),
        (largest, TIE, [3, 3, 0], "not together with the other elements of the tie"),
        (largest, TIE, [0.3, 0.3, 0], "they share one gradient"),
        (sorted_first, TIE, [4, 4, 1], "they share one gradient"),
    ],
)
def test_outside_of_them_it_is_a_mistake_with_that_name(reference, x, gradient, says):
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x: {"x": np.array(gradient, x.dtype)}, reference, x=x)
    assert error.value.diagnoses[0]["mistake"] == "kink"
    assert says in error.value.diagnoses[0]["says"]


@pytest.mark.parametrize(
    ("reference", "x", "gradient"),
    [
        (relu, AT_ZERO, [0.5, 0, 1]),  # no kink there
        (relu, AT_ZERO, [0, 0.5, 1.5]),
        (largest, TIE, [1.5, 1.5, 1]),
        (ends_at_zero, np.array([0.0, 2.0]), [1, 3]),
    ],
)
def test_a_kink_excuses_no_other_element(reference, x, gradient):
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x: {"x": np.array(gradient)}, reference, x=x)
    assert error.value.diagnoses[0]["mistake"] != "kink"
    assert error.value.first_mismatch["index"] != [1] or reference is ends_at_zero


@pytest.mark.parametrize(("real", "right"), [(0.0, True), (0.3, True), (1.0, True), (2.0, False)])
def test_complex_elements_have_kinks_in_their_parts(real, right):
    def hand(z):
        return {"z": np.array([1 + 1j, real + 1j])}

    z = np.array([1.0 + 1j, 1j])
    if right:
        result = check_gradients(hand, complex_relu, z=z)
        assert bool(real) == any("z[1].real is at a kink" in remark for remark in result.remarks)
        return
    with pytest.raises(GradientMismatch):
        check_gradients(hand, complex_relu, z=z)


@pytest.mark.parametrize("scale", [1e15, 1e17])
@pytest.mark.parametrize("wrong", [1e-10, 1e-2])
def test_what_only_varies_fast_is_at_no_kink(scale, wrong):
    x = scale * np.array([1.0, 3.0])
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": np.cos(x) * (1 + wrong)}, lambda x: x.sin().sum(), x=x)


def cancels(x):
    """Zero but for rounding, and then a kink."""
    return (0.1 * x[0] + 0.2 * x[1] - 0.3 * x[2]).relu() + x.sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "right"), [(0.0, True), (0.4, True), (1.0, True), (2.0, False), (-0.5, False)]
)
def test_rounding_that_decides_a_tie_does_not_widen_the_bound_beyond_its_sides(part, right):
    def hand(x):
        return {"x": 1 + part * np.array([0.1, 0.2, -0.3])}

    if right:
        result = check_gradients(hand, cancels, x=np.ones(3))
        assert result.resolution["worst"] < 1e-12
        assert result.remarks[-1] == (
            "x: rounding alone decides between the two sides of a kink or tie for 3 values"
        )
        return
    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, cancels, x=np.ones(3))
    assert error.value.diagnoses[0]["mistake"] == "kink"


def test_of_inputs_that_only_tie_after_a_step_the_shared_gradient_is_no_plane_but_a_hull():
    def reference(x, w):
        return torch.minimum(x @ w, w @ x).sum() + (x - x).relu().sum()

    x, w = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    assert check_gradients(lambda x, w: {"x": w, "w": x}, reference, x=x, w=w).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x, w: {"x": 1.1 * w, "w": x}, reference, x=x, w=w)


def steep_root(x):
    return ((x - 200) ** 2 + 1e-6).sqrt().sum()


def sharp_root(x):
    return ((x - 1e4) ** 2 + 1e-24).sqrt().sum()


def pytorchs(reference, x):
    tensor = torch.tensor(x, requires_grad=True)
    return torch.autograd.grad(reference(tensor), tensor)[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "x"),
    [
        (lambda x: (x - 1000).abs().sum(), np.float32([1000.02, 1000.05, 999.97])),
        (lambda x: (1 - x).relu().sum(), np.float32([1 - 2e-6, 2, 0.3])),
        (steep_root, np.float32([200.004, 199.998])),
        (sharp_root, np.array([1e4 + 1e-10])),
        (lambda x: torch.sigmoid(1000 * (x - 100)).sum(), np.float32([100.0001, 99.999])),
    ],
)
def test_a_kink_or_a_steep_slope_beyond_the_reach_of_rounding_excuses_nothing(reference, x):
    right = pytorchs(reference, x)
    assert check_gradients(lambda x: {"x": right}, reference, x=x).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": right * x.dtype.type(0.5)}, reference, x=x)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("units", [0, 2, -6])
def test_a_kink_that_rounding_reaches_is_one_as_no_side_is_sure(kind, units):
    def reference(x):
        return (x / 3 - 1).relu().sum()

    x = np.array([3 * (1 + units * np.finfo(kind).eps / 2), 5], kind)
    for slope in (0, kind(1) / 3):
        gradient = np.array([slope, kind(1) / 3], kind)
        result = check_gradients(lambda x: {"x": gradient}, reference, x=x)  # noqa: B023
        assert result.verdict == "match"
    with pytest.raises(GradientMismatch, match="mistake   kink"):
        check_gradients(lambda x: {"x": np.array([1, kind(1) / 3], kind)}, reference, x=x)


def test_a_steep_slope_is_named_no_kink():
    x = np.float32([50, 50.0001, 49.9998])
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            lambda x: {"x": 1e4 / (1 + 1e4 * (x - 50) ** 2)},
            lambda x: torch.atan(1e4 * (x - 50)).sum(),
            x=x,
        )
    assert error.value.diagnoses[0]["mistake"] != "kink"
