"""The losses: the second of each pair is the derivative of the first, of squares exactly."""

from fractions import Fraction

import numpy as np
import pytest

from manual_backprop.activations import activation
from manual_backprop.losses import (
    LOSSES,
    OUTPUT_ACTIVATIONS,
    divisor,
    half_sum,
    loss_function,
    mse,
    one_hot,
    penalty,
    penalty_prime,
)

SQUARES = [name for name in LOSSES if name not in OUTPUT_ACTIVATIONS]

OUTPUTS, TARGETS = (
    np.array([[Fraction(n, 7) for n in row] for row in rows])
    for rows in ([[3, -5], [2, 11], [-4, 6]], [[1, 8], [-9, 2], [5, 0]])
)


@pytest.mark.parametrize("name", SQUARES)
def test_the_second_is_the_derivative_of_the_first(name):
    L, L_prime = LOSSES[name]
    width = Fraction(1, 3)  # a central difference of a parabola is exact at any width
    for index in np.ndindex(OUTPUTS.shape):
        up, down = OUTPUTS.copy(), OUTPUTS.copy()
        up[index] += width
        down[index] -= width
        assert (L(up, TARGETS) - L(down, TARGETS)) / (2 * width) == L_prime(OUTPUTS, TARGETS)[index]


@pytest.mark.parametrize("name", SQUARES)
def test_a_loss_is_the_sum_of_squares_over_its_divisor(name):
    L, L_prime = LOSSES[name]
    m = divisor(name, *TARGETS.shape)
    assert isinstance(m, int)
    assert L(OUTPUTS, TARGETS) == np.sum((TARGETS - OUTPUTS) ** 2) / m
    assert (L_prime(OUTPUTS, TARGETS) == 2 * (OUTPUTS - TARGETS) / m).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_half_of_twice_the_error_is_the_error_to_the_last_bit(dtype):
    random = np.random.default_rng(2)
    o, y = random.normal(size=(2, 1000)).astype(dtype)
    _, half_sum_prime = LOSSES["half_sum"]
    np.testing.assert_array_equal(half_sum_prime(o, y), 2 * (o - y) / 2)


def test_the_mean_of_two_outputs_is_the_lectures_half_sum():
    assert mse(OUTPUTS[:1], TARGETS[:1]) == half_sum(OUTPUTS[:1], TARGETS[:1])
    assert mse(OUTPUTS, TARGETS) != half_sum(OUTPUTS, TARGETS)


def test_a_pair_stands_for_itself_and_an_unknown_name_is_refused():
    assert loss_function((abs, round)) == (abs, round)
    with pytest.raises(ValueError, match="loss: expected one of mse, .* got 'banana'"):
        loss_function("banana")


@pytest.mark.parametrize("name", OUTPUT_ACTIVATIONS)
def test_the_second_of_a_cross_entropy_is_its_derivative_by_the_pre_activation(name):
    L, L_prime = LOSSES[name]
    sigma, _ = activation(OUTPUT_ACTIVATIONS[name])
    z = np.array([[0.3, -1.2, 2.0], [1.5, 0.1, -0.4]])
    y = one_hot(np.array([2, 0]), 3, np.float64)
    slopes = np.empty(z.shape)
    for index in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[index] += 1e-5
        down[index] -= 1e-5
        slopes[index] = (L(up, y) - L(down, y)) / 2e-5
    np.testing.assert_allclose(L_prime(sigma(z), y), slopes, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", OUTPUT_ACTIVATIONS)
def test_a_cross_entropy_of_the_outputs_is_that_of_the_pre_activations(name):
    L, _ = LOSSES[name]
    o = activation(OUTPUT_ACTIVATIONS[name])[0](z := np.array([[0.3, -1.2], [1.5, 0.1]]))
    y = np.array([[1.0, 0.0], [0.0, 1.0]])
    by_o = -(y * np.log(o)).sum()
    if name.startswith("bce"):
        by_o -= ((1 - y) * np.log(1 - o)).sum()
    assert L(z, y) == pytest.approx(by_o / divisor(name, *y.shape), rel=1e-14)


@pytest.mark.parametrize("name", OUTPUT_ACTIVATIONS)
def test_a_cross_entropy_is_finite_where_the_outputs_saturate(name):
    L, _ = LOSSES[name]
    z, y = np.array([[1000.0, -1000.0]]), np.array([[1.0, 0.0]])
    assert L(z, y) == 0
    assert L(z, 1 - y) == pytest.approx(2000 / (divisor(name, 1, 2) if "over" not in name else 1))


def test_a_row_for_each_label_and_rows_as_they_are():
    rows = one_hot(np.array([1, 0]), 3, np.float32)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert one_hot(rows, 3, np.float32) is rows


def test_a_penalty_has_its_derivative_and_none_is_an_exact_zero():
    W = np.array([[0.5, -2.0], [0.0, 3.0]])
    assert (penalty(W, 0, 0), penalty_prime(W, 0, 0)) == (0, 0)
    assert penalty(W, 0.1, 0.2) == pytest.approx(0.1 * 5.5 + 0.1 * 13.25)
    np.testing.assert_allclose(penalty_prime(W, 0.1, 0.2), 0.1 * np.sign(W) + 0.2 * W)
