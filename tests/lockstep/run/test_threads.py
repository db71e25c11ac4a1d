"""One thread on both sides inside a run, and the user's own numbers of threads after it."""

import ctypes
from contextlib import suppress

import pytest
import torch

from lockstep import compare
from lockstep.run import threads as home
from lockstep.run.threads import threads


@pytest.fixture
def two():
    """Two threads outside the block under test; gives what reads NumPy's number."""
    read, write = home._blas() or pytest.skip("NumPy has another BLAS here")
    before = read(), torch.get_num_threads()
    write(2)
    torch.set_num_threads(2)
    yield lambda: (read(), torch.get_num_threads())
    write(before[0])
    torch.set_num_threads(before[1])


def test_both_libraries_compute_with_the_number_asked_for_and_get_theirs_back(two):
    assert two() == (2, 2)
    with threads():
        assert two() == (1, 1)
        with threads(3):
            assert two() == (3, 3)
        assert two() == (1, 1)
    assert two() == (2, 2)


def test_the_numbers_of_threads_come_back_after_an_error(two):
    with suppress(ZeroDivisionError), threads():
        raise ZeroDivisionError
    assert two() == (2, 2)


def test_a_comparison_runs_on_one_thread(two):
    seen = []
    compare(steps=1, on_step=lambda *_: seen.append(two()))
    assert (seen, two()) == ([(1, 1)], (2, 2))


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (home, "_FUNCTIONS", (("no_such_get", "no_such_set"),)),
        (ctypes, "CDLL", lambda path: (_ for _ in ()).throw(OSError(path))),
    ],
)
def test_a_run_does_without_a_blas_that_is_not_known(monkeypatch, where, name, value):
    monkeypatch.setattr(where, name, value)
    home._blas.cache_clear()
    try:
        assert home._blas() is None
        assert compare(steps=2).verdict == "match"
    finally:
        home._blas.cache_clear()
