"""A child process for the user's code, as the referee sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from lockstep.errors import Unusable, visible
from lockstep.network.names import Quantities
from lockstep.sides.code import Argument, Code, Returned, Source
from lockstep.sides.limits import UNLIMITED, Limits
from lockstep.sides.serve import Channel

_START = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; from lockstep.sides.serve import main; main()"
)
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_STREAMS = ("stdin", "stdout", "stderr")
_SOON = 3e-4  # seconds; to sleep and be woken costs more than a small step takes
_NO_MESSAGE = (TypeError, KeyError, RecursionError, MemoryError)  # what others may write there
_LINE = 1 << 16  # bytes of a printed line that are shown together
_GRACE = 1.0  # seconds in which a worker that is stopped may say where it is


class _Nursery:
    """The process that workers are forked from: it has imported NumPy, and no file of the user's.

    There is one, which starts with the first worker and ends with this process.
    """

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            nowhere: dict[str, Any] = dict.fromkeys(_STREAMS, subprocess.DEVNULL)
            nowhere |= {"cwd": os.path.abspath(os.sep)}  # which is there, and stays
            self.process = _started([str(theirs.fileno())], pass_fds=[theirs.fileno()], **nowhere)

    def worker(self, printed: int, packages: Sequence[str]) -> Channel:
        """A channel to a new worker. Raises OSError or IndexError where the nursery has ended.

        Args:
            printed: The file that it prints to.
            packages: Installed ones that it is going to import.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            text = json.dumps([_folder(), list(packages)]).encode()
            socket.send_fds(self.control, [text], [theirs.fileno(), printed])
            self.control.recv(1)[0]  # it is ready for the next, or has ended
            return Channel(ours.makefile("rb"), ours.makefile("wb"))


_nursery: _Nursery | None = None
_lock = threading.Lock()  # several threads may compare


def _from_the_nursery(printed: int, packages: Sequence[str]) -> Channel:
    """A channel to a new worker; the nursery is started where there is none, or none any more."""
    global _nursery
    with _lock:
        try:
            if _nursery is not None:
                return _nursery.worker(printed, packages)
        except (OSError, IndexError):  # the user's code may have ended it
            _nursery = None
        _nursery = _Nursery()
        return _nursery.worker(printed, packages)


def _folder() -> str:
    """The current folder; the root where that one is gone."""
    try:
        return os.getcwd()
    except OSError:
        return os.path.abspath(os.sep)


def _started(arguments: list[str], **files: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2]), *arguments]
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
    return subprocess.Popen(command, start_new_session=True, env=environment, **files)


def how_it_ended(status: int) -> str:
    """What an exit status says of a process, as the rest of a sentence about it."""
    if status >= 0:
        return f"ended with status {status}"
    name = next((it.name for it in signal.Signals if it == -status), f"signal {-status}")
    return f"was ended by {name}"


def _show(printed: IO[bytes], name: str, onto: TextIO) -> None:
    """Copy what the user's code prints, each line marked."""
    with printed:
        while line := printed.readline(_LINE):
            with suppress(OSError, ValueError):  # standard error may be closed by now
                print(f"{name} | {visible(line.decode(errors='replace').rstrip())}", file=onto)


class Child(Code):
    """A worker, and the file of the user's in it. The time limit holds where the system forks.

    Args:
        path: The file, for messages.
        source: What is in it.
        function: The step function; None where the file is run in pieces.
        limits: What it may use.
        shown: Whether what it prints is shown.
        packages: Installed packages that the file imports, if they are known.

    Raises:
        Unusable: The file cannot be used.
    """

    def __init__(
        self,
        path: str,
        source: bytes,
        function: str | None,
        limits: Limits = UNLIMITED,
        shown: bool = True,
        packages: Sequence[str] = (),
    ) -> None:
        self.path, self.file, self.function, self.limits = path, source, function, limits
        self._stopped, self.process, self.group = False, 0, 0
        # what messages call the time limit
        self._most = limits.budget.whole if limits.budget else limits.seconds
        self._pump: threading.Thread | None = None
        self._start(sys.stderr if shown else None, packages)
        try:
            hello, _ = self._receive()
            self.process, self.group = hello["process"], hello["group"]
            given = {"source": np.frombuffer(source, np.uint8)}
            how = dict(path=path, function=function, helpers=shown, limits=limits.message)
            found, _ = self._ask("load", given, **how)
        except BaseException:
            self.close()
            raise
        if function is not None:
            self.arguments = [Argument(*it) for it in found["arguments"]]
            self.settings = found["settings"]
            self.source = Source(found["name"], tuple(found["lines"]), found["first"])
            self.packages: list[str] = found["imports"]

    def _start(self, onto: TextIO | None, packages: Sequence[str]) -> None:
        """Start the worker, and copy what it prints onto a stream, or nowhere."""
        reader = None
        if hasattr(os, "fork") and hasattr(socket, "send_fds"):
            reader, printed = os.pipe() if onto else (None, os.open(os.devnull, os.O_WRONLY))
            self.channel = _from_the_nursery(printed, packages)
            os.close(printed)
        else:
            files = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            worker = _started([], stderr=subprocess.PIPE if onto else subprocess.DEVNULL, **files)
            reader = os.dup(worker.stderr.fileno()) if worker.stderr else None
            assert worker.stdout
            assert worker.stdin
            self.channel = Channel(worker.stdout, worker.stdin)
        if reader is not None and onto is not None:
            told = os.fdopen(reader, "rb"), Path(self.path).name, onto
            self._pump = threading.Thread(target=_show, args=told, daemon=True)
            self._pump.start()

    def call(self, given: dict[str, Any]) -> Returned:
        found, values = self._ask("call", given)
        if "helpers" in found:
            self.helpers = [Source(name, tuple(lines), at) for name, lines, at in found["helpers"]]
        return self._values(found, values)

    def run(self, text: str, given: dict[str, Any], wanted: list[str]) -> tuple[str, Returned]:
        """See `Statements.run`."""
        found, values = self._ask("run", given, text=text, wanted=tuple(wanted))
        return found["raised"], self._values(found, values)

    def again(self) -> Child:
        """The same for another problem: what it prints has been shown."""
        return Child(self.path, self.file, self.function, self.limits, False, self.packages)

    def fresh(self) -> Child:
        return Child(self.path, self.file, self.function, self.limits, packages=self.packages)

    def close(self) -> None:
        """End the worker, and whatever the user's code has left running."""
        for end in (self.channel.writer, self.channel.reader):
            with suppress(OSError):
                end.close()
        self._kill()
        if self._pump:
            self._pump.join(_GRACE)

    def _values(self, found: dict[str, Any], arrays: Quantities) -> Returned:
        if "wrong" not in found:
            return dict(arrays)
        wrong = {name: Unusable(text) for name, text in found["wrong"]}
        return {name: wrong.get(name) or arrays[name] for name in found["order"]}

    def _ask(
        self, what: str, given: dict[str, Any], **settings: Any
    ) -> tuple[dict[str, Any], Quantities]:
        """The answer to a message. Raises Unusable for an error, or where none comes."""
        with suppress(BrokenPipeError):  # it has ended; why is still to be read
            self.channel.send({"what": what} | settings, given)
        self._wait()
        found, values = self._receive()
        if "error" in found:
            late = f" after {self._most:g} s, the time limit" if self._stopped else ""
            raise Unusable(found["error"] + late)
        return found, values

    def _receive(self) -> tuple[dict[str, Any], Quantities]:
        """The next message. Raises Unusable where the worker has ended."""
        try:
            found, values = self.channel.receive()
        except (EOFError, OSError, ValueError, *_NO_MESSAGE):
            found, values = {"died": None}, {}
        if "died" not in found:
            return found, values
        status, how = found["died"], "ended"
        self._kill()
        if self._stopped:
            how = f"was still running after {self._most:g} s, the time limit"
        elif status is not None:
            how = how_it_ended(status)
        raise Unusable(f"{self.path}: its process {how}; expected it to return")

    def _wait(self) -> None:
        """Wait for the answer; end a worker that takes too long, which may say where it is."""
        began = time.perf_counter()
        while time.perf_counter() < began + _SOON:
            if self.channel.comes(0):
                return
        has_come = not self.limits.most or self.channel.comes(self.limits.most)
        self.limits.spent(time.perf_counter() - began)
        if has_come:
            return
        self._stopped = True
        with suppress(OSError):
            os.kill(self.process, getattr(signal, "SIGUSR1", signal.SIGTERM))
        if not self.channel.comes(_GRACE):
            self._kill()

    def _kill(self) -> None:
        """End the worker and its group, once: the system uses the numbers again."""
        with suppress(OSError):
            if self.process:
                os.kill(self.process, getattr(signal, "SIGKILL", signal.SIGTERM))
        with suppress(OSError):
            if self.group:
                os.killpg(self.group, signal.SIGKILL)
        self.process = self.group = 0
