"""What a run found: the verdict, the first element that differs, the worst one, the table."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.bound.allowed import allowed
from lockstep.bound.bounded import Precision
from lockstep.network.names import Array, Quantities
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.network.problem import UNTOLD, Problem
from lockstep.run.judge import MATCH, Judgement, Worst, judge, worst
from lockstep.run.record import Entry, Record
from lockstep.run.resolution import Ratios, Resolution
from lockstep.sides.built_in import BuiltIn
from lockstep.sides.side import Side
from lockstep.text import right_digits, ulps

KEPT = (
    2 * 10**7
)  # multiply-adds of a step up to which the first steps are kept, for what a run could not see


def row_is_due(number: int, last: int) -> bool:
    """Whether a long run's table has a row for this step: 1, 2, 5, 10, 20, 50, … and the last."""
    digits = str(number)
    return number == last or (digits[0] in "125" and not digits[1:].strip("0"))


@dataclass
class Row:
    """A line of the table over the steps.

    Attributes:
        number: The step.
        loss_manual: None where it was not returned.
        loss_torch: PyTorch's loss.
        worst: The worst element since the line before.
        worst_ratio: Its difference / allowed.
        drift: How far the two trainings are apart, in ULP; None where there is only one.
        drift_relative: The same, relative.
    """

    number: int
    loss_manual: float | None
    loss_torch: float
    worst: Entry
    worst_ratio: float
    drift: float | None
    drift_relative: float | None


@dataclass
class History:
    """PyTorch's gradients of the steps before this one, by parameter.

    Attributes:
        accumulated: Their sum.
        previous: The last one's.
    """

    accumulated: Quantities = field(default_factory=dict)
    previous: Quantities = field(default_factory=dict)

    def add(self, torch: Quantities) -> None:
        """Take in PyTorch's quantities of a step."""
        self.previous = {
            name.removeprefix("grad_"): array
            for name, array in torch.items()
            if name.startswith(("grad_W", "grad_b"))
        }
        self.accumulated = {
            name: self.accumulated.get(name, 0.0) + array for name, array in self.previous.items()
        }


@dataclass(frozen=True)
class LostDigits:
    """An activation whose formula by hand is right and loses digits.

    Attributes:
        name: h or o.
        activation: Which one.
        step: Where it was seen first.
        label: The element that lost most.
        digits: How many right digits it has.
    """

    name: str
    activation: str
    step: int
    label: str
    digits: int


@dataclass(repr=False)
class Result:
    """What a run found.

    Attributes:
        problem: What was trained.
        by_hand: The side by hand.
        fixed_tolerance: Whether the tolerance was the user's.
        shows: The steps to show in full: "all", "none", or a set of numbers.
        verdict: "match", "mismatch" or "undecided".
        first: The first element that differs; `decisive` is its step.
        undecided: The first element that is finite on neither side.
        largest: The element with the largest difference for what is allowed.
        last_judged: The last step that was decided.
    """

    problem: Problem
    by_hand: Side = field(default_factory=BuiltIn)
    fixed_tolerance: bool = False
    shows: Any = frozenset({1})
    verdict: str = "match"
    steps_run: int = 0
    values: int = 0
    loss: dict[str, float | None] = field(default_factory=lambda: {"first": None, "last": None})
    returned: set[str] = field(default_factory=set)  # quantities, at one step or more, in part too
    always: set[str] | None = None  # those of every step
    first: Entry | None = None
    undecided: Entry | None = None
    largest: Entry | None = None
    worst_ratio: float = 0.0
    rows: list[Row] = field(default_factory=list)
    lost_digits: dict[str, LostDigits] = field(default_factory=dict)
    decisive: Record | None = None
    last: Record | None = None
    last_judged: Record | None = None
    worst_record: Record | None = None
    values_before_decisive: int = 0
    steps_differing: int = 0

    def __post_init__(self) -> None:
        self._ratios = Ratios(Precision.of(self.problem.dtype))
        self._since: tuple[float, Entry] | None = None  # the worst since the last row
        self.history = History()  # before the decisive step, once there is one
        self.first_records: list[tuple[Record, History]] = []

    @property
    def steps_asked(self) -> int:
        return self.steps_run if self.problem.steps == UNTOLD else self.problem.steps

    @property
    def dtype(self) -> str:
        return self.problem.dtype

    @property
    def side(self) -> str:
        """What reports call the side by hand."""
        return self.by_hand.label

    @property
    def numbers(self) -> bool:
        """Whether the side by hand is numbers, which cannot be tried on other problems."""
        return self.by_hand.is_users and not self.by_hand.others

    @property
    def free(self) -> Quantities | None:
        """By hand, the parameters of its own training, or None."""
        return self.last.free if self.last else None

    @property
    def seen(self) -> Resolution:
        """How fine the run could see."""
        return self._ratios.summary()

    @property
    def resolution(self) -> dict[str, Any]:
        return asdict(self.seen)

    @property
    def first_mismatch(self) -> dict[str, Any] | None:
        return asdict(self.first) if self.first else None

    @property
    def worst(self) -> dict[str, Any] | None:
        return asdict(self.largest) if self.largest else None

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The parameters after the last step, as nested lists; by hand its own training's."""
        if self.last is None:
            return {side: _lists(self.problem.parameters) for side in ("manual", "torch")}
        return {
            "manual": _lists(self.free or self.problem.network.after(self.last.returned())),
            "torch": _lists(self.problem.network.after(self.last.torch)),
        }

    @property
    def quantities(self) -> dict[str, dict[str, Any]]:
        """Everything compared at the last step, by side, as nested lists."""
        if self.last is None:
            return {"manual": {}, "torch": {}}
        names = {*self.last.manual, *self.last.misshapen}
        torch = {
            name: self.last.torch[name] for name in self.problem.network.judged if name in names
        }
        return {"manual": _lists(self.last.returned()), "torch": _lists(torch)}

    def is_shown(self, number: int) -> bool:
        return self.shows == "all" or (self.shows != "none" and number in self.shows)

    def add(self, record: Record) -> bool:
        """Take in one step.

        Returns:
            Whether the run can go on: a step that is undecided ends it.
        """
        self.steps_run, self.last = self.steps_run + 1, record
        self.values += record.size
        self.returned.update(record.manual)
        self.always = set(record.manual) & (
            record.manual.keys() if self.always is None else self.always
        )
        loss = float(record.torch["loss"])
        self.loss = {"first": loss if self.steps_run == 1 else self.loss["first"], "last": loss}

        judgement, record = self._judged_closely(record)
        if judgement.verdict == "mismatch":
            self._mismatch(record, judgement)
        elif judgement.verdict == "undecided" and judgement.position is not None:
            self.undecided = record.entry(judgement.position)
            self.verdict = "mismatch" if self.verdict == "mismatch" else "undecided"
        self._remember(record)
        decided = judgement.verdict != "undecided"
        if decided and record.manual:
            self.last_judged = record
        due = judgement is not MATCH or row_is_due(record.number, self.problem.steps)
        if due:
            self._add_row(record)
        return decided

    def judged(self, record: Record) -> Judgement:
        """The verdict on a step, and on one that only loses digits as well.

        A mismatch at h or o of a user's side is looked at again: a formula for σ may be right and
        lose digits, which is a match.
        """
        return self._judged(record)[0]

    def finish(self) -> None:
        """The last row, where the run ended before its time. Nothing compared is no match."""
        if self.last is not None:
            self._add_row(self.last)
        if self.verdict == "match" and self._ratios.unlimited == self.values:  # or both are 0
            self.verdict = "undecided"

    def _judged_closely(self, record: Record) -> tuple[Judgement, Record]:
        """The verdict, and the record that it rests on; keeps the worst element and the ratios."""
        mark = self._ratios.marked()
        found, judgement = worst(record, self._ratios), MATCH
        if record.jump or record.misshapen or not found.is_surely_a_match:
            judgement, judged = self._judged(record)
            if judged is not record or judgement.verdict == "undecided":
                self._ratios.back_to(mark)
            if judged is not record:
                record, found = judged, worst(judged, self._ratios)
        if record.manual and judgement.verdict != "undecided":
            self._note(record, found)
        return judgement, record

    def _judged(self, record: Record) -> tuple[Judgement, Record]:
        """As `judged`, and the record with the bound that decided."""
        judgement = judge(record, self.fixed_tolerance)
        if judgement.verdict != "mismatch" or not self.by_hand.is_users or self.fixed_tolerance:
            return judgement, record
        position = judgement.position
        name = position if isinstance(position, str) else record.place(position or 0)[0]
        problem, network = self.problem, self.problem.network
        which = _lossy(name, network)
        if name not in record.manual or not which:
            return judgement, record
        again = replace(
            record, bound=lambda: allowed(problem, record.start, record.torch, noisy=True)
        )
        if judge(again).verdict != "match":
            return judgement, record
        self.lost_digits.setdefault(name, _lost_digits(record, name, which))
        return MATCH, again

    def _mismatch(self, record: Record, judgement: Judgement) -> None:
        self.verdict = "mismatch"
        self.steps_differing += 1
        if self.first is None and judgement.position is not None:
            self.first, self.decisive = record.entry(judgement.position), record
            self.values_before_decisive = self.values - record.size

    def _remember(self, record: Record) -> None:
        """Keep what a later explanation needs: the first two steps, and the gradients so far."""
        if len(self.first_records) < 2 and self.problem.multiply_adds <= KEPT:
            self.first_records.append((record, copy(self.history)))
        if self.decisive is None and (self.by_hand.is_users or len(self.first_records) < 2):
            self.history.add(record.torch)

    def _note(self, record: Record, found: Worst) -> None:
        """Keep the worst element, of the run and since the last row."""
        ratio = found.ratio
        if self._since is None or not ratio <= self._since[0]:
            self._since = ratio, record.entry(found.position)
        if self.largest is None or not ratio <= self.worst_ratio:
            self.worst_ratio, self.worst_record = ratio, record
            self.largest = record.entry(found.position)

    def _add_row(self, record: Record) -> None:
        if self._since is None:
            return
        drift = relative = None
        pairs = record.drifting()
        if pairs:
            drift = max(float(ulps(mine, theirs, self.dtype).max()) for mine, theirs in pairs)
            relative = max(_relative(mine, theirs) for mine, theirs in pairs)
        ratio, entry = self._since
        loss = float(record.manual["loss"]) if "loss" in record.manual else None
        torch_loss = float(record.torch["loss"])
        self.rows.append(Row(record.number, loss, torch_loss, entry, ratio, drift, relative))
        self._since = None


def _lossy(name: str, network: Network) -> str:
    """The activation or loss whose formula by hand may be right and lose digits; "" where none."""
    if name == "loss":
        return network.loss if network.loss in WITH_ACTIVATION else ""
    it = network[name]
    which = network.activations[it.layer - 1] if it.family in ("a", "delta") else "linear"
    exact = ("linear", "relu", "leaky_relu", *(("sigmoid", "tanh") if it.family == "delta" else ()))
    return "" if which.startswith(exact) else which


def _lost_digits(record: Record, name: str, activation: str) -> LostDigits:
    """How many digits an activation's formula by hand leaves where it loses most."""
    with np.errstate(all="ignore"):
        off = np.abs(record.manual[name] - record.torch[name]) / np.abs(record.torch[name])
    index = tuple(int(i) for i in np.unravel_index(int(np.nanargmax(off)), off.shape))
    digits = right_digits(float(off[index]))
    return LostDigits(name, activation, record.number, record.named(name, index), digits)


def _relative(a: Array, b: Array) -> float:
    with np.errstate(all="ignore"):
        difference = np.abs(a.astype(np.float64) - b)
        relative = np.where(difference == 0, 0.0, difference / np.abs(b))
    return float(np.where(np.isnan(relative), np.inf, relative).max())


def _lists(arrays: Quantities) -> dict[str, Any]:
    return {name: np.asarray(array).tolist() for name, array in arrays.items()}
