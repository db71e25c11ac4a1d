"""A run as one picture: loss, differences and drift, the parameters' paths, the gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lockstep.evidence.comparison import Comparison
from lockstep.network.names import Array, label
from lockstep.network.problem import Problem
from lockstep.report.album import Album
from lockstep.report.plots.curve import BLUE, GREY, ORANGE, RED, write
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


@dataclass(frozen=True)
class _Place:
    """A parameter whose path is drawn. new: the quantity with its value after a step."""

    label: str
    new: str
    index: tuple[int, ...]


@dataclass
class _Point:
    """What is drawn of one step; pairs are (by hand, PyTorch), nan where not returned.

    Attributes:
        apart, allowed: of the worst element, in ULP; drift: in ULP, None where there is none.
        paths: (places, 2).
        gradients: (elements, 3), the last column whether they agree.
    """

    step: int
    loss: tuple[float, float]
    apart: float
    allowed: float
    drift: float | None
    paths: Array
    gradients: Array


def new_album(problem: Problem) -> Album[_Point]:
    """An empty album of what the picture needs of each step."""
    places = _places(problem)
    return Album(lambda record, result: _point(record, result, places), MOST_STEPS)


def _places(problem: Problem) -> list[_Place]:
    """All parameters of a small network, a dozen of a large one."""
    places = []
    for name, array in problem.parameters.items():
        chosen = set(range(array.size))
        if _count(problem) > MOST_PATHS:
            chosen = {0, array.size // 2, array.size - 1}
        for i in sorted(chosen):
            index = tuple(map(int, np.unravel_index(i, array.shape)))
            it = label(name, index, problem.sizes, problem.batch_samples)
            places.append(_Place(it, f"new_{name}", index))
    return places


def _count(problem: Problem) -> int:
    return sum(array.size for array in problem.parameters.values())


def _point(record: Record, result: Comparison, places: list[_Place]) -> _Point:
    free = {f"new_{name}": array for name, array in (result.free or {}).items()}
    sides = free or record.manual, record.torch
    drifts = [ulps(mine, theirs, record.dtype).max() for mine, theirs in record.drifting()]
    gradients = [_gradient(record, name) for name in record.manual if name.startswith("grad_")]
    apart = allowed = 0.0
    if record.manual:
        with np.errstate(all="ignore"):
            at = int(np.argmax(np.nan_to_num(record.ratio(), nan=np.inf)))
            unit = float(np.spacing(np.abs(record.flat_torch[at].astype(record.dtype))))
            apart, allowed = record.difference[at] / unit, record.flat_allowed[at] / unit
    return _Point(
        record.number,
        (float(record.manual.get("loss", np.nan)), float(record.torch["loss"])),
        apart,
        allowed,
        max(drifts, default=None),
        np.array(
            [
                [side[it.new][it.index] if it.new in side else np.nan for side in sides]
                for it in places
            ]
        ),
        np.concatenate([np.empty((0, 3)), *gradients]),
    )


def _gradient(record: Record, name: str) -> Array:
    """By hand, PyTorch and whether they agree, of a large gradient a selection."""
    sides = (record.manual, record.torch, record.allowed)
    every = max(record.torch[name].size // _OF_A_GRADIENT, 1)
    hand, torch, allowed = (np.asarray(side[name], np.float64).ravel()[::every] for side in sides)
    with np.errstate(invalid="ignore"):
        return np.stack([hand, torch, np.abs(hand - torch) <= allowed], axis=1)


def draw(figure: Figure, result: Comparison, album: Album[_Point]) -> None:
    """Draw a run into a matplotlib Figure. album: see `new_album`."""
    from matplotlib.ticker import MaxNLocator

    points = album.steps(result)
    *over_steps, gradients = figure.subplots(2, 2).ravel()
    steps = [point.step for point in points]
    loss, apart, paths = over_steps
    _loss(loss, steps, points, result.side)
    _differences(apart, steps, points)
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
    figure.suptitle(f"{result.side} next to PyTorch, {size}: {result.verdict}")


def _loss(axes: Axes, steps: list[int], points: list[_Point], side: str) -> None:
    hand, torch = np.array([point.loss for point in points]).reshape(-1, 2).T
    axes.plot(steps, torch, **_TORCH, label="PyTorch")
    axes.plot(steps, hand, **_HAND, label=side if np.isfinite(hand).any() else None)
    if len(torch) and np.isfinite(torch).all() and 0 < 20 * torch.min() < torch.max():
        axes.set_yscale("log")
    axes.set(title="Loss", ylabel="loss")


def _differences(axes: Axes, steps: list[int], points: list[_Point]) -> None:
    allowed, apart = [point.allowed for point in points], [point.apart for point in points]
    axes.plot(steps, allowed, color=GREY, linewidth=2, label="allowed by rounding")
    words = "largest difference for its bound, of one step"
    axes.plot(steps, apart, "o", color=BLUE, markersize=4, label=words)
    if points and points[-1].drift is not None:
        drift, words = (
            [point.drift for point in points],
            "drift, not judged: both trained on their own",
        )
        axes.plot(steps, np.array(drift, float), color=ORANGE, linewidth=2, label=words)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(title="Differences", ylabel="units in the last place (ULP)")
    axes.set_ylim(bottom=0)


def _paths(axes: Axes, steps: list[int], points: list[_Point], result: Comparison) -> None:
    places, count = _places(result.problem) if points else [], _count(result.problem)
    side, torch_label = result.side, "PyTorch"
    for i in range(len(places)):
        hand, torch = np.array([point.paths[i] for point in points]).T
        axes.plot(steps, torch, **_TORCH, label=torch_label)
        is_first = side and np.isfinite(hand).any()
        axes.plot(steps, hand, **_HAND, label=side if is_first else None)
        side, torch_label = "" if is_first else side, ""
    title = "Parameters" if len(places) == count else f"Parameters ({len(places)} of {count})"
    axes.set(title=title, ylabel="value after the step")
    axes.margins(x=0.02)
    last = {place.label: points[-1].paths[i][1] for i, place in enumerate(places)}
    _names(axes, {name: value for name, value in last.items() if np.isfinite(value)})


def _gradients(axes: Axes, points: list[_Point], side: str) -> None:
    pairs = np.concatenate([np.empty((0, 3)), *(point.gradients for point in points)])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    pairs = pairs[:: max(len(pairs) // MOST_POINTS, 1)]
    if len(pairs):
        ends = [pairs[:, :2].min(), pairs[:, :2].max()]
        axes.plot(ends, ends, color=GREY, linewidth=1, label="the same")
    else:
        where: Any = dict(ha="center", va="center", transform=axes.transAxes)
        axes.text(0.5, 0.5, "no gradient was given", **where)
    for agrees, marker, color, words in ((1, "o", BLUE, "agrees"), (0, "X", RED, "differs")):
        hand, torch = pairs[pairs[:, 2] == agrees][:, :2].T
        if len(hand):
            style: Any = dict(color=color, markersize=6, alpha=0.6)
            axes.plot(torch, hand, marker, **style, label=f"an element that {words}")
    axes.set(title="Gradients", xlabel="PyTorch", ylabel=side)


def _names(axes: Axes, last: dict[str, float]) -> None:
    """Write each line's name at its end, moved apart where they would cover each other."""
    low, high = axes.get_ylim()
    room = (high - low) / _LINES_OF_TEXT
    names = sorted(last, key=last.__getitem__)
    heights = [last[name] for name in names]
    for i in range(1, len(names)):
        heights[i] = max(heights[i], heights[i - 1] + room)
    limit = high
    for i in reversed(range(len(names))):
        heights[i] = min(heights[i], limit)
        limit = heights[i] - room
        place: Any = dict(xycoords=("axes fraction", "data"), textcoords="offset points")
        place |= dict(xytext=(5, 0), va="center", annotation_clip=False)
        axes.annotate(names[i], (1, heights[i]), **place)


def save(file: IO[bytes], kind: str, result: Comparison, album: Album[_Point]) -> None:
    """Write the picture to an open file. kind: png, svg or pdf."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 13}):
        figure = Figure(figsize=(14, 9.5), dpi=110, layout="constrained")
        draw(figure, result, album)
        write(figure, file, kind)
