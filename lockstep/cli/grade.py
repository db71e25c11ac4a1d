"""`lockstep grade`: judge the hand-ins of a class, each in a process of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from lockstep.cli.main import Parser, command, printer, progress, refuse_shared_files, whole_file
from lockstep.cli.sheet import ROSTER, STUDENTS
from lockstep.errors import Unusable, need
from lockstep.setup.options import FLAG, OPTIONS, Kind, Option, check, file_kind, number

if TYPE_CHECKING:
    from lockstep.grade.judge import Grade, Task


def _packages(value: Any) -> tuple[str, ...] | None:
    found = tuple(name.strip() for name in value.split(","))
    return found if all(name.isidentifier() for name in found) else None


_FOLDER = Kind("the name of a folder", file_kind("DIR").take, "DIR")
_FORBIDDEN = Kind("names of packages, separated by commas", _packages, "MODULES")
_SECONDS = number(float, "a number of seconds from 0.1 on", 0.1, 86_400.0)
_MEBIBYTES = number(int, "a whole number of MiB from 64 on", 64, 2**30)
_GROUPS = {
    "how to judge": (
        OPTIONS["require"],
        Option("points", "what each quantity or group is worth", file_kind("FILE.toml", ".toml")),
        Option("no_given", "computed quantities can't be asked for", FLAG),
        Option("forbid", "packages that may not be imported", _FORBIDDEN),
        Option("expect", "the mistake that is to be found first", OPTIONS["expect"].kind),
        Option("per_student", "numbers of their own for each name", FLAG),
        Option("students", f"the same, for the names of {STUDENTS}", ROSTER),
    ),
    "limits of each hand-in": (
        Option("timeout", "seconds that it may run", _SECONDS, 30.0, "30"),
        Option("memory", "memory that it may use, in MiB", _MEBIBYTES, 4096),
        Option(
            "jobs",
            "how many at once",
            number(int, "a whole number from 1 on", 1),
            None,
            "one a core",
        ),
    ),
    "output": (
        Option("csv", "write a table", file_kind("FILE")),
        OPTIONS["json"],
        Option("gradescope", "write results.json for Gradescope", file_kind("FILE")),
        Option("html", "write a page of each, and index.html", _FOLDER, extra="page"),
        OPTIONS["quiet"],
    ),
}
_OPTIONS = {it.name: it for group in _GROUPS.values() for it in group}
_DEFAULTS = {it.name: it.default for it in _OPTIONS.values() if it.default is not None}


def parser(name: str | None = None) -> Parser:
    """The options of the command; one that is not given is not in what it returns."""
    it = Parser(
        name,
        argument_default=argparse.SUPPRESS,
        description="Judge the hand-ins of a class: the `step` of each, as `lockstep compare` "
        "does, or a program without one, as `lockstep look` does. Each runs in a process of its "
        "own, with limits on time and memory, without a network, in a folder of its own.",
        epilog="Exit status: 0 all hand-ins were judged, whatever their verdict, 2 unusable input, "
        "130 interrupted, 143 terminated.",
    )
    about = "folders, files, or patterns such as 'students/*/hw3.py'; a problem file among them"
    it.add_argument("places", nargs="+", metavar="FOLDER [PROBLEM.toml]", help=about)
    it.add_options(_GROUPS)
    return it


def _grade(given: dict[str, Any], came: list[int]) -> int:
    places = given.pop("places")
    problems = [it for it in places if it.endswith(".toml")]
    places = [it for it in places if it not in problems]
    if len(problems) > 1 or not places:
        expected = "expected one" if problems and places else "expected a folder of hand-ins"
        raise Unusable(f"{' '.join(problems) or 'FOLDER'}: {expected}")
    values = _DEFAULTS | check(given, lambda key: _OPTIONS[key].flag, _OPTIONS)
    if "html" in values:
        need("--html", "page")
    _refuse_shared(values, *problems)
    task, settings = _task(values, problems)

    from lockstep.grade.hand_ins import hand_ins, of_students, read_roster

    found = hand_ins(places)
    roster = read_roster(values["students"]) if "students" in values else []
    if roster:
        found = of_students(found, roster)

    from lockstep.grade.run import graded

    jobs = min(values.get("jobs") or os.cpu_count() or 1, len(found))
    with ExitStack() as files:
        written = _opened(values, files)
        show = files.enter_context(progress(len(found), "hand-ins"))
        grades = graded(found, task, jobs, show)
        _write(values, written, grades, settings, roster, [it.student for it in found])
    return 0


main = command(parser, _grade)


def _task(values: dict[str, Any], problems: list[str]) -> tuple[Task, dict[str, Any]]:
    """How hand-ins are judged, and the settings of their problem."""
    from lockstep.setup.problem import make_problem, read_file

    own = read_file(problems[0]) if problems else {}
    for key in ("derivation", "numbers"):
        if key in own:
            raise Unusable(f"{problems[0]}: {key}: the hand-ins stand for it; expected none")
    if "data" in own:
        own["data"] = os.path.abspath(own["data"])  # hand-ins are judged in other folders
    require = values.get("require", own.pop("require", None))
    problem = make_problem(dict(own))

    from lockstep.grade.judge import Task
    from lockstep.grade.points import demanded, items, read_points

    points = read_points(values["points"]) if "points" in values else None
    if points is not None:
        items(points, problem.network, values["points"])
    demanded(require, problem.network)
    return Task(
        own,
        points,
        require,
        not values.get("no_given"),
        values.get("forbid", ()),
        values.get("expect", ""),
        values["timeout"],
        values["memory"],
        bool(values.get("per_student") or "students" in values),
        "html" in values,
    ), problem.settings


def _refuse_shared(values: dict[str, Any], *read: str) -> None:
    """Refuse to write one file for two options, or over one that is read."""
    written: dict[str, Any] = {n: values[n] for n in ("csv", "json", "gradescope") if n in values}
    refuse_shared_files(written, *read, values.get("points"))


def _opened(values: dict[str, Any], files: ExitStack) -> dict[str, Any]:
    """The files to write, opened before anything is judged."""
    found = {}
    for key in ("csv", "json", "gradescope"):
        if values.get(key, "-") != "-":
            found[key] = files.enter_context(whole_file(values[key], f"--{key}"))
    if "html" in values:
        try:
            os.makedirs(values["html"], exist_ok=True)
        except OSError as error:
            raise Unusable(f"--html {values['html']}: cannot be made: {error.strerror}") from None
    return found


def _write(
    values: dict[str, Any],
    files: dict[str, Any],
    grades: list[Grade],
    settings: dict[str, Any],
    roster: list[str],
    students: list[str | None],
) -> None:
    """Print the table, and write the files that are asked for."""
    from lockstep.grade import reports

    if values.get("json") == "-":
        sys.stdout.write(reports.as_json(grades, settings))
    else:
        printed, _ = printer()
        lines = list(reports.table(grades))
        absent = [name for name in roster if name not in students]
        several = [f"{name} ({n})" for name, n in Counter(students).items() if n > 1 and name]
        if several:
            lines.append(f"Several hand-ins are by {'; '.join(several)}.")
        if absent:
            lines.append(f"Nothing was handed in by {'; '.join(absent)}.")
        printed(lines[-1 - bool(absent) - bool(several) :] if values.get("quiet") else lines)
    if "csv" in files:
        files["csv"].write(reports.as_csv(grades))
    if "json" in files:
        files["json"].write(reports.as_json(grades, settings))
    if "gradescope" in files:
        files["gradescope"].write(reports.as_gradescope(grades))
    if "html" in values:
        reports.write_pages(values["html"], reports.pages(grades), "--html")
