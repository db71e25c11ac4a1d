"""assert_gradients_close: assert_close whose tolerance is measured."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, assert_gradients_close
from lockstep.errors import OBSERVERS

X = torch.linspace(-2, 2, 40, requires_grad=True)


def like():
    return torch.autograd.grad((torch.tanh(X) ** 2).sum(), X)


def right():
    t = torch.tanh(X.detach())
    return 2 * t * (1 - t * t)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_right_to_its_precision_is_close_and_the_tolerance_is_printed(kind, capsys):
    allowed = assert_gradients_close([right().to(kind)], like(), like=like)
    name = str(kind).removeprefix("torch.")
    assert f"0: right; rounding in {name} explains" in capsys.readouterr().out
    assert 0 < allowed["0"] < 2000 * torch.finfo(kind).eps


@pytest.mark.parametrize(
    ("wrong", "mistake", "says"),
    [
        (lambda g: 0 * g, "gradient-missing", "0 is zero everywhere"),
        (lambda g: -g, "sign-flipped", "0 is -1 times the right one"),
        (lambda g: 1.5 * g, "scaled-by-constant", "0 is 1.5 times the right one"),
        (lambda g: torch.cat([g[:-1], g[-1:] + 1]), "unknown", "1 of 40 elements differ (0[39])"),
    ],
)
def test_what_is_wrong_is_named(wrong, mistake, says):
    with pytest.raises(GradientMismatch) as error:
        assert_gradients_close((wrong(right()),), like(), like=like)
    found = error.value.diagnoses[0]
    assert (found["mistake"], found["says"]) == (mistake, says)
    assert "rounding in float32 explains" in str(error.value)


def test_dicts_arrays_and_single_tensors_are_taken():
    assert_gradients_close({"x": right().numpy()}, {"x": like()[0]}, like=lambda: {"x": like()[0]})
    assert_gradients_close(right(), like()[0], like=lambda: like()[0], seed=3)
    scalar = torch.tensor(2.0, requires_grad=True)
    square = lambda: torch.autograd.grad(scalar**2, scalar)[0]  # noqa: E731
    assert_gradients_close(np.float64(4.0), square(), like=square)
    with pytest.raises(GradientMismatch, match="gradient: mismatch, 1 of 1 element differ"):
        assert_gradients_close(np.float64(4.1), square(), like=square)


@pytest.mark.parametrize(
    ("actual", "own", "words"),
    [
        (right(), like, "got tensors {'gradient': (40,)}, expected {'0': (40,)}"),
        ([right()[:3]], like, "got tensors {'0': (3,)}"),
        (
            [right()],
            lambda: like()[0],
            "like gives other tensors than those expected: {'gradient': (40,)}, exp",
        ),
        ([right()], lambda: [2 * like()[0]], "expected: 0 is not what like gives"),
        ([right()], lambda: [like()[0] / 0], "like gives numbers that are not finite: 0"),
        ([None], like, "actual: 0 is NoneType; expected floating-point numbers"),
        (
            [torch.ones(40).long()],
            like,
            "actual: 0 is torch.int64; expected floating-point numbers",
        ),
        ([], like, "got tensors {}"),
        ([right()], lambda: 1 / 0, "like raised ZeroDivisionError"),
    ],
)
def test_what_cannot_be_compared_is_told(actual, own, words):
    with pytest.raises(ValueError, match=".*") as error:
        assert_gradients_close(actual, like(), like=own)
    assert words in str(error.value)


def test_a_like_that_adds_up_is_told():
    x = torch.linspace(-2, 2, 9, requires_grad=True)

    def adds_up():
        torch.tanh(x).sum().backward()
        return x.grad

    with pytest.raises(ValueError, match="gives another gradient at a second call"):
        assert_gradients_close(torch.zeros(9), adds_up().clone(), like=adds_up)


def test_what_is_right_is_observed_with_its_text():
    x, seen = torch.linspace(-2, 2, 9, requires_grad=True), []
    OBSERVERS.append(seen.append)
    try:
        own = lambda: torch.autograd.grad(torch.tanh(x).sum(), x)  # noqa: E731
        assert_gradients_close(own(), own(), like=own)
    finally:
        OBSERVERS.remove(seen.append)
    (found,) = seen
    assert found.verdict == "match"
    assert str(found).startswith("0: right; rounding in float32")
