"""The names and shapes of a network of any depth, in both vocabularies."""

import ast
import dataclasses
import pickle
from pathlib import Path

import pytest

import lockstep
from lockstep.network.network import WITH_ACTIVATION, Network
from manual_backprop.losses import OUTPUT_ACTIVATIONS
from tests.lecture import LECTURE

DEEP = Network(
    (3, 4, 5, 2),
    ("relu", "tanh", "softmax"),
    "cross_entropy",
    "adam",
    (("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8), ("weight_decay", 0.0)),
    biases=(True, False, True),
    masks=(True, False, False),
    labels=True,
)


def test_a_network_that_was_sent_to_another_process_hashes_its_names_there():
    network = Network((2, 2, 2), ("linear", "linear"))
    assert network.parameters
    assert hash(network) == hash(Network((2, 2, 2), ("linear", "linear")))
    again = pickle.loads(pickle.dumps(network))
    assert again == network
    assert vars(again).keys() == {it.name for it in dataclasses.fields(Network)}


def test_the_losses_with_an_activation_of_their_own_are_those_of_the_formulas():
    assert WITH_ACTIVATION == OUTPUT_ACTIVATIONS


def test_the_lectures_names_are_those_of_two_layers():
    assert LECTURE.parameters == ("W_h", "b_h", "W_o", "b_o")
    assert LECTURE.computed == tuple(
        "z_h h z_o o loss delta_o delta_h grad_W_o grad_b_o grad_W_h grad_b_h "
        "new_W_o new_b_o new_W_h new_b_h".split()
    )
    assert LECTURE.extras == ("grad_o", "grad_h")


def test_a_deep_networks_names_are_numbered_in_the_order_of_computation():
    assert DEEP.parameters == ("W1", "b1", "W2", "W3", "b3")
    assert DEEP.forward == ("z1", "a1", "z2", "a2", "z3", "a3", "loss")
    assert DEEP.backward[:3] == ("delta3", "delta2", "delta1")
    assert DEEP.gradients == ("grad_W3", "grad_b3", "grad_W2", "grad_W1", "grad_b1")
    assert DEEP.update[:3] == ("new_mean_W3", "new_square_W3", "new_W3")
    assert DEEP.memory[:2] == ("mean_W1", "square_W1")
    assert DEEP.masked == ("mask1",)
    assert DEEP.extras == ("grad_a2", "grad_a1")
    judged = DEEP.judged
    assert judged.index("grad_a2") == judged.index("delta2") - 1
    assert {*judged} == {*DEEP.computed, *DEEP.extras}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("x", (7, 3)),
        ("y", (7,)),
        ("z2", (7, 5)),
        ("mask1", (7, 4)),
        ("W2", (5, 4)),
        ("grad_b3", (2,)),
        ("new_square_W1", (4, 3)),
        ("loss", ()),
        ("lr", ()),
        ("step", ()),
    ],
)
def test_shapes(name, shape):
    assert DEEP.shape(name, 7) == shape


def meant(network, *names, samples=5):
    return network.meant(names, samples, (*network.given, *network.judged))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("dZ2", "delta2"),
        ("d_z1", "delta1"),
        ("delta_3", "delta3"),
        ("dA1", "grad_a1"),
        ("dW3", "grad_W3"),
        ("gb3", "grad_b3"),
        ("A2", "a2"),
        ("h1", "a1"),
        ("out2", "a2"),
        ("net1", "z1"),
        ("w1", "W1"),
        ("theta2", "W2"),
        ("bias3", "b3"),
        ("mW1", "mean_W1"),
        ("s_dW1", "square_W1"),
        ("new_w1", "new_W1"),
        ("new_s_dW2", "new_square_W2"),
        ("J", "loss"),
        ("cost", "loss"),
        ("X", "x"),
        ("targets", "y"),
        ("eta", "lr"),
        ("t", "step"),
    ],
)
def test_synonyms_are_understood(word, name):
    assert meant(DEEP, word) == {word: (name, None)}


@pytest.mark.parametrize("word", ["b2", "z4", "W0", "delta", "velocity_W1", "mask2", "w11", "q"])
def test_what_the_network_does_not_have_means_nothing(word):
    assert meant(DEEP, word) == {}


def test_a_name_that_both_vocabularies_have_is_read_in_that_of_the_others():
    assert meant(LECTURE, "b1", samples=1) == {"b1": ("b_h", 0)}
    assert meant(LECTURE, "h1", "x1", samples=1)["h1"] == ("h", 0)
    assert meant(LECTURE, "b1", "W1", samples=1)["b1"] == ("b_h", None)
    assert meant(LECTURE, "b2", "dW2", samples=1)["b2"] == ("b_o", None)
    assert meant(LECTURE, "h1", samples=5) == {"h1": ("h", None)}
    both, every = ("W_h", "grad_b1"), (*LECTURE.given, *LECTURE.judged)
    assert LECTURE.meant(both, 1, every)["grad_b1"] == ("grad_b_h", 0)
    assert LECTURE.meant(both, 1, every, wide=["grad_b1"])["grad_b1"] == ("grad_b_h", None)
    other = Network((3, 4, 2), ("linear", "linear"), biases=(True, True))
    assert meant(other, "h1", "z1", samples=1)["h1"] == ("h", None)
    assert meant(other, "h1", "delta_h2", samples=1)["h1"] == ("h", 0)


def test_a_label_is_a_scalar_of_two_layers_or_an_element():
    assert LECTURE.label("W_o", (0, 1), 1) == "w41"
    assert LECTURE.label("grad_b_h", (1,), 1) == "grad_b2"
    assert LECTURE.label("delta_h", (2, 0), 3) == "delta_h[2, 0]"
    assert DEEP.label("delta1", (0, 2), 1) == "delta1[0, 2]"
    assert DEEP.label("loss", (), 1) == "loss"


@pytest.mark.parametrize(
    ("network", "name", "index", "place"),
    [
        (LECTURE, "grad_W_o", (0, 1), "output.weight.grad[0, 1]"),
        (LECTURE, "loss", (), "loss.item()"),
        (DEEP, "z2", (0, 1), "network[2](a[1])[0, 1]"),
        (DEEP, "a1", (0, 0), "network[1](z[1])[0, 0]"),
        (DEEP, "z1", (0, 0), "network[0](x)[0, 0]"),
        (DEEP, "delta3", (1, 0), "z[3].grad[1, 0]"),
        (DEEP, "grad_a1", (1, 0), "a[1].grad[1, 0]"),
        (DEEP, "grad_b3", (1,), "network[4].bias.grad[1]"),
        (DEEP, "new_W1", (1, 2), "network[0].weight[1, 2]"),
        (DEEP, "new_square_W2", (1, 2), "optimizer.state[network[2].weight]['exp_avg_sq'][1, 2]"),
        (DEEP, "new_mean_b1", (1,), "optimizer.state[network[0].bias]['exp_avg'][1]"),
    ],
)
def test_where_pytorch_has_a_number(network, name, index, place):
    assert network.torch_place(name, index) == place


@pytest.mark.parametrize(
    ("optimizer", "settings", "theirs"),
    [
        ("sgd", (("momentum", 0.9),), "momentum_buffer"),
        ("rmsprop", (), "square_avg"),
        ("adagrad", (), "sum"),
    ],
)
def test_where_pytorch_has_an_optimisers_memory(optimizer, settings, theirs):
    network = Network((2, 2), ("linear",), "mse", optimizer, settings)
    assert network.torch_place(network.update[0], (0, 0)).endswith(f"['{theirs}'][0, 0]")


def test_a_network_is_the_lectures_kind_only_where_the_exhibits_train_it():
    assert LECTURE.is_plain
    assert not DEEP.is_plain
    assert not Network((2, 2, 2), ("linear", "linear"), biases=(True, False)).is_plain
    assert not Network((2, 2, 2), ("linear", "gelu"), biases=(True, True)).is_plain


# The names of the lecture's layers: only the network's room knows how many layers there are; the
# exercise has the lecture's formulas as its text.
LAYERS = {"W_h", "b_h", "W_o", "b_o", "z_h", "z_o", "delta_h", "delta_o", "grad_W_h", "grad_W_o"}


def words(path):
    """The names and texts that a file's code refers to, docstrings left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.slow
def test_nothing_outside_the_networks_room_knows_its_layers():
    rooms = Path(lockstep.__file__).parent
    where = {
        path.relative_to(rooms).parts[0] for path in rooms.rglob("*.py") if LAYERS & {*words(path)}
    }
    assert where <= {"network", "setup", "learn", "cli"}
