"""Worksheets: a training step to work on paper, with boxes to fill in, and its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lockstep.bound.allowed import tolerance
from lockstep.errors import Unusable
from lockstep.grade.judge import student_problem
from lockstep.grade.reports import file_names
from lockstep.network.problem import Problem
from lockstep.report.formulas import TeX, equation, in_tex, symbol
from lockstep.report.page.labels import own_names, relabelled
from lockstep.report.page.page import environment
from lockstep.report.page.step_data import MOST_LABELLED, MOST_LAYERS, row_names, samples_of
from lockstep.report.step import in_numbers, is_frozen, numbers_of, stages
from lockstep.report.terminal import heading
from lockstep.run.steps import records
from lockstep.setup.files import key_beside
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn


def sheets(values: dict[str, Any], names: list[str], title: str) -> dict[str, str]:
    """By file name a worksheet and a key for each student, or one for all.

    Args:
        values: Checked options of the problem.
        names: Of the students, each of whom gets numbers drawn for the name; [] for one sheet with
            the problem's own.
        title: Of the sheet; where it is empty, the problem's.

    Raises:
        Unusable: The network is too large for a sheet.
    """
    found = {}
    for name, file in zip(names or [""], file_names(names or ["sheet"]), strict=True):
        problem = student_problem(values, name) if name else make_problem(dict(values))
        for is_key, path in ((False, file), (True, key_beside(file))):
            found[path] = as_html(problem, is_key, name, title)
    return found


def _samples(problem: Problem) -> int:
    """The number of samples of a step.

    Raises:
        Unusable: The network is too large for a sheet.
    """
    n = samples_of(problem)
    if n is None:
        most = f"{MOST_LABELLED} neurons a layer, {MOST_LAYERS} layers and few samples"
        sizes = "-".join(map(str, problem.sizes))
        raise Unusable(f"sizes: {sizes} is too large for a sheet; expected up to {most}")
    return n


@dataclass(frozen=True)
class Row:
    """A computation of a sheet.

    Attributes:
        name: What is computed.
        formula: Its formula, as HTML or TeX.
        numbers: The formula with numbers put in.
        value: What comes out.
    """

    name: str
    formula: str
    numbers: str
    value: str


@dataclass(frozen=True)
class Sheet:
    """What stands on a sheet and on its key.

    Attributes:
        title: Of the sheet.
        name: Whose it is; empty where it is nobody's.
        sentence: What the network is.
        given: The symbol and the value of each number that is given.
        stages: The computations by stage.
    """

    title: str
    name: str
    sentence: str
    given: list[tuple[str, str]]
    stages: list[tuple[str, list[Row]]]


def _sheet(problem: Problem, own: dict[str, str], name: str, title: str, in_html: bool) -> Sheet:
    """A sheet with formulas in HTML or in TeX. own: what quantities and words are called."""
    n = _samples(problem)

    def say(text: str) -> str:
        return own.get(text, text)

    def symbol_of(name: str) -> str:
        return relabelled(symbol(name), own) if in_html else TeX(say).name(name)

    def formula_of(name: str) -> str:
        if in_html:
            return relabelled(equation(name, n, problem.network), own)
        return in_tex(name, n, problem.network, say)

    _, sentence = (line.plain for line in heading(replace(problem, steps=1)))
    return Sheet(
        title or problem.title or say("Worksheet"),
        name,
        sentence,
        list(_given(problem, n, symbol_of)),
        [(say(stage), rows) for stage, rows in _stages(problem, n, formula_of)],
    )


def as_html(problem: Problem, is_key: bool, name: str = "", title: str = "") -> str:
    """A worksheet, or its key, as a page to print."""
    own = own_names(problem)
    sheet = _sheet(problem, own, name, title, in_html=True)
    template = environment().get_template("sheet.html")
    return template.render(**vars(sheet), is_key=is_key, say=lambda text: own.get(text, text))


def as_pdf(problem: Problem, is_key: bool) -> bytes:
    """The same in A4.

    Raises:
        Unusable: It cannot be drawn.
    """
    from lockstep.report.plots.paper import pages

    own = own_names(problem)
    sheet = _sheet(problem, own, "", "", in_html=False)
    key, name, heading_of_given = (own.get(it, it) for it in ("the key", "Name", "Given"))
    title = f"{sheet.title}: {key}" if is_key else sheet.title
    given = [f"${symbol}$ = {value}" for symbol, value in sheet.given]
    stages = [
        (stage, [(f"${it.formula}$", it.numbers, it.value) for it in rows])
        for stage, rows in sheet.stages
    ]
    whose = "" if is_key else f"{name}: ____________________"
    return pages(title, whose, sheet.sentence, heading_of_given, given, stages, is_key)


def _given(problem: Problem, n: int, symbol_of: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """The numbers that a step starts from, each with its symbol."""
    network, start = problem.network, problem.start(1, problem.state)
    for name in ("x", "y", *network.parameters):
        array = start.given[name]
        for index in np.ndindex(array.shape):
            label = network.label(name, index, n) if array.ndim else name
            yield symbol_of(label), f"{float(array[index]):.6g}"
    yield symbol_of("lr"), f"{problem.lr:g}"


def _stages(
    problem: Problem, n: int, formula_of: Callable[[str], str]
) -> Iterator[tuple[str, list[Row]]]:
    """The computations of a step, by stage."""
    network = problem.network
    record = next(records(problem, tolerance(problem, {}), BuiltIn()))
    numbers = numbers_of(record, problem)
    rows: dict[str, list[Row]] = {}
    for name, of, index in row_names(problem, n):
        if is_frozen(of, problem):
            continue
        value = f"{float(np.asarray(record.torch[of])[index]):.6g}"
        row = Row(name, formula_of(name), in_numbers(name, problem, numbers), value)
        rows.setdefault(of, []).append(row)
    for stage, quantities in stages(network):
        yield stage, [row for of in quantities for row in rows.get(of, [])]
