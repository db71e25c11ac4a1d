"""What changes as parameters do, among what a program's variables held."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise

import numpy as np

from lockstep.look.seen import Key, Seen
from lockstep.network.names import Array

_EARLY = 3  # arrays that a variable of a parameter may hold up to the first forward pass
_WRITTEN = 200  # arrays of a variable among which those are looked for that it held longest
_PART = 0.75  # of its size by which a step changes a parameter at most, or its line must say so
_UPDATE = re.compile(r"\b(?P<name>[\w.].*?)\s*(=\s*(?P=name)\s*[-+]|[-+]=)")
_BIAS = re.compile(r"\bb|_b(?![a-z])|bias")  # in the names of biases
_LINES = 6  # variables of a number each, at most, among which a line's two are looked for


def changing(seen: Seen) -> frozenset[int]:
    """What variables held early that then changed by a part of its size, as parameters do.

    With what stays beside it, in variables whose names are the same but for numbers.
    """
    return seen.known(_changing, seen)


def _changing(seen: Seen) -> frozenset[int]:
    found, trained = set[int](), set[Key]()
    for key, history in seen.history.items():
        held = _from_the_last_return(seen.held(key))
        arrays = [seen.arrays[content] for content in held[: _EARLY + 2]]
        begins = seen.arrays[history[0].content]
        is_updated = len(held) > 2 and bool(begins.any()) and _are_updates(seen, key)
        if is_updated:
            trained.add(key)
        if is_updated or (drift(arrays) >= 0.6 and not _are_data(seen, held)):
            some = {*held[:_EARLY], *_held_longest(seen, key)}
            found |= {c for c in some if seen.arrays[c].shape == arrays[-1].shape}
    alike = set(map(_without_numbers, trained))
    stays = {  # W3, beside W1 and W2 that change
        history[0].content
        for key, history in seen.history.items()
        if key not in trained and _without_numbers(key) in alike
    }
    return frozenset(found | stays)


def _from_the_last_return(held: list[int]) -> list[int]:
    """What a variable held since it was moved to and fro, as for difference quotients.

    Nothing where anything but its first array comes back: that is data.
    """
    others = [content for content in held if content != held[0]]
    if len({*others}) < len(others):
        return []
    while held and held[0] in held[1:]:
        held = held[held.index(held[0], 1) :]
    return held


def grown(seen: Seen) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
    """The name of an array that an update makes longer, and its shapes; None where none is."""
    for key, history in seen.history.items():
        shapes = [seen.arrays[it.content].shape for it in history[: _EARLY + 1]]
        longer = [shape for shape in shapes[1:] if np.prod(shape) > np.prod(shapes[0])]
        is_vector = np.prod(shapes[0]) == max(shapes[0], default=0)
        is_whole = history[0].content not in seen.partial
        if longer and is_vector and is_whole and _are_updates(seen, key):
            return key[1], shapes[0], longer[0]
    return None


def biases(seen: Seen, width: int) -> list[str]:
    """The variables of so many numbers that are called like biases, and updated like parameters."""
    found = []
    for key in seen.history:
        held = {*seen.held(key)}
        sizes = {seen.arrays[content].size for content in held}
        if len(held) > 1 and sizes == {width} and _BIAS.search(key[1]) and _are_updates(seen, key):
            found.append(key[1])
    return list(dict.fromkeys(found))


def _are_data(seen: Seen, held: list[int]) -> bool:
    """Whether arrays are whole, or stand in variables that never change, as data do."""
    early = held[: _EARLY + 2]
    if not any((seen.arrays[content] % 1).any() for content in early):
        return True
    places = [seen.held(seen.first(content).key) for content in early[1:]]
    return sum(len(alone) == 1 and alone[0] in held for alone in places) > 1


def _held_longest(seen: Seen, key: Key) -> list[int]:
    """The arrays that a variable held longest: one that is written element by element."""
    few = seen.history[key][:_WRITTEN]
    spans = [after.time - it.time for it, after in pairwise(few)]
    long = [it.content for it, span in zip(few, spans, strict=False) if 2 * span >= max(spans)]
    return [content for content in dict.fromkeys(long) if content not in seen.partial][:_EARLY]


def updated(seen: Seen) -> set[int]:
    """What variables held early from which something is then subtracted, line by line.

    Nothing where these are many: then they are no line's or point's weight and bias.
    """
    keys = [key for key in seen.history if len({*seen.held(key)}) > 2 and _are_updates(seen, key)]
    few = len({name for _, name in keys}) <= _LINES
    return {content for key in keys for content in seen.held(key)[:_EARLY]} if few else set()


def _without_numbers(key: Key) -> Key:
    return key[0], re.sub(r"\d+", "", key[1])


def _are_updates(seen: Seen, key: Key) -> bool:
    """Whether a variable changes where something is subtracted from it."""
    lines = {(it.line, it.file) for it in seen.history[key][2:]}
    own = re.escape(key[1])
    of_several = re.compile(rf"(.*,\s*)?{own}\s*(,.*)?=.*(?<![\w.]){own}\s*[-+]")
    of_lists = re.compile(rf"{own}\s*=\s*\[\s*\w+\s*[-+].*\bin\b.*(?<![\w.]){own}\b")
    return all(
        _UPDATE.search(text) or of_several.match(text) or of_lists.match(text)
        for text in (seen.text(*line) for line in lines)
    )


def varying(seen: Seen, parameters: Collection[int]) -> set[int]:
    """What may be biases: what changes, and arrays that do not.

    Numbers are some where they change as parameters do, or where they are called like biases.
    """
    found: set[int] = set()
    for key in seen.history:
        held = list(dict.fromkeys(seen.held(key)))
        shapes = [seen.arrays[content].shape for content in held]
        if len(held) == 1 and held[0] >= 0:
            array = seen.arrays[held[0]]
            if array.size == max(array.shape) and (array % 1).any():
                found.add(held[0])
        found |= {
            content
            for content in (*held[:_EARLY], *_held_longest(seen, key))
            if shapes.count(seen.arrays[content].shape) > 1
            and (content >= 0 or content in parameters or _BIAS.search(key[1]))
        }
    return found


def drift(arrays: list[Array]) -> float:
    """The part of a variable's changes that are small, as a parameter's are; 0 without any."""
    moves = [_moves_a_little(before, after) for before, after in pairwise(arrays)]
    return sum(moves) / max(len(moves), 1)


def _moves_a_little(before: Array, after: Array) -> bool:
    if before.shape != after.shape:
        return False
    size = max(float(np.linalg.norm(before)), float(np.linalg.norm(after)))
    return bool(np.linalg.norm(after - before) <= _PART * size) or not size
