"""The network that options describe: what is given must agree, bad input is one clear line."""

import re

import numpy as np
import pytest

from lockstep.errors import Unusable
from lockstep.setup.options import check
from lockstep.setup.problem import make_problem
from tests.deep import PROBLEMS, name_of, problem


def made(**values):
    return make_problem(check(values, str))


@pytest.mark.parametrize("values", PROBLEMS, ids=name_of)
def test_the_settings_of_a_problem_describe_the_same_network_again(values):
    first = problem(values)
    settings = {
        name: value
        for name, value in first.settings.items()
        if value is not None and name not in ("data", "seed")
    }
    arrays = {name: array.tolist() for name, array in first.parameters.items()}
    arrays |= {name: array.tolist() for name, array in first.masks.items()}
    again = made(**settings, **arrays, x=first.x.tolist(), y=first.y.tolist())
    assert again.network == first.network
    np.testing.assert_array_equal(again.x, first.x)


def test_the_depth_follows_from_whatever_says_it():
    assert made(activations="relu,tanh,linear").network.depth == 3
    assert made(W1=[[1.0, 2.0]]).sizes == (2, 1)
    assert made(W1=[[1.0, 2.0]], W3=[[1.0], [2.0]]).sizes == (2, 1, 1, 2)
    assert made(biases=[True, False, True, True]).network.depth == 4
    assert made(sizes="4-3-2-1").sizes == (4, 3, 2, 1)
    assert made(W1=[[1.0, 2.0]], sizes="2-1-2").parameters.keys() == {"W_h", "b_h", "W_o", "b_o"}


def test_parameters_memory_and_masks_are_given_by_name():
    found = made(
        sizes="2-1-1-2",
        optimizer="adam",
        W2=[[0.5]],
        mean_W2=[[0.1]],
        mask1=[[2.0]],
        b3=[1.0, 2.0],
    )
    assert found.parameters["W2"].tolist() == [[0.5]]
    assert found.memory["mean_W2"].tolist() == [[0.1]]
    assert found.memory["square_W1"].tolist() == [[0.0, 0.0]]
    assert found.masks["mask1"].tolist() == [[2.0]]
    assert made(sizes="2-1-2", momentum=0.9).memory is None


def test_the_last_activation_belongs_to_a_cross_entropy():
    assert made(loss="cross_entropy").network.activations == ("linear", "softmax")
    assert made(loss="bce", hidden_activation="relu").network.activations == ("relu", "sigmoid")
    assert made(loss="cross_entropy", activations="tanh,linear").network.activations[1] == "softmax"


def test_targets_are_drawn_as_the_loss_has_them():
    assert made(loss="cross_entropy", sizes="2-3", samples=50).y.dtype.kind == "i"
    assert {*made(loss="cross_entropy", sizes="2-3", samples=50).y.tolist()} == {0, 1, 2}
    assert {*made(loss="bce", samples=50).y.ravel().tolist()} == {0.0, 1.0}


def test_labels_say_how_many_outputs_there_are_where_nothing_else_does():
    assert made(loss="cross_entropy", x=[[1.0], [2.0]], y=[0, 3]).sizes == (1, 1, 4)
    assert made(loss="cross_entropy", x=[[1.0]], y=[0]).sizes == (1, 1, 2)
    assert made(loss="cross_entropy", x=[[1.0]], y=[[0, 0, 1]]).sizes == (1, 1, 3)


def test_a_column_of_a_table_holds_labels(tmp_path):
    table = tmp_path / "classes.csv"
    table.write_text("a,b,kind\n1,2,0\n3,4,2\n5,9,1\n")
    found = made(
        data=str(table), inputs="a,b", targets="kind", loss="cross_entropy", standardize=True
    )
    assert found.y.tolist() == [0, 2, 1]
    assert found.sizes == (2, 2, 3)
    assert abs(found.x.mean()) < 1e-12


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(sizes="3"), "sizes: expected two or more positive whole numbers"),
        (dict(sizes="3-2", activations="relu,relu"), "activations: says that there are 2 layers"),
        (dict(activations="relu,mish"), "activations: expected names, one a layer, out of"),
        (dict(activations=""), "activations: expected names"),
        (dict(hidden_activation="leaky_relu:x"), "hidden_activation: expected one of"),
        (dict(hidden_activation="leaky_relu:inf"), "hidden_activation: expected one of"),
        (dict(hidden_activation=3), "hidden_activation: expected one of"),
        (
            dict(activations="relu,relu", hidden_activation="relu"),
            "hidden_activation: given together with activations; expected one of the two",
        ),
        (dict(hidden_activation="softmax"), "hidden_activation: softmax belongs to the last"),
        (dict(activations="softmax,linear"), "activations: softmax belongs to the last layer"),
        (dict(output_activation="softmax"), "output_activation: softmax belongs to --loss cross"),
        (
            dict(loss="cross_entropy", output_activation="tanh"),
            "output_activation: the last activation is tanh; expected linear or softmax",
        ),
        (
            dict(loss="bce", activations="relu,linear"),
            "activations: the last activation is linear; expected sigmoid with the loss bce",
        ),
        (dict(loss="cross_entropy", sizes="2-1"), "loss: cross_entropy is over classes; expected"),
        (dict(loss="cross_entropy", sizes="2-3", y=[3]), "y: expected labels from 0 to 2, for 3"),
        (dict(loss="cross_entropy", sizes="2-3", y=[-1]), "y: expected labels from 0 to 2"),
        (dict(loss="cross_entropy", y=[[1.0, 1.0]]), "y: expected labels, or rows with one 1"),
        (dict(loss="cross_entropy", y=[[1.5]]), "y: expected labels, whole numbers from 0, got"),
        (dict(loss="bce", y=[[2.0, 0.0]]), "y: expected numbers from 0 to 1 with bce, got 2"),
        (dict(y=[1, 0]), "y: labels belong to --loss cross_entropy, the loss is mse"),
        (dict(optimizer="lion"), "optimizer: expected one of sgd, adam, adamw, rmsprop, adagrad"),
        (dict(optimizer="adam", momentum=0.9), "momentum: adam has no such setting; expected it"),
        (dict(beta1=0.9), "beta1: sgd has no such setting; expected it with --optimizer adam or"),
        (dict(beta1=1.0, optimizer="adam"), "beta1: expected a number from 0 on, below 1"),
        (dict(nesterov=True), "nesterov: expected a momentum above 0 and no dampening"),
        (dict(nesterov=True, momentum=0.9, dampening=0.1), "nesterov: expected a momentum above"),
        (dict(momentum=-1), "momentum: expected a finite number, 0 or more"),
        (dict(l2=-0.1), "l2: expected a finite number, 0 or more"),
        (dict(eps=float("nan"), optimizer="adam"), "eps: expected a finite number, 0 or more"),
        (dict(no_biases=True, biases=[True, True]), "biases: given together with no_biases"),
        (dict(biases=["yes"]), "biases: expected true or false, or a list of these"),
        (dict(biases=[True], sizes="2-2-2"), "biases: says that there are 1 layer, but sizes"),
        (dict(no_biases=True, b_h=[1.0, 2.0]), "b_h: this network has none; expected W_h, W_o"),
        (dict(W_o=[[1.0]], b3=[1.0]), "b3: expected the name of a layer's array; there are 2"),
        (dict(W_h=[[1.0, 2.0]], W1=[[1.0, 2.0]]), "W_h: given twice, also as W_h|W1: given twice"),
        (dict(sizes="2-2", W3=[[1.0]]), "W3: expected the name of a layer's array; there are 1"),
        (dict(velocity_W1=[[1.0, 2.0]]), "velocity_W1: this network has none; expected"),
        (dict(sizes="2-3-2", W1=[[1.0, 2.0]]), "sizes 2-3-2: has n_hidden = 3, but W1 (shape 1×2)"),
        (dict(sizes="2-3-4-2", W2=[[1.0] * 3]), "sizes 2-3-4-2: has n_2 = 4, but W2 (shape 1×3)"),
        (
            dict(mask1=[[1.0, 0.0]], samples=3),
            "samples: has N = 3, but mask1 (shape 1×2) has N = 1",
        ),
        (dict(W1=[1.0]), "W1: expected a list of rows"),
        (dict(b1=[[1.0]]), "b1: expected finite numbers"),
        (dict(frozen=["W3"]), "frozen: expected a list of parameters out of W_h, b_h, W_o, b_o"),
        (dict(frozen="W_h"), "frozen: expected a list of names of parameters"),
        (dict(z1=[[1.0]]), "z1: unknown key; .* a file of results goes with --numbers"),
        (dict(new_mean_W2=[[1.0]]), "new_mean_W2: unknown key; .* goes with --numbers"),
        (dict(W0=[[1.0]]), "W0: unknown key"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_says_what_is_expected(values, words):

    with pytest.raises(Unusable) as error:
        made(**values)
    line = str(error.value)
    assert "\n" not in line
    if "|" in words or ".*" in words:
        assert re.match(words, line)
    else:
        assert line.startswith(words)
