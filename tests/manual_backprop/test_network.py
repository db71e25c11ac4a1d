"""A network of any depth by hand: with two layers the lecture's, with any PyTorch's."""

import numpy as np
import pytest

from lockstep.run.steps import by_torch
from lockstep.sides.built_in import by_hand
from manual_backprop import network, two_layer
from manual_backprop.losses import LOSSES
from tests.deep import PROBLEMS, name_of, problem
from tests.lecture import ACTIVATIONS
from tests.lecture import LOSSES as SQUARES


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", SQUARES)
@pytest.mark.parametrize("which", ACTIVATIONS)
def test_with_two_layers_it_is_the_lectures_value_for_value(loss, which, dtype):
    made = problem(dict(sizes="3-4-2", samples=5, dtype=dtype, loss=loss, frozen=["b_h"]))
    start, names = made.start(1, made.state), made.network
    lectures = two_layer.step(
        **start.given,
        lr=0.1,
        hidden_activation=which,
        output_activation=which,
        loss=loss,
        frozen=("b_h",),
    )
    own = network.step(
        names.numbered(start.parameters),
        start.x,
        start.y,
        0.1,
        activations=[which, which],
        loss=loss,
        frozen=["b1"],
    )
    for name, array in lectures.items():
        np.testing.assert_array_equal(own[names[name].numbered], array, name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("values", PROBLEMS, ids=name_of)
def test_every_step_has_pytorchs_numbers(values, dtype):
    made = problem(values, dtype=dtype)
    state = made.state
    near = 1e-12 if dtype == "float64" else 3e-4
    for number in (1, 2, 3):
        start = made.start(number, state)
        hand, torch = by_hand(made, start), by_torch(made, start)
        assert list(hand) == list(made.network.computed)
        for name, array in hand.items():
            assert array.dtype == torch[name].dtype == dtype
            assert np.shape(array) == made.network.shape(name, made.samples)
            size = np.abs(torch[name]).max() + 1e-300
            np.testing.assert_allclose(array, torch[name], rtol=0, atol=near * size, err_msg=name)
        state = type(state)(made.network.after(torch), made.network.kept(torch))


def test_the_gradient_by_the_activation_is_there_too():
    made = problem(PROBLEMS[4])
    start = made.start(1, made.state)
    hand = network.step(**made.network.start(start), **made.network.training)
    torch = by_torch(made, start)
    for name in ("grad_a1", "grad_a2", "grad_a3"):
        np.testing.assert_allclose(hand[name], torch[name], rtol=1e-12)


def test_a_bias_may_be_absent_and_a_mask_given():
    W, x = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])
    given = dict(x=x, y=np.zeros((1, 1)), lr=1.0, activations=["linear"] * 2, loss="half_sum")
    found = network.step({"W1": W.T, "W2": W}, **given | {"x": np.array([[3.0]])})
    assert not {"grad_b1", "new_b1"} & found.keys()
    assert found["z2"].tolist() == [[15.0]]
    masked = network.step(
        {"W1": W.T, "W2": W}, **given | {"x": x[:, :1]}, masks={"mask1": np.array([[2.0, 0.0]])}
    )
    assert masked["a1"].tolist() == [[3.0, 6.0]]
    assert masked["z2"].tolist() == [[6.0]]
    assert masked["delta1"].tolist() == [[12.0, 0.0]]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"frozen": ["W3"]}, "frozen: expected names out of W1, b1, W2, b2, got"),
        ({"optimizer": "lion"}, "optimizer: expected one of sgd, adam, .* got 'lion'"),
        ({"loss": "mae"}, "loss: expected one of mse, .* got 'mae'"),
        ({"activations": ["mish", "linear"]}, "activation: expected one of .* got 'mish'"),
    ],
)
def test_what_is_not_there_is_refused(wrong, words):
    made = problem(dict(sizes="2-2-2"))
    given = made.network.start(made.start(1, made.state)) | made.network.training | wrong
    with pytest.raises(ValueError, match=words):
        network.step(**given)


def test_every_loss_is_one_of_the_sets_problems():
    assert {values.get("loss", "mse") for values in PROBLEMS} == LOSSES.keys()
