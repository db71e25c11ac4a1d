"""A training step of one network in six ways, timed in turn: the rows of the benchmark's table."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from lockstep.network.names import PARAMETERS, Array, scalar_names
from lockstep.network.problem import Problem, Start, make_problem
from lockstep.sides.built_in import built_in
from lockstep.sides.built_in import by_hand as step_by_hand
from manual_backprop import neuron_by_neuron
from scripts.benchmarks.timing import Step, block_seconds, verified_step
from torch_reference import two_layer as torch_two_layer

# A part's name is the field of its time in the JSON, with _us: microseconds.
PARTS = ("manual", "torch", "turns", "lockstep", "run", "matmul")


@dataclass
class Row:
    """One network: the median time of each part, and the median over the rounds of each ratio."""

    sizes: tuple[int, int, int]
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
        """Of the five matrix products of a step."""
        n_in, n_hidden, n_out = self.sizes
        return self.samples * n_hidden * (2 * n_in + 3 * n_out)

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


def row(sizes: tuple[int, int, int], samples: int, dtype: str, rounds: int, seconds: float) -> Row:
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


def network(sizes: tuple[int, int, int], samples: int, dtype: str) -> Problem:
    """A problem with nn.Linear's initial weights, uniform within 1 / √inputs, and sigmoid h."""
    n_in, n_hidden, n_out = sizes
    random = np.random.default_rng(0)

    def drawn(*shape: int, inputs: int) -> Array:
        return np.asarray(random.uniform(-1, 1, shape) / np.sqrt(inputs))

    weights = dict(
        W_h=drawn(n_hidden, n_in, inputs=n_in),
        b_h=drawn(n_hidden, inputs=n_in),
        W_o=drawn(n_out, n_hidden, inputs=n_hidden),
        b_o=drawn(n_out, inputs=n_hidden),
    )
    settings = dict(hidden_activation="sigmoid", lr=1e-3, steps=10**9)
    return make_problem(dict(sizes=sizes, samples=samples, dtype=dtype, **weights, **settings))


def by_hand(problem: Problem) -> Step:
    """A training step by hand, each from the weights of the one before."""
    step = built_in(problem)
    x, y = problem.batch(1)
    data: dict[str, Any] = {"x": x, "y": y}
    weights: dict[str, Any] = dict(problem.parameters)
    if step.func is neuron_by_neuron.step:
        data, weights = _scalars(problem, data), _scalars(problem, weights)

    def train() -> dict[str, Any]:
        nonlocal weights
        with np.errstate(all="ignore"):
            got = step(**weights, **data, lr=problem.lr)
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
            scalar_names(name, problem.sizes, 1) or (), array.flat, strict=True
        )
    }


def by_torch(problem: Problem) -> Step:
    """A training step by PyTorch, each from the weights of the one before."""
    weights = problem.parameters

    def train() -> dict[str, Array]:
        nonlocal weights
        weights = _after(_torch_step(problem, weights))
        return weights

    return train


def in_turn(problem: Problem) -> Step:
    """A step by PyTorch and the same by hand, from the same weights, and nothing compared."""
    x, y = problem.batch(1)
    weights = problem.parameters

    def train() -> None:
        nonlocal weights
        got = _torch_step(problem, weights)
        with np.errstate(all="ignore"):
            step_by_hand(problem, Start(weights, x, y, problem.lr))
        weights = _after(got)

    return train


def _torch_step(problem: Problem, weights: dict[str, Array]) -> dict[str, Array]:
    x, y = problem.batch(1)
    numbers: dict[str, Any] = {**weights, "x": x, "y": y, "lr": problem.lr}
    return torch_two_layer.step(**numbers, **problem.network_settings)


def _after(quantities: dict[str, Array]) -> dict[str, Array]:
    """The parameters after a step."""
    return {name: quantities[f"new_{name}"] for name in PARAMETERS}


def products(problem: Problem) -> Step:
    """The five matrix products of a step alone, into arrays that are there."""
    W_h, W_o = problem.parameters["W_h"], problem.parameters["W_o"]
    x, y = problem.batch(1)
    h = np.ones((len(x), len(W_h)), x.dtype)
    factors = [(x, W_h.T), (h, W_o.T), (y, W_o), (y.T, h), (h.T, x)]
    outs = [a @ b for a, b in factors]

    def multiply() -> None:
        for (a, b), out in zip(factors, outs, strict=True):
            np.matmul(a, b, out=out)

    return multiply
