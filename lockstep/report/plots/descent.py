"""The descent on f, by hand and by PyTorch: the lecture's two pictures, and a ball that rolls."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lockstep.errors import Unusable
from manual_backprop.gradient_descent import f

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# colour-blind people can tell these apart as well
BLUE, ORANGE, GREY, RED = "#0072b2", "#d55e00", "#595959", "#b3121d"
LEFT, RIGHT = -1.0, 4.0  # of the curve
MOST_FRAMES = 200
_SIDES = ((BLUE, "o", "by hand: backward difference"), (ORANGE, "x", "PyTorch: exact derivative"))
_MARGIN = 0.1  # left and right of the curve
_FRAME, _LAST_FRAME = 120, 2000  # milliseconds

Path = list[tuple[float, float]]  # of a descent: (x, f(x))
Throw = Callable[[int], None]


def draw(figure: Figure, by_hand: Path, by_torch: Path) -> None:
    """Draw both paths into a matplotlib Figure: the whole curve, and a zoom on x in [2, 3]."""
    whole, zoom = figure.subplots(1, 2)
    for axes, title in ((whole, "Gradient Descent"), (zoom, "Zoomed in Figure")):
        _curve(axes, title)
        for path, (color, marker, side) in zip((by_hand, by_torch), _SIDES, strict=True):
            seen = np.array([at for at in path if LEFT <= at[0] <= RIGHT]).reshape(-1, 2)
            axes.scatter(*seen.T, color=color, marker=marker, s=45, label=side, zorder=2)
    zoom.set(xlim=(2, 3), ylim=(f(8 / 3) - 0.1, f(2.0) + 0.1))
    whole.legend(loc="upper left", bbox_to_anchor=(0, 1))
    whole.set_ylim(top=f(RIGHT) + 4)


def _curve(axes: Axes, title: str) -> None:
    x = np.linspace(LEFT, RIGHT, 500)
    axes.plot(x, f(x), color=GREY, linewidth=2, label="f(x) = x³ − 4x² + 6", zorder=1)
    axes.set(title=title, xlabel="x", ylabel="f(x)")
    axes.grid(alpha=0.3)


def save(file: IO[bytes], kind: str, by_hand: Path, by_torch: Path) -> None:
    """Write the figure to an open file. kind: png, svg or pdf."""
    with canvas(13, 5.5, 150) as figure:
        draw(figure, by_hand, by_torch)
        write(figure, file, kind)


@contextmanager
def canvas(width: float, height: float, dpi: int, font: float = 10) -> Iterator[Figure]:
    """An empty matplotlib Figure, in inches; no setting of the machine's changes what is drawn.

    Raises:
        Unusable: What is drawn in the block cannot be.
    """
    _import_without_settings()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "lockstep", "font.size": font})
        try:
            yield Figure(figsize=(width, height), dpi=dpi, layout="constrained")
        except (OSError, MemoryError):
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise Unusable(f"the picture could not be drawn: {what}") from error


def _import_without_settings() -> None:
    """Import matplotlib without the machine's own settings, which may be broken."""
    if "matplotlib" in sys.modules:
        return
    backend, here = os.environ.pop("MPLBACKEND", None), os.getcwd()
    settings = os.environ.get("MATPLOTLIBRC")
    os.environ["MATPLOTLIBRC"] = os.devnull
    os.chdir(os.path.dirname(__file__))  # a matplotlibrc where the command runs counts as well
    try:
        import matplotlib as matplotlib
    finally:
        os.chdir(here)
        del os.environ["MATPLOTLIBRC"]
        given = {"MPLBACKEND": backend, "MATPLOTLIBRC": settings}
        os.environ |= {name: value for name, value in given.items() if value is not None}


def write(figure: Figure, file: IO[bytes], kind: str) -> None:
    """Write a matplotlib Figure to an open file, so that the same figure gives the same bytes."""
    undated: Any = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(file, format=kind, metadata=undated[kind])


def frames(steps: int) -> list[int]:
    """The throws that get a frame: of a long descent evenly chosen ones, the last always."""
    return sorted({round(n) for n in np.linspace(0, steps, min(steps + 1, MOST_FRAMES))})


def draw_balls(figure: Figure, by_hand: Path, by_torch: Path) -> Throw:
    """Draw each side's curve into a matplotlib Figure.

    Returns:
        A function that moves the balls to throw n.
    """
    low, high = LEFT - _MARGIN, RIGHT + _MARGIN
    sides = []
    panels = figure.subplots(1, 2, sharey=True)
    for axes, path, (color, _, title) in zip(panels, (by_hand, by_torch), _SIDES, strict=True):
        _curve(axes, title)
        axes.set(xlim=(low, high), ylim=(f(LEFT) - 5, f(RIGHT) + 1))
        (trail,) = axes.plot([], [], "o", color=color, markersize=5, alpha=0.4)
        (ball,) = axes.plot([], [], "o", color=color, markersize=16, markeredgecolor="black")
        words = axes.text(0.5, 0.92, "", transform=axes.transAxes, ha="center", fontsize=13)
        sides.append((path, trail, ball, words))

    def throw(n: int) -> None:
        for path, trail, ball, words in sides:
            at = min(n, len(path) - 1)
            x, y = path[at]
            trail.set_data(*np.array(path[:at]).reshape(-1, 2).T)
            ball.set_data([x], [y])
            off = "" if low <= x <= high else ", off the picture"
            words.set_text(f"throw {at}   x = {x:.9g}{off}")

    return throw


def animate(
    file: IO[bytes], by_hand: Path, by_torch: Path, show_progress: Callable[[int], None]
) -> None:
    """Write the animation to an open file, a GIF. show_progress: gets the number of frames done."""
    from PIL import Image

    with canvas(11, 4.8, 80) as figure:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        drawn = FigureCanvasAgg(figure)
        throw = draw_balls(figure, by_hand, by_torch)
        pictures = []
        for done, n in enumerate(frames(max(len(by_hand), len(by_torch)) - 1), 1):
            throw(n)
            drawn.draw()
            picture = Image.fromarray(np.asarray(drawn.buffer_rgba())).convert("RGB")
            pictures.append(picture.quantize(32, method=Image.Quantize.MEDIANCUT))
            show_progress(done)
    durations = [_FRAME] * (len(pictures) - 1) + [_LAST_FRAME]
    first, *rest = pictures
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
