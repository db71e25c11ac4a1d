"""What a check is given: arrays by name, alone or inside dicts and lists, and constants.

Every array has a name of its own: `x`, or `params['W1']`, or `layers[0]`. Only arrays whose
gradient is returned are ever differentiated; everything else is passed on as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.gradients.reference import Named, as_array, floating
from lockstep.network.names import Array, Quantities


@dataclass
class Given:
    """The inputs of a check.

    Attributes:
        tree: By name as they were passed, with every array replaced by its name in `arrays`.
        arrays: Every array and every number, by a name of its own.
        numbers: The names of those that are Python's own numbers.
        kinds: By name the dtype that the reference gets, where NumPy has another one.
    """

    tree: Named = field(default_factory=dict)
    arrays: Quantities = field(default_factory=dict)
    numbers: set[str] = field(default_factory=set)
    kinds: dict[str, torch.dtype] = field(default_factory=dict)

    def built(self, leaf: Callable[[str], Any]) -> Named:
        """The inputs in the structure in which they were passed. leaf: an array from its name."""
        found: Named = rebuilt(self.tree, lambda it: leaf(it.name) if isinstance(it, _Leaf) else it)
        return found

    def for_hand(self, arrays: Quantities) -> Named:
        """Copies of arrays, such as `self.arrays`, and everything else as it is."""
        return self.built(
            lambda name: arrays[name].item() if name in self.numbers else arrays[name].copy()
        )

    def for_torch(self, tensors: dict[str, Tensor], device: str, numbers: bool = True) -> Named:
        """Tensors in the dtypes that were given. numbers: Python's own stay what they are."""

        def leaf(name: str) -> Any:
            tensor = tensors[name]
            if numbers and name in self.numbers and not tensor.requires_grad:
                return self.arrays[name].item()
            kind = self.kinds.get(name, tensor.dtype)
            return tensor if kind == tensor.dtype and device == "cpu" else tensor.to(device, kind)

        return self.built(leaf)


@dataclass(frozen=True)
class _Leaf:
    name: str


def rebuilt(node: Any, change: Callable[[Any], Any]) -> Any:
    """Dicts, lists and tuples with everything else in them changed."""
    if isinstance(node, dict):
        return {key: rebuilt(value, change) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return _like(node, [rebuilt(value, change) for value in node])
    return change(node)


def each_in(node: Any) -> Iterator[Any]:
    """What is in dicts, lists and tuples."""
    if isinstance(node, dict | list | tuple):
        for part in node.values() if isinstance(node, dict) else node:
            yield from each_in(part)
    else:
        yield node


def _like(node: Any, values: list[Any]) -> Any:
    """The values in a list, a tuple or a named tuple."""
    return type(node)(*values) if hasattr(node, "_fields") else type(node)(values)


def given(inputs: Named) -> Given:
    """What a check is given, looked at.

    Raises:
        TypeError: lists of numbers are no array, or nothing can be differentiated.
        ValueError: Two have the same name, as a part of a dict and another input may.
    """
    it = Given()
    it.tree = {name: _taken(it, name, value) for name, value in inputs.items()}
    if not floating(it.arrays):
        raise TypeError(
            "no input holds floating-point numbers; "
            "expected at least one that can be differentiated, as x.astype(float)"
        )
    return it


def _taken(it: Given, name: str, value: Any) -> Any:
    """An input, or a part of one, with its arrays noted."""
    match value:
        case dict():
            return {key: _taken(it, f"{name}[{key!r}]", part) for key, part in value.items()}
        case int() | float() | complex() if not isinstance(value, bool):
            it.numbers.add(name)
            return _noted(it, name, np.asarray(value))
        case list() if _all_numbers(value):
            return _noted(it, name, _as_rectangle(name, value))
        case list() | tuple() if not all(isinstance(part, int) for part in value):
            return _like(value, [_taken(it, f"{name}[{i}]", part) for i, part in enumerate(value)])
        case Tensor() | np.ndarray() | np.generic() if not isinstance(value, str):
            return _noted(it, name, value)
    return value  # a constant, such as a shape


def _noted(it: Given, name: str, value: Any) -> Any:
    """The name of an array, which is noted; as it is what can't be differentiated."""
    if isinstance(value, Tensor) and value.layout != torch.strided:
        return value
    array = as_array(value)
    if array.dtype.kind not in "fiubc":
        return value
    if isinstance(value, Tensor) and value.dtype == torch.bfloat16:
        it.kinds[name] = value.dtype
    if name in it.arrays:
        raise ValueError(f"two inputs are called {name}; expected different names")
    it.arrays[name] = _native(array)
    return _Leaf(name)


def _all_numbers(values: Any) -> bool:
    """Whether lists inside lists hold numbers alone, and some."""
    if isinstance(values, list):
        return bool(values) and all(map(_all_numbers, values))
    return isinstance(values, int | float | complex)


def _as_rectangle(name: str, value: list[Any]) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise TypeError(f"input {name!r} is no array: {error}") from None


def _native(array: Array) -> Array:
    """The array in the machine's byte order, in a type that PyTorch has, without odd strides."""
    kind = array.dtype.newbyteorder("=")
    widest = np.dtype(np.complex128 if kind.kind == "c" else np.float64)
    if kind.kind in "fc" and kind.itemsize > widest.itemsize:
        kind = widest
    if kind.kind == "u" and kind.itemsize > 1:
        kind = np.dtype(np.int64)
    return np.asarray(array, kind, order="C")


def flat(answer: Named, it: Given) -> Named:
    """Gradients in the structure of the inputs, as gradients by the names of arrays."""
    found: Named = {}
    for name, value in answer.items():
        _flattened(found, name, value, it.tree.get(name))
    return found


def _flattened(found: Named, name: str, value: Any, node: Any) -> None:
    if isinstance(node, dict) and isinstance(value, dict):
        for key, part in value.items():
            _flattened(found, f"{name}[{key!r}]", part, node.get(key))
    elif isinstance(node, list | tuple) and isinstance(value, list | tuple):
        for i, (part, its) in enumerate(zip(value, chain(node, repeat(None)), strict=False)):
            _flattened(found, f"{name}[{i}]", part, its)
    else:
        found[name] = value


def parts(array: Array) -> Array:
    """Complex numbers as pairs of real ones on a last axis; real ones as they are, in float64."""
    if array.dtype.kind == "c":
        array = np.ascontiguousarray(array).astype(np.complex128)
        return array.view(np.float64).reshape(*array.shape, 2)
    return array.astype(np.float64, copy=False)


def largest(array: Array) -> Any:
    """The size of the largest number; 0 where there is none."""
    return np.max(np.abs(array), initial=0.0)


def digest(it: Given) -> str:
    """A digest of inputs: of names, shapes, types and numbers, the same on every machine."""
    found = hashlib.sha256()
    for name in sorted(it.arrays):
        array = it.arrays[name]
        little = array.astype(array.dtype.newbyteorder("<"))
        kind = str(it.kinds.get(name, little.dtype.str))
        found.update(f"{name} {array.shape} {kind} ".encode() + little.tobytes())
    return found.hexdigest()
