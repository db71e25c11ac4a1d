"""Networks of several kinds, for tests: what a problem file would say."""

import numpy as np

from lockstep.setup.options import OPTIMIZERS, check
from lockstep.setup.problem import make_problem

# every activation, loss, optimiser and setting stands in one of them
PROBLEMS = [
    dict(sizes="3-2", loss="sum_over_n", samples=4),
    dict(sizes="3-4-2", activations="gelu,sigmoid", loss="half_sum_over_n", optimizer="adam"),
    dict(sizes="3-4-3", activations="relu,linear", loss="cross_entropy", samples=5, momentum=0.9),
    dict(sizes="2-3-1", activations="tanh,sigmoid", loss="bce", samples=5, l2=0.1, l1=0.01),
    dict(sizes="3-4-5-2", activations="leaky_relu,elu,tanh", momentum=0.9, dampening=0.5),
    dict(sizes="3-4-4-2", activations="leaky_relu:0.3,silu,linear", momentum=0.9, nesterov=True),
    dict(
        sizes="2-3-4-3",
        activations="softplus,gelu_tanh,softmax",
        loss="cross_entropy_sum",
        optimizer="adamw",
        samples=3,
    ),
    dict(sizes="3-3-3", loss="bce_over_n", optimizer="rmsprop", weight_decay=0.1, samples=3),
    dict(sizes="2-3-2-2", loss="bce_sum", optimizer="adagrad", no_biases=True, samples=2),
    dict(sizes="3-4-2", optimizer="adam", weight_decay=0.1, frozen=["W_o"], samples=3),
    dict(sizes="2-2-2-2-2", activations="tanh,tanh,tanh,tanh", loss="sum", samples=4),
    dict(sizes="2-3-2", momentum=0.5, weight_decay=0.1, biases=[True, False], loss="half_sum"),
    dict(sizes="2-3-3", loss="cross_entropy", y=[[0, 1, 0], [1, 0, 0]], x=[[1.0, 2], [0.5, -1]]),
    dict(
        sizes="2-3-2",
        mask1=[[2.0, 0.0, 2.0], [0.0, 2.0, 2.0]],
        x=[[1.0, 2], [0.5, -1]],
        hidden_activation="relu",
    ),
]


def problem(values, **more):
    return make_problem(check({"steps": 3} | values | more, str))


def name_of(values):
    """A short name of one of `PROBLEMS`."""
    kinds = [str(values[name]) for name in ("loss", "optimizer") if name in values]
    return "-".join([values["sizes"], *kinds, *sorted({"l2", "mask1", "frozen"} & values.keys())])


def drawn(random, depth, optimizer, loss, dtype="float64"):
    """Arguments of a step of either side: a random network, three samples."""
    sizes = [int(n) for n in random.integers(2, 6, depth + 1)]
    parameters = {}
    for l in range(1, depth + 1):
        parameters[f"W{l}"] = random.uniform(-1, 1, (sizes[l], sizes[l - 1])).astype(dtype)
        parameters[f"b{l}"] = random.uniform(-1, 1, sizes[l]).astype(dtype)
    x = random.normal(size=(3, sizes[0])).astype(dtype)
    y = random.normal(size=(3, sizes[-1])).astype(dtype)
    if loss.startswith("bce"):
        y = (y > 0).astype(dtype)
    if loss.startswith("cross"):
        y = random.integers(0, sizes[-1], 3)
    kept = {name: np.zeros_like(array) for name, array in parameters.items()}
    assert optimizer in OPTIMIZERS
    return parameters, x, y, kept
