"""Programs that do not run, or train nothing: what is said of them."""

import json

import pytest

from lockstep.__main__ import main
from lockstep.errors import Unusable
from lockstep.look.program import LATE, watched
from lockstep.look.source import Program, imports_of, names_by_line

TRAINS = """
import numpy as np

lr = 0.1
X = np.random.default_rng(0).normal(size=(6, 3))
y = X @ np.array([[1.0], [2.0], [-1.0]])


class Model:
    def __init__(self):
        self.W = np.random.default_rng(1).normal(size=(3, 1))
        self.b = np.full(1, 0.3)

    def fit(self, X, y, epochs):
        for _ in range(epochs):
            out = X @ self.W + self.b
            error = out - y
            loss = (error**2).mean()
            dW = 2 * X.T @ error / len(X)
            db = 2 * error.mean(axis=0)
            self.W = self.W - lr * dW
            self.b = self.b - lr * db
        return loss


model = Model()
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="program.py"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def refused(capsys, *arguments):
    assert main(["look", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lockstep look: ")
    assert said.count("\n") == 1
    return said


def test_what_trains_nothing_asks_for_a_call(write, capsys):
    said = refused(capsys, write(TRAINS))
    assert "no array changed, so nothing was trained; expected --call" in said
    assert "such as --call 'Model().fit(X, y, epochs)'" in said
    assert "its functions and classes are: Model" in said
    text = "import numpy as np\ndef helped(a): return a\nclass Data: pass\n"
    said = refused(capsys, write(f"{text}def train_it(x, y, lr=0.1): return x\n"))
    assert "such as --call 'train_it(x, y)'" in said
    assert "such as --call 'train(X, y)'" in refused(capsys, write(text))


def test_a_call_is_run_after_the_file(write, capsys):
    assert main(["look", write(TRAINS), "--call", "model.fit(X, y, 50)"]) == 0
    assert "network 3-1, linear, mse, sgd lr 0.1" in capsys.readouterr().out


@pytest.mark.parametrize("end", ["import sys; sys.exit('done')", ""])
def test_a_call_is_run_though_the_file_ends_itself(end, write, capsys):
    text = f"{TRAINS}\n{end}"
    assert main(["look", write(text), "--call", "model.fit(X, y, 5)", "--json", "-"]) == 0
    ended = "the program ended itself, with sys.exit('done')"
    assert (ended in json.loads(capsys.readouterr().out)["remarks"]) == bool(end)


def test_a_call_that_is_not_reached_is_told(write, capsys):
    assert main(["look", write(TRAINS + "model.fit(X, y, 50)"), "--call", "none()"]) == 0
    said = capsys.readouterr().out
    assert "the file trains by itself, so --call none() was not run" in said


def test_what_runs_in_a_thread_is_told(write, capsys):
    text = "import threading, time\nfor _ in range(2):\n    " + (
        "it = threading.Thread(target=model.fit, args=(X, y, 2)); it.start(); it.join()\n"
    )
    said = refused(capsys, write(TRAINS + text))
    assert said.count("what runs in a thread of its own is not watched") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--names", "error=delta7"), "the network that was recognised has no delta7; expected"),
        (("--names", "error=W1"), "--names error: error holds no array that may be W1"),
        (("--names", "error=delta1,error=W1"), "--names: error stands there twice"),
        (("--call", "fit("), "--call: expected Python, got 'fit('"),
        (("--parameters", "self.W,,self.b"), "--parameters: expected names"),
        (("--frozen", "self.b,self.b"), "--frozen: expected names, separated by commas, each once"),
    ],
)
def test_what_is_said_and_does_not_fit_is_refused(options, words, write, capsys):
    assert words in refused(capsys, write(TRAINS + "model.fit(X, y, 50)"), *options)


def test_a_file_of_another_kind_is_refused(write, capsys):
    said = refused(capsys, write("", "program.txt"))
    assert said.startswith("lockstep look: FILE: expected a file name that ends with .py")


def test_names_that_fit_are_taken(write, capsys):
    path = write(TRAINS + "model.fit(X, y, 50)")
    names = "self.W=W1.T,dW=grad_W1,X=x,error=N/2*delta1"
    assert main(["look", path, "--names", names]) == 0
    assert "match" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("factor", ["", "1.25 * "])
def test_inputs_of_float32_are_allowed_for(factor, write, capsys):
    text = TRAINS.replace("size=(6, 3))", "size=(6, 3)).astype('f4')", 1)
    text = text.replace("            dW = 2 * X.T @ error / len(X)\n", "")
    text = text.replace("lr * dW", f"{factor}lr / len(X) * X.T @ (2 * error)")
    status = main(["look", write(text + "model.fit(X, y, 50)"), "--lr", "0.1"])
    assert status == bool(factor)
    said = capsys.readouterr().out
    assert "the inputs are float32 and the weights float64" in said
    assert not factor or "rounding explains" in said


def test_a_constant_is_set(write, capsys):
    path = write(TRAINS + "model.fit(X, y, 9)\n")
    assert main(["look", path, "--set", "lr=0.05"]) == 0
    assert "sgd lr 0.05" in capsys.readouterr().out
    assert "expected NAME=VALUE" in refused(capsys, path, "--set", "lr")
    assert "did you mean lr?" in refused(capsys, path, "--set", "lrr=1")
    assert "expected a value of Python's" in refused(capsys, path, "--set", "lr=1 +")
    assert "it sets lr, X, y" in refused(capsys, path, "--set", "zebra=1")


def test_a_program_that_ends_after_its_steps_is_judged_to_its_end(write, capsys):
    assert main(["look", write(TRAINS + "model.fit(X, y, 2)\n"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["steps_run"] == 2


def test_an_error_is_told_with_its_line(write, capsys):
    said = refused(capsys, write("import numpy as np\nx = np.ones(3)\nx @ np.ones(2)\n"))
    assert "program.py, line 3: ValueError" in said


def test_an_error_after_the_steps_is_a_remark(write, capsys):
    assert main(["look", write(TRAINS + "model.fit(X, y, 9)\n1 / 0\n"), "--steps", "50"]) == 0
    assert "the program ended early" in capsys.readouterr().out


@pytest.mark.slow
def test_what_never_ends_is_stopped(write, capsys):
    said = refused(capsys, write("while True:\n    x = 1.5\n"), "--time-limit", "1")
    assert "was still running after 1 s, the time limit" in said


def test_a_process_that_is_ended_says_how(write, capsys):
    said = refused(capsys, write("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"))
    assert "its process was ended by SIGKILL" in said
    assert "ended with status 3" in refused(capsys, write("import os\nos._exit(3)\n"))


@pytest.mark.slow
def test_input_is_answered_and_a_missing_import_stands_in(write, capsys):
    text = "import no_such_package\n" + TRAINS + "input('go?')\nmodel.fit(X, y, 9)\n"
    assert main(["look", write(text)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "no_such_package is not installed: something that does nothing stands in for it" in out
    assert "the program asked for input(): it got an empty line each time" in out


def test_what_needs_a_missing_import_says_so(write, capsys):
    said = refused(capsys, write("import no_such_package as p\nfor x in range(p.n):\n    pass\n"))
    assert "no_such_package is not installed" in said


def test_something_else_than_a_network_is_declined(write, capsys):
    text = "import numpy as np\nx = np.ones(3)\nfor i in range(5):\n    x = x * 1.5\n"
    said = refused(capsys, write(text))
    assert "no network was recognised; expected layers σ(x W + b)" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print 'hello'\n", "this is Python 2, where print needs no brackets"),
        ("if 1:\n\tx = 1\n        y = 2\n", "tabs and spaces are mixed"),
        ("x = = 1\n", "expected Python 3: invalid syntax"),
        ("x = 1\0", "expected Python 3: source code string cannot contain null bytes"),
        ("(" * 9000, "expected Python"),
        ("-" * 100_000 + "1", "nested too deeply"),
    ],
)
def test_what_is_no_python_3_is_told_with_its_line(text, words):
    with pytest.raises(Unusable, match=words):
        Program("file.py", text.encode())


def test_a_file_that_is_no_notebook_is_refused():
    with pytest.raises(Unusable, match="expected a Jupyter notebook"):
        Program("file.ipynb", b"{}")


def notebook(*cells):
    kinds = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": ["# Title"]}, *kinds]})


def test_a_notebook_has_cells_and_magic_commands():
    text = notebook("%matplotlib inline\nx = 1", "%%bash\nls", "!pip install x\nx?\ny = 2")
    program = Program("file.ipynb", text.encode())
    assert program.text(2) == "x = 1"
    assert [line for line in program.lines if not line.startswith("pass")] == ["x = 1", "y = 2"]
    assert program.place(7) == "cell 3, line 3"
    assert (
        program.located("file.ipynb, line 7: no", ValueError()) == "file.ipynb, cell 3, line 3: no"
    )
    with pytest.raises(Unusable, match="cell 1, line 1: expected Python 3"):
        Program("file.ipynb", notebook("x = = 2").encode())


def test_what_a_notebook_times_is_run_and_what_it_asks_the_shell_is_empty():
    cells = "%time train()", "x = %time train()", "files = !ls", "a, b = %magic\n", "%%bash\nx=!ls"
    program = Program("file.ipynb", notebook(*cells).encode())
    assert program.lines == [
        "train()",
        "x = train()",
        "files = []  # !ls",
        "a, b = []  # %magic",
        "",
        "pass  # %%bash",
        "pass  # x=!ls",
    ]


def test_a_line_of_another_file_has_its_name(tmp_path):
    other = tmp_path / "layers.py"
    other.write_text("a = 1\nb = 2\n")
    program = Program(str(tmp_path / "main.py"), b"import layers\n")
    assert program.place(2, str(other)) == "line 2 of layers.py"
    assert program.text(2, str(other)) == "b = 2"
    assert program.text(99) == ""
    assert program.is_beside(str(other))
    assert not program.is_beside("/usr/lib/python3.11/json/decoder.py")
    assert not program.is_beside("layers.py")


def test_imports_in_a_try_are_left_alone():
    text = "import a.b\nfrom c import d\nfrom . import e\n"
    text += "try:\n    import f\nexcept ImportError:\n    g = 1\n"
    assert imports_of(Program("file.py", text.encode()).tree) == {"a", "c"}


def test_names_stand_by_the_lines_of_their_statement():
    tree = Program("file.py", b"x = (a +\n     b)\nfor i in x:\n    y = i\n").tree
    names = names_by_line(tree)
    assert names[1] == names[2] == {"x", "a", "b"}
    assert names[3] == {"i", "x"}


@pytest.mark.slow
def test_what_is_said_holds(write, capsys):
    path = write(TRAINS + "model.fit(X, y, 9)\n")
    names = "--x X --y y --parameters self.W,self.b,model.W,model.b".split()
    assert main(["look", path, *names, "--loss", "mse", "--lr", "0.1", "--optimizer", "sgd"]) == 0
    assert main(["look", path, "--lr", "0.2"]) == 1
    assert "learning-rate" in capsys.readouterr().out
    assert main(["look", path, "--loss", "half_sum_over_n", "--json", "-"]) == 1
    assert json.loads(capsys.readouterr().out)["problem"]["loss"] == "half_sum_over_n"
    for option in ("--x", "--y", "--parameters"):
        assert "no variable nonsense was seen" in refused(capsys, path, option, "nonsense")
    assert "no network was recognised" in refused(capsys, path, "--loss", "cross_entropy")
    assert main(["look", path, "--optimizer", "adam", "--quiet"]) == 1


DECAYS = TRAINS.replace("lr = 0.1", "lr = 0.1\nreg = 0.02").replace(
    "dW = 2 * X.T @ error / len(X)", "dW = 2 * X.T @ error / len(X) + reg * self.W"
)


@pytest.mark.slow
def test_a_penalty_is_found(write, capsys):
    path = write(DECAYS + "model.fit(X, y, 9)\n")
    assert main(["look", path]) == 0
    assert "mse, l2 0.02, sgd lr 0.1" in capsys.readouterr().out
    assert main(["look", path, "--l2", "0.04"]) == 1


def test_a_schedule_of_the_learning_rate_is_followed(write, capsys):
    text = TRAINS.replace(
        "            self.b = self.b - lr * db\n",
        """\
            self.b = self.b - lr * db
            lr = lr * 0.5
""",
    ).replace("for _ in", "lr = 0.1\n        for _ in")
    assert main(["look", write(text + "model.fit(X, y, 9)\n"), "--steps", "3"]) == 0
    assert "match" in capsys.readouterr().out


def test_a_main_guard_is_looked_into(write, capsys):
    guarded = TRAINS + "if __name__ == '__main__':\n    epochs = 9\n    model.fit(X, y, epochs)\n"
    assert main(["look", write(guarded), "--set", "epochs=4"]) == 0


def test_float32_is_judged_as_such(write, capsys):
    text = TRAINS.replace("size=(6, 3))", "size=(6, 3)).astype(np.float32)")
    text = text.replace("[[1.0], [2.0], [-1.0]])", "[[1.0], [2.0], [-1.0]], np.float32)")
    text = text.replace("size=(3, 1))", "size=(3, 1)).astype(np.float32)")
    text = text.replace("np.full(1, 0.3)", "np.full(1, 0.3, np.float32)")
    text = text.replace("lr = 0.1", "lr = np.float32(0.1)")
    assert main(["look", write(text + "model.fit(X, y, 9)\n"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["dtype"] == "float32"


@pytest.mark.slow
def test_a_step_by_dropout_is_declined_and_not_judged_in_part(write, capsys):
    text = """
import numpy as np
np.random.seed(1)
X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
y = np.array([[0, 1, 1, 0]]).T
synapse_0 = 2 * np.random.random((3, 5)) - 1
synapse_1 = 2 * np.random.random((5, 1)) - 1
for j in range(60000):
    layer_1 = 1 / (1 + np.exp(-(np.dot(X, synapse_0))))
    layer_1 *= np.random.binomial([np.ones((len(X), 5))], 0.8)[0] * (1.0 / 0.8)
    layer_2 = 1 / (1 + np.exp(-(np.dot(layer_1, synapse_1))))
    layer_2_delta = (layer_2 - y) * (layer_2 * (1 - layer_2))
    layer_1_delta = layer_2_delta.dot(synapse_1.T) * (layer_1 * (1 - layer_1))
    synapse_1 -= 0.5 * layer_1.T.dot(layer_2_delta)
    synapse_0 -= 0.5 * X.T.dot(layer_1_delta)
"""
    said = refused(capsys, write(text))
    assert "a forward pass with dropout was recognised (sigmoid, sigmoid)" in said
    assert "expected one without: take the masks out, in a copy of the file" in said
    said = refused(capsys, write(f"drop_rate = 0.2\n{text}"))
    assert "set the rate to 0, such as --set drop_rate=0" in said


def test_a_loop_that_goes_on_elsewhere_is_judged_as_far_as_it_is_known(write, capsys):
    loop = """
W = np.random.default_rng(1).normal(size=(3, 1))
for i in range(9):
    if i == 0:
        first = X @ W
        error = first - y
    else:
        other = X @ W
        error = other - y
    dW = X.T @ error / len(X)
    W = W - lr * dW
"""
    assert main(["look", write(TRAINS + loop), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["steps_run"] == 1


def test_names_that_are_ours_stand_alone(write, capsys):
    text = TRAINS.replace("dW", "grad_W1") + "model.fit(X, y, 9)\n"
    assert main(["look", write(text), "--show", "1"]) == 0
    assert "(your grad_W1)" not in capsys.readouterr().out


NETWORK = """
import numpy as np

rng = np.random.default_rng(3)
X = rng.normal(size=(12, 3))
y = (X[:, :1] > 0).astype(float)
W1, b1 = rng.normal(size=(3, 4)), np.zeros(4)
W2, b2 = rng.normal(size=(4, 1)), np.zeros(1)
parameters = [W1, b1, W2, b2]
lr, beta = 0.1, 0.9


def gradients(W1, b1, W2, b2):
    h = np.tanh(X @ W1 + b1)
    p = 1 / (1 + np.exp(-(h @ W2 + b2)))
    error = p - y
    d2 = error / len(X)
    d1 = d2 @ W2.T * (1 - h * h)
    return X.T @ d1, d1.sum(axis=0), h.T @ d2, d2.sum(axis=0)


"""


TRAINED = (
    NETWORK
    + """
for t in range(9):
    dW1, db1, dW2, db2 = gradients(W1, b1, W2, b2)
    W1, b1, W2, b2 = W1 - lr * dW1, b1 - lr * db1, W2 - lr * dW2, b2 - lr * db2
"""
)


@pytest.mark.slow
def test_a_learning_rate_that_falls_is_followed_in_adam(write, capsys):
    text = """
m, v = [0 * p for p in parameters], [0 * p for p in parameters]
for t in range(1, 20):
    rate = lr / (1 + 1e-4 * t)
    for i, g in enumerate(gradients(*parameters)):
        m[i] = beta * m[i] + (1 - beta) * g
        v[i] = 0.99 * v[i] + (1 - 0.99) * g * g
        step = m[i] / (1 - beta**t) / (np.sqrt(v[i] / (1 - 0.99**t)) + 1e-8)
        parameters[i] = parameters[i] - rate * step
"""
    assert main(["look", write(NETWORK + text), "--steps", "4"]) == 0
    assert "adam beta1 0.9 beta2 0.99 eps 1e-08 lr 0.09999" in capsys.readouterr().out


MOMENTUM = """
velocities = [0 * p for p in parameters]
for t in range(20):
    for i, g in enumerate(gradients(*parameters)):
        velocities[i] = beta * velocities[i] + (1 - beta) * g
        parameters[i] = parameters[i] - lr * velocities[i]
"""


@pytest.mark.slow
def test_momentum_of_averages_is_momentum_at_a_smaller_learning_rate(write, capsys):
    assert main(["look", write(NETWORK + MOMENTUM), "--steps", "4"]) == 0
    assert "sgd momentum 0.9 lr 0.01\n" in capsys.readouterr().out


@pytest.mark.slow
def test_an_update_of_no_known_optimizer_is_not_judged_and_its_gradients_are(write, capsys):
    text = """
for t in range(1, 20):
    for i, g in enumerate(gradients(*parameters)):
        parameters[i] = parameters[i] - lr * np.cbrt(g)
"""
    assert main(["look", write(NETWORK + text)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "bce, no known optimizer" in out
    assert "its updates are those of no known optimizer" in out
    wrong = (NETWORK + text).replace("return X.T @ d1,", "return X.T @ d1 / 2,")
    assert main(["look", write(wrong)]) == 1
    assert "scaled-by-constant" in capsys.readouterr().out
    assert main(["look", write(NETWORK + text), "--lr", "0.1", "--quiet"]) == 1


@pytest.mark.slow
def test_where_neither_gradients_nor_updates_are_known_nothing_is_judged(write, capsys):
    loop = """
for t in range(20):
    h = np.tanh(X @ W1 + b1)
    p = 1 / (1 + np.exp(-(h @ W2 + b2)))
    error = p - y
    d2 = error / len(X)
    d1 = d2 @ W2.T * (1 - h * h)
    W1, W2 = W1 - lr * np.cbrt(X.T @ d1), W2 - lr * np.cbrt(h.T @ d2)
    b1, b2 = b1 - lr * np.cbrt(d1.sum(axis=0)), b2 - lr * np.cbrt(d2.sum(axis=0))
"""
    said = refused(capsys, write(NETWORK + loop))
    assert "no variable holds its gradients, and its updates are those of no known" in said


def test_the_time_limit_holds_for_recognition_too(write, capsys, monkeypatch):
    monkeypatch.setattr("lockstep.look.seen.monotonic", lambda: float("inf"))
    said = refused(capsys, write(NETWORK + MOMENTUM), "--time-limit", "30")
    assert "no network was recognised; expected layers" in said
    assert "There were 30 s for it: make it smaller, such as --set epochs=2" in said


NEURONS = """
import math
import random

random.seed(4)


class Neuron:
    def __init__(self, n):
        self.weights = [random.uniform(-1, 1) for _ in range(n)]
        self.bias = random.uniform(-1, 1)

    def fire(self, inputs):
        total = self.bias
        for w, a in zip(self.weights, inputs):
            total += w * a
        self.inputs, self.out = inputs, 1 / (1 + math.exp(-total))
        return self.out


hidden = [Neuron(2) for _ in range(3)]
outer = [Neuron(3) for _ in range(2)]
for x, t in [([0.1, 0.9], [1.0, 0.0]), ([0.8, 0.2], [0.0, 1.0]), ([0.5, 0.4], [0.3, 0.6])] * 20:
    o = [n.fire([m.fire(x) for m in hidden]) for n in outer]
    for k, n in enumerate(outer):
        n.delta = (o[k] - t[k]) * n.out * (1 - n.out)
    for j, n in enumerate(hidden):
        error = sum(m.delta * m.weights[j] for m in outer)
        n.delta = error * n.out * (1 - n.out)
    for n in hidden + outer:
        for i in range(len(n.weights)):
            n.weights[i] -= 0.5 * n.delta * n.inputs[i]
        n.bias -= 0.5 * n.delta
"""


@pytest.mark.slow
def test_neurons_that_are_objects_are_gathered(write, capsys):
    assert main(["look", write(NEURONS)]) == 0
    assert "network 2-3-2, sigmoid, sigmoid, half_sum, sgd lr 0.5" in capsys.readouterr().out
    wrong = NEURONS.replace("n.delta = error * n.out * (1 - n.out)", "n.delta = error")
    assert main(["look", write(wrong)]) == 1
    out = capsys.readouterr().out
    assert "missing-activation-derivative" in out
    assert "n.delta = error" in out


def test_weights_that_begin_small_are_parameters(write, capsys):
    text = TRAINS.replace("normal(size=(3, 1))", "normal(size=(3, 1)) * 1e-3")
    assert main(["look", write(text + "model.fit(X, y, 9)\n")]) == 0


@pytest.mark.slow
def test_penalties_that_are_not_alike_are_declined(write, capsys):
    text = """
reg = 0.05
for t in range(20):
    dW1, db1, dW2, db2 = gradients(W1, b1, W2, b2)
    dW1 += reg * W1
    W1, b1, W2, b2 = W1 - lr * dW1, b1 - lr * db1, W2 - lr * dW2, b2 - lr * db2
"""
    assert "its penalty is not λ/2 Σ W² over all weights" in refused(capsys, write(NETWORK + text))
    alike = text.replace("dW1 += reg * W1", "dW1 += reg * W1\n    dW2 += reg * W2")
    assert main(["look", write(NETWORK + alike)]) == 0
    assert "l2 0.05" in capsys.readouterr().out


@pytest.mark.slow
def test_batches_that_are_alike_are_data(write, capsys):
    text = """
X = rng.random((60, 3)) + 1
y = (X.sum(axis=1, keepdims=True) > 4.5) * 1.0
for t in range(4):
    order = rng.permutation(60)
    for start in range(0, 60, 20):
        rows = order[start : start + 20]
        xb = X[rows]
        h = np.tanh(xb @ W1 + b1)
        p = 1 / (1 + np.exp(-(h @ W2 + b2)))
        d2 = (p - y[rows]) / 20
        d1 = d2 @ W2.T * (1 - h * h)
        W2, b2 = W2 - lr * h.T @ d2, b2 - lr * d2.sum(axis=0)
        W1, b1 = W1 - lr * xb.T @ d1, b1 - lr * d1.sum(axis=0)
"""
    assert main(["look", write(NETWORK + text)]) == 0
    assert "3-4-1, tanh, sigmoid, bce, sgd lr 0.1" in capsys.readouterr().out


ROWS_AND_COLUMNS = """
import numpy as np

rng = np.random.default_rng(3)
X = rng.normal(size=(20, 3))
Y = np.eye(2)[(X[:, 0] > X[:, 1]).astype(int)].T
w1, w2 = rng.normal(size=(4, 4)), rng.normal(size=(2, 5))
eta, reg = 0.05, 0.1
for _ in range(9):
    a1 = np.hstack([np.ones((20, 1)), X])
    z2 = w1 @ a1.T
    a2 = 1 / (1 + np.exp(-z2))
    a2 = np.vstack([np.ones((1, 20)), a2])
    z3 = w2 @ a2
    a3 = 1 / (1 + np.exp(-z3))
    sigma3 = a3 - Y
    sigma2 = (w2.T @ sigma3 * a2 * (1 - a2))[1:]
    grad1, grad2 = sigma2 @ a1, sigma3 @ a2.T
    grad1[:, 1:] += reg * w1[:, 1:]
    grad2[:, 1:] += reg * w2[:, 1:]
    w1 = w1 - eta * grad1
    w2 = w2 - eta * grad2
"""


@pytest.mark.slow
def test_samples_may_be_rows_in_x_alone_and_gradients_have_the_biases_in_them(write, capsys):
    assert main(["look", write(ROWS_AND_COLUMNS)]) == 0
    out = capsys.readouterr().out
    assert "bce_sum, l2 0.1, sgd lr 0.05" in out
    assert "samples are columns, in x they are rows; biases are the first column" in out
    assert "grad_b_h  grad1" in out
    wrong = ROWS_AND_COLUMNS.replace(" * (1 - a2))[1:]", ")[1:]")
    assert main(["look", write(wrong)]) == 1


@pytest.mark.slow
def test_an_update_with_the_other_sign_is_no_penalty(write, capsys):
    assert main(["look", write(TRAINED.replace("W1 - lr", "W1 + lr"))]) == 1
    assert "update-sign" in capsys.readouterr().out


@pytest.mark.slow
def test_difference_quotients_before_the_training_are_no_steps(write, capsys):
    loop = """
parameters = [W1, b1, W2, b2]
for p in parameters:
    for i in range(p.size):
        kept = p.flat[i]
        for e in (1e-5, -1e-5):
            p.flat[i] += e
            gradients(*parameters)
            p.flat[i] = kept
for _ in range(9):
    for p, g in zip(parameters, gradients(*parameters)):
        p -= lr * g
"""
    assert main(["look", write(NETWORK + loop)]) == 0
    assert "sgd lr 0.1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_learning_rate_that_is_in_it_twice_is_not_read_off(write, capsys):
    text = TRAINED.replace("= 0.1, 0.9", "= 0.2, 0.9").replace("- lr *", "- lr * lr *")
    main(["look", write(text)])
    assert "lr 0.04" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_said_does_not_make_the_last_layer_the_whole(write, capsys):
    text = TRAINED.replace("lr * dW1", "lr * 12 * dW1")
    assert main(["look", write(text), "--loss", "bce", "--lr", "0.1"]) != 0


@pytest.mark.slow
def test_a_loss_that_is_a_multiple_of_the_one_that_is_meant_is_a_remark(write, capsys):
    loss = """
    p = 1 / (1 + np.exp(-(np.tanh(X @ W1 + b1) @ W2 + b2)))
    loss = -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p))
    W1, b1,"""
    assert main(["look", write(TRAINED.replace("\n    W1, b1,", loss))]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "is 12 times the one whose gradients these are" in out


@pytest.mark.slow
def test_samples_may_be_columns_in_x_alone(write, capsys):
    text = TRAINED.replace("size=(12, 3)", "size=(3, 12)").replace("X[:, :1]", "X[:1].T")
    text = text.replace("X @ W1", "X.T @ W1").replace("X.T @ d1", "X @ d1").replace("len(X)", "12")
    assert main(["look", write(text)]) == 0
    assert "samples are rows, in x they are columns" in capsys.readouterr().out


@pytest.mark.slow
def test_the_loss_that_is_printed_once_says_what_is_meant(write, capsys):
    once = """
    if t == 0:
        p = 1 / (1 + np.exp(-(np.tanh(X @ W1 + b1) @ W2 + b2)))
        cost = np.mean((p - y) ** 2)
    W1, b1,"""
    assert main(["look", write(TRAINED.replace("\n    W1, b1,", once))]) != 0


@pytest.mark.slow
def test_what_was_recognised_in_time_is_judged(write, capsys, monkeypatch):
    def late(*given):
        seen, _, told = watched(*given)
        return seen, LATE, told

    monkeypatch.setattr("lockstep.look.look.watched", late)
    assert main(["look", write(NETWORK + MOMENTUM)]) == 0
    assert "remark: after 60 s no further steps were looked for" in capsys.readouterr().out


RECURRENT = """
import numpy as np

rng = np.random.default_rng(1)
Wxh, Whh, Why = rng.normal(size=(5, 3)), rng.normal(size=(5, 5)) / 3, rng.normal(size=(2, 5))
bh, by = np.full((5, 1), 0.1), np.full((2, 1), 0.2)
sequences = rng.normal(size=(40, 4, 3, 1)), rng.normal(size=(40, 4, 2, 1))
for xs, ys in zip(*sequences):
    xs, ys = list(xs), list(ys)
    hs, os = {-1: np.zeros((5, 1))}, {}
    for t in range(4):
        hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1] + bh)
        os[t] = Why @ hs[t] + by
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby, following = np.zeros_like(bh), np.zeros_like(by), np.zeros((5, 1))
    for t in reversed(range(4)):
        do = os[t] - ys[t]
        dWhy, dby = dWhy + do @ hs[t].T, dby + do
        dz = (Why.T @ do + following) * (1 - hs[t] ** 2)
        dbh, dWxh = dbh + dz, dWxh + dz @ xs[t].T
        dWhh = dWhh + dz @ hs[t - 1].T
        following = Whh.T @ dz
    for parameter, gradient in [(Wxh, dWxh), (Whh, dWhh), (Why, dWhy), (bh, dbh), (by, dby)]:
        parameter -= 0.01 * gradient
"""


@pytest.mark.slow
def test_a_recurrent_network_is_declined_as_such(write, capsys):
    said = refused(capsys, write(RECURRENT))
    assert "a forward pass was recognised (tanh, linear), but Whh is trained too" in said
    assert "as in a recurrent network, which is not judged" in said
    assert "There were" not in said
