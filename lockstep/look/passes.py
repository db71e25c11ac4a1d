"""The training steps of a program: its forward passes by value, and what its parameters became."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, product

import numpy as np

from lockstep.look.forward import Chain, close, of_matrix, of_rows, rows, sigma
from lockstep.look.seen import Key, Seen, Sighting
from lockstep.network.names import Array, Quantities

_FOLLOWED = 8  # forward passes that tell which variables hold the parameters
_CHOICES = 64  # of variables for parameters that are tried


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Attributes:
        time: When its outputs were there.
        x: The array of its inputs.
        out: That of its outputs.
        parameters: Those of its parameters, by numbered name.
    """

    time: int
    x: int
    out: int
    parameters: tuple[tuple[str, int], ...]


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
    names: dict[str, Sighting] = field(default_factory=dict)  # where the new parameters were seen


class Model:
    """A chain with the variables that hold its parameters.

    Args:
        seen: What variables held.
        chain: The forward pass that was found first.
        tolerance: Relative.
    """

    def __init__(self, seen: Seen, chain: Chain, tolerance: float) -> None:
        self.seen, self.chain, self.tolerance = seen, chain, tolerance
        contents: dict[str, int] = {}
        for l, layer in enumerate(chain.layers, 1):
            contents[f"W{l}"] = layer.W
            if layer.b is not None:
                contents[f"b{l}"] = layer.b
        self.began = seen.first(chain.layers[-1].a).time
        self.alternatives = {name: self._groups(name, contents) for name in contents}
        self.keys = {
            name: groups[0] if groups else [] for name, groups in self.alternatives.items()
        }
        x = chain.layers[0].inputs
        self.x_keys = list(dict.fromkeys(it.key for it in seen.of(x)))

    @property
    def is_possible(self) -> bool:
        """Whether each parameter has a variable of its own."""
        return all(self.keys.values())

    def _keys(self, name: str, contents: dict[str, int]) -> list[Key]:
        """The variables that hold a parameter, and never another one."""
        seen, own = self.seen, contents[name]
        others = {c for other, c in contents.items() if other != name} - {own}
        found = []
        for key in dict.fromkeys(it.key for it in seen.of(own) if it.time <= self.began):
            held = {it.content for it in seen.history[key]}
            shapes = {seen.arrays[c].shape for c in held - seen.partial}
            if not held & others and len(shapes) == 1:
                found.append(key)
        return found

    def _groups(self, name: str, contents: dict[str, int]) -> list[list[Key]]:
        """The variables that may hold a parameter, those together that hold the same arrays.

        Zeros are in many variables. Those whose names begin like the weights' come first.
        """
        groups: list[list[Key]] = []
        for key in self._keys(name, contents):
            held = {it.content for it in self.seen.history[key]}
            for group in groups:
                theirs = {it.content for it in self.seen.history[group[0]]}
                if held <= theirs or theirs <= held:
                    group.append(key)
                    break
            else:
                groups.append([key])
        beside = [key[1] for key in self._keys("W" + name[1:], contents)]

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
        self.keys = best
        return self

    def current(self, name: str, time: float) -> Sighting | None:
        """A parameter at a time: what a variable of it held last."""
        held = [it for key in self.keys[name] if (it := self.seen.at(key, time))]
        held = [it for it in held if it.content not in self.seen.partial]
        return max(held, key=lambda it: it.time, default=None)

    def ours(self, name: str, content: int) -> Quantities:
        """A parameter in our layout; with biases in it, these too."""
        layer = self.chain.layers[int(name[1:]) - 1]
        array = self.seen.arrays[content]
        if name[0] == "b":
            n = of_matrix(self.seen.arrays[layer.W], layer.is_in_out).shape[1]
            return {name: np.array(np.broadcast_to(array.ravel(), (n,)))}
        M = of_matrix(array, layer.is_in_out)
        if layer.fold == "first":
            return {name: M[1:].T.copy(), f"b{name[1:]}": M[0].copy()}
        if layer.fold == "last":
            return {name: M[:-1].T.copy(), f"b{name[1:]}": M[-1].copy()}
        return {name: M.T.copy()}

    def output(self, x: Array, parameters: Quantities) -> Array:
        """The outputs of the forward pass, (N, n_L)."""
        a = x
        with np.errstate(all="ignore"):
            for l, layer in enumerate(self.chain.layers, 1):
                z = a @ parameters[f"W{l}"].T + parameters.get(f"b{l}", 0)
                a = sigma(layer.activation)(z)
        return a

    def passes(self) -> Iterator[Pass]:
        """Every forward pass, in the order of time."""
        seen, chain = self.seen, self.chain
        width = of_rows(seen.arrays[chain.layers[-1].a], chain.columns).shape[1]
        done: set[tuple[object, ...]] = set()
        places = {it.key for it in seen.of(chain.layers[-1].a)}
        before = -1
        made: dict[tuple[object, ...], Array] = {}
        for it in seen.sightings:
            if it.content in seen.partial or it.time < self.began:
                continue
            out = rows(seen.arrays[it.content], chain.columns)
            if out is None or out.shape[1] != width and out.T.shape[1] != width:
                continue
            held = ((name, self.current(name, it.time)) for name in self.keys)
            contents = tuple((name, each.content) for name, each in held if each)
            if (it.content, contents) in done:
                continue
            done.add((it.content, contents))
            for x in self._inputs(before, it.time):
                inputs = rows(seen.arrays[x], chain.columns)
                if inputs is None or inputs.shape[1] != self._width_of_inputs:
                    continue
                key = (x, contents)
                if key not in made:
                    made[key] = self.output(self.x_of(x), self.parameters(contents))
                for form in (out, out.T):
                    if form.shape == made[key].shape and (
                        close(form, made[key], 10 * self.tolerance)
                        or (it.key in places and not form.any() and not made[key].any())
                    ):
                        yield Pass(it.time, x, it.content, contents)
                        before = it.time
                        break
                else:
                    continue
                break

    @property
    def _width_of_inputs(self) -> int:
        return int(
            of_rows(self.seen.arrays[self.chain.layers[0].inputs], self.chain.columns).shape[1]
        )

    def x_of(self, content: int) -> Array:
        """Inputs, (N, n_0)."""
        return of_rows(self.seen.arrays[content], self.chain.columns)

    def parameters(self, contents: tuple[tuple[str, int], ...]) -> Quantities:
        """All parameters in our layout, W1, b1 …"""
        found: Quantities = {}
        for name, content in contents:
            found |= self.ours(name, content)
        return dict(sorted(found.items(), key=lambda it: (int(it[0][1:]), it[0][0] == "b")))

    def _inputs(self, after: float, until: float) -> Iterator[int]:
        """The arrays that may be the inputs of a pass, those of the same variables first."""
        held = [it for key in self.x_keys if (it := self.seen.at(key, until))]
        held += self.seen.within(after, until)
        yield from dict.fromkeys(it.content for it in sorted(held, key=lambda it: -it.time))

    def steps(self, has_ended: bool, most: int) -> list[Step]:
        """The training steps, each with the parameters after it.

        Args:
            has_ended: Whether what the parameters are now ends the last step.
            most: How many of them, from the first on.
        """
        groups: list[list[Pass]] = []
        for one in self.passes():
            if groups and groups[-1][0].parameters == one.parameters:
                groups[-1].append(one)
            elif len(groups) > most:
                break
            else:
                groups.append([one])
        steps = []
        ends = [-1.0, *(float(group[-1].time) for group in groups)]
        last = self.seen.sightings[-1].time if self.seen.sightings else 0
        final = tuple(
            (name, it.content) for name in self.keys if (it := self.current(name, np.inf))
        )
        for n, group in enumerate(groups):
            following = groups[n + 1][0] if n + 1 < len(groups) else None
            contents = following.parameters if following else final
            if contents == group[0].parameters or not (following or has_ended):
                continue
            until = float(following.time if following else last)
            parameters, new = self.parameters(group[0].parameters), self.parameters(contents)
            step = Step(group, parameters, new, ends[n], until)
            step.names = {name: self.seen.first(content) for name, content in contents}
            steps.append(step)
        return steps
