"""The project's own step as a side by hand: neuron by neuron where it is the lecture's network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lockstep.network.names import COMPUTED, Array, Quantities, scalar_names, shape_of
from lockstep.network.problem import Problem, Start
from lockstep.sides.answer import Answer
from lockstep.sides.side import Side, Turn
from manual_backprop import neuron_by_neuron, two_layer


def built_in(problem: Problem) -> "partial[dict[str, Any]]":
    """The project's own step by hand for this problem, with its settings."""
    module = neuron_by_neuron if problem.is_the_lectures else two_layer
    return partial(module.step, **problem.network_settings)


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
    """One step by the project's own code: arrays by the table's names."""
    step = built_in(problem)
    if problem.is_the_lectures:
        return _as_arrays(step(**_scalars(problem, start), lr=start.lr), problem)
    return step(**start.parameters, x=start.x, y=start.y, lr=start.lr)


def _scalars(problem: Problem, start: Start) -> dict[str, Any]:
    """The lecture's numbers by name: Python's floats, which are quick, or NumPy's float32."""
    numbers: Callable[[Array], Any] = np.ndarray.tolist if problem.dtype == "float64" else list
    arrays = start.parameters | {"x": start.x, "y": start.y}
    return {
        scalar: number
        for name, array in arrays.items()
        for scalar, number in zip(
            scalar_names(name, problem.sizes, 1) or (), numbers(array.ravel()), strict=True
        )
    }


def _as_arrays(scalars: dict[str, Any], problem: Problem) -> Quantities:
    """The lecture's scalars as arrays of the table's shapes."""
    return {
        name: np.array(
            [scalars[scalar] for scalar in scalar_names(name, problem.sizes, 1) or ()],
            dtype=problem.dtype,
        ).reshape(shape_of(name, problem.sizes, 1))
        for name in COMPUTED
    }
