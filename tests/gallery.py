"""The gallery of hand-derived gradients, as modules by name, for tests and campaigns."""

import importlib
import inspect
import sys

from scripts.benchmarks.gradient_peers import FOLDER, expressions

NAMES = expressions()

sys.path.insert(0, str(FOLDER))


def expression(name):
    """The module: reference, hand and inputs."""
    return importlib.import_module(name)


def any_size(name, random, largest=12):
    """Inputs of the expression with every size drawn from 1 to largest."""
    sizes = list(inspect.signature(expression(name).inputs).parameters)[1:]
    drawn = {size: int(random.integers(1, largest + 1)) for size in sizes}
    if name == "batch_norm":
        drawn["N"] = max(drawn["N"], 2)  # PyTorch refuses a single sample
    return expression(name).inputs(random, **drawn)
