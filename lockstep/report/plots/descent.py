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
_STILL = 0.005  # a smaller move of x is not seen
_FAR = 1e6  # off the picture, and near enough to be drawn
_TANGENT = 0.7  # of x on either side of the point
_FRAME, _LAST_FRAME = 200, 4000  # milliseconds

Path = list[tuple[float, float]]  # of a descent: (x, f(x))
Throw = Callable[[int], None]
Slope = Callable[[float], float]


def draw(figure: Figure, by_hand: Path, by_torch: Path) -> None:
    """Draw both paths into a matplotlib Figure: the whole curve, and a zoom on x in [2, 3]."""
    whole, zoom = figure.subplots(1, 2)
    for axes, title in ((whole, "Gradient Descent"), (zoom, "Zoomed in Figure")):
        _curve(axes, title)
        for path, (color, marker, side) in zip((by_hand, by_torch), _SIDES, strict=True):
            seen = np.array([at for at in path if LEFT <= at[0] <= RIGHT]).reshape(-1, 2)
            if axes is whole:  # jumps across the valley
                axes.plot(*seen.T, color=color, linewidth=0.8, alpha=0.5, zorder=1)
            hollow: Any = dict(s=90, facecolors="none", edgecolors=color)
            look = hollow if marker == "o" else dict(s=45, color=color)
            axes.scatter(*seen.T, marker=marker, label=side, linewidths=1.8, zorder=2, **look)
    zoom.set(xlim=(2, 3), ylim=(f(8 / 3) - 0.1, f(2.0) + 0.1))
    whole.legend(loc="upper left", bbox_to_anchor=(0, 1))
    whole.set_ylim(top=f(RIGHT) + 5)
    ends = zip(("by hand", "PyTorch"), map(outcome, (by_hand, by_torch)), strict=True)
    figure.supxlabel("      ".join(f"{side}: {words}" for side, words in ends))


def _curve(axes: Axes, title: str) -> None:
    x = np.linspace(LEFT, RIGHT, 500)
    axes.plot(x, f(x), color=GREY, linewidth=2, label="f(x) = x³ − 4x² + 6", zorder=1)
    axes.set(title=title, xlabel="x", ylabel="f(x)")
    axes.grid(alpha=0.3)


def _is_seen(x: float) -> bool:
    return LEFT - _MARGIN <= x <= RIGHT + _MARGIN


def last_seen(path: Path) -> int:
    """The step after which nothing is seen to move.

    It is where x has left the picture for good, or from where on it stays within `_STILL` of its
    end; else the last one.
    """
    if not _is_seen(path[-1][0]):
        return max((n + 1 for n, (x, _) in enumerate(path) if _is_seen(x)), default=0)
    return max((n + 1 for n, (x, _) in enumerate(path) if abs(x - path[-1][0]) > _STILL), default=0)


def outcome(path: Path) -> str:
    """What is seen of a path's end, in a sentence.

    Examples:
        >>> outcome([(0.5, 5.125), (2.67, -3.48), (2.67, -3.48)])
        'at rest from step 1 on'
        >>> outcome([(3.0, -3.0), (7.0, 153.0)])
        'off the picture from step 1 on'
    """
    n, last = last_seen(path), len(path) - 1
    if not _is_seen(path[-1][0]):
        return f"off the picture from step {n} on"
    if n < last:
        return f"at rest from step {n} on"
    moves = np.diff([x for x, _ in path[-3:]])
    is_jumping = len(moves) == 2 and moves[0] * moves[1] < 0
    return f"still {'jumping across' if is_jumping else 'on its way'} after {last} steps"


def save(file: IO[bytes], kind: str, by_hand: Path, by_torch: Path, lr: float) -> None:
    """Write the figure to an open file. kind: png, svg or pdf."""
    with canvas(13, 6, 150, font=13) as figure:
        draw(figure, by_hand, by_torch)
        figure.suptitle(f"start {by_hand[0][0]:g}, learning rate {lr:g}")
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


def frames(*paths: Path) -> list[int]:
    """The steps that get a frame, until nothing moves: of many, evenly chosen ones and the last."""
    last = max(map(last_seen, paths))
    return sorted({round(n) for n in np.linspace(0, last, min(last + 1, MOST_FRAMES))})


def draw_balls(
    figure: Figure, paths: tuple[Path, Path], slopes: tuple[Slope, Slope], lr: float
) -> Throw:
    """Draw each side's curve into a matplotlib Figure.

    Args:
        figure: Where to.
        paths: By hand, and PyTorch's.
        slopes: The derivative that each of them uses.
        lr: The learning rate.

    Returns:
        A function that moves ball, tangent, trail and numbers, all of them animated, to step n.
    """
    last = frames(*paths)[-1]
    sides = []
    panels = figure.subplots(1, 2, sharey=True)
    for axes, path, slope, (color, _, title) in zip(panels, paths, slopes, _SIDES, strict=True):
        _curve(axes, title)
        axes.set(xlim=(LEFT - _MARGIN, RIGHT + _MARGIN), ylim=(f(LEFT) - 7, f(RIGHT) + 8))
        moving: Any = dict(animated=True, color=color)
        (trail,) = axes.plot([], [], "o-", markersize=5, linewidth=0.8, alpha=0.5, **moving)
        (tangent,) = axes.plot([], [], linewidth=2.5, label="tangent", **moving)
        (ball,) = axes.plot([], [], "o", markersize=14, markeredgecolor="black", **moving)
        axes.legend(handles=[axes.lines[0], tangent], loc="lower left", frameon=False)
        fixed: Any = dict(family="monospace", va="top", transform=axes.transAxes)
        words = axes.text(0.02, 0.97, "", animated=True, fontsize=14, **fixed)
        sides.append((path, slope, trail, tangent, ball, words))

    def throw(n: int) -> None:
        for path, slope, trail, tangent, ball, words in sides:
            at = min(n, len(path) - 1)
            x, y = path[at]
            trail.set_data(*np.clip(path[: at + 1], -_FAR, _FAR).T)
            ball.set_data([x], [y])
            with np.errstate(all="ignore"):
                steep = float(slope(np.float64(x)))
            ends = np.array([-_TANGENT, _TANGENT]) if _is_seen(x) else np.empty(0)
            tangent.set_data(x + ends, y + steep * ends)
            words.set_text(
                f"step {at:<9}learning rate {lr:g}\n"
                f"x     = {_wide(x)}\nf(x)  = {_wide(y)}\nslope = {_wide(steep)}"
                + (f"\n{outcome(path)}" if n == last else "")
            )

    return throw


def _wide(number: float) -> str:
    """A number in ten characters, whatever it is, so that text around it stays where it is."""
    return f"{number:10.4f}" if abs(number) < 1e4 else f"{number:10.2e}"


def animate(
    file: IO[bytes],
    paths: tuple[Path, Path],
    slopes: tuple[Slope, Slope],
    lr: float,
    show_progress: Callable[[int], None],
) -> None:
    """Write the animation to an open file, a GIF that is played once.

    Args:
        file: Where to.
        paths: See `draw_balls`, as `slopes` and `lr`.
        show_progress: Gets the number of frames done.
    """
    from PIL import Image

    with canvas(12, 5.6, 80, font=12) as figure:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        drawn = FigureCanvasAgg(figure)
        throw = draw_balls(figure, paths, slopes, lr)
        drawn.draw()  # all that does not move, once
        still = drawn.copy_from_bbox(figure.bbox)
        moving = [it for axes in figure.axes for it in axes.get_children() if it.get_animated()]
        pictures: list[Image.Image] = []
        for done, n in enumerate(frames(*paths), 1):
            throw(n)
            drawn.restore_region(still)
            for artist in moving:
                figure.draw_artist(artist)
            picture = Image.fromarray(np.asarray(drawn.buffer_rgba())).convert("RGB")
            colours = pictures[0] if pictures else picture.quantize(64)
            pictures.append(picture.quantize(palette=colours, dither=Image.Dither.NONE))
            show_progress(done)
    durations = [_FRAME] * (len(pictures) - 1) + [_LAST_FRAME]
    first, *rest = pictures
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations)
