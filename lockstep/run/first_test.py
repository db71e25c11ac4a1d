"""A test that lets a step through without its bound, which costs about the products of the step again.

What does not pass is no mismatch: the bound alone decides that. It rests on two things that are known beforehand of the
scale S of every element (see `tolerance`).

S is never smaller than the value. So a difference of a quarter of g(k) unit roundoffs of the value is within the bound.

S of a sum of products is seldom much smaller than the length of the row times the length of the column (it is never
larger: Cauchy and Schwarz). So √k·u of this is within the bound as a rule, where g(k) = k: the more so the longer the
sums are; on the way back, where such lengths are multiplied, half of that. It is no certainty, and `sound` says whether
it holds, element by element, at a step whose bound is known.
"""

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from lockstep.bound.allowed import bounded
from lockstep.bound.bounded import Precision, growth
from lockstep.network.names import PARAMETERS, shape_of
from lockstep.run.differences import fillings, outside
from manual_backprop.activations import activation
from manual_backprop.losses import divisor

FRESH, STEADY = 8, 64  # so many steps use the same least room, and so many where it hardly changes
KEPT = 10**6  # of so many values at the most, over all batches, scales are kept
HALVED = (
    "delta_h",
    "grad_W_o",
    "grad_b_o",
    "grad_W_h",
    "grad_b_h",
)  # where several too long sums are multiplied
LARGEST = 1e100  # squares of lengths beyond this, whose products overflow, say nothing
BY_VALUE = (
    "h",
    "loss",
    "new_W_o",
    "new_b_o",
    "new_W_h",
    "new_b_h",
)  # seldom much smaller than the terms of their sums
_LENGTHS = {  # of which vectors a quantity's scale is the product
    "z_h": ("x rows", "W_h rows"),
    "h": ("x rows", "W_h rows"),
    "z_o": ("h rows", "W_o rows"),
    "o": ("h rows", "W_o rows"),
    "grad_W_o": ("delta_o columns", "h columns"),
    "grad_b_o": ("delta_o columns",),
    "grad_W_h": ("delta_h columns", "x columns"),
    "grad_b_h": ("delta_h columns",),
}
_LENGTHS |= {f"new_{name}": _LENGTHS[f"grad_{name}"] for name in PARAMETERS}
_NOISE = {  # the scale of σ' as a formula in s = σ(z), whose own scale is |s| + spread
    "sigmoid": lambda s, spread: 2 * s + spread,
    "tanh": lambda s, spread: 1 + 2 * np.abs(s) * (np.abs(s) + spread),
}


class Scales(NamedTuple):
    """A step's scales: of element ij about √rows_i · √columns_j · factor_ij, by quantity; see _LENGTHS."""

    squares: dict[str, np.ndarray]  # of the lengths, float64
    least: dict[str, float]  # the smallest length
    factor: dict[str, Any]  # an array or a number; 1 where there is none


class Limits(NamedTuple):
    """Between which two numbers all differences, or quotients, of a quantity are small enough at sight."""

    low: list[float]
    high: list[float]
    rooms: list[float]  # of the smallest element
    scales: Scales | None
    given: tuple[np.ndarray, np.ndarray, float]  # x, y and lr, for which alone they are known
    steps: int  # for so many steps
    until: int


def first_test(problem):
    """The functions (passes, sound) of a `comparison.Record`, for a problem without a frozen parameter.

    passes(record, trusted): whether every difference is small enough at sight. trusted: whether `sound` was the last
    word; else only what is certain is let through. sound(record): whether at this step, whose bound is looked at for
    it, the first test lets nothing through that the bound would not, element by element.
    """
    share_of = lru_cache(maxsize=4)(partial(shares, problem))
    known_fillings = lru_cache(maxsize=2)(fillings)
    known: dict[tuple[int, tuple[str, ...]], Limits] = {}  # by batch, and by what was returned

    def limits(record, names):
        """The Limits found at a step of this batch not long ago: the less they change, the longer they are used."""
        key = record.number % problem.batches, names
        before = known.get(key)
        given = record.x, record.y, record.lr
        if not before or record.number >= before.until or not _same(before.given, given):
            found, share = _scales(problem, record), share_of(len(record.x))
            rooms = [_least(name, share[name][1], found) for name in names]
            steady = before and all(
                now >= 0.75 * then for now, then in zip(rooms, before.rooms, strict=True)
            )
            steps = min(2 * before.steps, STEADY) if before and steady else FRESH
            eps = float(np.finfo(problem.dtype).eps)  # a quotient is rounded
            right = [float(name in BY_VALUE) for name in names]
            off = [
                share[name][0] - eps if name in BY_VALUE else room / 2
                for name, room in zip(names, rooms, strict=True)
            ]
            low, high = ([r + s * o for r, o in zip(right, off, strict=True)] for s in (-1, 1))
            kept = found if problem.samples * sum(problem.sizes[1:]) <= KEPT else None
            before = Limits(
                low, high, rooms, kept, given, steps, record.number + steps * problem.batches
            )
            known[key] = before
        return before

    def passes(record, trusted):
        if record.agrees():
            return True
        if not trusted:
            return False
        with np.errstate(all="ignore"):
            names, n = tuple(record.manual), len(record.x)
            within, manual, torch = limits(record, names), record.manual, record.torch
            looked_at = known_fillings(names, problem.sizes, n, problem.dtype)
            unclear = set(outside(looked_at, manual, torch, BY_VALUE, within.low, within.high))
            if not unclear:
                return True
            half = {
                name: (of_value, of_scale / 2) for name, (of_value, of_scale) in share_of(n).items()
            }
            unclear = {
                name for name in unclear if not _near(record, name, half[name], within.scales)
            }
            if not unclear:
                return True
            found = _scales(problem, record)
            return all(_near(record, name, share_of(n)[name], found) for name in unclear)

    def sound(record):
        share = share_of(len(record.x))
        with np.errstate(all="ignore"):
            found = _scales(problem, record)
            return found is not None and all(
                (_room(record, name, ..., share[name], found) <= record.allowed[name]).all()
                for name in record.manual
            )

    return passes, sound


def shares(problem, samples):
    """For each quantity g·u/4 and √k·u, or half of this; k depends on the number of samples."""
    u = Precision.of(problem.dtype).u
    zeros = {
        name: np.zeros(shape_of(name, problem.sizes, samples)) for name in (*PARAMETERS, "x", "y")
    }
    with np.errstate(all="ignore"):
        parameters = {name: zeros[name] for name in PARAMETERS}
        quantities = bounded(problem, parameters, zeros["x"], zeros["y"], problem.lr, noisy=False)
    shares = {name: (growth(q.k) * u / 4, math.sqrt(q.k) * u) for name, q in quantities.items()}
    return shares | {name: (shares[name][0], shares[name][1] / 2) for name in HALVED}


def _least(name, times, scales):
    """times · the smallest scale of a quantity; 0 where nothing is known."""
    if scales is None:
        return 0.0
    factor = scales.factor.get(name, 1.0)
    lengths = math.prod([scales.least[vector] for vector in _LENGTHS.get(name, ())])
    return times * lengths * float(factor.min() if np.ndim(factor) else factor)


def _same(given, others):
    """Whether two steps have the same x, y and lr; a problem's batches are the same arrays each time."""
    return all(a is b or np.array_equal(a, b) for a, b in zip(given, others, strict=True))


def _scales(problem, record):
    """The Scales of a step, or None where they are too large."""
    torch, x, y, W_o = record.torch, record.x, record.y, record.parameters["W_o"]
    z_h, h, z_o, o = torch["z_h"], torch["h"], torch["z_o"], torch["o"]
    slope_h, slope_o = (
        _slope(problem.hidden_activation, z_h, h),
        _slope(problem.output_activation, z_o, o),
    )
    times = 2 / divisor(problem.loss, *y.shape)

    x_rows, W_h_rows, h_rows, W_o_rows = (
        _rows(x),
        _rows(record.parameters["W_h"]),
        _rows(h),
        _rows(W_o),
    )
    of_z_h, of_z_o = _outer(x_rows, W_h_rows), _outer(h_rows, W_o_rows)  # (N, n_hidden), (N, n_out)
    terms = _times(of_z_o, slope_o) + np.abs(y)  # (N, n_out), of o − y
    delta_o = _times(terms, slope_o) * times  # (N, n_out)
    if problem.output_activation in _NOISE:
        delta_o += times * np.abs(o - y) * _NOISE[problem.output_activation](o, slope_o * of_z_o)
    delta_h = _times(_outer(_rows(delta_o), _columns(W_o)), slope_h)  # (N, n_hidden)
    if problem.hidden_activation in _NOISE:
        delta_h += np.abs(torch["delta_o"] @ W_o) * _NOISE[problem.hidden_activation](
            h, slope_h * of_z_h
        )
    squares = {
        "x rows": x_rows,
        "x columns": _columns(x),
        "h rows": h_rows,
        "h columns": _columns(h),
        "W_h rows": W_h_rows,
        "W_o rows": W_o_rows,
        "delta_o columns": _columns(delta_o),
        "delta_h columns": _columns(delta_h),
    }
    flat = np.concatenate(list(squares.values()))
    if not flat.max() < LARGEST:
        return None
    starts = np.cumsum([0, *map(len, squares.values())])[:-1]
    least = np.sqrt(np.minimum.reduceat(flat, starts)).tolist()
    loss = times * np.vdot(np.abs(o - y), terms)
    factor = {"h": slope_h, "delta_h": delta_h, "o": slope_o, "delta_o": delta_o, "loss": loss}
    factor |= {f"new_{name}": abs(record.lr) for name in PARAMETERS}
    return Scales(squares, dict(zip(squares, least, strict=True)), factor)


def _slope(which, z, s):
    """σ'(z)."""
    return 1.0 if which == "linear" else activation(which)[1](z, s)


def _times(a, b):
    """a · b, and no work where b is 1."""
    return a if np.ndim(b) == 0 else a * b


def _outer(rows, columns):
    """√rows_i · √columns_j."""
    return np.multiply.outer(np.sqrt(rows), np.sqrt(columns))


def _rows(a):
    """The squares of the lengths of an array's rows, in float64."""
    return np.vecdot(a, a).astype(np.float64)


def _columns(a):
    """The squares of the lengths of an array's columns, in float64."""
    return np.einsum("ij,ij->j", a, a).astype(np.float64)


def _room(record, name, where, share, scales):
    """Of the value and of the scale what `share` says, at some elements. where: their indices, or ... for all."""
    of_value, of_scale = share
    value = np.abs(record.torch[name])
    of_all = where is ... or value.ndim == 0
    scale = np.broadcast_to(scales.factor.get(name, 1.0), value.shape)[where]
    indices = (np.s_[:, None], np.s_[:]) if of_all else where
    vectors = [np.sqrt(scales.squares[vector]) for vector in _LENGTHS.get(name, ())]
    for vector, index in zip(vectors, indices[-value.ndim :] if of_all else indices, strict=False):
        scale = scale * vector[index]
    return of_value * value[where] + of_scale * scale


def _near(record, name, share, scales):
    """Whether every difference of a quantity is within `_room`, worked out only where the value is not enough."""
    if scales is None:
        return False
    difference = np.abs(record.manual[name] - record.torch[name])
    far = ~(difference <= share[0] * np.abs(record.torch[name]))
    where = np.nonzero(far) if far.ndim else ...
    return bool((difference[where] <= _room(record, name, where, share, scales)).all())
