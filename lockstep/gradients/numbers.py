"""Gradients that a program in any language computed: read from a file, and judged."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import agree
from lockstep.gradients.check import Options, as_function, attached_for, checked
from lockstep.gradients.inputs import Given, digest, flat, given, largest, parts
from lockstep.gradients.reference import Named, demand_scalar
from lockstep.gradients.result import CheckResult, GradientMismatch, in_lines, mismatch
from lockstep.network.names import Array, Quantities
from lockstep.run.record import Entry
from lockstep.run.threads import threads
from lockstep.setup.files import nearest, parsed, read_bytes, read_lines, read_text
from lockstep.sides.written import ENOUGH, FEWEST, Printed, half_units, printed_as, written
from lockstep.text import counted, right_digits
from lockstep.version import versions

# What is in a file, each object behind what a message about it starts with.
Objects: TypeAlias = "list[tuple[str, Named]]"
Leaves = dict[str, tuple[str, Any]]  # the same, by the names of arrays
_NEAR = 1e-9  # what rounding may add to printing, whose errors are larger
_REPORTED = 1 + 1e-6  # halves of a unit: a number that is farther off is reported as written
_TELLING = 2  # digits that numbers have together: so many are not right by accident
_SINGLE = 1e-6  # errors in single precision, beside the largest value
_EXAMPLE = '{"w": [0.5, -2.0]}'


@dataclass
class Numbers:
    """Gradients as a file gives them.

    Attributes:
        values: By the name of the input.
        halves: By name half a unit of the last digit of numbers in quotes, else 0.
    """

    values: Quantities = field(default_factory=dict)
    halves: Quantities = field(default_factory=dict)


def read_objects(path: str) -> Objects:
    """The objects in a file: one, or one a line of a .jsonl file; none in an empty one.

    Raises:
        Unusable: The file cannot be read, or holds something else.
    """
    where = f"{path}: "
    if path.lower().endswith(".jsonl"):
        return list(read_lines(path, _EXAMPLE))
    if path.lower().endswith(".npz"):
        return [(where, _arrays(path))]
    text = read_text(path, "JSON")
    return [(where, parsed(text, where, _EXAMPLE))] if text.strip() else []


def _arrays(path: str) -> Quantities:
    """The arrays of an npz file. Nothing in it is run, as pickled objects would be."""
    found: Quantities = {}
    data = read_bytes(path, "an npz file")
    if data and not zipfile.is_zipfile(io.BytesIO(data)):
        raise Unusable(f"{path}: is no npz file; expected what numpy.savez writes")
    for name, value in _members(path, data) if data else ():
        if name in found:
            raise Unusable(_twice(f"{path}: ", name))
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiuc":
            kind = value.dtype if isinstance(value, np.ndarray) else "no array"
            raise Unusable(f"{path}: {name} holds {kind}; expected an array of numbers")
        found[name] = value
    return found


def _members(path: str, data: bytes) -> Iterator[tuple[str, Any]]:
    name = "the archive"
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            for name in file.files:
                yield name, file[name]
    except MemoryError:
        raise
    except Exception as error:  # whatever a broken archive makes of its readers
        raise Unusable(f"{path}: {name} cannot be read: {error}") from None


def _twice(where: str, name: str) -> str:
    return f"{where}{short(name)} stands there twice; expected each name once"


def _leaves(objects: Objects, known: Given) -> Leaves:
    """By the name of an array what a file gives for it, behind what a message about it starts with.

    Parts of an input may stand in an object or a list of their own, or by their names.
    """
    found: Leaves = {}
    for where, named in objects:
        for top, tree in named.items():
            for name, value in flat({top: tree}, known).items():
                if name in found:
                    raise Unusable(_twice(where, name))
                found[name] = where, value
    return found


def _numbers(leaves: Leaves, known: Given, right: Quantities) -> Numbers:
    """The numbers of a file. right: PyTorch's gradients, whose names are known."""
    it = Numbers()
    for name, (where, value) in leaves.items():
        if name not in right and name not in known.arrays and name not in known.tree:
            near = nearest(name, right) or f": {', '.join(right)}"
            expected = f"expected names of inputs, or of what is watched{near}"
            raise Unusable(f"{where}{short(name)}: {expected}")
        array = isinstance(value, np.ndarray)
        pair = (value, np.zeros(value.shape)) if array else written(value, f"{where}{name}")
        it.values[name], it.halves[name] = pair
    return it


# Judged


@dataclass
class Judged:
    """What became of the gradients in a file.

    Attributes:
        found: The result, or the mismatch.
        manual: The gradients in the file.
        torch: PyTorch's.
        seed: Of the noise.
        inputs: Their digest.
    """

    found: CheckResult | GradientMismatch
    manual: Quantities
    torch: Quantities
    seed: int
    inputs: str

    @property
    def verdict(self) -> str:
        return getattr(self.found, "verdict", "mismatch")

    def __str__(self) -> str:
        return str(self.found)

    def document(self) -> dict[str, Any]:
        """The JSON document as plain dicts, lists and numbers; floats may still be non-finite."""
        found = self.found
        right = {name: self.torch[name] for name in self.manual if name in self.torch}
        names = "first_mismatch resolution accuracy cannot_see values worst_ratio".split()
        return {
            **versions(),
            "verdict": self.verdict,
            **{name: getattr(found, name, None) for name in names},
            "seed": self.seed,
            "inputs": self.inputs,
            "guards": {"zeros": [name for name, it in right.items() if not np.any(it)]},
            "diagnoses": getattr(found, "diagnoses", []),
            "remarks": getattr(found, "reasons", []) + getattr(found, "remarks", []),
            "quantities": {
                side: {name: parts(array) for name, array in arrays.items()}
                for side, arrays in (("manual", self.manual), ("torch", right))
            },
        }


def check_numbers(
    objects: Objects,
    path: str,
    reference: Callable[..., Any],
    inputs: Named,
    options: Options,
) -> Judged:
    """Judge the gradients in a file.

    Args:
        objects: What is in it; see `read_objects`.
        path: The file, for messages.
        reference: As in `check_gradients`.
        inputs: By name.
        options: Of `check_gradients`.

    Raises:
        Unusable: A name is unknown or there twice, or a value is no number.
        ValueError, TypeError: Whatever else cannot be used, as in `check_gradients`.
    """
    known = given(inputs)
    function = as_function(reference, known, options)
    leaves = _leaves(objects, known)
    demand_scalar(function, known.arrays)
    _, right = attached_for(function, known, leaves)
    it = _numbers(leaves, known, right)
    if not any(value.size for value in it.values.values()):
        raise Unusable(f"{path}: gives no number; expected gradients, such as {_EXAMPLE}")

    def check(numbers: Quantities, tolerance: str = "", **more: Any) -> CheckResult:
        chosen = replace(options, **more)
        with threads(1):
            return checked(known, lambda _: numbers, function, chosen, numbers, tolerance=tolerance)

    found: CheckResult | GradientMismatch
    try:
        found = _judged(it, right, check, options.is_fixed)
    except GradientMismatch as wrong:
        found = wrong
    return Judged(found, it.values, right, options.seed, digest(known))


@dataclass
class _Printed:
    """A gradient, and how its numbers seem to be printed.

    Attributes:
        value: The numbers.
        right: PyTorch's.
        quoted: Half a unit of the last digit of numbers in quotes, else 0.
        form: With how many digits the numbers seem to be printed.
        enough: How many read back to the same number.
        is_short: Whether digits were lost.
    """

    value: Array
    right: Array
    quoted: Array
    form: Printed
    enough: int
    is_short: bool

    @property
    def is_quoted(self) -> bool:
        return bool(self.quoted.any())

    @property
    def half(self) -> Array:
        """Half a unit of the last digit."""
        form = self.form
        return self.quoted if self.is_quoted else half_units(self.value, form.decimals, form.digits)

    def nearest(self, halves: float = 2.0) -> Array:
        """What may have been printed like this: the nearest to the right numbers.

        halves: of a unit, how far a number may be from the right one; others stay as they are.
        """
        apart = self.right - self.value
        moved = self.value + np.clip(apart, -self.half, self.half)
        return np.where(np.abs(apart) <= halves * self.half, moved, self.value)

    @property
    def agrees(self) -> bool:
        """Whether digits were lost, and all others are right."""
        near = agree(self.nearest(), self.right, _NEAR * np.abs(self.right))
        return self.is_short and not self.is_quoted and bool(near.all())

    @property
    def digits(self) -> float:
        """How many digits the numbers have together."""
        digits = np.log10(np.abs(self.value) / self.half)
        return float(np.sum(digits, initial=0.0, where=np.isfinite(digits) & (digits > 0)))

    def in_single(self) -> Array:
        """The numbers, as float32 if that many digits are there and right."""
        narrow: Array = self.value.astype(np.float32)
        near = agree(narrow, self.right, _SINGLE * largest(self.right))
        return narrow if self.form.digits <= ENOUGH["float32"] and near.all() else self.value


def _printed(it: Numbers, right: Quantities) -> dict[str, _Printed]:
    """By name the gradients whose numbers are in quotes, or lost digits when they were printed."""
    found = {}
    for name, value in it.values.items():
        exact = right.get(name)
        if (
            exact is None
            or value.shape != exact.shape
            or "c" in value.dtype.kind + exact.dtype.kind
        ):
            continue
        value, enough = value.astype(np.float64), ENOUGH.get(str(exact.dtype), min(ENOUGH.values()))
        form, full = printed_as(value), printed_as(exact.astype(np.float64))
        tells = form.decimals > 0 or form.digits > 1  # −1, 0 and 1 may be so by themselves
        is_short = tells and form.digits < enough - 1 <= full.digits
        if is_short or it.halves[name].any():
            found[name] = _Printed(value, exact, it.halves[name], form, enough, is_short)
    return found


@np.errstate(all="ignore")
def _judged(
    it: Numbers, right: Quantities, check: Callable[..., CheckResult], is_fixed: bool
) -> CheckResult:
    """What a check makes of numbers, some of which may be printed with too few digits.

    Args:
        it: The gradients.
        right: PyTorch's.
        check: `check_gradients` with the reference, the inputs and the options.
        is_fixed: Whether the options hold a tolerance.

    Raises:
        GradientMismatch: A gradient is wrong.
    """
    printed = _printed(it, right)
    quoted = {name: one for name, one in printed.items() if one.is_quoted}
    numbers, reported = (
        it.values | {name: one.nearest(halves) for name, one in quoted.items()}
        for halves in (2.0, _REPORTED)
    )
    with suppress(GradientMismatch):
        result = check(numbers, diagnose=False)
        if quoted and not is_fixed:
            names = ", ".join(quoted)
            remark = f"{names}: numbers in quotes are judged to half a unit of their last digit"
            result.remarks.append(remark)
            result.same = False
        return result
    if is_fixed:
        return check(reported)
    near = {name: one for name, one in printed.items() if one.agrees}
    if sum(one.digits for one in near.values()) < _TELLING:
        near = {}
    rest = reported | {name: one.nearest() for name, one in near.items()}
    _demand_right_as_printed(rest, printed, near, check)
    check(rest)
    try:
        return check({name: it.values[name] for name in near}, diagnose=False)
    except GradientMismatch as found:
        raise _too_few(Entry(**found.first_mismatch), near) from None


def _demand_right_as_printed(
    rest: Quantities,
    printed: dict[str, _Printed],
    near: dict[str, _Printed],
    check: Callable[..., CheckResult],
) -> None:
    """Judge numbers to their printed digits, so that another mistake in them gets its name.

    Args:
        rest: The gradients, without the lack of digits of those that are `near`.
        printed: How they are printed.
        near: Those that are right to the digits that were printed.
        check: As in `_judged`.

    Raises:
        GradientMismatch: One is wrong beyond its printing.
    """
    short = [one for one in printed.values() if one.is_short]
    wrong = {
        name: one
        for name, one in printed.items()
        # fewer digits would forgive too much
        if one.is_short and name not in near and one.form.digits >= FEWEST
    }
    if not wrong:
        return
    atol = 0.5 * 10.0 ** -min(one.form.decimals for one in wrong.values())
    rtol = 0.5 * 10.0 ** (1 - min(one.form.digits for one in wrong.values()))
    values = {name: one.in_single() for name, one in wrong.items()}
    try:
        check(rest | values, "the rounding of printed numbers", atol=atol, rtol=rtol)
    except GradientMismatch as found:
        words = " or ".join(dict.fromkeys(one.form.words for one in short))
        enough = max(one.enough for one in short)
        report = (
            f"{found}\n  digits    the numbers have {words}, which the tolerance allows for; "
            f"print {enough} significant digits"
        )
        raise GradientMismatch(report, found.first_mismatch, found.diagnoses) from None


def _too_few(first: Entry, near: dict[str, _Printed]) -> GradientMismatch:
    """The mismatch of gradients that are right to the digits that were printed."""
    name, one = first.quantity, near[first.quantity]
    apart = {each: abs(its.value - its.right) for each, its in near.items()}
    wrong = [each for each, its in near.items() if (apart[each] > 0.01 * its.half).any()]
    digits = right_digits(float(np.nanmax(apart[name]) / np.nanmax(abs(one.right))))
    likely = Diagnosis(
        name,
        "too-few-digits",
        f"{name} is right to {counted(digits, 'digit')}, with {one.form.words}",
        f'print {one.enough} significant digits, as with "%.{one.enough}g" in C, '
        'or put printed numbers in quotes, as in "0.593"',
        explains=wrong,
    )
    return mismatch(first, in_lines(first, "printed with too few digits"), [likely])
