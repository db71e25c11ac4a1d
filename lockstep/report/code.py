"""Both sources side by side in the terminal, each line with the value that it has at a step."""

import io
from typing import NamedTuple

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from lockstep.network.names import scalar_names
from lockstep.report import sources
from lockstep.report.step import judged

SIDE_BY_SIDE = 100  # from so many columns on; else one source below the other
_GAP = 5  # between the two, with the mark in it


def code_lines(record, problem, width, step=None, side="by hand"):
    """The sources at a step, a `rich.text.Text` a line. step: the side by hand, None for the project's own."""
    left, right = sources.by_hand(problem, step), sources.by_torch(problem)
    titles = [Text(f"{side}: {left.title}", "bold"), Text(f"PyTorch: {right.title}", "bold")]
    yield Text("")
    yield Text(f"step {record.number}", "bold")
    if width >= SIDE_BY_SIDE:
        yield from _side_by_side(
            titles, sources.aligned(left, right), _values(record), (width - _GAP) // 2
        )
    else:
        yield from _one_below_the_other(titles, left, right, _values(record), width)


def _side_by_side(titles, pairs, values, column):
    yield from _abreast(titles[0], titles[1], "", column)
    shown = set()
    for ours, theirs in pairs:
        yield from _abreast(_source(ours), _source(theirs), "", column)
        for name in ours.names if ours else theirs.of:
            for value in values.get(name, ()):
                if value.label not in shown:
                    shown.add(value.label)
                    yield from _abreast(
                        value.text(value.manual), value.text(value.torch), value.mark, column
                    )


def _one_below_the_other(titles, left, right, values, width):
    for title, source in zip(titles, (left, right), strict=True):
        yield title
        for line in source.lines:
            yield from _wrapped(_source(line), width)
            for name in line.names if source is left else line.of:
                for value in values.get(name, ()):
                    yield from _below(value, source is left)
        yield Text("")


def _below(value, ours):
    """A value below its line: ours with its mark and, where it differs, PyTorch's below it; PyTorch's alone."""
    if not ours:
        yield value.text(value.torch)
        return
    yield Text.assemble(value.text(value.manual), "  ", _marked(value.mark))
    if value.mark == "✗":
        yield Text(f"          {'PyTorch':{len(value.label)}} = {value.torch}", "cyan")


class _Value(NamedTuple):
    """What is shown of an element: by hand, by PyTorch, and the mark."""

    label: str
    manual: str
    torch: str
    mark: str

    def text(self, number):
        return Text(f"          {self.label} = {number}", "cyan")


def _values(record):
    """The values to show by name: of a quantity its scalars, or, where it has none, its worst element."""
    worst = record.worst_positions()
    values = {
        name: [_Value(f"shape of {name}", str(returned.shape), str(record.torch[name].shape), "✗")]
        for name, returned in record.misshapen.items()
    }
    for name, positions in record.spans():
        scalars = scalar_names(name, record.sizes, len(record.x))
        values[name] = [
            _value(record, position) for position in (positions if scalars else [worst[name]])
        ]
        values |= {value.label: [value] for value in values[name]}
    return values


def _value(record, position):
    by_hand, by_torch, _, mark = judged(record, position)
    return _Value(record.named(*record.place(position)), by_hand, by_torch, mark)


def _source(line):
    if line is None:
        return Text("")
    code = Syntax("", "python", theme="ansi_dark", background_color="default").highlight(line.text)
    code.rstrip()
    return Text.assemble((f"{line.number:4}  ", "dim"), code)


def _marked(mark):
    return Text(mark, {"✓": "green", "✗": "bold red"}.get(mark, ""))


def _abreast(left, right, mark, column):
    """Two texts in two columns, the mark between their first lines."""
    left, right = _wrapped(left, column), _wrapped(right, column)
    for i in range(max(len(left), len(right))):
        ours, theirs = (lines[i] if i < len(lines) else Text("") for lines in (left, right))
        between = (
            Text.assemble("  ", _marked(mark), "  ") if mark and i == 0 else Text("  │  ", "dim")
        )
        line = Text.assemble(ours, " " * (column - ours.cell_len), between, theirs)
        line.rstrip()
        yield line


def _wrapped(text, width):
    """A text in lines of a width, later ones set in; nothing is cut."""
    if text.cell_len <= width:
        return [text]
    console = Console(file=io.StringIO())
    first = text.wrap(console, width)[0]
    rest = text[len(first) :]
    rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
    return [first, *(Text.assemble(" " * 10, line) for line in rest.wrap(console, width - 10))]
