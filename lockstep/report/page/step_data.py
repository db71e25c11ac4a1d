"""What a page shows of one step: its rows, the numbers in its formulas, its maps and drawing."""

from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.network.names import COMPUTED, Array, scalar_names, shape_of
from lockstep.network.problem import Problem
from lockstep.report.document import strict
from lockstep.report.formulas import number
from lockstep.report.page.drawing import DRAWN, Data, drawing, is_drawable, widths
from lockstep.report.step import by_element, compared, everything, numbers_of
from lockstep.run.record import Record
from lockstep.text import digits

MOST_STEPS, MOST_BYTES = 101, 750_000  # of a page
_STEP_BYTES, _NEURON_BYTES, _CELL_BYTES = 2500, 600, 18  # about what each takes up
MOST_CELLS = 24  # a side of a map


def most_steps(problem: Problem) -> int:
    """How many steps fit into a page."""
    if problem.is_the_lectures:
        return MOST_STEPS
    shapes = [shape_of(name, problem.sizes, problem.batch_samples) for name in COMPUTED]
    cells = sum(int(np.prod(np.minimum(shape, MOST_CELLS))) for shape in shapes)
    drawn = _NEURON_BYTES * max(problem.sizes) if is_drawable(problem) else 0
    return max(3, min(MOST_STEPS, MOST_BYTES // (_STEP_BYTES + drawn + _CELL_BYTES * cells)))


def step_data(record: Record, problem: Problem) -> Data:
    """One step as plain data: its loss, its rows by name, its formulas' and drawing's numbers.

    put: the numbers in the formulas; by_torch: PyTorch's where they are others, for rows that were
    not returned.
    """
    loss = record.manual.get("loss")
    data: Data = {
        "step": record.number,
        "loss": [None if loss is None else float(loss), float(record.torch["loss"])],
        "rows": _scalar_rows(record) if problem.is_the_lectures else _matrix_rows(record),
    }
    if is_drawable(problem):
        arrays = everything(record)
        values = by_element(arrays, problem, problem.batch_samples)
        drawn = by_element({name: arrays[name] for name in DRAWN}, problem, problem.batch_samples)
        data["put"] = {name: f"{value:.9g}" for name, value in values.items()}
        data["drawn"] = {name: f"{value:.4g}" for name, value in drawn.items()}
        data["widths"] = widths(drawing(problem)["edges"], values)
    if problem.is_the_lectures:
        put = data["put"] = _put(record, problem)
        by_torch = _put(replace(record, manual={}), problem)
        data["by_torch"] = {name: text for name, text in by_torch.items() if text != put[name]}
    else:
        data["heat"] = heat(record)
    plain: Data = strict(data)
    return plain


def index_at(shape: tuple[int, ...], i: int) -> tuple[int, ...]:
    """The index of the i-th element of an array."""
    return tuple(map(int, np.unravel_index(i, shape)))


def _scalar_rows(record: Record) -> dict[str, list[Any]]:
    """A row a scalar."""
    places = {record.place(position): position for position in range(record.flat_torch.size)}
    rows = {}
    for name in COMPUTED:
        for i, scalar in enumerate(scalar_names(name, record.sizes, 1)):
            index = index_at(record.torch[name].shape, i)
            rows[scalar] = _row(record, name, index, places.get((name, index)))
    return rows


def _matrix_rows(record: Record) -> dict[str, list[Any]]:
    """A row a matrix: of its worst element, whose name is added to it."""
    worst, rows = record.worst_positions(), {}
    for name in COMPUTED:
        position = worst.get(name)
        index = (0,) * record.torch[name].ndim
        if position is not None:
            index = record.place(position)[1]
        rows[name] = [*_row(record, name, index, position), record.named(name, index)]
    return rows


def _row(record: Record, name: str, index: tuple[int, ...], position: int | None) -> list[Any]:
    """[by hand, PyTorch or None where it is the same, how far apart, whether it agrees]."""
    if position is not None:
        of = compared(record.entry(position), record.dtype)
        return [of.manual, None if of.manual == of.torch else of.torch, of.apart, of.agrees]
    value = digits(float(record.torch[name][index]), record.dtype)
    if name in record.misshapen:
        expected = f"expected shape {record.torch[name].shape}"
        return [f"shape {record.misshapen[name].shape}", value, expected, False]
    return ["", value, "not given", None]


def _put(record: Record, problem: Problem) -> dict[str, str]:
    """The numbers put into the formulas of the lecture's network, by name, and of each σ'."""
    values = numbers_of(record, problem)
    put = {name: number(value) for name, value in values.items() if not callable(value)}
    for neuron in ("h1", "h2", "o1", "o2"):
        slope = values[f"sigma_{neuron[0]}_prime"](values[f"z_{neuron}"], values[neuron])
        put[f"σ'(z_{neuron})"] = number(slope)
    return put


def heat(record: Record) -> dict[str, Data]:
    """The matrices of a step as maps: by name the shape, grid, hand, torch, ratio, at and most.

    A cell is the element of its block with the largest difference for what is allowed; `at` is its
    position in the matrix, row by row (None where cells are elements), `ratio` its difference /
    allowed, `most` the largest one. hand and torch have six significant digits; torch is None
    where these are the same.
    """
    ratio = np.nan_to_num(record.ratio(), nan=np.inf)
    return {
        name: _map(record.manual[name], record.torch[name], ratio[at.start : at.stop])
        for name, at in record.spans()
        if name not in record.covered and record.manual[name].ndim
    }


def _map(hand: Array, torch: Array, flat_ratio: Array) -> Data:
    ratio = flat_ratio.reshape((1, *hand.shape) if hand.ndim == 1 else hand.shape)
    rows, columns = (np.array_split(range(n), min(n, MOST_CELLS)) for n in ratio.shape)
    chosen = []
    for row in rows:
        for column in columns:
            i, j = divmod(int(ratio[np.ix_(row, column)].argmax()), len(column))
            chosen.append(int(row[i] * ratio.shape[1] + column[j]))
    by_hand, by_torch = ([f"{side.flat[at]:.6g}" for at in chosen] for side in (hand, torch))
    return {
        "shape": list(hand.shape),
        "grid": [len(rows), len(columns)],
        "hand": [_number(value) for value in by_hand],
        "torch": [None if a == b else _number(b) for a, b in zip(by_hand, by_torch, strict=True)],
        "ratio": [_number(f"{ratio.flat[at]:.2g}") for at in chosen],
        "most": f"{ratio.max():.2g}",
        "at": None if len(chosen) == ratio.size else chosen,
    }


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
