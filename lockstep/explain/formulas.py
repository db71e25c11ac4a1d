"""The formulas of the code by hand, read from its source one by one: to be shown, evaluated alone, or replaced."""

import ast
import inspect
from functools import lru_cache

import numpy as np

from lockstep.network.names import COMPUTED, PARAMETERS
from manual_backprop import neuron_by_neuron, two_layer
from manual_backprop.losses import divisor, square


@lru_cache
def formulas(module=two_layer):
    """The right-hand sides in a module of the code by hand, as syntax trees, by the name that is assigned to."""
    assignments = [
        (line.targets[0].id, line.value)
        for line in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
    ]
    return dict(reversed(assignments))  # the first assignment to a name is its formula


def scalar_formulas():
    """The same of the lecture's scalars."""
    return formulas(neuron_by_neuron)


@lru_cache(maxsize=512)
def compiled(source):
    """A formula as code; source: its text, in the names of `two_layer.py`."""
    return compile(source, "<formula>", "eval")


@lru_cache
def source_of(name):
    """The text of a quantity's right formula."""
    return ast.unparse(formulas()[name])


def inputs_of(source):
    """The names that a formula refers to."""
    return set(compiled(source).co_names)


def surroundings(problem, parameters, x, y, lr, activations):
    """What every formula may refer to besides the quantities, a mistaken one included (`ones`, `positive`).

    activations: the pairs (σ, σ') of the hidden and the output layer, for the kind of number of the parameters.
    """
    (sigma_h, sigma_h_prime), (sigma_o, sigma_o_prime) = activations
    m = divisor(problem.loss, *y.shape)
    functions = dict(
        square=square,
        sigma_h=sigma_h,
        sigma_h_prime=sigma_h_prime,
        sigma_o=sigma_o,
        sigma_o_prime=sigma_o_prime,
    )
    of_mistakes = dict(ones=np.ones(problem.sizes[:0:-1]), positive=lambda z: (z > 0) * 1.0)
    return dict(parameters) | dict(x=x, y=y, lr=lr, m=m, N=len(x)) | functions | of_mistakes


def look_ahead(source, names, right):
    """Put into names whatever computed quantity a formula refers to that is not there yet, by its right formula.

    A mistake may use what only a later line computes, such as new weights. right: the right formulas by name.
    """
    for name in inputs_of(source) & set(COMPUTED) - names.keys():
        look_ahead(right[name], names, right)
        names[name] = evaluate(right[name], names)


def evaluate(source, names):
    """The value of a formula. names: what it refers to."""
    return eval(compiled(source), {"__builtins__": {}}, names)


def sources(problem):
    """The text of every formula of a step, in the order of computation; a frozen parameter is not updated."""
    right = {name: source_of(name) for name in COMPUTED}
    return right | {f"new_{name}": name for name in PARAMETERS if name in problem.frozen}
