"""`lockstep descend`: the descent on f by hand and by PyTorch, and why they end apart."""

import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from lockstep.cli.main import Parser, command, printer, progress, whole_file
from lockstep.setup.options import FLAG, OPTIONS, Option, check, file_kind

_Path: TypeAlias = "list[tuple[float, float]]"  # (x, f(x)) of each step
_REAL = OPTIONS["lr"].kind
_NONZERO = replace(
    _REAL,
    words="a number other than 0, which the difference is divided by",
    take=lambda value: _REAL.take(value) or None,
)
_GROUPS = {
    "descent": (
        Option("start", "where x starts", _REAL, 0.5),
        OPTIONS["steps"],
        replace(
            OPTIONS["lr"],
            help="learning rate; with 0.24 x jumps across the valley and settles, with 0.3 it "
            "never settles, with 0.5 it leaves the picture",
        ),
        Option("delta", "width of the backward difference", _NONZERO, 0.01),
    ),
    "output": (
        Option(
            "plot",
            "both pictures as one figure (png, svg or pdf)",
            OPTIONS["plot"].kind,
            extra="plot",
        ),
        Option(
            "animate",
            "the descent as an animation, which ends when nothing moves any more",
            file_kind("FILE.gif", ".gif"),
            extra="plot",
        ),
        Option("show", "show the figure in a window", FLAG, extra="plot"),
    ),
}
_OPTIONS = {option.name: option for options in _GROUPS.values() for option in options}


def parser(name: str | None = None) -> Parser:
    """The options of the command."""
    it = Parser(
        name, description="Gradient descent on f(x) = x^3 - 4x^2 + 6, by hand and by PyTorch."
    )
    it.add_options(_GROUPS)
    return it


def _descend(given: dict[str, Any], came: list[int]) -> int:
    options = {name: option.default for name, option in _OPTIONS.items()}
    options |= check(given, lambda key: _OPTIONS[key].flag, _OPTIONS)
    start, steps, lr, delta = (options[name] for name in ("start", "steps", "lr", "delta"))

    from lockstep.report.plots import descent
    from manual_backprop import gradient_descent as by_hand
    from torch_reference import gradient_descent as by_torch

    with ExitStack() as files:
        pictures = {
            name: files.enter_context(whole_file(options[name], f"--{name}", binary=True))
            for name in ("plot", "animate")
            if options[name]
        }
        paths = by_hand.descend(start, steps, lr, delta), by_torch.descend(start, steps, lr)
        endings = by_hand.ending(paths[0]), by_torch.ending(paths[1])
        ran_away = any(ending.startswith("no minimum") for ending in endings)
        printed, _ = printer()
        printed((*endings[0].split("\n"), ""))
        for side, path, ending in zip(("by hand", "PyTorch"), paths, endings, strict=True):
            x = path[-1][0]
            words = f"{x - 8 / 3:+.3e} from 8/3" if math.isfinite(x) else ending
            printed([f"  {side}  x = {x!r} after {len(path) - 1} steps  {words}"])
        printed(["", *(_runaway(paths[0], delta) if ran_away else _apart(paths, delta))])
        sys.stdout.flush()
        if "plot" in pictures:
            kind = options["plot"].rpartition(".")[2].lower()
            descent.save(pictures["plot"], kind, *paths, lr)
        if "animate" in pictures:
            slopes = partial(by_hand.derivative, delta=delta), by_torch.derivative
            with progress(len(descent.frames(*paths)), "frames") as show:
                descent.animate(pictures["animate"], paths, slopes, lr, show)
    if options["show"]:
        import matplotlib.pyplot as plt

        descent.draw(plt.figure(figsize=(13, 6), layout="constrained"), *paths)
        plt.show()
    return 3 if ran_away else 0


main = command(parser, _descend)


def _runaway(by_hand: _Path, delta: float) -> Iterator[str]:
    """Why a descent did not end at the minimum."""
    x = by_hand[-1][0]
    yield "Left of x = 0 the curve falls without bound, so a descent that gets there never ends"
    yield "at a minimum. A learning rate that is too large throws x there from the right."
    if math.isfinite(x) and x - delta == x:
        yield f"By hand x stopped at {x!r}: there x - delta rounds to x,"
        yield "so the difference quotient is 0."


def _apart(paths: tuple[_Path, _Path], delta: float) -> Iterator[str]:
    """Why the two descents end apart."""
    if len(paths[0]) == 1:
        yield "No step was made."
    elif (moved := max(abs(path[-1][0] - path[-2][0]) for path in paths)) > 1e-6:
        yield f"Not settled yet: the last step still moved x by {moved:.1e}."
    slope = "is the slope half a delta to the"
    yield f"The minimum is at 8/3. The backward difference with delta = {delta!r} {slope}"
    settles = f"by hand x settles near 8/3 + delta/2 = {8 / 3 + delta / 2:.9g}"
    yield f"left, so {settles}; autograd's derivative is exact."
