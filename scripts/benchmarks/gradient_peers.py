"""The gallery's gradients verified by the checkers that are in use: how long, and how finely."""

import importlib
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lockstep.gradients.check import check_gradients
from lockstep.gradients.measured import reference_gradients
from lockstep.gradients.result import GradientMismatch
from lockstep.text import columns
from scripts.benchmarks.peers import finest, gradcheck, seconds

FOLDER = Path(__file__).parents[1] / "examples" / "gradients"
LARGE = [  # about 10³, 10⁴ and 10⁵ numbers
    ("layer_norm", dict(N=8, n=64)),
    ("layer_norm", dict(N=64, n=78)),
    ("layer_norm", dict(N=400, n=124)),
    ("attention", dict(N=16, M=16, d=16, n=16)),
    ("attention", dict(N=50, M=50, d=50, n=50)),
]


def expressions():
    """The names of the gallery's files, each an expression."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "gallery")


def by_check_gradients(it, inputs, spoil):
    """Whether check_gradients finds the error that spoil makes."""
    try:
        check_gradients(lambda **given: spoil(it.hand(**given)), it.reference, **inputs)
    except GradientMismatch:
        return True
    return False


def by_gradcheck(it, inputs, spoil, fast=False):
    """Whether torch.autograd.gradcheck with its defaults does."""
    return not gradcheck(it.reference, lambda **given: spoil(it.hand(**given)), inputs, fast)


def by_fast_gradcheck(it, inputs, spoil):
    return by_gradcheck(it, inputs, spoil, fast=True)


def by_allclose(it, inputs, spoil):
    """Whether numpy.allclose does, with its defaults, against PyTorch's gradients."""
    got = spoil(it.hand(**{name: array.copy() for name, array in inputs.items()}))
    right = reference_gradients(it.reference, inputs)
    return not all(np.allclose(gradient, right[name]) for name, gradient in got.items())


CHECKERS = {
    "check_gradients": by_check_gradients,
    "gradcheck": by_gradcheck,
    "fast mode": by_fast_gradcheck,
    "allclose": by_allclose,
}


def gallery_lines(names: list[str] | None = None, large=LARGE) -> Iterator[str]:
    """Two tables as lines: every expression of the gallery, then some of them as they grow."""
    if not FOLDER.is_dir():
        yield "the gallery of gradients is not installed: no table of it"
        return
    sys.path.insert(0, str(FOLDER))
    rows = [["", "numbers", *CHECKERS, *CHECKERS]]
    for name in names or expressions():
        it = importlib.import_module(name)
        inputs = {
            key: np.asarray(value) for key, value in it.inputs(np.random.default_rng(0)).items()
        }
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
    yield "First the times in ms, then the smallest relative error that was found, as a power of ten: in one element"
    yield "(the largest of the gradient that is returned last), and in all elements of all gradients; -: no error was;"
    yield "rejects: the right gradient, too, is called wrong."
    yield ""
    rows = [["", "numbers", "check_gradients", "gradcheck", "", "fast mode", "", "allclose", ""]]
    for name, sizes in large:
        it = importlib.import_module(name)
        inputs = {
            key: np.asarray(value)
            for key, value in it.inputs(np.random.default_rng(0), **sizes).items()
        }
        own, *others = (seconds(partial(check, it, inputs, _right)) for check in CHECKERS.values())
        cells = [cell for other in others for cell in (f"{other:.3g} s", f"{other / own:,.3g} x")]
        rows.append([name, _numbers(inputs), f"{own:.3g} s", *cells])
    yield from columns(rows, "<" + ">" * 8)
    yield "x: the times of check_gradients"
    yield ""


def _numbers(inputs):
    return f"{sum(array.size for array in inputs.values() if array.dtype.kind == 'f'):,}"


def _found(check, it, inputs, spoil, error):
    return check(it, inputs, partial(spoil, error=error))


def _right(gradients):
    return gradients


def _one(gradients, error):
    """The largest element of the last gradient is off."""
    name, last = list(gradients.items())[-1]
    last = np.array(last, np.float64)
    last[np.unravel_index(int(np.argmax(np.abs(last))), last.shape)] *= 1 + error
    return gradients | {name: last}


def _all(gradients, error):
    return {name: gradient * (1 + error) for name, gradient in gradients.items()}


def _exponent(error):
    return f"{math.log10(error):.0f}" if error < 1 else "-"
