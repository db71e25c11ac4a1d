"""What to run: network, data and settings, from checked options or drawn where not given."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.conventions import as_ours
from lockstep.network.names import Array, Quantities
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.network.problem import Problem, zeros
from lockstep.setup.description import described
from lockstep.setup.files import nearest, read_table, read_toml
from lockstep.setup.options import (
    DEFAULTS,
    OPTIONS,
    Option,
    array_option,
    check,
    demand_describing,
    file_and_function,
)
from lockstep.text import base_name
from manual_backprop.losses import one_hot

# What `compare.py` runs with no argument: the lecture's 2-2-2 network on fixed example numbers.
LECTURE: dict[str, Any] = {
    "x": [[0.5, 0.8]],
    "y": [[0.3, 0.9]],
    "W_h": [[0.4, -0.3], [0.2, 0.7]],
    "b_h": [0.1, -0.2],
    "W_o": [[0.6, -0.5], [-0.4, 0.8]],
    "b_o": [0.25, 0.15],
}
_KEPT = 0.5  # by drawn masks
_DRAWN_BY = {"sizes", "samples", "data", "seed", "x", "y", "activations", "biases", "no_biases"}


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
    values = checked(raw, lambda key: f"{path}: {key}")
    for key in ("data", "derivation", "numbers"):
        if key in values and os.path.exists(Path(path).parent / file_and_function(values[key])[0]):
            values[key] = str(Path(path).parent / values[key])
    return values


def checked(
    raw: Mapping[str, Any],
    where: Callable[[str], str],
    options: Mapping[str, Option] = OPTIONS,
) -> dict[str, Any]:
    """`check`, of keys whose arrays may have a layout and names of their own."""
    try:
        ours = as_ours(raw)
    except Unusable as reason:
        raise Unusable(where(str(reason))) from None
    return check(ours, where, options)


def make_problem(values: dict[str, Any]) -> Problem:
    """The Problem that checked values describe; what they leave open is drawn or has its default.

    Raises:
        Unusable: If they do not agree, or are beyond the dtype.
    """
    usual = {name: value for name, value in DEFAULTS.items() if name != "samples"}
    values = usual | _or_the_lectures(values)
    data = _given_data(values)
    arrays = {name: array for name, array in values.items() if array_option(name)}
    network, samples = described(values, arrays, data)
    given = data | _by_name(network, arrays)
    _fits_into_memory(network, samples)

    dtype = values["dtype"]
    drawn = _drawn(network, samples, np.random.default_rng(values["seed"]))
    found = {name: _rounded(name, array, dtype) for name, array in (drawn | given).items()}
    x, y = found["x"], found["y"]
    if values.get("standardize"):
        x = _standardized("x", x)
        y = y if network.loss in WITH_ACTIVATION else _standardized("y", y)

    lr, largest = values["lr"], np.finfo(dtype).max
    if abs(lr) > float(largest):
        raise Unusable(f"lr: {lr!r} is beyond the largest {dtype}; expected up to {largest:g}")
    parameters = {name: found[name] for name in network.parameters}
    memory = {name: found[name] for name in network.memory if name in found}
    return Problem(
        network,
        parameters,
        x,
        y,
        lr=lr,
        steps=values["steps"],
        batch_size=values.get("batch_size"),
        dtype=dtype,
        memory=zeros(network, parameters) | memory if memory else None,
        masks={name: found[name] for name in network.masked},
        seed=None if drawn.keys() <= given.keys() else values["seed"],
        data=base_name(values["data"]) if "data" in values else None,
        standardize=values.get("standardize", False),
        title=values.get("title", ""),
        labels=values.get("labels", {}),
    )


def alike(problem: Problem, other: Problem) -> Problem:
    """The other problem with its targets in the form of this one's, and with masks like its."""
    network = replace(other.network, labels=problem.network.labels, masks=problem.network.masks)
    y, random = other.y, np.random.default_rng(other.seed)
    if other.network.labels and not network.labels:
        y = one_hot(y, network.sizes[-1], other.x.dtype)
    masks = {
        name: (random.random(network.shape(name, len(y))) < _KEPT).astype(other.x.dtype) / _KEPT
        for name in network.masked
    }
    return replace(other, network=network, y=y, masks=masks)


def required(asked: Sequence[str], network: Network) -> tuple[str, ...]:
    """The names of what must be returned, of all, gradients or names in either vocabulary.

    Raises:
        Unusable: There is no such quantity.
    """
    groups = {"all": network.computed, "gradients": network.gradients}
    found: list[str] = []
    for name in asked:
        own = network.quantity(name, network.judged)
        if name not in groups and own not in network.judged:
            names, near = ", ".join(network.computed), nearest(name, network.judged)
            raise Unusable(
                f"require: expected all, gradients, or names out of {names}, got {name}{near}"
            )
        found += groups.get(name, (own,))
    return tuple(found)


def _or_the_lectures(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with the lecture's numbers where nothing describes a network or its data."""
    if _DRAWN_BY & values.keys() or any(map(array_option, values)):
        return values
    has_classes = values.get("loss") in WITH_ACTIVATION  # which are drawn
    lectures = {name: it for name, it in LECTURE.items() if name != "y" or not has_classes}
    return check(lectures, str) | values


def _by_name(network: Network, arrays: Quantities) -> Quantities:
    """Parameters, memory and masks that are given, by the names that reports use."""
    given: Quantities = {}
    for name, array in arrays.items():
        own = network.name(name)
        if own not in network.given:
            raise Unusable(f"{name}: this network has none; expected {', '.join(network.given)}")
        if own in given:
            raise Unusable(f"{name}: given twice, also as {own}; expected one of the two")
        given[own] = array
    return given


def _drawn(network: Network, samples: int, random: np.random.Generator) -> Quantities:
    """Parameters uniform in (−1, 1), inputs and targets standard normal, classes evenly."""
    found: Quantities = {}
    for name in (*network.parameters, "x", "y"):
        shape = network.shape(name, samples)
        if name in network.parameters:
            found[name] = random.uniform(-1, 1, shape)
        elif name == "y" and network.labels:
            found[name] = random.integers(0, network.sizes[-1], shape)
        elif name == "y" and network.loss in WITH_ACTIVATION:
            found[name] = random.integers(0, 2, shape).astype(np.float64)
        else:
            found[name] = random.standard_normal(shape)
    return found


def _given_data(values: dict[str, Any]) -> Quantities:
    """x and y as given, from a table or as lists; what is to be drawn is not there."""
    if "data" not in values:
        for key in ("inputs", "targets"):
            if key in values:
                raise Unusable(f"{key}: names columns of a CSV file; expected data to be given too")
        return {name: values[name] for name in ("x", "y") if name in values}
    for key in ("x", "y"):
        if key in values:
            raise Unusable(f"{key}: given together with data; expected one of the two")
    for key in ("inputs", "targets"):
        if key not in values:
            columns = f"the names of columns of {values['data']}"
            raise Unusable(f"data: expected {key} as well, {columns}")
    x, y = read_table(values["data"], values["inputs"], values["targets"])
    return {"x": x, "y": y}


def _fits_into_memory(network: Network, samples: int) -> None:
    """Raise Unusable where a step of both sides needs more than the machine's memory."""
    numbers = network.size((*network.given, *network.computed), samples)
    if 8 * 6 * numbers > _memory():
        sizes = "-".join(map(str, network.sizes))
        raise Unusable(f"sizes: {sizes} with {samples} samples do not fit into memory")


def _memory() -> float:
    """The machine's memory in bytes; infinite where the system does not say."""
    try:
        pages = os.sysconf("SC_PHYS_PAGES")
        return os.sysconf("SC_PAGE_SIZE") * pages if pages > 0 else math.inf
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, others not this name
        return math.inf


def _rounded(name: str, array: Array, dtype: str) -> Array:
    """The array in a dtype that can tell its values from 0 and infinity; labels as they are."""
    if array.dtype.kind == "i":
        return array
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
