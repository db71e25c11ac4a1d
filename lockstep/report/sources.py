"""The two sources side by side: the real lines, and which line computes which quantity."""

import ast
import inspect
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import chain, groupby, zip_longest
from operator import itemgetter
from types import ModuleType
from typing import Any

import torch_reference.network
import torch_reference.two_layer
from lockstep.errors import visible
from lockstep.network.network import Network
from lockstep.network.problem import Problem
from lockstep.sides.built_in import exhibit
from lockstep.sides.code import Source as Part
from lockstep.sides.side import Side

_LEAD = 8  # lines of PyTorch's that lead to what computes something, beside a recognised program
_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Line:
    """A line of source.

    Attributes:
        number: In its file; 0 of a title or a remark between the lines.
        text: It, the title or the remark.
        names: What it computes, in either vocabulary.
        of: The same by the table's names.
        yours: Of a line that was recognised by its values, what the program calls each quantity;
            empty where it has the table's name.
        is_again: Whether it stands further up already.
        is_title: Whether it is the name of the file or the cell that begins.
    """

    number: int
    text: str
    names: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    yours: Mapping[str, str] = field(default_factory=dict)
    is_again: bool = False
    is_title: bool = False


@dataclass(frozen=True)
class Source:
    """The lines of one side that compute something, and what leads to them."""

    title: str
    lines: list[Line]

    @property
    def of(self) -> set[str]:
        """What they compute."""
        return {name for line in self.lines for name in line.of}

    @property
    def yours(self) -> dict[str, str]:
        """What the program calls each quantity that was recognised by its values."""
        return {name: text for line in self.lines for name, text in line.yours.items()}


@dataclass
class _Group:
    """Lines that compute the same quantity, and the lines that lead to them."""

    of: tuple[str, ...]
    lead: list[Line]
    lines: list[Line]


@dataclass
class _Function:
    """A function, and by line what it computes: the names, and the quantities."""

    node: ast.FunctionDef
    texts: list[str]
    before: int  # how many lines of the file come before the text
    names: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    of: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    last: int = 0


Pair = tuple[Line | None, Line | None]  # abreast: by hand, by PyTorch


def by_hand(problem: Problem, side: Side | None = None, step: int = 1) -> Source:
    """The source of the side by hand.

    Args:
        problem: What is trained.
        side: The user's program; or their numbers, which get the project's formulas; or None for
            the project's own step.
        step: The number of the step that is shown.
    """
    parts = side.sources(step) if side else []
    if not side or not parts:
        title = "numbers; their formulas in " if side and side.is_users else ""
        return _of_module(exhibit(problem), problem, title)
    if any(part.computes is not None for part in parts):
        return Source(side.title, _recognised(parts, side.title))
    title = ", ".join(part.name for part in parts)
    with suppress(SyntaxError, ValueError, RecursionError):
        if parts[0].lines:
            return Source(title, _lines(parts, problem, are_whole=len(parts) > 1))
    return Source(f"{title} (its source cannot be read)", [])


def by_torch(problem: Problem) -> Source:
    """The source of the side by PyTorch."""
    plain = problem.network.is_plain
    module = torch_reference.two_layer if plain else torch_reference.network
    return _of_module(module, problem)


def _of_module(module: ModuleType, problem: Problem, title: str = "") -> Source:
    name = f"{title}{module.__name__.replace('.', '/')}.py"
    part = Part(name, tuple(inspect.getsource(module).splitlines(keepends=True)))
    return Source(name, _lines([part], problem))


def aligned(left: Source, right: Source) -> list[Pair]:
    """Both sources in full; lines that compute the same quantity stand abreast.

    A program whose lines were recognised keeps its order, and each of these lines has PyTorch's
    beside it: the first time where that has its place, then as a repetition. Else both keep their
    order.
    """
    ours, theirs = _groups(left.lines), _groups(right.lines)
    matched = _in_order(ours, theirs)
    if left.yours:
        theirs = _new(theirs)
        matched = _by_quantity(ours, theirs)
    leads = _leads(theirs)
    wanted, shown = set(chain(*matched)), set[int]()
    rows: list[Pair] = []

    def lead_to(i: int) -> list[Line]:
        lead = leads[i].copy()
        leads[i].clear()
        return lead

    def show_others(end: int) -> None:
        """What has nothing beside it, up to a place or to what is shown further down."""
        for i in range(end):
            if i in wanted - shown:
                return
            if i not in shown:
                shown.add(i)
                rows.extend((None, line) for line in lead_to(i) + theirs[i].lines)

    for group, places in zip(ours, matched, strict=True):
        new = [i for i in places if i not in shown]
        if new:
            show_others(new[0])
        beside = [line for i in places for line in _beside(group, theirs[i], i not in new)]
        shown.update(new)
        leading = zip_longest(reversed(group.lead), reversed(lead_to(new[0]) if new else []))
        rows += [*reversed([*leading]), *zip_longest(group.lines, beside)]
    show_others(len(theirs))
    return rows


def _leads(groups: list[_Group]) -> list[list[Line]]:
    """By group what leads to it; groups that nothing stands between have the same list."""
    found: list[list[Line]] = []
    for group in groups:
        found.append(group.lead if group.lead or not found else found[-1])
    return found


def _new(groups: list[_Group]) -> list[_Group]:
    """The groups that compute what none before them computes, without long ways there."""
    computed = set[str]()
    found = []
    for group in groups:
        if not computed.issuperset(group.of):
            found.append(replace(group, lead=_shortened(group.lead)))
        computed.update(group.of)
    return found


def _shortened(lead: list[Line]) -> list[Line]:
    if len(lead) <= _LEAD:
        return lead
    out = lead[1 : 2 - _LEAD]
    remark = Line(0, f"lines {out[0].number} to {out[-1].number}: left out")
    return [lead[0], remark, *lead[2 - _LEAD :]]


def _beside(ours: _Group, theirs: _Group, is_again: bool) -> list[Line]:
    """The lines of PyTorch's beside a group; a repetition is of the group's quantities alone."""
    if not is_again:
        return theirs.lines
    return [
        replace(line, names=of, of=of, is_again=True)
        for line in theirs.lines
        if (of := tuple(name for name in line.of if name in ours.of))
    ]


def telling(ours: Line | None, theirs: Line | None, right: Source) -> Line | None:
    """Of two lines abreast the one that says which values stand below.

    Of a recognised line that is what both compute, and what no line of PyTorch's does.
    """
    if not ours or not theirs or not ours.yours:
        return ours or theirs
    here = tuple(name for name in ours.of if name in theirs.of or name not in right.of)
    return replace(ours, names=here, of=here)


def _in_order(ours: list[_Group], theirs: list[_Group]) -> list[list[int]]:
    """By group of ours the one of theirs that begins with the same quantity, in both orders."""
    left, right = ([group.of[:1] for group in groups] for groups in (ours, theirs))
    found: list[list[int]] = [[] for _ in ours]
    for i, j, size in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
        for k in range(size):
            found[i + k] = [j + k]
    return found


def _by_quantity(ours: list[_Group], theirs: list[_Group]) -> list[list[int]]:
    """By group of ours those of theirs that compute its quantities."""
    place = {name: i for i, group in enumerate(theirs) for name in group.of}
    return [sorted({place[name] for name in group.of if name in place}) for group in ours]


def _recognised(parts: Sequence[Part], title: str) -> list[Line]:
    """The parts of a program whose lines were recognised, and which lines are left out."""
    lines: list[Line] = []
    for is_idle, each in groupby(parts, lambda part: not part.computes):
        if is_idle:
            names = ", ".join(part.name for part in each)
            lines.append(Line(0, f"{names}: nothing recognised"))
            continue
        for part in each:
            lines += [Line(0, part.name, is_title=True)] if part.name != title else []
            lines += _of_part(part.lines, part.computes or {})
    return lines


def _of_part(source: Sequence[str], computes: Mapping[int, Mapping[str, str]]) -> Iterator[Line]:
    """What computes something with what is around it, and in place of the rest a remark."""
    shown = {*computes, *_around(ast.parse("".join(source)).body, computes)}
    texts = {n: visible(line.expandtabs().rstrip()) for n, line in enumerate(source, 1)}
    while texts and not texts[max(texts)]:
        del texts[max(texts)]
    for is_shown, group in groupby(texts, lambda n: n in shown):
        numbers = list(group)
        written = [n for n in numbers if texts[n]]
        if not is_shown and len(written) > 1:
            yield Line(0, f"lines {written[0]} to {written[-1]}: nothing recognised")
            continue
        for n in numbers if is_shown else written or numbers[:1]:
            yours = computes.get(n, {})
            yield Line(n, texts[n], tuple(yours), tuple(yours), yours)


def _around(body: Sequence[ast.stmt], computes: Collection[int]) -> set[int]:
    """The lines of functions that compute something, and of statements from one to another."""
    shown: set[int] = set()
    for is_nested, nodes in groupby(body, lambda it: isinstance(it, _DEFINITIONS | ast.If)):
        spans = []
        for node in nodes:
            inside = [*getattr(node, "body", ()), *getattr(node, "orelse", ())]
            span = range(_first_line(node), (node.end_lineno or node.lineno) + 1)
            if isinstance(node, ast.ClassDef | ast.If):
                within = _around(inside, computes)
                shown |= {node.lineno, *within} if within else set()
            elif any(n in span for n in computes):
                spans.append(span)
        if is_nested:
            shown |= set(chain(*spans))
        elif spans:
            shown |= set(range(spans[0].start, spans[-1].stop))
    return shown


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(it.lineno for it in decorators)])


def _lines(parts: Sequence[Part], problem: Problem, are_whole: bool = False) -> list[Line]:
    """Functions that compute quantities, without docstrings.

    Args:
        parts: What they stand in; a name that is assigned in several is the first one's.
        problem: What is trained.
        are_whole: Whether each function is shown, to its end; else up to the last line that
            computes something.
    """
    functions = [it for part in parts for it in _functions(part)]
    _attribute(functions, problem)
    lines: list[Line] = []
    for function in sorted(functions, key=lambda it: it.before):
        lines += [Line(0, "")] if lines and are_whole else []
        last = function.node.end_lineno if are_whole else function.last
        for n in _body(function.node, last or 0):
            text = visible(function.texts[n - 1].expandtabs().rstrip())
            if text or (lines and lines[-1].text):  # no two blank lines in a row
                computes = tuple(function.names[n]), tuple(dict.fromkeys(function.of[n]))
                lines.append(Line(function.before + n, text, *computes))
    return lines


def _attribute(functions: Sequence[_Function], problem: Problem) -> None:
    """Say of each line what it computes: where that is assigned first, else where it is named."""
    named = [
        (function, *it)
        for find in (_assigned, _mentioned)
        for function in functions
        for it in sorted(find(function.node), key=itemgetter(1))
    ]
    table = _meanings((name for _, name, *_ in named), problem.network, problem.batch_samples)
    computed: set[str] = set()  # names, and of families the quantities
    for function, name, line, end in named:
        of = [it for it in table.get(name, ()) if it not in computed or "[" not in name]
        if of and name not in computed:
            computed |= {name, *of} if "[" in name else {name}
            function.names[line].append(name)
            function.of[line].extend(of)
            function.last = max(function.last, end)


def _functions(part: Part) -> list[_Function]:
    """The functions of a text, which may be that of a method."""
    text = "".join(part.lines)
    text = inspect.cleandoc("\n" + text) if text[:1].isspace() else text
    nodes = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return [_Function(node, text.splitlines(), part.first - 1) for node in nodes]


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
    """What a function assigns to a name.

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


def _mentioned(function: ast.FunctionDef) -> Iterator[tuple[Any, int, Any]]:
    """What a function gives a name to by keyword arguments and dicts; see `_assigned`."""
    for node in ast.walk(function):
        match node:
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
        elif groups and groups[-1].of[:1] == line.of[:1] and not lead:
            groups[-1].lines.append(line)
            groups[-1].of += line.of
        else:
            groups.append(_Group(line.of, lead, [line]))
            lead = []
    return [*groups, _Group((), lead, [])] if lead else groups
