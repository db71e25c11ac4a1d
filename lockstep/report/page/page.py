"""The page: a run to step through, one HTML file that needs no network. A view of the result."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import jinja2
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from lockstep.evidence.comparison import Comparison
from lockstep.explain.formulas import formula_of, labels, quantities_of, what_it_is
from lockstep.network.problem import Problem
from lockstep.report import sources
from lockstep.report.album import Album
from lockstep.report.formulas import equation, places, symbol
from lockstep.report.page.labels import own_names, relabelled
from lockstep.report.page.script import script
from lockstep.report.page.step_data import (
    MOST_LAYERS,
    MOST_NEURONS,
    Data,
    across,
    changeable,
    is_drawable,
    is_labelled,
    loss_curve,
    most_steps,
    row_names,
    samples_of,
    step_data,
)
from lockstep.report.remarks import of_trainings
from lockstep.report.step import is_frozen, stages
from lockstep.report.terminal import heading
from lockstep.report.verdict import verdict
from lockstep.text import counted, grouped, unbroken

_MOST_LABELS = 6  # numbers of weights between two layers that are all shown at once


def new_album(problem: Problem) -> Album[Data]:
    """An empty album of what a page needs of each step."""
    n = samples_of(problem)
    own_names(problem)  # a label that is none is told before anything is computed
    return Album(lambda record, result: step_data(record, problem, n), most_steps(problem))


def page(result: Comparison, album: Album[Data], step: Any = None, name: str = "") -> str:
    """The HTML of a run.

    Args:
        result: The run.
        album: See `new_album`.
        step: See `sources.by_hand`.
        name: Whose it is, in the title and the verdict.
    """
    steps, problem = album.steps(result), result.problem
    n = samples_of(problem)
    own = own_names(problem)
    rows, decisive = _rows(result, n), _decisive(result)
    at = next((i for i, kept in enumerate(steps) if kept["step"] == decisive), 0)
    _tell(rows, steps[at] if steps else None)
    both = result.trainings
    curve = loss_curve(steps, both) if steps else None
    data: Data = {
        "scalars": n is not None,
        "start": at,
        "side": result.side,
        "needs": {row["name"]: row["needs"] for row in rows},
        "why": {row["name"]: row["why"] for row in rows},
        "decisive": decisive,
        "changeable": changeable(problem) if n else [],
        "marks": curve["marks"] if curve else [],
        "called": own,
        "digits": None if problem.dtype == "float64" else 7,
        "steps": steps,
    }
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    put = steps[0].get("put", {}) if steps else {}
    without_row = sorted(name for name in put.keys() - data["needs"].keys() if "σ" not in name)
    return _rendered(
        "page.html",
        result,
        rows,
        n,
        steps=steps,
        shown=[steps[0], steps[at]] if at else steps[:1],
        kept=" ".join(_kept(album, len(steps), result)),
        code=_code(result, step, steps[at]["rows"]) if steps else None,
        curve=curve,
        of_trainings=of_trainings(both, result) if both and both.by_hand else "",
        symbols={name: relabelled(symbol(name), own) for name in without_row},
        name=name,
        script=script(problem, n) if n else "const formulas = {};",
        data=text.replace("<", "\\u003c"),  # nothing in it can end the script element
    )


def fragment(result: Comparison) -> str:
    """The verdict and a step's table as HTML without scripts, for a notebook."""
    record = result.decisive or next(iter(result.shown), result.last)
    n = 1 if result.problem.is_the_lectures else None
    step = step_data(record, result.problem, n) if record else None
    rows = _rows(result, n)
    _tell(rows, step)
    return _rendered("fragment.html", result, rows, n, step=step)


def _rendered(
    template: str, result: Comparison, rows: list[Data], n: int | None, **more: Any
) -> str:
    """A template filled with what every view of a result needs, and with more."""
    problem, words, name = result.problem, verdict(result), more.setdefault("name", "")
    network = replace(problem.network, labels=False)  # a class is drawn as a 1

    def named(of: list[str], *index: int) -> list[str]:
        return [network.label(name, index, problem.batch_samples) for name in of]

    described = [line.plain for line in heading(problem, result.by_hand.title)]
    own = own_names(problem)
    if problem.title:
        described = [problem.title, f"{described[0]}, {described[1]}"]
    more |= {
        "heading": described,
        "say": lambda text: own.get(text, text),
        "result": result,
        "words": replace(words, headline=f"{name}: {words.headline}") if name else words,
        "rows": rows,
        "problem": problem,
        "scalars": n is not None,
        "labelled": is_labelled(problem),
        "crowded": max(a * b for a, b in pairwise(problem.sizes)) > _MOST_LABELS,
        "across": across(network.depth),
        "decisive": _decisive(result),
        "stages": stages(problem.network),
        "named": named,
    }
    return environment().get_template(template).render(more)


def _decisive(result: Comparison) -> int | None:
    at = result.first or result.undecided
    return at.step if at else None


def _kept(album: Album[Data], shown: int, result: Comparison) -> Iterator[str]:
    """What the page does not show: a drawing, steps that were not run, steps that are left out."""
    if not is_drawable(result.problem):
        most = f"{MOST_LAYERS} layers of up to {MOST_NEURONS} neurons"
        yield f"A network of up to {most} is drawn; of this one there are maps of its matrices."
    if result.steps_run < result.steps_asked and _decisive(result):
        run, asked = grouped(result.steps_run), grouped(result.steps_asked)
        yield f"The run ended at step {run} of {asked}."
    if shown < result.steps_run:
        differing = "the first ones that differ, " if album.differing else ""
        yield (
            f"This page keeps {shown} of {counted(result.steps_run, 'step')}: the first, the last, "
            f"{differing}and one of every {grouped(album.stride)} in between."
        )


def _rows(result: Comparison, n: int | None) -> list[Data]:
    """What does not change of each row: what it is, its formula, and where PyTorch has it."""
    problem, own = result.problem, own_names(result.problem)
    why: dict[str, str] = {}
    for found in result.found:
        for of in (found.quantity, *found.explains):
            why.setdefault(of, f"{found.mistake}: {found.says}")
    rows = []
    for name, of, index in row_names(problem, n):
        network = problem.network
        row: Data = {"name": name, "of": of, "why": why.get(of, "")}
        row |= {"what": what_it_is(name, of, network), "frozen": is_frozen(of, problem)}
        row |= {"place": network.torch_place(of, index)}
        row |= {"formula": symbol(name), "needs": [], "numbers": []}
        if of == "loss":
            row["what"] = "the loss, before this step's update"
        if not row["frozen"]:
            row["formula"] = equation(name, n, network)
            row["needs"] = sorted(quantities_of(formula_of(name, n, network)))
            row["numbers"] = places(name, problem) if n else []
        row["formula"] = relabelled(row["formula"], own)
        rows.append(row)
    return rows


def _tell(rows: list[Data], step: Data | None) -> None:
    """Mark the rows that tell the mistake: of each quantity the first one that differs."""
    told = set[str]()
    for row in rows:
        differs = step is not None and step["rows"][row["name"]][3] is False
        row["told"] = bool(row["why"]) and differs and row["of"] not in told
        told |= {row["of"]} if differs else set()


def _code(result: Comparison, step: Any, shown: Data) -> Data:
    """Both sources, aligned: a pair of cells a row, and the values below recognised lines.

    shown: the rows of the step whose values stand there at first.
    """
    problem, first = result.problem, result.first
    network, n = problem.network, samples_of(problem)
    elements = {of: list(labels(network, of, n).flat) if n else [of] for of in network.computed}
    left = sources.by_hand(problem, step, first.step if first else 1)
    right = sources.by_torch(problem)
    pairs = sources.aligned(left, right)
    sides = [_cells(list(side), problem, elements) for side in zip(*pairs, strict=True)]
    rows: list[Data] = []
    told = set[str]()
    for pair, cells in zip(pairs, zip(*sides, strict=True), strict=True):
        line = sources.telling(*pair, right)
        of_line = line.of if line else ()
        values = [of for of in of_line if of in left.yours and of in elements and of not in told]
        told.update(values)
        guilty = bool(first and pair[0] and first.quantity in pair[0].yours)
        below = [_value(left.yours[of], elements[of], shown) for of in values]
        rows.append({"cells": cells, "guilty": guilty, "values": below})
    return {"titles": [left.title, right.title], "rows": rows}


def _value(yours: str, names: list[str], shown: Data) -> Data:
    """A value below a recognised line: the first element that differs, else the first one."""
    name = next((name for name in names if shown[name][3] is False), names[0])
    return {"yours": f"{yours}: " if yours else "", "names": "|".join(names), "row": shown[name]}


def _cells(
    lines: list[sources.Line | None], problem: Problem, elements: dict[str, list[str]]
) -> list[Data | None]:
    """A side's lines: each one's number, highlighted text, and the rows that it computes."""
    source = "\n".join(line.text if line and line.number else "" for line in lines)
    html = highlight(source, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))

    def rows(line: sources.Line) -> str:
        names = line.names if problem.is_the_lectures else line.of
        return "|".join(label for name in names for label in elements.get(name, [name]))

    return [
        {"line": line, "text": text, "names": rows(line)} if line else None
        for line, text in zip(lines, html.split("\n"), strict=False)
    ]


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Where the templates of pages are."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockstep.report.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"unbroken": unbroken, "grouped": grouped}
    return environment
