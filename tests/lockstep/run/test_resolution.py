"""How fine a run could see: exact for short runs, within a bin for long ones, zeros left out."""

import numpy as np
import pytest

from lockstep.bound.bounded import Precision
from lockstep.run.resolution import Ratios, Resolution


def resolution():
    return Ratios(Precision.of("float64"))


def test_median_worst_and_blind():
    seen = resolution()
    seen.add(np.array([1e-15, 2e-15, 3e-15, 5.0]), np.array([1.0, -1.0, 1.0, 2.0]))
    assert seen.summary() == Resolution(2.5e-15, 2.5, 1)


def test_a_zero_that_rounding_could_not_move_is_neither_blind_nor_counted():
    seen = resolution()
    seen.add(np.array([1e-15, 1e-300, 0.0]), np.array([1.0, 0.0, 0.0]))
    assert seen.summary() == Resolution(1e-15, 1e-15, 0)


def test_a_zero_that_rounding_made_is_blind():
    seen = resolution()
    seen.add(np.array([1e-17]), np.array([0.0]))
    assert seen.summary().blind == 1
    assert seen.summary().worst == np.inf


def test_nothing_compared_has_no_resolution():
    assert resolution().summary() == Resolution(None, None, 0)


def test_the_median_of_many_values_is_right_within_a_bin():
    ratios = 10 ** np.random.default_rng(2).uniform(-16, -8, 300_000)
    seen = resolution()
    for part in np.split(ratios, 1000):
        seen.add(part, np.ones_like(part))
    assert seen.summary().typical == pytest.approx(np.median(ratios), rel=0.012)
    assert seen.summary().worst == ratios.max()


def test_of_a_large_step_evenly_spaced_values_count_for_the_median():
    ratios = 10 ** np.random.default_rng(3).uniform(-16, -8, 200_000)
    ratios[77_777] = 0.5
    seen = resolution()
    seen.add(ratios, np.ones_like(ratios), every=7)
    assert seen.filled == len(ratios[::7])
    assert seen.summary().typical == np.median(ratios[::7])
    assert seen.summary().worst == 0.5


def test_one_large_step_counts_as_many_small_ones():
    ratios = 10 ** np.random.default_rng(2).uniform(-16, -8, 200_000)
    seen = resolution()
    seen.add(ratios, np.ones_like(ratios))
    assert seen.summary().typical == pytest.approx(np.median(ratios), rel=0.012)
