"""What one problem cannot show, and the battery of other problems that can."""

from pathlib import Path

import numpy as np
import pytest

from lockstep import compare
from lockstep.cli.compare import main
from lockstep.setup.problem import LECTURE, make_problem, read_file

EXAMPLES = Path(__file__).parents[3] / "scripts" / "examples"


@pytest.mark.slow
def test_a_linear_network_with_one_sample_hides_the_derivatives_and_the_average():
    unseen = compare().cannot_see
    for mistake in (
        "missing-activation-derivative",
        "derivative-at-wrong-point",
        "bias-gradient-averaged",
    ):
        assert mistake in unseen
    assert "updated-weights-used" not in unseen
    assert "Not tested by this problem: missing-activation-derivative" in str(compare())
    assert "--samples 5" in str(compare())


def test_the_examples_together_hide_none():
    hidden = [
        set(compare(problem=str(EXAMPLES / f"{name}.toml"), steps=3).cannot_see)
        for name in ("lecture", "mazur", "batch", "square", "iris")
    ]
    assert set.intersection(*hidden) == set()
    assert all(hidden)  # and each by itself hides something


@pytest.mark.slow
def test_a_hidden_mistake_really_changes_nothing_and_a_visible_one_does():
    def averaged(delta_o):
        return {"grad_b_o": delta_o.mean(axis=0)}

    assert "bias-gradient-averaged" in compare().cannot_see
    assert compare(averaged).verdict == "match"
    batch = {"sizes": "3-4-2", "samples": 5}
    assert "bias-gradient-averaged" not in compare(problem=batch).cannot_see
    assert compare(averaged, batch).verdict == "mismatch"


def test_momentum_needs_a_second_step_to_be_seen():
    assert "momentum" in compare(steps=1).cannot_see
    assert "momentum" not in compare(steps=2).cannot_see


def test_a_network_too_large_to_try_every_mistake_says_nothing():
    assert (
        compare(problem={"sizes": "500-500-500", "samples": 60}, steps=1, show="none").cannot_see
        is None
    )


def test_the_lectures_example_is_the_default():
    example = make_problem(read_file(str(EXAMPLES / "lecture.toml")))
    for name, array in make_problem({}).parameters.items():
        np.testing.assert_array_equal(example.parameters[name], array)
    assert example.x.tolist() == LECTURE["x"]


def averaged(W_h, b_h, W_o, b_o, x, y, lr):
    delta_o = 2 * (x @ W_h.T @ W_o.T + b_h @ W_o.T + b_o - y) / y.size
    return {"grad_b_o": delta_o.mean(axis=0)}


def test_a_function_is_tried_on_other_problems_only_where_that_is_asked_for():
    assert compare(averaged).battery is None


@pytest.mark.slow
def test_what_the_battery_finds_in_a_file_is_a_remark(tmp_path):
    path = tmp_path / "mean.py"
    path.write_text("def step(delta_o): return {'grad_b_o': delta_o.mean(axis=0)}\n")
    result = compare(path)
    assert (result.verdict, result.battery["matching"]) == ("match", 10)
    assert any(
        "within rounding on this problem, but wrong on 20 of 30 others" in remark
        for remark in result.remarks
    )


def test_what_the_battery_finds_has_the_smallest_counterexample():
    result = compare(averaged, battery=30)
    assert result.verdict == "mismatch"
    assert result.battery["problems"] == 30
    assert result.battery["matching"] == 10
    assert result.battery["smallest"] == {"sizes": [1, 2, 2], "samples": 2, "quantity": "grad_b_o"}
    assert any(
        "with 1-2-2 and 2 samples it first differs at grad_b_o" in remark
        for remark in result.remarks
    )


@pytest.mark.slow
def test_a_battery_that_is_asked_for_decides():
    result = compare(averaged, battery=6)
    assert (result.verdict, result.first_mismatch) == ("mismatch", None)
    assert "mismatch: within rounding on this problem, but wrong on 5 of 6 others" in " ".join(
        str(result).split()
    )
    assert compare(lambda delta_o: {"grad_b_o": delta_o.sum(axis=0)}, battery=6).verdict == "match"
    assert compare(averaged, battery=0).battery is None
    assert compare(battery=5).battery == {"problems": 5, "matching": 5, "smallest": None}


@pytest.mark.slow
def test_a_derivation_in_scalars_is_tried_on_other_values():
    result = compare(
        lambda w31, w32, delta_o1, delta_o2: {"delta_h1": delta_o1 * w31 + delta_o2 * w32},
        battery=30,
    )
    assert result.battery == {"problems": 30, "matching": 30, "smallest": None}
    result = compare(
        lambda w31, w32, delta_o1, delta_o2: {"delta_h1": 0.016000000000000125}, steps=1, battery=30
    )
    assert (result.first_mismatch, result.battery["matching"]) == (None, 0)


@pytest.mark.slow
def test_a_file_is_loaded_afresh_for_each_problem(tmp_path, capsys):
    path = tmp_path / "state.py"
    path.write_text(
        "first = []\n"
        "def step(W_h, delta_h, x):\n"
        "    first.append(W_h.shape)\n"
        "    assert first[0] == W_h.shape\n"
        "    return {'grad_W_h': delta_h.T @ x}\n"
    )
    assert main(["--derivation", str(path), "--battery", "20", "--quiet"]) == 0


def test_a_derivation_that_cannot_run_elsewhere_is_told(capsys):
    result = compare(lambda delta_o: {"grad_b_o": delta_o.reshape(2)}, battery=9)
    assert (result.verdict, result.first_mismatch) == ("match", None)
    assert result.battery["smallest"] is None
    assert any(
        "could not be tried on" in remark and "ValueError: cannot reshape" in remark
        for remark in result.remarks
    )
