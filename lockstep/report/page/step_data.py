"""What the page shows of one step: its rows, the numbers in its formulas, its drawing, its heat maps."""

from dataclasses import replace

import numpy as np

from lockstep.network.names import COMPUTED, scalar_names, shape_of
from lockstep.report.document import strict
from lockstep.report.formulas import number
from lockstep.report.page.drawing import drawing, is_drawable, numbers, widths
from lockstep.report.page.heat import cells, heat
from lockstep.report.step import judged, numbers_of
from lockstep.text import digits

MOST_STEPS, MOST_BYTES = 101, 750_000


def most_steps(problem):
    """How many steps fit into a page."""
    return (
        MOST_STEPS
        if problem.is_the_lectures
        else max(3, min(MOST_STEPS, MOST_BYTES // _bytes(problem)))
    )


def _bytes(problem):
    """About how much a step takes up."""
    drawn = 600 * max(problem.sizes) if is_drawable(problem) else 0
    return (
        2500
        + drawn
        + 18 * sum(cells(shape_of(name, problem.sizes, problem.batch_samples)) for name in COMPUTED)
    )


def step_data(record, problem):
    """One step as plain data: its loss, its rows by name, and what goes into its formulas and its drawing.

    put: the numbers in the formulas; by_torch: those of PyTorch where they are others, for rows that were not given.
    """
    loss = record.manual.get("loss")
    shown = {
        "step": record.number,
        "loss": [None if loss is None else float(loss), float(record.torch["loss"])],
        "rows": _scalar_rows(record) if problem.is_the_lectures else _matrix_rows(record),
    }
    if is_drawable(problem):
        samples = problem.batch_samples
        values, plan = numbers(record, problem, samples), drawing(problem, samples)
        shown["put"] = {name: f"{value:.9g}" for name, value in values.items()}
        shown["drawn"] = {name: f"{values[name]:.4g}" for name in plan["names"]}
        shown["widths"] = widths(plan["edges"], values)
    if problem.is_the_lectures:
        shown["put"] = _put(numbers_of(record, problem))
        by_torch = _put(numbers_of(replace(record, manual={}), problem))
        shown["by_torch"] = {
            name: text for name, text in by_torch.items() if text != shown["put"][name]
        }
    else:
        shown["heat"] = heat(record)
    return strict(shown)


def _scalar_rows(record):
    """A row a scalar: [by hand, PyTorch or None where it is the same, how far apart, whether it agrees]."""
    places = {record.place(position): position for position in range(len(record.flat_torch))}
    rows = {}
    for name in COMPUTED:
        for i, scalar in enumerate(scalar_names(name, record.sizes, 1)):
            index = position_in(record.torch[name].shape, i)
            if (name, index) in places:
                rows[scalar] = _row(record, places[name, index])
            else:
                rows[scalar] = _not_returned(record, name, index)
    return rows


def _matrix_rows(record):
    """A row a matrix, its element with the largest difference for what is allowed; the element's name is in the row."""
    worst, rows = record.worst_positions(), {}
    for name in COMPUTED:
        if name in worst:
            _, index = record.place(worst[name])
            rows[name] = [*_row(record, worst[name]), record.named(name, index)]
        else:
            index = (0,) * record.torch[name].ndim
            rows[name] = [*_not_returned(record, name, index), record.named(name, index)]
    return rows


def position_in(shape, i):
    """The index of the i-th element of an array."""
    return tuple(int(at) for at in np.unravel_index(i, shape)) if shape else ()


def _row(record, position):
    by_hand, by_torch, apart, mark = judged(record, position)
    return [by_hand, None if by_hand == by_torch else by_torch, apart, mark == "✓"]


def _not_returned(record, name, index):
    value = digits(float(record.torch[name][index]), record.dtype)
    if name in record.misshapen:
        return [
            f"shape {record.misshapen[name].shape}",
            value,
            f"expected shape {record.torch[name].shape}",
            False,
        ]
    return ["", value, "not given", None]


def _put(values):
    """The numbers put into the formulas of the lecture's network, by name, and of each σ'."""
    put = {name: number(value) for name, value in values.items() if not callable(value)}
    for layer in "ho":
        for i in (1, 2):
            slope = values[f"sigma_{layer}_prime"](values[f"z_{layer}{i}"], values[f"{layer}{i}"])
            put[f"σ'(z_{layer}{i})"] = number(slope)
    return put
