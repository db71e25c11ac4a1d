"""How much two right answers to a step may differ."""

from dataclasses import replace

import numpy as np

from lockstep.bound.bounded import Bounded, Precision, bounded_activation
from manual_backprop import two_layer
from manual_backprop.losses import divisor


def tolerance(problem, values):
    """How much the two sides may differ, as a function of a step's start and PyTorch's answer."""
    if "rtol" not in values and "atol" not in values:
        return lambda torch, *start: allowed(problem, *start)
    rtol, atol = values.get("rtol", 0.0), values.get("atol", 0.0)
    return lambda torch, *start: {
        name: atol + rtol * np.abs(array.astype(np.float64)) for name, array in torch.items()
    }


def allowed(problem, parameters, x, y, lr, noisy=False):
    """How much two right answers to this step may differ: a dict of float64 arrays by name.

    problem: the settings (`problem.Problem`); parameters, x, y, lr: what the step starts from; noisy: see
    `bounded_activation`.
    """
    with np.errstate(all="ignore"):
        quantities = bounded(problem, parameters, x, y, lr, noisy)
        return {name: np.asarray(quantity.bound()) for name, quantity in quantities.items()}


def bounded(problem, parameters, x, y, lr, noisy):
    """The step on Bounded numbers, by name. For the arguments see `allowed`."""
    precision = Precision.of(problem.dtype)
    # Where 2/m is multiplied in last, everything before is up to m times as large, and may overflow so much earlier.
    precision = replace(precision, largest=precision.largest / divisor(problem.loss, *np.shape(y)))
    return two_layer.step(
        **{name: Bounded.exact(value, precision) for name, value in parameters.items()},
        x=x,
        y=y,
        lr=lr,
        hidden_activation=bounded_activation(problem.hidden_activation, noisy),
        output_activation=bounded_activation(problem.output_activation, noisy),
        loss=problem.loss,
        frozen=problem.frozen,
    )
