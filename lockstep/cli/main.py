"""What every command shares: a parser, exit statuses, a printer."""

import argparse
import os
import signal
import sys
from contextlib import contextmanager


class Parser(argparse.ArgumentParser):
    def error(self, message):
        from lockstep.cli.output import complain

        complain(message)
        self.exit(2)


def whole(text):
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def real(text):
    from lockstep.network.files import real_number

    try:
        return real_number(text)
    except ValueError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from None


def status(command):
    """The exit status of a command, or of what ends it: input that cannot be used, Ctrl-C, output that fails."""
    from lockstep.cli.output import complain
    from lockstep.errors import Unusable

    try:
        return command()
    except Unusable as reason:
        complain(reason)
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return output_failed(error)


def output_failed(error):
    """The exit status where standard output cannot be written: 141 where its reader has left, as with `head`, or 2."""
    from lockstep.cli.output import complain

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 141
    complain(f"standard output cannot be written: {error.strerror}")
    return 2


def join_negative_numbers(arguments, *options):
    """`--lr -1e-3` as `--lr=-1e-3`: argparse takes a negative number with an exponent for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in options and argument.startswith("-"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


@contextmanager
def interrupts():
    """A list that Ctrl-C puts something into, besides raising as ever: what is raised in a native callback is lost."""
    seen: list[int] = []

    def handler(signum, frame):
        seen.append(signum)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def printer():
    """A function that prints lines: coloured on a terminal, else plain, never cut; and the width to aim at."""
    import shutil

    from rich.console import Console
    from rich.text import Text

    from lockstep.cli.output import encodable, visible

    class Plain(Console):
        def on_broken_pipe(self):
            raise BrokenPipeError

    width = max(shutil.get_terminal_size((80, 24)).columns, 40)
    console = Plain(highlight=False, markup=False, emoji=False, width=width)
    encoding = sys.stdout.encoding or "ascii"

    def printed(lines):
        for line in lines:
            line = Text(line) if isinstance(line, str) else line
            text = encodable(visible(line.plain), encoding)
            if text != line.plain:
                line.plain = text
            console.print(line, soft_wrap=True)

    return printed, width
