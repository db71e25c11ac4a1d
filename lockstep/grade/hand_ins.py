"""The hand-ins of a folder, and what each is called."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lockstep.errors import Unusable

ENDINGS = (".py", ".ipynb")


@dataclass(frozen=True)
class HandIn:
    """A file that was handed in.

    Attributes:
        name: What it is called: by its file, or by its folder where all files are called alike.
        path: Where it is.
    """

    name: str
    path: str


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
