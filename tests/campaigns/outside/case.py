"""What a case outside the gallery is, and where the cases are collected.

A case is written as the body of a class, which serves as a namespace for three functions:
`inputs(random)`, `reference(...)` with torch, and `hand(...)` with NumPy.
"""

from dataclasses import dataclass

import numpy as np

KINDS = (
    *("plain", "scaled", "offset", "saturated", "nearly_cancelling", "tied", "zeroed"),
    *("single", "graded", "tiny", "integers"),
)
REGULAR = ("plain", "single")
SCALABLE = ("plain", "single", "scaled", "saturated")
POSITIVE = (*SCALABLE, "graded")  # those that multiply by a positive number


@dataclass(frozen=True)
class Case:
    """A right derivation.

    Attributes:
        hand: Gets the inputs as NumPy arrays; returns gradients by name.
        reference: Gets the inputs as tensors; returns a scalar.
        inputs: Draws the inputs, sizes too, from a NumPy Generator.
        group: The field.
        varied: The inputs that a kind of input may change: no labels, no masks. None stands for
            those that hand returns a gradient for.
        kinds: The kinds of input that lie in the expression's domain.
        smooth: Whether the gradient is smooth, also in every intermediate.
        agree: How closely hand and PyTorch agree in float64, relative to the largest element.
    """

    hand: object
    reference: object
    inputs: object
    group: str
    varied: tuple | None
    kinds: tuple
    smooth: bool
    agree: float


CASES = {}


def case(kinds=KINDS, but="", varied=None, smooth=True, agree=1e-9):
    """Add the functions of a class to the cases. but: kinds that are out of the domain."""

    def added(functions):
        assert functions.__name__ not in CASES, functions.__name__
        CASES[functions.__name__] = Case(
            functions.hand,
            functions.reference,
            functions.inputs,
            functions.__module__.rpartition(".")[2],
            varied.split() if varied else None,
            tuple(kind for kind in kinds if kind not in but.split()),
            smooth,
            agree,
        )
        return functions

    return added


def sizes(random, count, least=2, most=6):
    return (int(size) for size in random.integers(least, most + 1, count))


def everywhere(function, value, kinds=np.ndarray):
    """The function of every array that a value is, or holds in dicts and lists."""
    if isinstance(value, dict):
        return {key: everywhere(function, one, kinds) for key, one in value.items()}
    if isinstance(value, list):
        return [everywhere(function, one, kinds) for one in value]
    return function(value) if isinstance(value, kinds) else value


def flat(value):
    """What a value is, or holds in dicts and lists, as one list."""
    found = []
    everywhere(found.append, value, object)
    return found
