"""Which side is nearer the truth."""

from dataclasses import asdict

import numpy as np

from lockstep.bound.exact import _float, arithmetic, error, truth
from lockstep.network.names import COMPUTED


def referee(problem, record):
    """Of a `comparison.Record`, which side is nearer the truth: a dict for the JSON document.

    {"step", "arithmetic", "nearer": how many values of the step each side has nearer to the truth, "worst": by quantity
    the element on which the sides differ most for their bound}. An element has, beside `Record.entry`'s fields, the
    truth as the nearest float, both sides' distance from it, the same in ULP of the truth, and which side is nearer.
    """
    exact = truth(problem, record.parameters, record.x, record.y, record.lr)
    ratio = record.ratio()
    counts = dict.fromkeys(("manual", "torch", "equal"), 0)
    worst, position = [], 0
    for name in (name for name in COMPUTED if name in record.manual):
        exact_values = np.ravel(exact[name])[list(record.elements(name))]
        span = slice(position, position + len(exact_values))
        sides = (record.flat_manual, record.flat_torch)
        errors = np.array(
            [np.frompyfunc(error, 2, 1)(side[span], exact_values) for side in sides], dtype=float
        )
        nearer = np.where(
            errors[0] == errors[1], "equal", np.where(errors[0] < errors[1], "manual", "torch")
        )
        for side in counts:
            counts[side] += int((nearer == side).sum())
        at = int(np.argmax(np.where(np.isnan(ratio[span]), np.inf, ratio[span])))
        worst.append(
            asdict(record.entry(position + at))
            | _distances(exact_values[at], errors[:, at], record.dtype)
            | {"nearer": str(nearer[at])}
        )
        position = span.stop
    return {
        "step": record.number,
        "arithmetic": arithmetic(problem),
        "nearer": counts,
        "worst": worst,
    }


def _distances(exact, errors, dtype):
    """Both sides' distance from the truth, and the same in units of its last place."""
    with np.errstate(all="ignore"):
        unit = float(np.spacing(np.abs(np.asarray(_float(exact), dtype=dtype))))
    manual, torch = (float(error) for error in errors)
    return {
        "exact": _float(exact),
        "manual_error": manual,
        "torch_error": torch,
        "manual_ulp": manual / unit,
        "torch_ulp": torch / unit,
    }
