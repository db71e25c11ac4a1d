"""Which side is nearer the truth."""

from dataclasses import asdict, dataclass

import numpy as np

from lockstep.bound.exact import _float, arithmetic, error, truth
from lockstep.network.problem import Problem
from lockstep.run.record import Entry, Record


@dataclass(frozen=True, kw_only=True)
class Refereed(Entry):
    """One element of a step beside its exact value, with the field names of the JSON document.

    exact: the truth as the nearest float. …_error: a side's distance from it; …_ulp: the same in
    units of the truth's last place. nearer: "manual", "torch" or "equal".
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

    nearer: how many values each side has nearer, and how many are equally near. worst: by quantity
    the element whose difference is the largest for what is allowed.
    """

    step: int
    arithmetic: str
    nearer: dict[str, int]
    worst: list[Refereed]


@np.errstate(all="ignore")
def referee(problem: Problem, record: Record) -> Referee:
    """Compare both sides of a step with the same step in exact arithmetic."""
    exact = truth(problem, record.parameters, record.x, record.y, record.lr)
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
