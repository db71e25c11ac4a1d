"""compare: both sides step by step, what the run could not see, and which mistake explains it."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from lockstep.bound.allowed import tolerance
from lockstep.errors import Unusable
from lockstep.evidence.battery import Battery, battery
from lockstep.evidence.comparison import Comparison
from lockstep.evidence.control import control
from lockstep.evidence.exact import LARGEST as MOST_EXACT
from lockstep.evidence.exact import is_small as exact_is_quick
from lockstep.evidence.referee import referee
from lockstep.explain.case import Case
from lockstep.explain.forgotten import forgotten_setting
from lockstep.explain.search import confirmed, diagnose
from lockstep.explain.sides import explain
from lockstep.explain.worked import as_worked
from lockstep.network.problem import UNTOLD, Problem
from lockstep.report import remarks
from lockstep.run.record import Record
from lockstep.run.steps import records
from lockstep.run.threads import threads
from lockstep.setup.options import check
from lockstep.setup.problem import checked, make_problem, read_file, required
from lockstep.sides.chosen import side_by_hand
from lockstep.sides.side import Side, afresh

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
    is_file = isinstance(problem, str | Path)
    values = read_file(problem) if is_file else checked(problem or {}, str)  # type: ignore[arg-type]
    values |= check(settings, str)
    side = side_by_hand(values, step)
    made = make_problem(values)
    values["require"] = required(values.get("require", ()), made.network)
    result = run(made, values, on_step, side)
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
    parts: dict[str, Callable[[ComparisonResult, dict[str, Any]], None]] = {
        "explanation": explain_run,
        "control": _control,
        "referee": _referee,
        "battery": _battery,
    }
    with threads(), contextlib.closing(side):
        _train(result, values, on_step)
        result.finish()
        for name, part in parts.items():
            if not result.interrupted or name == "explanation":
                try:
                    part(result, values)
                except KeyboardInterrupt:
                    result.interrupted = True
                    result.remarks.append(f"interrupted before the end of the {name}")
            elif values.get(name):
                result.remarks.append(f"interrupted before the {name} that was asked for")
    _demand(result, values.get("require", ()))
    return result


def _train(result: Comparison, values: dict[str, Any], on_step: OnStep | None) -> None:
    """Both sides step by step, until the end or the first step that differs."""
    problem, side = result.problem, result.by_hand
    try:
        steps = records(problem, tolerance(problem, values), side)
        if side.written is not None and not result.fixed_tolerance:
            steps = as_worked(steps, problem)
        for record in steps:
            goes_on = result.add(record)
            if on_step is not None:
                on_step(record, result)
            elif result.is_shown(record.number):
                result.shown.append(record)
            if not goes_on or (result.verdict == "mismatch" and not values.get("keep_going")):
                if problem.network.memory and len(result.first_records) == 1:
                    with contextlib.suppress(Unusable):  # for the explanation alone
                        result.first_records += [(it, result.history) for it in islice(steps, 1)]
                break
    except KeyboardInterrupt:
        result.interrupted = True
    except Unusable as reason:
        has_begun = side.by_its_own_weights and result.steps_run > 0
        if not has_begun and result.verdict != "mismatch":
            raise
        result.broken = reason
        result.remarks.append(f"ended early: {reason}")


def explain_run(result: Comparison, _: Mapping[str, Any] = {}) -> None:
    """The diagnoses of the first step that differs, and the remarks on the side by hand."""
    problem, side = result.problem, result.by_hand
    if result.decisive is not None:
        _explain_step(result, result.decisive)
    result.remarks += map(remarks.loses_digits, result.lost_digits.values())
    if side.is_users and result.last is not None:
        left_out = remarks.not_judged(result.last) if side.others else side.remarks(problem)
        result.remarks += remarks.conventions(side) + remarks.reshaped(result.last) + left_out
        result.remarks += remarks.not_known(result.last)
    if not result.values and not result.undecided:
        why = "nothing was returned that could be" if result.steps_run else "no step was run"
        result.remarks.append(f"{why}, so nothing was compared")
    short = side.by_its_own_weights and problem.steps != UNTOLD and result.steps_run < problem.steps
    if short and result.verdict == "match" and not result.interrupted:
        result.remarks.append(
            f"the recording has {result.steps_run} of the {problem.steps} steps that were asked for"
        )


def _explain_step(result: Comparison, decisive: Record) -> None:
    """The diagnoses of a step that differs, and the remarks on it."""
    problem = result.problem
    result.found = explain(decisive, problem, result.history, result.by_hand.written)
    if len(result.first_records) == 2 and decisive is result.first_records[0][0]:
        (later, history) = result.first_records[1]
        if problem.network.memory and not (decisive.jump or later.jump):
            result.found = confirmed(result.found, diagnose(later, problem, history))
    result.fits = forgotten_setting(decisive, problem)
    if result.fits:
        result.remarks.append(f"everything that was returned is right with {result.fits}")
    if not decisive.jump:
        wrong = Case(decisive, problem, result.history).globally_wrong()
        result.notes = remarks.follows(decisive, result.found, wrong)


_NO_STEP = "there is no step whose numbers could all be judged"


def _control(result: Comparison, values: dict[str, Any]) -> None:
    """Plant errors, where that is asked for."""
    if not values.get("control"):
        return
    if result.last_judged is None:
        result.remarks.append(f"no control: {_NO_STEP}")
        return
    found = control(result.problem, result.last_judged, result.fixed_tolerance, result.judged)
    result.control = asdict(found)


def _referee(result: Comparison, values: dict[str, Any]) -> None:
    """Which side is nearer the truth, where that is asked for."""
    if not values.get("referee"):
        return
    record = result.decisive or result.worst_record
    if record is None or not record.manual or not record.is_finite:
        result.remarks.append(f"no referee: {_NO_STEP}")
    elif not exact_is_quick(result.problem):
        limit = f"{MOST_EXACT:,} multiply-adds a step"
        result.remarks.append(f"no referee: exact arithmetic is too slow beyond {limit}")
    else:
        result.referee = asdict(referee(result.problem, record))


def _battery(result: Comparison, values: dict[str, Any]) -> None:
    """A few other problems, for a remark or, where they are asked for, for the verdict."""
    side = result.by_hand
    asked = values.get("battery", 30 if "derivation" in values else 0)
    if not asked or not result.values:
        return
    if not side.others:
        result.remarks.append(
            "no battery: numbers are of one problem and cannot be tried on others"
        )
        return
    found, reason = _on_others(result, values, asked)
    result.battery = asdict(found)
    if "battery" in values and found.smallest and result.verdict == "match":
        result.verdict = "mismatch"
    if reason:
        many = f"{asked - found.problems} of {asked} other problems"
        result.remarks.append(f"could not be tried on {many}: {reason}")
    is_late = result.first is not None and result.first.step > 1  # the others have few steps
    if not found.smallest and found.problems and not is_late:
        many = f"all {found.problems} other problems that were"
        many = "one other problem that was" if found.problems == 1 else many
        result.remarks.append(f"right on {many} tried as well")
    elif found.smallest and result.first is None:
        result.remarks.append(remarks.wrong_elsewhere(result.battery))


def _on_others(result: Comparison, values: dict[str, Any], asked: int) -> tuple[Battery, str]:
    """What the battery finds, and why the first problem that could not be tried could not be."""
    side = result.by_hand
    scalars = side.is_users and (side.asks_for_scalars or bool(result.last and result.last.covered))
    quiet: dict[str, Any] = {name: values[name] for name in ("rtol", "atol") if name in values}

    def judge(other: Problem) -> Comparison:
        with afresh(side) as again:
            found = Comparison(other, again, result.fixed_tolerance)
            _train(found, quiet, None)
        if found.interrupted:
            raise KeyboardInterrupt
        return found

    return battery(asked, result.problem, scalars, judge)


def _demand(result: Comparison, required: Sequence[str]) -> None:
    """What is required and was not returned is a mismatch."""
    parts = result.last.covered if result.last else {}
    there = result.returned if result.numbers else result.always or set()
    result.missing = [n for n in required if n not in there or n in parts]
    if result.missing:
        result.verdict = "mismatch"
