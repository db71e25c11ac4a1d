"""A program's conventions in words: its layout, its factors, where its biases are."""

from __future__ import annotations

from collections.abc import Iterator

from lockstep.look.recognised import Recognised
from lockstep.network.terms import LAYOUTS


def conventions(it: Recognised) -> list[str]:
    """Sentences that say what was recognised.

    Args:
        it: The program.
    """
    own = "; ".join((*_of_arrays(it), *_of_samples(it)))
    return [_training(it), *([f"your conventions: {own}"] if own else [])]


def _training(it: Recognised) -> str:
    """network 4-7-3, tanh, softmax, cross_entropy, sgd lr 0.2."""
    network, settings = it.network, it.reading.settings
    numbers = settings.of_optimizer | ({"lr": settings.lr} if settings.lr else {})
    optimizer = [settings.optimizer, *(f"{name} {value:g}" for name, value in numbers.items())]
    parts = [
        "-".join(map(str, network.sizes)),
        *network.activations,
        network.loss,
        *([f"l2 {settings.l2:g}"] if settings.l2 else []),
        " ".join(optimizer) if it.reading.knows_update else "no known optimizer",
    ]
    return f"network {', '.join(parts)}"


def _of_arrays(it: Recognised) -> Iterator[str]:
    """How samples, weights and biases lie in arrays."""
    network, chain = it.network, it.model.chain
    first = chain.layers[0]
    if len(it.reading.first.x) > 1:
        if chain.columns:
            yield LAYOUTS["columns"] + (", in x they are rows" if not chain.x_columns else "")
        elif chain.x_columns:
            yield "samples are rows, in x they are columns"
    if all(layer.is_in_out for layer in chain.layers) and max(network.sizes) > 1:
        yield LAYOUTS["in_out"]
    if first.labelled:
        yield "the last number of x is a label, and no input"
    if first.fold:
        which = "row" if first.is_in_out else "column"
        yield f"biases are the {first.fold} {which} of the weights"
    elif not any(network.biases):
        yield "there are no biases"


def _of_samples(it: Recognised) -> Iterator[str]:
    """How many samples make a step, and what a δ is times ours."""
    count = len(it.reading.first.passes)
    if count > 1:
        yield f"{count} samples, one at a time, make a step"
    for name, mapped in it.steps[0].items():
        if mapped.factor != 1 and name.startswith("delta"):
            sign = "−" if mapped.factor < 0 else ""
            times = "" if abs(mapped.factor) == 1 else f"{abs(mapped.factor):g} · "
            yield f"{mapped.at.name} is {sign}{times}∂L/∂z"
            return
