"""What the user's code may use."""

import random

import numpy as np
import pytest

from lockstep.sides.limits import Budget, Limits, hidden, keep_to


def test_a_budget_is_spent_by_all_that_share_it():
    budget = Budget(3.0)
    one, other = Limits(budget=budget), Limits(budget=budget)
    assert (one.most, Limits(5.0).most) == (3.0, 5.0)
    one.spent(2.0)
    assert other.most == 1.0
    other.spent(2.0)
    assert 0 < one.most < 0.01  # 0 would be no limit
    Limits(5.0).spent(2.0)


def test_random_numbers_are_those_of_the_seed():
    found = []
    for seed in (1, 1, 2):
        keep_to(dict(Limits(seed=seed).message))
        found.append((random.random(), np.random.rand()))  # noqa: NPY002
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(("given", "calls"), [({"memory": 100}, 1), ({"written": 5}, 1), ({}, 0)])
def test_only_what_is_limited_is(given, calls, monkeypatch):
    resource = pytest.importorskip("resource")
    seen = []
    monkeypatch.setattr(resource, "setrlimit", lambda *it: seen.append(it))
    keep_to(dict(Limits(**given).message))
    assert len(seen) == calls


def test_a_hidden_process_is_one_again():
    with hidden():
        pass
    with open("/proc/self/environ", "rb") as file:
        assert file.read()
