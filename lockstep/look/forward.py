"""The forward pass among what a program's variables held: which array is made of which."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from lockstep.look.chain import (
    Chain,
    Layer,
    close,
    has_row,
    of_matrix,
    of_rows,
    product,
    rows,
    sigma,
    without_ones,
)
from lockstep.look.drift import changing, updated, varying
from lockstep.look.seen import Key, Seen, Sighting
from lockstep.network.names import Array

_SLOPES = (0.01, 0.1, 0.2, 0.001, 0.05, 0.3)
ACTIVATIONS = (
    *("linear", "sigmoid", "tanh", "relu", "softmax"),
    *(f"leaky_relu:{slope:g}" for slope in _SLOPES),
    *("elu", "softplus", "silu", "gelu", "gelu_tanh"),
)
_GELUS_APART = 1e-3  # at most, gelu and gelu_tanh, as a part of z
_FELT = 1e3  # times the tolerance: the part of z that a product is at least
_COMPARED = 64  # elements of a row that are compared first
_OF_A_VARIABLE = 12  # arrays of one variable that are looked at
_MATRIX = 10**6  # elements of weights that are never updated; what has more are data
_KEPT = 2  # elements that a mask keeps at least: one is a multiple of any other
_SATURATED = ("sigmoid", "tanh", "softmax")  # what is 1 of large sums
_LIMITS = (50, 100, 200, 400)  # arrays among which the first forward pass is looked for


def chains(
    seen: Seen,
    tolerance: float,
    thorough: bool,
    given: Mapping[str, Any],
    known: dict[object, list[Chain]],
) -> list[Chain]:
    """The forward passes that are possible, the likeliest first, among ever more arrays.

    Args:
        seen: What variables held.
        tolerance: Relative, of the dtype that the program computes in.
        thorough: Whether to go on where more arrays give no better one.
        given: What is said: x, the names of parameters, and the layout.
        known: What was found before, by what it was found among.
    """

    def found_where(lone: bool) -> list[Chain]:
        best: list[Chain] = []
        for limit in _LIMITS[-1:] if thorough else _LIMITS:
            search = Search(seen, tolerance, limit, given, lone)
            if search.among not in known:
                known[search.among] = search.chains()
            found = known[search.among]
            is_no_better = best and found and found[0].rank(seen) <= best[0].rank(seen)
            if is_no_better and len(best[0].layers) > 1:
                break
            best = found or best
            if limit > len(seen.arrays):
                break
        return best

    return found_where(lone=False) or found_where(lone=True)


@dataclass(frozen=True)
class _Input:
    """An array that may be the inputs of a layer, (N, n).

    Attributes:
        content: Which it is.
        rows: It, with a row a sample.
        turned: Whether it lies the other way round than the other arrays.
        labelled: Whether it has one column more, the last: the label of a sample.
        vector: Whether it is a vector of the samples, of one number each.
    """

    content: int
    rows: Array
    turned: bool = False
    labelled: bool = False
    vector: bool = False

    @cached_property
    def largest(self) -> int:
        """Which row is the largest."""
        return int(np.abs(self.rows).sum(axis=1).argmax())


class Search:
    """Looks for the layers of a forward pass.

    Args:
        seen: What variables held.
        tolerance: Relative, of the dtype that the program computes in.
        limit: Among how many arrays, the earliest.
        given: What is said: x, the names of parameters, and the layout.
        lone: Whether weights are single numbers; else they are arrays.
    """

    def __init__(
        self,
        seen: Seen,
        tolerance: float,
        limit: int,
        given: Mapping[str, Any],
        lone: bool,
    ) -> None:
        self.seen, self.tolerance, self.lone = seen, tolerance, lone
        self.order = _earliest(seen)[:limit]
        self.labelled = frozenset(filter(self._has_label, self.order))
        named = seen.named(given["parameters"]) if "parameters" in given else None
        self.x = seen.named([given["x"]]) if "x" in given else None
        layout = given.get("layout")
        self.columns = [layout.startswith("columns")] if layout else [False, True]
        self.in_out = [layout.endswith("in_out")] if layout else [False, True]
        found = updated(seen) if lone else changing(seen)
        self.parameters = found if named is None else named
        # matrices that never change may be weights that are not updated
        self.idle = frozenset(() if named or lone else filter(self._stays, self.order))
        # whether weights that have one input may be multiplied with a number
        self.by_numbers = lone or any(seen.arrays[c].shape[1:] == (1,) for c in self.parameters)
        self.biases: dict[int, list[int]] = defaultdict(list)
        may_be_biases = varying(seen, self.parameters) if named is None else named
        for content in self.order:
            array = seen.arrays[content]
            is_long = array.ndim < 3 and array.size == max(array.shape, default=0)
            if content in may_be_biases and is_long and np.isfinite(array).all():
                self.biases[array.size].append(content)
        self._biases: dict[int, tuple[list[int | None], Array]] = {}

    @property
    def among(self) -> object:
        """What it looks at."""
        biases = tuple(itertools.chain(*self.biases.values()))
        weights = frozenset(self.parameters), self.idle
        return tuple(self.order), weights, biases, self.labelled, self.lone

    def chains(self) -> list[Chain]:
        """The forward passes that are possible, the likeliest first.

        Of the same weights with several biases, which zeros make possible, a few are kept.
        """
        found = [chain for columns in self.columns for chain in self._chains(columns)]
        found.sort(key=lambda it: it.rank(self.seen), reverse=True)
        alike: dict[tuple[object, ...], list[Chain]] = defaultdict(list)
        for chain in found:
            key = tuple((it.inputs, it.W, it.a, it.is_in_out, it.fold) for it in chain.layers)
            alike[key].append(chain)
        kept = [chain for variants in alike.values() for chain in _by_biases(variants)]
        return sorted(kept, key=lambda it: it.rank(self.seen)[:4], reverse=True)

    def _chains(self, columns: bool) -> Iterator[Chain]:
        layers = list(self._layers(columns))
        after: dict[int, list[Layer]] = defaultdict(list)
        for layer in layers:
            if not (layer.turned or layer.labelled or layer.vector):
                after[layer.inputs].append(layer)
        made, weights = {layer.a for layer in layers}, {layer.W for layer in layers}

        @cache
        def taking(a: int) -> list[Layer]:
            """The layers whose inputs a layer's result is."""
            contents = list(self._passed_on(a, after, columns))
            return [layer for content in contents for layer in after[content]]

        for first in layers:
            if first.inputs in made if self.x is None else first.inputs not in self.x:
                continue
            is_x = first.inputs not in self.parameters or self._is_part(first, columns)
            if not is_x and first.inputs in weights:
                continue
            for chain in self._longest((first,), taking):
                if is_x or len(chain) > 1:  # batches that are alike seem to change like parameters
                    yield Chain(chain, columns)

    def _longest(
        self, chain: tuple[Layer, ...], taking: Callable[[int], list[Layer]]
    ) -> Iterator[tuple[Layer, ...]]:
        """The chains that begin with one and have no further layer."""
        last, used = chain[-1], {it.W for it in chain}
        variables = {self.seen.first(W).key for W in used if self.lone}
        following = [
            it
            for it in taking(last.a)
            if it.W not in used
            and self.seen.first(it.W).key not in variables
            and it.is_in_out == last.is_in_out
            and self._width(last, 1) + bool(it.fold) == self._width(it, 0)
        ]
        if not following and last.W not in self.idle:
            yield chain
        for layer in following:
            yield from self._longest((*chain, layer), taking)

    def _is_part(self, layer: Layer, columns: bool) -> bool:
        """Whether a layer's inputs begin with a row of a longer array that was there before."""
        columns = columns != layer.turned
        own, at = self.seen.arrays[layer.inputs], self.seen.first(layer.inputs).time
        own = of_rows(own, columns)
        return any(self.seen.first(other).time <= at for other, _ in self._wholes(own, columns))

    def _wholes(self, own: Array, columns: bool = False) -> Iterator[tuple[int, Array]]:
        """The longer arrays that the first of some rows is a row of."""
        for other in self.order:
            whole = rows(self.seen.arrays[other], columns)
            if whole is None or len(whole) <= len(own) or whole.shape[1] != own.shape[1]:
                continue
            if has_row(whole, own[0]):
                yield other, whole

    def _width(self, layer: Layer, axis: int) -> int:
        """How many inputs, 0, or outputs, 1, a layer's weights have."""
        return int(of_matrix(self.seen.arrays[layer.W], layer.is_in_out).shape[axis])

    def _passed_on(
        self, content: int, after: dict[int, list[Layer]], columns: bool
    ) -> Iterator[int]:
        """The arrays that a layer's result is the next one's input as: itself, or beside ones."""
        yield content
        a = rows(self.seen.arrays[content], columns)
        for other in after:
            b = rows(self.seen.arrays[other], columns)
            if other == content or a is None or b is None or len(a) != len(b):
                continue
            if b.shape[1] == a.shape[1] + 1:
                core = without_ones(b)
                if core is not None and np.array_equal(core, a):
                    yield other
            elif b.shape == a.shape and is_masked(b, a):
                yield other

    def _layers(self, columns: bool) -> Iterator[Layer]:
        results: dict[tuple[int, ...], list[tuple[int, Array]]] = defaultdict(list)
        inputs: dict[int, list[_Input]] = defaultdict(list)
        for content in self.order:
            for form in self._as_rows(content, columns):
                results[form.shape].append((content, form))
            for A in self._as_inputs(content, columns):
                inputs[A.rows.shape[1]].append(A)
        for W, M, is_in_out in self._weights():
            folded = (A for A in inputs[len(M) - 1] if A.content >= 0)  # no single number
            for A in (*inputs[len(M)], *folded):
                began, ended = self._together(A, W, len(M))
                outs = [
                    (content, form)
                    for content, form in results.get((len(A.rows), M.shape[1]), ())
                    if content not in (A.content, W)
                    and began <= self.seen.first(content).time <= ended
                ]
                for layer in self._made(A, W, M, is_in_out, outs) if outs else ():
                    if layer.activation != "linear" or W not in self.idle:  # as data may have
                        yield layer

    def _weights(self) -> Iterator[tuple[int, Array, bool]]:
        """What may be weights, as (inputs, outputs), and whether it lies so."""
        for W in self.order:
            array = self.seen.arrays[W]
            is_one = (W in self.idle or W in self.parameters) and array.ndim < 3
            if is_one and (array.size == 1) == self.lone and not self._is_a_neurons(array):
                for is_in_out in self.in_out if array.ndim > 1 else self.in_out[::-1]:
                    yield W, of_matrix(array, is_in_out), is_in_out

    def _together(self, A: _Input, W: int, n_in: int) -> tuple[float, float]:
        """From when to when inputs and weights were there."""
        seen = self.seen
        if A.content == W:
            return np.inf, -np.inf
        ended = seen.held_until(W)
        if A.rows.shape[1] == n_in:  # else the inputs are another array, with ones
            ended = min(ended, seen.held_until(A.content))
        return max(seen.first(A.content).time, seen.first(W).time), ended

    def _is_a_neurons(self, array: Array) -> bool:
        """Whether these are the weights of one neuron among others of a layer."""
        layers = (self.seen.arrays[content] for content in self.order)
        return array.ndim == 1 and any(
            it.ndim == 2 and min(it.shape) > 1 and it.shape[1] == array.size and has_row(it, array)
            for it in layers
        )

    def _as_inputs(self, content: int, columns: bool) -> Iterator[_Input]:
        array = self.seen.arrays[content]
        form = rows(array, columns)
        if form is None or (content < 0 and not self.by_numbers) or not self.seen.totals[content]:
            return
        yield _Input(content, form)
        if array.ndim == 2:
            yield _Input(content, form.T, turned=True)
        elif self.lone and array.size > 1:
            yield _Input(content, form.T, vector=True)
        elif content in self.labelled:
            yield _Input(content, form[:, :-1], labelled=True)

    def _stays(self, content: int) -> bool:
        """Whether it is a matrix that is no parameter, in variables that never held another one."""
        array = self.seen.arrays[content]
        if array.ndim != 2 or array.size > _MATRIX or content in self.parameters:
            return False
        return all({*self.seen.held(it.key)} == {content} for it in self.seen.of[content])

    def _has_label(self, content: int) -> bool:
        """Whether a row may end with its label: a whole number, which other rows have not."""
        arrays, own = self.seen.arrays, self.seen.arrays[content]
        if own.ndim != 1 or own.size < 3 or own[-1] < 0 or own[-1] % 1:
            return False
        keys = {it.key for it in self.seen.of[content]}
        held = ([arrays[c] for c in self.seen.held(key)] for key in keys)
        alike = (np.array([row[-1] for row in of if row.shape == own.shape]) for of in held)
        longer = (whole[:, -1] for _, whole in self._wholes(own[None]))  # which take time

        def are_labels(last: Array) -> bool:
            return bool(np.ptp(last) > 0 and not (last % 1).any())

        return any(map(are_labels, alike)) or any(map(are_labels, longer))

    def _as_rows(self, content: int, columns: bool) -> list[Array]:
        """An array as the result of a layer, which ones are not."""
        array = self.seen.arrays[content]
        form = rows(array, columns)
        may_be_ones = array.size > 1 and abs(array.flat[0]) == 1
        if form is None or (may_be_ones and (np.abs(array) == 1).all()):
            return []
        return [form, form.T] if array.ndim == 1 and array.size > 1 else [form]

    def _made(
        self, A: _Input, W: int, M: Array, is_in_out: bool, outs: list[tuple[int, Array]]
    ) -> Iterator[Layer]:
        """The layers that these inputs and weights make one of some arrays with."""
        self.seen.hurry()
        a, i, width = A.rows, A.largest, M.shape[1]
        row = np.array([form[i] for _, form in outs], np.float64)
        for fold in [""] if a.shape[1] == len(M) else ["first", "last"]:
            s, added = product(a[i : i + 1], M, fold)
            names, bias = ([None], added[None]) if fold or not M.any() else self._added(width)
            z = s + bias  # of zeros every bias is a layer
            found: dict[int, dict[str, int]] = defaultdict(dict)
            whole: Array | None = None
            is_felt = np.abs(s).max() > _FELT * self.tolerance * np.abs(z).max(axis=1)
            for name, n, at in self._near(z, row):
                content, value = outs[at]
                if name in _SATURATED and (np.abs(value) == 1).all():
                    continue  # of large sums these are 1, whatever the weights
                is_free = name not in found[n] and names[n] not in (content, A.content, W)
                if is_free and is_felt[n]:
                    whole = product(a, M, fold)[0] if whole is None else whole
                    if close(value, sigma(name)(whole + bias[n]), 10 * self.tolerance):
                        found[n][name] = content
            for n, by_name in found.items():
                yield from self._named(by_name, A, W, names[n], is_in_out, fold)

    def _added(self, width: int) -> tuple[list[int | None], Array]:
        """What may be the biases of a layer, none first, and their values, (n, width)."""
        if width not in self._biases:
            names = [*self.biases[width], *(self.biases[1] if width > 1 else ())]
            values = [np.resize(self.seen.arrays[b], width) for b in names]
            self._biases[width] = [None, *names], np.array([np.zeros(width), *values])
        return self._biases[width]

    def _near(self, z: Array, row: Array) -> Iterator[tuple[str, int, int]]:
        """σ, by name, of which rows is near which others, by their first elements.

        gelu is near where gelu_tanh is.
        """
        few, row, size = z[:, :_COMPARED], row[:, :_COMPARED], np.abs(z).max(axis=1)
        names = [name for name in ACTIVATIONS if name != "softmax" or z.shape[1] > 1]
        made = np.nan_to_num([self._sigma(name, z) for name in names])
        room = 10 * self.tolerance * (np.abs(made).max(axis=2) + size)
        room[names.index("gelu")] += _GELUS_APART * np.abs(few).max(axis=1)
        j = few.max(axis=0).argmax()
        for i, n, at in np.argwhere(np.abs(made[:, :, None, j] - row[:, j]) <= room[:, :, None]):
            if np.abs(made[i, n] - row[at]).max() <= room[i, n]:
                yield names[i], int(n), int(at)

    def _sigma(self, name: str, z: Array) -> Array:
        """The first elements of σ(z)."""
        if name == "softmax":
            return sigma(name)(z)[:, :_COMPARED]
        return sigma("gelu_tanh" if name == "gelu" else name)(z[:, :_COMPARED])

    def _named(
        self, found: dict[str, int], A: _Input, W: int, b: int | None, is_in_out: bool, fold: str
    ) -> Iterator[Layer]:
        """A layer for each activation; the pre-activation belongs to the others."""
        z, of_inputs = found.pop("linear", None), (A.turned, A.labelled, A.vector)
        layers = {name: a for name, a in found.items() if a != z}
        if z is not None:
            layers["linear"] = z
        for name, a in layers.items():
            yield Layer(A.content, W, b, z, a, name, is_in_out, fold, *of_inputs)


def _earliest(seen: Seen) -> list[int]:
    """The arrays among which layers are looked for; those that were gathered come first."""
    held: Counter[Key] = Counter()
    chosen: dict[int, None] = {}
    for it in seen.sightings:
        if it.content not in chosen and it.content not in seen.partial:
            variable = it.where, re.sub(r"\[\d+\]", "[]", it.name)
            held[variable] += 1
            if held[variable] <= _OF_A_VARIABLE:  # data have the rest
                chosen[it.content] = None
    return sorted(chosen, key=lambda content: not _is_gathered(seen.first(content)))


def _by_biases(variants: list[Chain]) -> list[Chain]:
    """Of forward passes that differ in biases one with its own, one without any, and another."""

    def count(chain: Chain) -> int:
        """How many arrays its biases are, none of them a number."""
        return len({it.b for it in chain.layers if it.b is not None and it.b >= 0})

    own = [chain for chain in variants if count(chain) == len(chain.layers)]
    without = [chain for chain in variants if all(it.b is None for it in chain.layers)]
    kept: list[Chain] = []
    for some in (own, without, variants):
        kept += [chain for chain in some if chain not in kept][:1]
    return kept


def is_masked(masked: Array, a: Array) -> bool:
    """Whether an array is another one times a mask of zeros and one other number."""
    kept = masked != 0
    if kept.all() or kept.sum() < _KEPT or np.any(a[kept] == 0):
        return False
    ratio = masked[kept] / a[kept]
    return bool(np.abs(ratio - ratio[0]).max() <= 1e-6 * abs(ratio[0])) and bool(
        (a[~kept] != 0).any()
    )


def _is_gathered(it: Sighting) -> bool:
    """Whether an array was made of what objects, or variables of one number, hold."""
    return "[*]" in it.name or bool(it.parts)
