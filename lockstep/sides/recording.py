"""A recording: what a program in any language computed as it trained, a line a step, as one more side by hand."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.few_digits import too_few_digits
from lockstep.network.files import read_lines, real_number
from lockstep.network.names import COMPUTED, FORWARD, GIVEN, scalar_names, scalars
from lockstep.network.options import check
from lockstep.sides.answer import Answer, sort_out
from lockstep.sides.paper import half_a_unit

_WORDS = {
    "nan": float("nan"),
    "-nan": float("nan"),
    "inf": float("inf"),
    "+inf": float("inf"),
    "-inf": -float("inf"),
}


@dataclass
class Line:
    """A line: where it stands, its step, its numbers by name, and of those in quotes half a unit of the last digit."""

    where: str
    step: int
    numbers: dict[str, np.ndarray]
    halves: dict[str, np.ndarray]
    text: str


@dataclass
class Jump:
    """An element of a parameter that a step starts from, and that is not where the step before ended."""

    name: str
    index: tuple[int, ...]
    start: float
    end: float
    before: int  # the step before
    is_old: bool  # whether it is what the step before started from


class Recording:
    """The lines of a file, or of standard input, as they come.

    keys: what its problem line says, checked, and what its first step starts from. Raises Unusable, with the number of
    the line, for whatever cannot be read.
    """

    def __init__(self, path):
        self._lines = read_lines(path)
        first = next(self._lines, None)
        self.keys: dict[str, Any] = {}
        where = self._earlier = self._problem = ""  # texts of the line before, and of the problem
        if first and "problem" in first[1]:
            where, values, self._problem = first
            self.keys = _problem(where, values)
            first = next(self._lines, None)
        if first is None:
            raise Unusable(
                f'{path}: has no step; expected a line of JSON a step, such as {{"step": 1, "h": [[0.5]]}}'
            )
        self._line = _line(*first)
        self._before = Answer({}, {}, {})  # what the line before gave
        self.own_from: tuple[int, str] | None = (
            None  # the first step, and parameter, that PyTorch's own went into
        )
        self.assumed: set[str] = set()  # keys of its problem that neither it nor anything else says
        self.names: set[str] = set()  # the quantities that some line gives, or a part of them
        self.keys |= {
            name: self._line.numbers[name] for name in GIVEN if name in self._line.numbers
        }
        missing = [
            name for name in GIVEN if name not in self.keys and not _in_part(name, self._line)
        ]
        if where and missing:
            raise Unusable(
                f"{where}problem: expected {', '.join(missing)} as well, here or in the first step's line"
            )

    def course(self):
        """The lines in order; `start` and the door are about the one that came last."""
        yield self._line
        for where, values, text in self._lines:
            line, earlier = _line(where, values, text), self._line.step
            if line.step <= earlier:
                raise Unusable(
                    f"{where}step {line.step} comes after step {earlier}; expected a larger number"
                )
            self._earlier, self._line = self._line.text, line
            yield line

    def start(self, problem, parameters, batch, last):
        """What the step starts from: (parameters, x, y, lr), and the `Jump`, or None.

        Of each parameter's elements those that the line gives; else the new ones of the line before; else those of
        `parameters`, PyTorch's own. batch: the problem's (x, y). last: the `comparison.Record` before, or None.
        """
        line = self._line
        x, y = (self._data(name, array) for name, array in zip(("x", "y"), batch, strict=True))
        if len(x) != len(y):
            raise Unusable(f"{line.where}x has {len(x)} rows, y has {len(y)}; expected as many")
        follows = last is None or line.step == last.number + 1
        started, unsaid, jump = {}, [], None
        for name, own in parameters.items():
            given, here = self._given(name, problem, own)
            ended, there = self._new(name, own) if follows else (own, np.zeros(own.shape, bool))
            started[name] = np.where(here, given, ended)
            if not follows and not here.all():
                unsaid.append(name)
            if (
                last
                and not (here | there).all()
                and name not in problem.frozen
                and not self.own_from
            ):
                self.own_from = line.step, name
            differs = here & there & (given != ended)
            if differs.any() and not jump:
                jump = _jump(name, given, ended, differs, last)
        if unsaid:
            gap = f"step {line.step} comes after step {last.number}"
            raise Unusable(
                f"{line.where}{gap}; expected {', '.join(unsaid)} as well, which it starts from"
            )
        lr = line.numbers.get("lr", np.float64(problem.lr))
        if lr.ndim:
            raise Unusable(f"{line.where}lr: expected a number, got a list")
        return (started, x, y, float(lr)), jump

    def door(self, problem):
        """As `derivation.door`: a function that gives the line's quantities."""

        def answer(parameters, x, y, lr, torch):
            line, where = self._line, self._line.where.rstrip()
            table = scalars(problem.sizes, len(x))
            got = {
                name: numbers
                for name, numbers in line.numbers.items()
                if name != "lr" and table.get(name, (name,))[0] not in GIVEN
            }
            if "lr" in line.numbers:
                self.assumed.discard("lr")
            found = sort_out(got, problem, len(x), torch, where) if got else Answer({}, {}, {})
            if line.halves and got:
                zeros = {name: np.zeros(np.shape(array)) for name, array in torch.items()}
                halves = {
                    name: line.halves.get(name, np.zeros(numbers.shape))
                    for name, numbers in got.items()
                }
                found.printed = sort_out(halves, problem, len(x), zeros, where).values
            self.names |= {*found.values, *found.misshapen}
            self._before = found
            return found

        return answer

    def remarks(self, problem):
        """What was not judged, what was taken as usual, and where a step started that no line says."""
        said = []
        if not self._problem:
            said.append(
                "the recording has no problem line: it was judged by the other options, or as the lecture's"
            )
        if self.assumed:
            usual = ", ".join(
                f"{key} {getattr(problem, key)}" for key in ("lr", "loss") if key in self.assumed
            )
            said.append(f"not said by the recording, so taken as usual: {usual}")
        missing = [name for name in COMPUTED if name not in self.names]
        if missing:
            said.append(f"not recorded, so not judged: {', '.join(missing)}")
        if self.own_from:
            step, name = self.own_from
            said.append(
                f"from step {step} on {name} starts from PyTorch's own run, where no line gives all of it"
            )
        return said

    def diagnose(self, record, problem, step_diagnoses):
        """What the step looks like: a start elsewhere, too few digits, or else what `step_diagnoses` finds."""
        if record.jump:
            return [_of_a_jump(record.jump)]
        few = too_few_digits(record, problem, self._line.text, (self._earlier, self._problem))
        found = [few] if few else step_diagnoses()
        if self._earlier and found[0].mistake == "unknown" and found[0].quantity in FORWARD:
            unsaid = [
                name
                for name, own in record.parameters.items()
                if not self._given(name, problem, own)[1].all()
            ]
            if unsaid:
                names = ", ".join(unsaid)
                found[
                    0
                ].remedy = f"give {names} in each line: one that changes in between looks like this"
        return found

    def _data(self, name, array):
        """x or y of the line, or the problem's."""
        if name not in self._line.numbers:
            return array
        given = self._line.numbers[name]
        if given.ndim != 2 or given.shape[1] != array.shape[1] or not len(given):
            where = f"{self._line.where}{name}"
            raise Unusable(
                f"{where}: expected rows of {array.shape[1]} numbers, got an array of shape {given.shape}"
            )
        return given.astype(array.dtype)

    def _given(self, name, problem, own):
        """A parameter as the line gives it, and which of its elements it gives."""
        numbers = self._line.numbers
        if name in numbers:
            if numbers[name].shape != own.shape:
                raise Unusable(
                    f"{self._line.where}{name}: expected shape {own.shape}, got {numbers[name].shape}"
                )
            return numbers[name].astype(own.dtype), np.ones(own.shape, bool)
        values, here = own.copy(), np.zeros(own.shape, bool)
        for i, scalar in enumerate(scalar_names(name, problem.sizes, 1) or ()):
            if scalar in numbers:
                values.flat[i], here.flat[i] = numbers[scalar], True
        return values, here

    def _new(self, name, own):
        """A parameter as the line before says that it ended, else `own`; and which of its elements it says."""
        answer, new = self._before, f"new_{name}"
        if new not in answer.values:
            return own, np.zeros(own.shape, bool)
        there = answer.covered.get(new, np.ones(own.shape, bool))
        return np.where(there, answer.values[new], own).astype(own.dtype), there


def _jump(name, given, ended, differs, last):
    """The Jump at the first element that lies further off than the rounding of the step before, or None."""
    differs = differs & ~(np.abs(given.astype(np.float64) - ended) <= last.allowed[f"new_{name}"])
    if not differs.any():
        return None
    at = tuple(int(i) for i in np.argwhere(differs)[0])
    is_old = bool((given == last.parameters[name])[differs].all())
    return Jump(name, at, float(given[at]), float(ended[at]), last.number, is_old)


def _of_a_jump(jump):
    """The diagnosis of a step that does not start where the one before ended."""
    if jump.is_old:
        says = f"{jump.name} is what step {jump.before} started from: its new value was not kept"
        return Diagnosis(jump.name, "not-updated", says, "store what the update computed")
    says = f"{jump.name} changed between two steps, while nothing says so"
    return Diagnosis(jump.name, "unknown", says, "look for what else writes to it")


def _in_part(name, line):
    """Whether a line gives some scalar of a quantity, under the lecture's names."""
    return any(scalar in line.numbers for scalar in scalar_names(name, (2, 2, 2), 1))


def _problem(where, values):
    """The checked keys of a problem line."""
    if set(values) != {"problem"} or not isinstance(values["problem"], dict):
        raise Unusable(
            f'{where}expected {{"problem": {{...}}}} alone, with the keys of a problem file'
        )
    for key in ("numbers", "derivation"):
        if key in values["problem"]:
            raise Unusable(
                f"{where}{key}: the recording is the side by hand; expected the problem alone"
            )
    return check(values["problem"], lambda key: f"{where}{key}")


def _line(where, values, text):
    """A Line of what a line says."""
    if "problem" in values:
        raise Unusable(f"{where}a second problem; expected one, in the first line")
    step = values.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 < step < 2**63:
        got = f"got {short(step)}" if "step" in values else "got none"
        or_problem = ', or first {"problem": {...}}' if where.endswith("line 1: ") else ""
        raise Unusable(
            f'{where}expected the number of its step, 1 or more, as in "step": 1{or_problem}; {got}'
        )
    numbers, halves = {}, {}
    for name, value in values.items():
        if name not in ("step", "torch"):
            numbers[name], of_digits = _numbers(value, f"{where}{name}")
            if of_digits.any():
                halves[name] = of_digits
    return Line(where, step, numbers, halves, text)


def _numbers(value, where):
    """Numbers as an array, and for those in quotes half a unit of their last digit, else 0."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "fiu":
            return array.astype(np.float64), np.zeros(())
        items = np.asarray(value, dtype=object)
        found = [_number(item) for item in items.flat]
    except (ValueError, OverflowError) as reason:
        told = (
            str(reason)
            if isinstance(reason, Unusable)
            else "expected numbers, in rows of one length"
        )
        raise Unusable(f"{where}: {told}") from None
    return tuple(
        np.array([pair[i] for pair in found], dtype=np.float64).reshape(items.shape) for i in (0, 1)
    )


def _number(item):
    """A number, and half a unit of its last digit where it stands in quotes, else 0."""
    if isinstance(item, str):
        if item.strip().lower() in _WORDS:
            return _WORDS[item.strip().lower()], 0.0
        try:
            return real_number(item), half_a_unit(item)
        except ValueError:
            raise Unusable(f"expected a number, got {short(item)}") from None
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise Unusable(f"expected a number, got {short(item)}")
    return float(item), 0.0
