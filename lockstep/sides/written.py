"""Numbers as they are written: computed ones, and printed ones in quotes, good to half a digit."""

from collections.abc import Iterable
from decimal import Decimal
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.conventions import PLAIN, Conventions
from lockstep.network.names import Array, Quantities
from lockstep.network.problem import Problem, Start
from lockstep.setup.files import real_number
from lockstep.sides.answer import Answer, sort_out
from lockstep.text import counted

# By name an array, and of printed numbers half a unit of the last digit, else 0.
Written: TypeAlias = "dict[str, tuple[Array, Array]]"

ENOUGH = {"float64": 17, "float32": 9}  # significant digits that read back to the same number
FEWEST = 4  # digits that show how numbers are printed: 0.25 is short by itself
_WORDS = {
    "nan": float("nan"),
    "-nan": float("nan"),
    "inf": float("inf"),
    "+inf": float("inf"),
    "-inf": -float("inf"),
}


def as_answer(
    numbers: Written,
    problem: Problem,
    start: Start,
    torch: Quantities,
    where: str = "",
    beside: Iterable[str] = (),
    conventions: Conventions = PLAIN,
) -> Answer:
    """An Answer from written numbers; `printed` is theirs."""
    if not numbers:
        return Answer()
    zeros = {name: np.zeros(np.shape(array)) for name, array in torch.items()}
    values, halves = ({n: pair[i] for n, pair in numbers.items()} for i in (0, 1))
    answer = sort_out(values, problem, start, torch, where, beside, conventions)
    if any(half.any() for half in halves.values()):
        printed = sort_out(halves, problem, start, zeros, where, beside, conventions)
        answer.printed = {name: np.abs(half) for name, half in printed.values.items()}
    return answer


def half_a_unit(value: str) -> float:
    """Half a unit of the last digit of a printed number."""
    return float(Decimal(5).scaleb(int(Decimal(value).as_tuple().exponent) - 1))


def written(value: Any, where: str) -> tuple[Array, Array]:
    """Numbers as an array, and for those in quotes half a unit of their last digit, else 0."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "fiu" and not _holds_bool(value):
            return array.astype(np.float64), np.zeros(array.shape)
        items = np.asarray(value, dtype=object)
        found = [_number(item) for item in items.flat]
    except (ValueError, OverflowError) as reason:
        known = isinstance(reason, Unusable)
        words = str(reason) if known else "expected numbers, in rows of one length"
        raise Unusable(f"{where}: {words}") from None
    pairs = np.array(found, dtype=np.float64).reshape(*items.shape, 2)
    return pairs[..., 0], pairs[..., 1]


def _holds_bool(value: Any) -> bool:
    """Whether a truth value stands among numbers, which NumPy would take for 0 or 1."""
    if not isinstance(value, list):
        return isinstance(value, bool)
    return bool in set(map(type, value)) or any(
        _holds_bool(row) for row in value if isinstance(row, list)
    )


def _number(item: Any) -> tuple[float, float]:
    """A number, and half a unit of its last digit where it stands in quotes, else 0."""
    if isinstance(item, str):
        if item.strip().lower() in _WORDS:
            return _WORDS[item.strip().lower()], 0.0
        try:
            number, half = real_number(item), half_a_unit(item)
        except (ValueError, ArithmeticError):
            number = half = float("inf")
        if "_" in item or not item.isascii() or not isfinite(half):
            raise Unusable(f"expected a number, got {short(item)}")
        return number, half
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise Unusable(f"expected a number, got {short(item)}")
    return float(item), 0.0


# Numbers printed with too few digits, as by C's %f and %g


class Printed(NamedTuple):
    """The most decimals and significant digits of some numbers, and which of them to speak of."""

    decimals: int
    digits: int
    words: str


def printed_as(values: Array) -> Printed:
    """With how many digits numbers seem to be printed; a thousand of them are looked at."""
    finite = values[np.isfinite(values)][:1000]
    numbers = [Decimal(str(number)).normalize().as_tuple() for number in finite]
    decimals = [max(-int(number.exponent), 0) for number in numbers] or [0]
    digits = [len(number.digits) for number in numbers] or [0]
    most, longest = max(decimals), max(digits)
    is_fixed = decimals.count(most) >= digits.count(longest)
    words = (
        counted(most, "printed decimal")
        if is_fixed
        else counted(longest, "printed significant digit")
    )
    return Printed(most, longest, words)


def half_units(values: Array, decimals: int, digits: int) -> Array:
    """Half a unit of the last printed digit, whether decimals or significant ones were counted.

    The coarser of both readings is right for every number; for the longest they agree.
    """
    first = np.floor(np.log10(np.abs(values)))
    half: Array = 0.5 * np.maximum(10.0**-decimals, 10.0 ** (first - digits + 1))
    return half
