"""Arrays that are laid out and named otherwise: that is found and said, and is no mistake."""

import json

import numpy as np
import pytest

from lockstep import compare
from lockstep.errors import Unusable
from lockstep.network.conventions import Conventions, as_ours
from lockstep.network.terms import Term, term, terms

TANH = dict(sizes="3-4-2", samples=5, hidden_activation="tanh", steps=2)


def in_out(W1, b1, W2, b2, X, Y, alpha):
    z1 = X @ W1 + b1
    a1 = np.tanh(z1)
    a2 = a1 @ W2 + b2
    dz2 = 2 * (a2 - Y) / Y.size
    dW2 = a1.T @ dz2
    dz1 = (dz2 @ W2.T) * (1 - a1**2)
    dW1 = X.T @ dz1
    new = dict(new_W1=W1 - alpha * dW1, new_W2=W2 - alpha * dW2)
    return dict(z1=z1, a1=a1, a2=a2, dz2=dz2, dz1=dz1, dW1=dW1, db1=dz1.sum(0), dW2=dW2) | new


def columns(W1, b1, W2, b2, X, Y):
    n_out, m = Y.shape
    a1 = np.tanh(W1 @ X + b1)
    a2 = W2 @ a1 + b2
    dZ2 = 2 * (a2 - Y) / n_out
    dZ1 = (W2.T @ dZ2) * (1 - a1**2)
    found = dict(a1=a1, a2=a2, dZ2=dZ2, dW2=dZ2 @ a1.T / m, dZ1=dZ1, dW1=dZ1 @ X.T / m)
    return found | dict(db2=dZ2.sum(1, keepdims=True) / m)


def folded(W1, W2, x, y, lr):
    X = np.c_[np.ones(len(x)), x]
    a1 = np.tanh(X @ W1.T)
    A1 = np.c_[np.ones(len(x)), a1]
    delta2 = 2 * (A1 @ W2.T - y) / y.size
    delta1 = (delta2 @ W2[:, 1:]) * (1 - a1**2)
    dW1 = delta1.T @ X
    return dict(
        a1=A1, delta2=delta2, dW2=delta2.T @ A1, delta1=delta1, dW1=dW1, new_W1=W1 - lr * dW1
    )


def folded_last(W1, W2, X, y):
    a1 = np.c_[np.tanh(X @ W1), np.ones(len(X))]
    delta2 = 2 * (a1 @ W2 - y) / y.size
    delta1 = (delta2 @ W2[:-1].T) * (1 - a1[:, :-1] ** 2)
    return dict(a1=a1, delta2=delta2, dW2=a1.T @ delta2, delta1=delta1, dW1=X.T @ delta1)


def columns_inside(W1, b1, W2, b2, x):
    z1 = W1 @ x.T + b1[:, None]
    return dict(z1=z1, z2=W2 @ np.tanh(z1) + b2[:, None])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (in_out, "your convention: weights are (inputs, outputs)"),
        (columns, "your conventions: samples are columns; dZ2 is N · ∂L/∂z; dZ1 is N · ∂L/∂z"),
        (folded, "your convention: biases are the first column of the weights"),
        (
            folded_last,
            "your conventions: weights are (inputs, outputs); biases are the last column of the "
            "weights, and x has a column of ones",
        ),
        (columns_inside, "your convention: in what is returned, samples are columns"),
    ],
)
def test_a_layout_is_found_and_said_and_is_no_mistake(step, said):
    result = compare(step, TANH, battery=6)
    assert result.verdict == "match", str(result)
    assert said in result.remarks
    assert result.battery["matching"] == result.battery["problems"] == 6


@pytest.mark.slow
def test_a_layout_is_found_in_a_file_that_is_loaded_afresh(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nprint('loaded')\nsteps = []\n"
        "def step(W1, b1, X):\n    steps.append(1)\n    assert len(steps) < 3\n"
        "    return dict(z1=X @ W1 + b1)\n"
    )
    result = compare(tmp_path / "mine.py", TANH)
    assert (result.verdict, result.steps_run) == ("match", 2)


def test_square_weights_are_told_apart_on_a_problem_of_unequal_sizes():
    assert compare(in_out, TANH, sizes="2-2-2", samples=2).verdict == "match"
    assert compare(columns, TANH, sizes="2-2-2", samples=1).verdict == "match"


def test_a_step_for_fixed_sizes_is_tried_on_its_own_problem():
    def step(W1, b1, x):
        assert x.shape == (1, 2)
        z1 = [sum(x[0][i] * W1[i][j] for i in range(2)) + b1[j] for j in range(2)]
        return dict(z1=[z1], a1=np.tanh([z1]))

    result = compare(step, TANH, sizes="2-2-2", samples=1)
    assert result.verdict == "match"
    assert "your convention: weights are (inputs, outputs)" in result.remarks


@pytest.mark.parametrize(
    ("wrong", "mistakes"),
    [
        (lambda g: {"dW2": g["dW2"].T}, ["transposed-gradient"]),
        (lambda g: {"dZ1": g["dZ1"] / (1 - g["a1"] ** 2)}, ["missing-activation-derivative"]),
        (lambda g: {"db2": g["db2"] / 5}, ["bias-gradient-averaged"]),
        (lambda g: {"dZ2": -g["dZ2"], "dW2": -g["dW2"], "db2": -g["db2"]}, ["sign-flipped"]),
    ],
)
def test_a_convention_hides_no_mistake(wrong, mistakes):
    def step(W1, b1, W2, b2, X, Y):
        right = columns(W1, b1, W2, b2, X, Y)
        return right | wrong(right)

    result = compare(step, TANH)
    found = [it["mistake"] for it in result.diagnoses]
    assert (result.verdict, found[: len(mistakes)]) == ("mismatch", mistakes), str(result)


def test_a_single_matrix_the_other_way_round_is_a_mistake():
    for step in (
        lambda x, delta_h: dict(grad_W_h=x.T @ delta_h),
        lambda W1, b1, x, delta1: dict(z1=x @ W1.T + b1, dW1=x.T @ delta1),
    ):
        assert compare(step, TANH).diagnoses[0]["mistake"] == "transposed-gradient"


def test_a_factor_under_one_of_our_names_is_a_mistake():
    def step(o, y, h):
        delta_o = 2 * (o - y) / 2
        return dict(delta_o=delta_o, grad_W_o=delta_o.T @ h / len(y))

    assert compare(step, TANH).diagnoses[0]["mistake"] == "scaled-by-constant"


def test_a_factor_of_one_layer_excuses_no_gradient_of_another():
    def step(W1, b1, W2, b2, X, Y, delta1, delta2, a1, lr):
        dW1, dW2 = 2 * delta1.T @ X, 2 * delta2.T @ a1
        return dict(dW1=dW1, dW2=dW2, new_W1=W1 - lr / 2 * dW1)

    result = compare(step, TANH)
    assert (result.verdict, result.first_mismatch["quantity"]) == ("mismatch", "grad_W_o")

    def mixed(W1, b1, W2, b2, X, delta1, delta2, a1):
        found = dict(dZ2=2 * delta2, dZ1=-delta1, db1=delta1.sum(0))
        return found | dict(dW2=delta2.T @ a1, dW1=delta1.T @ X)

    remarks = compare(mixed, TANH).remarks
    assert "your conventions: dZ2 is 2 · ∂L/∂z; dZ1 is −∂L/∂z" in remarks


def test_what_cannot_be_laid_out_keeps_its_error():
    for step in (lambda x, y: dict(h=x @ y @ x), lambda x: dict(h=1 / 0)):
        with pytest.raises(Unusable, match=r"matmul|ZeroDivision"):
            compare(step, TANH)


def trask(syn0, syn1, X, y):
    l1 = np.tanh(X @ syn0)
    l2 = l1 @ syn1
    l2_delta = 2 * (y - l2) / y.size
    l1_delta = (l2_delta @ syn1.T) * (1 - l1**2)
    syn1_new = syn1 + 0.05 * l1.T @ l2_delta
    return dict(l1=l1, l2=l2, l2_delta=l2_delta, l1_delta=l1_delta, syn1_new=syn1_new)


NAMES = dict(syn0="W1.T", syn1="W2.T", l1="a1", l2="a2", l2_delta="-delta2", l1_delta="-delta1")


def test_names_of_ones_own_say_what_they_mean(tmp_path):
    own = NAMES | dict(syn1_new="new_W2.T")
    assert compare(trask, TANH, biases=False, names=own).verdict == "match"
    result = compare(trask, TANH, biases=False, names=NAMES)
    assert "not judged, as no quantity: syn1_new" in result.remarks
    wrong = NAMES | dict(l1_delta="N*delta1")
    assert compare(trask, TANH, biases=False, names=wrong).verdict == "mismatch"


@pytest.mark.slow
def test_a_file_may_say_its_names_and_layout(tmp_path):
    (tmp_path / "mine.py").write_text(
        "LAYOUT = 'columns_in_out'\nNAMES = {'w': '[b1 | W1]', 'dw': '2*grad_W1/N', 'lr2': 'lr'}\n"
        "import numpy as np\n"
        "def step(w, X, delta1, lr2):\n    X = np.vstack([np.ones(X.shape[1]), X])\n"
        "    dw = 2 * X @ delta1.T / X.shape[1]\n    assert lr2 == 0.05\n"
        "    return dict(dw=dw, z1=w.T @ X)\n"
    )
    result = compare(tmp_path / "mine.py", TANH)
    assert result.verdict == "match", str(result)
    assert result.always == {"z_h", "grad_W_h", "grad_b_h"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"syn0": "W9.T"}, "names: W9: expected one of W_h, "),
        ({"syn0": "W1.T+"}, "names: syn0: expected a name, such as W1.T, "),
        ({"syn0": "W1*W2"}, "names: syn0: expected a name"),
        ({"syn0": "N"}, "names: syn0: expected a name"),
        ({"syn0": "0*W1"}, "names: syn0: expected a name"),
        ({"syn0": "f(W1)"}, "names: syn0: expected a name"),
        ({"syn0": "[f | W1(2)]"}, "names: syn0: expected a name"),
        ("syn0", "names: expected a dict of names, or NAME=OURS"),
        (3, "names: expected a dict of names, or NAME=OURS"),
    ],
)
def test_names_that_say_nothing_are_told(names, words):
    with pytest.raises(Unusable) as told:
        compare(trask, TANH, biases=False, names=names)
    assert words in str(told.value)


def test_terms_are_read_as_formulas():
    assert term("-N*delta2.T/2") == Term(("delta2",), True, -0.5, (("N", 1),))
    assert term("delta1/N").factor({"N": 4}) == 0.25
    assert [term(it).words for it in ("-delta1", "N*delta1", "delta1/N", "2*delta1")] == [
        "−", "N · ", "1/N · ", "2 · ",
    ]  # fmt: skip
    assert terms("a=W1.T, b=-delta2") == {"a": term("W1.T"), "b": term("-delta2")}


@pytest.mark.slow
def test_what_is_no_quantity_is_listed_and_does_not_count():
    def step(W1, b1, x):
        z1 = x @ W1.T + b1
        helper = print
        return locals()

    result = compare(step, TANH)
    assert result.verdict == "match"
    assert (
        "what the step starts from is not judged: W1, b1, x (after the step a parameter is called "
        "new_W_h)"
    ) in result.remarks
    assert "not judged, as no quantity: helper" in result.remarks
    near = compare(lambda delta_h: dict(delta_h=delta_h + 1, dleta_o=1), TANH)
    assert "not judged, as no quantity: dleta_o (did you mean delta_o or delta_h?)" in near.remarks
    many = compare(lambda z_h: {"h": np.tanh(z_h)} | {f"q{i}": i for i in range(20)}, TANH)
    assert any(it.endswith("q11 and 8 more") for it in many.remarks)
    with pytest.raises(Unusable, match="returned 'foo': expected names of computed quantities"):
        compare(lambda x: dict(foo=1), TANH)


def test_shapes_that_can_be_read_in_one_way_are_taken_with_a_remark():
    def step(W_h, b_h, W_o, b_o, x, y, delta_o):
        o = (np.tanh(x @ W_h.T + b_h) @ W_o.T + b_o).ravel()
        loss = [((y[:, 0] - o) ** 2).mean()]
        return dict(o=o, z_o=o, loss=loss, grad_b_o=delta_o.sum(0, keepdims=True))

    result = compare(step, TANH, sizes="3-4-1")
    assert result.verdict == "match"
    assert (
        "grad_b_o has the shape of a row or a column and was read as a list of numbers"
        in result.remarks
    )
    assert "z_o, o have the shape of a list of numbers and were read as columns" in result.remarks


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            lambda r: {"z_h": r["z_h"][:, :2], "delta_h": r["delta_o"] @ r["W_o"]},
            [("z_h", "wrong-shape"), ("delta_h", "missing-activation-derivative")],
        ),
        (
            lambda r: {"delta_h": r["delta_h"].T, "grad_b_h": r["delta_h"].mean(axis=0)},
            [("delta_h", "transposed-gradient"), ("grad_b_h", "bias-gradient-averaged")],
        ),
        (lambda r: {"delta_o": r["delta_o"][:1]}, [("delta_o", "wrong-shape")]),
    ],
)
def test_a_wrong_shape_hides_no_mistake_behind_it(change, found):
    def step(W_h, W_o, z_h, h, delta_o, delta_h, x):
        right = dict(z_h=z_h + 0, delta_h=delta_h + 0, delta_o=delta_o + 0)
        right |= dict(grad_W_h=delta_h.T @ x, grad_b_h=delta_h.sum(axis=0))
        return right | change(right | dict(W_o=W_o))

    likeliest: dict[str, str] = {}
    for it in compare(step, TANH).diagnoses:
        likeliest.setdefault(it["quantity"], it["mistake"])
    assert list(likeliest.items()) == found


# recordings


PROBLEM = {
    "sizes": "3-2-4",
    "x": [[0.5, -0.2, 0.1], [1.0, 0.3, -0.7], [0.4, 0.4, 0.2], [0.0, 0.9, 0.6], [0.2, 0.1, 0.3]],
    "y": [[0.1, 0.2, 0.3, 0.4]] * 5,
    "W1": [[0.1, 0.2, -0.3], [0.4, -0.5, 0.6]],
    "b1": [0.1, -0.1],
    "W2": [[0.3, -0.1], [0.2, 0.5], [-0.6, 0.4], [0.7, 0.1]],
    "b2": [0.0, 0.1, 0.2, -0.3],
    "lr": 0.5,
    "hidden_activation": "tanh",
}


def recorded(tmp_path, problem, step, steps=2):
    """A recording of a program that lays out its own arrays as `step` does."""
    path = tmp_path / "run.jsonl"
    W1, b1, W2, b2 = (np.array(PROBLEM[name]) for name in ("W1", "b1", "W2", "b2"))
    x, y = np.array(PROBLEM["x"]), np.array(PROBLEM["y"])
    lines = [{"problem": problem}]
    for number in range(1, steps + 1):
        found = in_out(W1.T, b1, W2.T, b2, x, y, 0.5)
        found["new_b1"] = b1 - 0.5 * found["db1"]
        found["db2"] = found["dz2"].sum(0)
        found["new_b2"] = b2 - 0.5 * found["db2"]
        W1, b1, W2, b2 = found["new_W1"].T, found["new_b1"], found["new_W2"].T, found["new_b2"]
        line = {name: np.asarray(value).tolist() for name, value in step(found).items()}
        lines.append({"step": number} | line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_recording_prints_what_it_has(tmp_path):
    result = compare(None, numbers=str(recorded(tmp_path, PROBLEM, lambda found: found)))
    assert result.verdict == "match", str(result)
    assert "your convention: weights are (inputs, outputs)" in result.remarks

    def in_columns(found):
        return {name: np.transpose(value) for name, value in found.items() if value.ndim == 2}

    result = compare(None, numbers=str(recorded(tmp_path, PROBLEM, in_columns, 1)))
    assert result.verdict == "match", str(result)
    assert "your convention: samples are columns" in result.remarks


def test_in_a_recording_a_single_matrix_the_other_way_round_is_a_mistake(tmp_path):
    def step(found):
        turned = {name: it.T for name, it in found.items() if name.endswith(("W1", "W2"))}
        return found | turned | {"dW2": found["dW2"]}

    path = recorded(tmp_path, PROBLEM, step, 1)
    found = compare(None, numbers=str(path)).diagnoses
    assert found[0]["mistake"] == "transposed-gradient"


def test_a_recording_says_its_layout_and_names(tmp_path):
    own = PROBLEM | {"layout": "in_out", "names": {"w": "W1", "g": "-delta2", "up": "new_W1"}}
    own["w"], own["W2"] = np.transpose(own.pop("W1")).tolist(), np.transpose(own["W2"]).tolist()

    def step(found):
        renamed = {"g": -found["dz2"], "up": found["new_W1"]}
        return {name: it for name, it in found.items() if name not in ("dz2", "new_W1")} | renamed

    result = compare(None, numbers=str(recorded(tmp_path, own, step)))
    assert result.verdict == "match", str(result)
    with pytest.raises(Unusable, match="line 2: 'g': expected names of computed quantities"):
        compare(None, numbers=str(recorded(tmp_path, PROBLEM, step)))


def test_the_givens_of_a_recording_are_exact_unless_it_says_otherwise(tmp_path):
    turned = PROBLEM | {"W1": np.transpose(PROBLEM["W1"]).tolist()}
    with pytest.raises(Unusable, match="n_in = 2, but x"):
        compare(None, numbers=str(recorded(tmp_path, turned, lambda found: found)))
    wrong = PROBLEM | {"names": {"w": "N*W1"}, "w": PROBLEM["W1"]}
    with pytest.raises(Unusable, match="names: w: expected no factor but a number"):
        compare(None, numbers=str(recorded(tmp_path, wrong, lambda found: found)))
    unknown = PROBLEM | {"names": {"w": "W1+"}}
    with pytest.raises(Unusable, match="line 1: names: w: expected a name"):
        compare(None, numbers=str(recorded(tmp_path, unknown, lambda found: found)))


def test_a_line_gives_its_parameters_in_the_layout_that_is_said(tmp_path):
    own = {name: PROBLEM[name] for name in ("sizes", "lr", "hidden_activation")}
    own |= {"layout": "columns_in_out", "names": {"Wb": "[W2 | b2]"}}
    given = {
        "x": np.transpose(PROBLEM["x"]),
        "y": np.transpose(PROBLEM["y"]),
        "W1": np.transpose(PROBLEM["W1"]),
        "b1": np.array(PROBLEM["b1"])[:, None],
        "Wb": np.column_stack([PROBLEM["W2"], PROBLEM["b2"]]).T,
    }

    def step(found):
        return given | {"z1": found["z1"].T, "dW1": found["dW1"], "dZ2": found["dz2"].T}

    result = compare(None, numbers=str(recorded(tmp_path, own, step, 1)))
    assert result.verdict == "match", str(result)


def test_the_keys_of_a_file_are_read_by_its_own_layout_and_names():
    raw = {"layout": "in_out", "W_h": [[1, 2]], "b_h": [1], "x": [[1, 2]], "steps": 3, "W1": "no"}
    assert as_ours(raw)["W_h"] == [[1.0], [2.0]]
    assert as_ours(raw)["b_h"] == [1]
    assert as_ours(raw)["W1"] == "no"
    assert as_ours({"layout": "sideways", "W_h": [[1, 2]]})["W_h"] == [[1, 2]]
    assert as_ours({"names": 3, "W_h": [[1, 2]]})["W_h"] == [[1, 2]]
    assert Conventions().sentences() == []
