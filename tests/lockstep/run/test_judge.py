"""The judgement of one step: where it first differs, what is not finite, and distances in ULPs."""

from dataclasses import asdict

import numpy as np
import pytest

from lockstep.api import run
from lockstep.bound.allowed import tolerance
from lockstep.run.judge import Judgement, judge
from lockstep.run.steps import records
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn
from lockstep.text import ulps
from tests.lecture import COMPUTED


def verdict_and_place(record, fixed=False):
    found = judge(record, fixed)
    return found.verdict, found.position


def of_precision(dtype):
    return make_problem(
        {"sizes": (3, 4, 2), "samples": 5, "hidden_activation": "tanh", "steps": 1, "dtype": dtype}
    )


PROBLEM = of_precision("float64")


def a_record(problem=PROBLEM):
    return next(records(problem, tolerance(problem, {}), BuiltIn()))


def look_again(record):
    """Forget what was worked out from arrays that were changed since."""
    for name in ("flat_manual", "flat_torch", "flat_allowed", "difference"):
        vars(record).pop(name, None)


def planted(name, index, value):
    """The record with one element of the side by hand replaced."""
    record = a_record()
    manual = {quantity: np.array(array) for quantity, array in record.manual.items()}
    manual[name][index] = value
    record.manual = manual
    look_again(record)
    return record


@pytest.mark.parametrize("factor", [2, 10, 1000])
def test_a_planted_difference_is_found_at_its_quantity_and_element(factor):
    random = np.random.default_rng(3)
    for name in COMPUTED:
        record = a_record()
        index = tuple(int(random.integers(n)) for n in np.shape(record.torch[name]))
        record = planted(
            name, index, record.torch[name][index] + factor * record.allowed[name][index]
        )
        said, position = verdict_and_place(record)
        assert said == "mismatch"
        assert record.place(position) == (name, index)
        entry = record.entry(position)
        assert entry.difference == pytest.approx(factor * entry.allowed, rel=0.2, abs=0)


def test_half_the_bound_is_no_mismatch():
    for name in COMPUTED:
        index = (0,) * np.ndim(a_record().torch[name])
        value = a_record().torch[name][index] + 0.5 * a_record().allowed[name][index]
        assert judge(planted(name, index, value)) == Judgement("match", None)


def test_the_first_in_the_order_of_computation_is_told():
    record = planted("grad_W_o", (0, 0), 99.0)
    record.manual["delta_h"] = record.manual["delta_h"] + 1
    look_again(record)
    assert record.place(judge(record).position) == ("delta_h", (0, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_on_one_side_is_a_mismatch(value):
    record = planted("delta_h", (1, 2), value)
    said, position = verdict_and_place(record)
    assert (said, record.place(position)) == ("mismatch", ("delta_h", (1, 2)))


def test_infinity_against_a_large_finite_number_is_a_mismatch():
    record = planted("z_h", (0, 0), np.inf)
    record.torch["z_h"] = np.array(record.torch["z_h"])
    record.torch["z_h"][0, 0] = 1e300
    look_again(record)
    assert judge(record).verdict == "mismatch"
    record.manual, record.torch = record.torch, record.manual
    look_again(record)
    assert judge(record).verdict == "mismatch"


def test_not_finite_on_both_sides_alike_is_undecided_unless_something_differs_before():
    record = planted("delta_o", (0, 1), np.nan)
    record.torch["delta_o"] = np.array(record.torch["delta_o"])
    record.torch["delta_o"][0, 1] = np.nan
    look_again(record)
    said, position = verdict_and_place(record)
    assert (said, record.place(position)) == ("undecided", ("delta_o", (0, 1)))
    record.manual["grad_W_h"] = record.manual["grad_W_h"] + 1  # comes later
    look_again(record)
    assert judge(record).verdict == "undecided"
    record.manual["h"] = record.manual["h"] + 1  # comes before
    look_again(record)
    assert judge(record).verdict == "mismatch"


def test_overflow_on_the_way_is_undecided_not_a_mismatch():
    record = planted("z_h", (0, 0), np.inf)
    record.torch["z_h"] = np.array(record.torch["z_h"])
    record.torch["z_h"][0, 0] = 1e300
    record.allowed = dict(record.allowed)
    record.allowed["z_h"] = np.full_like(
        record.allowed["z_h"], 1e293
    )  # terms near the largest number were added up
    look_again(record)
    assert judge(record).verdict == "undecided"
    assert judge(record, fixed=True).verdict == "mismatch"


def test_overflow_on_the_way_depends_on_the_precision():
    record = a_record(of_precision("float32"))
    record.manual["z_h"][0, 0], record.torch["z_h"][0, 0], record.allowed["z_h"][0, 0] = (
        np.inf,
        1e38,
        3e31,
    )
    look_again(record)
    assert judge(record).verdict == "undecided"
    record.allowed["z_h"][0, 0] = 1e30
    look_again(record)
    assert judge(record).verdict == "mismatch"


def test_infinity_beside_the_largest_number_itself_is_undecided():
    record = planted("z_h", (0, 0), np.inf)
    record.torch["z_h"][0, 0], record.allowed["z_h"][0, 0] = np.finfo("float64").max, 0.0
    look_again(record)
    assert judge(record).verdict == "undecided"


def test_a_difference_beyond_the_largest_number_is_infinite():
    record = planted("z_h", (0, 0), 1.5e308)
    record.torch["z_h"][0, 0] = -1.5e308
    look_again(record)
    assert record.difference[0] == np.inf
    assert judge(record).verdict == "mismatch"


def test_a_quantity_that_differs_is_a_mismatch_even_where_both_have_no_number_in_it():
    record = planted("delta_o", (0, 0), np.nan)
    record.torch["delta_o"][0, 0] = np.nan
    record.manual["delta_o"][1, 1] += 1
    look_again(record)
    said, position = verdict_and_place(record)
    assert (said, record.place(position)) == ("mismatch", ("delta_o", (1, 1)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_flat_arrays_hold_what_was_returned_one_after_the_other(dtype):
    record = a_record(of_precision(dtype))
    all_of_it = np.concatenate([np.ravel(record.manual[name]) for name in record.manual])
    assert record.flat_manual.dtype == record.flat_torch.dtype == np.float64
    assert np.array_equal(record.flat_manual, all_of_it.astype(np.float64))

    covered = np.zeros((5, 4), bool)
    covered[1, 2] = covered[3, 0] = True
    in_part = {"delta_h": record.manual["delta_h"], "new_b_o": record.manual["new_b_o"]}
    record.manual, record.covered = in_part, {"delta_h": covered}
    look_again(record)
    assert record.flat_manual.dtype == record.flat_torch.dtype == np.float64
    d, b = in_part["delta_h"], in_part["new_b_o"]
    assert record.flat_manual.tolist() == [
        float(number) for number in (d[1, 2], d[3, 0], b[0], b[1])
    ]
    assert len(record.flat_torch) == len(record.flat_allowed) == 4
    assert [record.place(i) for i in range(4)] == [
        ("delta_h", (1, 2)),
        ("delta_h", (3, 0)),
        ("new_b_o", (0,)),
        ("new_b_o", (1,)),
    ]


def test_a_bound_that_is_not_a_number_blames_nobody():
    record = planted("h", (0, 0), 5.0)
    record.allowed = dict(record.allowed)
    record.allowed["h"] = np.full_like(record.allowed["h"], np.nan)
    look_again(record)
    assert judge(record) == Judgement("match", None)


def test_minus_zero_is_zero():
    problem = make_problem(
        {"steps": 1, "x": np.zeros((1, 2)), "W_h": np.zeros((2, 2)), "b_h": np.zeros(2)}
    )
    result = run(
        problem,
        {"rtol": 0.0},
        step=lambda W_h, b_h, W_o, b_o, x, y, lr: {"z_h": np.array([[-0.0, -0.0]])},
    )
    assert result.verdict == "match"


def test_places_and_positions_are_each_others_inverse():
    record = a_record()
    for position in range(len(record.flat_torch)):
        assert record.position(*record.place(position)) == position
    with pytest.raises(IndexError):
        record.place(len(record.flat_torch))


def test_ulps_count_last_places():
    one = np.nextafter(1.0, 2)
    assert ulps(one, 1.0, "float64") == 1
    assert ulps(1.0, 1.0, "float64") == 0
    assert ulps(-0.0, 0.0, "float64") == 0
    assert ulps(np.nan, 1.0, "float64") == np.inf
    assert ulps(np.float32(1) + np.float32(2**-23), 1.0, "float32") == 1


def test_an_ulp_is_counted_in_the_runs_precision():
    assert ulps(1 + 2.0**-30, 1.0, "float32") == 0
    assert ulps(1.0, 1 + 2.0**-30, "float32") == 0
    assert ulps(np.inf, np.inf, "float64") == 0
    assert ulps(1.0, 0.0, "float64") > 1e300


def test_what_comes_before_a_wrong_shape_is_judged_like_everything_else():
    record = planted("z_h", (0, 0), np.inf)
    record.torch["z_h"] = np.array(record.torch["z_h"])
    record.torch["z_h"][0, 0] = 1e300
    record.allowed = dict(record.allowed)
    record.allowed["z_h"] = np.full_like(
        record.allowed["z_h"], 1e293
    )  # terms near the largest number were added up
    record.misshapen = {"new_b_h": np.zeros(3)}
    look_again(record)
    assert judge(record).verdict == "undecided"
    said, position = verdict_and_place(record, fixed=True)
    assert (said, record.place(position)) == ("mismatch", ("z_h", (0, 0)))
    record.misshapen = {"z_h": np.zeros(3)}
    record.manual = {}
    look_again(record)
    assert judge(record) == Judgement("mismatch", "z_h")


def test_an_entry_has_the_fields_of_the_document():
    record = planted("delta_h", (1, 2), 0.5)
    place, torch = record.position("delta_h", (1, 2)), float(record.torch["delta_h"][1, 2])
    assert asdict(record.entry(place)) == {
        "step": 1,
        "quantity": "delta_h",
        "index": [1, 2],
        "label": "delta_h[1, 2]",
        "manual": 0.5,
        "torch": torch,
        "difference": abs(0.5 - torch),
        "allowed": float(record.allowed["delta_h"][1, 2]),
    }
    assert all(type(value) is float for value in list(asdict(record.entry(place)).values())[4:])
    of_a_shape = asdict(record.entry("grad_W_o"))
    assert of_a_shape == {"step": 1, "quantity": "grad_W_o", "label": "grad_W_o"} | dict.fromkeys(
        ("index", "manual", "torch", "difference", "allowed")
    )
