"""Matrices as heat maps: so many cells as can be seen, each one the element of its block that says most."""

import numpy as np

MOST = 24  # cells a side


def heat(record):
    """By quantity of a step: `shape`, `grid` (rows, columns of cells), and cell by cell `hand`, `torch`, `ratio`, `at`;
    `most` is the largest ratio.

    A cell is the element of its block with the largest difference for what is allowed. ratio: difference / allowed;
    at: the element's position in the matrix, row by row; hand and torch have six significant digits, torch is None
    where these are the same.
    """
    ratio = np.nan_to_num(record.ratio(), nan=np.inf)
    return {
        name: _map(record.manual[name], record.torch[name], ratio[at.start : at.stop])
        for name, at in record.spans()
        if name not in record.covered and record.manual[name].ndim
    }


def cells(shape):
    """How many cells a matrix of this shape gets."""
    return int(np.prod([min(length, MOST) for length in shape]))


def _map(hand, torch, ratio):
    shape = (1, *hand.shape) if hand.ndim == 1 else hand.shape
    ratio = ratio.reshape(shape)
    rows, columns = (np.linspace(0, length, min(length, MOST) + 1).astype(int) for length in shape)
    chosen = []
    for top, bottom in zip(rows[:-1], rows[1:], strict=True):
        for left, right in zip(columns[:-1], columns[1:], strict=True):
            block = ratio[top:bottom, left:right]
            i, j = divmod(int(block.argmax()), right - left)
            chosen.append((top + i) * shape[1] + left + j)
    at = np.array(chosen, dtype=int)
    by_hand, by_torch = ([f"{value:.6g}" for value in side.ravel()[at]] for side in (hand, torch))
    return {
        "shape": list(hand.shape),
        "grid": [len(rows) - 1, len(columns) - 1],
        "hand": [_number(value) for value in by_hand],
        "torch": [None if a == b else _number(b) for a, b in zip(by_hand, by_torch, strict=True)],
        "ratio": [_number(f"{value:.2g}") for value in ratio.ravel()[at]],
        "most": f"{ratio.max():.2g}",
        "at": None if len(at) == ratio.size else at.tolist(),
    }


def _number(text):
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
