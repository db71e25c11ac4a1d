"""`lockstep look`: judge a program that knows nothing of this project."""

from __future__ import annotations

import argparse
import ast
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lockstep.cli.main import Parser, command, printer, refuse_shared_files
from lockstep.errors import Unusable
from lockstep.setup.options import OPTIONS, Kind, Option, check, file_kind

if TYPE_CHECKING:
    from lockstep.look.side import Looked


def _names(value: str) -> list[str] | None:
    found = [name.strip() for name in value.split(",")]
    return found if all(found) and len({*found}) == len(found) else None


def _code(value: str) -> str | None:
    with suppress(SyntaxError, ValueError):
        ast.parse(value)
        return value or None
    return None


_TEXT = Kind("an expression of Python's", lambda value: value or None, "NAME")
_NAMES = Kind("names, separated by commas, each once", _names, "A,B")
_FILE = Option("file", "the program", file_kind("FILE.py|NOTEBOOK.ipynb", ".py", ".ipynb"))
_GROUPS = {
    "how to run it": (
        Option(
            "call",
            "what to run after the file, such as `net.train(X, y)`",
            Kind("Python", _code, "CODE"),
        ),
        Option("steps", "stop after so many updates", OPTIONS["steps"].kind, 2),
        Option("time_limit", "seconds that it may run", OPTIONS["time_limit"].kind, 60.0, "60"),
    ),
    "what is what (default: found by value)": (
        Option("x", "where the inputs are", _TEXT),
        Option("y", "where the targets are", _TEXT),
        Option("parameters", "where weights and biases are: W1,b1,W2,b2", _NAMES),
        Option("frozen", "variables that are not trained, such as b1,b2", _NAMES),
        *(OPTIONS[name] for name in ("layout", "names", "loss", "optimizer", "lr", "l2")),
    ),
    "output": tuple(OPTIONS[name] for name in ("show", "json", "html", "code", "quiet")),
}
_OPTIONS = {"file": _FILE} | {it.name: it for group in _GROUPS.values() for it in group}


def parser(name: str | None = None) -> Parser:
    """The options of the command; one that is not given is not in what it returns."""
    it = Parser(
        name,
        argument_default=argparse.SUPPRESS,
        description="Run a program for a few training steps, recognise its network and its "
        "quantities by their values, and compare them with PyTorch's. It runs as you, like "
        "`python FILE.py`.",
        epilog="Exit status: 0 everything matches, 1 a mismatch, 2 nothing or several things were "
        "recognised, or unusable input, 3 the numbers stopped being finite, 130 interrupted.",
    )
    it.add_argument("file", metavar=_FILE.kind.metavar, help=_FILE.help)
    it.add_options(_GROUPS)
    about = "put VALUE in the place of a constant of the top level; may be given again"
    it.add_argument("--set", action="append", metavar="NAME=VALUE", help=about)
    return it


def _look(given: dict[str, Any], came: list[int]) -> int:
    from lockstep.cli.compare import judged
    from lockstep.setup.files import read_bytes

    constants = dict(map(_constant, given.pop("set", ())))
    values = check(given, lambda key: "FILE" if key == "file" else _OPTIONS[key].flag, _OPTIONS)
    path = values.pop("file")
    refuse_shared_files(values, path)

    from lockstep.look.look import look

    side = look(path, read_bytes(path, "Python"), constants, values)
    if values.get("json") != "-" and not values.get("quiet"):
        _introduce(side)
    values.setdefault("show", frozenset({1}) if values.get("code") else "none")
    return judged(side.problem, values, side, came)


main = command(parser, _look)


def _constant(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or not value:
        raise Unusable(f"--set {text}: expected NAME=VALUE, such as epochs=2")
    return name, value


def _introduce(side: Looked) -> None:
    """Print what was recognised, for a person to check."""
    from lockstep.text import columns

    printed, _ = printer()
    first, *rest = side.sentences()
    printed([f"recognised in {side.file}: {first}", *rest])
    printed(columns([["quantity", "yours", "where"], *side.introduction()], "<<<"))
    printed([""])
