"""The optimisers' formulas in special cases that can be checked by head."""

import numpy as np
import pytest

from manual_backprop.optimizers import OPTIMIZERS, adam, adamw, rmsprop, sgd

P, G = np.array([1.0, -2.0]), np.array([0.5, 0.25])


def test_gradient_descent_has_no_memory_and_momentum_keeps_one():
    assert sgd(P, G, 0.1).keys() == {"new"}
    np.testing.assert_allclose(sgd(P, G, 0.1)["new"], P - 0.1 * G)
    found = sgd(P, G, 0.1, velocity=2 * G, momentum=0.5, dampening=0.25)
    np.testing.assert_allclose(found["new_velocity"], 1.75 * G)
    np.testing.assert_allclose(found["new"], P - 0.175 * G)


def test_nesterovs_step_looks_ahead():
    found = sgd(P, G, 0.1, velocity=G, momentum=0.5, nesterov=True)
    np.testing.assert_allclose(found["new"], P - 0.1 * (G + 0.5 * 1.5 * G))


def test_the_first_step_of_adam_is_the_learning_rate_long():
    found = adam(P, G, 0.1, 1, eps=0.0)
    np.testing.assert_allclose(found["new"], P - 0.1 * np.sign(G))


def test_decay_is_coupled_in_adam_and_decoupled_in_adamw():
    still = np.zeros(2)
    coupled = adam(P, still, 0.1, 1, weight_decay=0.5, eps=0.0)["new"]
    np.testing.assert_allclose(coupled, P - 0.1 * np.sign(P))
    np.testing.assert_allclose(adamw(P, still, 0.1, 1, weight_decay=0.5)["new"], 0.95 * P)


def test_epsilon_is_added_to_the_root():
    np.testing.assert_allclose(rmsprop(P, 0 * G, 0.1, eps=1e-3)["new"], P)
    found = rmsprop(P, G, 0.1, alpha=0.0, eps=1.0)
    np.testing.assert_allclose(found["new"], P - 0.1 * G / (G + 1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_of_zero_without_memory_moves_nothing(name):
    step = {"step": 1} if name.startswith("adam") else {}
    found = OPTIMIZERS[name](P, 0 * G, lr=0.1, weight_decay=0.0, **step)
    assert found["new"].tolist() == P.tolist()
