"""The page: a run to step through, one HTML file that needs no network. A view of the result."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jinja2
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from lockstep.evidence.comparison import Comparison
from lockstep.explain.formulas import inputs_of, source_of, what_it_is
from lockstep.network.names import COMPUTED, scalar_names, shape_of, torch_place
from lockstep.network.problem import Problem
from lockstep.report import sources
from lockstep.report.album import Album
from lockstep.report.formulas import names_in, places
from lockstep.report.page import mathml
from lockstep.report.page.drawing import Data, drawing, is_drawable, loss_curve
from lockstep.report.page.step_data import index_at, most_steps, step_data
from lockstep.report.step import STAGES, is_frozen
from lockstep.report.terminal import heading
from lockstep.report.verdict import verdict
from lockstep.text import counted, grouped, unbroken


def new_album(problem: Problem) -> Album[Data]:
    """An empty album of what a page needs of each step."""
    return Album(lambda record, result: step_data(record, problem), most_steps(problem))


def page(result: Comparison, album: Album[Data], step: Any = None) -> str:
    """The HTML of a run. album: see `new_album`; step: see `sources.by_hand`."""
    steps, problem = album.steps(result), result.problem
    rows, decisive = _rows(result), _decisive(result)
    at = next((i for i, kept in enumerate(steps) if kept["step"] == decisive), 0)
    data = {
        "names": [row["name"] for row in rows],
        "scalars": problem.is_the_lectures,
        "start": at,
        "side": result.side,
        "needs": {row["name"]: row["needs"] for row in rows},
        "why": {row["name"]: row["why"] for row in rows if row["why"]},
        "decisive": decisive,
        "steps": steps,
    }
    return _rendered(
        "page.html",
        result,
        rows,
        steps=steps,
        shown=[steps[0], steps[at]] if at else steps[:1],
        kept=" ".join(_kept(album, len(steps), result)),
        network=drawing(problem) if is_drawable(problem) else None,
        samples=problem.batch_samples,
        code=_code(problem, step),
        curve=loss_curve(steps) if steps else None,
        symbols=_symbols(steps[0], rows) if steps else {},
        data=_embedded(data),
    )


def fragment(result: Comparison) -> str:
    """The verdict and a step's table as HTML without scripts, for a notebook."""
    record = result.decisive or next(iter(result.shown), result.last)
    step = step_data(record, result.problem) if record else None
    return _rendered("fragment.html", result, _rows(result), step=step)


def _rendered(template: str, result: Comparison, rows: list[Data], **more: Any) -> str:
    """A template filled with what every view of a result needs, and with more."""
    return (
        _environment()
        .get_template(template)
        .render(
            heading=[line.plain for line in heading(result.problem, result.side)],
            result=result,
            words=verdict(result),
            rows=rows,
            scalars=result.problem.is_the_lectures,
            decisive=_decisive(result),
            stages=[name for name, _ in STAGES],
            **more,
        )
    )


def _embedded(data: Data) -> Markup:
    """Data as JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _decisive(result: Comparison) -> int | None:
    at = result.first or result.undecided
    return at.step if at else None


def _kept(album: Album[Data], shown: int, result: Comparison) -> Iterator[str]:
    """Why the run ended, where before its time, and which steps the page shows, where not all."""
    if result.steps_run < result.steps_asked and _decisive(result):
        run, asked = grouped(result.steps_run), grouped(result.steps_asked)
        yield f"The run ended at step {run} of {asked}."
    if shown < result.steps_run:
        differing = "the first ones that differ, " if album.differing else ""
        yield (
            f"This page keeps {shown} of {counted(result.steps_run, 'step')}: the first, the last, "
            f"{differing}and one of every {grouped(album.stride)} in between."
        )


def _rows(result: Comparison) -> list[Data]:
    """What does not change of each row, in the order of computation."""
    sizes, scalars = result.problem.sizes, result.problem.is_the_lectures
    why: dict[str, str] = {}
    for found in result.found:
        for of in (found.quantity, *(found.explains or ())):
            why.setdefault(of, f"{found.mistake}: {found.says}")
    return [
        {"stage": stage, "why": why.get(of, "")} | _row(name, of, i, result.problem)
        for stage, quantities in STAGES
        for of in quantities
        for i, name in enumerate(scalar_names(of, sizes, 1) if scalars else (of,))
    ]


def _row(name: str, of: str, i: int, problem: Problem) -> Data:
    """Its name and formula, what it is, what it needs, and where PyTorch has it.

    of, i: the table's quantity, and which of its elements.
    """
    scalars, loss = problem.is_the_lectures, problem.loss
    index = index_at(shape_of(of, problem.sizes, 1), i) if scalars else ()
    row: Data = {
        "name": name,
        "what": what_it_is(name, of),
        "place": torch_place(of, index),
        "frozen": is_frozen(of, problem),
        "formula": mathml.symbol(name),
        "needs": [],
        "numbers": [],
    }
    if of == "loss":
        row["what"] = "the loss, before this step's update"
    if row["frozen"]:
        return row
    row["formula"] = mathml.formula(name, scalars, loss)
    if not scalars:
        return row | {"needs": sorted(inputs_of(source_of(name, loss)))}
    activations = problem.hidden_activation, problem.output_activation
    return row | {"needs": sorted(names_in(name)), "numbers": places(name, loss, activations)}


def _symbols(step: Data, rows: list[Data]) -> dict[str, Markup]:
    """The names on the drawing that have no row of their own, as mathematics."""
    names = step.get("put", {}).keys() - {row["name"] for row in rows}
    return {name: mathml.symbol(name) for name in sorted(names) if "σ" not in name}


def _code(problem: Problem, step: Any) -> Data:
    """Both sources, aligned: a pair of cells a row."""
    both = sources.by_hand(problem, step), sources.by_torch(problem)
    sides = [_cells(list(side), problem) for side in zip(*sources.aligned(*both), strict=True)]
    return {
        "titles": [source.title for source in both],
        "pairs": list(zip(*sides, strict=True)),
    }


def _cells(lines: list[sources.Line | None], problem: Problem) -> list[Data | None]:
    """A side's lines: each one's number, highlighted text, and the rows that it computes."""
    source = "\n".join(line.text if line else "" for line in lines)
    html = highlight(source, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return [
        {"number": line.number, "text": Markup(text), "names": _rows_of(line, problem)}
        if line
        else None
        for line, text in zip(lines, html.split("\n"), strict=False)
    ]


def _rows_of(line: sources.Line, problem: Problem) -> str:
    if not problem.is_the_lectures:
        return " ".join(line.of)
    rows = [scalar_names(of, problem.sizes, 1) if of in COMPUTED else (of,) for of in line.names]
    return " ".join(name for names in rows for name in names)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockstep.report.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "unbroken": unbroken,
        "breakable": lambda text: text.replace("·", "·\N{ZERO WIDTH SPACE}"),
        "grouped": lambda number: unbroken(grouped(number)),
    }
    return environment
