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


@pytest.mark.slow
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


def hinge(x):
    return torch.relu(1 - x).sum()


def narrow(x):
    return x.clamp(-1e-9, 1e-9).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "x", "right", "wrong"),
    [
        (lambda x: x.abs().sum(), np.array([1e-8, 0.5, -1]), [1, 1, -1], [0, 1, -1]),
        (hinge, np.float32([0.9999, 2, 0.3]), [-1, 0, -1], [-0.5, 0, -1]),
        (lambda x: hinge(x) + 1e6, np.array([1 - 1e-6, 2, 0.3]), [-1, 0, -1], [-0.5, 0, -1]),
        (lambda x: x.max(), np.float32([100.01, 100]), [1, 0], [0.5, 0.5]),
        (narrow, np.array([0.0, 1]), [1, 0], [0, 0]),
        (lambda x: torch.tanh(1e9 * x).sum(), np.array([0.0, 1]), [1e9, 0], [0, 0]),
        (lambda x: torch.tanh(7000 * x).sum(), np.float32([1e-5, 1]), None, [0, 0]),
        (lambda x: (x**2 + 1e-10).sqrt().sum(), np.array([1e-5, 1]), None, [0, 1]),
    ],
)
def test_a_quotient_that_is_wider_than_what_lies_beside_the_inputs_decides_nothing(
    reference, x, right, wrong
):
    def pytorchs(x):
        tensor = torch.tensor(x, requires_grad=True)
        return torch.autograd.grad(reference(tensor), tensor)[0].numpy()

    right = pytorchs(x) if right is None else np.array(right, x.dtype)
    assert check_gradients(lambda x: {"x": right}, reference, x=x).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": np.array(wrong, x.dtype)}, reference, x=x)


def test_a_kink_farther_away_does_not_hide_what_pytorch_gets_wrong():
    Off.least = -9
    x = np.array([0.01, 0.7])

    def reference(x):
        return off(x) + x.abs().sum()

    result = check_gradients(lambda x: {"x": 3 * x**2 + 1}, reference, x=x)
    assert "is not the derivative of this reference at x[0] and elsewhere" in result.remarks[0]


def through_the_largest(x):
    gradient = np.full(x.shape, 1 / x.max())
    gradient[x.argmax()] -= x.sum() / x.max() ** 2
    return {"x": gradient}


@pytest.mark.filterwarnings("ignore:Converting a tensor")
@pytest.mark.parametrize("number", [float, complex, torch.Tensor.item])
def test_a_number_that_the_reference_takes_out_of_a_tensor_is_constant(number):
    x = np.array([0.5, 2, -1])

    def reference(x):
        return (x / number(x.max())).real.sum()

    assert check_gradients(lambda x: {"x": np.full(3, 0.5)}, reference, x=x).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(through_the_largest, reference, x=x)
    assert check_gradients(through_the_largest, lambda x: (x / x.max()).sum(), x=x).values == 3


def d_cross_entropy(p, y):
    return {"p": ((1 - y) / (1 - p) - y / p) / p.size}


NEAR_BOTH_ENDS = np.array([1e-13, 0.5, 1 - 1e-13]), np.array([1.0, 1.0, 0.0])


@pytest.mark.parametrize("places", [[0, 1], [2], [0, 1, 2], [0, 2]])
def test_a_denominator_that_pytorch_cuts_off_is_not_yours_to_copy(places):
    p, y = (array[places] for array in NEAR_BOTH_ENDS)
    reference = torch.nn.functional.binary_cross_entropy
    result = check_gradients(d_cross_entropy, lambda p, y: reference(p, y), p=p, y=y)
    assert "is not the derivative of this reference at p[0]" in "; ".join(result.remarks)
    with pytest.raises(GradientMismatch):
        check_gradients(
            lambda p, y: {"p": 1.01 * d_cross_entropy(p, y)["p"]},
            lambda p, y: reference(p, y),
            p=p,
            y=y,
        )


def test_a_small_gradient_that_pytorch_gets_wrong_beside_large_values():
    x = np.array([-0.6651, -360.0, 26.86])
    w = np.array([-4.108e-06, -2.618, 0.187])

    def hand(x, w):
        return {"x": np.where(np.abs(x) < 3, w / 6, 0)}

    def reference(x, w):
        return (torch.nn.functional.hardsigmoid(x) * w).sum()

    result = check_gradients(hand, reference, x=x, w=w)
    assert "is not the derivative of this reference at x[0]" in result.remarks[0]


@pytest.mark.slow
def test_where_pytorchs_value_is_another_function_its_gradient_is_the_derivative():
    from torch.distributions import VonMises

    def reference(k):  # its Bessel function is a polynomial, right to 8 digits
        return VonMises(torch.zeros_like(k), k).log_prob(torch.ones_like(k)).sum()

    k = np.array([1.0, 3.0])
    ratio = np.array([0.44639_99658_59499, 0.80998_52592_48])  # I₁/I₀
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda k: {"k": np.cos(1) - ratio}, reference, k=k)
    assert error.value.diagnoses[0]["mistake"] == "unknown"


def test_where_pytorch_has_no_gradient_beside_the_inputs_quotients_decide_nothing():
    x = np.array([0.3, 0.7])

    class OnlyThere(Off):
        @staticmethod
        def backward(ctx, incoming):
            if not np.array_equal(ctx.saved_tensors[0].numpy(), x):
                raise ValueError("no gradient here")
            return Off.backward(ctx, incoming)

    Off.least = -9
    with pytest.raises(GradientMismatch):
        check_gradients(
            lambda x: {"x": 3 * x**2}, lambda x: OnlyThere.apply(x).sum(), x=x, diagnose=False
        )
