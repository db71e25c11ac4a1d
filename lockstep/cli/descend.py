"""`lockstep descend`: the descent on f by hand and by PyTorch, and why they end apart."""

import math
import sys
from argparse import SUPPRESS
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

from lockstep.cli.main import Parser, printer, signals, status
from lockstep.cli.output import progress, whole_file
from lockstep.network.options import FLAG, OPTIONS, Option, check, file_ending, real

_Path: TypeAlias = "list[tuple[float, float]]"  # (x, f(x)) of each step
_NONZERO = real("a number other than 0, which the difference is divided by", bool)
_GROUPS = {
    "descent": (
        Option("start", "where x starts", OPTIONS["lr"].kind, 0.5),
        OPTIONS["steps"],
        OPTIONS["lr"],
        Option("delta", "width of the backward difference", _NONZERO, 0.01),
    ),
    "output": (
        Option("plot", "both pictures as one figure (png, svg or pdf)", OPTIONS["plot"].kind),
        Option("animate", "the descent as an animation", file_ending(".gif")),
        Option("show", "show the figure in a window", FLAG),
    ),
}
_OPTIONS = {option.name: option for options in _GROUPS.values() for option in options}


def main(arguments: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those of the command line; by default the program's own.
        name: What messages call the command; by default as it was started.

    Returns:
        The exit status: 0, or 3 where x ran away.
    """
    parser = Parser(
        name,
        allow_abbrev=False,
        argument_default=SUPPRESS,
        description="Gradient descent on f(x) = x^3 - 4x^2 + 6, by hand and by PyTorch.",
    )
    parser.add_options(_GROUPS)
    given = vars(parser.parse_args(arguments))
    with signals():
        return status(lambda: _descend(given), name)


@dataclass
class _Descent:
    """What one side did: its path, and where that ended."""

    side: str
    path: _Path
    ending: str

    @property
    def x(self) -> float:
        return self.path[-1][0]

    @property
    def ran_away(self) -> bool:
        return self.ending.startswith("no minimum")


def _descent(side: str, module: ModuleType, *settings: float) -> _Descent:
    path = module.descend(*settings)
    return _Descent(side, path, module.ending(path))


def _descend(given: dict[str, Any]) -> int:
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
        hand = _descent("by hand", by_hand, start, steps, lr, delta)
        torch = _descent("PyTorch", by_torch, start, steps, lr)
        paths = hand.path, torch.path
        if "plot" in pictures:
            descent.save(pictures["plot"], options["plot"].rpartition(".")[2].lower(), *paths)
        if "animate" in pictures:
            with progress(len(descent.frames(steps)), "frames") as show:
                descent.animate(pictures["animate"], *paths, show)
    printed, _ = printer()
    printed(_lines(hand, torch, delta))
    sys.stdout.flush()
    if options["show"]:
        import matplotlib.pyplot as plt

        descent.draw(plt.figure(figsize=(13, 5.5), layout="constrained"), *paths)
        plt.show()
    return 3 if hand.ran_away or torch.ran_away else 0


def _lines(hand: _Descent, torch: _Descent, delta: float) -> Iterator[str]:
    """What the command prints: the lecture's lines, both sides' last x, and why they differ."""
    yield from (*hand.ending.split("\n"), "")
    for at in (hand, torch):
        words = f"{at.x - 8 / 3:+.3e} from 8/3" if math.isfinite(at.x) else at.ending
        yield f"  {at.side}  x = {at.x!r} after {len(at.path) - 1} steps  {words}"
    yield ""
    if hand.ran_away or torch.ran_away:
        yield "Left of x = 0 the curve falls without bound, so a descent that gets there never ends"
        yield "at a minimum. A learning rate that is too large throws x there from the right."
        if math.isfinite(hand.x) and hand.x - delta == hand.x:
            yield f"By hand x stopped at {hand.x!r}: there x - delta rounds to x,"
            yield "so the difference quotient is 0."
        return
    if len(hand.path) == 1:
        yield "No step was made."
    elif (moved := max(abs(at.x - at.path[-2][0]) for at in (hand, torch))) > 1e-6:
        yield f"Not settled yet: the last step still moved x by {moved:.1e}."
    slope = "is the slope half a delta to the"
    yield f"The minimum is at 8/3. The backward difference with delta = {delta!r} {slope}"
    settles = f"by hand x settles near 8/3 + delta/2 = {8 / 3 + delta / 2:.9g}"
    yield f"left, so {settles}; autograd's derivative is exact."
