"""The door through which a step comes in: it asks by argument name and answers by name, in either vocabulary."""

import inspect
from functools import partial

import numpy as np

from lockstep.keys import Unusable
from lockstep.quantities import COMPUTED, PARAMETERS, scalar_names, shape_of
from manual_backprop import neuron_by_neuron, two_layer


def built_in(problem):
    """The project's own step by hand for this problem: neuron by neuron where it is the lecture's network."""
    lecture = problem.sizes == (2, 2, 2) and (problem.batch_size == 1 or problem.samples == 1)
    return partial((neuron_by_neuron if lecture else two_layer).step, **problem.network_settings)


def by_matrix_names(step, problem):
    """The step as a function of (parameters, x, y, lr) that returns arrays by the table's names.

    step: asks by argument name (arguments with a default of their own are left alone) and returns a dict by name.
    """
    samples = len(problem.batch(1)[0])
    scalars = {
        scalar: (name, i)
        for name in (*PARAMETERS, "x", "y")
        for i, scalar in enumerate(scalar_names(name, problem.sizes, samples) or ())
    }
    asked = [
        name
        for name, argument in inspect.signature(step).parameters.items()
        if argument.default is inspect.Parameter.empty
    ]
    if not any(name in scalars for name in asked):
        return lambda parameters, x, y, lr: _checked(step(**parameters, x=x, y=y, lr=lr), problem, len(x))

    answers = {
        name: (scalar_names(name, problem.sizes, samples), shape_of(name, problem.sizes, samples)) for name in COMPUTED
    }

    def scalar_step(parameters, x, y, lr):
        flat = {name: list(array.flat) for name, array in (*parameters.items(), ("x", x), ("y", y))}
        if problem.dtype == "float64":
            flat = {name: [float(number) for number in numbers] for name, numbers in flat.items()}
        given = {scalar: flat[name][i] for scalar, (name, i) in scalars.items()}
        with np.errstate(all="ignore"):
            got = step(**given, lr=lr)
        return {
            name: np.array([got[scalar] for scalar in names], dtype=problem.dtype).reshape(shape)
            for name, (names, shape) in answers.items()
        }

    return scalar_step


def _checked(got, problem, samples):
    """What a step returned, in the order of computation. Raises Unusable for another name or shape than the table's."""
    for name, array in got.items():
        if name not in COMPUTED:
            raise Unusable(f"step returned {name!r}; expected names out of {', '.join(COMPUTED)}")
        if np.shape(array) != (expected := shape_of(name, problem.sizes, samples)):
            raise Unusable(f"step returned {name} of shape {np.shape(array)}; expected {expected}")
    return {name: got[name] for name in COMPUTED if name in got}
