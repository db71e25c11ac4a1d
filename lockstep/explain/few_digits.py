"""Numbers that were printed with too few digits, as by C's %f and %g: told apart from wrong ones."""

import json
from typing import NamedTuple

import numpy as np

from lockstep.explain.diagnosis import Diagnosis
from lockstep.network.names import COMPUTED, scalars
from manual_backprop import two_layer

ENOUGH = {"float64": 17, "float32": 9}  # significant digits that read back to the same number
_DRAWS, _ROOM = (
    8,
    4.0,
)  # how far parameters in few digits move a step: so many times the largest of so many draws


def too_few_digits(record, problem, line, earlier):
    """The diagnosis of a step that is right to the digits that were printed, and no further; else None.

    line: the step's text in the recording; earlier: the texts of the lines that may give what it starts from.
    """
    forms = {
        name: form
        for name, form in _forms(line, problem, len(record.x)).items()
        if _is_short(form, record.dtype)
    }
    computed = [form for name, form in forms.items() if name in COMPUTED]
    if not computed or record.misshapen:
        return None
    given = [
        form for text in (line, *earlier) for form in _forms(text, problem, len(record.x)).values()
    ]
    of_the_start = [form for form in computed if given.count(form) > computed.count(form)]
    spread, wrong = _spread(record, problem, of_the_start), []
    with np.errstate(all="ignore"):
        for name, value in record.manual.items():
            there = record.covered.get(name, np.ones(value.shape, bool))
            apart = np.abs(value - record.torch[name])
            if (apart > record.allowed[name])[there].any():
                wrong.append(name)
            printed = _half(value, forms[name]) * (1 + 1e-9) if name in forms else 0.0
            if not (apart <= printed + spread[name] + record.allowed[name])[there].all():
                return None
    form = forms.get(wrong[0], computed[0])
    right = _right_digits(record.manual[wrong[0]], record.torch[wrong[0]])
    says = f"{wrong[0]} is right to {right} digits, as far as {form.digits} printed {form.words} reach, here and before"
    enough = ENOUGH[record.dtype]
    remedy = f'print {enough} significant digits, as with "%.{enough}g" in C, or put printed numbers in quotes'
    return Diagnosis(wrong[0], "too-few-digits", says, remedy, explains=wrong)


def _right_digits(own, torch):
    """How many significant digits of the worst element are right."""
    with np.errstate(all="ignore"):
        off = np.nanmax(np.abs(own - torch) / np.abs(torch))
    return max(int(-np.log10(off)), 0) if 0 < off < np.inf else 0


class _Form(NamedTuple):
    """How numbers are printed: with so many decimals, or so many significant digits."""

    kind: str
    digits: int

    @property
    def words(self):
        return "decimals" if self.kind == "decimals" else "significant digits"


def _is_short(form, dtype):
    """Whether a form is one that loses digits: not a number that is short by itself, such as 0.25."""
    return 4 <= form.digits < ENOUGH[dtype] - (form.kind == "significant")


def _forms(text, problem, samples):
    """How each quantity of a line is printed, by the table's name; those without a fraction are left out."""
    if not text:
        return {}
    printed: dict[str, list[str]] = {}
    values = json.loads(text, parse_float=lambda number: _Printed(number))
    for name, value in values.get("problem", values).items():
        if name not in ("torch", "lr"):
            found = [
                item for item in np.asarray(value, dtype=object).flat if isinstance(item, _Printed)
            ]
            of, *_ = scalars(problem.sizes, samples).get(name, (name,))
            printed.setdefault(of, []).extend(found)
    return {name: _form(numbers) for name, numbers in printed.items() if numbers}


class _Printed(str):
    """A number as it stands in the text, not one in quotes."""


def _form(numbers):
    decimals = {len(number.partition(".")[2]) for number in numbers}
    if len(decimals) == 1 and not any("e" in number.lower() for number in numbers):
        return _Form("decimals", decimals.pop())
    mantissas = (
        number.lower().partition("e")[0].lstrip("-0.").replace(".", "") for number in numbers
    )
    return _Form("significant", max(map(len, mantissas)))


def _half(value, form):
    """Half a unit of the last printed digit of each element."""
    if form.kind == "decimals":
        return np.full(np.shape(value), 0.5 * 10.0**-form.digits)
    size = np.where(value == 0, 1e-300, np.abs(value))
    return 0.5 * 10.0 ** (np.floor(np.log10(size)) - form.digits + 1)


def _spread(record, problem, forms):
    """How far each quantity moves where what the step started from moves within its printed digits."""
    random = np.random.default_rng(0)
    start = record.parameters | {"x": record.x, "y": record.y}
    room = {
        name: np.max([np.zeros(value.shape), *(_half(value, form) for form in forms)], axis=0)
        for name, value in start.items()
    }
    right = _step(problem, record.lr, start)
    most = {name: np.zeros(np.shape(value)) for name, value in right.items()}
    for _ in range(_DRAWS):
        moved = {
            name: value + random.choice([-1.0, 1.0], value.shape) * room[name]
            for name, value in start.items()
        }
        step = _step(problem, record.lr, moved)
        most = {
            name: np.maximum(largest, np.abs(step[name] - right[name]))
            for name, largest in most.items()
        }
    return {name: _ROOM * largest for name, largest in most.items()}


def _step(problem, lr, start):
    with np.errstate(all="ignore"):
        wide = {name: np.asarray(value, np.float64) for name, value in start.items()}
        return two_layer.step(**wide, lr=lr, **problem.network_settings)
