"""What every command shares: a parser, signals, exit statuses, a printer."""

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from lockstep.cli.output import complain, encodable, visible
from lockstep.errors import Unusable
from lockstep.network.options import FILE, Option

if TYPE_CHECKING:
    from rich.text import Text

Printed: TypeAlias = "Callable[[Iterable[str | Text]], None]"


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
    """Reads a command line; an error is one line on standard error and status 2."""

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

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever, but `--lr -1e-3` is understood: argparse takes -1e-3 for an option."""
        numbers = {
            flag
            for action in self._actions
            if action.type in (whole, real)
            for flag in action.option_strings
        }
        joined: list[str] = []
        for argument in sys.argv[1:] if args is None else args:
            if joined and joined[-1] in numbers and argument.startswith("-"):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return super().parse_known_args(joined, namespace)

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

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    def terminate(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: terminate}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def status(command: Callable[[], int], name: str | None = None) -> int:
    """The exit status of a command, or of what ends it.

    Args:
        command: What to run.
        name: What messages call it; by default as it was started.

    Returns:
        The command's own status; 2 for input that cannot be used or output that cannot be
        written, 130 for Ctrl-C, 141 where the reader of standard output has left.
    """
    if sys.stdout is None:
        complain("standard output is closed; expected it to be open", name)
        return 2
    try:
        return command()
    except Unusable as reason:
        complain(reason, name)
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        failed = output_failed(error)
        if failed == 2:
            complain(f"standard output cannot be written: {error.strerror}", name)
        return failed


def output_failed(error: OSError) -> int:
    """The exit status where standard output cannot be written: 141 if its reader left, else 2."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141 if isinstance(error, BrokenPipeError) else 2


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
