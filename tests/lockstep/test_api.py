"""The run: every step compared on random problems, the strict check and the free run."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep import compare
from lockstep.api import run
from lockstep.errors import Unusable
from lockstep.setup.options import DTYPE_NAMES
from lockstep.setup.problem import make_problem
from manual_backprop import neuron_by_neuron, two_layer
from tests.lecture import ACTIVATIONS, COMPUTED, LOSSES, PARAMETERS
from torch_reference import two_layer as torch_two_layer

IRIS = Path(__file__).parents[2] / "scripts" / "data" / "iris.csv"
ON_IRIS = {
    "data": str(IRIS),
    "inputs": ["sepal_length", "sepal_width"],
    "targets": ["petal_length", "petal_width"],
    "show": "none",
}


def records_of(step=None, problem=None, **values):
    records = []
    result = compare(step, problem, on_step=lambda record, _: records.append(record), **values)
    return result, records


def test_the_lectures_network_matches_at_every_step_in_every_quantity():
    result, records = records_of()
    assert result.verdict == "match"
    assert [record.number for record in records] == list(range(1, 101))
    assert all(tuple(record.manual) == COMPUTED for record in records)
    assert result.values == 3700
    assert result.worst_ratio < 1
    assert result.loss["last"] < 1e-7 < result.loss["first"]


@pytest.mark.slow
@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 3),
    samples=st.integers(1, 7),
    activations=st.tuples(*[st.sampled_from(ACTIVATIONS)] * 2),
    loss=st.sampled_from(LOSSES),
    dtype=st.sampled_from(DTYPE_NAMES),
    batch=st.none() | st.integers(1, 8),
    seed=st.integers(0, 10**6),
    frozen=st.sets(st.sampled_from(PARAMETERS)),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_random_problems_match_at_every_step(
    sizes, samples, activations, loss, dtype, batch, seed, frozen
):
    values = dict(
        sizes=sizes,
        samples=samples,
        loss=loss,
        dtype=dtype,
        seed=seed,
        steps=6,
        frozen=list(frozen),
    )
    values |= dict(hidden_activation=activations[0], output_activation=activations[1], lr=0.01)
    result = compare(problem=values | ({"batch_size": batch} if batch else {}))
    assert result.verdict == "match", result.first_mismatch
    assert result.steps_run == 6


def test_the_built_in_code_is_neuron_by_neuron_on_the_lectures_network_only(monkeypatch):
    def other(*args, **kwargs):
        raise AssertionError("not this one")

    monkeypatch.setattr(two_layer, "step", other)
    problem = make_problem({"steps": 2})
    assert run(problem, {"rtol": 1e-9}).verdict == "match"
    monkeypatch.undo()
    monkeypatch.setattr(neuron_by_neuron, "step", other)
    assert compare(problem={"sizes": [2, 2, 2], "samples": 3, "steps": 2}).verdict == "match"


@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_both_sides_start_each_step_from_pytorchs_weights(dtype):
    _, records = records_of(problem={"sizes": "3-2-2", "samples": 4, "dtype": dtype, "steps": 5})
    for before, after in zip(records, records[1:], strict=False):
        for name in PARAMETERS:
            np.testing.assert_array_equal(after.start.parameters[name], before.torch[f"new_{name}"])


def test_the_free_run_keeps_its_own_weights():
    settings = {"sizes": (8, 16, 4), "samples": 9, "hidden_activation": "tanh"}
    result = compare(problem=settings | {"steps": 50})
    own = make_problem(settings)
    parameters = dict(own.parameters)
    for _ in range(50):
        step = two_layer.step(**parameters, x=own.x, y=own.y, lr=own.lr, hidden_activation="tanh")
        parameters = {name: step[f"new_{name}"] for name in PARAMETERS}
    for name in PARAMETERS:
        np.testing.assert_array_equal(result.parameters["manual"][name], parameters[name])
        assert result.parameters["manual"][name] != result.parameters["torch"][name]
    assert 0 < result.rows[-1].drift < 1000
    assert result.rows[-1].drift_relative < 1e-10


def test_a_step_that_is_given_is_called_once_a_training_step_and_may_return_some_quantities():
    calls = []

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        calls.append(1)
        return {"grad_b_o": (2 * ((x @ W_h.T + b_h) @ W_o.T + b_o - y) / y.size).sum(axis=0)}

    result = compare(step, {"sizes": "3-4-2", "samples": 5}, steps=7)
    assert len(calls) == 7
    assert result.verdict == "match"
    assert result.values == 14
    assert result.rows[-1].drift is None


@pytest.mark.slow
def test_a_wrong_step_is_told_with_step_quantity_element_and_difference():
    def step(W_h, b_h, W_o, b_o, x, y, lr):
        good = two_layer.step(W_h, b_h, W_o, b_o, x, y, lr)
        good["delta_h"] = good["delta_h"] + 1e-12 * (np.arange(8).reshape(2, 4) >= 6)
        return good

    result = compare(step, {"sizes": "3-4-2", "samples": 2}, steps=9)
    assert result.verdict == "mismatch"
    assert result.steps_run == 1
    first = result.first_mismatch
    assert (first["step"], first["quantity"], first["index"], first["label"]) == (
        1,
        "delta_h",
        [1, 2],
        "delta_h[1, 2]",
    )
    assert first["difference"] == pytest.approx(1e-12, rel=1e-3)
    assert first["allowed"] < 1e-14
    assert compare(step, {"sizes": "3-4-2", "samples": 2}, steps=9, keep_going=True).steps_run == 9


def test_a_single_element_wrong_by_one_part_in_a_trillion_is_found():
    def step(W_h, b_h, W_o, b_o, x, y, lr):
        got = two_layer.step(W_h, b_h, W_o, b_o, x, y, lr)
        got["grad_W_o"][1, 3] *= 1 + 1e-12
        return got

    result = compare(step, {"sizes": "4-4-2", "samples": 3}, steps=1)
    assert (result.first_mismatch["quantity"], result.first_mismatch["index"]) == (
        "grad_W_o",
        [1, 3],
    )


def test_numbers_that_blow_up_are_undecided_with_the_step():
    result = compare(lr=30.0)
    assert result.verdict == "undecided"
    assert result.undecided.step == result.steps_run == 6
    assert result.undecided.quantity == "loss"


def test_a_fixed_tolerance_takes_the_place_of_the_bound():
    assert compare(sizes=(8, 16, 4), samples=9, rtol=0.0).verdict == "mismatch"
    assert compare(atol=1e-12).verdict == "match"
    assert compare(rtol=1e-12).verdict == "match"


def test_no_step_is_no_match_and_says_so():
    result = compare(steps=0)
    assert (result.verdict, result.worst, result.loss) == (
        "undecided",
        None,
        {"first": None, "last": None},
    )
    assert result.resolution == {"typical": None, "worst": None, "blind": 0}
    assert "nothing was compared" in str(result)


def test_a_network_that_starts_at_relus_kink_is_blind_there_and_says_so():
    values = dict(
        W_h=np.zeros((3, 2)),
        b_h=np.zeros(3),
        hidden_activation="relu",
        steps=1,
        x=[[0.5, -0.25]],
        y=[[1.0]],
    )
    result = compare(problem=values)
    assert result.verdict == "match"
    assert (
        result.resolution["blind"] == 3 + 6 + 3 + 6 + 3
    )  # delta_h, grad_W_h, grad_b_h, new_W_h, new_b_h
    assert "21 of 39 values could not be judged" in " ".join(str(result).split())


@pytest.mark.slow
def test_a_long_run_keeps_a_selection_of_steps():
    result = compare(steps=1200, show="2")
    assert [row.number for row in result.rows] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1200]
    assert [record.number for record in result.shown] == [2]


def least_squares():
    """The best linear map with an intercept on the iris columns, and its mean squared error."""
    with IRIS.open() as file:
        rows = list(csv.DictReader(file))
    x = np.array([[float(row[name]) for name in ON_IRIS["inputs"]] + [1.0] for row in rows])
    y = np.array([[float(row[name]) for name in ON_IRIS["targets"]] for row in rows])
    solution = np.linalg.lstsq(x, y, rcond=None)[0]
    return solution, float(np.mean((x @ solution - y) ** 2))


@pytest.mark.slow
def test_training_by_hand_on_iris_ends_at_the_least_squares_solution():
    solution, error = least_squares()
    assert error == pytest.approx(0.27897150841, abs=5e-12)
    problem = make_problem(ON_IRIS)
    parameters = problem.parameters
    for _ in range(45_000):
        step = two_layer.step(**parameters, x=problem.x, y=problem.y, lr=0.023)
        parameters = {name: step[f"new_{name}"] for name in PARAMETERS}
    assert float(step["loss"]) == pytest.approx(error, rel=1e-9)
    slope = (parameters["W_o"] @ parameters["W_h"]).T
    intercept = parameters["W_o"] @ parameters["b_h"] + parameters["b_o"]
    np.testing.assert_allclose(np.vstack([slope, intercept]), solution, rtol=1e-3)


def test_pytorchs_step_changes_nothing_that_it_is_given():
    problem = make_problem({"sizes": (3, 4, 2), "samples": 5})
    before = {name: array.copy() for name, array in problem.parameters.items()}
    given = dict(x=problem.x, y=problem.y, lr=0.1)
    first = torch_two_layer.step(**problem.parameters, **given)
    kept = {name: array.copy() for name, array in first.items()}
    again = torch_two_layer.step(**problem.parameters, **given)
    for name in COMPUTED:
        np.testing.assert_array_equal(first[name], kept[name])
        np.testing.assert_array_equal(again[name], kept[name])
    for name in PARAMETERS:
        np.testing.assert_array_equal(problem.parameters[name], before[name])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"step": 3}, "step: expected a function, a path or None, got int"),
        ({"problem": [1]}, "problem: expected a path or a dict of keys, got list"),
        ({"step": "nope.py"}, "nope.py: cannot be read"),
        ({"problem": "nope.toml"}, "nope.toml: cannot be read"),
        ({"learning_rate": 1}, "learning_rate: unknown key"),
    ],
)
def test_wrong_arguments_of_compare_are_told_in_a_sentence(arguments, words):
    with pytest.raises(ValueError, match="expected|cannot be read") as error:
        compare(**arguments)
    assert words in str(error.value)


def test_arrays_tensors_and_numpy_scalars_are_welcome_in_a_problem():
    import torch

    values = {
        "x": torch.ones(2, 3),
        "y": np.ones((2, 1)),
        "lr": np.float32(0.5),
        "steps": np.int64(2),
    }
    assert compare(problem=values).steps_run == 2


def test_a_problem_file_takes_further_keys_by_name(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("steps = 7\nlr = 0.5")
    result = compare(None, str(path), steps=2)
    assert (result.steps_asked, result.problem.lr) == (2, 0.5)
    with pytest.raises(Unusable, match="^steps: expected a whole number of steps"):
        compare(None, str(path), steps=-1)


@pytest.mark.parametrize("key", ["rtol", "atol"])
def test_either_tolerance_alone_takes_the_place_of_the_bound(key):
    result = compare(None, None, **{key: 1e-3})
    assert result.fixed_tolerance
    assert "of the tolerance given" in " ".join(str(result).split())
    assert result.worst["allowed"] == (1e-3 if key == "atol" else 1e-3 * abs(result.worst["torch"]))


@pytest.mark.slow
def test_a_file_is_tried_on_thirty_others_or_as_many_as_asked(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def step(o, y): return {'delta_o': 2 * (o - y) / y.size}")
    assert compare(str(path)).battery == {"problems": 30, "matching": 30, "smallest": None}
    assert compare(str(path), battery=4).battery["problems"] == 4
    assert compare(str(path), battery=0).battery is None
    assert compare(None, None).battery is None


def test_the_first_step_is_shown_unless_others_are_asked_for():
    assert [record.number for record in compare(None, None, steps=3).shown] == [1]
    assert [record.number for record in compare(None, None, steps=3, show=[2, 3]).shown] == [2, 3]
    assert compare(None, None, steps=3, show="none").shown == []


def test_an_interrupt_ends_a_run_and_says_what_was_left_out():
    def step(o, y):
        raise KeyboardInterrupt

    result = run(
        make_problem({"steps": 3}), {"control": True, "referee": True, "battery": 2}, step=step
    )
    assert (result.interrupted, result.steps_run, result.control, result.battery) == (
        True,
        0,
        None,
        None,
    )
    assert [remark for remark in result.remarks if "interrupted" in remark] == [
        "interrupted before the control that was asked for",
        "interrupted before the referee that was asked for",
        "interrupted before the battery that was asked for",
    ]
    assert "no step was run, so nothing was compared" in result.remarks
    assert not run(make_problem({"steps": 3}), {}).interrupted


def test_numbers_on_paper_are_explained_as_a_whole_training(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text('[step.2]\nloss = "0.291027924"\n')
    mazur = Path(__file__).parents[2] / "scripts" / "examples" / "mazur.toml"
    result = compare(None, str(mazur), numbers=str(path))
    assert "trained like that from the first step on" in result.diagnoses[0]["says"]
    assert "its last digit allows 5e-10" in " ".join(str(result).split())


def test_what_returns_scalars_is_tried_on_its_own_shape():
    result = compare(lambda o, y: {"delta_o1": (o - y)[0, 0]}, None, battery=3)
    assert result.battery == {"problems": 3, "matching": 3, "smallest": None}


@pytest.mark.parametrize("key", ["rtol", "atol"])
def test_a_tolerance_is_the_batterys_too(key):
    result = compare(
        lambda o, y: {"delta_o": 2 * (o - y) / y.size * (1 + 1e-6)}, None, battery=3, **{key: 1e-3}
    )
    assert (result.verdict, result.battery["matching"]) == ("match", 3)


def test_what_a_derivation_writes_is_written_once_and_not_again_in_the_battery(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "import sys\ndef step(o, y):\n    sys.stderr.write('!')\n    print('?')\n"
        "    return {'delta_o': 2 * (o - y) / y.size}\n"
    )
    result = compare(str(path), None, steps=1, battery=3)
    assert result.battery["matching"] == 3
    assert capsys.readouterr().err == "mine.py | !?\n"


@pytest.mark.slow
def test_what_is_wrong_on_others_only_is_remarked():
    def step(o, y):
        return {"delta_o": o - y}  # right for one sample and two outputs alone

    result = compare(step, None, battery=10)
    assert (result.verdict, result.first_mismatch) == ("mismatch", None)
    assert result.remarks[-1].startswith("within rounding on this problem, but wrong on")
    right = compare(lambda o, y: {"delta_o": 2 * (o - y) / y.size}, None, battery=10)
    assert right.remarks[-1] == "right on all 10 other problems that were tried as well"
