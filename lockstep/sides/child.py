"""A child process for the user's code, as the referee sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lockstep.errors import Unusable, visible
from lockstep.network.names import Quantities
from lockstep.sides.code import Argument, Code, Returned, Source
from lockstep.sides.serve import Channel

_START = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; from lockstep.sides.serve import main; main()"
)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_GRACE = 1.0  # seconds in which a worker that is stopped may say where it is


@dataclass(frozen=True)
class Limits:
    """What the user's code may use; 0 is no limit.

    Attributes:
        seconds: For loading the file, and for each step.
        memory: In MiB.
    """

    seconds: float = 0
    memory: int = 0


class Nursery:
    """Where workers come from: a process that has imported NumPy is forked for each.

    Where the system cannot fork, each worker is a process that starts from nothing.

    Args:
        name: What marks a line that the user's code prints.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.processes: list[subprocess.Popen[bytes]] = []
        self.shown: list[threading.Thread] = []
        self.control: socket.socket | None = None
        if hasattr(os, "fork") and hasattr(socket, "send_fds"):
            self.control, theirs = socket.socketpair()
            with theirs:
                self._start(theirs.fileno())

    def channel(self, quiet: bool, packages: Sequence[str] = ()) -> Channel:
        """A channel to a new worker.

        Args:
            quiet: What that prints is not shown.
            packages: Installed ones that it is going to import.
        """
        if self.control is None:
            process = self._start(None, quiet)
            assert process.stdout
            assert process.stdin
            return Channel(process.stdout, process.stdin)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            text = json.dumps([quiet, list(packages)]).encode()
            socket.send_fds(self.control, [text], [theirs.fileno()])
            return Channel(ours.makefile("rb"), ours.makefile("wb"))

    def _start(self, control: int | None, quiet: bool = False) -> subprocess.Popen[bytes]:
        forks = control is not None
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])]
            + ([str(control)] if forks else []),
            stdin=subprocess.DEVNULL if forks else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if forks else subprocess.PIPE,
            pass_fds=(control,) if control is not None else (),
            start_new_session=True,
            env=os.environ | dict.fromkeys(_ONE_THREAD, "1"),
        )
        printed = process.stdout if forks else process.stderr
        show = threading.Thread(target=_show, args=(printed, self.name, quiet), daemon=True)
        show.start()
        self.processes.append(process)
        self.shown.append(show)
        return process

    def close(self) -> None:
        """End every worker, and whatever the user's code has left running."""
        for process in self.processes:
            with suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
            process.wait()
        for show in self.shown:
            show.join(_GRACE)
        for process in self.processes:
            for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
                with suppress(OSError):
                    stream.close()
        if self.control is not None:
            self.control.close()


def _show(printed: IO[bytes], name: str, quiet: bool) -> None:
    """Copy what the user's code prints to standard error, each line marked."""
    for line in printed:
        with suppress(OSError, ValueError):  # standard error may be closed
            if sys.stderr is not None and not quiet:
                print(
                    f"{name} | {visible(line.decode(errors='replace').rstrip())}", file=sys.stderr
                )


class Child(Code):
    """A worker, and the file of the user's in it.

    Args:
        path: The file, for messages.
        source: What is in it.
        function: The step function; None where the file is run in pieces.
        limits: What it may use.
        nursery: Where the worker comes from; by default one of its own.
        shown: Whether what it prints is shown; by default of a nursery's own worker.
        packages: Installed packages that the file imports, if they are known.

    Raises:
        Unusable: The file cannot be used.
    """

    def __init__(
        self,
        path: str,
        source: bytes,
        function: str | None,
        limits: Limits = Limits(),
        nursery: Nursery | None = None,
        shown: bool = False,
        packages: Sequence[str] = (),
    ) -> None:
        self.path, self.file, self.function, self.limits = path, source, function, limits
        self.is_first = nursery is None
        self.nursery = nursery or Nursery(Path(path).name)
        self._stopped = False
        try:
            self.channel = self.nursery.channel(not (self.is_first or shown), packages)
            self.process = int(self._receive()[0]["process"])
            arrays = {"source": np.frombuffer(source, np.uint8)}
            found, _ = self._ask("load", arrays, path=path, function=function, memory=limits.memory)
        except BaseException:
            self.close()
            raise
        if function is not None:
            self.arguments = [Argument(*it) for it in found["arguments"]]
            self.source = Source(found["name"], tuple(found["lines"]), found["first"])
            self.packages: list[str] = found["imports"]

    def call(self, given: dict[str, Any]) -> Returned:
        return self._values(*self._ask("call", given))

    def run(self, text: str, given: dict[str, Any], wanted: list[str]) -> tuple[str, Returned]:
        """See `Statements.run`."""
        found, values = self._ask("run", given, text=text, wanted=tuple(wanted))
        return found["raised"], self._values(found, values)

    def again(self) -> Child:
        return Child(
            self.path,
            self.file,
            self.function,
            self.limits,
            self.nursery,
            packages=self.packages,
        )

    def close(self) -> None:
        for end in (self.channel.writer, self.channel.reader) if hasattr(self, "channel") else ():
            with suppress(OSError):
                end.close()
        if self.is_first:
            self.nursery.close()

    def _values(self, found: dict[str, Any], arrays: Quantities) -> Returned:
        if "wrong" not in found:
            return dict(arrays)
        wrong = {name: Unusable(text) for name, text in found["wrong"]}
        return {name: wrong.get(name) or arrays[name] for name in found["order"]}

    def _ask(
        self, what: str, given: dict[str, Any], **settings: Any
    ) -> tuple[dict[str, Any], Quantities]:
        """The answer to a message. Raises Unusable for an error, or where none comes."""
        watch = threading.Timer(self.limits.seconds, self._stop) if self.limits.seconds else None
        if watch:
            watch.start()
        try:
            with suppress(BrokenPipeError):  # it has ended; why is still to be read
                self.channel.send({"what": what} | settings, given)
            found, values = self._receive()
        finally:
            if watch:
                watch.cancel()
        if "error" in found:
            late = f" after {self.limits.seconds:g} s, the time limit" if self._stopped else ""
            raise Unusable(found["error"] + late)
        return found, values

    def _receive(self) -> tuple[dict[str, Any], Quantities]:
        """The next message. Raises Unusable where the worker has ended."""
        try:
            found, values = self.channel.receive()
        except (EOFError, OSError, ValueError):
            found, values = {"died": None}, {}
        if "died" not in found:
            return found, values
        status, how = found["died"], "ended"
        if self._stopped:
            how = f"was still running after {self.limits.seconds:g} s, the time limit"
        elif status is not None and status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        elif status is not None:
            how = f"ended with status {status}"
        raise Unusable(f"{self.path}: its process {how}; expected it to return")

    def _stop(self) -> None:
        """End a worker that takes too long; it gets a moment to say where it is."""
        self._stopped = True
        with suppress(OSError):
            os.kill(self.process, getattr(signal, "SIGUSR1", signal.SIGTERM))
        kill = threading.Timer(_GRACE, self._kill)
        kill.daemon = True
        kill.start()

    def _kill(self) -> None:
        with suppress(OSError):
            os.kill(self.process, getattr(signal, "SIGKILL", signal.SIGTERM))
