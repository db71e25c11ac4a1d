"""A program, run and recognised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.look.chain import Chain
from lockstep.look.drift import grown
from lockstep.look.program import LATE, SMALLER, watched
from lockstep.look.recognise import Recogniser
from lockstep.look.recognised import Recognised
from lockstep.look.seen import Seen
from lockstep.look.side import Looked
from lockstep.look.source import Program
from lockstep.network.terms import Term
from lockstep.sides.limits import Limits

_LEAST = 2  # steps that are watched: the second tells data from what the first computed


@np.errstate(all="ignore")
def look(
    path: str,
    source: bytes,
    constants: Mapping[str, str],
    values: Mapping[str, Any],
    limits: Limits | None = None,
) -> Looked:
    """Run a program until its parameters have changed a few times, and recognise it.

    Args:
        path: The file.
        source: What is in it.
        constants: Names of its top level, and what to put in the place of their values.
        values: Checked options.
        limits: What it may use; else a minute, or what the options say.

    Returns:
        The program as a side by hand.

    Raises:
        Unusable: It does not run, or nothing or several things are recognised; with what to say.
    """
    program = Program(path, source, constants)
    steps, values = values.get("steps", 2), _with_names(values)
    found: list[Recognised] = []
    recogniser = Recogniser(program, values, steps)

    def is_enough(seen: Seen, has_ended: bool) -> bool:
        recognised = recogniser.recognise(seen, has_ended)
        if recognised:
            found[:] = [recognised]
        is_whole = recognised is not None and len(recognised.steps) >= max(steps, _LEAST)
        return is_whole or recogniser.has_tried_enough(seen)

    call, limits = values.get("call", ""), limits or Limits(values.get("time_limit", 60.0))
    seconds = limits.most
    seen, end, told = watched(program, dict(constants), call, limits, is_enough)
    named = [values[kind] for kind in ("x", "y") if kind in values]
    said = *values.get("parameters", ()), *values.get("frozen", ()), *values.get("names", ())
    for name in (*named, *said):
        if end in ("", "finished", LATE) and not seen.named([name]) and name not in seen.scalars():
            raise Unusable(
                f"{path}: no variable {name} was seen; expected a name as it stands there"
            )
    if not found:
        late = f". There were {seconds:g} s for it: {SMALLER}" if end == LATE else ""
        raise Unusable(_why_not(program, seen, end, told, recogniser.likeliest, late))
    if found[0].reading.is_uneven:
        raise Unusable(
            f"{program.path}: its penalty is not λ/2 Σ W² over all weights: it is L1, or one of "
            "biases too, or not the same for all weights, so nothing is judged; expected the same "
            "λ for all weights: set it to 0, with --set or in the file"
        )
    if found[0].is_left:
        raise Unusable(_left(program, found[0], seen))
    if not found[0].is_judged:
        raise Unusable(
            f"{program.path}: no variable holds its gradients, and its updates are those of no "
            "known optimizer, so nothing can be judged; expected --optimizer and --lr"
        )
    _demand_named(found[0], values.get("names", {}))
    if end == LATE:
        told = [*told, f"after {seconds:g} s no further steps were looked for"]
    elif end not in ("", "finished"):
        told = [*told, f"the program ended early: {end}"]
    return Looked(found[0], program, told, steps)


def _demand_named(found: Recognised, names: Mapping[str, Term]) -> None:
    """Refuse a quantity that the network does not have, and a variable that does not hold it."""
    network, step = found.network, found.reading.first.step
    held = {name: it.at.name for name, it in found.steps[0].items()}
    held |= {network.name(name): it.name for name, it in step.names.items()}
    known = "x", "y", *held, *network.judged
    for key, it in names.items():
        ours = it.parts[-1]
        name = network.quantity(ours, known)
        if name not in known:
            raise Unusable(
                f"--names {key}: the network that was recognised has no {ours}; expected one of "
                f"{', '.join(network.judged)}"
            )
        own = held.get(name, "")
        if name not in ("x", "y", "loss") and key not in (own, *own.split(", ")):
            raise Unusable(f"--names {key}: {key} holds no array that may be {name}")


def _with_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is said, with the inputs and targets that `names` tells."""
    own = {it.parts[0]: name for name, it in values.get("names", {}).items()}
    return {kind: own[kind] for kind in ("x", "y") if kind in own} | dict(values)


def _left(program: Program, found: Recognised, seen: Seen) -> str:
    """That only the first forward pass is that of the network, and why it may be so."""
    sizes = "-".join(map(str, found.network.sizes))
    why = "look for a bias that is 0 at first, or for parameters from before the update"
    longer = grown(seen)
    if longer:
        name, before, after = longer
        why = f"{name} is {before} at first and then {after}: sum its update over the samples"
    return (
        f"{program.path}: the first forward pass is that of a network {sizes}, the next ones are "
        f"not, so nothing is judged; expected the same layers in each step: {why}"
    )


def _why_not(
    program: Program,
    seen: Seen,
    end: str,
    told: list[str],
    likeliest: Chain | None,
    late: str,
) -> str:
    """Why nothing was recognised, and what to say."""
    if end not in ("", "finished", LATE):
        return end if end.startswith(program.path) else f"{program.path}: {end}"
    more = f" ({'; '.join(told)})" if told else ""
    changed = {key for key, history in seen.history.items() if len(history) > 1}
    if not changed:
        calls = ", ".join(program.functions) or "none"
        return (
            f"{program.path}: it ran to its end{more}, and no array changed, so nothing was "
            f"trained; expected --call with what trains, such as --call '{program.trains}'; its "
            f"functions and classes are: {calls}"
        )
    if likeliest:
        words = ", ".join(it.activation for it in likeliest.layers)
        if likeliest.has_dropout(seen):
            how = "take the masks out, in a copy of the file"
            if program.dropout:
                how = f"set the rate to 0, such as --set {program.dropout}=0"
            return (
                f"{program.path}: a forward pass with dropout was recognised ({words}), which is "
                f"not judged; expected one without: {how}"
            )
        square = likeliest.recurrent(seen)
        if square:
            return (
                f"{program.path}: a forward pass was recognised ({words}), but {square} is trained "
                "too and is no part of it, as in a recurrent network, which is not judged; "
                "expected layers σ(x W + b) one after the other. Or have the gradients alone "
                "checked, of any function, with `lockstep.check_gradients`"
            )
        return (
            f"{program.path}: a forward pass was recognised ({words}), but no targets, loss and "
            f"updates that belong to it{more}; expected a loss that --loss knows. Say what is "
            "what: --y NAME --loss NAME; start from `lockstep compare --template`; or, with a loss "
            "of another kind, have the gradients alone checked with "
            f"`lockstep.check_gradients`{late}"
        )
    return (
        f"{program.path}: no network was recognised{more}; expected layers σ(x W + b), none that "
        "are recurrent or convolutional, or drop out. Say where they are: --x NAME --y NAME "
        "--parameters W1,b1,W2,b2; start from `lockstep compare --template`; or have the gradients "
        f"alone checked, of any function, with `lockstep.check_gradients`{late}"
    )
