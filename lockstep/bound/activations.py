"""σ and σ' on numbers that carry their rounding errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import exp
from typing import Any, TypeAlias

import numpy as np

from lockstep.bound.bounded import Bounded
from lockstep.network.names import Array
from lockstep.network.network import KINKED
from manual_backprop.activations import ROUNDINGS, activation, named, sigmoid, softmax

Activation: TypeAlias = "tuple[Callable[..., Any], Callable[..., Any]]"
Known: TypeAlias = "tuple[Array, Array] | None"

_NEAR = 0.01  # so small a bound of z changes a slope by 2 %
_THRESHOLD = 20.0  # from here on PyTorch's softplus is z itself


def bounded_activation(
    name: str, known: Known = None, noisy: bool = False, decided: bool = False
) -> Activation:
    """The pair (σ, σ') of `activations.activation` for Bounded numbers.

    Args:
        name: One of ACTIVATIONS, or softmax.
        known: z and σ(z) of this step where they are known already, as PyTorch's values are: then
            neither is computed again.
        noisy: σ may be computed by a formula whose terms are of size 1 however small σ(z) is, such
            as tanh by exponentials.
        decided: At a kink within the bound of z, the slope is taken to be that of z's value.
    """
    base, _ = named(name)
    if base in KINKED:
        return _kinked(name, known, decided)
    if base == "linear":
        return (lambda z: _at(z, known)), lambda z, s: 1
    if base == "softmax":
        return (lambda z: _softmax(z, known)), lambda z, s: 1
    if base in _SMOOTH:
        return _smooth(name, _SMOOTH[base], known, noisy)
    return _falling(name, known, noisy)


def _at(z: Bounded, known: Known) -> Bounded:
    """z with its value, where that is known."""
    if known is not None:
        z._value = np.asarray(known[0], np.float64)
    return z


def _value(sigma: Callable[..., Any], z: Bounded, known: Known) -> Array:
    """σ(z), computed where it is not known."""
    return np.asarray(sigma(z.value) if known is None else known[1], np.float64)


def _softmax(z: Bounded, known: Known) -> Bounded:
    """The formula's bound, or what is known of any softmax, where that is less.

    It lies between 0 and 1. Where every z is off by at most b, s grows or shrinks to at most e²ᵇ
    times itself, and 1 − s, which is the others' sum, likewise.
    """
    s: Bounded = softmax(_at(z, known))
    value = s.value if known is None else np.asarray(known[1], np.float64)
    b = (z - z.max(axis=1, keepdims=True)).bound().max(axis=1, keepdims=True)
    growing = np.fmin(np.minimum(value, np.maximum(1 - value, 0)) * np.expm1(2 * b), 1)
    scale = np.fmin(s.scale, growing / s.unit() + value + s.precision.underflow)
    return Bounded(value, scale, s.k, s.precision)


def _kinked(name: str, known: Known, decided: bool) -> Activation:
    """relu and its like: straight but for the kink at 0, where either slope is right."""
    sigma, sigma_prime = activation(name)
    base, slope = named(name)
    largest = max(1.0, abs(slope or 0.0))  # of the slopes of both sides of the kink
    ends = (1,) if 0 <= (slope or 0.0) <= 1 else (1, -1)  # where z is steepest within its bound

    def bounded_sigma(z: Bounded) -> Bounded:
        value = _value(sigma, _at(z, known), known)
        slopes = (np.abs(sigma_prime(z.value + end * z.bound(), value)) for end in ends)
        steepest: Array = reduce(np.maximum, slopes)
        scale: Array = steepest * z.scale
        scale += np.abs(value) + z.precision.underflow
        most = 2 * largest * z.most + z.precision.underflow
        return Bounded(value, scale, z.k + ROUNDINGS[base], z.precision, most)

    def bounded_prime(z: Bounded, s: Bounded) -> Bounded:
        value = np.asarray(sigma_prime(z.value, z.value), np.float64)
        undecided = np.abs(z.value) <= z.bound()
        if decided or not undecided.any():
            return Bounded.exact(value, z.precision)
        whole = max(1.0, abs(1 - (slope or 0.0))) / (z.unit() or z.precision.u)
        return Bounded(value, np.where(undecided, whole, 0.0), z.k, z.precision, whole)

    return bounded_sigma, bounded_prime


def _falling(name: str, known: Known, noisy: bool) -> Activation:
    """sigmoid and tanh, whose slope falls on both sides of 0.

    Both sides form σ' from the rounded s, so that the formula's own scale is right for it.
    """
    sigma, sigma_prime = activation(name)

    def bounded_sigma(z: Bounded) -> Bounded:
        value = _value(sigma, _at(z, known), known)
        size = np.abs(value)
        scale: Array = steepest(z, value, size) * z.scale
        scale += (1 if noisy else size) + z.precision.underflow
        most = z.most + 1 + z.precision.underflow
        return Bounded(value, scale, z.k + ROUNDINGS[name], z.precision, most)

    def steepest(z: Bounded, s: Array, size: Array) -> Array:
        """The largest slope that z can have within its own bound."""
        most = z.unit() * z.most
        if most < _NEAR:  # |σ''| <= 2 |σ'|; 4 u |s| is what s may be off by, where 1 - s cancels
            slope = 4 * z.precision.u * size + sigma_prime(z.value, s)
            return np.asarray(slope * exp(2 * most))
        z_there = -np.maximum(np.abs(z.value) - z.bound(), 0)
        return np.asarray(sigma_prime(z_there, sigma(z_there)))

    return bounded_sigma, sigma_prime


@dataclass(frozen=True)
class Smooth:
    """A smooth σ, and what its formulas round.

    Attributes:
        bend: At least |σ''| wherever |z| is at least its argument, a function that falls.
        size: The size of the terms of σ's formula, a function of z and s.
        size_prime: Of those of σ'.
        left_out: What PyTorch's formula leaves out from `_THRESHOLD` on, of σ and of σ'.
    """

    bend: Callable[[Array], Array]
    size: Callable[[Array, Array], Array]
    size_prime: Callable[[Array, Array], Array]
    left_out: Callable[[Array], Array] | None = None


def _density(z: Array) -> Array:
    return np.asarray(np.exp(-z * z / 2) / math.sqrt(2 * math.pi))


def _normal_bend(near: Array) -> Array:
    """(z Φ(z))'' = (2 − z²) φ(z); gelu_tanh bends less."""
    return np.asarray((2 + near * near) * _density(near))


_SMOOTH = {
    "elu": Smooth(
        bend=lambda near: np.exp(-near),
        size=lambda z, s: np.abs(s),
        size_prime=lambda z, s: 1 + np.abs(np.minimum(s, 0)),
    ),
    "softplus": Smooth(
        bend=lambda near: np.exp(-near),
        size=lambda z, s: np.abs(s),
        size_prime=lambda z, s: sigmoid(z),
        left_out=lambda z: np.exp(-z),
    ),
    "silu": Smooth(
        bend=lambda near: (2 + near) * np.exp(-near),
        size=lambda z, s: np.abs(s),
        size_prime=lambda z, s: sigmoid(z) * (1 + np.abs(z) * (1 + sigmoid(z))),
    ),
    "gelu": Smooth(
        bend=_normal_bend,
        size=lambda z, s: np.abs(z),
        size_prime=lambda z, s: 1 + np.abs(z) * _density(z),
    ),
    "gelu_tanh": Smooth(
        bend=_normal_bend,
        size=lambda z, s: np.abs(z),
        size_prime=lambda z, s: 1 + np.abs(z) * (1 + z * z),
    ),
}


def _smooth(name: str, rule: Smooth, known: Known, noisy: bool) -> Activation:
    """A smooth σ: its slope, and how much that may be off within the bound of z."""
    sigma, sigma_prime = activation(name)

    def bend(z: Bounded) -> Array:
        return rule.bend(np.maximum(np.abs(z.value) - z.bound(), 0))

    def left_out(z: Bounded) -> Array | float:
        if rule.left_out is None:
            return 0.0
        beyond = z.value + z.bound() > _THRESHOLD
        return np.where(beyond, rule.left_out(z.value - z.bound()), 0.0) / z.precision.u

    def bounded_sigma(z: Bounded) -> Bounded:
        value = _value(sigma, _at(z, known), known)
        steepest = np.abs(sigma_prime(z.value, value)) + bend(z) * z.bound()
        scale = steepest * z.scale + rule.size(z.value, value) + left_out(z)
        scale += (1 if noisy else 0) + z.precision.underflow
        return Bounded(value, scale, z.k + ROUNDINGS[name], z.precision)

    def bounded_prime(z: Bounded, s: Bounded) -> Bounded:
        value = np.asarray(sigma_prime(z.value, s.value))
        scale = bend(z) * z.scale + rule.size_prime(z.value, s.value) + left_out(z)
        scale += (1 if noisy else 0) + z.precision.underflow
        # terms that overflow by one formula of σ' may not do so by another
        scale = np.where(scale > z.precision.largest, np.inf, scale)
        return Bounded(value, scale, z.k + ROUNDINGS[name] + 2, z.precision)

    return bounded_sigma, bounded_prime
