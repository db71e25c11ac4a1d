"""The lecture's two pictures of the descent on f, by hand and by PyTorch, as one figure."""

import numpy as np

from manual_backprop.gradient_descent import f

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#595959"  # told apart by colour-blind people as well


def draw(figure, by_hand, by_torch):
    """Draw both paths [(x, f(x)), …] into a matplotlib Figure: the whole curve, and a zoom on x in [2, 3]."""
    whole, zoom = figure.subplots(1, 2)
    x = np.linspace(-1, 4, 500)
    for axes, title in ((whole, "Gradient Descent"), (zoom, "Zoomed in Figure")):
        axes.plot(x, f(x), color=GREY, linewidth=2, label="f(x) = x³ − 4x² + 6", zorder=1)
        for path, color, marker, label in (
            (by_hand, BLUE, "o", "by hand: backward difference"),
            (by_torch, ORANGE, "x", "PyTorch: exact derivative"),
        ):
            seen = np.array([point for point in path if -1 <= point[0] <= 4]).reshape(-1, 2)
            axes.scatter(*seen.T, color=color, marker=marker, s=45, label=label, zorder=2)
        axes.set(title=title, xlabel="x", ylabel="f(x)")
        axes.grid(alpha=0.3)
    zoom.set(xlim=(2, 3), ylim=(f(8 / 3) - 0.1, f(2.0) + 0.1))
    whole.legend(loc="upper left", bbox_to_anchor=(0, 1))
    whole.set_ylim(top=f(4.0) + 4)


def save(file, kind, by_hand, by_torch):
    """Write the figure to an open file. kind: png, svg or pdf."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5), dpi=150, layout="constrained")
    draw(figure, by_hand, by_torch)
    write(figure, file, kind)


def write(figure, file, kind):
    """Write a matplotlib Figure to an open file, so that the same figure gives the same bytes."""
    import matplotlib

    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "lockstep"}):
        figure.savefig(file, format=kind, metadata=undated[kind])
