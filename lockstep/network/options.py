"""The keys of a problem file, which are also the flags of compare.py: how each value is checked."""

import math
import os
from typing import Any, NoReturn

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.names import COMPUTED, PARAMETERS, scalars

ACTIVATION_NAMES = ("linear", "sigmoid", "tanh", "relu")
LOSS_NAMES = ("mse", "sum", "half_sum")
MISTAKE_NAMES = (
    "sign-flipped",
    "scaled-by-constant",
    "missing-activation-derivative",
    "derivative-at-wrong-point",
    "wrong-activation-derivative",
    "transposed-weights",
    "wrong-weights",
    "updated-weights-used",
    "output-derivative-dropped",
    "term-missing",
    "wrong-layer-input",
    "transposed-gradient",
    "bias-gradient-missing",
    "bias-gradient-averaged",
    "one-sample-only",
    "gradients-accumulated",
    "not-updated",
    "update-sign",
    "learning-rate",
    "weight-decay",
    "momentum",
    "broadcast",
    "wrong-shape",
    "single-precision",
    "finite-differences",
    "too-few-digits",
    "bias-forgotten",
    "unknown",
)
DTYPE_NAMES = ("float64", "float32")
PICTURES = (".png", ".svg", ".pdf")


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(minimum, words):
    def check(value):
        return value if _is_whole(value) and minimum <= value < 2**63 else _expected(words)

    return check


def _real(words, nonnegative=False):
    def check(value):
        usable = (
            isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
        )
        if not usable or (nonnegative and value < 0):
            _expected(words)
        try:
            return float(value)
        except OverflowError:
            _expected(words)

    return check


def _choice(*names):
    return lambda value: (
        value
        if isinstance(value, str) and value in names
        else _expected(f"one of {', '.join(names)}")
    )


def _boolean(value):
    return value if isinstance(value, bool) else _expected("true or false")


def _file(value):
    try:
        usable = isinstance(value, str) and value and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        usable = False
    return value if usable else _expected("the name of a file")


def _picture(value):
    value = _file(value)
    return (
        value
        if value.lower().endswith(PICTURES)
        else _expected(f"a file name that ends with {', '.join(PICTURES)}")
    )


def _sizes(value):
    numbers: Any = value.split("-") if isinstance(value, str) else value
    if isinstance(value, str) and all(
        part.isascii() and part.isdigit() and len(part) < 10 for part in numbers
    ):
        numbers = [int(part) for part in numbers]
    if (
        isinstance(numbers, list | tuple)
        and len(numbers) == 3
        and all(_is_whole(n) and 0 < n < 2**63 for n in numbers)
    ):
        return tuple(numbers)
    return _expected("three positive whole numbers, inputs-hidden-outputs, such as 2-2-2")


def _columns(value):
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if isinstance(names, list) and names and all(isinstance(name, str) and name for name in names):
        return names
    return _expected("column names, separated by commas")


def _frozen(value):
    if isinstance(value, list | tuple) and all(
        isinstance(name, str) and name in PARAMETERS for name in value
    ):
        return tuple(name for name in PARAMETERS if name in value)
    return _expected(f"a list of parameters out of {', '.join(PARAMETERS)}")


def _shown(value):
    """The steps to show: "all", "none", or a set of step numbers."""
    if value in ("all", "none"):
        return value
    numbers: Any = value
    if isinstance(value, str):
        numbers = [
            int(part) if part.strip().isdecimal() and len(part) < 10 else 0
            for part in value.split(",")
        ]
    elif _is_whole(value):
        numbers = [value]
    if isinstance(numbers, list | tuple | set | frozenset) and all(
        _is_whole(n) and n > 0 for n in numbers
    ):
        return frozenset(numbers)
    return _expected("step numbers such as 1,10, or all, or none")


def _array(dimensions):
    """A check that gives a float64 array of so many dimensions, from nested lists or an array."""

    def check(value):
        value = value.tolist() if hasattr(value, "tolist") else value
        rows = value if dimensions == 2 else [value]
        if (
            not isinstance(rows, list | tuple)
            or not rows
            or not all(isinstance(row, list | tuple) for row in rows)
        ):
            _expected(
                "a list of rows, each a list of numbers" if dimensions == 2 else "a list of numbers"
            )
        for i, row in enumerate(rows):
            place = f"row {i + 1}" if dimensions == 2 else "the list"
            if not row:
                _expected(f"numbers, but {place} is empty")
            if len(row) != len(rows[0]):
                _expected(
                    f"rows of one length, but row 1 has {len(rows[0])} numbers and {place} has {len(row)}"
                )
            for j, number in enumerate(row):
                try:
                    _real("")(number)
                except Unusable:
                    where = f"{place}, column {j + 1}" if dimensions == 2 else f"element {j + 1}"
                    _expected(f"finite numbers, got {short(number)} in {where}")
        array = np.array(rows, dtype=np.float64)
        return array if dimensions == 2 else array[0]

    return check


def _expected(words) -> NoReturn:
    raise Unusable(f"expected {words}")


def _mistake(value):
    return (
        value
        if value in MISTAKE_NAMES
        else _expected(f"the name of a mistake: {', '.join(MISTAKE_NAMES)}")
    )


_TOLERANCE = _real("a finite number, 0 or more", nonnegative=True)
# Every key of a problem file, which is also a flag of compare.py with - for _: how it is checked.
CHECKS = {
    "sizes": _sizes,
    "samples": _whole(1, "a positive whole number"),
    "data": _file,
    "inputs": _columns,
    "targets": _columns,
    "standardize": _boolean,
    "x": _array(2),
    "y": _array(2),
    "W_h": _array(2),
    "b_h": _array(1),
    "W_o": _array(2),
    "b_o": _array(1),
    "hidden_activation": _choice(*ACTIVATION_NAMES),
    "output_activation": _choice(*ACTIVATION_NAMES),
    "loss": _choice(*LOSS_NAMES),
    "lr": _real("a finite number"),
    "steps": _whole(0, "a whole number of steps, 0 or more"),
    "batch_size": _whole(1, "a positive whole number"),
    "dtype": _choice(*DTYPE_NAMES),
    "seed": _whole(0, "a whole number, 0 or more"),
    "frozen": _frozen,
    "rtol": _TOLERANCE,
    "atol": _TOLERANCE,
    "keep_going": _boolean,
    "show": _shown,
    "derivation": _file,
    "numbers": _file,
    "expect": _mistake,
    "battery": _whole(0, "a whole number of problems, 0 or more"),
    "control": _boolean,
    "referee": _boolean,
    "json": _file,
    "trace": _file,
    "html": _file,
    "plot": _picture,
    "code": _boolean,
    "quiet": _boolean,
}


def file_and_function(location):
    """FILE.py and FUNCTION of FILE.py:FUNCTION; the function is `step` where none is named."""
    path, _, name = str(location).rpartition(":")
    return (path, name) if path and name.isidentifier() else (str(location), "step")


def _is_a_result(key):
    """Whether a key is the name of a computed quantity, in either vocabulary."""
    return key in COMPUTED or scalars((2, 2, 2), 1).get(key, ("",))[0] in COMPUTED


def check(raw, where):
    """The values of a dict of keys, each checked.

    where: what a message calls a key, a function of its name. Raises Unusable.
    """
    values = {}
    for key, value in raw.items():
        if key not in CHECKS:
            results = "; a file of results goes with --numbers" if _is_a_result(key) else ""
            raise Unusable(
                f"{where(key)}: unknown key; expected one of {', '.join(CHECKS)}{results}"
            )
        value = value.item() if isinstance(value, np.generic) else value
        try:
            values[key] = CHECKS[key](value)
        except Unusable as reason:
            got = "" if "got" in str(reason) or "but" in str(reason) else f", got {short(value)}"
            raise Unusable(f"{where(key)}: {reason}{got}") from None
    return values
