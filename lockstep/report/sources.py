"""The two sources side by side: the real lines, and which line computes which quantity."""

import ast
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from operator import itemgetter
from types import ModuleType
from typing import Any

from lockstep.errors import visible
from lockstep.network.names import COMPUTED, scalars
from lockstep.network.problem import Problem
from lockstep.sides.built_in import built_in
from lockstep.sides.side import Side
from torch_reference import two_layer as torch_two_layer


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
        module = sys.modules[built_in(problem).func.__module__]
        title = "numbers; their formulas in " if side and side.is_users else ""
        return _of_module(module, problem, title)
    with suppress(SyntaxError, ValueError, RecursionError):
        if source.lines:
            return Source(source.name, _lines("".join(source.lines), source.first, problem))
    return Source(f"{source.name} (its source cannot be read)", [])


def by_torch(problem: Problem) -> Source:
    """The source of the side by PyTorch."""
    return _of_module(torch_two_layer, problem)


def _of_module(module: ModuleType, problem: Problem, title: str = "") -> Source:
    lines = _lines(inspect.getsource(module), 1, problem)
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


def _lines(source: str, first: int, problem: Problem) -> list[Line]:
    """Each function that computes quantities, up to the last line that does, without docstrings."""
    every = scalars(problem.sizes, problem.batch_samples)
    table = {scalar: name for scalar, (name, _) in every.items() if name in COMPUTED}
    table |= {name: name for name in COMPUTED}
    source = inspect.cleandoc("\n" + source) if source[:1].isspace() else source
    texts = source.splitlines()
    computed: set[str] = set()
    lines: list[Line] = []
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        names: dict[int, list[str]] = {}
        last = 0
        for name, line, end in sorted(_assigned(function), key=itemgetter(1)):
            if name in table and name not in computed:
                computed.add(name)
                names.setdefault(line, []).append(name)
                last = max(last, end)
        for n in _body(function, last):
            text, here = visible(texts[n - 1].expandtabs().rstrip()), names.get(n, ())
            if text or (lines and lines[-1].text):  # no two blank lines in a row
                of = dict.fromkeys(table[name] for name in here)
                lines.append(Line(first + n - 1, text, tuple(here), tuple(of)))
    return lines


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
    for node in ast.walk(function):
        match node:
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
