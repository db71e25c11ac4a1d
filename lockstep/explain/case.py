"""A step that differs, formula by formula, each on the derivation's own earlier values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from lockstep.bound.allowed import bounded_activation
from lockstep.bound.bounded import Bounded, Precision
from lockstep.explain.formulas import evaluate, inputs_of, look_ahead, sources, surroundings
from lockstep.network.names import COMPUTED, PARAMETERS, Array, Quantities
from lockstep.network.problem import Problem
from lockstep.run.record import Record
from lockstep.run.result import History
from manual_backprop.activations import activation


@dataclass(frozen=True)
class StandIn:
    """A formula in the place of a right one. given: names of its own, such as `c`, and values."""

    text: str
    given: dict[str, Any] = field(default_factory=dict)


Replaced = dict[str, StandIn]  # by quantity


def trained(
    problem: Problem, right: dict[str, str], replaced: dict[str, str], parameters: Quantities
) -> Iterator[tuple[int, Quantities]]:
    """A whole training by hand with some formulas replaced.

    Args:
        problem: what is trained.
        right: the text of the right formulas by name.
        replaced: the text of those that stand in their place.
        parameters: what the first step starts from.

    Yields:
        The number of a step and its quantities, without end.
    """
    formulas = right | replaced
    layers = (problem.hidden_activation, problem.output_activation)
    activations = [activation(which) for which in layers]
    for number in count(1):
        x, y = problem.batch(number)
        names = surroundings(problem, parameters, x, y, problem.lr, activations)
        with np.errstate(all="ignore"):
            for name in COMPUTED:
                look_ahead(formulas[name], names, right)
                names[name] = evaluate(formulas[name], names)
        yield number, {name: names[name] for name in COMPUTED}
        parameters = {name: names[f"new_{name}"] for name in parameters}


class Case:
    """A step's record, and what formulas, right or replaced, give on its earlier values.

    own: what the derivation returned, in float64. right: the text of the right formulas.
    """

    def __init__(self, record: Record, problem: Problem, history: History) -> None:
        self.record, self.sizes, self.samples = record, problem.sizes, len(record.x)
        self.precision = Precision.of(record.dtype)
        layers = (problem.hidden_activation, problem.output_activation)
        activations = [bounded_activation(which) for which in layers]
        start = {name: self._bounded(array) for name, array in record.parameters.items()}
        x, y = np.asarray(record.x, np.float64), np.asarray(record.y, np.float64)
        self.names = surroundings(problem, start, x, y, record.lr, activations)
        for name, gradients in vars(history).items():  # accumulated, previous
            self.names[name] = gradients or dict.fromkeys(PARAMETERS, 0.0)
        self.right = sources(problem)
        self.own = {name: np.asarray(array, np.float64) for name, array in record.manual.items()}
        self._by_right_ones: dict[str, Bounded] = {}  # where no formula before is replaced

    def _bounded(self, value: Bounded | Array) -> Bounded:
        return value if isinstance(value, Bounded) else Bounded.exact(value, self.precision)

    def evaluated(self, replaced: Replaced, last: str = COMPUTED[-1]) -> dict[str, Bounded]:
        """Every quantity up to `last`, from the derivation's own earlier values.

        Args:
            replaced: formulas in place of the right ones.
            last: where to stop.

        Raises:
            ValueError, IndexError: the shapes do not fit.
        """
        names = dict(self.names)
        results = {}
        all_right = True
        for name in COMPUTED[: COMPUTED.index(last) + 1]:
            all_right = all_right and name not in replaced
            result = self._by_right_ones.get(name) if all_right else None
            if result is None:
                formula = replaced.get(name) or StandIn(self.right[name])
                look_ahead(formula.text, names, self.right)
                result = self._bounded(evaluate(formula.text, names | formula.given))
            if all_right:
                self._by_right_ones[name] = result
            results[name], names[name] = result, self._as_returned(name, result)
        return results

    def value(self, name: str, replaced: Replaced) -> Bounded:
        """One quantity; see `evaluated`."""
        return self.evaluated(replaced, name)[name]

    def _as_returned(self, name: str, result: Bounded) -> Bounded:
        """The derivation's value with its formula's bound; where it has none, the formula's."""
        if name not in self.own:
            return result
        scale = np.maximum(result.scale, np.abs(self.own[name]))
        return Bounded(self.own[name], scale, result.k, result.precision)

    @np.errstate(all="ignore")
    def differing(self, replaced: Replaced) -> set[str]:
        """The returned quantities that are not what their formula gives."""
        results = self.evaluated(replaced)
        return {name for name in self.own if self.off(name, results[name]).any()}

    @np.errstate(all="ignore")
    def off(self, name: str, result: Bounded) -> Array:
        """Which returned elements of a quantity differ from `result` by more than rounding."""
        own = self.own[name]
        if np.shape(result.value) != own.shape:
            return np.ones(own.shape, bool)
        allowed = result.bound() + self.record.printed.get(name, 0.0)
        off: Array = ~(np.abs(own - result.value) <= allowed)
        return off & self.record.covered.get(name, True)

    def returned(self, name: str) -> int:
        """How many elements of a quantity the derivation returned."""
        return len(self.record.elements(name))

    @np.errstate(all="ignore")
    def globally_wrong(self) -> set[str]:
        """The returned quantities that are not PyTorch's, to rounding, for whatever reason."""
        torch, allowed = self.record.torch, self.record.allowed
        return {
            name
            for name, own in self.own.items()
            if not (np.abs(own - torch[name]) <= allowed[name]).all()
        }

    def suspects(self, name: str) -> list[str]:
        """What can be behind a wrong quantity: its formula, and those not returned before it."""
        found = [name]
        for suspect in found:  # which grows meanwhile
            unseen = inputs_of(self.right[suspect]) & set(COMPUTED) - self.own.keys()
            found += [earlier for earlier in unseen if earlier not in found]
        return found
