"""A run as one picture: loss, differences and drift, the parameters' paths, the gradients."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lockstep.errors import visible
from lockstep.evidence.comparison import Comparison
from lockstep.evidence.trainings import FAR
from lockstep.network.names import Array, Index
from lockstep.network.problem import Problem
from lockstep.report.album import Album
from lockstep.report.plots.descent import BLUE, GREY, ORANGE, RED, canvas, write
from lockstep.report.plots.labels import move_apart, name_at_end
from lockstep.report.remarks import of_trainings
from lockstep.run.record import Record
from lockstep.text import ulps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_STEPS, MOST_PATHS, MOST_POINTS = 400, 12, 2000
_OF_A_GRADIENT = 20  # elements of one that are drawn, about
_CAPTION = 150  # characters in a line
_LARGEST = 1e250  # number that is drawn: axes need room up to the largest of all
_HUGE = 1e3  # how many times the values at the start a path may reach on a linear axis
_HAND: Any = dict(linewidth=2, linestyle=(0, (3, 1.5)))
_TORCH: Any = dict(linewidth=7, alpha=0.35, solid_capstyle="butt")
_DIFFERENCES: tuple[tuple[str, Any], ...] = (
    ("rounding\nallows", dict(color=GREY)),
    ("largest\ndifference", dict(color=BLUE, marker="o", ls="")),
    ("drift, not\njudged", dict(color=ORANGE, ls="--")),
)
# of the paths, those of neighbours at the end being different; dark enough for text on white
_COLOURS = (BLUE, ORANGE, "#00785a", "#1a1a1a", "#a0467f", "#7a5c00")
_Place: TypeAlias = tuple[str, str, Index]  # of a parameter: label, new_ quantity, element


@dataclass
class _Point:
    """What is drawn of one step; pairs are (by hand, PyTorch), nan where not returned.

    Attributes:
        differences: what is allowed for the worst element, how far it is apart, and the drift, in
            ULP; nan where there is none.
        paths: (places, 2).
        started: (places, 2), what the step started from, the same for both.
        gradients: (elements, 3), the last column whether they agree.
    """

    step: int
    loss: tuple[float, float]
    differences: tuple[float, ...]
    paths: Array
    started: Array
    gradients: Array


def new_album(problem: Problem) -> Album[_Point]:
    """An empty album of what the picture needs of each step."""
    places = _places(problem)
    return Album(lambda record, result: _point(record, result, places), MOST_STEPS)


def _places(problem: Problem) -> list[_Place]:
    """The parameters whose paths are drawn: all of a small network, a dozen of a large one."""
    places = []
    arrays = problem.parameters
    shown = set(range(len(arrays)))
    most = max(MOST_PATHS // len(arrays), 1)  # of one
    if _count(problem) <= MOST_PATHS:
        most = MOST_PATHS
    elif len(arrays) > MOST_PATHS:
        shown = _evenly(len(arrays), MOST_PATHS)
    for number, (name, array) in enumerate(arrays.items()):
        for i in sorted(_evenly(array.size, most)) if number in shown else ():
            index = tuple(map(int, np.unravel_index(i, array.shape)))
            it = problem.network.label(name, index, problem.batch_samples)
            places.append((it, f"new_{name}", index))
    return places


def _evenly(many: int, most: int) -> set[int]:
    """At most so many of the numbers below `many`, the first and the last among them."""
    return set(map(round, np.linspace(0, many - 1, min(many, most)).tolist()))


def _count(problem: Problem) -> int:
    return sum(array.size for array in problem.parameters.values())


def _point(record: Record, result: Comparison, places: list[_Place]) -> _Point:
    free = {f"new_{name}": array for name, array in (result.free or {}).items()}
    sides = free or record.manual, record.torch
    drifts = [ulps(mine, theirs, record.dtype).max() for mine, theirs in record.drifting()]
    worst = np.zeros(2)
    if record.manual:
        with np.errstate(all="ignore"):
            at = int(np.argmax(np.nan_to_num(record.ratio(), nan=np.inf)))
            unit = np.spacing(np.abs(record.flat_torch[at].astype(record.dtype)))
            worst = np.array([record.flat_allowed[at], record.difference[at]]) / unit
    values = [side[new][at] if new in side else np.nan for _, new, at in places for side in sides]
    some = [
        position
        for name, at in record.spans()
        if name.startswith("grad_")
        for position in at[:: max(len(at) // _OF_A_GRADIENT, 1)]
    ]
    return _Point(
        step=record.number,
        loss=(float(record.manual.get("loss", np.nan)), float(record.torch["loss"])),
        differences=(*worst, max(drifts, default=np.nan)),
        paths=_drawable(np.reshape(values, (-1, 2))),
        started=np.repeat([[record.start.parameters[new[4:]][at]] for _, new, at in places], 2, 1),
        gradients=np.stack(
            [
                _drawable(record.flat_manual[some]),
                _drawable(record.flat_torch[some]),
                (record.difference <= record.flat_allowed)[some],
            ],
            axis=1,
        ),
    )


def _drawable(values: Any) -> Array:
    """The values, nan in the place of those that are too large to draw, or not finite."""
    array = np.asarray(values, np.float64)
    return np.where(np.abs(array) < _LARGEST, array, np.nan)


def draw(figure: Figure, result: Comparison, album: Album[_Point]) -> None:
    """Draw a run into a matplotlib Figure. album: see `new_album`."""
    from matplotlib.ticker import MaxNLocator

    points = album.steps(result)
    *over_steps, gradients = figure.subplots(2, 2).ravel()
    loss, differences, paths = over_steps
    caption = _loss(loss, points, result)
    _differences(figure, differences, points)
    _paths(figure, paths, points, result)
    _gradients(gradients, points, result.side)
    for axes in over_steps:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for line in axes.lines:
            if 0 < len(line.get_xdata()) < 4 and line.get_linestyle() != "None":
                line.set_marker("o")
            if len(line.get_xdata()) == 1:
                axes.set_xlim(points[0].step - 1, points[0].step + 1)
        if result.first:
            axes.axvline(result.first.step, color=RED, linestyle=":", linewidth=2, zorder=0)
    for axes in (*over_steps, gradients):
        if axes.get_legend_handles_labels()[0]:
            above: Any = dict(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)
            axes.legend(fontsize=11, frameon=False, ncols=3, columnspacing=1, **above)
        axes.set_title(axes.get_title(), loc="left")
        axes.set_title("")
        axes.grid(alpha=0.3)
    if caption:
        lines = textwrap.fill(visible(caption), _CAPTION)
        figure.supxlabel(lines, fontsize=11, parse_math=False)
    size = "-".join(map(str, result.problem.sizes))
    title = f"{result.by_hand.title} next to PyTorch, {size}: {result.verdict}"
    title += f", first at step {result.first.step} (dotted line)" if result.first else ""
    figure.suptitle(title, parse_math=False)
    move_apart(figure)


def _loss(axes: Axes, points: list[_Point], result: Comparison) -> str:
    """Draw the losses, of both trainings where a step differs; a caption that says of what."""
    both = result.trainings
    if both is None or not both.by_hand:
        steps = [point.step for point in points]
        losses = [_drawable([point.loss[which] for point in points]) for which in (0, 1)]
        _both_sides(axes, steps, losses[0], steps, losses[1], result.side)
        axes.set(title="Loss", xlabel="training step", ylabel="loss before the step")
        caption = f"There is no training by hand: {both.why_not}." if both else ""
    else:
        losses = [_drawable(side) for side in (both.by_hand, both.by_torch)]
        counted = [np.arange(len(side)) for side in losses]
        _both_sides(axes, counted[0], losses[0], counted[1], losses[1], result.side)
        axes.set(title="Loss, each trained alone", xlabel="training steps made", ylabel="loss")
        caption = of_trainings(both, result)
    finite = [side[np.isfinite(side)] for side in losses]
    low, high = _ends(np.concatenate(finite))
    if 0 < 20 * low < high:
        axes.set_yscale("log")
        usual = FAR * _ends(finite[1])[1]
        if 0 < usual < high:  # one diverges: the rest of it is left out
            axes.set_ylim(low / 2, usual)
    else:
        axes.ticklabel_format(axis="y", useOffset=False)
    return caption


def _ends(values: Array) -> tuple[float, float]:
    """The smallest and the largest; zeros where there is none."""
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)


def _both_sides(
    axes: Axes, steps: Any, by_hand: Array, torch_steps: Any, by_torch: Array, side: str
) -> None:
    """A line over the steps for each side: PyTorch's is wide, the other narrow and upon it."""
    if np.isfinite(by_torch).any():
        axes.plot(torch_steps, by_torch, color=ORANGE, label="PyTorch", **_TORCH)
    if np.isfinite(by_hand).any():
        axes.plot(steps, by_hand, color=BLUE, label=side, **_HAND)


def _differences(figure: Figure, axes: Axes, points: list[_Point]) -> None:
    steps = [point.step for point in points]
    columns = zip(*(point.differences for point in points), strict=True)
    for values, (name, style) in zip(map(_drawable, columns), _DIFFERENCES, strict=False):
        if np.isfinite(values).any():
            (line,) = axes.plot(steps, values, linewidth=2, markersize=5, **style)
            name_at_end(figure, axes, line, name)
    _decades(axes, 1.0, 1.0)
    units = "units in the last place (ULP)"
    axes.set(title="Differences", xlabel="training step", ylabel=units)
    axes.set_ylim(bottom=-0.2)


def _paths(figure: Figure, axes: Axes, points: list[_Point], result: Comparison) -> None:
    """A line for each parameter and side, named at its end; colours go round by the heights."""
    places, count = _places(result.problem), _count(result.problem)
    first = [points[0].started] if points else []
    steps = (
        np.array([point.step for point in points[:1]] + [point.step + 1 for point in points]) - 1
    )
    paths = np.reshape([*first, *(point.paths for point in points)], (-1, len(places), 2))
    named = zip(_COLOURS * MOST_PATHS, _by_their_ends(paths[..., 1]), strict=False)
    for colour, place in named:
        (line,) = axes.plot(steps, paths[:, place, 1], color=colour, **_TORCH)
        if np.isfinite(paths[1:, place, 0]).any():
            axes.plot(steps, paths[:, place, 0], color=colour, **_HAND)
        name_at_end(figure, axes, line, places[place][0])
    if points:
        axes.plot([], [], color=GREY, label="PyTorch", **_TORCH)
    if np.isfinite(paths[1:, :, 0]).any():
        axes.plot([], [], color=GREY, label=result.side, **_HAND)
    title = "Parameters" if len(places) == count else f"Parameters ({len(places)} of {count})"
    alone = result.by_hand.trains_alone
    made = "training steps made" if alone else "training step, both sides from the same weights"
    axes.set(title=title, xlabel=made, ylabel="value")
    axes.margins(x=0.02)
    usual = float(np.nanmax(np.abs(paths[:1]), initial=0)) or 1.0
    if (largest := float(np.abs(paths[np.isfinite(paths)]).max(initial=0))) > _HUGE * usual:
        _decades(axes, usual, largest**0.2)
    else:
        axes.ticklabel_format(axis="y", useOffset=False)


def _decades(axes: Axes, linear: float, first: float) -> None:
    """Heights in decades on both sides of 0.

    Args:
        axes: Whose.
        linear: Up to where they are linear.
        first: Up to where only 0 has a tick, so that no two of them collide.
    """
    from matplotlib.ticker import SymmetricalLogLocator

    axes.set_yscale("symlog", linthresh=linear)
    ticks = SymmetricalLogLocator(base=10, linthresh=first)
    ticks.set_params(numticks=9)
    axes.yaxis.set_major_locator(ticks)


def _by_their_ends(paths: Array) -> list[int]:
    """The columns in the order of their last finite values."""
    finite = [column[np.isfinite(column)] for column in paths.T]
    return sorted(range(len(finite)), key=lambda i: finite[i][-1] if len(finite[i]) else 0.0)


def _gradients(axes: Axes, points: list[_Point], side: str) -> None:
    pairs = np.concatenate([np.empty((0, 3)), *(point.gradients for point in points)])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    pairs = pairs[:: max(len(pairs) // MOST_POINTS, 1)]
    if len(pairs):
        ends = [pairs[:, :2].min(), pairs[:, :2].max()]
        axes.plot(ends, ends, color=GREY, linewidth=1, label="equal")
    else:
        words = "no gradient was returned"
        axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
    for agrees, marker, color, words in ((1, "o", BLUE, "agrees"), (0, "X", RED, "differs")):
        hand, torch = pairs[pairs[:, 2] == agrees][:, :2].T
        if len(hand):
            axes.plot(torch, hand, marker, color=color, markersize=7, alpha=0.6, label=words)
    axes.set(title="Gradients", xlabel="PyTorch", ylabel=side)


def save(file: IO[bytes], kind: str, result: Comparison, album: Album[_Point]) -> None:
    """Write the picture to an open file. kind: png, svg or pdf."""
    with canvas(14, 9.5, 110, font=13) as figure:
        draw(figure, result, album)
        write(figure, file, kind)
