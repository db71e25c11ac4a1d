"""A program in a process of its own, as the recogniser sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from lockstep.look.seen import Seen
from lockstep.look.source import Program
from lockstep.sides.child import ONE_THREAD, how_it_ended
from lockstep.sides.limits import Limits
from lockstep.sides.serve import Channel

_START = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; from lockstep.look.watch import main; main()"
)
LATE = "not recognised in time"
SMALLER = "make it smaller, such as --set epochs=2, or give more time, such as --time-limit 300"
_ENVIRONMENT = dict.fromkeys(ONE_THREAD, "1") | {"MPLBACKEND": "Agg"}


def watched(
    program: Program,
    constants: dict[str, str],
    call: str,
    limits: Limits,
    is_enough: Callable[[Seen, bool], bool],
) -> tuple[Seen, str, list[str]]:
    """Run a program until enough was seen of it.

    Args:
        program: What to run.
        constants: Names of its top level, and what to put in the place of their values.
        call: What to evaluate after it; empty where nothing.
        limits: What it may use.
        is_enough: Called with what was seen so far, and whether the program has ended.

    Returns:
        What was seen; why it ended, empty where it was stopped, or LATE where the time was over
        before it was recognised; and sentences on how it ran.
    """
    command = [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | _ENVIRONMENT,
    )
    assert process.stdin
    assert process.stdout
    channel = Channel(process.stdout, process.stdin)
    seconds = limits.most
    until = time.monotonic() + seconds
    seen, told = Seen(until, program.text, program.groups), list[str]()
    try:
        message = {"path": program.path, "constants": tuple(constants.items()), "call": call}
        message |= {"limits": limits.message}
        channel.send(message, {"source": np.frombuffer(program.source, np.uint8)})
        while True:
            left = until - time.monotonic()
            if left <= 0 or not channel.comes(left):
                return (
                    seen,
                    f"was still running after {seconds:g} s, the time limit; {SMALLER}",
                    told,
                )
            try:
                answer, arrays = channel.receive()
            except (EOFError, OSError, ValueError):
                return seen, f"its process {how_it_ended(process.wait())}", told
            sightings, numbers, partial, told, calls, end = json.loads(answer["seen"])
            if call and not calls:
                told.append(f"the file trains by itself, so --call {call} was not run")
            seen.add(sightings, numbers, partial, arrays)
            if end:
                is_enough(seen, True)
                return seen, end, told
            if is_enough(seen, False):
                return seen, "", told
            channel.send({"on": True})
    except TimeoutError:
        return seen, LATE, told
    finally:
        seen.until = float("inf")  # what was recognised is looked at without haste
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                stream.close()
