"""The report in the terminal: the shown steps, the table over the steps, the verdict."""

import os
import textwrap
from typing import Any

import numpy as np
from rich.text import Text

from lockstep.battery import remark as others
from lockstep.quantities import BACKWARD, COMPUTED, FORWARD, UPDATE, scalar_names, torch_place
from lockstep.report.digits import MOST_ULPS, allowance, digits, distance, grouped, relative
from lockstep.report.formulas import formula
from lockstep.unseen import would_show
from manual_backprop.activations import activation

WIDE = 140  # from so many columns on, a formula, its numbers and its values share a line
_STAGES = (("forward", FORWARD), ("backward", BACKWARD), ("update", UPDATE))
_INDENT = 4


def report(result, width=80):
    """The whole report as plain text."""
    return "\n".join(line.plain for line in lines(result, width))


def lines(result, width):
    """The whole report, a `rich.text.Text` a line."""
    yield from heading(result.problem, result.side)
    for moment in result.shown:
        yield from step_lines(moment, result.problem, width, result.side)
    yield from summary_lines(result, width)


def heading(problem, side="by hand"):
    """What was compared, in two lines. side: what the side by hand is called, "by hand" or "yours"."""
    size = "-".join(map(str, problem.sizes))
    samples = "1 sample" if problem.samples == 1 else f"{grouped(problem.samples)} samples"
    batches = f" in batches of {problem.batch_size}" if problem.batch_size else ""
    frozen = f", {', '.join(problem.frozen)} frozen" if problem.frozen else ""
    yield Text(f"{side} next to PyTorch: {size} network, {samples}{batches}, {problem.dtype}", "bold")
    yield Text(
        f"hidden {problem.hidden_activation}, output {problem.output_activation}, loss {problem.loss}, "
        f"lr {problem.lr!r}, {grouped(problem.steps)} steps{frozen}"
    )


def step_lines(moment, problem, width, side="by hand"):
    """A step in full: an entry a scalar for the lecture's network, else a line a matrix with its worst element."""
    yield Text("")
    yield Text(f"step {moment.number}", "bold")
    if scalar_names("W_o", problem.sizes, len(moment.x)) and problem.sizes == (2, 2, 2):
        yield from _scalar_entries(moment, problem, width, side)
    elif moment.manual:
        yield from _matrix_table(moment, problem, width, side)
    for name, array in moment.misshapen.items():
        yield Text(f"  {name} has shape {array.shape}; expected {moment.torch[name].shape}  ✗", "bold red")


def _scalar_entries(moment, problem, width, side):
    values = numbers_of(moment, problem)
    places = [moment.place(position) for position in range(len(moment.flat_torch))]
    for stage, names in _STAGES:
        if any(name in names for name, _ in places):
            yield Text(f" {stage}", "bold")
        for position, (name, index) in enumerate(places):
            if name in names:
                yield from _entry(moment, problem, position, moment.named(name, index), values, width, side)


def numbers_of(moment, problem):
    """Everything that a formula of the lecture's network refers to, by its scalar name."""
    values = {"lr": moment.lr}
    for name, array in (*moment.parameters.items(), ("x", moment.x), ("y", moment.y), *moment.torch.items(),
                        *moment.manual.items()):  # fmt: skip
        values |= zip(scalar_names(name, problem.sizes, 1), array.flat, strict=True)
    for layer, which in (("h", problem.hidden_activation), ("o", problem.output_activation)):
        values[f"sigma_{layer}"], values[f"sigma_{layer}_prime"] = activation(which)
    return values


def _entry(moment, problem, position, scalar, values, width, side):
    """name = formula / = numbers / values, ULP, allowed and mark."""
    name, _ = moment.place(position)
    if name.removeprefix("new_") in problem.frozen:
        in_names, in_numbers = f"{scalar.removeprefix('new_')} (frozen)", ""
    else:
        in_names, in_numbers = (formula(scalar, True, problem.loss, numbers) for numbers in (None, values))
        in_numbers = (
            in_numbers[1:-1] if in_numbers[0] == "(" and in_numbers.find(")") == len(in_numbers) - 1 else in_numbers
        )
    by_hand, by_torch, apart, mark = _judged(moment, position)
    indent = " " * _INDENT
    margin = indent + " " * (len(scalar) + 1)
    if width >= WIDE:
        equation = f"{indent}{scalar} = {in_names}" + (f" = {in_numbers}" if in_numbers else "")
        shown = by_hand if by_hand == by_torch else f"{side} {by_hand}  PyTorch {by_torch}"
        yield _marked(f"{equation} = {shown}", apart, mark, width)
        return
    yield Text(f"{indent}{scalar} = {in_names}")
    if in_numbers:
        yield from map(Text, textwrap.wrap(in_numbers, width, initial_indent=f"{margin}= ",
                                           subsequent_indent=f"{margin}  ", break_long_words=False))  # fmt: skip
    if by_hand == by_torch:
        yield _marked(f"{margin}= {by_hand}  on both sides", apart, mark, width)
    else:
        yield Text(f"{margin}= {by_hand}  {side}")
        yield _marked(f"{margin}  {by_torch}  PyTorch", apart, mark, width)


def _judged(moment, position):
    """Both values in full, how far apart of how much allowed, and the mark."""
    entry = moment.entry(position)
    manual, torch, dtype = entry["manual"], entry["torch"], moment.dtype
    apart = f"{distance(manual, torch, dtype)} of {allowance(entry['allowed'], torch, dtype)} allowed"
    return digits(manual, dtype), digits(torch, dtype), apart, "✓" if entry["difference"] <= entry["allowed"] else "✗"


def _marked(left, apart, mark, width):
    right = f"{apart}  {mark}"
    gap = max(width - 1 - len(left) - len(right), 2)
    return Text.assemble(left, " " * gap, (apart, "dim"), "  ", (mark, "green" if mark == "✓" else "bold red"))


def _matrix_table(moment, problem, width, side):
    ratio = moment.ratio()
    rows, position = [], 0
    for name in moment.manual:
        size = len(moment.elements(name))
        worst = position + int(ratio[position : position + size].argmax())
        entry, dtype = moment.entry(worst), moment.dtype
        by_hand, by_torch, _, mark = _judged(moment, worst)
        apart = distance(entry["manual"], entry["torch"], dtype).removesuffix(" ULP")
        row = [
            f"  {entry['label']}",
            by_hand,
            by_torch,
            apart,
            allowance(entry["allowed"], entry["torch"], dtype),
            mark,
        ]
        frozen = name.removeprefix("new_") in problem.frozen
        row += [formula(name, False, problem.loss) if not frozen else "frozen"] if width >= WIDE else []
        rows.append((name, row))
        position += size
    heads = ["worst element", side, "PyTorch", "ULP", "allowed", "", "formula"][: len(rows[0][1])]
    table = columns([heads, *(row for _, row in rows)], "<>>>><<")
    yield Text(table[0], "dim")
    for stage, names in _STAGES:
        if any(name in names for name, _ in rows):
            yield Text(f" {stage}", "bold")
        for (name, row), line in zip(rows, table[1:], strict=True):
            if name in names:
                yield Text(line, "" if row[5] == "✓" else "bold red")


def columns(rows, aligned):
    """Rows of texts as lines: every column as wide as its widest text, so that nothing is ever cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{side}{wide}}" for text, side, wide in zip(row, aligned, widths, strict=False)).rstrip()
            for row in rows]  # fmt: skip


def summary_lines(result, width):
    """The table over the steps, then the verdict."""
    if result.rows:
        yield Text("")
        heads = ["step", f"loss {result.side}", "loss by PyTorch", "worst difference", "of allowed", "drift"]
        cells = [_row(row, result.dtype) for row in result.rows]
        filled = [at for at in range(len(heads)) if any(row[at] for row in cells)]
        table = columns([[row[at] for at in filled] for row in (heads, *cells)], ">" * len(filled))
        yield Text(table[0], "dim")
        yield from map(Text, table[1:])
        if result.rows[0].drift is not None:
            yield from _wrapped("drift: how far the run by hand on its own weights is from PyTorch's, "
                                "rounding carried on from step to step", width, "dim")  # fmt: skip
    yield Text("")
    yield from verdict_lines(result, width)


def _row(row, dtype):
    worst = row.worst
    apart = distance(worst["manual"], worst["torch"], dtype)
    drift = "" if row.drift is None else f"{grouped(round(row.drift))} ULP"
    if row.drift is not None and row.drift > MOST_ULPS:
        drift = relative(row.drift_relative)
    return [
        grouped(row.number),
        "" if row.loss_manual is None else f"{row.loss_manual:.9g}",
        f"{row.loss_torch:.9g}",
        f"{worst['label']}  {apart}" if apart != "0 ULP" else "none",
        f"{row.worst_ratio:.2g}",
        drift,
    ]


def verdict_lines(result, width):
    """The verdict in a sentence, how fine the run could see, and what else is worth saying."""
    if result.interrupted:
        yield Text(
            f"interrupted after {grouped(result.steps_run)} of {grouped(result.steps_asked)} steps; so far:", "bold"
        )
    if result.verdict == "mismatch" and result.first_mismatch is None:
        yield from _wrapped(f"mismatch: {others(result.battery)}", width, "bold red")
    elif result.verdict == "mismatch":
        yield from _mismatch_lines(result, width)
    elif result.verdict == "undecided":
        yield from _undecided_lines(result, width)
    else:
        limit = "of the tolerance given" if result.fixed_tolerance else "of what rounding allows"
        steps = f"{grouped(result.steps_run)} step{'s' * (result.steps_run != 1)}"
        yield from _wrapped(f"match: {steps}, {grouped(result.values)} values, none above "
                            f"{result.worst_ratio:.2g} {limit}.", width, "bold green")  # fmt: skip
    yield from _wrapped(_resolution(result), width)
    if result.verdict == "match" and result.cannot_see:
        more = would_show(result.problem, result.steps_run)
        unseen = f"This problem could not have shown: {', '.join(result.cannot_see)}"
        yield from _wrapped(unseen + (f"; more to see with {more}." if more else "."), width)
    for remark in result.remarks:
        if result.verdict == "mismatch" and result.battery and remark == others(result.battery):
            continue  # it is the verdict
        yield from _wrapped(f"remark: {remark}", width)


def _resolution(result):
    seen = result.resolution
    if seen["typical"] is None:
        return ""
    if seen["typical"] == 0:
        return "Any difference would have been found."
    everywhere = "" if seen["blind"] else f", everywhere one of {seen['worst']:.0e}"
    reach = f"{grouped(seen['blind'])} of {grouped(result.values)} values are out of reach"
    because = ": rounding alone could change them by their whole value" if seen["blind"] else ""
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
    if result.diagnoses or result.notes:
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
    yield from _wrapped(
        f"undecided: at step {grouped(at['step'])}, {at['label']} is {by_hand} {result.side} and {by_torch} by "
        f"PyTorch: the numbers stopped being finite on both sides alike.", width, "bold yellow",
    )  # fmt: skip
    yield from _wrapped(f"The likely cause is the learning rate, {lr!r}: try a smaller one.", width)


def _wrapped(text, width, style=""):
    return [Text(line, style) for line in textwrap.wrap(text, width, break_on_hyphens=False)]


__all__ = ["COMPUTED", "heading", "lines", "numbers_of", "report", "step_lines", "summary_lines"]
