"""The steps of a run: what each side started from, and what came out by hand and by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.bound.allowed import Limits
from lockstep.network.names import PARAMETERS, Quantities
from lockstep.network.problem import Problem, Start
from lockstep.run.record import Jump, Record
from lockstep.sides.answer import Answer
from lockstep.sides.side import Claim, Side, Turn
from torch_reference import two_layer

Tolerance = Callable[[Quantities, Start], Limits]


def records(problem: Problem, tolerance: Tolerance, side: Side) -> Iterator[Record]:
    """Both sides step by step.

    Strict: each step starts on both sides from PyTorch's current weights, or from a recording's
    own. Free: beside that, a side that trains alone keeps its own weights from the first step on;
    beside a recording, which does so anyway, PyTorch trains alone. How far these two have drifted
    apart is in `Record.free`; it is not judged.
    """
    side.prepare(problem)
    parameters = problem.parameters
    alone = parameters if side.trains_alone else None
    own: Quantities | None = None  # PyTorch's, beside a recording
    last: Record | None = None
    number = 1
    while (turn := side.turn(number, problem, parameters)) is not None:
        torch = by_torch(problem, turn.start)
        parameters = after(torch)
        with np.errstate(all="ignore"):
            answer = side.answer(turn, problem, torch)
            if alone is not None:
                alone = after(_again(side, turn, alone, answer, problem, torch))
            if side.by_its_own_weights:
                started = turn.start.parameters if own is None else own
                own = after(by_torch(problem, replace(turn.start, parameters=started)))
        last = Record(
            turn.number,
            turn.start.parameters,
            turn.start.x,
            turn.start.y,
            turn.start.lr,
            answer.values,
            torch,
            bound=_bound(tolerance, turn.start, torch, answer),
            sizes=problem.sizes,
            dtype=problem.dtype,
            covered=answer.covered,
            misshapen=answer.misshapen,
            given=answer.given,
            printed=answer.printed,
            jump=next(filter(None, (_jump(claim, last) for claim in turn.claims if last)), None),
            origin=turn.origin,
            free=alone,
            torch_free=own,
        )
        yield last
        number += 1


def by_torch(problem: Problem, start: Start) -> Quantities:
    """A step by PyTorch."""
    given: dict[str, Any] = start.parameters | problem.network_settings
    return two_layer.step(**given, x=start.x, y=start.y, lr=start.lr)


def after(quantities: Quantities) -> Quantities:
    """The parameters after a step."""
    return {name: quantities[f"new_{name}"] for name in PARAMETERS}


def _again(
    side: Side, turn: Turn, alone: Quantities, answer: Answer, problem: Problem, torch: Quantities
) -> Quantities:
    """The step by hand from its own weights; where these are the very same, the answer is known."""
    if alone is turn.start.parameters:
        return answer.values
    free = replace(turn, start=replace(turn.start, parameters=alone))
    return side.answer(free, problem, torch).values


def _bound(
    tolerance: Tolerance, start: Start, torch: Quantities, answer: Answer
) -> Callable[[], Limits]:
    """How much the sides may differ, computed when it is first looked at."""

    def bound() -> Limits:
        allowed = tolerance(torch, start)
        if not answer.printed:
            return allowed
        return dict(allowed) | {name: allowed[name] + half for name, half in answer.printed.items()}

    return bound


def _jump(claim: Claim, last: Record) -> Jump | None:
    """Where a parameter lies further off than the rounding of the step before, or None."""
    apart = np.abs(claim.given.astype(np.float64) - claim.ended)
    differs = claim.differs & ~(apart <= last.allowed[f"new_{claim.name}"])
    if not differs.any():
        return None
    at = tuple(int(i) for i in np.argwhere(differs)[0])
    is_old = bool((claim.given == last.parameters[claim.name])[differs].all())
    started, ended = float(claim.given[at]), float(claim.ended[at])
    return Jump(claim.name, at, started, ended, last.number, is_old)
