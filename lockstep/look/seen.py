"""What a program's variables held as it ran, and where a number is found among that."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from lockstep.look.scalars import Gathering, Group, Place
from lockstep.network.names import Array, Quantities

_FEW = 400  # numbers of a variable that are looked at one by one
_GATHERED = 10**9  # from here on, arrays are counted that are made of such numbers

_T = TypeVar("_T")
Key = tuple[str, str]  # a function, and a name in it


@dataclass(frozen=True)
class Sighting:
    """A variable that held something new.

    Attributes:
        time: When.
        where: The function.
        line: The line that had just run, or is about to.
        name: The variable, as the program writes it: self.W1, params['W1'], layer.neurons[*].bias.
        content: Which array it held.
        file: Where the line stands.
        parts: Of numbers in variables of their own, where each was assigned.
    """

    time: int
    where: str
    line: int
    name: str
    content: int
    file: str = ""
    parts: tuple[Place, ...] = ()

    @property
    def key(self) -> Key:
        return self.where, self.name


@dataclass
class Series:
    """The numbers that a variable held one after the other, at one line."""

    where: str
    line: int
    name: str
    file: str = ""
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """A quantity of a step, and the variable that it is.

    Attributes:
        ours: Its value in our layout, without the factor.
        at: Where it was seen.
        transposed: Whether the program has it the other way round.
        factor: What the program's is times ours: −1, N …
        is_right: Whether it was recognised by its value.
    """

    ours: Array
    at: Sighting
    transposed: bool = False
    factor: float = 1.0
    is_right: bool = True

    @property
    def theirs(self) -> Array:
        """With the factor, as the program has it; in our layout."""
        return self.ours * self.factor


class Seen:
    """Everything that was seen so far.

    Args:
        until: When it must be recognised, as `time.monotonic` says it.
        text: What stands in a line of a file.
        groups: By function the variables of one number each that are an array together.

    Attributes:
        arrays: By number.
        totals: The sums of their elements' sizes.
        sightings: In the order of time.
        of: By array where it was seen.
        series: Numbers by function, line and name.
        made: Whether a forward pass makes some outputs, as far as that was tried.
        rows_of: By array of inputs, whether samples are its columns and whether it has a label,
            which rows it is of longer arrays, by the number of their rows.
    """

    def __init__(
        self,
        until: float = np.inf,
        text: Callable[[int, str], str] = lambda line, file: "",
        groups: Mapping[str, Sequence[Group]] | None = None,
    ) -> None:
        self.until, self.text = until, text
        self._gathered = {
            where: [Gathering(group) for group in of] for where, of in (groups or {}).items()
        }
        self._alike: dict[tuple[object, ...], int] = {}  # gathered arrays
        self.arrays: dict[int, Array] = {}
        self.totals: dict[int, float] = {}
        self.made: dict[tuple[object, ...], bool] = {}
        self.rows_of: dict[tuple[object, ...], dict[int, Array]] = {}
        self.sightings: list[Sighting] = []
        self.series: dict[tuple[str, int, str, str], Series] = {}
        self._known: dict[object, tuple[int, Any]] = {}  # of how many sightings it was made
        self._numbers: dict[float, int] = {}
        self.of: dict[int, list[Sighting]] = defaultdict(list)
        self.history: dict[Key, list[Sighting]] = defaultdict(list)
        self.partial: set[int] = set()  # lists that were being filled

    def add(
        self,
        sightings: Iterable[tuple[int, str, int, str, int, str]],
        numbers: Iterable[tuple[str, int, str, str]],
        partial: Iterable[int],
        arrays: Quantities,
    ) -> None:
        """Take in what the child process sent."""
        for name, array in arrays.items():
            if not name.startswith("series"):
                self._keep(int(name), array)
        new = [Sighting(*given) for given in sightings]
        places = [(it.key, self._place(it)) for it in new]
        for it in new:
            self._note(it)
        self.partial.update(partial)
        for i, (where, line, name, file) in enumerate(numbers):
            series = Series(where, line, name, file)
            one = self.series.setdefault((where, line, name, file), series)
            pairs = arrays[f"series {i}"]
            one.times += pairs[:, 0].tolist()
            one.values += pairs[:, 1].tolist()
            if not _counts(one.values):
                self._as_arrays(one, len(one.values) - len(pairs))
            if self._gathered.get(where):
                places += [
                    ((where, name), Place(value, time, line, file, name))
                    for time, value in pairs.tolist()
                ]
        self._gather(sorted(places, key=lambda part: part[1].time))
        self.sightings.sort(key=lambda it: it.time)
        for history in self.history.values():
            history.sort(key=lambda it: it.time)

    def _note(self, it: Sighting) -> None:
        self.sightings.append(it)
        self.of[it.content].append(it)
        self.history[it.key].append(it)

    def _keep(self, content: int, array: Array) -> None:
        array = array if array.dtype.kind == "f" else array.astype(np.float64)
        self.arrays[content] = array
        self.totals[content] = float(np.abs(array, dtype=np.float64).sum())

    def _place(self, it: Sighting) -> Place:
        return Place(self.arrays[it.content], it.time, it.line, it.file, it.name)

    def _gather(self, new: list[tuple[Key, Place]]) -> None:
        """Take what variables that belong together got last for arrays."""
        for (where, name), place in new:
            for gathering in self._gathered.get(where, ()):
                parts = gathering.taken(name, place)
                array = gathering.group.array(parts) if parts else None
                if array is not None:
                    self._as_array(gathering.group, where, parts, array)

    def _as_array(self, group: Group, where: str, parts: tuple[Place, ...], array: Array) -> None:
        alike = array.shape, array.tobytes()
        content = self._alike.setdefault(alike, _GATHERED + len(self._alike))
        last = max(parts, key=lambda part: part.time)
        it = Sighting(int(last.time), where, last.line, group.name, content, last.file, parts)
        history = self.history[it.key]
        if len(history) < _FEW and not (history and history[-1].content == content):
            self._keep(content, array)
            self._note(it)

    def _as_arrays(self, series: Series, known: int) -> None:
        """Take the numbers of a series from some place on, of many the first, for arrays."""
        new = slice(known, _FEW)
        for at, value in zip(series.times[new], series.values[new], strict=True):
            content = self._numbers.setdefault(value, -1 - len(self._numbers))
            if content not in self.arrays:
                self._keep(content, np.array([value]))
            where, line, name = series.where, series.line, series.name
            self._note(Sighting(int(at), where, line, name, content, series.file))

    def hurry(self) -> None:
        """Raise TimeoutError where the time is over."""
        if monotonic() > self.until:
            raise TimeoutError

    def first(self, content: int) -> Sighting:
        """Where an array was seen first."""
        return self.of[content][0]

    def held_until(self, content: int) -> float:
        """When the last variable that held an array got another one."""
        return self.known(self._ends)[content]

    def _ends(self) -> dict[int, float]:
        ends: dict[int, float] = defaultdict(float)
        for history in self.history.values():
            for it, following in pairwise(history):
                ends[it.content] = max(ends[it.content], following.time)
            for it in history[-1:]:
                ends[it.content] = np.inf
        return ends

    def known(self, make: Callable[..., _T], *given: object) -> _T:
        """What follows from all that was seen; made anew only where more was seen since.

        Args:
            make: Makes it.
            given: What it is called with.
        """
        count, value = self._known.get((make, given), (-1, None))
        if count != len(self.sightings):
            value = make(*given)
            self._known[make, given] = len(self.sightings), value
        made: _T = value
        return made

    def held(self, key: Key) -> list[int]:
        """The arrays that a variable held one after the other, without lists being filled."""
        return [it.content for it in self.history[key] if it.content not in self.partial]

    def named(self, names: Iterable[str]) -> set[int]:
        """The arrays that variables of some names held, whichever quotes these have."""
        names = {name.replace('"', "'").strip() for name in names}
        return {it.content for it in self.sightings if it.name in names}

    def at(self, key: Key, time: float) -> Sighting | None:
        """What a variable held at a time."""
        history = self.history[key]
        i = bisect_right(history, time, key=lambda it: it.time)
        return history[i - 1] if i else None

    def since(self, key: Key, time: float) -> Sighting | None:
        """What a variable held at a time, and since when; None of a list that is being filled."""
        history = self.history[key]
        i = bisect_right(history, time, key=lambda it: it.time) - 1
        while i > 0 and history[i - 1].content == history[i].content:
            i -= 1
        return history[i] if i >= 0 and history[i].content not in self.partial else None

    def within(self, after: float, until: float) -> list[Sighting]:
        """What was seen new in a span of time, without lists being filled."""
        first = bisect_right(self.sightings, after, key=lambda it: it.time)
        last = bisect_right(self.sightings, until, key=lambda it: it.time)
        return [it for it in self.sightings[first:last] if it.content not in self.partial]

    def numbers(self, after: float, until: float) -> Iterator[tuple[Series, Array, Array]]:
        """What variables held in a span of time, one number after the other, and the differences.

        These are one more where the variable held a number before.
        """
        for series in self.series.values():
            first, last = bisect_right(series.times, after), bisect_right(series.times, until)
            if last > first:
                values = np.array(series.values[max(first - 1, 0) : last])
                yield series, values[first > 0 :], np.diff(values)

    def during(self, after: float, until: float) -> list[float]:
        """The numbers that variables held in a span of time, or still hold."""
        return self.known(self._during, after, until)

    def _during(self, after: float, until: float) -> list[float]:
        found = dict[float, None]()
        for series in self.series.values():
            first, last = bisect_right(series.times, after), bisect_right(series.times, until)
            found |= dict.fromkeys(series.values[max(first - 1, last - _FEW, 0) : last])
        return list(found)

    def constants(self) -> list[float]:
        """The numbers that variables held all the time."""
        values: dict[Key, set[float]] = defaultdict(set)
        for series in self.series.values():
            values[series.where, series.name] |= {*series.values[:2], series.values[-1]}
        return [value for held in values.values() if len(held) == 1 for value in held]

    @property
    def dtype(self) -> str:
        """What the program computes in."""
        floats = [it.dtype for it in self.arrays.values() if it.size > 1]
        single = sum(it == np.float32 for it in floats)
        return "float32" if single > len(floats) / 2 else "float64"

    def scalars(self) -> dict[str, float]:
        """By name the first number that each variable held."""
        found: dict[str, float] = {}
        for series in self.series.values():
            found.setdefault(series.name, series.values[0])
        return found

    def _by_size(self, after: float, until: float) -> dict[int, tuple[list[Sighting], Array]]:
        """By size the arrays that were seen in a span of time, and the sums of their sizes."""
        found: dict[int, dict[int, Sighting]] = defaultdict(dict)
        for it in self.within(after, until):
            known = found[self.arrays[it.content].size]
            if it.content not in known or known[it.content].name.endswith("()"):
                known[it.content] = it
        return {
            size: (list(alike.values()), np.array([self.totals[content] for content in alike]))
            for size, alike in found.items()
        }

    def find(
        self,
        value: Array,
        tolerance: float,
        factors: Iterable[float] = (1.0,),
        after: float = -1,
        until: float = np.inf,
    ) -> list[Found]:
        """The variables that held a quantity, those without a factor first.

        Args:
            value: As it should be.
            tolerance: Relative to its largest element.
            factors: What the program's may be times ours.
            after: When it was seen new.
            until: The end of the span.
        """
        self.hurry()
        size = float(np.abs(value).max(initial=0))
        total = float(np.abs(value).sum())
        if not np.isfinite(total) or not size:
            return []
        found = []
        contents, sums = self.known(self._by_size, after, until).get(value.size, ([], np.empty(0)))
        for factor in factors:
            room = value.size * tolerance * abs(factor) * size
            for at in np.flatnonzero(np.abs(sums - abs(factor) * total) <= room):
                for form, transposed in forms(self.arrays[contents[at].content], value.shape):
                    apart = np.abs(form - factor * value).max()
                    if apart <= tolerance * abs(factor) * size:
                        found.append(Found(form / factor, contents[at], transposed, factor))
                        break
        return sorted(found, key=lambda it: (it.factor != 1, it.at.name.endswith("()")))


def forms(array: Array, shape: tuple[int, ...]) -> Iterator[tuple[Array, bool]]:
    """An array as one of a shape: as it is, the other way round, or without axes of one element."""
    if array.shape == shape:
        yield array, False
    if array.ndim == 2 and array.T.shape == shape:
        if array.shape != shape or not np.array_equal(array, array.T):
            yield array.T, True
    elif array.shape != shape and _squeezed(array.shape) == _squeezed(shape):
        yield array.reshape(shape), False


def _counts(values: list[float]) -> bool:
    """Whether a variable counts."""
    return len(values) > 2 and set(np.diff(values[:9]).tolist()) == {1.0}


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
