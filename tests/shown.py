"""What a page shows is what comes out: runs the blocks of a page and compares.

A `python` block whose first line is a comment with a file name is saved under that name, and so is
a block of another language (`# numbers.toml`, `// net.c`). Any other `python` block is run; if the
next block is `text`, that is what comes out, printed or as the message of an exception. In a
`console` block each line that starts with `$ ` is run, and what follows comes out; a command of
which nothing is shown ends with status 0. A line `…` leaves something out. Blocks of `sh` are not
run.
"""

import contextlib
import io
import linecache
import math
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lockstep.__main__ import main as lockstep
from lockstep.cli import compare, descend, exercise

ROOT = Path(__file__).parents[1]

# Comparing

NUMBER = r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w|\.\d)"
KEPT = 1e-11  # about twelve significant digits; the last ones differ between processors and BLAS
BOTH = rf"({NUMBER})  (?:by hand|yours)\n +({NUMBER})  PyTorch"  # one number, rounded twice
# What is the processor's own, or moves with each edit, is not compared, and no more than that:
OWN = (
    r"\d+ ULP(?= of \d+ allowed)",  # how far apart two roundings of one number are
    # in the table: where they are farthest apart, for what is allowed; how far the weights drifted
    r"(?:\w+(?:\[[\d, ]+\])? +\d+ ULP|\bnone) +[\d.]+(?:e-\d+)?(?: +\d+ ULP)?$",
    # in the verdict: the largest of these
    r"The\s+largest\s+difference\s+is\s+\S+\s+%\s+of\s+what\s+rounding\s+explains",
    r"Every\s+value\s+is\s+the\s+same\s+on\s+both\s+sides",
    r"Both\s+sides\s+are\s+the\s+same\s+to\s+the\s+last\s+bit",
    r"(?:^|(?<=│)) *\d+(?= {2,}[a-z#])",  # where in its file a line of source stands
    # what check_gradients measures by what rounding does here
    r"(?<=rounding explains )\S+$",
    r"(?<=error: )\S+(?= of a value \(typical\)\.)",
    r"(?<=rounding puts yours off by )\S+, PyTorch's by \S+$",
)


def near(a: str, b: str) -> bool:
    """Whether two printed numbers agree in the digits that rounding leaves."""
    return math.isclose(float(a), float(b), rel_tol=KEPT)


def compared(text: str) -> str:
    """What of a text is compared, with one blank around each number.

    A number is as wide as its last digits make it, so the columns beside it are the processor's.
    """

    def one_line(pair: re.Match[str]) -> str:
        return f"{pair[1]}  on both sides" if near(pair[1], pair[2]) else pair[0]

    text = re.sub(BOTH, one_line, text.strip("\n"))
    text = re.sub("|".join(OWN), "#", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\S) {2,}", "  ", text)
    return re.sub(rf"\s*({NUMBER}|#)\s*", r" \1 ", text)


def comes_out(shown: str, printed: str) -> bool:
    """Whether a shown text is in a printed one: its words exactly, its numbers to rounding."""
    shown = compared(shown)
    numbers = re.findall(NUMBER, shown)
    words = (re.escape(part) for part in re.split(NUMBER, shown))
    places = re.finditer(f"({NUMBER})".join(words), compared(printed))
    return any(all(map(near, numbers, place.groups())) for place in places)


def missing(shown: str, printed: str) -> list[str]:
    """The parts of a shown text, between its lines `…`, that do not come out."""
    parts = re.split(r"^ *…\n", shown, flags=re.MULTILINE)
    return [part for part in parts if not comes_out(part.strip(), printed)]


# Running


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: Where it begins.
        language: What stands behind its fence.
        text: What is between its fences.
        name: Of the file that it is saved as, if it is.
    """

    line: int
    language: str
    text: str
    name: str | None

    def commands(self) -> list[tuple[str, str]]:
        """The commands of a console block, each with what is shown of its output."""
        if self.language != "console":
            return []
        text = self.text.replace("\\\n", "")
        before, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
        if before.strip():
            raise ValueError(f"line {self.line}: expected `$ ` and a command, got {before!r}")
        split = (part.partition("\n") for part in parts)
        return [(command, shown) for command, _, shown in split]


_FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"(?:#|//) ([\w/-]+\.\w+)\n")


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page that name their language."""
    found = []
    for fence in _FENCE.finditer(page):
        indent, language, text = fence.groups()
        text = re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        named = _FILE.match(text) if language not in ("sh", "text", "console") else None
        line = page.count("\n", 0, fence.start()) + 1
        found.append(Block(line, language, text, named[1] if named else None))
    return found


_OURS: dict[tuple[str, ...], Callable[[list[str]], int | None]] = {
    ("python", "scripts/compare.py"): compare.main,
    ("python", "scripts/exercise.py"): exercise.main,
    ("python", "scripts/gradient_descent.py"): descend.main,
    ("python", "-m", "lockstep"): lockstep,
    ("lockstep",): lockstep,
    ("pytest",): pytest.main,
}


class Shell:
    """Runs what a page shows, in a folder, and in this process where that can be done.

    Attributes:
        status: The exit status of the last command.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status = 0
        self._names: dict[str, Any] = {"__name__": "__page__"}  # of the page's programs
        self._hidden: dict[str, ModuleType] = {}  # modules of the same names as the page's files

    def save(self, name: str, text: str) -> None:
        """Save a file of the page."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        linecache.clearcache()
        there = sys.modules.pop(path.stem, None) if name.endswith(".py") else None
        if there and not self._of_the_page(there):
            self._hidden[path.stem] = there

    def close(self) -> None:
        """Forget the page's modules: another page has another mine.py."""
        for name, module in list(sys.modules.items()):
            if self._of_the_page(module):
                del sys.modules[name]
        sys.modules.update(self._hidden)

    def _of_the_page(self, module: ModuleType) -> bool:
        return str(getattr(module, "__file__", "")).startswith(str(self.folder))

    def program(self, block: Block) -> str:
        """Run a program in the names of those before it; what it printed or raised."""
        name = f"line_{block.line}.py"
        self.save(name, block.text)
        code = compile(block.text, str(self.folder / name), "exec")
        return self._in_process(partial(_called, [name], partial(exec, code, self._names)))

    def command(self, line: str) -> str:
        """Run a command; what it printed."""
        if line == "echo $?":
            return f"{self.status}\n"
        before, pipe, last = line.rpartition(" | ")
        words = [] if re.search(r"[|<>;&`$*]", last) else shlex.split(last, comments=True)
        settings = {}
        while words and re.match(r"[A-Z]+=", words[0]):
            name, _, settings[name] = words.pop(0).partition("=")
        run = self._ours(words)
        if run is None:
            return self._subprocess(line)
        given = self._subprocess(before) if pipe else ""
        with _changed(os.environ, settings):
            return self._in_process(run, given)

    def _ours(self, words: list[str]) -> Callable[[], object] | None:
        """What runs a command in this process, if it is the project's or a Python file."""
        for start, main in _OURS.items():
            if tuple(words[: len(start)]) == start:
                given = words[len(start) :]
                return partial(_called, [start[-1], *given], partial(main, given))
        if words[:1] == ["python"] and words[1].endswith(".py"):
            file = partial(runpy.run_path, str(self.folder / words[1]), run_name="__main__")
            return partial(_called, words[1:], file)
        return None

    def _in_process(self, run: Callable[[], object], given: str = "") -> str:
        """Run a function with this on standard input; what it printed or raised."""
        out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        keyboard, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(given.encode()), "utf-8")
        self.status = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                returned = run()
                self.status = returned if isinstance(returned, int) else 0
            except SystemExit as end:
                self.status = end.code if isinstance(end.code, int) else int(bool(end.code))
            except Exception:
                self.status = 1
                traceback.print_exc()
            finally:
                sys.stdin = keyboard
        out.seek(0)
        return out.read()

    def _subprocess(self, line: str) -> str:
        line = re.sub(r"(^|[|;&] )lockstep ", r"\1python -m lockstep ", line)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.status = done.returncode
        return done.stdout


def _called(words: list[str], run: Callable[[], object]) -> object:
    """Run a program that was called like this."""
    there = str(Path(words[0]).parent.absolute())  # Python looks for modules beside the program
    arguments, path = sys.argv, sys.path
    sys.argv, sys.path = words, [there, *path]
    try:
        return run()
    finally:
        sys.argv, sys.path = arguments, path


@contextlib.contextmanager
def _changed(settings: MutableMapping[str, str], new: dict[str, str]) -> Iterator[None]:
    before = dict(settings)
    settings.update(new)
    try:
        yield
    finally:
        settings.clear()
        settings.update(before)


_NEEDED = {"cc": "gcc", "node": "nodejs"}  # programs, and the package that has each
_SETTINGS = {"COLUMNS": "80", "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def lacking(page: str) -> list[str]:
    """What a page needs and this machine lacks, as sentences."""
    lines = [line for block in blocks(page) for line, _ in block.commands()]
    used = {word for line in lines for word in re.findall(r"(?:^|[|;&] )(\w+)", line)}
    return [
        f"no {name}: `apt install {package}`"
        for name, package in _NEEDED.items()
        if name in used and not shutil.which(name)
    ]


def differences(page: str, folder: Path) -> list[str]:
    """Run a page; where what it shows is not what comes out.

    Args:
        page: Its text.
        folder: An empty one, which gets the project's `scripts` and `tests`.
    """
    for name in ("scripts", "tests"):
        (folder / name).symlink_to(ROOT / name)
    found: list[str] = []
    everything = blocks(page)
    with (
        contextlib.chdir(folder),
        _changed(os.environ, _SETTINGS),
        contextlib.closing(Shell(folder)) as shell,
    ):
        for block, following in zip_longest(everything, everything[1:]):
            if block.name:
                shell.save(block.name, block.text)
            elif block.language == "python":
                shown = following.text if following and following.language == "text" else ""
                found += _difference(block.line, "the program", shown, shell.program(block), shell)
            for line, shown in block.commands():
                found += _difference(block.line, f"$ {line}", shown, shell.command(line), shell)
    return found


def _difference(line: int, what: str, shown: str, printed: str, shell: Shell) -> list[str]:
    """What of a shown output does not come out; without one, that the command failed."""
    where = f"line {line}: {what}\n"
    if not shown.strip():
        return [f"{where}--- exit status {shell.status}\n{printed}"] if shell.status else []
    return [
        f"{where}--- shown\n{part}--- but this comes out\n{printed}"
        for part in missing(shown, printed)
    ]
