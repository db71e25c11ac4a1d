"""The result as strict JSON: one document for a run, or a line a step (the trace)."""

import json
import math

import numpy as np

from lockstep.network.names import PARAMETERS


def document(result):
    """The JSON document of a run, as text."""
    return json.dumps(strict(result.document()), allow_nan=False) + "\n"


def strict(value):
    """The value with "nan", "inf" or "-inf" in place of numbers that JSON does not have."""
    if isinstance(value, float):
        return (
            value
            if math.isfinite(value)
            else "nan"
            if math.isnan(value)
            else "inf"
            if value > 0
            else "-inf"
        )
    if isinstance(value, dict):
        return {name: strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def problem_line(problem):
    """The first line of a trace: the problem, with the keys of a problem file."""
    names = ("lr", "loss", "hidden_activation", "output_activation", "dtype", "frozen")
    keys = {"sizes": "-".join(map(str, problem.sizes)), "x": problem.x, "y": problem.y}
    keys |= problem.parameters | {name: getattr(problem, name) for name in names}
    if problem.batch_size:
        keys["batch_size"] = problem.batch_size
    return _line({"problem": keys})


def step_line(record):
    """A line of a trace: what the step started from, what came out by hand, and by PyTorch under "torch"."""
    started = {name: record.parameters[name] for name in PARAMETERS}
    return _line({"step": record.number} | started | record.manual | {"torch": record.torch})


def _line(values):
    return json.dumps(strict(_plain(values)), allow_nan=False) + "\n"


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
