"""The side by hand as the options name it: a file's function, numbers on paper, a recording."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockstep.errors import Unusable
from lockstep.network.conventions import conventions
from lockstep.network.problem import UNTOLD
from lockstep.setup.files import parsed, read_bytes
from lockstep.setup.options import DESCRIBING, demand_describing, file_and_function
from lockstep.setup.problem import checked
from lockstep.sides.built_in import BuiltIn
from lockstep.sides.child import Child
from lockstep.sides.code import Here, demand_function
from lockstep.sides.function import Function
from lockstep.sides.limits import Limits
from lockstep.sides.paper import read_numbers
from lockstep.sides.recording import Recording
from lockstep.sides.side import Side
from lockstep.text import base_name


def side_by_hand(
    values: dict[str, Any],
    step: Callable[..., Any] | Side | str | Path | None = None,
    limits: Limits | None = None,
) -> Side:
    """The side to judge: what was given, else what the options name, else the project's own.

    Args:
        values: Checked options. They get the `derivation` that a path stands for, and the steps
            that the numbers ask for.
        step: A function, the path of a file that has one, or a side.
        limits: What a derivation may use; else the options say it.

    Raises:
        Unusable: If more than one side is given, or it cannot be read.
    """
    named = [key for key in ("derivation", "numbers") if key in values]
    if len(named) > 1:
        raise Unusable("--numbers: given together with a derivation; expected one of the two")
    if named and step is not None:
        raise Unusable(f"{named[0]}: given together with a step; expected one of the two")
    if isinstance(step, str | Path):
        values["derivation"] = str(step)
    if "derivation" in values:
        path, name = file_and_function(values["derivation"])
        seconds, memory = values.get("time_limit", 0), values.get("memory_limit", 0)
        limits = limits or Limits(seconds, memory=memory)
        source = read_bytes(path, "Python")
        demand_function(source, path, name)
        code = Child(path, source, name, limits)
        _set(values, parsed(code.settings, f"{path}: PROBLEM: ", "{}"), path)
        function = Function(code, conventions(values))
        function.file = base_name(path) + (f":{name}" if name != "step" else "")
        return function
    if "numbers" in values:
        numbers = _numbers(values)
        numbers.file = "" if values["numbers"] == "-" else base_name(values["numbers"])
        return numbers
    if isinstance(step, Side):
        return step
    if step is None or isinstance(step, str | Path):
        return BuiltIn()
    return Function(Here(step), conventions(values))


def _set(values: dict[str, Any], own: dict[str, Any], path: str) -> None:
    """Set what a derivation's own file says of the problem, where the options do not say it."""

    def where(key: str) -> str:
        return f"{path}: PROBLEM: {key}"

    demand_describing(own, where, "a derivation")
    found = checked(own, where, DESCRIBING)
    layers = ("activations", "hidden_activation", "output_activation")
    for group in (layers, ("data", "x", "y")):  # which say the same
        if values.keys() & {*group}:
            found = {key: value for key, value in found.items() if key not in group}
    for key, value in found.items():
        values.setdefault(key, value)


def _numbers(values: dict[str, Any]) -> Side:
    """The numbers of a file, from paper or recorded."""
    if values["numbers"] != "-" and not values["numbers"].endswith(".jsonl"):
        paper = read_numbers(values["numbers"])
        values.setdefault("steps", paper.last_step)
        return paper
    recording = Recording(values["numbers"], values)
    for key, value in ({"steps": UNTOLD} | recording.keys).items():
        values.setdefault(key, value)
    recording.assumed = {"lr", "loss"} - values.keys()
    return recording
