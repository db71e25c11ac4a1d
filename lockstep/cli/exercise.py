"""`lockstep exercise`: write the exercise, check it, give hints."""

import os
import select
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockstep.cli.main import Parser, Printed, printer, signals, status
from lockstep.cli.output import whole_file
from lockstep.errors import Unusable

if TYPE_CHECKING:
    from lockstep.learn.exercise import Verdict

_POLL = 0.2  # seconds between two looks at the file


def main(arguments: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those of the command line; by default the program's own.
        name: What messages call the command; by default as it was started.

    Returns:
        The exit status: 0 where every formula is right, or the file was written; 1 where not
        yet; 2 for input that cannot be used.
    """
    parser = Parser(
        name,
        allow_abbrev=False,
        description="Derive back-propagation yourself: a file of formulas to fill in. "
        "Once it is there, each formula is checked against PyTorch.",
    )
    parser.add_argument("file", metavar="my_net.py", help="the file, written where it is not there")
    about = "write the exercise in matrices instead of the lecture's scalars"
    parser.add_argument("--matrix", action="store_true", help=about)
    about = "write a finished file with this mistake in it, for you to find"
    parser.add_argument("--mistake", metavar="NAME", help=about)
    about = "check at each save; h: a further hint, v: the value, q: quit"
    parser.add_argument("--watch", action="store_true", help=about)
    options = parser.parse_args(arguments)
    compare = "lockstep compare" if name else "python scripts/compare.py"
    with signals():
        return status(lambda: _practise(options, compare), name)


def _practise(options: Namespace, compare: str) -> int:
    session = _Session(options.file, compare, printer()[0])
    if not os.path.exists(options.file):
        session.printed([_write(options)])
        return session.watch() if options.watch else 0
    if options.mistake is not None:
        taken = f"{options.file} is there already; expected a name not taken yet"
        raise Unusable(f"--mistake {options.mistake}: {taken}")
    return session.watch() if options.watch else session.check()


def _write(options: Namespace) -> str:
    """Write the file; the sentence that says what it is."""
    from lockstep.learn.exercise import plantable
    from lockstep.learn.template import template

    planted = None
    if options.mistake is not None:
        planted = plantable().get(options.mistake)
        if planted is None:
            raise Unusable(f"--mistake {options.mistake}: expected one of {', '.join(plantable())}")
    with whole_file(options.file, "file") as file:
        file.write(template(options.matrix or planted is not None, planted))
    what, task = ("An exercise", "Fill in a formula")
    if planted:
        what, task = ("A finished step with one mistake", "Find it")
    return f"{what} is in {options.file}. {task}, then run this again."


@dataclass
class _Session:
    """A user at a file.

    Attributes:
        path: The file.
        compare: The command that trains with it.
        printed: What prints lines.
        verdicts: What became of each formula when the file was last checked.
        hint: Which hint was given last for the first formula that is not right yet.
    """

    path: str
    compare: str
    printed: Printed
    verdicts: "Mapping[str, Verdict]" = field(default_factory=dict)
    hint: int = 0

    @property
    def current(self) -> "Verdict | None":
        """The first formula that is not right yet."""
        return next((verdict for verdict in self.verdicts.values() if not verdict.done), None)

    def check(self) -> int:
        """Check the file and print what is right and what is not; 0 where everything is."""
        from lockstep.learn.exercise import check_file

        before = self.current
        self.verdicts = check_file(self.path)
        self.printed(lines(self.path, self.verdicts, self.compare))
        if not (before and self.current and self.current.name == before.name):
            self.hint = 0
        return 1 if self.current else 0

    def watch(self) -> int:
        """Check at each save; keys give hints. Ends when everything is right, or with q."""
        seen, pressed = None, None
        with _keys() as key:
            while pressed != "q":
                stamp = os.stat(self.path).st_mtime_ns if os.path.exists(self.path) else None
                if stamp not in (None, seen):
                    seen = stamp
                    if self._look() == 0:
                        return 0
                pressed = key()
                if pressed in ("h", "v") and self.current:
                    self.printed([self._help(pressed, self.current)])
        return 1

    def _look(self) -> int:
        """Check the file as it was saved, which may be no Python at the moment."""
        try:
            result = self.check()
        except Unusable as reason:
            self.printed([str(reason)])
            return 1
        if result:
            self.printed(["[h] a further hint  [v] PyTorch's value  [q] quit", ""])
        return result

    def _help(self, pressed: str, current: "Verdict") -> str:
        """A further hint, or the value."""
        from lockstep.learn.template import hints

        if pressed == "v":
            unknown = "fill it in first, so that there is something to compare"
            value = unknown if current.torch is None else current.torch
            return f"{current.name}: PyTorch {value}, yours {current.yours}"
        ladder = hints(current.name, "delta_h" in self.verdicts)
        self.hint = min(self.hint + 1, len(ladder) - 1)
        return f"hint {self.hint} of {len(ladder) - 1}: {ladder[self.hint]}"


def lines(path: str, verdicts: "Mapping[str, Verdict]", compare: str) -> Iterator[str]:
    """What a check prints: what is right, the first formula that is not, and what comes next.

    Args:
        path: The file.
        verdicts: What became of each formula, by name and in order.
        compare: The command that trains with the file.
    """
    from lockstep.learn.exercise import COMMAND, MATRIX_EXAMPLES, SCALAR_EXAMPLES
    from lockstep.learn.template import hints

    matrix = "delta_h" in verdicts
    done = sum(verdict.done for verdict in verdicts.values())
    if done == len(verdicts):
        examples = ", ".join(MATRIX_EXAMPLES if matrix else SCALAR_EXAMPLES)
        network = "--sizes 3-4-2 --samples 5" if matrix else "--seed 1"
        yield f"ALL {len(verdicts)} FORMULAS ARE RIGHT. You have derived back-propagation."
        yield f"Each agrees with PyTorch to rounding on {examples}."
        yield "See it train, step by step, next to PyTorch:"
        yield f"  {compare} {network} {COMMAND} --derivation {path}"
        return
    wrong = [verdict for verdict in verdicts.values() if verdict.filled and not verdict.done]
    empty = [verdict for verdict in verdicts.values() if not verdict.filled]
    others = f", {len(wrong)} not yet" if wrong else ""
    yield f"{done} of {len(verdicts)} formulas are right{others}."
    if wrong:
        yield from _about(wrong[0], hints(wrong[0].name, matrix)[0])
    if empty:
        following = "next to fill in" if wrong else "next"
        yield f"{following}: {_at(empty[0])}: {hints(empty[0].name, matrix)[0]}"


def _about(wrong: "Verdict", hint: str) -> Iterator[str]:
    """What is wrong with a formula."""
    if wrong.error is not None:
        yield f"not yet: {_at(wrong)}: {wrong.error}"
        return
    agrees = f"agrees on {', '.join(wrong.agrees)}; " if wrong.agrees else ""
    yield f"not yet: {_at(wrong)}: {agrees}differs on {', '.join(wrong.differs)}"
    if wrong.agrees == ("one sample",):
        yield "  something depends on the number of samples"
    if wrong.says:
        yield f"  {wrong.says}"
    yield f"  look at: {hint}"


def _at(verdict: "Verdict") -> str:
    return f"{verdict.name} (line {verdict.line})" if verdict.line else verdict.name


@contextmanager
def _keys() -> "Iterator[Callable[[], str | None]]":
    """A function that waits a moment and returns the key that was pressed meanwhile, if any."""
    if not sys.stdin.isatty():
        yield lambda: time.sleep(_POLL)
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield lambda: sys.stdin.read(1) if select.select([sys.stdin], [], [], _POLL)[0] else None
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
