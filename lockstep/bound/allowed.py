"""How much two right answers to a step may differ: its formulas on numbers that carry errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from lockstep.bound.activations import bounded_activation
from lockstep.bound.bounded import Bounded, Precision, growth
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Network
from lockstep.network.problem import Problem, Start
from manual_backprop import network as by_hand
from manual_backprop.losses import OUTPUT_ACTIVATIONS, cross_entropy_by_o, divisor, one_hot, penalty

Limits: TypeAlias = Mapping[str, Array]

_WORTH = 2  # so much smaller a bound is worth a second run of the formulas


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
        problem: The network and its dtype.
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
    network, precision = problem.network, Precision.of(problem.dtype)
    # A sum's factor 1/m may be multiplied in last: what comes before is then m times as large,
    # and overflows so much earlier.
    m = divisor(problem.loss, len(start.x), network.sizes[-1])
    precision = replace(precision, largest=precision.largest / m)

    def exact(arrays: Quantities) -> Any:
        return {name: Bounded.exact(array, precision) for name, array in arrays.items()}

    exactly = replace(
        start,
        parameters=exact(start.parameters),
        memory=None if start.memory is None else exact(start.memory),
    )
    training = network.training
    for name, value in network.settings:
        if name != "nesterov" and value:  # 1 − β carries a rounding of its own
            training[name] = Bounded.exact(value, precision)
    names = [(network.of("z", l), network.of("a", l)) for l in network.layers]
    known = [None if torch is None else (torch[z], torch[a]) for z, a in names]

    def results_of(decided: bool) -> dict[str, Bounded]:
        training["activations"] = [
            bounded_activation(which, values, noisy, decided)
            for which, values in zip(network.activations, known, strict=True)
        ]
        return by_hand.step(**network.start(exactly), **training)

    results = results_of(decided=False)
    if k := _longest_at_a_kink(network, results):
        decided = results_of(decided=True)
        straight = network.optimizer == "sgd"  # the others are no straight functions of a gradient
        results |= {
            name: _without_growth(q, decided[name], k)
            for name, q in results.items()
            if growth(q.k) > _WORTH * growth(k) and (straight or not name.startswith("new_"))
        }
    if network.loss in OUTPUT_ACTIVATIONS:
        results["loss"] = _cross_entropy(network, results, start, m, noisy)
    return network.named(results)


def _longest_at_a_kink(network: Network, results: dict[str, Bounded]) -> int:
    """The longest chain behind a z that may be on either side of a kink; 0 where none may be."""
    z = [results[f"z{l}"] for l in network.kinked]
    return max((one.k for one in z if (np.abs(one.value) <= one.bound()).any()), default=0)


def _without_growth(q: Bounded, decided: Bounded, k: int) -> Bounded:
    """A quantity whose bound counts a kink for as much as it is worth.

    Either slope is right at a kink, and what that is worth does not grow with the roundings that
    follow, as the rest of a scale does. The scale is a polynomial in the kinks' own without
    negative terms, so that a smaller factor may be taken out of all of it but what there is
    without them.

    Args:
        q: The quantity.
        decided: The same with the slopes taken as known.
        k: The longest chain of roundings behind a z at a kink.
    """
    kinks = (q.scale - decided.scale) * (growth(k) / growth(q.k))
    scale = np.where(np.isfinite(q.scale), decided.scale + kinks, q.scale)
    return Bounded(lambda: q.value, scale, q.k, q.precision)


def _cross_entropy(
    network: Network, results: dict[str, Bounded], start: Start, m: float, noisy: bool
) -> Bounded:
    """A cross-entropy's loss; where it may be `noisy`, also by the outputs, as in textbooks."""
    loss = results["loss"]
    if not loss.bound() < np.abs(loss.value):
        loss = _at_its_steepest(network, results, start, m)
    if not noisy:
        return loss
    y = one_hot(start.y, network.sizes[-1], start.x.dtype)
    last, is_softmax = results[f"a{network.depth}"], network.activations[-1] == "softmax"
    by_o = _by_the_outputs(last, y, is_softmax) / m
    scale, k = loss.scale + by_o.scale, max(loss.k, by_o.k)
    return Bounded(lambda: loss.value, scale, k, loss.precision)


def _by_the_outputs(o: Bounded, y: Array, is_softmax: bool) -> Bounded:
    """A cross-entropy's sum as textbooks write it, −Σ y log o, of σ also −Σ (1 − y) log(1 − o).

    At the ends no digit of it is right, but no answer that is a number is that of 0: floats near
    1 are u apart, and so 1 − o is off by its own size, not by anything.
    """
    u = o.precision.u
    value = np.clip(o.value, o.precision.tiny * u, 1 - u)
    room = np.minimum(value, 1 - value) / (2 * o.unit())
    inside = Bounded(value, np.fmin(o.scale, room), o.k, o.precision)
    by_o: Bounded = cross_entropy_by_o(inside, y)
    if is_softmax:
        return by_o
    rest = Bounded(1 - value, np.fmin(o.scale + 1 - value, room), o.k, o.precision)
    by_o += cross_entropy_by_o(rest, 1 - y)
    return by_o


def _at_its_steepest(
    network: Network, results: dict[str, Bounded], start: Start, m: float
) -> Bounded:
    """A cross-entropy's loss where its formula's bound is as large as it, or overflows.

    log Σ eᶻ and softplus(z) change by no more than the z that changes most: with the y·z beside
    them, at most by 2 |y|, or 1 + |y|, times as much. A penalty has a bound of its own.
    """
    loss, z = results["loss"], results[f"z{network.depth}"]
    y = np.abs(one_hot(start.y, network.sizes[-1], start.x.dtype))
    bound, size, steepest = z.bound(), np.abs(z.value) + 1, 1 + y
    if network.activations[-1] == "softmax":
        bound, size = bound.max(axis=1), size.max(axis=1) + np.log(network.sizes[-1])
        steepest = 2 * y.sum(axis=1)
    scale = (steepest * (bound / loss.unit() + size)).sum() / m
    weights = (start.parameters[network.of("W", l)] for l in network.layers)
    for W in weights if network.l1 or network.l2 else ():
        scale += penalty(Bounded.exact(W, z.precision), network.l1, network.l2).scale
    scale = np.fmin(loss.scale, scale)
    return Bounded(lambda: loss.value, np.asarray(scale), loss.k, z.precision)
