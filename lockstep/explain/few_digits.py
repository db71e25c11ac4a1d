"""Numbers that are right but printed with too few digits, as by C's %f and %g."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.explain.diagnosis import Diagnosis
from lockstep.network.names import COMPUTED, Array, Quantities, scalars
from lockstep.network.problem import Problem
from lockstep.run.record import Record
from manual_backprop import two_layer

ENOUGH = {"float64": 17, "float32": 9}  # significant digits that read back to the same number
_DRAWS = 8  # how often the start is moved within its digits to see how far a step moves,
_ROOM = 4.0  # and how many times the largest such move is allowed


@dataclass(frozen=True)
class _Form:
    """How numbers are printed. digits: those behind the point if fixed, else significant ones."""

    digits: int
    fixed: bool

    def loses_digits(self, dtype: str) -> bool:
        """Whether numbers are cut off: 0.25 is short by itself."""
        return 4 <= self.digits < ENOUGH[dtype] - (not self.fixed)

    def half_a_unit(self, value: Array) -> Array:
        """Half a unit of the last printed digit, element by element."""
        size = np.where(value == 0, 1e-300, np.abs(value))
        first = np.full(size.shape, -1.0) if self.fixed else np.floor(np.log10(size))
        half: Array = 0.5 * 10.0 ** (first - self.digits + 1)
        return half


@np.errstate(all="ignore")
def too_few_digits(
    record: Record, problem: Problem, line: str, earlier: Iterable[str]
) -> Diagnosis | None:
    """The diagnosis of a step that is right to the digits that were printed, and no further.

    Args:
        record: the step.
        problem: what it is a step of.
        line: the step's text in the recording.
        earlier: the texts of the lines that may give what it starts from.
    """
    samples = len(record.x)
    printed = _forms(line, problem, samples)
    short = {name: form for name, form in printed.items() if form.loses_digits(record.dtype)}
    computed = [form for name, form in short.items() if name in COMPUTED]
    if not computed or record.misshapen:
        return None
    given = [form for name, form in printed.items() if name not in COMPUTED]
    given += [form for text in earlier for form in _forms(text, problem, samples).values()]
    spread = _spread(record, problem, [form for form in computed if form in given])
    wrong = []
    for name, value in record.manual.items():
        there = record.covered.get(name, True)
        apart, allowed = np.abs(value - record.torch[name]), record.allowed[name]
        half = short[name].half_a_unit(value) * (1 + 1e-9) if name in short else 0.0
        if np.any(there & (apart > allowed)):
            wrong.append(name)
        if np.any(there & ~(apart <= half + spread[name] + allowed)):
            return None
    name, form = wrong[0], short.get(wrong[0], computed[0])
    right = _right_digits(record.manual[name], record.torch[name])
    words = "decimals" if form.fixed else "significant digits"
    enough = f'"%.{ENOUGH[record.dtype]}g"'
    return Diagnosis(
        name,
        "too-few-digits",
        f"{name} is right to {right} digits, as far as {form.digits} printed {words} reach, "
        "here and before",
        f"print {ENOUGH[record.dtype]} significant digits, as with {enough} in C, "
        "or put printed numbers in quotes",
        explains=wrong,
    )


def _right_digits(own: Array, torch: Array) -> int:
    """How many significant digits of the worst element are right."""
    off = np.nanmax(np.abs(own - torch) / np.abs(torch))
    return max(int(-np.log10(off)), 0) if 0 < off < np.inf else 0


class _Printed(str):
    """A number as it stands in the text, not one in quotes."""


def _forms(text: str, problem: Problem, samples: int) -> dict[str, _Form]:
    """How each quantity of a line is printed, by the table's name; whole numbers say nothing."""
    printed: dict[str, list[str]] = {}
    values = json.loads(text or "{}", parse_float=_Printed)
    for name, value in values.get("problem", values).items():
        if name not in ("torch", "lr"):
            items = np.asarray(value, dtype=object).flat
            quantity, *_ = scalars(problem.sizes, samples).get(name, (name,))
            numbers = [item for item in items if isinstance(item, _Printed)]
            printed.setdefault(quantity, []).extend(numbers)
    return {name: _form(numbers) for name, numbers in printed.items() if numbers}


def _form(numbers: list[str]) -> _Form:
    mantissas = [number.lower().partition("e")[0] for number in numbers]
    decimals = {len(mantissa.partition(".")[2]) for mantissa in mantissas}
    if len(decimals) == 1 and "e" not in "".join(numbers).lower():
        return _Form(decimals.pop(), fixed=True)
    digits = (mantissa.lstrip("-0.").replace(".", "") for mantissa in mantissas)
    return _Form(max(map(len, digits)), fixed=False)


def _spread(record: Record, problem: Problem, forms: list[_Form]) -> Quantities:
    """How far each quantity moves where what the step started from moves within its digits."""
    random = np.random.default_rng(0)
    given = record.parameters | {"x": record.x, "y": record.y}
    start = {name: np.asarray(value, np.float64) for name, value in given.items()}
    room = {
        name: np.max([np.zeros(value.shape), *(form.half_a_unit(value) for form in forms)], axis=0)
        for name, value in start.items()
    }

    def step(moves: Quantities) -> Quantities:
        moved: dict[str, Any] = {
            name: value + moves.get(name, 0.0) for name, value in start.items()
        }
        return two_layer.step(**moved, lr=record.lr, **problem.network_settings)

    right = step({})
    draws = [
        step({name: random.choice([-1.0, 1.0], most.shape) * most for name, most in room.items()})
        for _ in range(_DRAWS)
    ]
    return {
        name: _ROOM * np.max([np.abs(draw[name] - right[name]) for draw in draws], axis=0)
        for name in right
    }
