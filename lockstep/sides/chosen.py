"""The side by hand as the keys name it: a function of a file, numbers worked out on paper, or a recording."""

from pathlib import Path

from lockstep.errors import Unusable
from lockstep.network.problem import UNTOLD
from lockstep.sides.function import load
from lockstep.sides.paper import read_numbers
from lockstep.sides.recording import Recording


def side_by_hand(values, step=None):
    """The step to judge: what was given, else what the keys `derivation` or `numbers` name, else None.

    values: checked keys; it gets the `derivation` that a path stands for, and the steps that the numbers ask for.
    Raises Unusable.
    """
    named = [key for key in ("derivation", "numbers") if key in values]
    if len(named) > 1:
        raise Unusable("--numbers: given together with a derivation; expected one of the two")
    if named and step is not None:
        raise Unusable(f"{named[0]}: given together with a step; expected one of the two")
    if isinstance(step, str | Path):
        values["derivation"] = str(step)
    if "derivation" in values:
        return load(values["derivation"])
    if "numbers" not in values:
        return step
    if values["numbers"] != "-" and not values["numbers"].endswith(".jsonl"):
        paper = read_numbers(values["numbers"])
        values.setdefault("steps", paper.last_step)
        return paper
    recording = Recording(values["numbers"])
    for key, value in ({"steps": UNTOLD} | recording.keys).items():
        values.setdefault(key, value)
    recording.assumed = {"lr", "loss"} - values.keys()
    return recording
