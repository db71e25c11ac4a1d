"""A program, run and recognised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockstep.errors import Unusable
from lockstep.look.program import watched
from lockstep.look.recognise import Recognised, Recogniser
from lockstep.look.seen import Seen
from lockstep.look.side import Looked
from lockstep.look.source import Program


def look(
    path: str, source: bytes, constants: Mapping[str, str], values: Mapping[str, Any]
) -> Looked:
    """Run a program until its parameters have changed a few times, and recognise it.

    Args:
        path: The file.
        source: What is in it.
        constants: Names of its top level, and what to put in the place of their values.
        values: Checked options.

    Returns:
        The program as a side by hand.

    Raises:
        Unusable: It does not run, or nothing or several things are recognised; with what to say.
    """
    program = Program(path, source, constants)
    steps = values.get("steps", 2)
    found: list[Recognised] = []
    recogniser = Recogniser(program, values, steps)

    def is_enough(seen: Seen, has_ended: bool) -> bool:
        recognised = recogniser.recognise(seen, has_ended)
        if recognised:
            found[:] = [recognised]
        is_whole = recognised is not None and len(recognised.steps) >= steps
        return is_whole or recogniser.has_tried_enough

    call, seconds = values.get("call", ""), values.get("time_limit", 60.0)
    seen, end, told = watched(program, dict(constants), call, seconds, is_enough)
    if not found:
        raise Unusable(_why_not(program, seen, end, told))
    if found[0].reading.is_uneven:
        raise Unusable(
            f"{program.path}: some weights have a penalty and others not, or another one; expected "
            "the same λ for all weights, so nothing is judged: set it to 0, with --set or in the "
            "file"
        )
    if not found[0].is_judged:
        raise Unusable(
            f"{program.path}: no variable holds its gradients, and its updates are those of no "
            "known optimizer, so nothing can be judged; expected --optimizer and --lr"
        )
    if end not in ("", "finished"):
        told = [*told, f"the program ended early: {end}"]
    return Looked(found[0], program, told, steps)


def _why_not(program: Program, seen: Seen, end: str, told: list[str]) -> str:
    """Why nothing was recognised, and what to say."""
    if end not in ("", "finished"):
        return end if end.startswith(program.path) else f"{program.path}: {end}"
    more = f" ({'; '.join(told)})" if told else ""
    changed = {key for key, history in seen.history.items() if len(history) > 1}
    if not changed:
        calls = ", ".join(program.functions) or "none"
        return (
            f"{program.path}: it ran to its end{more}, and no array changed, so nothing was "
            f"trained; expected --call with what trains, such as --call 'train(X, y)'; its "
            f"functions and classes are: {calls}"
        )
    return (
        f"{program.path}: no network was recognised{more}; expected products of inputs and weights "
        "that change, with a known activation after each. Say where they are: --x NAME --y NAME "
        "--parameters W1,b1,W2,b2"
    )
