"""Files that are read: TOML, CSV tables, lines of JSON."""

import csv
import json
import math
import sys
import tomllib
from pathlib import Path

import numpy as np

from lockstep.errors import Unusable, short


def real_number(text):
    """The float that a text says. Raises ValueError where it says none, or one nearer to 0 than any float but 0."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {short(text)}") from None
    if value == 0 and any(digit in "123456789" for digit in text.lower().partition("e")[0]):
        raise ValueError(
            f"expected 0 or a number that a float64 can tell from 0, got {short(text)}"
        )
    return value


def read_toml(path):
    """What a TOML file holds. Raises Unusable."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"), parse_float=real_number)
    except OSError as error:
        raise Unusable(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{path}: expected a TOML file in UTF-8") from None
    except RecursionError:
        raise Unusable(f"{path}: expected a TOML file, but this one is nested too deeply") from None
    except ValueError as error:
        raise Unusable(f"{path}: expected a TOML file: {error}") from None


def read_table(path, inputs, targets):
    """x (N, n_in) and y (N, n_out), float64, from the named columns of a CSV file with a header line.

    Raises ValueError with one line that names the file, the row and the column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [
                (reader.line_num, row)
                for reader in [csv.reader(file, strict=True)]
                for row in reader
                if row
            ]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a CSV file in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path}: expected a CSV file: {error}") from None
    if not rows:
        raise ValueError(f"{path}: the file is empty; expected a header line with column names")
    header = [name.strip() for name in rows[0][1]]
    if not rows[1:]:
        raise ValueError(f"{path}: has no row of numbers below its header")
    for name in inputs + targets:
        if header.count(name) != 1:
            problem = "occurs twice" if name in header else "is not there"
            raise ValueError(
                f"{path}: column {name!r} {problem}; its columns are {', '.join(header)}"
            )
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"{path}: line {line}: has {len(row)} fields; expected {len(header)}, as in the header"
            )

    def column(name):
        at = header.index(name)
        return [_number(row[at], f"{path}: line {line}, column {name!r}") for line, row in rows[1:]]

    return tuple(np.array([column(name) for name in names]).T for names in (inputs, targets))


def _number(text, where):
    try:
        value = real_number(text)
    except ValueError as reason:
        raise ValueError(f"{where}: {reason}") from None
    if not math.isfinite(value) or "_" in text:
        raise ValueError(f"{where}: expected a finite number, got {text!r}")
    return value


MOST = 2**26  # characters of a line


def read_lines(path):
    """(where, values, text) of each line that is not empty; where: what a message starts with. Raises Unusable.

    path: of a file, or - for standard input, which is read as it comes.
    """
    name = "standard input" if path == "-" else path
    number = 0
    try:
        with sys.stdin if path == "-" else open(path, encoding="utf-8-sig") as file:
            while text := file.readline(MOST + 1):
                number += 1
                where = f"{name}: line {number}: "
                if len(text) > MOST:
                    raise Unusable(
                        f"{where}is longer than {MOST:,} characters; expected a line a step"
                    )
                if text.strip():
                    yield where, _parsed(text, where), text
    except OSError as error:
        raise Unusable(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{name}: expected lines of JSON in UTF-8") from None


def _parsed(text, where):
    """The object that a line holds."""
    try:
        values = json.loads(text, object_pairs_hook=lambda pairs: _without_doubles(pairs, where))
    except RecursionError:
        raise Unusable(f"{where}is nested too deeply; expected a line of JSON") from None
    except json.JSONDecodeError as error:
        raise Unusable(f"{where}{_what_is_wrong(text, error)}") from None
    except ValueError as error:
        raise (
            error
            if isinstance(error, Unusable)
            else Unusable(f"{where}a number of too many digits")
        ) from None
    if not isinstance(values, dict):
        raise Unusable(
            f'{where}expected an object such as {{"step": 1, "h": [[0.5]]}}, got {short(values)}'
        )
    return values


def _without_doubles(pairs, where):
    values = {}
    for name, value in pairs:
        if name in values:
            raise Unusable(f"{where}{short(name)} stands there twice; expected each name once")
        values[name] = value
    return values


def _what_is_wrong(text, error):
    """Why a line is no JSON, and what to do about it."""
    rest = text[error.pos :]
    if rest.lstrip("-+").lower().startswith(("nan", "inf")):
        word = rest.replace("]", ",").replace("}", ",").partition(",")[0].strip()
        return f'{word} is no number of JSON; expected it in quotes: "{word}"'
    if text.lstrip().startswith("["):
        return 'expected an object a line, such as {"step": 1, "h": [[0.5]]}, got the beginning of a list'
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "is cut off; expected a whole line of JSON"
    return f"expected JSON; column {error.pos + 1}: {error.msg[0].lower()}{error.msg[1:]}, at {short(rest[:20].rstrip())}"
