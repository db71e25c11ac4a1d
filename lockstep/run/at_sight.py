"""Which steps agree so well that their bound need not be worked out: a look at many small steps at once.

The scale S of an element (see `tolerance`) is never smaller than its value, nor than the terms that are known without
the bound: of o − y they are |o| + |y|, whatever cancels between the two, and the error terms and gradients carry these
on. So a difference of a quarter of g(k) unit roundoffs of such terms is within the bound, for certain.
"""

import math
from functools import cache, lru_cache, partial

import numpy as np

from lockstep.network.names import BACKWARD, COMPUTED, shape_of, values_in
from lockstep.run.first_test import shares
from manual_backprop import two_layer
from manual_backprop.activations import activation
from manual_backprop.losses import divisor, loss_function

SMALL = 1000  # values of a step; the steps of wider networks are not looked at


def at_sight(problem):
    """A function of turns, (start, PyTorch's quantities) of steps of as many samples, and of the answers by hand.

    It gives for each step a function that says whether it agrees at sight; all are looked at when the first one is
    asked. By hand there may be some quantities only, at each step the same.
    """
    share_of = lru_cache(maxsize=2)(partial(shares, problem))

    @lru_cache(maxsize=4)
    def quarter_g(names, n):
        lengths = [math.prod(shape_of(name, problem.sizes, n)) for name in names]
        return np.repeat([share_of(n)[name][0] for name in names], lengths)

    def agreeing(turns, answers):
        names, samples = tuple(answers[0].values), len(turns[0][0][1])
        if not names or values_in(COMPUTED, problem.sizes, samples) > SMALL:
            return [lambda: False] * len(turns)

        @cache
        def agree():
            with np.errstate(all="ignore"):
                manual = _stacked(
                    [a.values.values() if a.flat is None else (a.flat,) for a in answers]
                )
                torch = _stacked([[quantities[name] for name in names] for _, quantities in turns])
                difference, room = np.abs(manual - torch), quarter_g(names, samples)
                agree = (difference <= room * np.abs(torch)).all(axis=1)
                for i in np.flatnonzero(~agree):
                    terms = _terms(problem, *turns[i])
                    agree[i] = (
                        difference[i] <= room * _stacked([[terms[name] for name in names]])
                    ).all()
            return agree.tolist()

        return [lambda which=which: agree()[which] for which in range(len(turns))]

    return agreeing


def _stacked(steps):
    """The arrays of each step one after the other, float64: (steps, values)."""
    flat = np.concatenate(
        [array for arrays in steps for array in arrays], axis=None, dtype=np.float64
    )
    return flat.reshape(len(steps), -1)


def _terms(problem, start, torch):
    """The terms of each quantity that are known: its value, or what it is made of, every sign taken as a plus."""
    parameters, x, y, _ = start
    W_o, x, y, o = (
        np.abs(array.astype(np.float64)) for array in (parameters["W_o"], x, y, torch["o"])
    )
    h, off = np.abs(torch["h"].astype(np.float64)), np.abs(torch["o"].astype(np.float64) - start[2])
    slopes = [
        activation(which)[1] for which in (problem.hidden_activation, problem.output_activation)
    ]
    m, L_prime = divisor(problem.loss, *y.shape), loss_function(problem.loss)[1]
    back = two_layer.backward(
        W_o, x, -y, torch["z_h"], h, torch["z_o"], o, L_prime, *slopes
    )  # σ' is even in σ
    terms = {name: np.abs(array) for name, array in torch.items()} | dict(
        zip(BACKWARD, back, strict=True)
    )
    return terms | {"loss": 2 * (off * (o + y)).sum() / m}
