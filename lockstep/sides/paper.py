"""Results from paper or a book: a TOML file of numbers by name, a table a step."""

from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.names import Quantities
from lockstep.network.problem import Problem
from lockstep.setup.files import read_toml
from lockstep.sides.answer import Answer
from lockstep.sides.side import Side, Turn
from lockstep.sides.written import Written, as_answer, written


class Paper(Side):
    """The numbers of a file.

    Args:
        path: Where they come from.
        steps: The numbers by step.
    """

    kind = "numbers"

    def __init__(self, path: str, steps: dict[int, Written]) -> None:
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
        return as_answer(numbers, problem, turn.start, torch, where)


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
    return Paper(path, {at: _finite(f"{path}: step {at}", steps[at]) for at in steps})


def _finite(where: str, table: dict[str, Any]) -> Written:
    """The numbers of a step."""
    numbers = {name: written(value, f"{where}, {name}") for name, value in table.items()}
    for name, (array, _) in numbers.items():
        if not np.isfinite(array).all():
            got = array.ravel()[~np.isfinite(array.ravel())][0]
            raise Unusable(f"{where}, {name}: expected a number, got {got}")
    return numbers
