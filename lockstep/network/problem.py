"""What to run: network, data and settings, from checked options or drawn where not given."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.files import read_table, read_toml
from lockstep.network.names import (
    COMPUTED,
    GIVEN,
    PARAMETERS,
    Array,
    Quantities,
    Sizes,
    shape_of,
    values_in,
)
from lockstep.network.options import DEFAULTS, check, demand_describing, file_and_function
from lockstep.text import base_name

# What `compare.py` runs with no argument: the lecture's 2-2-2 network on fixed example numbers.
LECTURE: dict[str, Any] = {
    "x": [[0.5, 0.8]],
    "y": [[0.3, 0.9]],
    "W_h": [[0.4, -0.3], [0.2, 0.7]],
    "b_h": [0.1, -0.2],
    "W_o": [[0.6, -0.5], [-0.4, 0.8]],
    "b_o": [0.25, 0.15],
}
UNTOLD = 10**12  # how many steps a run has whose end only its recording knows
# With none of these keys given, the lecture's numbers are used.
_AXES = {
    "x": ("N", "n_in"),
    "y": ("N", "n_out"),
    "W_h": ("n_hidden", "n_in"),
    "b_h": ("n_hidden",),
    "W_o": ("n_out", "n_hidden"),
    "b_o": ("n_out",),
}
_DRAWN_BY = {"sizes", "samples", "data", "seed", "x", "y", *PARAMETERS}


@dataclass
class Start:
    """What a training step starts from.

    Attributes:
        parameters: W_h, b_h, W_o, b_o by name.
        x: Inputs, (N, n_in).
        y: Targets, (N, n_out).
        lr: The learning rate.
    """

    parameters: Quantities
    x: Array
    y: Array
    lr: float


@dataclass(frozen=True)
class Problem:
    """What to train, and on what.

    Attributes:
        sizes: (n_in, n_hidden, n_out).
        parameters: W_h, b_h, W_o, b_o by name, in `dtype`.
        x: Inputs, (N, n_in).
        y: Targets, (N, n_out).
        frozen: The parameters that are not trained.
        seed: Of the numbers that were drawn; None where all were given.
        data: The name of the table that x and y come from; None where there is none.
        standardize: Whether the columns of x and y were scaled.
    """

    sizes: Sizes
    parameters: Quantities
    x: Array
    y: Array
    lr: float
    steps: int
    batch_size: int | None
    hidden_activation: str
    output_activation: str
    loss: str
    frozen: tuple[str, ...]
    dtype: str
    seed: int | None = None
    data: str | None = None
    standardize: bool = False

    @property
    def samples(self) -> int:
        return len(self.x)

    @property
    def batch_samples(self) -> int:
        """How many samples a step sees; the last batch of a pass may have fewer."""
        return len(self.batch(1)[0])

    @property
    def is_the_lectures(self) -> bool:
        """Whether it is the lecture's network on one sample, whose numbers are scalars."""
        return self.sizes == (2, 2, 2) and self.batch_samples == 1

    @property
    def multiply_adds(self) -> int:
        """Of the forward products of a step: what its cost grows with."""
        n_in, n_hidden, n_out = self.sizes
        return self.batch_samples * n_hidden * (n_in + n_out)

    @property
    def network_settings(self) -> dict[str, Any]:
        """The settings as the keyword arguments of a built-in step."""
        names = ("hidden_activation", "output_activation", "loss", "frozen")
        return {name: getattr(self, name) for name in names}

    @property
    def settings(self) -> dict[str, Any]:
        """What was set or follows from it, by the keys of a problem file."""
        names = (
            "samples data standardize seed hidden_activation output_activation loss lr batch_size "
            "frozen dtype"
        )
        sizes = "-".join(map(str, self.sizes))
        return {"sizes": sizes} | {name: getattr(self, name) for name in names.split()}

    @cached_property
    def _batches(self) -> list[tuple[Array, Array]]:
        size = self.batch_size or self.samples
        return [(self.x[i : i + size], self.y[i : i + size]) for i in range(0, self.samples, size)]

    def batch(self, n: int) -> tuple[Array, Array]:
        """The rows (x, y) of training step n = 1, 2, …: in file order, then from the top again."""
        return self._batches[(n - 1) % len(self._batches)]

    def start(self, n: int, parameters: Quantities) -> Start:
        """What training step n starts from."""
        x, y = self.batch(n)
        return Start(parameters, x, y, self.lr)


def read_file(path: str | Path, untrusted: bool = False) -> dict[str, Any]:
    """The checked values of a TOML problem file.

    The files that it names are looked for beside it, then where the command runs.

    Args:
        path: The file.
        untrusted: Whether keys that say how to judge, what to read or to write are refused.

    Raises:
        Unusable: The file cannot be read or used.
    """
    raw = read_toml(path)
    if untrusted:
        demand_describing(raw, lambda key: f"{path}: {key}", "an untrusted file")
    if not raw:
        raise Unusable(f"{path}: the file is empty; expected keys such as sizes, x, y, lr")
    values = check(raw, lambda key: f"{path}: {key}")
    for key in ("data", "derivation", "numbers"):
        if key in values and os.path.exists(Path(path).parent / file_and_function(values[key])[0]):
            values[key] = str(Path(path).parent / values[key])
    return values


def make_problem(values: dict[str, Any]) -> Problem:
    """The Problem that checked values describe; what they leave open is drawn or has its default.

    Raises:
        Unusable: If they do not agree, or are beyond the dtype.
    """
    if not _DRAWN_BY & values.keys():
        values = values | check(LECTURE, str)
    given = {name: values.get(name) for name in PARAMETERS} | _given_data(values)
    sizes, samples = _agreed_sizes({n: a for n, a in given.items() if a is not None}, values)
    _fits_into_memory(sizes, samples)

    values = DEFAULTS | values
    dtype = values["dtype"]
    random = np.random.default_rng(values["seed"])
    arrays: Quantities = {}
    for name, array in given.items():
        shape = shape_of(name, sizes, samples)
        is_weight = name in PARAMETERS
        drawn = random.uniform(-1, 1, shape) if is_weight else random.standard_normal(shape)
        arrays[name] = _rounded(name, drawn if array is None else array, dtype)
    x, y = arrays.pop("x"), arrays.pop("y")
    if values.get("standardize"):
        x, y = _standardized("x", x), _standardized("y", y)

    lr, largest = values["lr"], np.finfo(dtype).max
    if abs(lr) > float(largest):
        raise Unusable(f"lr: {lr!r} is beyond the largest {dtype}; expected up to {largest:g}")
    names = "lr steps batch_size hidden_activation output_activation loss frozen dtype".split()
    settings: dict[str, Any] = {name: values.get(name) for name in names}
    settings["seed"] = None if all(a is not None for a in given.values()) else values["seed"]
    settings["data"] = base_name(values["data"]) if "data" in values else None
    settings["standardize"] = values.get("standardize", False)
    return Problem(sizes, arrays, x, y, **settings)


def _given_data(values: dict[str, Any]) -> dict[str, Array | None]:
    """x and y as given, from a table or as lists; None where they are to be drawn."""
    if "data" not in values:
        for key in ("inputs", "targets"):
            if key in values:
                raise Unusable(f"{key}: names columns of a CSV file; expected data to be given too")
        return {"x": values.get("x"), "y": values.get("y")}
    for key in ("x", "y"):
        if key in values:
            raise Unusable(f"{key}: given together with data; expected one of the two")
    for key in ("inputs", "targets"):
        if key not in values:
            columns = f"the names of columns of {values['data']}"
            raise Unusable(f"data: expected {key} as well, {columns}")
    x, y = read_table(values["data"], values["inputs"], values["targets"])
    return {"x": x, "y": y}


def _agreed_sizes(arrays: Quantities, values: dict[str, Any]) -> tuple[Sizes, int]:
    """(n_in, n_hidden, n_out) and N: what is given must agree; the rest has its default."""
    claims = []
    for name, array in arrays.items():
        origin = values["data"] if name in ("x", "y") and "data" in values else name
        for axis, length in zip(_AXES[name], array.shape, strict=True):
            claims.append((axis, length, f"{origin} (shape {'×'.join(map(str, array.shape))})"))
    if "sizes" in values:
        text = "-".join(map(str, values["sizes"]))
        claims += [
            (axis, n, f"sizes {text}")
            for axis, n in zip(("n_in", "n_hidden", "n_out"), values["sizes"], strict=True)
        ]
    if "samples" in values:
        claims.append(("N", values["samples"], "samples"))

    agreed: dict[str, tuple[int, str]] = {}
    for axis, length, origin in claims:
        known, first = agreed.setdefault(axis, (length, origin))
        if known != length:
            raise Unusable(
                f"{origin}: has {axis} = {length}, but {first} has {axis} = {known}; expected them "
                "to agree"
            )
    n_in = agreed.get("n_in", (2, ""))[0]
    n_hidden = agreed.get("n_hidden", (n_in, ""))[0]
    n_out = agreed.get("n_out", (2, ""))[0]
    return (n_in, n_hidden, n_out), agreed.get("N", (1, ""))[0]


def _fits_into_memory(sizes: Sizes, samples: int) -> None:
    """Raise Unusable where a step of both sides needs more than the machine's memory."""
    numbers = values_in((*GIVEN, *COMPUTED), sizes, samples)
    if 8 * 6 * numbers > _memory():
        raise Unusable(
            f"sizes: {'-'.join(map(str, sizes))} with {samples} samples do not fit into memory"
        )


def _memory() -> float:
    """The machine's memory in bytes; infinite where the system does not say."""
    try:
        pages = os.sysconf("SC_PHYS_PAGES")
        return os.sysconf("SC_PAGE_SIZE") * pages if pages > 0 else math.inf
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, others not this name
        return math.inf


def _rounded(name: str, array: Array, dtype: str) -> Array:
    """The array in a dtype that can tell its values apart from 0 and infinity."""
    with np.errstate(over="ignore"):
        rounded = array.astype(dtype)
    if (lost := (rounded == 0) & (array != 0)).any():
        value = float(array[lost][0])
        raise Unusable(
            f"{name}: {value!r} is 0 as a {dtype}; expected values that it can tell from 0"
        )
    if (np.isfinite(array) & ~np.isfinite(rounded)).any():
        raise Unusable(
            f"{name}: has a value beyond the largest {dtype}; expected values up to "
            f"{np.finfo(dtype).max:g}"
        )
    return rounded


def _standardized(name: str, array: Array) -> Array:
    """Every column to mean 0 and variance 1 (divided by N)."""
    with np.errstate(over="ignore", invalid="ignore"):
        columns = array.astype(np.float64)
        centred = columns - columns.mean(axis=0)
        deviation = centred.std(axis=0)
    if not (np.isfinite(deviation).all() and deviation.all()):
        column = int(np.argmin(np.isfinite(deviation) & (deviation > 0))) + 1
        raise Unusable(
            f"standardize: column {column} of {name} has no finite variance above 0; expected one "
            "that varies"
        )
    return np.asarray(centred / deviation, array.dtype)
