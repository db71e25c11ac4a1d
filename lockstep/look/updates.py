"""How a program updates its parameters, recognised by what these became."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockstep.look.reading import Batch, Reader, Reading, Settings, kept, penalty_factors, ratio
from lockstep.look.seen import forms
from lockstep.network.names import Array, Quantities
from lockstep.setup.options import OPTIMIZERS
from manual_backprop import network as by_hand
from manual_backprop import optimizers

_STEPS = 3  # that tell which optimiser it is
_EPS = (1e-8, 1e-10, 1e-7)
_TINY = 1e-6  # a number that is no larger may be an ε
_NEAR = 1e-6  # to which a learning rate is read off an update
_NUMBER = re.compile(r"(?<![\w.\[])(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?(?![\w.])")
_SURE = 1e-9  # to which it must be a product of numbers that the program holds


@dataclass(frozen=True)
class Explained:
    """What an optimiser explains of a step.

    Attributes:
        batch: The step.
        lr: The learning rate that its parameters agree on; None where they do not.
        agree: How many parameters went that far.
        moved: How many moved, or should.
        memory: How many arrays of the optimiser's memory a variable held.
    """

    batch: Batch
    lr: float | None
    agree: int
    moved: int
    memory: int

    @property
    def is_there(self) -> bool:
        """Whether it shows the optimiser: by how far a parameter went, or its memory."""
        return bool(self.lr or self.memory or not self.moved)


@dataclass(frozen=True)
class Fit:
    """What an optimiser explains of some steps."""

    settings: Settings
    steps: list[Explained]

    @property
    def agree(self) -> int:
        """How many parameters of all steps went as far as a learning rate says."""
        return sum(it.agree for it in self.steps)

    @property
    def memory(self) -> int:
        """How many arrays of its memory variables held."""
        return sum(it.memory for it in self.steps)

    @property
    def is_whole(self) -> bool:
        """Whether it explains everything."""
        return all(it.agree == it.moved for it in self.steps)

    @property
    def begins_late(self) -> bool:
        """Whether everything but the first step is gradient descent, and nothing of that."""
        first, *rest = self.steps
        is_plain = self.settings.optimizer == "sgd" and not self.settings.of_optimizer
        is_late = first.moved > 0 and not first.lr and any(it.moved for it in rest)
        return is_plain and is_late and all(it.agree == it.moved for it in rest)


class Updates:
    """Finds the optimiser of a reading, its learning rates and its penalty.

    Args:
        reader: What found the reading.
        reading: The reading.
    """

    def __init__(self, reader: Reader, reading: Reading) -> None:
        self.reader, self.seen, self.given = reader, reader.seen, reader.given
        self.batches = reader.following(reading)
        ways = zip(reading.implied, (False, True), strict=False)  # held as it is, or made of two
        implied = (self._exact(rate, self.batches[0], may_be_made) for rate, may_be_made in ways)
        self.said_lr = reader.said_lr or next(filter(None, implied), None)
        constants = [*reader.literals, *self.seen.constants()]  # such as an optimiser's settings
        self.shares = [n for n in constants if 0.3 < n < 1]
        self.tiny = [n for n in constants if 0 < n <= 1e-3]
        if not any(n <= _TINY for n in self.tiny):  # it stands in no number
            self.tiny = [*_EPS, *self.tiny]
        self._gradients: dict[tuple[float, int], Quantities] = {}

    def read(self, reading: Reading) -> Reading:
        """The reading with its optimiser; the learning rates are those that the program holds."""
        best = self._best(reading.settings)
        fit = self._fit(best.settings, len(self.batches))
        is_late = fit.begins_late
        if is_late:
            self.batches = self.batches[1:]
            reading = self.reader.score(self.batches[0], reading.settings)
            fit = self._fit(best.settings, len(self.batches))
        lrs, most = self._exact_of(fit), self.given.get("steps", 2)
        few = fit.steps[:most]
        is_known = any(lrs) and all(exact for it, exact in zip(few, lrs, strict=False) if it.lr)
        if best.memory and not (is_known or self.said_lr):
            self.said_lr = self._in_its_line(self.batches[0], best.settings)
        is_held = bool(best.memory and self.said_lr)
        knows = all(it.is_there for it in few) and (is_known or is_held)
        if not any(lrs):
            lrs = self._of_their_own(fit)
            knows = knows or all(lrs[:most])
        for batch, lr in zip(self.batches, lrs, strict=True):
            batch.lr = self.given.get("lr", lr)
        known = (batch.lr for batch in self.batches if batch.lr is not None)
        first = next(known, self.said_lr)
        knows = knows or not {"lr", "optimizer"}.isdisjoint(self.given)
        settings = (
            best.settings if knows else replace(best.settings, optimizer="sgd", of_optimizer={})
        )
        return replace(
            reading,
            settings=replace(settings, lr=first),
            batches=self.batches,
            said_lr=self.reader.said_lr,
            knows_update=knows,
            begins_late=is_late,
            is_uneven=self._is_uneven(best.settings),
        )

    def _is_uneven(self, settings: Settings) -> bool:
        """Whether weights have penalties, but not alike, and not by a loss that is computed."""
        shares = self._shares(replace(settings, l2=0.0))
        return _apart(shares) and not (settings.l2 and self._is_computed(settings))

    def _best(self, settings: Settings) -> Fit:
        """What explains most of the first steps, the simplest of these."""
        settings = replace(settings, optimizer=self.given.get("optimizer", "sgd"))
        best, most = self._fit(settings), -1.0
        for each in (*self._penalties(settings), settings):
            for fit in self._tried(each):
                known = sum(map(bool, self._exact_of(fit)))
                agree = fit.agree if known or fit.is_whole else 0
                score = agree + 0.5 * (fit.memory + known)
                if score > most:
                    best, most = fit, score
            if best.is_whole:
                break
        return best

    # the optimisers

    def _tried(self, settings: Settings) -> Iterator[Fit]:
        """What each optimiser explains, the simplest first; no more after one that explains all."""
        for options in self._optimizers(settings):
            for each in options:
                self.seen.hurry()
                fit = self._fit(each)
                yield fit
                if fit.is_whole and all(it.lr for it in fit.steps):
                    return

    def _optimizers(self, settings: Settings) -> Iterator[list[Settings]]:
        """The optimisers to try, with settings that stand in the program."""
        given = self.given.get("optimizer")
        if given in (None, "sgd"):
            yield [settings]
            yield [
                replace(settings, of_optimizer={"momentum": momentum} | more)
                for momentum in dict.fromkeys([*self.shares, 0.9])
                for more in ({}, {"nesterov": True})
            ]
        for name in ("adam", "adamw", "rmsprop", "adagrad"):
            if given in (None, name):
                yield list(self._adaptive(replace(settings, optimizer=name)))

    def _adaptive(self, settings: Settings) -> Iterator[Settings]:
        """Settings of an optimiser that divides by a root, where its first step may be one."""
        usual = OPTIMIZERS[settings.optimizer]
        shared = [name for name in ("beta1", "beta2", "alpha") if name in usual]
        pools = [dict.fromkeys([usual[name], *self.shares]) for name in shared]
        for eps in dict.fromkeys([usual["eps"], *self.tiny]):
            simple = {name: usual[name] for name in shared} | {"eps": eps}
            fit = self._fit(replace(settings, of_optimizer=simple), 1)
            if fit.agree or fit.memory:
                for values in itertools.product(*pools):
                    of = dict(zip(shared, values, strict=True)) | {"eps": eps}
                    yield replace(settings, of_optimizer=of)

    def _fit(self, settings: Settings, most: int = _STEPS) -> Fit:
        """What an optimiser explains of the first steps."""
        memory: Quantities | None = None
        steps = []
        for number, batch in enumerate(self.batches[:most], 1):
            new = self._new(settings, batch, memory, number)
            memory = kept(new)
            tells = number > 1 or settings.optimizer != "sgd"  # SGD's is the gradient at first
            some = [f"new_{name}" for name, it in (memory or {}).items() if tells and it.any()]
            held = sum(bool(self.reader.find_like(batch, name, new)) for name in some)
            rates = self._rates(batch, new)
            lr = self._agreed(rates, batch)
            agree = sum(_alike(each, lr) for each in rates.values() if each and lr)
            steps.append(Explained(batch, lr, agree, len(rates), held))
        return Fit(settings, steps)

    def _new(
        self, settings: Settings, batch: Batch, memory: Quantities | None, number: int
    ) -> Quantities:
        """The parameters and the memory after a step, at a learning rate of 1."""
        key = settings.l2, id(batch)
        if key not in self._gradients:
            right = self.reader.right(batch, replace(settings, optimizer="sgd", of_optimizer={}))
            names = batch.step.parameters
            self._gradients[key] = {name: right[f"grad_{name}"] for name in names}
        of: dict[str, float] = dict(settings.of_optimizer)
        if settings.optimizer in ("adam", "adamw"):
            of["step"] = number
        parameters = {n: p.astype(np.float64) for n, p in batch.step.parameters.items()}
        rule = optimizers.OPTIMIZERS[settings.optimizer]
        return by_hand.update(parameters, self._gradients[key], memory or {}, (), rule, 1.0, **of)

    def _rates(self, batch: Batch, new: Quantities) -> dict[str, float | None]:
        """By parameter that moved, or should, how far it went along its step; None where apart."""
        old, own = batch.step.parameters, batch.step.new
        downs = {name: p.astype(np.float64) - new[f"new_{name}"] for name, p in old.items()}
        return {
            name: ratio(old[name], own[name], down)
            for name, down in downs.items()
            if down.any() or (own[name] != old[name]).any()
        }

    def _penalties(self, settings: Settings) -> Iterator[Settings]:
        """Settings with the penalty that the weights have alike, where they have one."""
        shares = [] if "l2" in self.given else self._shares(settings)
        for share in list(filter(None, shares))[:1]:
            each = (replace(settings, l2=l2) for l2 in self._as_held(share))
            if _apart(shares):
                each = (it for it in each if self._is_computed(it))
            yield from itertools.islice(each, 1)

    def _is_computed(self, settings: Settings) -> bool:
        """Whether the program computes the loss with a penalty of each weight that tells."""
        batch = self.batches[0]
        loss = self.reader.loss(batch, settings)
        least = settings.l2 / 2 * min(float((W * W).sum()) for W in batch.step.weights)
        tells = least > 2 * self.reader.room(loss)
        return tells and self.reader.witness(batch, loss) is not None

    def _as_held(self, share: float) -> Iterator[float]:
        """λ as a number that the program holds, or what two of them and N make."""
        n = len(self.batches[0].x)
        shares = [share / c for c in penalty_factors(n)]
        held = self.reader.numbers
        direct = [(_near(it, held, 1e-5), share / it) for it in shares]
        made = ((self._made(it, n), share / it) for it in shares[:3])
        yield from (float(number * c) for number, c in (*direct, *made) if number)

    def _shares(self, settings: Settings) -> list[float]:
        """The λ of each weight's gradient; of those only whose gradient is right but for it."""
        batch, found = self.batches[0], list[float]()
        right = self.reader.right(batch, settings)
        for l, p in enumerate(batch.step.weights, 1):
            W, name = p.astype(np.float64), f"W{l}"
            both = np.stack([right[f"grad_{name}"].ravel(), W.ravel()], 1)
            gradients = W - batch.step.new[name], *self._held(batch, name, W.shape)
            shares = (_share(both, it.ravel(), self.reader.tolerance) for it in gradients)
            known = [share for share in shares if share is not None]
            if known:
                found.append(max(0.0, *known))
        return found

    def _held(self, batch: Batch, name: str, shape: tuple[int, ...]) -> Iterator[Array]:
        """The arrays like a parameter that were seen first in a step."""
        new = batch.step.new[name]
        for content in self._new_in(batch):
            for form, _ in self.reader.model.forms(self.seen.arrays[content], name, shape):
                if not np.array_equal(form, new):
                    yield form

    def _new_in(self, batch: Batch) -> list[int]:
        """The arrays that were seen first in a step, after its forward pass."""
        within = self.seen.within(batch.step.after, batch.step.until)
        return [
            content
            for content in dict.fromkeys(it.content for it in within)
            if self.seen.first(content).time > batch.passes[0].time
        ]

    # the learning rate

    def _agreed(self, rates: Mapping[str, float | None], batch: Batch) -> float | None:
        """The learning rate that most parameters of a step agree on.

        A single number goes along everything, so one alone tells only a rate that is known.
        """
        sizes = {name: p.size for name, p in batch.step.parameters.items()}
        known = {name: lr for name, lr in rates.items() if lr}
        counts = []
        for name, lr in known.items():
            alike = [other for other, each in known.items() if _alike(each, lr)]
            ways = [self._exact(lr, batch, may_be_made) for may_be_made in (False, True)]
            is_held = sum(way is not None for way in ways)  # as it is, made of two, or not at all
            if alike == [name] and name[0] == "b" and self.said_lr:
                is_held *= _alike(lr, self.said_lr)
                if not is_held:
                    continue
            if is_held or len(alike) > 1 or sizes[name] > 1:
                counts.append((len(alike), sizes[name] > 1, is_held, lr > 0, sizes[name], lr))
        return max(counts)[-1] if counts else None

    def _exact_of(self, fit: Fit) -> list[float | None]:
        """By step a learning rate as the program holds it; None where it holds none."""
        held = [self._exact(it.lr, it.batch, False) for it in fit.steps]
        if any(held) or fit.settings.optimizer != "sgd":
            return held
        own = self._of_their_own(fit) if "loss" in self.given else []
        return own if any(own) else [self._exact(it.lr, it.batch, True) for it in fit.steps]

    def _of_their_own(self, fit: Fit) -> list[float | None]:
        """By step the learning rate where no update is that of the right gradients."""
        return [self._of_its_own(it.lr, it.batch, fit.settings) for it in fit.steps]

    def _of_its_own(self, lr: float | None, batch: Batch, settings: Settings) -> float | None:
        """The learning rate by its name, where the weights go that far along what is held.

        That is their gradients, all times one factor, or, where no variable holds a right one,
        something else.
        """
        said = self.said_lr or self._in_its_line(batch, settings)
        if not said or settings.optimizer != "sgd" or "optimizer" in self.given:
            return None
        if self.reader.is_a_part(batch.step, batch.passes):
            return None
        right = self.reader.right(batch, settings)
        for l in range(1, len(batch.step.weights) + 1):
            is_right = self.reader.find_like(batch, f"grad_W{l}", right)
            fits = _alike(said, lr or 0.0) if is_right else self._goes_along(batch, l, right, said)
            if not fits:
                return None
        return said

    def _in_its_line(self, batch: Batch, settings: Settings) -> float | None:
        """The number in the line of an update that is no setting of the optimiser."""
        lines = (self.seen.text(it.line, it.file) for it in batch.step.names.values())
        found = {float(number) for line in lines for number in _NUMBER.findall(line)}
        found -= {0.0, 1.0, 2.0, *settings.of_optimizer.values()}
        return found.pop() if len(found) == 1 else None

    def _goes_along(self, batch: Batch, l: int, right: Quantities, lr: float) -> bool:
        """Whether weights go a learning rate along something held, or along what a delta gives."""
        name = f"W{l}"
        p = batch.step.parameters[name]
        a = batch.x if l == 1 else right[f"a{l - 1}"]
        shape = right[f"delta{l}"].shape
        deltas = (it for c in self._new_in(batch) for it, _ in forms(self.seen.arrays[c], shape))
        along = itertools.chain(self._held(batch, name, p.shape), (it.T @ a for it in deltas))
        rates = (ratio(p, batch.step.new[name], it) for it in along)
        return any(rate is not None and _alike(abs(rate), lr) for rate in rates)

    def _exact(self, lr: float | None, batch: Batch, may_be_made: bool) -> float | None:
        """A number that the program holds, or, where it may be, a product or quotient of two."""
        if not lr:
            return None
        held = self.seen.during(batch.step.after, batch.step.until)
        numbers = np.abs([*self.reader.literals, *held])
        near = _near(abs(lr), numbers, _NEAR)
        return self._made(abs(lr), len(batch.x)) if near is None and may_be_made else near

    def _made(self, number: float, n: int) -> float | None:
        """A number as a product or quotient of two that the program holds, or the batch's size."""
        few = np.unique(np.abs([*self.reader.numbers, n]))
        few = few[(few > 0) & np.isfinite(few)][:200]
        twice = few[:, None] * few
        np.fill_diagonal(twice, np.inf)  # a learning rate times itself is a mistake
        for made in (few[:, None] / few, twice, few[:, None] * (1 - few)):
            near = _near(number, made, _SURE)
            if near is not None:
                return near
        return None


def _near(number: float, numbers: Array, room: float) -> float | None:
    """The nearest of some numbers, where that is near enough."""
    near = float(numbers.flat[np.argmin(np.abs(numbers - number))])
    return near if abs(near - number) <= room * number else None


def _alike(one: float, other: float) -> bool:
    """Whether two learning rates are the same as far as an update tells."""
    return abs(one - other) <= 10 * _NEAR * abs(other)


def _apart(shares: Sequence[float]) -> bool:
    """Whether some numbers are not the same."""
    return bool(shares) and bool(np.ptp(shares) > 1e-4 * np.abs(shares).max())


def _share(both: Array, gradient: Array, tolerance: float) -> float | None:
    """λ where a gradient is, but for a factor, the right one and λ times the weights; else None.

    What rounding may make of none, to the tolerance of recognition, is 0.
    """
    size = np.abs(gradient).max(initial=0)
    if not size or not np.isfinite(size) or not both.any(axis=0).all():
        return None
    (factor, decay), *_ = np.linalg.lstsq(both, gradient, rcond=None)
    room = max(1e-6, tolerance) * size + 1e-14 * np.abs(both[:, 1]).max()
    is_there = abs(factor) * np.abs(both[:, 0]).max() > room  # else it is the weights, sent back
    if not is_there or len(gradient) < 3 or np.abs(both @ (factor, decay) - gradient).max() > room:
        return None
    share = float(decay / factor)
    added = share * np.abs(both[:, 1]).max()
    least = 100 * tolerance * np.abs(both[:, 0]).max()
    if added < -least:
        return None  # such as the new weights
    return share if added > least else 0.0
