"""Which one edit of the reference gives the wrong gradient: a way left out, a factor dropped.

The reference is traced into simple operations (fused ones, such as softmax, taken apart) and
differentiated again with one place edited at a time; where that gives exactly the numbers by hand,
the mistake is found. Two kinds of place:

- a *way*: a value that is used several times gets a part of its gradient by each of its uses.
- an *operation*: its slope, a factor, or what its sum is divided by, is made another.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import agree
from lockstep.gradients.graph import (
    CANNOT,
    MOST,
    Run,
    Traced,
    operation,
    place,
    plain,
    sign,
    source,
    traced,
)
from lockstep.gradients.measured import Reference
from lockstep.gradients.mistakes import FACTORS, Wrong, times
from lockstep.network.names import Quantities

Edit = Callable[..., Tensor]  # from an operation's result and arguments to what stands in its place

FEW = 150  # operations that are edited one by one
_SLOPED = frozenset("tanh sigmoid relu exp log erf sin cos softplus elu leaky_relu".split())


def search(
    wrong: list[Wrong], reference: Reference, inputs: Quantities
) -> tuple[dict[str, Diagnosis], str]:
    """The first way or operation of the reference that, edited, gives each wrong gradient.

    Returns the diagnoses by name, and why operations could not be edited, or "".
    """
    found: dict[str, Diagnosis] = {}
    try:
        simple, why = _traced(wrong, reference, inputs)
        run = simple.run() if simple else plain(reference, inputs)
        for diagnosis in _candidates(wrong, simple, run, inputs):
            found.setdefault(diagnosis.quantity, diagnosis)
            if len(found) == len(wrong):
                break
    except CANNOT as error:
        return found, _in_short(error)
    if simple and len(simple.operations) > FEW:
        why = f"it has more than {FEW} operations, so only those in loops were"
    return found, why


def _traced(
    wrong: list[Wrong], reference: Reference, inputs: Quantities
) -> tuple[Traced | None, str]:
    """The reference as operations, if that is the same function, else None; and why not."""
    try:
        simple = traced(reference, inputs)
        right = simple.run().gradients()
    except CANNOT as error:  # branches that depend on values, other libraries
        return None, _in_short(error)
    same = all(it.name in right and agree(right[it.name], it.value, it.bound).all() for it in wrong)
    return (simple, "") if same else (None, "traced, it has other gradients")


def _in_short(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _candidates(
    wrong: list[Wrong], simple: Traced | None, run: Run, inputs: Quantities
) -> Iterator[Diagnosis]:
    """Diagnoses that give the numbers by hand, likelier ones first."""
    passed = []
    for way in ways(run):
        passed.append(way)
        yield from filter(None, (_by_way(it, way, inputs) for it in wrong))
    for change, gradients in edits(simple) if simple else ():
        for it in wrong:
            if agree(it.own, gradients[it.name], 4 * it.bound).all():
                yield Diagnosis(it.name, change.mistake, change.says, change.remedy)
    for way, it in itertools.product(passed, wrong):
        yield from filter(None, [_by_way(it, way, inputs, any_factor=True)])


@dataclass
class Way:
    """One of several uses of a value.

    place: which, in words; part: what of the gradients comes by it; others: what comes by all the
    other uses of the value, None if that is a single one.
    """

    place: str
    part: Quantities
    others: Quantities | None


def _by_way(it: Wrong, way: Way, inputs: Quantities, any_factor: bool = False) -> Diagnosis | None:
    """Whether a gradient lacks what comes by a way, has only that, or has it another time."""
    name, part = it.name, way.part[it.name]
    slack = 4 * it.bound + 2.0**-48 * np.abs(part)
    if not (np.abs(part) > slack).any():
        return None
    several = any_factor and int(np.count_nonzero(it.off & (np.abs(part) > slack))) >= 3
    c, why = times(it.own - it.value + part, part, slack, inputs, several)
    comes = f"what comes by way of {way.place}"
    if c == 0:
        says = f"the gradient of {name} lacks {comes}"
        return Diagnosis(name, "term-missing", says, "add it: the gradients by several ways add up")
    if way.others is not None and agree(it.own, it.value - way.others[name], slack).all():
        says = f"the gradient of {name} has only {comes}; the other ways are missing"
        remedy = "add them: the gradients by several ways add up"
        return Diagnosis(name, "term-missing", says, remedy)
    if c == -1:
        says = f"in the gradient of {name} {comes} has the wrong sign"
        return Diagnosis(name, "sign-flipped", says, "turn its sign round")
    if c is None:
        return None
    says = f"in the gradient of {name} {comes} counts {c:.12g} times{why}"
    return Diagnosis(name, "scaled-by-constant", says, FACTORS)


def ways(run: Run) -> Iterator[Way]:
    """Every use of every value that is used more than once."""
    full = run.gradients()
    for uses in _uses(run.loss.grad_fn).values():
        if 2 <= len(uses) <= MOST:
            yield from _ways_of_a_value(run, full, uses)


def _uses(last: Any) -> dict[Any, list[tuple[Any, int]]]:
    """By value (its node of the gradients' graph and which result), by which nodes it is used."""
    uses, seen, waiting = defaultdict(list), set(), [last]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for i, (maker, result) in enumerate(node.next_functions):
            if maker is not None:
                uses[maker, result].append((node, i))
                waiting.append(maker)
    return uses


def _ways_of_a_value(run: Run, full: Quantities, uses: list[tuple[Any, int]]) -> Iterator[Way]:
    together = defaultdict(list)  # x * x is one operation, and uses x twice
    for node, i in uses:
        together[node].append(i)
    parts = {node: _subtract(full, _without(run, node, at)) for node, at in together.items()}
    calls = defaultdict(list)  # one call of a library function may use x in several operations
    for node, at in together.items():
        name = f"`{sign(node.name().removesuffix('Backward0').lower())}`"
        where, call = run.places.get(node, (name, None))
        calls[call].append(node)
        yield _way(where, [node], parts, several=len(together) > 2)
        if len(at) > 1:
            one = _subtract(full, _without(run, node, at[:1]))
            yield Way(f"one factor of {where}", one, None)
    for call, nodes in calls.items():
        if call and 1 < len(nodes) < len(parts):
            yield _way(call[0], nodes, parts, several=len(calls) > 2)


def _way(where: str, nodes: list[Any], parts: dict[Any, Quantities], several: bool) -> Way:
    """What comes by some of the parts, and by the others, if these are several ways."""
    rest = [part for node, part in parts.items() if node not in nodes]
    return Way(where, _sum([parts[node] for node in nodes]), _sum(rest) if several else None)


def _sum(parts: list[Quantities]) -> Quantities:
    return {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}


def _without(run: Run, node: Any, at: list[int]) -> Quantities:
    """The gradients without what a node gives to some of its arguments."""

    def cut(gradients: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        return tuple(None if k in at else g for k, g in enumerate(gradients))

    hook = node.register_hook(cut)
    try:
        return run.gradients()
    finally:
        hook.remove()


def _subtract(a: Quantities, b: Quantities) -> Quantities:
    return {name: a[name] - b[name] for name in a}


@dataclass
class Change:
    """A usual mistake at an operation: its name, what it is, what to do, and how to make it."""

    mistake: str
    says: str
    remedy: str
    edit: Edit


def edits(simple: Traced) -> Iterator[tuple[Change, Quantities]]:
    """Every usual mistake at every operation, and the gradients that the reference has with it.

    Operations that a loop repeats are edited together.
    """
    alike = defaultdict(list)
    for node in simple.operations:
        alike[place(node)].append(node)
    repeated = [nodes for nodes in alike.values() if len(nodes) > 1]
    few = len(simple.operations) <= FEW
    for nodes in [*repeated, *([node] for node in simple.operations if few)]:
        for change in _usual(nodes[0]):
            try:
                yield change, simple.run(nodes, change.edit).gradients()
            except CANNOT:  # not an edit that this operation can have
                continue


def _usual(node: Node) -> Iterator[Change]:
    """The usual mistakes at an operation."""
    name = operation(node)
    if name in _SLOPED:
        yield from _at_a_slope(name, node)
    if name in ("mul", "div"):
        for k in range(2):
            yield from _at_a_factor(name, node, k)
    if name in ("mm", "bmm", "addmm"):
        for k in (-2, -1):
            yield _transposed(node, k % len(node.args))
    if name in ("mul", "div", "add", "sub", "mm", "addmm"):
        for k, which in itertools.product(range(len(node.args)), ("first", "last")):
            yield _one_sample_only(node, k, which)
    if name in ("add", "sub") and isinstance(node.args[1], int | float) and node.args[1]:
        says = f"the constant {node.args[1]:g} of {place(node)} is left out"
        yield Change("term-missing", says, "add it", lambda out, x, *_: x)
    if name in ("mean", "var", "std", "sum"):
        yield from _at_a_mean(name, node)


def _at_a_slope(name: str, node: Node) -> Iterator[Change]:
    slope, at = f"the slope of {name}", place(node)
    yield Change(
        "missing-activation-derivative",
        f"the derivative of {at} is left out",
        f"multiply with {slope}",
        lambda out, x, *_: _valued(out, x),
    )
    yield Change(
        "derivative-at-wrong-point",
        f"the derivative of {at} is taken at its result, not at what goes in",
        f"take {slope} at what goes in",
        lambda out, x, *more: _valued(out, _called(node, _valued(out, x).clone(), *more)),
    )
    if name in ("tanh", "sigmoid"):
        yield Change(
            "wrong-activation-derivative",
            f"1 − {name} in place of the derivative of {at}",
            f"{slope} is " + ("1 − tanh²" if name == "tanh" else "σ (1 − σ)"),
            lambda out, x, *_: _valued(out, x * (1 - out.detach())),
        )


def _at_a_factor(name: str, node: Node, k: int) -> Iterator[Change]:
    """A factor left out: a number everywhere, a tensor on the way back alone."""
    factor, other = node.args[k], node.args[1 - k]
    if isinstance(factor, int | float):
        says = f"the factor {'1/' * (name == 'div')}{factor:g} of {place(node)} is left out"
        yield from _in_both(says, lambda out, *pair: pair[1 - k])
    elif not isinstance(other, int | float) and not (name == "div" and k == 0):
        which = f"the factor {source(factor)}" if source(factor) else "a factor"
        says = f"{which} of {place(node)} is left out on the way back"

        def without(out: Tensor, *pair: Tensor) -> Tensor:
            return _valued(out, pair[1 - k], _by_others(node, pair, 1 - k))

        yield Change("factor-missing", says, "multiply with it", without)


def _transposed(node: Node, k: int) -> Change:
    """Square matrix k transposed in the derivative by the other arguments."""

    def edit(out: Tensor, *given: Tensor) -> Tensor:
        if given[k].shape[-1] != given[k].shape[-2]:
            raise ValueError("a matrix that is not square does not fit transposed")
        others = [argument.detach().mT if i == k else argument for i, argument in enumerate(given)]
        itself = [argument if i == k else argument.detach() for i, argument in enumerate(given)]
        return _valued(out, _called(node, *others), _called(node, *itself))

    which = source(node.args[k]) or "a matrix"
    says = f"{which} of {place(node)} is transposed the wrong way round on the way back"
    return Change("transposed-weights", says, "turn it round", edit)


def _one_sample_only(node: Node, k: int, which: str) -> Change:
    """Only one row of the result passes a gradient on to argument k."""

    def edit(out: Tensor, *given: Any) -> Tensor:
        if not isinstance(given[k], Tensor) or given[k].shape == out.shape or len(out) < 2:
            raise ValueError("no row of it is a sample")
        rows = torch.zeros(len(out), *[1] * (out.dim() - 1), dtype=torch.bool)
        rows[0 if which == "first" else -1] = True
        return torch.where(rows, out, _by_others(node, given, k))

    whom = source(node.args[k]) or "what it is made of"
    says = f"of what {place(node)} gives, only the {which} row counts for {whom}"
    return Change("one-sample-only", says, "sum over all of them", edit)


def _at_a_mean(name: str, node: Node) -> Iterator[Change]:
    """Another number to divide by: n, n − 1, or none."""
    at, root = place(node), 0.5 if name == "std" else 1

    def scaled(factor: Callable[[float], float]) -> Edit:
        return lambda out, x, *_: out * factor(x.numel() / out.numel()) ** root

    if name == "sum":
        yield from _in_both(f"{at} is a sum, yours a mean", scaled(lambda n: 1 / n))
        return

    def bessel(n: float) -> float:
        return n / (n - 1) if n > 1 else math.nan

    yield from _in_both(f"{at} divides by n, yours by n − 1 (Bessel)", scaled(bessel))
    says = f"{at} divides by n − 1 where yours divides by n"
    yield from _in_both(says, scaled(lambda n: 1 / bessel(n)))
    yield from _in_both(f"{at} is a mean, yours a sum", scaled(lambda n: n))


def _in_both(says: str, edit: Edit) -> Iterator[Change]:
    """A factor that is another on the way there and back, or in the value alone."""
    remedy = "check what is divided by"
    yield Change("scaled-by-constant", says, remedy, edit)
    yield Change(
        "scaled-by-constant",
        f"{says}, in the value and not in its derivative",
        remedy,
        lambda out, *given: out + (edit(out, *given) - out).detach(),
    )


def _by_others(node: Node, given: tuple[Any, ...], k: int) -> Tensor:
    """What the operation gives, with derivatives by the arguments other than k."""
    return _called(node, *given[:k], given[k].detach(), *given[k + 1 :])


def _called(node: Node, *given: Any) -> Tensor:
    """What the operation itself gives of arguments."""
    function: Any = node.target
    result: Tensor = function(*given)
    return result


def _valued(out: Tensor, *derived: Tensor) -> Tensor:
    """The value of the result, with the derivatives of others."""
    return out.detach() + sum(other - other.detach() for other in derived)
