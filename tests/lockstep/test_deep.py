"""Networks of any depth, end to end: judged, recorded, explained, reported."""

import json
from pathlib import Path

import numpy as np
import pytest

from lockstep.api import compare, run
from lockstep.cli.compare import main
from lockstep.errors import Unusable
from lockstep.explain import search
from lockstep.report.document import line
from lockstep.report.page.page import new_album, page
from lockstep.report.step import step_lines
from lockstep.run.steps import after, by_torch
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import by_hand
from lockstep.sides.code import settings_of
from manual_backprop.activations import softmax
from tests.deep import PROBLEMS, name_of, problem

CLASSIFIER = dict(
    sizes="4-5-3",
    activations="relu,linear",
    loss="cross_entropy",
    samples=6,
    momentum=0.9,
)


def classifier(W1, b1, W2, b2, X, Y, eta, velocity_W1, v_dW2):
    """Softmax and momentum as many write them, with names of their own."""
    Z1 = X @ W1.T + b1
    A1 = np.maximum(Z1, 0)
    A2 = softmax(A1 @ W2.T + b2)
    dZ2 = (A2 - np.eye(A2.shape[1])[Y]) / len(X)
    dW2, db2 = dZ2.T @ A1, dZ2.sum(axis=0, keepdims=True)
    dA1 = dZ2 @ W2
    dZ1 = dA1 * (Z1 > 0)
    dW1, db1 = dZ1.T @ X, dZ1.sum(axis=0)
    new_velocity_W1, new_v_dW2 = 0.9 * velocity_W1 + dW1, 0.9 * v_dW2 + dW2
    return dict(
        A2=A2, dZ2=dZ2, dA1=dA1, dZ1=dZ1, dW2=dW2, db2=db2, dW1=dW1, db1=db1,
        cost=-np.log(A2[np.arange(len(Y)), Y]).mean(),
        new_velocity_W1=new_velocity_W1, new_v_dW2=new_v_dW2,
        new_W1=W1 - eta * new_velocity_W1, new_w2=W2 - eta * new_v_dW2,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("values", PROBLEMS, ids=name_of)
def test_the_code_by_hand_matches_at_every_step(values, dtype):
    result = run(problem(values, dtype=dtype), {"control": True})
    assert result.verdict == "match", str(result)
    assert 0 < result.worst_ratio < 1
    assert result.steps_run == 3
    assert result.control["caught"] == len(result.control["planted"])
    assert f"{len(result.problem.network.computed)} of" in str(result)


def test_a_step_may_use_other_names_labels_and_a_row_of_biases():
    result = compare(classifier, CLASSIFIER, steps=4, battery=6)
    assert result.verdict == "match", str(result)
    assert result.battery["matching"] == result.battery["problems"] == 6
    assert "match: 13 of 20 quantities, 4 steps" in " ".join(str(result).split())
    assert any("db2 has the shape of a row or a column" in remark for remark in result.remarks)


def test_a_wrong_step_is_told_by_our_names_and_the_users():
    def wrong(A2, Y, W2):
        return {"dZ2": A2 - np.eye(3)[Y]}

    result = compare(wrong, CLASSIFIER)
    assert result.first_mismatch["quantity"] == "delta_o"
    found = result.diagnoses[0]
    assert found["mistake"] == "scaled-by-constant"
    assert "N" in found["says"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wrong", "mistake"),
    [
        ("delta2", lambda g: g["delta3"] @ g["W3"], "missing-activation-derivative"),
        ("grad_W2", lambda g: g["delta2"].T @ np.tanh(g["a1"]), "unknown"),
        ("grad_W3", lambda g: g["delta3"].T @ g["z2"], "wrong-layer-input"),
        ("new_W2", lambda g: g["W2"] + g["lr"] * g["grad_W2"], "update-sign"),
        ("new_b1", lambda g: g["b1"], "bias-gradient-missing"),
        ("grad_b2", lambda g: g["delta2"].mean(axis=0), "bias-gradient-averaged"),
    ],
)
def test_a_mistake_in_a_layer_in_the_middle_is_named(name, wrong, mistake):
    names = "W2, W3, b1, lr, delta2, delta3, a1, z2, grad_W2"
    names = ", ".join(each for each in names.split(", ") if each != name)
    scope = {"wrong": wrong}
    exec(f"def step({names}): return {{{name!r}: wrong(dict(locals()))}}", scope)
    values = dict(sizes="3-4-5-2", activations="tanh,sigmoid,linear", samples=5)
    result = compare(scope["step"], values)
    assert result.first_mismatch["quantity"] == name
    assert result.diagnoses[0]["mistake"] == mistake


@pytest.mark.slow
@pytest.mark.parametrize("values", PROBLEMS, ids=name_of)
def test_a_trace_reads_back_and_matches(values, tmp_path, capsys):
    made = problem(values)
    arguments = [f"{tmp_path}/p.toml", "--steps", "3", "--trace", f"{tmp_path}/run.jsonl"]
    settings = {n: v for n, v in made.settings.items() if v is not None and n != "data"}
    arrays = made.parameters | made.masks | {"x": made.x, "y": made.y}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if n_is_key(name)]
    lines += [f"{name} = {json.dumps(array.tolist())}" for name, array in arrays.items()]
    (tmp_path / "p.toml").write_text("\n".join(lines))
    assert main([*arguments, "--quiet"]) == 0
    assert main(["--numbers", f"{tmp_path}/run.jsonl", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert f"match: {len(made.network.computed)} of" in out


def n_is_key(name):
    return name not in ("samples", "standardize", "batch_size")


def test_a_line_of_a_recording_may_give_memory_and_labels(tmp_path):
    made = problem(dict(sizes="2-3-3", loss="cross_entropy", optimizer="adam", samples=2))
    start = made.start(1, made.state)
    got = by_torch(made, start)
    state = after(made.network, got)
    again = by_torch(made, made.start(5, state))
    first = {"sizes": "2-3-3", "loss": "cross_entropy", "optimizer": "adam", "lr": made.lr}
    lines = [
        {"problem": first},
        {"step": 1, **start.given, "dW2": got["grad_W_o"], "new_W1": got["new_W_h"]},
        {"step": 5, **state.parameters, **state.memory, "new_square_W2": again["new_square_W_o"]},
    ]
    path = tmp_path / "run.jsonl"
    path.write_text("".join(map(line, lines)))
    result = compare(None, None, numbers=str(path))
    assert result.verdict == "match", str(result)
    assert result.returned == {"grad_W_o", "new_W_h", "new_square_W_o"}


def test_adam_at_the_solution_divides_rounding_by_rounding_and_the_verdict_says_so():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(9, 2)), random.normal(size=(9, 1))
    solution = np.linalg.lstsq(x, y, rcond=None)[0].T.tolist()
    values = dict(W1=solution, x=x.tolist(), y=y.tolist(), optimizer="adam", no_biases=True)
    result = compare(None, values | {"eps": 1e-30}, steps=1)
    assert result.verdict == "match"
    assert result.resolution["blind"] >= 6  # the gradient and both memories
    assert result.last.allowed["new_W1"].max() > 0.01  # a step of the learning rate's size
    assert "could not be judged: rounding alone could change them" in " ".join(str(result).split())


def test_the_referee_knows_the_exact_step_of_any_network():
    for values in PROBLEMS:
        result = run(problem(values), {"referee": True})
        counted = result.referee["nearer"]
        assert sum(counted.values()) == result.last.size
        for entry in result.referee["worst"]:
            assert entry["manual_error"] <= 3 * entry["allowed"]


@pytest.mark.slow
@pytest.mark.parametrize("values", PROBLEMS, ids=name_of)
def test_every_view_shows_a_deep_network(values):
    made = problem(values)
    album = new_album(made)
    result = run(made, {"show": "all"}, album.add)
    text = page(result, album)
    assert "match:" in text
    assert (f"{made.network.name('W1')}[0, 0] = " in text) == (max(made.sizes) <= 4)
    lines = "\n".join(line.plain for line in step_lines(result.last, made, 160))
    assert f"{made.network.name('delta1')}[" in lines or made.samples == 1
    assert lines.count("✓") == len(made.network.computed)


@pytest.mark.slow
def test_the_sources_of_a_deep_network_stand_side_by_side(tmp_path, capsys):
    path = tmp_path / "step.py"
    path.write_text("def step(a3, y): return {'delta3': a3 - y}\n")
    arguments = ["--sizes", "3-2-2-4", "--loss", "bce_sum", "--derivation", str(path)]
    assert main([*arguments, "--code", "--plot", f"{tmp_path}/a.png"]) == 0
    out = capsys.readouterr().out
    assert "delta3" in out
    assert "torch_reference/network.py" in out


def test_what_a_problem_hides_is_told_of_a_deep_network_too():
    result = compare(None, dict(sizes="2-2-2-2"), steps=1)
    assert "missing-activation-derivative" in result.cannot_see


def test_names_that_mean_nothing_are_told():
    with pytest.raises(Unusable, match="asks for 'W9': expected names of quantities"):
        compare(lambda W9: {"loss": 0.0}, dict(sizes="2-2-2-2"))
    with pytest.raises(Unusable, match=r"returned 'dW9': expected names of computed quantities"):
        compare(lambda W1: {"dW9": W1}, dict(sizes="2-2-2-2"))
    with pytest.raises(Unusable, match="returned grad_W1 twice, also as dW1; expected one"):
        compare(lambda W1: {"grad_W1": W1, "dW1": W1}, dict(sizes="2-2-2-2"))
    with pytest.raises(Unusable, match="require: expected all, gradients, or names"):
        compare(None, dict(sizes="2-2-2-2"), require="grad_W9")


def test_textbook_formulas_of_a_cross_entropy_are_right_and_lose_digits():
    def softmax_loss(a2, y):
        return {"loss": -np.log(a2[np.arange(len(y)), y]).mean()}

    def binary_loss(a2, y):
        return {"loss": -(y * np.log(a2) + (1 - y) * np.log(1 - a2)).mean()}

    far = {"W_o": [[9.0, 9.0], [-9.0, 9.0]], "b_o": [0.0, 0.0], "x": [[1.5, 1.0]], "y": [0]}
    identity = {"W_h": [[1.0, 0.0], [0.0, 1.0]], "b_h": [0.0, 0.0]}
    for step, loss, y in ((softmax_loss, "cross_entropy", [0]), (binary_loss, "bce", [[0.0, 0.0]])):
        result = compare(step, far | identity | {"loss": loss, "y": y}, steps=1)
        assert result.verdict == "match", str(result)
        if loss == "bce":
            assert any("its formula for bce loses digits" in it for it in result.remarks)


def test_a_gradient_by_the_activation_is_judged_of_two_layers_too():
    right = compare(lambda delta_o, W_o: {"dA1": delta_o @ W_o}, dict(sizes="3-4-2", samples=2))
    assert right.verdict == "match"
    assert "1 of 16 quantities" in str(right)
    wrong = compare(lambda delta_o: {"grad_h": 2 * delta_o}, steps=1)
    assert wrong.first_mismatch["quantity"] == "grad_h"


def test_the_battery_draws_one_hot_rows_and_masks_where_the_problem_has_them():
    def step(y, a2, mask1, delta2, W2, z1):
        delta1 = (delta2 @ W2) * mask1 * (z1 > 0)
        return dict(delta2=(a2 - y) / len(y), dA1=(delta2 @ W2) * mask1, delta1=delta1)

    values = PROBLEMS[12] | dict(mask1=[[2.0, 0.0, 2.0], [0.0, 2.0, 0.0]], hidden_activation="relu")
    result = compare(step, values, battery=9)
    assert (result.verdict, result.battery["matching"]) == ("match", 9)


@pytest.mark.slow
def test_settings_may_stand_in_the_derivations_own_file_and_options_override_them(tmp_path, capsys):
    path = tmp_path / "mine.py"
    problem = 'PROBLEM = dict(sizes="3-4-2", hidden_activation="tanh", samples=5, lr=0.5)\n'
    path.write_text(problem + "def step(x, W1, b1): return {'z1': x @ W1.T + b1}\n")
    assert main(["--derivation", str(path), "--steps", "2", "--quiet", "--lr", "0.25"]) == 0
    out = main(["--derivation", str(path), "--steps", "1", "--show", "none", "--lr", "0.25"])
    text = capsys.readouterr().out
    assert out == 0
    assert "3-4-2 network, 5 samples" in text
    assert "hidden tanh, output linear, loss mse, lr 0.25" in text
    assert main(["--derivation", str(path), "--activations", "relu,relu", "--show", "none"]) == 0
    assert "hidden relu, output relu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("3", "PROBLEM: expected a dict with the keys of a problem file"),
        ("{1: 2}", "PROBLEM: expected a dict with the keys of a problem file"),
        ("dict(lr=print)", "PROBLEM: expected a dict with the keys of a problem file"),
        ("dict(loss='mae')", "PROBLEM: loss: expected one of mse"),
        ("dict(rtol=1.0)", "PROBLEM: rtol: a derivation cannot set this; expected keys"),
        ("dict(color='red')", "PROBLEM: color: unknown key"),
    ],
)
def test_settings_in_a_derivation_that_cannot_be_used_are_told(tmp_path, capsys, settings, words):
    path = tmp_path / "mine.py"
    path.write_text(f"PROBLEM = {settings}\ndef step(x): return {{'z1': x}}\n")
    assert main(["--derivation", str(path)]) == 2
    assert words in capsys.readouterr().err


def keeping(wrong_at=0):
    """A step that keeps RMSprop's memory itself, and returns it."""
    kept = {}

    def step(x, y, W1, b1, W2, b2, lr, step):
        if step == 1:
            kept.clear()
        z1 = x @ W1.T + b1
        a1 = np.maximum(z1, 0)
        o = softmax(a1 @ W2.T + b2)
        delta2 = (o - np.eye(len(b2))[y]) / len(x)
        delta1 = delta2 @ W2 * (z1 > 0)
        found = {}
        for name, W, gradient in (("W1", W1, delta1.T @ x), ("W2", W2, delta2.T @ a1)):
            share = 0.02 if step == wrong_at else 0.01
            kept[name] = 0.99 * kept.get(name, 0.0) + share * gradient**2
            found[f"new_square_{name}"] = kept[name]
            found[f"new_{name}"] = W - lr * gradient / (np.sqrt(kept[name]) + 1e-8)
        return found

    return step


_KEPT = CLASSIFIER | dict(optimizer="rmsprop", steps=40, battery=2)
del _KEPT["momentum"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_memory_that_a_step_keeps_itself_is_judged_from_its_own(seed):
    result = compare(keeping(), _KEPT | dict(seed=seed))
    assert result.verdict == "match", result.first_mismatch
    assert result.worst_ratio < 0.5


@pytest.mark.slow
def test_a_mistake_in_memory_that_a_step_keeps_itself_is_found_at_its_step():
    result = compare(keeping(wrong_at=9), _KEPT)
    assert result.verdict == "mismatch"
    assert result.first_mismatch["step"] == 9
    assert result.first_mismatch["quantity"].startswith("new_square_W")


@pytest.mark.slow
def test_another_optimizer_is_no_forgotten_setting_where_its_memory_is_not_known():
    def step(dW1, square_W1, step):
        return dict(new_square_W1=0.999 * square_W1 + (0.001 if step < 2 else 0.003) * dW1**2)

    result = compare(step, dict(optimizer="adam", steps=3))
    assert result.first_mismatch["step"] == 2
    assert [found["mistake"] for found in result.diagnoses] == ["unknown"]


def test_a_wrong_shape_hides_no_other_mistake():
    def step(x, delta_o, W_o, z_h, h):
        delta_h = delta_o @ W_o
        return dict(grad_W_h=delta_h.T @ x, grad_b_o=delta_o.sum(), grad_W_o=delta_o.T @ h)

    values = dict(sizes="3-4-2", samples=5, hidden_activation="relu")
    found = [(one["quantity"], one["mistake"]) for one in compare(step, values).diagnoses]
    assert found == [
        ("grad_b_o", "bias-summed-over-neurons"),
        ("delta_h", "missing-activation-derivative"),
    ]


def adam(step_of):
    """Adam's step from PyTorch's memory, by a formula of the mean, the square and t."""

    def step(W1, lr, grad_W1, mean_W1, square_W1, step):
        mean, square = 0.9 * mean_W1 + 0.1 * grad_W1, 0.999 * square_W1 + 0.001 * grad_W1**2
        return dict(new_W1=W1 - lr * step_of(mean, square, 1 - 0.9**step, 1 - 0.999**step))

    return step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step_of", "mistake"),
    [
        (lambda m, v, b1, b2: m * np.sqrt(b2) / b1 / (np.sqrt(v) + 1e-8), "epsilon-placement"),
        (lambda m, v, b1, b2: m * b1 / (np.sqrt(v * b2) + 1e-8), "bias-correction"),
        (lambda m, v, b1, b2: m / b1 / np.sqrt(v / b2 + 1e-7), "epsilon-placement"),
    ],
)
def test_common_forms_of_adams_step_have_a_name(step_of, mistake):
    result = compare(adam(step_of), dict(sizes="3-4-2", samples=5, optimizer="adam"))
    assert [found["mistake"] for found in result.diagnoses] == [mistake]


def test_a_relu_that_looks_at_the_error_in_place_of_z_has_a_name():
    def step(delta_o, W_o):
        error = delta_o @ W_o
        return dict(delta_h=error * (error > 0))

    result = compare(step, dict(sizes="3-4-2", samples=5, hidden_activation="relu"))
    assert [found["mistake"] for found in result.diagnoses] == ["wrong-activation-derivative"]


def test_a_softmax_over_the_samples_has_a_name():
    def step(z_o):
        return dict(o=np.exp(z_o) / np.exp(z_o).sum(axis=0))

    result = compare(step, CLASSIFIER)
    found = result.diagnoses[0]
    assert (found["mistake"], found["quantity"]) == ("activation-forgotten", "o")
    assert "softmax over the samples" in found["says"]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
@pytest.mark.parametrize("penalty", [{}, {"l2": 0.1}])
def test_a_bound_of_many_layers_in_single_precision_leaves_room_for_no_other_answer(loss, penalty):
    values = dict(sizes="784-128-64-10", loss=loss, dtype="float32", battery=0, steps=1)
    last = "sigmoid" if loss == "bce" else "linear"
    values |= dict(activations=f"relu,relu,{last}") | penalty
    problem_ = problem(values)
    torch = by_torch(problem_, problem_.start(1, problem_.state))
    assert compare(None, values).verdict == "match"
    wrong = {
        "loss": torch["loss"] * (0.5 if not penalty else 0.01),
        "delta3": -torch["z3"],
        "a3": torch["a3"] + 0.01,
        "grad_W2": torch["grad_W2"] * 1.5,
    }
    for name, array in wrong.items():
        result = compare(lambda: {name: array}, values)  # noqa: B023 (called at once)
        assert result.verdict == "mismatch", name


@pytest.mark.parametrize("slope", [-1, -0.3, 3])
def test_a_leaky_relu_may_have_any_slope(slope):
    values = dict(sizes="5-7-3", samples=9, steps=50, lr=0.01)
    result = compare(None, values | dict(activations=f"leaky_relu:{slope},linear"))
    assert result.verdict == "match"
    assert 0.01 < result.worst_ratio < 0.7


def test_the_last_layer_has_no_dropout():
    with pytest.raises(Unusable, match="mask2: the last layer has no dropout"):
        problem(dict(sizes="2-3-2", mask2=[[1.0, 1.0]]))


def test_rows_of_several_biases_are_told_at_once():
    def step(b1, b2, grad_b1, grad_b2, lr):
        return dict(new_b1=(b1 - lr * grad_b1)[None], new_b2=(b2 - lr * grad_b2)[:, None])

    result = compare(step, dict(sizes="3-4-3-2", samples=5))
    words = "new_b2, new_b1 have the shape of a row or a column and were read as lists of numbers"
    assert (result.verdict, words in result.remarks) == ("match", True)


@pytest.mark.parametrize(("seconds", "mistake"), [(60.0, "wrong-index"), (-1.0, "unknown")])
def test_a_neighbours_number_is_not_looked_for_without_end(seconds, mistake, monkeypatch):
    monkeypatch.setattr(search, "_SECONDS", seconds)

    def step(o1, o2, y1, y2, w31, w42):
        return dict(delta_h1=(o1 - y1) * w31 + (o2 - y2) * w42)

    found = [it["mistake"] for it in compare(step, {"loss": "half_sum"}).diagnoses]
    assert found == [mistake]


def test_two_mistakes_are_not_looked_for_without_end(monkeypatch):
    monkeypatch.setattr(search, "_SECONDS", -1.0)

    def step(delta_o, W_o, h):
        return dict(delta_h=2.7 * (delta_o @ W_o) * h)

    values = dict(sizes="3-4-2", samples=5, hidden_activation="sigmoid")
    found = [it["mistake"] for it in compare(step, values).diagnoses]
    assert found == ["unknown"]


def test_labels_taken_for_rows_are_told():
    with pytest.raises(Unusable, match=r"y holds labels here, one a sample: np.eye\(n_out\)\[y\]"):
        compare(lambda o, y: {"delta_o": o - y}, CLASSIFIER)
    with pytest.raises(Unusable, match="broadcast") as told:
        compare(lambda o, x: {"delta_o": o - x}, CLASSIFIER)
    assert "labels" not in str(told.value)


def test_a_penalty_that_is_not_divided_by_the_number_of_samples_has_a_name():
    def step(W_o, delta_o, h):
        return dict(grad_W_o=delta_o.T @ h + 5 * 0.1 * W_o)

    result = compare(step, dict(sizes="3-4-2", samples=5, l2=0.1))
    assert [found["mistake"] for found in result.diagnoses] == ["penalty"]


def test_the_settings_of_a_file_are_plain_values():
    own = {"PROBLEM": {"sizes": "3-2", "x": np.ones((1, 3))}}
    assert json.loads(settings_of(own, "mine.py")) == {"sizes": "3-2", "x": [[1.0, 1.0, 1.0]]}
    assert settings_of({}, "mine.py") == "{}"
    said = {"LAYOUT": "columns", "NAMES": {"w": "W1"}}
    assert json.loads(settings_of(said, "mine.py")) == {"layout": "columns", "names": {"w": "W1"}}
    for wrong in (3, {1: 2}, {"lr": print}):
        with pytest.raises(Unusable, match="mine.py: PROBLEM: expected a dict"):
            settings_of({"PROBLEM": wrong}, "mine.py")


DIGITS = Path(__file__).parents[1] / "data" / "digits.csv"


@pytest.mark.slow
def test_a_classifier_of_digits_matches_at_each_of_200_mini_batches():
    """The UCI digits (Alpaydin and Kaynak 1998, CC BY 4.0), 8 x 8 pixels, from scikit-learn."""
    result = compare(
        None,
        dict(
            data=str(DIGITS),
            inputs=",".join(f"p{i}" for i in range(64)),
            targets="digit",
            sizes="64-32-10",
            hidden_activation="relu",
            loss="cross_entropy",
            optimizer="adam",
            lr=0.001,
            batch_size=32,
        ),
        steps=200,
    )
    assert (result.verdict, result.steps_run) == ("match", 200)
    assert result.loss["last"] < 0.5 * result.loss["first"]


DEEP = dict(
    sizes="3-3-3-3", samples=7, activations="tanh,tanh,linear", loss="cross_entropy", steps=1
)


@pytest.mark.parametrize(
    ("step", "names"),
    [
        (
            lambda delta3, W3: dict(delta2=-(delta3 @ W3)),
            {"missing-activation-derivative", "sign-flipped"},
        ),
        (
            lambda delta3, W3, a2: dict(delta2=(delta3 @ W3) * a2 * (1 - a2) * 7),
            {"wrong-activation-derivative", "scaled-by-constant"},
        ),
        (
            lambda a3, y: dict(delta3=(a3 - np.eye(3)[(y + 1) % 3]) * a3 * (1 - a3) / 7),
            {"extra-activation-derivative", "targets-shifted"},
        ),
    ],
)
def test_two_mistakes_in_one_formula_are_named_as_two(step, names):
    result = compare(step, DEEP)
    assert {found["mistake"] for found in result.diagnoses} == names
    assert len({found["formula"] for found in result.diagnoses}) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "settings", "option"),
    [
        (dict(sizes="3-4-2", samples=5), dict(loss="half_sum"), "--loss half_sum"),
        (
            dict(sizes="3-4-2", samples=5),
            dict(hidden_activation="tanh"),
            "--hidden-activation tanh",
        ),
        (dict(sizes="3-4-2", samples=5), dict(optimizer="adagrad"), "--optimizer adagrad"),
        (
            dict(sizes="3-4-4-2", samples=5),
            dict(activations="relu,relu,linear"),
            "--activations relu,relu,linear",
        ),
        (
            dict(sizes="3-4-2", samples=5),
            dict(activations="gelu,gelu"),
            "--hidden-activation gelu --output-activation gelu",
        ),
    ],
)
def test_a_forgotten_setting_is_named_in_the_first_line(values, settings, option):
    meant = problem(values | settings)
    names = [
        name for name in meant.network.computed if "new_" not in name or "optimizer" in settings
    ]

    def step(**given):
        found = by_hand(meant, meant.start(1, meant.state))
        return {name: found[name] for name in names if name in given_names}

    given_names = {*problem(values).network.computed}
    result = compare(lambda x: step(x=x), values, steps=1)
    first = " ".join(str(result).split("mismatch: ")[1].split())
    assert first.startswith(f"everything that was returned is right with {option}; first at step 1")
    assert result.fits == option


def test_a_mistake_that_no_setting_explains_names_none():
    assert compare(lambda delta_o: {"delta_h": delta_o * 0}, steps=1).fits == ""
    assert compare(lambda x: {"z_h": x.T}, dict(sizes="3-4-2", samples=2), steps=1).fits == ""


def test_a_name_of_both_vocabularies_is_a_vector_where_its_value_is_one():
    def step(W_h, b_h, W_o, b_o, x, y):
        h = x @ W_h.T + b_h
        delta_o = h @ W_o.T + b_o - y
        delta1 = delta_o @ W_o
        return dict(grad_b1=delta1.sum(axis=0), grad_b2=delta_o.sum(axis=0))

    assert run(make_problem({"loss": "half_sum"}), {}, step=step).verdict == "match"


def test_synonyms_are_understood_where_parameters_and_quantities_are_asked_for():
    result = compare(classifier, **CLASSIFIER | {"require": ["dW1", "new_w2"], "steps": 1})
    assert result.verdict == "match"
    frozen = make_problem({"sizes": (2, 3, 2, 2), "frozen": ("w1", "bias2")}).network.frozen
    assert frozen == ("W1", "b2")


def test_labels_may_be_whole_floats():
    labels = compare(classifier, **CLASSIFIER | {"y": [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]})
    assert labels.verdict == "match"


def test_the_derivative_by_the_outputs_of_a_cross_entropy_is_told_to_be_none():
    with pytest.raises(Unusable, match=r"cross_entropy is a loss of the pre-activations here"):
        compare(lambda x, a2, y: dict(dA2=-1 / a2), **CLASSIFIER)


def test_a_frozen_parameter_that_is_trained_is_told():
    def step(W_h, x, lr, grad_W_h):
        return dict(new_W_h=W_h - lr * grad_W_h)

    result = compare(step, frozen=["W1"], steps=1)
    assert [it["mistake"] for it in result.diagnoses] == ["unknown"]
    assert result.diagnoses[0]["says"] == "W_h is frozen here, and yours is trained"
    assert "everything that was returned is right with nothing frozen" in result.remarks


@pytest.mark.parametrize(("key", "meant"), [("X", "x"), ("w3", "W3"), ("alpha_", "alpha")])
def test_an_unknown_key_is_told_with_what_may_be_meant(key, meant):
    with pytest.raises(Unusable, match=rf"mask1 …; did you mean {meant}"):
        compare(**{key: 1})


def test_the_users_own_names_stand_beside_ours(tmp_path, capsys):
    path = tmp_path / "own.py"
    path.write_text(
        "def step(W3, X, A3, Y):\n"
        "    dZ3 = 2 * (A3 - Y) / Y.size\n"
        "    dZ2 = dZ3 @ W3\n"
        "    return dict(dZ3=dZ3, dZ2=dZ2)\n"
    )
    options = ["--sizes", "3-4-4-2", "--activations", "tanh,tanh,linear", "--battery", "0"]
    assert main(["--derivation", str(path), *options]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "first at step 1, delta2[0, 0] (your dZ2); the 2 values before it agree" in out
    assert "names delta3 is your dZ3, delta2 is your dZ2" in out


def test_a_slope_whose_terms_overflow_by_one_formula_alone_is_undecided():
    """PyTorch squares z for gelu_tanh', which overflows in float32; a masked gradient is 0."""

    def step(z1, a1, y):
        return dict(delta1=np.zeros_like(z1))  # as by a formula that does not square z

    problem = {"sizes": "1-2-1", "activations": "gelu_tanh,linear", "dtype": "float32", "steps": 1}
    given = {"x": [[3.3e19]], "W1": [[-1.0], [-1.0]], "b1": [0.0, 0.0], "mask1": [[0.0, 0.0]]}
    result = compare(step, problem | given)
    assert np.isnan(result.quantities["torch"]["delta_h"]).any()
    assert result.verdict == "undecided"


def by_tanh(z):
    return 0.5 * (1 + np.tanh(z / 2))


def test_a_slope_by_a_formula_that_loses_digits_is_a_match_that_says_so():
    def step(x, W1, b1, y):
        z = x @ W1.T + b1
        a = z * by_tanh(z)
        slope = by_tanh(z) + z * by_tanh(z) * (1 - by_tanh(z))
        return dict(z1=z, a1=a, delta1=2 * (a - y) / y.size * slope)

    one = dict(x=[[0.3, 0.7]], y=[[0.1]], W1=[[0.2, 0.11]], b1=[-8.0], loss="mse", steps=1)
    result = compare(step, one, activations=["silu"])
    assert result.verdict == "match"
    assert any("loses digits" in remark for remark in result.remarks)
    wrong = compare(lambda z1, a1, y: dict(delta1=2 * (a1 - y) / y.size), one, activations=["silu"])
    assert wrong.verdict == "mismatch"


@pytest.mark.parametrize("name", ["db1", "grad_b1"])
@pytest.mark.parametrize("samples", [1, 5])
def test_a_bias_may_be_a_column_under_any_numbered_name(name, samples):
    def step(delta_h):
        return {name: delta_h.sum(axis=0)[:, None]}

    assert compare(step, sizes="2-2-1", samples=samples, steps=1).verdict == "match"


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_a_loss_may_be_an_array_of_one_number(shape):
    def step(o, y):
        return dict(loss=((o - y) ** 2).mean().reshape(shape))

    assert compare(step, sizes="3-4-2", samples=5, steps=2).verdict == "match"


def test_an_empty_array_is_of_the_wrong_shape():
    result = compare(lambda x: dict(loss=np.zeros((0,))), steps=1)
    assert [it["mistake"] for it in result.diagnoses] == ["wrong-shape"]
    assert result.diagnoses[0]["says"] == "loss is empty, of shape (0,); expected ()"


def test_labels_that_are_too_large_are_told():
    with pytest.raises(Unusable, match="y: expected a list of rows"):
        compare(sizes="2-3", loss="cross_entropy", x=[[1, 2], [3, 4]], y=[10**30, 0])
    labels = [np.int64(1), np.int64(2), 0, 0, 1, 2]
    assert compare(classifier, **CLASSIFIER | {"y": labels}).verdict == "match"


def test_a_recording_whose_last_step_has_fewer_samples_has_its_page(tmp_path):
    lines = [
        {"problem": {"sizes": "1-1", "x": [[1], [2]], "y": [[1], [2]], "W1": [[1]], "b1": [0]}},
        {"step": 1, "x": [[1], [2]], "y": [[1], [2]], "z1": [[1], [2]]},
        {"step": 2, "x": [[1]], "y": [[1]], "W1": [[1]], "b1": [0], "z1": [[1]]},
    ]
    for order in (lines, [lines[0], lines[2] | {"step": 1}, lines[1] | {"step": 2}]):
        path = tmp_path / "run.jsonl"
        path.write_text("\n".join(map(json.dumps, order)))
        html = tmp_path / "run.html"
        assert main(["--numbers", str(path), "--html", str(html), "--quiet"]) == 0
        assert "z1[0, 0]" in html.read_text()
