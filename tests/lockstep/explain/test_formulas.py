"""The formulas read from the source: the problem's loss stands in them, they give the step."""

import ast

import numpy as np
import pytest

from lockstep.explain.formulas import (
    as_lambda,
    evaluate,
    formulas,
    replaced,
    sources,
    surroundings,
)
from lockstep.network.names import COMPUTED
from lockstep.network.problem import Start, make_problem
from manual_backprop import two_layer
from manual_backprop.activations import activation
from manual_backprop.losses import LOSSES, square


@pytest.mark.parametrize(
    ("loss", "value", "delta"),
    [
        ("mse", "square(y - o).sum() / y.size", "2 * (o - y) / y.size * sigma_o_prime(z_o, o)"),
        ("sum", "square(y - o).sum()", "2 * (o - y) * sigma_o_prime(z_o, o)"),
        ("half_sum", "square(y - o).sum() / 2", "(o - y) * sigma_o_prime(z_o, o)"),
    ],
)
def test_the_loss_and_its_derivative_stand_in_place_of_their_calls(loss, value, delta):
    right = sources(make_problem({"loss": loss}))
    assert list(right) == list(COMPUTED)
    assert right["loss"] == value
    assert right["delta_o"] == delta


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_formulas_one_by_one_give_the_step_to_the_last_bit(loss, dtype):
    problem = make_problem(
        dict(sizes=(3, 4, 2), samples=5, dtype=dtype, loss=loss, hidden_activation="tanh")
    )
    start = Start(problem.parameters, problem.x, problem.y, problem.lr)
    names = surroundings(problem, start, activation)
    step = two_layer.step(
        **problem.parameters,
        x=problem.x,
        y=problem.y,
        lr=problem.lr,
        hidden_activation="tanh",
        loss=loss,
    )
    for name, source in sources(problem).items():
        names[name] = evaluate(source, names)
        np.testing.assert_array_equal(names[name], step[name])


@pytest.mark.parametrize(
    ("loss", "delta"), [("mse", "(o1 - y1)"), ("half_sum", "(o1 - y1)"), ("sum", "2 * (o1 - y1)")]
)
def test_the_lectures_factor_is_a_number_or_left_out(loss, delta):
    found = formulas(loss, scalars=True)
    assert ast.unparse(found["delta_o1"]) == f"{delta} * sigma_o_prime(z_o1, o1)"
    assert ("2 * (square" in ast.unparse(found["loss"])) == (loss == "sum")


def test_a_frozen_parameter_is_not_updated():
    right = sources(make_problem({"frozen": ("W_o",)}))
    assert right["new_W_o"] == "W_o"
    assert right["new_b_o"] == "b_o - lr * grad_b_o"


def test_arguments_stand_in_place_of_parameters():
    text = replaced("c * twice(p + q).sum()", {"c": "1"}, {"twice": as_lambda(square)})
    assert text == "((p + q) * (p + q)).sum()"


def test_what_is_not_one_formula_is_not_put_in_place_of_its_call():
    with pytest.raises(TypeError, match="sigmoid is not one formula"):
        as_lambda(activation("sigmoid")[0])


def test_the_formulas_of_a_loss_are_read_once():
    assert formulas("mse") is formulas("mse")
