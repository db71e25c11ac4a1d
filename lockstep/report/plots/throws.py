"""The descent on f as an animation: a ball that rolls down, a frame a throw, both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING

import numpy as np

from lockstep.report.plots.curve import BLUE, GREY, LEFT, ORANGE, RIGHT, Path
from manual_backprop.gradient_descent import f

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_FRAMES = 200
_MARGIN = 0.1  # left and right of the curve
_FRAME, _LAST_FRAME = 120, 2000  # milliseconds

Throw = Callable[[int], None]


def frames(steps: int) -> list[int]:
    """The throws that get a frame: of a long descent evenly chosen ones, the last always."""
    return sorted({round(n) for n in np.linspace(0, steps, min(steps + 1, MOST_FRAMES))})


def draw(figure: Figure, by_hand: Path, by_torch: Path) -> Throw:
    """Draw both sides' curve into a matplotlib Figure.

    Returns:
        A function that moves the balls to throw n.
    """
    hand, torch = figure.subplots(1, 2, sharey=True)
    hand.set_title("by hand: backward difference")
    torch.set_title("PyTorch: exact derivative")
    sides = [_side(hand, by_hand, BLUE), _side(torch, by_torch, ORANGE)]

    def throw(n: int) -> None:
        for side in sides:
            side(n)

    return throw


def _side(axes: Axes, path: Path, color: str) -> Throw:
    curve = np.linspace(LEFT, RIGHT, 500)
    axes.plot(curve, f(curve), color=GREY, linewidth=2)
    (trail,) = axes.plot([], [], "o", color=color, markersize=5, alpha=0.4)
    (ball,) = axes.plot([], [], "o", color=color, markersize=16, markeredgecolor="black")
    low, high = LEFT - _MARGIN, RIGHT + _MARGIN
    axes.set(xlabel="x", ylabel="f(x)", xlim=(low, high), ylim=(f(LEFT) - 5, f(RIGHT) + 1))
    axes.grid(alpha=0.3)
    words = axes.text(0.5, 0.92, "", transform=axes.transAxes, ha="center", fontsize=13)

    def throw(n: int) -> None:
        at = min(n, len(path) - 1)
        x, y = path[at]
        trail.set_data(*np.array(path[:at]).reshape(-1, 2).T)
        ball.set_data([x], [y])
        off = "" if low <= x <= high else ", off the picture"
        words.set_text(f"throw {at}   x = {x:.9g}{off}")

    return throw


def save(
    file: IO[bytes], by_hand: Path, by_torch: Path, show_progress: Callable[[int], None]
) -> None:
    """Write the animation to an open file, a GIF. show_progress: gets the number of frames done."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(11, 4.8), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    throw = draw(figure, by_hand, by_torch)
    pictures = []
    for done, n in enumerate(frames(max(len(by_hand), len(by_torch)) - 1), 1):
        throw(n)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pictures.append(picture.quantize(32, method=Image.Quantize.MEDIANCUT))
        show_progress(done)
    durations = [_FRAME] * (len(pictures) - 1) + [_LAST_FRAME]
    pictures[0].save(
        file, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0
    )
