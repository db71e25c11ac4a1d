"""The grades of a class as a table, CSV, JSON, Gradescope's results and pages."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lockstep.errors import Unusable
from lockstep.grade.judge import Grade
from lockstep.report.document import strict
from lockstep.text import columns, counted
from lockstep.version import versions

_COLUMNS = ("name", "points", "of", "verdict", "first", "mistakes", "seconds", "remark")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet's formula begins


def table(grades: Sequence[Grade]) -> Iterator[str]:
    """Lines for the terminal: a row each, what there is to say of each, and the sum."""
    heads = ["hand-in", "points", "verdict", "first", "mistakes"]
    rows = [
        [
            it.name,
            f"{it.points:g} of {it.of:g}",
            it.verdict,
            it.first,
            ", ".join(it.mistakes),
        ]
        for it in grades
    ]
    yield from columns([heads, *rows], "<><<<")
    yield ""
    remarks = [f"{it.name}: {it.remark}" for it in grades if it.remark]
    yield from [*remarks, ""] if remarks else []
    counts = Counter(it.verdict for it in grades)
    of_each = [f"{counts[it]} {it}" for it in ("match", "mismatch", "undecided", "failed")]
    yield f"{counted(len(grades), 'hand-in')}: {', '.join(it for it in of_each if it[0] != '0')}"


def as_csv(grades: Sequence[Grade]) -> str:
    """A table with a line a hand-in; its mistakes have a semicolon between them."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for it in grades:
        row = it.document() | {"mistakes": "; ".join(it.mistakes)}
        writer.writerow([_cell(row[column]) for column in _COLUMNS])
    return file.getvalue()


def _cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    if isinstance(value, float):
        return f"{value:g}"
    return f"'{value}" if str(value).startswith(_FORMULA) else value


def as_json(grades: Sequence[Grade], problem: dict[str, Any]) -> str:
    """The grades as one document.

    Args:
        grades: Of all hand-ins.
        problem: Its settings.
    """
    found = versions() | {"problem": problem, "hand_ins": [it.document() for it in grades]}
    return json.dumps(strict(found), allow_nan=False) + "\n"


def as_gradescope(grades: Sequence[Grade]) -> str:
    """What an autograder of Gradescope's writes to results.json.

    Of one hand-in the items are its tests; of several each hand-in is one.
    """
    tests: list[dict[str, Any]] = []
    for it in grades:
        if len(grades) > 1:
            tests.append(_test(it.name, it.points, it.of, f"{it.verdict}. {it.remark}"))
            continue
        for item in it.items:
            says = [f"wrong: {', '.join(item.wrong)}"] if item.wrong else []
            says += [f"not returned: {', '.join(item.missing)}"] if item.missing else []
            tests.append(_test(item.name, item.points, item.of, "; ".join(says)))
    output = "\n\n".join(f"{it.name}: {it.report}" for it in grades)
    found = {
        "score": round(sum(it.points for it in grades), 2),
        "max_score": round(sum(it.of for it in grades), 2),
        "execution_time": round(sum(it.seconds for it in grades), 2),
        "output": output,
        "stdout_visibility": "hidden",
        "tests": tests,
    }
    return json.dumps(strict(found), allow_nan=False, indent=1) + "\n"


def _test(name: str, points: float, of: float, output: str) -> dict[str, Any]:
    status = "passed" if points == of else "failed"
    return {"name": name, "score": points, "max_score": of, "status": status, "output": output}


def pages(grades: Sequence[Grade]) -> dict[str, str]:
    """By file name the page of each hand-in, and index.html."""
    from lockstep.report.page.page import environment

    files = file_names([it.name for it in grades])
    failed = environment().get_template("failed.html")
    found = {
        file: it.page or failed.render(grade=it) for file, it in zip(files, grades, strict=True)
    }
    index = environment().get_template("index.html")
    found["index.html"] = index.render(
        heading=counted(len(grades), "hand-in"), rows=list(zip(grades, files, strict=True))
    )
    return found


def file_names(names: Sequence[str]) -> list[str]:
    """File names of pages, each once."""
    found: list[str] = []
    for name in names:
        own = re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "hand-in"
        taken = {it.lower() for it in found} | {"index.html"}
        number, file = 1, f"{own}.html"
        while file.lower() in taken:
            number += 1
            file = f"{own}_{number}.html"
        found.append(file)
    return found


def write_pages(folder: str, found: Mapping[str, str], option: str) -> None:
    """Write pages by file name to a folder.

    Args:
        folder: Where to; it is made.
        found: The pages.
        option: The option that asked for it, for the message.

    Raises:
        Unusable: It cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        for name, text in found.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise Unusable(f"{option} {folder}: cannot be written: {error.strerror}") from None
