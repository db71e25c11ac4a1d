"""Numbers that carry the size of their own rounding errors, so that a formula states its bound.

A right result differs from the exact one by at most g(k)·u·S. u is the unit roundoff of the run's
dtype, k the longest chain of roundings behind the result, and S its scale: the size of the terms
that were added up, whatever cancelled between them (Higham, Accuracy and Stability of Numerical
Algorithms, ch. 3). g(k) = max(5√k, k): errors mostly cancel like √k (Higham & Mary 2019), but
where all samples are equal they all go one way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from lockstep.network.names import Array

Operand: TypeAlias = "Bounded | Array | float"

_WIDE = 2**18  # multiply-adds from which the scale of a product is computed in float32
_FITS = 1e30  # float32 has room for scales up to here, and down to its inverse


@dataclass(frozen=True)
class Precision:
    """A floating-point format.

    Attributes:
        u: The unit roundoff.
        tiny: The smallest normal number.
        largest: The largest finite number.
    """

    u: float
    tiny: float
    largest: float

    @staticmethod
    @lru_cache
    def of(dtype: str) -> Precision:
        """The format of a dtype, by its name."""
        info = np.finfo(dtype)
        return Precision(float(info.eps) / 2, float(info.tiny), float(info.max))


def growth(k: int) -> float:
    """g(k): how many unit roundoffs of S a chain of k roundings may add up to."""
    return max(5 * math.sqrt(k), k)


class Bounded:
    """An array that carries the scale S of its rounding error and the longest chain k behind it.

    k = 0 is an exact number. The value is computed when it is first looked at: of most results no
    scale depends on it. `most` is at least the largest scale, so that overflow is looked for only
    where it can be.

    Example:
        >>> x = Bounded.exact(np.array([1.0, -1.0]), Precision.of("float64"))
        >>> float((x * 3.0).sum().scale)
        6.0
    """

    __slots__ = ("_value", "scale", "k", "precision", "most")
    __array_ufunc__ = None  # an ndarray to the left leaves the operation to us

    def __init__(
        self,
        value: Array | Callable[[], Array],
        scale: Array,
        k: int,
        precision: Precision,
        most: float | None = None,
    ) -> None:
        self._value = value
        self.scale = scale
        self.k = k
        self.precision = precision
        self.most = float(np.max(scale, initial=0.0)) if most is None else most

    @property
    def value(self) -> Array:
        if callable(self._value):
            self._value = self._value()
        return self._value

    @classmethod
    def exact(cls, value: Any, precision: Precision) -> Bounded:
        """A number that both sides start from, and so have alike."""
        value = np.asarray(value, np.float64)
        return cls(value, np.abs(value), 0, precision)

    def bound(self) -> Array:
        """How much two right answers may differ, element by element, in float64."""
        times = growth(self.k) * self.precision.u
        return np.multiply(self.scale, times, dtype=np.float64)

    @property
    def T(self) -> Bounded:
        return Bounded(lambda: self.value.T, self.scale.T, self.k, self.precision, self.most)

    def __gt__(self, number: float) -> Array:
        return np.greater(self.value, number)

    def __getitem__(self, where: Any) -> Bounded:
        return Bounded(self.value[where], self.scale[where], self.k, self.precision, self.most)

    def sum(self, axis: int | None = None) -> Bounded:
        n = self.scale.size if axis is None else self.scale.shape[axis]
        scale = self.scale.sum(axis)
        return Bounded(
            lambda: self.value.sum(axis), scale, self.k + n, self.precision, n * self.most
        )

    def __add__(self, other: Operand) -> Bounded:
        return self._sum(self._like(other), np.add)

    def __sub__(self, other: Operand) -> Bounded:
        return self._sum(self._like(other), np.subtract)

    def __rsub__(self, other: Operand) -> Bounded:
        return self._like(other)._sum(self, np.subtract)

    def __mul__(self, other: Operand) -> Bounded:
        return self._product(self._like(other), np.multiply, 1)

    def __matmul__(self, other: Operand) -> Bounded:
        other = self._like(other)
        return self._product(other, _matmul, other.scale.shape[0])

    def __rmatmul__(self, other: Operand) -> Bounded:
        return self._like(other) @ self

    def __truediv__(self, number: float) -> Bounded:
        scale = self.scale / abs(number) + self._underflow()
        most = self.most / abs(number) + self._underflow()
        return Bounded(lambda: self.value / number, scale, self.k + 1, self.precision, most)

    __radd__, __rmul__ = __add__, __mul__

    def _sum(self, other: Bounded, operation: Callable[..., Array]) -> Bounded:
        return Bounded(
            lambda: operation(self.value, other.value),
            self.scale + other.scale,
            max(self.k, other.k) + 1,
            self.precision,
            self.most + other.most,
        )

    def _product(self, other: Bounded, times: Callable[..., Array], roundings: int) -> Bounded:
        most = roundings * self.most * other.most
        sizes = self.most, other.most
        if self.k and other.k:  # both carry errors: |a|·S_b + S_a·|b| + g·u·S_a·S_b
            error = growth(max(self.k, other.k)) * self.precision.u
            scale = _scale(times, np.abs(self.value) + error * self.scale, other.scale, sizes)
            scale = scale + _scale(times, self.scale, np.abs(other.value), sizes)
            most *= 2 + error
        else:
            scale = _scale(times, self.scale, other.scale, sizes)
        if not most <= self.precision.largest:
            scale = np.where(scale > self.precision.largest, np.inf, scale)  # it may overflow
        return Bounded(
            lambda: times(self.value, other.value),
            scale + self._underflow(),
            max(self.k, other.k) + roundings,
            self.precision,
            most + self._underflow(),
        )

    def _underflow(self) -> float:
        return self.precision.tiny / self.precision.u

    def _like(self, other: Operand) -> Bounded:
        return other if isinstance(other, Bounded) else Bounded.exact(other, self.precision)


def _matmul(a: Array, b: Array) -> Array:
    return np.matmul(a, b)


def _scale(times: Callable[..., Array], a: Array, b: Array, sizes: tuple[float, float]) -> Array:
    """A product of scales in float64; the work of a wide one is done in float32.

    Two digits of a scale are plenty. All terms are positive, so float32's sum of n of them is too
    small by no more than n + 4 unit roundoffs; this is added. float64 is used where a result is so
    small that terms may have been lost, or a scale (sizes: the largest of each) too large.
    """
    if times is not _matmul:
        return np.multiply(a, b, dtype=np.float64)
    if a.shape[0] * b.size >= _WIDE and max(sizes) < _FITS and sizes[0] * sizes[1] < _FITS:
        up = np.float32(1 + (a.shape[1] + 4) * 2.0**-24)
        narrow = np.matmul(a.astype(np.float32) * up, b.astype(np.float32))
        if narrow.min() > max(1.0, *sizes) / _FITS:
            return narrow.astype(np.float64)
    return np.matmul(a.astype(np.float64, copy=False), b)
