"""Directed rounding: it is on inside the block alone, and only where everything obeys it."""

import ctypes
import platform

import numpy as np
import pytest
import torch

from lockstep.gradients import rounding
from lockstep.gradients.rounding import modes, rounded

SOME = pytest.mark.skipif(not modes(), reason="rounding can't be directed here")


def third():
    one = 1.0
    return one / float(np.float64(3))


@SOME
@pytest.mark.parametrize(
    "compute",
    [
        third,
        lambda: float(np.full(9, 1 / 3) @ np.full(9, 1 / 3)),
        lambda: float(torch.full((9,), 1 / 3, dtype=torch.float64).cumsum(0)[-1]),
    ],
)
def test_python_numpy_and_pytorch_round_down_and_up_and_then_as_before(compute):
    down, up, _ = modes()
    before = compute()
    with rounded(down):
        low = compute()
    with rounded(up):
        high = compute()
    assert low < high
    assert low <= before <= high
    assert compute() == before


@SOME
def test_rounding_is_as_before_after_an_exception():
    before = third()
    with pytest.raises(ArithmeticError), rounded(modes()[1]):
        raise ArithmeticError
    assert third() == before


@pytest.mark.parametrize("machine", ["riscv64", ""])
def test_an_unknown_processor_has_no_modes(monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert modes.__wrapped__() == ()


def test_a_processor_that_does_not_obey_has_no_modes(monkeypatch):
    monkeypatch.setattr(rounding, "_set_mode", lambda: lambda mode: 0)
    assert modes.__wrapped__() == ()


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_a_c_library_without_fesetround_has_no_modes(monkeypatch, error):
    def fails(_):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fails)
    assert rounding._set_mode.__wrapped__() is None
    monkeypatch.setattr(rounding, "_set_mode", rounding._set_mode.__wrapped__)
    assert modes.__wrapped__() == ()


@SOME
def test_the_modes_are_those_of_the_processor():
    assert modes.__wrapped__() == rounding._MODES[platform.machine().lower()]
