"""A run as one picture: loss, differences and drift, the parameters' paths, the gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lockstep.evidence.comparison import Comparison
from lockstep.network.names import Array, Index
from lockstep.network.problem import Problem
from lockstep.report.album import Album
from lockstep.report.plots.descent import BLUE, GREY, ORANGE, RED, canvas, write
from lockstep.run.record import Record
from lockstep.text import ulps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_STEPS, MOST_PATHS, MOST_POINTS = 400, 12, 2000
_OF_A_GRADIENT = 20  # elements of one that are drawn, about
_LINES_OF_TEXT = 16  # that have room beside an axis
_HAND: Any = dict(color=BLUE, linewidth=2)
_TORCH: Any = dict(color=ORANGE, linewidth=5, alpha=0.6)
_DIFFERENCES: tuple[Any, ...] = (
    dict(label="allowed by rounding", color=GREY),
    dict(label="largest difference for its bound, of one step", color=BLUE, marker="o", ls=""),
    dict(label="drift, not judged: both trained on their own", color=ORANGE),
)
_Place: TypeAlias = tuple[str, str, Index]  # of a parameter: label, new_ quantity, element


@dataclass
class _Point:
    """What is drawn of one step; pairs are (by hand, PyTorch), nan where not returned.

    Attributes:
        differences: what is allowed for the worst element, how far it is apart, and the drift, in
            ULP; nan where there is none.
        paths: (places, 2).
        gradients: (elements, 3), the last column whether they agree.
    """

    step: int
    loss: tuple[float, float]
    differences: tuple[float, ...]
    paths: Array
    gradients: Array


def new_album(problem: Problem) -> Album[_Point]:
    """An empty album of what the picture needs of each step."""
    places = _places(problem)
    return Album(lambda record, result: _point(record, result, places), MOST_STEPS)


def _places(problem: Problem) -> list[_Place]:
    """The parameters whose paths are drawn: all of a small network, a dozen of a large one."""
    places = []
    for name, array in problem.parameters.items():
        chosen = set(range(array.size))
        if _count(problem) > MOST_PATHS:
            chosen = {0, array.size // 2, array.size - 1}
        for i in sorted(chosen):
            index = tuple(map(int, np.unravel_index(i, array.shape)))
            it = problem.network.label(name, index, problem.batch_samples)
            places.append((it, f"new_{name}", index))
    return places


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
    agree = record.difference <= record.flat_allowed
    return _Point(
        step=record.number,
        loss=(float(record.manual.get("loss", np.nan)), float(record.torch["loss"])),
        differences=(*worst, max(drifts, default=np.nan)),
        paths=np.reshape(values, (-1, 2)),
        gradients=np.stack(
            [flat[some] for flat in (record.flat_manual, record.flat_torch, agree)], axis=1
        ),
    )


def draw(figure: Figure, result: Comparison, album: Album[_Point]) -> None:
    """Draw a run into a matplotlib Figure. album: see `new_album`."""
    from matplotlib.ticker import MaxNLocator

    points = album.steps(result)
    steps = [point.step for point in points]
    *over_steps, gradients = figure.subplots(2, 2).ravel()
    loss, differences, paths = over_steps
    _loss(loss, steps, points, result.side)
    _differences(differences, steps, points)
    _paths(paths, steps, points, result)
    _gradients(gradients, points, result.side)
    for axes in over_steps:
        if result.first:
            axes.axvline(result.first.step, color=RED, linestyle=":", label="first that differs")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("training step")
        if len(points) == 1:
            axes.set_xlim(steps[0] - 1, steps[0] + 1)
        for line in axes.lines:
            if len(points) < 3 and line.get_linestyle() == "-":
                line.set_marker("o")
    for axes in (*over_steps, gradients):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=11)
        axes.grid(alpha=0.3)
    size = "-".join(map(str, result.problem.sizes))
    title = f"{result.by_hand.title} next to PyTorch, {size}: {result.verdict}"
    figure.suptitle(title, parse_math=False)


def _both_sides(axes: Axes, steps: list[int], values: Array, side: str) -> None:
    """Lines over the steps. values: (steps, lines, 2)."""
    for which, words, style in ((1, "PyTorch", _TORCH), (0, side, _HAND)):
        lines = axes.plot(steps, values[..., which], **style)
        if np.isfinite(values[..., which]).any():
            lines[0].set_label(words)


def _loss(axes: Axes, steps: list[int], points: list[_Point], side: str) -> None:
    losses = np.reshape([point.loss for point in points], (-1, 1, 2))
    _both_sides(axes, steps, losses, side)
    torch = losses[..., 1]
    if torch.size and np.isfinite(torch).all() and 0 < 20 * torch.min() < torch.max():
        axes.set_yscale("log")
    axes.set(title="Loss", ylabel="loss")


def _differences(axes: Axes, steps: list[int], points: list[_Point]) -> None:
    columns = zip(*(point.differences for point in points), strict=True)
    for values, style in zip(columns, _DIFFERENCES, strict=False):
        if not np.isnan(values).all():
            axes.plot(steps, values, linewidth=2, markersize=4, **style)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(title="Differences", ylabel="units in the last place (ULP)")
    axes.set_ylim(bottom=0)


def _paths(axes: Axes, steps: list[int], points: list[_Point], result: Comparison) -> None:
    places, count = _places(result.problem), _count(result.problem)
    paths = np.reshape([point.paths for point in points], (-1, len(places), 2))
    _both_sides(axes, steps, paths, result.side)
    title = "Parameters" if len(places) == count else f"Parameters ({len(places)} of {count})"
    axes.set(title=title, ylabel="value after the step")
    axes.margins(x=0.02)
    ends = sorted(
        (value, name)
        for values in paths[-1:, :, 1]
        for (name, *_), value in zip(places, values, strict=True)
        if np.isfinite(value)
    )
    _write_names(axes, ends)


def _write_names(axes: Axes, ends: list[tuple[float, str]]) -> None:
    """Write each line's name at its end, moved apart where they would cover each other."""
    low, high = axes.get_ylim()
    apart = (high - low) / _LINES_OF_TEXT * np.arange(len(ends))
    heights = np.maximum.accumulate(np.array([height for height, _ in ends]) - apart) + apart
    heights = np.minimum(heights, high - apart[::-1])
    for (_, name), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
        )


def _gradients(axes: Axes, points: list[_Point], side: str) -> None:
    pairs = np.concatenate([np.empty((0, 3)), *(point.gradients for point in points)])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    pairs = pairs[:: max(len(pairs) // MOST_POINTS, 1)]
    if len(pairs):
        ends = [pairs[:, :2].min(), pairs[:, :2].max()]
        axes.plot(ends, ends, color=GREY, linewidth=1, label="the same")
    else:
        words = "no gradient was given"
        axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
    for agrees, marker, color, words in ((1, "o", BLUE, "agrees"), (0, "X", RED, "differs")):
        hand, torch = pairs[pairs[:, 2] == agrees][:, :2].T
        if len(hand):
            words = f"an element that {words}"
            axes.plot(torch, hand, marker, color=color, markersize=6, alpha=0.6, label=words)
    axes.set(title="Gradients", xlabel="PyTorch", ylabel=side)


def save(file: IO[bytes], kind: str, result: Comparison, album: Album[_Point]) -> None:
    """Write the picture to an open file. kind: png, svg or pdf."""
    with canvas(14, 9.5, 110, font=13) as figure:
        draw(figure, result, album)
        write(figure, file, kind)
