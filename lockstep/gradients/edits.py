"""Which one edit of the reference gives the wrong gradient: a term left out, a factor dropped.

The reference is traced into simple operations (fused ones, such as softmax, taken apart) and
differentiated again with one place edited at a time; where that gives exactly the numbers by hand,
the mistake is found. Two kinds of place:

- a *use*: a value that is used several times gets a term of its gradient through each of its uses.
- an *operation*: its slope, a factor, or what its sum is divided by, is made another.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
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
from lockstep.gradients.reference import Reference
from lockstep.gradients.mistakes import FACTORS, Wrong, times
from lockstep.network.names import Quantities

# from an operation, the number of an argument, the result and the arguments: what stands in place
# of the result
Edit = Callable[..., Tensor]
Uses = dict[Any, list[int]]  # nodes of the gradients' graph, and which of their arguments

FEW = 150  # operations that are edited one by one


def search(
    wrong: list[Wrong], reference: Reference, inputs: Quantities, *_
) -> tuple[dict[str, Diagnosis], str]:
    """The first use or operation of the reference that, edited, gives each wrong gradient.

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
    terms = []
    for term in _terms(run):
        terms.append(term)
        for it in wrong:
            yield from _by_term(it, term, inputs)
    for mistake, says, remedy, gradients in _edited(simple) if simple else ():
        for it in wrong:
            if agree(it.own, gradients[it.name], 4 * it.bound).all():
                yield Diagnosis(it.name, mistake, says, remedy)
    for term, it in itertools.product(terms, wrong):
        yield from _by_term(it, term, inputs, any_factor=True)


# Terms


@dataclass
class Term:
    """What comes through some uses of a value that has several.

    Attributes:
        place: The uses, in words.
        without: The gradients without it.
        rest: The gradients without the terms of all uses; None where only one use is left.
    """

    place: str
    without: Quantities
    rest: Quantities | None = None


def _by_term(
    it: Wrong, term: Term, inputs: Quantities, any_factor: bool = False
) -> Iterator[Diagnosis]:
    """Whether a gradient lacks a term, has only that, or has it another time."""
    name, without = it.name, term.without[it.name]
    part = it.value - without
    slack = 4 * it.bound + 2.0**-48 * np.abs(part)
    seen = np.abs(part) > slack
    if not seen.any():
        return
    several = any_factor and int(np.count_nonzero(it.off & seen)) >= 3
    c, why = times(it.own - without, part, slack, inputs, several)
    mistake, through = "term-missing", f"the term through {term.place}"
    remedy = "add it: the gradients through all uses of a value add up"
    if c == 0:
        says = f"the gradient of {name} lacks {through}"
    elif term.rest is not None and agree(it.own, term.rest[name] + part, slack).all():
        says = f"the gradient of {name} has only {through}; the other terms are missing"
        remedy = remedy.replace("it", "them", 1)
    elif c == -1:
        mistake, remedy = "sign-flipped", "change its sign"
        says = f"in the gradient of {name} {through} has the wrong sign"
    elif c is not None:
        mistake, remedy = "scaled-by-constant", FACTORS
        says = f"in the gradient of {name} {through} counts {c:.12g} times{why}"
    else:
        return
    yield Diagnosis(name, mistake, says, remedy)


def _terms(run: Run) -> Iterator[Term]:
    """The term of every use of every value that is used more than once."""
    for uses in _uses(run.loss.grad_fn).values():
        if not 2 <= sum(map(len, uses.values())) <= MOST:
            continue
        calls: dict[Any, Uses] = defaultdict(dict)
        rest = _without(run, uses) if len(uses) > 2 else None
        for node, at in uses.items():
            name = f"`{sign(node.name().removesuffix('Backward0').lower())}`"
            where, call = run.places.get(node, (name, None))
            calls[call][node] = at
            yield Term(where, _without(run, {node: at}), rest)
            if len(at) > 1:
                yield Term(f"one factor of {where}", _without(run, {node: at[:1]}))
        for call, nodes in calls.items():  # a library function may use a value several times
            if call and 1 < len(nodes) < len(uses):
                yield Term(call[0], _without(run, nodes), rest if len(calls) > 2 else None)


def _uses(last: Any) -> dict[Any, Uses]:
    """By value (its node of the gradients' graph and which result), by which nodes it is used."""
    uses: dict[Any, Uses] = defaultdict(lambda: defaultdict(list))
    seen, waiting = set(), [last]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for i, (maker, result) in enumerate(node.next_functions):
            if maker is not None:
                uses[maker, result][node].append(i)  # x * x is one operation, and uses x twice
                waiting.append(maker)
    return uses


def _without(run: Run, uses: Uses) -> Quantities:
    """The gradients without what nodes give to some of their arguments."""

    def cut(at: list[int], gradients: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        return tuple(None if k in at else g for k, g in enumerate(gradients))

    hooks = [node.register_hook(partial(cut, at)) for node, at in uses.items()]
    try:
        return run.gradients()
    finally:
        for hook in hooks:
            hook.remove()


# Operations


def _edited(simple: Traced) -> Iterator[tuple[str, str, str, Quantities]]:
    """Every usual mistake at every operation, and the gradients that the reference has with it.

    Operations that a loop repeats are edited together.
    """
    alike = defaultdict(list)
    for node in simple.operations:
        alike[place(node)].append(node)
    repeated = [nodes for nodes in alike.values() if len(nodes) > 1]
    few = len(simple.operations) <= FEW
    for nodes in [*repeated, *([node] for node in simple.operations if few)]:
        for mistake, says, remedy, edit in _usual(nodes[0]):
            try:
                yield mistake, says, remedy, simple.run(nodes, edit).gradients()
            except CANNOT:  # not an edit that this operation can have
                continue


def _usual(node: Node) -> Iterator[tuple[str, str, str, Edit]]:
    """The usual mistakes at an operation: the name, what it is, what to do, and how to make it."""
    name, at = operation(node), place(node)
    for operations, kind, mistake, says, remedy, edit in _USUAL:
        for k, given in enumerate(node.args if name in operations.split() else ()):
            if isinstance(given, kind):
                which = source(given) or f"argument {k + 1}"
                words = dict(at=at, op=name, n=given, which=which)
                edited = partial(edit, node, k)
                yield mistake, says.format(**words), remedy.format(**words), edited


def _valued(out: Tensor, *derived: Tensor) -> Tensor:
    """The value of the result, with the derivatives of others."""
    return out.detach() + sum(other - other.detach() for other in derived)


def _by_others(node: Any, k: int, given: tuple[Any, ...]) -> Any:
    """What the operation gives, with derivatives by the arguments other than k."""
    return node.target(*given[:k], given[k].detach(), *given[k + 1 :])


def _at_the_result(node: Any, k: int, out: Tensor, x: Tensor, *more: Any) -> Tensor:
    return _valued(out, node.target(_valued(out, x).clone(), *more))


def _without_factor(node: Any, k: int, out: Tensor, *pair: Tensor) -> Tensor:
    if operation(node) == "div" and k == 0:
        raise ValueError("what is divided is no factor")
    return _valued(out, pair[1 - k], _by_others(node, 1 - k, pair))


def _transposed(node: Any, k: int, out: Tensor, *given: Tensor) -> Tensor:
    """Square matrix k transposed in the derivative by the other arguments."""
    if given[k].shape[-1] != given[k].shape[-2]:
        raise ValueError("a matrix that is not square does not fit transposed")
    others = [argument.detach().mT if i == k else argument for i, argument in enumerate(given)]
    itself = [argument if i == k else argument.detach() for i, argument in enumerate(given)]
    return _valued(out, node.target(*others), node.target(*itself))


def _one_row(row: int, node: Any, k: int, out: Tensor, *given: Tensor) -> Tensor:
    """Only one row of the result passes a gradient on to argument k."""
    if given[k].shape == out.shape or len(out) < 2:
        raise ValueError("no row of it is a sample")
    rows = torch.zeros(len(out), *[1] * (out.dim() - 1), dtype=torch.bool)
    rows[row] = True
    return torch.where(rows, out, _by_others(node, k, given))


def _scaled(factor: Callable[[Tensor], Tensor]) -> Edit:
    """A mean divided by another number than its n."""

    def edit(node: Any, k: int, out: Tensor, x: Tensor, *_: Any) -> Tensor:
        n = out.new_tensor(x.numel() / out.numel())
        return out * factor(n) ** (0.5 if operation(node) == "std" else 1)

    return edit


_Usual = tuple[str, Any, str, str, str, Edit]
_NUMBER = int | float


def _scaling(operations: str, kind: Any, says: str, edit: Edit) -> tuple[_Usual, _Usual]:
    """A factor that is another on the way there and back, or in the value alone."""

    def value_only(node: Any, k: int, out: Tensor, *given: Any) -> Tensor:
        return out + (edit(node, k, out, *given) - out).detach()

    named = (operations, kind, "scaled-by-constant")
    also = f"{says}, in the value and not in its derivative"
    remedy = "check what is divided by"
    return (*named, says, remedy, edit), (*named, also, remedy, value_only)


def _other(node: Any, k: int, out: Tensor, *pair: Tensor) -> Tensor:
    return pair[1 - k]


_SLOPED = "tanh sigmoid relu exp log erf sin cos softplus elu leaky_relu"
_MEANS = "mean var std"
_ROWS = "mul div add sub mm addmm"
# For which operations, and what kind of argument: the mistake, what it is, what to do, the edit.
_USUAL: tuple[_Usual, ...] = (
    (
        _SLOPED,
        Node,
        "missing-activation-derivative",
        "the derivative of {at} is left out",
        "multiply with the slope of {op}",
        lambda node, k, out, x, *_: _valued(out, x),
    ),
    (
        _SLOPED,
        Node,
        "derivative-at-wrong-point",
        "the derivative of {at} is taken at its result, not at what goes in",
        "take the slope of {op} at what goes in",
        _at_the_result,
    ),
    (
        "tanh sigmoid",
        Node,
        "wrong-activation-derivative",
        "1 − {op} in place of the derivative of {at}",
        "the slope of tanh is 1 − tanh², that of σ is σ (1 − σ)",
        lambda node, k, out, x: _valued(out, x * (1 - out.detach())),
    ),
    *_scaling("mul", _NUMBER, "the factor {n:g} of {at} is left out", _other),
    *_scaling("div", _NUMBER, "the factor 1/{n:g} of {at} is left out", _other),
    (
        "mul div",
        Node,
        "factor-missing",
        "{which}, a factor of {at}, is left out on the way back",
        "multiply with it",
        _without_factor,
    ),
    (
        "mm bmm addmm",
        Node,
        "transposed-weights",
        "{which} of {at} is transposed the wrong way round on the way back",
        "turn it round",
        _transposed,
    ),
    (
        _ROWS,
        Node,
        "one-sample-only",
        "of what {at} gives, only the first row counts for {which}",
        "sum over all of them",
        partial(_one_row, 0),
    ),
    (
        _ROWS,
        Node,
        "one-sample-only",
        "of what {at} gives, only the last row counts for {which}",
        "sum over all of them",
        partial(_one_row, -1),
    ),
    (
        "add sub",
        _NUMBER,
        "term-missing",
        "the constant {n:g} of {at} is left out",
        "add it",
        _other,
    ),
    *_scaling("sum", Node, "{at} is a sum, yours a mean", _scaled(lambda n: 1 / n)),
    *_scaling(
        _MEANS,
        Node,
        "{at} divides by n, yours by n − 1 (Bessel)",
        _scaled(lambda n: n / (n - 1)),
    ),
    *_scaling(
        _MEANS,
        Node,
        "{at} divides by n − 1 where yours divides by n",
        _scaled(lambda n: (n - 1) / n),
    ),
    *_scaling(_MEANS, Node, "{at} is a mean, yours a sum", _scaled(lambda n: n)),
)
