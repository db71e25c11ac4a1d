"""σ and σ': values at the ends, and σ' against the difference quotient of σ."""

import warnings

import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS, activation


def test_nothing_overflows_at_a_thousand():
    z = np.array([-1000.0, 0.0, 1000.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(activation("sigmoid")[0](z)) == [0.0, 0.5, 1.0]
        assert list(activation("tanh")[0](z)) == [-1.0, 0.0, 1.0]
        assert list(activation("relu")[0](z)) == [0.0, 0.0, 1000.0]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_is_the_derivative(name):
    sigma, sigma_prime = activation(name)
    z, step = np.array([-2.5, -0.7, 0.3, 1.9]), 1e-6
    quotient = (sigma(z + step) - sigma(z - step)) / (2 * step)
    np.testing.assert_allclose(
        np.broadcast_to(sigma_prime(z, sigma(z)), z.shape), quotient, rtol=1e-9, atol=1e-9
    )


def test_relu_has_slope_zero_at_its_kink():
    assert not activation("relu")[1](0.0, 0.0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_single_number_gives_a_single_number(name):
    sigma, sigma_prime = activation(name)
    assert np.ndim(sigma(0.5)) == 0
    assert float(sigma(0.5)) == sigma(np.array([0.5]))[0]


def test_a_softmax_is_a_row_of_shares_and_its_derivative_stands_in_the_loss():
    sigma, sigma_prime = activation("softmax")
    z = np.array([[1000.0, 1000.0], [0.0, -np.log(3.0)]])
    np.testing.assert_allclose(sigma(z), [[0.5, 0.5], [0.75, 0.25]])
    assert sigma_prime(z, sigma(z)) == 1


def test_leaky_relu_takes_a_slope():
    sigma, sigma_prime = activation("leaky_relu:0.25")
    assert sigma(np.array([-4.0, 2.0])).tolist() == [-1.0, 2.0]
    assert sigma_prime(np.array([-4.0, 2.0]), None).tolist() == [0.25, 1.0]


def test_a_pair_stands_for_itself():
    assert activation((abs, round)) == (abs, round)


def test_an_unknown_name_is_refused():
    expected = "activation: expected one of linear, sigmoid, tanh, relu, leaky_relu, .* got 'swish'"
    with pytest.raises(ValueError, match=expected):
        activation("swish")
