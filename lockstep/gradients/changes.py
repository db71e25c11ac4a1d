"""The usual mistakes at an operation: what may stand in place of one of its arguments, or of all.

An operation is one of the forward pass, or a part of the derivative of one. A mistake in a formula
is nearly always small: an argument is left out, is there twice, is turned round, is another one,
or is there only in part.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import add
from typing import Any

import torch
from torch import Tensor

from lockstep.gradients.operations import (
    Edit,
    Edits,
    Node,
    described,
    place,
    sign,
    source,
    unedited,
)

THEIRS = "\0"  # in a sentence, the name of the gradient that is wrong
_NEUTRAL = {"mul": 1, "div": 1, "add": 0, "sub": 0, "rsub": 0}  # what leaves an argument out
_PRODUCTS = ("mm", "bmm", "mv", "dot", "addmm", "baddbmm")
_ORDERS = ("flip", "roll", "cumsum", "permute", "t", "transpose")
_WHOLE = (*_ORDERS, *"mul div add sub rsub pow clone neg expand view unsqueeze getitem".split())


@dataclass
class Change:
    """One mistake: its name, what it is, what to do, and what stands in place of operations.

    at: The operation that the sentence names, if that is not the one that is edited. sums: What the
    edits change random sums of the gradients by, once it is known.
    """

    mistake: str
    says: str
    remedy: str
    edits: Edits
    at: Node | None = None
    sums: Any = None


Changes = Iterator[Change]
Carrying = Container[Node]  # the operations that carry a gradient back


def changes(node: Node, carrying: Carrying) -> Changes:
    """The usual mistakes at an operation."""
    for kind, names in _KINDS.items():
        if not names or node.name in names:
            yield from kind(node, carrying)


def with_argument(node: Node, k: int, change: Callable[[Any], Any]) -> Edits:
    """An operation with argument k changed."""

    def edit(*args: Any) -> Any:
        return unedited(node, *args[:k], change(args[k]), *args[k + 1 :])

    return {node: edit}


def _argument(node: Node, k: int) -> Edits:
    """An operation that is left out: argument k in place of its result."""
    return {node: lambda *args: args[k]}


def _with_result(node: Node, change: Callable[[Tensor], Tensor]) -> Edits:
    return {node: lambda *args: change(unedited(node, *args))}


def _scaled(node: Node, by: Tensor | float) -> Edits:
    return _with_result(node, partial(torch.mul, by))


# Words


def is_function(node: Node | None) -> bool:
    """Whether an operation is a function of every number by itself, such as tanh."""
    return node is not None and node.name not in _WHOLE and _keeps_shape(node)


def _keeps_shape(node: Node) -> bool:
    """Whether an operation makes of one tensor another one of its shape."""
    return [_shape(it) for it in node.inputs] == [_shape(node)]


def _shape(it: Any) -> torch.Size | None:
    """The shape of the tensor that an operation gives; None for others."""
    return it.value.shape if isinstance(it, Node) and isinstance(it.value, Tensor) else None


def _at(node: Node) -> str:
    return place(node.of or node)


def _back(node: Node) -> str:
    return " on the way back" if node.of else ""


def _words(it: Any, of: Node | None = None) -> str:
    """A value in a sentence: a number, an input, a result, or a part of the formula of a slope."""
    if not isinstance(it, Node):
        return f"{it:g}" if isinstance(it, int | float) else "a constant"
    return _formula(it, of, {}) if of and it.of is of else described(it)


def _formula(node: Any, of: Node, texts: dict[Node, str]) -> str:
    """A part of the derivative of an operation, as it would be written."""
    if not isinstance(node, Node):
        return f"{node:g}" if isinstance(node, int | float) else "…"
    if node in texts:
        return texts[node]
    if node.of is not of or source(node):
        return source(node) or ("x" if node in of.args else sign(node.name))
    parts = [_formula(it, of, texts) for it in node.args]
    parts = [f"({part})" if " " in part else part for part in parts]
    if node.name == "rsub":
        parts = parts[1::-1]
    written = {"mul": " · ", "div": " / ", "add": " + ", "sub": " − ", "rsub": " − ", "pow": "**"}
    if node.name in written:
        return written[node.name].join(parts[:2])
    return parts[0] if len(parts) == 1 and node.name[:4] == "conj" else f"{node.name}({parts[0]})"


def _slope(node: Node, text: str, carrying: Carrying) -> str:
    """The derivative of an operation where one part of it reads otherwise."""
    of, texts, last = node.of, {node: text}, node
    assert of
    while users := [user for user in last.users if user.of is of and user not in carrying]:
        last = users[0]
    return _formula(last, of, texts)


# Arguments


def _factors(node: Node, carrying: Carrying) -> Changes:
    """A factor of a product of matrices that is left out."""
    of = node.of
    for k, it in enumerate(node.args[:2]) if node in carrying else ():
        if it in carrying and _shape(it) == _shape(node):
            left = _words(node.args[1 - k], of)
            name = "wrong-weights" if of and of.name in _PRODUCTS else "factor-missing"
            says = f"{left}, a factor of {_at(node)}, is left out{_back(node)}"
            yield Change(name, says, "multiply with it", _argument(node, k))


def _left_out(node: Node, carrying: Carrying) -> Changes:
    """A factor or a term that is left out."""
    if _only_compared(node):
        return
    neutral = _NEUTRAL[node.name]
    of = node.of if is_function(node.of) else None
    for k, it in enumerate(node.args[:2]):
        if it == neutral or not _is_fixed(it, carrying):
            continue
        edits = with_argument(node, k, partial(_filled, neutral))
        if of and node not in carrying:
            yield _other_slope(of, _slope(node, _without(node, k), carrying), edits)
        elif of and neutral and isinstance(it, Node):
            yield _other_slope(of, "1", edits)
        else:
            which = _words(it, node.of)
            name, says = _of_what(node, it, f"1/{which}" if node.name == "div" and k else which)
            yield Change(name, f"{says} is left out{_back(node)}", _REMEDIES[neutral], edits)


def _only_compared(node: Node) -> bool:
    """Whether a value only decides on a branch, such as where a slope is cut off."""
    return {getattr(user.value, "dtype", None) for user in node.users} == {torch.bool}


_REMEDIES = {0: "add it", 1: "multiply with it"}


def _of_what(node: Node, it: Any, which: str) -> tuple[str, str]:
    """The mistake of leaving out an argument that is no part of a slope, and what that is."""
    at, is_term = _at(node), not _NEUTRAL[node.name]
    if not isinstance(it, Node):
        if is_term:
            return "term-missing", f"the constant {which} of {at}"
        return "scaled-by-constant", f"the factor {which} of {at}"
    value = it.value
    if is_term:
        masked = value == -torch.inf
        if masked.any() and (masked | (value == 0)).all():
            return "mask", f"the mask {which} of {at}"
        return "term-missing", f"the term {which} of {at}"
    is_mask = source(it) and set(value.flatten()[:1000].tolist()) == {0, 1}
    return "mask" if is_mask else "factor-missing", f"{which}, a factor of {at},"


def _is_fixed(it: Any, carrying: Carrying) -> bool:
    """Whether an argument is a number or a value that carries no gradient."""
    return it not in carrying if isinstance(it, Node) else isinstance(it, int | float)


def _without(node: Node, k: int) -> str:
    """A formula of two arguments without argument k."""
    assert node.of
    before = {("sub", 0): "−", ("rsub", 1): "−", ("div", 0): "1 / "}
    return before.get((node.name, k), "") + _formula(node.args[1 - k], node.of, {})


def _other_slope(of: Node, text: str, edits: Edits) -> Change:
    """Another derivative of a function, or none at all."""
    at = place(of)
    if text == "1":
        says = f"the derivative of {at} is left out"
        remedy = f"multiply with the slope of {of.name}"
        return Change("missing-activation-derivative", says, remedy, edits)
    says = f"{text} in place of the derivative of {at}"
    return Change("wrong-activation-derivative", says, f"derive {of.name} again", edits)


def _filled(number: float, it: Any) -> Any:
    return torch.full_like(it, number) if isinstance(it, Tensor) else type(it)(number)


def _twice(node: Node, carrying: Carrying) -> Changes:
    """A factor that is there twice."""
    of = node.of
    if is_function(of) and node not in carrying:
        return
    for k, it in enumerate(node.args[:2]):
        if not _is_fixed(it, carrying) or (node.name, k) == ("div", 0):
            continue
        name = "factor-twice" if isinstance(it, Node) else "scaled-by-constant"
        says = f"{_words(it, of)}, a factor of {_at(node)}, is there twice{_back(node)}"
        yield Change(name, says, "leave one out", with_argument(node, k, lambda it: it * it))


def _masks(node: Node, carrying: Carrying) -> Changes:
    """A mask that is left out."""
    if node.of and node not in carrying:
        return
    chooses = node.name == "where"
    first, last = (_is_fixed(it, carrying) for it in node.args[1:3])
    for always in (True, False) if chooses and first == last else (chooses and last,):
        edits = with_argument(node, int(not chooses), partial(_filled, always))
        if is_function(node.of):
            yield _one_branch(node, node.args[1 if always else 2], carrying, edits)
        else:
            says = f"the mask of {_at(node)} is left out{_back(node)}"
            yield Change("mask", says, "let nothing through where it is masked", edits)


def _one_branch(node: Node, branch: Any, carrying: Carrying, edits: Edits) -> Change:
    """One branch of a derivative taken everywhere; which may be that of a slope of 1."""
    assert node.of
    incoming = node
    while incoming.of is node.of:
        incoming = next(it for it in incoming.inputs if it in carrying)
    if node.name != "where" or torch.equal(branch.value, incoming.value):
        return _other_slope(node.of, "1", edits)
    says = f"the derivative of {place(node.of)} has two branches, and yours takes one everywhere"
    return Change("mask", says, "take each branch where PyTorch does", edits)


def _solved(node: Node, _: Carrying) -> Changes:
    """A system of equations whose matrix is transposed, or is not."""
    if "adjoint" in node.options:
        turned = node.options | {"adjoint": not node.options["adjoint"]}
        says = f"the matrix of {_at(node)} is transposed the wrong way round{_back(node)}"
        edits: Edits = {node: lambda *args: node.run and node.run(*args, **turned)}
        yield Change("transposed-weights", says, "turn it round", edits)


def _alone(node: Node, carrying: Carrying) -> Changes:
    """A function, or an operation that only moves numbers, that is left out."""
    of, name, at = node.of, node.name, _at(node)
    if name in ("where", *_NEUTRAL) or not _keeps_shape(node):
        return
    (given,), edits = node.inputs, _argument(node, 0)
    if given is not node.args[0]:
        return
    if name.startswith("conj"):
        yield Change("conjugate", f"a conjugate of {at} is left out", "conjugate it", edits)
    elif name in ("tril", "triu"):
        says = f"the mask of {at} is left out{_back(node)}"
        yield Change("mask", says, "set to zero what is masked", edits)
    elif of and of.name not in _ORDERS and name in ("t", "permute", "transpose"):
        yield _wrong_way_round(node, given, carrying, edits)
    elif name in _ORDERS:
        says = (
            f"`{sign(name)}` is left out in the derivative of {at}" if of else f"{at} is left out"
        )
        mistake = "wrong-index" if name in ("flip", "roll") else "wrong-axis"
        yield Change(mistake, says, "do the same on the way back", edits)
    elif of:
        if is_function(of) and node not in carrying:
            text = _slope(node, _formula(given, of, {}), carrying)
            yield _other_slope(of, text, edits)
    elif name == "detach":
        says = f"{at} stops the gradient, and yours goes on"
        yield Change("term-too-many", says, "leave out what comes that way", edits)
    elif is_function(node):
        says, remedy = f"{at} is left out in the forward pass", f"apply {sign(name)}"
        yield Change("activation-forgotten", says, remedy, edits)


def _turned(node: Node, carrying: Carrying) -> Changes:
    """An argument that is transposed, or that goes along another axis."""
    where = f"{_at(node)}{_back(node)}"
    for k, it in enumerate(node.args[:2]):
        if _shape(it) is None:
            continue
        square, edits = _is_square(it.value.shape[-2:]), with_argument(node, k, _transposed)
        if node.name in _PRODUCTS and square:
            yield _wrong_way_round(node, it, carrying, edits)
        elif node.name not in _PRODUCTS and _is_square(node.value.shape[-2:]):
            which = "the incoming gradient" if it in carrying else _words(it, node.of)
            if square and it not in carrying:
                says = f"{which} is transposed in {where}"
                yield Change("wrong-index", says, "turn it round", edits)
            elif not square and max(it.value.shape[-2:], default=1) > 1:
                says = f"{which} goes along the wrong axis in {where}"
                yield Change("wrong-axis", says, "turn it round", edits)


def _wrong_way_round(node: Node, it: Node, carrying: Carrying, edits: Edits) -> Change:
    """A factor of a product of matrices that is transposed, or is not."""
    name, which = "transposed-weights", _words(it, node.of)
    if it in carrying:
        name, which = "transposed-gradient", "the incoming gradient"
    says = f"{which} of {_at(node)} is transposed the wrong way round{_back(node)}"
    return Change(name, says, "turn it round", edits)


def _is_square(shape: torch.Size) -> bool:
    return len(shape) == 2 and shape[0] == shape[1] > 1


def _transposed(it: Tensor) -> Tensor:
    return it.unsqueeze(-1) if it.dim() == 1 else it.mT


def _axes(node: Node, _: Carrying) -> Changes:
    """Other axes for an operation along some."""
    given, axes = node.inputs[0].value, _along(node)
    for others in itertools.combinations(range(given.dim()), len(axes)):
        lengths = [sorted(given.shape[axis] for axis in which) for which in (axes, others)]
        if [*others] != sorted(axes) and lengths[0] == lengths[1]:
            says = f"{_at(node)}: axis {_listed(others)} in place of axis {_listed(axes)}"
            instead = [*others] if isinstance(node.args[1], list) else others[0]
            other_shape = with_argument(node, 1, partial(_always, instead))
            same_shape: Edits = {node: partial(_reshaped, node, other_shape[node])}
            for edits in (other_shape, same_shape):
                yield Change("wrong-axis", says + _back(node), "use the other axis", edits)


def _along(node: Node) -> list[int]:
    """The axes along which an operation is asked to go."""
    asked = node.args[1] if len(node.args) > 1 else None
    axes = asked if isinstance(asked, list) else [] if asked is None else [asked]
    return [axis % node.args[0].value.dim() for axis in axes]


def _reshaped(node: Node, edit: Edit, *args: Any) -> Any:
    return edit(*args).reshape(node.value.shape)


def _own_left_out(node: Node, _: Carrying) -> Changes:
    """A cumulative sum that leaves out the element itself."""
    says = f"a cumulative sum of {_at(node)} leaves out the element itself{_back(node)}"
    edits: Edits = {node: lambda x, *more: unedited(node, x, *more) - x}
    yield Change("partial-sum", says, "start with the element itself", edits)


def _listed(axes: Iterable[int]) -> str:
    return " and ".join(map(str, axes))


def _means(node: Node, _: Carrying) -> Changes:
    """In the forward pass, a sum or a mean that is divided by another number."""
    n = node.inputs[0].value.numel() / max(node.value.numel(), 1)
    if node.of or n <= 1:
        return
    at = place(node)
    factors = {
        f"{at} divides by n, yours by n − 1 (Bessel)": n / (n - 1),
        f"{at} divides by n − 1 where yours divides by n": (n - 1) / n,
        f"{at} is a mean, yours a sum": n,
    }
    if node.name == "sum":
        factors = {f"{at} is a sum, yours a mean": 1 / n}
    for says, c in factors.items():
        edits = _scaled(node, c**0.5 if node.name == "std" else c)
        yield Change("scaled-by-constant", says, "check what is divided by", edits)


# the mistake, which part, of how many at least, and where it is
_PARTS: tuple[tuple[str, str, int, Callable[[int], slice]], ...] = (
    ("one-sample-only", "only the first {}", 2, lambda _: slice(1)),
    ("one-sample-only", "only the last {}", 2, lambda _: slice(-1, None)),
    ("partial-sum", "only the first half", 4, lambda n: slice(n // 2)),
    ("partial-sum", "only the second half", 4, lambda n: slice(n // 2, None)),
    ("partial-sum", "all but the first {}", 3, lambda _: slice(1, None)),
    ("partial-sum", "all but the last {}", 3, lambda _: slice(-1)),
)


def epsilons(node: Node) -> Changes:
    """In the forward pass, a small number that is added where there is none, or elsewhere."""
    at, name, of = place(node), node.name, node.args[0] if node.args else None
    if name in ("sqrt", "rsqrt", "pow") and isinstance(of, Node) and of.name == "add":
        for eps in of.args[:2]:
            if isinstance(eps, float):
                says, remedy = f"{eps:g} is added outside {at}, not inside", "add it inside"
                edits: Edits = {node: partial(_outside, node, eps)}
                yield Change("epsilon-placement", says, remedy, edits)
    for digits in range(3, 17) if name in ("log", "div", "reciprocal") else ():
        edits = with_argument(node, int(name == "div"), partial(add, 10.0**-digits))
        says = f"1e-{digits} is added to what {at} takes"
        yield Change("log-epsilon", says, "add nothing there", edits)


def _outside(node: Node, eps: float, x: Tensor, *power: Any) -> Tensor:
    """A root, or one over it, with a number added to the root."""
    root = torch.sqrt(x - eps) + eps
    return root if node.name == "sqrt" or power == (0.5,) else 1 / root


def _parts(node: Node, carrying: Carrying) -> Changes:
    """A sum of which only a part counts."""
    if node not in carrying:
        return
    it, at, is_sum = node.args[0].value, _at(node), node.name == "sum"
    axes = (_along(node) or [*range(it.dim())]) if is_sum else [it.dim() - 1]
    for axis, name, what, keep in _partial(it, axes):
        says = f"in the sum over axis {axis} in the derivative of {at}, {what} counts for {THEIRS}"
        yield Change(name, says, "sum over all of them", with_argument(node, 0, keep))
    if is_sum:
        remedy = f"sum over axis {_listed(axes)}"
        name = "bias-summed-over-neurons" if axes == [0] else "wrong-axis"
        says = f"a sum in the derivative of {at} is over all axes, not over axis {_listed(axes)}"
        yield Change(name, says, remedy, {node: lambda x, *_: x.sum().expand_as(node.value)})
        says = f"a sum in the derivative of {at} is not taken: only the diagonal of its Jacobian"
        yield Change("partial-sum", f"{says} counts", remedy, _argument(node, 0))


def _partial(
    it: Tensor, axes: Iterable[int]
) -> Iterator[tuple[int, str, str, Callable[[Tensor], Tensor]]]:
    """Parts of a tensor: the axis, the mistake, the part in words, and what keeps only it."""
    for axis, (name, what, least, part) in itertools.product(axes, _PARTS):
        n = it.shape[axis]
        if n >= least:
            keep = partial(_only, axis, part(n))
            yield axis, name, what.format("one" if axis else "row"), keep


def _only(axis: int, part: slice, it: Tensor) -> Tensor:
    kept = torch.zeros_like(it)
    kept.movedim(axis, 0)[part] = it.movedim(axis, 0)[part]
    return kept


def _indices(node: Node, carrying: Carrying) -> Changes:
    """Indices that are off by one, and elements that several go to."""
    at, back, remedy = _at(node), _back(node), "check the indices"
    name, says = "wrong-index", f"the indices of {at} are off by one{back}"
    places = {"select": 2, "slice": 2, "select_backward": 3, "slice_backward": 3, "roll": 1}
    if node.name == "roll":
        edits = with_argument(node, 1, lambda shifts: [-n for n in shifts])
        yield Change(name, f"{at} goes the wrong way{back}", remedy, edits)
    given = list(enumerate(node.args))
    asked = [k for k, _ in given if k == places.get(node.name)]
    asked += [k for k, it in given if _shape(it) and it.value.dtype == torch.int64]
    for k, by in itertools.product(asked, (1, -1)):
        yield Change(name, says, remedy, with_argument(node, k, partial(_shifted, by)))
    if node.name == "index_put" and node in carrying and len(node.args) > 3 and node.args[3]:
        for which, step in (("last", 1), ("first", -1)):
            says = f"of those that go to the same place in {at}, only the {which} one counts"
            one: Edits = {node: partial(_wins, node, step)}
            yield Change("one-sample-only", says + back, "add all of them up", one)


def _shifted(by: int, it: Any) -> Any:
    if isinstance(it, Tensor):
        return (it + by) % (int(it.max()) + 1)
    return [part + by for part in it] if isinstance(it, list) else it + by


def _wins(node: Node, step: int, x: Tensor, indices: list[Any], given: Tensor, *_: Any) -> Any:
    """Only the last, or the first, of the numbers that go to the same place. step: 1 or −1."""
    places = torch.arange(x.numel()).reshape(x.shape)[tuple(indices)]
    kept, in_order = torch.zeros(places.numel(), dtype=torch.bool), places.flatten().tolist()
    winners = {to: number for number, to in list(enumerate(in_order))[::step]}
    kept[list(winners.values())] = True
    full = given.expand(places.shape)
    return unedited(node, x, indices, torch.where(kept.reshape(full.shape), full, 0), True)


_Kind = Callable[[Node, Carrying], Changes]
_KINDS: dict[_Kind, Container[str]] = {  # the operations at which they are made; () for all
    _factors: _PRODUCTS,
    _left_out: _NEUTRAL,
    _twice: ("mul", "div"),
    _masks: ("where", "masked_fill"),
    _solved: (),
    _alone: (),
    _turned: (*_PRODUCTS, "mul", "div", "add", "sub", "expand"),
    _axes: ("sum", "mean", "amax", "amin", "cumsum", "flip", "var"),
    _own_left_out: ("cumsum",),
    _means: ("sum", "mean", "var", "std"),
    _parts: (*_PRODUCTS, "sum"),
    _indices: (),
}


# Derivatives of functions

_SLOPES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {  # from their results
    "tanh": ("1 − y²", lambda y: 1 - y * y),
    "sigmoid": ("y (1 − y)", lambda y: y * (1 - y)),
    "relu": ("y > 0", lambda y: (y > 0).to(y.dtype)),
    "exp": ("y", lambda y: y),
}


def slopes(of: Node, group: list[Node], carrying: Carrying) -> Changes:
    """The derivative of another function in place of that of an operation, y being its result."""
    carriers = [node for node in group if node in carrying]
    for node in carriers if is_function(of) and len(carriers) == 1 else ():
        for k, it in enumerate(node.args):
            if isinstance(it, Node) and it in carrying:
                for text, slope in _SLOPES.values():
                    yield _other_slope(of, text, {node: partial(_times, k, slope, of)})


def _times(k: int, slope: Callable[[Tensor], Tensor], of: Node, *args: Any) -> Any:
    return args[k] * slope(of.value)  # only now, as it may not exist


# Another value in place of one


def replacements(of: Node, group: list[Node], leaf: Node, near: Iterable[Node]) -> Changes:
    """Other values in place of one, wherever the derivative of an operation uses it.

    Args:
        of: The operation.
        group: Its derivative.
        leaf: The value.
        near: Others of its shape.
    """
    at, using = place(of), partial(_using, group, leaf)
    if is_function(of) and (leaf is of or leaf in of.args):
        says = f"the derivative of {at} is taken at its result, not at what goes in"
        remedy = f"take the slope of {sign(of.name)} at what goes in"
        edits = using(lambda it: unedited(of, it, *of.args[1:]))
        yield Change("derivative-at-wrong-point", says, remedy, edits)
    for other in near:
        if other is not leaf:
            yield Change(*_instead(of, leaf, other), instead_of(group, leaf, other))
        made = any(user.name == of.name for user in other.users)  # its result is another value
        if leaf is of and is_function(of) and not made:
            says = f"the derivative of {at} is taken at {described(other)}"
            edits = using(partial(_always, unedited(of, other.value, *of.args[1:])))
            yield Change("derivative-at-wrong-point", says, f"use {described(of.args[0])}", edits)
    words = f"{described(leaf)} in the derivative of {at}"
    for what, change in _moves(leaf.value):
        yield Change("wrong-index", f"{words} is {what}", "check the indices", using(change))
    if leaf.value.dim() and leaf.value.shape[0] > 1:
        for which, k in (("first", 0), ("last", -1)):
            says = f"the {which} row of {words} is used for all rows"
            edits = using(partial(_row_for_all, k))
            yield Change("one-sample-only", says, "use the row of each", edits)


def instead_of(group: list[Node], leaf: Node, other: Node) -> Edits:
    """The edits by which operations use another value in place of one."""
    return _using(group, leaf, partial(_always, other.value))


def _using(group: list[Node], leaf: Node, change: Callable[[Tensor], Tensor]) -> Edits:
    """The edits by which a value is changed wherever operations use it."""

    def edit(node: Node, *args: Any) -> Any:
        return unedited(node, *map(changed, node.args, args))

    def changed(it: Any, value: Any) -> Any:
        if isinstance(it, list):  # such as of indices
            return list(map(changed, it, value))
        return change(value) if it is leaf else value

    return {node: partial(edit, node) for node in group if leaf in node.inputs}


def _always(value: Any, _: Any) -> Any:
    return value


def _row_for_all(k: int, it: Tensor) -> Tensor:
    return it[k].expand_as(it)


def _instead(of: Node, leaf: Node, other: Node) -> tuple[str, str, str]:
    """The mistake of using another value: its name, what it is, and what to do."""
    at, remedy = place(of), f"use {described(leaf)}"
    if is_function(of):
        if leaf is of and other in of.args:
            says = f"the derivative of {at} is taken at what goes in, by its formula for the result"
            return "derivative-at-wrong-point", says, remedy
        says = f"the derivative of {at} is taken at {described(other)}"
        return "wrong-layer-derivative", says, remedy
    if leaf.name in _NEUTRAL and other in leaf.args[:2]:
        left = leaf.args[1 if other is leaf.args[0] else 0]
        name, what = "factor-missing", "factor"
        if not _NEUTRAL[leaf.name]:
            name, what = "term-missing", "term"
        elif not isinstance(left, Node):
            name = "scaled-by-constant"
        says = f"{_words(left)}, a {what} of {place(leaf)}, is left out in the derivative of {at}"
        return name, says, "do not leave it out"
    says = f"{described(other)} in place of {described(leaf)} in the derivative of {at}"
    weights = of.name in _PRODUCTS and source(leaf) == source(of.args[1]) != ""
    return "wrong-weights" if weights else "wrong-layer-input", says, remedy


def _moves(it: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Ways in which the elements of a tensor get to wrong places."""
    for axis, n in enumerate(it.shape):
        if n > 1:
            along = f" along axis {axis}" if it.dim() > 1 else ""
            yield f"reversed{along}", partial(torch.flip, dims=(axis,))
            if n > 2:
                for by in (1, -1):
                    move = partial(torch.roll, shifts=by, dims=axis)
                    yield f"shifted by one{along}", move
    if it.dim() > 2:
        yield "reversed along its last two axes", partial(torch.flip, dims=(-2, -1))


def _coming_through(node: Node) -> str:
    return f"the gradient of {THEIRS} that comes through {_at(node)}"


def scaled(node: Node, near: Iterable[Node]) -> Changes:
    """A gradient that has a factor too few or too many. near: what the factor may be."""
    words = _coming_through(node)
    for it in near:
        which, value = described(it), it.value
        factors = {which: value}
        if any(user.name == "div" and it is user.args[1] for user in it.users):
            factors = {f"1/{which}": 1 / value}
        if not (value > 0).all():
            factors[f"sign({which})"] = value.sgn()
        slope, y = _SLOPES.get(it.name), value
        says = f"{words} has the derivative of {place(it)} once too often"
        if not slope and not any(user.name == "sigmoid" and not user.of for user in it.users):
            slope, y = _SLOPES["sigmoid"], torch.sigmoid(value)
            says = f"{words} has σ'({which}) as a factor, which the loss contains already"
        if slope:
            edits = _scaled(node, slope[1](y))
            yield Change("extra-activation-derivative", says, "leave it out", edits)
        for factor, by in factors.items():
            says = f"{words} lacks the factor {factor}"
            yield Change("factor-missing", says, "count the factors", _scaled(node, 1 / by))
            says = f"{words} has the factor {factor} once too often"
            yield Change("factor-twice", says, "count the factors", _scaled(node, by))


def whole_changes(node: Node) -> Changes:
    """A gradient whose elements are in wrong places, or that is there only in part."""
    words, whole = _coming_through(node), partial(_with_result, node)
    value = node.value
    for what, move in _moves(value):
        yield Change("wrong-index", f"{words} is {what}", "check the indices", whole(move))
    if _is_square(value.shape[-2:]):
        edits = whole(lambda it: it.mT)
        yield Change("transposed-gradient", f"{words} is transposed", "transpose it", edits)
    for axis, name, what, keep in _partial(value, range(value.dim())):
        says = f"{words} is there only in part: along axis {axis} {what}"
        yield Change(name, says, "give all of it", whole(keep))
    if value.dim() and len(value) > 1:
        says = f"{words} has its last row in place of the first, and no others"
        edits = whole(lambda it: _only(0, slice(1), it.roll(1, 0)))
        yield Change("wrong-index", says, "check where each row goes", edits)
