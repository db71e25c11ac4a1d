"""How many threads both sides compute with, and whether each side has one of its own."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

_pools: list[ThreadpoolController] = []


@contextmanager
def threads(number=1):
    """NumPy and PyTorch compute with so many threads inside the block.

    With one, a run gives the same bits whatever the machine's settings are: more change the order of summation. And two
    libraries' pools that take turns disturb each other: PyTorch's threads spin while NumPy's work. The number holds for
    this thread (OpenMP's is each thread's own); `beside` takes it along.
    """
    if not _pools:
        _pools.append(ThreadpoolController())  # looks through the loaded libraries, once
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with _pools[0].limit(limits=number):
            yield
    finally:
        torch.set_num_threads(before)


def room_beside():
    """Whether the machine has cores for both sides at once, each with its number of threads."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return 2 * torch.get_num_threads() <= cores


def beside():
    """An executor with one thread, in which PyTorch computes with as many threads as here."""
    return ThreadPoolExecutor(
        1, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
    )
