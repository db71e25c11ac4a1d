"""A step that differs, formula by formula, each on the derivation's own earlier values."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from lockstep.bound.activations import bounded_activation
from lockstep.bound.bounded import Bounded, Precision
from lockstep.explain.catalogue import Mistake, by_the_outputs, catalogue, trained
from lockstep.explain.formulas import evaluate, formulas, inputs_of, surroundings
from lockstep.network.names import Array, Quantities
from lockstep.network.problem import Problem, zeros
from lockstep.run.record import Record
from lockstep.run.result import History


@dataclass(frozen=True)
class StandIn:
    """A formula in the place of a right one. given: names of its own, such as `c`, and values."""

    text: str
    given: dict[str, Any] = field(default_factory=dict)


Replaced = dict[str, StandIn]  # by quantity


class Case:
    """A step's record, and what formulas, right or replaced, give on its earlier values.

    own: what the derivation returned, in float64. right: the text of the right formulas.
    trained: those of the same network where nothing is frozen.
    accepted: the formulas with mistakes that were found so far.
    """

    def __init__(self, record: Record, problem: Problem, history: History) -> None:
        self.record, self.samples = record, record.samples
        self.network = network = problem.network
        self.precision = Precision.of(record.dtype)
        self.right, self.mistakes = formulas(network), catalogue(network)
        self.trained = formulas(trained(network))
        self.accepted: Replaced = {}
        start = record.start
        bounded = replace(
            start,
            parameters=self._exact(start.parameters),
            memory=self._exact(zeros(network, start.parameters) | (start.memory or {})),
            x=np.asarray(start.x, np.float64),
        )
        self.names = surroundings(network, bounded, bounded_activation)
        # at a kink a value that was returned is on one side of it
        decided = partial(bounded_activation, decided=True)
        self._on_a_side = surroundings(network, bounded, decided) if network.kinked else {}
        settings = dict(network.settings)
        if start.memory is None and "dampening" in settings:
            settings["dampening"] = 0.0
        for name, value in settings.items():
            is_number = name != "nesterov" and value
            self.names[name] = Bounded.exact(value, self.precision) if is_number else value
        self.has_history = any(vars(history).values())
        for name, gradients in vars(history).items():  # accumulated, previous
            self.names[name] = gradients or dict.fromkeys(network.parameters, 0.0)
        self.own = {name: np.asarray(array, np.float64) for name, array in record.manual.items()}
        if network.of("a", network.depth) in self.globally_wrong():
            by_o = by_the_outputs(network).items()
            self.right = self.right | {name: it for name, it in by_o if name == "loss"}
        self._by_right_ones: dict[str, Bounded] = {}  # where no formula before is replaced
        extras = {*network.extras} - self.own.keys()
        self._order = [name for name in network.judged if name not in extras]

    def _exact(self, arrays: Quantities) -> Any:
        return {name: Bounded.exact(array, self.precision) for name, array in arrays.items()}

    def evaluated(self, replaced: Replaced, last: str = "") -> dict[str, Bounded]:
        """Every quantity up to `last`, from the derivation's own earlier values.

        Args:
            replaced: formulas in place of the right ones, besides the accepted ones.
            last: where to stop; at the end where it is empty.

        Raises:
            ValueError, IndexError: the shapes do not fit.
        """
        replaced = self.accepted | replaced
        names = dict(self.names)
        results = known = self._by_right_ones
        for name in self._order[: self._order.index(last) + 1 if last else None]:
            if name in replaced and results is known:
                results = dict(known)
            if results is not known or name not in known:
                results[name] = self._made(name, replaced, names)
            names[name] = result = results[name]
            if name in self.own:
                if self._on_a_side and self.network[name].family == "delta":
                    result = self._made(name, replaced, names | self._on_a_side)
                names[name] = self._as_returned(name, result)
        return results

    def _made(self, name: str, replaced: Replaced, names: dict[str, Any]) -> Bounded:
        """A quantity by its formula, or by the one in its place."""
        formula = replaced.get(name) or StandIn(self.right[name])
        made: Bounded = evaluate(formula.text, names | formula.given, self.right)
        return made

    def value(self, name: str, replaced: Replaced) -> Bounded:
        """One quantity; see `evaluated`."""
        return self.evaluated(replaced, name)[name]

    def _as_returned(self, name: str, result: Bounded) -> Bounded:
        """The derivation's value with its formula's bound."""
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
        record = self.record
        allowed = result.bound() + record.printed.get(name, 0.0) + record.room.get(name, 0.0)
        off: Array = ~(np.abs(own - result.value) <= allowed)
        off &= ~(np.isnan(own) & np.isnan(result.value))
        return off & self.record.covered.get(name, True)

    def many(self, mistake: Mistake) -> int:
        """How many samples, or outputs of the layer, a mistake may be in one of."""
        if mistake.each != "output":
            return self.samples
        return self.network.sizes[self.network[mistake.quantity].layer + 1]

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
            given = self.own.keys() | {*self.record.asked}
            unseen = inputs_of(self.right[suspect]) & set(self.network.computed) - given
            found += [earlier for earlier in unseen if earlier not in found]
        return found
