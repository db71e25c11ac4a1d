"""What these inputs could not show: mistakes that would have changed nothing.

Every rule looks at one input and yields the name of a mistake and a sentence: what was not tested,
and inputs that would show it. A rule speaks only where the reference has an operation that the
mistake is about.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lockstep.gradients.measured import Check
from lockstep.network.names import Array

Unseen = tuple[str, str]

_BLOCK = 16  # numbers in the smallest block of a kernel
_SIGNS = frozenset(
    "abs sgn sign copysign relu threshold clamp clamp_min leaky_relu elu hypot".split()
)
_TIES = frozenset(
    "max amax min amin maximum minimum sort topk median kthvalue max_pool2d_with_indices".split()
)
_INDEXING = frozenset("index embedding gather index_select scatter_add index_add take".split())
_SUMS = frozenset("mean sum var_mean native_layer_norm native_batch_norm".split())
_MOST = 10_000  # elements of an input that is looked at


def untested(it: Check) -> list[Unseen]:
    """Names of mistakes, each with a sentence."""
    found: dict[tuple[str, str], Unseen] = {}  # the first of each kind
    for name, array in it.inputs.items():
        if 1 < array.size <= _MOST:
            for rule in _OF_FLOATS if array.dtype.kind == "f" else (_of_integers,):
                for mistake, sentence in rule(it, name, array):
                    found.setdefault((mistake, rule.__name__), (mistake, sentence))
    return list(found.values())


def _of_floats(it: Check, name: str, array: Array) -> Iterator[Unseen]:
    if name in it.incoming:
        return
    if it.used & _SIGNS and (array > 0).all():
        yield (
            "factor-missing",
            f"every {name} is positive, so a forgotten sign({name}), or a wrong branch for "
            f"{name} < 0, would not show; use numbers of both signs",
        )
    if it.used & _TIES and name in it.wanted and np.unique(array).size == array.size:
        yield (
            "kink",
            f"no two values of {name} are equal, so ties were not tested; round {name}",
        )
    if (array == array.flat[0]).all():
        value = float(array.flat[0])
        mistake = "incoming-gradient-ignored" if value == 1 and name not in it.wanted else ""
        yield (
            mistake or ("factor-missing" if value == 1 else "wrong-index"),
            f"every {name} is {value:g}, so a factor {name} that is left out, or one element in "
            "place of another, would not show; use random numbers",
        )
        return
    for axis, length in enumerate(array.shape):
        first, second = np.array_split(array, [length - length // 2], axis)[:2]
        if length > 1 and length % 2 == 0 and np.array_equal(first, second):
            yield (
                "wrong-index",
                f"the two halves of {name} along axis {axis} are equal, so one in place of the "
                "other would not show; use random numbers",
            )


def _of_shape(it: Check, name: str, array: Array) -> Iterator[Unseen]:
    shape = array.shape
    if array.ndim > 1 and shape[0] == 1:
        yield (
            "one-sample-only",
            f"axis 0 of {name} has length 1, so a mean for a sum, or one sample for all, would "
            "not show; use more",
        )
    if array.ndim == 2 and shape[0] == shape[1] > 1:
        if np.array_equal(array, array.T):
            yield (
                "transposed-weights",
                f"{name} is symmetric, so {name} transposed would not show; use random numbers",
            )
        if it.used & _SUMS:
            yield (
                "scaled-by-constant",
                f"both axes of {name} have length {shape[0]}, so a mean over the wrong one has the "
                "right factor; use different lengths",
            )


def _of_blocks(it: Check, name: str, array: Array) -> Iterator[Unseen]:
    """What kernels do in blocks: their tails."""
    is_a_layers = bool(it.incoming) and name not in it.incoming
    if is_a_layers and all(length % _BLOCK == 0 for length in array.shape):
        lengths = "1, 31, 33 or 65" if array.ndim == 1 else "31 x 33 or 65 x 1"
        yield (
            "partial-sum",
            f"all lengths of {name} are multiples of {_BLOCK}, so a tail that a block or a mask "
            f"leaves out would not show; use others, such as {lengths}",
        )


def _of_integers(it: Check, name: str, array: Array) -> Iterator[Unseen]:
    if array.dtype.kind not in "iu" or not it.used & _INDEXING:
        return
    _, counts = np.unique(array, return_counts=True)
    if counts.max() == 1:
        yield (
            "wrong-index",
            f"no index in {name} is repeated, so it would not show that only the last one counts; "
            "repeat some",
        )
    elif it.incoming and counts.max() < min(_BLOCK, array.size) / 4:
        yield (
            "partial-sum",
            f"no index in {name} is repeated more than {counts.max()} times, so it would not show "
            "that some of many additions to one place are lost; let half of them be the same",
        )


_OF_FLOATS = _of_floats, _of_shape, _of_blocks
