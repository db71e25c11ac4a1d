"""Where output goes: files that are whole or not there, streams that can encode only so much."""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from lockstep.errors import Unusable, brief

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


def encodable(text: str, encoding: str) -> str:
    """The text in characters that the stream has: σ or sigma, ✓ or ok."""

    def fits(part: str) -> bool:
        try:
            part.encode(encoding)
        except UnicodeEncodeError:
            return False
        return True

    if fits(text):
        return text
    return "".join(
        c if fits(c) else _ASCII.get(c) or c.encode("ascii", "backslashreplace").decode()
        for c in text
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
