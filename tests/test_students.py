"""Ten derivations with a student's slip: found, and named where a name is known."""

import pytest

from tests.gradcheck import gradcheck_finds, lockstep_finds
from tests.students.derivations import DERIVATIONS, names


@pytest.mark.parametrize(
    ("derivation", "problem", "name"), DERIVATIONS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_students_slip_is_found_and_named(derivation, problem, name):
    verdict, given = names(derivation, problem)
    assert verdict == "mismatch"
    assert given[0] == (name or "unknown")


@pytest.mark.parametrize("everywhere", [False, True])
def test_an_error_that_gradcheck_passes_is_found(everywhere):
    assert not gradcheck_finds(5e-4, everywhere)
    assert lockstep_finds(1e-12, everywhere)
