"""The remarks of a report: sentences that are not the verdict. One function for each."""

from typing import Any

import numpy as np

from lockstep.evidence.comparison import Comparison
from lockstep.evidence.trainings import MOST_STEPS, Trainings
from lockstep.explain.diagnosis import Diagnosis
from lockstep.network.network import WITH_ACTIVATION
from lockstep.network.problem import Problem
from lockstep.run.record import Record
from lockstep.run.result import LostDigits
from lockstep.sides.side import Side
from lockstep.text import counted, grouped

_NAMED = 12  # quantities that a note lists


def not_judged(record: Record) -> list[str]:
    """What a derivation did not return."""
    returned = {*record.manual, *record.misshapen}
    asked = {*returned, *record.given}
    missing = [name for name in record.network.computed if name not in asked]
    missing += [f"a part of {name}" for name in record.covered if name not in record.given]
    found = [f"not returned, so not judged: {', '.join(missing)}"] if missing else []
    if record.given:
        found.append(f"given, not derived, so not judged: {', '.join(record.given)}")
    return found


def reshaped(record: Record) -> list[str]:
    """What came in another shape that can be read in one way alone."""
    found = []
    for is_column, shape, singular, read in (
        (False, "the shape of a row or a column", "a list of numbers", "lists of numbers"),
        (True, "the shape of a list of numbers", "a column", "columns"),
    ):
        names = [
            record.names.get(name, name)
            for name in record.reshaped
            if (record.torch[name].ndim == 2) is is_column
        ]
        if len(names) > 1:
            found.append(f"{', '.join(names)} have {shape} and were read as {read}")
        elif names:
            found.append(f"{names[0]} has {shape} and was read as {singular}")
    return found


def conventions(side: Side) -> list[str]:
    """How the side's arrays are laid out and named, where that is not as in the tables."""
    found = side.conventions.sentences()
    return [f"your convention{'s' if len(found) > 1 else ''}: {'; '.join(found)}"] if found else []


def not_known(record: Record) -> list[str]:
    """Names that were returned and are of no computed quantity."""
    network = record.network
    own = {name: network.quantity(name, network.given) for name in record.extra}
    given = [name for name, of in own.items() if of in (*network.given, "lr", "step")]
    others = []
    for name, near in record.extra.items():
        hint = f" ({near.removeprefix('; ')})" if near else ""
        others += [name + hint] if name not in given else []
    found = []
    if given:
        after = next((f" (after the step a parameter is called new_{of})" for of in own.values()
                      if of in network.parameters), "")  # fmt: skip
        found.append(f"what the step starts from is not judged: {_listed(given)}{after}")
    return found + ([f"not judged, as no quantity: {_listed(others)}"] if others else [])


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def loses_digits(lost: LostDigits) -> str:
    """An activation that is right, by a formula that cancels."""
    return (
        f"{lost.name} is right, but its formula for {lost.activation} loses digits where the "
        f"value is small: at step {grouped(lost.step)}, {lost.label} has "
        f"{counted(lost.digits, 'correct digit')}"
    )


def follows(record: Record, found: list[Diagnosis], wrong: set[str]) -> list[str]:
    """What else differs, only because something before does. wrong: see `Case.globally_wrong`."""
    explained = {name for diagnosis in found for name in diagnosis.explains}
    led = [name for name in record.manual if name in wrong - explained]
    differ = "differs" if len(led) == 1 else "differ"
    return [f"{_listed(led)} {differ} only because of that"] if led and explained else []


def wrong_elsewhere(battery: dict[str, Any]) -> str:
    """A sentence on what the battery found; "" where everything matched.

    Args:
        battery: as in the JSON document; see `lockstep.evidence.battery.Battery`.
    """
    smallest = battery["smallest"]
    if smallest is None:
        return ""
    size = "-".join(map(str, smallest["sizes"]))
    samples = counted(smallest["samples"], "sample")
    what = f"first differs at {smallest['quantity']}" if smallest["quantity"] else "cannot be run"
    failing = f"{battery['problems'] - battery['matching']} of {battery['problems']} others"
    return (
        f"within rounding on this problem, but wrong on {failing}: "
        f"with {size} and {samples} it {what}"
    )


def would_show(problem: Problem, steps: int, is_users: bool = False) -> str:
    """Options with which the same network would show more; "" where nothing is left to ask for.

    is_users: The side by hand is the user's, who may have written its activations into it.
    """
    square = "-".join(["3"] * len(problem.sizes))
    *hidden, output = problem.network.activations
    own = problem.loss in WITH_ACTIVATION  # the output's activation belongs to it
    is_users &= {*problem.network.activations} > {"linear"}
    options = {
        "--samples 5": problem.batch_samples == 1,
        "--hidden-activation sigmoid --output-activation tanh": "linear" in (*hidden, output)
        and not (own or is_users),
        "--hidden-activation sigmoid": "linear" in hidden and own and not is_users,
        "--steps 2": steps < 2,
        f"a square network such as --sizes {square}": len(set(problem.sizes)) > 1,
    }
    return ", ".join(option for option, helps in options.items() if helps)


def of_trainings(both: Trainings, result: Comparison) -> str:
    """What the losses of both trainings are, and what the side by hand did not give for its own."""
    who = "your step" if result.by_hand.is_users else "the code by hand"
    said = [
        f"Loss: the network is trained twice from the same start, by {who} and by PyTorch; PyTorch "
        "computes both losses."
    ]
    if both.completed:
        names = ", ".join(f"new_{name}" for name in both.completed)
        given = "the right formulas give it from what is returned"
        said.append(f"{who.capitalize()} does not return all of {names}: {given}.")
    done, made = len(both.by_hand) - 1, len(both.by_torch) - 1
    if both.why_not:
        said.append(f"The training by {who} ends after {done} steps: {both.why_not}.")
    elif not np.isfinite(both.by_hand[-1]):
        said.append(f"Trained by {who}, the loss is no longer finite after {done} steps.")
    elif done == made and np.allclose(both.by_hand, both.by_torch, rtol=1e-6, atol=0):
        said.append("Both trainings are the same: what differs changes no parameter.")
    if made == MOST_STEPS < result.problem.steps:
        said.append(f"These are the first {made} steps.")
    return " ".join(said)
