"""The verdict: in a sentence, how fine the run could see, and for a mismatch where, by how much, and which mistake."""

import os
import textwrap
from typing import Any

import numpy as np
from rich.text import Text

from lockstep.network.names import torch_place
from lockstep.network.problem import UNTOLD
from lockstep.report.about import battery_remark, would_show
from lockstep.report.evidence import control_lines, referee_lines
from lockstep.report.formulas import formula
from lockstep.report.step import numbers_of
from lockstep.text import counted, digits, distance, grouped, wrapped

_COLORS = {"match": "green", "mismatch": "red", "undecided": "yellow"}


def verdict_lines(result, width, quiet=False):
    """The verdict in a sentence, how fine the run could see, and what else is worth saying."""
    if result.interrupted or result.broken:
        yield Text(f"{stopped(result)}; so far:", "bold")
    if result.first is not None:
        yield Text(headline(result), "bold red")
        yield Text("")
        yield from _difference_lines(result)
        yield Text("")
        for word, text in explanation(result):
            yield from _labelled(word, text, width, "bold" if word in ("mistake", "or") else "")
        yield Text("")
    else:
        yield from wrapped(headline(result), width, f"bold {_COLORS[result.verdict]}")
    yield from wrapped(likely_cause(result), width)
    yield from wrapped(resolution(result), width)
    yield from wrapped(unseen(result), width)
    if result.control:
        yield from control_lines(result.control, result, width, quiet)
    if result.referee:
        yield from referee_lines(result.referee, result, width, quiet)
    for remark in remarks(result):
        yield from wrapped(f"remark: {remark}", width)


def stopped(result):
    """Where a run stopped that was interrupted, or whose recording cannot be read on."""
    if result.broken:
        return f"not read to the end, {counted(result.steps_run, 'step')} only"
    of_all = f" of {grouped(result.steps_asked)}" if result.problem.steps != UNTOLD else ""
    return f"interrupted after {grouped(result.steps_run)}{of_all} step{'s' * (result.steps_asked != 1)}"


def headline(result):
    """The verdict in one sentence."""
    if result.verdict == "mismatch":
        return _mismatch(result)
    if result.verdict == "undecided":
        at = result.undecided
        by_hand, by_torch = (
            digits(getattr(at, side), result.dtype) for side in ("manual", "torch")
        )
        return (
            f"undecided: at step {grouped(at.step)}, {at.label} is {by_hand} {result.side} and {by_torch} by "
            f"PyTorch: the numbers stopped being finite on both sides alike."
        )
    limit = "of the tolerance given" if result.fixed_tolerance else "of what rounding allows"
    steps = counted(result.steps_run, "step")
    return (
        f"match: {steps}, {grouped(result.values)} values, none above {result.worst_ratio:.2g} {limit}"
        f"."
    )


def likely_cause(result):
    """Why the numbers stopped being finite, where they did."""
    if result.verdict != "undecided":
        return ""
    at, lr = result.undecided, result.problem.lr
    if at.step == 1 and not at.quantity.startswith("new_"):
        return "No weight has been updated yet: the problem's own values are too large."
    return f"The likely cause is the learning rate, {lr!r}: try one nearer to 0."


def unseen(result):
    """The mistakes that this problem could not have shown, where it matches."""
    if result.verdict != "match" or not result.cannot_see:
        return ""
    more = "" if result.numbers else would_show(result.problem, result.steps_run)
    names = f"This problem could not have shown: {', '.join(result.cannot_see)}"
    return names + (f"; more to see with {more}." if more else ".")


def remarks(result):
    """The remarks that are not the verdict."""
    verdict = battery_remark(result.battery) if result.verdict == "mismatch" and result.battery else None
    return [remark for remark in result.remarks if remark != verdict]


def resolution(result):
    """How fine the run could see, in a sentence."""
    seen = result.resolution
    if seen["typical"] is None:
        return ""
    if seen["typical"] == 0:
        return "Any difference would have been found."
    everywhere = "" if seen["blind"] else f", everywhere one of {seen['worst']:.0e}"
    reach = f"{grouped(seen['blind'])} of {grouped(result.values)} values are out of reach"
    what = "the tolerance given" if result.fixed_tolerance else "rounding alone"
    because = f": {what} could hide a change by their whole value" if seen["blind"] else ""
    return f"An error of {seen['typical']:.0e} of a value would typically have been found{everywhere}; {reach}{because}."


def _mismatch(result):
    first = result.first
    if first is None:
        return f"mismatch: {battery_remark(result.battery)}"
    if first.index is None:
        return f"mismatch: at step {grouped(first.step)}, {first.quantity} has another shape"
    jump = result.decisive.jump
    if jump:
        return (
            f"mismatch: step {grouped(first.step)} does not start where step {grouped(jump.before)} ended: "
            f"{first.label}"
        )
    before = result.values_before_decisive + result.decisive.position(
        first.quantity, tuple(first.index)
    )
    agree = (
        f"; the {grouped(before)} values before it agree"
        if before > 1
        else "; the value before agrees" * before
    )
    return f"mismatch: first at step {grouped(first.step)}, {first.label}{agree}"


def difference(result):
    """Pairs (word, text): the first value that differs, by its formula, the numbers in it, and both sides."""
    record, first, problem = result.decisive, result.first, result.problem
    name = first.quantity
    if record.jump:
        yield "ended at", digits(record.jump.end, result.dtype)
        yield "starts at", digits(record.jump.start, result.dtype)
        return
    if first.index is None:
        yield result.side, str(record.misshapen[name].shape)
        yield "expected", str(record.torch[name].shape)
        return
    if problem.sizes == (2, 2, 2) and len(record.x) == 1:
        yield "formula", formula(first.label, True, problem.loss)
        yield "numbers", formula(first.label, True, problem.loss, numbers_of(record, problem))
    else:
        yield "formula", formula(name, False, problem.loss)
    yield result.side, digits(first.manual, result.dtype)
    yield (
        "PyTorch",
        f"{digits(first.torch, result.dtype)}    {torch_place(name, tuple(first.index))}",
    )


def how_far(result):
    """How far apart the first values that differ are, and how far rounding, or what else, allows."""
    first, record = result.first, result.decisive
    if first.index is None or record.jump:
        return ""
    name, index = first.quantity, tuple(first.index)
    who = "the tolerance" if result.fixed_tolerance else "rounding"
    who = (
        "its last digit"
        if record.printed.get(name, np.zeros(record.torch[name].shape))[index]
        else who
    )
    return f"{_off(first, result.dtype)}; {who} allows {first.allowed:.2g}"


def explanation(result):
    """Pairs (word, text) of the diagnoses: what it looks like, on what evidence, what to do."""
    for i, diagnosis in enumerate(result.found):
        again = i and diagnosis.explains == result.found[i - 1].explains
        yield "or" if again else "mistake", f"{diagnosis.mistake}: {diagnosis.says}"
        if diagnosis.formula:
            evidence = f"{diagnosis.quantity} = {diagnosis.formula} gives your numbers"
            if diagnosis.explains != [diagnosis.quantity]:
                evidence += f" of {', '.join(diagnosis.explains)}"
            yield "evidence", f"{evidence}, to rounding"
        if diagnosis.remedy:
            yield "remedy", diagnosis.remedy
    for note in result.notes:
        yield "note", note


def _difference_lines(result):
    for word, text in difference(result):
        yield Text(f"  {word:9} {text}")
    far = how_far(result)
    if far:
        by_hand, by_torch = (
            digits(getattr(result.first, side), result.dtype) for side in ("manual", "torch")
        )
        same = len(os.path.commonprefix([by_hand, by_torch]))
        yield Text(f"{' ' * (12 + same)}^ {far}", "bold red")


def _labelled(word, text, width, style=""):
    indents: Any = dict(initial_indent=f"  {word:10}", subsequent_indent=" " * 12)
    return [
        Text(line, style)
        for line in textwrap.wrap(
            text, width, **indents, break_long_words=False, break_on_hyphens=False
        )
    ]


def _off(first, dtype):
    if not first.difference < float("inf"):
        return "not finite on one side"
    return (
        f"{distance(first.manual, first.torch, dtype)} off, a difference of {first.difference:.2g}"
    )
