"""Programs whose weights are variables of one number each."""

import ast

import numpy as np
import pytest

from lockstep.look.scalars import Gathering, Group, Place, groups
from tests.lockstep.look.judging import judged, judged_with

NET = """
from math import exp

w1, w2, w3, w4 = 0.15, 0.2, 0.25, 0.3
w5, w6, w7, w8 = 0.4, 0.45, 0.5, 0.55
b1, b2, b3, b4 = 0.35, 0.3, 0.6, 0.5
x1, x2, y1, y2 = 0.05, 0.1, 0.01, 0.99


def sigmoid(z):
    return 1 / (1 + exp(-z))


for _ in range(50):
    net1 = w1 * x1 + w2 * x2 + b1 * 1
    net2 = w3 * x1 + w4 * x2 + b2 * 1
    h1 = sigmoid(net1)
    h2 = sigmoid(net2)
    o1 = sigmoid(w5 * h1 + w6 * h2 + b3)
    o2 = sigmoid(w7 * h1 + w8 * h2 + b4)
    error = ((o1 - y1) ** 2 + (o2 - y2) ** 2) / 2
    d_o1 = (o1 - y1) * o1 * (1 - o1)
    d_o2 = (o2 - y2) * o2 * (1 - o2)
    d_h1 = (d_o1 * w5 + d_o2 * w7) * h1 * (1 - h1)
    d_h2 = (d_o1 * w6 + d_o2 * w8) * h2 * (1 - h2)
    dw5, dw6 = d_o1 * h1, d_o1 * h2
    dw7, dw8 = d_o2 * h1, d_o2 * h2
    w5 -= 0.5 * dw5
    w6 -= 0.5 * dw6
    w7 -= 0.5 * dw7
    w8 -= 0.5 * dw8
    w1 -= 0.5 * d_h1 * x1
    w2 -= 0.5 * d_h1 * x2
    w3 -= 0.5 * d_h2 * x1
    w4 -= 0.5 * d_h2 * x2
    b1 -= 0.5 * d_h1
    b2 -= 0.5 * d_h2
    b3 -= 0.5 * d_o1
    b4 -= 0.5 * d_o2
"""
NEURONS = """
from math import exp
from random import Random

draw = Random(4).random


def sigmoid(z):
    return 1 / (1 + exp(-z))


class Net:
    def __init__(self):
        self.w1, self.w2, self.w3, self.w4 = draw(), draw(), draw(), draw()
        self.w5 = draw()
        self.w6 = draw()
        self.b1 = self.b2 = self.b3 = 0.1

    def forward(self, x1, x2):
        self.h1 = sigmoid(x1 * self.w1 + x2 * self.w2 + self.b1)
        self.h2 = sigmoid(x1 * self.w3 + x2 * self.w4 + self.b2)
        self.o = sigmoid(self.h1 * self.w5 + self.h2 * self.w6 + self.b3)

    def backward(self, x1, x2, y):
        d = (self.o - y) * self.o * (1 - self.o)
        d1 = d * self.w5 * self.h1 * (1 - self.h1)
        d2 = d * self.w6 * self.h2 * (1 - self.h2)
        self.w5 -= 0.5 * d * self.h1
        self.w6 -= 0.5 * d * self.h2
        self.b3 -= 0.5 * d
        self.w1 -= 0.5 * d1 * x1
        self.w2 -= 0.5 * d1 * x2
        self.b1 -= 0.5 * d1
        self.w3 -= 0.5 * d2 * x1
        self.w4 -= 0.5 * d2 * x2
        self.b2 -= 0.5 * d2


net = Net()
for _ in range(50):
    for x1, x2, y in [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]:
        net.forward(x1, x2)
        net.backward(x1, x2, y)
"""
LINE = """
import numpy as np

x = np.array([1.0, 2.0, 3.0, 4.5, 5.0])
y = 2 * x + np.array([3.0, 3.2, 2.9, 3.1, 3.0])
slope = intercept = 0
n = len(x)
for _ in range(100):
    predicted = slope * x + intercept
    cost = sum((y - predicted) ** 2) / n
    slope_gradient = -(2 / n) * sum(x * (y - predicted))
    intercept_gradient = -(2 / n) * sum(y - predicted)
    slope = slope - 0.01 * slope_gradient
    intercept = intercept - 0.01 * intercept_gradient
"""
POINTS = """
from math import exp

xs, ys = [-1.5, -0.4, 0.3, 0.7, 1.9], [0, 0, 1, 0, 1]
w, b = 0.5, 0.1
for _ in range(60):
    dw = db = 0
    for x, y in zip(xs, ys):
        p = 1 / (1 + exp(-(w * x + b)))
        dw += (p - y) * x / len(xs)
        db += (p - y) / len(xs)
    w -= 0.3 * dw
    b -= 0.3 * db
"""
CURVE = """
from math import exp

w1, w2, b1, b2 = 0.3, -0.5, 0.1, 0.2
v1, v2, c = 0.7, -0.4, 0.05


def sigmoid(z):
    return 1 / (1 + exp(-z))


for _ in range(60):
    for x, y in [(0.5, 0.3), (1.0, 0.9), (-0.7, 0.1), (0.2, 0.5)]:
        h1 = sigmoid(w1 * x + b1)
        h2 = sigmoid(w2 * x + b2)
        o = v1 * h1 + v2 * h2 + c
        e = o - y
        d1, d2 = e * v1 * h1 * (1 - h1), e * v2 * h2 * (1 - h2)
        v1, v2 = v1 - 0.1 * e * h1, v2 - 0.1 * e * h2
        c -= 0.1 * e
        w1 -= 0.1 * d1 * x
        w2 -= 0.1 * d2 * x
        b1 -= 0.1 * d1
        b2 -= 0.1 * d2
"""
SHARED = """
import numpy as np

random = np.random.default_rng(2)
X, Y = random.normal(size=(30, 3)), random.normal(size=(30, 2))
W1, b1, W2, b2 = random.normal(size=(3, 4)), 0.1, random.normal(size=(4, 2)), 0.2
for _ in range(20):
    h = np.tanh(X @ W1 + b1)
    o = h @ W2 + b2
    d2 = 2 * (o - Y) / Y.size
    d1 = d2 @ W2.T * (1 - h * h)
    W2 -= 0.1 * h.T @ d2
    b2 -= 0.1 * d2.sum()
    W1 -= 0.1 * X.T @ d1
    b1 -= 0.1 * d1.sum()
"""
IN_A_DICT = """
from math import exp

w = {"w1": 0.1, "w2": -0.3, "w3": 0.4, "w4": 0.2, "w5": 0.5, "w6": -0.6}
w |= {"b1": 0, "b2": 0.1, "b3": 0}
points = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]


def sigmoid(z):
    return 1 / (1 + exp(-z))


for epoch in range(50):
    g = dict.fromkeys(w, 0.0)
    for x1, x2, y in points:
        h1 = sigmoid(w["w1"] * x1 + w["w2"] * x2 + w["b1"])
        h2 = sigmoid(w["w3"] * x1 + w["w4"] * x2 + w["b2"])
        o = sigmoid(w["w5"] * h1 + w["w6"] * h2 + w["b3"])
        d = (o - y) / 2 * o * (1 - o)
        g['w5'] += d * h1
        g['w6'] += d * h2
        g['b3'] += d
        e1, e2 = d * w['w5'] * h1 * (1 - h1), d * w['w6'] * h2 * (1 - h2)
        g['w1'] += e1 * x1
        g['w2'] += e1 * x2
        g['w3'] += e2 * x1
        g['w4'] += e2 * x2
        g['b1'] += e1
        g['b2'] += e2
    for name in w:
        w[name] -= 0.8 * g[name]
"""
COLUMNS = """
import numpy as np

data = np.random.default_rng(0).normal(size=(20, 2))
Y = (data[:, 0] * data[:, 1] > 0) * 1.0
w11, w12, w21, w22, v1, v2, b1, b2, c = 0.5, -0.2, 0.3, 0.4, -0.6, 0.7, 0.1, 0.2, 0.3
for _ in range(40):
    h1 = np.tanh(w11 * data[:, 0] + w12 * data[:, 1] + b1)
    h2 = np.tanh(w21 * data[:, 0] + w22 * data[:, 1] + b2)
    p = 1 / (1 + np.exp(-(v1 * h1 + v2 * h2 + c)))
    loss = -np.mean(Y * np.log(p) + (1 - Y) * np.log(1 - p))
    d = (p - Y) / 20
    dv1 = np.sum(d * h1)
    dv2, dc = np.sum(d * h2), np.sum(d)
    d1, d2 = d * v1 * (1 - h1**2), d * v2 * (1 - h2**2)
    dw11, dw12, db1 = np.sum(d1 * data[:, 0]), np.sum(d1 * data[:, 1]), np.sum(d1)
    dw21, dw22, db2 = np.sum(d2 * data[:, 0]), np.sum(d2 * data[:, 1]), np.sum(d2)
    w11, w12, b1 = w11 - 0.5 * dw11, w12 - 0.5 * dw12, b1 - 0.5 * db1
    w21, w22, b2 = w21 - 0.5 * dw21, w22 - 0.5 * dw22, b2 - 0.5 * db2
    v1, v2, c = v1 - 0.5 * dv1, v2 - 0.5 * dv2, c - 0.5 * dc
"""
RIGHT = {
    IN_A_DICT: "network 2-2-1, sigmoid, sigmoid, mse, sgd lr 0.8",
    COLUMNS: "network 2-2-1, tanh, sigmoid, bce, sgd lr 0.5",
    NET: "network 2-2-2, sigmoid, sigmoid, half_sum, sgd lr 0.5",
    NEURONS: "network 2-2-1, sigmoid, sigmoid, half_sum, sgd lr 0.5",
    LINE: "network 1-1, linear, mse, sgd lr 0.01",
    POINTS: "network 1-1, sigmoid, bce, sgd lr 0.3",
    CURVE: "network 1-2-1, sigmoid, linear, half_sum, sgd lr 0.1",
    SHARED: "network 3-4-2, tanh, linear, mse, sgd lr 0.1",
}
WRONG = [
    (CURVE, "w2 -= 0.1 * d2 * x", "w2 -= 0.1 * d2", "grad_W_h", "scaled-by-constant"),
    (CURVE, "h2 * (1 - h2)", "(1 - h2)", "delta_h", "wrong-activation-derivative"),
    (NET, "d_o1 * w6 + d_o2", "d_o1 * w7 + d_o2", "delta_h", "transposed-weights"),
    (NET, " * h2 * (1 - h2)", "", "delta_h", "missing-activation-derivative"),
    (NET, "w7 -= 0.5 * dw7", "w7 += 0.5 * dw7", "new_W_o", "update-sign"),
    (NET, "b4 -= 0.5 * d_o2", "pass", "new_b_o", "bias-gradient-missing"),
    (NEURONS, "self.w6 * self.h2", "self.w5 * self.h2", "delta_h", "wrong-index"),
    (NEURONS, "self.w4 -= 0.5 * d2 * x2", "self.w4 -= 0.5 * d1 * x2", "new_W_h", "wrong-index"),
    (IN_A_DICT, "g['w6'] += d * h2", "g['w6'] += d * h1", "grad_W_o", "wrong-index"),
    (IN_A_DICT, "e2 * x1", "e2 * x2", "grad_W_h", "wrong-index"),
    (COLUMNS, "d * v2 * (1 - h2", "d * v1 * (1 - h2", "delta_h", "wrong-index"),
    (COLUMNS, "dv1 = np.sum(d * h1)", "dv1 = np.sum(d * h2)", "grad_W_o", "wrong-index"),
    (LINE, "- 0.01 * slope_gradient", "+ 0.01 * slope_gradient", "new_W1", "update-sign"),
    (LINE, "(2 / n) * sum(x", "2 * sum(x", "grad_W1", "scaled-by-constant"),
    (POINTS, "w -= 0.3 * dw", "w += 0.3 * dw", "new_W1", "update-sign"),
    (
        SHARED,
        "b1 -= 0.1 * d1.sum()",
        "b1 -= 0.1 * d1.mean()",
        "new_b_h",
        "bias-summed-over-neurons",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("text", RIGHT)
def test_a_right_program_is_a_match(text, tmp_path, capsys):
    status, said = judged(tmp_path, capsys, text)
    assert RIGHT[text] in said.out
    assert status == 0, said.out + said.err


@pytest.mark.slow
@pytest.mark.parametrize(("text", "right", "wrong", "quantity", "mistake"), WRONG)
def test_a_mistake_is_named_at_its_place(text, right, wrong, quantity, mistake, tmp_path, capsys):
    status, document = judged_with(right, wrong, text, tmp_path, capsys)
    assert (status, document["verdict"]) == (1, "mismatch")
    first = document["first_mismatch"]["quantity"], document["diagnoses"][0]["mistake"]
    assert first == (quantity, mistake)


def test_many_numbers_that_no_sum_gathers_are_declined_soon(tmp_path, capsys):
    names = [f"w{n}" for n in range(9)]
    start = "; ".join(f"{name} = 0.{n + 1}" for n, name in enumerate(names))
    loop = "; ".join(f"{name} = {name} - 0.1 * x * {name}" for name in names)
    text = f"{start}\nfor x in [0.1, 0.2, 0.3] * 40:\n    {loop}\n"
    status, said = judged(tmp_path, capsys, text)
    assert status == 2
    assert "no network was recognised" in said.err


@pytest.mark.slow
def test_a_bias_that_never_changes_may_be_said_to_be_frozen(tmp_path, capsys):
    text = NET.replace("b3 -= 0.5 * d_o1", "").replace("b4 -= 0.5 * d_o2", "")
    status, said = judged(tmp_path, capsys, text)
    assert status == 1
    assert "remark: b3, b4 never change: if that is meant, say --frozen b3,b4" in said.out
    status, said = judged(tmp_path, capsys, text, "--frozen", "b3,b4")
    assert status == 0
    assert "b_o frozen" in said.out
    assert "never change" not in said.out
    status, said = judged(tmp_path, capsys, text, "--frozen", "b9")
    assert status == 2
    assert "no variable b9 was seen" in said.err


@pytest.mark.slow
def test_a_wrong_number_is_shown_with_the_line_that_assigns_it(tmp_path, capsys):
    _, said = judged(tmp_path, capsys, NET.replace("w3 -= 0.5", "w3 -= 0.1"))
    assert "w1, w2; w3, w4" in said.out
    assert ": w3 -= 0.1 * d_h2 * x1" in said.out
    assert "new_w12 (your w3)" in said.out
    text = " ".join(said.out.split())
    assert "(new_w12); of what is added, yours / PyTorch's: 0.2" in text
    assert "names new_w12 is your w3" in text


@pytest.mark.slow
def test_a_number_that_belongs_to_another_neuron_has_the_programs_name(tmp_path, capsys):
    _, said = judged(tmp_path, capsys, NET.replace("d_o2 * w8) * h2", "d_o2 * w7) * h2"))
    text = " ".join(said.out.split())
    assert "wrong-index: delta_h2: w32 stands where w42 belongs" in text
    assert "names w32 is your w7, w42 is your w8, delta_h2 is your d_h2" in text


def found(text):
    return groups(ast.parse(text))


def test_a_layers_inputs_weights_biases_and_results_are_groups():
    layer = "z1 = w1 * x1 + w2 * x2 + b1 * 1\nz2 = w3 * x1 + x2 * w4 + b2"
    assert found(f"x1 = x2 = w1 = w2 = w3 = w4 = b1 = b2 = 0\n{layer}") == {
        "<module>": [
            Group(("x1", "x2"), (2,)),
            Group(("w1", "w2", "w3", "w4"), (2, 2)),
            Group(("b1", "b2"), (2,)),
            Group(("z1", "z2"), (2,)),
        ]
    }


def test_a_function_has_the_groups_that_it_assigns_to():
    text = "def f(w1, w2):\n    o = s(w1 * x[0] + w2 * x[1])\ndef g():\n    w1 = w2 = o = 1\n"
    assert found(text) == {
        "<module>": [],
        "f": [Group(("w1", "w2"), (2,))],
        "g": [Group(("w1", "w2"), (2,))],
    }


def test_what_is_called_like_a_group_is_one_by_number_or_by_name():
    text = "o = wa * h1 + wb * h2\nd1, d2 = 1, 2\ndwa = dwb = 0\nd3 = 1\nd_h1 = 0"
    assert {it.names for it in found(text)["<module>"]} == {("d1", "d2"), ("dwa", "dwb")}


def test_names_of_a_group_need_not_all_have_a_number():
    text = "x1 = y = w1 = w2 = b = t1 = 0\nh = w1 * x1 + w2 * y + b"
    names = {it.names for it in found(text)["<module>"]}
    assert names == {("x1", "y"), ("w1", "w2")}


@pytest.mark.parametrize(
    "text",
    [
        "o = w1 * x1 - w2 * x2",  # no sum of products
        "w1 = x1 + w2 * b",
        "w1 = w2 * x2 + w1",  # an update
        "o = w1 * x1 + w2 * x2 * 2",
        "o += w1 * x1 + w2 * x2",
        "o = w1 * x1 * s + w2 * x2",
    ],
)
def test_what_is_no_neuron_is_no_group(text):
    assert found(f"w1 = w2 = x1 = x2 = 0\n{text}") == {"<module>": []}


def test_the_same_sum_twice_is_one_neuron_and_other_inputs_are_another_layer():
    text = (
        "a = w1 * x1 + w2 * x2\nb = w1 * x1 + w2 * x2\nc = w3 * a1 + w4 * a2\nw1 = w2 = w3 = w4 = 0"
    )
    assert [it.names for it in found(text)["<module>"]] == [("w1", "w2"), ("w3", "w4")]


def test_a_long_group_is_called_by_its_first_and_last():
    assert Group(tuple(f"w{n}" for n in range(12)), (2, 6)).name == "w0 … w5; w6 … w11"
    assert Group(("b1", "b1"), (2,)).name == "b1, b1"


def test_a_group_is_whole_when_all_are_there_or_one_comes_again():
    gathering = Gathering(Group(("a", "b", "a"), (3,)))

    def taken(name, value):
        return [it.value for it in gathering.taken(name, Place(value, value, 1, ""))]

    assert taken("c", 1) == []
    assert taken("a", 1) == []
    assert taken("a", 2) == []  # nothing is known of b
    assert taken("b", 3) == [2, 3, 2]
    assert taken("a", 4) == []
    assert taken("a", 5) == [4, 3, 4]


@pytest.mark.slow
def test_a_shared_bias_that_is_frozen_is_right_as_it_is(tmp_path, capsys):
    text = NET.replace("+ b2 * 1", "+ b1 * 1").replace("b1 -= 0.5 * d_h1", "")
    text = text.replace("b2 -= 0.5 * d_h2", "")
    status, said = judged(tmp_path, capsys, text, "--frozen", "b1")
    assert status == 0
    assert "b_h frozen" in said.out
    assert "?" not in said.out


def test_columns_of_different_lengths_are_no_array():
    group = Group(("a", "b"), (2,))
    places = [Place(np.zeros(n), n, 1, "") for n in (3, 3, 4)]
    assert group.array(places[:2]).shape == (3, 2)
    assert group.array(places[1:]) is None
    assert Group(("a", "b"), (1, 2)).array([Place(np.zeros((3, 3)), 1, 1, "")] * 2) is None


@pytest.mark.slow
def test_a_number_that_belongs_to_another_neuron_is_named_by_its_place(tmp_path, capsys):
    _, said = judged(tmp_path, capsys, COLUMNS.replace("v2 * (1 - h2", "v1 * (1 - h2"))
    what = "wrong-index: delta_h[:, 1]: W_o[:, 0] stands where W_o[:, 1] belongs"
    assert what in " ".join(said.out.split())
