"""What a page shows of one step, as plain data: rows, numbers in formulas, maps, the drawing."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.evidence.trainings import FAR, Trainings
from lockstep.explain.formulas import labels
from lockstep.network.names import Array, Index
from lockstep.network.problem import Problem
from lockstep.report.document import strict
from lockstep.report.formulas import number
from lockstep.report.step import (
    by_element,
    compared,
    everything,
    first_samples,
    numbers_of,
    values_of,
)
from lockstep.run.record import Entry, Record
from lockstep.text import digits
from manual_backprop.losses import one_hot

Data = dict[str, Any]  # what a template or the page's script reads

MOST_STEPS, MOST_BYTES = 101, 750_000  # of a page
_STEP_BYTES, _NEURON_BYTES, _CELL_BYTES = 2500, 600, 18  # about what each takes up
MOST_CELLS = 24  # a side of a map
MOST_NEURONS, MOST_LAYERS = 6, 5  # a layer that can be drawn with their numbers, and layers
MOST_LABELLED = 4  # neurons a layer beside whose lines there is room for their numbers
MOST_ELEMENTS = 1000  # of a step that is shown element by element, with its numbers put in
_ELEMENT_BYTES = 100
NOT_JUDGED = "not judged"  # in the place of whether two values agree
_CURVE_WIDTH, _CURVE_HEIGHT, _CURVE_TOP = 560, 140, 10


def is_drawable(problem: Problem) -> bool:
    """Whether the network is small enough for a drawing."""
    return max(problem.sizes) <= MOST_NEURONS and problem.network.depth <= MOST_LAYERS


def is_labelled(problem: Problem) -> bool:
    """Whether there is room for its weights' numbers beside the lines."""
    return is_drawable(problem) and max(problem.sizes) <= MOST_LABELLED


def samples_of(problem: Problem) -> int | None:
    """Of what is shown element by element the number of samples; None where matrices are."""
    network, n = problem.network, problem.batch_samples
    small = is_labelled(problem) and network.size(network.computed, n) <= MOST_ELEMENTS
    return n if small and problem.samples % n == 0 else None


def across(depth: int) -> list[int]:
    """Where the layers are drawn, from left to right."""
    return [70, 350, 600] if depth == 2 else [70 + 270 * layer for layer in range(depth + 1)]


def most_steps(problem: Problem) -> int:
    """How many steps fit into a page."""
    if problem.is_the_lectures:
        return MOST_STEPS
    network, samples = problem.network, problem.batch_samples
    shapes = [network.shape(name, samples) for name in network.computed]
    cells = sum(int(np.prod(np.minimum(shape, MOST_CELLS))) for shape in shapes)
    if samples_of(problem):
        return max(3, min(MOST_STEPS, MOST_BYTES // (_STEP_BYTES + _ELEMENT_BYTES * cells)))
    drawn = _NEURON_BYTES * max(problem.sizes) if is_drawable(problem) else 0
    return max(3, min(MOST_STEPS, MOST_BYTES // (_STEP_BYTES + drawn + _CELL_BYTES * cells)))


def row_names(problem: Problem, n: int | None) -> Iterator[tuple[str, str, Index]]:
    """What has a row: every element of a step on n samples or, where n is None, every matrix.

    Yields:
        Its name, the quantity that it belongs to, and its index there, () for a matrix.
    """
    network = problem.network
    for of in network.computed:
        shape = network.shape(of, n) if n else ()
        for index in np.ndindex(shape):
            yield network.label(of, index, n) if n and shape else of, of, index


def step_data(record: Record, problem: Problem, n: int | None) -> Data:
    """One step as plain data: its loss, its rows by name, its formulas' and drawing's numbers.

    n: see `row_names`.

    put: the numbers in the formulas; by_torch: PyTorch's where they are others, for rows that were
    not returned; given: the numbers that the step starts from, with all their digits.
    """
    loss = record.manual.get("loss")
    shown = range(record.size) if n else record.worst_positions().values()
    entries = {
        (entry.quantity, tuple(entry.index or ()) if n else ()): entry
        for entry in map(record.entry, shown)
    }
    data: Data = {
        "step": record.number,
        "loss": [None if loss is None else float(loss), float(record.torch["loss"])],
        "rows": {
            name: _row(record, of, index, entries.get((of, index)))
            for name, of, index in row_names(problem, n)
        },
    }
    if is_drawable(problem):
        data |= _drawn(record, problem, are_put=not n)
    data |= _in_formulas(record, problem, n) if n else {"heat": heat(record)}
    plain: Data = strict(data)
    return plain


def _drawn(record: Record, problem: Problem, are_put: bool) -> Data:
    """The numbers of the drawing, and whether they are those in the formulas, too."""
    samples, network = problem.batch_samples, replace(problem.network, labels=False)
    arrays = everything(record)
    arrays["y"] = one_hot(arrays["y"], network.sizes[-1], arrays["x"].dtype)
    arrays = first_samples(arrays, network)
    neurons = [network.of(kind, l) for l in network.layers for kind in ("a", "delta")]
    matrices = [network.of("W", l) for l in network.layers]

    def of(names: Iterable[str]) -> dict[str, float]:
        return by_element({name: arrays[name] for name in names}, network, samples)

    drawn = of(("x", "y", *neurons, *network.parameters))
    data: Data = {"drawn": {name: f"{value:.4g}" for name, value in drawn.items()}}
    data["widths"] = widths(of(matrices))
    if are_put:
        data["put"] = {name: f"{value:.9g}" for name, value in of(arrays).items()}
    return data


def _in_formulas(record: Record, problem: Problem, n: int) -> Data:
    """The numbers that stand in formulas, PyTorch's where they are others, and the given ones."""
    absent = dict.fromkeys(_every_name(problem, n), "")  # a line may have fewer samples
    values = values_of(record, problem)
    put = absent | {name: number(value) for name, value in values.items()}
    by_torch = absent | numbers_of(replace(record, manual={}), problem)
    computed = {name for name, *_ in row_names(problem, n)}
    given = {name: it for name, it in values.items() if name not in computed and "σ" not in name}
    return {
        "put": put,
        "by_torch": {name: text for name, text in by_torch.items() if text != put[name]},
        "given": {name: float(value) for name, value in given.items()},
    }


def _every_name(problem: Problem, n: int) -> Iterator[str]:
    """The names of all elements, and of each σ', of a step on n samples."""
    network = replace(problem.network, labels=False)
    for of in (*network.given, *network.computed):
        for label in labels(network, of, n).flat:
            yield from (label, f"σ'({label})") if network[of].family == "z" else (label,)


def _row(record: Record, of: str, index: Index, entry: Entry | None) -> list[Any]:
    """[by hand, PyTorch or None where it is the same, how far apart, whether it agrees, element].

    Whether it agrees is `NOT_JUDGED` where it does, and that says nothing.

    entry: the scalar, or the worst element of a matrix; None where it was not returned.
    """
    if entry:
        it = compared(entry, record.dtype)
        torch = None if it.manual == it.torch else it.torch
        return [it.manual, torch, it.apart, it.agrees and (it.judged or NOT_JUDGED), it.label]
    array = record.torch[of]
    index = index or (0,) * array.ndim
    if index and index[0] >= len(array):
        return ["", "", "not in this step", None, ""]
    value, element = digits(float(array[index]), record.dtype), record.named(of, index)
    if of in record.misshapen:
        shape = f"shape {record.misshapen[of].shape}"
        return [shape, value, f"expected shape {array.shape}", False, element]
    return ["", value, "not given", None, element]


def changeable(problem: Problem) -> list[str]:
    """The names of given numbers that a reader may change: inputs, parameters, learning rate."""
    network, n = problem.network, problem.batch_samples
    of = ("x", *network.parameters)
    shapes = {name: network.shape(name, n) for name in of}
    return [
        *(network.label(name, index, n) for name in of for index in np.ndindex(shapes[name])),
        "lr",
    ]


def widths(weights: dict[str, float]) -> dict[str, int]:
    """How wide each weight's edge is drawn, by name: 0 to 100, with the weight's sign."""
    most = max(map(abs, weights.values()))
    drawn = 0 < most < float("inf")
    return {name: round(100 * (value / most)) if drawn else 0 for name, value in weights.items()}


def loss_curve(steps: list[Data], both: Trainings | None = None) -> Data:
    """The loss of both sides as points of a drawing; logarithmic where it spans much.

    Args:
        steps: Those that are kept.
        both: Both trainings, each on its own, which stand in the place of the steps' losses.

    Returns:
        manual, torch: the points; marks: where the kept steps are; ends, low, high: of the axes.
    """
    kept = np.array([it["step"] for it in steps])
    if both and both.by_hand:
        number = np.arange(1, 1 + max(len(both.by_hand), len(both.by_torch)))
        losses = np.full((len(number), 2), np.nan)
        losses[: len(both.by_hand), 0] = both.by_hand
        losses[: len(both.by_torch), 1] = both.by_torch
        kept = np.minimum(kept, number[-1])
    else:
        number = kept
        losses = np.array(
            [[loss if isinstance(loss, float) else np.nan for loss in it["loss"]] for it in steps]
        )
    seen = losses[np.isfinite(losses)]
    low, high = seen.min(initial=np.inf), seen.max(initial=-np.inf)
    usual = FAR * np.nanmax(np.where(np.isfinite(losses[:, 1]), losses[:, 1], np.nan), initial=-1)
    high = min(high, usual) if usual > 0 else high
    log = bool(0 < 20 * low < high)
    scaled = np.log10 if log else np.positive
    with np.errstate(all="ignore"):
        up = (scaled(losses) - scaled(low)) / (scaled(high) - scaled(low) or 1.0)
    up[~(up <= 1)] = np.nan  # one diverges: the rest of it is left out
    xs = _CURVE_WIDTH * (number - number[0]) / (number[-1] - number[0] or 1)
    ys = _CURVE_HEIGHT - (_CURVE_HEIGHT - _CURVE_TOP) * up
    manual, torch = (
        " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, side, strict=True) if np.isfinite(y))
        for side in ys.T
    )
    at = np.searchsorted(number, kept)
    marks = [[f"{x:.1f}", f"{y:.1f}"] for x, y in zip(xs[at], ys[at, 1], strict=True)]
    ends = {"low": f"{low:.3g}", "high": f"{high:.3g}"} if seen.size else {"low": "", "high": ""}
    steps_shown = {"first": int(number[0]), "last": int(number[-1])}
    return {"manual": manual, "torch": torch, "marks": marks, "log": log} | ends | steps_shown


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
    ratio = np.atleast_2d(flat_ratio.reshape(hand.shape))
    places = np.arange(ratio.size).reshape(ratio.shape)
    rows, columns = (np.array_split(range(n), min(n, MOST_CELLS)) for n in ratio.shape)
    blocks = [np.ix_(row, column) for row in rows for column in columns]
    chosen = [int(places[block].flat[ratio[block].argmax()]) for block in blocks]
    by_hand, by_torch = ([f"{side.flat[at]:.6g}" for at in chosen] for side in (hand, torch))
    return {
        "shape": list(hand.shape),
        "grid": [len(rows), len(columns)],
        "hand": [float(value) for value in by_hand],
        "torch": [None if a == b else float(b) for a, b in zip(by_hand, by_torch, strict=True)],
        "ratio": [float(f"{ratio.flat[at]:.2g}") for at in chosen],
        "most": f"{ratio.max():.2g}",
        "at": None if len(chosen) == ratio.size else chosen,
    }
