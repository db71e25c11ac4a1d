"""Both trainings, each on its own: a wrong step trains the network on, next to PyTorch."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lockstep.api import run
from lockstep.evidence import trainings as room
from lockstep.evidence.trainings import trainings
from lockstep.run.steps import after, by_torch
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn
from lockstep.sides.chosen import side_by_hand

SMALL = {"sizes": (3, 4, 2), "samples": 5, "hidden_activation": "sigmoid", "steps": 20}


def trained(step, settings=SMALL):
    """Both trainings of a step function, after the comparison."""
    problem, side = make_problem(settings), side_by_hand({}, step)
    run(problem, {}, None, side)
    return problem, trainings(problem, side)


def losses(problem, changed):
    """The losses of a training by PyTorch whose step a function changes."""
    state, found = problem.state, []
    for number in range(1, problem.steps + 1):
        start = problem.start(number, state)
        torch = by_torch(problem, start)
        found.append(float(torch["loss"]))
        state = after(problem.network, changed(start, torch))
    return [*found, float(by_torch(problem, problem.start(problem.steps + 1, state))["loss"])]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 30},
        SMALL | {"batch_size": 2, "optimizer": "sgd", "momentum": 0.9, "dampening": 0.1},
        SMALL | {"optimizer": "adam", "lr": 0.01, "frozen": ("W_h",)},
        SMALL | {"optimizer": "rmsprop", "loss": "cross_entropy", "l2": 0.1},
        {"sizes": (3, 5, 4, 3, 2), "samples": 4, "hidden_activation": "tanh", "steps": 10},
        SMALL | {"dtype": "float32"},
        SMALL | {"steps": 0},
    ],
)
def test_the_right_step_trains_as_pytorch_does(settings):
    problem = make_problem(settings)
    found = trainings(problem, BuiltIn())
    assert len(found.by_hand) == len(found.by_torch) == problem.steps + 1
    exact = 1e-4 if problem.dtype == "float32" else 1e-9
    assert found.by_hand == pytest.approx(found.by_torch, rel=exact)
    assert found.by_torch == losses(problem, lambda start, torch: torch)
    assert (found.completed, found.why_not) == ([], "")


def test_a_step_that_updates_by_itself_trains_with_its_own_new_values():
    def step(W_h, b_h, W_o, b_o, grad_W_h, grad_b_h, grad_W_o, grad_b_o, lr):
        return dict(
            new_W_h=W_h + lr * grad_W_h,
            new_b_h=b_h + lr * grad_b_h,
            new_W_o=W_o + lr * grad_W_o,
            new_b_o=b_o + lr * grad_b_o,
        )

    problem, found = trained(step)
    uphill = losses(problem, lambda start, _: by_torch(problem, replace(start, lr=-start.lr)))
    assert found.by_hand == pytest.approx(uphill, rel=1e-12)
    assert found.by_hand[-1] > found.by_hand[0] > found.by_torch[-1]
    assert found.completed == []


def test_gradients_go_through_the_optimisers_own_update_memory_and_all():
    settings = SMALL | {"momentum": 0.9}
    problem, found = trained(lambda grad_W_o: dict(grad_W_o=2 * grad_W_o), settings)

    def doubled(start, torch):
        before = (start.memory or {}).get("velocity_W_o", 0.0)
        velocity = 0.9 * before + 2 * torch["grad_W_o"]
        new = start.parameters["W_o"] - start.lr * velocity
        return dict(torch) | {"new_W_o": new, "new_velocity_W_o": velocity}

    assert found.by_hand == pytest.approx(losses(problem, doubled), rel=1e-12)
    assert found.completed == ["W_h", "b_h", "W_o", "b_o"]


def test_what_follows_from_a_wrong_error_term_follows_in_the_training_too():
    def by_delta(delta_h):
        return dict(delta_h=3 * delta_h)

    def by_gradients(delta_h, x):
        return dict(grad_W_h=3 * delta_h.T @ x, grad_b_h=3 * delta_h.sum(axis=0))

    one, other = trained(by_delta)[1].by_hand, trained(by_gradients)[1].by_hand
    assert one == pytest.approx(other, rel=1e-12)
    assert one[-1] != pytest.approx(trained(by_delta)[1].by_torch[-1], rel=1e-3)


@pytest.mark.slow
def test_of_a_part_the_rest_follows_from_the_other_numbers_of_the_step():
    _, found = trained(lambda delta_o1, new_b3: dict(delta_o1=2 * delta_o1, new_b3=new_b3), {})
    _, whole = trained(lambda delta_o, new_b_o: dict(delta_o=delta_o * [2, 1], new_b_o=new_b_o), {})
    assert found.completed == ["W_h", "b_h", "W_o", "b_o"]
    assert found.by_hand[:2] == pytest.approx(whole.by_hand[:2], rel=1e-12)


def test_a_wrong_loss_by_hand_is_not_what_is_shown():
    _, found = trained(lambda loss: dict(loss=2 * loss))
    assert found.by_hand == pytest.approx(found.by_torch, rel=1e-12)


def of_file(path, text):
    """A function that trains by a file that was compared before."""
    path.write_text(text)
    problem, side = make_problem(SMALL), side_by_hand({"derivation": str(path)})
    run(problem, {"battery": 0}, None, side)
    return lambda: trainings(problem, side)


def test_a_file_is_loaded_afresh(tmp_path):
    train = of_file(
        tmp_path / "mine.py",
        "calls = 0\n"
        "def step(W_o, grad_W_o, lr):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    return dict(new_W_o=W_o - lr * grad_W_o * (2 if calls == 1 else 1))\n",
    )
    first, second = train(), train()
    assert first == second
    assert first.by_hand[1] != pytest.approx(first.by_torch[1], rel=1e-6)


def test_a_training_that_diverges_ends_with_its_first_loss_that_is_not_finite():
    def step(W_o, grad_W_o):
        return dict(new_W_o=W_o + 1e60 * grad_W_o)

    _, found = trained(step, {"steps": 20})
    *finite, last = found.by_hand
    assert len(finite) < 10
    assert all(map(math.isfinite, finite))
    assert not math.isfinite(last)
    assert found.why_not == ""
    assert len(found.by_torch) == 21


def test_a_step_that_raises_later_on_says_so_and_keeps_what_there_was(tmp_path):
    path = tmp_path / "mine.py"
    train = of_file(
        path,
        "calls = []\n"
        "def step(W_o, b_o):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 3:\n"
        "        raise RuntimeError('no more')\n"
        "    return dict(new_b_o=b_o)\n",
    )
    found = train()
    assert len(found.by_hand) == 4
    assert found.why_not == f"{path}, line 5: RuntimeError: no more"


def test_another_shape_cannot_train():
    _, found = trained(lambda grad_W_o: dict(grad_W_o=np.ones((7, 7))))
    assert found.why_not == "grad_W_o has the shape (7, 7), which cannot train the network"
    assert found.by_hand == found.by_torch[:1]


def test_numbers_on_paper_cannot_train(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text("h1 = 0.07\n")
    found = trainings(make_problem({}), side_by_hand({"numbers": str(path)}))
    assert found.by_hand == []
    assert found.why_not == "recorded numbers cannot train the network on"
    assert len(found.by_torch) == 101


def test_a_long_run_is_cut(monkeypatch):
    monkeypatch.setattr(room, "MOST_STEPS", 7)
    found = trainings(make_problem(SMALL), BuiltIn())
    assert len(found.by_hand) == len(found.by_torch) == 8


def test_a_training_that_takes_long_ends(monkeypatch):
    monkeypatch.setattr("lockstep.evidence.trainings.MOST_SECONDS", -1.0)
    found = trainings(make_problem({"steps": 100}), BuiltIn())
    assert len(found.by_hand) == len(found.by_torch) == 1
    assert found.why_not == "more steps would take longer than -1 s"
