"""The hand-ins of a folder, and what each is called."""

from __future__ import annotations

import csv
import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lockstep.errors import Unusable
from lockstep.setup.files import read_text

ENDINGS = (".py", ".ipynb")


@dataclass(frozen=True)
class HandIn:
    """A file that was handed in.

    Attributes:
        name: What it is called: by its file, or by its folder where all files are called alike.
        path: Where it is.
        student: The name in the roster; None where there is no roster, "" where its path has none.
    """

    name: str
    path: str
    student: str | None = None


def hand_ins(places: Iterable[str]) -> list[HandIn]:
    """The hand-ins in some places, sorted by name.

    Args:
        places: Folders, files, or patterns such as students/*/hw3.py. Of a folder all files that
            end with .py or .ipynb; where it has none itself, those of its folders.

    Raises:
        Unusable: There is no such place, or no hand-in.
    """
    found = {os.path.realpath(path): path for place in places for path in _files(place)}
    if not found:
        raise Unusable(
            f"{', '.join(places)}: there is no hand-in; expected files that end with .py or .ipynb"
        )
    paths = sorted(found.values())
    return [HandIn(name, path) for name, path in zip(_names(paths), paths, strict=True)]


def _files(place: str) -> list[str]:
    """The files of a place."""
    if os.path.isdir(place):
        inside = [str(path) for end in ENDINGS for path in Path(place).glob(f"*{end}")]
        below = [str(path) for end in ENDINGS for path in Path(place).glob(f"*/*{end}")]
        found = [path for path in inside or below if os.path.isfile(path)]
        return [path for path in found if not _is_hidden(path)]
    if os.path.exists(place):
        found = [place]
    elif glob.has_magic(place):
        found = [path for path in glob.glob(place, recursive=True) if os.path.isfile(path)]
    else:
        raise Unusable(f"{place}: cannot be read: there is no such file or folder")
    for path in found:
        if not path.endswith(ENDINGS):
            raise Unusable(f"{path}: expected a hand-in that ends with .py or .ipynb")
    return found


def _is_hidden(path: str) -> bool:
    """Whether it is no hand-in but what a tool has left: a copy of a notebook, a Mac's shadow."""
    return any(part.startswith((".", "__")) for part in Path(path).parts[-2:])


def _names(paths: list[str]) -> list[str]:
    """The shortest names that tell paths apart."""
    parts = [Path(path).absolute().parts for path in paths]
    common = len(os.path.commonprefix([it[:-1] for it in parts]))
    stems = [[*it[common:-1], Path(it[-1]).stem] for it in parts]
    if len(paths) > 1 and len({it[-1] for it in stems}) == 1 and all(len(it) > 1 for it in stems):
        stems = [it[:-1] for it in stems]
    names = [unicodedata.normalize("NFC", "/".join(it)) for it in stems]
    twice = {name for name, count in Counter(names).items() if count > 1}
    whole = ["/".join(it[common:]) for it in parts]
    return [own if name in twice else name for name, own in zip(names, whole, strict=True)]


# The students


def read_roster(path: str) -> list[str]:
    """The names of a CSV file: of its column `name`, or of its first one.

    Raises:
        Unusable: It cannot be read, or has no name, or one twice.
    """
    lines = read_text(path, "a table").splitlines()
    lines = [it for it in lines if it[:1] != "#"]
    first = lines[0] if lines else ""
    between = ";" if first.count(";") > first.count(",") else ","
    rows = [row for row in csv.reader(lines, delimiter=between) if any(row)]
    heads = [head.strip().lower() for head in rows[0]] if rows else []
    at = heads.index("name") if "name" in heads else 0
    students = rows[1:] if "name" in heads else rows
    names = [row[at].strip() for row in students if len(row) > at and row[at].strip()]
    if not names:
        raise Unusable(f"{path}: has no name; expected a line for each student")
    known: dict[str, str] = {}
    for name in names:
        first = known.setdefault(key_of(name), name)
        if first is not name:
            both = name if name == first else f"{first}, as {name},"
            raise Unusable(f"{path}: {both} is there twice; expected each name once")
    return names


def key_of(name: str) -> str:
    """What a name and a file that is called by it have in common: `Lee, Ann` and lee_ann.py."""
    plain = unicodedata.normalize("NFC", name).casefold()
    return re.sub(r"[\W_]+", "_", plain).strip("_") or plain


def of_students(found: Sequence[HandIn], names: Sequence[str]) -> list[HandIn]:
    """Hand-ins with the student whose name is in the path, and that name where it is the only one.

    Args:
        found: The hand-ins.
        names: Of the roster.
    """
    keys = {key_of(name): name for name in names}
    for name in names:
        first, *others = key_of(name).split("_")
        for parts in ([first, *others], [*others, first], [*others[-1:], first, *others[:-1]]):
            for between in ("_", ""):  # ann_lee and leeann are Lee, Ann too
                keys.setdefault(between.join(parts), name)
    folders = {Path(it.path).parent for it in found}
    named = 2 if len(folders) == len(found) else 1  # the folder as well where each has its own
    students = [_student(Path(it.path).parts[-named:], keys) for it in found]
    return [
        replace(it, student=name, name=name if students.count(name) == 1 and name else it.name)
        for it, name in zip(found, students, strict=True)
    ]


def _student(parts: Sequence[str], keys: dict[str, str]) -> str:
    """The name that is in a file's name, or in its folder's: the longest one; "" where none is."""
    for part in reversed(parts):
        own = f"_{key_of(part)}_"
        within = [key for key in keys if f"_{key}_" in own]
        if within:
            return keys[max(within, key=len)]
    return ""
