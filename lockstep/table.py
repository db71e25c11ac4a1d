"""A CSV file's columns as arrays."""

import csv
import math

import numpy as np

from lockstep.keys import real_number


def read_table(path, inputs, targets):
    """x (N, n_in) and y (N, n_out), float64, from the named columns of a CSV file with a header line.

    Raises ValueError with one line that names the file, the row and the column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [(reader.line_num, row) for reader in [csv.reader(file, strict=True)] for row in reader if row]
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
            raise ValueError(f"{path}: column {name!r} {problem}; its columns are {', '.join(header)}")
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(f"{path}: line {line}: has {len(row)} fields; expected {len(header)}, as in the header")

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
