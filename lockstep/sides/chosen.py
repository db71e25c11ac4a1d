"""The side by hand as the options name it: a file's function, numbers on paper, a recording."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockstep.errors import Unusable
from lockstep.network.options import file_and_function
from lockstep.network.problem import UNTOLD
from lockstep.sides.built_in import BuiltIn
from lockstep.sides.function import Function, load
from lockstep.sides.paper import read_numbers
from lockstep.sides.recording import Recording
from lockstep.sides.side import Side
from lockstep.text import base_name


def side_by_hand(
    values: dict[str, Any], step: Callable[..., Any] | Side | str | Path | None = None
) -> Side:
    """The side to judge: what was given, else what the options name, else the project's own.

    Args:
        values: Checked options. They get the `derivation` that a path stands for, and the steps
            that the numbers ask for.
        step: A function, the path of a file that has one, or a side.

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
        location = values["derivation"]
        function = Function(load(location), lambda: load(location))
        path, name = file_and_function(location)
        function.file = base_name(path) + (f":{name}" if name != "step" else "")
        return function
    if "numbers" in values:
        numbers = _numbers(values)
        numbers.file = "" if values["numbers"] == "-" else base_name(values["numbers"])
        return numbers
    if isinstance(step, Side):
        return step
    return BuiltIn() if step is None or isinstance(step, str | Path) else Function(step)


def _numbers(values: dict[str, Any]) -> Side:
    """The numbers of a file, from paper or recorded."""
    if values["numbers"] != "-" and not values["numbers"].endswith(".jsonl"):
        paper = read_numbers(values["numbers"])
        values.setdefault("steps", paper.last_step)
        return paper
    recording = Recording(values["numbers"])
    for key, value in ({"steps": UNTOLD} | recording.keys).items():
        values.setdefault(key, value)
    recording.assumed = {"lr", "loss"} - values.keys()
    return recording
