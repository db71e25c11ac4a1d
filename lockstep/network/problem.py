"""What is trained and on what, and what each training step starts from."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lockstep.network.names import Array, Quantities, Sizes
from lockstep.network.network import Network

UNTOLD = 10**12  # how many steps a run has whose end only its recording knows


@dataclass(frozen=True)
class State:
    """What a training step leaves to the next one.

    Attributes:
        parameters: By name.
        memory: What the optimiser kept, by name; None before the first step.
    """

    parameters: Quantities
    memory: Quantities | None = None


@dataclass
class Start:
    """What a training step starts from.

    Attributes:
        parameters: By name.
        x: Inputs, (N, n_in).
        y: Targets, (N, n_out), or labels, (N,).
        lr: The learning rate.
        memory: What the optimiser kept, by name; None where no step came before.
        masks: Of dropout, by name.
        step: The number of the step.
    """

    parameters: Quantities
    x: Array
    y: Array
    lr: float
    memory: Quantities | None = None
    masks: Quantities = field(default_factory=dict)
    step: int = 1

    def numbers(self, network: Network) -> dict[str, float]:
        """What a factor of the user's may be made of: N, n_out and lr."""
        return {"N": len(self.x), "n_out": network.sizes[-1], "lr": self.lr}

    @property
    def state(self) -> State:
        """What the step before left."""
        return State(self.parameters, self.memory)

    @property
    def given(self) -> Quantities:
        """Every array of it by name, the memory where there is one."""
        return self.parameters | (self.memory or {}) | self.masks | {"x": self.x, "y": self.y}


@dataclass(frozen=True)
class Problem:
    """What to train, and on what.

    Attributes:
        network: What is trained.
        parameters: By name, in `dtype`.
        x: Inputs, (N, n_in).
        y: Targets, (N, n_out), or labels, (N,).
        memory: What the optimiser starts from, by name; None where nothing is given.
        masks: Of dropout, by name, a row a sample.
        seed: Of the numbers that were drawn; None where all were given.
        data: The name of the table that x and y come from; None where there is none.
        standardize: Whether the columns of x and y were scaled.
        title: Of its page and its sheet; empty where it has none.
        labels: What quantities and words are called there.
    """

    network: Network
    parameters: Quantities
    x: Array
    y: Array
    lr: float
    steps: int
    batch_size: int | None
    dtype: str
    memory: Quantities | None = None
    masks: Quantities = field(default_factory=dict)
    seed: int | None = None
    data: str | None = None
    standardize: bool = False
    title: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> Sizes:
        return self.network.sizes

    @property
    def loss(self) -> str:
        return self.network.loss

    @property
    def frozen(self) -> tuple[str, ...]:
        return self.network.frozen

    @property
    def samples(self) -> int:
        return len(self.x)

    @property
    def batch_samples(self) -> int:
        """How many samples a step sees; the last batch of a pass may have fewer."""
        return len(self.batch(1)[0])

    @property
    def is_the_lectures(self) -> bool:
        """Whether it is the lecture's network on one sample, whose numbers are scalars."""
        plain = self.network.is_plain and self.sizes == (2, 2, 2)
        return plain and self.batch_samples == 1

    @property
    def multiply_adds(self) -> int:
        """Of the forward products of a step: what its cost grows with."""
        return self.batch_samples * sum(a * b for a, b in itertools.pairwise(self.sizes))

    @property
    def network_settings(self) -> dict[str, Any]:
        """What describes the network, by the keys of a problem file."""
        network = self.network
        *hidden, output = network.activations
        described: dict[str, Any] = {"activations": network.activations}
        if network.depth == 2:
            described = {"hidden_activation": hidden[0], "output_activation": output}
        described |= {"loss": network.loss, "frozen": network.frozen}
        if not network.is_plain:
            described |= {"optimizer": network.optimizer} | dict(network.settings)
            described |= {"l1": network.l1, "l2": network.l2, "biases": network.biases}
        return described

    @property
    def settings(self) -> dict[str, Any]:
        """What was set or follows from it, by the keys of a problem file."""
        first = ("samples", "data", "standardize", "seed")
        sizes = "-".join(map(str, self.sizes))
        described = self.network_settings
        frozen = described.pop("frozen")
        loss = {"loss": described.pop("loss")}
        activations = {n: described.pop(n) for n in list(described) if "activation" in n}
        return (
            {"sizes": sizes}
            | {name: getattr(self, name) for name in first}
            | activations
            | loss
            | described
            | {"lr": self.lr, "batch_size": self.batch_size, "frozen": frozen, "dtype": self.dtype}
        )

    @cached_property
    def _batches(self) -> list[slice]:
        size = self.batch_size or self.samples
        return [slice(i, i + size) for i in range(0, self.samples, size)]

    def batch(self, n: int) -> tuple[Array, Array]:
        """The rows (x, y) of training step n = 1, 2, …: in file order, then from the top again."""
        rows = self._batches[(n - 1) % len(self._batches)]
        return self.x[rows], self.y[rows]

    @property
    def state(self) -> State:
        """What the first step starts from."""
        return State(self.parameters, self.memory)

    def start(self, n: int, state: State) -> Start:
        """What training step n starts from."""
        x, y = self.batch(n)
        rows = self._batches[(n - 1) % len(self._batches)]
        masks = {name: mask[rows] for name, mask in self.masks.items()}
        return Start(state.parameters, x, y, self.lr, state.memory, masks, n)


def zeros(network: Network, parameters: Quantities) -> Quantities:
    """The memory of an optimiser before its first step."""
    return {name: np.zeros_like(parameters[network.parameter(name)]) for name in network.memory}
