"""The result as strict JSON: one document for a run, or a line a step (the trace)."""

import json
import math
from typing import Any

import numpy as np

from lockstep.evidence.comparison import Comparison
from lockstep.network.problem import Problem
from lockstep.run.record import Record


def document(result: Comparison) -> str:
    """The JSON document of a run, as text."""
    return line(result.document())


def strict(value: Any) -> Any:
    """Plain lists for arrays, and "nan", "inf" or "-inf" for numbers that JSON does not have."""
    if isinstance(value, np.ndarray | np.generic):
        return strict(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def problem_line(problem: Problem) -> str:
    """The first line of a trace: the problem, with the keys of a problem file."""
    described = problem.network_settings
    frozen, loss = described.pop("frozen"), described.pop("loss")
    keys: dict[str, Any] = {
        "sizes": "-".join(map(str, problem.sizes)),
        "x": problem.x,
        "y": problem.y,
    }
    keys |= problem.parameters | (problem.memory or {}) | problem.masks
    keys |= {"lr": problem.lr, "loss": loss} | described
    keys |= {"dtype": problem.dtype, "frozen": frozen}
    if problem.batch_size:
        keys["batch_size"] = problem.batch_size
    return line({"problem": keys})


def step_line(record: Record) -> str:
    """A line of a trace: what the step started from, both sides' values, PyTorch's by "torch"."""
    start = record.start
    sides = start.parameters | (start.memory or {}) | record.returned() | {"torch": record.torch}
    return line({"step": record.number} | sides)


def line(values: dict[str, Any]) -> str:
    """A document as a line of strict JSON."""
    return json.dumps(strict(values), allow_nan=False) + "\n"
