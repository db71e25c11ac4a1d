"""A run with its explanation and the evidence: what every report is made from."""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from lockstep.errors import Unusable
from lockstep.evidence.trainings import Trainings, trainings
from lockstep.evidence.unseen import cannot_see
from lockstep.explain.diagnosis import Diagnosis
from lockstep.run.record import Record
from lockstep.run.result import Result
from lockstep.version import versions


@dataclass(repr=False)
class Comparison(Result):
    """A run, its explanation and the evidence; what every report is made from.

    Attributes:
        found: The diagnoses, likelier ones first.
        notes: What else differs, and only because of that.
        remarks: Sentences that are not the verdict.
        battery, control, referee: Evidence, as in the JSON document; None where there is none.
        shown: The steps to show in full, where nobody took them as they came.
        missing: What was required and not returned.
        interrupted: Whether Ctrl-C ended the run.
        broken: Why a recording could not be read to its end.
        fits: The option with which everything that was returned would be right, if one does.
    """

    found: list[Diagnosis] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    battery: dict[str, Any] | None = None
    control: dict[str, Any] | None = None
    referee: dict[str, Any] | None = None
    shown: list[Record] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    interrupted: bool = False
    broken: Unusable | None = None
    fits: str = ""

    @property
    def diagnoses(self) -> list[dict[str, Any]]:
        return [asdict(diagnosis) for diagnosis in self.found]

    @cached_property
    def cannot_see(self) -> list[str] | None:
        """The mistakes that would change nothing beyond rounding here; None for a large problem."""
        return cannot_see(self.problem, self.first_records)

    @cached_property
    def trainings(self) -> Trainings | None:
        """Both trainings, each on its own; None where no step differs, and after Ctrl-C."""
        is_due = self.first and not self.interrupted
        return trainings(self.problem, self.by_hand) if is_due else None

    def document(self) -> dict[str, Any]:
        """The JSON document as plain dicts, lists and numbers; floats may still be non-finite."""
        names = (
            "verdict steps_asked steps_run dtype loss first_mismatch worst resolution cannot_see "
            "diagnoses battery remarks control referee parameters quantities"
        )
        side = {"kind": self.by_hand.kind, "file": self.by_hand.file or None}
        problem = {"problem": self.problem.settings | {"by_hand": side}}
        known = self.by_hand.recognised
        recognised = {} if known is None else {"recognised": known}
        return (
            versions()
            | problem
            | recognised
            | {name: getattr(self, name) for name in names.split()}
        )
