"""What a run found: one object, from which every report is made."""

from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from lockstep.bound.allowed import allowed
from lockstep.bound.bounded import Precision
from lockstep.evidence.unseen import cannot_see, is_small
from lockstep.explain.case import Case, History
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import coverage, notes
from lockstep.explain.search import diagnose
from lockstep.network.names import PARAMETERS
from lockstep.network.problem import UNTOLD, Problem
from lockstep.run.first_test import first_test
from lockstep.run.judge import judge
from lockstep.run.record import Entry, Record
from lockstep.run.resolution import Resolution
from lockstep.text import ulps

ALWAYS, MULTIPLY_ADDS = (
    100,
    10**8,
)  # so many steps, or so much work, have their bound worked out in any case


def row_is_due(number, last):
    """Whether a long run's table has a row for this step: 1, 2, 5, 10, 20, 50, … and the last."""
    digits = str(number)
    return number == last or (digits[0] in "125" and not digits[1:].strip("0"))


@dataclass
class Row:
    """A line of the table over the steps; `worst` is the worst element since the line before."""

    number: int
    loss_manual: float | None
    loss_torch: float
    worst: Entry | None
    worst_ratio: float
    drift: float | None  # in ULPs
    drift_relative: float | None


@dataclass(repr=False)
class Result:
    """The verdict and what it rests on. The fields of interface documents are plain dicts, lists and numbers."""

    problem: Problem
    fixed_tolerance: bool = False
    shows: Any = frozenset({1})
    derivation: bool = False  # the side by hand is the user's
    numbers: Any = None  # … and is given as these, a `numbers.Paper` or a `recording.Recording`
    verdict: str = "match"
    steps_run: int = 0
    values: int = 0
    returned: set[str] = field(default_factory=set)  # quantities, at one step or more, in part too
    loss: dict[str, float | None] = field(default_factory=lambda: {"first": None, "last": None})
    first: Entry | None = None  # the first element that differs
    undecided: Entry | None = None
    largest: Entry | None = None  # the one with the largest difference for what is allowed
    worst_ratio: float = 0.0
    found: list[Diagnosis] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    shown: list[Record] = field(default_factory=list)
    decisive: Record | None = None
    last: Record | None = None
    last_judged: Record | None = None  # a step that is undecided is not
    worst_record: Record | None = None
    free: dict[str, np.ndarray] | None = None
    interrupted: bool = False
    broken: Any = None  # why a recording could not be read on, a `keys.Unusable`
    battery: dict[str, Any] | None = None
    control: dict[str, Any] | None = None
    referee: dict[str, Any] | None = None
    values_before_decisive: int = 0
    steps_differing: int = 0
    steps_in_full: int = 0  # steps whose bound was worked out; the others passed the first test
    notes: list[str] = field(default_factory=list)

    def __post_init__(self):
        self._resolution = Resolution(Precision.of(self.problem.dtype))
        self._history = History()
        self._first_records: list[tuple[Record, History]] = []
        self._since: tuple[float, Entry] | None = None
        self._passes, self._sound = first_test(self.problem)
        self._trusted, self._last_in_full = False, None
        self._may_pass_at_once = not (self.fixed_tolerance or self.problem.frozen)

    @property
    def steps_asked(self):
        return self.steps_run if self.problem.steps == UNTOLD else self.problem.steps

    @property
    def dtype(self):
        return self.problem.dtype

    @property
    def side(self):
        """What reports call the side by hand."""
        return "yours" if self.derivation else "by hand"

    @property
    def first_mismatch(self):
        return asdict(self.first) if self.first else None

    @property
    def worst(self):
        return asdict(self.largest) if self.largest else None

    @property
    def diagnoses(self):
        return [asdict(diagnosis) for diagnosis in self.found]

    @property
    def resolution(self):
        return self._resolution.summary()

    @property
    def values_in_full(self):
        """The values of the steps whose bound was worked out."""
        return self._resolution.values

    @cached_property
    def cannot_see(self):
        """The mistakes that would change nothing beyond rounding on this problem; None where it is too large to try."""
        if not is_small(self.problem):
            return None
        return (
            cannot_see(self.problem, *zip(*self._first_records, strict=True))
            if self._first_records
            else []
        )

    @property
    def parameters(self):
        """The parameters after the last step, by side, as nested lists: by hand the free run's own."""
        if self.last is None:
            return {side: _lists(self.problem.parameters) for side in ("manual", "torch")}
        after = {
            side: {name: values[f"new_{name}"] for name in PARAMETERS if f"new_{name}" in values}
            for side, values in (("manual", self.last.manual), ("torch", self.last.torch))
        }
        return {"manual": _lists(self.free or after["manual"]), "torch": _lists(after["torch"])}

    @property
    def quantities(self):
        """Everything compared at the last step, by side, as nested lists."""
        if self.last is None:
            return {"manual": {}, "torch": {}}
        return {
            "manual": _lists(self.last.manual),
            "torch": _lists({name: self.last.torch[name] for name in self.last.manual}),
        }

    def is_shown(self, number):
        return self.shows == "all" or (self.shows != "none" and number in self.shows)

    def add(self, record, free):
        """Take in one step; returns whether the run can go on (a step that is undecided ends it).

        free: the parameters of the side by hand's own run after this step, or None.
        """
        self.steps_run, self.last, self.free = self.steps_run + 1, record, free
        self.values += record.size
        self.returned.update(record.manual)
        loss = float(record.torch["loss"])
        self.loss = {
            "first": loss if self.loss["first"] is None else self.loss["first"],
            "last": loss,
        }

        if self._passes_at_once(record):
            return True
        self.steps_in_full += 1
        said, position, judged = self.judged(record)
        if judged is not record:
            self._remark_lost_digits(record)
        record = judged
        if said == "mismatch":
            self.verdict = "mismatch"
            self.steps_differing += 1
            if self.first is None:
                self.first, self.decisive = record.entry(position), record
                self.values_before_decisive = self.values - record.size
                self.found = self._diagnosed(record)
        elif said == "undecided":
            self.undecided = record.entry(position)
            self.verdict = "mismatch" if self.verdict == "mismatch" else "undecided"

        if len(self._first_records) < 2:
            self._first_records.append((record, copy(self._history)))
        if self.derivation or len(self._first_records) < 2:
            self._history.add(record.torch)
        if said != "undecided" and record.manual:
            self.last_judged = record
            self._resolution.add(record.flat_allowed, record.flat_torch)
            if self._may_pass_at_once and self.is_in_full(record.number):
                self._last_in_full = record
            self._note_worst(record)
        if self._since and (said != "match" or row_is_due(record.number, self.problem.steps)):
            self._add_row(record, free)
        return said != "undecided"

    def _passes_at_once(self, record):
        """Whether a step of which nothing else is wanted passes the first test, and so matches without its bound."""
        number = record.number
        if not self._may_pass_at_once or self.is_in_full(number) or self.is_shown(number):
            return False
        if (
            record.misshapen
            or record.covered
            or record.printed
            or record.jump
            or not record.manual
            or not self._passes(record, self._is_trusted())
        ):
            return False
        if self.derivation:
            self._history.add(record.torch)
        return True

    def _is_trusted(self):
        """Whether the first test was sound at the last step whose bound was worked out in any case."""
        if (
            self._last_in_full
        ):  # not looked at yet: few steps follow those that are worked out one after the other
            self._trusted, self._last_in_full = self._sound(self._last_in_full), None
        return self._trusted

    def is_in_full(self, number):
        """Whether the bound of this step is worked out in any case: the first ones, and those of the table's rows."""
        cheap = number <= ALWAYS and number * self.problem.multiply_adds <= MULTIPLY_ADDS
        return cheap or row_is_due(number, self.problem.steps)

    def judged(self, record):
        """As `comparison.judge`, and the record that was judged in the end.

        A derivation's mismatch at h or o is looked at again: a formula for σ may be right and lose digits, which is a
        match with a remark.
        """
        said, position = judge(record, self.fixed_tolerance)
        if said == "mismatch" and self.derivation and not self.fixed_tolerance:
            name = position if isinstance(position, str) else record.place(position)[0]
            which = {"h": self.problem.hidden_activation, "o": self.problem.output_activation}.get(
                name
            )
            if which in ("sigmoid", "tanh") and name in record.manual:
                start = (record.parameters, record.x, record.y, record.lr)
                again = replace(record, bound=lambda: allowed(self.problem, *start, noisy=True))
                if judge(again)[0] == "match":
                    return "match", None, again
        return said, position, record

    def _remark_lost_digits(self, record):
        name = record.place(judge(record)[1])[0]
        which = {"h": self.problem.hidden_activation, "o": self.problem.output_activation}[name]
        with np.errstate(all="ignore"):
            off = np.abs(record.manual[name] - record.torch[name]) / np.abs(record.torch[name])
        index = tuple(int(i) for i in np.unravel_index(int(np.nanargmax(off)), off.shape))
        digits = max(int(-np.log10(off[index])), 0)
        if not any(remark.startswith(f"{name} is right") for remark in self.remarks):
            self.remarks.append(
                f"{name} is right, but its formula for {which} loses digits where the value is small: at step "
                f"{record.number} {record.named(name, index)} has {digits} right digits"
            )

    def _diagnosed(self, record):
        def of_this_step():
            return diagnose(record, self.problem, self._history)

        return (
            self.numbers.diagnose(record, self.problem, of_this_step)
            if self.numbers
            else of_this_step()
        )

    def _note_worst(self, record):
        ratio = record.ratio()
        position = int(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)))
        if self._since is None or not ratio[position] <= self._since[0]:
            self._since = (float(ratio[position]), record.entry(position))
        if self.largest is None or not ratio[position] <= self.worst_ratio:
            self.worst_ratio, self.largest, self.worst_record = (
                float(ratio[position]),
                record.entry(position),
                record,
            )

    def _add_row(self, record, free):
        drift = relative = None
        pairs = record.drifting(free)
        if pairs:
            drift = max(float(ulps(mine, theirs, self.dtype).max()) for mine, theirs in pairs)
            relative = max(_relative(mine, theirs) for mine, theirs in pairs)
        ratio, worst = self._since or (0.0, None)
        loss_manual = float(record.manual["loss"]) if "loss" in record.manual else None
        self.rows.append(
            Row(
                record.number,
                loss_manual,
                float(record.torch["loss"]),
                worst,
                ratio,
                drift,
                relative,
            )
        )
        self._since = None

    def finish(self):
        """The last row, where the run ended before its time."""
        if self._since and self.last is not None:
            self._add_row(self.last, self.free)
        if self.decisive is not None and not self.decisive.jump:
            wrong = Case(self.decisive, self.problem, self._history).globally_wrong()
            self.notes = notes(self.decisive, self.found, wrong)
        if self.derivation and self.last is not None:
            self.remarks += (
                self.numbers.remarks(self.problem) if self.numbers else coverage(self.last)
            )
        if self.steps_run == 0:
            self.remarks.append("no step was run, so nothing was compared")

    def document(self):
        """The JSON document as plain dicts, lists and numbers; floats may still be non-finite."""
        names = (
            "verdict",
            "steps_asked",
            "steps_run",
            "dtype",
            "loss",
            "first_mismatch",
            "worst",
            "resolution",
            "cannot_see",
            "diagnoses",
            "battery",
            "remarks",
            "control",
            "referee",
            "steps_in_full",
            "parameters",
            "quantities",
        )
        return {name: getattr(self, name) for name in names}

    def __repr__(self):
        from lockstep.report.verdict import headline

        return f"<{headline(self)}>"

    def _repr_html_(self):
        """What a notebook shows: the verdict and a step as a table."""
        from lockstep.report.page.page import fragment

        return fragment(self)

    def __str__(self):
        from lockstep.report.terminal import report

        return report(self)


def _relative(a, b):
    with np.errstate(all="ignore"):
        difference = np.abs(a.astype(np.float64) - b)
        relative = np.where(difference == 0, 0.0, difference / np.abs(b))
    return float(np.where(np.isnan(relative), np.inf, relative).max())


def _lists(arrays):
    return {name: np.asarray(array).tolist() for name, array in arrays.items()}
