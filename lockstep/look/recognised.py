"""A program recognised: its network, its training, and which variable is which quantity."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lockstep.look.drift import changing
from lockstep.look.passes import Model
from lockstep.look.reading import Reading, usual_factors
from lockstep.look.seen import Found, Series, Sighting
from lockstep.network.network import Network

_CLEAR = 1 / 3  # part of the updates that are right, from which a reading is taken at once


@dataclass
class Recognised:
    """What a program trains, and its training steps.

    Attributes:
        model: Its forward pass.
        reading: Its targets, loss and optimiser.
        network: The same as the referee knows it.
        dtype: What it computes in.
        said: What the user says of it: x, loss …
        steps: By step the quantities by the network's names.
        multiple: Where it does not compute the loss whose gradients it has, but a multiple of it:
            the factor, and where.
        is_added_up: Whether that is a sum, which may be divided by the number of samples elsewhere.
        other: Where it computes a loss that is none of this kind.
        shared: By parameter the biases that are one number for several neurons, and are updated by
            the sum of what PyTorch's are.
    """

    model: Model
    reading: Reading
    network: Network
    dtype: str
    said: frozenset[str]
    steps: list[dict[str, Found]] = field(default_factory=list)
    multiple: tuple[float, Series] | None = None
    is_added_up: bool = False
    other: Series | None = None
    shared: dict[str, Sighting] = field(default_factory=dict)

    @property
    def x_is_narrow(self) -> bool:
        """Whether the inputs alone are float32: NumPy rounds what scales them to that, lr * X.T."""
        x = self.model.seen.arrays[self.model.chain.layers[0].inputs]
        W1 = self.reading.first.step.parameters["W1"]
        return bool(x.dtype == np.float32 and W1.dtype == np.float64)

    @property
    def usual_factors(self) -> set[float]:
        """What gradients may be times the right ones, where a factor of the loss is lost."""
        return usual_factors(*self.reading.first.shape)

    @property
    def quality(self) -> float:
        """Which part of the updates is right; of the gradients, where these alone are known."""
        kind = "new_" if self.reading.knows_update else "grad_"
        names = [self.network.name(kind + n) for n in self.reading.first.step.parameters]
        right = [name in step and step[name].is_right for step in self.steps for name in names]
        return sum(right) / max(len(right), 1)

    @property
    def rank(self) -> tuple[float, ...]:
        """What makes it better than another: likely, its loss, more that is right, more steps."""
        return (
            self.is_likely,
            self.reading.knows_update,
            self.other is None,
            self.quality,
            self.reading.score,
            len(self.steps),
        )

    def is_better_than(self, other: Recognised) -> bool:
        """Whether it ranks higher, or goes on where the other one ended."""
        goes_on = self.model.chain == other.model.chain and len(self.steps) > len(other.steps)
        return goes_on or self.rank >= other.rank

    @property
    def is_left(self) -> bool:
        """Whether only its first forward pass is that of the network."""
        return len(self.steps) == 1 and self.model.is_left()

    @property
    def is_likely(self) -> bool:
        """Whether enough is right to say that the rest is wrong."""
        if "parameters" in self.said:
            return True
        if self._is_a_part() or not self._moves:
            return False
        if self.said:
            return True
        reading, batch = self.reading, self.reading.first
        if not reading.knows_update:
            if len(batch.passes) < len(batch.step.passes):
                return False  # a part of the samples explains no update
            if not reading.witness and not any(reading.matched.values()):
                return False
        if reading.witness:
            return self.network.depth > 1 or reading.knows_update or reading.knows_error
        if self.network.depth == 1:
            return reading.knows_update and self.quality >= 1 / 2
        is_meant = self.other is None or self._knows_last
        return self.quality >= _CLEAR or (reading.knows_error and is_meant)

    @property
    def is_clear(self) -> bool:
        """Whether no more needs to be seen: much is right, or error and update are known."""
        is_known = self.reading.knows_update and self.reading.knows_error
        return self.quality >= _CLEAR or is_known

    @property
    def is_judged(self) -> bool:
        """Whether what is right of its gradients says something: not where none is held."""
        if self.reading.knows_update:
            return True
        step = self.steps[0]
        weights = [n for n in self.reading.first.step.parameters if n[0] == "W"]
        is_held = all(self.network.name(f"grad_{name}") in step for name in weights)
        wrong = [it for name, it in step.items() if not it.is_right and name[:4] != "new_"]
        return is_held or bool(wrong)

    @property
    def _knows_last(self) -> bool:
        """Whether the gradient of the last layer, which the loss alone decides, is right."""
        name = f"W{self.network.depth}"
        step = self.steps[0]
        own = [step.get(self.network.name(f"{kind}_{name}")) for kind in ("grad", "new")]
        return any(it is not None and it.is_right for it in own)

    @property
    def _moves(self) -> bool:
        """Whether any weights change in the first step."""
        step = self.reading.first.step
        return any(
            not np.array_equal(p, step.new[n]) for n, p in step.parameters.items() if n[0] == "W"
        )

    def _is_a_part(self) -> bool:
        """Whether it is not the whole network, as far as was seen by now."""
        return self.model.seen.known(self._leaves_some)

    def _leaves_some(self) -> bool:
        """Whether another matrix changes a little at each step, so that this is not all of it.

        Of several layers only such a one counts as could stand between them; of the same shape
        only one that its inputs may be made of.
        """
        seen, sizes = self.model.seen, self.network.sizes
        own = {seen.arrays[layer.W].shape for layer in self.model.chain.layers}
        if not self._begins_with_data():
            moving = (seen.arrays[content] for content in self._others())
            if any(it.shape in own and it.size > 1 for it in moving):
                return True
        if self.model.chain.recurrent(seen):
            return True
        n = len(self.reading.first.x)
        known = {*own, *((n, size) for size in sizes)}
        arrays = (seen.arrays[content] for content in changing(seen))
        shapes = {it.shape for it in arrays if it.ndim == 2 and min(it.shape) > 1}
        others = shapes - known - {shape[::-1] for shape in known}
        return any(self.network.depth == 1 or {*shape} <= {*sizes} for shape in others)

    def _begins_with_data(self) -> bool:
        """Whether its inputs, or what they are rows of, were there before a step's parameters."""
        later = self.reading.batches[1:]
        return not later or any(
            self.model.was_there(batch.passes[0].x, batch.step.after) for batch in later
        )

    def _others(self) -> set[int]:
        """What changes as parameters do, and is neither a parameter nor a quantity of a step."""
        seen = self.model.seen
        known = {it.at.key for step in self.steps for it in step.values()} | self.model.variables
        own = {content for key in known for content in seen.held(key)}
        turned = {seen.arrays[content].T.tobytes() for content in own}
        return {
            content
            for content in changing(seen) - own
            if seen.arrays[content].tobytes() not in turned
        }
