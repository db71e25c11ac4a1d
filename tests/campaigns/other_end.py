"""The other end of a command in this process: who presses keys, writes lines, interrupts."""

import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

import pytest

_WITHOUT = "needs forks, signals and terminals as POSIX has them"
posix = pytest.mark.skipif(os.name != "posix", reason=_WITHOUT)
full_disk = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


def interrupt():
    """Ctrl-C, for the command: from the thread of its other end."""
    _ask_for_posix()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def _ask_for_posix():
    """Skip the test on a system that cannot do this."""
    if os.name != "posix":
        pytest.skip(_WITHOUT)


def with_other_end(command, act):
    """What command() returns while act() runs in another thread.

    An error there ends the command and is raised.
    """

    _ask_for_posix()

    def acting():
        try:
            act()
        except BaseException:
            interrupt()
            raise

    status = None
    with (
        ThreadPoolExecutor(1) as pool,
        suppress(KeyboardInterrupt),
    ):  # of an error, when the command has ended
        ended = pool.submit(acting)
        status = command()
        wait([ended], 60)
    ended.result()
    return status


def forked(command):
    """A process that ends with the status of command(); torch is already imported for it."""
    _ask_for_posix()
    process = multiprocessing.get_context("fork").Process(
        target=lambda: sys.exit(command()), daemon=True
    )
    process.start()
    return process


def wait_until(holds, seconds=60):
    """Wait for what is going to hold."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def terminal(monkeypatch):
    """Standard input and output on a terminal.

    Gives its other end: press a key, read until some words.
    """
    _ask_for_posix()
    import pty

    outside, inside = pty.openpty()

    def press(key):
        os.write(outside, key.encode())

    def read_until(words, seconds=60):
        text = b""
        while words.encode() not in text:
            assert select.select([outside], [], [], seconds)[0], text.decode()
            text += os.read(outside, 4096)

    with (
        os.fdopen(outside),
        os.fdopen(os.dup(inside)) as keys,
        os.fdopen(inside, "w") as screen,
        monkeypatch.context() as patch,
    ):
        patch.setattr("sys.stdin", keys)
        patch.setattr("sys.stdout", screen)
        yield press, read_until


@contextmanager
def piped_input(monkeypatch):
    """Standard input from a pipe; gives its other end, a text file written line by line."""
    inside, outside = os.pipe()
    with (
        os.fdopen(inside) as read,
        os.fdopen(outside, "w", buffering=1) as written,
        monkeypatch.context() as patch,
    ):
        patch.setattr("sys.stdin", read)
        yield written
