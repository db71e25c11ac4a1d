"""Sentences about what a problem shows and what it hides."""

from typing import Any

from lockstep.network.problem import Problem
from lockstep.text import counted


def battery_remark(battery: dict[str, Any]) -> str:
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


def would_show(problem: Problem, steps: int) -> str:
    """Options with which the same network would show more; "" where nothing is left to ask for."""
    options = []
    if problem.batch_samples == 1:
        options.append("--samples 5")
    if "linear" in (problem.hidden_activation, problem.output_activation):
        options.append("--hidden-activation sigmoid --output-activation tanh")
    if steps < 2:
        options.append("--steps 2")
    if len(set(problem.sizes)) > 1:
        options.append("a square network such as --sizes 3-3-3")
    return ", ".join(options)
