"""The steps of a run, both sides: what each started from, and what came out of it by hand and by PyTorch."""

from collections import deque
from collections.abc import Iterator
from itertools import islice

import numpy as np

from lockstep.network.names import COMPUTED, PARAMETERS, values_in
from lockstep.run.at_sight import at_sight
from lockstep.run.record import Record
from lockstep.run.threads import beside, room_beside
from lockstep.sides.built_in import built_in_door
from lockstep.sides.function import door
from lockstep.sides.paper import Paper
from lockstep.sides.recording import Recording
from torch_reference import two_layer as torch_two_layer

Start = tuple[
    dict[str, np.ndarray], np.ndarray, np.ndarray, float
]  # a step's parameters, x, y and lr
BESIDE = 5 * 10**6  # from so many multiply-adds a step on PyTorch works in a thread of its own
AHEAD, AHEAD_VALUES = (
    64,
    4_000_000,
)  # so many steps, of so many values together, PyTorch is ahead at the most
TOGETHER = 500_000  # of so many values together steps by hand are made before they are compared


def records(problem, tolerance, step=None, free=True):
    """Yields (Record, free parameters) for each training step: the strict check and, where wanted, the free run.

    Strict: both sides start from PyTorch's current weights, or from a recording's own. Free: by hand with its own
    weights from the first step on; only the built-in step has one (else None), since a step that is given is called
    exactly once a training step. A recording has PyTorch's own run beside it, in `Record.own`.
    """
    if isinstance(step, Recording):
        yield from _recorded(problem, tolerance, step)
        return
    by_hand = (
        step.door(problem)
        if isinstance(step, Paper)
        else door(step, problem)
        if step
        else built_in_door(problem)
    )
    own = problem.parameters if free and not step else None
    most = 1 if step else _steps_of(TOGETHER, problem)
    agreeing, number = at_sight(problem), 1
    for block in by_torch_ahead(problem):
        while block:
            turns = [block.popleft()]
            while (
                block and len(turns) < most and len(block[0][0][1]) == len(turns[0][0][1])
            ):  # as many samples
                turns.append(block.popleft())
            answers, after_each = [], []
            with np.errstate(all="ignore"):
                for start, torch in turns:
                    answers.append(by_hand(*start, torch))
                    if own is not None:
                        own = after(
                            (
                                answers[-1] if own is start[0] else by_hand(own, *start[1:], torch)
                            ).values
                        )
                    after_each.append(own)
            agree = agreeing(turns, answers)
            for (start, torch), answer, agrees, own_then in zip(
                turns, answers, agree, after_each, strict=True
            ):
                yield (
                    _record(problem, tolerance, number, start, torch, answer, agrees=agrees),
                    own_then,
                )
                number += 1


def _recorded(problem, tolerance, recording):
    """`records` of a recording."""
    by_hand, agreeing, parameters = recording.door(problem), at_sight(problem), problem.parameters
    own = record = None
    for line in islice(recording.course(), problem.steps):
        start, jump = recording.start(problem, parameters, problem.batch(line.step), record)
        own = start[0] if own is None else own
        torch = _by_torch(problem, *start)
        parameters = after(torch)
        with np.errstate(all="ignore"):
            answer = by_hand(*start, torch)
            own = after(torch if own is start[0] else _by_torch(problem, own, *start[1:]))
        (agrees,) = agreeing([(start, torch)], [answer])
        record = _record(
            problem, tolerance, line.step, start, torch, answer, agrees=agrees, jump=jump, own=own
        )
        yield record, None


def _record(problem, tolerance, number, start, torch, answer, **more):
    def bound():
        bound = tolerance(torch, *start)
        return bound | {name: bound[name] + half for name, half in answer.printed.items()}

    parameters, x, y, lr = start
    return Record(
        number,
        parameters,
        x,
        y,
        lr,
        answer.values,
        torch,
        bound,
        problem.sizes,
        problem.dtype,
        answer.covered,
        answer.misshapen,
        answer.printed,
        **more,
    )


def by_torch_ahead(problem) -> Iterator[deque[tuple[Start, dict[str, np.ndarray]]]]:
    """Yields `by_torch`'s steps in blocks, each with twice as many as the last, or one by one from a thread beside.

    Where the two sides take turns at every step, each finds the processor's caches full of the other's.
    """
    steps = by_torch(problem)
    if is_beside(problem):
        yield from _from_a_thread(steps)
        return
    length, most = 1, most_ahead(problem)
    while block := deque(islice(steps, length)):
        yield block
        length = min(2 * length, most)


def by_torch(problem):
    """Yields (start, PyTorch's quantities) of the steps of a training by PyTorch, each from the one before."""
    parameters = problem.parameters
    for number in range(1, problem.steps + 1):
        x, y = problem.batch(number)
        start = parameters, x, y, problem.lr
        torch = _by_torch(problem, *start)
        parameters = after(torch)
        yield start, torch


def _from_a_thread(steps):
    """The same one by one; the next is made while the last one is looked at."""
    with beside() as thread:
        coming = thread.submit(next, steps, None)
        while step := coming.result():
            coming = thread.submit(next, steps, None)
            yield deque([step])


def is_beside(problem):
    """Whether PyTorch works in a thread of its own: small steps hinder each other at Python's lock."""
    return problem.multiply_adds >= BESIDE and room_beside()


def most_ahead(problem):
    """How many steps of a run PyTorch is ahead at the most: as many as take little memory."""
    return 1 if is_beside(problem) else _steps_of(AHEAD_VALUES, problem)


def _steps_of(values, problem):
    return max(1, min(AHEAD, values // values_in(COMPUTED, problem.sizes, problem.batch_samples)))


def _by_torch(problem, parameters, x, y, lr):
    return torch_two_layer.step(**parameters, x=x, y=y, lr=lr, **problem.network_settings)


def after(quantities):
    """The parameters after a step."""
    return {name: quantities[f"new_{name}"] for name in PARAMETERS}
