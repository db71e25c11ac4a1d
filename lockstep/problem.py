"""What to run: network, data and settings; read from a dict or a file's keys, checked, and drawn where not given."""

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.quantities import PARAMETERS, shape_of
from lockstep.table import read_table

# What `compare.py` runs with no argument: the lecture's 2-2-2 network on fixed example numbers.
LECTURE: dict[str, Any] = {
    "x": [[0.5, 0.8]],
    "y": [[0.3, 0.9]],
    "W_h": [[0.4, -0.3], [0.2, 0.7]],
    "b_h": [0.1, -0.2],
    "W_o": [[0.6, -0.5], [-0.4, 0.8]],
    "b_o": [0.25, 0.15],
}

ACTIVATION_NAMES = ("linear", "sigmoid", "tanh", "relu")
LOSS_NAMES = ("mse", "sum", "half_sum")
DTYPE_NAMES = ("float64", "float32")


class Unusable(ValueError):
    """Input that cannot be used; the message names the culprit and says what is expected."""


@dataclass(frozen=True)
class Problem:
    """sizes: (n_in, n_hidden, n_out). parameters: W_h, b_h, W_o, b_o by name, in `dtype`. x (N, n_in), y (N, n_out)."""

    sizes: tuple[int, int, int]
    parameters: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    lr: float
    steps: int
    batch_size: int | None
    hidden_activation: str
    output_activation: str
    loss: str
    frozen: tuple[str, ...]
    dtype: str

    @property
    def samples(self):
        return len(self.x)

    @property
    def network_settings(self):
        """The settings as the keyword arguments of a built-in step."""
        names = ("hidden_activation", "output_activation", "loss", "frozen")
        return {name: getattr(self, name) for name in names}

    def batch(self, n):
        """The rows (x, y) of training step n = 1, 2, …: B rows in file order, then from the top again."""
        size = self.batch_size or self.samples
        first = (n - 1) % math.ceil(self.samples / size) * size
        return self.x[first : first + size], self.y[first : first + size]


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(minimum, words):
    def check(value):
        return value if _is_whole(value) and value >= minimum else _expected(words)

    return check


def _real(words, nonnegative=False):
    def check(value):
        usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
        if not usable or (nonnegative and value < 0):
            _expected(words)
        try:
            return float(value)
        except OverflowError:
            _expected(words)

    return check


def _choice(*names):
    return lambda value: value if isinstance(value, str) and value in names else _expected(f"one of {', '.join(names)}")


def _boolean(value):
    return value if isinstance(value, bool) else _expected("true or false")


def _text(value):
    return value if isinstance(value, str) and value else _expected("the name of a file")


def _sizes(value):
    numbers = value.split("-") if isinstance(value, str) else value
    if isinstance(value, str) and all(part.isascii() and part.isdigit() and len(part) < 10 for part in numbers):
        numbers = [int(part) for part in numbers]
    if isinstance(numbers, list | tuple) and len(numbers) == 3 and all(_is_whole(n) and n > 0 for n in numbers):
        return tuple(numbers)
    _expected("three positive whole numbers, inputs-hidden-outputs, such as 2-2-2")


def _columns(value):
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if isinstance(names, list) and names and all(isinstance(name, str) and name for name in names):
        return names
    _expected("column names, separated by commas")


def _frozen(value):
    if isinstance(value, list | tuple) and all(isinstance(name, str) and name in PARAMETERS for name in value):
        return tuple(name for name in PARAMETERS if name in value)
    _expected(f"a list of parameters out of {', '.join(PARAMETERS)}")


def _shown(value):
    """The steps to show: "all", "none", or a set of step numbers."""
    if value in ("all", "none"):
        return value
    numbers: Any = value
    if isinstance(value, str):
        numbers = [int(part) if part.strip().isdecimal() and len(part) < 10 else 0 for part in value.split(",")]
    elif _is_whole(value):
        numbers = [value]
    if isinstance(numbers, list | tuple | set | frozenset) and all(_is_whole(n) and n > 0 for n in numbers):
        return frozenset(numbers)
    _expected("step numbers such as 1,10, or all, or none")


def _array(dimensions):
    """A check that gives a float64 array of so many dimensions, from nested lists or an array."""

    def check(value):
        value = value.tolist() if hasattr(value, "tolist") else value
        rows = value if dimensions == 2 else [value]
        if not isinstance(rows, list | tuple) or not rows or not all(isinstance(row, list | tuple) for row in rows):
            _expected("a list of rows, each a list of numbers" if dimensions == 2 else "a list of numbers")
        for i, row in enumerate(rows):
            place = f"row {i + 1}" if dimensions == 2 else "the list"
            if not row:
                _expected(f"numbers, but {place} is empty")
            if len(row) != len(rows[0]):
                _expected(f"rows of one length, but row 1 has {len(rows[0])} numbers and {place} has {len(row)}")
            for j, number in enumerate(row):
                try:
                    _real("")(number)
                except Unusable:
                    where = f"{place}, column {j + 1}" if dimensions == 2 else f"element {j + 1}"
                    _expected(f"finite numbers, got {number!r} in {where}")
        array = np.array(rows, dtype=np.float64)
        return array if dimensions == 2 else array[0]

    return check


def _expected(words):
    raise Unusable(f"expected {words}")


_TOLERANCE = _real("a finite number, 0 or more", nonnegative=True)

# Every key of a problem file, which is also a flag of compare.py with - for _: how it is checked.
CHECKS = {
    "sizes": _sizes,
    "samples": _whole(1, "a positive whole number"),
    "data": _text,
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
    "json": _text,
    "trace": _text,
    "quiet": _boolean,
}

# Keys that say which network and which data: with none of them given, the lecture's numbers are used.
_DRAWN_BY = {"sizes", "samples", "data", "seed", "x", "y", *PARAMETERS}


def check(raw, where):
    """The values of a dict of keys, each checked.

    where: what a message calls a key, a function of its name. Raises Unusable.
    """
    values = {}
    for key, value in raw.items():
        if key not in CHECKS:
            raise Unusable(f"{where(key)}: unknown key; expected one of {', '.join(CHECKS)}")
        try:
            values[key] = CHECKS[key](value)
        except Unusable as reason:
            got = "" if "got" in str(reason) or "but" in str(reason) else f", got {_short(value)}"
            raise Unusable(f"{where(key)}: {reason}{got}") from None
    return values


def _short(value):
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


def read_file(path):
    """The checked values of a TOML problem file; its `data` is looked for beside it, then where the command runs."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise Unusable(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{path}: expected a TOML file in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Unusable(f"{path}: expected a TOML file: {error}") from None
    if not raw:
        raise Unusable(f"{path}: the file is empty; expected keys such as sizes, x, y, lr")
    values = check(raw, lambda key: f"{path}: {key}")
    beside = Path(path).parent / values.get("data", "")
    if "data" in values and beside.exists():
        values["data"] = str(beside)
    return values


def make_problem(values):
    """The Problem that checked values describe; what they leave open is drawn or has its default. Raises Unusable."""
    if not _DRAWN_BY & values.keys():
        values = values | check(LECTURE, str)
    dtype = values.get("dtype", "float64")
    x, y = _given_data(values)
    arrays = {"x": x, "y": y} | {name: values.get(name) for name in PARAMETERS}
    sizes, samples = _agreed_sizes({name: array for name, array in arrays.items() if array is not None}, values)

    random = np.random.default_rng(values.get("seed", 0))
    try:
        for name in (*PARAMETERS, "x", "y"):
            shape = shape_of(name, sizes, samples)
            drawn = random.uniform(-1, 1, shape) if name in PARAMETERS else random.standard_normal(shape)
            arrays[name] = _rounded(name, drawn if arrays[name] is None else arrays[name], dtype)
    except MemoryError:
        raise Unusable(f"sizes: {'-'.join(map(str, sizes))} with {samples} samples do not fit into memory") from None
    if values.get("standardize"):
        arrays["x"], arrays["y"] = (_standardized(name, arrays[name]) for name in ("x", "y"))

    return Problem(
        sizes=sizes,
        parameters={name: arrays[name] for name in PARAMETERS},
        x=arrays["x"],
        y=arrays["y"],
        lr=values.get("lr", 0.05),
        steps=values.get("steps", 100),
        batch_size=values.get("batch_size"),
        hidden_activation=values.get("hidden_activation", "linear"),
        output_activation=values.get("output_activation", "linear"),
        loss=values.get("loss", "mse"),
        frozen=values.get("frozen", ()),
        dtype=dtype,
    )


def _given_data(values):
    """x and y as given, from a table or as lists; None where they are to be drawn."""
    if "data" not in values:
        for key in ("inputs", "targets"):
            if key in values:
                raise Unusable(f"{key}: names columns of a CSV file; expected data to be given too")
        return values.get("x"), values.get("y")
    for key in ("x", "y"):
        if key in values:
            raise Unusable(f"{key}: given together with data; expected one of the two")
    for key in ("inputs", "targets"):
        if key not in values:
            raise Unusable(f"data: expected {key} as well, the names of columns of {values['data']}")
    try:
        return read_table(values["data"], values["inputs"], values["targets"])
    except ValueError as reason:
        raise Unusable(str(reason)) from None


def _agreed_sizes(arrays, values):
    """(n_in, n_hidden, n_out) and N: whatever is given must agree; what nothing gives has its default."""
    axes = {"x": ("N", "n_in"), "y": ("N", "n_out"), "W_h": ("n_hidden", "n_in"), "b_h": ("n_hidden",),
            "W_o": ("n_out", "n_hidden"), "b_o": ("n_out",)}  # fmt: skip
    claims = []
    for name, array in arrays.items():
        origin = values["data"] if name in ("x", "y") and "data" in values else name
        for axis, length in zip(axes[name], array.shape, strict=True):
            claims.append((axis, length, f"{origin} (shape {'×'.join(map(str, array.shape))})"))
    if "sizes" in values:
        text = "-".join(map(str, values["sizes"]))
        claims += [
            (axis, n, f"sizes {text}") for axis, n in zip(("n_in", "n_hidden", "n_out"), values["sizes"], strict=True)
        ]
    if "samples" in values:
        claims.append(("N", values["samples"], "samples"))

    agreed: dict[str, tuple[int, str]] = {}
    for axis, length, origin in claims:
        known, first = agreed.setdefault(axis, (length, origin))
        if known != length:
            raise Unusable(f"{origin}: has {axis} = {length}, but {first} has {axis} = {known}; expected them to agree")
    n_in = agreed.get("n_in", (2, ""))[0]
    n_hidden = agreed.get("n_hidden", (n_in, ""))[0]
    n_out = agreed.get("n_out", (2, ""))[0]
    return (n_in, n_hidden, n_out), agreed.get("N", (1, ""))[0]


def _rounded(name, array, dtype):
    with np.errstate(over="ignore"):
        rounded = array.astype(dtype)
    if not np.isfinite(rounded).all():
        raise Unusable(f"{name}: has a value beyond the largest {dtype}; expected values up to {np.finfo(dtype).max:g}")
    return rounded


def _standardized(name, array):
    """Every column to mean 0 and variance 1 (divided by N)."""
    with np.errstate(over="ignore", invalid="ignore"):
        columns = array.astype(np.float64)
        centred = columns - columns.mean(axis=0)
        deviation = centred.std(axis=0)
    if not (np.isfinite(deviation).all() and deviation.all()):
        column = int(np.argmin(np.isfinite(deviation) & (deviation > 0))) + 1
        raise Unusable(
            f"standardize: column {column} of {name} has no finite variance above 0; expected one that varies"
        )
    return (centred / deviation).astype(array.dtype)
