"""Which variable is which quantity of a training step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from lockstep.look.chain import close
from lockstep.look.reading import (
    Batch,
    Reader,
    delta_factors,
)
from lockstep.look.recognised import Mapped, Recognised
from lockstep.look.roles import Roles
from lockstep.look.seen import Seen, Sighting
from lockstep.network.names import Array, Quantities

_ROUNDED = 1000  # roundings of a parameter that are no difference
_SAME = 1e-6  # relative: to which a quantity whose variable is said counts as recognised


def mapped(found: Recognised, reader: Reader, batch: Batch, right: Quantities) -> dict[str, Mapped]:
    """By the network's names what a step's variables hold."""
    own: dict[str, Mapped] = {}
    parameters = reader.model.variables
    n, n_out = len(batch.x), found.network.sizes[-1]
    for name, value in right.items():
        if name.startswith("new_") and name[4:] in batch.step.parameters:
            continue
        if name == "loss":
            continue
        has_factor = name.startswith(("delta", "grad_"))
        factors = delta_factors(n, n_out) if has_factor else (1.0,)
        if name[name.rfind("_") + 1 :] in batch.step.parameters:
            held = reader.find_like(batch, name, right, factors)
        elif value.ndim == 2 and len(batch.passes) > 1:
            held = reader.find_rows(batch, value, factors)
        else:
            held = reader.find(batch, value, factors)
        held = [it for it in held if it.value.shape == value.shape and it.at.key not in parameters]
        gradient = own.get("grad_" + name[name.rfind("_") + 1 :])
        if gradient:  # the optimiser's memory is the gradient at first
            held = [it for it in held if it.at != gradient.at]
        if held:
            it = held[0]
            own[name] = Mapped(it.ours, it.at, it.transposed, it.factor)
    for name, new in batch.step.new.items():
        p, is_narrow = batch.step.parameters[name], name == "W1" and found.x_is_narrow
        is_right = _is_near(new, right[f"new_{name}"], p, is_narrow)
        own[f"new_{name}"] = Mapped(
            new, batch.step.names.get(name) or batch.step.names["W" + name[1:]], is_right=is_right
        )
    _with_roles(found, reader, batch, right, own)
    _without_factors(found, batch, right, own)
    _with_names(found, reader, batch, right, own)
    for name in reader.model.shared & batch.step.parameters.keys():
        if own[f"new_{name}"].is_right:  # PyTorch has another bias for each neuron
            found.shared[name] = own.pop(f"new_{name}").at
            own.pop(f"grad_{name}", None)
    order = {name: i for i, name in enumerate(right)}
    named = sorted(own.items(), key=lambda it: order[it[0]])
    return {found.network.name(name): it for name, it in named}


def _with_names(
    found: Recognised, reader: Reader, batch: Batch, right: Quantities, own: dict[str, Mapped]
) -> None:
    """Put in the quantities whose variables are said."""
    network = found.network
    lr = found.reading.settings.lr or 1.0
    numbers = {"N": len(batch.x), "n_out": network.sizes[-1], "lr": lr}
    numbered = {network.name(n): n for n in right if n != "loss" and not n.startswith("new_")}
    for key, term in reader.given.get("names", {}).items():
        name = numbered.get(network.quantity(term.parts[0], numbered))
        held = reader.held_by(batch, key, right[name].shape) if name else None
        if name and held:
            factor = term.factor(numbers)
            is_right = close(held.value / factor, right[name], _SAME)
            own[name] = Mapped(held.value / factor, held.at, held.transposed, factor, is_right)


def _without_factors(
    found: Recognised, batch: Batch, right: Quantities, own: dict[str, Mapped]
) -> None:
    """Take the factor of a delta for a mistake where it is in the gradient made of it too.

    That is δᵀ a + λ W with the factor in δ alone; a convention divides by it, as any gradient that
    is right tells.
    """
    gradients = (it for name, it in own.items() if name.startswith(("grad_W", "grad_b")))
    l2 = found.reading.settings.l2
    if not l2 or any(it.is_right and abs(it.factor) == 1 for it in gradients):
        return
    for l in range(1, found.network.depth + 1):
        delta, gradient = own.get(f"delta{l}"), own.get(f"grad_W{l}")
        a = batch.x if l == 1 else right[f"a{l - 1}"]
        penalty = l2 * batch.step.parameters[f"W{l}"]
        if (
            delta
            and gradient
            and abs(delta.factor) != 1
            and not gradient.is_right
            and close(gradient.theirs, delta.theirs.T @ a + penalty, _SAME)
        ):
            for name in (f"delta{l}", f"grad_W{l}", f"grad_b{l}"):
                if it := own.get(name):
                    own[name] = replace(it, value=it.theirs, factor=1.0, is_right=False)


def _goes_on(seen: Seen, at: Sighting, batch: Batch) -> bool:
    """Whether more may be added to a gradient: a function returned it, or its variable changes."""
    last = seen.at(at.key, batch.step.until)
    return at.name.endswith("()") or (last is not None and last.content != at.content)


def _is_near(new: Array, right: Array, p: Array, is_narrow: bool) -> bool:
    """Whether a parameter became what it should, to the tolerance of recognition."""
    moved = np.abs(right - p).max(initial=0)
    near, eps = (1e-3, 2.0**-24) if p.dtype == np.float32 else (1e-9, 2.0**-53)
    near = 1e-3 if is_narrow else near
    room = near * moved + _ROUNDED * eps * np.abs(p).max(initial=0)
    return bool((np.abs(new - right) <= room).all())


def _with_roles(
    found: Recognised, reader: Reader, batch: Batch, right: Quantities, own: dict[str, Mapped]
) -> None:
    """Add the quantities that are not right, of the layers whose updates are not.

    A factor of one gradient alone, whose update is not right, is no convention. One that most
    gradients have is that of the others too.
    """
    settings = found.reading.settings
    is_first = batch is found.reading.batches[0]
    roles = Roles(found.model, batch, settings, right, is_first)
    errors = [it.factor for name, it in own.items() if name.startswith(("delta", "grad_"))]
    sign = -1.0 if errors and max(errors) < 0 else 1.0
    factors = Counter(
        it.factor for name, it in own.items() if name.startswith(("grad_W", "grad_b"))
    )
    usual = max(factors, key=lambda it: (factors[it], it == sign), default=sign)
    for l in range(found.network.depth, 0, -1):
        parameters = [name for name in (f"W{l}", f"b{l}") if name in batch.step.parameters]
        wrong = [name for name in parameters if not own[f"new_{name}"].is_right]
        for name in parameters:
            at = own.get(f"grad_{name}")
            if name in wrong and at and at.factor not in (1, usual):
                own[f"grad_{name}"] = Mapped(at.theirs, at.at, at.transposed, 1.0, False)
        if not wrong:
            continue
        gradients: dict[str, Array] = {}
        for name in parameters:
            at = own.get(f"grad_{name}")
            if name in wrong and (at is None or _goes_on(reader.seen, at.at, batch)):
                it = roles.gradient(name)
                if it:
                    value = it.value / usual
                    own[f"grad_{name}"] = Mapped(value, it.at, it.transposed, usual, False)
            if f"grad_{name}" in own:
                gradients[name] = own[f"grad_{name}"].value
            else:
                p = batch.step.parameters[name].astype(np.float64)
                gradients[name] = (p - batch.step.new[name]) / (settings.lr or 1.0)
        if f"delta{l}" not in own:
            it = roles.delta(l, gradients.get(f"W{l}"), gradients.get(f"b{l}"), sign)
            if it:
                own[f"delta{l}"] = Mapped(it.ours, it.at, it.transposed, it.factor, False)
