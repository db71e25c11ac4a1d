"""The lock-step run: at every step both sides start from PyTorch's current weights, and every quantity is compared."""

import contextlib
import os
from dataclasses import asdict
from pathlib import Path

from lockstep.bound.allowed import tolerance
from lockstep.bound.exact import LARGEST as MOST_EXACT
from lockstep.bound.exact import is_small as exact_is_quick
from lockstep.errors import Unusable
from lockstep.evidence.battery import battery
from lockstep.evidence.control import control
from lockstep.evidence.referee import referee
from lockstep.network.options import check
from lockstep.network.problem import UNTOLD, make_problem, read_file
from lockstep.report.about import battery_remark
from lockstep.run.result import Result
from lockstep.run.steps import records
from lockstep.run.threads import threads
from lockstep.sides.chosen import side_by_hand
from lockstep.sides.function import asks_for_scalars, load
from lockstep.sides.paper import Paper
from lockstep.sides.recording import Recording


def compare(step=None, problem=None, *, on_step=None, **settings):
    """Train the problem's network by hand and by PyTorch, step by step, and compare everything.

    step: the side by hand: a function that asks for quantities by argument name and returns a dict of them, in either
    vocabulary; the path of a file that has one, FILE.py or FILE.py:FUNCTION; or None for the project's own.
    problem: a path to a problem file, a dict with such a file's keys, or None for the lecture's network.
    settings: further keys, which override the problem's. on_step: called after each step with its `comparison.Record`
    and the result so far.

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
            for record, free in records(problem, tolerance(problem, values), step):
                goes_on = result.add(record, free)
                if result.is_shown(record.number) and on_step is None:
                    result.shown.append(record)
                if on_step is not None:
                    on_step(record, result)
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
        if (
            isinstance(step, Recording)
            and problem.steps != UNTOLD
            and result.steps_run < problem.steps
        ):
            ended = f"the recording has {result.steps_run} of the {problem.steps} steps that were asked for"
            result.remarks += (
                [ended] if result.verdict == "match" and not result.interrupted else []
            )
        if result.interrupted:
            left_out = [key for key in ("control", "referee", "battery") if values.get(key)]
            result.remarks += [
                f"interrupted before the {key} that was asked for" for key in left_out
            ]
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
            planted = control(
                problem, result.last_judged, result.fixed_tolerance, lambda m: result.judged(m)[:2]
            )
            result.control = asdict(planted)
    if values.get("referee"):
        record = result.decisive or result.worst_record
        if not record or not record.manual:
            result.remarks.append("no referee: there is no step whose numbers could all be judged")
        elif not exact_is_quick(problem):
            limit = f"{MOST_EXACT:,} multiply-adds a step"
            result.remarks.append(f"no referee: exact arithmetic is too slow beyond {limit}")
        else:
            result.referee = asdict(referee(problem, record))


def _try_others(result, values, step):
    """The battery: on a few other problems for a remark, or, where asked for, for the verdict.

    A file is loaded afresh for each problem, so that state kept between calls does not go from one to the next; a
    function, which cannot be, is tried only where that was asked for.
    """
    asked = values.get("battery", 30 if "derivation" in values else 0)
    if asked and isinstance(step, Paper | Recording):
        result.remarks.append(
            "no battery: numbers are of one problem and cannot be tried on others"
        )
    if not asked or isinstance(step, Paper | Recording):
        return
    fresh = (lambda: load(values["derivation"])) if "derivation" in values else (lambda: step)
    scalars = step is not None and bool(
        asks_for_scalars(step) or (result.last and result.last.covered)
    )
    quiet = {name: values[name] for name in ("rtol", "atol") if name in values}
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):  # it has been printed once
        found = battery(
            asked, result.problem, scalars, lambda other: run(other, quiet, step=fresh())
        )
    result.battery = asdict(found)
    if "battery" in values and found.smallest and result.verdict == "match":
        result.verdict = "mismatch"
    if not found.smallest:
        result.remarks.append(f"right on all {asked} other problems that were tried as well")
    if found.smallest and result.first is None:
        result.remarks.append(battery_remark(result.battery))
