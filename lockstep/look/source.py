"""A program of the user's as text: a file or a notebook, its lines, and the names in them."""

from __future__ import annotations

import ast
import json
import linecache
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from lockstep.errors import Unusable
from lockstep.look.scalars import Group, groups
from lockstep.setup.files import nearest
from lockstep.text import base_name

_PYTHON_2 = re.compile(r"Missing parentheses in call to '(print|exec)'|multiple exception types")
_TRAINS = re.compile(r"train|fit|learn|optimi[sz]e|gradient_descent", re.IGNORECASE)
_TIMED = re.compile(r"(\s*(?:[\w., ]+=\s*)?)%time\s+(.+)")  # %time train(), x = %time train()
_ASSIGNED = re.compile(r"(\s*[\w., ]+=\s*)([!%].*)")  # files = !ls
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]|[/\\]lib[/\\]python3")


class Program:
    """A file FILE.py, or the code cells of a notebook.

    Args:
        path: The file.
        source: What is in it.
        constants: Names of the top level, and what to put in the place of their values.

    Attributes:
        folder: Where the file lies.
        source: What is in it.
        lines: Its lines, without their ends.
        tree: It as Python reads it.

    Raises:
        Unusable: It is no Python, or has no such constant.
    """

    def __init__(
        self, path: str, source: bytes, constants: Mapping[str, str] | None = None
    ) -> None:
        self.path, self.folder = path, str(Path(path).resolve().parent)
        self.source = source
        self._cells: list[tuple[int, int]] = []  # by line the cell, and the line in it
        text = source.decode("utf-8-sig", "replace")
        if path.endswith(".ipynb"):
            text = self._of_cells(text)
        self.lines = text.split("\n")
        self.tree = self._parsed(text)
        for name, value in (constants or {}).items():
            self._set(name, value)

    def _of_cells(self, text: str) -> str:
        """The code cells of a notebook, one below the other; magic commands are left out."""
        try:
            cells = json.loads(text)["cells"]
            codes = ["".join(it["source"]) for it in cells if it["cell_type"] == "code"]
        except (ValueError, KeyError, TypeError):
            raise Unusable(f"{self.path}: expected a Jupyter notebook, with cells") from None
        lines: list[str] = []
        for n, code in enumerate(codes, 1):
            magic = code.lstrip().startswith("%%") and not re.match(r"\s*%%(time|capture)", code)
            for m, line in enumerate(code.split("\n"), 1):
                timed, assigned = _TIMED.match(line), _ASSIGNED.match(line)
                is_code = not (magic or re.match(r"\s*[%!?]|.*\w\?\s*$", line))
                indent = line[: len(line) - len(line.lstrip())]
                if timed and not magic:
                    line = timed[1] + timed[2]
                elif assigned and not magic:
                    line = f"{assigned[1]}[]  # {assigned[2]}"
                elif not is_code:
                    line = f"{indent}pass  # {line.lstrip()}"
                lines.append(line)
                self._cells.append((n, m))
        return "\n".join(lines)

    def _parsed(self, text: str) -> ast.Module:
        try:
            return ast.parse(text, self.path)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            where = f"{self.path}, {self.place(line)}" if line else self.path
            message = str(getattr(error, "msg", error))
            what = "expected Python 3"
            if _PYTHON_2.search(message):
                what = "this is Python 2, where print needs no brackets; expected Python 3"
                message = "write print(…), or convert the file: `pip install 2to3`, `2to3 -w FILE`"
            elif isinstance(error, TabError):
                what = "tabs and spaces are mixed; expected one of the two"
                message = "`python -m tabnanny FILE` names the lines"
            raise Unusable(f"{where}: {what}: {message}") from None
        except (RecursionError, MemoryError):
            raise Unusable(f"{self.path}: expected Python, but this is nested too deeply") from None

    def _set(self, name: str, value: str) -> None:
        """Put a value in the place of a constant's."""
        try:
            new = ast.parse(value, mode="eval").body
        except SyntaxError:
            raise Unusable(f"--set {name}={value}: expected a value of Python's") from None
        assigned = list(_constants(self.tree))
        for known, node in assigned:
            if known == name:
                for each in ast.walk(new):
                    ast.copy_location(each, node.value)
                node.value = new
        if name not in (known for known, _ in assigned):
            near = nearest(name, dict(assigned)) or f"; it sets {', '.join(dict(assigned))}"
            raise Unusable(f"--set {name}: {self.path} sets no such name at its top level{near}")

    @cached_property
    def numbers(self) -> list[float]:
        """The numbers that stand in it, such as a learning rate that has no name."""
        found = dict[float, None]()
        for node in ast.walk(self.tree):
            match node:
                case ast.Constant(value=int() | float() as value):
                    found[float(value)] = None
        return list(found)

    @cached_property
    def groups(self) -> dict[str, list[Group]]:
        """By function the variables of one number each that are an array together."""
        return groups(self.tree)

    @property
    def functions(self) -> list[str]:
        """The functions and classes of its top level."""
        kinds = ast.FunctionDef | ast.ClassDef
        return [node.name for node in self.tree.body if isinstance(node, kinds)]

    @property
    def trains(self) -> str:
        """The call of what seems to train: train(X, y), or Net().fit(X, y)."""
        for node in self.tree.body:
            of_class = node.body if isinstance(node, ast.ClassDef) else ()
            for each in (node, *of_class):
                if isinstance(each, ast.FunctionDef) and _TRAINS.search(each.name):
                    needed = each.args.args[: len(each.args.args) - len(each.args.defaults)]
                    given = ", ".join(it.arg for it in needed if it.arg != "self")
                    before = f"{node.name}()." if isinstance(node, ast.ClassDef) else ""
                    return f"{before}{each.name}({given})"
        return "train(X, y)"

    @property
    def dropout(self) -> str:
        """A constant of its top level that seems to be the part of the neurons that is dropped."""
        names = (name for name, _ in _constants(self.tree))
        return next((name for name in names if "drop" in name.lower()), "")

    def place(self, line: int, file: str = "") -> str:
        """line 31, cell 3, line 5, or line 9 of layers.py."""
        if file and file != self.path:
            return f"line {line} of {os.path.relpath(file, self.folder)}"
        if self._cells and line <= len(self._cells):
            cell, inside = self._cells[line - 1]
            return f"cell {cell}, line {inside}"
        return f"line {line}"

    @property
    def parts(self) -> list[tuple[str, int, list[str]]]:
        """The file, or a notebook's cells: a name, the number of the first line, the lines."""
        if not self._cells:
            return [(base_name(self.path), 1, self.lines)]
        firsts = [i for i, (_, inside) in enumerate(self._cells) if inside == 1]
        return [
            (f"cell {self._cells[first][0]}", first + 1, self.lines[first:end])
            for first, end in pairwise([*firsts, len(self.lines)])
        ]

    def text(self, line: int, file: str = "") -> str:
        """What stands in a line."""
        if file and file != self.path:
            return linecache.getline(file, line).strip()
        return self.lines[line - 1].strip() if 0 < line <= len(self.lines) else ""

    def located(self, message: str, error: BaseException) -> str:
        """A message with the line of a notebook's cell in place of that of the whole."""
        if not self._cells:
            return message
        return re.sub(r"line (\d+)", lambda it: self.place(int(it[1])), message, count=1)

    def tree_of(self, path: str) -> ast.Module | None:
        """A file of the user's as Python reads it; None where it is none, or is not to be read."""
        if path == self.path:
            return self.tree
        with suppress(OSError, SyntaxError, ValueError, RecursionError):
            if self.is_beside(path):
                return ast.parse(Path(path).read_bytes())
        return None

    def is_beside(self, path: str) -> bool:
        """Whether a module is the user's: it lies with the program, and was not installed."""
        if not path.endswith(".py") or not os.path.isabs(path) or _INSTALLED.search(path):
            return False
        return os.path.realpath(path).startswith(self.folder + os.sep)


def imports_of(tree: ast.Module) -> set[str]:
    """The packages that a program imports outside of any `try`."""
    guarded = {id(it) for node in ast.walk(tree) if isinstance(node, ast.Try)
               for it in ast.walk(node)}  # fmt: skip
    found = set()
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """What is assigned to a single name at the top level, or below `if __name__ …`."""
    blocks = [tree.body]
    while blocks:
        for node in blocks.pop():
            if isinstance(node, ast.If):
                blocks.append(node.body)
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr())
                ):
                    yield name, node


def names_by_line(tree: ast.Module) -> dict[int, set[str]]:
    """By line the names that the statement of that line mentions."""
    return _by_line(tree, _named)


def stored_by_line(tree: ast.Module) -> dict[int, set[str]]:
    """By line the names that the statement of that line gives a value to; .delta of an object."""
    return _by_line(tree, _stored)


def _named(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _stored(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return name
        case (
            ast.Attribute(attr=name, ctx=ast.Store())
            | ast.Subscript(value=ast.Attribute(attr=name), ctx=ast.Store())
        ):
            return f".{name}"
        case ast.Subscript(slice=ast.Constant(str(key)), ctx=ast.Store()) | ast.Subscript(
            ast.Subscript(slice=ast.Constant(str(key))), ctx=ast.Store()
        ):
            return f"[{key!r}]"
    return ""


def _by_line(tree: ast.Module, name_of: Callable[[ast.AST], str]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt):
            continue
        inside: list[ast.AST] = [node]
        for each in inside:  # what belongs to the statement, without the statements in it
            inside += [it for it in ast.iter_child_nodes(each) if not isinstance(it, ast.stmt)]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        names = set(filter(None, map(name_of, inside)))
        simple = not hasattr(node, "body")
        last = (node.end_lineno or node.lineno) if simple else node.lineno
        for line in range(node.lineno, last + 1):
            found[line] |= names
    return found
