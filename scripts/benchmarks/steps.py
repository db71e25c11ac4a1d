"""A training step of one network in six ways, timed in turn: the rows of the benchmark's table."""

import itertools
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from lockstep.network.names import Array
from lockstep.network.problem import Problem, State
from lockstep.run.steps import after
from lockstep.run.steps import by_torch as step_by_torch
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import by_hand as step_by_hand
from lockstep.sides.built_in import exhibit
from manual_backprop import neuron_by_neuron
from scripts.benchmarks.timing import Step, block_seconds, verified_step

# A part's name is the field of its time in the JSON, with _us: microseconds.
PARTS = ("manual", "torch", "turns", "lockstep", "run", "matmul")
LECTURE: dict[str, Any] = dict(hidden_activation="sigmoid")
CLASSIFIER: dict[str, Any] = dict(
    activations=("relu", "relu", "linear"), loss="cross_entropy", optimizer="adam"
)


@dataclass
class Row:
    """One network: the median time of each part, and the median over the rounds of each ratio."""

    sizes: tuple[int, ...]
    samples: int
    dtype: str
    seconds: dict[str, float]
    ratios: dict[str, float]

    @property
    def network(self) -> str:
        """2-2-2"""
        return "-".join(map(str, self.sizes))

    @property
    def multiply_adds(self) -> int:
        """Of the matrix products of a step: three a layer, two of the first."""
        pairs = [a * b for a, b in itertools.pairwise(self.sizes)]
        return self.samples * (3 * sum(pairs) - pairs[0])

    def document(self) -> dict[str, str | int | float]:
        """The row as it stands in the JSON."""
        times = {f"{part}_us": 1e6 * took for part, took in self.seconds.items()}
        return {
            "sizes": self.network,
            "samples": self.samples,
            "dtype": self.dtype,
            **times,
            **self.ratios,
        }


def row(sizes: tuple[int, ...], samples: int, dtype: str, rounds: int, seconds: float) -> Row:
    """Time one network: in each round, one after the other, a block of seconds for each part."""
    problem = network(sizes, samples, dtype)
    ways = parts(problem)
    alone = {part: block_seconds(way, 1) for part, way in ways.items()}
    repeats = {part: max(1, round(seconds / took)) for part, took in alone.items()}
    rounds = min(rounds, max(2, int(8 / sum(alone.values()))))  # fewer of the largest networks
    times = [
        {part: block_seconds(way, repeats[part]) for part, way in ways.items()}
        for _ in range(rounds)
    ]
    every_ratio = [ratios(of_a_round) for of_a_round in times]
    return Row(sizes, samples, dtype, _medians(times), _medians(every_ratio))


def ratios(t: dict[str, float]) -> dict[str, float]:
    """The ratios of one round's times."""
    both = t["manual"] + t["torch"]
    return {
        "manual_over_torch": t["manual"] / t["torch"],
        "manual_over_matmul": t["manual"] / t["matmul"],
        "turns_over_both": t["turns"] / both,
        "lockstep_over_both": t["lockstep"] / both,
        "run_over_sides": t["run"] / (t["manual"] + both),
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(of_a_round[name] for of_a_round in rounds) for name in rounds[0]}


def parts(problem: Problem) -> dict[str, Step]:
    """The ways to make a step, by part."""
    return dict(
        manual=by_hand(problem),
        torch=by_torch(problem),
        turns=in_turn(problem),
        lockstep=verified_step(problem, free=False),
        run=verified_step(problem, free=True),
        matmul=products(problem),
    )


def network(sizes: tuple[int, ...], samples: int, dtype: str) -> Problem:
    """A problem with nn.Linear's initial weights, uniform within 1 / √inputs.

    Two layers are the lecture's with a sigmoid h; more are a classifier, trained by Adam.
    """
    kind = LECTURE if len(sizes) == 3 else CLASSIFIER
    asked = dict(sizes=sizes, samples=samples, dtype=dtype, lr=1e-3, steps=10**9, **kind)
    drawn, random = make_problem(asked), np.random.default_rng(0)
    weights = {
        name: random.uniform(-1, 1, array.shape) / np.sqrt(sizes[drawn.network[name].layer - 1])
        for name, array in drawn.parameters.items()
    }
    return make_problem(asked | weights)


def by_hand(problem: Problem) -> Step:
    """A training step by hand, each from the weights of the one before."""
    if exhibit(problem) is neuron_by_neuron:
        return _in_scalars(problem)
    state = problem.state

    def train() -> State:
        nonlocal state
        with np.errstate(all="ignore"):
            state = after(problem.network, step_by_hand(problem, problem.start(2, state)))
        return state

    return train


def _in_scalars(problem: Problem) -> Step:
    """A training step of the lecture's network in Python's floats, or NumPy's float32."""
    settings = problem.network.two_layers
    x, y = problem.batch(1)
    data, weights = _scalars(problem, {"x": x, "y": y}), _scalars(problem, problem.parameters)

    def train() -> dict[str, Any]:
        nonlocal weights
        with np.errstate(all="ignore"):
            got = neuron_by_neuron.step(**weights, **data, lr=problem.lr, **settings)
        weights = {name: got[f"new_{name}"] for name in weights}
        return weights

    return train


def _scalars(problem: Problem, arrays: dict[str, Array]) -> dict[str, Any]:
    """The lecture's scalars of one sample, by name."""
    kind = float if problem.dtype == "float64" else np.float32
    return {
        scalar: kind(number)
        for name, array in arrays.items()
        for scalar, number in zip(
            problem.network.scalar_names(name, 1) or (), array.flat, strict=True
        )
    }


def by_torch(problem: Problem) -> Step:
    """A training step by PyTorch, each from the weights of the one before."""
    state = problem.state

    def train() -> State:
        nonlocal state
        state = after(problem.network, step_by_torch(problem, problem.start(2, state)))
        return state

    return train


def in_turn(problem: Problem) -> Step:
    """A step by PyTorch and the same by hand, from the same weights, and nothing compared."""
    state = problem.state

    def train() -> None:
        nonlocal state
        start = problem.start(2, state)
        got = step_by_torch(problem, start)
        with np.errstate(all="ignore"):
            step_by_hand(problem, start)
        state = after(problem.network, got)

    return train


def products(problem: Problem) -> Step:
    """The matrix products of a step alone, into arrays that are there."""
    x, _ = problem.batch(1)
    weights = [array for array in problem.parameters.values() if array.ndim == 2]
    ones = [x, *(np.ones((len(x), len(W)), x.dtype) for W in weights)]
    factors = [(a, W.T) for a, W in zip(ones, weights, strict=False)]
    factors += [(z, W) for z, W in zip(ones[2:], weights[1:], strict=True)]
    factors += [(z.T, a) for a, z in itertools.pairwise(ones)]
    outs = [a @ b for a, b in factors]

    def multiply() -> None:
        for (a, b), out in zip(factors, outs, strict=True):
            np.matmul(a, b, out=out)

    return multiply
