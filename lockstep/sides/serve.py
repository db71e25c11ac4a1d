"""The program of the child process that the user's code runs in.

It imports NumPy and the user's file, never PyTorch on its own. Numbers come in and named arrays go
out over a channel, as plain bytes. What the user's code patches, prints, changes or breaks stays
here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import IO, Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.names import Quantities
from lockstep.sides.code import Here, Returned, Statements, load, raised

_LENGTH = struct.Struct("<I")  # of a message's text
_exit = os._exit  # which the user's code may call or replace


class Channel:
    """Messages between the two processes: a JSON object, and arrays by name."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self.reader, self.writer = reader, writer

    def send(self, message: dict[str, Any], arrays: Quantities | None = None) -> None:
        """Write a message."""
        arrays = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
        forms = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
        text = json.dumps(message | {"arrays": forms}).encode()
        self.writer.write(_LENGTH.pack(len(text)) + text)
        for array in arrays.values():
            self.writer.write(array.reshape(-1).view(np.uint8).data)
        self.writer.flush()

    def receive(self) -> tuple[dict[str, Any], Quantities]:
        """The next message and its arrays. Raises EOFError where there is no further one."""
        (length,) = _LENGTH.unpack(self._read(bytearray(_LENGTH.size)))
        message = json.loads(bytes(self._read(bytearray(length))))
        arrays = {name: np.empty(shape, dtype) for name, dtype, shape in message.pop("arrays")}
        for array in arrays.values():
            self._read(array.reshape(-1).view(np.uint8).data)
        return message, arrays

    def _read(self, into: bytearray | memoryview) -> bytearray | memoryview:
        if self.reader.readinto(into) != len(into):  # type: ignore[attr-defined]
            raise EOFError
        return into


class Worker:
    """Answers messages about one file of the user's.

    Attributes:
        path: The file, for messages.
        step: Its step function, if that is what is called.
        statements: Else what is run piece by piece.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel, self.path = channel, ""
        self.step: Here | None = None
        self.statements: Statements | None = None

    def work(self) -> None:
        """Answer until no message comes."""
        process = os.getpid()
        os._exit = self._exits  # type: ignore[assignment]
        if hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, lambda _, frame: self._ends("is still running", frame))
        self.channel.send({"process": process})
        with suppress(EOFError, OSError):
            while True:
                answer, arrays = self._answer(*self.channel.receive())
                for stream in (sys.stdout, sys.stderr):
                    with suppress(Exception):  # the user's code may have closed it
                        stream.flush()
                if os.getpid() != process:  # a copy that the user's code forked
                    _exit(0)
                self.channel.send(answer, arrays)

    def _answer(
        self, message: dict[str, Any], arrays: Quantities
    ) -> tuple[dict[str, Any], Quantities]:
        """What is asked for, by the message's first word."""
        answer: dict[str, Any] = {}
        values: Returned = {}
        given = message.get("numbers", {}) | arrays
        try:
            match message["what"]:
                case "load":
                    answer = self._load(message, arrays["source"].tobytes())
                case "call" if self.step is not None:
                    values = self.step.call(given)
                case "run" if self.statements is not None:
                    text, wanted = message["text"], message["wanted"]
                    answer["raised"], values = self.statements.run(text, given, wanted)
        except Unusable as reason:
            answer["error"] = str(reason)
        except BaseException as error:  # what no guard of ours takes, such as KeyboardInterrupt
            answer["error"] = raised(error, self.path)
        wrong = {name: str(value) for name, value in values.items() if isinstance(value, Unusable)}
        fine = {name: value for name, value in values.items() if not isinstance(value, Unusable)}
        return answer | {"wrong": wrong, "order": list(values)}, fine

    def _load(self, message: dict[str, Any], source: bytes) -> dict[str, Any]:
        self.path = message["path"]
        if message["memory"]:
            import resource

            most = message["memory"] * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        if message["function"] is None:
            self.statements = Statements(self.path)
            return {}
        self.step = Here(load(source, self.path, message["function"]))
        arguments = [(it.name, it.optional) for it in self.step.arguments]
        it = self.step.source
        return {"arguments": arguments, "name": it.name, "lines": it.lines, "first": it.first}

    def _exits(self, status: int) -> None:
        """What stands in place of `os._exit`: say where the user's code called it."""
        self._ends(f"ends the process (os._exit({status!r}))", sys._getframe(1))

    def _ends(self, why: str, frame: Any) -> None:
        while frame is not None and frame.f_code.co_filename != self.path:
            frame = frame.f_back
        line = f", line {frame.f_lineno}" if frame else ""
        with suppress(OSError):
            self.channel.send({"error": f"{self.path}{line}: {why}", "ended": True})
        _exit(1)


def main() -> None:
    """Fork a worker for each socket that comes over the one given; end with that one.

    Without an argument: be the worker of standard input and output.
    """
    if len(sys.argv) < 2:
        channel = Channel(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
        os.dup2(2, 1)
        Worker(channel).work()
        _exit(0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        quiet, sockets, *_ = socket.recv_fds(control, 1, 1)
        if not quiet:
            os.killpg(0, signal.SIGKILL)  # whatever the user's code left running as well
        if os.fork() == 0:
            control.close()
            _guard(socket.socket(fileno=sockets[0]), quiet == b"q")
        os.close(sockets[0])


def _guard(connection: socket.socket, quiet: bool) -> None:
    """Fork the worker, and report how it ended."""
    channel = Channel(connection.makefile("rb"), connection.makefile("wb"))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        if quiet:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
        Worker(channel).work()
        _exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):
        channel.send({"died": status})
    _exit(0)


if __name__ == "__main__":
    main()
