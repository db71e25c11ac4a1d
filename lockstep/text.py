"""Numbers, counts, names and tables as a reader sees them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_ULPS = 9999  # above that a relative error says more


def base_name(path: str) -> str:
    """The name of a file without its folders, in characters that any output can hold."""
    return os.fsencode(Path(path).name).decode("utf-8", "replace")


def digits(value: float, dtype: str) -> str:
    """A value with all its digits: the shortest text that reads back to the same number."""
    if dtype == "float32" and float(np.float32(value)) == value:
        return str(np.float32(value))
    return repr(float(value))


def grouped(n: int) -> str:
    """10 000 for 10000."""
    return f"{n:,}".replace(",", " ")


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def counted(n: int, thing: str) -> str:
    """1 step, 10 000 steps."""
    return f"{grouped(n)} {thing}{'' if n == 1 else 's'}"


def percent(share: float) -> str:
    """0.079 as "7.9 %": two significant digits, above 99.5 % a whole number."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{share * 100:.0f} %" if share >= 0.995 else f"{share * 100:.2g} %"


def relative(error: float) -> str:
    """A relative error: "17 %" where that reads well, else "3.0e-07"."""
    if not np.isfinite(error):
        return "whole value"
    if 0.001 <= error < 10:
        return percent(error)
    return f"{error:.1e}" if error < 1 else f"{error:.2g} times"


def distance(manual: float, torch: float, dtype: str) -> str:
    """How far apart two values are: "3 ULP", or beyond 9 999 ULP relative: "17 %", "3.0e-07"."""
    apart = float(ulps(manual, torch, dtype))
    if apart <= MOST_ULPS:
        return f"{max(round(apart), int(manual != torch))} ULP"
    return relative(abs(manual - torch) / abs(torch) if torch else np.inf)


def unbroken(text: str) -> str:
    """The text with no-break spaces inside its numbers: 3 700, 7.9 %."""
    return re.sub(r"(?<=\d) (?=[\d%])", "\N{NO-BREAK SPACE}", text)


def right_digits(error: float) -> int:
    """How many decimal digits are right where the relative error is this: 0 to 17."""
    return int(np.clip(-np.log10(error), 0, 17)) if error > 0 else 17


def ulps(a: ArrayLike, b: ArrayLike, dtype: str) -> NDArray[Any]:
    """The distance of a from b in units of b's last place; infinite where one is not finite."""
    a, b = np.asarray(a, dtype=dtype), np.asarray(b, dtype=dtype)
    with np.errstate(all="ignore"):
        apart = np.abs(a.astype(np.float64) - b) / np.spacing(np.abs(b)).astype(np.float64)
    apart = np.where(np.isfinite(a) & np.isfinite(b), apart, np.inf)
    return np.where(a == b, 0.0, apart)


def columns(rows: Sequence[Sequence[str]], aligned: str) -> list[str]:
    """Rows of texts as lines. Every column is as wide as its widest text: nothing is ever cut.

    Args:
        rows: of equal length.
        aligned: "<" or ">" for each column.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{text:{side}{wide}}" for text, side, wide in zip(row, aligned, widths, strict=False)
        ).rstrip()
        for row in rows
    ]
