"""Which steps agree so well that their bound need not be worked out: a look at many small steps at once.

The scale S of an element (see `tolerance`) is never smaller than its value, nor than the terms that are known without
the bound: of o − y they are |o| + |y|, whatever cancels between the two, and the error terms and gradients carry these
on. So a difference of a quarter of g(k) unit roundoffs of such terms is within the bound, for certain.
"""

import math
from functools import cache, lru_cache, partial
from itertools import accumulate, pairwise

import numpy as np

from lockstep.first_test import shares
from lockstep.quantities import COMPUTED, shape_of
from manual_backprop.activations import activation
from manual_backprop.losses import divisor

SMALL = 1000  # values of a step; the steps of wider networks are not looked at


def at_sight(problem):
    """A function of turns, (start, PyTorch's quantities) of steps of as many samples, and of the answers by hand.

    It gives for each step a function that says whether it agrees at sight; all are looked at when the first one is
    asked. By hand there may be some quantities only, at each step the same.
    """
    quarter_g = lru_cache(maxsize=2)(partial(_quarter_g, problem))

    def agreeing(turns, answers):
        names, samples = tuple(answers[0].values), len(turns[0][0][1])
        places = _places(problem.sizes, samples)
        if not names or places[COMPUTED[-1]].stop > SMALL:
            return [lambda: False] * len(turns)

        @cache
        def agree():
            with np.errstate(all="ignore"):
                torch = _stacked([quantities.values() for _, quantities in turns])
                manual = _stacked([a.values.values() if a.flat is None else (a.flat,) for a in answers])
                asked = ... if names == COMPUTED else np.concatenate([np.r_[places[name]] for name in names])
                difference = np.abs(manual - torch[:, asked])
                agree = (difference <= (quarter_g(samples) * np.abs(torch))[:, asked]).all(axis=1)
                if not agree.all():
                    terms = _terms(problem, turns, torch, places)
                    agree = (difference <= (quarter_g(samples) * terms)[:, asked]).all(axis=1)
            return agree.tolist()

        return [lambda which=which: agree()[which] for which in range(len(turns))]

    return agreeing


@lru_cache(maxsize=4)
def _places(sizes, samples):
    """Where the quantities of a step are, one after the other."""
    ends = accumulate((math.prod(shape_of(name, sizes, samples)) for name in COMPUTED), initial=0)
    return {name: slice(*ends_of) for name, ends_of in zip(COMPUTED, pairwise(ends), strict=True)}


def _quarter_g(problem, samples):
    """A quarter of g(k)·u of every element."""
    places, share = _places(problem.sizes, samples), shares(problem, samples)
    return np.concatenate([np.full(place.stop - place.start, share[name][0]) for name, place in places.items()])


def _stacked(steps):
    """The arrays of each step one after the other, float64: (steps, values)."""
    flat = np.concatenate([array for arrays in steps for array in arrays], axis=None, dtype=np.float64)
    return flat.reshape(len(steps), -1)


def _terms(problem, turns, torch, places):
    """The terms of each element that are known: the value, or what it cancelled from. (steps, values)"""
    samples = len(turns[0][0][1])
    terms = np.abs(torch)
    known, at = (
        {name: side[:, place].reshape(-1, *shape_of(name, problem.sizes, samples)) for name, place in places.items()}
        for side in (torch, terms)
    )  # views
    starts = [(parameters["W_o"], x, y) for (parameters, x, y, _), _ in turns]
    W_o, x, y = (np.array(arrays, np.float64) for arrays in zip(*starts, strict=True))
    slope_h = activation(problem.hidden_activation)[1](known["z_h"], known["h"])
    slope_o = activation(problem.output_activation)[1](known["z_o"], known["o"])
    m = divisor(problem.loss, *y.shape[1:])

    o_minus_y = np.abs(known["o"]) + np.abs(y)
    at["loss"][:] = 2 * (np.abs(known["o"] - y) * o_minus_y).sum(axis=(1, 2)) / m
    at["delta_o"][:] = 2 * o_minus_y / m * slope_o  # (steps, N, n_out), and so on
    at["delta_h"][:] = at["delta_o"] @ np.abs(W_o) * slope_h
    at["grad_W_o"][:], at["grad_b_o"][:] = at["delta_o"].mT @ at["h"], at["delta_o"].sum(axis=1)
    at["grad_W_h"][:], at["grad_b_h"][:] = at["delta_h"].mT @ np.abs(x), at["delta_h"].sum(axis=1)
    return terms
