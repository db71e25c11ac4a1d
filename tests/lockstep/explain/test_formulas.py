"""The formulas that the code by hand says of itself, in our names: they give the step."""

import numpy as np
import pytest

from lockstep.explain.formulas import (
    elements_of,
    evaluate,
    formulas,
    replaced,
    scalar_formulas,
    surroundings,
    what_it_is,
)
from lockstep.explain.symbols import Symbol
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import by_hand
from manual_backprop.activations import activation
from tests.lecture import COMPUTED, LOSSES

DEEP = [
    dict(sizes=(3, 4), loss="sum_over_n", l1=0.1),
    dict(sizes=(3, 4, 2), optimizer="adam", hidden_activation="gelu"),
    dict(sizes=(3, 4, 5, 2), loss="cross_entropy", momentum=0.9, dampening=0.5, l2=0.1),
    dict(sizes=(3, 4, 4, 2), loss="bce", momentum=0.9, nesterov=True, weight_decay=0.1),
    dict(sizes=(2, 3, 4, 5, 2), optimizer="adamw", no_biases=True, frozen=("W2",)),
    dict(sizes=(3, 3, 3), loss="half_sum_over_n", optimizer="rmsprop"),
    dict(sizes=(3, 3, 3), loss="bce_over_n", optimizer="adagrad"),
]


def right(**values):
    return formulas(make_problem(values).network)


@pytest.mark.parametrize(
    ("loss", "value", "delta"),
    [
        ("mse", "square(y - o).sum() / y.size", "2 * (o - y) / y.size * sigma_o_prime(z_o, o)"),
        ("sum", "square(y - o).sum()", "2 * (o - y) * sigma_o_prime(z_o, o)"),
        ("half_sum", "square(y - o).sum() / 2", "(o - y) * sigma_o_prime(z_o, o)"),
    ],
)
def test_the_loss_and_its_derivative_stand_in_full(loss, value, delta):
    found = right(loss=loss)
    assert list(found) == [*COMPUTED, "grad_o", "grad_h"]
    assert found["loss"] == value
    assert found["delta_o"] == delta


def test_a_deeper_network_has_numbered_names():
    found = right(sizes=(3, 4, 5, 2), loss="cross_entropy", optimizer="adam", l2=0.1)
    assert found["z2"] == "a1 @ W2.T + b2"
    assert found["a3"] == "softmax(z3)"
    assert found["delta3"] == "(a3 - y) / y.shape[0]"
    assert found["delta1"] == "delta2 @ W2 * sigma1_prime(z1, a1)"
    assert found["grad_W1"] == "delta1.T @ x + l2 * W1"
    assert found["new_square_b3"] == "beta2 * square_b3 + (1 - beta2) * square(grad_b3)"


@pytest.mark.parametrize("values", [*[dict(sizes=(3, 4, 2), loss=loss) for loss in LOSSES], *DEEP])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_formulas_one_by_one_give_the_step_to_the_last_bit(values, dtype):
    problem = make_problem(values | dict(samples=5, dtype=dtype))
    start = problem.start(1, problem.state)
    names = surroundings(problem.network, start, activation)
    step = by_hand(problem, start)
    for name in problem.network.computed:
        names[name] = evaluate(formulas(problem.network)[name], names)
        np.testing.assert_array_equal(names[name], step[name], name)


@pytest.mark.parametrize(
    ("loss", "delta"), [("mse", "(o1 - y1)"), ("half_sum", "(o1 - y1)"), ("sum", "2 * (o1 - y1)")]
)
def test_the_lectures_factor_is_a_number_or_left_out(loss, delta):
    found = scalar_formulas(make_problem({"loss": loss}).network)
    assert found["delta_o1"] == f"{delta} * sigma_o_prime(z_o1, o1)"
    assert ("2 * (square" in found["loss"]) == (loss == "sum")
    assert found["grad_b3"] == "delta_o1"
    assert found["new_b3"] == "b3 - lr * grad_b3"


def test_a_frozen_parameter_is_not_updated():
    found = right(frozen=("W_o",), momentum=0.9)
    assert (found["new_W_o"], found["new_velocity_W_o"]) == ("W_o", "velocity_W_o")
    assert found["new_b_o"] == "b_o - lr * new_velocity_b_o"


def test_arguments_stand_in_place_of_parameters():
    text = replaced("c * twice(p + q).sum()", {"c": "1"}, {"twice": "lambda a: a * a"})
    assert text == "((p + q) * (p + q)).sum()"


def test_the_formulas_of_a_network_are_read_once():
    network = make_problem({}).network
    assert formulas(network) is formulas(network)


def test_a_symbol_writes_down_what_is_done_with_it():
    a, b = Symbol.called("a"), Symbol.called("b")
    for symbol, text in (
        (0 + a * 1 - 0, "a"),
        (1 * (a - b), "a - b"),
        (2 - a / b, "2 - a / b"),
        (1 / a, "1 / a"),
        (-a @ b.T, "-a @ b.T"),
        (2**a, "2 ** a"),
        (3 + a**2, "3 + a ** 2"),
        (a * a, "square(a)"),
        (np.maximum(a, 0) + np.exp(b), "maximum(a, 0) + exp(b)"),
        (a.shape[0] * a.size, "a.shape[0] * a.size"),
        (a.max(axis=1, keepdims=True), "a.max(axis=1, keepdims=True)"),
    ):
        assert symbol.text() == text


@pytest.mark.parametrize(
    ("name", "of", "says"),
    [
        ("grad_w31", "grad_W_o", "how the loss changes with w31"),
        ("new_b1", "new_b_h", "b1 after a step of gradient descent"),
        ("z_h2", "z_h", "pre-activation of hidden neuron 2: its weighted inputs and its bias"),
        ("delta_h", "delta_h", "error term of the hidden layer: the outputs' error terms sent"),
        ("loss", "loss", "the mean of the squared differences between targets and outputs"),
    ],
)
def test_what_a_quantity_is_stands_in_a_line(name, of, says):
    assert what_it_is(name, of, make_problem({}).network).startswith(says)


def test_what_a_quantity_of_a_deep_network_is_names_its_layer():
    network = make_problem({"sizes": (2, 3, 4, 2), "optimizer": "adam"}).network
    assert what_it_is("a2", "a2", network) == "activation of layer 2: σ of its pre-activation"
    assert what_it_is("grad_a1", "grad_a1", network).endswith("the activation of layer 1")
    assert what_it_is("delta1", "delta1", network).endswith(
        "layer 2's error terms sent back, times σ'"
    )
    assert what_it_is("new_mean_W1", "new_mean_W1", network) == "mean_W1 after a step of Adam"


def test_a_formula_in_matrices_is_written_in_the_lectures_scalars():
    network = make_problem(dict(hidden_activation="sigmoid")).network
    assert elements_of("delta_o.sum(axis=0)", "grad_b_o", network) == {
        "grad_b3": "delta_o1",
        "grad_b4": "delta_o2",
    }


def test_a_formula_of_another_shape_is_none_in_scalars():
    network = make_problem(dict(hidden_activation="sigmoid")).network
    assert elements_of("delta_o", "grad_b_o", network) == {}
