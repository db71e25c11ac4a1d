"""The report in the terminal: the shown steps, the table over the steps, the verdict."""

import os
import textwrap
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from lockstep.evidence.comparison import Comparison
from lockstep.network.problem import UNTOLD, Problem
from lockstep.report.step import compared, step_lines
from lockstep.report.verdict import Verdict, verdict
from lockstep.run.result import Row
from lockstep.text import MOST_ULPS, columns, counted, digits, grouped, relative, unbroken

_COLORS = {"match": "green", "mismatch": "red", "undecided": "yellow"}
_INDENT, _LABEL = 2, 10  # columns before a label, and of it


def report(result: Comparison, width: int = 80) -> str:
    """The whole report as plain text."""
    return "\n".join(line.plain for line in lines(result, width))


def lines(result: Comparison, width: int) -> Iterator[Text]:
    """The whole report, a `rich.text.Text` a line."""
    yield from heading(result.problem, result.side)
    for record in result.shown:
        yield from step_lines(record, result.problem, width, result.side)
    yield from summary_lines(result, width)


def heading(problem: Problem, side: str = "by hand") -> Iterator[Text]:
    """What was compared, in two lines. side: what the side by hand is called, or "yours"."""
    size = "-".join(map(str, problem.sizes))
    samples = counted(problem.samples, "sample")
    batches = f" in batches of {problem.batch_size}" if problem.batch_size else ""
    frozen = f", {', '.join(problem.frozen)} frozen" if problem.frozen else ""
    steps = "steps as recorded" if problem.steps == UNTOLD else counted(problem.steps, "step")
    yield Text(
        f"{side} next to PyTorch: {size} network, {samples}{batches}, {problem.dtype}", "bold"
    )
    yield Text(
        f"hidden {problem.hidden_activation}, output {problem.output_activation}, "
        f"loss {problem.loss}, lr {problem.lr!r}, {steps}{frozen}"
    )


def summary_lines(result: Comparison, width: int) -> Iterator[Text]:
    """The table over the steps, then the verdict."""
    if result.rows:
        yield Text("")
        yield from _table_over_steps(result)
        if any(row.drift is not None for row in result.rows):
            whose = "the recording" if result.numbers else "the run by hand"
            yield from _wrapped(
                f"drift: distance between the parameters of {whose} and of PyTorch's own run. "
                "Rounding accumulates; drift is not judged.",
                width,
                "dim",
            )
    yield Text("")
    yield from verdict_lines(result, width)


def _table_over_steps(result: Comparison) -> Iterator[Text]:
    """A line for each row; a column that is empty throughout is left out."""
    heads = ["step", f"loss {result.side}", "by PyTorch", "worst element"]
    heads += ["difference / allowed", "drift"]
    cells = [heads, *(_row(row, result.dtype) for row in result.rows)]
    filled = [column for column in zip(*cells, strict=True) if any(column[1:])]
    head, *table = columns(list(zip(*filled, strict=True)), ">" * len(filled))
    yield Text(head, "dim")
    yield from map(Text, table)


def _row(row: Row, dtype: str) -> list[str]:
    worst = drift = ""
    if row.worst:
        of = compared(row.worst, dtype)
        worst = "none" if of.far == "0 ULP" else f"{of.label} {of.far}"
    if row.drift is not None:
        drift = f"{grouped(round(row.drift))} ULP" if row.drift <= MOST_ULPS else ""
        drift = drift or relative(row.drift_relative or 0.0)
    return [
        grouped(row.number),
        "" if row.loss_manual is None else f"{row.loss_manual:.9g}",
        f"{row.loss_torch:.9g}",
        worst,
        f"{row.worst_ratio:.2g}",
        drift,
    ]


def verdict_lines(result: Comparison, width: int, quiet: bool = False) -> Iterator[Text]:
    """The verdict. quiet: without the tables of what was asked for beside it."""
    words = verdict(result)
    if words.stopped:
        yield Text(words.stopped, "bold")
    if words.difference:
        yield Text(words.headline, "bold red")
        yield from _mismatch_lines(words, result, width)
    else:
        yield from _wrapped(words.headline, width, f"bold {_COLORS[result.verdict]}")
    for sentence in words.sentences:
        yield from _wrapped(sentence, width)
    if result.control:
        if not quiet:
            yield from _control_table(result.control, result.dtype)
        missed = result.control["caught"] < len(result.control["planted"])
        yield from _wrapped(words.control, width, "bold red" if missed else "")
    if result.referee:
        if not quiet:
            yield from _referee_table(result.referee, result.side)
        yield from _wrapped(words.referee, width)
    for remark in words.remarks:
        yield from _wrapped(remark, width)


def _mismatch_lines(words: Verdict, result: Comparison, width: int) -> Iterator[Text]:
    """Both sides one above the other, a caret below the first digit that differs, the mistake."""
    yield Text("")
    for word, text in words.difference:
        yield Text(f"  {word:9} {text}")
    if words.far and result.first:
        of = compared(result.first, result.dtype)
        same = len(os.path.commonprefix([of.manual, of.torch]))
        yield Text(f"{' ' * (_INDENT + _LABEL + same)}^ {words.far}", "bold red")
    yield Text("")
    for word, text in words.explanation:
        yield from _wrapped(text, width, "bold" if word in ("mistake", "or") else "", word)
    yield Text("")


def _control_table(control: dict[str, Any], dtype: str) -> Iterator[Text]:
    rows = [["planted at", "value", "error", "allowed", ""]]
    for entry in control["planted"]:
        value, found = digits(entry["torch"], dtype), "caught" if entry["caught"] else "missed"
        numbers = [f"{entry[key]:.1e}" for key in ("error", "allowed")]
        rows.append([f"  {entry['label']}", value, *numbers, found])
    styles = ["dim", *("" if entry["caught"] else "bold red" for entry in control["planted"])]
    yield Text("")
    yield from map(Text, columns(rows, "<>>><"), styles)


def _referee_table(referee: dict[str, Any], side: str) -> Iterator[Text]:
    """The elements on which the sides differ most, with each side's distance from the truth."""
    nearer = {"manual": side, "torch": "PyTorch", "equal": "both alike"}
    rows = [["from the truth", side, "PyTorch", "nearer"]]
    for entry in referee["worst"]:
        if entry["manual"] != entry["torch"]:
            rows.append([f"  {entry['label']}", *_away(entry), nearer[entry["nearer"]]])
    if len(rows) > 1:
        yield Text("")
        yield from map(Text, columns(rows, "<>><"), ["dim", *[""] * len(rows)])


def _away(entry: dict[str, Any]) -> list[str]:
    """Both sides' distance from the truth: "0.479 ULP", or, where that says nothing, as it is."""
    if max(entry["manual_ulp"], entry["torch_ulp"]) <= MOST_ULPS:
        return [f"{entry[f'{side}_ulp']:.3g} ULP" for side in ("manual", "torch")]
    return [f"{entry[f'{side}_error']:.1e}" for side in ("manual", "torch")]


def _wrapped(text: str, width: int, style: str = "", word: str = "") -> list[Text]:
    """A paragraph in lines; with a word, set in behind it."""
    first, later = ("", "") if not word else (f"  {word:{_LABEL}}", " " * (_INDENT + _LABEL))
    wrapped = textwrap.wrap(
        unbroken(text),
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=not word,
        break_on_hyphens=False,
    )
    return [Text(line.replace("\N{NO-BREAK SPACE}", " "), style) for line in wrapped]
