"""Both sources side by side in the terminal, each line with the value that it has at a step."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from lockstep.network.problem import Problem
from lockstep.report import sources
from lockstep.report.step import MARK_STYLES, compared
from lockstep.run.record import Record

SIDE_BY_SIDE = 100  # from this many columns on; else one source below the other
_GAP = 5  # between the two, with the mark in it
_INDENT = " " * 10  # before a value and a wrapped line


@dataclass(frozen=True)
class _Value:
    """One element with both values, and what each side calls it."""

    label: str
    yours: str
    manual: str
    torch: str
    mark: str


def code_lines(
    record: Record,
    problem: Problem,
    width: int,
    step: Any = None,
    side: str = "by hand",
    guilty: str = "",
) -> Iterator[Text]:
    """The sources at a step, a `rich.text.Text` a line.

    Args:
        record: The step.
        problem: What is trained.
        width: Of the terminal.
        step: See `sources.by_hand`.
        side: What the side by hand is called.
        guilty: The first quantity that differs; a line that was recognised as its is marked.
    """
    left, right = sources.by_hand(problem, step, record.number), sources.by_torch(problem)
    titles = [Text(f"{side}: {left.title}", "bold"), Text(f"PyTorch: {right.title}", "bold")]
    values = _values(record, left.yours)
    yield Text("")
    yield Text(f"step {record.number}", "bold")
    if width >= SIDE_BY_SIDE:
        column = (width - _GAP) // 2
        yield from _abreast(titles[0], titles[1], "", column)
        shown: set[str] = set()
        for ours, theirs in sources.aligned(left, right):
            yield from _abreast(_source(ours, guilty), _source(theirs), "", column)
            for value in _values_of(sources.telling(ours, theirs, right), values):
                if value.label not in shown:
                    shown.add(value.label)
                    yield from _abreast(*_equations(value), value.mark, column)
        return
    for title, source in zip(titles, (left, right), strict=True):
        yield title
        for line in source.lines:
            yield from _wrapped(_source(line, guilty), width)
            for value in _values_of(line, values):
                yield from _below(value, source is left)
        yield Text("")


def _below(value: _Value, ours: bool) -> Iterator[Text]:
    """A value below its line; ours with its mark and, where they differ, PyTorch's below it."""
    manual, torch = _equations(value)
    if not ours:
        yield torch
        return
    yield Text.assemble(manual, "  ", (value.mark, MARK_STYLES[value.mark]))
    if value.mark == "✗":
        yield Text(f"{_INDENT}{'PyTorch':{len(value.yours)}} = {value.torch}", "cyan")


def _equations(value: _Value) -> tuple[Text, Text]:
    manual = Text(f"{_INDENT}{value.yours} = {value.manual}", "cyan")
    return manual, Text(f"{_INDENT}{value.label} = {value.torch}", "cyan")


def _values(record: Record, yours: Mapping[str, str]) -> dict[str, list[_Value]]:
    """Of a quantity its scalars, or, where it has none, its worst element.

    yours: what the program calls the quantities.
    """
    worst, values = record.worst_positions(), {}
    for name, returned in record.misshapen.items():
        shapes = str(returned.shape), str(record.torch[name].shape)
        values[name] = [_Value(f"shape of {name}", f"shape of {name}", *shapes, "✗")]
    for name, positions in record.spans():
        scalars = record.network.scalar_names(name, record.samples)
        shown = positions if scalars else [worst[name]]
        called = f"{yours[name]}: " if yours.get(name) else ""
        of_name = (compared(record.entry(at), record.dtype) for at in shown)
        values[name] = [
            _Value(it.label, f"{called}{it.label}", it.manual, it.torch, it.mark) for it in of_name
        ]
        values |= {of.label: [of] for of in values[name]}
    return values


def _values_of(line: sources.Line | None, values: dict[str, list[_Value]]) -> list[_Value]:
    names, of = (line.names, line.of) if line else ((), ())
    own = [value for name in names for value in values.get(name, ())]
    return own or [value for name in of for value in values.get(name, ())]


def _source(line: sources.Line | None, guilty: str = "") -> Text:
    if line is None:
        return Text("")
    if not line.number:
        return Text(f"      {line.text}", "bold" if line.is_title else "dim italic")
    if line.is_again:
        return Text(f"{line.number:4}  {line.text}", "dim")
    number = f"{line.number:4}  ", "dim"
    if guilty in line.yours:
        number = f"▶{line.number:3}  ", MARK_STYLES["✗"]
    code = Syntax("", "python", theme="ansi_dark", background_color="default").highlight(line.text)
    code.rstrip()
    return Text.assemble(number, code)


def _abreast(left: Text, right: Text, mark: str, column: int) -> Iterator[Text]:
    """Two texts in two columns, the mark between their first lines."""
    between = (mark, MARK_STYLES[mark]) if mark else ("│", "dim")
    lines = zip_longest(_wrapped(left, column), _wrapped(right, column), fillvalue=Text(""))
    for ours, theirs in lines:
        gap = " " * (column - ours.cell_len)
        line = Text.assemble(ours, gap, "  ", between, "  ", theirs)
        line.rstrip()
        yield line
        between = "│", "dim"


def _wrapped(text: Text, width: int) -> list[Text]:
    """A text in lines of a width, later ones set in; nothing is cut."""
    if text.cell_len <= width:
        return [text]
    console = Console(file=io.StringIO())
    first = text.wrap(console, width)[0]
    rest = text[len(first) :]
    rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
    later = rest.wrap(console, width - len(_INDENT))
    return [first, *(Text.assemble(_INDENT, line) for line in later)]
