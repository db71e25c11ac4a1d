"""How much two right answers to a step may differ: its formulas on numbers that carry errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import exp
from typing import Any, TypeAlias

import numpy as np

from lockstep.bound.bounded import Bounded, Precision, growth
from lockstep.network.names import Array, Quantities
from lockstep.network.problem import Problem, Start
from manual_backprop import two_layer
from manual_backprop.activations import ROUNDINGS, activation
from manual_backprop.losses import divisor

Limits: TypeAlias = Mapping[str, Array]
Activation: TypeAlias = "tuple[Callable[..., Any], Callable[..., Any]]"

_NEAR = 0.01  # so small a bound of z changes a slope by 2 %


def bounded_activation(
    name: str, known: tuple[Array, Array] | None = None, noisy: bool = False
) -> Activation:
    """The pair (σ, σ') of `activations.activation` for Bounded numbers.

    Args:
        name: One of ACTIVATIONS.
        known: z and σ(z) of this step where they are known already, as PyTorch's values are: then
            neither is computed again.
        noisy: σ may be computed by a formula whose terms are of size 1 however small σ(z) is, such
            as tanh by exponentials.
    """
    sigma, sigma_prime = activation(name)

    def bounded_sigma(z: Bounded) -> Bounded:
        if known is not None:
            z._value = np.asarray(known[0], np.float64)
        if name == "linear":
            return z
        value = sigma(z.value) if known is None else np.asarray(known[1], np.float64)
        size = np.abs(value)
        scale: Array = steepest(z, value, size) * z.scale
        scale += (1 if noisy and name != "relu" else size) + z.precision.underflow
        most = z.most + (z.most if name == "relu" else 1) + z.precision.underflow
        return Bounded(value, scale, z.k + ROUNDINGS[name], z.precision, most)

    def steepest(z: Bounded, s: Array, size: Array) -> Array:
        """The largest slope that z can have within its own bound."""
        if name == "relu":
            return np.asarray(sigma_prime(z.value + z.bound(), s))
        most = z.unit() * z.most
        if most < _NEAR:  # |σ''| <= 2 |σ'|; 4 u |s| is what s may be off by, where 1 - s cancels
            slope = 4 * z.precision.u * size + sigma_prime(z.value, s)
            return np.asarray(slope * exp(2 * most))
        z_there = -np.maximum(np.abs(z.value) - z.bound(), 0)
        return np.asarray(sigma_prime(z_there, sigma(z_there)))

    def bounded_relu_prime(z: Bounded, s: Bounded) -> Bounded:
        value = sigma_prime(z.value, s).astype(np.float64)
        undecided = np.abs(z.value) <= z.bound()  # at the kink either derivative is right
        if not undecided.any():
            return Bounded.exact(value, z.precision)
        whole = 1 / (growth(z.k) * z.precision.u)
        return Bounded(value, np.where(undecided, whole, 0.0), z.k, z.precision, whole)

    # sigmoid and tanh: both sides form σ' from the rounded s, so the formula's own scale is right
    return bounded_sigma, bounded_relu_prime if name == "relu" else sigma_prime


class Allowed(Mapping[str, Array]):
    """How much the two sides may differ, by name; of large arrays computed where it is wanted."""

    def __init__(self, quantities: dict[str, Bounded]) -> None:
        self._quantities = quantities
        self._whole: Quantities = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._whole:
            with np.errstate(all="ignore"):
                self._whole[name] = self._quantities[name].bound()
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._quantities)

    def __len__(self) -> int:
        return len(self._quantities)

    def piece(self, name: str, where: slice) -> Array:
        """A piece of the flat array."""
        quantity = self._quantities[name]
        return quantity.unit() * quantity.piece(where)


def tolerance(problem: Problem, values: dict[str, Any]) -> Callable[[Quantities, Start], Limits]:
    """How much the two sides may differ, as a function of PyTorch's answer and a step's start.

    Args:
        problem: Its settings are what the bound depends on.
        values: Checked options; `rtol` and `atol` take the bound's place.
    """
    if "rtol" not in values and "atol" not in values:
        return lambda torch, start: allowed(problem, start, torch)
    rtol, atol = values.get("rtol", 0.0), values.get("atol", 0.0)
    return lambda torch, start: {
        name: atol + rtol * np.abs(array.astype(np.float64)) for name, array in torch.items()
    }


def allowed(
    problem: Problem, start: Start, torch: Quantities | None = None, noisy: bool = False
) -> Allowed:
    """How much two right answers to this step may differ.

    Args:
        problem: The settings.
        start: What the step starts from.
        torch: PyTorch's quantities of the step, where they are known: what they have is not
            computed again.
        noisy: See `bounded_activation`.

    Returns:
        float64 arrays by name, in the order of computation.
    """
    with np.errstate(all="ignore"):
        return Allowed(bounded(problem, start, torch, noisy))


def bounded(
    problem: Problem, start: Start, torch: Quantities | None = None, noisy: bool = False
) -> dict[str, Bounded]:
    """The step on Bounded numbers, by name. For the arguments see `allowed`."""
    precision = Precision.of(problem.dtype)
    # A sum's factor 1/m may be multiplied in last: what comes before is then m times as large,
    # and overflows so much earlier.
    m = divisor(problem.loss, *np.shape(start.y))
    precision = replace(precision, largest=precision.largest / m)
    known_h, known_o = (
        (torch[z], torch[s]) if torch is not None else None for z, s in (("z_h", "h"), ("z_o", "o"))
    )
    parameters = {n: Bounded.exact(array, precision) for n, array in start.parameters.items()}
    return two_layer.step(
        **parameters,
        x=start.x,
        y=start.y,
        lr=start.lr,
        hidden_activation=bounded_activation(problem.hidden_activation, known_h, noisy),
        output_activation=bounded_activation(problem.output_activation, known_o, noisy),
        loss=problem.loss,
        frozen=problem.frozen,
    )
