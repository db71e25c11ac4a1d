"""Which one edit of the reference gives the wrong gradient: a way left out, a slope forgotten, a factor dropped.

The reference is traced into simple operations (fused ones, such as softmax, taken apart) and differentiated again with
one place edited at a time; where that gives exactly the numbers by hand, the mistake is found. Two kinds of place:

- a *way*: a value that is used several times gets a part of its gradient by each of its uses.
- an *operation*: its slope, a factor, or what its sum is divided by, is made another.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lockstep.gradients.graph import CANNOT, MOST, Gradients, Run, operation, place, said, source

FEW = 150  # operations that are edited one by one
_SLOPED = frozenset("tanh sigmoid relu exp log erf sin cos softplus elu leaky_relu".split())


@dataclass
class Way:
    """One of several uses of a value. place: which, in words; part: what of the gradients comes by it; others: what
    comes by all the other uses of the value, None if that is a single one."""

    place: str
    part: Gradients
    others: Gradients | None


def ways(run: Run) -> Iterator[Way]:
    """Every use of every value that is used more than once."""
    full = run.gradients()
    uses, seen, waiting = defaultdict(list), set(), [run.loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for i, (maker, result) in enumerate(node.next_functions):
            if maker is not None:
                uses[maker, result].append((node, i))
                waiting.append(maker)
    for places in uses.values():
        together: dict = defaultdict(list)  # x * x is one operation, and uses x twice
        for node, i in places:
            together[node].append(i)
        if not 2 <= len(places) <= MOST:
            continue
        parts = {node: _subtract(full, _without(run, node, at)) for node, at in together.items()}
        calls: dict = defaultdict(
            list
        )  # one call of a library function may use x in several operations
        for node, at in together.items():
            where, call = run.places.get(
                node, (f"`{said(node.name().removesuffix('Backward0').lower())}`", None)
            )
            calls[call].append(node)
            yield _way(where, [node], parts, several=len(together) > 2)
            if len(at) > 1:
                yield Way(
                    f"one factor of {where}", _subtract(full, _without(run, node, at[:1])), None
                )
        for call, nodes in calls.items():
            if call and 1 < len(nodes) < len(parts):
                yield _way(call[0], nodes, parts, several=len(calls) > 2)


def _way(where, nodes, parts, several) -> Way:
    """What comes by some of the parts, and by the others, if these are several ways."""
    rest = [part for node, part in parts.items() if node not in nodes]
    return Way(where, _sum([parts[node] for node in nodes]), _sum(rest) if several else None)


def _sum(parts: list[Gradients]) -> Gradients:
    return {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}


def _without(run, node, at) -> Gradients:
    def cut(gradients, _):
        return tuple(None if k in at else g for k, g in enumerate(gradients))

    hook = node.register_hook(cut)
    try:
        return run.gradients()
    finally:
        hook.remove()


def _subtract(a: Gradients, b: Gradients) -> Gradients:
    return {name: a[name] - b[name] for name in a}


@dataclass
class Edit:
    """An operation made another. mistake, says, remedy: what that stands for; gradients: what it gives."""

    mistake: str
    says: str
    remedy: str
    gradients: Gradients


def edits(run: Callable[..., Run], operations) -> Iterator[Edit]:
    """Every operation, edited in every way that is a usual mistake; those that a loop repeats are edited together."""
    alike = defaultdict(list)
    for node in operations:
        alike[place(node)].append(node)
    repeated = [nodes for nodes in alike.values() if len(nodes) > 1]
    for nodes in [*repeated, *([node] for node in operations if len(operations) <= FEW)]:
        for mistake, says, remedy, edit in _usual(nodes[0]):
            try:
                yield Edit(mistake, says, remedy, run(nodes, edit).gradients())
            except CANNOT:  # not an edit that this operation can have
                continue


def _usual(node):
    """The usual mistakes at an operation: name, sentence, remedy, and a function from its result and arguments to what
    stands in its place."""
    name, at = operation(node), place(node)
    if name in _SLOPED:
        yield (
            "missing-activation-derivative",
            f"the derivative of {at} is left out",
            f"multiply with the slope of {name}",
            lambda out, x, *_: out.detach() + x - x.detach(),
        )
        yield (
            "derivative-at-wrong-point",
            f"the derivative of {at} is taken at its result, not at what goes in",
            f"take the slope of {name} at what goes in",
            lambda out, x, *more: _with_slope_of(node.target, out, x, *more),
        )
        if name in ("tanh", "sigmoid"):
            yield (
                "wrong-activation-derivative",
                f"1 − {name} in place of the derivative of {at}",
                f"the slope of {name} is " + ("1 − tanh²" if name == "tanh" else "σ (1 − σ)"),
                lambda out, x, *_: out.detach() + (x - x.detach()) * (1 - out.detach()),
            )
    if name in ("mul", "div"):
        for k, factor in enumerate(node.args[:2]):
            if isinstance(factor, int | float):
                yield from _in_both(
                    f"the factor {'1/' * (name == 'div')}{factor:g} of {at} is left out",
                    lambda out, *pair, k=k: pair[1 - k],
                )
            elif not isinstance(node.args[1 - k], int | float) and not (name == "div" and k == 0):
                which = f"the factor {source(factor)}" if source(factor) else "a factor"
                yield (
                    "factor-missing",
                    f"{which} of {at} is left out on the way back",
                    "multiply with it",
                    lambda out, *pair, k=k: _without_factor(node.target, out, pair, k),
                )
    if name in ("mm", "bmm", "addmm"):
        for k, matrix in list(enumerate(node.args))[-2:]:
            yield (
                "transposed-weights",
                f"{source(matrix) or 'a matrix'} of {at} is transposed the wrong way round on "
                "the way back",
                "turn it round",
                lambda out, *given, k=k: _with_transposed(node.target, out, given, k),
            )
    if name in ("mul", "div", "add", "sub", "mm", "addmm"):
        for k, (row, which) in itertools.product(
            range(len(node.args)), ((0, "first"), (-1, "last"))
        ):
            says = f"of what {at} gives, only the {which} row counts for {source(node.args[k]) or 'what it is made of'}"
            yield (
                "one-sample-only",
                says,
                "sum over all of them",
                lambda out, *given, k=k, row=row: _one_row(node.target, out, given, k, row),
            )
    if name in ("add", "sub") and isinstance(node.args[1], int | float) and node.args[1]:
        yield (
            "term-missing",
            f"the constant {node.args[1]:g} of {at} is left out",
            "add it",
            lambda out, x, *_: x,
        )
    if name in ("mean", "var", "std"):
        bessel = f"{at} divides by n − 1 where yours divides by n"
        for words, power in ((f"{at} divides by n, yours by n − 1 (Bessel)", 1), (bessel, -1)):
            yield from _in_both(
                words,
                lambda out, x, *_, power=power: out * _bessel(out, x) ** (power * _root(name)),
            )
        yield from _in_both(
            f"{at} is a mean, yours a sum",
            lambda out, x, *_: out * (x.numel() / out.numel()) ** _root(name),
        )
    if name == "sum":
        yield from _in_both(
            f"{at} is a sum, yours a mean", lambda out, x, *_: out * (out.numel() / x.numel())
        )


def _in_both(says, edit):
    """A factor that is another on the way there and back, or on the way there alone."""
    remedy = "check what is divided by"
    yield "scaled-by-constant", says, remedy, edit
    yield (
        "scaled-by-constant",
        f"{says}, in the value and not in its derivative",
        remedy,
        lambda out, *given: out + (edit(out, *given) - out).detach(),
    )


def _bessel(out, x):
    n = x.numel() / out.numel()
    return n / (n - 1) if n > 1 else math.nan


def _root(name):
    return 0.5 if name == "std" else 1


def _with_slope_of(function, out, x, *more):
    """The result, with the slope of the function at the result."""
    again = out.detach() + x - x.detach()
    away = function(again.clone(), *more)
    return out.detach() + away - away.detach()


def _with_transposed(function, out, given, k):
    """The product, of which square matrix k is transposed in the derivative by the other arguments."""
    if given[k].shape[-1] != given[k].shape[-2]:
        raise ValueError("a matrix that is not square does not fit transposed")
    others = [argument.detach().mT if i == k else argument for i, argument in enumerate(given)]
    itself = [argument if i == k else argument.detach() for i, argument in enumerate(given)]
    ways = function(*others), function(*itself)
    return out.detach() + sum(way - way.detach() for way in ways)


def _one_row(function, out, given, k, row):
    """The result, of which only one row passes a gradient on to argument k."""
    if not isinstance(given[k], torch.Tensor) or given[k].shape == out.shape or len(out) < 2:
        raise ValueError("no row of it is a sample")
    fixed = [argument.detach() if i == k else argument for i, argument in enumerate(given)]
    rows = torch.zeros(len(out), *[1] * (out.dim() - 1), dtype=torch.bool)
    rows[row] = True
    return torch.where(rows, out, function(*fixed))


def _without_factor(function, out, pair, k):
    """The product, with factor k left out of the derivative by the other one."""
    fixed = list(pair)
    fixed[1 - k] = pair[1 - k].detach()
    away = function(*fixed)
    return out.detach() + (pair[1 - k] - pair[1 - k].detach()) + away - away.detach()
