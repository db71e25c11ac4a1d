"""Files that are read: TOML, CSV tables, lines of JSON."""

import csv
import difflib
import io
import json
import math
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.errors import Unusable, short
from lockstep.network.names import Array

MOST = 2**26  # characters of a line
MOST_BYTES = 2**29  # of a file that is read at once
_EXAMPLE = '{"step": 1, "h": [[0.5]]}'


def key_beside(path: str) -> str:
    """Where the key of a worksheet is written: sheet_key.pdf, beside sheet.pdf."""
    stem, dot, kind = path.rpartition(".")
    return f"{stem}_key{dot}{kind}"


def real_number(text: str) -> float:
    """The float that a text says.

    Raises:
        ValueError: The text is no number, or one nearer to 0 than any float but 0.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {short(text)}") from None
    if value == 0 and any(digit in "123456789" for digit in text.lower().partition("e")[0]):
        raise ValueError(
            f"expected 0 or a number that a float64 can tell from 0, got {short(text)}"
        )
    return value


def read_bytes(path: str | Path, kind: str) -> bytes:
    """What is in a file, read once, so that it may be a pipe.

    Args:
        path: The file.
        kind: What is expected in it, for messages.

    Raises:
        Unusable: It cannot be read, or is longer than any such file.
    """
    with reading(path, kind), open(path, "rb") as file:
        found = file.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise Unusable(f"{path}: is longer than {MOST_BYTES:,} bytes; expected {kind}")
    return found


@contextmanager
def reading(name: str | Path, kind: str) -> Iterator[None]:
    """Report a file that cannot be opened, or is not what is expected, as Unusable."""
    try:
        yield
    except Unusable:
        raise
    except OSError as error:
        raise Unusable(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{name}: expected {kind} in UTF-8") from None
    except RecursionError:
        raise Unusable(f"{name}: expected {kind}, but this one is nested too deeply") from None
    except (ValueError, csv.Error) as error:
        raise Unusable(f"{name}: expected {kind}: {error}") from None


def read_text(path: str | Path, kind: str) -> str:
    """The text of a file; a byte order mark at its beginning is left out. See `read_bytes`."""
    found = read_bytes(path, kind)
    with reading(path, kind):
        return found.decode("utf-8-sig")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a TOML file.

    Raises:
        Unusable: The file cannot be read, or is not TOML.
    """
    text = read_text(path, "a TOML file")
    with reading(path, "a TOML file"):
        return tomllib.loads(text, parse_float=real_number)


def nearest(name: str, names: Iterable[str]) -> str:
    """ "; did you mean h1 or h2?", or nothing."""
    names = list(names)
    same = [one for one in names if one.lower() == name.lower()]
    close = same or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(one[:60] for one in close)}?" if close else ""


def read_table(path: str, inputs: Sequence[str], targets: Sequence[str]) -> tuple[Array, Array]:
    """x (N, n_in) and y (N, n_out), float64, from a CSV file whose first line names its columns.

    Args:
        path: The file.
        inputs: The names of the columns of x, in order.
        targets: The names of the columns of y, in order.

    Raises:
        Unusable: The message names the file and, where it helps, the line and the column.
    """
    text = read_text(path, "a CSV file")
    with reading(path, "a CSV file"):
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, row) for row in reader if row]
    if not lines:
        raise Unusable(f"{path}: the file is empty; expected a header line with column names")
    header = [name.strip() for name in lines.pop(0)[1]]
    if not lines:
        raise Unusable(f"{path}: has no row of numbers below its header")
    for name in (*inputs, *targets):
        if header.count(name) != 1:
            problem = "occurs twice" if name in header else "is not there"
            there = f"it has {len(header)} columns{nearest(name, header)}"
            raise Unusable(f"{path}: column {short(name)} {problem}; {there}")
    for line, row in lines:
        if len(row) != len(header):
            fields = f"has {len(row)} fields; expected {len(header)}, as in the header"
            raise Unusable(f"{path}: line {line}: {fields}")

    def column(name: str) -> list[float]:
        at = header.index(name)
        return [_field(row[at], f"{path}: line {line}, column {name!r}") for line, row in lines]

    x, y = (np.array([column(name) for name in names]).T for names in (inputs, targets))
    return x, y


def _field(text: str, where: str) -> float:
    try:
        value = real_number(text)
    except ValueError as reason:
        raise Unusable(f"{where}: {reason}") from None
    if not math.isfinite(value) or "_" in text:
        raise Unusable(f"{where}: expected a finite number, got {text!r}")
    return value


def read_lines(path: str, example: str = _EXAMPLE) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of JSON of a recording, those that are empty left out.

    Args:
        path: A file, or - for standard input, which is read as it comes.
        example: An object that a line may hold, for messages.

    Yields:
        What a message about the line starts with, and the object that the line holds.

    Raises:
        Unusable: The file cannot be read, or a line holds no JSON object.
    """
    name = "standard input" if path == "-" else path
    number = 0
    with (
        reading(name, "lines of JSON"),
        sys.stdin if path == "-" else open(path, encoding="utf-8-sig") as file,
    ):
        while text := file.readline(MOST + 1):
            number += 1
            where = f"{name}: line {number}: "
            if len(text) > MOST:
                raise Unusable(f"{where}is longer than {MOST:,} characters; expected a line a step")
            if text.strip():
                yield where, parsed(text, where, example)


def parsed(text: str, where: str, example: str) -> dict[str, Any]:
    """The object that JSON holds.

    Args:
        text: A line, or several.
        where: What a message starts with.
        example: What may stand there, for messages.

    Raises:
        Unusable: It is no JSON, or no object.
    """
    try:
        values = json.loads(text, parse_float=real_number, object_pairs_hook=_each_name_once)
        if "\\u" in text:
            json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except RecursionError:
        raise Unusable(f"{where}is nested too deeply; expected JSON such as {example}") from None
    except UnicodeEncodeError:
        raise Unusable(f"{where}has half of a surrogate pair; expected Unicode text") from None
    except ValueError as reason:
        raise Unusable(f"{where}{_what_is_wrong(text, reason, example)}") from None
    if not isinstance(values, dict):
        raise Unusable(f"{where}expected an object such as {example}, got {short(values)}")
    return values


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise Unusable(f"{short(name)} stands there twice; expected each name once")
        values[name] = value
    return values


def _what_is_wrong(text: str, error: ValueError, example: str) -> str:
    """Why a text is no JSON, and what to do about it."""
    if isinstance(error, Unusable):
        return str(error)
    if not isinstance(error, json.JSONDecodeError):
        return str(error) if str(error).startswith("expected") else "a number of too many digits"
    rest, several = text[error.pos :], "\n" in text.strip()
    line = f"line {error.lineno}: " if several else ""
    if rest.lstrip("-+").lower().startswith(("nan", "inf")):
        word = rest.replace("]", ",").replace("}", ",").partition(",")[0].strip()
        return f'{line}{word} is no number of JSON; expected it in quotes: "{word}"'
    if text.lstrip().startswith("["):
        one = "an object" if several else "an object a line"
        return f"expected {one}, such as {example}, got the beginning of a list"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return f"{line}is cut off; expected {'all' if several else 'a whole line'} of JSON"
    reason = error.msg[0].lower() + error.msg[1:]
    return f"{line}expected JSON; column {error.colno}: {reason}, at {short(rest[:20].rstrip())}"
