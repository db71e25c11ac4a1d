"""The same code in several precisions: rounding gets better with it, a wrong formula does not.

A single number of a right bfloat16 kernel may be off by all that it is, where terms cancel. A
tensor as a whole may not: from bfloat16 to float16 the root-mean-square error of what only rounds
shrinks by 2⁻³, as the unit roundoff does, and the part that a wrong formula adds stays. So the two
errors e_b and e_h tell that part, f² = (64 e_h² − e_b²)/63, without a tolerance that anybody
chooses. The truth is the reference in float64 on the same numbers, which both precisions hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.network.names import Array, Sizes

PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
HALVES = ("float16", "bfloat16")  # the finer first
# from these on a tensor's ratio of errors is no rounding's: right kernels have 0.09 to 0.18
RATIO, _OF_A_PART = 0.22, 0.5
_AS_PYTORCH = 1.5  # times PyTorch's own ratio in the same precisions, beyond which yours is no kink
_LITTLE = 0.1  # of a unit roundoff: less than any result in that precision is off by
_ENOUGH = 32  # numbers of a tensor, or of a part of it, all draws together, that tell a ratio
_ROWS = 2**14  # of a tensor that are looked at
_FEW, _NEARLY_ALL = 0.25, 0.9  # of a tensor, and of its error: then a part alone is wrong
_BLOCK = 16  # numbers of a block of a vector, or columns of a block, that are looked at alone
CONSTANTS = 1.6  # roundings of constants, such as 1/√d, that a factor of a whole tensor may be off
_SIGNIFICANT = 6.0  # standard errors
_SURE = 4.0  # standard errors by which the part that does not shrink is more than nothing
_NO_ROUNDING = 64  # unit roundoffs of a part of a tensor that are no rounding
ALONE = 6.0  # times the error that rounding explains, in one precision alone
SUBNORMAL = 2.0**-25  # what rounding does at most to one below
_FELT = 0.1  # a part of the squares of errors that is felt
_NORMAL = 2.0**-14  # the smallest number of float16 that has all its digits
_SMALL = 2.0**-6  # root mean squares from which nothing is scaled
_LARGEST = 2.0**14  # that float16's gradients are scaled to at most


def precision_of(dtype: Any) -> str:
    """The name of a dtype, PyTorch's or NumPy's."""
    return str(dtype).removeprefix("torch.")


def unit(precision: str) -> float:
    """The unit roundoff."""
    return float(torch.finfo(PRECISIONS[precision]).eps) / 2


def on_the_grid(tensor: Tensor) -> Tensor:
    """The numbers that float16 and bfloat16 both have, near a tensor's own, in float64."""
    return tensor.to(torch.bfloat16).to(torch.float16).double()


def size(array: Array) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0


def formula(low: Array, high: Array, shrink: float) -> float:
    """The part that does not shrink of two errors. shrink: what rounding does, 8 for the halves."""
    square = shrink**2
    rest = float(square * np.mean(np.square(high)) - np.mean(np.square(low))) / (square - 1)
    return float(max(rest, 0.0) ** 0.5)


def ratio(low: Array, high: Array) -> float:
    """By how much an error shrinks from one precision to a finer one."""
    before = size(low)
    return size(high) / before if before else 0.0


def _is_sure(low: Array, high: Array, shrink: float) -> bool:
    """Whether no few numbers decide that an error does not shrink: those of one may by chance."""
    rest = (shrink**2 * np.square(high) - np.square(low)).sum(axis=0)  # of all draws
    error = float(np.std(rest)) / np.sqrt(rest.size)
    return bool(np.mean(rest) > _SURE * error)


def parts(shape: Sizes) -> Iterator[Iterable[tuple[str, tuple[slice, ...]]]]:
    """The rows of a tensor, and the blocks of its columns or elements: in words, and where."""
    *lead, columns = shape
    if lead:
        yield (
            (f"row {', '.join(map(str, at))}", tuple(slice(i, i + 1) for i in at))
            for at in islice(np.ndindex(*lead), _ROWS)
        )
    what, every = "columns" if lead else "elements", (slice(None),) * len(lead)
    yield (
        (
            f"{what} {first} to {min(first + _BLOCK, columns) - 1}",
            (*every, slice(first, first + _BLOCK)),
        )
        for first in range(0, columns, _BLOCK)
        if columns > _BLOCK
    )


def by_ratio(
    truth: Array, hand: Sequence[Array], torchs: Sequence[Array] | None, precisions: Sequence[str]
) -> Iterator[tuple[str, float]]:
    """Where yours does not shrink as rounding does, and PyTorch's does.

    Args:
        truth: (draws, *shape).
        hand: Your errors in the coarser and in the finer precision.
        torchs: PyTorch's; None where it does not compute in these.
        precisions: The names of these two.

    Yields:
        Rows or blocks, in words, or nothing for the whole tensor, and the formula's error there,
        relative to the gradient.
    """
    low, high = hand
    coarse, fine = map(unit, precisions)
    if low.size < _ENOUGH or size(high) <= _LITTLE * fine * size(truth):
        return
    own, theirs = ratio(low, high), ratio(*torchs) if torchs else 0.0
    limit = max(RATIO * 8 * fine / coarse, _AS_PYTORCH * theirs)
    is_large = size(high) > _NO_ROUNDING * fine * size(truth)
    is_whole = own > limit and (is_large or _is_sure(low, high, coarse / fine))
    found = [_by_part(truth, hand, torchs, precisions, each) for each in parts(truth.shape[1:])]
    few = [it for it in found if it and _are_all(it, high, truth.shape[1:]) or not is_whole]
    if is_whole and not few:
        yield "", formula(low, high, coarse / fine) / (size(truth) or 1.0)
    for where, _, error in min(few, key=len, default=[]) if is_whole else chain(*found):
        yield where, error


_Part = tuple[str, tuple[slice, ...], float]  # in words, where, and the error


def _are_all(found: list[_Part], high: Array, shape: Sizes) -> bool:
    """Whether a few parts have nearly all of an error."""
    mask = np.zeros(shape, bool)
    for _, at, _ in found:
        mask[at] = True
    squares = np.square(high)
    inside = float(squares[:, mask].sum())
    return bool(mask.mean() <= _FEW and inside >= _NEARLY_ALL * float(squares.sum()))


def _by_part(
    truth: Array,
    hand: Sequence[Array],
    torchs: Sequence[Array] | None,
    precisions: Sequence[str],
    some: Iterable[tuple[str, tuple[slice, ...]]],
) -> list[_Part]:
    """The parts of one kind that do not shrink."""
    coarse, fine = map(unit, precisions)
    square = (coarse / fine) ** 2
    own_squares = [np.square(it) for it in hand]
    their_squares = [np.square(it) for it in torchs or ()]
    low = own_squares[0]
    rows = np.mean(low, axis=(0, -1)) if low.ndim > 2 else low
    floor = max(float(np.median(rows)) / square, (_LITTLE * fine * size(truth)) ** 2)

    def shrinks(of: Sequence[Array], here: tuple[slice, ...]) -> tuple[float, float]:
        """The ratio of a part, and the square of its error in the finer precision."""
        low, high = (float(np.mean(each[here])) for each in of)
        return ((high + floor) / (low + square * floor)) ** 0.5, high

    found = []
    for where, at in some:
        here = (slice(None), *at)
        own, error = shrinks(own_squares, here)
        near, its = shrinks(their_squares, here) if torchs else (0.0, 0.0)
        if own <= max(_OF_A_PART, 2 * near) or error <= 4 * its:
            continue
        whole, off = size(truth[here]), error**0.5
        is_enough = truth[here].size >= _ENOUGH
        if off > _NO_ROUNDING * fine * whole or (
            is_enough and _is_sure(hand[0][here], hand[1][here], coarse / fine)
        ):
            found.append((where, at, off / (whole or size(truth) or 1.0)))
    return found


def factors(off: Array, truth: Array) -> tuple[float, float]:
    """The factor that a tensor is off by, less 1, and its standard error: yours = (1 + c) right."""
    whole = float(np.sum(np.square(truth)))
    c = float(np.sum(off * truth)) / whole
    rest = (off - c * truth) * truth
    blocks = rest.reshape(len(rest), -1) if rest.ndim < 3 else rest.sum(axis=-1)
    return c, float(np.sqrt(np.sum(np.square(blocks)))) / whole


def by_factor(
    truth: Array, hand: Sequence[Array], torchs: Sequence[Array] | None, precisions: Sequence[str]
) -> float | None:
    """The factor, less 1, that a tensor is off by in both precisions alike; None where by none.

    Sums see finer than elements: of n numbers, rounding leaves 1/√n of what it does to one. But a
    rounded constant, such as 1/√d, is a factor too.
    """
    coarse, fine = map(unit, precisions)
    shrink = coarse / fine

    def estimate(errors: Sequence[Array]) -> tuple[float, float, float]:
        (low, low_error), (high, high_error) = (factors(off, truth) for off in errors)
        rest = (shrink * high - low) / (shrink - 1)
        return rest, float(np.hypot(shrink * high_error, low_error)) / (shrink - 1), high

    rest, error, high = estimate(hand)
    theirs = abs(estimate(torchs)[0]) if torchs else 0.0
    if truth.size < _ENOUGH or abs(rest) <= max(_SIGNIFICANT * error, 3 * theirs):
        return None
    return high if abs(high) > CONSTANTS * fine and abs(rest) > CONSTANTS * fine / 2 else None


def factor_alone(truth: Array, off: Array, torch: Array | None, precision: str) -> float | None:
    """The factor, less 1, that a tensor is off by in one precision; None where it may be none."""
    c, error = factors(off, truth)
    theirs, its = factors(torch, truth) if torch is not None else (0.0, 0.0)
    apart = abs(c - theirs)
    is_more = apart > max(CONSTANTS * unit(precision), _SIGNIFICANT * float(np.hypot(error, its)))
    return c if truth.size >= _ENOUGH and is_more and abs(c) > CONSTANTS * unit(precision) else None


def scale_of(gradients: Iterable[Array], incoming: Iterable[Array]) -> float:
    """The power of two to multiply incoming gradients by, so that float16 holds the results.

    Numbers below its smallest normal one lose digits, and do not shrink as others do.
    """
    gradients = list(gradients)
    least = min((it for it in map(size, gradients) if it), default=1.0)
    most = max((float(np.abs(it).max(initial=0.0)) for it in (*gradients, *incoming)), default=1.0)
    if least >= _SMALL or not 0 < most < np.inf:
        return 1.0
    power = min(np.floor(-np.log2(least)), np.floor(np.log2(_LARGEST / most)))
    return float(2.0 ** max(power, 0.0))


def underflow(truth: Array) -> tuple[float, bool]:
    """Which part of a tensor's numbers is below float16's smallest normal one.

    And whether these decide how its error shrinks: their rounding does not depend on their size.
    """
    small = (np.abs(truth) < _NORMAL) & (truth != 0)
    theirs = float(small.sum()) * SUBNORMAL**2
    others = float(np.square(truth[~small]).sum()) * (unit("float16") / 2) ** 2
    return float(small.mean()) if truth.size else 0.0, theirs > _FELT * others
