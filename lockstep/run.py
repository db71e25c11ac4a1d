"""The lock-step run: at every step both sides start from PyTorch's current weights, and every quantity is compared."""

import contextlib
import math
import os
from collections import deque
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np

from lockstep.battery import battery, remark
from lockstep.comparison import Moment
from lockstep.control import control
from lockstep.derivation import asks_for_scalars, built_in_door, door, load
from lockstep.keys import Unusable, check
from lockstep.numbers import Paper
from lockstep.problem import UNTOLD, make_problem, read_file
from lockstep.quantities import COMPUTED, PARAMETERS, shape_of
from lockstep.recording import Recording
from lockstep.result import Result
from lockstep.side import side_by_hand
from lockstep.threads import threads
from lockstep.tolerance import allowed
from lockstep.truth import LARGEST as MOST_EXACT
from lockstep.truth import is_small as exact_is_quick
from lockstep.truth import referee
from torch_reference import two_layer as torch_two_layer

Start = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, float]  # a step's parameters, x, y and lr
AHEAD, AHEAD_VALUES = 64, 4_000_000  # so many steps, of so many values together, PyTorch is ahead at the most


def compare(step=None, problem=None, *, on_step=None, **settings):
    """Train the problem's network by hand and by PyTorch, step by step, and compare everything.

    step: the side by hand: a function that asks for quantities by argument name and returns a dict of them, in either
    vocabulary; the path of a file that has one, FILE.py or FILE.py:FUNCTION; or None for the project's own.
    problem: a path to a problem file, a dict with such a file's keys, or None for the lecture's network.
    settings: further keys, which override the problem's. on_step: called with each `comparison.Moment`.

    Returns a `result.Result`. Raises `keys.Unusable`, a ValueError, for input that cannot be used.
    """
    if not isinstance(problem, dict | str | Path | None):
        raise Unusable(f"problem: expected a path or a dict of keys, got {type(problem).__name__}")
    if not (step is None or callable(step) or isinstance(step, str | Path | Paper | Recording)):
        raise Unusable(f"step: expected a function, a path or None, got {type(step).__name__}")
    values = problem if isinstance(problem, dict) else {} if problem is None else read_file(problem)
    values = check(values | settings, str)
    step = side_by_hand(values, step)
    result = run(make_problem(values), values, on_step, step)
    if result.broken:
        raise result.broken
    if result.interrupted:
        raise KeyboardInterrupt  # a program that asked for a verdict must not take half a run for one
    return result


def run(problem, values, on_step=None, step=None):
    """`compare` for a problem that is made; values: the checked keys that say how to judge and what to show."""
    fixed = "rtol" in values or "atol" in values
    result = Result(
        problem,
        fixed_tolerance=fixed,
        shows=values.get("show", frozenset({1})),
        derivation=step is not None,
        numbers=step if isinstance(step, Paper | Recording) else None,
    )
    with threads():
        try:
            for moment, free in moments(problem, tolerance(problem, values), step):
                goes_on = result.add(moment, free)
                if result.is_shown(moment.number) and on_step is None:
                    result.shown.append(moment)
                if on_step is not None:
                    on_step(moment, result)
                if not goes_on or (result.verdict == "mismatch" and not values.get("keep_going")):
                    break
        except KeyboardInterrupt:
            result.interrupted = True
        except Unusable as reason:
            if not (isinstance(step, Recording) and result.steps_run):
                raise
            result.broken = reason
            result.remarks.append(f"ended early: {reason}")
        result.finish()
        if isinstance(step, Recording) and problem.steps != UNTOLD and result.steps_run < problem.steps:
            ended = f"the recording has {result.steps_run} of the {problem.steps} steps that were asked for"
            result.remarks += [ended] if result.verdict == "match" and not result.interrupted else []
        if result.interrupted:
            left_out = [key for key in ("control", "referee", "battery") if values.get(key)]
            result.remarks += [f"interrupted before the {key} that was asked for" for key in left_out]
        else:
            _look_closer(result, values)
            _try_others(result, values, step)
    return result


def _look_closer(result, values):
    """What was asked for beyond the verdict: errors planted to be caught, and which side is nearer the truth."""
    problem = result.problem
    if values.get("control"):
        if not result.last_judged:
            result.remarks.append("no control: there is no step whose numbers could all be judged")
        else:
            result.control = control(
                problem, result.last_judged, result.fixed_tolerance, lambda m: result.judged(m)[:2]
            )
    if values.get("referee"):
        moment = result.decisive or result.worst_moment
        if not moment or not moment.manual:
            result.remarks.append("no referee: there is no step whose numbers could all be judged")
        elif not exact_is_quick(problem):
            limit = f"{MOST_EXACT:,} multiply-adds a step"
            result.remarks.append(f"no referee: exact arithmetic is too slow beyond {limit}")
        else:
            result.referee = referee(problem, moment)


def _try_others(result, values, step):
    """The battery: on a few other problems for a remark, or, where asked for, for the verdict.

    A file is loaded afresh for each problem, so that state kept between calls does not go from one to the next; a
    function, which cannot be, is tried only where that was asked for.
    """
    asked = values.get("battery", 30 if "derivation" in values else 0)
    if asked and isinstance(step, Paper | Recording):
        result.remarks.append("no battery: numbers are of one problem and cannot be tried on others")
    if not asked or isinstance(step, Paper | Recording):
        return
    fresh = (lambda: load(values["derivation"])) if "derivation" in values else (lambda: step)
    scalars = step is not None and bool(asks_for_scalars(step) or (result.last and result.last.covered))
    quiet = {name: values[name] for name in ("rtol", "atol") if name in values}
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # it has been printed once
        found = battery(asked, result.problem, scalars, lambda other: run(other, quiet, step=fresh()))
    result.battery = found
    if "battery" in values and found["smallest"] and result.verdict == "match":
        result.verdict = "mismatch"
    if not found["smallest"]:
        result.remarks.append(f"right on all {asked} other problems that were tried as well")
    if found["smallest"] and result.first_mismatch is None:
        result.remarks.append(remark(found))


def tolerance(problem, values):
    """How much the two sides may differ, as a function of a step's start and PyTorch's answer."""
    if "rtol" not in values and "atol" not in values:
        return lambda torch, *start: allowed(problem, *start)
    rtol, atol = values.get("rtol", 0.0), values.get("atol", 0.0)
    return lambda torch, *start: {name: atol + rtol * np.abs(array.astype(np.float64)) for name, array in torch.items()}


def moments(problem, tolerance, step=None, free=True):
    """Yields (Moment, free parameters) for each training step: the strict check and, where wanted, the free run.

    Strict: both sides start from PyTorch's current weights, or from a recording's own. Free: by hand with its own
    weights from the first step on; only the built-in step has one (else None), since a step that is given is called
    exactly once a training step. A recording has PyTorch's own run beside it, in `Moment.own`.
    """
    recording = step if isinstance(step, Recording) else None
    if recording or isinstance(step, Paper):
        by_hand = step.door(problem)
    else:
        by_hand = door(step, problem) if step else built_in_door(problem)
    parameters = problem.parameters
    free = problem.parameters if free and not step else None
    own = moment = jump = None
    numbers = (line.step for line in recording.course()) if recording else count(1)
    course = by_torch_ahead(problem)
    start: Start
    for number in islice(numbers, problem.steps):
        if recording:
            start, jump = recording.start(problem, parameters, problem.batch(number), moment)
            own = start[0] if own is None else own
            torch = _by_torch(problem, *start)
            parameters = after(torch)
        else:
            start, torch = next(course)
        with np.errstate(all="ignore"):
            answer = by_hand(*start, torch)
            if free is not None:
                free = after((answer if free is start[0] else by_hand(free, *start[1:], torch)).values)
            if own is not None:
                own = after(torch if own is start[0] else _by_torch(problem, own, *start[1:]))

        def bound(torch=torch, start=start, printed=answer.printed):
            bound = tolerance(torch, *start)
            return bound | {name: bound[name] + half for name, half in printed.items()}

        moment = Moment(number, *start, answer.values, torch, bound, problem.sizes, problem.dtype,
                        answer.covered, answer.misshapen, answer.printed, jump, own)  # fmt: skip
        yield moment, free


def by_torch_ahead(problem) -> Iterator[tuple[Start, dict[str, np.ndarray]]]:
    """Yields (start, PyTorch's quantities) of each step of a training by PyTorch, each from the one before.

    They are made a block ahead, of twice as many steps each time: where the two sides take turns at every step, each
    finds the processor's caches full of the other's.
    """
    parameters, first, block, most = problem.parameters, 1, 1, most_ahead(problem)
    while first <= problem.steps:
        made = deque[tuple[Start, dict[str, np.ndarray]]]()
        for number in range(first, min(first + block, problem.steps + 1)):
            x, y = problem.batch(number)
            start = parameters, x, y, problem.lr
            torch = _by_torch(problem, *start)
            made.append((start, torch))
            parameters = after(torch)
        first, block = first + block, min(2 * block, most)
        while made:
            yield made.popleft()


def most_ahead(problem):
    """How many steps of a run PyTorch is ahead at the most: as many as take little memory."""
    values = sum(math.prod(shape_of(name, problem.sizes, problem.batch_samples)) for name in COMPUTED)
    return max(1, min(AHEAD, AHEAD_VALUES // values))


def _by_torch(problem, parameters, x, y, lr):
    return torch_two_layer.step(**parameters, x=x, y=y, lr=lr, **problem.network_settings)


def after(quantities):
    """The parameters after a step."""
    return {name: quantities[f"new_{name}"] for name in PARAMETERS}
