"""What reports said that was not so, each found by trying them."""

import numpy as np
import pytest

from lockstep import compare
from lockstep.errors import Unusable
from lockstep.report.terminal import report

NETWORK = dict(
    sizes="4-5-5-3", activations="tanh,sigmoid,linear", loss="cross_entropy", samples=6, steps=3
)


def test_two_mistakes_in_one_formula_are_joined_by_and():
    def step(W3, dW3, lr, x):
        return dict(new_W3=W3 + lr * dW3 / len(x))

    result = compare(step, **NETWORK)
    assert [it["mistake"] for it in result.diagnoses] == ["update-sign", "learning-rate"]
    assert [it["together"] for it in result.diagnoses] == [False, True]
    assert "\n  and       learning-rate" in report(result)


def test_the_remedy_of_a_second_mistake_is_the_right_formula():
    def step(W2, dW2):
        return dict(new_W2=W2 + dW2)

    assert compare(step, **NETWORK).diagnoses[1]["remedy"] == "new_W2 is W2 - lr·grad_W2"


@pytest.mark.slow
def test_a_formula_that_fits_the_first_step_alone_is_no_evidence():
    def step(W1, dW1, velocity_W1, lr):
        velocity = 0.9 * velocity_W1 + dW1
        return dict(new_velocity_W1=velocity, new_W1=W1 - 2 * lr * velocity)

    found = compare(step, momentum=0.9, **NETWORK).diagnoses
    assert [it["mistake"] for it in found] == ["learning-rate"]
    assert "2 times the learning rate" in found[0]["says"]


@pytest.mark.slow
def test_an_epsilon_that_changes_nothing_is_not_named_beside_a_factor(tmp_path):
    def step(W1):
        return dict(loss=np.float64(2.1))

    numbers = tmp_path / "loss.toml"
    numbers.write_text('loss = "2.1"\n')
    result = compare(numbers=str(numbers), **NETWORK | {"steps": 1})
    assert "log-epsilon" not in {it["mistake"] for it in result.diagnoses}


@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
def test_an_epsilon_in_the_denominators_of_delta_is_named(loss):
    def step(a3, y):
        if loss == "bce":
            d = -(y / (a3 + 1e-8) - (1 - y) / (1 - a3 + 1e-8))
            return dict(delta3=d * a3 * (1 - a3) / y.size)
        d = np.eye(3)[y] / (a3 + 1e-8)
        return dict(delta3=a3 * ((d * a3).sum(axis=1, keepdims=True) - d) / len(y))

    problem = NETWORK | dict(loss=loss)
    problem["activations"] = problem["activations"].replace(
        "linear", "sigmoid" if loss == "bce" else "linear"
    )
    found = compare(step, **problem).diagnoses
    assert [it["mistake"] for it in found] == ["log-epsilon"]
    assert "denominators" in found[0]["says"]


def test_one_number_for_all_biases_is_named_with_its_factor():
    def step(delta1, b1):
        return dict(grad_b1=0.3 * delta1.sum() * np.ones_like(b1))

    (found,) = compare(step, **NETWORK).diagnoses
    assert found["mistake"] == "bias-summed-over-neurons"
    assert "0.3 times the sum of delta1" in found["says"]


def test_a_derivative_that_is_there_twice_is_named():
    def step(delta2, W2, a1):
        return dict(delta1=delta2 @ W2 * (1 - a1**2) ** 2)

    found = compare(step, **NETWORK).diagnoses
    assert [it["mistake"] for it in found] == ["extra-activation-derivative"]


def forward(W1, b1, W2, b2, W3, b3, x):
    a1 = np.tanh(z1 := x @ W1.T + b1)
    a2 = 1 / (1 + np.exp(-(z2 := a1 @ W2.T + b2)))
    z3 = a2 @ W3.T + b3
    a3 = np.exp(z3) / np.exp(z3).sum(axis=1, keepdims=True)
    return dict(z1=z1, a1=a1, z2=z2, a2=a2, z3=z3, a3=a3)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_activations_that_differ_by_layer_are_told_as_one_option(loss):
    result = compare(forward, sizes="4-5-5-3", samples=6, loss=loss)
    asked = "--activations tanh,sigmoid,softmax"
    assert result.fits == asked + (" --loss cross_entropy" if loss == "mse" else "")


@pytest.mark.parametrize(
    ("name", "option"), [("velocity_W1", "--momentum"), ("mean_W1", "--optimizer adam")]
)
def test_the_memory_of_an_optimiser_that_is_not_set_says_what_to_set(name, option):
    namespace: dict = {}
    exec(f"def asks({name}): return dict(new_W1={name})", namespace)
    exec(f"def returns(W1): return dict(new_{name}=W1)", namespace)
    for step in ("asks", "returns"):
        with pytest.raises(Unusable, match=f"memory of an optimiser; expected {option}"):
            compare(namespace[step], sizes="4-5-5-3")


def test_a_factor_that_is_nearly_1_has_the_digits_that_tell():
    def step(x, delta_h):
        return dict(grad_W_h=delta_h.T @ x * (1 + 1e-9))

    (found,) = compare(step, sizes="4-5-3", samples=6, steps=1).diagnoses
    assert found["says"].startswith("grad_W_h is 1.000000001 times the right one")
