"""A program recognised: network, training, and which variable is which quantity."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.look.forward import Chain, chains, changing, close
from lockstep.look.passes import Model
from lockstep.look.reading import (
    Batch,
    Reader,
    Reading,
    by_witness,
    delta_factors,
    kept,
    own_name,
)
from lockstep.look.roles import Roles
from lockstep.look.seen import Seen, Series, Sighting
from lockstep.look.source import Program
from lockstep.look.updates import Updates
from lockstep.network.names import Array, Quantities
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.network.options import LOSS_NAMES, OPTIMIZERS

_CHAINS = 12  # forward passes that are followed
_TOLERANCE = {"float64": 1e-11, "float32": 1e-5}  # of recognition, relative
_PATIENT = 4  # attempts before a reading is taken of which not all is right
_WHOLE = 2  # attempts after which all layers of a forward pass were seen
_TIRED = 10  # attempts after which nothing more is expected
_CLEAR = 1 / 3  # part of the updates that are right, from which a reading is taken at once
_ROUNDED = 1000  # roundings of a parameter that are no difference
_SAME = 1e-6  # relative: to which a quantity whose variable is said counts as recognised
_SAID = {"x", "y", "parameters", "loss", "optimizer", "lr", "l2"}
_BEST = 3  # readings whose optimiser is looked for
_LEAST = 0.5  # score from which a reading is one


@dataclass
class Mapped:
    """A quantity of a step, and the variable that it is.

    Attributes:
        value: In our layout, without the factor.
        at: Where it was seen.
        transposed: Whether the program has it the other way round.
        factor: What the program's is times ours.
        is_right: Whether it was recognised by its value.
    """

    value: Array
    at: Sighting
    transposed: bool = False
    factor: float = 1.0
    is_right: bool = True


@dataclass
class Recognised:
    """What a program trains, and its training steps.

    Attributes:
        model: Its forward pass.
        reading: Its targets, loss and optimiser.
        network: The same as the referee knows it.
        dtype: What it computes in.
        said: What the user says of it: x, loss …
        steps: By step the quantities by the network's names.
        multiple: Where it does not compute the loss whose gradients it has, but a multiple of it:
            the factor, and where.
        shared: By parameter the biases that are one number for several neurons, and are updated by
            the sum of what PyTorch's are.
    """

    model: Model
    reading: Reading
    network: Network
    dtype: str
    said: frozenset[str]
    steps: list[dict[str, Mapped]] = field(default_factory=list)
    multiple: tuple[float, Series] | None = None
    shared: dict[str, Sighting] = field(default_factory=dict)

    @property
    def quality(self) -> float:
        """Which part of the updates is right; of the gradients, where these alone are known."""
        kind = "new_" if self.reading.knows_update else "grad_"
        names = [self.network.name(kind + n) for n in self.reading.batches[0].step.parameters]
        right = [name in step and step[name].is_right for step in self.steps for name in names]
        return sum(right) / max(len(right), 1)

    @property
    def rank(self) -> tuple[float, ...]:
        """What makes it better than another: likely, more that is right, more steps."""
        return (
            self.is_likely,
            self.reading.knows_update,
            self.quality,
            self.reading.score,
            len(self.steps),
        )

    def is_better_than(self, other: Recognised) -> bool:
        """Whether it ranks higher, or goes on where the other one ended."""
        goes_on = self.model.chain == other.model.chain and len(self.steps) > len(other.steps)
        return goes_on or self.rank >= other.rank

    @property
    def is_likely(self) -> bool:
        """Whether enough is right to say that the rest is wrong."""
        if "parameters" in self.said:
            return True
        if self._is_a_part() or not self._moves:
            return False
        if self.said:
            return True
        batch = self.reading.batches[0]
        if not self.reading.knows_update and len(batch.passes) < len(batch.step.passes):
            return False  # a part of the samples explains no update
        if not self.reading.knows_update and not any(self.reading.matched.values()):
            return False
        by_half = self.quality >= 1 / 2 or self.reading.witness is not None
        is_sure = self.reading.knows_update and by_half
        if self.network.depth == 1 and not is_sure:
            return False
        by_loss = self.reading.knows_error or self.reading.witness is not None
        return self.quality >= _CLEAR or by_loss

    @property
    def is_clear(self) -> bool:
        """Whether no more needs to be seen: much is right, or error and update are known."""
        is_known = self.reading.knows_update and self.reading.knows_error
        return self.quality >= _CLEAR or is_known

    @property
    def is_judged(self) -> bool:
        """Whether what is right of its gradients says something: not where none is held."""
        if self.reading.knows_update:
            return True
        step = self.steps[0]
        weights = [n for n in self.reading.batches[0].step.parameters if n[0] == "W"]
        is_held = all(self.network.name(f"grad_{name}") in step for name in weights)
        wrong = [it for name, it in step.items() if not it.is_right and name[:4] != "new_"]
        return is_held or bool(wrong)

    @property
    def _moves(self) -> bool:
        """Whether any weights change in the first step."""
        step = self.reading.batches[0].step
        return any(
            not np.array_equal(p, step.new[n]) for n, p in step.parameters.items() if n[0] == "W"
        )

    def _is_a_part(self) -> bool:
        """Whether another matrix changes a little at each step, so that this is not all of it.

        Of several layers only such a one counts as could stand between them; of the same shape
        only one that its inputs may be made of.
        """
        seen, sizes = self.model.seen, self.network.sizes
        own = {seen.arrays[layer.W].shape for layer in self.model.chain.layers}
        if not self._begins_with_data() and any(
            seen.arrays[content].shape in own and seen.arrays[content].size > 1
            for content in self._others()
        ):
            return True
        if self.model.chain.recurrent(seen):
            return True
        n = len(self.reading.batches[0].x)
        known = {*own, *((n, size) for size in sizes)}
        shapes = {
            seen.arrays[content].shape
            for content in changing(seen)
            if seen.arrays[content].ndim == 2 and min(seen.arrays[content].shape) > 1
        }
        others = shapes - known - {shape[::-1] for shape in known}
        return any(self.network.depth == 1 or {*shape} <= {*sizes} for shape in others)

    def _begins_with_data(self) -> bool:
        """Whether its inputs, or what they are rows of, were there before a step's parameters."""
        batches = self.reading.batches
        return len(batches) < 2 or any(
            self.model.was_there(one.x, batch.step.after)
            for batch in batches[1:]
            for one in batch.passes[:1]
        )

    def _others(self) -> set[int]:
        """What changes as parameters do, and is neither a parameter nor a quantity of a step."""
        seen = self.model.seen
        known = {it.at.key for step in self.steps for it in step.values()} | self.model.variables
        own = {content for key in known for content in seen.held(key)}
        turned = {array.T.tobytes() for array in (seen.arrays[content] for content in own)}
        return {
            content
            for content in changing(seen) - own
            if seen.arrays[content].tobytes() not in turned
        }


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
        """Whether more of the same will not be recognised either."""
        is_likely = self._found is not None and self._found.is_likely
        return self._attempts >= _TIRED or (not is_likely and self.is_of_another_kind(seen))

    def is_of_another_kind(self, seen: Seen) -> bool:
        """Whether the likeliest forward pass is that of a network that is not judged."""
        known = self.likeliest
        if known is None:
            return False
        is_whole = self._attempts >= _WHOLE  # else a later layer may not have been seen
        return known.has_dropout(seen) or bool(is_whole and known.recurrent(seen))

    @property
    def likeliest(self) -> Chain | None:
        """The likeliest forward pass, where it has several layers."""
        return next((it for it in self._chains[:1] if len(it.layers) > 1), None)

    @np.errstate(all="ignore")
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
        if self.has_tried_enough(seen):
            return None
        best = self._best(seen, possible, has_ended)
        if best and (self._found is None or best.is_better_than(self._found)):
            self._found = best
        if self._found is None or not self._found.is_likely:
            return None
        return self._found if is_final or self._found.is_clear else None

    def _best(self, seen: Seen, possible: list[Chain], has_ended: bool) -> Recognised | None:
        """The best reading of some forward passes."""
        found: list[tuple[tuple[float, ...], Reader, Reading]] = []
        certain: list[int] = []  # the weights of one whose last delta was found
        for chain in possible:
            weights = [layer.W for layer in chain.layers]
            if certain and weights != certain:
                continue
            model = Model(seen, chain, _TOLERANCE[seen.dtype])
            steps = model.settled().steps(has_ended, self.steps + 1) if model.is_possible else []
            if not steps:
                continue
            reader = Reader(model, steps, self.program.numbers, model.tolerance, self.given)
            mark = chain, len(steps[0].passes), steps[0].until
            if mark not in self._readings:
                self._readings[mark] = reader.readings()[:1]
            for reading in self._readings[mark]:
                if reading.score >= _LEAST:
                    found.append(((model.followed, reading.score), reader, reading))
                if reading.knows_error:
                    certain = weights
            if found and found[-1][2].is_whole and len(weights) > 1:
                break
        found.sort(key=lambda it: it[0], reverse=True)
        meant = by_witness([reading for _, _, reading in found])[:1]
        found = [it for it in found if not any(it[2].is_denied_by(one) for one in meant)]
        recognised = []
        for _, reader, reading in found[:_BEST]:
            whole = reader.model.chain, *(step.until for step in reader.steps)
            if whole not in self._recognised:
                self._recognised[whole] = _recognised(reader, reading)
            recognised.append(self._recognised[whole])
        return max(recognised, key=lambda it: it.rank, default=None)


def _recognised(reader: Reader, reading: Reading) -> Recognised:
    """The best reading, with its optimiser, and each quantity's variable."""
    constants = [*reader.literals, *reader.seen.constants()]
    reading = _as_computed(reader, Updates(reader, reading, constants).read(reading))
    _with_idle_biases(reader, reading)
    said = frozenset(_SAID.intersection(reader.given))
    frozen = _frozen(reading, reader.given.get("frozen", ()))
    found = Recognised(reader.model, reading, _network(reading, frozen), reader.seen.dtype, said)
    memory: Quantities | None = None
    for number, batch in enumerate(reading.batches, 1):
        settings = replace(reading.settings, lr=batch.lr or reading.settings.lr)
        right = reader.right(batch, settings, memory, number)
        for name in reader.model.shared:  # the derivative by all of them together
            of_all = np.full_like(right[f"new_{name}"], right[f"grad_{name}"].sum())
            right[f"new_{name}"] = batch.step.parameters[name] - (settings.lr or 1.0) * of_all
        right |= {f"new_{name}": batch.step.parameters[name] for name in frozen}
        found.steps.append(_mapped(found, reader, batch, right))
        memory = kept(right)
        if number == 1:
            found.multiple = reader.multiple(batch, float(right["loss"]))
    return found


def _as_computed(reader: Reader, reading: Reading) -> Reading:
    """The reading with the loss that is computed, where its two parts have different factors.

    Gradients of a multiple of the loss are a convention. Where the penalty alone has another
    factor, or all but the penalty, they are the gradients of no loss that is computed.
    """
    batch, settings = reading.batches[0], reading.settings
    if not settings.l2 or "loss" in reader.given or "l2" in reader.given:
        return reading
    loss = reader.loss(batch, settings)
    if reader.witness(batch, loss) or reader.multiple(batch, loss):
        return reading
    possible = [replace(settings, l2=factor * settings.l2) for factor in (0.5, 2.0, 0.25, 4.0)]
    alike = [loss for loss in LOSS_NAMES if WITH_ACTIVATION.get(loss) == reading.kind]
    for each in (*possible, *(replace(settings, loss=other) for other in alike)):
        witness = reader.witness(batch, reader.loss(batch, each))
        if witness:
            return replace(reading, settings=each, witness=witness)
    return reading


def _with_idle_biases(reader: Reader, reading: Reading) -> None:
    """Add zeros that are biases which are never updated.

    They stand in the line that computes the layer, or the program computes their gradient.
    """
    seen, first = reader.seen, reading.batches[0]
    right = reader.right(first, reading.settings)
    for l, layer in enumerate(reader.model.chain.layers, 1):
        gradient = right[f"delta{l}"].sum(axis=0)
        if all(f"b{l}" in it.step.parameters for it in reading.batches) or layer.fold:
            continue
        zeros = [
            it
            for it in seen.sightings
            if it.content not in seen.partial
            and seen.arrays[it.content].size == gradient.size
            and not seen.arrays[it.content].any()
            and not any(seen.arrays[content].any() for content in seen.held(it.key))
        ]
        made = [
            it for content in (layer.z, layer.a) if content is not None for it in seen.of(content)
        ]
        lines = {seen.text(it.line, it.file) for it in made}
        named = [it for it in zeros if any(_adds(line, own_name(it.name)) for line in lines)]
        is_computed = len(first.x) > 1 and reader.find(first, gradient)
        for it in named[:1] or (zeros[:1] if is_computed else ()):
            for batch in reading.batches:
                batch.step.parameters[f"b{l}"] = np.zeros(gradient.size)
                batch.step.new[f"b{l}"] = np.zeros(gradient.size)
                batch.step.names[f"b{l}"] = it


def _adds(line: str, name: str) -> bool:
    """Whether a variable is added in a line: + b1, + self.b1, + params['b1']."""
    return bool(re.search(rf"\+\s*[\w.]*(\[['\"])?\b{re.escape(name)}\b", line))


def _frozen(reading: Reading, said: Sequence[str]) -> list[str]:
    """The parameters whose variables are not trained, as is said."""
    names = reading.batches[0].step.names
    return [name for name, it in names.items() if {*it.name.split(", ")} & {*said}]


def _network(reading: Reading, frozen: Sequence[str]) -> Network:
    """The network that a reading says."""
    settings, batch = reading.settings, reading.batches[0]
    W = [p for name, p in batch.step.parameters.items() if name[0] == "W"]
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


def _mapped(
    found: Recognised, reader: Reader, batch: Batch, right: Quantities
) -> dict[str, Mapped]:
    """By the network's names what a step's variables hold."""
    own: dict[str, Mapped] = {}
    parameters = reader.model.variables
    n, n_out = len(batch.x), found.network.sizes[-1]
    for name, value in right.items():
        if name.startswith("new_") and name[4:] in batch.step.parameters:
            continue
        if name == "loss":
            continue
        has_factor = name.startswith(("delta", "grad_"))
        factors = delta_factors(n, n_out) if has_factor else (1.0,)
        if name[name.rfind("_") + 1 :] in batch.step.parameters:
            held = reader.find_like(batch, name, right, factors)
        elif value.ndim == 2 and len(batch.passes) > 1:
            held = reader.find_rows(batch, value, factors)
        else:
            held = reader.find(batch, value, factors)
        held = [it for it in held if it.value.shape == value.shape and it.at.key not in parameters]
        if held:
            it = held[0]
            own[name] = Mapped(it.ours, it.at, it.transposed, it.factor)
    for name, new in batch.step.new.items():
        is_right = _is_near(new, right[f"new_{name}"], batch.step.parameters[name])
        own[f"new_{name}"] = Mapped(
            new, batch.step.names.get(name) or batch.step.names["W" + name[1:]], is_right=is_right
        )
    _with_roles(found, reader, batch, right, own)
    _without_factors(found, batch, right, own)
    _with_names(found, reader, batch, right, own)
    for name in reader.model.shared & batch.step.parameters.keys():
        if own[f"new_{name}"].is_right:  # PyTorch has another bias for each neuron
            found.shared[name] = own.pop(f"new_{name}").at
            own.pop(f"grad_{name}", None)
    order = {name: i for i, name in enumerate(right)}
    named = sorted(own.items(), key=lambda it: order[it[0]])
    return {found.network.name(name): it for name, it in named}


def _with_names(
    found: Recognised, reader: Reader, batch: Batch, right: Quantities, own: dict[str, Mapped]
) -> None:
    """Put in the quantities whose variables are said."""
    network = found.network
    lr = found.reading.settings.lr or 1.0
    numbers = {"N": len(batch.x), "n_out": network.sizes[-1], "lr": lr}
    numbered = {network.name(n): n for n in right if n != "loss" and not n.startswith("new_")}
    for key, term in reader.given.get("names", {}).items():
        name = numbered.get(network.quantity(term.parts[0], numbered))
        held = reader.held_by(batch, key, right[name].shape) if name else None
        if name and held:
            factor = term.factor(numbers)
            is_right = close(held.value / factor, right[name], _SAME)
            own[name] = Mapped(held.value / factor, held.at, held.transposed, factor, is_right)


def _without_factors(
    found: Recognised, batch: Batch, right: Quantities, own: dict[str, Mapped]
) -> None:
    """Take the factor of a delta for a mistake where it is in the gradient made of it too.

    That is δᵀ a + λ W with the factor in δ alone; a convention divides by it.
    """
    for l in range(1, found.network.depth + 1):
        delta, gradient = own.get(f"delta{l}"), own.get(f"grad_W{l}")
        if delta and gradient and abs(delta.factor) != 1 and not gradient.is_right:
            a = batch.x if l == 1 else right[f"a{l - 1}"]
            held = delta.value * delta.factor
            made = held.T @ a + found.reading.settings.l2 * batch.step.parameters[f"W{l}"]
            if close(gradient.value * gradient.factor, made, _SAME):
                for name in (f"delta{l}", f"grad_W{l}", f"grad_b{l}"):
                    if it := own.get(name):
                        value = it.value * it.factor
                        own[name] = replace(it, value=value, factor=1.0, is_right=False)


def _goes_on(seen: Seen, at: Sighting, batch: Batch) -> bool:
    """Whether more may be added to a gradient: a function returned it, or its variable changes."""
    last = seen.at(at.key, batch.step.until)
    return at.name.endswith("()") or (last is not None and last.content != at.content)


def _is_near(new: Array, right: Array, p: Array) -> bool:
    """Whether a parameter became what it should, to the tolerance of recognition."""
    moved = np.abs(right - p).max(initial=0)
    near, eps = (1e-3, 2.0**-24) if p.dtype == np.float32 else (1e-9, 2.0**-53)
    room = near * moved + _ROUNDED * eps * np.abs(p).max(initial=0)
    return bool((np.abs(new - right) <= room).all())


def _with_roles(
    found: Recognised, reader: Reader, batch: Batch, right: Quantities, own: dict[str, Mapped]
) -> None:
    """Add the quantities that are not right, of the layers whose updates are not.

    A factor of one gradient alone, whose update is not right, is no convention. One that most
    gradients have is that of the others too.
    """
    settings = found.reading.settings
    roles = Roles(found.model, batch, settings, right)
    errors = [it.factor for name, it in own.items() if name.startswith(("delta", "grad_"))]
    sign = -1.0 if errors and max(errors) < 0 else 1.0
    factors = Counter(
        it.factor for name, it in own.items() if name.startswith(("grad_W", "grad_b"))
    )
    usual = max(factors, key=lambda it: (factors[it], it == sign), default=sign)
    for l in range(found.network.depth, 0, -1):
        parameters = [name for name in (f"W{l}", f"b{l}") if name in batch.step.parameters]
        wrong = [name for name in parameters if not own[f"new_{name}"].is_right]
        for name in parameters:
            at = own.get(f"grad_{name}")
            if name in wrong and at and at.factor not in (1, usual):
                own[f"grad_{name}"] = Mapped(at.value * at.factor, at.at, at.transposed, 1.0, False)
        if not wrong:
            continue
        gradients: dict[str, Array] = {}
        for name in parameters:
            at = own.get(f"grad_{name}")
            if name in wrong and (at is None or _goes_on(reader.seen, at.at, batch)):
                it = roles.gradient(name)
                if it:
                    value = it.value / usual
                    own[f"grad_{name}"] = Mapped(value, it.at, it.transposed, usual, False)
            if f"grad_{name}" in own:
                gradients[name] = own[f"grad_{name}"].value
            else:
                p = batch.step.parameters[name].astype(np.float64)
                gradients[name] = (p - batch.step.new[name]) / (settings.lr or 1.0)
        if f"delta{l}" not in own:
            it = roles.delta(l, gradients.get(f"W{l}"), gradients.get(f"b{l}"), sign)
            if it:
                own[f"delta{l}"] = Mapped(it.ours, it.at, it.transposed, it.factor, False)
