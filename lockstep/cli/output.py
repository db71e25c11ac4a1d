"""Where output goes: files that are whole or not there, streams that can encode only so much, progress."""

import errno
import os
import sys
import time
from contextlib import contextmanager, suppress

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


def encodable(text, encoding):
    """The text in characters that the stream has: σ or sigma, ✓ or ok."""
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return "".join(_encodable(character, encoding) for character in text)


def _encodable(character, encoding):
    try:
        character.encode(encoding)
        return character
    except UnicodeEncodeError:
        return _ASCII.get(character) or character.encode("ascii", "backslashreplace").decode()


def visible(text):
    """The text with control characters shown as escapes, so that a file's name or content cannot drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def complain(reason):
    """Tell on standard error, in one line that begins with the command's name, what cannot be used."""
    print(f"{os.path.basename(sys.argv[0])}: {visible(brief(str(reason)))}", file=sys.stderr)


@contextmanager
def whole_file(path, option, binary=False):
    """A file for writing that appears at `path` when the block ends well, and leaves no trace when it does not.

    option: the name of the option that asked for it, for the message. Raises Unusable before the block.
    """
    special = os.path.exists(path) and not os.path.isfile(
        path
    )  # a device or a pipe is written to as it is
    part = path if special else f"{path}.part"
    try:
        file = open(part, "wb") if binary else open(part, "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise cannot_be_written(path, option, error) from None
    try:
        with file:
            yield file
        if not special:
            os.replace(part, path)
    except BrokenPipeError:  # not of this file, but of standard output
        raise
    except OSError as error:
        raise cannot_be_written(path, option, error) from None
    finally:
        if not special:
            with suppress(OSError):
                os.unlink(part)


@contextmanager
def line_file(path, option):
    """A file that gets whole lines as they come, each flushed, so that what is there can always be read."""
    try:
        with open(path, "w", encoding="utf-8", buffering=1 << 16) as file:

            def write(line):
                file.write(line)
                file.flush()

            yield write
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_be_written(path, option, error) from None


def cannot_be_written(path, option, error):
    where = (
        ""
        if error.errno == errno.ENOSPC
        else "; expected the path of a file in a folder that is there"
    )
    return Unusable(f"{option} {path}: cannot be written: {error.strerror}{where}")


@contextmanager
def progress(total, words):
    """A function to call with the number of steps done; draws a bar on standard error.

    Only on a terminal, and only when the work lasts more than about two seconds.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    parts = TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*parts, console=Console(stderr=True), transient=True)
    task = bar.add_task(words, total=total)
    began = drawn = time.monotonic()

    def show(done):
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
