"""What is said of a recognised program beside its verdict."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from lockstep.look.drift import biases
from lockstep.look.recognised import Recognised
from lockstep.look.source import Program


def remarks(it: Recognised, program: Program, steps: int) -> Iterator[str]:
    """What its loss and updates are beside its gradients, and what stands in no variable.

    Args:
        it: The program.
        program: Its text.
        steps: How many steps of it are judged.
    """
    yield from _of_the_loss(it, program)
    yield from _of_the_updates(it)
    yield from _of_the_parameters(it, steps)
    yield from _of_the_last_layer(it)
    yield from _not_held(it, steps)


def _of_the_loss(it: Recognised, program: Program) -> Iterator[str]:
    """That the loss that is computed is another one than that of the gradients."""
    if it.multiple and not it.is_added_up:
        times, series = it.multiple
        yield (
            f"the loss in {program.place(series.line, series.file)} is {_fraction(times)} times "
            "the one whose gradients these are: a convention of yours, or a factor is missing"
        )
    if it.other:
        yield (
            f"the loss in {program.place(it.other.line, it.other.file)} is not "
            f"{it.reading.settings.loss}, whose gradients these are, nor a multiple of it: if it "
            "is meant, they are not its gradients"
        )


def _of_the_updates(it: Recognised) -> Iterator[str]:
    reading = it.reading
    if not reading.knows_update:
        yield (
            "its updates are those of no known optimizer, or at a learning rate that no variable "
            "holds: not judged; --optimizer and --lr say them"
        )
    if reading.begins_late:
        yield (
            "the first change of the parameters is no step along their gradients, the later ones "
            "are: judged from the second on"
        )
    rate = reading.settings.lr
    if reading.knows_update and reading.said_lr and rate and "lr" not in it.said:
        times = rate / reading.said_lr
        if any(abs(times - usual) <= 1e-6 * usual for usual in it.usual_factors - {1.0}):
            yield (
                f"the updates go {_fraction(times)} times as far as with the learning rate "
                f"{reading.said_lr:g}: a factor of the loss may be missing in the gradients"
            )
    if it.x_is_narrow:
        yield (
            "the inputs are float32 and the weights float64: NumPy rounds lr * X.T and the like "
            "to float32, which is allowed for in what is computed of them"
        )


def _of_the_parameters(it: Recognised, steps: int) -> Iterator[str]:
    """Biases that are no part of the network, parameters that never change, shared biases."""
    known = {mapped.at.name for mapped in it.steps[0].values()}
    for l, has_biases in enumerate(it.network.biases, 1):
        names = [] if has_biases else biases(it.model.seen, it.network.sizes[l])[:1]
        yield from (
            f"{name} is trained, and no part of the forward pass of layer {l}, which has no biases"
            for name in names
            if name not in known
        )
    idle = list(dict.fromkeys(_idle(it, steps)))
    if idle:
        yield (
            f"{', '.join(idle)} never {'changes' if len(idle) == 1 else 'change'}: if that is "
            f"meant, say --frozen {shlex.quote(','.join(idle))}"
        )
    for name, at in it.shared.items():
        yield (
            f"{at.name.split(', ')[0]} is one bias for all neurons of layer {name[1:]}: it was "
            "compared with the sum of PyTorch's, to six digits"
        )


def _idle(it: Recognised, count: int) -> Iterator[str]:
    """The variables of parameters that no step changed, and that are not said to be frozen."""
    steps = [batch.step for batch in it.reading.batches[:count]]
    for name, at in steps[0].names.items():
        stays = all(np.array_equal(step.parameters[name], step.new[name]) for step in steps)
        if stays and it.network.name(name) not in it.network.frozen:
            yield from dict.fromkeys(at.name.split(", "))


def _of_the_last_layer(it: Recognised) -> Iterator[str]:
    """That its derivative is that of cross-entropy, where no loss tells that this is meant."""
    is_computed = any((it.reading.witness, it.multiple, it.other)) or "loss" in it.said
    if it.reading.kind == "sigmoid" and not is_computed:
        loss = it.reading.settings.loss
        squares = "half_sum" if loss == "bce_sum" else "half_sum_over_n"
        yield (
            f"no variable holds the loss; {loss} is the one whose derivative is o − y. If squares "
            f"were meant, σ' is missing there: say --loss {squares}"
        )


def _not_held(it: Recognised, steps: int) -> Iterator[str]:
    network = it.network
    held = {name for step in it.steps[:steps] for name in step} | {"loss"}
    held |= {f"{kind}_{network.name(b)}" for b in it.shared for kind in ("grad", "new")}
    inside = [name for name in network.computed if name not in held]
    if inside:
        yield (
            f"no variable holds {', '.join(inside)}: judged through what is computed from "
            f"{'it' if len(inside) == 1 else 'them'}"
        )


def _fraction(times: float) -> Fraction:
    return Fraction(times).limit_denominator(10**6)
