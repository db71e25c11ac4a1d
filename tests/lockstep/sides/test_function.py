"""Step functions: every style works, bad ones are one line, and none changes the run."""

import numpy as np
import pytest
import torch

from lockstep import compare
from lockstep.errors import Unusable

BATCH = {"sizes": "3-4-2", "samples": 5, "hidden_activation": "tanh", "steps": 3, "show": "none"}


def by_columns(W_h, b_h, W_o, b_o, x, y, lr):
    """One sample after the other as a column vector, in loops and lists."""
    gradient = np.zeros_like(W_h)
    deltas = []
    for row, target in zip(x, y, strict=True):
        h = np.tanh(W_h @ row[:, None] + b_h[:, None])
        o = W_o @ h + b_o[:, None]
        delta_o = 2 * (o - target[:, None]) / y.size
        delta_h = W_o.T @ delta_o * (1 - h**2)
        gradient += delta_h @ row[None]
        deltas.append([float(d) for d in delta_o[:, 0]])
    return {"delta_o": deltas, "grad_W_h": gradient}


def in_torch(W_h, b_h, W_o, b_o, x, y, lr):
    weights = [torch.tensor(array, requires_grad=True) for array in (W_h, b_h, W_o, b_o)]
    o = torch.tanh(torch.tensor(x) @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
    ((o - torch.tensor(y)) ** 2).mean().backward()
    return {"o": o, "grad_W_h": weights[0].grad, "grad_b_o": weights[3].grad}


def in_place(W_h, b_h, W_o, b_o, x, y, h, delta_o, delta_h, lr):
    W_h -= lr * delta_h.T @ x
    W_o -= lr * delta_o.T @ h
    b_h -= lr * delta_h.sum(0)
    b_o -= lr * delta_o.sum(0)
    x[:], y[:] = 0, 0
    return {"new_W_h": W_h, "new_W_o": W_o, "new_b_h": b_h, "new_b_o": b_o}


def from_pytorchs_values(delta_o, W_o, h):
    return {"delta_h": delta_o @ W_o * (1 - h * h)}


def with_a_default(delta_h, x, scale=1.0):
    return {"grad_W_h": scale * delta_h.T @ x}


@pytest.mark.parametrize(
    "step", [by_columns, in_torch, in_place, from_pytorchs_values, with_a_default]
)
def test_every_style_is_legal(step):
    result = compare(step, BATCH)
    assert result.verdict == "match", result.first_mismatch
    assert result.steps_run == 3


def test_a_students_first_line():
    def step(w31, w32, o1, o2, y1, y2):
        return dict(delta_h1=(o1 - y1) * w31 + (o2 - y2) * w32)

    result = compare(step)
    assert (result.verdict, result.values) == ("match", 100)
    assert "a part of delta_h" in result.remarks[0]


def test_scalars_of_any_width_with_one_sample():
    def step(z_h1, z_h2, z_h3):
        return dict(h3=np.tanh(z_h3), h1=np.tanh(z_h1))

    result = compare(step, {"sizes": "4-3-1", "hidden_activation": "tanh"})
    assert (result.verdict, result.values) == ("match", 200)

    def wrong(z_h3):
        return dict(h3=np.tanh(z_h3) + 1e-9)

    first = compare(wrong, {"sizes": "4-3-1", "hidden_activation": "tanh"}).first_mismatch
    assert (first["quantity"], first["index"], first["label"]) == ("h", [0, 2], "h3")


def test_two_inputs_one_output_has_the_lectures_weights():
    def step(w31, w41, h1, h2, b3):
        return dict(z_o1=w31 * h1 + w41 * h2 + b3)

    assert compare(step, {"sizes": "2-2-1"}).verdict == "match"


def test_a_step_may_keep_state_and_is_called_once_a_step():
    calls = []

    def step(x):
        calls.append(x.shape)
        return {"z_h": np.zeros((1, 1))}

    compare(step, {"sizes": "1-1-1", "x": [[0.0]], "b_h": [0.0], "lr": 0.0}, steps=9)
    assert len(calls) == 9


def test_float32_runs_accept_steps_in_double_precision():
    def step(w11, w21, b1, x1, x2):
        assert type(w11) is float
        return {"z_h1": w11 * x1 + w21 * x2 + b1}

    assert compare(step, {"dtype": "float32"}).verdict == "match"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def step(x:\n", "line 1: expected Python"),
        ("x = 1\n", "has no function 'step', but nothing that could be called. `lockstep look "),
        ("def other(x): return {}\n", "but the function other. `lockstep look "),
        ("class Net: pass\nclass Data: pass\n", "but the classes Net, Data. `lockstep look "),
        ("for step in range(9): 1 / 0\n", "but a loop in line 1. `lockstep look "),
        ("step: int = 3\nwhile step: step += 1\n", "but a loop in line 2. `lockstep look "),
        ("from math import *\n", "It defines no function. Expected `def step(...)`"),
        ("exec('step = 3')\n", "It defines no function. Expected `def step(...)`"),
        ("class step: pass\nstep = print() or 1\n", "has no function 'step'. It defines no"),
        ("\n1 / 0\ndef step(x): pass\n", "line 2: ZeroDivisionError: division by zero"),
        ("def step(x):\n    y = x\n    return y['a']\n", "line 3: IndexError: "),
        ("def step(x):\n    raise KeyError('no\\nsuch')\n", "line 2: KeyError: "),
        ("import sys\ndef step(x):\n    sys.exit(0)\n", "line 3: SystemExit: 0"),
        ("class End(BaseException): pass\ndef step(x):\n    raise End\n", "line 3: End: "),
        (
            "def step(dleta_o): return {}\n",
            "asks for 'dleta_o': expected names of quantities; did you mean delta_o",
        ),
        (
            "def step(x): return {'dleta_h': x}\n",
            "returned 'dleta_h': expected names of computed quantities; did you",
        ),
        (
            "def step(x): return {'W_h': x}\n",
            "it is what a step starts from; what the step makes of it is new_W_h",
        ),
        ("def step(x): pass\n", "returned nothing; expected a dict"),
        ("def step(x): return x\n", "returned ndarray; expected a dict"),
        ("def step(x): return {}\n", "returned an empty dict"),
        (
            "def step(x): return {'h': ...}\n",
            "returned h as ...; expected a number: the formula is not filled in",
        ),
        ("def step(x): return {'h': 1j * x}\n", "returned h as complex numbers"),
        ("def step(x): return {'h': 'a'}\n", "returned h as str"),
        ("def step(x): return {'h': None}\n", "returned h as NoneType"),
        ("def step(x): return {'h': [[1, 2], [3]]}\n", "returned h as rows of different lengths"),
        ("def step(h): return {'h': h, 'h1': 0.5}\n", "returned h and scalars of it"),
        (
            "import numpy as np\ndef step(x): return {'h': np.ma.masked_array(x)}\n",
            "returned h as a masked array",
        ),
        ("def step(x): return {'h': [[0.5, None]]}\n", "returned h as list with None in it"),
        ("def step(x): return {'h': [[10**400, x.sum]]}\n", "returned h as list with 1000000"),
        (
            "def step(q): return {}\n",
            "asks for 'q': expected names of quantities: W_h, b_h, W_o, b_o, x, y, lr, step, z_h",
        ),
        (
            "def step(x): return {'z_h1': x}\n",
            "returned z_h1 of shape (1, 2); expected a single number",
        ),
    ],
)
def test_a_bad_file_is_told_in_a_line_that_names_it(tmp_path, text, words):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(Unusable) as error:
        compare(str(path))
    assert words in str(error.value)
    assert "mine.py" in str(error.value)
    assert "\n" not in str(error.value)


def test_scalars_of_a_larger_network_are_told_why_they_are_not_there():
    with pytest.raises(Unusable, match="asks for 'w11': scalars exist for one sample"):
        compare(lambda w11: {"loss": 0.0}, BATCH)


@pytest.mark.slow
def test_a_file_may_name_its_function_and_import_what_lies_beside_it(tmp_path):
    (tmp_path / "helper_of_mine.py").write_text("def double(a): return a + a\n")
    (tmp_path / "mine.py").write_text(
        "def other(o, y):\n    from helper_of_mine import double\n"
        "    return {'delta_o': double(o - y) / y.size}\n"
    )
    assert compare(f"{tmp_path}/mine.py:other").verdict == "match"


def test_a_wrong_shape_is_a_mismatch_with_both_shapes():
    result = compare(
        lambda delta_o: {"delta_o": delta_o, "grad_b_o": np.tile(delta_o.sum(0), (2, 1))}, BATCH
    )
    assert result.verdict == "mismatch"
    first = result.first_mismatch
    assert (first["quantity"], first["index"], first["manual"]) == ("grad_b_o", None, None)
    assert result.diagnoses[0]["mistake"] == "wrong-shape"
    assert "grad_b_o has shape (2, 2); expected (2,)" in result.diagnoses[0]["says"]
    assert "(2, 2)" in str(result)


def test_a_wrong_value_before_a_wrong_shape_comes_first():
    result = compare(lambda delta_o: {"delta_o": delta_o + 1, "grad_b_o": 0.0}, BATCH)
    assert result.first_mismatch["quantity"] == "delta_o"


def test_three_independent_mistakes_give_three_diagnoses_and_right_formulas_are_not_blamed():
    def step(W_h, b_h, W_o, b_o, x, y, lr):
        z_h = x @ W_h.T + b_h
        h = np.tanh(z_h)
        o = h @ W_o.T + b_o
        delta_o = (o - y) / o.size
        delta_h = delta_o @ W_o
        grad_W_h, grad_b_h = delta_h.T @ x, delta_h.mean(axis=0)
        return dict(
            h=h, o=o, delta_o=delta_o, delta_h=delta_h, grad_W_h=grad_W_h, grad_b_h=grad_b_h
        )

    result = compare(step, BATCH)
    seen = [(d["quantity"], d["mistake"]) for d in result.diagnoses]
    assert ("delta_o", "scaled-by-constant") in seen
    assert ("delta_h", "missing-activation-derivative") in seen
    assert ("grad_b_h", "bias-gradient-averaged") in seen
    assert not any(quantity in ("h", "o", "grad_W_h") for quantity, _ in seen)
    assert "grad_W_h differs only because of that" in result.notes


def test_a_constant_moved_into_the_gradients_is_told_as_a_convention():
    def step(W_o, h, o, y):
        delta_o = o - y
        return dict(delta_o=delta_o, grad_W_o=2 / o.size * delta_o.T @ h)

    diagnosis = compare(step, BATCH).diagnoses[0]
    assert diagnosis["mistake"] == "scaled-by-constant"
    assert "a convention" in diagnosis["says"]


def test_nan_and_infinity_where_pytorch_has_a_number_are_a_mismatch():
    for value in (np.nan, np.inf):
        result = compare(lambda h, value=value: {"h": np.where(h == h[0, 0], value, h)}, BATCH)
        assert result.verdict == "mismatch"
        assert result.first_mismatch["index"] == [0, 0]
        assert "not finite" in str(result)


def test_what_a_derivation_prints_goes_to_standard_error(capsys):
    def step(h):
        print("a word")
        return {"h": h}

    compare(step, steps=2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "a word\na word\n")


def tanh_by_exponentials(z):
    return (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))


def sigmoid_by_tanh(z):
    return (1 + np.tanh(z / 2)) / 2


@pytest.mark.parametrize(
    ("kind", "sigma", "slope", "x"),
    [
        ("tanh", tanh_by_exponentials, lambda s: 1 - s * s, 1e-9),
        ("sigmoid", sigmoid_by_tanh, lambda s: s * (1 - s), -30.0),
    ],
)
def test_a_right_but_noisy_formula_is_a_match_with_the_remark_which_digits_it_loses(
    kind, sigma, slope, x
):
    def step(W_h, b_h, W_o, b_o, x, y, lr):
        h = sigma(x @ W_h.T + b_h)
        delta_o = 2 * (h @ W_o.T + b_o - y) / y.size
        delta_h = delta_o @ W_o * slope(h)
        return dict(
            h=h, delta_o=delta_o, delta_h=delta_h, grad_W_o=delta_o.T @ h, grad_W_h=delta_h.T @ x
        )

    problem = {
        "x": [[x]],
        "y": [[1.0]],
        "W_h": [[1.0]],
        "b_h": [0.0],
        "hidden_activation": kind,
        "steps": 2,
    }
    result = compare(step, problem)
    assert result.verdict == "match", result.first_mismatch
    assert f"h is right, but its formula for {kind} loses digits" in result.remarks[0]

    def wrong(W_h, b_h, W_o, b_o, x, y, lr):
        return {"h": sigma(x @ W_h.T + b_h) * (1 + 1e-3)}

    assert compare(wrong, problem | {"x": [[0.5]]}).verdict == "mismatch"


def test_a_sigmoid_that_overflows_is_told_as_not_finite_on_one_side():
    def step(z_h):
        return {"h": np.exp(z_h) / (1 + np.exp(z_h))}

    result = compare(
        step,
        {"x": [[1.0]], "W_h": [[800.0]], "b_h": [0.0], "hidden_activation": "sigmoid", "steps": 1},
    )
    assert result.verdict == "mismatch"
    assert "not finite on one side" in str(result)


SIGMOIDS = {"hidden_activation": "sigmoid", "output_activation": "sigmoid", "steps": 1}


def named(step):
    return [diagnosis["mistake"] for diagnosis in compare(step, SIGMOIDS).diagnoses]


def test_two_slips_in_one_formula_are_told_as_two():
    assert named(lambda o1, y1: dict(delta_o1=y1 - o1)) == [
        "missing-activation-derivative",
        "sign-flipped",
    ]


def test_a_slip_in_one_scalar_of_several_is_named():
    def step(delta_h1, x1, x2, w11, w21, lr):
        return dict(new_w11=w11 - lr * delta_h1 * x1, new_w21=w21 - delta_h1 * x2)

    result = compare(step, SIGMOIDS)
    assert result.diagnoses[0]["mistake"] == "learning-rate"
    assert result.diagnoses[0]["says"].startswith("new_w21: ")


def test_weights_the_wrong_way_round_on_the_way_forward_are_named():
    def step(w11, w21, w12, w22, x1, x2, b1, b2):
        return dict(z_h1=w11 * x1 + w12 * x2 + b1, z_h2=w21 * x1 + w22 * x2 + b2)

    assert named(step) == ["transposed-weights"]


@pytest.mark.parametrize(
    "returned", [("new_W_o", "new_W_h"), ("grad_W_o", "grad_W_h"), ("grad_W_h",)]
)
def test_a_missing_hidden_derivative_is_not_blamed_on_a_linear_output(returned):
    def step(W_h, b_h, W_o, b_o, x, y, lr):
        h = np.tanh(x @ W_h.T + b_h)
        delta_o = 2 * (h @ W_o.T + b_o - y) / y.size
        grad_W_h, grad_W_o = (delta_o @ W_o).T @ x, delta_o.T @ h
        got = dict(
            grad_W_o=grad_W_o,
            grad_W_h=grad_W_h,
            new_W_o=W_o - lr * grad_W_o,
            new_W_h=W_h - lr * grad_W_h,
        )
        return {name: got[name] for name in returned}

    diagnosis = compare(step, BATCH).diagnoses[0]
    assert diagnosis["mistake"] == "missing-activation-derivative"
    assert "left out of delta_h" in diagnosis["says"]


def test_a_problems_own_derivation_is_what_is_judged_and_a_second_step_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def step(delta_o): return {'delta_o': -delta_o}\n")
    assert compare(derivation=str(path), battery=0).diagnoses[0]["mistake"] == "sign-flipped"
    with pytest.raises(Unusable, match="derivation: given together with a step"):
        compare(lambda delta_o: {"delta_o": delta_o}, derivation=str(path))


def test_a_callable_without_a_signature_is_told():
    with pytest.raises(Unusable, match="dict: expected a function with named arguments"):
        compare(dict)


@pytest.mark.parametrize(
    "tensor", [torch.tensor([0.5, 2.0], dtype=torch.bfloat16), torch.tensor([0.5, 2.0]).to_sparse()]
)
def test_tensors_that_numpy_cannot_read_are_converted(tensor):
    result = compare(lambda: {"new_b_o": tensor}, None, steps=1)
    assert result.first_mismatch["manual"] == 0.5


def test_a_tensor_without_numbers_is_refused():
    with pytest.raises(
        Unusable, match="new_b_o as a tensor without numbers; expected an array of real numbers"
    ):
        compare(lambda: {"new_b_o": torch.zeros(2, device="meta")}, None, steps=1)


def test_targets_as_a_row_against_outputs_as_a_column_are_a_broadcast():
    def step(o, y):
        return {"delta_o": 2 * (o - y.ravel()) / len(y)}

    result = compare(step, {"sizes": "2-2-1", "samples": 3}, steps=1)
    assert result.diagnoses[0]["mistake"] == "broadcast"

    def odd(o, y):
        return {
            "delta_o": 3 * (o - y.ravel()) ** 2
        }  # no formula of the catalogue, but its shape is telling

    result = compare(odd, {"sizes": "2-2-1", "samples": 3}, steps=1)
    assert result.diagnoses[0]["mistake"] == "broadcast"
    assert "a row of 3 numbers against a column of 3 makes a square" in result.diagnoses[0]["says"]


@pytest.mark.slow
def test_difference_quotients_of_many_parameters_are_not_looked_for():
    random = np.random.default_rng(0)

    def step(x, delta_h):
        right = delta_h.T @ x
        return {"grad_W_h": right * (1 + 1e-7 * random.normal(size=right.shape))}

    result = compare(step, {"sizes": "60-60-1", "samples": 3}, steps=1)
    assert result.diagnoses[0]["mistake"] == "unknown"


@pytest.mark.slow
def test_right_on_all_others_is_no_remark_about_them(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def step(o1, y1, x1):\n    return {'delta_o1': (o1 - y1) + (x1 == 0.5)}\n")
    result = compare(str(path))
    assert (result.verdict, result.battery["smallest"]) == ("mismatch", None)
    assert "right on all 30 other problems that were tried as well" in " ".join(str(result).split())


def test_of_scalars_only_those_count_that_were_not_given():
    def step(h1, w12, w22, b2, x1, x2):
        return dict(h1=h1, h2=w12 * x1 + w22 * x2 + b2)

    result = compare(step, steps=2)
    assert (result.verdict, result.values) == ("match", 2)
    assert "given, not derived, so not judged: h" in result.remarks
    assert result.quantities["manual"].keys() == {"h2"}


def test_what_was_asked_for_and_changed_counts():
    result = compare(lambda h: dict(h=np.concatenate([h[:, :1], h[:, 1:] + 1], axis=1)), steps=1)
    assert (result.verdict, result.first_mismatch["index"]) == ("mismatch", [0, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("required", "missing"),
    [
        ("all", "z_h, h, z_o, o, loss, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h"),
        ("gradients", "grad_W_o, grad_b_o, grad_W_h, grad_b_h"),
        ("delta_o,loss", "loss"),
        ("delta_o", None),
    ],
)
def test_what_is_required_and_missing_is_a_mismatch(required, missing):
    result = compare(lambda o, y: {"delta_o": 2 * (o - y) / y.size}, require=required)
    assert result.verdict == ("mismatch" if missing else "match")
    assert (f"required, but not returned: {missing}" in " ".join(str(result).split())) == bool(
        missing
    )


def test_what_is_required_whole_is_not_there_in_part():
    result = compare(lambda o1, y1: {"delta_o1": o1 - y1}, require="delta_o")
    assert result.missing == ["delta_o"]
    with pytest.raises(Unusable, match="require: expected all, gradients, or names out of"):
        compare(require="delta")
