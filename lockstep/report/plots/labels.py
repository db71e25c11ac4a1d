"""Names at the right ends of lines: each beside its line, none over another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lockstep.network.names import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_AWAY = 14  # points from the edge of the axes
_BETWEEN = 1.5  # points between two names


def name_at_end(figure: Figure, axes: Axes, line: Line2D, name: str) -> None:
    """Write a line's name right of its axes, in its colour; a thin line leads to its last point.

    Nothing is written where no point of the line is finite. `move_apart` finds the heights.
    """
    from matplotlib.transforms import offset_copy

    x, y = (np.asarray(values, np.float64) for values in line.get_data())
    finite = np.flatnonzero(np.isfinite(x + y))
    if not len(finite):
        return
    axes.annotate(
        name,
        (x[finite[-1]], y[finite[-1]]),
        xytext=(1, 0.5),
        textcoords=offset_copy(axes.transAxes, figure, x=_AWAY, units="points"),
        color=line.get_color(),
        va="center",
        annotation_clip=False,
        arrowprops=dict(
            arrowstyle="-", color=line.get_color(), relpos=(0, 0.5), shrinkA=1, shrinkB=0
        ),
    )


def move_apart(figure: Figure) -> None:
    """Lay a figure out for good, with all names at the heights of their lines or close to them."""
    from matplotlib.text import Annotation, Text

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        names = [it for it in axes.texts if isinstance(it, Annotation)]
        ends = [float(axes.transData.transform(it.xy)[1]) for it in names]
        names = [names[i] for i in np.argsort(ends, kind="stable")]
        gap = _BETWEEN * figure.dpi / 72
        heights = np.array([Text.get_window_extent(it).height + gap for it in names])
        box = axes.get_window_extent()
        found = centres(np.sort(ends), heights, box.y0, box.y1)
        for name, height in zip(names, found, strict=True):
            name.set_position((1, (height - box.y0) / box.height))


def centres(wanted: Array, heights: Array, low: float, high: float) -> Array:
    """The centres nearest to the wanted ones, in least squares, of boxes that do not overlap.

    Args:
        wanted: In ascending order.
        heights: Of the boxes.
        low: Where the lowest box may begin.
        high: Where the highest one may end.

    Examples:
        >>> centres(np.array([5.0, 5.0, 9.0]), np.array([2.0, 2.0, 2.0]), 0.0, 10.0)
        array([4., 6., 9.])
    """
    stacked = np.cumsum(heights) - heights / 2  # the centres where all boxes stand on one another
    lift, n = wanted - stacked, len(wanted)
    lifts = [  # the nearest that do not fall: a formula of isotonic regression
        max(min(lift[a:b].mean() for b in range(i + 1, n + 1)) for a in range(i + 1))
        for i in range(n)
    ]
    fitting: Array = np.clip(lifts, low, high - heights.sum())
    return fitting + stacked
