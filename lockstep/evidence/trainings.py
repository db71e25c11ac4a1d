"""Both trainings, each on its own: what a derivation makes of the network, and PyTorch."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from lockstep.errors import Unusable
from lockstep.explain.formulas import evaluate, formulas, surroundings
from lockstep.network.names import Quantities
from lockstep.network.problem import Problem
from lockstep.run.steps import after, by_torch
from lockstep.run.threads import threads
from lockstep.sides.answer import Answer
from lockstep.sides.side import Side, Turn, afresh
from manual_backprop.activations import activation

MOST_STEPS = 1000
MOST_SECONDS = 10.0  # after which a training is not gone on with
FAR = 1e3  # how many times PyTorch's largest loss is shown where the other one diverges


@dataclass(frozen=True)
class Trainings:
    """The loss while each side trains the network alone, from the same start and on the same data.

    PyTorch computes the loss from the weights of either side, so a wrong loss by hand is not in it.

    Attributes:
        by_hand: `by_hand[n]` is the loss after n steps, on the data of step n + 1. The list ends
            with the first loss that is not finite; it is empty where the side cannot train.
        by_torch: The same for PyTorch.
        completed: The parameters whose new values the side does not return in full. They follow
            from what it does return, by the right formulas.
        why_not: Why `by_hand` is empty or ends early, as a sentence without a full stop; empty
            where it is complete, and where the loss stopped being finite.
    """

    by_hand: list[float]
    by_torch: list[float]
    completed: list[str] = field(default_factory=list)
    why_not: str = ""


def trainings(problem: Problem, side: Side) -> Trainings:
    """Train the network twice: by what the side returns, and by PyTorch.

    The side is loaded afresh, and called once a step. At each step its own numbers stand in the
    place of the right ones, and what it leaves out follows from them by the right formulas: its
    gradients go through the optimiser's own update. At most `MOST_STEPS` steps are made,
    and none after `MOST_SECONDS`.

    Args:
        problem: What is trained.
        side: A side by hand that was compared before. Recorded numbers cannot train.

    Examples:
        >>> from lockstep.setup.problem import make_problem
        >>> from lockstep.sides.built_in import BuiltIn
        >>> found = trainings(make_problem({"steps": 100}), BuiltIn())
        >>> len(found.by_hand), found.by_hand[100] < 0.1 * found.by_hand[0]
        (101, True)
    """
    by_hand: list[float] = []
    missing: set[str] = set()
    why_not = "" if side.others else "recorded numbers cannot train the network on"

    def right(turn: Turn, torch: Quantities) -> Quantities:
        return torch

    def own(turn: Turn, torch: Quantities) -> Quantities:
        answer = again.answer(turn, problem, torch)
        missing.update(
            name
            for name in problem.network.parameters
            if f"new_{name}" not in answer.values or f"new_{name}" in answer.covered
        )
        return _completed(problem, turn, answer)

    with threads(), np.errstate(all="ignore"):
        torch: list[float] = []
        with suppress(Unusable):  # it is as long as there was time
            for loss in _losses(problem, right):
                torch.append(loss)
        if side.others:
            try:
                with afresh(side) as again:
                    again.prepare(problem)
                    for loss in _losses(problem, own):
                        by_hand.append(loss)
            except Unusable as reason:
                why_not = str(reason)
    completed = [name for name in problem.network.parameters if name in missing]
    return Trainings(by_hand, torch, completed, why_not)


def _losses(problem: Problem, step: Callable[[Turn, Quantities], Quantities]) -> Iterator[float]:
    """The loss before each step, and after the last. step: from PyTorch's quantities to its own."""
    state, last = problem.state, min(problem.steps, MOST_STEPS)
    end = time.monotonic() + MOST_SECONDS
    for number in range(1, last + 1):
        start = problem.start(number, state)
        torch = by_torch(problem, start)
        loss = float(torch["loss"])
        yield loss
        if not isfinite(loss):
            return
        if time.monotonic() > end:
            raise Unusable(f"more steps would take longer than {MOST_SECONDS:g} s")
        state = after(problem.network, step(Turn(number, start), torch))
    yield float(by_torch(problem, problem.start(last + 1, state))["loss"])


def _completed(problem: Problem, turn: Turn, answer: Answer) -> Quantities:
    """Every quantity of a step: those that were returned, the others by their formulas from them.

    Raises:
        Unusable: One has another shape.
    """
    network, right = problem.network, formulas(problem.network)
    for name, array in answer.misshapen.items():
        raise Unusable(f"{name} has the shape {array.shape}, which cannot train the network")
    names = surroundings(network, turn.start, activation)
    for name in network.computed:
        own, covered = answer.values.get(name), answer.covered.get(name)
        if own is None or covered is not None:
            names[name] = evaluate(right[name], names, right)
        if own is not None:
            names[name] = own if covered is None else np.where(covered, own, names[name])
    return {name: np.asarray(names[name], problem.dtype) for name in network.computed}
