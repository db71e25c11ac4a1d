"""Which mistake the numbers of a wrong gradient show, without the reference's operations.

A family proposes what may have been done. A guess is the gradient that this would give, and one
function judges all of them: the guess has to be yours to rounding, at enough elements where
chance would not make it so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import agree
from lockstep.gradients.wrong import Wrong
from lockstep.network.names import Array, Index, Quantities

_CHANCE = 14  # among so many ways to choose the wrong elements one is no coincidence


@dataclass
class Known:
    """What is known beside the wrong gradient, by name.

    Attributes:
        gradients: PyTorch's, of inputs and of watched intermediates.
        inputs: The inputs' arrays, differentiated or constant.
        returned: The gradients by hand, as far as they are known.
    """

    gradients: Quantities
    inputs: Quantities
    returned: Quantities


@dataclass
class _Guess:
    """What may have been done, and the gradient that it gives.

    slack: how far rounding may move that; least: at how many different values it has to be yours.
    """

    own: Array
    slack: Array
    mistake: str
    says: str
    remedy: str
    least: int = 3


_Guesses = Iterator[_Guess]


class _Case(Wrong):
    """A wrong gradient in float64, and what is known beside it."""

    known: Known

    @cached_property
    def rounding(self) -> float:
        """How far two right ones are typically apart, relative to their size."""
        there = self.value != 0
        each = self.bound[there] / np.abs(self.value[there])
        return float(np.median(each)) if each.size else 0.0

    def room(self, guessed: Array, slack: Array) -> Array:
        """How far yours may be from a guess."""
        more: Array = 8 * (slack + self.rounding * np.abs(guessed)) + 2.0**-48 * np.abs(guessed)
        return more


@np.errstate(all="ignore")
def by_pattern(it: Wrong, known: Known) -> Diagnosis | None:
    """The likeliest mistake that gives exactly these numbers; None where none does."""
    case = _case(it, known)
    if case is None:
        return None
    for guess in itertools.chain.from_iterable(family(case) for family in _FAMILIES):
        if _explains(case, guess):
            says = f"the gradient of {it.name}: {guess.says}"
            return Diagnosis(it.name, guess.mistake, says, guess.remedy)
    return None


@np.errstate(all="ignore")
def where(it: Wrong, known: Known) -> str:
    """Where exactly a gradient is wrong, and what it is there, if that is a rule; else nothing."""
    case = _case(it, known)
    if case is None:
        return ""
    own, right = case.own[case.off], case.value[case.off]
    what = "yours is wrong"
    if not own.any():
        what = "yours is 0"
    elif not right.any():
        what = "the right one is 0, and yours is not,"
    elif agree(own, -right, case.room(right, case.bound[case.off])).all():
        what = "yours is minus the right one"
    visible = case.off | (np.abs(case.value) > 100 * case.bound)
    for mask, words in _conditions(case):
        mask = np.broadcast_to(mask, case.own.shape)
        if ((mask == case.off) | ~visible).all() and _no_chance(mask, visible):
            return f"the gradient of {it.name}: {what} exactly {words}"
    return ""


def _case(it: Wrong, known: Known) -> _Case | None:
    """A gradient that may have a pattern."""
    own, value, bound = (np.asarray(each, np.float64) for each in (it.own, it.value, it.bound))
    finite = all(np.isfinite(each).all() for each in (own, value, bound))
    if own.shape != value.shape or own.size < 2 or not finite or not it.off.any():
        return None
    case = _Case(it.name, own, value, np.broadcast_to(bound, own.shape), it.complex)
    case.off, case.known = it.off, known
    return case


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


def _no_chance(chosen: Array, among: Array) -> bool:
    """Whether a choice of elements is one of so many that it is no coincidence."""
    n, k = int(among.sum()), int((chosen * among).sum())
    k = min(k, n - k)
    return k > 4 or (k > 0 and math.comb(n, k) > _CHANCE)


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
    return bool(rows.size) and (steps <= {1} or len(steps) == 1 and len(rows) > 2)


def _as_axis(array: Array, axis: int, ndim: int) -> Array:
    """A row of numbers laid along one of several axes."""
    return array.reshape([-1 if k == axis else 1 for k in range(ndim)])


# ---- the right numbers at other places


def _swapped(case: _Case) -> _Guesses:
    """Another input's gradient."""
    known, value = case.known, case.value
    if case.name not in known.inputs:
        return
    for q in known.inputs.values():  # the two may be alike but for a factor that was left out
        times = case.own * q if q.shape == value.shape else case.own
        if agree(times, value, case.room(value, case.bound)).all():
            return
    for name, other in known.gradients.items():
        if name == case.name or name not in known.inputs:
            continue
        theirs = known.returned.get(name, np.empty(0))
        is_there = theirs.shape == value.shape and np.allclose(theirs, value)
        least = 2 if is_there else 3  # both are seen to be in the other's place
        ways = [(other, "", least), (-other, "minus ", 3), (other.T, "transposed, ", 3)]
        for array, how, least in ways:
            if array.shape == case.own.shape:
                says = f"yours is {how}the right gradient of {name}"
                remedy = f"return the gradients of {case.name} and {name} under their own names"
                yield _Guess(array, case.bound, "swapped-gradients", says, remedy, least)


@dataclass
class _Order:
    """Which row of the right gradient each row of yours holds; −1 where it is zero."""

    rows: Array
    says: str
    mistake: str = "wrong-index"


def _moved(case: _Case) -> _Guesses:
    """Rows, along any axis, that hold other rows' gradients, or nothing."""
    remedy = "compare the index that is read with the index that is written"
    value, shape = case.value, case.value.shape
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        own, right, off = (
            np.moveaxis(each, axis, 0).reshape(n, -1) for each in (case.own, value, case.off)
        )
        weights = np.random.default_rng(0).uniform(1, 2, own.shape[1])
        keys, wanted = right @ weights, own @ weights  # a number for every row
        room = 1e-6 * (np.abs(right) @ weights).max()
        found = _found_order(case, axis, _rows(keys, wanted, own, off))
        for order in itertools.chain(_orders(shape, axis), found):
            kept, rows = order.rows >= 0, np.maximum(order.rows, 0)
            if (np.abs(keys[rows] * kept - wanted) <= room).all():
                kept = _as_axis(kept, axis, value.ndim)
                lost = _different(value[np.broadcast_to(~kept, shape) & case.off])
                taken, slack = (np.take(each, rows, axis) for each in (value, case.bound))
                least = 3 if lost < 3 else 0
                yield _Guess(taken * kept, slack, order.mistake, order.says, remedy, least)


def _orders(shape: Index, axis: int) -> Iterator[_Order]:
    """The usual ones: reversed, shifted, grouped the other way."""
    n = shape[axis]
    here, row = np.arange(n), _thing(shape, axis)
    yield _Order(here[::-1], f"the {row}s are in reverse order (axis {axis})")
    for by in (1, -1) if n > 2 else ():
        there = here - by
        says = f"{row} i holds the right gradient of {row} i {'−' if by > 0 else '+'} 1"
        says = f"{says} (shifted along axis {axis}"
        within = np.where((there >= 0) & (there < n), there, -1)
        yield _Order(there % n, f"{says}, around the end)")
        yield _Order(within, f"{says}; {row} {int(np.argmin(within))} is zero)")
    for groups in range(2, min(n // 2, 64) + 1):
        if n % groups == 0:
            rows = here.reshape(groups, -1).T.ravel()
            counts = f"{groups} groups of {n // groups}"
            says = f"the {row}s are in another order (axis {axis}): as if {counts} were interleaved"
            yield _Order(rows, says)


def _rows(keys: Array, wanted: Array, own: Array, off: Array) -> Array:
    """The row of the right gradient that each row of yours is nearest to; −1 for zeros."""
    order, n = np.argsort(keys), len(keys)
    k = np.clip(np.searchsorted(keys[order], wanted), 1, n - 1)
    before, after = order[k - 1], order[k]
    nearer = np.abs(keys[before] - wanted) <= np.abs(keys[after] - wanted)
    rows = np.where(nearer, before, after)
    found: Array = np.where(off.any(1), np.where(own.any(1), rows, -1), np.arange(n))
    return found


def _found_order(case: _Case, axis: int, rows: Array) -> Iterator[_Order]:
    """The order that yours are in, if each wrong row is zero or nearly a row of the right one."""
    shape, n = case.own.shape, len(rows)
    lost, moved = np.flatnonzero(rows < 0), np.flatnonzero((rows >= 0) & (rows != np.arange(n)))
    thing, sources = _thing(shape, axis), set(rows[rows >= 0].tolist())
    if lost.size and not moved.size:
        yield from _left(rows, shape, axis)
    elif len(sources) == 1 and n > 2 and (not lost.size or len(moved) == 1):
        at = f"{_along(shape, axis, moved)}, alone," if lost.size else f"every {thing}"
        says = f"{at} holds the gradient of {thing} {sources.pop()}"
        yield _Order(rows, f"{says}{'; the others are zero' * bool(lost.size)}", "one-sample-only")
    elif moved.size and (case.own.size > n or (len(moved) > 3 and len(set(rows.tolist())) == n)):
        pairs = [f"{thing} {i} holds that of {thing} {rows[i]}" for i in moved[:3].tolist()]
        more = ", and so on" if len(moved) > 3 else ""
        zero = f"; {len(lost)} are zero" if lost.size else ""
        yield _Order(rows, f"{', '.join(pairs)}{more} (axis {axis}){zero}")


def _left(rows: Array, shape: Index, axis: int) -> Iterator[_Order]:
    """Right rows beside rows of zeros, if the ones or the others are at regular steps."""
    lost, kept = np.flatnonzero(rows < 0), np.flatnonzero(rows >= 0)
    if _regular(kept) and len(kept) <= len(lost):
        mistake = "one-sample-only" if len(kept) == 1 else "partial-sum"
        says = f"only {_along(shape, axis, kept)} counted; the others are zero"
        yield _Order(rows, says, mistake)
    elif kept.size and _regular(lost):
        yield _Order(rows, f"yours is zero in {_along(shape, axis, lost)}", "partial-sum")


def _turned(case: _Case) -> _Guesses:
    """Axes in another order."""
    ndim = case.value.ndim
    for axes in itertools.permutations(range(ndim)) if ndim <= 4 else ():
        changed = [k for k in range(ndim) if axes[k] != k]
        value, bound = (each.transpose(axes) for each in (case.value, case.bound))
        if changed and value.shape == case.value.shape:
            says = f"axes {', '.join(map(str, changed))} are in another order: {axes}"
            if len(changed) == 2:
                says = f"axes {changed[0]} and {changed[1]} are interchanged"
            last = changed == [ndim - 2, ndim - 1]
            mistake = "transposed-gradient" if last else "wrong-axis"
            yield _Guess(value, bound, mistake, says, "put the axes in the input's order")


def _reduced(case: _Case) -> _Guesses:
    """The same along an axis: a mean or a sum of the right one along it."""
    for axis in range(case.own.ndim) if case.own.ndim > 1 else ():
        for how, reduce in (("mean", np.mean), ("sum", np.sum)):
            value, slack = (reduce(each, axis, keepdims=True) for each in (case.value, case.bound))
            says = f"yours is the {how} of the right one along axis {axis}, the same all along it"
            yield _Guess(value, slack, "wrong-axis", says, f"do not reduce over axis {axis}", 2)


def _symmetric(case: _Case) -> _Guesses:
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
    one = "yours is G + Gᵀ of the right one G"
    forms = {
        f"{twice}: G + Gᵀ − diag G of the right one G, as for a symmetric matrix": by_halves,
        f"{twice}, in the lower triangle alone: {fair}": np.tril(by_halves),
        f"{twice}, in the upper triangle alone: {fair}": np.triu(by_halves),
        f"yours is (G + Gᵀ)/2 of the right one G: {fair}": both / 2,
        one: both,
        f"{one}, its diagonal zero": both - 2 * np.where(eye, G, 0),
        f"{one}, in the lower triangle alone": np.tril(both),
        f"{one}, in the upper triangle alone": np.triu(both),
    }
    for says, form in forms.items():
        yield _Guess(form, slack, mistake, says, remedy)
    given = case.known.inputs.get(case.name)
    if given is not None and np.array_equal(given, np.swapaxes(given, -1, -2)):
        fair_ones = case.own + np.swapaxes(case.own, -1, -2)
        if agree(fair_ones, both, case.room(both, slack)).all():
            says = f"{fair}; it differs from PyTorch's by an antisymmetric part"
            yield _Guess(case.own, slack, mistake, says, remedy)


def _conjugate(case: _Case) -> _Guesses:
    """Real and imaginary parts on the last axis, the second with its sign turned."""
    if case.complex:
        says = "yours is the complex conjugate of the right one"
        value = case.value * np.array([1.0, -1.0])
        yield _Guess(value, case.bound, "conjugate", says, "conjugate it")


# ---- sums of which something is left out


def _repeated(case: _Case) -> _Guesses:
    """Rows that an index gathers, of which only some count."""
    known, value = case.known, case.value
    arrays = known.inputs | {f"the gradient of {k}": v for k, v in known.gradients.items()}
    n = len(value)
    for name, index in known.inputs.items():
        named = index.dtype.kind in "iu" and ((index >= 0) & (index < n)).all()
        places = index.ravel()
        for words, array in arrays.items() if named else ():
            if array.shape != index.shape + value.shape[1:] or array.dtype.kind != "f":
                continue
            parts = array.reshape((-1, *value.shape[1:])).astype(np.float64)
            whole, size, last, first = (np.zeros_like(value) for _ in range(4))
            np.add.at(whole, places, parts)
            np.add.at(size, places, np.abs(parts))
            slack = case.bound + case.rounding * size
            if not agree(whole, value, case.room(whole, slack)).all():
                continue
            last[places], first[places[::-1]] = parts, parts[::-1]
            counts = _as_axis(np.maximum(np.bincount(places, minlength=n), 1), 0, value.ndim)
            remedy = f"add the rows of {words} up: numpy.add.at, index_add"
            of = f"of repeated indices in {name} only the"
            yield _Guess(last, slack, "one-sample-only", f"{of} last one counts", remedy)
            yield _Guess(first, slack, "one-sample-only", f"{of} first one counts", remedy)
            says = f"rows that {name} names several times are averaged, not summed"
            yield _Guess(whole / counts, slack, "scaled-by-constant", says, remedy)


# ---- numbers that were cut


def _limited(case: _Case) -> _Guesses:
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


def _printed(case: _Case) -> _Guesses:
    """Rounded to a number of decimals, or of digits."""
    size = np.floor(np.log10(np.abs(np.where(case.value == 0, 1, case.value)))) + 1
    for words, unit_of, some in (
        ("decimals", 0 * size, range(1, 12)),
        ("significant digits", size, range(2, 15)),
    ):
        for k in some:
            unit = 10.0 ** (unit_of - k)
            guess = np.round(case.value / unit) * unit
            if agree(guess, case.own, 2.0**-48 * np.abs(guess)).all():
                says = f"yours is the right one, rounded to {k} {words}"
                remedy = "print 17 significant digits"
                yield _Guess(guess, case.bound, "too-few-digits", says, remedy)


@np.errstate(all="ignore")
def few_digits(it: Wrong, known: Known) -> Diagnosis | None:
    """Errors of one order that go up and down slowly along an input, as constants make them."""
    case = _case(it, known)
    if case is None:
        return None
    there = case.off & (case.value != 0)
    value, apart = case.value[there], case.error[there]
    error, n = apart / value, len(value)
    if n < 8 or n < 0.7 * case.own.size:
        return None
    sizes = np.abs(error)
    size = float(np.median(sizes))
    near = ((sizes > size / 30) & (sizes < size * 30)).mean()
    far = (np.abs(apart) > 50 * case.bound[there]).mean()
    same = [q[there] for q in known.inputs.values() if q.shape == case.own.shape]
    along = [q for q in same if _different(q) == n]
    parts = [error, *(error * value / q for q in same)]
    steady = n >= 12 and np.abs(np.sign(error).sum()) >= 0.9 * n
    if min(near, far) < 0.8 or size > 1e-3 or not (steady or _smooth(parts, along)):
        return None
    says = f"the gradient of {it.name}: yours is right to {-math.log10(size):.1f} digits, as with a"
    says += " constant of few digits, or without a small one"
    return Diagnosis(it.name, "too-few-digits", says, "write constants with all digits")


def _smooth(parts: list[Array], along: list[Array]) -> bool:
    """Whether one of several rows of errors goes up and down slowly along one of the inputs."""
    n = len(parts[0])
    # in any order, squares of steps of ranks have this mean and deviation, in units of the spread
    deviation = math.sqrt(4 * (n - 2) / (n * n - 1))
    steep = 2 - deviation * math.sqrt(2 * math.log(max(len(parts) * len(along), 1) / 0.02))
    for part, row in itertools.product(parts, along):
        ranks = np.argsort(np.argsort(part)) - (n - 1) / 2
        steps = np.square(np.diff(ranks[np.argsort(row)])).sum() / np.square(ranks).sum()
        if steps < steep:
            return True
    return False


# ---- wrong where something holds


def _conditions(case: _Case) -> Iterator[tuple[Array, str]]:
    """Conditions that may hold exactly where yours is wrong, and their words."""
    shape, ndim = case.own.shape, case.own.ndim
    for axis, n in enumerate(shape):
        rows = np.flatnonzero(np.moveaxis(case.off, axis, 0).reshape(n, -1).any(1))
        if len(rows) < n and _regular(rows):
            mask = _as_axis(np.isin(np.arange(n), rows), axis, ndim)
            yield mask, f"in {_along(shape, axis, rows)}"
    if ndim > 1:
        row, column = np.arange(shape[-2])[:, None], np.arange(shape[-1])
        yield row == column, "on the diagonal"
        yield row != column, "off the diagonal"
        yield row < column, "above the diagonal"
        yield row > column, "below the diagonal"
    for name, q in case.known.inputs.items():
        if q.shape == shape and q.dtype.kind in "fiub":
            yield q == 0, f"where {name} is 0"
            yield q < 0, f"where {name} is negative"
            yield q > 0, f"where {name} is positive"
            yield q > 1, f"where {name} is above 1"
            far = np.abs(q.astype(np.float64)) > 1
            yield far, f"where {name} is above 1 or below −1"


_FAMILIES: list[Callable[[_Case], _Guesses]] = [
    _conjugate,
    _printed,
    _symmetric,
    _moved,
    _turned,
    _repeated,
    _limited,
    _reduced,
    _swapped,
]
