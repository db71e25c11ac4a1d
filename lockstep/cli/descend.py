"""The command of scripts/gradient_descent.py: the descent on f by hand and by PyTorch, and why they end apart."""

import argparse
import math
import sys
from contextlib import ExitStack

from lockstep.cli.main import Parser, join_negative_numbers, printer, real, status, whole
from lockstep.cli.output import progress, whole_file
from lockstep.network.options import PICTURES
from lockstep.report.plots import curve, throws
from manual_backprop import gradient_descent as by_hand


def parser():
    it = Parser(
        description="Gradient descent on f(x) = x^3 - 4x^2 + 6, by hand and by PyTorch.",
        allow_abbrev=False,
    )
    it.add_argument("--start", type=_finite, default=0.5, help="where x starts (default 0.5)")
    it.add_argument("--steps", type=_steps, default=100, help="how many steps (default 100)")
    it.add_argument("--lr", type=_finite, default=0.05, help="learning rate (default 0.05)")
    it.add_argument(
        "--delta", type=_nonzero, default=0.01, help="of the backward difference (default 0.01)"
    )
    it.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE.png",
        help="save both pictures as one figure (png, svg or pdf)",
    )
    it.add_argument(
        "--animate", type=_animation, metavar="FILE.gif", help="save the descent as an animation"
    )
    it.add_argument("--show", action="store_true", help="show the figure in a window")
    return it


def _steps(text):
    steps = whole(text)
    if steps < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more steps, got {text}")
    return steps


def _finite(text):
    value = real(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text}")
    return value


def _nonzero(text):
    value = _finite(text)
    if value == 0:
        raise argparse.ArgumentTypeError(
            "expected a number other than 0, which the difference is divided by"
        )
    return value


def _picture(text):
    if not text.lower().endswith(PICTURES):
        raise argparse.ArgumentTypeError(
            f"expected a file name that ends with {', '.join(PICTURES)}, got {text!r}"
        )
    return text


def _animation(text):
    if not text.lower().endswith(".gif"):
        raise argparse.ArgumentTypeError(f"expected a file name that ends with .gif, got {text!r}")
    return text


def main(arguments=None):
    """Run the command; returns its exit status: 0, or 3 where x ran away."""
    given = join_negative_numbers(
        sys.argv[1:] if arguments is None else arguments, "--start", "--lr", "--delta"
    )
    options = parser().parse_args(given)
    return status(lambda: _descend(options))


def _descend(options):
    from torch_reference import gradient_descent as by_torch

    with ExitStack() as files:
        pictures = {
            option: files.enter_context(whole_file(path, f"--{option}", binary=True))
            for option in ("plot", "animate")
            if (path := getattr(options, option))
        }
        paths = (
            by_hand.descend(options.start, options.steps, options.lr, options.delta),
            by_torch.descend(options.start, options.steps, options.lr),
        )
        if "plot" in pictures:
            curve.save(pictures["plot"], options.plot.rpartition(".")[2].lower(), *paths)
        if "animate" in pictures:
            with progress(len(throws.frames(options.steps)), "frames") as show:
                throws.save(pictures["animate"], *paths, show)
    printed, _ = printer()
    printed(lines(*paths, options.delta))
    sys.stdout.flush()
    if options.show:
        _show(paths)
    return 3 if any(_ran_away(path) for path in paths) else 0


def lines(hand, torch, delta):
    """What the script prints: the lecture's lines, then both sides' last x and why they differ."""
    yield from by_hand.ending(hand).split("\n")
    yield ""
    for side, path in (("by hand", hand), ("PyTorch", torch)):
        x = path[-1][0]
        words = f"{x - 8 / 3:+.3e} from 8/3" if math.isfinite(x) else by_hand.ending(path)
        yield f"  {side}  x = {x!r} after {len(path) - 1} steps  {words}"
    yield ""
    if _ran_away(hand) or _ran_away(torch):
        yield "Left of x = 0 the curve falls without bound, so a descent that gets there never ends at a minimum;"
        yield "a learning rate that is too large throws x there from the right."
        x = hand[-1][0]
        if math.isfinite(x) and x - delta == x:
            yield f"By hand x stopped at {x!r}: there x - delta rounds to x, so the difference quotient is 0."
        return
    moved = max(
        abs(path[-1][0] - path[-2][0]) if len(path) > 1 else math.inf for path in (hand, torch)
    )
    if moved > 1e-6:
        yield (
            f"Not settled yet: the last step still moved x by {moved:.1e}."
            if moved < math.inf
            else "No step was made."
        )
    yield f"The minimum is at 8/3. The backward difference with delta = {delta!r} is the slope half a delta to the"
    yield f"left, so by hand x settles near 8/3 + delta/2 = {8 / 3 + delta / 2:.9g}; autograd's derivative is exact."


def _ran_away(path):
    return by_hand.ending(path).startswith("no minimum")


def _show(paths):
    import matplotlib.pyplot as plt

    curve.draw(plt.figure(figsize=(13, 5.5), layout="constrained"), *paths)
    plt.show()
