"""How fine a run could see: allowed / |value| over every element compared, in flat memory."""

import numpy as np

_KEPT = 65536  # so many ratios are kept as they are; when there are more, they are counted in bins
_BINS_AN_OCTAVE = 32
_OFFSET = 2200 * _BINS_AN_OCTAVE


class Resolution:
    """Collects ratios step by step. The median is exact up to 65 536 values, then within 1.1 %."""

    def __init__(self, precision):
        self.known = precision.tiny / precision.u  # a bound below this is underflow alone
        self.values, self.blind, self.largest = 0, 0, 0.0
        self.buffer, self.filled = np.empty(_KEPT), 0
        self.bins = None

    def add(self, allowed, torch):
        """allowed, torch: flat arrays. A zero that is known but for underflow has no ratio and is left out."""
        self.values += len(torch)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = allowed / np.abs(torch)
        reached = ratio < 1
        if not reached.all():
            blind = ~reached & (allowed > self.known)
            self.blind += int(np.count_nonzero(blind))
            ratio = ratio[reached | blind]
        if len(ratio):
            self.largest = max(self.largest, float(ratio.max()))
        for start in range(0, len(ratio), _KEPT):
            self._keep(ratio[start : start + _KEPT])

    def _keep(self, ratio):
        if self.filled + len(ratio) > _KEPT:
            self.bins = self._counted()
            self.filled = 0
        self.buffer[self.filled : self.filled + len(ratio)] = ratio
        self.filled += len(ratio)

    def _counted(self):
        with np.errstate(divide="ignore"):
            octaves = np.clip(np.log2(self.buffer[: self.filled]), -2000, 2000)
        bins = np.floor(octaves * _BINS_AN_OCTAVE).astype(np.int64) + _OFFSET
        counts = np.bincount(bins, minlength=2 * _OFFSET)
        return counts if self.bins is None else self.bins + counts

    def _median(self):
        if self.bins is None:
            return float(np.median(self.buffer[: self.filled])) if self.filled else None
        counts = self._counted()
        middle = int(np.searchsorted(np.cumsum(counts), (counts.sum() + 1) // 2))
        return float(2.0 ** ((middle - _OFFSET + 0.5) / _BINS_AN_OCTAVE))

    def summary(self):
        """typical: the median; worst: the largest; blind: how many elements rounding could change by their value."""
        typical = self._median()
        return {
            "typical": typical,
            "worst": None if typical is None else self.largest,
            "blind": self.blind,
        }
