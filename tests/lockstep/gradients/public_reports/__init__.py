"""Backward passes that were reported to be wrong, in public: each wrong, and right.

A report is a class that is never made: `inputs(random)` draws its inputs, `reference` is the
expression in PyTorch, `right` and `wrong` are the gradients. Its docstring names the source. What
`test_public_reports.py` expects of each stands there, in one table.
"""

import numpy as np


def normal(random, **shapes):
    """Inputs by name, drawn from the standard normal distribution."""
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
