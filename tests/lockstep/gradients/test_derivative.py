"""Where PyTorch's gradient is not the derivative of the reference, difference quotients decide."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients, watch

RANDOM = np.random.default_rng(0)
FEW, MANY = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(6, 9))


class Off(torch.autograd.Function):
    """x³ with a gradient that is wrong by a part in 10⁸, at some elements."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, incoming):
        (x,) = ctx.saved_tensors
        return incoming * 3 * x**2 * (1 + 1e-8 * (x > Off.least).to(x.dtype))


def off(x):
    return Off.apply(x).sum()


@pytest.mark.parametrize(
    ("x", "least", "elsewhere"),
    [(FEW, -9, True), (MANY, -9, True), (MANY, 1.5, True), (FEW, np.sort(FEW.ravel())[-2], False)],
)
def test_a_right_gradient_that_pytorchs_is_not_is_a_match_with_that_remark(x, least, elsewhere):
    Off.least = least
    result = check_gradients(lambda x: {"x": 3 * x**2}, off, x=x)
    assert result.verdict == "match"
    assert result.worst_ratio < 1
    said = result.remarks[0]
    assert said.startswith("PyTorch's gradient is not the derivative of this reference at x[")
    assert ("and elsewhere" in said) == elsewhere
    assert said.endswith("yours is, by difference quotients of the reference's value")


@pytest.mark.parametrize("x", [FEW, MANY])
@pytest.mark.parametrize("wrong", [-1e-8, 3e-8, 1e-3])
def test_if_both_are_wrong_it_is_a_mismatch(x, wrong):
    Off.least = -9
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 3 * x**2 * (1 + wrong)}, off, x=x, diagnose=False)


@pytest.mark.parametrize("x", [FEW, MANY])
def test_if_yours_alone_is_wrong_it_is_a_mismatch(x):
    with pytest.raises(GradientMismatch):
        check_gradients(
            lambda x: {"x": 3 * x**2 * (1 + 1e-8)}, lambda x: (x**3).sum(), x=x, diagnose=False
        )


@pytest.mark.parametrize(
    ("reference", "hand", "x"),
    [
        (
            lambda x: torch.nn.functional.hardsigmoid(x).sum(),
            lambda x: np.where(np.abs(x) < 3, 1 / 6, 0.0),
            np.array([1e-9, 1.0, -4.0]),  # its slope is 1/6 in float32
        ),
        (lambda x: torch.digamma(x).sum(), lambda x: np.pi**2 / 6 + 0 * x, np.ones(1)),
    ],
)
def test_functions_of_pytorch_that_are_a_little_wrong_are_not_yours_to_copy(reference, hand, x):
    result = check_gradients(lambda x: {"x": hand(x)}, reference, x=x)
    assert "is not the derivative of this reference at x[0]" in "; ".join(result.remarks)
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": hand(x) * (1 + 1e-4)}, reference, x=x)


def test_in_float32_quotients_of_float32_see_less_and_pytorch_is_right():
    x = FEW.astype(np.float32)
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 3 * x**2 * 1.001}, lambda x: (x**3).sum(), x=x)


def test_gradients_of_intermediates_and_complex_ones_have_no_quotients():
    Off.least = -99
    with pytest.raises(GradientMismatch, match="s: mismatch"):
        check_gradients(
            lambda x: {"s": 3 * (2 * x) ** 2},
            lambda x: Off.apply(watch("s", 2 * x)).sum(),
            x=FEW,
            diagnose=False,
        )
    with pytest.raises(GradientMismatch, match="z: mismatch"):
        check_gradients(
            lambda z: {"z": 3 * z.real**2 + 0 * z},
            lambda z: off(z.real),
            z=FEW + 1j,
            diagnose=False,
        )
