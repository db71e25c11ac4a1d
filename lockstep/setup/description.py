"""The network that options describe: what is given must agree, what is not has its default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.names import Array, Quantities, Sizes
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.setup.files import nearest
from lockstep.setup.options import OPTIMIZERS, OPTIONS
from lockstep.text import counted

_SETTINGS = {name for settings in OPTIMIZERS.values() for name in settings}


def described(
    values: Mapping[str, Any], arrays: Quantities, data: Quantities
) -> tuple[Network, int]:
    """The network of checked options, and the number of samples.

    Args:
        values: The options, defaults included.
        arrays: Parameters, memory and masks that are given, by name in either vocabulary.
        data: x and y, where they are given.

    Raises:
        Unusable: If they do not agree.
    """
    depth = _depth(values, arrays)
    names = Network(tuple([1] * (depth + 1)), ("linear",) * depth, masks=(True,) * depth)
    loss = values["loss"]
    biases = _biases(values, depth)
    labels = _with_labels(data, loss)
    agreed = _agreed(_claims(values, arrays, data, names), depth)
    sizes = _sizes(agreed, depth, data["y"] if labels and "y" in data else None)
    activations = _activations(values, depth, loss)
    network = Network(
        sizes,
        activations,
        loss,
        values["optimizer"],
        _settings(values),
        values["l1"],
        values["l2"],
        biases,
        tuple(bool({f"mask{l}", names.name(f"mask{l}")} & arrays.keys()) for l in names.layers),
        labels,
    )
    _demand_targets(network, data.get("y"))
    return _with_frozen(network, values["frozen"]), agreed.get("N", 1)


def _depth(values: Mapping[str, Any], arrays: Quantities) -> int:
    """How many layers there are: as many as anything says; they must agree."""
    claims = {}
    if "sizes" in values:
        claims["sizes"] = len(values["sizes"]) - 1
    for name in ("activations", "biases"):
        if isinstance(values.get(name), tuple):
            claims[name] = len(values[name])
    for name in arrays:
        if name.endswith(("_h", "_o")):
            claims[name] = 2
    numbered = [name for name in arrays if name[-1].isdigit() and not name.startswith("mask")]
    last = max(numbered, key=_layer, default="")
    if last and not claims:
        claims[last] = _layer(last)
    (first, depth), *others = claims.items() or [("", 2)]
    for other, theirs in others:
        if theirs != depth:
            raise Unusable(
                f"{other}: says that there are {counted(theirs, 'layer')}, but {first} says "
                f"{depth}; expected them to agree"
            )
    return depth


def _layer(name: str) -> int:
    return int(re.sub(r"\D", "", name))


def _biases(values: Mapping[str, Any], depth: int) -> tuple[bool, ...]:
    """Of each layer whether it has biases."""
    if values.get("no_biases"):
        if "biases" in values:
            raise Unusable("biases: given together with no_biases; expected one of the two")
        return (False,) * depth
    given = values.get("biases", True)
    return given if isinstance(given, tuple) else (given,) * depth


def _activations(values: Mapping[str, Any], depth: int, loss: str) -> tuple[str, ...]:
    """One a layer; the last one's belongs to a cross-entropy."""
    own = WITH_ACTIVATION.get(loss)
    single = {"hidden_activation", "output_activation"} & values.keys()
    if "activations" in values and single:
        raise Unusable(f"{min(single)}: given together with activations; expected one of the two")
    hidden = values.get("hidden_activation", "linear")
    output = values.get("output_activation", own or "linear")
    found = list(values.get("activations", (*[hidden] * (depth - 1), output)))
    where = "activations" if "activations" in values else "output_activation"
    if "softmax" in found[:-1]:
        where = where if where == "activations" else "hidden_activation"
        raise Unusable(f"{where}: softmax belongs to the last layer, with --loss cross_entropy")
    if own == "softmax" and found[-1] == "linear":
        found[-1] = own
    if own and found[-1] != own:
        words = "linear or softmax" if own == "softmax" else own
        raise Unusable(
            f"{where}: the last activation is {found[-1]}; expected {words} with the loss {loss}"
        )
    if not own and found[-1] == "softmax":
        raise Unusable(f"{where}: softmax belongs to --loss cross_entropy; the loss is {loss}")
    return tuple(found)


def _settings(values: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """The optimiser's, with PyTorch's defaults."""
    optimizer = values["optimizer"]
    known = OPTIMIZERS[optimizer]
    for name in OPTIONS:
        if name in _SETTINGS - known.keys() and name in values:
            having = [other for other, settings in OPTIMIZERS.items() if name in settings]
            raise Unusable(
                f"{name}: {optimizer} has no such setting; expected it with --optimizer "
                f"{' or '.join(having)}"
            )
    found = known | {name: values[name] for name in known if name in values}
    if found.get("nesterov") and (not found["momentum"] or found["dampening"]):
        raise Unusable("nesterov: expected a momentum above 0 and no dampening, as in torch.optim")
    return tuple(found.items())


def _with_labels(data: Quantities, loss: str) -> bool:
    """Whether the targets are labels: drawn ones of a cross-entropy, a row of whole numbers."""
    y = data.get("y")
    if WITH_ACTIVATION.get(loss) != "softmax":
        if y is not None and y.ndim == 1:
            raise Unusable(
                f"y: labels belong to --loss cross_entropy, the loss is {loss}; expected a list of "
                "rows, each a list of numbers"
            )
        return False
    if y is not None and y.ndim == 2 and y.shape[1] == 1:  # a column of a table
        if (y % 1).any():
            raise Unusable(
                f"y: expected labels, whole numbers from 0, got {float(y[y % 1 != 0][0])}"
            )
        data["y"] = y = y[:, 0].astype(np.int64)
    return y is None or y.ndim == 1


def _demand_targets(network: Network, y: Array | None) -> None:
    """Raise Unusable for targets, or a number of outputs, that a cross-entropy cannot have."""
    own, n_out = WITH_ACTIVATION.get(network.loss), network.sizes[-1]
    if own == "softmax" and n_out < 2:
        raise Unusable(f"loss: {network.loss} is over classes; expected two outputs or more")
    if own is None or y is None:
        return
    if network.labels:
        wrong = y[(y < 0) | (y >= n_out)]
        if len(wrong):
            expected = f"labels from 0 to {n_out - 1}, for {n_out} outputs"
            raise Unusable(f"y: expected {expected}, got {int(wrong[0])}")
    elif own == "softmax" and not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
        raise Unusable("y: expected labels, or rows with one 1 and else 0")
    elif ((y < 0) | (y > 1)).any():
        wrong = y[(y < 0) | (y > 1)]
        raise Unusable(f"y: expected numbers from 0 to 1 with {network.loss}, got {wrong[0]:g}")


def _with_frozen(network: Network, frozen: Iterable[str]) -> Network:
    """The network with its parameters that are not trained, by the names that reports use."""
    found = set()
    for name in frozen:
        own = network.quantity(name, network.parameters)
        if own not in network.parameters:
            names = ", ".join(network.parameters)
            near = nearest(name, network.parameters)
            raise Unusable(
                f"frozen: expected a list of parameters out of {names}, got {name}{near}"
            )
        found.add(own)
    in_order = tuple(name for name in network.parameters if name in found)
    return replace(network, frozen=in_order)


def _claims(
    values: Mapping[str, Any], arrays: Quantities, data: Quantities, names: Network
) -> Iterator[tuple[int | str, int, str]]:
    """What each array says of the widths: the layer, or N, how many, and where that is from."""
    for name, array in data.items():
        origin = values.get("data", name)
        words = f"{origin} (shape {'×'.join(map(str, array.shape))})"
        yield "N", len(array), words
        if array.ndim == 2:
            yield 0 if name == "x" else names.depth, array.shape[1], words
    for name, array in arrays.items():
        own = names.name(name)
        if own not in names:
            raise Unusable(f"{name}: expected the name of a layer's array; there are {names.depth}")
        layer, words = names[own].layer, f"{name} (shape {'×'.join(map(str, array.shape))})"
        if name.startswith("mask"):
            if layer == names.depth:
                raise Unusable(f"{name}: the last layer has no dropout; expected a hidden layer's")
            yield "N", len(array), words
            yield layer, array.shape[1], words
        else:
            yield layer, array.shape[0], words
            if array.ndim == 2:
                yield layer - 1, array.shape[1], words
    if "sizes" in values:
        text = "-".join(map(str, values["sizes"]))
        for layer, n in enumerate(values["sizes"]):
            yield layer, n, f"sizes {text}"
    if "samples" in values:
        yield "N", values["samples"], "samples"


def _agreed(claims: Iterable[tuple[int | str, int, str]], depth: int) -> dict[int | str, int]:
    """By layer, and for N, how many; raises Unusable where claims do not agree."""
    agreed: dict[int | str, tuple[int, str]] = {}
    for axis, length, origin in claims:
        known, first = agreed.setdefault(axis, (length, origin))
        if known != length:
            of = _axis(axis, depth)
            raise Unusable(
                f"{origin}: has {of} = {length}, but {first} has {of} = {known}; expected them to "
                "agree"
            )
    return {axis: length for axis, (length, _) in agreed.items()}


def _axis(axis: int | str, depth: int) -> str:
    """What a message calls a width."""
    ends = {0: "n_in", depth: "n_out"} | ({1: "n_hidden"} if depth == 2 else {})
    return axis if isinstance(axis, str) else ends.get(axis, f"n_{axis}")


def _sizes(agreed: Mapping[int | str, int], depth: int, labels: Array | None) -> Sizes:
    """The widths; a hidden layer is by default as wide as the inputs."""
    n_in = agreed.get(0, 2)
    n_out = 2 if labels is None else max(int(labels.max(initial=0)) + 1, 2)
    usual = [n_in] * depth + [n_out]
    return tuple(agreed.get(layer, width) for layer, width in enumerate(usual))
