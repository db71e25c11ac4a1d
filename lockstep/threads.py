"""One thread for both sides, so that a run gives the same bits whatever the machine's thread settings are."""

from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

_pools: list[ThreadpoolController] = []


@contextmanager
def one_thread():
    """NumPy and PyTorch compute with one thread inside the block.

    More threads change the order of summation, and two libraries' pools that take turns disturb each other: PyTorch's
    threads spin while NumPy's work.
    """
    if not _pools:
        _pools.append(ThreadpoolController())  # looks through the loaded libraries, once
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _pools[0].limit(limits=1):
            yield
    finally:
        torch.set_num_threads(before)
