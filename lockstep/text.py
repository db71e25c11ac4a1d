"""Numbers and counts as a reader sees them, and tables of them."""

import textwrap

import numpy as np
from rich.text import Text

MOST_ULPS = 9999  # above that a relative error says more


def digits(value, dtype):
    """A value with all its digits: the shortest text that reads back to the same number."""
    narrow = np.float32(value) if dtype == "float32" else value
    return str(narrow) if dtype == "float32" and float(narrow) == value else repr(float(value))


def grouped(n):
    """10 000 for 10000."""
    return f"{n:,}".replace(",", " ")


def counted(n, thing):
    """1 step, 10 000 steps."""
    return f"{grouped(n)} {thing}{'s' * (n != 1)}"


def distance(manual, torch, dtype):
    """How far apart two values are: "3 ULP", or beyond 9 999 ULP relative: "17 %", "3e-07"."""
    if manual == torch:
        return "0 ULP"
    apart = float(ulps(manual, torch, dtype))
    if apart <= MOST_ULPS:
        return f"{max(round(apart), 1)} ULP"
    return relative(abs(manual - torch) / abs(torch) if torch else float("inf"))


def relative(error):
    """A relative error: "17 %" where that reads well, else "3e-07"."""
    if not np.isfinite(error):
        return "whole value"
    if 0.001 <= error < 10:
        return f"{error * 100:.2g} %" if error < 1 else f"{error * 100:.0f} %"
    return f"{error:.1e}" if error < 1 else f"{error:.2g} times"


def allowance(allowed, torch, dtype):
    """The bound in ULP of the value, or, where that says nothing (beyond 9 999, or at 0), as it is: "2e-17"."""
    with np.errstate(all="ignore"):
        in_ulps = allowed / float(np.spacing(np.abs(np.asarray(torch, dtype=dtype))))
    return str(int(in_ulps)) if in_ulps <= MOST_ULPS else f"{allowed:.0e}"


def ulps(a, b, dtype):
    """The distance of a from b in units of b's last place; infinite where one is not finite."""
    a, b = np.asarray(a, dtype=dtype), np.asarray(b, dtype=dtype)
    with np.errstate(all="ignore"):
        distance = np.abs(a.astype(np.float64) - b) / np.spacing(np.abs(b)).astype(np.float64)
    distance = np.where(np.isfinite(a) & np.isfinite(b), distance, np.inf)
    return np.where(a == b, 0.0, distance)


def columns(rows, aligned):
    """Rows of texts as lines: every column as wide as its widest text, so that nothing is ever cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{text:{side}{wide}}" for text, side, wide in zip(row, aligned, widths, strict=False)
        ).rstrip()
        for row in rows
    ]


def wrapped(text, width, style=""):
    """A paragraph in lines of `rich.text.Text`."""
    return [Text(line, style) for line in textwrap.wrap(text, width, break_on_hyphens=False)]
