"""The two sources side by side: the real lines, and which line computes which quantity."""

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from types import ModuleType
from typing import Any

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
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class _Assigned:
    """A name that a function assigns or returns, from its first line to its last."""

    name: Any
    line: int
    end: Any


Pair = tuple[Line | None, Line | None]  # abreast: by hand, by PyTorch


def by_hand(problem: Problem, side: Side | None = None) -> Source:
    """The source of the side by hand.

    Args:
        side: The user's function; or their numbers, which get the project's formulas; or None for
            the project's own step.
    """
    step = side.step if side else None
    if step is None:
        module = sys.modules[built_in(problem).func.__module__]
        title = "numbers; their formulas in " if side and side.is_users else ""
        return _of_module(module, problem, title)
    step = inspect.unwrap(step)
    try:
        lines, first = inspect.getsourcelines(step)
        found = _lines("".join(lines), max(first, 1), _quantity_of(problem))
        return Source(step.__name__, found)
    except (OSError, TypeError, SyntaxError, ValueError):
        return Source(f"{getattr(step, '__name__', 'step')} (its source cannot be read)", [])


def by_torch(problem: Problem) -> Source:
    """The source of the side by PyTorch."""
    return _of_module(torch_two_layer, problem)


def _of_module(module: ModuleType, problem: Problem, title: str = "") -> Source:
    lines = _lines(inspect.getsource(module), 1, _quantity_of(problem))
    return Source(f"{title}{module.__name__.replace('.', '/')}.py", lines)


def aligned(left: Source, right: Source) -> list[Pair]:
    """Both sources in full, in order; lines that compute the same quantity stand abreast."""
    ours, theirs = _groups(left.lines), _groups(right.lines)
    same = SequenceMatcher(None, [g.of for g in ours], [g.of for g in theirs], autojunk=False)
    rows: list[Pair] = []
    for what, i, j, k, m in same.get_opcodes():
        if what == "equal":
            for one, other in zip(ours[i:j], theirs[k:m], strict=True):
                rows += _abreast(one.lead, other.lead, top=True)
                rows += _abreast(one.lines, other.lines)
        else:
            rows += [(line, None) for group in ours[i:j] for line in group.lead + group.lines]
            rows += [(None, line) for group in theirs[k:m] for line in group.lead + group.lines]
    return rows


def _quantity_of(problem: Problem) -> dict[str, str]:
    """The table's name of every name that a line may compute."""
    table = {name: name for name in COMPUTED}
    for scalar, (name, _) in scalars(problem.sizes, problem.batch_samples).items():
        if name in table:
            table[scalar] = name
    return table


def _lines(source: str, first: int, table: dict[str, str]) -> list[Line]:
    """Each function that computes quantities, up to the last line that does, without docstrings."""
    source = inspect.cleandoc("\n" + source) if source[:1].isspace() else source
    texts = source.splitlines()
    computed: dict[str, _Assigned] = {}
    kept: list[int] = []
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            new = _computed(function, table.keys() - computed.keys())
            computed |= new
            last, doc = max((of.end for of in new.values()), default=0), _doc(function)
            kept += [n for n in range(function.lineno, last + 1) if n not in doc]
    lines: list[Line] = []
    for n in kept:
        names = tuple(name for name, of in computed.items() if of.line == n)
        of_table = tuple(dict.fromkeys(table[name] for name in names))
        text = texts[n - 1].rstrip()
        if text.strip() or (lines and lines[-1].text):  # no two blank lines in a row
            lines.append(Line(first + n - 1, text, names, of_table))
    return lines


def _doc(function: ast.FunctionDef) -> range:
    """The lines of a function's docstring."""
    match function.body[0]:
        case ast.Expr(value=ast.Constant(), lineno=start, end_lineno=int(end)):
            return range(start, end + 1)
    return range(0)


def _computed(function: ast.FunctionDef, names: set[str]) -> dict[str, _Assigned]:
    """Where a function first gives each of these names a value."""
    first: dict[str, _Assigned] = {}
    found = [of for node in ast.walk(function) for of in _assigned(node) if of.name in names]
    for of in sorted(found, key=lambda of: of.line):
        first.setdefault(of.name, of)
    return first


def _assigned(node: ast.AST) -> Iterator[_Assigned]:
    """What a node gives a name to: an assignment, a keyword argument, a dict."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]):
            yield _Assigned(name, node.lineno, node.end_lineno)
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple()):
            for target in targets:
                yield _Assigned(getattr(target, "id", None), node.lineno, node.end_lineno)
        case ast.keyword(arg=name, value=value):
            yield _Assigned(name, node.lineno, value.end_lineno)
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant):
                    yield _Assigned(key.value, key.lineno, value.end_lineno)


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
    return [*groups, _Group((), lead)] if lead else groups


def _abreast(left: list[Line], right: list[Line], top: bool = False) -> list[Pair]:
    """Two runs of lines as pairs, the shorter one filled up, at its top or at its end."""
    most = max(len(left), len(right))

    def filled(lines: list[Line]) -> list[Line | None]:
        fill: list[Line | None] = [None] * (most - len(lines))
        return [*fill, *lines] if top else [*lines, *fill]

    return list(zip(filled(left), filled(right), strict=True))
