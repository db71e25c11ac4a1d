"""Which edit of the reference's way back, or of its forward pass, gives the wrong gradient.

The way back is a list of simple operations, each linear in the gradient that it carries. So what an
edit of one operation does to a final gradient is a linear function of what it does to that
operation's result. A few random sums of each final gradient, differentiated once by every result
(the *probes*), foretell the sums of the edited gradient at the cost of the edited operation alone.
An edit whose sums are those of the gradient by hand is run in full, and counts if every element
agrees.
"""

from __future__ import annotations

import heapq
import itertools
import time
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.errors import first_line_of
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import agree
from lockstep.gradients.changes import (
    THEIRS,
    Change,
    Changes,
    changes,
    epsilons,
    instead_of,
    is_function,
    replacements,
    scaled,
    slopes,
    whole_changes,
    with_argument,
)
from lockstep.gradients.graph import Forward, Joint, traced, traced_as_it_is
from lockstep.gradients.inputs import parts
from lockstep.gradients.measured import Check
from lockstep.gradients.operations import Edit, Edits, Node, described, place, rerun, unedited
from lockstep.gradients.tape import TooLong
from lockstep.gradients.wrong import FACTORS, Wrong, times
from lockstep.network.names import Array, Quantities

TOO_LONG = "the search for the mistake stopped after its time limit"
_SUMS = 3  # random sums of every wrong gradient
_MOST = 30_000_000  # numbers that the probes may have
_CANNOT = (RuntimeError, TypeError, ValueError, IndexError)  # of an edit that fits no operation
_NEAR = 8  # values before and after an operation that may be taken for one that it uses


@np.errstate(all="ignore")
def search(wrong: list[Wrong], it: Check, deadline: float) -> tuple[dict[str, Diagnosis], str]:
    """The likeliest edit of the reference that gives each wrong gradient.

    Args:
        wrong: The wrong gradients.
        it: Both sides.
        deadline: When to stop, as `time.monotonic` tells it.

    Returns:
        The diagnoses by name, and why operations could not be edited, or "".
    """
    found: dict[str, Diagnosis] = {}
    reasons = []
    for trace in (traced, traced_as_it_is):
        left = [one for one in wrong if one.name not in found]
        try:
            joint = trace(it.reference, it.inputs, it.wanted, deadline)
            _demand_right(joint, left)
            for diagnosis in _explained(_probed(joint, left, it, deadline)):
                found.setdefault(diagnosis.quantity, diagnosis)
                if len(found) == len(wrong):
                    return found, ""
        except TooLong:
            return found, TOO_LONG
        except Exception as error:  # whatever the reference and PyTorch raise
            reasons.append(first_line_of(error) or type(error).__name__)
        else:
            if not joint.fused:  # else what was taken apart has a way back of its own
                return found, ""
    return found, reasons[-1] if len(reasons) == 2 else ""


def _demand_right(joint: Joint, wrong: list[Wrong]) -> None:
    for it in wrong:
        same = it.name in joint.gradients and agree(
            _array(joint.gradients[it.name].value), it.value, 4 * it.bound
        )
        if not np.all(same):
            raise ValueError("operation by operation, it has other gradients")


def _array(tensor: Tensor) -> Array:
    return parts(tensor.detach().resolve_conj().resolve_neg().numpy())


# Probes


@dataclass
class Search:
    """What is looked at together.

    Attributes:
        joint: The reference.
        wrong: The wrong gradients.
        check: Both sides.
        deadline: When to stop.
        probes: By operation that carries a gradient, the derivatives of the sums by its result.
        sought: What an edit should change the sums by: wrong gradients × sums.
        slack: How near it should come.
        near: How near it should come, relative to larger changes of which it is made.
    """

    joint: Joint
    wrong: list[Wrong]
    check: Check
    deadline: float
    probes: dict[Node, Tensor]
    sought: Array
    slack: Array
    near: float

    @cached_property
    def values(self) -> list[Node]:
        """The values of the forward pass."""
        return [
            node
            for node in self.joint.nodes
            if node.of is None
            and node is not self.joint.seed
            and node.name not in ("clone", "copy")
            and isinstance(node.value, Tensor)
            and node.value.is_floating_point()
        ]

    @cached_property
    def derivatives(self) -> dict[Node, list[Node]]:
        """The derivatives of operations, by the operation."""
        groups = _grouped((node.of, node) for node in self.joint.nodes if node.of and node.run)
        carried = self.probes.keys()
        return {of: group for of, group in groups.items() if not carried.isdisjoint(group)}

    @cached_property
    def uses(self) -> dict[Node, Node]:
        """The forward operation that a gradient reaches, by the gradient; the last of several."""
        reaching = sorted(self.joint.reaching.items(), key=lambda pair: pair[0].index)
        given = {node.input: node for node in self.joint.nodes if node.input}
        inputs = {g: given[name] for name, g in self.joint.gradients.items() if name in given}
        return {g: node for node, g in reaching} | inputs


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> defaultdict[Any, list[Any]]:
    """Lists of what has the same key."""
    groups = defaultdict(list)
    for key, it in pairs:
        groups[key].append(it)
    return groups


@torch.enable_grad()
def _probed(joint: Joint, wrong: list[Wrong], check: Check, deadline: float) -> Search:
    """Differentiate random sums of the wrong gradients by everything on the way back."""
    values = _differentiable(joint)
    carrying = {
        node: value
        for node, value in values.items()
        if isinstance(value, Tensor) and value.requires_grad
    }
    tensors = list(carrying.values())
    if sum(map(Tensor.numel, tensors)) * _SUMS * len(wrong) > _MOST:
        raise ValueError("its operations have too many numbers")
    random, rows, sought, slack = np.random.default_rng(0), [], [], []
    near = max(torch.finfo(value.dtype).eps for value in tensors) ** 0.5
    for it, _ in itertools.product(wrong, range(_SUMS)):
        weight = random.normal(size=it.value.shape)
        error = weight * it.error
        final, given = values[joint.gradients[it.name]], torch.as_tensor(weight)
        given = (torch.view_as_complex(given) if final.is_complex() else given).to(final.dtype)
        rows.append(
            torch.autograd.grad(final, tensors, given, retain_graph=True, allow_unused=True)
        )
        sought.append(error.sum())
        slack.append((4 * np.abs(weight) * it.bound + near * np.abs(error)).sum())
    probes = {
        node: torch.stack([_flat(torch.zeros_like(value) if g is None else g) for g in given])
        for (node, value), *given in zip(carrying.items(), *rows, strict=True)
        if any(g is not None for g in given)
    }
    wanted, near_by = (np.reshape(sums, (len(wrong), _SUMS)) for sums in (sought, slack))
    return Search(joint, wrong, check, deadline, probes, wanted, near_by, near)


def _differentiable(joint: Joint) -> dict[Node, Any]:
    """The way back run again, so that it can be differentiated by everything on it."""
    values: dict[Node, Any] = {joint.seed: joint.seed.value.clone().requires_grad_()}
    for node in joint.nodes:
        if node.run and not node.draws and any(used in values for used in node.inputs):
            values[node] = rerun(node, values)
    return values


def _flat(tensor: Tensor) -> Tensor:
    """The numbers of a tensor in a row; a complex one's parts one after the other."""
    tensor = tensor.detach()
    whole = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return whole.reshape(-1)


def _changed(seen: Search, edits: Edits, stop: Container[Node] = ()) -> dict[Node, Any]:
    """The results that edits change, and what they are then.

    stop: Operations beyond which nothing is changed, if their results have the shape that they had.
    """
    _in_time(seen)
    values: dict[Node, Any] = {}
    stopped: dict[Node, Any] = {}
    known = {*edits}
    waiting = [(node.index, node) for node in edits]
    heapq.heapify(waiting)
    while waiting:
        _, node = heapq.heappop(waiting)
        value = rerun(node, values, edits.get(node))
        same = not isinstance(value, Tensor) or value.shape == node.value.shape
        if node in stop and same:
            stopped[node] = value
            continue
        values[node] = value
        for user in node.users:
            if user not in known and not user.draws:
                known.add(user)
                heapq.heappush(waiting, (user.index, user))
    return stopped if stop else values


def _in_time(seen: Search) -> None:
    if time.monotonic() > seen.deadline:
        raise TooLong


def _foretold(seen: Search, edits: Edits) -> Array | None:
    """What edits of the way back change the sums by; None where they do nothing, or cannot be."""
    sums: Any = 0.0
    with suppress(*_CANNOT):  # not an edit that it can have
        for node, value in _changed(seen, edits, seen.probes).items():
            sums = sums + seen.probes[node] @ _flat(value - node.value)
        if isinstance(sums, Tensor) and sums.any():
            return sums.double().numpy().reshape(seen.sought.shape)
    return None


def _gradients(seen: Search, edits: Edits) -> Quantities:
    """The gradients that edits change, by name."""
    values, final = _changed(seen, edits), seen.joint.gradients
    return {name: _array(values[node]) for name, node in final.items() if node in values}


def _gradient(seen: Search, it: Wrong, edits: Edits) -> Array:
    """A gradient where some operations are edited."""
    return _gradients(seen, edits).get(it.name, it.value)


def _explains(seen: Search, it: Wrong, edits: Edits) -> bool:
    """Whether edits give a gradient."""
    with suppress(*_CANNOT):
        return _is_it(it, _gradient(seen, it, edits))
    return False  # pragma: no cover - it depends on the operation


def _by_each(
    seen: Search, some: Iterable[Change], gradients: Callable[[Edits], Quantities]
) -> Iterator[Diagnosis]:
    """Changes that give a gradient by hand. gradients: what edits make of them, by name."""
    for change in some:
        _in_time(seen)
        with suppress(*_CANNOT):
            found = gradients(change.edits)
            for it in seen.wrong:
                if it.name in found and _is_it(it, found[it.name]):
                    yield _said(it, change)


def _is_it(it: Wrong, gradient: Array) -> bool:
    if gradient.shape != it.own.shape:
        return False
    slack = 4 * it.bound + 2.0**-48 * np.abs(gradient)
    return bool(agree(it.own, gradient, slack).all())


# Stages


@torch.no_grad()
def _explained(seen: Search) -> Iterator[Diagnosis]:
    """Diagnoses that give the gradients by hand, likelier ones first."""
    terms = list(_terms(seen))
    yield from _by_terms(seen, terms, lambda c, why: c in (0, -1))
    tried: list[Change] = []
    every: list[Change] = []
    for family in (_small, _replaced, _moved, _scaled):  # the last ones are too many for pairs
        found = [replace(it, sums=_foretold(seen, it.edits)) for it in family(seen)]
        some = [change for change in found if change.sums is not None]
        yield from _by_one(seen, some)
        every += found if family in (_small, _replaced) else []
        tried += some if family is not _scaled else []
    yield from _by_terms(seen, terms, lambda c, why: bool(why))
    yield from _stopped_early(seen)
    yield from _by_all_of_a_loop(seen, every)
    if seen.joint.forward:
        yield from _by_the_forward_pass(seen, seen.joint.forward)
    yield from _by_terms(seen, terms, lambda c, why: True)
    yield from _by_two(seen, terms, tried)


def _said(it: Wrong, change: Change) -> Diagnosis:
    return Diagnosis(it.name, change.mistake, change.says.replace(THEIRS, it.name), change.remedy)


# Terms

Kinds = Callable[[float, str], bool]  # which factors count, from one and its usual cause


@dataclass
class Term:
    """What comes into a gradient in one way.

    Attributes:
        words: Which way.
        whole: The operation where it comes in.
        part: What it adds there.
        alone: Whether it comes in alone, with no other terms.
        sums: What it gives to the sums, and what all terms of the operation give.
    """

    words: str
    whole: Node
    part: Tensor
    alone: bool
    sums: Array
    all_sums: Array

    def times(self, c: float) -> Edits:
        """The edit by which it counts c times."""
        part, node = self.part, self.whole
        return {node: lambda *args: unedited(node, *args) + (c - 1) * part}

    def only(self) -> Edits:
        """The edit by which it is all there is."""
        return {self.whole: lambda *_: self.part.expand_as(self.whole.value)}


def _terms(seen: Search) -> Iterator[Term]:
    """Every term of every sum of gradients, and then every gradient on the way back."""

    def term(words: str, node: Node, part: Tensor, alone: bool = False) -> Term:
        shape = seen.sought.shape
        sums = [
            (seen.probes[node] @ _flat(it.expand_as(node.value))).double().numpy().reshape(shape)
            for it in (part, node.value)
        ]
        return Term(words, node, part, alone, *sums)

    for node in seen.probes:
        if not _adds(node, seen) or _is_inner(node, seen):
            continue
        found = [(_through(it, node, seen), part) for it, part in _added(node, seen, 1)]
        for way, some in _grouped(found).items():  # of a square, both factors before one of them
            one = "one factor of " if way.name in ("mul", "bmm", "mm") else "one use in "
            if 1 < len(some) < len(found):
                yield term(place(way), node, sum(some[1:], some[0]))
            for part in some:
                yield term(f"{one if len(some) > 1 else ''}{place(way)}", node, part)
        calls = _grouped((way.call, part) for way, part in found)
        for call, some in calls.items():  # a library function may use a value several times
            if call and 1 < len(some) < len(found):
                yield term(call[0], node, sum(some[1:], some[0]))
    for node in seen.probes:
        if node.of:
            yield term(place(node.of), node, node.value, True)


def _adds(node: Node, seen: Search) -> bool:
    """Whether an operation adds gradients up."""
    carried = [it for it in node.inputs if it in seen.probes]
    return node.name in ("add", "sub") and len(carried) == 2 and not node.options


def _is_inner(node: Node, seen: Search) -> bool:
    """Whether all that is done with a sum of gradients is to add it to others."""
    return _adds(node, seen) and len(node.users) == 1 and _adds(node.users[0], seen)


def _added(node: Node, seen: Search, c: float) -> Iterator[tuple[Node, Tensor]]:
    """The terms of a sum of sums."""
    for k, it in enumerate(node.args[:2]):
        factor = -c if k and node.name == "sub" else c
        if _is_inner(it, seen):
            yield from _added(it, seen, factor)
        else:
            yield it, it.value if factor == 1 else -it.value


def _through(it: Node, whole: Node, seen: Search) -> Node:
    """The operation of the forward pass through which a term comes."""
    used = seen.uses.get(whole)
    for user in used.users if used else ():
        if seen.joint.reaching.get(user) is it:  # it hands its gradient on as it is, as + does
            return user
    return it.of or it


def _by_terms(seen: Search, terms: list[Term], kinds: Kinds) -> Iterator[Diagnosis]:
    """Whether a gradient lacks a term, has only that, or has it another time."""
    if not terms:
        return
    parts = np.array([term.sums for term in terms])
    wholes = np.array([term.all_sums for term in terms])
    alone = np.array([term.alone for term in terms])
    for w, it in enumerate(seen.wrong):
        part, sought, slack = parts[:, w], seen.sought[w], seen.slack[w]
        scaled = part * ((part @ sought) / (part * part).sum(1))[:, None]
        near = np.abs(sought - scaled) <= slack + seen.near * np.abs(scaled)
        fits = (near & np.isfinite(scaled)).all(1)
        only = (np.abs(part - wholes[:, w] - sought) <= slack).all(1)
        likely = [(fits & ~alone, False), (only & ~alone, True), (fits & alone, False)]
        for k, only in ((k, only) for which, only in likely for k in np.flatnonzero(which)[:20]):
            if diagnosis := _by_term(seen, it, terms[k], only, kinds):
                yield diagnosis
                break


def _by_term(seen: Search, it: Wrong, term: Term, only: bool, kinds: Kinds) -> Diagnosis | None:
    name, through = it.name, f"the term through {term.words}"
    remedy = "add it: the gradients through all uses of a value add up"
    if only:
        if not kinds(0, "") or not _explains(seen, it, term.only()):  # pragma: no cover
            return None
        says = f"the gradient of {name} has only {through}; the other terms are missing"
        return Diagnosis(name, "term-missing", says, remedy.replace("it", "them", 1))
    part = it.value - _gradient(seen, it, term.times(0))
    slack = 4 * it.bound + 2.0**-48 * np.abs(part)
    informative = np.abs(part) > slack
    several = _varied(part[it.off & informative], slack[it.off & informative])
    c, why = times(it.error + part, part, slack, seen.check, several)
    if c is None or not kinds(c, why) or not informative.any():
        return None
    of = term.whole.of
    if c == 0 and term.alone and is_function(of):
        says = f"a part of the derivative of {term.words} is left out"
        return Diagnosis(name, "wrong-activation-derivative", says, "derive it again")
    if c == 0:
        return Diagnosis(name, "term-missing", f"the gradient of {name} lacks {through}", remedy)
    if c == -1:
        says = f"in the gradient of {name} {through} has the wrong sign"
        return Diagnosis(name, "sign-flipped", says, "change its sign")
    says = f"in the gradient of {name} {through} counts {c:.12g} times{why}"
    return Diagnosis(name, "scaled-by-constant", says, FACTORS)


def _varied(array: Array, slack: Array) -> bool:
    """Whether there are three numbers and not all the same, so that they are no coincidence."""
    return array.size >= 3 and bool(np.ptp(array) > 8 * slack.max())


# One operation


def _by_one(seen: Search, tried: list[Change]) -> Iterator[Diagnosis]:
    """Changes that explain a gradient alone; first those that explain several."""
    if not tried:
        return
    sums = np.array([change.sums for change in tried])
    fits = (np.abs(sums - seen.sought) <= seen.slack).all(2)
    tries = [20] * len(seen.wrong)

    def likelihood(at: list[int]) -> Any:
        return -fits[at[0]].sum(), tried[at[0]].mistake == "wrong-index", at

    for k, w in sorted(np.argwhere(fits).tolist(), key=likelihood):
        change, it = tried[k], seen.wrong[w]
        if tries[w]:  # pragma: no branch
            tries[w] -= 1
            if _explains(seen, it, change.edits):  # pragma: no branch
                tries[w] = 0
                yield _said(it, change)


def _small(seen: Search) -> Changes:
    """What is changed at one operation of the way back."""
    for of, group in seen.derivatives.items():
        for node in group:
            yield from changes(node, seen.probes)
        yield from slopes(of, group, seen.probes)


def _around(values: list[Node], of: Node) -> list[Node]:
    """Those that are made shortly before an operation, or after it."""
    k = bisect(values, of.index, key=lambda node: node.index)
    return values[max(k - _NEAR, 0) : k + _NEAR]


def _replaced(seen: Search) -> Changes:
    """Other values in place of those that a derivative uses."""
    alike = _grouped((node.value.shape, node) for node in seen.values)
    for of, group in seen.derivatives.items():
        own = {*group, *seen.probes}
        for leaf in dict.fromkeys(it for node in group for it in node.inputs if it not in own):
            if isinstance(leaf.value, Tensor) and leaf.value.dtype == torch.int64:
                yield from _other_indices(seen, of, group, leaf)
            elif isinstance(leaf.value, Tensor) and leaf.value.is_floating_point():
                same = alike[leaf.value.shape]
                near = [it for it in (*leaf.inputs, *of.inputs) if it in same]
                near += [*_around(same, of), *(node for node in same if node.input)]
                yield from replacements(of, group, leaf, dict.fromkeys(near))


def _other_indices(seen: Search, of: Node, group: list[Node], leaf: Node) -> Changes:
    """Other indices in place of those that a derivative uses."""
    for other in seen.joint.nodes:
        same = isinstance(other.value, Tensor) and other.value.dtype == torch.int64
        if same and not other.of and other is not leaf and other.value.shape == leaf.value.shape:
            says = f"{described(other)} in place of {described(leaf)}"
            says = f"{says} as the index in the derivative of {place(of)}"
            edits = instead_of(group, leaf, other)
            yield Change("wrong-index", says, f"use {described(leaf)}", edits)


def _ends(seen: Search) -> Iterator[Node]:
    """Whole gradients of values, and the terms that they are sums of; the last ones first."""
    ends = {*seen.joint.gradients.values(), *seen.joint.reaching.values()}
    ends |= {it for node in seen.probes if _adds(node, seen) for it in node.inputs}
    return (node for node in reversed(seen.probes) if node in ends and node.run)


def _moved(seen: Search) -> Changes:
    """Gradients whose elements are elsewhere, or that are there only in part."""
    for node in _ends(seen):
        yield from whole_changes(node)


def _scaled(seen: Search) -> Changes:
    """Gradients that have a factor too few or too many."""
    values = [node for node in seen.values if node.value.numel() > 1]
    for node in _ends(seen):
        if node.of and node.value.numel() > 2:
            shape = node.value.shape
            near = dict.fromkeys([*node.of.inputs, *_around(values, node.of)])
            fitting = [it for it in near if it in values and _broadcasts(it.value.shape, shape)]
            yield from scaled(node, fitting)


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    """Whether a tensor can be repeated to a shape."""
    lengths = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(n in (1, m) for n, m in lengths)


def _stopped_early(seen: Search) -> Iterator[Diagnosis]:
    """Whether a gradient is that of an intermediate."""
    for it in seen.wrong:
        for node, final in seen.joint.reaching.items():
            if _is_it(it, _array(final.value)) and _varied(it.own, it.bound):  # pragma: no cover
                words = described(node)
                says = f"the gradient of {it.name} is exactly that of {words}: "
                says += f"the derivative of {words} by {it.name} is left out"
                yield Diagnosis(it.name, "factor-missing", says, f"go on from there to {it.name}")
                break


# Several operations


def _phases(nodes: Iterable[Node]) -> dict[Node, Any]:
    """Where operations of the forward pass are in a loop: the same for those that it repeats."""
    lines = _grouped((node.line, node) for node in nodes if node.of is None and node.run)
    phases = {}
    for line, some in lines.items():
        names, n = [node.name for node in some], len(some)
        period = next(k for k in range(1, n + 1) if names[:k] * (n // k) == names)
        phases.update({node: (line, k % period) for k, node in enumerate(some)})
    return phases


def _together(some: Iterable[Change], phases: dict[Node, Any], least: int = 1) -> Changes:
    """Changes at the operations that a loop repeats, made together.

    At one operation several may have the same words: the first ones go together, and so on.
    """
    alike: dict[Any, list[Change]] = defaultdict(list)
    counts: dict[Any, int] = defaultdict(int)
    for change in some:
        alike[change.mistake, change.says].append(change)  # and all that read the same
        node = next(iter(change.edits))
        of, shape = node.of or node, getattr(node.value, "shape", ())
        says = change.says.replace(place(change.at or of), "")  # may name arguments at some steps
        kind = change.mistake, says, phases.get(of), node.name, shape
        counts[kind, of] += 1
        alike[kind, counts[kind, of]].append(change)
    for same in {tuple(map(id, some)): some for some in alike.values()}.values():
        if len(same) >= least:
            edits = {node: edit for change in same for node, edit in change.edits.items()}
            yield replace(same[-1], edits=edits)


def _by_all_of_a_loop(seen: Search, some: Iterable[Change]) -> Iterator[Diagnosis]:
    """One change at every operation that a loop repeats. They act on each other, so run them."""
    phases = _phases(seen.joint.nodes)
    alike = (_together(these, phases, 2) for these in (_at_sums(seen), some))
    repeated = itertools.chain(*alike, _at_steps(seen, phases))
    return _by_each(seen, repeated, partial(_gradients, seen))


def _at_sums(seen: Search) -> Changes:
    """A term of every sum of gradients, or any gradient, that is left out or has a wrong sign."""
    kinds = (
        (0, "term-missing", f"the gradient of {THEIRS} lacks the term through"),
        (-1, "sign-flipped", f"in the gradient of {THEIRS}, a wrong sign has the term through"),
    )
    for (c, mistake, says), node in itertools.product(kinds, seen.probes):
        for k, it in enumerate(node.args[:2]) if _adds(node, seen) else ():
            if not _is_inner(it, seen):
                way = _through(it, node, seen)
                edits = with_argument(node, k, partial(torch.mul, c))
                words = f"{says} {place(way)}, at every step"
                yield Change(mistake, words, "add all terms up", edits, way)
        if c and node.of and node.run and not _adds(node, seen):
            edits = {node: partial(_negative, node)}
            yield Change(mistake, f"{says} {place(node.of)}, at every step", "change it", edits)


def _negative(node: Node, *args: Any) -> Any:
    return -unedited(node, *args)


def _at_steps(seen: Search, phases: dict[Node, Any]) -> Changes:
    """What an operation of a loop uses at one step taken from another step, at all steps."""
    steps = _grouped((phases[node], node) for node in seen.values if node.run)
    loops = [of for of in steps.values() if len(of) > 1]
    streams = [_stream(of, k) for of in loops for k in (None, *range(len(of[0].args)))]
    for of, own, other in itertools.product(loops, streams, streams):
        if own == other or not len(own) == len(of) == len(other):
            continue
        if not all(it is node or it in node.args for it, node in zip(own, of, strict=True)):
            continue
        edits: Edits = {}
        for at, leaf, instead in zip(of, own, other, strict=True):
            if leaf is not instead and leaf.value.shape == instead.value.shape:
                edits |= instead_of(seen.derivatives.get(at, []), leaf, instead)
        if edits:
            at, leaf, instead = of[-1], own[-1], other[-1]
            says = f"{described(instead)}{' of another step' * (of is not own)} in place of"
            says = f"{says} {described(leaf)} in the derivative of"
            name = "wrong-layer-derivative" if is_function(at) else "wrong-layer-input"
            says, remedy = f"{says} {place(at)}, at every step", "check the step of each value"
            yield Change(name, says, remedy, edits)


def _stream(of: list[Node], k: int | None) -> list[Node]:
    """The results of an operation of a loop, or what it takes as argument k, step by step."""
    found = of if k is None else [node.args[k] for node in of if k < len(node.args)]
    return found if all(isinstance(getattr(it, "value", None), Tensor) for it in found) else []


def _by_the_forward_pass(seen: Search, forward: Forward) -> Iterator[Diagnosis]:
    """Mistakes of the forward pass, as hand repeats it; with its derivative, and without."""
    small = any(map(_is_small, seen.wrong))
    every = (
        change
        for node in forward.nodes
        if node.run and isinstance(node.value, Tensor) and node.value.is_floating_point()
        for change in itertools.chain(changes(node, ()), epsilons(node) if small else ())
    )
    together = _together(every, _phases(forward.nodes))
    variants = itertools.chain.from_iterable(map(_with_value_only, together))

    def gradients(edits: Edits) -> Quantities:
        with torch.enable_grad():
            return {name: _array(it) for name, it in forward.gradients(edits).items()}

    return _by_each(seen, variants, gradients)


def _with_value_only(change: Change) -> Changes:
    """A change of the forward pass; and without its derivative, if it may have been forgotten."""
    yield change
    if change.mistake in ("scaled-by-constant", "epsilon-placement", "log-epsilon"):
        edits: Edits = {
            node: partial(_value_only, node, edit) for node, edit in change.edits.items()
        }
        says = f"{change.says}, in the value and not in its derivative"
        yield replace(change, says=says, edits=edits)


def _is_small(it: Wrong) -> bool:
    """Whether an error is so small that an ε may make it."""
    return bool(np.median(np.abs(it.error)) <= 0.005 * np.median(np.abs(it.value)))


def _value_only(node: Node, edit: Edit, *args: Any) -> Any:
    """An edit of the value of an operation that leaves its derivative as it is."""
    out = unedited(node, *args)
    return out + (edit(*args) - out).detach()


_FACTORS = {  # by which a term may be wrong in a gradient that is wrong in two ways
    0.0: ("term-missing", "is missing"),
    -1.0: ("sign-flipped", "has the wrong sign"),
    2.0: ("scaled-by-constant", "counts twice"),
    0.5: ("scaled-by-constant", "counts ½ times"),
}


def _by_two(seen: Search, terms: list[Term], tried: list[Change]) -> Iterator[Diagnosis]:
    """Two changes that explain a gradient together, if they do not act on each other."""
    both = [
        Change(name, f"the term through {term.words} {what}", FACTORS, term.times(c), sums=sums)
        for term in terms
        if not term.alone
        for c, (name, what) in _FACTORS.items()
        if np.any(sums := (c - 1) * term.sums)
    ]
    both += [one for one in tried if one.mistake not in ("wrong-index", "wrong-layer-input")]
    for w, it in enumerate(seen.wrong):
        if it.off.sum() < 6 or not _varied(it.own[it.off], it.bound):
            continue
        changed = np.reshape([change.sums[w] for change in both], (-1, _SUMS))
        for i, j in _pairs(changed, seen.sought[w], seen.slack[w]):
            one, other = both[i], both[j]
            if _explains(seen, it, _both(one.edits, other.edits)):  # pragma: no cover
                yield _said(it, replace(one, says=f"{one.says}; and {other.says}"))
                break


def _pairs(sums: Array, sought: Array, slack: Array) -> Iterator[tuple[int, int]]:
    """Two that add up to what is sought; a few at the most."""
    order, wanted = np.argsort(sums[:, 0]), sought[0] - sums[:, 0]
    first = sums[order, 0]
    low = np.searchsorted(first, wanted - slack[0])
    high = np.searchsorted(first, wanted + slack[0], side="right")
    pairs = (
        (int(i), int(j))
        for i in np.flatnonzero(high > low)
        for j in sorted(order[low[i] : high[i]])
        if i < j and (np.abs(sums[i] + sums[j] - sought) <= slack).all()
    )
    return islice(pairs, 20)


def _both(some: Edits, others: Edits) -> Edits:
    """Both edits; at the same operation, what both add."""

    def add(node: Node, *args: Any) -> Any:
        return some[node](*args) + others[node](*args) - unedited(node, *args)

    return some | others | {node: partial(add, node) for node in some if node in others}


# Plants


@torch.no_grad()
@np.errstate(all="ignore")
def planted(it: Check, deadline: float) -> Iterator[tuple[str, str, Quantities]]:
    """The reference's gradients with each small mistake of the catalogue in the way back.

    Args:
        it: The reference, its inputs and what is differentiated.
        deadline: When to stop, as `time.monotonic` tells it.

    Yields:
        The mistake's name, what it is, and the gradients that it changes, by name.

    Raises:
        ValueError: The operations cannot be edited, or the time is over.
    """
    try:
        joint = traced(it.reference, it.inputs, it.wanted, deadline)
        right = {name: _array(node.value) for name, node in joint.gradients.items()}
        every = [Wrong(name, own, own, np.full_like(own, 1e-9)) for name, own in right.items()]
        seen = _probed(joint, every, it, deadline)
        for change in itertools.chain(_small(seen), _replaced(seen)):
            with suppress(*_CANNOT):
                wrong = {
                    name: own
                    for name, own in _gradients(seen, change.edits).items()
                    if name in it.wanted and own.shape == right[name].shape
                }
                if any(np.abs(own - right[name]).max() > 1e-9 for name, own in wrong.items()):
                    yield change.mistake, change.says.replace(THEIRS, next(iter(wrong))), wrong
    except (TooLong, KeyError, *_CANNOT) as error:
        late = "the time was over" if isinstance(error, TooLong) else type(error).__name__
        raise ValueError(first_line_of(error) or late) from None
