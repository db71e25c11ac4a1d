"""`lockstep look`: programs as people write them, right and with a mistake each."""

import json
from pathlib import Path

import pytest

from lockstep.__main__ import main

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PROGRAMS = {
    "closures.py": "tanh, softmax, cross_entropy, sgd lr 0.2",
    "dict_of_parameters.py": "relu, relu, sigmoid, bce, sgd lr 0.1",
    "float_loops.py": "tanh, tanh, half_sum, sgd lr 0.4",
    "folded_biases.py": "sigmoid, sigmoid, bce, sgd lr 0.6",
    "list_of_layers.py": "relu, relu, softmax, cross_entropy, sgd momentum 0.9 lr 0.1",
    "mini_batches.py": "softmax, cross_entropy, adam beta1 0.9 beta2 0.999 eps 1e-08 lr 0.01",
    "network_class.py": "relu, sigmoid, bce, sgd lr 0.3",
    "notebook.ipynb": "sigmoid, sigmoid, half_sum, sgd lr 1",
    "one_at_a_time.py": "sigmoid, sigmoid, mse, sgd lr 3",
    "samples_in_columns.py": "relu, softmax, cross_entropy, sgd lr 0.1",
    "script.py": "tanh, linear, mse, sgd lr 0.05",
    "torch_tensors.py": "relu, linear, sum, sgd lr 0.0001",
}
CONVENTIONS = {
    "dict_of_parameters.py": "samples are columns; dZ is 40 · ∂L/∂z",
    "folded_biases.py": "biases are the first row of the weights",
    "notebook.ipynb": "there are no biases; l2_delta is −∂L/∂z",
    "one_at_a_time.py": "6 samples, one at a time, make a step",
    "samples_in_columns.py": "dZ2 is 35 · ∂L/∂z",
}
STUDENTS = {
    "s1_class.py": ("derivative-at-wrong-point", "delta_h", 30),
    "s3_loops.py": ("term-missing", "delta_h", 36),
    "s5_three_layers.py": ("wrong-layer-derivative", "delta1", 23),
    "s7_naming.py": ("wrong-activation-derivative", "delta_h", 23),
}
# program, what stands there, the mistake in its place, its name, where it is seen first
MISTAKES = [
    (
        "script.py",
        "(g_out @ w2.T) * (1 - hidden**2)",
        "g_out @ w2.T",
        "missing-activation-derivative",
        "delta_h",
    ),
    (
        "network_class.py",
        "(guess - answers) / len(inputs)",
        "(guess - answers) * guess * (1 - guess) / len(inputs)",
        "extra-activation-derivative",
        "delta_o",
    ),
    (
        "closures.py",
        "dscores.T @ state, dscores.sum(axis=0)",
        "dscores.T @ state, dscores.mean(axis=0)",
        "bias-gradient-averaged",
        "grad_b_o",
    ),
    (
        "dict_of_parameters.py",
        "dZ = dA * (caches[l - 2][1] > 0)",
        "dZ = dA",
        "missing-activation-derivative",
        "delta2",
    ),
    ("list_of_layers.py", "self.b - lr * self.vb", "self.b", "bias-gradient-missing", "new_b3"),
    (
        "float_loops.py",
        "error += output_deltas[k] * output_weights[k][j]",
        "error += output_deltas[k]",
        "wrong-weights",
        "delta_h",
    ),
    (
        "samples_in_columns.py",
        "np.sum(dZ1, axis=1, keepdims=True)",
        "np.sum(dZ1)",
        "bias-summed-over-neurons",
        "grad_b_h",
    ),
    (
        "folded_biases.py",
        "* a2[:, 1:] * (1 - a2[:, 1:])",
        "* (1 - a2[:, 1:])",
        "wrong-activation-derivative",
        "delta_h",
    ),
    (
        "notebook.ipynb",
        "l1_error = l2_delta.dot",
        "l1_error = l2_error.dot",
        "output-derivative-dropped",
        "delta_h",
    ),
    (
        "torch_tensors.py",
        "grad_y_pred.mm(w2.t())",
        "grad_y_pred.mm(w2.t().flip(0))",
        "unknown",
        "delta_h",
    ),
    (
        "mini_batches.py",
        "m[k] = beta1 * m[k] + (1 - beta1) * grads[k]",
        "m[k] = beta1 * m[k] + grads[k]",
        "momentum-form",
        "new_W_o",
    ),
    (
        "one_at_a_time.py",
        "delta = np.dot(self.weights[-l + 1].T, delta) * sigmoid_prime(zs[-l])",
        "delta = np.dot(self.weights[-l + 1].T, delta)",
        "missing-activation-derivative",
        "delta_h",
    ),
    (
        "one_at_a_time.py",
        "grad_w[-l] = np.dot(delta",
        "grad_w[-l] = 1.5 * np.dot(delta",
        "scaled-by-constant",
        "grad_W_h",
    ),
]


def looked(capsys, path, *options):
    """The exit status and the document."""
    status = main(["look", str(path), "--json", "-", *options])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else err


def refused(capsys, path, *options):
    """The sentence with which a program is refused."""
    status, said = looked(capsys, path, *options)
    assert status == 2
    return said


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_right_program_matches_as_it_stands(name, capsys):
    assert main(["look", str(HERE / "programs" / name)]) == 0
    out = capsys.readouterr().out
    assert PROGRAMS[name] in out
    assert CONVENTIONS.get(name, "") in out
    assert "\nmatch: " in out


@pytest.mark.parametrize(("name", "right", "wrong", "mistake", "quantity"), MISTAKES)
def test_a_planted_mistake_is_found_and_named(
    name, right, wrong, mistake, quantity, tmp_path, capsys
):
    text = (HERE / "programs" / name).read_text()
    assert right in text
    program = tmp_path / name
    program.write_text(text.replace(right, wrong))
    status, document = looked(capsys, program)
    assert status == 1
    assert document["first_mismatch"]["quantity"] == quantity
    assert mistake in {it["mistake"] for it in document["diagnoses"]}


@pytest.mark.parametrize("name", STUDENTS)
def test_what_students_write_is_judged_with_file_and_line(name, capsys):
    mistake, quantity, line = STUDENTS[name]
    status, document = looked(capsys, HERE / "students" / name)
    assert status == 1
    assert document["diagnoses"][0]["mistake"] == mistake
    first = document["first_mismatch"]["quantity"]
    assert first == quantity
    where = next(it for it in document["recognised"] if it["quantity"] == first)
    assert (where["line"], where["file"]) == (line, name)


def test_the_report_has_the_line_and_its_text(capsys):
    assert main(["look", str(HERE / "students" / "s1_class.py"), "--steps", "1"]) == 1
    out = capsys.readouterr().out
    assert "line 30, in backward: d1 = np.dot(d2, self.W2.T)" in out
    assert "delta_h   d1 (times 4)  ?" in out
    assert "recognised in s1_class.py: network 2-4-1" in out


def test_quiet_prints_the_verdict_alone(capsys):
    assert main(["look", str(HERE / "programs" / "script.py"), "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("match: ")
