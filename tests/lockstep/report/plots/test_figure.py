"""The picture of a run and the animation of the descent: what is plotted, not its pixels."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lockstep.api import run
from lockstep.cli.compare import main
from lockstep.cli.descend import main as descend
from lockstep.network.problem import make_problem
from lockstep.report.plots import descent, figure
from manual_backprop import gradient_descent as by_hand


def drawn(settings, step=None):
    problem = make_problem(settings)
    album = figure.new_album(problem)
    result = run(problem, {"keep_going": True}, album.add, step)
    picture = Figure()
    figure.draw(picture, result, album)
    return picture.axes, result


def line(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_the_loss_of_both_sides_is_plotted_over_all_steps():
    (loss, *_), result = drawn({"steps": 50})
    for side in ("PyTorch", "by hand"):
        x, y = line(loss, side).get_data()
        assert list(x) == list(range(1, 51))
        assert y[0] == pytest.approx(result.loss["first"])
        assert y[-1] == pytest.approx(result.loss["last"])
    assert loss.get_yscale() == "log"


def test_differences_lie_below_what_rounding_allows_and_the_drift_is_that_of_the_report():
    (_, apart, *_), result = drawn({"steps": 100})
    allowed = np.array(line(apart, "allowed by rounding").get_ydata())
    assert (
        np.array(line(apart, "largest difference for its bound, of one step").get_ydata()) < allowed
    ).all()
    drift = line(apart, "drift, not judged: both trained on their own").get_ydata()
    assert drift[-1] == result.rows[-1].drift


def test_every_parameter_of_a_small_network_has_its_path():
    (_, _, paths, _), result = drawn({"steps": 30})
    names = [text.get_text() for text in paths.texts]
    assert sorted(names) == sorted(
        ["w11", "w21", "w12", "w22", "b1", "b2", "w31", "w41", "w32", "w42", "b3", "b4"]
    )
    ends = {curve.get_ydata()[-1] for curve in paths.lines}
    assert {float(value) for value in np.ravel(result.last.torch["new_W_h"])} <= ends


def test_names_at_the_ends_of_the_paths_do_not_cover_each_other():
    (_, _, paths, _), _ = drawn({"steps": 30})
    heights = sorted(text.xy[1] for text in paths.texts)
    low, high = paths.get_ylim()
    assert min(np.diff(heights)) >= 0.99 * (high - low) / 16


def test_a_large_network_has_a_dozen_paths_at_the_most():
    (_, _, paths, gradients), _ = drawn({"sizes": (30, 20, 5), "samples": 4, "steps": 3})
    assert len(paths.texts) == 12
    assert paths.get_title() == "Parameters (12 of 725)"
    assert len(line(gradients, "an element that agrees").get_xdata()) > 100


def test_gradients_that_agree_lie_on_the_diagonal_and_those_that_differ_are_marked():
    def step(delta_o, delta_h, x):
        return dict(grad_b_o=2 * delta_o.sum(axis=0), grad_W_h=delta_h.T @ x)

    (_, _, _, gradients), _ = drawn({"steps": 5, "sizes": (3, 4, 2), "samples": 5}, step)
    x, y = line(gradients, "an element that agrees").get_data()
    assert np.allclose(x, y, rtol=1e-12, atol=0)
    x, y = line(gradients, "an element that differs").get_data()
    assert np.allclose(y, 2 * np.array(x), rtol=1e-12, atol=0)
    assert line(gradients, "an element that differs").get_marker() == "X"


def test_axes_have_names_and_a_mismatch_its_line():
    axes, _ = drawn({"steps": 5}, lambda delta_o: dict(grad_b_o=2 * delta_o.sum(axis=0)))
    assert all(part.get_xlabel() and part.get_ylabel() and part.get_title() for part in axes)
    assert line(axes[0], "first that differs").get_xdata()[0] == 1


@pytest.mark.parametrize("settings", [{"steps": 0}, {"lr": 1e200, "steps": 5}])
def test_runs_without_an_end_or_without_a_step_are_drawn(settings):
    axes, _ = drawn(settings)
    assert len(axes) == 4


def test_a_derivation_of_one_quantity_is_drawn_without_paths_of_its_own():
    axes, _ = drawn({"steps": 3}, lambda x, W_h, b_h: dict(z_h=x @ W_h.T + b_h))
    assert [text.get_text() for text in axes[2].get_legend().get_texts()] == ["PyTorch"]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["PyTorch"]
    assert axes[3].texts[0].get_text() == "no gradient was given"


def test_numbers_of_one_step_are_drawn_where_the_next_has_none(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text('h1 = "0.06"\n[step.3]\nh1 = "0.07"\n')
    assert main(["--numbers", str(path), "--quiet", "--plot", str(tmp_path / "paper.png")]) in (
        0,
        1,
    )


def test_a_run_of_one_step_shows_its_points():
    axes, _ = drawn({"steps": 1})
    assert line(axes[0], "PyTorch").get_marker() == "o"


@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_each_format_is_written_and_the_same_run_gives_the_same_bytes(kind, start, tmp_path):
    files = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for file in files:
        assert main(["--steps", "5", "--quiet", "--plot", str(file)]) == 0
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_ball_is_where_the_path_is_throw_by_throw():
    paths = by_hand.descend(0.5, 20, 0.05), by_hand.descend(0.5, 20, 0.06)
    picture = Figure()
    throw = descent.draw_balls(picture, *paths)
    for n in (0, 7, 20):
        throw(n)
        for axes, path in zip(picture.axes, paths, strict=True):
            _, trail, ball = axes.lines
            assert (ball.get_xdata()[0], ball.get_ydata()[0]) == path[n]
            assert len(trail.get_xdata()) == n
            assert axes.texts[0].get_text().startswith(f"throw {n} ")


def test_a_ball_that_ran_away_is_said_to_be_off_the_picture():
    path = by_hand.descend(-0.5, 5, 0.05)
    picture = Figure()
    descent.draw_balls(picture, path, path)(5)
    assert picture.axes[0].texts[0].get_text().endswith("off the picture")


def test_a_long_descent_has_two_hundred_frames_and_ends_at_its_end():
    assert descent.frames(100) == list(range(101))
    assert len(descent.frames(5000)) == descent.MOST_FRAMES
    assert descent.frames(5000)[-1] == 5000


def test_the_animation_has_a_frame_a_throw(tmp_path, capsys):
    path = tmp_path / "ball.gif"
    assert descend(["--steps", "6", "--animate", str(path)]) == 0
    with Image.open(path) as picture:
        assert picture.n_frames == 7


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--animate", "x.mp4"], "expected a file name that ends with .gif"),
        (["--animate", "/nowhere/x.gif"], "--animate /nowhere/x.gif: cannot be written"),
    ],
)
def test_an_animation_that_cannot_be_written_is_told(arguments, reason, capsys):
    try:
        status = descend(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert reason in capsys.readouterr().err
