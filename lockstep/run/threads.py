"""How many threads both sides compute with."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def threads(number: int = 1) -> Iterator[None]:
    """NumPy and PyTorch compute with this number of threads inside the block.

    With one, a run gives the same bits whatever the machine's settings are: more change the order
    of summation. Two libraries' pools that take turns also disturb each other: PyTorch's threads
    spin while NumPy's work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with _pools().limit(limits=number):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache
def _pools() -> ThreadpoolController:
    """The loaded libraries' pools, looked for once."""
    return ThreadpoolController()
