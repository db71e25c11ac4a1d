"""Which quantities of a step have a difference, or a quotient, beyond their limits; the large ones piece by piece."""

import math
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from lockstep.network.names import shape_of

BYTES = 2**20  # so much memory is filled with differences, which are looked at together


class Filling(NamedTuple):
    """Small quantities, or a piece of a large one, whose differences fill the memory."""

    parts: list[
        tuple[str, slice | None, np.ndarray]
    ]  # a quantity, which piece of it, and its place in the memory
    names: tuple[str, ...]
    which: slice  # of all names
    flat: np.ndarray  # the places one after the other
    starts: list[int]


def fillings(names, sizes, samples, dtype):
    """The Fillings in which the named quantities are looked at."""
    memory = np.empty(BYTES // np.dtype(dtype).itemsize, dtype)
    together: list[list[tuple[str, slice | None, tuple[int, ...]]]] = []
    free = 0
    for name in names:
        shape = shape_of(name, sizes, samples)
        size = math.prod(shape)
        if size > memory.size:
            length = math.ceil(size / math.ceil(size / memory.size))
            pieces = [slice(start, min(start + length, size)) for start in range(0, size, length)]
            together += [[(name, piece, (piece.stop - piece.start,))] for piece in pieces]
            free = 0
        else:
            if size > free:
                together.append([])
                free = memory.size
            together[-1].append((name, None, shape))
            free -= size
    return [_filling(parts, names, memory) for parts in together]


def _filling(parts, names, memory):
    ends = [0, *accumulate(math.prod(shape) for _, _, shape in parts)]
    filled, pieces, shapes = zip(*parts, strict=True)
    places = [
        memory[a:b].reshape(shape) for (a, b), shape in zip(pairwise(ends), shapes, strict=True)
    ]
    first = names.index(filled[0])
    which = slice(first, first + len(filled))
    return Filling(
        list(zip(filled, pieces, places, strict=True)), filled, which, memory[: ends[-1]], ends[:-1]
    )


def outside(fillings, manual, torch, quotients, low, high):
    """Yields the quantities whose manual − torch, or manual / torch, is not between low and high everywhere.

    quotients: the names of those that are divided. low, high: lists over the names that the fillings were made for.
    What is not a number is outside.
    """
    for parts, names, which, flat, starts in fillings:
        for name, piece, place in parts:
            a, b = manual[name], torch[name]
            if piece:
                a, b = a.reshape(-1)[piece], b.reshape(-1)[piece]
            (np.divide if name in quotients else np.subtract)(a, b, place)
        lows, highs = (
            np.minimum.reduceat(flat, starts).tolist(),
            np.maximum.reduceat(flat, starts).tolist(),
        )
        for name, least, smallest, largest, most in zip(
            names, low[which], lows, highs, high[which], strict=True
        ):
            if not (least <= smallest and largest <= most):
                yield name
