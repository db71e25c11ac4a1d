"""Difference quotients in place of a derivation are found, with their width."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients, watch
from lockstep.gradients import quotients

X = np.random.default_rng(0).normal(size=(5, 4))
KINDS = {
    "one-sided": ((1, 0), (1, -1), 1),
    "one-sided, behind": ((0, -1), (1, -1), 1),
    "central": ((1, -1), (1, -1), 2),
    "central, of five points": ((2, 1, -1, -2), (-1, 8, -8, 1), 12),
}


def reference(x):
    return (x.sin() ** 2).sum()


def right(x):
    return 2 * np.sin(x) * np.cos(x)


def differences(kind, width):
    """By hand: difference quotients of the reference, element by element."""
    moves, weights, over = KINDS[kind]

    def hand(x):
        d = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            for move, weight in zip(moves, weights, strict=True):
                moved = x.copy()
                moved[place] += move * width
                d[place] += weight * (np.sin(moved) ** 2).sum()
        return {"x": d / (over * width)}

    return hand


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1e-3, 1e-5, 1e-8])
def test_quotients_are_named_by_their_kind_and_width(kind, width):
    with pytest.raises(GradientMismatch) as error:
        check_gradients(differences(kind, width), reference, x=X)
    assert error.value.diagnoses[0]["mistake"] == "finite-differences"
    named = kind.partition(", behind")[0]
    assert f"quotient, {named}, of width {width:.3g}" in error.value.diagnoses[0]["says"]


@pytest.mark.parametrize("width", [2.0 ** (-52 / 3), 1.49e-8])
def test_widths_that_are_roots_of_epsilon_are_found_too(width):
    with pytest.raises(GradientMismatch) as error:
        check_gradients(differences("one-sided", width), reference, x=X)
    assert error.value.diagnoses[0]["mistake"] == "finite-differences"


@pytest.mark.parametrize("x", [1.0, np.ones(1), X[0, :2]])
def test_quotients_of_a_few_numbers_are_known_by_their_error(x):
    def hand(x):
        return {"x": (np.sin(x + 1e-6) ** 2 - np.sin(x) ** 2) / 1e-6}

    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, reference, x=x)
    assert "one-sided, of width 1e-06" in error.value.diagnoses[0]["says"]


def test_of_a_gradient_quotients_may_be_a_part():
    def hand(x):
        return {
            "x": np.where(
                np.arange(5)[:, None] == 2, differences("central", 1e-5)(x)["x"], right(x)
            )
        }

    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, reference, x=X)
    assert error.value.first_mismatch["label"] == "x[2, 0]"
    assert error.value.diagnoses[0]["mistake"] == "finite-differences"


@pytest.mark.parametrize(
    ("own", "value"),
    [
        (np.arange(1.0, 21) / 1024, np.arange(1.0, 21) / 1024 + 1e-6),  # on any grid
        (right(X).ravel()[:2], right(X).ravel()[:2] * (1 + 1e-7)),  # too few
        (right(X).ravel() * 1.5, right(X).ravel()),  # far off
        (right(X).ravel() * (1 + 1e-8), right(X).ravel()),  # on no grid
        (np.full(20, np.nan), right(X).ravel()),
    ],
)
@pytest.mark.parametrize("loss", [3.0, np.nan])
def test_other_numbers_lie_on_no_grid(own, value, loss):
    assert quotients._by_grid(own, value, np.ones(own.shape), loss) is None


def test_quotients_lie_on_a_grid_whatever_the_value_is():
    own = differences("one-sided", 1e-7)(X)["x"].ravel()
    assert quotients._by_grid(own, right(X).ravel(), X.ravel(), np.nan) is not None


def test_the_gradient_of_an_intermediate_is_no_quotient():
    def hand(x):
        return {"s": 1.001 + 0 * x}

    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, lambda x: watch("s", x.sin()).sum(), x=X)
    assert error.value.diagnoses[0]["mistake"] != "finite-differences"


@pytest.mark.parametrize("by", [1.0, 1 + 1e-9])
def test_quotients_are_not_excused_by_their_own_rounding_and_cancelling_formulas_are(by):
    def hand(x):
        mean = x.mean()
        return {"x": by * (x - mean) / (x.size * np.sqrt((x * x).mean() - mean**2))}

    x = X.ravel() + 100
    if by == 1:
        assert check_gradients(hand, lambda x: x.std(correction=0), x=x).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(differences("central", 1e-5), reference, x=X, diagnose=False)


def test_a_tolerance_and_numbers_from_elsewhere_are_taken_as_they_are():
    numbers = differences("central", 1e-5)(X)
    assert check_gradients(numbers, reference, x=X, rtol=1e-6, atol=1e-8).verdict == "match"
    with pytest.raises(GradientMismatch, match="finite-differences"):
        check_gradients(numbers, reference, x=X)


def test_complex_gradients_are_not_differenced():
    z = X[0] + 1j * X[1]
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            lambda z: {"z": 2 * z * (1 + 1e-7)}, lambda z: torch.view_as_real(z).pow(2).sum(), z=z
        )
    assert error.value.diagnoses[0]["mistake"] != "finite-differences"


def test_widths_that_grow_with_the_inputs_are_found():
    def hand(x):
        d_x = np.zeros_like(x)
        for i in range(x.size):
            end = x.copy()
            end[i] += 1e-7 * max(1.0, abs(x[i]))
            d_x[i] = ((np.tanh(end) ** 3).sum() - (np.tanh(x) ** 3).sum()) / (end[i] - x[i])
        return {"x": d_x}

    with pytest.raises(GradientMismatch, match="finite-differences: .* one-sided, of width 1e-07"):
        check_gradients(hand, lambda x: (x.tanh() ** 3).sum(), x=np.linspace(-4, 4, 12))


def test_a_width_of_the_root_of_epsilon_is_found_though_its_numbers_are_short():
    def hand(x):
        return {"x": (np.sin(x + 2.0**-26) - np.sin(x)) / 2.0**-26}

    with pytest.raises(GradientMismatch, match="finite-differences: .* of width 1.49e-08"):
        check_gradients(hand, lambda x: x.sin().sum(), x=np.linspace(0.3, 2, 12))


@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_a_derivative_that_pytorchs_gradient_is_not_is_no_quotient():
    x = np.array([0.5, 2, -1])

    def hand(x):  # through the largest element too, which the reference takes as a number
        gradient = np.full(3, 1 / x.max())
        gradient[1] -= x.sum() / x.max() ** 2
        return {"x": gradient}

    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, lambda x: (x / float(x.max())).sum(), x=x)
    assert error.value.diagnoses[0]["mistake"] != "finite-differences"
