"""Which side is nearer the truth."""

from dataclasses import asdict, dataclass

import numpy as np

from lockstep.evidence.exact import _float, arithmetic, error, truth
from lockstep.network.problem import Problem
from lockstep.run.record import Entry, Record


@dataclass(frozen=True, kw_only=True)
class Refereed(Entry):
    """One element of a step beside its exact value, with the field names of the JSON document.

    Attributes:
        exact: The exact value, as the nearest float.
        manual_error: How far the value by hand is from the exact one.
        torch_error: How far PyTorch's value is from it.
        manual_ulp: `manual_error` in units of the exact value's last place.
        torch_ulp: `torch_error` in the same units.
        nearer: Which side is nearer: "manual", "torch" or "equal".
    """

    exact: float
    manual_error: float
    torch_error: float
    manual_ulp: float
    torch_ulp: float
    nearer: str


@dataclass(frozen=True)
class Referee:
    """Which side of a step is nearer the truth.

    Attributes:
        step: The number of the step.
        arithmetic: What the exact values were computed in.
        nearer: How many values each side has nearer, and how many are equally near.
        worst: Of each quantity the element with the largest difference / allowed.
    """

    step: int
    arithmetic: str
    nearer: dict[str, int]
    worst: list[Refereed]


@np.errstate(all="ignore")
def referee(problem: Problem, record: Record) -> Referee:
    """Compare both sides of a step with the same step in exact arithmetic."""
    exact = truth(problem, record.start)
    values = [
        value
        for name in record.manual
        for value in np.ravel(exact[name])[list(record.elements(name))]
    ]
    manual, torch = (
        np.array([error(*pair) for pair in zip(side, values, strict=True)])
        for side in (record.flat_manual, record.flat_torch)
    )
    nearer = np.select([manual == torch, manual < torch], ["equal", "manual"], "torch")
    worst = []
    for at in record.worst_positions().values():
        true = _float(values[at])
        unit = float(np.spacing(np.abs(np.asarray(true, dtype=record.dtype))))
        worst.append(
            Refereed(
                **asdict(record.entry(at)),
                exact=true,
                manual_error=float(manual[at]),
                torch_error=float(torch[at]),
                manual_ulp=float(manual[at]) / unit,
                torch_ulp=float(torch[at]) / unit,
                nearer=str(nearer[at]),
            )
        )
    counts = {side: int((nearer == side).sum()) for side in ("manual", "torch", "equal")}
    return Referee(record.number, arithmetic(problem), counts, worst)
