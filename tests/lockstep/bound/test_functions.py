"""Functions of numbers that carry their errors: each rule covers what it has to, and no more."""

import numpy as np
import pytest

from lockstep.bound.activations import bounded_activation
from lockstep.bound.bounded import Bounded, Precision
from manual_backprop.activations import ACTIVATIONS, activation, softmax

DOUBLE = Precision.of("float64")
FUNCTIONS = {
    "exp": (np.exp, (-600.0, 600.0)),
    "log": (np.log, (1e-280, 1e280)),
    "log1p": (np.log1p, (-0.9, 1e3)),
    "sqrt": (np.sqrt, (1e-280, 1e280)),
    "absolute": (np.absolute, (-10.0, 10.0)),
    "maximum": (lambda z: np.maximum(z, 0), (-10.0, 10.0)),
    "negative": (np.negative, (-10.0, 10.0)),
    "one over": (lambda z: 1 / z, (0.5, 10.0)),
    "power": (lambda z: z**7, (0.1, 1.0)),
}


def carrying(value, error):
    """Numbers that may be off by an error, relative to their size, k = 1."""
    value = np.asarray(value, float)
    size = np.abs(value) * error / (5 * DOUBLE.u)
    return Bounded(value, size, 1, DOUBLE)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("error", [1e-15, 1e-9, 1e-3])
def test_the_function_of_a_number_within_its_bound_lies_within_the_functions_bound(name, error):
    function, (low, high) = FUNCTIONS[name]
    random = np.random.default_rng(0)
    value = random.uniform(low, high, 2000)
    if low > 0:
        value = np.exp(random.uniform(np.log(low), np.log(high), 2000))
    number = carrying(value, error)
    result = function(number)
    assert result.k >= number.k
    for side in (-0.8, 0.8):  # room for the rounding of the number that is moved
        with np.errstate(all="ignore"):
            other = function(value + side * number.bound())
            off = np.abs(other - function(value))
        assert (off <= result.bound()).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_of_a_number_that_is_nearly_exact_little_is_allowed(name):
    function, (low, high) = FUNCTIONS[name]
    value = np.linspace(max(low, -5), min(high, 5), 101)
    value = value[np.abs(value) > 0.1]
    result = function(Bounded.exact(value, DOUBLE))
    near = 60 * DOUBLE.u * (1 + np.abs(value))
    assert (result.bound() <= near * np.maximum(np.abs(function(value)), 0.1)).all()


def test_nothing_is_known_of_a_logarithm_or_a_quotient_that_may_leave_its_range():
    number = carrying([1.0, 1e-3], 1.5)
    with np.errstate(all="ignore"):
        assert np.isinf(np.log(number).bound()).all()
        assert np.isinf((2.0 / number).bound()).all()
        assert np.isinf((number / number).bound()).all()


def test_a_root_near_zero_is_off_by_no_more_than_the_root_of_the_error():
    number = Bounded(np.array([0.0]), np.array([1e-20 / (5 * DOUBLE.u)]), 1, DOUBLE)
    with np.errstate(all="ignore"):
        assert 1e-10 <= np.sqrt(number).bound()[0] < 3e-10
        assert np.sqrt(Bounded.exact([0.0], DOUBLE)).bound()[0] < 1e-100


def test_the_largest_is_off_by_no_more_than_the_worst_element():
    number = Bounded(
        np.array([[1.0, 2.0], [5.0, 3.0]]), np.array([[4.0, 1.0], [1.0, 9.0]]), 1, DOUBLE
    )
    largest = number.max(axis=1, keepdims=True)
    assert largest.value.tolist() == [[2.0], [5.0]]
    assert largest.scale.tolist() == [[4.0], [9.0]]
    assert number.sum(axis=1, keepdims=True).scale.tolist() == [[5.0], [10.0]]


def test_a_sign_is_exact_but_where_the_bound_reaches_zero():
    sign = np.sign(carrying([2.0, -1.0, 0.0], 1e-9))
    assert sign.value.tolist() == [1.0, -1.0, 0.0]
    assert (sign.bound() < 1e-15).all()
    torn = np.sign(Bounded(np.array([1e-9]), np.array([1.0 / DOUBLE.u]), 1, DOUBLE))
    assert torn.bound()[0] >= 2
    assert np.sign(Bounded.exact([3.0], DOUBLE)).scale[0] == 1.0


def test_adding_nothing_rounds_nothing_and_an_array_may_stand_to_the_left():
    number = carrying([1.0, 2.0], 1e-15)
    assert number + 0 is number
    assert 0 + number is number
    left, right = np.array([3.0, 4.0]), carrying([1.0, 2.0], 1e-15)
    for result, value in (
        (left + right, [4, 6]),
        (left - right, [2, 2]),
        (left * right, [3, 8]),
        (left / right, [3, 2]),
        (left @ right, 11),
    ):
        assert isinstance(result, Bounded)
        np.testing.assert_array_equal(result.value, value)


def test_a_function_that_has_no_rule_is_refused():
    with pytest.raises(TypeError):
        np.cos(carrying([1.0], 1e-15))
    with pytest.raises(TypeError):
        np.add.reduce(carrying([1.0], 1e-15))


@pytest.mark.parametrize("name", [*ACTIVATIONS, "leaky_relu:0.3"])
@pytest.mark.parametrize("error", [1e-12, 1e-9, 1e-3, 0.3])
def test_an_activation_of_a_number_within_its_bound_lies_within_its_bound(name, error):
    sigma, sigma_prime = bounded_activation(name)
    plain, plain_prime = activation(name)
    value = np.concatenate([np.linspace(-40, 40, 1601), [0.0, 1e-9, -1e-9, 1e-300]])
    z = Bounded(value, np.full(value.shape, error / (5 * DOUBLE.u)), 1, DOUBLE)
    s = sigma(z)
    slope = sigma_prime(z, s)
    for by in (-0.9, -0.5, 0.5, 0.9):
        moved = value + by * z.bound()
        assert (np.abs(plain(moved) - plain(value)) <= s.bound()).all()
        apart = np.abs(
            1.0 * plain_prime(moved, plain(moved)) - 1.0 * plain_prime(value, plain(value))
        )
        if isinstance(slope, Bounded):
            assert (apart <= slope.bound()).all()
        else:
            assert (slope, name) == (1, "linear")


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "softplus", "elu"])
def test_a_smooth_activation_allows_little_of_a_number_that_is_nearly_exact(name):
    sigma, sigma_prime = bounded_activation(name)
    z = Bounded.exact(np.linspace(-3, 3, 61), DOUBLE)
    s = sigma(z)
    assert (s.bound() <= 1e-14).all()
    assert (sigma_prime(z, s).bound() <= 1e-13).all()


def test_pytorchs_softplus_is_straight_from_20_on_and_that_is_allowed():
    sigma, sigma_prime = bounded_activation("softplus")
    z = Bounded.exact(np.array([19.0, 21.0]), DOUBLE)
    s = sigma(z)
    missing = np.exp(-21.0)
    assert s.bound()[0] < 1e-12
    assert missing <= s.bound()[1] <= 100 * missing
    assert sigma_prime(z, s).bound()[1] >= missing


def test_a_softmax_is_bounded_by_its_formula_and_takes_values_that_are_known():
    z = carrying([[1.0, 2.0, 800.0], [0.0, 0.0, 0.0]], 1e-15)
    sigma, sigma_prime = bounded_activation("softmax")
    s = sigma(z)
    np.testing.assert_allclose(s.value, softmax(z.value))
    assert sigma_prime(z, s) == 1
    known = z.value + 1, softmax(z.value) + 1e-3
    again = bounded_activation("softmax", known)[0](carrying(z.value, 1e-15))
    np.testing.assert_array_equal(again.value, known[1])
    assert (again.bound()[1] < 1e-14).all()


def test_a_noisy_formula_of_a_smooth_activation_has_terms_of_size_1():
    z = Bounded.exact(np.array([1e-6]), DOUBLE)
    assert bounded_activation("elu")[0](z).scale[0] < 1e-5
    assert bounded_activation("elu", noisy=True)[0](z).scale[0] >= 1
