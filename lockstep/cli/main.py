"""What every command shares: a parser, signals, exit statuses, and where output goes."""

import argparse
import errno
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeAlias

from lockstep.errors import Unusable, brief
from lockstep.network.options import FILE, Option

if TYPE_CHECKING:
    from rich.text import Text

Printed: TypeAlias = "Callable[[Iterable[str | Text]], None]"
_ASCII = {
    "σ": "sigma",
    "Σ": "sum",
    "δ": "delta",
    "·": "*",
    "−": "-",
    "²": "^2",
    "³": "^3",
    "½": "1/2",
    "ᵀ": ".T",
    "×": "x",
    "✓": "ok",
    "✗": "XX",
    "│": "|",
}


def whole(text: str) -> int:
    """A whole number on the command line."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def real(text: str) -> float:
    """A number on the command line."""
    from lockstep.network.files import real_number

    try:
        return real_number(text)
    except ValueError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from None


class Parser(argparse.ArgumentParser):
    """Reads a command line; an error is one line on standard error and status 2.

    Args:
        prog: The command, in messages; by default as it was started.
        settings: Those of `argparse.ArgumentParser`.
    """

    def __init__(self, prog: str | None = None, **settings: Any) -> None:
        super().__init__(prog, allow_abbrev=False, **settings)
        # -1e-3 and -inf are values of --lr, which argparse knows of -1 and -0.5 alone
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")

    def add_options(self, groups: Mapping[str, Iterable[Option]]) -> None:
        """Add an argument for each option, under the heading of its group."""
        for heading, options in groups.items():
            group = self.add_argument_group(heading)
            for option in options if heading != FILE else ():
                settings: dict[str, Any] = {"action": "store_true"}
                if option.kind.type is not bool:
                    read = {int: whole, float: real}.get(option.kind.type)
                    settings = {"metavar": option.kind.metavar, "type": read}
                about = option.help + (f" (default: {option.without})" if option.without else "")
                group.add_argument(option.flag, default=argparse.SUPPRESS, help=about, **settings)

    def error(self, message: str) -> NoReturn:
        complain(message.removeprefix("argument "), self.prog)
        sys.exit(2)


@contextmanager
def signals() -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM end a command in order, and put back the handlers that were there.

    SIGTERM exits with status 143, and what is half written is removed on the way. Ctrl-C raises
    KeyboardInterrupt as ever. Outside the main thread, which gets all signals, nothing is changed.

    Yields:
        A list that holds something once Ctrl-C has been pressed: an exception that is raised in
        a native callback is lost.
    """
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            sys.exit(128 + number)
        seen.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    numbers = {signal.SIGINT, getattr(signal, "SIGTERM", signal.SIGINT)}  # all systems have SIGINT
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def status(command: Callable[[list[int]], int], name: str | None = None) -> int:
    """The exit status of a command, or of what ends it.

    Args:
        command: What to run, with the list that `signals` yields.
        name: What messages call it; by default as it was started.

    Returns:
        The command's own status; 2 for input that cannot be used or output that cannot be
        written, 130 for Ctrl-C, 141 where the reader of standard output has left.
    """
    if sys.stdout is None:
        complain("standard output is closed; expected it to be open", name)
        return 2
    try:
        with signals() as interrupted:
            return command(interrupted)
    except Unusable as reason:
        complain(reason, name)
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        complain(f"standard output cannot be written: {error.strerror}", name)
        return 2


def printer() -> tuple[Printed, int]:
    """A function that prints lines, coloured on a terminal and never cut; the width to aim at."""
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    width = max(shutil.get_terminal_size((80, 24)).columns, 40)
    console = Plain(highlight=False, markup=False, emoji=False, width=width)
    encoding = sys.stdout.encoding or "ascii"

    def printed(lines: Iterable[str | Text]) -> None:
        for line in lines:
            text = Text(line) if isinstance(line, str) else line
            text.plain = encodable(visible(text.plain), encoding)
            console.print(text, soft_wrap=True)

    return printed, width


def encodable(text: str, encoding: str) -> str:
    """The text in characters that the stream has: σ or sigma, ✓ or ok."""
    return "".join(
        c if c.encode(encoding, "ignore") else _ASCII.get(c) or ascii(c)[1:-1] for c in text
    )


def visible(text: str) -> str:
    """The text with control characters as escapes, so that no file's content drives a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def complain(reason: object, name: str | None = None) -> None:
    """Print a line on standard error that says what cannot be used.

    Args:
        reason: The sentence.
        name: The command that the line begins with; by default as it was started.
    """
    command = name or os.path.basename(sys.argv[0])
    print(f"{command}: {visible(brief(str(reason)))}", file=sys.stderr)


@contextmanager
def whole_file(path: str, option: str, binary: bool = False) -> Iterator[IO[Any]]:
    """A file for writing that appears at `path` when the block ends well, and else leaves no trace.

    Args:
        path: A file, or a device or a pipe, which is written to as it is.
        option: The option that asked for it, for the message.
        binary: Whether bytes are written.

    Raises:
        Unusable: The file cannot be written; where it cannot be opened, before the block.
    """
    special = os.path.exists(path) and not os.path.isfile(path)
    part = path if special else f"{path}.part"
    with _writing(path, option):
        file = open(part, "wb") if binary else open(part, "w", encoding="utf-8")  # noqa: SIM115
    try:
        with _writing(path, option):
            with file:
                yield file
            if not special:
                os.replace(part, path)
    finally:
        if not special:
            with suppress(OSError):
                os.unlink(part)


@contextmanager
def line_file(path: str, option: str) -> Iterator[Callable[[str], None]]:
    """A function that writes lines to a file, each flushed, so that what is there can be read."""
    with _writing(path, option), open(path, "w", encoding="utf-8", buffering=1 << 16) as file:

        def write(line: str) -> None:
            file.write(line)
            file.flush()

        yield write


@contextmanager
def _writing(path: str, option: str) -> Iterator[None]:
    """Report a file that cannot be written as Unusable."""
    try:
        yield
    except BrokenPipeError:  # not of this file, but of standard output
        raise
    except OSError as error:
        expected = "; expected a file in a folder that exists"
        where = "" if error.errno == errno.ENOSPC else expected
        raise Unusable(f"{option} {path}: cannot be written: {error.strerror}{where}") from None


@contextmanager
def progress(total: int | None, words: str) -> Iterator[Callable[[int], None]]:
    """A function to call with how much is done; it draws a bar on standard error.

    Only on a terminal, and only when the work lasts more than about two seconds.

    Args:
        total: How much there is to do; None where nobody knows.
        words: What is counted.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich import progress as rich
    from rich.console import Console

    parts = rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn()
    bar = rich.Progress(
        rich.TextColumn(words), *parts, console=Console(stderr=True), transient=True
    )
    task = bar.add_task(words, total=total)
    began = drawn = time.monotonic()

    def show(done: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - began > 2 and now - drawn > 0.1:
            drawn = now
            bar.start()
            bar.update(task, completed=done)

    try:
        yield show
    finally:
        bar.stop()
