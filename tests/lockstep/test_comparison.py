"""The judgement of one step: where it first differs, what is not finite, and distances in ULPs."""

import numpy as np
import pytest

from lockstep.comparison import judge, ulps
from lockstep.moments import moments
from lockstep.problem import make_problem
from lockstep.quantities import COMPUTED
from lockstep.run import run
from lockstep.tolerance import tolerance


def of_precision(dtype):
    return make_problem({"sizes": (3, 4, 2), "samples": 5, "hidden_activation": "tanh", "steps": 1, "dtype": dtype})


PROBLEM = of_precision("float64")


def a_moment(problem=PROBLEM):
    return next(moments(problem, tolerance(problem, {})))[0]


def look_again(moment):
    """Forget what was worked out from arrays that were changed since."""
    for name in ("flat_manual", "flat_torch", "flat_allowed", "difference"):
        vars(moment).pop(name, None)


def planted(name, index, value):
    """The moment with one element of the side by hand replaced."""
    moment = a_moment()
    manual = {quantity: np.array(array) for quantity, array in moment.manual.items()}
    manual[name][index] = value
    moment.manual = manual
    look_again(moment)
    return moment


@pytest.mark.parametrize("factor", [2, 10, 1000])
def test_a_planted_difference_is_found_at_its_quantity_and_element(factor):
    random = np.random.default_rng(3)
    for name in COMPUTED:
        moment = a_moment()
        index = tuple(int(random.integers(n)) for n in np.shape(moment.torch[name]))
        moment = planted(name, index, moment.torch[name][index] + factor * moment.allowed[name][index])
        said, position = judge(moment)
        assert said == "mismatch"
        assert moment.place(position) == (name, index)
        entry = moment.entry(position)
        assert entry["difference"] == pytest.approx(factor * entry["allowed"], rel=0.2, abs=0)


def test_half_the_bound_is_no_mismatch():
    for name in COMPUTED:
        index = (0,) * np.ndim(a_moment().torch[name])
        value = a_moment().torch[name][index] + 0.5 * a_moment().allowed[name][index]
        assert judge(planted(name, index, value)) == ("match", None)


def test_the_first_in_the_order_of_computation_is_told():
    moment = planted("grad_W_o", (0, 0), 99.0)
    moment.manual["delta_h"] = moment.manual["delta_h"] + 1
    look_again(moment)
    assert moment.place(judge(moment)[1]) == ("delta_h", (0, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_on_one_side_is_a_mismatch(value):
    moment = planted("delta_h", (1, 2), value)
    said, position = judge(moment)
    assert (said, moment.place(position)) == ("mismatch", ("delta_h", (1, 2)))


def test_infinity_against_a_large_finite_number_is_a_mismatch():
    moment = planted("z_h", (0, 0), np.inf)
    moment.torch["z_h"] = np.array(moment.torch["z_h"])
    moment.torch["z_h"][0, 0] = 1e300
    look_again(moment)
    assert judge(moment)[0] == "mismatch"
    moment.manual, moment.torch = moment.torch, moment.manual
    look_again(moment)
    assert judge(moment)[0] == "mismatch"


def test_not_finite_on_both_sides_alike_is_undecided_unless_something_differs_before():
    moment = planted("delta_o", (0, 1), np.nan)
    moment.torch["delta_o"] = np.array(moment.torch["delta_o"])
    moment.torch["delta_o"][0, 1] = np.nan
    look_again(moment)
    said, position = judge(moment)
    assert (said, moment.place(position)) == ("undecided", ("delta_o", (0, 1)))
    moment.manual["grad_W_h"] = moment.manual["grad_W_h"] + 1  # comes later
    look_again(moment)
    assert judge(moment)[0] == "undecided"
    moment.manual["h"] = moment.manual["h"] + 1  # comes before
    look_again(moment)
    assert judge(moment)[0] == "mismatch"


def test_overflow_on_the_way_is_undecided_not_a_mismatch():
    moment = planted("z_h", (0, 0), np.inf)
    moment.torch["z_h"] = np.array(moment.torch["z_h"])
    moment.torch["z_h"][0, 0] = 1e300
    moment.allowed["z_h"] = np.full_like(moment.allowed["z_h"], 1e293)  # terms near the largest number were added up
    look_again(moment)
    assert judge(moment)[0] == "undecided"
    assert judge(moment, fixed=True)[0] == "mismatch"


def test_overflow_on_the_way_depends_on_the_precision():
    moment = a_moment(of_precision("float32"))
    moment.manual["z_h"][0, 0], moment.torch["z_h"][0, 0], moment.allowed["z_h"][0, 0] = np.inf, 1e38, 3e31
    look_again(moment)
    assert judge(moment)[0] == "undecided"
    moment.allowed["z_h"][0, 0] = 1e30
    look_again(moment)
    assert judge(moment)[0] == "mismatch"


def test_infinity_beside_the_largest_number_itself_is_undecided():
    moment = planted("z_h", (0, 0), np.inf)
    moment.torch["z_h"][0, 0], moment.allowed["z_h"][0, 0] = np.finfo("float64").max, 0.0
    look_again(moment)
    assert judge(moment)[0] == "undecided"


def test_a_difference_beyond_the_largest_number_is_infinite():
    moment = planted("z_h", (0, 0), 1.5e308)
    moment.torch["z_h"][0, 0] = -1.5e308
    look_again(moment)
    assert moment.difference[0] == np.inf
    assert judge(moment)[0] == "mismatch"


def test_a_quantity_that_differs_is_a_mismatch_even_where_both_have_no_number_in_it():
    moment = planted("delta_o", (0, 0), np.nan)
    moment.torch["delta_o"][0, 0] = np.nan
    moment.manual["delta_o"][1, 1] += 1
    look_again(moment)
    said, position = judge(moment)
    assert (said, moment.place(position)) == ("mismatch", ("delta_o", (1, 1)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_flat_arrays_hold_what_was_returned_one_after_the_other(dtype):
    moment = a_moment(of_precision(dtype))
    all_of_it = np.concatenate([np.ravel(moment.manual[name]) for name in moment.manual])
    assert moment.flat_manual.dtype == moment.flat_torch.dtype == np.float64
    assert np.array_equal(moment.flat_manual, all_of_it.astype(np.float64))

    covered = np.zeros((5, 4), bool)
    covered[1, 2] = covered[3, 0] = True
    in_part = {"delta_h": moment.manual["delta_h"], "new_b_o": moment.manual["new_b_o"]}
    moment.manual, moment.covered = in_part, {"delta_h": covered}
    look_again(moment)
    assert moment.flat_manual.dtype == moment.flat_torch.dtype == np.float64
    d, b = in_part["delta_h"], in_part["new_b_o"]
    assert moment.flat_manual.tolist() == [float(number) for number in (d[1, 2], d[3, 0], b[0], b[1])]
    assert len(moment.flat_torch) == len(moment.flat_allowed) == 4
    assert [moment.place(i) for i in range(4)] == [
        ("delta_h", (1, 2)),
        ("delta_h", (3, 0)),
        ("new_b_o", (0,)),
        ("new_b_o", (1,)),
    ]


def test_a_bound_that_is_not_a_number_blames_nobody():
    moment = planted("h", (0, 0), 5.0)
    moment.allowed["h"] = np.full_like(moment.allowed["h"], np.nan)
    look_again(moment)
    assert judge(moment) == ("match", None)


def test_minus_zero_is_zero():
    problem = make_problem({"steps": 1, "x": np.zeros((1, 2)), "W_h": np.zeros((2, 2)), "b_h": np.zeros(2)})
    result = run(problem, {"rtol": 0.0}, step=lambda W_h, b_h, W_o, b_o, x, y, lr: {"z_h": np.array([[-0.0, -0.0]])})
    assert result.verdict == "match"


def test_places_and_positions_are_each_others_inverse():
    moment = a_moment()
    for position in range(len(moment.flat_torch)):
        assert moment.position(*moment.place(position)) == position
    with pytest.raises(IndexError):
        moment.place(len(moment.flat_torch))


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
    moment = planted("z_h", (0, 0), np.inf)
    moment.torch["z_h"] = np.array(moment.torch["z_h"])
    moment.torch["z_h"][0, 0] = 1e300
    moment.allowed["z_h"] = np.full_like(moment.allowed["z_h"], 1e293)  # terms near the largest number were added up
    moment.misshapen = {"new_b_h": np.zeros(3)}
    look_again(moment)
    assert judge(moment)[0] == "undecided"
    said, position = judge(moment, fixed=True)
    assert (said, moment.place(position)) == ("mismatch", ("z_h", (0, 0)))
    moment.misshapen = {"z_h": np.zeros(3)}
    moment.manual = {}
    look_again(moment)
    assert judge(moment) == ("mismatch", "z_h")


def test_an_entry_has_the_fields_of_the_document():
    moment = planted("delta_h", (1, 2), 0.5)
    place, torch = moment.position("delta_h", (1, 2)), float(moment.torch["delta_h"][1, 2])
    assert moment.entry(place) == {
        "step": 1,
        "quantity": "delta_h",
        "index": [1, 2],
        "label": "delta_h[1, 2]",
        "manual": 0.5,
        "torch": torch,
        "difference": abs(0.5 - torch),
        "allowed": float(moment.allowed["delta_h"][1, 2]),
    }
    assert all(type(value) is float for value in list(moment.entry(place).values())[4:])
    of_a_shape = moment.entry("grad_W_o")
    assert of_a_shape == {"step": 1, "quantity": "grad_W_o", "label": "grad_W_o"} | dict.fromkeys(
        ("index", "manual", "torch", "difference", "allowed")
    )
