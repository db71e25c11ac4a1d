"""How much two right answers may differ: the formulas themselves, run on numbers that carry their rounding errors.

A right result differs from the exact one by at most g(k)·u·S, where u is the unit roundoff of the run's dtype, k the
longest chain of roundings behind the result and S its scale: the size of the terms that were added up, whatever
cancelled between them (Higham, Accuracy and Stability of Numerical Algorithms, ch. 3). g(k) = max(5√k, k): errors
mostly cancel like √k (Higham & Mary 2019), but where all samples are equal they all go one way.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from manual_backprop.activations import activation


@dataclass(frozen=True)
class Precision:
    """u: the unit roundoff. tiny: the smallest normal number. largest: the largest finite number."""

    u: float
    tiny: float
    largest: float

    @staticmethod
    @lru_cache
    def of(dtype):
        """Of a dtype by its name."""
        info = np.finfo(dtype)
        return Precision(float(info.eps) / 2, float(info.tiny), float(info.max))


def growth(k):
    """g(k): how many unit roundoffs of S a chain of k roundings may add up to."""
    return max(5 * math.sqrt(k), k)


class Bounded:
    """An array that carries the scale S of its rounding error and the longest chain k of roundings behind it.

    Value and scale are float64 also where the run is float32, whose squares overflow. k = 0: an exact number.
    value: an array, or a function that gives it when it is first looked at: of the last results no scale depends on it.
    """

    __slots__ = ("_value", "scale", "k", "precision")
    __array_ufunc__ = None  # an ndarray to the left leaves the operation to us

    def __init__(self, value, scale, k, precision):
        self._value, self.scale, self.k, self.precision = value, scale, k, precision

    @property
    def value(self):
        if callable(self._value):
            self._value = self._value()
        return self._value

    @classmethod
    def exact(cls, value, precision):
        value = np.asarray(value, dtype=np.float64)
        return cls(value, np.abs(value), 0, precision)

    def bound(self):
        """How much two right answers may differ, element by element."""
        return growth(self.k) * self.precision.u * self.scale

    @property
    def T(self):
        return Bounded(lambda: self.value.T, self.scale.T, self.k, self.precision)

    def __gt__(self, number):
        return self.value > number

    def __getitem__(self, where):
        return Bounded(self.value[where], self.scale[where], self.k, self.precision)

    def sum(self, axis=None):
        n = self.scale.size if axis is None else self.scale.shape[axis]
        return Bounded(
            lambda: self.value.sum(axis), self.scale.sum(axis), self.k + n, self.precision
        )

    def __add__(self, other):
        other = self._like(other)
        k = max(self.k, other.k) + 1
        return Bounded(
            lambda: self.value + other.value, self.scale + other.scale, k, self.precision
        )

    def __sub__(self, other):
        other = self._like(other)
        k = max(self.k, other.k) + 1
        return Bounded(
            lambda: self.value - other.value, self.scale + other.scale, k, self.precision
        )

    def __rsub__(self, other):
        return self._like(other) - self

    def __mul__(self, other):
        return self._product(self._like(other), np.multiply, 1)

    def __matmul__(self, other):
        other = self._like(other)
        return self._product(other, np.matmul, other.scale.shape[0])

    def __rmatmul__(self, other):
        return self._like(other) @ self

    def __truediv__(self, number):
        scale = self.scale / abs(number) + self._underflow()
        return Bounded(lambda: self.value / number, scale, self.k + 1, self.precision)

    __radd__, __rmul__ = __add__, __mul__

    def _product(self, other, times, roundings):
        if self.k and other.k:  # both carry errors: |a|·S_b + S_a·|b| + g·u·S_a·S_b
            error = growth(max(self.k, other.k)) * self.precision.u
            scale = times(np.abs(self.value) + error * self.scale, other.scale)
            scale = scale + times(self.scale, np.abs(other.value))
        else:
            scale = times(self.scale, other.scale)
        if scale.max(initial=0.0) > self.precision.largest:
            scale = np.where(
                scale > self.precision.largest, np.inf, scale
            )  # may overflow in the run's dtype
        k = max(self.k, other.k) + roundings
        return Bounded(
            lambda: times(self.value, other.value), scale + self._underflow(), k, self.precision
        )

    def _underflow(self):
        return self.precision.tiny / self.precision.u

    def _like(self, other):
        return other if isinstance(other, Bounded) else Bounded.exact(other, self.precision)


_ROUNDINGS = {"linear": 0, "relu": 0, "tanh": 2, "sigmoid": 3}  # sigmoid: exp, +, /


def bounded_activation(name, noisy=False):
    """The pair (σ, σ') of `activations.activation` for Bounded numbers. name: one of ACTIVATIONS.

    noisy: σ may be computed by a formula whose terms are of size 1 however small σ(z) is, such as tanh by exponentials.
    """
    sigma, sigma_prime = activation(name)

    def bounded_sigma(z):
        if name == "linear":
            return z
        b = z.bound()
        steepest = (
            z.value + b if name == "relu" else -np.maximum(np.abs(z.value) - b, 0)
        )  # within z's own bound
        slope = sigma_prime(steepest, sigma(steepest))
        value = sigma(z.value)
        scale = (
            (1 if noisy and name != "relu" else np.abs(value)) + slope * z.scale + z._underflow()
        )
        return Bounded(value, scale, z.k + _ROUNDINGS[name], z.precision)

    def bounded_relu_prime(z, s):
        value = sigma_prime(z.value, s).astype(np.float64)
        undecided = np.abs(z.value) <= z.bound()  # at the kink either derivative is right
        whole = 1 / (growth(z.k) * z.precision.u)
        return Bounded(value, np.where(undecided, whole, 0.0), z.k, z.precision)

    # sigmoid and tanh: both sides form σ' from the rounded s, so the formula's own scale is the right one
    return bounded_sigma, bounded_relu_prime if name == "relu" else sigma_prime
