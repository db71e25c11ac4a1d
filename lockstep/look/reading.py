"""What a program trains: its targets, its loss, its optimiser, recognised by value."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from lockstep.look.chain import rows, unfolded
from lockstep.look.passes import Model, Pass, Step
from lockstep.look.seen import Found, Key, Series, forms
from lockstep.network.names import Array, Quantities
from lockstep.network.network import WITH_ACTIVATION
from lockstep.setup.options import LOSS_NAMES
from manual_backprop import network as by_hand
from manual_backprop.losses import loss_function, one_hot

# names of learning rates, in small letters and without underscores, the surest first
_LR = ("lr", "learningrate", "alpha", "eta", "learnrate", "rate", "lrate", "stepsize", "epsilon")
_LOSSES = ("loss", "cost", "total_loss", "data_loss")  # names of losses, beside J
_ROUGHLY = 1e-3  # relative: to which a loss with an ε is the same
_SUMS = {None: "half_sum", "sigmoid": "bce_sum", "softmax": "cross_entropy_sum"}
_OF_THE_LOSS = ("loss", "delta", "grad_")  # what has a factor where the loss has it
_SUM = re.compile(r"[-+]=|(?<![\w.])(?P<name>\w+)\s*=\s*(?P=name)\s*[-+]")
ONE_BY_ONE = 64  # samples of a step that are looked for one at a time
# what a quantity that is found counts, beside 1 for a gradient: the update of the last weights,
# whose gradient the loss alone decides, or of others; a delta; outputs less targets; a loss that is
# computed, and one that is added up, which may be divided by the number of samples elsewhere
_LAST_UPDATE, _UPDATE, _DELTA, _ERROR, _COMPUTED, _ADDED_UP = 4, 2, 0.5, 0.5, 2.5, 0.5
_PENALTIES = {"weights": ("W", 2), "all": ("Wb", 2), "l1": ("W", 1)}  # of what, and the power
_SHARES = 20  # numbers of a line among which a loss with its penalty is looked for
_ROUGH_PENALTY = 0.1  # relative: to which one that is read off a loss in float32 tells a known λ
_PASSES = 6  # of a step that are looked at
_OF_A_PART = 1 / 4  # of its score has a reading of some of a step's samples, which no update shows


@dataclass
class Settings:
    """How the network is trained, as far as it is known.

    Attributes:
        activations: Of each layer.
        loss: A name of `LOSSES`.
        optimizer: A name of `OPTIMIZERS`.
        of_optimizer: Its settings.
        l2: λ of the penalty.
        lr: The learning rate; None where none is known.
    """

    activations: tuple[str, ...]
    loss: str
    optimizer: str = "sgd"
    of_optimizer: dict[str, float] = field(default_factory=dict)
    l2: float = 0.0
    lr: float | None = None

    @property
    def training(self) -> dict[str, Any]:
        """The keyword arguments of `network.step`."""
        return dict(activations=list(self.activations), loss=self.loss, optimizer=self.optimizer,
                    l2=self.l2, **self.of_optimizer)  # fmt: skip


@dataclass
class Batch:
    """The samples of a training step, with their targets.

    Attributes:
        step: The step.
        passes: Those that it is about.
        x: (N, n_0).
        y: (N, n_L), or labels, (N,).
        y_keys: The variables that hold the targets.
        lr: The learning rate, where it is not that of the first step.
    """

    step: Step
    passes: list[Pass]
    x: Array
    y: Array
    y_keys: list[Key]
    lr: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """That of the outputs, (N, n_L)."""
        return len(self.x), len(self.step.weights[-1])


@dataclass
class Reading:
    """One way to read a program.

    Attributes:
        settings: How the network is trained.
        batches: The training steps.
        score: How much of it was found by value.
        witness: Where the loss was found that it computes.
        matched: By quantity what it counts; nothing where it was not found.
        apart: How far the size of the last layer's update is from the gradient's.
        error: Whether outputs less targets were found.
        rate: How far the last layer's weights went along their gradient; None where not along it.
        implied: The rate of a reading that it denies, and the learning rate that follows from it.
        said_lr: The number whose name is that of a learning rate.
        knows_update: Whether its updates are those of an optimiser.
        is_uneven: Whether weights have penalties, but not alike.
        begins_late: Whether the first change of the parameters was no step, and is left out.
    """

    settings: Settings
    batches: list[Batch]
    score: float
    witness: Series | None = None
    matched: dict[str, float] = field(default_factory=dict)
    apart: float = 0.0
    error: bool = False
    rate: float | None = None
    implied: tuple[float, ...] = ()
    said_lr: float | None = None
    knows_update: bool = True
    is_uneven: bool = False
    begins_late: bool = False

    @property
    def first(self) -> Batch:
        """The first training step."""
        return self.batches[0]

    @property
    def kind(self) -> str | None:
        """The activation that belongs to its loss; None of squares."""
        return WITH_ACTIVATION.get(self.settings.loss)

    @property
    def knows_error(self) -> bool:
        """Whether the last delta was found, and the outputs less the targets."""
        return bool(self.matched.get(f"delta{len(self.settings.activations)}")) and self.error

    @property
    def is_whole(self) -> bool:
        """Whether all that it says is found."""
        return bool(self.matched) and all(self.matched.values()) and self.witness is not None

    def is_denied_by(self, other: Reading) -> bool:
        """Whether the program computes the loss of the other one, which is of another kind."""
        is_computed = other.witness is not None and self.witness is None
        return is_computed and self.kind != other.kind and self.is_alike(other)

    def is_alike(self, other: Reading) -> bool:
        """Whether it is about a network of the same form, with the same targets."""
        mine, its = ([W.shape for W in it.first.step.weights] for it in (self, other))
        is_same = self.settings.activations == other.settings.activations and mine == its
        return is_same and np.array_equal(self.first.y, other.first.y)


class Reader:
    """Finds targets, loss and optimiser.

    Args:
        model: The forward pass, with its parameters.
        steps: The training steps.
        numbers: Those that stand in the program.
        given: What is said: loss, optimizer, lr, l2, y (a name) …
    """

    def __init__(
        self,
        model: Model,
        steps: Sequence[Step],
        numbers: Iterable[float],
        given: Mapping[str, Any],
    ) -> None:
        self.model, self.seen, self.steps = model, model.seen, steps
        self.tolerance, self.given = model.tolerance, given
        self.named = self.seen.scalars()
        self.literals = [1.0, *numbers]
        self.numbers = np.unique(np.abs([*self.literals, *self.named.values()]))

    # the samples of a step, and their targets

    def batches(self, step: Step) -> Iterator[list[Pass]]:
        """The passes that may be a step's: each, or all that stand at one place in the program."""
        if len(step.passes) > 1:
            places: dict[Key, list[Pass]] = defaultdict(list)
            for one in step.passes:
                for key in self._places(one):
                    places[key].append(one)
            several = {tuple(passes): passes for passes in places.values() if len(passes) > 1}
            yield from several.values()
        for one in step.passes[:_PASSES]:
            yield [one]

    def x_of(self, passes: Sequence[Pass]) -> Array:
        """The inputs of some passes, (N, n_0), in float64."""
        parts = [self.model.x_of(one.x).astype(np.float64, copy=False) for one in passes]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def targets(
        self, step: Step, passes: Sequence[Pass], n_out: int, may_be_inputs: bool = True
    ) -> Iterator[tuple[Key, Array]]:
        """The variables that may hold the targets of some passes, with what they hold."""
        chained = {one.out for one in passes}
        if not (may_be_inputs or "y" in self.given):
            chained |= {one.x for one in passes}
        own = self.model.variables
        keys = [key for key in self.seen.history if key not in own]
        if "y" in self.given:
            held = self.seen.named([self.given["y"]])
            keys = [key for key in keys if self.seen.history[key][0].content in held]
        ends = [*(float(one.time) for one in passes[1:]), step.until]
        spans = list(zip(passes, ends, strict=True))
        for key in keys:
            for late in (False, True):
                y = self._in_turn(key, late, spans, chained, n_out)
                if y is not None:
                    yield key, y
        yield from self._picked(passes, keys, n_out)

    def _in_turn(
        self,
        key: Key,
        late: bool,
        spans: Iterable[tuple[Pass, float]],
        chained: Collection[int],
        n_out: int,
    ) -> Array | None:
        """What a variable held for some passes as their targets; None where it held none."""
        parts = []
        for one, end in spans:
            content = self._held(key, one.time, end, late)
            part = None if content in chained else self._as_targets(content, one.n, n_out)
            if part is None:
                return None
            parts.append(part)
        return np.concatenate(parts) if len({part.ndim for part in parts}) == 1 else None

    def _picked(
        self, passes: Sequence[Pass], keys: Iterable[Key], n_out: int
    ) -> Iterator[tuple[Key, Array]]:
        """The same where no variable holds them: rows of an array, as the inputs are of another."""
        picked = [self._rows_of(one.x) for one in passes]
        for n in picked[0]:
            at = [it[n] for it in picked if n in it]
            for key in keys if len(at) == len(passes) else ():
                content = self._held(key, passes[0].time, np.inf, late=False)
                y = self._as_targets(content, n, n_out)
                if y is not None:
                    yield key, y[np.concatenate(at)]

    def _rows_of(self, content: int) -> dict[int, Array]:
        """Which rows of longer arrays some inputs are, by the number of rows that these have."""
        key = content, *self.model.chain.x_form
        if key not in self.seen.rows_of:
            found: dict[int, Array] = {}
            own, began = self.model.x_of(content), self.seen.first(content).time
            for other, n in self.model.inputs.items():
                is_longer = n > len(own) and n not in found
                if is_longer and self.seen.first(other).time <= began:
                    at = places(own, self.model.x_of(other))
                    if at is not None:
                        found[n] = at
            self.seen.rows_of[key] = found
        return self.seen.rows_of[key]

    def _held(self, key: Key, time: float, end: float, late: bool) -> int | None:
        """What a variable held when a pass was made, or, late, first held after it."""
        if not late:
            it = self.seen.at(key, time)
            return it.content if it else None
        history = self.seen.history[key]
        return next((it.content for it in history if time < it.time < end), None)

    def _as_targets(self, content: int | None, n: int, n_out: int) -> Array | None:
        """An array as targets: rows, (n, n_out), or labels, (n,)."""
        if content is None or content in self.seen.partial:
            return None
        array = self.seen.arrays[content]
        form = rows(array, self.model.chain.columns)
        if form is None:
            return None
        may_be_turned = array.ndim == 1 or 1 in array.shape or self.model.chain.layers[0].turned
        for each in (form, form.T):
            if each.shape == (n, n_out) and (each is form or may_be_turned):
                return each
        if n_out > 1 and array.size == n and _are_labels(array, n_out):
            return array.ravel().astype(np.int64)
        return None

    # the loss

    def readings(self) -> list[Reading]:
        """The ways to read the program, the best first; its inputs are its targets at last."""
        found = self._readings(False)
        weights = self.steps[0].weights
        is_square = weights[0].shape[1] == len(weights[-1])
        if is_square and not any(it.knows_error or it.witness for it in found):
            return self._readings(True) or found
        return found

    def _readings(self, may_be_inputs: bool) -> list[Reading]:
        found: list[Reading] = []
        step = self.steps[0]
        n_out = len(step.weights[-1])
        for passes in self.batches(step):
            x, is_a_part = self.x_of(passes), self.is_a_part(step, passes)
            by_value: dict[bytes, Batch] = {}
            for key, y in self.targets(step, passes, n_out, may_be_inputs):
                mark = bytes([y.ndim]) + y.tobytes()
                by_value.setdefault(mark, Batch(step, passes, x, y, [])).y_keys.append(key)
            for batch in by_value.values():
                rights: dict[tuple[object, ...], Quantities] = {}
                for settings in self._settings(batch.y):
                    it = self.score(batch, settings, self._by_kind(batch, settings, rights))
                    if is_a_part and not any(it.matched.get(f"new_{n}") for n in step.parameters):
                        it.score *= _OF_A_PART
                    found.append(it)
        found.sort(key=lambda it: (-it.score, self._began(it), round(it.apart, 6), _usual(it)))
        return by_witness(found)

    def _began(self, reading: Reading) -> int:
        """When its targets were there first: what is made of outputs is there later."""
        keys = reading.first.y_keys
        return min(self.seen.history[key][0].time for key in keys)

    def _settings(self, y: Array) -> Iterator[Settings]:
        """The losses that the last activation and the targets allow."""
        *hidden, last = (layer.activation for layer in self.model.chain.layers)
        are_labels = y.ndim == 1
        allowed = {
            None: not are_labels,
            "sigmoid": not (are_labels or ((y < 0) | (y > 1)).any()),
            "softmax": are_labels or _is_one_hot(y),
        }
        for loss in [self.given["loss"]] if "loss" in self.given else LOSS_NAMES:
            own = WITH_ACTIVATION.get(loss)
            fits = last in ("linear", own) if own else last != "softmax"
            if fits and allowed[own]:
                yield Settings((*hidden, own or last), loss, l2=self.given.get("l2", 0.0))

    def right(
        self, batch: Batch, settings: Settings, memory: Quantities | None = None, number: int = 1
    ) -> Quantities:
        """The quantities of a step as they should be, at a learning rate of 1."""
        parameters = {n: p.astype(np.float64) for n, p in batch.step.parameters.items()}
        lr, training = settings.lr or 1.0, settings.training
        return by_hand.step(
            parameters, batch.x, batch.y, lr, memory=memory, step=number, **training
        )

    def _by_kind(
        self, batch: Batch, settings: Settings, known: dict[tuple[object, ...], Quantities]
    ) -> Quantities:
        """The same by what a loss of one kind has but for a factor, which is computed once."""
        if settings.l2:
            return self.right(batch, settings)
        base = _SUMS[WITH_ACTIVATION.get(settings.loss)]
        key = settings.activations, base
        if key not in known:
            known[key] = self.right(batch, replace(settings, loss=base))
        right = known[key]
        delta = right[f"delta{len(settings.activations)}"]
        factor = _size(settings.loss, delta.shape) / _size(base, delta.shape)
        losses = {name: it for name, it in right.items() if name.startswith(_OF_THE_LOSS)}
        return right | {name: it * factor for name, it in losses.items()}

    def score(self, batch: Batch, settings: Settings, right: Quantities | None = None) -> Reading:
        """How much of what a reading says is found by value."""
        right = right or self.right(batch, settings)
        matched: dict[str, float] = {}
        last, rate = len(settings.activations), None
        for name, p in batch.step.parameters.items():
            gradient, is_last = right[f"grad_{name}"], name == f"W{last}"
            if gradient.any():
                matched[f"grad_{name}"] = bool(self.find_like(batch, f"grad_{name}", right))
                lr = ratio(p, batch.step.new[name], gradient)
                rate = lr if is_last else rate
                if lr is not None and self.is_known(lr):
                    matched[f"new_{name}"] = _LAST_UPDATE if is_last else _UPDATE
        factors = delta_factors(*batch.shape)
        for l in range(1, last + 1):
            is_error = l < last or batch.y.any()
            is_held = is_error and self.find_rows(batch, right[f"delta{l}"], factors)
            matched[f"delta{l}"] = _DELTA * bool(is_held)
        error = right[f"a{last}"] - one_hot(batch.y, batch.shape[1], np.float64)
        tells = batch.y.any() and not (error.size == 1 and abs(error.item()) in self.literals)
        is_there = bool(tells and self.find_rows(batch, error, (1.0, -1.0, 2.0, -2.0)))
        score = sum(matched.values()) + _ERROR * is_there
        witness = self.witness(batch, float(right["loss"]))
        if witness:
            score += _ADDED_UP if self.is_a_sum(witness) else _COMPUTED
        apart = self._apart(batch, right)
        return Reading(settings, [batch], score, witness, matched, apart, is_there, rate)

    @property
    def said_lr(self) -> float | None:
        """What a variable holds whose name, or last part of it, is that of a learning rate."""
        named: dict[str, float] = {}
        for name, value in self.named.items():
            if value:
                named.setdefault(own_name(name).lower().replace("_", ""), value)
        return next((named[name] for name in _LR if name in named), None)

    def _apart(self, batch: Batch, right: Quantities) -> float:
        """How far the size of the updates is from the gradients', as the logarithm of a factor."""
        last = f"W{len(self.model.chain.layers)}"
        went = batch.step.parameters[last].astype(np.float64) - batch.step.new[last]
        down = right[f"grad_{last}"]
        if not down.any() or not went.any():
            return 0.0
        lr = abs(self.said_lr or 1.0)
        return abs(float(np.log(np.linalg.norm(went) / np.linalg.norm(down) / lr)))

    def witness(self, batch: Batch, loss: float) -> Series | None:
        """Where the program computed a loss, or added it up; a whole number may be anything."""
        if not np.isfinite(loss) or abs(loss - round(loss)) <= self.tolerance * abs(loss):
            return None
        room = self.room(loss)
        for series, values, added in self.seen.numbers(batch.step.after, batch.step.until):
            near = np.abs(values - loss) <= room, np.abs(added - loss) <= room
            if near[0].any() or (near[1].any() and self.is_a_sum(series)):
                return series
        return None

    def room(self, loss: float) -> float:
        """How far a loss that is computed may be off."""
        return (100 if self.seen.dtype == "float64" else 10) * self.tolerance * abs(loss)

    def loss(self, batch: Batch, settings: Settings) -> float:
        """The loss as it should be, with its penalty."""
        return float(self.right(batch, settings)["loss"])

    def penalty_of_the_loss(self, reading: Reading) -> tuple[str, float]:
        """Which penalty a line adds to the loss in both of the first steps, and its λ.

        The kind is one of `_PENALTIES`; empty where there is none.
        """
        plain = replace(reading.settings, l2=0.0)
        steps = [(batch, self.loss(batch, plain)) for batch in reading.batches[:2]]
        for kind, of in _PENALTIES.items() if len(steps) == 2 else ():
            first, second = (
                self._shares(batch, loss, _size_of(batch.step.parameters, *of))
                for batch, loss in steps
            )
            for place in first.keys() & second.keys():
                is_loss, *_ = place
                for (one, room), (other, other_room) in product(first[place], second[place]):
                    apart = 2 * (room + other_room)
                    if abs(one - other) <= apart < 1e-3 * one:
                        return kind, one
                    if is_loss and abs(one - other) <= apart < _ROUGH_PENALTY * one:
                        near = self._nearest_penalty(one, reading)
                        if abs(near - one) <= apart:  # pragma: no branch
                            return kind, near
        return "", 0.0

    def _nearest_penalty(self, l2: float, reading: Reading) -> float:
        """The λ nearest to one read off a loss in float32: that of the gradients, or a number."""
        n = len(reading.first.x)
        possible = np.array([reading.settings.l2, *np.outer(self.numbers, penalty_factors(n)).flat])
        return float(possible[np.argmin(np.abs(possible - l2))])

    def _shares(
        self, batch: Batch, loss: float, size: float
    ) -> dict[tuple[bool, int, str], list[tuple[float, float]]]:
        """By line what its numbers are over the loss, as λ, and how far rounding moves that."""
        room, found = self.room(loss), {}
        for series, values, _ in self.seen.numbers(batch.step.after, batch.step.until):
            over = [value - loss for value in values[-_SHARES:].tolist()]
            found[_is_a_loss(series), series.line, series.file] = [
                (each / size, room / size) for each in over if size and each > 10 * room
            ]
        return found

    def multiple(self, batch: Batch, loss: float) -> tuple[float, Series] | None:
        """Where the program computed a usual multiple of a loss, and which; None where nowhere.

        Args:
            batch: The step.
            loss: As it should be.
        """
        if self.witness(batch, loss):
            return None
        for factor in sorted(usual_factors(*batch.shape) - {1.0}):
            series = self.witness(batch, factor * loss)
            if series:
                return factor, series
        return None

    def other_loss(self, batch: Batch, settings: Settings) -> Series | None:
        """Where the program computes what is called a loss, and is no multiple of this one.

        An ε in a logarithm makes it no other one, nor that its penalty is added as weight decay.
        """
        losses = [self.loss(batch, it) for it in (settings, replace(settings, l2=0.0))]
        possible = np.outer(losses, [*usual_factors(*batch.shape)]).ravel()
        found = None
        for series, values, added in self.seen.numbers(batch.step.after, batch.step.until):
            if _is_a_loss(series):
                each = np.array([*values, *(added if self.is_a_sum(series) else ())])
                each = each[np.isfinite(each) & (each != 0)]
                apart = np.abs(each[:, None] - possible) / np.abs(possible)
                if (apart <= _ROUGHLY).any():
                    return None
                found = series if len(each) else found
        return found

    def is_a_sum(self, series: Series) -> bool:
        """Whether numbers are added up, so that they are divided by how many they are elsewhere."""
        return bool(_SUM.search(self.seen.text(series.line, series.file)))

    def is_known(self, number: float) -> bool:
        """Whether a number stands in the program, or a variable holds it."""
        return bool((np.abs(self.numbers - abs(number)) <= 1e-6 * abs(number)).any())

    def find(self, batch: Batch, value: Array, factors: Iterable[float] = (1.0,)) -> list[Found]:
        """Where a quantity was held, after the forward pass."""
        step = batch.step
        return self.seen.find(value, 10 * self.tolerance, factors, step.after, step.until)

    def held_by(self, batch: Batch, name: str, shape: tuple[int, ...]) -> Found | None:
        """What a variable held last in a step, or last for each of its samples."""
        passes, until = batch.passes, batch.step.until
        spans = [(passes[0].time, until, shape)]
        if len(passes) > 1 and shape[0] == len(batch.x):
            spans = [(one.time, min(one.until, until), (one.n, *shape[1:])) for one in passes]
        parts = [it for span in spans if (it := self._held_last(name, *span))]
        values = [it.ours for it in parts]
        is_whole = len(parts) == len(spans)
        return replace(parts[0], ours=np.concatenate(values)) if is_whole else None

    def _held_last(
        self, name: str, after: float, until: float, shape: tuple[int, ...]
    ) -> Found | None:
        """The last array of a shape that a variable held in a span of time."""
        alike = [
            Found(form, it, turned)
            for it in self.seen.within(after, until)
            if it.name == name
            for form, turned in forms(self.seen.arrays[it.content], shape)
        ]
        return alike[-1] if alike else None

    def find_like(
        self, batch: Batch, name: str, right: Quantities, factors: Iterable[float] = (1.0,)
    ) -> list[Found]:
        """Where a quantity like a parameter was held, such as grad_W1; with the biases in it."""
        before, parameter = name[: name.rindex("_") + 1], name[name.rindex("_") + 1 :]
        l = parameter[1:]
        fold = self.model.chain.layers[int(l) - 1].fold
        if not fold:
            return self.find(batch, right[name], factors)
        b, W = right[f"{before}b{l}"][:, None], right[f"{before}W{l}"]
        whole = np.hstack([b, W] if fold == "first" else [W, b])
        found = self.find(batch, whole, factors)
        return [replace(it, ours=unfolded(it.ours.T, fold)[parameter[0]]) for it in found]

    def find_rows(
        self, batch: Batch, value: Array, factors: Iterable[float] = (1.0,)
    ) -> list[Found]:
        """Where a quantity with a row a sample was held; one sample at a time where it was so."""
        passes = batch.passes
        if len(passes) == 1:
            return self.find(batch, value, factors)
        times = [batch.step.after, *(one.time for one in passes)]
        parts = np.split(value, np.cumsum([one.n for one in passes[:-1]]))[:ONE_BY_ONE]
        of_parts = [
            self.seen.find(part, 10 * self.tolerance, factors, after, until)
            for part, after, until in zip(
                parts, times, [*times[2:], batch.step.until], strict=False
            )
        ]
        by_variable = [
            {(it.at.key, it.factor): it.ours for it in reversed(found)} for found in of_parts
        ]
        whole = []
        for first in of_parts[0]:
            own = first.at.key, first.factor
            held = [of[own] for of in by_variable if own in of]
            if len(held) == len(passes):
                whole.append(replace(first, ours=np.concatenate(held)))
        return whole

    def following(self, reading: Reading) -> list[Batch]:
        """The same for the later steps, as long as the same variables hold their samples."""
        first = reading.first
        found = [first]
        places = self._places(first.passes[0])
        for step in self.steps[1:]:
            alike = [it for it in step.passes if places & self._places(it)]
            several = [alike] if len(first.passes) > 1 else [[it] for it in alike[:_PASSES]]
            batches: dict[tuple[int, bytes], Batch] = {}
            for n, passes in enumerate(filter(None, several)):
                x = self.x_of(passes)
                for key, y in self.targets(step, passes, first.shape[1]):
                    is_alike = key in first.y_keys or np.array_equal(y, first.y)
                    if y.ndim == first.y.ndim and is_alike:
                        batch = Batch(step, passes, x, y, first.y_keys)
                        batches.setdefault((n, y.tobytes()), batch)
            if not batches:
                break
            best, *others = batches.values()
            if others:
                best = max(batches.values(), key=lambda it: self.score(it, reading.settings).score)
            found.append(best)
        return found

    def is_a_part(self, step: Step, passes: Sequence[Pass]) -> bool:
        """Whether it is one sample, and others of the step were at the same place."""
        first = passes[0]
        if len(passes) > 1 or first.n > 1:
            return False
        places = self._places(first)
        return any(it.time != first.time and places & self._places(it) for it in step.passes)

    def _places(self, one: Pass) -> set[Key]:
        """The variables that got a pass's outputs before the next one."""
        return {it.key for it in self.seen.of[one.out] if one.time <= it.time < one.until}


def _size_of(parameters: Quantities, kinds: str, power: int) -> float:
    """Σ |p|ⁿ / n of the parameters of some kinds, which a penalty is λ times."""
    chosen = [p.astype(np.float64) for name, p in parameters.items() if name[0] in kinds]
    return sum(float((np.abs(p) ** power).sum()) for p in chosen) / power


def _size(loss: str, shape: tuple[int, ...]) -> float:
    """How large the derivative of a loss is by an output that is 1 too large."""
    return float(loss_function(loss)[1](np.ones(shape), np.zeros(shape)).flat[0])


def by_witness(found: list[Reading]) -> list[Reading]:
    """The readings, those first whose kind of loss the program computes.

    The gradient of a cross-entropy with σ' too many is that of squares, and the reverse: which of
    the two is meant, the loss says that is computed.
    """
    if not found:
        return found
    best = found[0]
    deny = [it for it in found if best.is_denied_by(it)]
    same = any(it.witness and it.kind == best.kind and it.is_alike(best) for it in found)
    if same or not deny:
        return found
    sizes = [_size(it.settings.loss, best.first.shape) for it in (best, deny[0])]
    rates = (best.rate, best.rate * sizes[0] / sizes[1]) if best.rate else ()
    return [replace(deny[0], implied=rates), *found]


def _usual(reading: Reading) -> int:
    """How seldom a loss is written like this: of one sample ½ Σ comes first."""
    loss, n = reading.settings.loss, len(reading.first.x)
    return -1 if n == 1 and loss == "half_sum" else LOSS_NAMES.index(loss)


def ratio(p: Array, new: Array, down: Array) -> float | None:
    """How far a parameter went along something, where that is all that it did; else None.

    Where Adam's gradient is nearly 0 its step is not known, so a tenth of the elements may differ.
    """
    went = (p.astype(np.float64) - new).ravel()
    down = down.ravel()
    size = np.abs(down).max(initial=0)
    if not size or not np.isfinite(size):
        return None
    large = np.abs(down) > 0.1 * size
    lr = float(np.median(went[large] / down[large]))
    eps = np.finfo(p.dtype).eps if p.dtype.kind == "f" else 2.0**-52
    near = 1e-6 if eps < 1e-9 else 1e-3
    room = near * abs(lr) * size + 8 * eps * np.abs(p).max()
    if not lr or room >= np.abs(went).max():
        return None
    return lr if (np.abs(went - lr * down) <= room).mean() >= 0.9 else None


def kept(quantities: Quantities) -> Quantities | None:
    """The optimiser's memory after a step; None where it keeps nothing."""
    new = {name[4:]: it for name, it in quantities.items() if name.startswith("new_")}
    return {name: it for name, it in new.items() if "_" in name} or None


def _is_a_loss(series: Series) -> bool:
    """Whether numbers are called a loss."""
    name = own_name(series.name)
    return name == "J" or name.lower() in _LOSSES


def own_name(name: str) -> str:
    """The last part of a variable's name: lr of self.lr, dW1 of grads['dW1']."""
    return re.split(r"[.\[]", name.rstrip("]'\""))[-1].strip("'\"")


def places(own: Array, whole: Array) -> Array | None:
    """Where the rows of an array stand among those of a longer one; None where not each once."""
    column = max(range(own.shape[1]), key=lambda j: len({*own[:, j].tolist()}))
    found = []
    for row in own:
        likely = np.flatnonzero(whole[:, column] == row[column])
        at = likely[(whole[likely] == row).all(axis=1)]
        if len(at) != 1:
            return None
        found.append(at)
    return np.concatenate(found)


def delta_factors(n: int, n_out: int) -> tuple[float, ...]:
    """What a program's δ may be times ours: a sign, and the reduction's factors."""
    sizes = {1.0, float(n), float(n_out), float(n * n_out)}
    found = {a * b for a in sizes for b in (1.0, 0.5)} | {2.0}
    return tuple(
        sorted({sign * f for f in found for sign in (1, -1)}, key=lambda f: (f != 1, abs(f), f))
    )


def penalty_factors(n: int) -> tuple[float, ...]:
    """What λ of a penalty may be times a number that a program has, of n samples."""
    return 1, 2, 0.5, 1 / n, 0.5 / n, 2 / n


def usual_factors(n: int, n_out: int) -> set[float]:
    """What a loss may be times another one that is reduced in another way."""
    sizes = {factor for factor in delta_factors(n, n_out) if factor > 0}
    return {*sizes, *(1 / size for size in sizes)}


def _are_labels(array: Array, n_out: int) -> bool:
    values = array.ravel()
    return bool((values % 1 == 0).all() and (values >= 0).all() and (values < n_out).all())


def _is_one_hot(y: Array) -> bool:
    return bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
