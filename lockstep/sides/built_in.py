"""The project's own step as a side by hand: neuron by neuron where it is the lecture's network."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from lockstep.network.names import Array, Quantities
from lockstep.network.problem import Problem, Start
from lockstep.sides.answer import Answer
from lockstep.sides.side import Side, Turn
from manual_backprop import network, neuron_by_neuron, two_layer


def exhibit(problem: Problem) -> ModuleType:
    """The module of the project's own step by hand for this problem."""
    if problem.is_the_lectures:
        return neuron_by_neuron
    return two_layer if problem.network.is_plain else network


class BuiltIn(Side):
    """The project's own code by hand. It has no state, so it also trains on its own weights."""

    label = "by hand"
    kind = "built-in"
    is_users = False
    trains_alone = True
    others = True

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        return Answer(by_hand(problem, turn.start))


def by_hand(problem: Problem, start: Start) -> Quantities:
    """One step by the project's own code: arrays by the names that reports use."""
    module, it = exhibit(problem), problem.network
    if module is network:
        found = it.named(network.step(**it.start(start), **it.training))
        return {name: found[name] for name in it.computed}
    if module is neuron_by_neuron:
        scalars = neuron_by_neuron.step(**_scalars(problem, start), lr=start.lr, **it.two_layers)
        return _as_arrays(scalars, problem)
    given: dict[str, Any] = start.given
    return two_layer.step(**given, lr=start.lr, **it.two_layers)


def _scalars(problem: Problem, start: Start) -> dict[str, Any]:
    """The lecture's numbers by name: Python's floats, which are quick, or NumPy's float32."""
    numbers: Callable[[Array], Any] = np.ndarray.tolist if problem.dtype == "float64" else list
    return {
        scalar: number
        for name, array in start.given.items()
        for scalar, number in zip(
            problem.network.scalar_names(name, 1) or (), numbers(array.ravel()), strict=True
        )
    }


def _as_arrays(scalars: dict[str, Any], problem: Problem) -> Quantities:
    """The lecture's scalars as arrays of the table's shapes."""
    network = problem.network
    return {
        name: np.array(
            [scalars[scalar] for scalar in network.scalar_names(name, 1) or ()],
            dtype=problem.dtype,
        ).reshape(network.shape(name, 1))
        for name in network.computed
    }
