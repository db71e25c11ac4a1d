"""Results from paper or a book: a TOML file of numbers by name, a table a step."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.files import read_toml, real_number
from lockstep.network.names import Quantities
from lockstep.network.problem import Problem
from lockstep.sides.answer import Answer, sort_out
from lockstep.sides.side import Side, Turn


class Paper(Side):
    """The numbers of a file.

    Args:
        path: Where they come from.
        steps: {1: {name: value}, …}; a value is a number, a printed one (text), or a list.
    """

    def __init__(self, path: str, steps: dict[int, dict[str, Any]]) -> None:
        self.path, self.written = path, steps
        self.last_step = max(steps)

    def prepare(self, problem: Problem) -> None:
        if self.last_step > problem.steps:
            raise Unusable(
                f"{self.path}: step {self.last_step} is beyond the run's {problem.steps} steps; "
                "expected more"
            )

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        where = f"{self.path}: step {turn.number}"
        numbers = self.written.get(turn.number, {}) if self.written else {}
        return as_answer(numbers, problem, len(turn.start.x), torch, where)


def as_answer(
    numbers: dict[str, Any], problem: Problem, samples: int, torch: Quantities, where: str = ""
) -> Answer:
    """An Answer from numbers by name, of which texts are printed ones.

    `printed` has half a unit of each printed number's last digit.
    """
    if not numbers:
        return Answer()
    values = {name: _map(value, float) for name, value in numbers.items()}
    halves = {name: _map(value, half_a_unit) for name, value in numbers.items()}
    zeros = {name: np.zeros(np.shape(array)) for name, array in torch.items()}
    answer = sort_out(values, problem, samples, torch, where)
    answer.printed = sort_out(halves, problem, samples, zeros, where).values
    return answer


def _map(value: Any, function: Callable[[Any], Any]) -> Any:
    """The function of a number, or of every number of nested lists."""
    return [_map(item, function) for item in value] if isinstance(value, list) else function(value)


def half_a_unit(value: Any) -> float:
    """Half a unit of the last digit of a printed number, a text; 0 of a computed one."""
    if not isinstance(value, str):
        return 0.0
    return float(Decimal(5).scaleb(int(Decimal(value).as_tuple().exponent) - 1))


def read_numbers(path: str) -> Paper:
    """The Paper of a TOML file.

    Raises:
        Unusable: With one line that names the file, the key and what is expected.
    """
    try:
        raw = read_toml(path)
    except Unusable as reason:
        raise Unusable(f"{reason}; a recording's name ends with .jsonl") from None
    tables = raw.pop("step", {})
    if not isinstance(tables, dict):
        raise Unusable(f"{path}: step: expected tables such as [step.2]")
    steps = {1: raw} if raw else {}
    for key, table in tables.items():
        number = int(key) if key.isascii() and key.isdigit() and len(key) < 10 else 0
        if number < 1 or not isinstance(table, dict):
            raise Unusable(
                f"{path}: step.{key}: expected a table named by a step number, such as [step.2]"
            )
        steps[number] = steps.get(number, {}) | table
    if not any(steps.values()):
        raise Unusable(f'{path}: has no number; expected some such as h1 = "0.593"')
    for at, table in steps.items():
        for name, value in table.items():
            _map(value, partial(_checked, where=f"{path}: step {at}, {name}"))
    return Paper(path, steps)


def _checked(item: Any, where: str) -> None:
    try:
        value = real_number(item) if isinstance(item, str) else item
        usable = (
            not isinstance(item, bool | dict)
            and Decimal(item).is_finite()
            and abs(float(value)) < float("inf")
        )
    except (InvalidOperation, ValueError, TypeError, OverflowError):
        usable = False
    if not usable:
        raise Unusable(
            f"{where}: expected a number, or one as it is printed in quotes, got {short(item)}"
        )
