"""The picture of a run and the animation of the descent: what is plotted, not its pixels."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from lockstep.api import run
from lockstep.cli.compare import main
from lockstep.cli.descend import main as descend
from lockstep.evidence import trainings
from lockstep.report import remarks
from lockstep.report.plots import descent, figure, labels
from lockstep.setup.problem import make_problem
from lockstep.sides.chosen import side_by_hand
from manual_backprop import gradient_descent as by_hand
from torch_reference import gradient_descent as by_torch

pytestmark = pytest.mark.slow


def drawn(settings, step=None, **values):
    problem = make_problem(settings)
    album = figure.new_album(problem)
    result = run(problem, {"keep_going": True} | values, album.add, step)
    with descent.canvas(14, 9.5, 110, font=13) as picture:
        figure.draw(picture, result, album)
    return picture.axes, result


def names_of(axes):
    return [it for it in axes.texts if isinstance(it, Annotation)]


def boxes(axes):
    """Of the names at the ends of lines, in pixels, from the lowest to the highest."""
    return sorted((Text.get_window_extent(it) for it in names_of(axes)), key=lambda box: box.y0)


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


@pytest.mark.slow
def test_differences_lie_below_what_rounding_allows_and_the_drift_is_that_of_the_report():
    (_, apart, *_), result = drawn({"steps": 100})
    allowed, largest, drift = (np.array(curve.get_ydata()) for curve in apart.lines)
    assert (largest < allowed).all()
    assert drift[-1] == result.rows[-1].drift
    words = {name.xy[1]: name.get_text() for name in names_of(apart)}
    assert words[allowed[-1]] == "rounding\nallows"
    assert words[drift[-1]] == "drift, not\njudged"


@pytest.mark.slow
def test_every_parameter_of_a_small_network_has_its_path():
    (_, _, paths, _), result = drawn({"steps": 30})
    names = [text.get_text() for text in names_of(paths)]
    assert sorted(names) == sorted(
        ["w11", "w21", "w12", "w22", "b1", "b2", "w31", "w41", "w32", "w42", "b3", "b4"]
    )
    ends = {curve.get_ydata()[-1] for curve in paths.lines if len(curve.get_ydata())}
    assert {float(value) for value in np.ravel(result.last.torch["new_W_h"])} <= ends


MANY = [
    {"steps": 30},
    {"steps": 1},
    {"steps": 2},
    {"lr": 0.0, "steps": 10},
    {"lr": 5.0, "steps": 300},
    {"lr": 1e200, "steps": 5},
    {"dtype": "float32", "steps": 20},
    {"sizes": (6, 6, 6), "samples": 4, "steps": 20},
    {"sizes": (8, 30, 3), "samples": 10, "steps": 10},
    {"sizes": (3, 5, 4, 4, 3, 2), "samples": 6, "hidden_activation": "tanh", "steps": 10},
    {"sizes": (2,) * 15, "samples": 2, "steps": 3},
    {"sizes": (1, 1), "samples": 1, "steps": 3},
    *({"sizes": (3, 4, 2), "samples": 5, "lr": 0.5, "steps": 40, "seed": n} for n in range(6)),
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", MANY, ids=str)
def test_names_cover_neither_each_other_nor_what_is_beside_their_axes(settings):
    axes, _ = drawn(settings)
    for part in axes[:3]:
        inside = part.get_window_extent()
        found = boxes(part)
        for lower, upper in pairwise(found):
            assert lower.y1 <= upper.y0
        for box in found:
            assert inside.y0 - 1 <= box.y0
            assert box.y1 <= inside.y1 + 1
            assert inside.x1 < box.x0
            assert box.x1 <= 14 * 110
    assert all(box.x1 < axes[3].get_tightbbox().x0 for box in boxes(axes[2]))


@pytest.mark.slow
@pytest.mark.parametrize("settings", MANY, ids=str)
def test_each_name_has_the_colour_and_the_last_point_of_its_line(settings):
    (_, _, paths, _), result = drawn(settings)
    found = {name.get_text(): name for name in names_of(paths)}
    last = result.last.torch
    for label, new, index in figure._places(result.problem):
        if not abs(float(last[new][index])) < figure._LARGEST:
            continue
        at = found.pop(label).xy
        assert at == (result.steps_run, last[new][index])
        colours = {
            curve.get_color()
            for curve in paths.lines
            if len(curve.get_xdata()) and (curve.get_xdata()[-1], curve.get_ydata()[-1]) == at
        }
        name = next(it for it in names_of(paths) if it.get_text() == label)
        assert name.get_color() in colours
        assert name.arrow_patch.get_edgecolor()[:3] == to_rgb(name.get_color())


def test_a_name_is_at_the_height_of_its_line_where_there_is_room():
    (_, _, paths, _), _ = drawn({"sizes": (1, 1), "samples": 1, "steps": 3})
    for name in names_of(paths):
        box = Text.get_window_extent(name)
        line_height = paths.transData.transform(name.xy)[1]
        assert (box.y0 + box.y1) / 2 == pytest.approx(line_height, abs=2)


def test_names_stand_in_the_order_of_their_lines():
    (_, _, paths, _), _ = drawn({"sizes": (8, 30, 3), "samples": 10, "steps": 10})
    by_line = sorted(names_of(paths), key=lambda name: name.xy[1])
    heights = [Text.get_window_extent(name).y0 for name in by_line]
    assert heights == sorted(heights)
    assert len({name.get_color() for name in by_line[:6]}) == 6


def test_boxes_that_want_one_place_stand_around_it_and_inside_the_limits():
    two = np.array([2.0, 2.0])
    assert labels.centres(np.array([5.0, 5.0]), two, 0, 10).tolist() == [4, 6]
    assert labels.centres(np.array([0.0, 0.0]), two, 0, 10).tolist() == [1, 3]
    assert labels.centres(np.array([9.0, 10.0]), two, 0, 10).tolist() == [7, 9]
    assert labels.centres(np.array([1.0, 9.0]), two, 0, 10).tolist() == [1, 9]


@pytest.mark.slow
def test_a_large_network_has_a_dozen_paths_at_the_most():
    (_, _, paths, gradients), _ = drawn({"sizes": (30, 20, 5), "samples": 4, "steps": 3})
    assert len(names_of(paths)) == 12
    assert paths.get_title("left") == "Parameters (12 of 725)"
    assert len(line(gradients, "agrees").get_xdata()) > 100
    (_, _, paths, _), _ = drawn({"sizes": (2,) * 15, "samples": 2, "steps": 3})
    assert len(names_of(paths)) == 12


def doubled(delta_o, delta_h, x):
    return dict(grad_b_o=2 * delta_o.sum(axis=0), grad_W_h=delta_h.T @ x)


SMALL = {"steps": 20, "sizes": (3, 4, 2), "samples": 5}


def caption(settings, step):
    axes, result = drawn(settings, step)
    return axes, axes[0].get_figure().get_supxlabel().replace("\n", " "), result


@pytest.mark.slow
def test_a_mismatch_shows_both_trainings_and_says_what_completes_the_one_by_hand():
    (loss, *_), words, result = caption(SMALL, doubled)
    both = result.trainings
    assert list(line(loss, "yours").get_ydata()) == both.by_hand
    assert list(line(loss, "PyTorch").get_ydata()) == both.by_torch
    assert list(line(loss, "yours").get_xdata()) == list(range(21))
    assert "does not return all of new_W_h, new_b_h, new_W_o, new_b_o: the right" in words


def test_a_match_shows_the_losses_of_the_steps_and_has_no_caption():
    _, words, result = caption(SMALL, None)
    assert result.trainings is None
    assert words == ""


@pytest.mark.slow
def test_a_training_by_hand_that_diverges_leaves_the_picture_and_the_caption_says_when():
    def step(W_o, grad_W_o, grad_b_o, lr):
        return dict(grad_b_o=grad_b_o, new_W_o=W_o + lr * 50 * grad_W_o)

    (loss, *_), words, result = caption(SMALL | {"steps": 60}, step)
    top = loss.get_ylim()[1]
    assert top == pytest.approx(1e3 * max(result.trainings.by_torch))
    assert loss.get_yscale() == "log"
    many = len(result.trainings.by_hand) - 1
    assert f"Trained by your step, the loss is no longer finite after {many} steps." in words


@pytest.mark.slow
def test_a_wrong_number_that_changes_no_parameter_is_said_to_change_none():
    _, words, _ = caption(SMALL, lambda loss: dict(loss=2 * loss))
    assert "Both trainings are the same: what differs changes no parameter." in words


@pytest.mark.slow
def test_a_step_that_raises_on_its_own_weights_is_told(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\n"
        "def step(W_o, grad_W_o, step):\n"
        "    assert step < 4, 'enough'\n"
        "    return dict(grad_W_o=-grad_W_o)\n"
    )
    side = side_by_hand({"derivation": str(path)})
    axes, _ = drawn(SMALL | {"steps": 3}, side)
    words = axes[0].get_figure().get_supxlabel()
    assert "ends after" not in words
    problem = make_problem(SMALL)
    album = figure.new_album(problem)
    result = run(problem, {}, album.add, side_by_hand({"derivation": str(path)}))
    picture = Figure()
    figure.draw(picture, result, album)
    words = picture.get_supxlabel().replace("\n", " ")
    assert "The training by your step ends after 3 steps: " in words
    assert "AssertionError: enough." in words


def test_recorded_numbers_have_no_training_and_the_caption_says_why(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text('h1 = "0.07"\n')
    (loss, *_), words, _ = caption({"steps": 1}, side_by_hand({"numbers": str(path)}))
    assert words == "There is no training by hand: recorded numbers cannot train the network on."
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["PyTorch"]


def test_an_interrupted_run_does_not_go_on_training():
    _, result = drawn(SMALL | {"steps": 2}, doubled)
    del result.trainings
    result.interrupted = True
    assert result.trainings is None


def test_a_long_training_says_that_it_is_cut(monkeypatch):
    monkeypatch.setattr(trainings, "MOST_STEPS", 7)
    monkeypatch.setattr(remarks, "MOST_STEPS", 7)
    _, words, _ = caption(SMALL, doubled)
    assert words.endswith("These are the first 7 steps.")


def test_the_projects_own_code_is_named_where_a_tolerance_makes_it_differ():
    axes, _ = drawn({"steps": 5}, rtol=0.0, atol=0.0)
    words = axes[0].get_figure().get_supxlabel()
    assert "by the code by hand and by PyTorch" in words.replace("\n", " ")


def test_gradients_that_agree_lie_on_the_diagonal_and_those_that_differ_are_marked():
    def step(delta_o, delta_h, x):
        return dict(grad_b_o=2 * delta_o.sum(axis=0), grad_W_h=delta_h.T @ x)

    (_, _, _, gradients), _ = drawn({"steps": 5, "sizes": (3, 4, 2), "samples": 5}, step)
    x, y = line(gradients, "agrees").get_data()
    assert np.allclose(x, y, rtol=1e-12, atol=0)
    x, y = line(gradients, "differs").get_data()
    assert np.allclose(y, 2 * np.array(x), rtol=1e-12, atol=0)
    assert line(gradients, "differs").get_marker() == "X"


def test_axes_have_names_and_a_mismatch_its_line():
    axes, _ = drawn({"steps": 5}, lambda delta_o: dict(grad_b_o=2 * delta_o.sum(axis=0)))
    assert all(part.get_xlabel() and part.get_ylabel() and part.get_title("left") for part in axes)
    assert [part.lines[-1].get_xdata()[0] for part in axes[:3]] == [1, 1, 1]
    assert "first at step 1 (dotted line)" in axes[0].get_figure().get_suptitle()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"steps": 0}, {"lr": 1e200, "steps": 5}])
def test_runs_without_an_end_or_without_a_step_are_drawn(settings):
    axes, _ = drawn(settings)
    assert len(axes) == 4


def test_a_derivation_of_one_quantity_is_drawn_without_paths_of_its_own():
    axes, _ = drawn({"steps": 3}, lambda x, W_h, b_h: dict(z_h=x @ W_h.T + b_h))
    assert [text.get_text() for text in axes[2].get_legend().get_texts()] == ["PyTorch"]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["PyTorch"]
    assert axes[3].texts[0].get_text() == "no gradient was returned"


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_each_format_is_written_and_the_same_run_gives_the_same_bytes(kind, start, tmp_path):
    files = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for file in files:
        assert main(["--steps", "5", "--quiet", "--plot", str(file)]) == 0
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


def rolled(start, steps, lr):
    """Both paths of a descent, and the derivatives that they use."""
    paths = by_hand.descend(start, steps, lr), by_torch.descend(start, steps, lr)
    return paths, (by_hand.derivative, by_torch.derivative)


def words_of(axes):
    (words,) = axes.texts
    return words.get_text()


def test_ball_tangent_and_numbers_are_where_the_path_is_step_by_step():
    paths, slopes = rolled(0.5, 20, 0.06)
    picture = Figure()
    throw = descent.draw_balls(picture, paths, slopes, 0.06)
    for n in (0, 7, 20):
        throw(n)
        for axes, path, slope in zip(picture.axes, paths, slopes, strict=True):
            _, trail, tangent, ball = axes.lines
            x, y = path[n]
            assert (ball.get_xdata()[0], ball.get_ydata()[0]) == path[n]
            assert list(trail.get_xdata()) == [x for x, _ in path[: n + 1]]
            (left, right), (low, high) = tangent.get_data()
            assert (high - low) / (right - left) == pytest.approx(slope(x), rel=1e-9)
            assert (low + high) / 2 == pytest.approx(y, rel=1e-9)
            assert words_of(axes).splitlines()[:4] == [
                f"step {n:<9}learning rate 0.06",
                f"x     = {x:10.4f}",
                f"f(x)  = {y:10.4f}",
                f"slope = {slope(x):10.4f}",
            ]


def test_the_text_does_not_jump():
    paths, slopes = rolled(0.5, 100, 0.5)
    picture = Figure()
    throw = descent.draw_balls(picture, paths, slopes, 0.5)
    shapes = []
    for n in descent.frames(*paths):
        throw(n)
        shapes.append([len(line) for line in words_of(picture.axes[0]).splitlines()[:4]])
    assert all(shape == shapes[0] for shape in shapes)
    assert {len(descent._wide(x)) for x in (0.0, -1e-9, 9e3, -1e20, np.inf, -np.inf, np.nan)} == {
        10
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "steps", "lr", "frames", "words"),
    [
        (0.5, 100, 0.05, 19, "at rest from step 18 on"),
        (0.5, 100, 0.24, 41, "at rest from step 40 on"),
        (0.5, 100, 0.3, 101, "still jumping across after 100 steps"),
        (0.5, 100, 0.5, 4, "off the picture from step 3 on"),
        (0.5, 3, 0.05, 4, "still on its way after 3 steps"),
        (0.5, 0, 0.05, 1, "still on its way after 0 steps"),
        (-3.0, 20, 0.05, 1, "off the picture from step 0 on"),
        (-0.5, 5, 1e200, 2, "off the picture from step 1 on"),
        (5.0, 100, 0.05, 11, "at rest from step 10 on"),
    ],
)
def test_the_animation_ends_when_nothing_moves_any_more_with_a_sentence(
    start, steps, lr, frames, words
):
    paths, slopes = rolled(start, steps, lr)
    shown = descent.frames(*paths)
    assert descent.outcome(paths[0]) == words
    assert len(shown) == frames
    picture = Figure()
    throw = descent.draw_balls(picture, paths, slopes, lr)
    throw(shown[-1])
    assert words_of(picture.axes[0]).endswith(f"\n{words}")
    assert picture.axes[0].get_xlim() == (-1.1, 4.1)
    picture.draw_without_rendering()
    if len(shown) > 1:
        throw(shown[-2])
        assert words not in words_of(picture.axes[0])


def test_a_long_descent_that_never_rests_has_two_hundred_frames_and_ends_at_its_end():
    path = by_hand.descend(0.5, 5000, 0.3)
    shown = descent.frames(path, path)
    assert len(shown) == descent.MOST_FRAMES
    assert shown[-1] == descent.last_seen(path)


def test_the_animation_is_played_once_and_its_last_frame_stays(tmp_path, capsys):
    path = tmp_path / "ball.gif"
    assert descend(["--steps", "6", "--animate", str(path)]) == 0
    with Image.open(path) as picture:
        assert picture.n_frames == 7
        assert "loop" not in picture.info
        stays = []
        for n in range(7):
            picture.seek(n)
            stays.append(picture.info["duration"])
        assert stays == [200] * 6 + [4000]


def test_each_frame_of_the_animation_has_the_ball_elsewhere(tmp_path, capsys):
    path = tmp_path / "ball.gif"
    assert descend(["--lr", "0.3", "--steps", "4", "--animate", str(path)]) == 0
    with Image.open(path) as picture:
        frames = []
        for n in range(picture.n_frames):
            picture.seek(n)
            frames.append(picture.convert("RGB").tobytes())
    assert len(set(frames)) == 5


def test_progress_is_shown_on_a_terminal_alone(tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "ball.gif")
    assert descend(["--steps", "3", "--animate", path]) == 0
    assert capsys.readouterr().err == ""
    now = iter(range(0, 1000, 3))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("lockstep.cli.main.time.monotonic", lambda: float(next(now)))
    assert descend(["--steps", "3", "--animate", path]) == 0
    said = capsys.readouterr()
    assert "frames" in said.err
    assert "4/4" in said.err
    assert "frames" not in said.out


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
