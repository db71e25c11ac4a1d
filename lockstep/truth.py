"""Which side is nearer the truth: the same step in exact arithmetic, from the same floats."""

from fractions import Fraction

import mpmath
import numpy as np

from lockstep.quantities import COMPUTED
from manual_backprop import two_layer
from manual_backprop.activations import activation

DIGITS = 50
LARGEST = 10**6  # multiply-adds of a step beyond which exact arithmetic takes longer than some seconds

_mp = mpmath.MPContext()
_mp.dps = DIGITS


def _sigmoid(z):
    return 1 / (1 + _mp.exp(-z))


# From z alone: 1 − s·s and s·(1 − s) would lose digits at the ends, which the truth must not.
_SMOOTH = {
    "sigmoid": (_sigmoid, lambda z, s: _sigmoid(z) * _sigmoid(-z)),
    "tanh": (_mp.tanh, lambda z, s: _mp.sech(z) ** 2),
}


def is_small(problem):
    """Whether a step of the problem in exact arithmetic takes no longer than some seconds."""
    return problem.multiply_adds <= LARGEST


def arithmetic(problem):
    """What the truth is computed in, in words."""
    smooth = {problem.hidden_activation, problem.output_activation} & _SMOOTH.keys()
    return f"{DIGITS}-digit arithmetic" if smooth else "exact fractions"


def truth(problem, parameters, x, y, lr):
    """The quantities of a step as object arrays by name, in the order of computation.

    Fractions, without any rounding, for linear and relu; 50-digit mpmath numbers where there is a sigmoid or a tanh.
    parameters, x, y, lr: the finite floats that the step starts from.
    """
    number = Fraction if arithmetic(problem) == "exact fractions" else _mp.mpf

    def exactly(array):
        return np.frompyfunc(lambda value: number(float(value)), 1, 1)(np.asarray(array))

    def by_element(name):
        if name not in _SMOOTH:
            return activation(name)
        sigma, sigma_prime = _SMOOTH[name]
        return np.frompyfunc(sigma, 1, 1), np.frompyfunc(sigma_prime, 2, 1)

    return two_layer.step(
        **{name: exactly(array) for name, array in parameters.items()},
        x=exactly(x),
        y=exactly(y),
        lr=number(lr),
        hidden_activation=by_element(problem.hidden_activation),
        output_activation=by_element(problem.output_activation),
        loss=problem.loss,
        frozen=problem.frozen,
    )


def error(value, exact):
    """How far a float is from the exact number, as a float; infinite where it is not finite."""
    if not np.isfinite(value):
        return float("inf")
    number = Fraction if isinstance(exact, Fraction | int) else _mp.mpf
    return _float(abs(number(float(value)) - exact))


def _float(exact):
    """The nearest float; infinite beyond the largest."""
    try:
        return float(exact)
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")


def referee(problem, moment):
    """Of a `comparison.Moment`, which side is nearer the truth: a dict for the JSON document.

    {"step", "arithmetic", "nearer": how many values of the step each side has nearer to the truth, "worst": by quantity
    the element on which the sides differ most for their bound}. An element has, beside `Moment.entry`'s fields, the
    truth as the nearest float, both sides' distance from it, the same in ULP of the truth, and which side is nearer.
    """
    exact = truth(problem, moment.parameters, moment.x, moment.y, moment.lr)
    ratio = moment.ratio()
    counts = dict.fromkeys(("manual", "torch", "equal"), 0)
    worst, position = [], 0
    for name in (name for name in COMPUTED if name in moment.manual):
        exact_values = np.ravel(exact[name])[list(moment.elements(name))]
        span = slice(position, position + len(exact_values))
        sides = (moment.flat_manual, moment.flat_torch)
        errors = np.array([np.frompyfunc(error, 2, 1)(side[span], exact_values) for side in sides], dtype=float)
        nearer = np.where(errors[0] == errors[1], "equal", np.where(errors[0] < errors[1], "manual", "torch"))
        for side in counts:
            counts[side] += int((nearer == side).sum())
        at = int(np.argmax(np.where(np.isnan(ratio[span]), np.inf, ratio[span])))
        worst.append(moment.entry(position + at) | _distances(exact_values[at], errors[:, at], moment.dtype)
                     | {"nearer": str(nearer[at])})  # fmt: skip
        position = span.stop
    return {"step": moment.number, "arithmetic": arithmetic(problem), "nearer": counts, "worst": worst}


def _distances(exact, errors, dtype):
    """Both sides' distance from the truth, and the same in units of its last place."""
    with np.errstate(all="ignore"):
        unit = float(np.spacing(np.abs(np.asarray(_float(exact), dtype=dtype))))
    manual, torch = (float(error) for error in errors)
    return {"exact": _float(exact), "manual_error": manual, "torch_error": torch,
            "manual_ulp": manual / unit, "torch_ulp": torch / unit}  # fmt: skip
