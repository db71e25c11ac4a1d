"""The figures that the house has to hold: `python -m tests.house`. Status 1 where one is over.

They are a mirror, not a target: a line break more or less changes nothing.
"""

import ast
import contextlib
import io
import json
import math
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[1]
REFEREE = ROOT / "lockstep"
PACKAGES = ("lockstep", "manual_backprop", "torch_reference", "scripts")
# What a reader must read before trusting a verdict.
READ = ("network", "bound", "sides/function.py", "run", "explain/case.py")
MOST = 20  # lines that say what is over
DERIVATION = ROOT / "scripts" / "examples" / "updated_too_early.py"
STRUCTURE = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (
    *(ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case),
    *(ast.With, ast.AsyncWith, ast.Assert, ast.FunctionDef, ast.AsyncFunctionDef),
)


@dataclass
class Figure:
    """One figure, the limit that it has to hold if there is one, and what is over it."""

    what: str
    value: float
    limit: float = math.inf
    at_least: bool = False
    over: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        line = f"{self.what:<56}{shown(self.value):>8}"
        if self.limit < math.inf:
            bound = "at least" if self.at_least else "at most"
            line += f"  {bound:<8}{shown(self.limit):>7}  {'ok' if self.holds else 'over'}"
        return "\n    ".join([line, *self.over[:MOST], *["…"][: len(self.over) > MOST]])


def shown(number: float) -> str:
    return f"{number:,.4g}" if number < 1000 else f"{number:,.0f}"


def files(*places: Path) -> list[Path]:
    """The Python files of folders, and files that are named themselves.

    Examples are left out: they are what a person writes.
    """
    found = (sorted(place.rglob("*.py")) if place.is_dir() else [place] for place in places)
    return [path for paths in found for path in paths if "examples" not in path.parts]


def tokens(source: str) -> int:
    """Python's tokens without comments and line structure."""
    stream = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(token.type not in STRUCTURE for token in stream)


def tokens_in(*places: Path) -> int:
    return sum(tokens(path.read_text()) for path in files(*places))


def functions(source: str) -> Iterator[Function]:
    """Every function and method of a file, nested ones too."""
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def is_annotated(function: Function) -> bool:
    """Whether the result and every argument but `self` and `cls` have a type."""
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    typed = all(
        argument is None or argument.annotation or argument.arg in ("self", "cls")
        for argument in arguments
    )
    return typed and function.returns is not None


def branches(function: Function) -> int:
    """How many ways there are through a function, what stands nested in it included."""
    return sum(map(_branches, ast.walk(function))) - 1  # the function itself is not nested


def _branches(node: ast.AST) -> int:
    """What one node adds."""
    match node:
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
    return isinstance(node, BRANCHES)


def too_complex(limit: int) -> list[str]:
    """The functions that ruff finds above this cyclomatic complexity."""
    command = [sys.executable, "-m", "ruff", "check", "--select", "C901", "--output-format", "json"]
    setting = ["--config", f"lint.mccabe.max-complexity={limit}"]
    done = subprocess.run([*command, *setting, *PACKAGES], cwd=ROOT, capture_output=True, text=True)
    return [
        f"{Path(found['filename']).relative_to(ROOT)}:{found['location']['row']} {found['message']}"
        for found in json.loads(done.stdout)
    ]


@dataclass
class Passage:
    """What one step of a derivation passes through in lockstep/, from the command to the verdict.

    Counted are the calls from the start of the command's `main` to the first return of
    `Result.add`, in the main thread. What a module does when it is imported is not counted.
    """

    files: set[str] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    changes: int = 0  # calls from one file into another
    importing: int = 0
    has_ended: bool = False

    def watch(self, frame: FrameType, event: str, _: object) -> None:
        """A profile function, see `sys.setprofile`."""
        if event not in ("call", "return") or self.has_ended:
            return
        name = frame.f_code.co_qualname
        if name == "<module>":
            self.importing += 1 if event == "call" else -1
        elif not self.importing and _is_ours(frame):
            if event == "call":
                self._enter(frame)
            elif name == "Result.add":
                self.has_ended = True

    def _enter(self, frame: FrameType) -> None:
        file = frame.f_code.co_filename
        self.files.add(file)
        self.functions.add((file, frame.f_code.co_qualname))
        caller = frame.f_back
        while caller and not _is_ours(caller):
            caller = caller.f_back
        self.changes += caller is not None and caller.f_code.co_filename != file


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(str(REFEREE))


def passage() -> Passage:
    """That of the example whose output weights are updated too early."""
    from lockstep.cli.compare import main

    passed = Passage()
    options = ["--sizes", "3-4-2", "--samples", "5", "--steps", "1", "--show", "none"]
    with contextlib.redirect_stdout(io.StringIO()):
        sys.setprofile(passed.watch)
        try:
            main(["--derivation", str(DERIVATION), *options])
        finally:
            sys.setprofile(None)
    return passed


def figures() -> Iterator[Figure]:
    """Every figure, measured."""
    sources = [path.read_text() for path in files(REFEREE)]
    size, lines = sum(map(tokens, sources)), sum(len(source.splitlines()) for source in sources)
    yield Figure("tokens in lockstep/", size, 80_000)
    yield Figure("tokens a line", size / lines, 6)
    to_read = tokens_in(*(REFEREE / it for it in READ))
    yield Figure("tokens to read before trusting a verdict", to_read, 25_000)
    yield Figure("modules directly in lockstep/", len(list(REFEREE.glob("*.py"))), 8)
    yield Figure("# fmt: skip in lockstep/", sum(it.count("# fmt: skip") for it in sources), 15)
    yield from of_functions()
    passed = passage()
    yield Figure("files from a derivation's command to its verdict", len(passed.files), 20)
    yield Figure("functions on that way", len(passed.functions))
    yield Figure("calls from file to file on that way", passed.changes)


def of_functions() -> Iterator[Figure]:
    """The figures that count functions, of all packages."""
    every = {
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}": function
        for path in files(*(ROOT / package for package in PACKAGES))
        for function in functions(path.read_text())
    }
    untyped = [place for place, function in every.items() if not is_annotated(function)]
    share = 100 * (1 - len(untyped) / len(every))
    yield Figure(f"% of {len(every):,} functions annotated", share, 100, True, untyped)
    above = too_complex(12)
    yield Figure("functions above complexity 12", len(above), 0, over=above)
    above = [place for place, function in every.items() if branches(function) > 18]
    yield Figure("functions above 18 branches", len(above), 0, over=above)


def main() -> int:
    """Print the figures; returns 1 where one is over."""
    measured = list(figures())
    print(*measured, sep="\n")
    return int(not all(figure.holds for figure in measured))


if __name__ == "__main__":
    sys.exit(main())
