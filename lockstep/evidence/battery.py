"""Other problems for a derivation: one problem can hide a mistake that another shows."""

from itertools import product

from lockstep.errors import Unusable
from lockstep.network.problem import make_problem
from lockstep.text import counted

_WIDTHS = (
    (1, 2, 1),
    (2, 1, 2),
    (2, 3, 1),
    (3, 2, 2),
    (2, 2, 2),
    (3, 4, 2),
    (4, 3, 5),
    (5, 6, 3),
    (7, 4, 6),
    (8, 9, 5),
)
_SAMPLES = (1, 2, 5)
STEPS = 3  # enough for what is carried from one step to the next


def problems(number, problem, scalars):
    """So many other problems of growing size with the same settings.

    scalars: the derivation is in scalars, so only the values change.
    """
    fixed = problem.network_settings | dict(lr=problem.lr, dtype=problem.dtype, steps=STEPS)
    if scalars:
        shapes = [(problem.sizes, 1)] * number
    else:
        every = sorted(product(_WIDTHS, _SAMPLES), key=_size)
        shapes = [every[i * len(every) // number % len(every)] for i in range(number)]
    for seed, (sizes, samples) in enumerate(shapes):
        yield make_problem(fixed | dict(sizes=sizes, samples=samples, seed=seed + 1))


def _size(shape):
    sizes, samples = shape
    return (samples + 1) * sum(sizes)


def battery(number, problem, scalars, judge):
    """{"problems", "matching", "smallest"} over so many other problems.

    judge: gives a `result.Result` for a problem, with the derivation loaded afresh. smallest: the first that does not
    match: its sizes, samples and the quantity that differs (None where the derivation cannot run on it).
    """
    matching, smallest = 0, None
    for other in problems(number, problem, scalars):
        try:
            result = judge(other)
            quantity = result.first_mismatch["quantity"] if result.first_mismatch else None
            matches = result.verdict != "mismatch"
        except Unusable:
            quantity, matches = None, False
        matching += matches
        if not matches and smallest is None:
            smallest = {"sizes": list(other.sizes), "samples": other.samples, "quantity": quantity}
    return {"problems": number, "matching": matching, "smallest": smallest}


def remark(found):
    """A sentence on what the battery found, or None where everything matched."""
    smallest = found["smallest"]
    if smallest is None:
        return None
    size = "-".join(map(str, smallest["sizes"]))
    samples = counted(smallest["samples"], "sample")
    what = f"first differs at {smallest['quantity']}" if smallest["quantity"] else "cannot be run"
    failing = f"{found['problems'] - found['matching']} of {found['problems']} others"
    return f"within rounding on this problem, but wrong on {failing}: with {size} and {samples} it {what}"
