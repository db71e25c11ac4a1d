"""The user's code: a step function as it is loaded, what it asks for, and what it returned."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import json
import linecache
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lockstep.errors import Unusable, message_of
from lockstep.network.names import Array
from lockstep.sides.answer import as_numbers

Returned: TypeAlias = "dict[str, Array | Unusable]"  # by name; why a value is no number


@dataclass(frozen=True)
class Argument:
    """What a step function asks for.

    Attributes:
        name: Of the quantity.
        optional: It has a value of its own where it is not given.
    """

    name: str
    optional: bool


@dataclass(frozen=True)
class Source:
    """The lines of a function, a file or a notebook's cell.

    Attributes:
        name: What it is called.
        lines: Of its text; none where they cannot be read.
        first: The number of the first one.
        computes: By line the quantities that it computes, each with what the program calls it;
            None where that is found by the names that are assigned.
    """

    name: str
    lines: tuple[str, ...] = ()
    first: int = 1
    computes: Mapping[int, Mapping[str, str]] | None = None


def source_of(thing: Any, name: str) -> Source:
    """The lines of a function, of a class or of code."""
    with contextlib.suppress(OSError, TypeError, SyntaxError):
        lines, first = inspect.getsourcelines(thing)
        return Source(name, tuple(lines), max(first, 1))
    return Source(name)


class Code:
    """A step function, in this process or in another.

    Attributes:
        path: The file that it is in, for messages.
        arguments: What it asks for.
        source: Its lines.
        helpers: The other functions of its file that ran, once it was called; none in this process.
        settings: What its file says of the problem, as JSON.
        is_here: Whether it runs in this process.
    """

    path: str
    arguments: list[Argument]
    source: Source
    helpers: Sequence[Source] = ()
    settings = "{}"
    is_here = False

    def call(self, given: dict[str, Any]) -> Returned:
        """Call it once. Raises Unusable where it raises, or returns no dict."""
        raise NotImplementedError

    def again(self) -> Code:
        """The same for another problem, without what it kept between calls where that can be."""
        return self

    def fresh(self) -> Code:
        """The same, from the beginning: `again`, and what it prints is shown."""
        return self

    def close(self) -> None:
        """Let go of it."""


class Here(Code):
    """A step function in this process."""

    is_here = True

    def __init__(self, step: Callable[..., Any]) -> None:
        self.step = step
        bound = step.keywords if isinstance(step, functools.partial) else {}
        inner = inspect.unwrap(step.func if isinstance(step, functools.partial) else step)
        name = getattr(inner, "__name__", "step")
        code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
        self.path = code.co_filename if code else name
        try:
            asked = list(inspect.signature(step).parameters.values())
        except (TypeError, ValueError):
            raise Unusable(f"{self.path}: expected a function with named arguments") from None
        asked = [it for it in asked if it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)]
        self.first = [it.name for it in asked if it.kind is it.POSITIONAL_ONLY]
        self.arguments = [
            Argument(it.name, it.default is not it.empty) for it in asked if it.name not in bound
        ]
        self.source = source_of(inner, name)

    def call(self, given: dict[str, Any]) -> Returned:
        first = [given.pop(name) for name in self.first if name in given]
        with users_code(self.path):
            got = self.step(*first, **given)
        return readable(got, f"{self.path}: {self.source.name} returned")


class Statements:
    """Statements of the user's that are run one after the other and share their names."""

    def __init__(self, path: str, names: dict[str, Any] | None = None) -> None:
        self.path, self.names = path, {} if names is None else names

    def run(self, text: str, given: dict[str, Any], wanted: list[str]) -> tuple[str, Returned]:
        """Run some.

        Args:
            text: The statements.
            given: Numbers and arrays by name, set before.
            wanted: The names whose values to return.

        Returns:
            What they raised, in words, or nothing; and the values of those names that there are.
        """
        self.names |= given
        said = ""
        try:
            with np.errstate(all="ignore"):
                exec(compile(text, self.path, "exec"), self.names)
        except Exception as error:
            said = raised(error, self.path).removeprefix(self.path).partition(": ")[2]
        values = {name: self.names[name] for name in wanted if name in self.names}
        return said, readable(values, "the file gives") if values else {}


def load(source: bytes, path: str, name: str) -> Callable[..., Any]:
    """The function of a file. Raises Unusable where it has none; see `names_of`."""
    return function_of(names_of(source, path), path, name)


def names_of(source: bytes, path: str) -> dict[str, Any]:
    """The names that a file defines.

    Args:
        source: What is in the file.
        path: Where it is, for messages; what lies beside it can be imported.

    Raises:
        Unusable: It is no Python, or raises.
    """
    module = new_module(path, Path(path).stem)
    text = source.decode("utf-8-sig", "replace")
    linecache.cache[path] = len(text), None, text.splitlines(keepends=True), path
    with reading_python(path):
        code = compile(source, path, "exec")
    with users_code(path):
        exec(code, module.__dict__)
    return module.__dict__


def function_of(names: dict[str, Any], path: str, name: str) -> Callable[..., Any]:
    """The function among the names that a file defines. Raises Unusable where it is not there."""
    function = names.get(name)
    if not callable(function):
        there = [n for n, value in names.items() if inspect.isfunction(value)]
        known = f"Its functions are: {', '.join(there)}." if there else "It defines no function."
        raise Unusable(f"{path}: has no function {name!r}. {known} Expected `def {name}(...)`")
    return function  # type: ignore[no-any-return]


def demand_function(source: bytes, path: str, name: str) -> None:
    """Say what a file has where it lacks the function, before anything of it runs.

    Args:
        source: What is in the file.
        path: Where it is, for messages.
        name: Of the function.

    Raises:
        Unusable: No statement of the file's top level can give it that name.
    """
    if not may_define(source, name):
        statements = list(_top_level(ast.parse(source)))
        there = "; ".join(_what_is_there(statements)) or "nothing that could be called"
        raise Unusable(
            f"{path}: has no function {name!r}, but {there}. `lockstep look {path}` judges a "
            f"program as it is; or write `def {name}(...)`, to start from "
            "`lockstep compare --template`"
        )


def may_define(source: bytes, name: str) -> bool:
    """Whether a statement of a file's top level may give a function that name.

    Where the file is no Python, it may: that is told when it is loaded.
    """
    try:
        statements = list(_top_level(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    return any({name, "*"} & _binds(node) for node in statements)


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements outside of functions and classes."""
    blocks: list[ast.AST] = [tree]
    while blocks:
        for node in ast.iter_child_nodes(blocks.pop()):
            if isinstance(node, ast.stmt):
                yield node
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                blocks.append(node)


def _binds(node: ast.stmt) -> set[str]:
    """The names that a statement may give a function to; * where only running it tells."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {it.asname or it.name.partition(".")[0] for it in node.names}
    names = [it for it in ast.walk(node) if isinstance(it, ast.Name)]
    if {it.id for it in names} & {"globals", "exec", "setattr", "vars", "locals"}:
        return {"*"}
    is_number = isinstance(getattr(node, "value", None), ast.Constant)
    if not isinstance(node, ast.Assign | ast.AnnAssign) or is_number:
        return set()  # the variable of a loop is no function
    return {it.id for it in names if isinstance(it.ctx, ast.Store)}


def _what_is_there(statements: list[ast.stmt]) -> Iterator[str]:
    """The functions, classes and loops of a file's top level, in words."""
    functions = [it.name for it in statements if isinstance(it, ast.FunctionDef)]
    classes = [it.name for it in statements if isinstance(it, ast.ClassDef)]
    for names, one, many in ((functions, "function", "functions"), (classes, "class", "classes")):
        if names:
            yield f"the {one if len(names) == 1 else many} {', '.join(names)}"
    loop = next((it for it in statements if isinstance(it, ast.For | ast.While)), None)
    if loop:
        yield f"a loop in line {loop.lineno}"


def settings_of(names: dict[str, Any], path: str) -> str:
    """The settings PROBLEM, LAYOUT and NAMES of a file as JSON; "{}" where it has none.

    Args:
        names: What the file defines.
        path: Where it is, for messages.

    Raises:
        Unusable: They are no dict of plain values.
    """
    settings = names.get("PROBLEM", {})
    try:
        if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
            raise TypeError
        for key in ("layout", "names"):
            if isinstance(names.get(key.upper()), str | dict):
                settings = settings | {key: names[key.upper()]}
        return json.dumps(settings, default=lambda value: value.tolist())
    except Exception:
        expected = 'expected a dict with the keys of a problem file, such as dict(sizes="3-4-2")'
        raise Unusable(f"{path}: PROBLEM: {expected}") from None


def new_module(path: str, name: str) -> types.ModuleType:
    """The module that a file of the user's runs in; what lies beside the file can be imported."""
    module = types.ModuleType(name if name not in sys.modules else f"_{name}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # where a dataclass looks for its annotations
    sys.path.insert(0, str(Path(path).resolve().parent))
    return module


@contextlib.contextmanager
def reading_python(path: str) -> Iterator[None]:
    """Report a file that is no Python as Unusable, with the line."""
    try:
        yield
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise Unusable(f"{path}{line}: expected Python: {getattr(error, 'msg', error)}") from None
    except (RecursionError, MemoryError):
        raise Unusable(f"{path}: expected Python, but this is nested too deeply") from None


@contextlib.contextmanager
def users_code(path: str) -> Iterator[None]:
    """Run code of the user's: what it prints goes to standard error.

    Raises:
        Unusable: If it raises, with the line of theirs.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr), np.errstate(all="ignore"):
            yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # an end of the process, or what test runners raise
        raise Unusable(raised(error, path)) from None


def helpers(path: str, ran: Iterable[types.CodeType | str], step: Source) -> list[Source]:
    """The functions of a file that ran besides its step, without those inside another one."""
    found: list[Source] = []
    shown = set(range(step.first, step.first + len(step.lines)))
    own = [it for it in ran if isinstance(it, types.CodeType) and it.co_filename == path]
    for code in sorted(own, key=lambda it: it.co_firstlineno):
        if code.co_firstlineno not in shown and not code.co_name.startswith("<"):
            found.append(source_of(code, code.co_qualname))
            shown |= {found[-1].first + i for i in range(len(found[-1].lines))}
    return found


def raised(error: BaseException, path: str) -> str:
    """What the user's code raised, with their line."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename == path]
    line = f", line {theirs[-1].lineno}" if theirs else ""
    return f"{path}{line}: {type(error).__name__}: {' '.join(message_of(error).split())}"


def readable(got: Any, where: str) -> Returned:
    """What a step returned, as arrays of its own.

    Args:
        got: A dict by name.
        where: What a message starts with.

    Raises:
        Unusable: It is no dict, or an empty one.
    """
    if not isinstance(got, dict):
        kind = "nothing" if got is None else type(got).__name__
        raise Unusable(f"{where} {kind}; expected a dict of quantities by name")
    found: Returned = {}
    for name, value in dict.items(got):
        try:
            found[str(name)] = np.array(as_numbers(value, f"{where} {name}"))
        except Unusable as reason:
            found[str(name)] = reason
    if not found:
        raise Unusable(f"{where} an empty dict; expected at least one quantity")
    return found
