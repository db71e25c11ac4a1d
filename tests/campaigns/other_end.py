"""The other end of a command in this process: who presses keys, writes lines, interrupts."""

import multiprocessing
import os
import pty
import select
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress


def interrupt():
    """Ctrl-C, for the command: from the thread of its other end."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def with_other_end(command, act):
    """What command() returns while act() runs in another thread.

    An error there ends the command and is raised.
    """

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
