"""The steps of a run: how far PyTorch is ahead, and in which thread, changes nothing."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from lockstep import compare
from lockstep.network.problem import make_problem
from lockstep.run.steps import is_beside, most_ahead
from lockstep.run.threads import beside, room_beside, threads
from tests.lockstep.test_api import records_of
from torch_reference import two_layer as torch_two_layer

SMALL = {"sizes": "3-4-2", "samples": 5, "batch_size": 2, "steps": 50}
WIDE = {"sizes": (784, 128, 10), "samples": 64}


@pytest.fixture
def in_a_thread(monkeypatch):
    monkeypatch.setattr("lockstep.run.steps.BESIDE", 0)
    monkeypatch.setattr("lockstep.run.steps.room_beside", lambda: True)


@contextmanager
def noted(note):
    """A context in which note is called before each step by PyTorch."""
    torch_step = torch_two_layer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch_two_layer, "step", lambda **given: (note(given), torch_step(**given))[1]
        )
        yield


def assert_equal(records, others):
    for one, other in zip(records, others, strict=True):
        np.testing.assert_array_equal(one.flat_torch, other.flat_torch)
        np.testing.assert_array_equal(one.flat_manual, other.flat_manual)
        np.testing.assert_array_equal(one.x, other.x)


@pytest.mark.parametrize("ahead", [1, 5, 64])
def test_how_far_pytorch_is_ahead_changes_nothing(ahead, monkeypatch):
    monkeypatch.setattr("lockstep.run.steps.AHEAD", ahead)
    made = []
    with noted(made.append):
        result, records = records_of(problem=SMALL)
    assert len(made) == 50
    assert [record.number for record in records] == list(range(1, 51))
    monkeypatch.undo()
    assert_equal(records, records_of(problem=SMALL)[1])


def test_pytorch_is_never_further_ahead_than_the_run_is_long_already():
    made, calls = [], []

    def step(o, y):
        made.append(1)
        return {"delta_o": 2 * (o - y) / y.size * (1 if len(made) < 3 else 1.5)}

    with noted(calls.append):
        assert compare(step, battery=0).first_mismatch["step"] == 3
    assert (len(made), len(calls)) == (3, 3)


def test_few_steps_of_a_large_network_are_made_ahead(monkeypatch):
    assert most_ahead(make_problem({})) == 64
    monkeypatch.setattr("lockstep.run.steps.room_beside", lambda: False)
    assert 10 < most_ahead(make_problem(WIDE)) < 20
    assert most_ahead(make_problem({"sizes": (2048, 2048, 2048), "samples": 2})) == 1


def test_of_wide_networks_pytorch_makes_the_next_step_in_a_thread_of_its_own(in_a_thread):
    made = []
    with noted(lambda _: made.append(threading.get_ident())):
        result, records = records_of(problem=SMALL | {"dtype": "float32"})
    assert len(made) == 50
    assert len({*made, threading.get_ident()}) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lockstep.run.steps.BESIDE", 10**12)
        assert_equal(records, records_of(problem=SMALL | {"dtype": "float32"})[1])


def test_in_a_thread_of_its_own_pytorch_computes_with_as_many_threads():
    def of_openmp():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}

    for number in (1, 3):
        with threads(number), beside() as thread:
            assert thread.submit(of_openmp).result() == {number}


def test_a_thread_of_its_own_takes_large_steps_and_two_cores(monkeypatch):
    with threads(1):
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
        assert room_beside()
        assert is_beside(make_problem(WIDE))
        assert most_ahead(make_problem(WIDE)) == 1
        assert not is_beside(make_problem({"sizes": (64, 64, 64), "samples": 32}))
        with threads(2):
            assert not room_beside()
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {1}, raising=False)
        assert not room_beside()
        assert not is_beside(make_problem(WIDE))
        monkeypatch.delattr("os.sched_getaffinity")
        monkeypatch.setattr("os.cpu_count", lambda: None)
        assert not room_beside()
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        assert room_beside()


def test_a_mismatch_ends_the_thread_which_was_one_step_ahead_at_the_most(in_a_thread):
    before, calls = threading.active_count(), []
    with noted(calls.append):
        result = compare(lambda o, y: {"delta_o": 2 * (o - y)}, SMALL, battery=0)
    assert result.first_mismatch["step"] == 1
    assert len(calls) <= 2
    assert threading.active_count() == before


def test_ctrl_c_ends_the_thread(in_a_thread):
    def interrupt(record, result):
        if record.number == 7:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        compare(None, SMALL, on_step=interrupt)
    assert threading.active_count() == before


def test_what_pytorch_raises_in_its_thread_is_raised_by_the_run(in_a_thread):
    made = []

    def run_out_of_memory(_):
        made.append(1)
        if len(made) == 9:
            raise MemoryError("of the ninth step")

    with noted(run_out_of_memory), pytest.raises(MemoryError, match="of the ninth step"):
        compare(None, SMALL)
    assert len(made) == 9


def test_a_derivation_may_call_the_same_step_by_pytorch_meanwhile(in_a_thread, monkeypatch):
    backward, reached, meanwhile, made = (
        torch_two_layer.backward,
        threading.Event(),
        threading.Event(),
        [],
    )

    def in_the_middle_of_its_second_step(*given):
        if threading.current_thread() is not threading.main_thread():
            made.append(1)
            if len(made) == 2:
                reached.set()
                assert meanwhile.wait(60)
        return backward(*given)

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        assert reached.wait(60)
        torch_two_layer.step(W_h + 1, b_h, W_o, b_o, x, y, lr)
        meanwhile.set()
        return torch_two_layer.step(W_h, b_h, W_o, b_o, x, y, lr)

    monkeypatch.setattr(torch_two_layer, "backward", in_the_middle_of_its_second_step)
    result = compare(step, {"sizes": (3, 4, 2), "samples": 5, "steps": 10}, battery=0)
    assert result.verdict == "match"
    assert result.steps_run == len(made) == 10
