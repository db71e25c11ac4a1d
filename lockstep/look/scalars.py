"""Numbers, or columns, in variables of their own, w1 … w8: which of them belong together."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.network.names import Array

_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Place:
    """What a variable got, a number or one a sample, when, and in which line of which file."""

    value: float | Array
    time: float
    line: int
    file: str
    name: str = ""


@dataclass(frozen=True)
class Group:
    """Variables of one number each, or one a sample, that are an array together.

    Attributes:
        names: As the program writes them, row after row.
        shape: Of the array, of a single sample.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """h1, h2 or w1, w2; w3, w4."""
        n = self.shape[-1]
        rows = [self.names[at : at + n] for at in range(0, len(self.names), n)]
        return _few([_few(row, ", ") for row in rows], "; ")

    def array(self, parts: Sequence[Place]) -> Array | None:
        """What they hold together, with samples as rows; None where they don't go together."""
        values = [np.asarray(part.value, np.float64) for part in parts]
        if len({value.shape for value in values}) > 1 or values[0].ndim > 2 - len(self.shape):
            return None
        return np.stack(values, axis=-1).reshape(values[0].shape + self.shape)


def _few(parts: Sequence[str], between: str) -> str:
    """Some words, of many the first and the last."""
    return between.join(parts) if len(parts) < 5 else f"{parts[0]} … {parts[-1]}"


@dataclass(frozen=True)
class _Neuron:
    """A sum w1 x1 + w2 x2 + b.

    Attributes:
        pairs: Its factors, two by two.
        bias: What is added; empty where nothing is.
        made: What the statement assigns to.
    """

    pairs: tuple[tuple[str, str], ...]
    bias: str
    made: str

    @property
    def factors(self) -> set[str]:
        return {factor for pair in self.pairs for factor in pair}


def groups(tree: ast.Module) -> dict[str, list[Group]]:
    """By function the groups that it assigns to: a layer's inputs, weights, biases, and their like.

    A layer is made of the sums of products with the same inputs. What the program assigns to, and
    calls like them but for a number, is a group of the same shape: dw1 … dw4, t1, t2.
    """
    found: dict[Group, None] = {}
    for scope in _scopes(tree):
        for inputs, neurons in _layers(_neurons(scope)):
            found |= dict.fromkeys(_of_layer(inputs, neurons))
    known = {name for group in found for name in group.names}
    items = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    by_function = {
        getattr(scope, "name", "<module>"): set(_held(scope, items)) for scope in _scopes(tree)
    }
    stored = set().union(*by_function.values()) - known - {""}
    for group in sorted(found, key=lambda it: -len(it.names)):
        for names in _alike(group.names, stored):
            if not any({*names} <= {*other.names} for other in found):
                found[Group(names, group.shape)] = None
    found = {group: None for group in found if len(group.names) > 1}
    return {
        where: [group for group in found if {*group.names} <= names]
        for where, names in by_function.items()
    }


def _scopes(tree: ast.Module) -> list[ast.AST]:
    functions = (it for it in ast.walk(tree) if isinstance(it, ast.FunctionDef))
    return [tree, *functions]


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions and classes in it."""
    inside = list(ast.iter_child_nodes(scope))
    for node in inside:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside += ast.iter_child_nodes(node)
            yield node


class Gathering:
    """What a group's variables hold, as they change one after the other.

    Args:
        group: The variables, all of one function.
    """

    def __init__(self, group: Group) -> None:
        self.group, self._names = group, {*group.names}
        self._held: dict[str, Place] = {}
        self._new: dict[str, Place] = {}

    def taken(self, name: str, place: Place) -> tuple[Place, ...]:
        """Take in what a variable got.

        Returns:
            What each variable of the group held, in its order, once all have got something, or one
            of them has a second time; else nothing.
        """
        if name not in self._names:
            return ()
        if name in self._new:
            whole = self._whole()
            self._new = {name: place}
            return whole
        self._new[name] = place
        return self._whole() if len(self._new) == len(self._names) else ()

    def _whole(self) -> tuple[Place, ...]:
        self._held |= self._new
        self._new = {}
        if len(self._held) < len(self._names):
            return ()
        return tuple(self._held[name] for name in self.group.names)


def _held(scope: ast.AST, items: Sequence[ast.Subscript]) -> Iterator[str]:
    """The variables that a function assigns to, and the items of its dicts that are named."""
    assigned = {_atom(node) for node in _inside(scope) if _is_assigned(node)}
    yield from assigned
    yield from (_atom(item) for item in items if ast.unparse(item.value) in assigned)


def _is_assigned(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store) or isinstance(node, ast.arg)


def _atom(node: ast.AST) -> str:
    """A variable as the program writes it: w1, self.w1, w['1'], x[0]; empty where it is none."""
    match node:
        case ast.arg(arg=name):
            return name
        case ast.Name() | ast.Attribute(value=ast.Name()) | ast.Subscript():
            return ast.unparse(node)
    return ""


def _neurons(scope: ast.AST) -> list[_Neuron]:
    """The sums in a function, without those of functions in it, each once."""
    found: dict[tuple[tuple[str, str], ...], _Neuron] = {}
    for node in _inside(scope):
        if isinstance(node, ast.Assign):
            sums = (_neuron(it, _atom(node.targets[0])) for it in ast.walk(node.value))
            for neuron in filter(None, sums):
                if not any({*neuron.pairs} <= {*of} for of in found):
                    found[neuron.pairs] = neuron
    return list(found.values())


def _neuron(value: ast.AST, made: str) -> _Neuron | None:
    terms, pairs, biases = [value], list[tuple[str, str]](), list[str]()
    while terms:
        match terms.pop(0):
            case ast.BinOp(left, ast.Add(), right):
                terms = [left, right, *terms]
            case ast.BinOp(left, ast.Mult(), right) if _atom(left) and _atom(right):
                pairs.append((_atom(left), _atom(right)))
            case ast.BinOp(node, ast.Mult(), ast.Constant(1)) | node if _atom(node):
                biases.append(_atom(node))
            case _:
                return None
    is_sum = len(pairs) > 1 or bool(pairs and biases)  # a product alone may be a gradient
    is_one = is_sum and len(biases) < 2 and biases != [made]  # w + lr · d is an update
    return _Neuron(tuple(pairs), "".join(biases), made) if is_one else None


def _layers(neurons: list[_Neuron]) -> list[tuple[set[str], list[_Neuron]]]:
    """Sums by the inputs that they share; those of a single one are not known."""
    found: list[tuple[set[str], list[_Neuron]]] = []
    for neuron in neurons:
        for inputs, others in found:
            shared = neuron.factors & (inputs or others[0].factors)
            is_layer = len(shared) == len(neuron.pairs) == len(others[0].pairs)
            pairs = [pair for it in (neuron, *others) for pair in it.pairs]
            if is_layer and all(len(shared & {*pair}) == 1 for pair in pairs):
                inputs |= shared
                others.append(neuron)
                break
        else:
            found.append((set(), [neuron]))
    return found


def _of_layer(inputs: set[str], neurons: list[_Neuron]) -> Iterator[Group]:
    """The groups that the formulas of a layer name."""
    first = neurons[0].pairs
    if not inputs:
        for side in zip(*first, strict=True):
            yield Group(side, (len(first),))
        return
    order = [next(name for name in pair if name in inputs) for pair in first]
    weights = []
    for neuron in neurons:
        of = {name: w for pair in neuron.pairs for name, w in (pair, pair[::-1]) if name in inputs}
        weights += [of[name] for name in order]
    yield Group(tuple(order), (len(order),))
    yield Group(tuple(weights), (len(neurons), len(order)))
    for names in ([it.bias for it in neurons], [it.made for it in neurons]):
        if all(names):
            yield Group(tuple(names), (len(neurons),))


def _alike(names: tuple[str, ...], stored: set[str]) -> Iterator[tuple[str, ...]]:
    """What is assigned to and called like some names, but for what is the same in all of these."""
    for name in sorted(stored):
        for others in _renamed(name, names):
            if len({*others}) == len(names) and {*others} <= stored:
                yield others


def _renamed(name: str, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """A name with each of some names in the place of the first, or with each one's numbers."""
    numbers = [_NUMBER.findall(each) for each in names]
    parts = _NUMBER.split(name)  # every second one is a number
    n = 2 * len(numbers[0])
    are_alike = n and all(2 * len(it) == n for it in numbers)
    for at in range(1, len(parts), 2) if are_alike else ():
        if parts[at : at + n : 2] == numbers[0]:
            yield tuple(_with(parts, slice(at, at + n, 2), of) for of in numbers)
    if names[0] in name:
        yield tuple(name.replace(names[0], of) for of in names)


def _with(parts: list[str], at: slice, numbers: list[str]) -> str:
    """A name, of its parts, with other numbers in some places."""
    changed = parts.copy()
    changed[at] = numbers
    return "".join(changed)
