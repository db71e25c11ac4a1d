"""Ten derivations with a student's slip: found, and named where a name is known."""

import pytest

from lockstep.setup.problem import make_problem
from scripts.benchmarks.peers import by_gradcheck, by_lockstep
from tests.campaigns.students.derivations import DERIVATIONS, names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("derivation", "problem", "name"), DERIVATIONS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_students_slip_is_found_and_named(derivation, problem, name):
    verdict, given = names(derivation, problem)
    assert verdict == "mismatch"
    assert given[0] == (name or "unknown")


def test_an_error_that_gradcheck_passes_is_found():
    problem = make_problem({"sizes": (4, 4, 2), "samples": 3, "steps": 1})
    assert not by_gradcheck(problem, 5e-4)
    assert by_lockstep(problem, 1e-12)
