"""The steps of a run: what each side started from, and what came out by hand and by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.bound.allowed import Limits
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Network
from lockstep.network.problem import Problem, Start, State
from lockstep.run.record import Jump, Record
from lockstep.sides.answer import Answer
from lockstep.sides.laid_out import first_answer
from lockstep.sides.side import Claim, Side, Turn
from torch_reference import network as deep
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
    network = problem.network
    state = problem.state
    alone = state if side.trains_alone else None
    own: State | None = None  # PyTorch's, beside a recording
    last: Record | None = None
    number = 1
    while (turn := side.turn(number, problem, state)) is not None:
        torch = by_torch(problem, turn.start)
        started, state = turn.start.state, after(network, torch)
        with np.errstate(all="ignore"):
            parts = turn, problem, torch
            answer = side.answer(*parts) if last else first_answer(side, *parts, by_torch)
            if alone is not None:
                alone = after(network, _again(side, turn, alone, answer, problem, torch))
            if side.by_its_own_weights:
                own = after(network, by_torch(problem, _from(turn.start, own or started)))
        jumps = (_jump(claim, last) for claim in turn.claims if last)
        last = recorded(
            problem,
            tolerance,
            turn,
            torch,
            answer,
            jump=next(filter(None, jumps), None),
            free=alone.parameters if alone else None,
            torch_free=own.parameters if own else None,
        )
        yield last
        number += 1


def recorded(
    problem: Problem,
    tolerance: Tolerance,
    turn: Turn,
    torch: Quantities,
    answer: Answer,
    **beside: Any,
) -> Record:
    """The record of a step. beside: its jump, and the parameters of trainings of their own."""
    return Record(
        turn.number,
        turn.start,
        answer.values,
        torch,
        bound=_bound(tolerance, turn.start, torch, answer),
        network=problem.network,
        dtype=problem.dtype,
        covered=answer.covered,
        misshapen=answer.misshapen,
        given=answer.given,
        asked=answer.asked,
        printed=answer.printed,
        names=answer.names,
        reshaped=answer.reshaped,
        extra=answer.extra,
        origin=turn.origin,
        **beside,
    )


class _WithExtras(dict[str, Array]):
    """The quantities of a step; those that are seldom asked for are computed when they are."""

    def __init__(self, quantities: Quantities, network: Network, start: Start) -> None:
        super().__init__(quantities)
        self._network, self._start = network, start

    def __missing__(self, name: str) -> Array:
        return _by_deep(self._network, self._start)[name]


def by_torch(problem: Problem, start: Start) -> Quantities:
    """A step by PyTorch."""
    network = problem.network
    if not network.is_plain:
        return _by_deep(network, start)
    given: dict[str, Any] = start.given
    return _WithExtras(two_layer.step(**given, lr=start.lr, **network.two_layers), network, start)


def _by_deep(network: Network, start: Start) -> Quantities:
    return network.named(deep.step(**network.start(start), **network.training))


def after(network: Network, quantities: Quantities) -> State:
    """What a step leaves to the next one."""
    return State(network.after(quantities), network.kept(quantities))


def _from(start: Start, state: State) -> Start:
    """The same step from other weights."""
    return replace(start, parameters=state.parameters, memory=state.memory)


def _again(
    side: Side, turn: Turn, alone: State, answer: Answer, problem: Problem, torch: Quantities
) -> Quantities:
    """The step by hand from its own weights; where these are the very same, the answer is known."""
    if alone.parameters is turn.start.parameters:
        return answer.values
    return side.answer(replace(turn, start=_from(turn.start, alone)), problem, torch).values


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
    is_old = bool((claim.given == last.start.given[claim.name])[differs].all())
    started, ended = float(claim.given[at]), float(claim.ended[at])
    return Jump(claim.name, at, started, ended, last.number, is_old)
