"""Which mistake the numbers of a wrong gradient show, without the reference's operations.

A family proposes what may have been done. A guess is the gradient that this would give, and one
function judges all of them: the guess has to be yours to rounding, at enough elements where
chance would not make it so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import agree
from lockstep.network.names import Array, Index, Quantities

if TYPE_CHECKING:
    from lockstep.gradients.mistakes import Wrong

_SAMPLE = 320  # elements on which guesses are tried before they are made as a whole
_QUANTITIES = 500  # intermediates that are tried as factors and terms
_PAIRED = 30  # of which products of two are tried
_CHANCE = 14  # among so many ways to choose the wrong elements one is no coincidence


@dataclass
class Known:
    """What is known beside the wrong gradient, by name.

    Attributes:
        gradients: PyTorch's, of inputs and of watched intermediates.
        inputs: The inputs' arrays, differentiated or constant.
        intermediates: Values of the forward pass, by words.
        returned: The gradients by hand, as far as they are known.
    """

    gradients: Quantities
    inputs: Quantities
    intermediates: Quantities = field(default_factory=dict)
    returned: Quantities = field(default_factory=dict)


@dataclass
class _Guess:
    """What may have been done, and the gradient that it gives.

    slack: how far rounding may move that; least: at how many different values it has to be yours.
    """

    own: Array
    slack: Array
    mistake: str
    says: str
    remedy: str = ""
    least: int = 3


@dataclass
class _Quantity:
    """An array that stretches over the gradient.

    words: what it is; given: whether it is an input; several: what it means that an
    element is above 1, where it counts something.
    """

    words: str
    array: Array
    given: bool
    several: str = ""


@dataclass
class _Case:
    """A wrong gradient in float64, what is known, and a sample of its elements."""

    name: str
    own: Array
    value: Array
    bound: Array
    off: Array
    complex: bool
    known: Known

    @cached_property
    def rounding(self) -> float:
        """How far two right ones are typically apart, relative to their size."""
        there = self.value != 0
        each = self.bound[there] / np.abs(self.value[there])
        return float(np.median(each)) if each.size else 0.0

    @cached_property
    def visible(self) -> Array:
        """Where something can be seen: a gradient that is wrong, or right and not zero."""
        seen: Array = self.off | (np.abs(self.value) > 100 * self.bound)
        return seen

    @cached_property
    def at(self) -> tuple[Array, ...]:
        """The places of the sample: wrong elements before right ones."""
        parts = [np.flatnonzero(self.off), np.flatnonzero(self.visible & ~self.off)]
        sizes = (_SAMPLE - _SAMPLE // 4, _SAMPLE // 4)
        flat = [part[:: max(1, len(part) // n)][:n] for part, n in zip(parts, sizes, strict=True)]
        return np.unravel_index(np.concatenate(flat), self.own.shape)

    def sampled(self, array: Array) -> Array:
        """The elements of the sample, of an array that stretches over the gradient."""
        taken: Array = np.broadcast_to(array, self.own.shape)[self.at]
        return taken

    def room(self, guessed: Array, slack: Array) -> Array:
        """How far yours may be from a guess."""
        more: Array = 8 * (slack + self.rounding * np.abs(guessed)) + 2.0**-48 * np.abs(guessed)
        return more

    @cached_property
    def quantities(self) -> list[_Quantity]:
        """What may be a factor or a term: inputs, intermediates and gradients, in turn."""
        shape, known = self.own.shape, self.known
        others = {f"the gradient of {k}": v for k, v in known.gradients.items() if k != self.name}
        between = dict(itertools.islice(known.intermediates.items(), _QUANTITIES))
        found: dict[bytes, _Quantity] = {}  # by their sample: each once
        for arrays in (known.inputs, between, others):
            given = arrays is known.inputs
            for name, source in arrays.items():
                ways = [_Quantity(*way, given) for way in _stretched(name, source, shape)]
                for each in itertools.chain(ways, _made_of(name, source, shape) if given else ()):
                    found.setdefault(self.sampled(each.array).tobytes(), each)
        return list(found.values())

    @cached_property
    def table(self) -> Array:
        """The sample of every quantity: a row each."""
        rows = [self.sampled(each.array) for each in self.quantities]
        return np.array(rows, np.float64).reshape(len(rows), len(self.at[0]))


Family = Callable[[_Case], Iterator[_Guess]]


def by_pattern(it: Wrong, known: Known, certain: bool) -> Diagnosis | None:
    """The likeliest mistake that gives exactly these numbers; None where none does.

    Where no mistake does, but the wrong elements are those of a row or of a condition, that is said
    by a diagnosis of the name `unknown`.

    Args:
        it: The wrong gradient.
        known: What is known beside it.
        certain: Whether to look for what leaves no doubt, such as rows in another order. The
            others, such as a factor that happens to be an input, are for a gradient that no edit
            of the reference explains.
    """
    own, value, bound = (np.asarray(each, np.float64) for each in (it.own, it.value, it.bound))
    finite = all(np.isfinite(each).all() for each in (own, value, bound))
    if own.shape != value.shape or own.size < 2 or not finite or not it.off.any():
        return None
    bound = np.broadcast_to(bound, own.shape)
    case = _Case(it.name, own, value, bound, it.off, getattr(it, "complex", False), known)
    fact = None
    with np.errstate(all="ignore"):
        for family in _CERTAIN if certain else _WEAKER:
            for guess in family(case):
                if (guess.mistake != "unknown" or not fact) and _explains(case, guess):
                    says = f"the gradient of {it.name}: {guess.says}"
                    found = Diagnosis(it.name, guess.mistake, says, guess.remedy)
                    if guess.mistake != "unknown":
                        return found
                    fact = found  # which a named mistake may still explain
    return fact


def _explains(case: _Case, guess: _Guess) -> bool:
    """Whether the guess is yours to rounding, and differs enough from the right gradient."""
    guessed = np.broadcast_to(guess.own, case.own.shape)
    room = case.room(guessed, guess.slack)
    if not agree(case.own, guessed, room).all():
        return False
    told = case.off & (np.abs(guessed - case.value) > 16 * room)
    seen = guessed[told & (np.abs(guessed) > 16 * room)]
    return bool(told.any()) and _different(seen) >= guess.least


def _different(values: Array) -> int:
    """How many different numbers there are, to six digits, among the first thousand."""
    few = values.ravel()[:1000]
    return len({f"{each:.6g}" for each in few.tolist()})


def _no_chance(chosen: Array, among: Array, few: int = _CHANCE) -> bool:
    """Whether a choice of elements is one of so many that it is no coincidence."""
    n, k = int(among.sum()), int((chosen * among).sum())
    k = min(k, n - k)
    return k > 4 or (k > 0 and math.comb(n, k) > few)


# ---- names of places


def _thing(shape: Index, axis: int) -> str:
    return ("row", "column")[axis] if len(shape) == 2 else "slice" if len(shape) > 2 else "element"


def _along(shape: Index, axis: int, rows: Array) -> str:
    """ "rows 2 … 5 (axis 0)" for indices of an axis at regular steps, "row 3 (axis 0)" for one."""
    first, last, thing = rows[0], rows[-1], _thing(shape, axis)
    text = f"{thing} {first}" if len(rows) == 1 else f"{thing}s {first} … {last}"
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    if step > 1:
        text += f", every {step}{'nd' if step == 2 else 'rd' if step == 3 else 'th'}"
    return f"{text} (axis {axis})"


def _regular(rows: Array) -> bool:
    """Whether indices are consecutive, or at least three at a fixed step."""
    steps = set(np.diff(rows).tolist())
    return bool(rows.size) and (not steps or steps == {1} or len(steps) == 1 and len(rows) > 2)


# ---- the right numbers at other places


def _swapped(case: _Case) -> Iterator[_Guess]:
    """Another input's gradient."""
    known = case.known
    if case.name not in known.inputs or any(_by_rules(case, [_PLAIN])):
        return  # the two may be alike but for a factor that was left out
    for name, other in known.gradients.items():
        theirs = known.returned.get(name, np.empty(0))
        if name == case.name or name not in known.inputs or _alike(theirs, other):
            continue  # that one is where it belongs
        least = 2 if _alike(theirs, case.value) else 3  # both are seen to be in the other's place
        ways = [(other, "", least), (-other, "minus ", 3), (other.T, "transposed, ", 3)]
        for array, how, least in ways:
            if array.shape == case.own.shape:
                says = f"yours is {how}the right gradient of {name}"
                remedy = f"return the gradients of {case.name} and {name} under their own names"
                yield _Guess(array, case.bound, "swapped-gradients", says, remedy, least)


def _alike(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other))


@dataclass
class _Order:
    """Which row of the right gradient each row of yours holds; −1 where it is zero."""

    rows: Array
    mistake: str
    says: str


def _moved(case: _Case) -> Iterator[_Guess]:
    """Rows, along any axis, that hold other rows' gradients, or nothing."""
    value, bound = case.value, case.bound
    remedy = "compare the index that is read with the index that is written"
    for axis, n in enumerate(value.shape):
        orders = itertools.chain(_orders(value.shape, axis), _found_order(case, axis))
        for order in orders if n > 1 else ():
            places = list(case.at)
            places[axis] = order.rows[places[axis]]
            guessed = np.where(places[axis] < 0, 0.0, value[tuple(places)])
            room = case.room(guessed, bound[tuple(places)])
            if not agree(case.sampled(case.own), guessed, room).all():
                continue
            kept = _as_axis(order.rows >= 0, axis, value.ndim)
            taken, slack = (
                np.take(each, np.maximum(order.rows, 0), axis) for each in (value, bound)
            )
            lost = _different(value[np.broadcast_to(~kept, value.shape) & case.off])
            least = 3 if lost < 3 else 0
            yield _Guess(taken * kept, slack, order.mistake, order.says, remedy, least)


def _as_axis(array: Array, axis: int, ndim: int) -> Array:
    """A row of numbers laid along one of several axes."""
    return array.reshape([-1 if k == axis else 1 for k in range(ndim)])


def _orders(shape: Index, axis: int) -> Iterator[_Order]:
    """The usual ones: reversed, shifted, grouped the other way."""
    n = shape[axis]
    here, row = np.arange(n), _thing(shape, axis)
    holds = f"{row} i holds the right gradient of {row}"
    yield _Order(here[::-1], "wrong-index", f"the {row}s are in reverse order (axis {axis})")
    for by in (1, -1) if n > 2 else ():
        there = here - by
        says = f"{holds} i {'−' if by > 0 else '+'} 1 (shifted along axis {axis}"
        within = np.where((there >= 0) & (there < n), there, -1)
        yield _Order(there % n, "wrong-index", f"{says}, around the end)")
        yield _Order(within, "wrong-index", f"{says}; {row} {int(np.argmin(within))} is zero)")
    for groups in range(2, min(n // 2, 64) + 1):
        if n % groups == 0:
            rows = here.reshape(groups, -1).T.ravel()
            counts = f"{groups} groups of {n // groups}"
            says = f"the {row}s are in another order (axis {axis}): as if {counts} were interleaved"
            yield _Order(rows, "wrong-index", says)


def _found_order(case: _Case, axis: int) -> Iterator[_Order]:
    """The one that yours are in, if each wrong row is zero or nearly a row of the right one."""
    shape, n = case.own.shape, case.own.shape[axis]
    own, value, off = (
        np.moveaxis(each, axis, 0).reshape(n, -1) for each in (case.own, case.value, case.off)
    )
    weights = np.random.default_rng(0).uniform(1, 2, own.shape[1])
    keys, wanted = value @ weights, own @ weights
    order = np.argsort(keys)
    after = np.clip(np.searchsorted(keys[order], wanted), 1, n - 1)
    nearer = np.abs(keys[order[after - 1]] - wanted) <= np.abs(keys[order[after]] - wanted)
    rows = np.where(nearer, order[after - 1], order[after])
    wrong = np.asarray(off.any(1))
    rows = np.where(own.any(1), rows, -1)
    rows = np.where(wrong, rows, np.arange(n))
    lost, moved = np.flatnonzero(rows < 0), np.flatnonzero(wrong & (rows >= 0))
    thing, sources = _thing(shape, axis), set(rows[rows >= 0].tolist())
    if lost.size and not moved.size:
        yield from _left(rows, shape, axis)
    elif len(sources) == 1 and n > 2 and (not lost.size or len(moved) == 1):
        at = f"{_along(shape, axis, moved)}, alone," if lost.size else f"every {thing}"
        says = f"{at} holds the gradient of {thing} {sources.pop()}"
        yield _Order(rows, "one-sample-only", f"{says}{'; the others are zero' * bool(lost.size)}")
    elif moved.size and (own.shape[1] > 1 or (len(moved) > 3 and len(set(rows.tolist())) == n)):
        pairs = [f"{thing} {i} holds that of {thing} {rows[i]}" for i in moved[:3].tolist()]
        more = ", and so on" if len(moved) > 3 else ""
        zero = f"; {len(lost)} are zero" if lost.size else ""
        yield _Order(rows, "wrong-index", f"{', '.join(pairs)}{more} (axis {axis}){zero}")


def _left(rows: Array, shape: Index, axis: int) -> Iterator[_Order]:
    """Right rows beside rows of zeros, if the ones or the others are at regular steps."""
    lost, kept = np.flatnonzero(rows < 0), np.flatnonzero(rows >= 0)
    if _regular(kept) and len(kept) <= len(lost):
        mistake = "one-sample-only" if len(kept) == 1 else "partial-sum"
        says = f"only {_along(shape, axis, kept)} counted; the others are zero"
        yield _Order(rows, mistake, says)
    elif kept.size and _regular(lost):
        yield _Order(rows, "partial-sum", f"yours is zero in {_along(shape, axis, lost)}")


def _turned(case: _Case) -> Iterator[_Guess]:
    """Axes in another order."""
    ndim, shape = case.value.ndim, case.value.shape
    for axes in itertools.permutations(range(ndim)) if 2 <= ndim <= 4 else ():
        changed = [k for k in range(ndim) if axes[k] != k]
        if changed and tuple(shape[k] for k in axes) == shape:
            last = changed == [ndim - 2, ndim - 1]
            says = f"axes {', '.join(map(str, changed))} are in another order: {axes}"
            if len(changed) == 2:
                says = f"axes {changed[0]} and {changed[1]} are interchanged"
            mistake = "transposed-gradient" if last else "wrong-axis"
            value, bound = case.value.transpose(axes), case.bound.transpose(axes)
            yield _Guess(value, bound, mistake, says, "put the axes in the input's order")


def _reduced(case: _Case) -> Iterator[_Guess]:
    """The same along an axis: a mean or a sum of the right one along it."""
    for axis in range(case.own.ndim) if case.own.ndim > 1 else ():
        first = np.take(case.own, [0], axis)
        if not agree(case.own, first, case.room(first, case.bound)).all():
            continue
        for how, reduce in (("mean", np.mean), ("sum", np.sum)):
            value, slack = (reduce(each, axis, keepdims=True) for each in (case.value, case.bound))
            says = f"yours is the {how} of the right one along axis {axis}, the same all along it"
            yield _Guess(value, slack, "wrong-axis", says, f"do not reduce over axis {axis}", 2)


def _symmetric(case: _Case) -> Iterator[_Guess]:
    """Another convention for symmetric matrices."""
    G, bound = case.value, case.bound
    if G.ndim < 2 or G.shape[-1] != G.shape[-2] or G.shape[-1] == 1:
        return
    mistake, remedy = "symmetric-convention", "return the gradient by every element of the matrix"
    both, slack = (each + np.swapaxes(each, -1, -2) for each in (G, bound))
    eye = np.eye(G.shape[-1], dtype=bool)
    by_halves = np.where(eye, G, both)
    twice = "what is off the diagonal counts for both of its places"
    fair = "right in every symmetric direction"
    forms = [
        (by_halves, f"{twice}: G + Gᵀ − diag G of the right one G, as if one triangle were stored"),
        (np.tril(by_halves), f"{twice}, in the lower triangle alone: {fair}"),
        (np.triu(by_halves), f"{twice}, in the upper triangle alone: {fair}"),
        (both / 2, f"yours is (G + Gᵀ)/2 of the right one G: {fair}"),
        (both, "yours is G + Gᵀ of the right one G"),
        (both - 2 * np.where(eye, G, 0), "yours is G + Gᵀ of the right one G, its diagonal zero"),
    ]
    for form, says in forms:
        yield _Guess(form, slack, mistake, says, remedy)
    given = case.known.inputs.get(case.name)
    if given is not None and np.array_equal(given, np.swapaxes(given, -1, -2)):
        fair_ones = case.own + np.swapaxes(case.own, -1, -2)
        if agree(fair_ones, both, case.room(both, slack)).all():
            says = f"{fair}; it differs from PyTorch's by an antisymmetric part"
            yield _Guess(case.own, slack, mistake, says, remedy)


def _conjugate(case: _Case) -> Iterator[_Guess]:
    """Real and imaginary parts on the last axis, the second with its sign turned."""
    if case.complex and case.value.shape[-1] == 2:
        says = "yours is the complex conjugate of the right one"
        value = case.value * np.array([1.0, -1.0])
        yield _Guess(value, case.bound, "conjugate", says, "conjugate it")


# ---- sums of which something is left out


def _repeated(case: _Case) -> Iterator[_Guess]:
    """Rows that an index gathers, of which only some count."""
    known, value = case.known, case.value
    arrays = {**known.inputs, **{f"the gradient of {k}": v for k, v in known.gradients.items()}}
    for name, index in known.inputs.items() if value.ndim else ():
        n = len(value)
        if not _is_index(index, n):
            continue
        places = index.ravel()
        for words, array in arrays.items():
            if array.shape != index.shape + value.shape[1:] or array.dtype.kind != "f":
                continue
            parts = array.reshape((-1, *value.shape[1:])).astype(np.float64)
            whole = _gathered(places, parts, n)
            slack = case.bound + case.rounding * _gathered(places, np.abs(parts), n)
            if not agree(whole, value, case.room(whole, slack)).all():
                continue
            last, first = np.zeros_like(value), np.zeros_like(value)
            last[places] = parts
            first[places[::-1]] = parts[::-1]
            counts = _as_axis(np.maximum(np.bincount(places, minlength=n), 1), 0, value.ndim)
            remedy = f"add the rows of {words} up: numpy.add.at, index_add"
            of = f"of repeated indices in {name} only the"
            yield _Guess(last, slack, "one-sample-only", f"{of} last one counts", remedy)
            yield _Guess(first, slack, "one-sample-only", f"{of} first one counts", remedy)
            says = f"rows that {name} names several times are averaged, not summed"
            yield _Guess(whole / counts, slack, "scaled-by-constant", says, remedy)


def _is_index(array: Array, n: int) -> bool:
    """Whether these are integers that name rows of n."""
    return bool(array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() < n)


def _gathered(places: Array, parts: Array, n: int) -> Array:
    """The sum of the parts at each place."""
    total = np.zeros((n, *parts.shape[1:]))
    np.add.at(total, places, parts)
    return total


def _partial(case: _Case) -> Iterator[_Guess]:
    """The sum of another gradient over an axis: over another one, or over some rows alone."""
    for name, array in case.known.gradients.items():
        for axis in range(array.ndim):
            parts = np.moveaxis(array, axis, 0)
            if parts.shape[1:] != case.own.shape:
                continue
            size = np.abs(parts).sum(0)
            if agree(parts.sum(0), case.value, case.room(size, case.bound)).all():
                of = f"of the sum of the gradient of {name} over axis {axis},"
                slack, remedy = case.bound + case.rounding * size, f"sum over axis {axis}"
                for form, mistake, words in _parts(case, array, axis):
                    near = agree(form, case.own, case.room(size, case.bound))
                    for k in np.flatnonzero(near.reshape(len(form), -1).all(1))[:1].tolist():
                        says = f"{of} {words.format(k, k + 1, len(parts) - 1)}"
                        yield _Guess(form[k], slack, mistake, says, remedy)


def _parts(case: _Case, array: Array, axis: int) -> Iterator[tuple[Array, str, str]]:
    """Parts of a sum over an axis, one in each row, with the mistake and its words."""
    parts = np.moveaxis(array, axis, 0)
    total = np.cumsum(parts, axis=0)
    yield parts, "one-sample-only", "only index {0} of 0 … {2} counts"
    yield total, "partial-sum", "only indices 0 … {0} of 0 … {2} count"
    yield case.value - total, "partial-sum", "only indices {1} … {2} of 0 … {2} count"
    yield case.value - parts, "partial-sum", "index {0} of 0 … {2} does not count"
    for other, n in enumerate(array.shape):
        if n == len(parts) and other != axis:
            yield array.sum(other)[None], "wrong-axis", f"axis {other} is summed over instead"


# ---- numbers that were cut


def _limited(case: _Case) -> Iterator[_Guess]:
    """Clipped, element by element or by its norm."""
    own, value, remedy = case.own, case.value, "compare gradients before they are clipped"
    low, high = own.min(), own.max()
    below, above = int((value < low).sum()), int((value > high).sum())
    if low < high and not case.off.all() and _different(value[case.off]) > 1:
        for limits, fits in (
            ((-high, high), low == -high),
            ((low, np.inf), low < 0 and below > 1 and not above),
            ((-np.inf, high), high > 0 and above > 1 and not below),
        ):
            if fits:
                words = " and ".join(f"{c:.6g}" for c in limits if np.isfinite(c))
                clipped = np.clip(value, *limits)
                says = f"yours is cut off at {words}"
                yield _Guess(clipped, case.bound, "gradient-clipped", says, remedy, 0)
    norm, longer = float(np.linalg.norm(own)), float(np.linalg.norm(value))
    if 0 < norm < longer and abs(float(f"{norm:.2g}") / norm - 1) < 1e-9:
        c, says = norm / longer, f"yours is scaled to a norm of {norm:.2g}"
        yield _Guess(c * value, c * case.bound, "gradient-clipped", says, remedy)


def _printed(case: _Case) -> Iterator[_Guess]:
    """Rounded to a number of decimals, or of digits."""

    def rounded(array: Array, k: int, digits: bool) -> Array:
        size = np.floor(np.log10(np.abs(np.where(array == 0, 1, array)))) + 1 if digits else 0
        unit = 10.0 ** (size - k)
        made: Array = np.round(array / unit) * unit
        return made

    for digits, k in itertools.chain(
        ((False, k) for k in range(1, 12)), ((True, k) for k in range(2, 15))
    ):
        guessed, own = rounded(case.sampled(case.value), k, digits), case.sampled(case.own)
        if agree(guessed, own, 2.0**-48 * np.abs(guessed)).all():
            unit = "significant digits" if digits else "decimals"
            says = f"yours is the right one, rounded to {k} {unit}"
            guess = rounded(case.value, k, digits)
            remedy = "print 17 significant digits"
            yield _Guess(guess, case.bound, "too-few-digits", says, remedy)


# ---- a factor or a term that is known


def _stretched(name: str, source: Array, shape: Index) -> Iterator[tuple[str, Array]]:
    """The ways to stretch an array over a shape, each with its words."""
    if source.dtype.kind not in "fiub" or source.size < 2 or source.ndim > len(shape):
        return
    ways = []
    for axes in itertools.combinations(range(len(shape)), source.ndim):
        if all(n in (1, shape[axis]) for n, axis in zip(source.shape, axes, strict=True)):
            ways.append(axes)
    for axes in ways:
        lengths = [1] * len(shape)
        for n, axis in zip(source.shape, axes, strict=True):
            lengths[axis] = n
        along = f" along axis {', '.join(map(str, axes))}" if len(ways) > 1 else ""
        yield name + along, source.reshape(lengths).astype(np.float64, copy=False)


def _made_of(name: str, source: Array, shape: Index) -> Iterator[_Quantity]:
    """What integers may stand for: how often each row is named, and labels as one-hot rows."""
    for axis, n in enumerate(shape):
        along = _as_axis(np.arange(n), axis, len(shape))
        if n > 1 and source.ndim and _is_index(source, n):
            if source.shape == shape[:axis] + shape[axis + 1 :]:
                one_hot = np.expand_dims(source, axis) == along
                words = f"the one-hot array of {name}"
                yield _Quantity(words, one_hot.astype(np.float64), False)
            elif source.shape != shape:
                counts = _as_axis(np.bincount(source.ravel(), minlength=n), axis, len(shape))
                words = f"how often {name} names each index of axis {axis}"
                several = f"{name} names an index of axis {axis} several times"
                yield _Quantity(words, np.maximum(counts, 1.0), False, several)


def _sigmoid(x: Array) -> Array:
    made: Array = 1 / (1 + np.exp(-x))
    return made


def _steep(x: Array) -> Array:
    """σ'(x)."""
    return _sigmoid(x) * _sigmoid(-x)


@dataclass
class _Rule:
    """What is left out of yours as a factor, or is in it and does not belong.

    fits: of which quantities that is likely.
    """

    of: Callable[[Array], Array]
    left_out: bool
    mistake: str
    says: str
    fits: Callable[[_Quantity], bool] = lambda q: True


def _both_ways(words: str, of: Callable[[Array], Array], *mistakes: str) -> Iterator[_Rule]:
    """A factor that is left out, and the same factor once too often."""
    missing, twice = mistakes or ("factor-missing", "factor-twice")
    yield _Rule(of, True, missing, f"the factor {words} is left out")
    yield _Rule(of, False, twice, f"the factor {words} is there once too often")


def _instead(stands: str, belongs: str, ratio: Callable[[Array], Array], point: bool) -> _Rule:
    """A slope with another in its place, at another point or of another function."""
    mistake = "derivative-at-wrong-point" if point else "wrong-activation-derivative"
    return _Rule(ratio, False, mistake, f"{stands} stands where {belongs} belongs")


def _is_mask(q: _Quantity) -> bool:
    """Whether an input holds zeros and one other number."""
    return q.given and _different(q.array) == 2 and not q.array.all()


def _is_divisor(q: _Quantity) -> bool:
    """Whether it is positive and the same along an axis, as a norm or a sum is."""
    return 1 in q.array.shape and bool((q.array > 0).all())


_SLOPE = ("missing-activation-derivative", "extra-activation-derivative")
_PLAIN = _Rule(lambda q: q, True, "factor-missing", "the factor {} is left out")
_SURE = [
    _Rule(lambda q: q, True, "mask", "the mask {} is left out", _is_mask),
    _Rule(np.sign, True, "factor-missing", "the factor sign({}) is left out", lambda q: q.given),
]
_RULES = [
    _Rule(lambda q: q, False, "factor-missing", "the division by {} is left out", _is_divisor),
    *_both_ways("{}", lambda q: q),
    *_both_ways("sign({})", np.sign),
    *_both_ways("s (1 − s), where s is {},", lambda s: s * (1 - s), *_SLOPE),
    *_both_ways("1 − t², where t is {},", lambda t: 1 - t * t, *_SLOPE),
    *_both_ways("σ'({})", _steep, *_SLOPE),
    *_both_ways("tanh'({})", lambda x: np.cosh(x) ** -2.0, *_SLOPE),
    *_both_ways("1 − {}", lambda q: 1 - q),
    *_both_ways("{}, squared,", np.square),
    *_both_ways("the root of {}", np.sqrt),
    *_both_ways("exp({})", np.exp),
    _instead("{0} (1 − {0})", "σ({0}) (1 − σ({0}))", lambda x: x * (1 - x) / _steep(x), True),
    _instead("1 − {0}²", "1 − tanh({0})²", lambda x: (1 - x * x) * np.cosh(x) ** 2, True),
    _instead("σ'(σ({0}))", "σ'({0})", lambda x: _steep(_sigmoid(x)) / _steep(x), True),
    _instead("1 − {0}", "1 − {0}²", lambda x: 1 / (1 + x), False),
    _instead("σ({0})", "σ'({0})", lambda x: 1 / _sigmoid(-x), False),
    _instead("tanh({0})", "tanh'({0})", lambda x: np.sinh(x) * np.cosh(x), False),
]


def _masks(case: _Case) -> Iterator[_Guess]:
    """A mask, or the sign of an input, left out as a factor."""
    return _by_rules(case, _SURE)


def _factors(case: _Case) -> Iterator[_Guess]:
    """A function of something known, left out or too many."""
    return _by_rules(case, _RULES)


def _by_rules(case: _Case, rules: list[_Rule]) -> Iterator[_Guess]:
    """Guesses by rules; tried on the sample first."""
    own, value, off, bound = map(case.sampled, (case.own, case.value, case.off, case.bound))
    for rule in rules:
        factors = rule.of(case.table)
        guessed, of = (own * factors, value) if rule.left_out else (value * factors, own)
        slack = bound * (1 + np.abs(factors)) + case.rounding * np.abs(of)
        near = agree(guessed, np.broadcast_to(of, guessed.shape), case.room(guessed, slack))
        for k in np.flatnonzero(near.all(1)).tolist():
            each, factor = case.quantities[k], factors[k]
            if rule.fits(each) and _tells(factor, off):
                mistake, f = rule.mistake, rule.of(each.array)
                if mistake == "mask" and factor.max() != 1:
                    mistake = "dropout-mask"
                free = (f == 0) & (np.abs(case.value) <= case.bound)
                by = np.where(free, 1, 1 / f) if rule.left_out else f
                made = np.where(free, case.own, case.value * by)
                says, slack = rule.says.format(each.words), case.bound * np.abs(by)
                remedy = f"see how {each.words} enters the formula"
                yield _Guess(made, slack, mistake, says, remedy, 1)


def _tells(factor: Array, off: Array) -> bool:
    """Whether a factor in a sample varies enough to be recognised by it."""
    return _different(factor[off]) > 2 or _no_chance(factor == factor[0], np.ones_like(off))


def _terms(case: _Case) -> Iterator[_Guess]:
    """Something known, times a number, that is missing or too many."""
    paired = [k for k, each in enumerate(case.quantities) if each.given][:_PAIRED]
    table, some = case.table, case.table[paired]
    names = [each.words for each in case.quantities]
    yield from _multiples(case, table, names, [(k,) for k in range(len(table))])
    for i, k in enumerate(paired):
        products = some[i:] * some[i]
        pairs = [(k, other) for other in paired[i:]]
        words = [f"{names[k]} · {names[other]}" for _, other in pairs]
        yield from _multiples(case, products, words, pairs)


def _multiples(
    case: _Case, table: Array, names: list[str], factors: Sequence[Index]
) -> Iterator[_Guess]:
    """Guesses that yours is the right one plus a multiple of a quantity, or of a product."""
    own, value, off, bound = map(case.sampled, (case.own, case.value, case.off, case.bound))
    error = np.broadcast_to(own - value, table.shape)
    numbers = (table * error).sum(1) / (table * table).sum(1)
    guessed = numbers[:, None] * table
    room = case.room(guessed, bound)
    seen = np.abs(guessed) > 16 * room
    for k in np.flatnonzero(agree(error, guessed, room).all(1)).tolist():
        c, term, words = _usual(float(numbers[k]), case.known.inputs), guessed[k], names[k]
        several = _different(term[seen[k]])
        enough = several > 3 or (several == 3 and c.usual)
        if len(factors[k]) == 1:
            enough |= _different(table[k]) == 2 and _no_chance(off, np.ones_like(off))
        if not enough or not (c.usual or len(factors[k]) == 1):
            continue
        share = -float((value * term).sum() / (term * term).sum())
        mistake = _mistake_of(c, share, case.quantities[factors[k][0]].given)
        says = f"yours is the right one {'minus' if c.number < 0 else 'plus'} {c.words}{words}"
        remedy = f"look for the term with {words}"
        whole = np.full(case.own.shape, c.number)
        for factor in factors[k]:
            whole = whole * case.quantities[factor].array
        yield _Guess(case.value + whole, case.bound, mistake, says, remedy, 1)


@dataclass
class _Number:
    """A factor of a term.

    words: as it stands before the term; flipped: up to which share of the term in the right
    gradient a wrong sign is likelier than a term that is left out.
    """

    number: float
    words: str
    usual: bool
    flipped: float = -math.inf


def _usual(c: float, inputs: Quantities) -> _Number:
    """A factor in words: 1, 2 or ½, alone or of an input that is a single number."""
    single = {
        f"{name} · ": float(array)
        for name, array in inputs.items()
        if array.ndim == 0 and array.dtype.kind == "f" and array
    }
    for words, p in {"": 1.0, **single}.items():
        flipped = math.inf if words else 0.75
        for times, n in {"": 1.0, "2 · ": 2.0, "½ · ": 0.5}.items():
            if abs(abs(c) / abs(p * n) - 1) < 1e-6:
                number = math.copysign(p * n, c)
                return _Number(number, times + words, True, flipped if n == 2 else -math.inf)
    return _Number(c, f"{abs(c):.9g} · ", False)


def _mistake_of(c: _Number, share: float, given: bool) -> str:
    """What makes a term on top of the right gradient.

    share: how much of the term, with its sign turned, seems to be in the right one: all of it where
    it is left out of yours, half where its sign is wrong; given: whether it is of an input, as the
    sign of anything else says little.
    """
    if share < c.flipped:
        return "sign-flipped"
    if c.number < 0 or share > (0.5 if given else -0.5) or abs(share) < 1e-9:
        return "term-missing"
    return "term-too-many" if c.usual else "unknown"


def _derivative_left_out(case: _Case) -> Iterator[_Guess]:
    """Something that is known: the gradient of an intermediate, or the incoming one."""
    own, table = np.broadcast_to(case.sampled(case.own), case.table.shape), case.table
    near = agree(own, table, case.room(table, case.sampled(case.bound)))
    for k in np.flatnonzero(near.all(1)).tolist():
        each = case.quantities[k]
        says = f"yours is exactly {each.words}: the derivative that multiplies it is left out"
        yield _Guess(each.array, case.bound, "factor-missing", says, "multiply with the derivative")


def _centred(case: _Case) -> Iterator[_Guess]:
    """The right one is yours less its mean along an axis."""
    for axis, n in enumerate(case.own.shape):
        if n < 3:
            continue
        mean = case.own.mean(axis, keepdims=True)
        slack = case.bound + case.bound.mean(axis, keepdims=True)
        says = f"yours, less its mean along axis {axis}, is the right one"
        says += ": what comes by way of a mean is missing or counts twice"
        yield _Guess(case.value + mean, slack, "term-missing", says, "subtract the mean", 4)


def _by_lines(case: _Case) -> Iterator[_Guess]:
    """A multiple of something known, another one in each line along an axis, that is missing."""
    for axis, n in enumerate(case.own.shape):
        if n < 4 or case.own.ndim < 2 or len(case.quantities) * case.own.size > 10**7:
            continue
        for each in (one for one in case.quantities if one.array.shape[axis] > 1):
            q = np.broadcast_to(each.array, case.own.shape)
            square = (q * q).sum(axis, keepdims=True)
            error, value = (
                np.where(square == 0, 0, (array * q).sum(axis, keepdims=True) / square) * q
                for array in (case.own - case.value, case.value)
            )
            if agree(value, case.value, 1e-9 * np.abs(case.value)).all():
                continue  # so is the right one, and yours may well be
            says = f"yours less the right one is a multiple of {each.words} in each line"
            says, mistake = f"{says} along axis {axis}", "unknown"
            if (np.abs(value) <= 1e-9 * np.abs(error)).all():
                says, mistake = f"{says}; the right one has no part along it", "term-missing"
            remedy = "look for the term with a sum or a mean along this axis"
            yield _Guess(case.value + error, case.bound, mistake, says, remedy, 6)


# ---- wrong where something holds


@dataclass
class _Where:
    """Elements that a condition singles out.

    zero, other: the mistake where yours is 0 there, where the right one is 0 there; always: the
    mistake whatever yours is.
    """

    mask: Array
    words: str
    zero: str = "mask"
    other: str = "mask"
    always: str = ""


def _conditions(case: _Case) -> Iterator[_Where]:
    """Conditions that may hold exactly where yours is wrong."""
    shape, ndim, off = case.own.shape, case.own.ndim, case.sampled(case.off)
    for axis, n in enumerate(shape):
        rows = np.flatnonzero(np.moveaxis(case.off, axis, 0).reshape(n, -1).any(1))
        if len(rows) < n and _regular(rows):
            mask = _as_axis(np.isin(np.arange(n), rows), axis, ndim)
            yield _Where(mask, f"in {_along(shape, axis, rows)}", "partial-sum", "unknown")
    if ndim > 1:
        row, column = np.arange(shape[-2])[:, None], np.arange(shape[-1])
        for word, mask in {
            "on": row == column,
            "off": row != column,
            "above": row < column,
            "below": row > column,
        }.items():
            yield _Where(mask, f"{word} the diagonal", "partial-sum")
    tests: dict[str, Callable[[Array], Array]] = {
        "is 0": lambda q: q == 0,
        "is negative": lambda q: q < 0,
        "is positive": lambda q: q > 0,
        "is above 1": lambda q: q > 1,
        "is above 1 or below −1": lambda q: np.abs(q) > 1,
    }
    for words, test in tests.items():
        for k in np.flatnonzero((test(case.table) == off).all(1)).tolist():
            each = case.quantities[k]
            yield _Where(test(each.array), f"where {each.words} {words}")
    for each in case.quantities:
        if each.several and _no_chance(each.array > 1, np.ones_like(each.array), few=3):
            yield _Where(each.array > 1, f"where {each.several}", always="one-sample-only")


def _kinks(case: _Case) -> Iterator[_Guess]:
    """Wrong nowhere but where the input itself is 0, or has equals."""
    x = case.known.inputs.get(case.name)
    if x is None or x.size > 10**4:
        return
    places = {"is 0": x == 0}
    for axis in range(x.ndim):
        lines = np.moveaxis(x, axis, -1)
        equal = (lines[..., None] == lines[..., None, :]).sum(-1) > 1
        places[f"has equals along axis {axis}"] = np.moveaxis(equal, -1, axis)
    for words, mask in places.items():
        n, k = int(mask.sum()), int(case.off.sum())
        rare = k > 1 and 0 < 2 * n < x.size and k * math.log2(x.size / n) > 3
        if rare and mask[case.off].all():
            says = f"yours is wrong only where {case.name} {words}"
            remedy = "choose a value between the slopes on both sides"
            yield _Guess(case.own, case.bound, "kink", says, remedy, 1)


def _wrong_where(case: _Case) -> Iterator[_Guess]:
    """What yours is where a condition holds, if it is right everywhere else."""
    value, bound, remedy = case.value, case.bound, "look at what the formula does there"
    own, right = case.own[case.off], value[case.off]
    c = float((own * right).sum() / (right * right).sum())
    for where in _conditions(case):
        mask = np.broadcast_to(where.mask, value.shape)
        same = (mask == case.off) | ~case.visible
        holds = bool(same.all()) and _no_chance(mask, case.visible)
        forms = [
            (-value, "sign-flipped", "yours is minus the right one", 2),
            (c * value, "scaled-by-constant", f"yours is {c:.9g} times the right one", 3),
            (case.own, "unknown", "yours is wrong", 4),
        ]
        if where.always:
            forms = [(case.own, where.always, "yours is wrong", 1)]
        elif not own.any():
            forms = [(0 * value, where.zero, "yours is 0", 0)]
        elif not right.any():
            forms = [(case.own, where.other, "the right one is 0, and yours is not,", 2)]
        for made, mistake, says, least in forms if holds else ():
            says = f"{says} exactly {where.words}"
            yield _Guess(np.where(mask, made, value), bound, mistake, says, remedy, least)


# ---- few digits


def _few_digits(case: _Case) -> Iterator[_Guess]:
    """Errors of one order that follow the numbers, as a constant of few digits makes them."""
    own, value, off = map(case.sampled, (case.own, case.value, case.off))
    there = (value != 0) & off
    error = ((own - value) / value)[there]
    if len(error) < 8 or len(error) < 0.7 * len(value):
        return
    size = float(np.median(np.abs(error)))
    near = ((np.abs(error) > size / 30) & (np.abs(error) < size * 30)).mean()
    far = (np.abs(own - value) > 50 * case.sampled(case.bound))[there].mean()
    if near < 0.8 or far < 0.8 or size > 1e-3 or not _systematic(case, error, there):
        return
    says = f"yours is right to {-math.log10(size):.1f} digits, as with a constant of few digits"
    says += ", or without a small one"
    yield _Guess(case.own, case.bound, "too-few-digits", says, "write constants with all digits")


def _systematic(case: _Case, error: Array, there: Array) -> bool:
    """Whether errors have one sign, or go up and down slowly along something known."""
    n = len(error)
    if n >= 12 and np.abs(np.sign(error).sum()) >= 0.9 * n:
        return True
    rows = [row[there] for row, each in zip(case.table, case.quantities, strict=True) if each.given]
    parts = [error, *(error * case.sampled(case.value)[there] / row for row in rows[:_PAIRED])]
    along = [row for row in rows if _different(row) == n]
    # in any order, squares of steps of ranks have this mean and deviation, in units of the spread
    deviation = math.sqrt(4 * (n - 2) / (n * n - 1))
    steep = 2 - deviation * math.sqrt(2 * math.log(max(len(parts) * len(along), 1) / 0.02))
    for part, row in itertools.product(parts, along):
        ranks = np.argsort(np.argsort(part)) - (n - 1) / 2
        steps = np.square(np.diff(ranks[np.argsort(row)])).sum() / np.square(ranks).sum()
        if steps < steep:
            return True
    return False


_CERTAIN: list[Family] = [
    _conjugate,
    _printed,
    _symmetric,
    _moved,
    _turned,
    _repeated,
    _partial,
    _masks,
    _limited,
    _reduced,
    _swapped,
]
_WEAKER: list[Family] = [
    _kinks,
    _factors,
    _terms,
    _derivative_left_out,
    _centred,
    _by_lines,
    _wrong_where,
    _few_digits,
]
