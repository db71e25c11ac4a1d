"""Which array plays the part of a quantity that none has the value of: what is made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

import numpy as np

from lockstep.look.passes import Model
from lockstep.look.reading import ONE_BY_ONE, Batch, Settings, delta_factors, own_name
from lockstep.look.seen import Found, Key, Sighting, forms
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Network


class Roles:
    """Finds the program's own delta and gradient of a layer whose update is wrong.

    Args:
        model: The forward pass.
        batch: The training step.
        settings: How the network is trained.
        right: The quantities as they should be, by numbered name.
        is_first: Whether it is the first step, at which momentum has no memory.
    """

    def __init__(
        self, model: Model, batch: Batch, settings: Settings, right: Quantities, is_first: bool
    ) -> None:
        self.model, self.seen, self.batch = model, model.seen, batch
        self.settings, self.right = settings, right
        has_memory = bool(settings.of_optimizer) and not is_first
        self._goes_down = settings.optimizer == "sgd" and not has_memory  # along its gradient
        ones = tuple([1] * (len(settings.activations) + 1))
        self.network = Network(ones, settings.activations, settings.loss)
        # of objects each holds its own parameters, in a variable that is called alike
        attributes = {name.rpartition(".")[2]: "[*]" in name for _, name in model.variables}
        self._of_objects = {f"self.{name}" for name in attributes}
        self._of_all = tuple(f".{name}" for name, is_gathered in attributes.items() if is_gathered)

    def gradient(self, parameter: str) -> Found | None:
        """The gradient that a parameter went down along, or that its layer's delta gives."""
        p, new = self.batch.step.parameters[parameter], self.batch.step.new[parameter]
        went = p.astype(np.float64) - new
        lr = self.settings.lr or 1.0
        name = f"grad_{parameter}"
        own = self.model.variables
        found: list[tuple[float, Found]] = []
        summed = self._in_turn(p.shape, parameter)
        for it, form, transposed in chain(summed, self._held(p.shape, parameter)):
            if it.key in own or not form.any() or np.array_equal(form, new):
                continue
            along = self._share(went, form)
            points = 0.0
            if along is not None and self._goes_down:
                is_far_enough = abs(along - lr) <= 1e-5 * lr
                # one number for all goes along every other one
                points += 2 * bool(is_far_enough or np.ptp(form)) + is_far_enough
            points += self._is_named(it, name)
            if points:
                found.append((points, Found(form, it, transposed, is_right=False)))
        return max(found, key=lambda one: one[0])[1] if found else None

    def delta(
        self, layer: int, gradient: Array | None, of_biases: Array | None, sign: float
    ) -> Found | None:
        """The delta that gives a weight gradient with the layer's inputs.

        Args:
            layer: Its layer.
            gradient: The weight gradient that the program has, or its update says.
            of_biases: The same of the biases.
            sign: That of the program's other errors.
        """
        right = self.right[f"delta{layer}"]
        a = self.batch.x if layer == 1 else self.right[f"a{layer - 1}"]
        found: list[tuple[float, Found]] = []
        factors = delta_factors(
            len(right), self.right[f"a{len(self.settings.activations)}"].shape[1]
        )
        for it, form, transposed in chain(self._in_turn(right.shape), self._held(right.shape)):
            points, factor = float(self._is_named(it, f"delta{layer}")), sign
            for made, there in (
                (form.T @ a, gradient),
                (form.sum(axis=0), of_biases),
            ):
                share = None if there is None else self._share(made, there)
                if share is not None:
                    near = min(factors, key=lambda f: abs(f - share))  # noqa: B023
                    is_near = abs(near - share) <= 1e-5 * abs(share)
                    points += 2 * (is_near or made.size > 1)  # any number is a multiple of another
                    factor = near if is_near else sign
            if points:
                found.append((points, Found(form / factor, it, transposed, factor, False)))
        return max(found, key=lambda one: one[0])[1] if found else None

    def _held(
        self, shape: tuple[int, ...], parameter: str = ""
    ) -> Iterator[tuple[Sighting, Array, bool]]:
        """What was seen after the forward pass and fits a shape, each array once."""
        step, told = self.batch.step, set()
        for it in self.seen.within(self.batch.passes[0].time, step.until):
            if it.content in told:
                continue
            first = self.seen.first(it.content)
            is_parameter = first.name in self._of_objects or first.name.endswith(self._of_all)
            if first.time <= step.after or is_parameter:
                continue
            told.add(it.content)
            array = self.seen.arrays[it.content]
            alike = self.model.forms(array, parameter, shape) if parameter else forms(array, shape)
            if parameter[:1] == "b" and array.size == 1:  # one number for all biases
                alike = iter([(np.broadcast_to(array.ravel(), shape), False)])
            for form, transposed in alike:
                yield self.seen.first(it.content), form.astype(np.float64), transposed
                break

    def _in_turn(
        self, shape: tuple[int, ...], parameter: str = ""
    ) -> Iterator[tuple[Sighting, Array, bool]]:
        """What a variable held for each of several passes, one below the other.

        Of a parameter's gradients the sum: the line that computes them tells more than the one
        that adds them up.
        """
        passes, until = self.batch.passes, self.batch.step.until
        if not 1 < len(passes) <= ONE_BY_ONE:
            return
        held: list[dict[Key, list[tuple[Sighting, Array, bool]]]] = []
        for one in passes:
            found = defaultdict(list)
            for it in self.seen.within(one.time, min(one.until, until)):
                array = self.seen.arrays[it.content]
                rows = one.n, *shape[1:]
                alike = (
                    self.model.forms(array, parameter, shape) if parameter else forms(array, rows)
                )
                for form, transposed in alike:
                    found[it.key].append((it, form.astype(np.float64), transposed))
                    break
            held.append(found)
        for key, firsts in held[0].items():
            if all(len(found[key]) == len(firsts) for found in held):
                for n, (it, _, transposed) in enumerate(firsts):
                    parts = [found[key][n][1] for found in held]
                    yield (
                        it,
                        np.sum(parts, axis=0) if parameter else np.concatenate(parts),
                        transposed,
                    )

    def _share(self, made: Array, there: Array) -> float | None:
        """c where one array is c times another; None where it is not."""
        if made.shape != there.shape:
            return None
        size = float((there * there).sum())
        if not size or not np.isfinite(size) or not made.any():
            return None
        share = float((made * there).sum()) / size
        room = 1e-6 * np.abs(made).max()
        return share if share and (np.abs(made - share * there) <= room).all() else None

    def _is_named(self, it: Sighting, name: str) -> bool:
        """Whether a variable's own name is one of a quantity's."""
        own = self.network.quantity(own_name(it.name), self.network.judged)
        return own == self.network.name(name)
