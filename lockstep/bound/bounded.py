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
Take: TypeAlias = "Callable[[Bounded], Array]"

_LARGE = 2**15  # elements from which a scale is computed piece by piece
_WIDE = 2**16  # multiply-adds from which the scale of a product is computed in float32
_FITS = 1e30  # float32 has room for scales up to here, and down to its inverse
_TINY = 2.0**-1074  # keeps a quotient from being 0 / 0


@dataclass(frozen=True)
class Precision:
    """A floating-point format.

    Attributes:
        u: The unit roundoff.
        tiny: The smallest normal number.
        largest: The largest finite number.
        dtype: Its name.
    """

    u: float
    tiny: float
    largest: float
    dtype: str

    @property
    def underflow(self) -> float:
        """The scale of what underflow alone may lose."""
        return self.tiny / self.u

    @staticmethod
    @lru_cache
    def of(dtype: str) -> Precision:
        """The format of a dtype, by its name."""
        info = np.finfo(dtype)
        return Precision(float(info.eps) / 2, float(info.tiny), float(info.max), dtype)


def growth(k: int) -> float:
    """g(k): how many unit roundoffs of S a chain of k roundings may add up to."""
    return max(5 * math.sqrt(k), k)


class Bounded:
    """An array that carries the scale S of its rounding error and the longest chain k behind it.

    k = 0 is an exact number. Value and scale are float64, also where the run is float32, whose
    squares overflow. A value is computed when it is first looked at: of most results no scale
    depends on it. The scale of a large sum is computed piece by piece, where its bound is wanted.

    Attributes:
        k: The longest chain of roundings.
        precision: The format of the run.
        most: At least the largest scale, so that overflow is looked for only where it can be.
        shape: The array's.

    Examples:
        >>> x = Bounded.exact(np.array([1.0, -1.0]), Precision.of("float64"))
        >>> float((x * 3.0).sum().scale)
        6.0
    """

    __slots__ = ("_value", "_scale", "k", "precision", "most", "shape")

    def __init__(
        self,
        value: Array | Callable[[], Array],
        scale: Array | Callable[[Take], Array],
        k: int,
        precision: Precision,
        most: float | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self._value, self._scale = value, scale
        self.k, self.precision = k, precision
        self.shape = scale.shape if shape is None and not callable(scale) else shape or ()
        self.most = _largest(self.scale) if most is None else most

    @property
    def value(self) -> Array:
        if callable(self._value):
            self._value = self._value()
        if self._value.dtype != np.float64:
            self._value = np.asarray(self._value, np.float64)
        return self._value

    @property
    def scale(self) -> Array:
        if callable(self._scale):
            self._scale = self._scale(_whole)
        if self._scale.dtype != np.float64:
            self._scale = np.asarray(self._scale, np.float64)
        return self._scale

    def piece(self, where: slice) -> Array:
        """A piece of the scale, flat, in the run's dtype; of a single number it itself."""
        if not self.shape:
            return self.scale
        if callable(self._scale):
            return self._scale(lambda part: part.piece(where))
        return np.asarray(self._scale.reshape(-1)[where], self.precision.dtype)

    def narrow(self) -> Array:
        """The scale in float32."""
        scale = self.scale if callable(self._scale) else self._scale
        return scale.astype(np.float32, copy=False)

    @classmethod
    def exact(cls, value: Any, precision: Precision) -> Bounded:
        """A number that both sides start from, and so have alike."""
        value = np.asarray(value)
        return Given(value if value.dtype.kind == "f" else value.astype(np.float64), precision)

    def unit(self) -> float:
        """How many of its scale two right answers may differ by."""
        return growth(self.k) * self.precision.u

    def bound(self) -> Array:
        """How much two right answers may differ, element by element, in float64."""
        return np.asarray(self.unit() * self.scale)

    @property
    def T(self) -> Bounded:
        scale = self.scale.T if callable(self._scale) else self._scale.T
        return Bounded(lambda: self.value.T, scale, self.k, self.precision, self.most)

    def __array_ufunc__(self, ufunc: Any, method: str, *given: Any, **settings: Any) -> Any:
        """What NumPy asks for: a function of its own, or an operation of an ndarray to the left."""
        rule = _RULES.get(ufunc) if method == "__call__" and not settings else None
        return NotImplemented if rule is None else rule(self._like(given[0]), *given[1:])

    def __gt__(self, number: float) -> Array:
        return np.greater(self.value, number)

    def __getitem__(self, where: Any) -> Bounded:
        return Bounded(self.value[where], self.scale[where], self.k, self.precision, self.most)

    def sum(self, axis: int | None = None, keepdims: bool = False) -> Bounded:
        n = math.prod(self.shape) if axis is None else self.shape[axis]
        scale, most = np.asarray(self.scale.sum(axis, keepdims=keepdims)), n * self.most

        def value() -> Array:
            return np.asarray(self.value.sum(axis, keepdims=keepdims))

        return Bounded(value, scale, self.k + n, self.precision, most)

    def max(self, axis: int, keepdims: bool = False) -> Bounded:
        """Two largest elements differ by no more than some element does."""
        value = self.value.max(axis, keepdims=keepdims)
        scale = self.scale.max(axis, keepdims=keepdims)
        return Bounded(value, scale, self.k, self.precision, self.most)

    def __add__(self, other: Operand) -> Bounded:
        if isinstance(other, int) and other == 0:
            return self  # nothing is rounded
        return self._sum(self._like(other), np.add)

    def __sub__(self, other: Operand) -> Bounded:
        return self._sum(self._like(other), np.subtract)

    def __rsub__(self, other: Operand) -> Bounded:
        return self._like(other)._sum(self, np.subtract)

    def __mul__(self, other: Operand) -> Bounded:
        return self._times(self._like(other))

    def __matmul__(self, other: Operand) -> Bounded:
        return self._matmul(self._like(other))

    def __neg__(self) -> Bounded:
        return Bounded(lambda: -self.value, self.scale, self.k, self.precision, self.most)

    def __truediv__(self, other: Operand) -> Bounded:
        if not isinstance(other, int | float):
            return self._over(self._like(other))
        scale = self.scale / abs(other) + self.precision.underflow
        most = self.most / abs(other) + self.precision.underflow
        return Bounded(lambda: self.value / other, scale, self.k + 1, self.precision, most)

    def __rtruediv__(self, other: Operand) -> Bounded:
        return self._like(other)._over(self)

    def __pow__(self, n: int) -> Bounded:
        """Of a number that is at most 1: n factors, however they are multiplied."""
        value = self.value**n
        slope = n * np.abs(value) / np.maximum(np.abs(self.value), _TINY)
        return self._applied(value, slope * self.scale)

    __radd__, __rmul__ = __add__, __mul__

    def _applied(self, value: Array, scale: Array) -> Bounded:
        """A function of this number: what S is worth in its value, and the value's own rounding.

        Args:
            value: Its value.
            scale: S times the largest slope that the function has within the bound of this number.
        """
        scale = scale + np.abs(value) + self.precision.underflow
        return Bounded(value, scale, self.k + 1, self.precision)

    def exp(self) -> Bounded:
        """|eᵃ − eᵇ| ≤ |a − b| e^max(a, b)."""
        value = np.exp(self.value)
        return self._applied(value, value * np.exp(self.bound()) * self.scale)

    def log(self) -> Bounded:
        """|log a − log b| ≤ |a − b| / min(a, b); nothing is known where that may be 0."""
        return self._applied(np.log(self.value), self.scale / self._least(self.value))

    def log1p(self) -> Bounded:
        """As the logarithm of 1 + a."""
        return self._applied(np.log1p(self.value), self.scale / self._least(1 + self.value))

    def sqrt(self) -> Bounded:
        """|√a − √b| = |a − b| / (√a + √b), and (√a + √b)² ≥ max(4a − 3|a − b|, |a − b|)."""
        value, bound = self.value, self.bound()
        steep = np.sqrt(np.maximum(np.maximum(4 * value - 3 * bound, bound), _TINY))
        return self._applied(np.sqrt(value), self.scale / steep)

    def absolute(self) -> Bounded:
        """||a| − |b|| ≤ |a − b|, and no bit is lost."""
        return Bounded(np.abs(self.value), self.scale, self.k, self.precision, self.most)

    def maximum(self, number: float) -> Bounded:
        """|max(a, c) − max(b, c)| ≤ |a − b|."""
        value = np.maximum(self.value, number)
        return Bounded(value, self.scale, self.k, self.precision, self.most)

    def sign(self) -> Bounded:
        """An exact number, but where the bound reaches 0: there either sign is right."""
        value, undecided = np.sign(self.value), np.abs(self.value) < self.bound()
        whole = 2 / (self.unit() or self.precision.u)
        scale = np.where(undecided, whole, np.abs(value))
        return Bounded(value, scale, self.k, self.precision)

    def _least(self, value: Array) -> Array:
        """The smallest that a positive value may be within the bound; 0 where that is below 0."""
        return np.asarray(np.maximum(value - self.bound(), 0.0))

    def _over(self, other: Bounded) -> Bounded:
        """|a/b − c/d| ≤ |a − c|/|d| + |a/b| |b − d|/|d|; nothing is known where d may be 0."""
        value = self.value / other.value
        least = other._least(np.abs(other.value))
        scale = (self.scale + np.abs(value) * other.scale) / least + np.abs(value)
        scale = np.where(least > 0, scale, np.inf) + self.precision.underflow
        return Bounded(value, scale, max(self.k, other.k) + 1, self.precision)

    def _sum(self, other: Bounded, operation: Callable[..., Array]) -> Bounded:
        def scale(take: Take) -> Array:
            return take(self) + take(other)

        k, most = max(self.k, other.k) + 1, self.most + other.most
        return self._made(other, lambda: operation(self.value, other.value), scale, k, most)

    def _times(self, other: Bounded) -> Bounded:
        k, most = max(self.k, other.k) + 1, self.most * other.most
        if self.k and other.k:  # both carry errors: |a|·S_b + S_a·|b| + g·u·S_a·S_b
            error = growth(k - 1) * self.precision.u
            whole = error * self.scale + np.abs(self.value)
            whole *= other.scale
            whole += np.abs(other.value) * self.scale
            return self._product(whole, lambda: self.value * other.value, k, (2 + error) * most)

        def scale(take: Take) -> Array:
            return take(self) * take(other) + self.precision.underflow

        if not most <= self.precision.largest:
            return self._product(scale(_whole), lambda: self.value * other.value, k, most)
        most += self.precision.underflow
        return self._made(other, lambda: self.value * other.value, scale, k, most)

    def _matmul(self, other: Bounded) -> Bounded:
        n = other.shape[0]
        k, most = max(self.k, other.k) + n, n * self.most * other.most
        if self.k and other.k:  # as above
            error = growth(k - n) * self.precision.u
            size = error * self.scale + np.abs(self.value)
            of_a = Bounded(size, size, 0, self.precision, (1 + error) * self.most)
            size = np.abs(other.value)
            of_b = Bounded(size, size, 0, self.precision, other.most)
            whole = _matmul(of_a, other)
            whole = whole + _matmul(self, of_b)
            most *= 2 + error
        else:
            whole = _matmul(self, other)
        return self._product(whole, lambda: self.value @ other.value, k, most)

    def _made(
        self,
        other: Bounded,
        value: Callable[[], Array],
        scale: Callable[[Take], Array],
        k: int,
        most: float,
    ) -> Bounded:
        """A result whose scale is computed now, or, of two large arrays alike, piece by piece."""
        shape = self.shape or other.shape
        large = math.prod(shape) >= _LARGE and other.shape in ((), shape)
        if large:
            return Bounded(value, scale, k, self.precision, most, shape)
        return Bounded(value, scale(_whole), k, self.precision, most)

    def _product(self, scale: Array, value: Callable[[], Array], k: int, most: float) -> Bounded:
        """A product: its scale may underflow, and it overflows where its terms may."""
        if not most <= self.precision.largest:
            scale = np.where(scale > self.precision.largest, np.inf, scale)
        scale += scale.dtype.type(self.precision.underflow)
        return Bounded(value, scale, k, self.precision, most + self.precision.underflow)

    def _like(self, other: Operand) -> Bounded:
        if isinstance(other, Bounded):
            return other
        if isinstance(other, int | float):
            size = abs(float(other))
            return Bounded(np.asarray(float(other)), np.asarray(size), 0, self.precision, size, ())
        return Bounded.exact(other, self.precision)


# What NumPy's functions are on these numbers.
_RULES: dict[Any, Callable[..., Bounded]] = {
    np.add: Bounded.__add__,
    np.subtract: Bounded.__sub__,
    np.multiply: Bounded.__mul__,
    np.matmul: Bounded.__matmul__,
    np.divide: Bounded.__truediv__,
    np.negative: Bounded.__neg__,
    np.exp: Bounded.exp,
    np.log: Bounded.log,
    np.log1p: Bounded.log1p,
    np.sqrt: Bounded.sqrt,
    np.absolute: Bounded.absolute,
    np.maximum: Bounded.maximum,
    np.sign: Bounded.sign,
}


class Given(Bounded):
    """An exact number. The sizes are taken where they are wanted, of a large one in pieces."""

    __slots__ = ("given",)

    def __init__(self, given: Array, precision: Precision, most: float | None = None) -> None:
        if most is None:
            most = float(max(given.max(), -given.min())) if given.size else 0.0
        super().__init__(given, given, 0, precision, most)
        self.given = given

    @property
    def scale(self) -> Array:
        return np.abs(self.value)

    def piece(self, where: slice) -> Array:
        return np.abs(super().piece(where))

    def narrow(self) -> Array:
        sizes = self.given.astype(np.float32)
        return np.abs(sizes, out=sizes)

    @property
    def T(self) -> Bounded:
        return Given(self.given.T, self.precision, self.most)


def _whole(number: Bounded) -> Array:
    return number.scale


def _largest(scale: Array) -> float:
    return float(scale.max()) if scale.size else 0.0


def _matmul(a: Bounded, b: Bounded) -> Array:
    """The matrix product of two scales; the work of a wide one is done in float32.

    Two digits of a scale are plenty. All terms are positive, so float32's sum of n of them is too
    small by no more than n + 4 unit roundoffs; this is added. float64 is used where a result is so
    small that terms may have been lost, or a scale too large.
    """
    fits = max(a.most, b.most, a.most * b.most) < _FITS
    n = b.shape[0]
    if fits and a.shape[0] * math.prod(b.shape) >= _WIDE:
        narrow = (a.narrow() * np.float32(1 + (n + 4) * 2.0**-24)) @ b.narrow()
        if narrow.min() > max(1.0, a.most, b.most) / _FITS:
            return narrow
    return np.asarray(a.scale @ b.scale)
