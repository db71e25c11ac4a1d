"""The referee: the step in exact arithmetic, and which side is nearer to it."""

from dataclasses import asdict
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from lockstep import compare
from lockstep.api import run
from lockstep.evidence.exact import _float, error, is_small, truth
from lockstep.evidence.referee import referee
from lockstep.setup.options import check
from lockstep.setup.problem import make_problem


def exact_of(values):
    problem = make_problem(values | {"steps": 1})
    return problem, truth(problem, problem.start(1, problem.state))


def test_linear_networks_are_exact_fractions():
    problem, exact = exact_of({})
    z_h1 = Fraction(0.4) * Fraction(0.5) + Fraction(-0.3) * Fraction(0.8) + Fraction(0.1)
    assert exact["z_h"][0, 0] == z_h1
    assert isinstance(exact["loss"], Fraction)
    found = referee(problem, run(problem, {}).last)
    assert found.arithmetic == "exact fractions"


def test_relu_is_exact_too():
    _, exact = exact_of(
        {"sizes": (2, 3, 1), "samples": 4, "hidden_activation": "relu", "output_activation": "relu"}
    )
    assert all(isinstance(value, Fraction | int) for value in exact["delta_h"].flat)
    assert 0 in exact["h"]


@pytest.mark.parametrize(
    ("name", "z"), [("sigmoid", 40.0), ("sigmoid", -800.0), ("tanh", 25.0), ("tanh", 1e-9)]
)
def test_smooth_activations_have_fifty_digits_at_their_ends_too(name, z):
    values = {
        "x": [[z]],
        "y": [[0.0]],
        "W_h": [[1.0]],
        "b_h": [0.0],
        "W_o": [[1.0]],
        "b_o": [0.0],
        "loss": "half_sum",
    }
    problem, exact = exact_of(check(values | {"hidden_activation": name}, str))
    with mpmath.workdps(400):
        z = mpmath.mpf(z)
        h = 1 / (1 + mpmath.exp(-z)) if name == "sigmoid" else mpmath.tanh(z)
        slope = h * (1 - h) if name == "sigmoid" else 1 - h * h
        assert abs(exact["h"][0, 0] / h - 1) < 1e-49
        assert abs(exact["delta_h"][0, 0] / (h * slope) - 1) < 1e-48
    assert referee(problem, run(problem, {}).last).arithmetic == "50-digit arithmetic"


def test_the_distance_is_the_floats_own():
    assert error(0.1, Fraction(1, 10)) == float(Fraction(0.1) - Fraction(1, 10))
    assert error(np.float32(0.1), Fraction(0.1)) == float(np.float32(0.1)) - 0.1
    assert error(np.inf, Fraction(1)) == np.inf
    assert error(1.0, Fraction(10) ** 400) == np.inf


def test_the_side_that_is_nearer_is_told():
    def step(W_h, b_h, x):  # sloppy on purpose: the sum is rounded to float32
        return {"z_h": (x @ W_h.T + b_h).astype(np.float32).astype(np.float64)}

    result = compare(step, {"sizes": "3-4-2", "samples": 2}, steps=1, referee=True)
    assert result.verdict == "mismatch"
    worst = result.referee["worst"][0]
    assert (worst["quantity"], worst["nearer"]) == ("z_h", "torch")
    assert worst["torch_ulp"] < 3 < worst["manual_ulp"]
    assert worst["manual_error"] == pytest.approx(abs(worst["manual"] - worst["exact"]), rel=1e-6)
    assert result.referee["nearer"] == {"manual": 0, "torch": 8, "equal": 0}
    report = str(result)
    said = (
        "referee: exact fractions on step 1 (the first that differs), 8 values. "
        "Nearer the truth: yours 0, PyTorch 8,"
    )
    assert said in " ".join(report.split())


def test_only_what_was_returned_is_refereed():
    result = compare(
        lambda h1, w31, w41, h2, b3: {"z_o1": w31 * h1 + w41 * h2 + b3}, steps=2, referee=True
    )
    assert [entry["label"] for entry in result.referee["worst"]] == ["z_o1"]
    assert sum(result.referee["nearer"].values()) == 1


def test_the_step_of_the_largest_difference_is_refereed():
    result = compare(None, None, referee=True)
    assert result.referee["step"] == result.worst["step"]
    assert result.referee["worst"][-4]["nearer"] in ("manual", "torch", "equal")
    assert sum(result.referee["nearer"].values()) == 37


def test_what_cannot_be_refereed_is_said():
    large = compare(
        None, {"sizes": "128-128-128", "samples": 64}, steps=1, referee=True, show="none"
    )
    assert large.referee is None
    assert (
        "no referee: exact arithmetic is too slow beyond 1,000,000 multiply-adds a step"
        in large.remarks
    )
    nothing = compare(None, None, steps=0, referee=True)
    assert "no referee: there is no step whose numbers could all be judged" in nothing.remarks


def test_a_run_that_was_not_asked_has_no_referee():
    assert compare(None, None, steps=1).referee is None


def test_what_is_small_is_counted_in_multiply_adds():
    for n_out, small in ((50, True), (51, False)):
        assert is_small(make_problem({"sizes": (50, 100, n_out), "samples": 100})) == small


def test_fractions_are_compared_without_any_rounding():
    assert error(1.0, 1 + Fraction(1, 10**60)) == 1e-60
    assert error(1.0, mpmath.mpf(1)) == 0.0
    assert _float(Fraction(10) ** 400) == np.inf
    assert _float(-(Fraction(10) ** 400)) == -np.inf
    assert _float(Fraction(-1, 2)) == -0.5


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_count_and_distance_is_the_elements_own(dtype):
    problem = make_problem(
        {"sizes": (5, 7, 3), "samples": 6, "dtype": dtype, "hidden_activation": "relu", "steps": 1}
    )
    record = run(problem, {}).last
    found = asdict(referee(problem, record))
    exact = truth(problem, record.start)
    counts = {"manual": 0, "torch": 0, "equal": 0}
    for entry in found["worst"]:
        name, index = entry["quantity"], tuple(entry["index"])
        ratio = (
            np.abs(record.manual[name].astype(float) - record.torch[name]) / record.allowed[name]
        )
        assert ratio[index] == ratio.max()
        assert (entry["manual"], entry["torch"]) == (
            record.manual[name][index],
            record.torch[name][index],
        )
        true = np.asarray(exact[name])[index]
        for side in ("manual", "torch"):
            assert entry[f"{side}_error"] == float(abs(Fraction(entry[side]) - true))
            unit = float(np.spacing(np.abs(np.asarray(float(true), dtype=dtype))))
            assert entry[f"{side}_ulp"] == entry[f"{side}_error"] / unit
        for at, true in np.ndenumerate(exact[name]):
            manual, torch = (
                abs(Fraction(float(side[name][at])) - true)
                for side in (record.manual, record.torch)
            )
            counts["equal" if manual == torch else "manual" if manual < torch else "torch"] += 1
        assert entry["nearer"] in counts
    assert found["nearer"] == counts
    assert min(counts.values()) > 10


def test_a_value_that_is_not_finite_is_infinitely_far_from_the_truth():
    def step(o, y):
        delta = o - y
        return {"delta_o": np.array([[delta[0, 0], np.nan]])}

    with np.errstate(all="ignore"):
        result = compare(step, None, steps=1, referee=True)
    (entry,) = result.referee["worst"]
    assert (entry["index"], entry["nearer"], entry["manual_error"]) == ([0, 1], "torch", np.inf)


def test_where_nothing_differs_there_is_no_table():
    zeros = {"x": [[0.0]], "y": [[0.0]], "W_h": [[0.0]], "b_h": [0.0], "W_o": [[0.0]], "b_o": [0.0]}
    result = compare(None, zeros, steps=1, referee=True)
    assert result.referee["nearer"] == {"manual": 0, "torch": 0, "equal": 15}
    assert "from the truth" not in str(result)
    assert "by hand 0, PyTorch 0, equally near 15." in " ".join(str(result).split())


def test_far_from_the_truth_both_distances_are_told_as_they_are():
    result = compare(lambda o, y: {"delta_o": o - y + 0.25}, None, steps=1, referee=True)
    row = next(line for line in str(result).splitlines() if line.startswith("  delta_o1"))
    assert row.split()[1] == "2.5e-01"
    assert float(row.split()[2]) < 1e-16
    assert row.split()[3] == "PyTorch"


def test_near_the_truth_distances_are_told_in_ulps():
    result = compare(
        lambda new_b_o: {"new_b_o": new_b_o + 2 * np.spacing(new_b_o)},
        None,
        referee=True,
        battery=0,
    )
    (entry,) = result.referee["worst"]
    row = next(line for line in str(result).splitlines() if line.startswith(f"  {entry['label']}"))
    assert row.split()[1:] == [
        f"{entry['manual_ulp']:.3g}",
        "ULP",
        f"{entry['torch_ulp']:.3g}",
        "ULP",
        "PyTorch",
    ]
    assert entry["torch_ulp"] <= 1 <= entry["manual_ulp"] <= 3
