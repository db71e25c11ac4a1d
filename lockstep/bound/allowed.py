"""How much two right answers to a step may differ: its formulas on numbers that carry errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from lockstep.bound.activations import bounded_activation
from lockstep.bound.bounded import Bounded, Precision
from lockstep.network.names import Array, Quantities
from lockstep.network.problem import Problem, Start
from manual_backprop import network as by_hand
from manual_backprop.losses import SUMS, divisor, one_hot

Limits: TypeAlias = Mapping[str, Array]


class Allowed(Mapping[str, Array]):
    """How much the two sides may differ, by name; of large arrays computed where it is wanted."""

    def __init__(self, quantities: dict[str, Bounded]) -> None:
        self._quantities = quantities
        self._whole: Quantities = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._whole:
            with np.errstate(all="ignore"):
                self._whole[name] = self._quantities[name].bound()
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._quantities)

    def __len__(self) -> int:
        return len(self._quantities)

    def piece(self, name: str, where: slice) -> Array:
        """A piece of the flat array."""
        quantity = self._quantities[name]
        return quantity.unit() * quantity.piece(where)


def tolerance(problem: Problem, values: dict[str, Any]) -> Callable[[Quantities, Start], Limits]:
    """How much the two sides may differ, as a function of PyTorch's answer and a step's start.

    Args:
        problem: Its settings are what the bound depends on.
        values: Checked options; `rtol` and `atol` take the bound's place.
    """
    if "rtol" not in values and "atol" not in values:
        return lambda torch, start: allowed(problem, start, torch)
    rtol, atol = values.get("rtol", 0.0), values.get("atol", 0.0)
    return lambda torch, start: {
        name: atol + rtol * np.abs(array.astype(np.float64)) for name, array in torch.items()
    }


def allowed(
    problem: Problem, start: Start, torch: Quantities | None = None, noisy: bool = False
) -> Allowed:
    """How much two right answers to this step may differ.

    Args:
        problem: The network and its dtype.
        start: What the step starts from.
        torch: PyTorch's quantities of the step, where they are known: what they have is not
            computed again.
        noisy: See `bounded_activation`.

    Returns:
        float64 arrays by name, in the order of computation.
    """
    with np.errstate(all="ignore"):
        return Allowed(bounded(problem, start, torch, noisy))


def bounded(
    problem: Problem, start: Start, torch: Quantities | None = None, noisy: bool = False
) -> dict[str, Bounded]:
    """The step on Bounded numbers, by name. For the arguments see `allowed`."""
    network, precision = problem.network, Precision.of(problem.dtype)
    # A sum's factor 1/m may be multiplied in last: what comes before is then m times as large,
    # and overflows so much earlier.
    m = divisor(problem.loss, len(start.x), network.sizes[-1])
    precision = replace(precision, largest=precision.largest / m)

    def exact(arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {network[name].numbered: Bounded.exact(arrays[name], precision) for name in arrays}

    training = network.training
    for name, value in network.settings:
        if name != "nesterov" and value:  # 1 − β carries a rounding of its own
            training[name] = Bounded.exact(value, precision)
    names = [(network.of("z", l), network.of("a", l)) for l in network.layers]
    known = [None if torch is None else (torch[z], torch[a]) for z, a in names]
    training["activations"] = [
        bounded_activation(which, values, noisy)
        for which, values in zip(network.activations, known, strict=True)
    ]
    results = by_hand.step(
        exact(start.parameters),
        start.x,
        start.y,
        start.lr,
        memory=None if start.memory is None else exact(start.memory),
        masks=network.numbered(start.masks),
        step=start.step,
        **training,
    )
    if noisy and network.loss in SUMS:  # by the outputs, as textbooks write it
        y = one_hot(start.y, network.sizes[-1], start.x.dtype)
        loss, last = results["loss"], results[f"a{network.depth}"]
        by_o = SUMS[network.loss][1](last, y) / m
        scale, k = loss.scale + by_o.scale, max(loss.k, by_o.k)
        results["loss"] = Bounded(lambda: loss.value, scale, k, precision)
    return network.named(results)
