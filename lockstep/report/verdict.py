"""The verdict: in a sentence, how fine the run could see, and for a mismatch where, by how much, and which mistake."""

import os
import textwrap
from typing import Any

import numpy as np
from rich.text import Text

from lockstep.battery import remark as others
from lockstep.quantities import torch_place
from lockstep.report.digits import counted, digits, distance, grouped
from lockstep.report.evidence import control_lines, referee_lines, wrapped
from lockstep.report.formulas import formula
from lockstep.report.step import numbers_of
from lockstep.unseen import would_show


def verdict_lines(result, width, quiet=False):
    """The verdict in a sentence, how fine the run could see, and what else is worth saying."""
    if result.interrupted:
        yield Text(
            f"interrupted after {grouped(result.steps_run)} of {counted(result.steps_asked, 'step')}; so far:", "bold"
        )
    if result.verdict == "mismatch" and result.first_mismatch is None:
        yield from wrapped(f"mismatch: {others(result.battery)}", width, "bold red")
    elif result.verdict == "mismatch":
        yield from _mismatch_lines(result, width)
    elif result.verdict == "undecided":
        yield from _undecided_lines(result, width)
    else:
        limit = "of the tolerance given" if result.fixed_tolerance else "of what rounding allows"
        steps = counted(result.steps_run, "step")
        yield from wrapped(f"match: {steps}, {grouped(result.values)} values, none above "
                            f"{result.worst_ratio:.2g} {limit}{_at_sight(result)}.", width, "bold green")  # fmt: skip
    yield from wrapped(_resolution(result), width)
    if result.verdict == "match" and result.cannot_see:
        more = would_show(result.problem, result.steps_run)
        unseen = f"This problem could not have shown: {', '.join(result.cannot_see)}"
        yield from wrapped(unseen + (f"; more to see with {more}." if more else "."), width)
    if result.control:
        yield from control_lines(result.control, result, width, quiet)
    if result.referee:
        yield from referee_lines(result.referee, result, width, quiet)
    for remark in result.remarks:
        if result.verdict == "mismatch" and result.battery and remark == others(result.battery):
            continue  # it is the verdict
        yield from wrapped(f"remark: {remark}", width)


def _at_sight(result):
    """Which steps the largest difference is of, where not of all."""
    passed = result.steps_run - result.steps_in_full
    if not passed:
        return ""
    return f" at the {counted(result.steps_in_full, 'step')} worked out in full; {grouped(passed)} more agreed at sight"


def _resolution(result):
    seen = result.resolution
    if seen["typical"] is None:
        return ""
    if seen["typical"] == 0:
        return "Any difference would have been found."
    everywhere = "" if seen["blind"] else f", everywhere one of {seen['worst']:.0e}"
    reach = f"{grouped(seen['blind'])} of {grouped(result.values_in_full)} values are out of reach"
    what = "the tolerance given" if result.fixed_tolerance else "rounding alone"
    because = f": {what} could hide a change by their whole value" if seen["blind"] else ""
    return (
        f"An error of {seen['typical']:.0e} of a value would typically have been found{everywhere}; {reach}{because}."
    )


def _mismatch_lines(result, width):
    moment, first, problem = result.decisive, result.first_mismatch, result.problem
    name, dtype, earlier = first["quantity"], result.dtype, result.values_before_decisive
    if first["index"] is None:
        yield Text(f"mismatch: at step {grouped(first['step'])}, {name} has another shape", "bold red")
        yield Text("")
        yield Text(f"  {result.side:9} {moment.misshapen[name].shape}")
        yield Text(f"  expected  {moment.torch[name].shape}")
        yield from _explanation(result, width)
        return
    index = tuple(first["index"])
    before = earlier + moment.position(name, index)
    agree = f"; the {grouped(before)} values before it agree" if before > 1 else "; the value before agrees" * before
    yield Text(f"mismatch: first at step {grouped(first['step'])}, {first['label']}{agree}", "bold red")
    yield Text("")
    if problem.sizes == (2, 2, 2) and len(moment.x) == 1:
        yield Text(f"  formula   {formula(first['label'], True, problem.loss)}")
        yield Text(f"  numbers   {formula(first['label'], True, problem.loss, numbers_of(moment, problem))}")
    else:
        yield Text(f"  formula   {formula(name, False, problem.loss)}")
    by_hand, by_torch = (digits(first[side], dtype) for side in ("manual", "torch"))
    yield Text(f"  {result.side:9} {by_hand}")
    yield Text(f"  PyTorch   {by_torch}    {torch_place(name, index)}")
    same = len(os.path.commonprefix([by_hand, by_torch]))
    who = "the tolerance" if result.fixed_tolerance else "rounding"
    who = "its last digit" if moment.printed.get(name, np.zeros(moment.torch[name].shape))[index] else who
    caret = f"{' ' * (12 + same)}^ {_off(first, dtype)}"
    yield Text(f"{caret}; {who} allows {first['allowed']:.2g}", "bold red")
    yield from _explanation(result, width)


def _explanation(result, width):
    """The diagnoses: what it looks like, on what evidence, what to do."""
    yield Text("")
    for i, diagnosis in enumerate(result.diagnoses):
        again = i and diagnosis["explains"] == result.diagnoses[i - 1]["explains"]
        mistake = f"{diagnosis['mistake']}: {diagnosis['says']}"
        yield from _labelled("or" if again else "mistake", mistake, width, "bold")
        if diagnosis["formula"]:
            evidence = f"{diagnosis['quantity']} = {diagnosis['formula']} gives your numbers"
            if diagnosis["explains"] != [diagnosis["quantity"]]:
                evidence += f" of {', '.join(diagnosis['explains'])}"
            yield from _labelled("evidence", f"{evidence}, to rounding", width)
        if diagnosis["remedy"]:
            yield from _labelled("remedy", diagnosis["remedy"], width)
    for note in result.notes:
        yield from _labelled("note", note, width)
    yield Text("")


def _labelled(word, text, width, style=""):
    indents: Any = dict(initial_indent=f"  {word:10}", subsequent_indent=" " * 12)
    return [
        Text(line, style)
        for line in textwrap.wrap(text, width, **indents, break_long_words=False, break_on_hyphens=False)
    ]


def _off(first, dtype):
    if not first["difference"] < float("inf"):
        return "not finite on one side"
    return f"{distance(first['manual'], first['torch'], dtype)} off, a difference of {first['difference']:.2g}"


def _undecided_lines(result, width):
    at, lr = result.undecided, result.problem.lr
    by_hand, by_torch = (digits(at[side], result.dtype) for side in ("manual", "torch"))
    yield from wrapped(
        f"undecided: at step {grouped(at['step'])}, {at['label']} is {by_hand} {result.side} and {by_torch} by "
        f"PyTorch: the numbers stopped being finite on both sides alike.", width, "bold yellow",
    )  # fmt: skip
    if at["step"] == 1 and not at["quantity"].startswith("new_"):
        yield from wrapped("No weight has been updated yet: the problem's own values are too large.", width)
    else:
        yield from wrapped(f"The likely cause is the learning rate, {lr!r}: try one nearer to 0.", width)
