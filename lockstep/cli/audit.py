"""`lockstep audit`: what the tolerance of an existing test of gradients lets through."""

from __future__ import annotations

from typing import Any

from lockstep.cli.check import published
from lockstep.cli.main import Parser, command, refuse_shared_files
from lockstep.errors import Unusable
from lockstep.setup.options import OPTIONS, Option, check, file_kind

_FILE = Option(
    "file",
    "has `reference`, from torch tensors by name to a tensor; `inputs`, a dict of what the test "
    "draws, or a function of a seed that returns one; and `rule(actual, expected)`, or `rtol` and "
    "`atol`",
    file_kind("FILE.py", ".py"),
)
_GROUPS = {
    "how to audit": (
        Option("seed", "seed of what is drawn", OPTIONS["seed"].kind, 0),
        Option(
            "time_limit", "seconds in which mistakes are planted", OPTIONS["time_limit"].kind, 60.0
        ),
    ),
    "output": (OPTIONS["json"], OPTIONS["quiet"]),
}
_OPTIONS = {"file": _FILE} | {it.name: it for group in _GROUPS.values() for it in group}


def parser(name: str | None = None) -> Parser:
    """The options of the command; one that is not given is not in what it returns."""
    it = Parser(
        name,
        description="Plant zeros, a constant, stale values and the mistakes of the catalogue in a "
        "reference's gradients, and count which of them a test's rule lets through.",
        epilog="Exit status: 0 nothing passes, 1 zeros or a mistake pass, 2 unusable input, 130 "
        "interrupted, 143 terminated.",
    )
    it.add_argument("file", metavar=_FILE.kind.metavar, help=_FILE.help)
    it.add_options(_GROUPS)
    return it


def _audit(given: dict[str, Any], came: list[int]) -> int:
    from lockstep.setup.files import read_bytes

    values = check(given, lambda key: "FILE" if key == "file" else _OPTIONS[key].flag, _OPTIONS)
    path = values.pop("file")
    to, quiet = values.pop("json", ""), values.pop("quiet", False)
    refuse_shared_files({"json": to} if to else {}, path)
    source = read_bytes(path, "Python")

    from lockstep.gradients.audit import AuditResult, audit
    from lockstep.sides.code import function_of, names_of

    def judged() -> AuditResult:
        names = names_of(source, path)
        reference = function_of(names, path, "reference")
        if "inputs" not in names:
            raise Unusable(f"{path}: has no `inputs`; expected a dict, or a function of a seed")
        own = {key: names[key] for key in ("rule", "rtol", "atol") if key in names}
        if not own:
            raise Unusable(f"{path}: has no `rule(actual, expected)`; expected it, or rtol, atol")
        return audit(reference, names["inputs"], **own, **values)

    result = published(judged, path, path, to, quiet, came)
    return int(bool(result.passes))


main = command(parser, _audit)
