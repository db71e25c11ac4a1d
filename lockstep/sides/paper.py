"""Results worked out on paper or printed in a book, as a step: a TOML file of numbers by name, a table a step."""

from decimal import Decimal, InvalidOperation
from itertools import takewhile

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.explain.case import trained
from lockstep.explain.catalogue import catalogue
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.formulas import sources
from lockstep.network.files import read_toml, real_number
from lockstep.network.names import COMPUTED
from lockstep.sides.answer import Answer, sort_out


class Paper:
    """The numbers of a file. steps: {1: {name: value}, …}, a value being a number, a printed one (text), or a list."""

    def __init__(self, path, steps):
        self.path, self.steps = path, steps
        self.last_step = max(steps)

    def door(self, problem):
        """As `derivation.door`: a function that gives the file's numbers, step after step."""
        number = 0
        if self.last_step > problem.steps:
            raise Unusable(
                f"{self.path}: step {self.last_step} is beyond the run's {problem.steps} steps; expected more"
            )

        def answer(parameters, x, y, lr, torch):
            nonlocal number
            number += 1
            return self.answer(number, problem, len(x), torch)

        return answer

    def answer(self, number, problem, samples, torch):
        """What the file says of a step, as an Answer; `printed` has half a unit of each printed number's last digit."""
        if number not in self.steps:
            return Answer({}, {}, {})
        given = self.steps[number]
        where = f"{self.path}: step {number}"
        values = {name: _map(value, float) for name, value in given.items()}
        halves = {name: _map(value, half_a_unit) for name, value in given.items()}
        zeros = {name: np.zeros(np.shape(array)) for name, array in torch.items()}
        answer = sort_out(values, problem, samples, torch, where)
        answer.printed = sort_out(halves, problem, samples, zeros, where).values
        return answer

    def remarks(self, problem):
        """Nothing: one writes down what one likes."""
        return []

    def diagnose(self, record, problem, step_diagnoses):
        """What reproduces the numbers that differ: the catalogue's mistakes, each run as a whole training."""
        if record.misshapen:
            return step_diagnoses()
        start = problem.parameters
        later = sorted(number for number in self.steps if number >= record.number)
        right = sources(problem)
        wrong = self._differing(problem, trained(problem, right, {}, start), later, set())
        if not wrong:
            return self._unquoted(record) or step_diagnoses()
        explaining: list = []
        for mistake in catalogue(problem):
            if any(mistake.name == other.name for other, _ in explaining):
                continue
            for formula in mistake.formulas if mistake.is_plain else ():
                training = trained(problem, right, {mistake.quantity: formula}, start)
                try:
                    explained = not self._differing(problem, training, later, wrong)
                except (ValueError, IndexError):
                    continue  # the shapes do not fit
                if explained:
                    explaining.append((mistake, formula))
                    break
        if not explaining:
            return step_diagnoses()
        digits = ", ".join(f"{name} of step {number}" for number, name in sorted(wrong))
        return [
            Diagnosis(
                mistake.quantity,
                mistake.name,
                mistake.says.format(q=mistake.quantity, c="", cause="")
                + f"; trained like that from the first step on, every digit of {digits} comes out",
                mistake.remedy,
                formula,
                sorted({name for _, name in wrong}, key=COMPUTED.index),
            )
            for mistake, formula in explaining
        ]

    def _unquoted(self, record):
        """The diagnosis of numbers that are right to the digits they are written with, but not in quotes; else []."""
        for name, value in record.manual.items():
            covered = record.covered.get(name, np.ones(value.shape, bool))
            halves = np.vectorize(lambda number: half_a_unit(repr(float(number))), otypes=[float])(
                value
            )
            apart = np.abs(value - record.torch[name])
            if (apart > record.allowed[name])[covered].any() and (apart <= halves * (1 + 1e-9))[
                covered
            ].all():
                says = f"{name} is right to the digits it is written with; a bare number is judged like a computed one"
                return [
                    Diagnosis(
                        name,
                        "too-few-digits",
                        says,
                        'put a printed number in quotes, as in h1 = "0.593"',
                    )
                ]
        return []

    def _differing(self, problem, training, later, only):
        """The (step, name) whose numbers a training does not give; of those in `only`, if any, and then the first."""
        differing: set[tuple[int, str]] = set()
        for number, quantities in takewhile(lambda step: step[0] <= later[-1], training):
            if number not in later:
                continue
            answer = self.answer(number, problem, len(problem.batch(number)[0]), quantities)
            for name, value in answer.values.items():
                if only and (number, name) not in only:
                    continue
                apart = np.abs(value - quantities[name])
                small = 1e-9 * np.abs(quantities[name])
                if not (
                    apart
                    <= np.where(answer.printed[name] > 0, answer.printed[name] * (1 + 1e-9), small)
                ).all():
                    differing.add((number, name))
                    if only:
                        return differing
        return differing


def _map(value, function):
    return [_map(item, function) for item in value] if isinstance(value, list) else function(value)


def half_a_unit(value):
    """Half a unit of the last digit of a printed number, a text; 0 of a computed one."""
    if not isinstance(value, str):
        return 0.0
    return float(Decimal(5).scaleb(int(Decimal(value).as_tuple().exponent) - 1))


def read_numbers(path):
    """The Paper of a TOML file. Raises Unusable with one line that names the file, the key and what is expected."""
    try:
        raw = read_toml(path)
    except Unusable as reason:
        raise Unusable(f"{reason}; a recording's name ends with .jsonl") from None
    tables = raw.pop("step", {})
    if not isinstance(tables, dict):
        raise Unusable(f"{path}: step: expected tables such as [step.2]")
    steps = {1: raw} if raw else {}
    for key, table in tables.items():
        if not (
            key.isascii() and key.isdigit() and len(key) < 10 and int(key) > 0
        ) or not isinstance(table, dict):
            raise Unusable(
                f"{path}: step.{key}: expected a table named by a step number, such as [step.2]"
            )
        steps[int(key)] = steps.get(int(key), {}) | table
    if not any(steps.values()):
        raise Unusable(f'{path}: has no number; expected some such as h1 = "0.593"')
    for at, table in steps.items():
        for name, value in table.items():
            _map(value, lambda item, at=f"{path}: step {at}, {name}": _checked(item, at))
    return Paper(path, steps)


def _checked(item, where):
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
