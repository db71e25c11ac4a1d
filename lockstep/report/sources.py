"""The two sources side by side: the real lines of both sides, and which line computes which quantity."""

import ast
import inspect
import sys
from dataclasses import dataclass
from difflib import SequenceMatcher

from lockstep.network.names import COMPUTED, scalars
from lockstep.sides.built_in import built_in
from torch_reference import two_layer as torch_two_layer


@dataclass(frozen=True)
class Line:
    """A line of source. names: what it computes, in either vocabulary; of: the same by the table's names."""

    number: int
    text: str
    names: tuple[str, ...] = ()
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The lines of one side that compute something, and what leads to them."""

    title: str
    lines: list[Line]


def by_hand(problem, side=None):
    """The source of the side by hand.

    step: a function of the user's; numbers of theirs, which get the project's formulas; or None for the project's own.
    """
    table = _quantity_of(problem)
    step = getattr(side, "step", side) if side else None
    if step is None:
        module = sys.modules[built_in(problem).func.__module__]
        title = (
            _title(module)
            if side is None or not side.is_users
            else f"numbers; their formulas in {_title(module)}"
        )
        return Source(title, _lines(inspect.getsource(module), 1, table))
    step = inspect.unwrap(step)
    try:
        lines, first = inspect.getsourcelines(step)
        return Source(step.__name__, _lines("".join(lines), max(first, 1), table))
    except (OSError, TypeError, SyntaxError, ValueError):
        return Source(f"{getattr(step, '__name__', 'step')} (its source cannot be read)", [])


def by_torch(problem):
    """The source of the side by PyTorch."""
    return Source(
        _title(torch_two_layer),
        _lines(inspect.getsource(torch_two_layer), 1, _quantity_of(problem)),
    )


def aligned(left, right):
    """Pairs (line or None, line or None): both sources in full, in order, what computes the same quantity abreast."""
    ours, theirs = _groups(left.lines), _groups(right.lines)
    same = SequenceMatcher(None, [of for of, *_ in ours], [of for of, *_ in theirs], autojunk=False)
    rows = []
    for what, i, j, k, m in same.get_opcodes():
        if what == "equal":
            for one, other in zip(ours[i:j], theirs[k:m], strict=True):
                rows += _abreast(one[1], other[1], top=True) + _abreast(one[2], other[2])
        else:
            rows += [(line, None) for _, lead, body in ours[i:j] for line in lead + body]
            rows += [(None, line) for _, lead, body in theirs[k:m] for line in lead + body]
    return rows


def _title(module):
    return module.__name__.replace(".", "/") + ".py"


def _quantity_of(problem):
    """The table's name of every name that a line may compute."""
    of = {
        scalar: name for scalar, (name, _) in scalars(problem.sizes, problem.batch_samples).items()
    }
    return {name: name for name in COMPUTED} | {
        scalar: name for scalar, name in of.items() if name in COMPUTED
    }


def _lines(source, first, table):
    """The functions that compute quantities, each up to the last line that does, without its docstring."""
    source = inspect.cleandoc("\n" + source) if source[:1].isspace() else source
    texts = source.splitlines()
    computed: dict[int, list[str]] = {}
    seen: set[str] = set()
    kept: list[int] = []
    for function in (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)):
        ends = [0]
        for node in sorted(_computing(function, table), key=lambda found: found[1]):
            name, line, end = node
            if name not in seen:
                seen.add(name)
                computed.setdefault(line, []).append(name)
                ends.append(end)
        if ends[-1]:
            inside = function.body[0]
            doc = range(0)
            if isinstance(inside, ast.Expr) and isinstance(inside.value, ast.Constant):
                doc = range(inside.lineno, (inside.end_lineno or 0) + 1)
            kept += [line for line in range(function.lineno, max(ends) + 1) if line not in doc]
    lines: list[Line] = []
    for line in kept:
        names = tuple(computed.get(line, ()))
        of = tuple(dict.fromkeys(table[name] for name in names))
        if texts[line - 1].strip() or (
            lines and lines[-1].text.strip()
        ):  # no two blank lines in a row
            lines.append(Line(first + line - 1, texts[line - 1].rstrip(), names, of))
    return lines


def _computing(function, table):
    """(name, line, last line) of what a function assigns or returns by name, out of the table's names."""
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) if name in table:
                yield name, node.lineno, node.end_lineno
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple()):
                for target in targets:
                    if isinstance(target, ast.Name) and target.id in table:
                        yield target.id, node.lineno, node.end_lineno
            case ast.keyword(arg=str(name)) if name in table:
                yield name, node.lineno, node.value.end_lineno
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value in table:
                        yield key.value, key.lineno, value.end_lineno


def _groups(lines):
    """((first quantity,), the lines before, the lines) of each run of lines that compute the same quantity."""
    groups: list[tuple[tuple[str, ...], list[Line], list[Line]]] = []
    lead: list[Line] = []
    for line in lines:
        if not line.of:
            lead.append(line)
        elif groups and groups[-1][0] == line.of[:1] and not lead:
            groups[-1][2].append(line)
        else:
            groups.append((line.of[:1], lead, [line]))
            lead = []
    return [*groups, ((), lead, [])] if lead else groups


def _abreast(left, right, top=False):
    """Two runs of lines as pairs, the shorter one filled up, at its top or at its end."""
    missing = len(left) - len(right)
    fill = [None] * abs(missing)
    if missing < 0:
        left = fill + left if top else left + fill
    else:
        right = fill + right if top else right + fill
    return list(zip(left, right, strict=True))
