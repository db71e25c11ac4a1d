"""Hand-ins judged side by side, each by a process that is ended where it takes too long."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from lockstep.grade.hand_ins import HandIn
from lockstep.grade.judge import Grade, Task, failed, judged
from lockstep.grade.points import Item
from lockstep.report.document import strict
from lockstep.sides.limits import hidden

_MORE = 60.0  # seconds that judging may take beside the hand-in's own
_AT_ONCE = 0.2  # seconds between two looks at the time
_GRACE = 3.0  # seconds in which a judge that is ended may end what it has started


@dataclass
class _Judge:
    """A process that judges a hand-in."""

    hand_in: HandIn
    process: Any
    until: float


def graded(
    hand_ins: Sequence[HandIn], task: Task, jobs: int, on_done: Callable[[int], None]
) -> list[Grade]:
    """The grades of hand-ins, in their order.

    Args:
        hand_ins: The files.
        task: How they are judged.
        jobs: How many at once.
        on_done: Is told how many are done.
    """
    found: dict[HandIn, Grade] = {}
    waiting, running = list(reversed(hand_ins)), dict[Connection, _Judge]()
    with (
        hidden(),
        _processes() as context,
        tempfile.TemporaryDirectory(prefix="lockstep-") as folder,
    ):
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    hand_in = waiting.pop()
                    scratch = os.path.join(folder, str(len(waiting)))
                    os.mkdir(scratch)
                    ours, theirs = context.Pipe(False)
                    elsewhere = replace(hand_in, path=os.path.abspath(hand_in.path))
                    given = elsewhere, task, scratch, theirs
                    process = context.Process(target=_judge, args=given)
                    process.start()
                    theirs.close()
                    running[ours] = _Judge(
                        hand_in, process, time.monotonic() + task.seconds + _MORE
                    )
                for connection in _ready(running):
                    it = running.pop(connection)
                    found[it.hand_in] = _grade(connection, it, task)
                    on_done(len(found))
        finally:
            for it in running.values():
                _end(it.process)
    return [found[it] for it in hand_ins]


@contextmanager
def _processes() -> Iterator[Any]:
    """Where judges come from: a process that has imported PyTorch, where the system forks."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:  # pragma: no branch
        context.set_forkserver_preload(["lockstep.grade.judge"])
    yield context


def _ready(running: dict[Connection, _Judge]) -> list[Connection]:
    """The connections of those that have something to say, have ended, or are late."""
    said = [it for it in wait([*running], _AT_ONCE) if isinstance(it, Connection)]
    late = [it for it, judge in running.items() if time.monotonic() > judge.until]
    return list(dict.fromkeys([*said, *late]))


def _grade(connection: Connection, it: _Judge, task: Task) -> Grade:
    """What a judge found."""
    why = f"it took longer than {task.seconds:g} s, and {_MORE:g} s for judging"
    with connection:
        try:
            found = json.loads(connection.recv_bytes()) if connection.poll() else why
        except (EOFError, OSError, ValueError):
            found = "its judge was ended, which a hand-in can do that ends other processes"
    _end(it.process)
    if isinstance(found, str):
        return failed(it.hand_in, task, found)
    items = [Item(**item) for item in found["items"]]
    return Grade(**found | {"items": items, "file": it.hand_in.path})


def _end(process: Any) -> None:
    """End a judge, which ends what it has started."""
    if process.is_alive():
        process.terminate()
        process.join(_GRACE)
    if process.is_alive():
        process.kill()
    process.join()


# What follows runs in processes that no tool sees run.


def _interrupt(number: int, frame: object) -> None:  # pragma: no cover
    raise KeyboardInterrupt


def _judge(  # pragma: no cover
    hand_in: HandIn, task: Task, scratch: str, connection: Connection
) -> None:
    """Judge a hand-in, and send its grade as plain data."""
    signal.signal(signal.SIGTERM, _interrupt)  # so that it ends what it has started
    _stand_apart()
    with suppress(KeyboardInterrupt), connection:
        try:
            os.chdir(scratch)
            with hidden():
                found: Any = asdict(judged(hand_in, task))
        except Exception as error:  # of ours, on what a hand-in sent
            found = f"it could not be judged: {type(error).__name__}: {error}"
        finally:
            _end_what_runs()
        connection.send_bytes(json.dumps(strict(found)).encode())


_SUBREAPER = 36  # an option of prctl, in Linux's sys/prctl.h


def _stand_apart() -> None:  # pragma: no cover
    """Show nothing, and get what a hand-in's processes leave running."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _end_what_runs() -> None:  # pragma: no cover
    """End what a hand-in has left running, where the system says what that is."""
    for _ in range(100):
        children = _children(os.getpid())
        if not children:
            return
        for child in children:
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
            with suppress(OSError):
                os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)


def _children(process: int) -> list[int]:  # pragma: no cover
    """The processes that a process has started, and those that were left to it."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found
