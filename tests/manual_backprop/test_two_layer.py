"""The matrices say the same as the neurons one by one, exactly; batches are sums over samples."""

from fractions import Fraction

import numpy as np
import pytest

from manual_backprop import neuron_by_neuron, two_layer
from tests.lecture import COMPUTED, PARAMETERS, scalar_names, shape_of
from tests.manual_backprop.test_neuron_by_neuron import NUMBERS, SIGMA

SIZES = (2, 2, 2)


def matrices():
    named = {}
    for name in (*PARAMETERS, "x", "y"):
        scalars = [NUMBERS[scalar] for scalar in scalar_names(name, SIZES, 1)]
        named[name] = np.array(scalars, dtype=object).reshape(shape_of(name, SIZES, 1))
    return named | {"lr": NUMBERS["lr"]}


@pytest.mark.parametrize("loss", ["mse", "sum", "half_sum"])
@pytest.mark.parametrize("frozen", [(), ("W_o", "b_h")])
@pytest.mark.parametrize("sigma", ["linear", "relu", SIGMA], ids=["linear", "relu", "polynomial"])
def test_matrices_are_the_neurons_one_by_one_in_exact_arithmetic(loss, frozen, sigma):
    settings = dict(hidden_activation=sigma, output_activation=sigma, loss=loss, frozen=frozen)
    by_neurons = neuron_by_neuron.step(**NUMBERS, **settings)
    by_matrices = two_layer.step(**matrices(), **settings)
    assert list(by_matrices) == list(COMPUTED)
    for name, array in by_matrices.items():
        assert np.shape(array) == shape_of(name, SIZES, 1)
        scalars = scalar_names(name, SIZES, 1)
        assert list(np.ravel(np.array(array, dtype=object))) == [
            by_neurons[scalar] for scalar in scalars
        ]


def test_gradients_of_a_batch_are_sums_over_its_samples():
    random = np.random.default_rng(5)
    fractions = np.vectorize(lambda value: Fraction(round(float(value) * 64), 64), otypes=[object])
    parameters = {
        name: fractions(random.normal(size=shape_of(name, (3, 4, 2), 1))) for name in PARAMETERS
    }
    x, y = fractions(random.normal(size=(5, 3))), fractions(random.normal(size=(5, 2)))
    settings = dict(
        hidden_activation=SIGMA, output_activation=SIGMA, loss="half_sum", lr=Fraction(1, 8)
    )
    whole = two_layer.step(**parameters, x=x, y=y, **settings)
    alone = [
        two_layer.step(**parameters, x=x[i : i + 1], y=y[i : i + 1], **settings) for i in range(5)
    ]
    for name in ("loss", "grad_W_o", "grad_b_o", "grad_W_h", "grad_b_h"):
        assert np.all(whole[name] == sum(sample[name] for sample in alone))
    mean = two_layer.step(**parameters, x=x, y=y, **(settings | {"loss": "mse"}))
    assert np.all(mean["grad_W_h"] * 5 == whole["grad_W_h"])  # 1/(N·n_out) = 1/10 in place of 1/2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_step_stays_in_the_dtype_of_its_arrays(dtype):
    random = np.random.default_rng(1)
    arrays = {
        name: random.normal(size=shape_of(name, (3, 4, 2), 5)).astype(dtype)
        for name in (*PARAMETERS, "x", "y")
    }
    for activation in ("linear", "sigmoid", "tanh", "relu"):
        step = two_layer.step(
            **arrays, lr=0.1, hidden_activation=activation, output_activation=activation
        )
        if np.lib.NumpyVersion(np.__version__) < "2.0.0":
            del step["loss"]  # NumPy 1 divides a single float32 by a whole number in float64
        assert {array.dtype for array in step.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("frozen", [("w11",), ("W_h", "new_W_h"), "W_h"])
def test_an_unknown_frozen_name_is_refused(frozen):
    with pytest.raises(ValueError, match="frozen: expected names out of W_h, b_h, W_o, b_o, got"):
        two_layer.step(**matrices(), frozen=frozen)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss: expected one of mse, sum, .* got 'banana'"):
        two_layer.step(**matrices(), loss="banana")


def test_a_loss_may_be_a_pair_of_functions():
    def quartic(o, y):
        return ((o - y) ** 4).sum()

    def quartic_prime(o, y):
        return 4 * (o - y) ** 3

    given = matrices()
    step = two_layer.step(**given, loss=(quartic, quartic_prime))
    assert step["loss"] == quartic(step["o"], given["y"])
    assert (step["delta_o"] == quartic_prime(step["o"], given["y"])).all()
