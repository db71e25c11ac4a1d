"""A step in full: an entry a scalar for the lecture's network, else a line a matrix."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from rich.text import Text

from lockstep.network.names import BACKWARD, FORWARD, UPDATE, Quantities, label
from lockstep.network.problem import Problem
from lockstep.report.formulas import formula
from lockstep.run.record import Entry, Record
from lockstep.text import allowance, columns, digits, distance
from manual_backprop.activations import activation

WIDE = 140  # from this many columns on, a formula, its numbers and its values share a line
STAGES = (("forward", FORWARD), ("backward", BACKWARD), ("update", UPDATE))
MARK_STYLES = {"✓": "green", "✗": "bold red", "": ""}
_INDENT = " " * 4
_PER_SAMPLE = ("x", "y", "z_h", "h", "z_o", "o", "delta_o", "delta_h")


@dataclass(frozen=True)
class Compared:
    """One element as every view shows it; both values have all their digits.

    Attributes:
        far: "3 ULP", or from 10 000 ULP on "17 %".
        limit: the allowed difference, in ULP ("14") or as it is ("2e-17").
        apart: both in one phrase, "3 ULP of 14 allowed".
    """

    label: str
    manual: str
    torch: str
    far: str
    limit: str
    apart: str
    agrees: bool

    @property
    def mark(self) -> str:
        return "✓" if self.agrees else "✗"


def compared(entry: Entry, dtype: str) -> Compared:
    """An element of a record that has both values."""
    manual, torch, difference, allowed = cast(
        "list[float]", [entry.manual, entry.torch, entry.difference, entry.allowed]
    )
    far, limit = distance(manual, torch, dtype), allowance(allowed, torch, dtype)
    apart = f"{far}, {limit} ULP allowed"
    if not limit.isdigit():
        apart = f"{f'{difference:.0e}' if manual != torch else '0'} of {limit} allowed"
    elif far.endswith("ULP"):
        apart = f"{far} of {limit} allowed"
    texts = digits(manual, dtype), digits(torch, dtype)
    return Compared(entry.label, *texts, far, limit, apart, difference <= allowed)


def is_in_scalars(record: Record) -> bool:
    """Whether it is a step of the lecture's network on one sample: a recording has its own x."""
    return record.sizes == (2, 2, 2) and len(record.x) == 1


def everything(record: Record) -> Quantities:
    """All arrays of a step by name: by hand where returned, else PyTorch's."""
    given = record.parameters | {"x": record.x, "y": record.y}
    return given | record.torch | record.manual


def by_element(arrays: Quantities, problem: Problem, n: int) -> dict[str, Any]:
    """Every element by what a report calls it in batches of n samples; the first sample's alone."""
    return {
        label(name, index, problem.sizes, n): array[index]
        for name, array in arrays.items()
        for index in np.ndindex((array[:1] if name in _PER_SAMPLE else array).shape)
    }


def numbers_of(record: Record, problem: Problem) -> dict[str, Any]:
    """Everything that a formula of the lecture's network refers to, by its scalar name."""
    values = {"lr": record.lr} | by_element(everything(record), problem, 1)
    for layer, which in (("h", problem.hidden_activation), ("o", problem.output_activation)):
        values[f"sigma_{layer}"], values[f"sigma_{layer}_prime"] = activation(which)
    return values


def is_frozen(name: str, problem: Problem) -> bool:
    """Whether it is the new value of a parameter that is not trained."""
    return name.removeprefix("new_") in problem.frozen


@dataclass(frozen=True)
class _View:
    """A step, and how it is shown. side: "by hand" or "yours"."""

    record: Record
    problem: Problem
    width: int
    side: str


def step_lines(
    record: Record, problem: Problem, width: int, side: str = "by hand"
) -> Iterator[Text]:
    """A step in full. side: what the side by hand is called, "by hand" or "yours"."""
    view = _View(record, problem, width, side)
    yield Text("")
    yield Text(f"step {record.number}", "bold")
    if is_in_scalars(record):
        yield from _scalar_entries(view)
    elif record.manual:
        yield from _matrix_table(view)
    for name, array in record.misshapen.items():
        expected = record.torch[name].shape
        yield Text(f"  {name} has shape {array.shape}; expected {expected}  ✗", "bold red")


def _scalar_entries(view: _View) -> Iterator[Text]:
    values, entries = numbers_of(view.record, view.problem), {}
    for name, positions in view.record.spans():
        each = [_entry(view, name, position, values) for position in positions]
        entries[name] = [line for entry in each for line in entry]
    yield from _by_stage(entries)


def _by_stage(lines: dict[str, list[Text]]) -> Iterator[Text]:
    """The lines of each quantity, below the name of its stage."""
    for stage, names in STAGES:
        shown = [line for name in names for line in lines.get(name, ())]
        if shown:
            yield Text(f" {stage}", "bold")
        yield from shown


def _entry(view: _View, name: str, position: int, values: dict[str, Any]) -> Iterator[Text]:
    """name = formula / = numbers / values, ULP, allowed and mark."""
    of = compared(view.record.entry(position), view.record.dtype)
    in_names, in_numbers = _equation(of.label, is_frozen(name, view.problem), view, values)
    margin = _INDENT + " " * (len(of.label) + 1)
    same = of.manual == of.torch
    if view.width >= WIDE:
        sides = of.manual if same else f"{view.side} {of.manual}  PyTorch {of.torch}"
        equation = " = ".join(filter(None, (of.label, in_names, in_numbers, sides)))
        yield _marked(_INDENT + equation, of, view.width)
        return
    yield Text(f"{_INDENT}{of.label} = {in_names}")
    yield from map(
        Text,
        textwrap.wrap(
            in_numbers,
            view.width,
            initial_indent=f"{margin}= ",
            subsequent_indent=f"{margin}  ",
            break_long_words=False,
        ),
    )
    if same:
        yield _marked(f"{margin}= {of.manual}  on both sides", of, view.width)
    else:
        yield Text(f"{margin}= {of.manual}  {view.side}")
        yield _marked(f"{margin}  {of.torch}  PyTorch", of, view.width)


def _equation(scalar: str, frozen: bool, view: _View, values: dict[str, Any]) -> tuple[str, str]:
    """A scalar's formula in names, and with the numbers put in."""
    if frozen:
        return f"{scalar.removeprefix('new_')} (frozen)", ""
    loss = view.problem.loss
    in_numbers = formula(scalar, True, loss, values)
    if in_numbers.startswith("(") and in_numbers.find(")") == len(in_numbers) - 1:
        in_numbers = in_numbers[1:-1]
    return formula(scalar, True, loss), in_numbers


def _marked(left: str, of: Compared, width: int) -> Text:
    gap = max(width - 4 - len(left) - len(of.apart), 2)
    return Text.assemble(left, " " * gap, (of.apart, "dim"), "  ", (of.mark, MARK_STYLES[of.mark]))


def _matrix_table(view: _View) -> Iterator[Text]:
    """A line a matrix: its element with the largest difference for what is allowed."""
    record, rows = view.record, {}
    for name, position in record.worst_positions().items():
        of = compared(record.entry(position), record.dtype)
        far = of.far.removesuffix(" ULP")
        rows[name] = [f"  {of.label}", of.manual, of.torch, far, of.limit, of.mark]
        if view.width >= WIDE:
            frozen = is_frozen(name, view.problem)
            rows[name].append("frozen" if frozen else formula(name, False, view.problem.loss))
    heads = ["worst element", view.side, "PyTorch", "ULP", "allowed", "", "formula"]
    heads = heads[: 7 if view.width >= WIDE else 6]
    head, *table = columns([heads, *rows.values()], "<>>>><<")
    yield Text(head, "dim")
    styles = ["bold red" if "✗" in row else "" for row in rows.values()]
    lines = zip(rows, table, styles, strict=True)
    yield from _by_stage({name: [Text(line, style)] for name, line, style in lines})
