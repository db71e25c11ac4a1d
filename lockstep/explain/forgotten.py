"""A forgotten setting: what was returned fits the network under another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from lockstep.bound.allowed import allowed
from lockstep.network.names import Array
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.network.problem import Problem
from lockstep.run.record import Record
from lockstep.setup.options import ACTIVATION_NAMES, LOSS_NAMES, OPTIMIZERS
from lockstep.sides.built_in import by_hand
from manual_backprop.activations import activation

_MAY_BE_0 = ("momentum", "dampening", "weight_decay")
MOST = 2 * 10**7  # multiply-adds of a step beyond which trying every setting takes too long


@np.errstate(all="ignore")
def forgotten_setting(record: Record, problem: Problem) -> str:
    """The option with which everything that was returned would be right, as a command line has it.

    Args:
        record: A step that differs.
        problem: What it was judged by.

    Returns:
        "" where no other activation, loss or optimiser gives these numbers.
    """
    if record.misshapen or record.jump or problem.multiply_adds > MOST or not record.is_finite:
        return ""
    derived = [array for name, array in record.manual.items() if "new_" not in name]
    if derived and not any(array.any() for array in derived):
        return ""  # dead relus give zeros, and so does a step that derives nothing
    for option, network in chain(_as_seen(record), _others(problem.network)):
        is_known = record.start.memory is None or {*network.memory} <= {*problem.network.memory}
        if (
            network != problem.network
            and is_known
            and _fits(record, replace(problem, network=network))
        ):
            return option
    return ""


def _as_seen(record: Record) -> Iterator[tuple[str, Network]]:
    """Networks with the activations that the returned z and σ(z) have, under each loss."""
    network = record.network
    found = list(network.activations)
    for l in network.layers:
        z, a = (record.manual.get(network.of(kind, l)) for kind in "za")
        if z is not None and a is not None:
            names = (*ACTIVATION_NAMES, *(("softmax",) if l == network.depth else ()))
            found[l - 1] = next((it for it in names if _is_of(it, z, a)), found[l - 1])
    activations = tuple(found)
    if activations == network.activations:
        return
    for loss in dict.fromkeys((network.loss, *LOSS_NAMES)):
        own = WITH_ACTIVATION.get(loss)
        if own in (None, activations[-1]) and (activations[-1] == "softmax") == (own == "softmax"):
            option = _option(network, activations)
            if loss != network.loss:  # its last activation is its default
                option += f" --loss {loss}"
            yield option, replace(network, activations=activations, loss=loss)


def _is_of(name: str, z: Array, a: Array) -> bool:
    """Whether an array is σ of another one, to six digits."""
    right = activation(name)[0](z.astype(np.float64))
    return bool(np.abs(a - right).max(initial=0) <= 1e-6 * np.abs(right).max(initial=0))


def _fits(record: Record, other: Problem) -> bool:
    """Whether every value that was returned is the other network's, to rounding."""
    if not {*record.manual} <= {*other.network.computed}:
        return False
    memory = record.start.memory or {}
    kept = {name: memory[name] for name in other.network.memory if name in memory}
    start = replace(record.start, memory=kept or None)
    right = by_hand(other, start)
    limits = allowed(other, start)
    for name, own in record.manual.items():
        room = limits[name] + record.printed.get(name, 0.0)
        off = ~(np.abs(own.astype(np.float64) - right[name]) <= room)
        if (off & record.covered.get(name, True)).any():
            return False
    return True


def _others(network: Network) -> Iterator[tuple[str, Network]]:
    """Networks with one other setting, likelier ones first, and the option that sets it."""
    own = WITH_ACTIVATION.get(network.loss)
    for loss in LOSS_NAMES:
        theirs = WITH_ACTIVATION.get(loss)
        if loss != network.loss and (theirs == "softmax") == (own == "softmax"):
            last = theirs or ("linear" if own else network.activations[-1])
            activations = (*network.activations[:-1], last)
            yield f"--loss {loss}", replace(network, loss=loss, activations=activations)
    for which in ACTIVATION_NAMES:
        yield from _with_activation(network, which, own is not None)
    yield from _with_settings(network)
    for optimizer, settings in OPTIMIZERS.items():
        if optimizer != network.optimizer:
            changed = replace(network, optimizer=optimizer, settings=tuple(settings.items()))
            yield f"--optimizer {optimizer}", changed


def _with_settings(network: Network) -> Iterator[tuple[str, Network]]:
    """The network without a penalty, or with its optimiser's usual settings, or without them."""
    yield "nothing frozen", replace(network, frozen=())
    yield from (("--l1 0", replace(network, l1=0.0)), ("--l2 0", replace(network, l2=0.0)))
    settings = dict(network.settings)
    for name, value in settings.items():
        usual = OPTIMIZERS[network.optimizer][name]
        for other in dict.fromkeys((usual, 0.0)) if name != "nesterov" else ():
            if other != value and (name in _MAY_BE_0 or other):
                changed = tuple((settings | {name: other}).items())
                flag = f"--{name.replace('_', '-')} {other:g}"
                yield flag, replace(network, settings=changed)
    if settings.get("momentum"):
        other = not settings["nesterov"]
        changed = tuple((settings | {"nesterov": other}).items())
        yield "--nesterov" if other else "no --nesterov", replace(network, settings=changed)


def _with_activation(
    network: Network, which: str, keeps_last: bool
) -> Iterator[tuple[str, Network]]:
    """The network with another activation in its hidden layers, its last one, or all of them."""
    *hidden, last = network.activations
    ways = [(*[which] * len(hidden), last), (*hidden, which), (*[which] * network.depth,)]
    for changed in ways:
        if changed != network.activations and not (keeps_last and changed[-1] != last):
            yield _option(network, changed), replace(network, activations=changed)


def _option(network: Network, activations: tuple[str, ...]) -> str:
    """The options that set these activations where the network has others."""
    if network.depth != 2:
        return f"--activations {','.join(activations)}"
    names = ("--hidden-activation", "--output-activation")
    changed = zip(names, network.activations, activations, strict=True)
    return " ".join(f"{name} {new}" for name, old, new in changed if new != old)
