"""Worksheets: a training step to work on paper, with boxes to fill in, and its key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.bound.allowed import tolerance
from lockstep.errors import Unusable
from lockstep.grade.judge import student_problem
from lockstep.grade.reports import file_names
from lockstep.network.problem import Problem, make_problem
from lockstep.report.formulas import equation, symbol
from lockstep.report.page.page import environment
from lockstep.report.page.step_data import MOST_LABELLED, MOST_LAYERS, row_names, samples_of
from lockstep.report.step import in_numbers, is_frozen, numbers_of, stages
from lockstep.report.terminal import heading
from lockstep.run.steps import records
from lockstep.sides.built_in import BuiltIn


def sheets(values: dict[str, Any], names: list[str], title: str) -> dict[str, str]:
    """By file name a worksheet and a key for each student, or one for all.

    Args:
        values: Checked options of the problem.
        names: Of the students, each of whom gets numbers drawn for the name; [] for one sheet with
            the problem's own.
        title: Of the sheet.

    Raises:
        Unusable: The network is too large for a sheet.
    """
    found = {}
    for name, file in zip(names or [""], file_names(names or ["sheet"]), strict=True):
        problem = student_problem(values, name) if name else make_problem(dict(values))
        n = samples_of(problem)
        if n is None:
            most = f"{MOST_LABELLED} neurons a layer, {MOST_LAYERS} layers and few samples"
            sizes = "-".join(map(str, problem.sizes))
            raise Unusable(f"sizes: {sizes} is too large for a sheet; expected up to {most}")
        for is_key, end in ((False, ".html"), (True, "_key.html")):
            found[file.removesuffix(".html") + end] = _sheet(problem, n, name, title, is_key)
    return found


def _sheet(problem: Problem, n: int, name: str, title: str, is_key: bool) -> str:
    """A worksheet, or its key, as a page to print."""
    _, sentence = (line.plain for line in heading(replace(problem, steps=1)))
    return (
        environment()
        .get_template("sheet.html")
        .render(
            title=title,
            name=name,
            is_key=is_key,
            sentence=sentence,
            given=list(_given(problem, n)),
            stages=list(_stages(problem, n)),
        )
    )


def _given(problem: Problem, n: int) -> Iterator[tuple[str, str]]:
    """The numbers that a step starts from, each with its symbol."""
    network, start = problem.network, problem.start(1, problem.state)
    for name in ("x", "y", *network.parameters):
        array = start.given[name]
        for index in np.ndindex(array.shape):
            label = network.label(name, index, n) if array.ndim else name
            yield symbol(label), f"{float(array[index]):.6g}"
    yield symbol("lr"), f"{problem.lr:g}"


def _stages(problem: Problem, n: int) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The computations of a step, by stage."""
    network = problem.network
    record = next(records(problem, tolerance(problem, {}), BuiltIn()))
    numbers = numbers_of(record, problem)
    rows: dict[str, list[dict[str, str]]] = {}
    for name, of, index in row_names(problem, n):
        if is_frozen(of, problem):
            continue
        value = float(np.asarray(record.torch[of])[index])
        row = {"name": name, "formula": equation(name, n, network), "value": f"{value:.6g}"}
        rows.setdefault(of, []).append(row | {"numbers": in_numbers(name, problem, numbers)})
    for stage, quantities in stages(network):
        yield stage, [row for of in quantities for row in rows.get(of, [])]
