"""A surviving mutant needs a reason, and a reason needs a surviving mutant."""

import pytest

from tests.campaigns import mutants
from tests.campaigns.mutants import Excuse, excuses, judged

EXCUSE = Excuse("lockstep.run.judge", "<= limit -> return x < limit", "never equal")
CHANGES = {
    "lockstep.run.judge.x_is_off__mutmut_3": "return x <= limit -> return x < limit",
    "lockstep.run.judge.x_is_off__mutmut_4": "return x <= limit -> return x > limit",
    "lockstep.run.steps.x_is_off__mutmut_1": "return x <= limit -> return x < limit",
}
FITTING, OTHER_CHANGE, OTHER_MODULE = CHANGES


@pytest.fixture(autouse=True)
def changes(monkeypatch):
    monkeypatch.setattr(mutants, "change", CHANGES.get)


def test_every_survivor_with_a_reason_is_status_0(capsys):
    assert judged([FITTING], [EXCUSE]) == 0
    assert "never equal" in capsys.readouterr().out


@pytest.mark.parametrize("survivor", [OTHER_CHANGE, OTHER_MODULE])
def test_a_survivor_without_a_reason_is_status_1(survivor, capsys):
    assert judged([FITTING, survivor], [EXCUSE]) == 1
    assert "NOT EXPLAINED" in capsys.readouterr().out


def test_a_reason_that_no_survivor_has_is_status_1(capsys):
    assert judged([], [EXCUSE]) == 1
    assert "NO SUCH SURVIVOR: lockstep.run.judge" in capsys.readouterr().out


def test_the_reasons_are_those_of_the_package_that_was_mutated():
    halves = [excuses(package) for package in mutants.PACKAGES]
    assert all(halves)
    assert sum(halves, []) == excuses()


def test_another_package_is_refused(capsys):
    assert mutants.main(["scripts"]) == 2
    assert "expected manual_backprop or lockstep" in capsys.readouterr().err
