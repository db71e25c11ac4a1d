"""Recognises a program: its network and how it is trained, by what its variables held."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from lockstep.look.chain import Chain
from lockstep.look.forward import chains
from lockstep.look.mapping import Mapper
from lockstep.look.passes import Model
from lockstep.look.reading import Reader, Reading, by_witness, kept, own_name
from lockstep.look.recognised import Recognised
from lockstep.look.seen import Seen, Sighting
from lockstep.look.source import Program
from lockstep.look.updates import Updates
from lockstep.network.names import Quantities
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.setup.options import LOSS_NAMES, OPTIMIZERS

_SAID = {"x", "y", "parameters", "loss", "optimizer", "lr", "l2"}
_CHAINS = 12  # forward passes that are followed
_TOLERANCE = {"float64": 1e-11, "float32": 1e-5}  # of recognition, relative
_PATIENT = 4  # attempts before a reading is taken of which not all is right
_WHOLE = 2  # attempts after which all layers of a forward pass were seen
_TIRED = 10  # attempts after which nothing more is expected
_BEST = 3  # readings whose optimiser is looked for
_NEAR = 1e-6  # relative: to which a penalty is read off the loss
_LEAST = 0.5  # score from which a reading is one


_Found: TypeAlias = tuple[Reader, Reading]


class Recogniser:
    """Recognises a program from what was seen of it so far.

    Args:
        program: Its text.
        given: What is said of it.
        steps: How many training steps are wanted.
    """

    def __init__(self, program: Program, given: Mapping[str, Any], steps: int) -> None:
        self.program, self.given, self.steps = program, given, steps
        self._found: Recognised | None = None  # the best so far
        self._chains: list[Chain] = []  # those that are possible
        self._readings: dict[tuple[Chain, int, float], list[Reading]] = {}  # of the first step
        self._known: dict[object, list[Chain]] = {}
        self._recognised: dict[object, Recognised] = {}
        self._searched = 0  # of how many arrays
        self._attempts = 0
        self._was_thorough = False

    def has_tried_enough(self, seen: Seen) -> bool:
        """Whether more of the same will not be recognised either; one layer may be a part yet."""
        enough = _TIRED if self.likeliest else 2 * _TIRED
        return self._attempts >= enough or self._is_of_another_kind(seen)

    def _is_of_another_kind(self, seen: Seen) -> bool:
        """Whether the likeliest forward pass is that of a network that is not judged."""
        known = self.likeliest
        if known is None or (self._found and self._found.is_likely):
            return False
        is_whole = self._attempts >= _WHOLE  # else a later layer may not have been seen
        return known.has_dropout(seen) or bool(is_whole and known.recurrent(seen))

    @property
    def likeliest(self) -> Chain | None:
        """The likeliest forward pass, where it has several layers."""
        return next((it for it in self._chains[:1] if len(it.layers) > 1), None)

    def recognise(self, seen: Seen, has_ended: bool) -> Recognised | None:
        """The network of the program, or None where none is recognised.

        Args:
            seen: What its variables held.
            has_ended: Whether it has ended, so that what its parameters are now is what they
                became.
        """
        self._attempts += bool(self._chains)
        is_final = has_ended or self._attempts >= _PATIENT
        if self._found and self._found.is_likely and self._found.is_clear:
            possible = [self._found.model.chain]
        else:
            is_new = is_final and not self._was_thorough
            if is_new or has_ended or len(seen.arrays) >= 2 * self._searched:
                self._searched, self._was_thorough = len(seen.arrays), is_final
                tolerance = _TOLERANCE[seen.dtype]
                found = chains(seen, tolerance, is_final, self.given, self._known)
                self._chains = found[:_CHAINS]
            possible = self._chains
        if self._is_of_another_kind(seen):
            return None
        best = self._best(seen, possible, has_ended)
        if best and (self._found is None or best.is_better_than(self._found)):
            self._found = best
        if self._found is None or not self._found.is_likely:
            return None
        return self._found if is_final or self._found.is_clear else None

    def _best(self, seen: Seen, possible: list[Chain], has_ended: bool) -> Recognised | None:
        """The best reading of some forward passes."""
        found = self._read(seen, possible, has_ended)
        found = [it for it in found if not any(_goes_before(other, it) for other in found)]
        found.sort(key=lambda it: (it[0].model.followed, it[1].score), reverse=True)
        meant = by_witness([reading for _, reading in found])[:1]
        found = [it for it in found if not any(it[1].is_denied_by(one) for one in meant)]
        recognised = [self._of_reading(*it) for it in found[:_BEST]]
        lasting = [it for it in recognised if not it.is_left]
        return max(lasting or recognised, key=lambda it: it.rank, default=None)

    def _of_reading(self, reader: Reader, reading: Reading) -> Recognised:
        """The program by a reading, which is worked out once."""
        whole = reader.model.chain, *(step.until for step in reader.steps)
        if whole not in self._recognised:
            self._recognised[whole] = _recognised(reader, reading)
        return self._recognised[whole]

    def _read(self, seen: Seen, possible: list[Chain], has_ended: bool) -> list[_Found]:
        """The readings of some forward passes, of each the best."""
        found: list[_Found] = []
        certain: list[int] = []  # the weights of one whose last delta was found
        for chain in possible:
            weights = [layer.W for layer in chain.layers]
            if certain and weights != certain:
                continue
            model = Model(seen, chain, _TOLERANCE[seen.dtype])
            steps = model.settled().steps(has_ended, self.steps + 1) if model.is_possible else []
            if not steps:
                continue
            reader = Reader(model, steps, self.program.numbers, self.given)
            mark = chain, len(steps[0].passes), steps[0].until
            if mark not in self._readings:
                self._readings[mark] = reader.readings()[:1]
            for reading in self._readings[mark]:
                if reading.score >= _LEAST or "loss" in self.given:
                    found.append((reader, reading))
                if reading.knows_error:
                    certain = weights
            if found and found[-1][1].is_whole and len(weights) > 1:
                break
        return found


def _goes_before(one: _Found, other: _Found) -> bool:
    """Whether one is the same network from an earlier step on: then that step is not left out."""
    (reader, reading), (later, its) = one, other
    is_earlier = reader.steps[0].passes[0].time < later.steps[0].passes[0].time
    is_known = any(reading.matched.values()) or reading.witness is not None
    is_whole = reader.model.variables >= later.model.variables
    return reading.settings == its.settings and is_earlier and is_known and is_whole


def _recognised(reader: Reader, reading: Reading) -> Recognised:
    """The best reading, with its optimiser, and each quantity's variable."""
    reading = _as_computed(reader, Updates(reader, reading).read(reading))
    first, loss = reading.first, reader.loss(reading.first, reading.settings)
    if reading.settings.l2 and not reading.witness:  # looked for without a penalty
        reading = replace(reading, witness=reader.witness(first, loss))
    _with_idle_biases(reader, reading)
    said = frozenset(_SAID.intersection(reader.given))
    frozen = _frozen(reading, reader.given.get("frozen", ()))
    found = Recognised(reader.model, reading, _network(reading, frozen), reader.seen.dtype, said)
    memory: Quantities | None = None
    for number, batch in enumerate(reading.batches, 1):
        lr = reading.settings.lr if batch.lr is None else batch.lr
        settings = replace(reading.settings, lr=lr)
        right = reader.right(batch, settings, memory, number)
        for name in reader.model.shared:  # the derivative by all of them together
            of_all = np.full_like(right[f"new_{name}"], right[f"grad_{name}"].sum())
            right[f"new_{name}"] = batch.step.parameters[name] - (settings.lr or 1.0) * of_all
        right |= {f"new_{name}": batch.step.parameters[name] for name in frozen}
        found.steps.append(Mapper(found, reader, batch, right).mapped())
        memory = kept(right)
    found.multiple = reader.multiple(first, loss)
    if found.multiple:
        factor, series = found.multiple
        found.is_added_up = factor == len(first.x) and reader.is_a_sum(series)
    found.other = reader.other_loss(first, reading.settings)
    return found


def _as_computed(reader: Reader, reading: Reading) -> Reading:
    """The reading with the loss that is computed, where its two parts have different factors.

    Gradients of a multiple of the loss are a convention. Where the penalty alone has another
    factor, or is in no gradient, or all but the penalty has another factor, they are the gradients
    of no loss that is computed.
    """
    batch, settings = reading.first, reading.settings
    if "loss" in reader.given or "l2" in reader.given:
        return reading
    kind, l2 = reader.penalty_of_the_loss(reading)
    if kind == "weights":
        is_same = abs(l2 - settings.l2) <= _NEAR * l2
        return reading if is_same else replace(reading, settings=replace(settings, l2=l2))
    if kind:
        return replace(reading, is_uneven=True)
    loss = reader.loss(batch, settings)
    if not settings.l2 or reader.witness(batch, loss) or reader.multiple(batch, loss):
        return reading
    for other in LOSS_NAMES:
        computed = replace(settings, loss=other)
        is_alike = WITH_ACTIVATION.get(other) == reading.kind
        witness = is_alike and reader.witness(batch, reader.loss(batch, computed))
        if witness:
            return replace(reading, settings=computed, witness=witness)
    return reading


def _with_idle_biases(reader: Reader, reading: Reading) -> None:
    """Add zeros that are biases which are never updated.

    They stand in the line that computes the layer, or the program computes their gradient.
    """
    first = reading.first
    right = reader.right(first, reading.settings)
    for l, layer in enumerate(reader.model.chain.layers, 1):
        if layer.fold or all(f"b{l}" in it.step.parameters for it in reading.batches):
            continue
        gradient = right[f"delta{l}"].sum(axis=0)
        zeros = list(_zeros(reader.seen, gradient.size))
        contents = (layer.a,) if layer.z is None else (layer.z, layer.a)
        made = [it for content in contents for it in reader.seen.of[content]]
        lines = {reader.seen.text(it.line, it.file) for it in made}
        named = [it for it in zeros if any(_adds(line, own_name(it.name)) for line in lines)]
        is_computed = len(first.x) > 1 and reader.find(first, gradient)
        for it in named[:1] or (zeros[:1] if is_computed else ()):
            for batch in reading.batches:
                step = batch.step
                step.parameters[f"b{l}"] = step.new[f"b{l}"] = np.zeros(gradient.size)
                step.names[f"b{l}"] = it


def _zeros(seen: Seen, size: int) -> Iterator[Sighting]:
    """The zeros of a size, in variables that never held anything else."""
    for it in seen.sightings:
        array = seen.arrays[it.content]
        is_zero = it.content not in seen.partial and array.size == size and not array.any()
        if is_zero and not any(seen.arrays[content].any() for content in seen.held(it.key)):
            yield it


def _adds(line: str, name: str) -> bool:
    """Whether a variable is added in a line: + b1, + self.b1, + params['b1']."""
    return bool(re.search(rf"\+\s*[\w.]*(\[['\"])?\b{re.escape(name)}\b", line))


def _frozen(reading: Reading, said: Sequence[str]) -> list[str]:
    """The parameters whose variables are not trained, as is said."""
    names = reading.first.step.names
    return [name for name, it in names.items() if {*it.name.split(", ")} & {*said}]


def _network(reading: Reading, frozen: Sequence[str]) -> Network:
    """The network that a reading says."""
    settings, batch = reading.settings, reading.first
    W = batch.step.weights
    of_optimizer = OPTIMIZERS[settings.optimizer] | settings.of_optimizer
    network = Network(
        (W[0].shape[1], *(len(it) for it in W)),
        settings.activations,
        settings.loss,
        settings.optimizer,
        tuple(of_optimizer.items()),
        0.0,
        settings.l2,
        tuple(f"b{l}" in batch.step.parameters for l in range(1, len(W) + 1)),
        (False,) * len(W),
        batch.y.ndim == 1,
    )
    return replace(network, frozen=tuple(map(network.name, frozen)))
