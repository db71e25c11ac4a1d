"""How many threads both sides compute with."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch

_OPENBLAS = "scipy_openblas_{}_num_threads64_ openblas_{}_num_threads64_ openblas_{}_num_threads"
# What reads and what sets the number of threads, by the BLAS that NumPy may be built with.
_FUNCTIONS = (
    *((name.format("get"), name.format("set")) for name in _OPENBLAS.split()),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)


@contextmanager
def threads(number: int = 1) -> Iterator[None]:
    """NumPy and PyTorch compute with this number of threads inside the block.

    With one, a run gives the same bits whatever the machine's settings are: more change the order
    of summation. Two libraries' pools that take turns also disturb each other: PyTorch's threads
    spin while NumPy's work.

    NumPy's products are OpenBLAS's or MKL's. Where NumPy has another BLAS (Accelerate, BLIS), it
    keeps its own number of threads: the verdict holds, but another number may change last bits.
    """
    before = torch.get_num_threads()
    blas = _blas()
    blas_before = blas[0]() if blas else number
    torch.set_num_threads(number)
    try:
        if blas:
            blas[1](number)
        yield
    finally:
        torch.set_num_threads(before)
        if blas:
            blas[1](blas_before)


@cache
def _blas() -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """What reads and what sets the threads of NumPy's BLAS, looked for once; None if not found."""
    package = Path(np.__file__).parent
    linked = package.glob("linalg/_umath_linalg.*")  # finds what it is linked with, not on Windows
    beside = package.parent.glob("numpy.libs/*openblas*")
    for path in (*linked, *beside):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for read, write in _FUNCTIONS:
            if hasattr(library, write):
                return getattr(library, read), getattr(library, write)
    return None
