"""How fine a run could see: allowed / |value| over every element compared, in flat memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.bound.bounded import Precision
from lockstep.network.names import Array

_KEPT = 65536  # so many ratios are kept as they are; when there are more, they are counted in bins
_BINS_AN_OCTAVE = 32
_OFFSET = 2200 * _BINS_AN_OCTAVE


@dataclass(frozen=True)
class Resolution:
    """How fine a run could see, with the field names of the JSON document.

    Attributes:
        typical: The median of allowed / |value|; None where nothing was compared.
        worst: The largest; None where nothing was compared.
        blind: How many elements rounding alone could change by their whole value.
    """

    typical: float | None
    worst: float | None
    blind: int


class Ratios:
    """Collects allowed / |value| step by step.

    The median is exact up to 65 536 values, then within 1.1 %.
    """

    def __init__(self, precision: Precision) -> None:
        self.known = precision.tiny / precision.u  # a bound below this is underflow alone
        self.blind, self.largest = 0, 0.0
        self.unlimited = 0  # elements whose bound overflowed, so that no difference is too large
        self.buffer, self.filled = np.empty(_KEPT), 0
        self.bins: Array | None = None

    def add(self, allowed: Array, torch: Array, every: int = 1) -> None:
        """Take in some elements.

        A zero that is known but for underflow has no ratio and is left out.

        Args:
            allowed: A flat array, float64.
            torch: PyTorch's values.
            every: One of so many elements counts for the median.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.abs(torch, dtype=allowed.dtype)
            np.divide(allowed, ratio, out=ratio)
        largest = float(ratio.max()) if len(ratio) else 0.0
        if not largest < 1:
            whole = np.flatnonzero(~(ratio < 1))  # few as a rule
            limits = allowed[whole]
            blind = limits > self.known
            self.blind += int(np.count_nonzero(blind))
            self.unlimited += int(np.count_nonzero(~np.isfinite(limits)))
            if not blind.all():
                ratio = np.delete(ratio, whole[~blind])
                largest = float(ratio.max()) if len(ratio) else 0.0
        self.largest = max(self.largest, largest)
        ratio = ratio[::every]
        for start in range(0, len(ratio), _KEPT):
            self._keep(ratio[start : start + _KEPT])

    def marked(self) -> dict[str, Any]:
        """What there is so far, for `back_to`."""
        return dict(vars(self))

    def back_to(self, mark: dict[str, Any]) -> None:
        """Forget what came after a mark."""
        vars(self).update(mark)

    def _keep(self, ratio: Array) -> None:
        if self.filled + len(ratio) > _KEPT:
            self.bins = self._counted()
            self.filled = 0
        self.buffer[self.filled : self.filled + len(ratio)] = ratio
        self.filled += len(ratio)

    def _counted(self) -> Array:
        with np.errstate(divide="ignore"):
            octaves = np.clip(np.log2(self.buffer[: self.filled]), -2000, 2000)
        bins = np.floor(octaves * _BINS_AN_OCTAVE).astype(np.int64) + _OFFSET
        counts = np.bincount(bins, minlength=2 * _OFFSET)
        return counts if self.bins is None else self.bins + counts

    def _median(self) -> float | None:
        if self.bins is None:
            return float(np.median(self.buffer[: self.filled])) if self.filled else None
        counts = self._counted()
        middle = int(np.searchsorted(np.cumsum(counts), (counts.sum() + 1) // 2))
        return float(2.0 ** ((middle - _OFFSET + 0.5) / _BINS_AN_OCTAVE))

    def summary(self) -> Resolution:
        """What all elements together say."""
        typical = self._median()
        return Resolution(typical, None if typical is None else self.largest, self.blind)
