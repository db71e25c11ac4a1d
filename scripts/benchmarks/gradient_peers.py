"""The gallery's gradients verified by the checkers that are in use: how long, and how finely."""

import importlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lockstep.gradients.check import check_gradients
from lockstep.gradients.reference import gradients
from lockstep.gradients.result import GradientMismatch
from lockstep.text import columns
from scripts.benchmarks.peers import finest, gradcheck, seconds

Arrays: TypeAlias = "dict[str, NDArray[Any]]"
Spoil: TypeAlias = Callable[[Arrays], Arrays]  # makes an error in gradients, or none
# A file of the gallery, its inputs, an error: whether the error is found.
Checker: TypeAlias = Callable[[ModuleType, Arrays, Spoil], bool]

FOLDER = Path(__file__).parents[1] / "examples" / "gradients"
LARGE = [  # about 10³, 10⁴ and 10⁵ numbers
    ("layer_norm", dict(N=8, n=64)),
    ("layer_norm", dict(N=64, n=78)),
    ("layer_norm", dict(N=400, n=124)),
    ("attention", dict(N=16, M=16, d=16, n=16)),
    ("attention", dict(N=50, M=50, d=50, n=50)),
]


def expressions() -> list[str]:
    """The names of the gallery's files, each an expression."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "gallery")


def by_check_gradients(it: ModuleType, inputs: Arrays, spoil: Spoil) -> bool:
    """Whether check_gradients finds the error that spoil makes."""
    given: dict[str, Any] = dict(inputs)
    try:
        check_gradients(lambda **given: spoil(it.hand(**given)), it.reference, **given)
    except GradientMismatch:
        return True
    return False


def by_gradcheck(it: ModuleType, inputs: Arrays, spoil: Spoil, fast: bool = False) -> bool:
    """Whether torch.autograd.gradcheck with its defaults does."""
    return not gradcheck(it.reference, lambda **given: spoil(it.hand(**given)), inputs, fast)


def by_fast_gradcheck(it: ModuleType, inputs: Arrays, spoil: Spoil) -> bool:
    return by_gradcheck(it, inputs, spoil, fast=True)


def by_allclose(it: ModuleType, inputs: Arrays, spoil: Spoil) -> bool:
    """Whether numpy.allclose does, with its defaults, against PyTorch's gradients."""
    got = spoil(it.hand(**{name: array.copy() for name, array in inputs.items()}))
    floats = [name for name, array in inputs.items() if array.dtype.kind == "f"]
    right = gradients(it.reference, inputs, floats)
    return not all(np.allclose(gradient, right[name]) for name, gradient in got.items())


CHECKERS: dict[str, Checker] = {
    "check_gradients": by_check_gradients,
    "gradcheck": by_gradcheck,
    "fast mode": by_fast_gradcheck,
    "allclose": by_allclose,
}


def gallery_lines(
    names: list[str] | None = None, large: Sequence[tuple[str, dict[str, int]]] = LARGE
) -> Iterator[str]:
    """Two tables as lines: every expression of the gallery, then some of them as they grow."""
    if not FOLDER.is_dir():
        yield "the gallery of gradients is not installed: no table of it"
        return
    sys.path.insert(0, str(FOLDER))
    rows = [["", "numbers", *CHECKERS, *CHECKERS]]
    for name in names or expressions():
        it = importlib.import_module(name)
        inputs = _inputs(it)
        times = [
            f"{1e3 * seconds(partial(check, it, inputs, _right)):.3g}"
            for check in CHECKERS.values()
        ]
        found = [
            "rejects"
            if check(it, inputs, _right)
            else ", ".join(
                _exponent(finest(partial(_found, check, it, inputs, spoil)))
                for spoil in (_one, _all)
            )
            for check in CHECKERS.values()
        ]
        rows.append([name, _numbers(inputs), *times, *found])
    yield from columns(rows, "<" + ">" * 9)
    yield "First the times in ms, then the smallest relative error that was found, as a power of"
    yield "ten: in one element (the largest of the gradient that is returned last), and in all"
    yield "elements of all gradients. -: no error was found. rejects: the right gradient fails."
    yield ""
    rows = [["", "numbers", "check_gradients", "gradcheck", "", "fast mode", "", "allclose", ""]]
    for name, sizes in large:
        it = importlib.import_module(name)
        inputs = _inputs(it, **sizes)
        own, *others = (seconds(partial(check, it, inputs, _right)) for check in CHECKERS.values())
        cells = [cell for other in others for cell in (f"{other:.3g} s", f"{other / own:,.3g} x")]
        rows.append([name, _numbers(inputs), f"{own:.3g} s", *cells])
    yield from columns(rows, "<" + ">" * 8)
    yield "x: the times of check_gradients"
    yield ""


def _inputs(it: ModuleType, **sizes: int) -> Arrays:
    drawn = it.inputs(np.random.default_rng(0), **sizes)
    return {name: np.asarray(value) for name, value in drawn.items()}


def _numbers(inputs: Arrays) -> str:
    return f"{sum(array.size for array in inputs.values() if array.dtype.kind == 'f'):,}"


def _found(
    check: Checker, it: ModuleType, inputs: Arrays, spoil: Callable[..., Arrays], error: float
) -> bool:
    return check(it, inputs, partial(spoil, error=error))


def _right(gradients: Arrays) -> Arrays:
    return gradients


def _one(gradients: Arrays, error: float) -> Arrays:
    """The largest element of the last gradient is off."""
    name, last = list(gradients.items())[-1]
    last = np.array(last, np.float64)
    last[np.unravel_index(int(np.argmax(np.abs(last))), last.shape)] *= 1 + error
    return gradients | {name: last}


def _all(gradients: Arrays, error: float) -> Arrays:
    return {name: gradient * (1 + error) for name, gradient in gradients.items()}


def _exponent(error: float) -> str:
    return f"{math.log10(error):.0f}" if error < 1 else "-"
