"""The training steps of a program: its forward passes by value, and what its parameters became."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice, product

import numpy as np

from lockstep.look.chain import (
    Chain,
    Layer,
    close,
    has_row,
    matrix,
    of_matrix,
    of_rows,
    rows,
    sigma,
    unfolded,
)
from lockstep.look.seen import Key, Seen, Sighting, forms
from lockstep.network.names import Array, Quantities

_FOLLOWED = 8  # forward passes that tell which variables hold the parameters
_CHOICES = 64  # of variables for parameters that are tried
_RECENT = 32  # arrays seen since the last pass that may be the inputs of the next
_RANGES = {"sigmoid": (0, 1), "softmax": (0, 1), "tanh": (-1, 1), "relu": (0, np.inf)}


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Attributes:
        time: When its outputs were there.
        x: The array of its inputs.
        out: That of its outputs.
        parameters: Those of its parameters, by numbered name.
        n: How many samples it has.
        until: When the next one was made.
    """

    time: int
    x: int
    out: int
    parameters: tuple[tuple[str, int], ...]
    n: int
    until: float = np.inf


@dataclass
class Step:
    """A training step: the passes with the same parameters, and those after it.

    Attributes:
        passes: One, or one a sample.
        parameters: By numbered name, in our layout.
        new: The parameters after it.
        after: When the step before ended.
        until: When the next one began.
    """

    passes: list[Pass]
    parameters: Quantities
    new: Quantities
    after: float
    until: float
    names: dict[str, Sighting]  # where the new parameters were seen

    @property
    def weights(self) -> list[Array]:
        """W1 … WL."""
        return [p for name, p in self.parameters.items() if name[0] == "W"]


class Model:
    """A chain with the variables that hold its parameters.

    Args:
        seen: What variables held.
        chain: The forward pass that was found first.
        tolerance: Relative.
    """

    def __init__(self, seen: Seen, chain: Chain, tolerance: float) -> None:
        self.seen, self.chain, self.tolerance = seen, chain, tolerance
        self._first = {
            f"{kind}{l}": content
            for l, layer in enumerate(chain.layers, 1)
            for kind, content in (("W", layer.W), ("b", layer.b))
            if content is not None
        }
        self.began = seen.first(chain.layers[-1].a).time
        self.alternatives = {name: self._groups(name) for name in self._first}
        self.keys = {name: (groups or [[]])[0] for name, groups in self.alternatives.items()}
        self.x_keys = {it.key for it in seen.of[chain.layers[0].inputs]}

    def _matrix(self, layer: Layer) -> Array:
        """The weights that a layer had first, (inputs, outputs)."""
        return of_matrix(self.seen.arrays[layer.W], layer.is_in_out)

    @cached_property
    def shared(self) -> set[str]:
        """The biases that are one number for several neurons."""
        found = set()
        for l, layer in enumerate(self.chain.layers, 1):
            width = self._matrix(layer).shape[1]
            if layer.b is not None and width > 1:
                names = self.seen.first(layer.b).name.split(", ")
                if self.seen.arrays[layer.b].size == 1 or names == names[:1] * width:
                    found.add(f"b{l}")
        return found

    @property
    def begins(self) -> float:
        """When the parameters were last what they were at first.

        A program that moves them to and fro before it trains, as for difference quotients, has no
        training steps until then. A sample of zeros may come before the one that was found first.
        """
        at_first = [(keys, self.current(name, self.began)) for name, keys in self.keys.items()]
        last = max((float(it.time) for _, it in at_first if it), default=float(self.began))
        for keys, first in at_first:
            for it in self.seen.of[first.content] if first else ():
                if it.key in keys and it.time > last and self._has_moved(it):
                    last = float(it.time)
        return last

    def _has_moved(self, it: Sighting) -> bool:
        """Whether a variable held something else before."""
        before = self.seen.at(it.key, it.time - 1)
        return before is not None and before.content != it.content

    @property
    def variables(self) -> set[Key]:
        """The variables that hold a parameter."""
        return {key for keys in self.keys.values() for key in keys}

    @property
    def is_possible(self) -> bool:
        """Whether each parameter has a variable of its own."""
        return all(self.keys.values())

    def _keys(self, name: str) -> list[Key]:
        """The variables that hold a parameter, and never another one."""
        seen, own = self.seen, self._first[name]
        others = {*self._first.values()} - {own}
        found = []
        for key in dict.fromkeys(it.key for it in seen.of[own] if it.time <= self.began):
            held = {it.content for it in seen.history[key]}
            shapes = {seen.arrays[c].shape for c in held - seen.partial}
            if not held & others and len(shapes) == 1:
                found.append(key)
        return found

    def _groups(self, name: str) -> list[list[Key]]:
        """The variables that may hold a parameter, those together that hold the same arrays.

        Zeros are in many variables. Those whose names begin like the weights' come first.
        """
        groups: list[list[Key]] = []
        for key in self._keys(name):
            held = {it.content for it in self.seen.history[key]}
            for group in groups:
                theirs = [{it.content for it in self.seen.history[other]} for other in group]
                if all(held <= it or it <= held for it in theirs):
                    group.append(key)
                    break
            else:
                groups.append([key])
        beside = [key[1] for key in self._keys("W" + name[1:])]

        def alike(group: list[Key]) -> tuple[int, int]:
            common = [os.path.commonprefix([key[1], other]) for key in group for other in beside]
            return -max(map(len, common), default=0), min(len(key[1]) for key in group)

        return sorted(groups, key=alike)

    def settled(self) -> Model:
        """The same, with the variables for its parameters that most forward passes agree with."""
        several = [name for name, groups in self.alternatives.items() if len(groups) > 1]
        self.followed, best = 0, self.keys
        for choice in islice(product(*(self.alternatives[name] for name in several)), _CHOICES):
            self.keys = self.keys | dict(zip(several, choice, strict=True))
            passes = sum(1 for _ in islice(self.passes(), _FOLLOWED))
            if passes > self.followed:
                self.followed, best = passes, self.keys
            if self.followed == _FOLLOWED:
                break
        self.keys = best
        return self

    def current(self, name: str, time: float) -> Sighting | None:
        """A parameter at a time: what a variable of it got last that it did not hold already."""
        held = filter(None, (self.seen.since(key, time) for key in self.keys[name]))
        return max(held, key=lambda it: it.time, default=None)

    def ours(self, name: str, content: int) -> Quantities:
        """A parameter in our layout; with biases in it, these too."""
        layer = self.chain.layers[int(name[1:]) - 1]
        array = self.seen.arrays[content]
        if name[0] == "b":
            n = self._matrix(layer).shape[1]
            return {name: np.array(np.broadcast_to(array.ravel(), (n,)))}
        M = of_matrix(array, layer.is_in_out)
        if layer.fold:
            return {f"{kind}{name[1:]}": it for kind, it in unfolded(M, layer.fold).items()}
        return {name: M.T.copy()}

    def forms(
        self, array: Array, name: str, shape: tuple[int, ...]
    ) -> Iterator[tuple[Array, bool]]:
        """An array as one like a parameter, and whether it lies the other way round.

        Args:
            array: What a variable held.
            name: The parameter; where its layer has biases in W, the array has them too.
            shape: The parameter's, in our layout.
        """
        layer = self.chain.layers[int(name[1:]) - 1]
        if not layer.fold:
            yield from forms(array, shape)
            return
        for form in (array, array.T):
            M = matrix(form, layer.is_in_out)
            if M is not None and M.shape == self._matrix(layer).shape:
                yield unfolded(M, layer.fold)[name[0]], form is not array

    def output(self, x: Array, parameters: Quantities) -> Array:
        """The outputs of the forward pass, (N, n_L)."""
        a = x
        for l, layer in enumerate(self.chain.layers, 1):
            z = a @ parameters[f"W{l}"].T + parameters.get(f"b{l}", 0)
            a = sigma(layer.activation)(z)
        return a

    def passes(self) -> Iterator[Pass]:
        """Every forward pass, in the order of time."""
        seen, now, form, begins = self.seen, _Now(self), self._form, self.begins
        places = {it.key for it in seen.of[self.chain.layers[-1].a]}
        done: set[tuple[object, ...]] = set()
        made: dict[tuple[object, ...], tuple[Array, float]] = {}
        latest: int | None = None
        before: tuple[object, ...] = ()
        for _, together in groupby(seen.sightings, key=lambda it: it.time):
            sightings = list(together)
            now.advance(sightings)
            for it in sightings:
                if it.time < begins or it.content not in self._outs or now.lacks_some:
                    continue
                contents = now.parameters()
                again = it.content != latest
                if (it.content, contents) in done and not again:
                    continue
                done.add((it.content, contents))
                out = of_rows(seen.arrays[it.content], self.chain.columns)
                for x in now.inputs():
                    seen.hurry()
                    if self.inputs[x] not in out.shape:
                        continue
                    key, may_be_zero = (x, contents), it.key in places
                    whole = *form, x, contents, it.content, may_be_zero
                    if whole not in seen.made:
                        if key not in made:
                            of_x = self.output(self.x_of(x), self.parameters(contents))
                            made[key] = of_x, float(np.abs(of_x).sum())
                        seen.made[whole] = self._is_made(it.content, *made[key], may_be_zero)
                    if seen.made[whole]:
                        this = x, contents, tuple(seen.arrays[it.content].ravel().tolist())
                        if this != before:  # else the same numbers in another array
                            yield Pass(it.time, x, it.content, contents, self.inputs[x])
                        latest, before = it.content, this
                        now.recent.clear()
                        break

    @property
    def _form(self) -> tuple[object, ...]:
        """What of the forward pass are no arrays."""
        layers = self.chain.layers
        return (
            *(self.chain.columns, self.chain.x_form),
            *((it.activation, it.is_in_out, it.fold) for it in layers),
        )

    def _is_made(self, content: int, made: Array, total: float, may_be_zero: bool) -> bool:
        """Whether outputs are those that inputs give: if so, the sums of their sizes are near."""
        if not abs(self.seen.totals[content] - total) <= 10 * made.size * self.tolerance * total:
            return False
        out = of_rows(self.seen.arrays[content], self.chain.columns)
        is_zero = may_be_zero and not total and not out.any()
        forms = (form for form in (out, out.T) if form.shape == made.shape)
        return any(is_zero or close(form, made, 10 * self.tolerance) for form in forms)

    @cached_property
    def _outs(self) -> set[int]:
        """The arrays that may be outputs: they have their width, and their activation's range."""
        chain = self.chain
        width = of_rows(self.seen.arrays[chain.layers[-1].a], chain.columns).shape[1]
        least, most = _RANGES.get(chain.layers[-1].activation, (-np.inf, np.inf))
        found = set()
        for content, array in self.seen.arrays.items():
            out = None if content in self.seen.partial else rows(array, chain.columns)
            is_wide = out is not None and width in out.shape
            if is_wide and ((least <= array) & (array <= most)).all():
                found.add(content)
        return found

    @cached_property
    def inputs(self) -> dict[int, int]:
        """The arrays that may be inputs: those of their width, with how many samples they are."""
        chain = self.chain
        own = chain.x_rows(self.seen.arrays[chain.layers[0].inputs])
        found = {}
        for content, array in self.seen.arrays.items():
            x = None if content in self.seen.partial else chain.x_rows(array)
            if x is not None and own is not None and x.shape[1] == own.shape[1]:
                found[content] = len(x)
        return found

    def x_of(self, content: int) -> Array:
        """Inputs, (N, n_0)."""
        return self.chain.x_of(self.seen.arrays[content])

    def is_left(self) -> bool:
        """Whether its parameters change once, and its outputs are then made in another way.

        So it seems where a variable gets other outputs that none of its forward passes makes.
        """
        passes, arrays = list(self.passes()), self.seen.arrays
        last = passes[-1]

        def later(keys: set[Key]) -> set[int]:
            """What variables got after the last pass."""
            history = (it for key in keys for it in self.seen.history[key])
            return {it.content for it in history if it.time > last.time}

        is_one = all(one.parameters == last.parameters for one in passes)
        changed = later(self.variables) - {content for _, content in last.parameters}
        others = later({it.key for it in self.seen.of[last.out]}) - self.seen.partial
        apart = {it for it in others if arrays[it].shape == arrays[last.out].shape}
        return is_one and bool(changed) and not apart <= {one.out for one in passes}

    def was_there(self, content: int, before: float) -> bool:
        """Whether inputs, or what they are rows of, with more columns, were there at a time."""
        seen, x = self.seen, self.x_of(content)
        if seen.first(content).time < before:
            return True
        n = x.shape[1]
        for other, array in seen.arrays.items():
            whole = rows(array, self.chain.x_columns)
            if whole is None or len(whole) < len(x) or whole.shape[1] < n:
                continue
            parts = whole[:, :n], whole[:, -n:]
            if seen.first(other).time < before and any(has_row(part, x[0]) for part in parts):
                return True
        return False

    def parameters(self, contents: tuple[tuple[str, int], ...]) -> Quantities:
        """All parameters in our layout, W1, b1 …"""
        found: Quantities = {}
        for name, content in contents:
            found |= self.ours(name, content)
        return dict(sorted(found.items(), key=lambda it: (int(it[0][1:]), it[0][0] == "b")))

    def steps(self, has_ended: bool, most: int) -> list[Step]:
        """The training steps, each with the parameters after it.

        Args:
            has_ended: Whether what the parameters are now ends the last step.
            most: How many of them, from the first on.
        """
        together = groupby(_each_until_the_next(self.passes()), key=lambda one: one.parameters)
        groups = [list(passes) for _, passes in islice(together, most + 1)]
        ends = [-1.0, *(float(group[-1].time) for group in groups)]
        following = [(group[0].parameters, float(group[0].time)) for group in groups[1:]]
        now = ((name, self.current(name, np.inf)) for name in self.keys)
        final = tuple((name, it.content) for name, it in now if it)
        if has_ended and groups and final != groups[-1][0].parameters:
            following.append((final, float(self.seen.sightings[-1].time)))
        steps = []
        for group, after, (contents, until) in zip(groups, ends, following, strict=False):
            names = {name: self._holder(name, content, groups) for name, content in contents}
            old, new = self.parameters(group[0].parameters), self.parameters(contents)
            steps.append(Step(group, old, new, after, until, names))
        return steps

    def _holder(self, name: str, content: int, groups: Sequence[Sequence[Pass]]) -> Sighting:
        """Where a new parameter was seen first, of the variables that held most of the others.

        Of zeros and what is then added to them the sum is in the variable of both.
        """
        others = {dict(group[0].parameters)[name] for group in groups}
        held = {it.key: len(others & {*self.seen.held(it.key)}) for it in self.seen.of[content]}
        return max(self.seen.of[content], key=lambda it: (held[it.key], -it.time))


def _each_until_the_next(passes: Iterable[Pass]) -> Iterator[Pass]:
    """Forward passes, each with the time at which the next one was made."""
    before: Pass | None = None
    for one in passes:
        if before:
            yield replace(before, until=one.time)
        before = one
    if before:
        yield before


class _Now:
    """What the variables of a model hold as time goes on.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.recent = model, dict[int, None]()
        self._held: dict[Key, Sighting] = {}
        self._parameters: tuple[tuple[str, int], ...] | None = None
        self._keys = model.variables
        self._x: dict[Key, Sighting] = {}

    def advance(self, sightings: Iterable[Sighting]) -> None:
        """Take in what was seen next."""
        for it in sightings:
            if it.key in self._keys:
                before = self._held.get(it.key)
                if before is None or before.content != it.content:
                    self._held[it.key], self._parameters = it, None
            if it.content in self.model.inputs:
                if it.key in self.model.x_keys:
                    self._x[it.key] = it
                self.recent.pop(it.content, None)
                self.recent[it.content] = None

    def parameters(self) -> tuple[tuple[str, int], ...]:
        """By name which array each parameter is now."""
        if self._parameters is None:
            partial = self.model.seen.partial
            latest = []
            for name, keys in self.model.keys.items():
                held = [self._held[key] for key in keys if key in self._held]
                held = [it for it in held if it.content not in partial]
                if held:
                    latest.append((name, max(held, key=lambda it: it.time).content))
            self._parameters = tuple(latest)
        return self._parameters

    @property
    def lacks_some(self) -> bool:
        """Whether a parameter is held by no variable yet."""
        return len(self.parameters()) < len(self.model.keys)

    def inputs(self) -> Iterator[int]:
        """The arrays that may be the inputs of a pass, the latest first."""
        held = sorted(self._x.values(), key=lambda it: -it.time)
        latest = list(islice(reversed(self.recent), _RECENT))
        yield from dict.fromkeys([*(it.content for it in held), *latest])
