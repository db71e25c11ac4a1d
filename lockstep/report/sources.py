"""The two sources side by side: the real lines, and which line computes which quantity."""

import ast
import inspect
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from operator import itemgetter
from types import ModuleType
from typing import Any

import torch_reference.network
import torch_reference.two_layer
from lockstep.errors import visible
from lockstep.network.network import Network
from lockstep.network.problem import Problem
from lockstep.sides.built_in import exhibit
from lockstep.sides.side import Side


@dataclass(frozen=True)
class Line:
    """A line of source. names: what it computes, in either vocabulary; of: by the table's names."""

    number: int
    text: str
    names: tuple[str, ...] = ()
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The lines of one side that compute something, and what leads to them."""

    title: str
    lines: list[Line]


@dataclass
class _Group:
    """Lines that compute the same quantity, and the lines that lead to them."""

    of: tuple[str, ...]
    lead: list[Line]
    lines: list[Line]


Pair = tuple[Line | None, Line | None]  # abreast: by hand, by PyTorch


def by_hand(problem: Problem, side: Side | None = None) -> Source:
    """The source of the side by hand.

    Args:
        side: The user's function; or their numbers, which get the project's formulas; or None for
            the project's own step.
    """
    source = side.source if side else None
    if source is None:
        title = "numbers; their formulas in " if side and side.is_users else ""
        return _of_module(exhibit(problem), problem, title)
    with suppress(SyntaxError, ValueError, RecursionError):
        if source.lines:
            return Source(source.name, _lines_of(problem, "".join(source.lines), source.first))
    return Source(f"{source.name} (its source cannot be read)", [])


def by_torch(problem: Problem) -> Source:
    """The source of the side by PyTorch."""
    plain = problem.network.is_plain
    module = torch_reference.two_layer if plain else torch_reference.network
    return _of_module(module, problem)


def _of_module(module: ModuleType, problem: Problem, title: str = "") -> Source:
    lines = _lines_of(problem, inspect.getsource(module), 1)
    return Source(f"{title}{module.__name__.replace('.', '/')}.py", lines)


def aligned(left: Source, right: Source) -> list[Pair]:
    """Both sources in full, in order; lines that compute the same quantity stand abreast."""
    ours, theirs = _groups(left.lines), _groups(right.lines)
    same = SequenceMatcher(None, [g.of for g in ours], [g.of for g in theirs], autojunk=False)
    rows: list[Pair] = []
    for what, i, j, k, m in same.get_opcodes():
        if what == "equal":
            for one, other in zip(ours[i:j], theirs[k:m], strict=True):
                lead = [*zip_longest(reversed(one.lead), reversed(other.lead))]
                rows += [*reversed(lead), *zip_longest(one.lines, other.lines)]
        else:
            rows += [(line, None) for group in ours[i:j] for line in group.lead + group.lines]
            rows += [(None, line) for group in theirs[k:m] for line in group.lead + group.lines]
    return rows


def _lines_of(problem: Problem, source: str, first: int) -> list[Line]:
    return _lines(source, first, problem.network, problem.batch_samples)


def _lines(source: str, first: int, network: Network, samples: int) -> list[Line]:
    """Each function that computes quantities, up to the last line that does, without docstrings."""
    source = inspect.cleandoc("\n" + source) if source[:1].isspace() else source
    texts = source.splitlines()
    functions = [it for it in ast.parse(source).body if isinstance(it, ast.FunctionDef)]
    assigned = {it.name: sorted(_assigned(it), key=itemgetter(1)) for it in functions}
    table = _meanings((name for each in assigned.values() for name, *_ in each), network, samples)
    computed: set[str] = set()  # names, and of families the quantities
    lines: list[Line] = []
    for function in functions:
        names: dict[int, list[str]] = {}
        quantities: dict[int, list[str]] = {}
        last = 0
        for name, line, end in assigned[function.name]:
            of = [it for it in table.get(name, ()) if it not in computed or "[" not in name]
            if of and name not in computed:
                computed |= {name, *of} if "[" in name else {name}
                names.setdefault(line, []).append(name)
                quantities.setdefault(line, []).extend(of)
                last = max(last, end)
        for n in _body(function, last):
            text = visible(texts[n - 1].expandtabs().rstrip())
            if text or (lines and lines[-1].text):  # no two blank lines in a row
                of = list(dict.fromkeys(quantities.get(n, ())))
                lines.append(Line(first + n - 1, text, tuple(names.get(n, ())), tuple(of)))
    return lines


def _meanings(names: Iterable[str], network: Network, samples: int) -> dict[str, tuple[str, ...]]:
    """By name in a source the quantities that it stands for.

    `z[]` is assigned in a loop, and stands for all layers; `z[-1]` outside of one, for the last.
    """
    names = [name for name in names if isinstance(name, str)]
    meant = network.meant(names, samples, network.judged)
    found: dict[str, tuple[str, ...]] = {
        name: (of,) for name, (of, _) in meant.items() if of in network.judged
    }
    for name in names:
        family, bracket, which = name.partition("[")
        if bracket:
            of_family = [of for of in network.judged if network[of].family == family]
            if which == "-1]":
                of_family = [of for of in of_family if network[of].layer == network.depth]
            of_family += network.update if family == "new" else ()
            found |= {name: tuple(of_family)} if of_family else {}
    return found


def _body(function: ast.FunctionDef, last: int) -> list[int]:
    """The lines of a function up to a last one, without its docstring."""
    doc = range(0)
    match function.body[0]:
        case ast.Expr(value=ast.Constant(), lineno=start, end_lineno=int(end)):
            doc = range(start, end + 1)
    return [n for n in range(function.lineno, last + 1) if n not in doc]


def _assigned(function: ast.FunctionDef) -> Iterator[tuple[Any, int, Any]]:
    """What a function gives a name to, by assignments, keyword arguments and dicts.

    Yields:
        The name, the first and the last line.
    """
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For | ast.While)]
    looped = {n for it in loops for n in range(it.lineno, (it.end_lineno or it.lineno) + 1)}
    for node in ast.walk(function):
        match node:
            case (
                ast.Assign(
                    targets=[
                        ast.Subscript(
                            slice=ast.JoinedStr(values=[ast.Constant(value=str(name)), _])
                        )
                    ]
                )
                | ast.Expr(
                    value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"))
                )
            ):
                yield f"{name.rstrip('_')}[]", node.lineno, node.end_lineno
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name))]):
                which = "" if node.lineno in looped else "-1"
                yield f"{name}[{which}]", node.lineno, node.end_lineno
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.DictComp()):
                yield f"{name}[]", node.lineno, node.end_lineno
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name, node.lineno, node.end_lineno
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple()):
                for target in targets:
                    yield getattr(target, "id", None), node.lineno, node.end_lineno
            case ast.keyword(arg=name, value=value):
                yield name, node.lineno, value.end_lineno
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant):
                        yield key.value, key.lineno, value.end_lineno


def _groups(lines: list[Line]) -> list[_Group]:
    """Runs of lines that compute the same quantity; what leads to no more stands last."""
    groups: list[_Group] = []
    lead: list[Line] = []
    for line in lines:
        if not line.of:
            lead.append(line)
        elif groups and groups[-1].of == line.of[:1] and not lead:
            groups[-1].lines.append(line)
        else:
            groups.append(_Group(line.of[:1], lead, [line]))
            lead = []
    return [*groups, _Group((), lead, [])] if lead else groups
