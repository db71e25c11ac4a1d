"""A forward pass: which arrays are its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from lockstep.look.drift import drift
from lockstep.look.seen import Seen
from lockstep.network.names import Array
from manual_backprop.activations import activation

# which row of a matrix the biases are, or which column of the inputs ones are; and the others
_FOLDS = {"first": (0, slice(1, None)), "last": (-1, slice(None, -1))}
_FOLLOWED = 9  # arrays of a variable that tell whether it drifts as parameters do


@dataclass(frozen=True)
class Layer:
    """a = σ(A M + b), of arrays that variables held.

    Attributes:
        inputs: Which array A is.
        W: Which array M or its transpose is.
        b: Which array b is; None where there is none, or it is a part of W.
        z: Which array holds the pre-activation; None where none does.
        a: Which array holds the result.
        activation: σ.
        is_in_out: Whether W is (inputs, outputs).
        fold: Where the biases stand in W: "first" or "last" of its inputs; empty where not.
        turned: Whether samples are rows in A and columns elsewhere, or the reverse.
        labelled: Whether A has one column more, the last: the label of a sample.
        vector: Whether A is a vector of the samples, of one number each.
    """

    inputs: int
    W: int
    b: int | None
    z: int | None
    a: int
    activation: str
    is_in_out: bool
    fold: str = ""
    turned: bool = False
    labelled: bool = False
    vector: bool = False


@dataclass(frozen=True)
class Chain:
    """A forward pass.

    Attributes:
        layers: From the inputs to the outputs.
        columns: Whether samples are columns.
    """

    layers: tuple[Layer, ...]
    columns: bool

    @property
    def x_columns(self) -> bool:
        """Whether samples are columns in the inputs."""
        return self.columns != self.layers[0].turned

    @property
    def x_form(self) -> tuple[bool, bool, bool]:
        """What of its inputs decides how they lie in an array."""
        return self.x_columns, self.layers[0].labelled, self.layers[0].vector

    def x_rows(self, array: Array) -> Array | None:
        """An array as one of inputs, a row a sample, with labels where these have some."""
        if self.layers[0].vector and array.ndim == 1:
            return array[:, None]
        return rows(array, self.x_columns)

    def x_of(self, array: Array) -> Array:
        """Inputs, (N, n_0), of the array that they are."""
        x = self.x_rows(array)
        assert x is not None
        return x[:, :-1] if self.layers[0].labelled else x

    def has_dropout(self, seen: Seen) -> bool:
        """Whether what a layer gives is passed on with zeros at some places."""
        return any(
            it.a != following.inputs
            and seen.arrays[it.a].shape == seen.arrays[following.inputs].shape
            for it, following in pairwise(self.layers)
        )

    def recurrent(self, seen: Seen) -> str:
        """The name of a matrix that a hidden layer's own outputs may go through; empty where none.

        It is trained too, was there as soon as the others, and is square.
        """
        own = [seen.arrays[it] for it in (self.layers[0].inputs, *(it.W for it in self.layers))]
        known = {form.tobytes() for array in own for form in (array, array.T)}
        sizes = {n for it in self.layers[:-1] for n in seen.arrays[it.a].shape[-2:]}
        squares = {(n, n) for n in sizes - {1}}
        firsts = [
            [seen.history[it.key][0].time for it in seen.of[layer.W]] for layer in self.layers
        ]
        began = max(map(min, firsts))
        for key, history in seen.history.items():
            arrays = [seen.arrays[content] for content in seen.held(key)[:_FOLLOWED]]
            is_square = bool(arrays) and arrays[0].shape in squares and arrays[0].any()
            is_trained = is_square and history[0].time <= began and drift(arrays) >= 1 / 2
            if is_trained and known.isdisjoint(array.tobytes() for array in arrays):
                return key[1]
        return ""

    def rank(self, seen: Seen) -> tuple[float, ...]:
        """What makes it likelier than another: more layers, more of a network, earlier."""
        bent = sum(it.activation != "linear" for it in self.layers)
        biased = sum(it.b is not None or bool(it.fold) for it in self.layers)
        straight = not self.layers[0].turned
        return (
            bool(bent),
            len(self.layers),
            not self.layers[0].labelled,
            bent,
            biased,
            straight,
            -seen.first(self.layers[-1].a).time,
        )


def rows(array: Array, columns: bool) -> Array | None:
    """An array with a row a sample; a vector is one sample."""
    if array.ndim == 1:
        return array[None]
    if array.ndim != 2:
        return None
    return array.T if columns else array


def of_rows(array: Array, columns: bool) -> Array:
    """The same of an array that is known to be one of rows."""
    form = rows(array, columns)
    assert form is not None
    return form


def of_matrix(array: Array, is_in_out: bool) -> Array:
    """The same of an array that is known to be weights."""
    form = matrix(array, is_in_out)
    assert form is not None
    return form


def matrix(array: Array, is_in_out: bool) -> Array | None:
    """A weight matrix as (inputs, outputs); a vector is that of one output."""
    if array.ndim == 1:
        return array[:, None]
    if array.ndim != 2:
        return None
    return array if is_in_out else array.T


@lru_cache
def sigma(name: str) -> Callable[[Array], Array]:
    """σ of an activation, by name."""
    function: Callable[[Array], Array] = activation(name)[0]
    return function


def has_row(whole: Array, row: Array) -> bool:
    """Whether an array has a row."""
    j = int(np.abs(row).argmax())
    likely = whole[whole[:, j] == row[j]]
    return bool((likely == row).all(axis=1).any())


def without_ones(a: Array) -> Array | None:
    """An array of rows without its column of ones; None where it has none."""
    for at, others in _FOLDS.values():
        if (a[:, at] == 1).all():
            return a[:, others]
    return None


def unfolded(M: Array, fold: str) -> dict[str, Array]:
    """W, (n_out, n_in), and b, (n_out,), of a matrix of both, (n_in + 1, n_out)."""
    at, others = _FOLDS[fold]
    return {"W": M[others].T.copy(), "b": M[at].copy()}


def close(a: Array, b: Array, tolerance: float) -> bool:
    """Whether two arrays are the same but for a tolerance, relative to the largest element."""
    size = np.abs(b).max(initial=0)
    return bool(size) and bool(np.abs(a - b).max(initial=0) <= tolerance * size < np.inf)


def product(a: Array, M: Array, fold: str) -> tuple[Array, Array]:
    """A M and what is added to it where the biases are a part of M, (N, n) and (n,)."""
    if not fold:
        return a @ M, np.zeros(M.shape[1])
    at, others = _FOLDS[fold]
    return a @ M[others], M[at]
