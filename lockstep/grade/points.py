"""Points: what each quantity is worth, and what a hand-in gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from lockstep.errors import Unusable
from lockstep.evidence.comparison import Comparison
from lockstep.explain.case import Case
from lockstep.network.network import Network
from lockstep.setup.files import nearest, read_toml
from lockstep.setup.problem import required

GROUPS = ("forward", "deltas", "gradients", "updates", "all")


@dataclass(frozen=True)
class Item:
    """What points are given for.

    Attributes:
        name: As the teacher calls it: a quantity, or a group.
        of: How many points it has.
        points: How many of them are given.
        wrong: Its quantities whose formula is wrong.
        missing: Its quantities that were not returned, or were given and not derived.
    """

    name: str
    of: float
    points: float = 0.0
    wrong: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def demanded(asked: Sequence[str] | None, network: Network) -> tuple[str, ...]:
    """The names of what a hand-in has to return: by default gradients and new parameters.

    Raises:
        Unusable: There is no such quantity.
    """
    if asked is None:
        return (*network.gradients, *_updates(network))
    return required(asked, network)


def read_points(path: str) -> dict[str, float]:
    """The points of a TOML file: by quantity or group, at its top level or below [points].

    Raises:
        Unusable: It cannot be read, or has something else.
    """
    raw = read_toml(path)
    raw = raw["points"] if [*raw] == ["points"] and isinstance(raw["points"], dict) else raw
    if not raw:
        raise Unusable(f"{path}: the file is empty; expected points, such as gradients = 4")
    for name, points in raw.items():
        is_number = isinstance(points, int | float) and not isinstance(points, bool)
        if not is_number or not 0 <= points < float("inf"):
            raise Unusable(f"{path}: {name}: expected a number of points, got {points!r}")
    return {name: float(points) for name, points in raw.items()}


def items(points: Mapping[str, float], network: Network, where: str) -> dict[str, tuple[str, ...]]:
    """By name in a table of points the quantities that are meant.

    Args:
        points: By quantity or group.
        network: Whose quantities they are.
        where: What a message begins with.

    Raises:
        Unusable: There is no such quantity.
    """
    found = {}
    for name in points:
        own = network.quantity(name, network.judged)
        if name not in GROUPS and own not in network.judged:
            near = nearest(name, (*GROUPS, *network.judged))
            raise Unusable(
                f"{where}: {name}: expected a group ({', '.join(GROUPS)}) or a quantity out of "
                f"{', '.join(network.computed)}{near}"
            )
        found[name] = _group(name, network) if name in GROUPS else (own,)
    return found


def _group(name: str, network: Network) -> tuple[str, ...]:
    return {
        "forward": network.forward,
        "deltas": tuple(network.of("delta", l) for l in reversed(network.layers)),
        "gradients": network.gradients,
        "updates": _updates(network),
        "all": network.computed,
    }[name]


def _updates(network: Network) -> tuple[str, ...]:
    return tuple(f"new_{name[5:]}" for name in network.gradients)


def awarded(
    result: Comparison, points: Mapping[str, float], meant: Mapping[str, tuple[str, ...]]
) -> list[Item]:
    """The points of a run.

    Each formula is judged on the hand-in's own earlier values, so that one slip costs one item.

    Args:
        result: The run, explained.
        points: By item.
        meant: By item its quantities.
    """
    order = [name for names in meant.values() for name in names]
    lost = _lost(result, order)
    absent = {name for name in order if is_missing(result, name)} - lost
    found = []
    for name, names in meant.items():
        wrong = tuple(each for each in names if each in lost)
        missing = tuple(each for each in names if each in absent)
        right = len(names) - len(wrong) - len(missing)
        share = round(points[name] * right / max(len(names), 1), 2)
        found.append(Item(name, points[name], share, wrong, missing))
    return found


def is_missing(result: Comparison, name: str) -> bool:
    """Whether a quantity was not derived at each step.

    Of a program what its updates are made of is there, in whatever variable.
    """
    if result.by_hand.kind == "program" and not name.startswith("new_"):
        return not any(new.startswith("new_") for new in result.returned)
    parts = result.last.covered if result.last else {}
    return name not in (result.always or set()) or name in parts


def _lost(result: Comparison, items: Sequence[str]) -> set[str]:
    """The items that lose their points at the first step that is wrong."""
    record = result.decisive
    if record is None or result.verdict != "mismatch":
        return set()
    case = Case(record, result.problem, result.history)
    off = case.globally_wrong()
    wrong = (case.differing({}) & off) | {*record.misshapen}
    order = case.network.judged
    for names, found in groupby(result.found, lambda it: it.explains):
        first = next(found)
        is_returned = first.quantity in case.own or first.quantity in record.misshapen
        if not is_returned or first.mistake == "single-precision":
            # of what follows from a slip that is in no formula returned, the first alone
            wrong -= {*sorted(wrong & {*names}, key=order.index)[1:]}
    wrong |= _unmoved(case, off) | _not_finite(case, off)
    lost = wrong & {*items}
    for name in sorted(wrong - lost, key=order.index):
        behind = order[order.index(name) :]
        lost |= {*[each for each in behind if each in items and each in off - lost][:1]}
    return lost


def _not_finite(case: Case, off: set[str]) -> set[str]:
    """What is NaN or infinite where PyTorch has numbers: any formula gives that of a NaN."""
    torch = case.record.torch
    return {
        name
        for name in off
        if np.isfinite(torch[name]).all() and not np.isfinite(case.own[name]).all()
    }


def _unmoved(case: Case, off: set[str]) -> set[str]:
    """Where no gradient is other than zero: the gradients, and the parameters that stay.

    They may follow from a zero before them by the right formula, and show nothing of it.
    """
    gradients = {name for name in case.network.gradients if name in case.own}
    if any(case.own[name].any() for name in gradients):
        return set()
    start = case.record.start.parameters
    new = {f"new_{name}": value for name, value in start.items()}
    stay = {name for name in off & new.keys() if np.array_equal(case.own[name], new[name])}
    return off & (gradients | stay)
