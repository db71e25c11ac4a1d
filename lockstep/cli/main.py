"""What every command shares: a parser, signals, exit statuses, and where output goes."""

import argparse
import errno
import os
import re
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeAlias

from lockstep.errors import Unusable, brief, message_of, visible
from lockstep.setup.options import FILE, Option

if TYPE_CHECKING:
    from rich.text import Text

ISSUES = "https://github.com/lockstep-backprop/lockstep-backprop/issues"
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
    "≈": "~~",
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
    from lockstep.setup.files import real_number

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

    Both raise KeyboardInterrupt, so that what is half written is removed and the verdict so far is
    printed. Outside the main thread, which gets all signals, nothing is changed.

    Yields:
        The signals that came: an exception that is raised in a native callback is lost.
    """
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
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
        The command's own status; 2 for input that cannot be used, output that cannot be written,
        or too little memory; 70 for an error of ours; 130 for Ctrl-C, 143 for SIGTERM; 141 where
        the reader of standard output has left.
    """
    _open_what_is_closed()
    if sys.stdout is None:
        complain("standard output is closed; expected it to be open", name)
        return 2
    came: list[int] = []
    try:
        with signals() as came:
            return command(came)
    except KeyboardInterrupt:
        return interrupted(came)
    except Exception as error:
        if came:  # what a library makes of an interrupt
            return interrupted(came)
        return _status_of(error, name)


def command(
    parser: Callable[[str | None], Parser], run: Callable[[dict[str, Any], list[int]], int]
) -> Callable[..., int]:
    """The `main` of a command.

    Args:
        parser: Its options, from what messages call it.
        run: The command, with the options that were given and the list that `signals` yields.
    """

    def main(arguments: Sequence[str] | None = None, name: str | None = None) -> int:
        """Run the command.

        Args:
            arguments: Those of the command line; by default the program's own.
            name: What messages call the command; by default as it was started.

        Returns:
            The exit status.
        """
        given = vars(parser(name).parse_args(arguments))
        return status(lambda came: run(given, came), name)

    return main


def _open_what_is_closed() -> None:
    """Open nothing in place of a closed stream, lest another file gets its number."""
    for number in (0, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def interrupted(came: list[int]) -> int:
    """The exit status after signals, by the first of them."""
    return 128 + (came[0] if came else signal.SIGINT)


def _status_of(error: Exception, name: str | None) -> int:
    """Print what an exception means, and give its exit status."""
    if isinstance(error, Unusable):
        complain(error, name)
        return 2
    if isinstance(error, BrokenPipeError):
        _close_output()
        return 141
    if isinstance(error, MemoryError) or "allocate memory" in message_of(error):
        complain("there is not enough memory; expected smaller sizes or fewer samples", name)
        return 2
    if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "numpy", "rich"):
        install = "`source .venv/bin/activate` in a clone, or `pip install .`"
        complain(f"{error.name} is not installed for {sys.executable}; expected {install}", name)
        return 2
    if isinstance(error, OSError) and error.filename is None:
        _close_output()
        complain(f"standard output cannot be written: {error.strerror}", name)
        return 2
    return _our_error(error, name)


def _close_output() -> None:
    """Let nothing more go to a standard output that cannot be written."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _our_error(error: Exception, name: str | None) -> int:
    """Report an error of ours: one sentence, and the details in a file."""
    import tempfile
    import traceback

    where = "could not be written"
    with suppress(OSError):
        number, path = tempfile.mkstemp(".txt", "lockstep-error-")
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(traceback.format_exception(error)))
        where = f"are in {path}"
    complain(
        f"this is an error of lockstep, not of yours ({type(error).__name__}). "
        f"Its details {where}. Please report it at {ISSUES}",
        name,
    )
    return 70


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


def complain(reason: object, name: str | None = None) -> None:
    """Print a line on standard error that says what cannot be used.

    Args:
        reason: The sentence.
        name: The command that the line begins with; by default as it was started.
    """
    command = name or os.path.basename(sys.argv[0])
    print(f"{command}: {visible(brief(str(reason)))}", file=sys.stderr)


def refuse_shared_files(values: Mapping[str, Any], *read: str | None) -> None:
    """Refuse to write a file twice or over one that is read, or more than JSON to the screen.

    Args:
        values: Of options; those that name files to write are looked at.
        read: The files that are read; - is standard input.

    Raises:
        Unusable: With the option and what is expected.
    """
    other = "a file that this run does not read"
    taken = {_identity(0 if file == "-" else file): other for file in read if file}
    keys = ("json", "trace", "html", "plot", "csv", "gradescope", "worksheet")
    written = [(key, values[key]) for key in keys if key in values]
    if "worksheet" in values:
        from lockstep.setup.files import key_beside

        written.append(("worksheet", key_beside(values["worksheet"])))
    for key, path in written:
        if path == "-" and key == "json":
            continue
        where = _identity(path)
        if where in taken or path == "-":
            expected = taken.get(where, "the name of a file")
            raise Unusable(f"--{key} {path}: expected {expected}")
        taken[where] = f"another file than that of --{key}"


def _identity(file: str | int) -> object:
    """What tells a file from others, under whatever name."""
    try:
        found = os.stat(file)
    except OSError:
        return os.path.realpath(file) if isinstance(file, str) else file
    return found.st_dev, found.st_ino


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
    import tempfile

    mode = "wb" if binary else "w"
    encoding = None if binary else "utf-8"
    target = os.path.realpath(path)  # a link is written through
    if os.path.exists(target) and not os.path.isfile(target):
        with _writing(path, option), open(target, mode, encoding=encoding) as file:
            yield file
        return
    part = ""
    try:
        with _writing(path, option):
            _refuse_read_only(target)
            number, part = tempfile.mkstemp(".part", ".lockstep-", os.path.dirname(target))
            with open(number, mode, encoding=encoding) as file:
                yield file
            os.chmod(part, _mode(target))
            os.replace(part, target)
    finally:
        with suppress(OSError):
            os.unlink(part)


def _refuse_read_only(path: str) -> None:
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")


def _mode(path: str) -> int:
    """The permissions of a file, or those that a new one gets."""
    if os.path.exists(path):
        return stat.S_IMODE(os.stat(path).st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextmanager
def line_file(path: str, option: str) -> Iterator[Callable[[str], None]]:
    """A function that writes lines to a file, each flushed, so that what is there can be read.

    Raises:
        Unusable: The file cannot be written, or another run is writing it.
    """
    with _writing(path, option), open(path, "a", encoding="utf-8", buffering=1 << 16) as file:
        if os.path.isfile(path):
            _lock(file)
            file.truncate(0)

        def write(line: str) -> None:
            file.write(line)
            file.flush()

        yield write


def _lock(file: IO[Any]) -> None:
    """Keep other runs from writing the file, where the system can do that."""
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another run is writing it") from None


@contextmanager
def _writing(path: str, option: str) -> Iterator[None]:
    """Report a file that cannot be written as Unusable."""
    try:
        yield
    except BrokenPipeError:  # not of this file, but of standard output
        raise
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        where = "; expected a file in a folder that exists" if missing else ""
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
