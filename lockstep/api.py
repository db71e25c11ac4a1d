"""compare: both sides step by step, what the run could not see, and which mistake explains it."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lockstep.bound.allowed import tolerance
from lockstep.bound.exact import LARGEST as MOST_EXACT
from lockstep.bound.exact import is_small as exact_is_quick
from lockstep.errors import Unusable
from lockstep.evidence.battery import battery
from lockstep.evidence.comparison import Comparison
from lockstep.evidence.control import control
from lockstep.evidence.referee import referee
from lockstep.explain.case import Case
from lockstep.explain.sides import explain
from lockstep.network.options import check
from lockstep.network.problem import UNTOLD, Problem, make_problem, read_file
from lockstep.report import remarks
from lockstep.run.record import Record
from lockstep.run.steps import records
from lockstep.run.threads import threads
from lockstep.sides.chosen import side_by_hand
from lockstep.sides.side import Side

OnStep = Callable[[Record, Comparison], None]


class ComparisonResult(Comparison):
    """What `compare` returns: the verdict and what it rests on. It prints as the report.

    In a notebook it shows itself as a table. Dicts and lists are those of the JSON document, where
    their keys are described.

    Attributes:
        verdict: "match", "mismatch" or "undecided".
        first_mismatch: The first element that differs, as a dict; None where none does.
        worst: The element with the largest difference / allowed, as a dict; None where nothing was
            compared.
        worst_ratio: Its difference / allowed.
        diagnoses: Which mistakes the first mismatching step looks like, a dict each, in the order
            of computation.
        resolution: How fine the run could see, as a dict: typical, worst, blind.
        cannot_see: The names of the mistakes that this problem hides; None for a large network.
        remarks: Sentences that are not the verdict.
        battery: On how many other problems the derivation was tried, and how many match; None
            where it was not.
        control: The errors that were planted, and which were caught; None where none were.
        referee: Which side is nearer the truth; None where that was not asked for.
        steps_asked: The number of steps that were asked for.
        steps_run: The number of steps that were run.
        values: How many values were compared.
        loss: PyTorch's loss at the first and the last step, before its update.
        dtype: "float64" or "float32".
        parameters: The parameters after the last step, as nested lists, by side and name.
        quantities: What was compared at the last step, as nested lists, by side and name.
    """

    def __repr__(self) -> str:
        from lockstep.report.verdict import headline

        return f"<{headline(self)}>"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the verdict and a step as a table; None without the extra page."""
        try:
            from lockstep.report.page.page import fragment
        except ImportError:
            return None
        return fragment(self)

    def __str__(self) -> str:
        from lockstep.report.terminal import report

        return report(self)


def compare(
    step: Callable[..., Any] | Side | str | Path | None = None,
    problem: dict[str, Any] | str | Path | None = None,
    *,
    on_step: OnStep | None = None,
    **settings: Any,
) -> ComparisonResult:
    """Train the problem's network by hand and by PyTorch, step by step, and compare everything.

    Each step starts on both sides from PyTorch's current parameters. Two right answers differ by at
    most max(5√k, k)·u·S, where S is the size of the terms that were added up, k the longest chain
    of roundings, and u the unit roundoff (Higham, Accuracy and Stability of Numerical Algorithms,
    chapter 3; Higham and Mary 2019 for √k).

    Args:
        step: The side by hand: a step function, which asks for quantities by argument name and
            returns a dict of them, in matrices or in the lecture's scalars; the path of a file that
            has one, FILE.py or FILE.py:FUNCTION; or None for the project's own.
        problem: The path of a problem file, a dict with such a file's keys, or None for the
            lecture's network.
        on_step: Called after each step with its `Record` and the result so far. `record.manual` and
            `record.torch` have the values of both sides by name.
        settings: Further keys, which override the problem's.

    Returns:
        The verdict and what it rests on; `print` it.

    Raises:
        Unusable: A ValueError: the input cannot be used, and one sentence says why.

    Examples:
        >>> from lockstep import compare
        >>> def step(W_o, x, h, o, y):
        ...     delta_o = 2 * (y - o) / o.size  # the sign is wrong
        ...     return dict(delta_o=delta_o, delta_h=delta_o @ W_o)
        >>> result = compare(step, sizes="3-4-2", samples=5)
        >>> result.verdict, result.first_mismatch["label"]
        ('mismatch', 'delta_o[0, 0]')
        >>> [diagnosis["mistake"] for diagnosis in result.diagnoses]
        ['sign-flipped']
    """
    if not isinstance(problem, dict | str | Path | None):
        kind = type(problem).__name__
        raise Unusable(f"problem: expected a path or a dict of keys, got {kind}")
    if not (step is None or callable(step) or isinstance(step, Side | str | Path)):
        raise Unusable(f"step: expected a function, a path or None, got {type(step).__name__}")
    values = dict(problem or {}) if isinstance(problem, dict | None) else read_file(problem)
    values = check(values | settings, str)
    side = side_by_hand(values, step)
    result = run(make_problem(values), values, on_step, side)
    if result.broken:
        raise result.broken
    if result.interrupted:
        raise KeyboardInterrupt  # half a run is no verdict
    return result


def run(
    problem: Problem,
    values: dict[str, Any],
    on_step: OnStep | None = None,
    step: Side | Callable[..., Any] | None = None,
) -> ComparisonResult:
    """`compare` for a problem that is made.

    Args:
        problem: What to train.
        values: The checked options that say how to judge and what to show.
        on_step: See `compare`.
        step: The side by hand, or a step function; None for the project's own.
    """
    side = side_by_hand({}, step)
    fixed = "rtol" in values or "atol" in values
    shows = values.get("show", frozenset({1}))
    result = ComparisonResult(problem, side, fixed_tolerance=fixed, shows=shows)
    with threads():
        _train(result, values, on_step)
        result.finish()
        _explain(result)
        if result.interrupted:
            left_out = [key for key in ("control", "referee", "battery") if values.get(key)]
            result.remarks += [
                f"interrupted before the {key} that was asked for" for key in left_out
            ]
        else:
            _look_closer(result, values)
            _try_others(result, values)
    return result


def _train(result: Comparison, values: dict[str, Any], on_step: OnStep | None) -> None:
    """Both sides step by step, until the end or the first step that differs."""
    problem, side = result.problem, result.by_hand
    try:
        for record in records(problem, tolerance(problem, values), side):
            goes_on = result.add(record)
            if on_step is not None:
                on_step(record, result)
            elif result.is_shown(record.number):
                result.shown.append(record)
            if not goes_on or (result.verdict == "mismatch" and not values.get("keep_going")):
                break
    except KeyboardInterrupt:
        result.interrupted = True
    except Unusable as reason:
        if not (side.by_its_own_weights and result.steps_run):
            raise
        result.broken = reason
        result.remarks.append(f"ended early: {reason}")


def _explain(result: Comparison) -> None:
    """The diagnoses of the first step that differs, and the remarks on the side by hand."""
    problem, side, decisive = result.problem, result.by_hand, result.decisive
    if decisive is not None:
        result.found = explain(decisive, problem, result.history, side.written)
        if not decisive.jump:
            wrong = Case(decisive, problem, result.history).globally_wrong()
            result.notes = remarks.follows(decisive, result.found, wrong)
    result.remarks += map(remarks.loses_digits, result.lost_digits.values())
    if side.is_users and result.last is not None:
        left_out = remarks.not_judged(result.last) if side.others else side.remarks(problem)
        result.remarks += left_out
    if result.steps_run == 0:
        result.remarks.append("no step was run, so nothing was compared")
    short = side.by_its_own_weights and problem.steps != UNTOLD and result.steps_run < problem.steps
    if short and result.verdict == "match" and not result.interrupted:
        result.remarks.append(
            f"the recording has {result.steps_run} of the {problem.steps} steps that were asked for"
        )


def _look_closer(result: Comparison, values: dict[str, Any]) -> None:
    """The evidence that was asked for: planted errors, and which side is nearer the truth."""
    problem, fixed = result.problem, result.fixed_tolerance
    nothing = "there is no step whose numbers could all be judged"
    if values.get("control"):
        if result.last_judged:
            result.control = asdict(control(problem, result.last_judged, fixed, result.judged))
        else:
            result.remarks.append(f"no control: {nothing}")
    if values.get("referee"):
        record = result.decisive or result.worst_record
        if not record or not record.manual:
            result.remarks.append(f"no referee: {nothing}")
        elif not exact_is_quick(problem):
            limit = f"{MOST_EXACT:,} multiply-adds a step"
            result.remarks.append(f"no referee: exact arithmetic is too slow beyond {limit}")
        else:
            result.referee = asdict(referee(problem, record))


def _try_others(result: Comparison, values: dict[str, Any]) -> None:
    """The battery: a few other problems for a remark, or, where asked for, for the verdict."""
    side = result.by_hand
    asked = values.get("battery", 30 if "derivation" in values else 0)
    if not asked:
        return
    if not side.others:
        result.remarks.append(
            "no battery: numbers are of one problem and cannot be tried on others"
        )
        return
    scalars = side.is_users and (side.asks_for_scalars or bool(result.last and result.last.covered))
    quiet: dict[str, Any] = {name: values[name] for name in ("rtol", "atol") if name in values}
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):  # printed once
        found = battery(
            asked, result.problem, scalars, lambda other: run(other, quiet, step=side.again())
        )
    result.battery = asdict(found)
    if "battery" in values and found.smallest and result.verdict == "match":
        result.verdict = "mismatch"
    if not found.smallest:
        result.remarks.append(f"right on all {asked} other problems that were tried as well")
    elif result.first is None:
        result.remarks.append(remarks.wrong_elsewhere(result.battery))
