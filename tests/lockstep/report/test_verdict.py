"""The verdict in words: how much was judged, how near, how small an error would show."""

import pytest

from lockstep import compare
from lockstep.cli.compare import main
from lockstep.report import remarks
from lockstep.report.verdict import headline, verdict
from lockstep.run.result import LostDigits
from lockstep.text import counted, percent, relative


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.079, "7.9 %"),
        (0.5, "50 %"),
        (0.0004, "less than 0.1 %"),
        (0.001, "0.1 %"),
        (0.9949, "99 %"),
        (0.996, "100 %"),
        (2.02, "202 %"),
        (0, "0 %"),
    ],
)
def test_a_share_is_a_percentage_of_two_digits_and_never_in_powers_of_ten(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [(0.17, "17 %"), (3e-7, "3.0e-07"), (40.0, "40 times"), (float("inf"), "whole value")],
)
def test_a_relative_error_is_written_in_what_reads_well(error, text):
    assert relative(error) == text


def test_of_one_thing_there_is_no_plural_whatever_kind_of_number_it_is():
    import numpy as np

    assert counted(1, "step") == counted(np.int64(1), "step") == "1 step"
    assert counted(np.int64(10000), "value") == "10 000 values"


def first_neuron(w11, w21, b1, x1, x2):
    return dict(z_h1=w11 * x1 + w21 * x2 + b1)


def test_a_match_says_how_many_quantities_were_returned_and_how_near_they_are():
    assert headline(compare(first_neuron, steps=1)) == (
        "match: 1 of 15 quantities, 1 step, 1 value. Every value is the same on both sides."
    )
    assert headline(compare(steps=3, atol=1e-8)).endswith("less than 0.1 % of the tolerance given.")
    assert headline(compare(steps=0)) == "undecided: nothing was compared."


def test_a_quantity_counts_that_was_returned_at_one_step_alone():
    calls = []

    def step(W_h, b_h, x):
        calls.append(1)
        z_h = x @ W_h.T + b_h
        return dict(z_h=z_h) if len(calls) > 1 else dict(h=z_h)

    assert headline(compare(step, steps=2)).startswith("match: 2 of 15 quantities, 2 steps, ")


def test_the_smallest_detectable_error_is_left_out_where_most_values_could_not_be_judged():
    wide = verdict(compare(steps=1, atol=100.0)).sentences[0]
    assert wide.startswith("37 of 37 values could not be judged: the tolerance given lets them")
    (one, *_) = verdict(compare(first_neuron, steps=1)).sentences
    assert one.endswith(" (worst). The value could be judged.")


def test_values_of_an_undecided_step_are_not_said_to_have_been_judged():
    result = compare(lr=1e200, steps=20)
    sentences = " ".join(verdict(result).sentences)
    assert "All 37 values before that could be judged." in sentences or (
        f"of {result.values - result.last.size} values before that could not be judged" in sentences
    )


def test_a_remark_is_one_sentence():
    assert remarks.loses_digits(LostDigits("h", "tanh", 1, "h1", 1)) == (
        "h is right, but its formula for tanh loses digits where the value is small: "
        "at step 1, h1 has 1 correct digit"
    )
    result = compare(lambda z_h, o, y: dict(z_h=z_h, delta_o=o - y), steps=1)
    assert remarks.not_judged(result.last) == result.remarks[:2]
    assert result.remarks[0].startswith("not returned, so not judged: h, z_o, o, loss, delta_h")
    assert result.remarks[1] == "given, not derived, so not judged: z_h"
    (in_part, *_) = compare(first_neuron, steps=1).remarks
    assert in_part.endswith("new_b_h, a part of z_h")


def test_where_the_bound_overflowed_the_match_says_that_rounding_could_explain_anything():
    result = compare(steps=1)
    result.worst_ratio = float("inf")
    assert "its bound overflowed" in headline(result)


def test_a_difference_of_few_units_and_one_from_zero_are_told_by_what_reads_well():
    def by(change):
        calls = []

        def step(W_h, b_h, W_o, b_o, x, y, lr):
            calls.append(1)
            return {"z_h": change(x @ W_h.T + b_h)}

        return compare(step, {"sizes": "2-3-1", "W_h": [[1.0, 1.0]] * 3, "b_h": [-2.0] * 3,
                              "x": [[1.0, 1.0]]}, battery=0, steps=1)  # fmt: skip

    assert "off by 1; rounding explains" in str(by(lambda z: z + 1))
    few = compare(lambda h, o: {"o": o * (1 + 2**-40)}, steps=1, battery=0)
    assert " ULP off; rounding explains " in str(few)


def test_a_battery_that_matches_everywhere_has_no_sentence():
    assert remarks.wrong_elsewhere({"problems": 3, "matching": 3, "smallest": None}) == ""


def test_a_quantity_of_another_shape_is_a_line_of_its_step():
    result = compare(lambda h: {"h": h, "o": h[:, :1]}, {"sizes": "3-4-2"}, battery=0, steps=1)
    assert "  o has shape (1, 1); expected (1, 2)  ✗" in str(result)


def test_where_only_underflow_is_allowed_no_number_of_it_is_said(tmp_path, capsys):
    path = tmp_path / "linear.py"
    path.write_text("def step(W_h):\n    return {'new_b_h': W_h[0] * 0 + 5}\n")
    problem = tmp_path / "problem.toml"
    problem.write_text('W_h = [[1, 0], [0, 1]]\nb_h = [1, 1]\nfrozen = ["b_h"]\n')
    assert main([str(problem), "--derivation", str(path), "--battery", "0"]) == 1
    out = capsys.readouterr().out
    assert "; rounding explains none of it" in out
    assert "inf" in out


def test_a_difference_that_is_vast_beside_its_bound_is_called_so():
    result = compare(samples=2)
    row = result.rows[0]
    row.worst_ratio = 1e300
    assert "vast" in str(result)


def test_beside_a_tolerance_it_is_said_what_that_allows(tmp_path, capsys):
    path = tmp_path / "twice.py"
    path.write_text("def step(delta_o):\n    return {'grad_b_o': 2 * delta_o[0]}\n")
    assert main(["--derivation", str(path), "--rtol", "0.1", "--battery", "0"]) == 1
    assert "; the tolerance allows " in capsys.readouterr().out
