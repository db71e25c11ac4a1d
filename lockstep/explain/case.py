"""A step that differs, formula by formula: what each one gives on the derivation's own earlier values."""

import numpy as np

from lockstep.bound.allowed import bounded_activation
from lockstep.bound.bounded import Bounded, Precision
from lockstep.explain.formulas import evaluate, inputs_of, look_ahead, sources, surroundings
from lockstep.network.names import COMPUTED
from manual_backprop.activations import activation


def trained(problem, right, replaced, parameters):
    """A whole training by hand with some formulas replaced: yields (step number, quantities by name), without end.

    right: the text of the right formulas by name; replaced: those that stand in their place.
    """
    formulas = right | replaced
    activations = [
        activation(which) for which in (problem.hidden_activation, problem.output_activation)
    ]
    number = 0
    while True:
        number += 1
        x, y = problem.batch(number)
        names = surroundings(problem, parameters, x, y, problem.lr, activations)
        quantities = {}
        with np.errstate(all="ignore"):
            for name in COMPUTED:
                look_ahead(formulas[name], names, right)
                quantities[name] = names[name] = evaluate(formulas[name], names)
        yield number, quantities
        parameters = {name: quantities[f"new_{name}"] for name in parameters}


class Case:
    """A `comparison.Record`, and what its formulas, right or replaced, give on the derivation's own earlier values."""

    def __init__(self, record, problem, history):
        self.record, self.sizes, self.samples = record, problem.sizes, len(record.x)
        self.precision = Precision.of(record.dtype)
        activations = [
            bounded_activation(which)
            for which in (problem.hidden_activation, problem.output_activation)
        ]
        start = {
            name: Bounded.exact(array, self.precision) for name, array in record.parameters.items()
        }
        x, y = np.asarray(record.x, np.float64), np.asarray(record.y, np.float64)
        zeros = {name: np.zeros(np.shape(array)) for name, array in record.parameters.items()}
        self.names = surroundings(problem, start, x, y, record.lr, activations) | dict(
            accumulated=history.accumulated or zeros,
            previous=history.previous or zeros,
        )
        self.right = sources(problem)
        self.own = {name: np.asarray(array, np.float64) for name, array in record.manual.items()}
        self._all_right = {}  # by name, as long as no formula before it was replaced: the result, and what is off

    def evaluated(self, replaced, last=COMPUTED[-1]):
        """Every quantity up to `last` as a Bounded, from the derivation's own earlier values.

        replaced: formulas in place of the right ones, by name, as (source, further names).
        Raises ValueError or IndexError where the shapes do not fit.
        """
        names = dict(self.names)
        results: dict[str, Bounded] = {}
        all_right = True
        for name in COMPUTED[: COMPUTED.index(last) + 1]:
            all_right = all_right and name not in replaced
            if all_right and name in self._all_right:
                result, _ = self._all_right[name]
            else:
                source, extra = replaced.get(name, (self.right[name], {}))
                look_ahead(source, names, self.right)
                result = evaluate(source, names | extra)
                result = (
                    result if isinstance(result, Bounded) else Bounded.exact(result, self.precision)
                )
                if all_right:
                    self._all_right[name] = (
                        result,
                        self.off(name, result) if name in self.own else None,
                    )
            results[name], names[name] = result, self._as_returned(name, result)
        return results

    def _as_returned(self, name, result):
        """The derivation's value of a quantity with the bound of its formula; where it has none, the formula's."""
        if name not in self.own:
            return result
        return Bounded(
            self.own[name],
            np.maximum(result.scale, np.abs(self.own[name])),
            result.k,
            result.precision,
        )

    def differing(self, replaced):
        """The returned quantities that are not what their formula gives."""
        with np.errstate(all="ignore"):
            results = self.evaluated(replaced)
        return {name for name in self.own if self.off(name, results[name]).any()}

    def gives(self, name, replaced):
        """Whether a returned quantity is what its formula gives; raises as `evaluated`."""
        with np.errstate(all="ignore"):
            return not self.off(name, self.evaluated(replaced, name)[name]).any()

    def off(self, name, result):
        """Which returned elements of a quantity are not `result`, a Bounded, to rounding."""
        if name in self._all_right and result is self._all_right[name][0]:
            return self._all_right[name][1]
        own = self.own[name]
        if np.shape(result.value) != own.shape:
            return np.ones(own.shape, bool)
        with np.errstate(all="ignore"):
            off = ~(
                np.abs(own - result.value) <= result.bound() + self.record.printed.get(name, 0.0)
            )
        return off & self.record.covered[name] if name in self.record.covered else off

    def returned(self, name):
        """How many elements of a quantity the derivation returned."""
        return (
            int(self.record.covered[name].sum())
            if name in self.record.covered
            else self.own[name].size
        )

    def globally_wrong(self):
        """The returned quantities that are not PyTorch's, to rounding, for whatever reason."""
        with np.errstate(all="ignore"):
            return {
                name
                for name, own in self.own.items()
                if not (np.abs(own - self.record.torch[name]) <= self.record.allowed[name]).all()
            }

    def suspects(self, name):
        """The quantities whose formula can be behind a wrong `name`: itself, and what was not returned before it."""
        found, waiting = [name], [name]
        while waiting:
            for earlier in inputs_of(self.right[waiting.pop()]) & set(COMPUTED):
                if earlier not in self.own and earlier not in found:
                    found.append(earlier)
                    waiting.append(earlier)
        return found
