"""Programs in the styles that tutorials teach, right and with a mistake each."""

import pytest

from tests.lockstep.look.judging import judged, judged_with

pytestmark = pytest.mark.slow

NEURONS_IN_DICTS = """
from math import exp
from random import Random

draw = Random(3).uniform


def layer(inputs, neurons):
    return [{"w": [draw(-1, 1) for _ in range(inputs + 1)]} for _ in range(neurons)]


network = [layer(3, 4), layer(4, 2)]


def fire(w, inputs):
    total = w[-1]
    for i in range(len(w) - 1):
        total += w[i] * inputs[i]
    return 1 / (1 + exp(-total))


def forward(row):
    values = row
    for neurons in network:
        following = []
        for neuron in neurons:
            neuron["out"] = fire(neuron["w"], values)
            following.append(neuron["out"])
        values = following
    return values


def backward(expected):
    for l in (1, 0):
        errors = []
        for j, neuron in enumerate(network[l]):
            if l == 1:
                errors.append(neuron["out"] - expected[j])
            else:
                error = 0.0
                for after in network[1]:
                    error += after["w"][j] * after["delta"]
                errors.append(error)
        for j, neuron in enumerate(network[l]):
            neuron["delta"] = errors[j] * neuron["out"] * (1 - neuron["out"])


def update(row, rate):
    inputs = row[:-1]
    for neurons in network:
        for neuron in neurons:
            for i in range(len(inputs)):
                neuron["w"][i] -= rate * neuron["delta"] * inputs[i]
            neuron["w"][-1] -= rate * neuron["delta"]
        inputs = [neuron["out"] for neuron in neurons]


rows = [[0.2, 1.5, -0.3, 0], [1.1, 0.4, 0.9, 1], [-0.7, 0.8, 0.1, 0], [0.6, -1.2, 1.3, 1]]
for epoch in range(30):
    for row in rows:
        forward(row)
        expected = [0, 0]
        expected[row[-1]] = 1
        backward(expected)
        update(row, 0.5)
"""

SAMPLE_BY_SAMPLE = """
import numpy as np

rng = np.random.default_rng(5)
sizes = [3, 4, 2]
biases = [rng.normal(size=(n, 1)) for n in sizes[1:]]
weights = [rng.normal(size=(n, m)) for m, n in zip(sizes, sizes[1:])]
samples = [(rng.normal(size=(3, 1)), rng.random((2, 1))) for _ in range(12)]


def sigma(z):
    return 1 / (1 + np.exp(-z))


def predict(a):
    for b, w in zip(biases, weights):
        a = sigma(w @ a + b)
    return a


def backward(x, y):
    activations, zs = [x], []
    for b, w in zip(biases, weights):
        zs.append(w @ activations[-1] + b)
        activations.append(sigma(zs[-1]))
    delta = (activations[-1] - y) * sigma(zs[-1]) * (1 - sigma(zs[-1]))
    gb, gw = [None, delta], [None, delta @ activations[1].T]
    delta = weights[1].T @ delta * sigma(zs[0]) * (1 - sigma(zs[0]))
    gb[0], gw[0] = delta, delta @ x.T
    return gb, gw


for epoch in range(3):
    print(sum(((predict(x) - y) ** 2).sum() for x, y in samples[:5]))
    rng.shuffle(samples)
    for start in (0, 4, 8):
        batch = samples[start : start + 4]
        sum_b = [np.zeros(b.shape) for b in biases]
        sum_w = [np.zeros(w.shape) for w in weights]
        for x, y in batch:
            gb, gw = backward(x, y)
            sum_b = [s + g for s, g in zip(sum_b, gb)]
            sum_w = [s + g for s, g in zip(sum_w, gw)]
        weights = [w - 3.0 / len(batch) * s for w, s in zip(weights, sum_w)]
        biases = [b - 3.0 / len(batch) * s for b, s in zip(biases, sum_b)]
"""

SAMPLE_BY_SAMPLE_TWICE = """
import numpy as np

rng = np.random.default_rng(8)
X, Y = rng.normal(size=(12, 3)), rng.random((12, 2))
V1, V2 = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
b1, b2, E = np.full(4, 0.1), np.full(2, -0.2), 5.0


def sigma(z):
    return 1 / (1 + np.exp(-z))


for n in range(60):
    x, y = X[n % 12 : n % 12 + 1], Y[n % 12 : n % 12 + 1]
    h = sigma(x @ V1 + b1)
    o = sigma(h @ V2 + b2)
    E += np.sum((o - y) ** 2) / 2
    d2 = (o - y) * o * (1 - o)
    g2, c2 = h.T @ d2, d2[0]
    d1 = d2 @ V2.T * h * (1 - h)
    g1, c1 = x.T @ d1, d1[0]
    V1 -= 0.4 * g1
    V2 -= 0.4 * g2
    b1 -= 0.4 * c1
    b2 -= 0.4 * c2
"""

WAVES = """
import numpy as np

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(12, 2)), rng.random((12, 2))
W1, b1, W2, b2 = rng.normal(size=(2, 2)), np.full(2, 0.1), rng.normal(size=(2, 2)), np.full(2, -0.1)
for epoch in range(20):
    for x, y in zip(X, Y):
        z = W1 @ x + b1
        h = np.sin(z)
        o = 1 / (1 + np.exp(-(W2 @ h + b2)))
        d2 = (o - y) * o * (1 - o)
        d1 = (W2.T @ d2) * np.cos(z)
        W2 -= 0.3 * np.outer(d2, h)
        b2 -= 0.3 * d2
        W1 -= 0.3 * np.outer(d1, x)
        b1 -= 0.3 * d1
"""

LISTS_OF_LISTS = """
from math import exp
from random import Random

random = Random(17)


class Matrix:
    def __init__(self, rows):
        self.rows = rows

    @staticmethod
    def drawn(n, m):
        return Matrix([[random.uniform(-1, 1) for _ in range(m)] for _ in range(n)])

    def times(self, other):
        columns = list(zip(*other.rows))
        return Matrix([[sum(a * b for a, b in zip(row, c)) for c in columns] for row in self.rows])

    def each(self, f, *others):
        rows = zip(self.rows, *(it.rows for it in others))
        return Matrix([[f(*values) for values in zip(*row)] for row in rows])

    def turned(self):
        return Matrix([list(column) for column in zip(*self.rows)])


def sigmoid(z):
    return 1 / (1 + exp(-z))


class Net:
    def __init__(self):
        self.w1, self.w2 = Matrix.drawn(3, 2), Matrix.drawn(1, 3)
        self.b1, self.b2 = Matrix.drawn(3, 1), Matrix.drawn(1, 1)

    def train(self, inputs, targets):
        x, y = Matrix([[v] for v in inputs]), Matrix([[v] for v in targets])
        h = self.w1.times(x).each(lambda z, b: sigmoid(z + b), self.b1)
        o = self.w2.times(h).each(lambda z, b: sigmoid(z + b), self.b2)
        d2 = o.each(lambda o, y: (o - y) * o * (1 - o), y)
        d1 = self.w2.turned().times(d2).each(lambda e, h: e * h * (1 - h), h)
        self.w2 = self.w2.each(lambda w, g: w - 0.1 * g, d2.times(h.turned()))
        self.w1 = self.w1.each(lambda w, g: w - 0.1 * g, d1.times(x.turned()))
        self.b2 = self.b2.each(lambda b, d: b - 0.1 * d, d2)
        self.b1 = self.b1.each(lambda b, d: b - 0.1 * d, d1)


data = [([0, 0], [0]), ([0, 1], [1]), ([1, 0], [1]), ([1, 1], [0])]
net = Net()
for _ in range(200):
    inp, tar = random.choice(data)
    net.train(inp, tar)
"""

DELTA_RULE = """
from math import exp
from random import Random

draw = Random(11).random
points = [([a, b], 1 if a + b > 1.1 else 0) for a, b in ((draw(), draw()) for _ in range(20))]
w, b, rate = [0.2, -0.4], 0.1, 0.5


def output(x):
    s = b
    for weight, v in zip(w, x):
        s += weight * v
    return 1 / (1 + exp(-s))


for epoch in range(50):
    total = 0
    for x, y in points:
        o = output(x)
        error = y - o
        total += error ** 2
        delta = error * o * (1 - o)
        for i in range(len(w)):
            w[i] += rate * delta * x[i]
        b += rate * delta
"""

SAMPLES = """
import numpy as np

rng = np.random.default_rng(3)
X, Y = rng.normal(size=(30, 3)), (rng.random((30, 1)) > 0.5) * 1.0
W1, W2, b1, b2 = rng.normal(size=(3, 4)), rng.normal(size=(4, 1)), np.zeros(4), np.zeros(1)
for _ in range(40):
    h = np.tanh(X @ W1 + b1)
    p = 1 / (1 + np.exp(-(h @ W2 + b2)))
    loss = -np.mean(Y * np.log(p) + (1 - Y) * np.log(1 - p))
    d2 = p - Y
    g2 = h.T @ d2 / 30
    c2 = d2.sum(axis=0) / 30
    d1 = d2 @ W2.T * (1 - h * h)
    g1 = X.T @ d1 / 30
    c1 = d1.sum(axis=0) / 30
    W1, b1 = W1 - 0.5 * g1, b1 - 0.5 * c1
    W2, b2 = W2 - 0.5 * g2, b2 - 0.5 * c2
"""

LINE_BY_LISTS = """
from random import Random

draw = Random(1).random
xs = [[draw(), draw()] for _ in range(9)]
ys = [3 * a - 2 * b + 0.5 for a, b in xs]
w, b, rate = [0.1, -0.2], 0.0, 0.1
for epoch in range(60):
    gw, gb, loss = [0.0, 0.0], 0.0, 0.0
    for x, y in zip(xs, ys):
        out = w[0] * x[0] + w[1] * x[1] + b
        error, outs = out - y, [out]
        loss += error**2
        gw[0] += 2 * error * x[0]
        gw[1] += 2 * error * x[1]
        gb += 2 * error
    w[0] -= rate * gw[0] / len(xs)
    w[1] -= rate * gw[1] / len(xs)
    b -= rate * gb / len(xs)
"""

BY_THE_OUTPUTS = """
import numpy as np

rng = np.random.default_rng(4)
X = rng.normal(size=(4, 30))
Y = (X[:1] * X[1:2] > 0).astype(int)
p = {"W1": rng.normal(size=(5, 4)), "b1": np.zeros((5, 1)),
     "W2": rng.normal(size=(1, 5)), "b2": np.zeros((1, 1))}
for step in range(100):
    A1 = np.tanh(p["W1"] @ X + p["b1"])
    A2 = 1 / (1 + np.exp(-(p["W2"] @ A1 + p["b2"])))
    cost = -np.mean(Y * np.log(A2) + (1 - Y) * np.log(1 - A2))
    dA2 = (1 - Y) / (1 - A2) - Y / A2
    dZ2 = dA2 * A2 * (1 - A2)
    dZ1 = p["W2"].T @ dZ2 * (1 - A1**2)
    g = {"W2": dZ2 @ A1.T / 30, "b2": dZ2.sum(axis=1, keepdims=True) / 30,
         "W1": dZ1 @ X.T / 30, "b1": dZ1.sum(axis=1, keepdims=True) / 30}
    for l in range(1, 3):
        p["W" + str(l)] = p["W" + str(l)] - 0.3 * g["W" + str(l)]
        p["b" + str(l)] = p["b" + str(l)] - 0.3 * g["b" + str(l)]
"""

LOGISTIC = """
import numpy as np

rng = np.random.default_rng(2)
X = rng.normal(size=(3, 80))
Y = (X.sum(axis=0, keepdims=True) > 0.2) * 1.0
w, b, m = np.zeros((3, 1)), 0.0, 80
for step in range(100):
    A = 1 / (1 + np.exp(-(w.T @ X + b)))
    cost = -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m
    dZ = A - Y
    dw = X @ dZ.T / m
    db = np.sum(dZ) / m
    w = w - 0.1 * dw
    b = b - 0.1 * db
"""

ADAM = """
import numpy as np

rng = np.random.default_rng(9)
X = rng.normal(size=(20, 3))
Y = np.sin(X[:, :2])
P = {"W1": rng.normal(size=(3, 6)), "b1": np.zeros(6),
     "W2": rng.normal(size=(6, 2)), "b2": np.zeros(2)}
M = {k: np.zeros_like(v) for k, v in P.items()}
V = {k: np.zeros_like(v) for k, v in P.items()}
for t in range(1, 50):
    h = np.tanh(X @ P["W1"] + P["b1"])
    o = h @ P["W2"] + P["b2"]
    loss = np.mean((o - Y) ** 2)
    d2 = (o - Y) / 20
    d1 = d2 @ P["W2"].T * (1 - h * h)
    G = {"W2": h.T @ d2, "b2": d2.sum(axis=0), "W1": X.T @ d1, "b1": d1.sum(axis=0)}
    for k in P:
        M[k] = 0.9 * M[k] + 0.1 * G[k]
        V[k] = 0.999 * V[k] + (1 - 0.999) * G[k] ** 2
        mean, square = M[k] / (1 - 0.9**t), V[k] / (1 - 0.999**t)
        P[k] = P[k] - 0.02 * mean / (np.sqrt(square) + 1e-8)
"""

PENALISED = """
import numpy as np

rng = np.random.default_rng(6)
X = rng.normal(size=(40, 3))
y = (X[:, :1] > 0.1) * 1.0
lam, rate = 0.02, 0.3
W1, b1, W2, b2 = rng.normal(size=(3, 5)), np.zeros(5), rng.normal(size=(5, 1)), np.zeros(1)
for step in range(50):
    h = np.tanh(X @ W1 + b1)
    p = 1 / (1 + np.exp(-(h @ W2 + b2)))
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    loss += lam / 2 * ((W1**2).sum() + (W2**2).sum())
    d2 = (p - y) / 40
    d1 = d2 @ W2.T * (1 - h * h)
    W2g = h.T @ d2 + lam * W2
    W1g = X.T @ d1 + lam * W1
    W1, b1 = W1 - rate * W1g, b1 - rate * d1.sum(axis=0)
    W2, b2 = W2 - rate * W2g, b2 - rate * d2.sum(axis=0)
"""

# the first sample is all zeros; the weights of the one output are a flat list
FLAT_LISTS = """
from math import exp
from random import Random

draw = Random(3).uniform
data = [([0, 0], 0), ([0, 1], 1), ([1, 0], 1), ([1, 1], 0)]
inner = [[draw(-1, 1) for _ in range(2)] for _ in range(3)]
inner_biases = [0.0] * 3
outer = [draw(-1, 1) for _ in range(3)]
outer_bias = 0.0


def fire(total):
    return 1 / (1 + exp(-total))


for _ in range(100):
    for x, y in data:
        h = [fire(sum(w * x for w, x in zip(inner[j], x)) + inner_biases[j]) for j in range(3)]
        o = fire(sum(w * h for w, h in zip(outer, h)) + outer_bias)
        error = (o - y) * o * (1 - o)
        errors = [error * outer[j] * h[j] * (1 - h[j]) for j in range(3)]
        outer_bias -= 0.5 * error
        for j in range(3):
            outer[j] -= 0.5 * error * h[j]
            for i in range(2):
                inner[j][i] -= 0.5 * errors[j] * x[i]
            inner_biases[j] -= 0.5 * errors[j]
"""

RESET = "for x, y in batch:\n            sum_b = [0, 0]"
RIGHT = {
    NEURONS_IN_DICTS: "network 3-4-2, sigmoid, sigmoid, half_sum, sgd lr 0.5",
    SAMPLE_BY_SAMPLE: "network 3-4-2, sigmoid, sigmoid, mse, sgd lr 3",
    LINE_BY_LISTS: "network 2-1, linear, mse, sgd lr 0.1",
    BY_THE_OUTPUTS: "network 4-5-1, tanh, sigmoid, bce, sgd lr 0.3",
    LOGISTIC: "network 3-1, sigmoid, bce, sgd lr 0.1",
    ADAM: "network 3-6-2, tanh, linear, mse, adam beta1 0.9 beta2 0.999 eps 1e-08 lr 0.02",
    PENALISED: "network 3-5-1, tanh, sigmoid, bce, l2 0.02, sgd lr 0.3",
    FLAT_LISTS: "network 2-3-1, sigmoid, sigmoid, half_sum, sgd lr 0.5",
}
WRONG = [
    (FLAT_LISTS, "h[j] * (1 - h[j])", "(1 - h[j])", "delta_h", "wrong-activation-derivative"),
    (FLAT_LISTS, "outer[j] * h[j]", "h[j]", "delta_h", "wrong-weights"),
    (FLAT_LISTS, "outer_bias -= 0.5 * error", "pass", "new_b_o", "bias-gradient-missing"),
    (NEURONS_IN_DICTS, '["w"][-1] -= rate', '["w"][-1] += rate', "new_b_o", "update-sign"),
    (NEURONS_IN_DICTS, "error += after", "error = after", "delta_h", "term-missing"),
    (SAMPLE_BY_SAMPLE, "for x, y in batch:", RESET, "grad_b_o", "one-sample-only"),
    (LINE_BY_LISTS, "gw[1] += 2", "gw[1] = 2", "grad_W1", "one-sample-only"),
    (LINE_BY_LISTS, "rate * gb / len(xs)", "rate * gb", "new_b1", "learning-rate"),
    (BY_THE_OUTPUTS, "A2 * (1 - A2)", "1", "delta_o", "missing-activation-derivative"),
    (BY_THE_OUTPUTS, "range(1, 3)", "range(1, 2)", "new_W_o", "not-updated"),
    (BY_THE_OUTPUTS, '    p["W" +', '    if l > 1: p["W" +', "new_W_h", "not-updated"),
    (BY_THE_OUTPUTS, '    p["b" +', '    if l > 1: p["b" +', "new_b_h", "bias-gradient-missing"),
    (LOGISTIC, "np.sum(dZ) / m", "np.sum(dZ)", "grad_b1", "scaled-by-constant"),
    (LOGISTIC, "A - Y", "(A - Y) * A * (1 - A)", "delta1", "extra-activation-derivative"),
    (ADAM, "V[k] / (1 - 0.999**t)", "V[k]", "new_W_o", "bias-correction"),
    (ADAM, "np.sqrt(square)", "square", "new_W_o", "momentum-form"),
    (PENALISED, "W2g = h.T @ d2 + lam * W2", "W2g = h.T @ d2", "grad_W_o", "penalty"),
]


@pytest.mark.parametrize("text", RIGHT)
def test_a_right_program_matches(text, tmp_path, capsys):
    status, said = judged(tmp_path, capsys, text)
    assert status == 0
    assert RIGHT[text] in said.out


@pytest.mark.parametrize(("text", "right", "wrong", "quantity", "mistake"), WRONG)
def test_a_mistake_is_named_at_its_place(text, right, wrong, quantity, mistake, tmp_path, capsys):
    status, document = judged_with(right, wrong, text, tmp_path, capsys)
    assert status == 1
    assert document["first_mismatch"]["quantity"] == quantity
    assert mistake in {it["mistake"] for it in document["diagnoses"]}


def test_a_label_at_the_end_of_a_row_is_said(tmp_path, capsys):
    _, said = judged(tmp_path, capsys, NEURONS_IN_DICTS)
    assert "the last number of x is a label, and no input" in said.out


def test_a_sum_that_is_added_up_is_no_loss_of_another_factor(tmp_path, capsys):
    _, said = judged(tmp_path, capsys, LINE_BY_LISTS)
    assert "remark: the loss" not in said.out


def test_the_rate_is_that_of_the_reading_that_the_loss_denies(tmp_path, capsys):
    squares = BY_THE_OUTPUTS.replace(
        "cost = -np.mean(Y * np.log(A2) + (1 - Y) * np.log(1 - A2))",
        "cost = np.mean((A2 - Y) ** 2)",
    ).replace("dZ2 = dA2 * A2 * (1 - A2)", "dZ2 = 2 * (A2 - Y)")
    status, said = judged(tmp_path, capsys, squares)
    assert status == 1
    assert "tanh, sigmoid, mse, sgd lr 0.3" in said.out
    assert "missing-activation-derivative" in said.out


def test_weights_that_run_away_are_weights(tmp_path, capsys):
    text = PENALISED.replace("d2 = (p - y) / 40", "d2 = p - y")
    status, said = judged(
        tmp_path, capsys, text.replace("lam, rate = 0.02, 0.3", "lam, rate = 0.0, 2.0")
    )
    assert status == 0
    assert "bce_sum, sgd lr 2" in said.out


def test_updates_that_are_not_known_are_said_in_the_headline(tmp_path, capsys):
    text = PENALISED.replace("W1 - rate * W1g", "W1 - rate * np.sign(W1g)")
    text = text.replace("W2 - rate * W2g", "W2 - rate * np.sign(W2g)").replace(
        "lam, rate = 0.02", "lam, rate = 0"
    )
    status, said = judged(
        tmp_path, capsys, text.replace("b1 - rate * ", "b1 - ").replace("b2 - rate * ", "b2 - 7 * ")
    )
    assert status == 0
    assert "values; its updates were not judged." in " ".join(said.out.split())


def test_a_loss_that_is_not_computed_is_read_off_the_gradients_and_said(tmp_path, capsys):
    lines = [line for line in BY_THE_OUTPUTS.splitlines() if "cost" not in line]
    text = "\n".join(lines).replace("dZ2 = dA2 * A2 * (1 - A2)", "dZ2 = A2 - Y")
    status, said = judged(tmp_path, capsys, text)
    assert status == 0
    assert "no variable holds the loss; bce is the one whose derivative is o − y" in said.out
    status, said = judged(tmp_path, capsys, text, "--loss", "half_sum_over_n")
    assert status == 1
    assert "missing-activation-derivative" in said.out
    assert "no variable holds the loss" not in said.out


def test_layout_and_names_are_taken_as_they_are_said(tmp_path, capsys):
    status, said = judged(tmp_path, capsys, BY_THE_OUTPUTS, "--layout", "columns")
    assert status == 0
    status, said = judged(tmp_path, capsys, BY_THE_OUTPUTS, "--layout", "linear")
    assert status == 2
    names = "X=x,Y=y,dZ2=N*delta2,dZ1=N*delta1,cost=loss,Q=h"
    status, said = judged(tmp_path, capsys, BY_THE_OUTPUTS, "--names", names)
    assert status == 2
    assert "no variable Q was seen" in said.err
    status, said = judged(tmp_path, capsys, BY_THE_OUTPUTS, "--names", names[:-4])
    assert status == 0
    assert "dZ1.T (times 30)" in said.out
    wrong = BY_THE_OUTPUTS.replace("* (1 - A1**2)", "* (1 - A1)")
    status, said = judged(tmp_path, capsys, wrong, "--names", "dZ1=N*delta1")
    assert status == 1
    assert "dZ1.T (times 30)  ?" in said.out
    status, said = judged(tmp_path, capsys, SAMPLE_BY_SAMPLE, "--names", "delta=delta_o")
    assert status == 1
    assert "scaled-by-constant: delta_o is 4 times the right one" in " ".join(said.out.split())


def test_a_change_before_the_training_is_no_step(tmp_path, capsys):
    head, training = PENALISED.split("for step in range(50):")
    smaller = "W1, W2 = W1 * 0.9, W2 * 0.9\n"
    long = "for k in range(60):\n    lam = lam * 1.0\n"
    once = training.partition("    W1, b1 =")[0].replace("\n    ", "\n")
    text = f"{head}{long}{smaller}{long}{smaller}{once}{smaller}for step in range(50):{training}"
    status, said = judged(tmp_path, capsys, text)
    assert status == 0
    assert "remark: the first change of the parameters is no step" in said.out
    assert "sgd lr 0.3" in said.out


@pytest.mark.parametrize("penalty", ["lam", "lam / 4"])
def test_a_penalty_of_another_factor_than_that_of_the_loss_is_a_mistake(penalty, tmp_path, capsys):
    text = PENALISED.replace("loss += lam / 2 *", f"loss = loss + {penalty} *")
    status, said = judged(tmp_path, capsys, text)
    assert status == 1
    assert "mistake   penalty: the L2 penalty of grad_W_o is left out, or has" in said.out


def test_a_penalty_of_no_usual_factor_is_an_extra_term(tmp_path, capsys):
    text = PENALISED.replace("loss += lam / 2 *", "loss = loss + lam / 3 *")
    status, said = judged(tmp_path, capsys, text)
    assert status == 1
    assert "mistake   weight-decay: grad_W_o, grad_W_h have an extra term" in said.out or (
        "weight-decay" in said.out
    )


def test_a_penalty_that_is_in_the_loss_alone_is_missed_in_the_gradients(tmp_path, capsys):
    text = PENALISED.replace(" + lam * W2", "").replace(" + lam * W1", "")
    assert text.count("lam") == 2
    status, said = judged(tmp_path, capsys, text)
    assert status == 1
    assert "mistake   penalty: the L2 penalty of grad_W_o is left out" in said.out


def test_a_factor_of_delta_that_most_gradients_divide_by_is_a_convention(tmp_path, capsys):
    text = SAMPLES.replace("g2 = h.T @ d2 / 30", "g2 = h.T @ d2")
    status, said = judged(tmp_path, capsys, SAMPLES)
    assert status == 0
    assert "d2 is 30" in said.out
    status, said = judged(tmp_path, capsys, text)
    assert status == 1
    assert "scaled-by-constant: grad_W_o is 30 times" in " ".join(said.out.split())


def test_a_mean_that_is_left_out_beside_a_penalty_is_a_mistake(tmp_path, capsys):
    text = PENALISED.replace("d2 = (p - y) / 40", "d2 = p - y")
    status, said = judged(tmp_path, capsys, text)
    assert status == 1
    out = " ".join(said.out.split())
    assert "mistake scaled-by-constant: delta_o is 40 times the right one, which is N" in out
    assert "differ only because of that" in out
    assert out.count("mistake ") == 1


def test_the_rest_of_a_network_that_is_not_known_is_not_judged(tmp_path, capsys):
    status, said = judged(tmp_path, capsys, WAVES)
    assert status == 2
    assert "no network was recognised" in said.err
    status, said = judged(tmp_path, capsys, WAVES, "--steps", "1")
    assert status == 2


def test_labels_that_the_first_rows_share_are_known_by_the_others(tmp_path, capsys):
    text = NEURONS_IN_DICTS.replace("1.1, 0.4, 0.9, 1]", "1.1, 0.4, 0.9, 0]")
    status, said = judged(tmp_path, capsys, text)
    assert status == 0
    assert "network 3-4-2, sigmoid, sigmoid" in said.out


@pytest.mark.parametrize(("first", "last"), [("w_ih", "w_ho"), ("w", "w2")])
def test_weights_that_are_never_updated_are_told_by_name(first, last, tmp_path, capsys):
    text = SAMPLE_BY_SAMPLE_TWICE.replace("V1", first).replace("V2", last)
    status, said = judged(tmp_path, capsys, text)
    assert status == 0
    assert "network 3-4-2, sigmoid, sigmoid, half_sum, sgd lr 0.4" in said.out
    status, said = judged(tmp_path, capsys, text.replace(f"    {first} -= 0.4 * g1\n", ""))
    assert status == 1
    assert "mistake   not-updated: W_h is left as it was" in said.out
    assert f"remark: {first} never changes: if that is meant, say --frozen {first}" in said.out


def test_a_loss_that_is_added_up_over_the_samples_tells_its_kind(tmp_path, capsys):
    text = SAMPLE_BY_SAMPLE_TWICE.replace("d2 = (o - y) * o * (1 - o)", "d2 = (o - y) * slope(o)")
    slope = "def slope(z):\n    return sigma(z) * (1 - sigma(z))\n\n\n"
    status, said = judged(tmp_path, capsys, text.replace("def sigma", f"{slope}def sigma"))
    assert status == 1
    assert "half_sum" in said.out
    assert "mistake   derivative-at-wrong-point" in said.out


def test_whole_numbers_that_change_are_data(tmp_path, capsys):
    status, said = judged(tmp_path, capsys, LISTS_OF_LISTS)
    assert status == 0, said.out
    assert "network 2-3-1, sigmoid, sigmoid, half_sum, sgd lr 0.1" in said.out


@pytest.mark.parametrize("sign", ["+", "-"])
def test_a_neuron_that_goes_along_a_wrong_delta_is_judged_by_it(sign, tmp_path, capsys):
    text = DELTA_RULE.replace("w[i] += rate", f"w[i] {sign}= rate").replace("b +=", f"b {sign}=")
    text = text.replace("y - o", "y - o" if sign == "+" else "o - y")
    status, said = judged(tmp_path, capsys, text)
    assert status == 0, said.out
    status, said = judged(tmp_path, capsys, text.replace("* (1 - o)", "* (1 + o)"))
    assert status == 1
    assert "mistake   wrong-activation-derivative" in said.out


def test_a_loss_that_is_not_known_is_asked_for(tmp_path, capsys):
    text = PENALISED.replace("-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))", "0")
    text = text.replace("d2 = (p - y) / 40", "d2 = np.sign(p - y) * p * (1 - p)")
    status, said = judged(tmp_path, capsys, text)
    assert status == 2
    assert "a forward pass was recognised (tanh, sigmoid), but no targets, loss and" in said.err


def test_a_penalty_of_biases_is_named_though_a_function_returns_the_right_gradient(
    tmp_path, capsys
):
    text = PENALISED.replace(
        "W2, b2 = W2 - rate * W2g, b2 - rate * d2.sum(axis=0)",
        "b2g = summed(d2) + lam * b2\n    W2, b2 = W2 - rate * W2g, b2 - rate * b2g",
    )
    status, said = judged(tmp_path, capsys, f"def summed(d):\n    return d.sum(axis=0)\n\n{text}")
    assert status == 1
    assert "mistake   penalty: grad_b_o contains an L2 penalty" in said.out
    assert "b2g = summed(d2) + lam * b2" in said.out
    text = PENALISED.replace(
        "W2, b2 = W2 - rate * W2g, b2 - rate * d2.sum(axis=0)",
        "b2g = d2.sum(axis=0)\n    b2g += lam * b2\n    W2, b2 = W2 - rate * W2g, b2 - rate * b2g",
    )
    status, said = judged(tmp_path, capsys, text)
    assert status == 1
    assert "mistake   penalty: grad_b_o contains an L2 penalty" in said.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("d2 = p - y", "d2 = (p - y) * p * (1 - p)"),
            "is not half_sum_over_n, whose gradients these are",
        ),
        (("loss = -np", "loss = 7 - np"), "is not bce, whose gradients these are"),
        (("* 1.0 / 30", "* 0.5 / 30"), "the updates go 1/2 times as far as with the learning rate"),
    ],
)
def test_what_does_not_go_together_is_a_remark(change, words, tmp_path, capsys):
    right, wrong = change
    text = SAMPLES.replace("Y * np.log(p)", "Y * np.log(p + 1e-9)").replace(
        "d2 = p - Y", "d2 = p - y"
    )
    text = text.replace("(1 - Y) * np.log(1 - p)", "(1 - Y) * np.log(1 - p + 1e-9)")
    text = text.replace("for _", "y, lr = Y, 0.4\nfor _").replace("- 0.5 *", "- lr *")
    text = text.replace("d2 / 30", "d2 * 1.0 / 30").replace(
        "d2.sum(axis=0) / 30", "d2.sum(axis=0) * 1.0 / 30"
    )
    text = text.replace("d1 / 30", "d1 * 1.0 / 30").replace(
        "d1.sum(axis=0) / 30", "d1.sum(axis=0) * 1.0 / 30"
    )
    assert right in text
    status, said = judged(tmp_path, capsys, text)
    assert status == 0
    assert "remark: the loss in" not in said.out
    status, said = judged(tmp_path, capsys, text.replace(right, wrong))
    assert status == 0, said.out
    assert words in " ".join(said.out.split())


def test_a_bias_that_is_trained_and_not_used_is_a_remark(tmp_path, capsys):
    text = SAMPLES.replace("np.zeros(4), np.zeros(1)", "np.ones(4), np.ones(1)")
    status, said = judged(tmp_path, capsys, text.replace("X @ W1 + b1", "X @ W1"))
    assert status == 0
    words = "remark: b1 is trained, and no part of the forward pass of layer 1, which has no biases"
    assert words in " ".join(said.out.split())


def test_a_loss_that_is_not_known_is_declined_where_its_gradients_differ(tmp_path, capsys):
    text = SAMPLES.replace(
        "-np.mean(Y * np.log(p) + (1 - Y) * np.log(1 - p))", "np.abs(p - Y).mean()"
    )
    text = text.replace("d2 = p - Y", "error = p - Y\n    d2 = np.sign(error) * p * (1 - p)")
    status, said = judged(tmp_path, capsys, text)
    assert status == 2
    assert "expected a loss that --loss knows" in said.err


def test_squares_without_the_slope_are_judged_by_the_loss_that_is_computed(tmp_path, capsys):
    loss = "-np.mean(Y * np.log(p) + (1 - Y) * np.log(1 - p))"
    text = SAMPLES.replace(loss, "((p - Y) ** 2).mean()").replace(" / 30", "")
    text = text.replace("d2 = p - Y", "d2 = (p - Y) / 30")
    status, said = judged(tmp_path, capsys, text)
    assert status == 1
    assert "network 3-4-1, tanh, sigmoid, mse, sgd lr 0.5" in said.out
    assert "mistake   missing-activation-derivative" in said.out


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("X @ W1 + b1", "X @ W1 + 2 * b1", "look for a bias that is 0 at first"),
        ("b1 - 0.5 * c1", "b1 - 0.5 * d1 / 30", "b1 is (4,) at first and then (30, 4): sum its"),
    ],
)
def test_a_forward_pass_that_becomes_another_one_is_told(right, wrong, words, tmp_path, capsys):
    assert right in SAMPLES
    status, said = judged(tmp_path, capsys, SAMPLES.replace(right, wrong))
    assert status == 2
    assert "the first forward pass is that of a network 3-4-1, the next ones are not" in said.err
    assert words in said.err


@pytest.mark.parametrize(
    "penalty", ["lam * (np.abs(W1).sum() + np.abs(W2).sum())", "lam / 2 * squares(W1, W2, b1, b2)"]
)
def test_another_penalty_than_that_of_weights_is_declined(penalty, tmp_path, capsys):
    text = SAMPLES.replace("(1 - Y) * np.log(1 - p))", f"(1 - Y) * np.log(1 - p)) + {penalty}")
    text = text.replace(" b2 = rng", " lam, b2 = rng").replace(
        "np.zeros(4), np.zeros(1)", "np.ones(4), 0.02, np.ones(1)"
    )
    text = text.replace("W1, W2, b1, b2 = rng", "W1, W2, b1, lam, b2 = rng")
    text = text.replace(
        "for _", "def squares(*of):\n    return sum((p * p).sum() for p in of)\n\n\nfor _"
    )
    status, said = judged(tmp_path, capsys, text)
    assert status == 2
    assert "its penalty is not λ/2 Σ W² over all weights" in said.err


def test_no_step_is_left_out_because_it_is_wrong(tmp_path, capsys):
    text = SAMPLE_BY_SAMPLE_TWICE.replace("h * (1 - h)", "h * (1 - h) * (2 if n == 1 else 1)")
    status, document = judged_with("range(60)", "range(3)", text, tmp_path, capsys)
    assert status == 1
    assert document["first_mismatch"]["step"] == 2


def test_a_learning_rate_of_zero_is_said(tmp_path, capsys):
    status, said = judged(tmp_path, capsys, SAMPLES, "--lr", "0")
    assert status == 1
    assert "first at step 1, new_W_o[0, 0]" in said.out


def test_a_loss_that_overflows_is_none_that_is_computed(tmp_path, capsys):
    text = LINE_BY_LISTS.replace("draw(), draw()]", "1e200 * draw(), draw()]")
    status, said = judged(tmp_path, capsys, text)
    assert status in (2, 3), said.out


AUTOENCODER = """
import numpy as np

rng = np.random.default_rng(9)
X = rng.normal(size=(20, 6))
W1, W2, b1, b2 = rng.normal(size=(6, 3)), rng.normal(size=(3, 6)), np.zeros(3), np.zeros(6)
velocity = {name: np.zeros_like(it) for name, it in dict(W1=W1, W2=W2, b1=b1, b2=b2).items()}
j = 3.5
for _ in range(40):
    h = np.tanh(X @ W1 + b1)
    out = h @ W2 + b2
    d2 = 2 * (out - X) / out.size
    d1 = d2 @ W2.T * (1 - h * h)
    slopes = dict(W1=X.T @ d1, W2=h.T @ d2, b1=d1.sum(axis=0), b2=d2.sum(axis=0))
    for name, it in slopes.items():
        velocity[name] = 0.9 * velocity[name] - 0.2 * it
    W1 = W1 + velocity["W1"]
    b1 = b1 + velocity["b1"]
    W2 = W2 + velocity["W2"]
    b2 = b2 + velocity["b2"]
"""


def test_inputs_may_be_the_targets(tmp_path, capsys):
    status, said = judged(tmp_path, capsys, AUTOENCODER)
    assert status == 0
    assert "network 6-3-6, tanh, linear, mse, sgd momentum 0.9 lr 0.2" in said.out
    assert "is not mse" not in said.out  # j is a number of no loss
    held = dict(line.split()[:2] for line in said.out.splitlines() if line.startswith("  new_"))
    assert held == {"new_W_o": "W2", "new_b_o": "b2", "new_W_h": "W1", "new_b_h": "b1"}
    wrong = AUTOENCODER.replace("(1 - h * h)", "(1 - h)")
    status, said = judged(tmp_path, capsys, wrong, "--y", "X")
    assert status == 1
    assert "wrong-activation-derivative" in said.out


RECTIFIED_32 = """
import numpy as np

draw = np.random.RandomState(5)
X = draw.rand(20, 4).astype(np.float32)
Y = (X @ draw.rand(4, 3)).astype(np.float32)
sizes, rate, lam = (4, 6, 5, 3), np.float32(0.05), np.float32(0.01)
Ws = [(draw.randn(m, n) * 0.7).astype(np.float32) for m, n in zip(sizes, sizes[1:])]
bs = [np.zeros(n, np.float32) for n in sizes[1:]]
for epoch in range(30):
    zs, acts = [], [X]
    for W, b in zip(Ws, bs):
        zs.append(acts[-1] @ W + b)
        acts.append(zs[-1] if W is Ws[-1] else np.maximum(zs[-1], 0))
    error = acts[-1] - Y
    cost = (error**2).sum() / (2 * len(X)) + lam / 2 * sum((W**2).sum() for W in Ws)
    delta = error / np.float32(len(X))
    dWs, dbs = [None] * 3, [None] * 3
    for i in (2, 1, 0):
        dWs[i], dbs[i] = acts[i].T @ delta + lam * Ws[i], delta.sum(0)
        if i:
            delta = (delta @ Ws[i].T) * (zs[i - 1] > 0)
    for i in range(3):
        Ws[i], bs[i] = Ws[i] - rate * dWs[i], bs[i] - rate * dbs[i]
"""


@pytest.mark.parametrize("times", [1, 2])
def test_a_penalty_is_read_off_a_loss_in_float32(times, tmp_path, capsys):
    wrong = f"{times} * lam * Ws"
    status, document = judged_with("lam * Ws", wrong, RECTIFIED_32, tmp_path, capsys)
    assert status == times - 1
    assert document["problem"]["l2"] == pytest.approx(0.01)
    assert {it["mistake"] for it in document["diagnoses"]} == ({"penalty"} if times == 2 else set())


COLUMNS_WITH_ONES = """
import numpy as np

draw = np.random.RandomState(9)


def with_ones(a):
    return np.vstack([np.ones((1, a.shape[1])), a])


def g(z):
    return 1.0 / (1.0 + np.exp(-z))


X, Y = draw.rand(3, 15), np.eye(4)[:, draw.randint(0, 4, 15)]
T1, T2 = draw.uniform(-0.5, 0.5, (5, 4)), draw.uniform(-0.5, 0.5, (4, 6))
m, lam = 15, 0.3
for _ in range(50):
    a1 = with_ones(X)
    z2 = T1 @ a1
    a2 = with_ones(g(z2))
    a3 = g(T2 @ a2)
    J = -(Y * np.log(a3) + (1 - Y) * np.log(1 - a3)).sum() / m
    J += lam / (2 * m) * ((T1[:, 1:] ** 2).sum() + (T2[:, 1:] ** 2).sum())
    d3 = a3 - Y
    d2 = (T2[:, 1:].T @ d3) * g(z2) * (1 - g(z2))
    G1, G2 = d2 @ a1.T / m, d3 @ a2.T / m
    G1[:, 1:] += lam / m * T1[:, 1:]
    G2[:, 1:] += lam / m * T2[:, 1:]
    T1 = T1 - 1.2 * G1
    T2 = T2 - 1.2 * G2
"""


def test_biases_in_a_column_of_ones_have_no_penalty(tmp_path, capsys):
    status, said = judged(tmp_path, capsys, COLUMNS_WITH_ONES)
    assert status == 0
    assert "holds the loss" not in said.out
    right, wrong = "G1[:, 1:] += lam / m * T1[:, 1:]", "G1 += lam / m * T1"
    status, document = judged_with(right, wrong, COLUMNS_WITH_ONES, tmp_path, capsys)
    assert status == 1
    assert document["first_mismatch"]["quantity"] == "grad_b_h"
    assert [it["mistake"] for it in document["diagnoses"]] == ["penalty"]


def test_a_wrong_derivative_is_no_other_epsilon(tmp_path, capsys):
    status, document = judged_with("(1 - h * h)", "(1 - h)", ADAM, tmp_path, capsys)
    assert status == 1
    assert document["problem"]["eps"] == 1e-8
    assert document["diagnoses"][0]["mistake"] == "wrong-activation-derivative"


def test_a_learning_rate_without_a_leading_digit_stands_in_the_update(tmp_path, capsys):
    text = ADAM.replace("mean, square = M[k] / (1 - 0.9**t), V[k]", "mean, square = M[k], V[k]")
    status, document = judged_with("0.02 * mean", ".02 * mean", text, tmp_path, capsys)
    assert status == 1
    assert document["problem"]["lr"] == 0.02
    assert document["diagnoses"][0]["mistake"] == "bias-correction"


MEAN_OF_GRADIENTS = """
import numpy as np

rng = np.random.default_rng(16)
X = rng.normal(size=(16, 3))
Y = (X[:, :1] + X[:, 1:2] > 0) * 1.0
W1, W2 = rng.normal(size=(3, 5)), rng.normal(size=(5, 1))
b1, b2 = np.zeros((1, 5)), np.zeros((1, 1))
V1 = V2 = c1 = c2 = 0.0
beta, lr = 0.9, 0.2
for epoch in range(20):
    A1 = np.maximum(0, X @ W1 + b1)
    A2 = 1 / (1 + np.exp(-(A1 @ W2 + b2)))
    loss = -(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)).mean()
    dZ2 = A2 - Y
    gW2, gb2 = A1.T @ dZ2 / 16, dZ2.mean(0, keepdims=True)
    dZ1 = dZ2 @ W2.T
    dZ1[A1 <= 0] = 0
    gW1, gb1 = X.T @ dZ1 / 16, dZ1.mean(0, keepdims=True)
    V1, V2 = beta * V1 + (1 - beta) * gW1, beta * V2 + (1 - beta) * gW2
    c1, c2 = beta * c1 + (1 - beta) * gb1, beta * c2 + (1 - beta) * gb2
    W1 -= lr * V1
    W2 -= lr * V2
    b1 -= lr * c1
    b2 -= lr * c2
"""


def test_a_running_mean_is_no_gradient_at_a_later_step(tmp_path, capsys):
    of_itself = "dZ1[dZ1 <= 0] = 0"
    status, document = judged_with(
        "dZ1[A1 <= 0] = 0", of_itself, MEAN_OF_GRADIENTS, tmp_path, capsys
    )
    assert status == 1
    (found,) = document["diagnoses"]
    assert found["mistake"] == "wrong-activation-derivative"
    assert found["formula"] == "delta_o @ W_o * positive(delta_o @ W_o)"
