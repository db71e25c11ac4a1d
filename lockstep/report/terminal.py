"""The report in the terminal: the shown steps, the table over the steps, the verdict."""

import os
import textwrap
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from lockstep.evidence.comparison import Comparison
from lockstep.network.network import Network
from lockstep.network.problem import UNTOLD, Problem
from lockstep.report.step import MISSED, compared, step_lines, table
from lockstep.report.verdict import Verdict, verdict
from lockstep.run.result import Row
from lockstep.text import MOST_ULPS, counted, digits, grouped, relative, unbroken

_COLORS = {"match": "green", "mismatch": "red", "undecided": "yellow"}
_VAST = 1e20  # so many times its bound, which is that of underflow alone
_INDENT, _LABEL = 2, 10  # columns before a label, and of it


def report(result: Comparison, width: int = 80) -> str:
    """The whole report as plain text."""
    problem, side = result.problem, result.side
    steps = [line for record in result.shown for line in step_lines(record, problem, width, side)]
    lines = [*heading(problem, result.by_hand.title), *steps, *summary_lines(result, width)]
    return "\n".join(line.plain for line in lines)


def heading(problem: Problem, side: str = "by hand") -> Iterator[Text]:
    """What was compared, in two lines. side: the title of the side by hand."""
    size = "-".join(map(str, problem.sizes))
    samples = counted(problem.samples, "sample")
    batches = f" in batches of {problem.batch_size}" if problem.batch_size else ""
    frozen = f", {', '.join(problem.frozen)} frozen" if problem.frozen else ""
    steps = "steps as recorded" if problem.steps == UNTOLD else counted(problem.steps, "step")
    yield Text(
        f"{side} next to PyTorch: {size} network, {samples}{batches}, {problem.dtype}", "bold"
    )
    yield Text(f"{_settings(problem.network)}, lr {problem.lr!r}, {steps}{frozen}")


def _settings(network: Network) -> str:
    """The activations, the loss with its penalty, and the optimiser where it is not plain."""
    *hidden, output = network.activations
    parts = [f"activations {', '.join(network.activations)}", f"loss {network.loss}"]
    if network.depth == 2:
        parts[0] = f"hidden {hidden[0]}, output {output}"
    penalties = {"l1": network.l1, "l2": network.l2}
    parts += [f"{name} {value:g}" for name, value in penalties.items() if value]
    if not all(network.biases):
        layers = [str(l) for l, has in zip(network.layers, network.biases, strict=True) if not has]
        where = f" in layer {', '.join(layers)}" if any(network.biases) else ""
        parts.append(f"no biases{where}")
    settings = [
        name if value is True else f"{name} {value:g}" for name, value in network.settings if value
    ]
    if settings or network.optimizer != "sgd":
        parts.append(" ".join([network.optimizer, *settings]))
    return ", ".join(parts)


def summary_lines(result: Comparison, width: int) -> Iterator[Text]:
    """The table over the steps, then the verdict."""
    if result.rows:
        yield Text("")
        heads = f"step,loss {result.side},by PyTorch,worst element,diff / allowed,drift"
        rows = [heads.split(","), *(_row(row, result.dtype) for row in result.rows)]
        filled = [column for column in zip(*rows, strict=True) if any(column[1:])]
        yield from table(list(zip(*filled, strict=True)), ">" * len(filled))
        if any(row.drift is not None for row in result.rows):
            yield from _wrapped(
                f"drift: distance between the parameters of {result.by_hand.noun} and of PyTorch's "
                "own run. Rounding accumulates; drift is not judged.",
                width,
                "dim",
            )
    yield Text("")
    yield from verdict_lines(result, width)


def _row(row: Row, dtype: str) -> list[str]:
    """A line of the table over the steps."""
    drift = ""
    of = compared(row.worst, dtype)
    worst = "none" if of.far == "0 ULP" else f"{of.label} {of.far}"
    if row.drift is not None:
        drift = f"{grouped(round(row.drift))} ULP" if row.drift <= MOST_ULPS else ""
        drift = drift or relative(row.drift_relative or 0.0)
    loss = "" if row.loss_manual is None else f"{row.loss_manual:.9g}"
    is_vast = _VAST < row.worst_ratio < float("inf")
    ratio = "vast" if is_vast else f"{row.worst_ratio:.2g}"
    return [grouped(row.number), loss, f"{row.loss_torch:.9g}", worst, ratio, drift]


def verdict_lines(result: Comparison, width: int, quiet: bool = False) -> Iterator[Text]:
    """The verdict. quiet: without the tables of what was asked for beside it."""
    words = verdict(result)
    if words.stopped:
        yield Text(words.stopped, "bold")
    if words.difference:
        yield from _wrapped(words.headline, width, "bold red")
        yield from _mismatch_lines(words, width)
    else:
        yield from _wrapped(words.headline, width, f"bold {_COLORS[result.verdict]}")
    for sentence in words.sentences:
        yield from _wrapped(sentence, width)
    missed = False
    if result.control:
        missed = result.control["caught"] < len(result.control["planted"])
        if not quiet:
            yield from _control_table(result.control, result.dtype)
    yield from _wrapped(words.control, width, "bold red" if missed else "")
    if result.referee and not quiet:
        yield from _referee_table(result.referee, result.side)
    yield from _wrapped(words.referee, width)
    for remark in words.remarks:
        yield from _wrapped(remark, width)


def _mismatch_lines(words: Verdict, width: int) -> Iterator[Text]:
    """Both sides one above the other, a caret below the first digit that differs, the mistake."""
    yield Text("")
    for word, text in words.difference:
        yield Text(f"  {word:9} {text}")
    if words.far:
        (_, manual), (_, torch) = words.difference[-2:]
        same = len(os.path.commonprefix([manual, torch]))
        yield Text(f"{' ' * (_INDENT + _LABEL + same)}^ {words.far}", "bold red")
    yield Text("")
    for word, text in words.explanation:
        yield from _wrapped(text, width, "bold" if word in ("mistake", "or", "and") else "", word)
    yield Text("")


def _control_table(control: dict[str, Any], dtype: str) -> Iterator[Text]:
    rows = [["planted at", "value", "error", "allowed", ""]]
    for entry in control["planted"]:
        value, found = digits(entry["torch"], dtype), "caught" if entry["caught"] else MISSED
        numbers = [f"{entry[key]:.1e}" for key in ("error", "allowed")]
        rows.append([f"  {entry['label']}", value, *numbers, found])
    yield Text("")
    yield from table(rows, "<>>><")


def _referee_table(referee: dict[str, Any], side: str) -> Iterator[Text]:
    """The elements on which the sides differ most, with each side's distance from the truth."""
    nearer = {"manual": side, "torch": "PyTorch", "equal": "both alike"}
    rows = [["from the truth", side, "PyTorch", "nearer"]]
    for entry in referee["worst"]:
        if entry["manual"] != entry["torch"]:
            away = [f"{entry[f'{one}_ulp']:.3g} ULP" for one in ("manual", "torch")]
            if max(entry["manual_ulp"], entry["torch_ulp"]) > MOST_ULPS:
                away = [f"{entry[f'{one}_error']:.1e}" for one in ("manual", "torch")]
            rows.append([f"  {entry['label']}", *away, nearer[entry["nearer"]]])
    if len(rows) > 1:
        yield Text("")
        yield from table(rows, "<>><")


def _wrapped(text: str, width: int, style: str = "", word: str = "") -> list[Text]:
    """A paragraph in lines; with a word, set in behind it."""
    wrapped = textwrap.wrap(
        unbroken(text),
        width,
        initial_indent=word and f"  {word:{_LABEL}}",
        subsequent_indent=" " * (_INDENT + _LABEL) if word else "",
        break_long_words=not word,
        break_on_hyphens=False,
    )
    return [Text(line.replace("\N{NO-BREAK SPACE}", " "), style) for line in wrapped]
