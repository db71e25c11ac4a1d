"""The gradient of an embedding, derived by hand.

rows = table[token];  L = ½ Σ (rows − target)²
d_rows = rows − target
d_table[t] = Σ d_rows[i] over all the places i where token[i] is t
(indexing with += would keep only the last of them; np.add.at adds them all)
"""

import numpy as np
import torch
from gallery import show


def reference(table, token, target):
    return ((torch.nn.functional.embedding(token, table) - target) ** 2).sum() / 2


def hand(table, token, target):
    d_rows = table[token] - target  # (N, n)
    d_table = np.zeros_like(table)  # (V, n)
    np.add.at(d_table, token, d_rows)
    return {"target": -d_rows, "table": d_table}


def inputs(random, V=4, N=6, n=4):
    return dict(
        table=random.normal(size=(V, n)),
        token=random.integers(0, V, N),
        target=random.normal(size=(N, n)),
    )


if __name__ == "__main__":
    show(hand, reference, inputs)
