"""The page: a run to step through, one HTML file that needs no network. Another view of the result, not a new one."""

import json
import re
from functools import lru_cache

import jinja2
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from lockstep.explain.formulas import inputs_of, source_of
from lockstep.learn.template import what_it_is
from lockstep.network.names import COMPUTED, scalar_names, shape_of, torch_place
from lockstep.report import sources, verdict
from lockstep.report.album import Album
from lockstep.report.formulas import names_in, places
from lockstep.report.page import mathml
from lockstep.report.page.drawing import drawing, is_drawable
from lockstep.report.page.loss_curve import loss_curve
from lockstep.report.page.step_data import most_steps, position_in, step_data
from lockstep.report.step import STAGES
from lockstep.report.terminal import heading
from lockstep.text import counted, grouped


def new_album(problem):
    """An empty album of what a page needs of each step."""
    return Album(lambda record, result: step_data(record, problem), most_steps(problem))


def page(result, album, step=None):
    """The HTML of a run. album: see `new_album`; step: the side by hand, None for the project's own."""
    steps, problem = album.steps(result), result.problem
    rows = _rows(result)
    at = next((i for i, kept in enumerate(steps) if kept["step"] == _decisive(result)), None)
    data = {
        "names": [row["name"] for row in rows],
        "scalars": problem.is_the_lectures,
        "start": at or 0,
        "side": result.side,
        "needs": {row["name"]: row["needs"] for row in rows},
        "why": {row["name"]: row["why"] for row in rows if row["why"]},
        "decisive": _decisive(result),
        "steps": steps,
    }
    return _rendered(
        "page.html",
        result,
        rows,
        steps=steps,
        shown=[steps[0], steps[at]] if at else steps[:1],
        kept=_kept(album, steps, result),
        network=drawing(problem, problem.batch_samples) if is_drawable(problem) else None,
        samples=problem.batch_samples,
        code=_code(problem, step),
        curve=loss_curve(steps) if steps else None,
        symbols=_symbols(steps[0], rows) if steps else {},
        data=_embedded(data),
    )


def _embedded(data):
    """Data as JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def fragment(result):
    """The verdict and a step's table as HTML without scripts, for a notebook."""
    record = result.decisive or next(iter(result.shown), result.last)
    step = step_data(record, result.problem) if record else None
    return _rendered("fragment.html", result, _rows(result), step=step)


def _rendered(template, result, rows, **more):
    """A template filled with what every view of a result needs, and with more."""
    return (
        _environment()
        .get_template(template)
        .render(
            heading=[line.plain for line in heading(result.problem, result.side)],
            result=result,
            told=told(result),
            rows=rows,
            scalars=result.problem.is_the_lectures,
            decisive=_decisive(result),
            stages=[name for name, _ in STAGES],
            **more,
        )
    )


def _decisive(result):
    at = result.first or result.undecided
    return at.step if at else None


def told(result):
    """The verdict as the report tells it: a sentence, what differs, the explanation, and what else is to be said."""
    differs = result.first is not None
    more = [verdict.likely_cause(result), verdict.resolution(result), verdict.unseen(result)]
    more += [f"remark: {remark}" for remark in verdict.remarks(result)]
    if result.control:
        caught, planted = result.control["caught"], len(result.control["planted"])
        more.append(f"control: {caught} of {planted} planted errors were caught")
    return {
        "stopped": f"{verdict.stopped(result)}; so far:"
        if result.interrupted or result.broken
        else "",
        "headline": verdict.headline(result),
        "difference": list(verdict.difference(result)) if differs else [],
        "far": verdict.how_far(result) if differs else "",
        "explanation": list(verdict.explanation(result)) if differs else [],
        "more": [text for text in more if text],
    }


def _kept(album, steps, result):
    """Which steps the page shows, where not all, and why the run ended, where before its time."""
    said = []
    if result.steps_run < result.steps_asked and _decisive(result):
        said.append(
            f"The run ended at step {grouped(result.steps_run)} of {grouped(result.steps_asked)}."
        )
    if len(steps) < result.steps_run:
        differing = "the first ones that differ, " if album.differing else ""
        said.append(
            f"This page keeps {len(steps)} of {counted(result.steps_run, 'step')}: the first, the last, {differing}and "
            f"one of every {grouped(album.stride)} in between."
        )
    return " ".join(said)


def _rows(result):
    """What of a row does not change: its name, formula, what it is, what it needs, and where PyTorch has it.

    why: which mistake it looks like, at the step that decided.
    """
    problem = result.problem
    scalars, activations = (
        problem.is_the_lectures,
        (problem.hidden_activation, problem.output_activation),
    )
    why: dict[str, str] = {}
    for found in result.found:
        for of in (found.quantity, *found.explains):
            why.setdefault(of, f"{found.mistake}: {found.says}")
    rows = []
    for stage, quantities in STAGES:
        for of in quantities:
            frozen = of.removeprefix("new_") in problem.frozen
            shape = shape_of(of, problem.sizes, 1)
            for i, name in enumerate(scalar_names(of, problem.sizes, 1) if scalars else (of,)):
                row = {
                    "name": name,
                    "stage": stage,
                    "frozen": frozen,
                    "numbers": "",
                    "needs": [],
                    "why": why.get(of, ""),
                }
                row["what"] = (
                    "the loss, before this step's update" if of == "loss" else what_it_is(name, of)
                )
                row["place"] = torch_place(of, position_in(shape, i) if scalars else ())
                row["formula"] = (
                    mathml.symbol(name) if frozen else mathml.formula(name, scalars, problem.loss)
                )
                if not frozen:
                    row["needs"] = sorted(
                        names_in(name) if scalars else inputs_of(source_of(name, problem.loss))
                    )
                    row["numbers"] = places(name, problem.loss, activations) if scalars else []
                rows.append(row)
    return rows


def _symbols(step, rows):
    """The names on the drawing that have no row of their own, as mathematics."""
    rowed = {row["name"] for row in rows}
    return {
        name: mathml.symbol(name)
        for name in step.get("put", {})
        if name not in rowed and "σ" not in name
    }


def _code(problem, step):
    """Both sources, aligned: a pair a row, each a dict of number, highlighted text, and the rows that it computes."""
    left, right = sources.by_hand(problem, step), sources.by_torch(problem)
    pairs = sources.aligned(left, right)
    texts = [
        _highlighted([pair[side].text if pair[side] else "" for pair in pairs]) for side in (0, 1)
    ]
    cells = [
        [_cell(line, text, problem) for line, text in zip(pair, both, strict=True)]
        for pair, both in zip(pairs, zip(*texts, strict=True), strict=True)
    ]
    return {"titles": (left.title, right.title), "pairs": cells}


def _cell(line, text, problem):
    if line is None:
        return None
    names = line.of
    if problem.is_the_lectures:
        names = [
            scalar
            for name in line.names
            for scalar in (scalar_names(name, problem.sizes, 1) if name in COMPUTED else (name,))
        ]
    return {"number": line.number, "text": text, "names": " ".join(names)}


def _highlighted(lines):
    """Lines of Python as HTML, escaped and with its words marked."""
    html = highlight("\n".join(lines), PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return [Markup(line) for line in html.split("\n")[: len(lines)]]


@lru_cache(maxsize=1)
def _environment():
    loader = jinja2.PackageLoader("lockstep.report.page", "templates")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = lambda text: re.sub(
        r"(?<=\d) (?=\d)", "\N{NO-BREAK SPACE}", text
    )
    environment.filters["breakable"] = lambda text: text.replace("·", "·\N{ZERO WIDTH SPACE}")
    environment.filters["grouped"] = lambda number: grouped(number).replace(
        " ", "\N{NO-BREAK SPACE}"
    )
    return environment
