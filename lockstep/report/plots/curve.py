"""The lecture's two pictures of the descent on f, by hand and by PyTorch, as one figure."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np

from manual_backprop.gradient_descent import f

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# colour-blind people can tell these apart as well
BLUE, ORANGE, GREY, RED = "#0072b2", "#d55e00", "#595959", "#b3121d"
LEFT, RIGHT = -1.0, 4.0  # of the curve

Path = list[tuple[float, float]]  # of a descent: (x, f(x))


def draw(figure: Figure, by_hand: Path, by_torch: Path) -> None:
    """Draw both paths into a matplotlib Figure: the whole curve, and a zoom on x in [2, 3]."""
    whole, zoom = figure.subplots(1, 2)
    x = np.linspace(LEFT, RIGHT, 500)
    for axes, title in ((whole, "Gradient Descent"), (zoom, "Zoomed in Figure")):
        axes.plot(x, f(x), color=GREY, linewidth=2, label="f(x) = x³ − 4x² + 6", zorder=1)
        for path, color, marker, label in (
            (by_hand, BLUE, "o", "by hand: backward difference"),
            (by_torch, ORANGE, "x", "PyTorch: exact derivative"),
        ):
            seen = np.array([at for at in path if LEFT <= at[0] <= RIGHT]).reshape(-1, 2)
            axes.scatter(*seen.T, color=color, marker=marker, s=45, label=label, zorder=2)
        axes.set(title=title, xlabel="x", ylabel="f(x)")
        axes.grid(alpha=0.3)
    zoom.set(xlim=(2, 3), ylim=(f(8 / 3) - 0.1, f(2.0) + 0.1))
    whole.legend(loc="upper left", bbox_to_anchor=(0, 1))
    whole.set_ylim(top=f(RIGHT) + 4)


def save(file: IO[bytes], kind: str, by_hand: Path, by_torch: Path) -> None:
    """Write the figure to an open file. kind: png, svg or pdf."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5), dpi=150, layout="constrained")
    draw(figure, by_hand, by_torch)
    write(figure, file, kind)


def write(figure: Figure, file: IO[bytes], kind: str) -> None:
    """Write a matplotlib Figure to an open file, so that the same figure gives the same bytes."""
    import matplotlib

    undated: Any = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "lockstep"}):
        figure.savefig(file, format=kind, metadata=undated[kind])
