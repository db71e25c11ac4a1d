"""Which array plays the part of a quantity that none has the value of: what is made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
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

        def points(it: Found) -> float:
            is_one = it.ours.any() and not np.array_equal(it.ours, new)
            if it.at.key in self.model.variables or not is_one:
                return 0.0
            found = self._is_named(it, f"grad_{parameter}")
            along = self._share(went, it.ours) if self._goes_down else None
            if along is not None:
                is_far_enough = abs(along - lr) <= 1e-5 * lr
                # one number for all goes along every other one
                found += 2 * bool(is_far_enough or np.ptp(it.ours)) + is_far_enough
            return found

        held = chain(self._in_turn(p.shape, parameter), self._held(p.shape, parameter))
        return _likeliest((points(it), it) for it in held)

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
        shape = self.right[f"delta{layer}"].shape
        a = self.batch.x if layer == 1 else self.right[f"a{layer - 1}"]
        factors = delta_factors(*self.batch.shape)

        def judged(it: Found) -> tuple[float, Found]:
            points, factor = self._is_named(it, f"delta{layer}"), sign
            for made, there in ((it.ours.T @ a, gradient), (it.ours.sum(axis=0), of_biases)):
                share = None if there is None else self._share(made, there)
                if share is not None:
                    near = min(factors, key=lambda f: abs(f - share))  # noqa: B023
                    is_near = abs(near - share) <= 1e-5 * abs(share)
                    points += 2 * (is_near or made.size > 1)  # any number is a multiple of another
                    factor = near if is_near else sign
            return points, replace(it, ours=it.ours / factor, factor=factor)

        return _likeliest(map(judged, chain(self._in_turn(shape), self._held(shape))))

    def _held(self, shape: tuple[int, ...], parameter: str = "") -> Iterator[Found]:
        """What was seen after the forward pass and fits a shape, each array once."""
        step = self.batch.step
        seen = self.seen.within(self.batch.passes[0].time, step.until)
        for content in dict.fromkeys(it.content for it in seen):
            first = self.seen.first(content)
            is_parameter = first.name in self._of_objects or first.name.endswith(self._of_all)
            if first.time <= step.after or is_parameter:
                continue
            found = self._as(first, shape, parameter)
            array = self.seen.arrays[content]
            if found is None and parameter[:1] == "b" and array.size == 1:
                one = np.full(shape, array.item(), np.float64)  # for all biases
                found = Found(one, first, is_right=False)
            if found:
                yield found

    def _in_turn(self, shape: tuple[int, ...], parameter: str = "") -> Iterator[Found]:
        """What a variable held for each of several passes, one below the other.

        Of a parameter's gradients the sum: the line that computes them tells more than the one
        that adds them up.
        """
        passes, until = self.batch.passes, self.batch.step.until
        if not 1 < len(passes) <= ONE_BY_ONE:
            return
        held: list[dict[Key, list[Found]]] = []
        for one in passes:
            of_one = defaultdict(list)
            for it in self.seen.within(one.time, min(one.until, until)):
                found = self._as(it, shape if parameter else (one.n, *shape[1:]), parameter)
                if found:
                    of_one[it.key].append(found)
            held.append(of_one)
        for key, firsts in held[0].items():
            if all(len(of_one[key]) == len(firsts) for of_one in held):
                for first, *others in zip(*(of_one[key] for of_one in held), strict=True):
                    parts = [first.ours, *(it.ours for it in others)]
                    whole = np.sum(parts, axis=0) if parameter else np.concatenate(parts)
                    yield replace(first, ours=whole)

    def _as(self, it: Sighting, shape: tuple[int, ...], parameter: str) -> Found | None:
        """What a variable got as one of a shape, or like a parameter; None where it is none."""
        array = self.seen.arrays[it.content]
        alike = self.model.forms(array, parameter, shape) if parameter else forms(array, shape)
        for form, transposed in alike:
            return Found(form.astype(np.float64), it, transposed, is_right=False)
        return None

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

    def _is_named(self, it: Found, name: str) -> float:
        """Whether a variable's own name is one of a quantity's."""
        own = self.network.quantity(own_name(it.at.name), self.network.judged)
        return float(own == self.network.name(name))


def _likeliest(found: Iterable[tuple[float, Found]]) -> Found | None:
    """What has most points; None where nothing has any."""
    points, best = max(found, key=lambda it: it[0], default=(0.0, None))
    return best if points else None
