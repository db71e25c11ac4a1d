"""The descent on f as an animation: a ball that rolls down, one frame a throw, by hand and by PyTorch side by side."""

import numpy as np

from lockstep.report.plots.curve import BLUE, GREY, ORANGE
from manual_backprop.gradient_descent import f

MOST_FRAMES = 200


def frames(steps):
    """The throws that get a frame: all of them, of a long descent evenly chosen ones, the last always."""
    return sorted({round(n) for n in np.linspace(0, steps, min(steps + 1, MOST_FRAMES))})


def draw(figure, by_hand, by_torch):
    """Draw both sides' curve into a matplotlib Figure; returns a function that moves the balls to throw n."""
    curve = np.linspace(-1, 4, 500)
    balls = []
    sides = (
        ("by hand: backward difference", by_hand, BLUE),
        ("PyTorch: exact derivative", by_torch, ORANGE),
    )
    for axes, (title, path, color) in zip(figure.subplots(1, 2, sharey=True), sides, strict=True):
        axes.plot(curve, f(curve), color=GREY, linewidth=2)
        (trail,) = axes.plot([], [], "o", color=color, markersize=5, alpha=0.4)
        (ball,) = axes.plot([], [], "o", color=color, markersize=16, markeredgecolor="black")
        axes.set(
            title=title, xlabel="x", ylabel="f(x)", xlim=(-1.1, 4.1), ylim=(f(-1.0) - 5, f(4.0) + 1)
        )
        axes.grid(alpha=0.3)
        words = axes.text(0.5, 0.92, "", transform=axes.transAxes, ha="center", fontsize=13)
        balls.append((path, trail, ball, words))

    def throw(n):
        for path, trail, ball, words in balls:
            at = min(n, len(path) - 1)
            trail.set_data(*np.array(path[:at]).reshape(-1, 2).T)
            ball.set_data(*[[value] for value in path[at]])
            inside = -1.1 <= path[at][0] <= 4.1
            words.set_text(
                f"throw {at}   x = {path[at][0]:.9g}{'' if inside else ', off the picture'}"
            )

    return throw


def save(file, by_hand, by_torch, show_progress):
    """Write the animation to an open file, a GIF. show_progress: a function of the number of frames done."""
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
    durations = [120] * (len(pictures) - 1) + [2000]  # milliseconds; the last one stays
    pictures[0].save(
        file, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0
    )
