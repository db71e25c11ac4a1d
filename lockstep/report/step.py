"""A step in full: an entry a scalar for the lecture's network, else a line a matrix with its worst element."""

import textwrap

from rich.text import Text

from lockstep.network.names import BACKWARD, FORWARD, UPDATE, scalar_names
from lockstep.report.formulas import formula
from lockstep.text import allowance, columns, digits, distance
from manual_backprop.activations import activation

WIDE = 140  # from so many columns on, a formula, its numbers and its values share a line
STAGES = (("forward", FORWARD), ("backward", BACKWARD), ("update", UPDATE))
_INDENT = 4


def step_lines(record, problem, width, side="by hand"):
    """A step in full: an entry a scalar for the lecture's network, else a line a matrix with its worst element."""
    yield Text("")
    yield Text(f"step {record.number}", "bold")
    if scalar_names("W_o", problem.sizes, len(record.x)) and problem.sizes == (2, 2, 2):
        yield from _scalar_entries(record, problem, width, side)
    elif record.manual:
        yield from _matrix_table(record, problem, width, side)
    for name, array in record.misshapen.items():
        yield Text(
            f"  {name} has shape {array.shape}; expected {record.torch[name].shape}  ✗", "bold red"
        )


def _scalar_entries(record, problem, width, side):
    values = numbers_of(record, problem)
    places = [record.place(position) for position in range(len(record.flat_torch))]
    for stage, names in STAGES:
        if any(name in names for name, _ in places):
            yield Text(f" {stage}", "bold")
        for position, (name, index) in enumerate(places):
            if name in names:
                yield from _entry(
                    record, problem, position, record.named(name, index), values, width, side
                )


def numbers_of(record, problem):
    """Everything that a formula of the lecture's network refers to, by its scalar name."""
    values = {"lr": record.lr}
    for name, array in (
        *record.parameters.items(),
        ("x", record.x),
        ("y", record.y),
        *record.torch.items(),
        *record.manual.items(),
    ):
        values |= zip(scalar_names(name, problem.sizes, 1), array.flat, strict=True)
    for layer, which in (("h", problem.hidden_activation), ("o", problem.output_activation)):
        values[f"sigma_{layer}"], values[f"sigma_{layer}_prime"] = activation(which)
    return values


def _entry(record, problem, position, scalar, values, width, side):
    """name = formula / = numbers / values, ULP, allowed and mark."""
    name, _ = record.place(position)
    if name.removeprefix("new_") in problem.frozen:
        in_names, in_numbers = f"{scalar.removeprefix('new_')} (frozen)", ""
    else:
        in_names, in_numbers = (
            formula(scalar, True, problem.loss, numbers) for numbers in (None, values)
        )
        in_numbers = (
            in_numbers[1:-1]
            if in_numbers[0] == "(" and in_numbers.find(")") == len(in_numbers) - 1
            else in_numbers
        )
    by_hand, by_torch, apart, mark = judged(record, position)
    indent = " " * _INDENT
    margin = indent + " " * (len(scalar) + 1)
    if width >= WIDE:
        equation = f"{indent}{scalar} = {in_names}" + (f" = {in_numbers}" if in_numbers else "")
        shown = by_hand if by_hand == by_torch else f"{side} {by_hand}  PyTorch {by_torch}"
        yield _marked(f"{equation} = {shown}", apart, mark, width)
        return
    yield Text(f"{indent}{scalar} = {in_names}")
    if in_numbers:
        yield from map(
            Text,
            textwrap.wrap(
                in_numbers,
                width,
                initial_indent=f"{margin}= ",
                subsequent_indent=f"{margin}  ",
                break_long_words=False,
            ),
        )
    if by_hand == by_torch:
        yield _marked(f"{margin}= {by_hand}  on both sides", apart, mark, width)
    else:
        yield Text(f"{margin}= {by_hand}  {side}")
        yield _marked(f"{margin}  {by_torch}  PyTorch", apart, mark, width)


def judged(record, position):
    """Both values in full, how far apart of how much allowed, and the mark."""
    entry = record.entry(position)
    manual, torch, dtype = entry.manual, entry.torch, record.dtype
    far, limit = distance(manual, torch, dtype), allowance(entry.allowed, torch, dtype)
    if not limit.isdigit():
        far = f"{entry.difference:.0e}" if manual != torch else "0"
    apart = (
        f"{far} of {limit} allowed"
        if far.endswith("ULP") or not limit.isdigit()
        else f"{far}, {limit} ULP allowed"
    )
    return (
        digits(manual, dtype),
        digits(torch, dtype),
        apart,
        "✓" if entry.difference <= entry.allowed else "✗",
    )


def _marked(left, apart, mark, width):
    right = f"{apart}  {mark}"
    gap = max(width - 1 - len(left) - len(right), 2)
    return Text.assemble(
        left, " " * gap, (apart, "dim"), "  ", (mark, "green" if mark == "✓" else "bold red")
    )


def _matrix_table(record, problem, width, side):
    rows = []
    for name, worst in record.worst_positions().items():
        entry, dtype = record.entry(worst), record.dtype
        by_hand, by_torch, _, mark = judged(record, worst)
        apart = distance(entry.manual, entry.torch, dtype).removesuffix(" ULP")
        row = [
            f"  {entry.label}",
            by_hand,
            by_torch,
            apart,
            allowance(entry.allowed, entry.torch, dtype),
            mark,
        ]
        frozen = name.removeprefix("new_") in problem.frozen
        row += (
            [formula(name, False, problem.loss) if not frozen else "frozen"]
            if width >= WIDE
            else []
        )
        rows.append((name, row))
    heads = ["worst element", side, "PyTorch", "ULP", "allowed", "", "formula"][: len(rows[0][1])]
    table = columns([heads, *(row for _, row in rows)], "<>>>><<")
    yield Text(table[0], "dim")
    for stage, names in STAGES:
        if any(name in names for name, _ in rows):
            yield Text(f" {stage}", "bold")
        for (name, row), line in zip(rows, table[1:], strict=True):
            if name in names:
                yield Text(line, "" if row[5] == "✓" else "bold red")
