"""The program of the child process that the user's code runs in.

It imports NumPy and the user's file, never PyTorch on its own. Numbers come in and named arrays go
out over a channel, as plain bytes. What the user's code patches, prints, changes or breaks stays
here.
"""

from __future__ import annotations

import cProfile
import gc
import json
import math
import os
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import IO, Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.names import Quantities
from lockstep.sides.code import (
    Here,
    Returned,
    Statements,
    function_of,
    helpers,
    load,
    names_of,
    new_module,
    raised,
    settings_of,
)
from lockstep.sides.limits import keep_to

_LENGTHS = struct.Struct("<QQ")  # of a message's text and of its numbers
_ALIGNED = 16  # bytes; each array begins at a multiple
_MOST = 1 << 32  # bytes of a message
_LARGE = 1 << 16  # bytes from which an array is not copied once more
_exit = os._exit  # which the user's code may call or replace


class Channel:
    """Messages between the two processes: a JSON object, and numbers or arrays by name."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self.reader, self.writer = reader, writer

    def send(self, message: dict[str, Any], given: dict[str, Any] | None = None) -> None:
        """Write a message. given: floats, which stay floats, and arrays."""
        forms, parts, at = [], list[bytes | memoryview]([b""]), 0
        for name, value in (given or {}).items():
            array = np.asarray(value, order="C")
            forms.append((name, array.dtype.str, array.shape, isinstance(value, float)))
            data = array.data.cast("B") if array.nbytes > _LARGE else array.tobytes()
            parts += [data, bytes(-array.nbytes % _ALIGNED)]
            at += array.nbytes + -array.nbytes % _ALIGNED
        text = _encoded(tuple(message.items()), tuple(forms))
        parts[0] = _LENGTHS.pack(len(text), at) + text
        if at <= _LARGE:
            parts = [b"".join(parts)]
        for part in parts:
            self.writer.write(part)
        self.writer.flush()

    def receive(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The next message and its numbers. Raises EOFError where there is no further one."""
        length, size = _LENGTHS.unpack(self._read(_LENGTHS.size))
        message, forms = _decoded(bytes(self._read(length)))
        data, at, given = self._read(size), 0, {}
        for name, dtype, shape, is_float in forms:
            kind, count = np.dtype(dtype), math.prod(shape)
            array = np.frombuffer(data, kind, count, at).reshape(shape) if count else None
            at += kind.itemsize * count + -kind.itemsize * count % _ALIGNED
            array = np.empty(shape, kind) if array is None else array
            given[name] = array.item() if is_float else array
        return dict(message), given

    def comes(self, seconds: float) -> bool:
        """Whether something can be read within this time."""
        with suppress(OSError):  # a system that cannot tell
            return bool(select.select([self.reader], [], [], seconds)[0])
        return True

    def _read(self, length: int) -> bytearray:
        if length > _MOST:
            raise ValueError("a message is too long")
        into = bytearray(length)
        if self.reader.readinto(into) != length:  # type: ignore[attr-defined]
            raise EOFError
        return into


@lru_cache(maxsize=64)
def _encoded(message: tuple[Any, ...], forms: tuple[Any, ...]) -> bytes:
    """The text of a message; steps of a run have the same."""
    return json.dumps([dict(message), forms]).encode()


@lru_cache(maxsize=64)
def _decoded(text: bytes) -> tuple[dict[str, Any], list[Any]]:
    message, forms = json.loads(text)
    return message, forms


class Worker:
    """Answers messages about one file of the user's.

    Attributes:
        path: The file, for messages.
        step: Its step function, if that is what is called.
        notes: Whether the other functions of its file that it calls are still to be told.
        statements: Else what is run piece by piece.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel, self.path, self.process = channel, "the file", os.getpid()
        self.step: Here | None = None
        self.notes = False
        self.statements: Statements | None = None

    def work(self) -> None:
        """Answer until no message comes."""
        os._exit = self._exits  # type: ignore[assignment]
        if hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, lambda _, frame: self._ends("is still running", frame))
        group = os.getpgid(0) if hasattr(os, "getpgid") else 0
        with suppress(EOFError, OSError):  # the referee has gone
            self.channel.send({"process": self.process, "group": group})
            while True:
                answer, arrays = self._answer(*self.channel.receive())
                for stream in (sys.stdout, sys.stderr):
                    with suppress(Exception):  # the user's code may have closed it
                        stream.flush()
                if os.getpid() != self.process:  # a copy that the user's code forked
                    _exit(0)
                self.channel.send(answer, arrays)

    def _answer(
        self, message: dict[str, Any], given: dict[str, Any]
    ) -> tuple[dict[str, Any], Quantities]:
        """What is asked for, by the message's first word."""
        answer: dict[str, Any] = {}
        values: Returned = {}
        try:
            if message["what"] == "load":
                answer = self._load(message, given["source"].tobytes())
            elif message["what"] == "call":
                assert self.step is not None
                if self.notes:
                    values, answer["helpers"] = self._noted_call(self.step, given)
                else:
                    values = self.step.call(given)
            else:
                assert self.statements is not None
                text, wanted = message["text"], message["wanted"]
                answer["raised"], values = self.statements.run(text, given, wanted)
        except Unusable as reason:
            answer["error"] = str(reason)
        except BaseException as error:  # what no guard of ours takes, such as KeyboardInterrupt
            answer["error"] = raised(error, self.path)
        wrong = {name: str(value) for name, value in values.items() if isinstance(value, Unusable)}
        fine = {name: value for name, value in values.items() if not isinstance(value, Unusable)}
        if wrong:
            answer |= {"wrong": tuple(wrong.items()), "order": tuple(values)}
        return answer, fine

    def _load(self, message: dict[str, Any], source: bytes) -> dict[str, Any]:
        self.path, self.notes = message["path"], message["helpers"]
        keep_to(dict(message["limits"]))
        if message["function"] is None:
            self.statements = Statements(self.path, new_module(self.path, "exercise").__dict__)
            return {}
        before = set(sys.modules)
        names = names_of(source, self.path)
        self.step = Here(function_of(names, self.path, message["function"]))
        arguments = tuple((it.name, it.optional) for it in self.step.arguments)
        it = self.step.source
        source_of_it = {"name": it.name, "lines": it.lines, "first": it.first}
        installed = tuple(filter(_is_installed, sorted(sys.modules.keys() - before)))
        own = settings_of(names, self.path)
        return {"arguments": arguments, "imports": installed, "settings": own} | source_of_it

    def _noted_call(self, step: Here, given: dict[str, Any]) -> tuple[Returned, tuple[Any, ...]]:
        """What the step returns, and the other functions of its file that ran."""
        self.notes = False
        with cProfile.Profile(builtins=False) as profile:
            values = step.call(given)
        found = helpers(self.path, (it.code for it in profile.getstats()), step.source)
        return values, tuple((it.name, it.lines, it.first) for it in found)

    def _exits(self, status: int) -> None:
        """What stands in place of `os._exit`: say where the user's code called it."""
        if os.getpid() != self.process:  # a process that the user's code forked
            _exit(status)
        self._ends(f"ends the process (os._exit({status!r}))", sys._getframe(1))

    def _ends(self, why: str, frame: Any) -> None:
        while frame is not None and frame.f_code.co_filename != self.path:
            frame = frame.f_back
        line = f", line {frame.f_lineno}" if frame else ""
        with suppress(OSError):
            self.channel.send({"error": f"{self.path}{line}: {why}"})
        _exit(1)


# What follows runs in processes that end without a word, so no tool sees it run.


def main() -> None:  # pragma: no cover
    """Fork a worker for each pair of files that comes over the socket given; end with that one.

    The files are a channel and what the worker prints to. With them come the folder that the worker
    works in and, where that is known, which installed packages the user's file imports: they are
    imported once, here, for all later ones.
    Without an argument: be the worker of standard input and output.
    """
    if len(sys.argv) < 2:
        channel = Channel(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
        os.dup2(2, 1)
        Worker(channel).work()
        _exit(0)
    _warm_up()
    control = socket.socket(fileno=int(sys.argv[1]))
    groups: set[int] = set()  # of workers that may run; none is anybody else's, until it is reaped
    while (received := socket.recv_fds(control, _LARGE, 2))[0]:
        folder, packages = json.loads(received[0])
        for package in packages:
            if package not in sys.modules:
                with suppress(Exception):
                    import_module(package)
                gc.freeze()
        with suppress(ChildProcessError):
            while ended := os.waitpid(-1, os.WNOHANG)[0]:
                groups.discard(ended)
        files = received[1]
        group = os.fork()
        if group == 0:
            control.close()
            with suppress(OSError):
                os.chdir(folder)
            _guard(*files)
        groups.add(group)
        control.sendall(b".")  # ready for the next
        for file in files:
            os.close(file)
    for group in groups:  # the referee is gone, perhaps without a word
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def _is_installed(package: str) -> bool:  # pragma: no cover
    """Whether a module is a package that lies with Python, not with the user's file."""
    with suppress(Exception):  # anything may lie in sys.modules
        return "." not in package and "-packages" in str(sys.modules[package].__file__)
    return False


def _warm_up() -> None:  # pragma: no cover
    """Do once what every worker does, so that none has to import for it or copy much memory."""
    step = Here(load(b"def step(x): return dict(h=x)", "step.py", "step"))
    step.call({"x": np.zeros((1, 1))})
    sys.path.pop(0)
    del sys.modules["step"]
    gc.freeze()


def _guard(connection: int, printed: int) -> None:  # pragma: no cover
    """Fork the worker, in a group of processes of its own, and report how it ended."""
    os.setpgid(0, 0)
    both = socket.socket(fileno=connection)
    channel = Channel(both.makefile("rb"), both.makefile("wb"))
    child = os.fork()
    if child == 0:
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.close(printed)
        Worker(channel).work()
        _exit(0)
    os.close(printed)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):
        channel.send({"died": status})
    _exit(0)
