"""The steps of a run: each side is called once a step, and every step's bound is computed."""

from contextlib import contextmanager

import numpy as np
import pytest

from lockstep import compare
from lockstep.bound.allowed import tolerance
from lockstep.run.steps import records
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn
from tests.lockstep.test_api import records_of
from torch_reference import two_layer as torch_two_layer

SMALL = {"sizes": "3-4-2", "samples": 5, "batch_size": 2, "steps": 50}


@contextmanager
def noted(note):
    """A context in which note is called before each step by PyTorch."""
    torch_step = torch_two_layer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch_two_layer, "step", lambda **given: (note(given), torch_step(**given))[1]
        )
        yield


def test_pytorch_makes_each_step_once():
    made = []
    with noted(made.append):
        _, found = records_of(problem=SMALL)
    assert len(made) == 50
    assert [record.number for record in found] == list(range(1, 51))


def test_a_mismatch_ends_the_run_at_its_step():
    made, calls = [], []

    def step(o, y):
        made.append(1)
        return {"delta_o": 2 * (o - y) / y.size * (1 if len(made) < 3 else 1.5)}

    with noted(calls.append):
        assert compare(step, battery=0).first_mismatch["step"] == 3
    assert (len(made), len(calls)) == (3, 3)


@pytest.mark.slow
def test_every_step_is_judged_by_its_own_bound(monkeypatch):
    seen = []

    def one_wrong_digit(W_h, b_h, W_o, b_o, x, y, lr):
        seen.append(1)
        got = torch_two_layer.step(W_h, b_h, W_o, b_o, x, y, lr, hidden_activation="tanh")
        if len(seen) == 977:
            got["grad_W_h"] = got["grad_W_h"] * (1 + 1e-12)
        return got

    settings = {"sizes": (8, 8, 8), "samples": 4, "hidden_activation": "tanh", "lr": 1e-4}
    result = compare(one_wrong_digit, settings | {"steps": 2000}, battery=0)
    assert result.first_mismatch["step"] == 977
    assert result.first_mismatch["quantity"] == "grad_W_h"


@pytest.mark.slow
def test_the_worst_and_the_resolution_are_of_all_steps():
    problem = make_problem(SMALL | {"sizes": (3, 4, 2), "steps": 300, "hidden_activation": "tanh"})
    found = list(records(problem, tolerance(problem, {}), BuiltIn()))
    result = compare(None, SMALL | {"steps": 300, "hidden_activation": "tanh"})
    ratio = np.concatenate([record.ratio() for record in found])
    assert result.worst_ratio == ratio.max()
    finest = np.concatenate([r.flat_allowed / np.abs(r.flat_torch) for r in found])
    assert result.resolution["worst"] == finest.max()
    assert result.resolution["typical"] == pytest.approx(np.median(finest), rel=0.012)


def test_what_pytorch_raises_is_raised_by_the_run():
    made = []

    def run_out_of_memory(_):
        made.append(1)
        if len(made) == 9:
            raise MemoryError("of the ninth step")

    with noted(run_out_of_memory), pytest.raises(MemoryError, match="of the ninth step"):
        compare(None, SMALL)
    assert len(made) == 9


def test_a_derivation_may_call_the_same_step_by_pytorch():
    def step(W_h, b_h, W_o, b_o, x, y, lr):
        torch_two_layer.step(W_h + 1, b_h, W_o, b_o, x, y, lr)
        return torch_two_layer.step(W_h, b_h, W_o, b_o, x, y, lr)

    result = compare(step, {"sizes": (3, 4, 2), "samples": 5, "steps": 10}, battery=0)
    assert (result.verdict, result.steps_run) == ("match", 10)


@pytest.mark.slow
def test_a_fixed_tolerance_holds_in_every_piece_of_a_large_array():
    settings = {"sizes": (300, 200, 2), "samples": 3, "steps": 1}
    assert compare(None, settings, rtol=1e-9, atol=1e-9).verdict == "match"

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        got = torch_two_layer.step(W_h, b_h, W_o, b_o, x, y, lr)
        got["grad_W_h"] = got["grad_W_h"].copy()
        got["grad_W_h"][177, 211] += 1e-3
        return got

    result = compare(step, settings, rtol=1e-9, atol=1e-9, battery=0)
    assert result.first_mismatch["index"] == [177, 211]
    assert compare(step, settings, battery=0).first_mismatch["index"] == [177, 211]
