"""A program's conventions in words: its layout, its factors, where its biases are."""

from __future__ import annotations

from lockstep.look.recognised import Recognised
from lockstep.network.terms import LAYOUTS


def conventions(it: Recognised) -> list[str]:
    """Sentences that say what was recognised.

    Args:
        it: The program.
    """
    network, reading, chain = it.network, it.reading, it.model.chain
    settings, batch = reading.settings, reading.batches[0]
    sizes = "-".join(map(str, network.sizes))
    of = " ".join(f"{name} {value:g}" for name, value in settings.of_optimizer.items())
    lr = f" lr {settings.lr:g}" if settings.lr else ""
    optimizer = f"{settings.optimizer} {of}".strip() + lr
    if not reading.knows_update:
        optimizer = "no known optimizer"
    penalty = f", l2 {settings.l2:g}" if settings.l2 else ""
    words = ", ".join(network.activations)
    found = [f"network {sizes}, {words}, {network.loss}{penalty}, {optimizer}"]
    said = []
    if chain.columns and len(batch.x) > 1:
        said.append(LAYOUTS["columns"] + (", in x they are rows" if not chain.x_columns else ""))
    elif chain.x_columns and len(batch.x) > 1:
        said.append("samples are rows, in x they are columns")
    if all(layer.is_in_out for layer in chain.layers) and max(network.sizes) > 1:
        said.append(LAYOUTS["in_out"])
    if chain.layers[0].labelled:
        said.append("the last number of x is a label, and no input")
    fold = chain.layers[0].fold
    if fold:
        which = "row" if chain.layers[0].is_in_out else "column"
        said.append(f"biases are the {fold} {which} of the weights")
    elif not any(network.biases):
        said.append("there are no biases")
    if len(batch.passes) > 1:
        said.append(f"{len(batch.passes)} samples, one at a time, make a step")
    for name, mapped in it.steps[0].items():
        if mapped.factor != 1 and name.startswith("delta"):
            sign = "−" if mapped.factor < 0 else ""
            times = "" if abs(mapped.factor) == 1 else f"{abs(mapped.factor):g} · "
            said.append(f"{mapped.at.name} is {sign}{times}∂L/∂z")
            break
    if said:
        found.append(f"your conventions: {'; '.join(said)}")
    return found
