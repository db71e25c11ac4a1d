"""`lockstep sheet`: worksheets of a training step, with numbers for each student, and keys."""

from __future__ import annotations

from typing import Any

from lockstep.cli.main import Parser, command, printer
from lockstep.errors import need
from lockstep.setup.options import OPTIONS, Option, check, file_kind

ROSTER = file_kind("roster.csv")
STUDENTS = "a table with a line for each, whose names are in the column `name` or in the first"
_PROBLEM = Option("problem", "the problem", file_kind("PROBLEM.toml", ".toml"))
_GROUPS = {
    "the sheets": (
        Option("students", STUDENTS, ROSTER, None, "one sheet, with the problem's own numbers"),
        Option("title", "of the sheet", OPTIONS["title"].kind, None, "the problem's, or Worksheet"),
        Option("out", "the folder that they go to", file_kind("DIR"), "sheets"),
    ),
}
_OPTIONS = {"problem": _PROBLEM} | {it.name: it for group in _GROUPS.values() for it in group}


def parser(name: str | None = None) -> Parser:
    """The options of the command; one that is not given is not in what it returns."""
    it = Parser(
        name,
        description="Write a worksheet of one training step to print, formulas with boxes to fill "
        "in, and its key; for each student with numbers of their own, which `lockstep grade "
        "--per-student` takes too.",
        epilog="Exit status: 0 written, 2 unusable input, 130 interrupted, 143 terminated.",
    )
    it.add_argument("problem", metavar=_PROBLEM.kind.metavar, help=_PROBLEM.help)
    it.add_options(_GROUPS)
    return it


def _sheet(given: dict[str, Any], came: list[int]) -> int:
    words = {"problem": "PROBLEM"}
    values = {name: it.default for name, it in _OPTIONS.items() if it.default is not None}
    values |= check(given, lambda key: words.get(key) or _OPTIONS[key].flag, _OPTIONS)
    need("lockstep sheet", "page")

    from lockstep.grade.hand_ins import read_roster
    from lockstep.grade.reports import write_pages
    from lockstep.grade.sheets import sheets
    from lockstep.setup.problem import read_file
    from lockstep.text import counted

    names = read_roster(values["students"]) if "students" in values else []
    own = read_file(values["problem"])
    found = sheets(own, names, values.get("title", ""))
    folder = values["out"]
    write_pages(folder, found, "--out")
    printed, _ = printer()
    printed([f"{counted(len(found) // 2, 'sheet')}, each with its key, in {folder}"])
    return 0


main = command(parser, _sheet)
