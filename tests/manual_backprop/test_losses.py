"""The losses: the second of each pair is the derivative of the first, exactly."""

from fractions import Fraction

import numpy as np
import pytest

from manual_backprop.losses import LOSSES, divisor, half_sum, loss_function, mse

OUTPUTS, TARGETS = (
    np.array([[Fraction(n, 7) for n in row] for row in rows])
    for rows in ([[3, -5], [2, 11], [-4, 6]], [[1, 8], [-9, 2], [5, 0]])
)


@pytest.mark.parametrize("name", LOSSES)
def test_the_second_is_the_derivative_of_the_first(name):
    L, L_prime = LOSSES[name]
    width = Fraction(1, 3)  # a central difference of a parabola is exact at any width
    for index in np.ndindex(OUTPUTS.shape):
        up, down = OUTPUTS.copy(), OUTPUTS.copy()
        up[index] += width
        down[index] -= width
        assert (L(up, TARGETS) - L(down, TARGETS)) / (2 * width) == L_prime(OUTPUTS, TARGETS)[index]


@pytest.mark.parametrize("name", LOSSES)
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
    with pytest.raises(ValueError, match="loss: expected one of mse, sum, half_sum, got 'banana'"):
        loss_function("banana")
