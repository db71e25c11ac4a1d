"""The descent on f: the lecture's lines, both sides' endings, and starts that run away."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from lockstep.cli.descend import main
from lockstep.report.plots.descent import draw
from manual_backprop import gradient_descent as by_hand
from tests.campaigns.other_end import full_disk
from torch_reference import gradient_descent as by_torch

SCRIPT = Path(__file__).parents[3] / "scripts" / "gradient_descent.py"


def test_the_lectures_two_lines_to_the_letter(capsys):
    path = by_hand.gradient_desc(0.5, 100, 0.05)
    assert capsys.readouterr().out == "Local minimum occurs at: 2.67\nNumber of steps:  100\n"
    assert path[0] == (0.5, 5.125)
    assert len(path) == 101
    assert path[-1][0] == 2.671663541662967


def test_pytorch_ends_at_the_exact_minimum(capsys):
    path = by_torch.gradient_desc(0.5, 100, 0.05)
    assert capsys.readouterr().out == "Local minimum occurs at: 2.67\nNumber of steps:  100\n"
    assert path[-1][0] == 2.666666666666666


def test_the_backward_difference_is_off_by_half_a_delta_of_curvature():
    for x in (0.5, 2.0, 3.5):
        exact = by_torch.derivative(x)
        assert exact == pytest.approx(3 * x**2 - 8 * x, rel=1e-15)
        assert by_hand.derivative(x, 1e-4) == pytest.approx(
            exact - 1e-4 / 2 * (6 * x - 8), abs=1e-7
        )


@pytest.mark.parametrize(
    ("start", "steps", "words"),
    [
        (-0.5, 100, "no minimum: x left the plotted range at step 2"),
        (-3, 0, "no minimum: x left the plotted range at step 0"),
        (-0.1, 1, "no minimum: at step 1 x = -0.14"),
    ],
)
def test_a_start_that_runs_away_has_no_minimum(start, steps, words):
    assert by_hand.ending(by_hand.descend(start, steps, 0.05)).startswith(words)


def test_overflow_is_told_with_its_step_and_the_path_ends_there():
    path = by_torch.descend(-3.0, 100, 5.0)
    assert not math.isfinite(path[-1][0])
    assert math.isfinite(path[-2][0])
    assert by_torch.ending(path) == f"no minimum: x overflowed at step {len(path) - 1}"
    path = by_hand.descend(-3.0, 100, 1e200)
    assert by_hand.ending(path) == f"no minimum: x overflowed at step {len(path) - 1}"


def test_both_sides_tell_a_path_alike():
    for path in (
        [(0.5, 5.1)],
        [(0.5, 5.1), (7.0, 1.0)],
        [(0.5, 5.1), (-math.inf, 1.0)],
        [(-0.2, 5.8)],
        [(5.0, 1.0)],
    ):
        assert by_hand.ending(path) == by_torch.ending(path)


def test_the_script_prints_the_lines_and_both_sides(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Local minimum occurs at: 2.67\nNumber of steps:  100\n")
    for fact in ("2.671663541662967", "2.666666666666666", "8/3 + delta/2"):
        assert fact in printed


@pytest.mark.parametrize(
    "arguments", [["--start", "-0.5"], ["--start", "-3", "--lr", "5"], ["--start", "0"]]
)
def test_a_runaway_is_exit_status_3(arguments, capsys):
    assert main(arguments) == 3
    assert "no minimum: x " in capsys.readouterr().out


def test_the_figure_has_both_pictures(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figure = Figure()
    draw(figure, by_hand.descend(0.5, 100, 0.05), by_torch.descend(0.5, 100, 0.05))
    whole, zoom = figure.axes
    assert [whole.get_title(), zoom.get_title()] == ["Gradient Descent", "Zoomed in Figure"]
    x, f = whole.lines[0].get_data()
    assert len(x) == 500
    assert (x[0], x[-1]) == (-1, 4)
    np.testing.assert_array_equal(f, by_hand.f(x))
    assert zoom.get_xlim() == (2, 3)
    assert [len(points.get_offsets()) for points in whole.collections] == [101, 101]
    ends = "by hand: at rest from step 18 on      PyTorch: at rest from step 18 on"
    assert figure.get_supxlabel() == ends
    titles = []
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda _, text: titles.append(text))
    assert main(["--plot", str(tmp_path / "a.png")]) == 0
    assert titles == ["start 0.5, learning rate 0.05"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "-1"], "--steps: expected a whole number of steps, 0 or more, got -1"),
        (["--steps", "a"], "--steps: expected a whole number"),
        (["--lr", "nan"], "--lr: expected a finite number"),
        (["--lr", "-inf"], "--lr: expected a finite number"),
        (["--delta", "0"], "--delta: expected a number other than 0"),
        (["--plot", "a.bmp"], "--plot: expected a file name that ends with .png, .svg, .pdf"),
        (["--plot", "/nowhere/a.png"], "--plot /nowhere/a.png: cannot be written"),
        (["--what"], "unrecognized arguments: --what"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments, words, capsys):
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_no_step_and_steps_that_have_not_settled_are_told(capsys):
    assert main(["--steps", "0"]) == 0
    assert "No step was made." in capsys.readouterr().out
    assert main(["--steps", "3"]) == 0
    assert "Not settled yet: the last step still moved x by" in capsys.readouterr().out


def test_the_picture_can_be_shown_in_a_window(capsys, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    shown = []
    plt.switch_backend("Agg")
    assert main(["--show"]) == 0
    assert len(shown[0].axes) == 2


@full_disk
def test_a_full_disk_is_told_in_a_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gradient_descent.py"])
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit, match="^2$"):
            runpy.run_path(str(SCRIPT), run_name="__main__")
    told = "gradient_descent.py: standard output cannot be written: No space left on device\n"
    assert capsys.readouterr().err == told


def test_the_difference_is_a_hundredth_unless_said_otherwise():
    assert by_hand.derivative(2.0) == by_hand.derivative(2.0, 0.01)
    assert by_hand.descend(0.5, 3, 0.05) == by_hand.descend(0.5, 3, 0.05, 0.01)
    assert by_hand.descend(0.5, 3, 0.05)[-1] != by_hand.descend(0.5, 3, 0.05, 0.1)[-1]
    assert by_hand.gradient_desc(0.5, 3, 0.05, 0.1) == by_hand.descend(0.5, 3, 0.05, 0.1)


def test_the_plotted_range_has_its_ends_and_the_top_is_no_minimum():
    inside = "Local minimum occurs at: 4\nNumber of steps:  0"
    assert by_hand.ending([(4, 0.0)]) == inside
    assert by_hand.ending([(4.01, 0.0)]) == "no minimum: x left the plotted range at step 0"
    assert by_hand.ending([(-1, 0.0)]).startswith(
        "no minimum: at step 0 x = -1 is not right of the curve's top"
    )
    assert by_hand.ending([(-1.01, 0.0)]) == "no minimum: x left the plotted range at step 0"
    assert by_hand.ending([(0, 0.0)]).startswith("no minimum: at step 0 x = 0 is not right")


def test_every_number_can_be_set(capsys):
    assert main(["--start", "1", "--steps", "50", "--lr", "0.1", "--delta", "0.1"]) == 0
    assert "8/3 + delta/2 = 2.71666667" in capsys.readouterr().out


def test_a_descent_that_runs_away_may_still_be_finite(capsys):
    assert main(["--start", "-0.9", "--steps", "3", "--lr", "0.1"]) == 3
    out = capsys.readouterr().out
    assert "the curve falls without bound" in out
    assert "By hand x stopped" not in out
