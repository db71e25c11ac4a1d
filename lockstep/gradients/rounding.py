"""Directed rounding: the processor rounds down, up or toward zero, in this thread."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import platform
import threading
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch

_NEAREST = 0
_MODES = {  # of fesetround, by processor: down, up, toward zero
    "x86_64": (0x400, 0x800, 0xC00),
    "amd64": (0x400, 0x800, 0xC00),
    "aarch64": (0x800000, 0x400000, 0xC00000),
    "arm64": (0x800000, 0x400000, 0xC00000),
}


@cache
def _set_mode() -> Callable[[int], int] | None:
    """The C library's fesetround, if there is one."""
    try:
        library = ctypes.CDLL(ctypes.util.find_library("m") or ctypes.util.find_library("c"))
        function: Callable[[int], int] = library.fesetround
    except (OSError, AttributeError, TypeError):
        return None
    return function


@contextlib.contextmanager
def rounded(mode: int) -> Iterator[None]:
    """This thread rounds in a mode inside the block."""
    change = _set_mode()
    assert change is not None
    change(mode)
    try:
        yield
    finally:
        change(_NEAREST)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError in this thread's Python code if the block takes longer.

    A loop that ends when nothing changes may never end under another rounding.
    """
    thread = ctypes.c_ulong(threading.get_ident())
    lock, over = threading.Lock(), list[bool]()

    def end() -> None:
        with lock:
            if not over:  # pragma: no branch - it came just in time
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeoutError))

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over.append(True)
        timer.cancel()


@cache
def modes() -> tuple[int, ...]:
    """The directed modes, if Python, NumPy's products and PyTorch's obey them; else none."""
    known = _MODES.get(platform.machine().lower(), ())
    if _set_mode() is None or not known:
        return ()
    seen = []
    for mode in known[:2]:
        with rounded(mode):
            seen.append([*_products()])
    return known if all(low < high for low, high in zip(*seen, strict=True)) else ()


def _products() -> Iterator[float]:
    """Sums of products that no float holds exactly, by everything that a check computes with."""
    third = 1.0
    third /= 3.0 + 0.0 * third  # at run time, not by the compiler
    yield third
    matrix = np.full((8, 8), 1 / 3)
    yield float((matrix @ matrix)[0, 0])
    tensor = torch.full((8, 8), 1 / 3, dtype=torch.float64)
    yield float((tensor @ tensor)[0, 0])
