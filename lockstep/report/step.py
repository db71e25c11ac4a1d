"""A step in full: an entry a scalar for the lecture's network, else a line a matrix."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
from rich.text import Text

from lockstep.network.names import Quantities
from lockstep.network.network import PER_SAMPLE, Network
from lockstep.network.problem import Problem
from lockstep.report.formulas import formula, number, places
from lockstep.run.record import Entry, Record
from lockstep.text import MOST_ULPS, columns, digits, distance
from manual_backprop.activations import activation
from manual_backprop.losses import one_hot

WIDE = 140  # from this many columns on, a formula, its numbers and its values share a line
MISSED = "missed"  # an error that was planted and not caught
MARK_STYLES = {"✓": "green", "≈": "yellow", "✗": "bold red", "": ""}
_INDENT = " " * 4
_VISIBLE = 1e-3  # from this relative difference on, two values look different
_Shown: TypeAlias = "tuple[list[Text], dict[str, list[Text]]]"  # a head, lines by quantity


@dataclass(frozen=True)
class Compared:
    """One element as every view shows it; both values have all their digits.

    Attributes:
        far: "3 ULP", or from 10 000 ULP on "17 %".
        limit: the allowed difference, in ULP ("14") or as it is ("2e-17").
        apart: both in one phrase, "3 ULP of 14 allowed".
        agrees: whether they differ by no more than that.
        judged: whether that says anything: two values may be far from each other and agree where
            rounding alone, or a kink, could change the whole of them.
    """

    label: str
    manual: str
    torch: str
    far: str
    limit: str
    apart: str
    agrees: bool
    judged: bool

    @property
    def mark(self) -> str:
        """What stands beside the two values."""
        return "✗" if not self.agrees else "✓" if self.judged else "≈"


def compared(entry: Entry, dtype: str) -> Compared:
    """An element of a record that has both values."""
    manual, torch, difference, allowed = cast(
        "list[float]", [entry.manual, entry.torch, entry.difference, entry.allowed]
    )
    far = distance(manual, torch, dtype)
    with np.errstate(all="ignore"):
        most = allowed / float(np.spacing(np.abs(np.asarray(torch, dtype=dtype))))
    limit = str(int(most)) if most <= MOST_ULPS else f"{allowed:.0e}"
    apart = f"{far}, {limit} ULP allowed"
    if not limit.isdigit():
        apart = f"{f'{difference:.0e}' if manual != torch else '0'} of {limit} allowed"
    elif far.endswith("ULP"):
        apart = f"{far} of {limit} allowed"
    texts = digits(manual, dtype), digits(torch, dtype)
    judged = allowed < abs(torch) or difference <= _VISIBLE * max(abs(manual), abs(torch))
    return Compared(entry.label, *texts, far, limit, apart, difference <= allowed, judged)


def is_in_scalars(record: Record) -> bool:
    """Whether it is a step of the lecture's network on one sample: a recording has its own x."""
    network = record.network
    return network.is_plain and network.sizes == (2, 2, 2) and record.samples == 1


def everything(record: Record) -> Quantities:
    """All arrays of a step by name: by hand where returned, else PyTorch's."""
    return record.start.given | record.torch | record.manual


def by_element(arrays: Quantities, network: Network, n: int) -> dict[str, Any]:
    """Every element by what a report calls it in batches of n samples."""
    return {
        network.label(name, index, n): array[index]
        for name, array in arrays.items()
        for index in np.ndindex(array.shape)
    }


def stages(network: Network) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The parts of a step, and what each computes."""
    forward, update = network.forward, network.update
    backward = tuple(name for name in network.judged if name not in {*forward, *update})
    return ("forward", forward), ("backward", backward), ("update", update)


def first_samples(arrays: Quantities, network: Network, n: int = 1) -> Quantities:
    """Of what has a row a sample the first n samples'."""
    return {
        name: array[:n] if network[name].family in PER_SAMPLE else array
        for name, array in arrays.items()
    }


def numbers_of(record: Record, problem: Problem) -> dict[str, str]:
    """The numbers put into the formulas of elements, by name, and of each σ', as text."""
    return {name: number(value) for name, value in values_of(record, problem).items()}


def values_of(record: Record, problem: Problem) -> dict[str, Any]:
    """The same as numbers."""
    network, n = replace(problem.network, labels=False), problem.batch_samples
    arrays, settings = everything(record), dict(network.settings)
    if network.memory and record.start.memory is None:
        arrays |= {name: np.zeros(network.shape(name, n)) for name in network.memory}
        settings["dampening"] = 0.0
    arrays["y"] = one_hot(arrays["y"], network.sizes[-1], arrays["x"].dtype)
    arrays = first_samples(arrays, network, n)
    values = by_element(arrays, network, n)
    for l, which in zip(network.layers, network.activations, strict=True):
        z, a = network.of("z", l), network.of("a", l)
        slopes = np.broadcast_to(activation(which)[1](arrays[z], arrays[a]), arrays[z].shape)
        marked = by_element({z: slopes}, network, n)
        values |= {f"σ'({name})": slope for name, slope in marked.items()}
    values |= {"lr": record.start.lr, "step": record.number, "l1": network.l1, "l2": network.l2}
    return values | settings


def in_numbers(scalar: str, problem: Problem, put: dict[str, str]) -> str:
    """A scalar's formula with the numbers of `numbers_of` put in."""
    parts = places(scalar, problem)
    text = "".join(part if isinstance(part, str) else put[part[0]] for part in parts)
    return re.sub(r"\((\([^()]*\))\)", r"\1", text)  # tanh((-0.3))


def is_frozen(name: str, problem: Problem) -> bool:
    """Whether it is the new value of a parameter that is not trained."""
    return name.startswith("new_") and problem.network.parameter(name) in problem.frozen


def step_lines(
    record: Record, problem: Problem, width: int, side: str = "by hand"
) -> Iterator[Text]:
    """A step in full. side: what the side by hand is called, "by hand" or "yours"."""
    yield Text("")
    yield Text(f"step {record.number}", "bold")
    if record.manual:
        shown = _scalar_entries if is_in_scalars(record) else _matrix_table
        head, lines = shown(record, problem, width, side)
        yield from head
        for stage, names in stages(record.network):
            of_stage = [line for name in names for line in lines.get(name, ())]
            if of_stage:
                yield Text(f" {stage}", "bold")
            yield from of_stage
    for name, array in record.misshapen.items():
        expected = record.torch[name].shape
        yield Text(f"  {name} has shape {array.shape}; expected {expected}  ✗", "bold red")


def _scalar_entries(record: Record, problem: Problem, width: int, side: str) -> _Shown:
    put = numbers_of(record, problem)
    lines: dict[str, list[Text]] = {}
    for entry in map(record.entry, range(record.size)):
        scalar, frozen = entry.label, is_frozen(entry.quantity, problem)
        equation = f"{scalar.removeprefix('new_')} (frozen)", ""
        if not frozen:
            numbers = re.sub(r"^\(([^()]*)\)$", r"\1", in_numbers(scalar, problem, put))
            equation = formula(scalar, 1, problem.network), numbers
        of = compared(entry, record.dtype)
        lines.setdefault(entry.quantity, []).extend(_entry(of, *equation, width, side))
    return [], lines


def _entry(of: Compared, in_names: str, in_numbers: str, width: int, side: str) -> Iterator[Text]:
    """name = formula / = numbers / values, ULP, allowed and mark."""
    margin = _INDENT + " " * (len(of.label) + 1)
    same = of.manual == of.torch
    if width >= WIDE:
        sides = of.manual if same else f"{side} {of.manual}  PyTorch {of.torch}"
        last = _INDENT + " = ".join(filter(None, (of.label, in_names, in_numbers, sides)))
    else:
        yield Text(f"{_INDENT}{of.label} = {in_names}")
        first, later = f"{margin}= ", f"{margin}  "
        wrapped = textwrap.TextWrapper(
            width, initial_indent=first, subsequent_indent=later, break_long_words=False
        )
        yield from map(Text, wrapped.wrap(in_numbers))
        last = f"{first}{of.manual}  on both sides"
        if not same:
            yield Text(f"{first}{of.manual}  {side}")
            last = f"{later}{of.torch}  PyTorch"
    gap = max(width - 4 - len(last) - len(of.apart), 2)
    mark = of.mark, MARK_STYLES[of.mark]
    yield Text.assemble(last, " " * gap, (of.apart, "dim"), "  ", mark)


def _matrix_table(record: Record, problem: Problem, width: int, side: str) -> _Shown:
    """A line a matrix: its element with the largest difference for what is allowed."""
    rows = [["worst element", side, "PyTorch", "ULP", "allowed", "", "formula"]]
    worst = record.worst_positions()
    for name, position in worst.items():
        of = compared(record.entry(position), record.dtype)
        far = of.far.removesuffix(" ULP")
        how = "frozen" if is_frozen(name, problem) else formula(name, None, problem.network)
        rows.append(
            [f"  {of.label}{record.yours(name)}", of.manual, of.torch, far, of.limit, of.mark, how]
        )
    shown = 7 if width >= WIDE else 6
    head, *lines = table([row[:shown] for row in rows], "<>>>><<")
    return [head], {name: [line] for name, line in zip(worst, lines, strict=True)}


def table(rows: Sequence[Sequence[str]], aligned: str) -> Iterator[Text]:
    """A table whose first row is its head; a row of something wrong is red. See `columns`."""
    styles = ["bold red" if {"✗", MISSED} & set(row) else "" for row in rows[1:]]
    return map(Text, columns(rows, aligned), ["dim", *styles])
