"""A look at many small steps at once: what agrees at sight is within the bound, for certain."""

from dataclasses import replace

import numpy as np
import pytest

from lockstep.bound.allowed import allowed, tolerance
from lockstep.network.names import BACKWARD, COMPUTED, values_in
from lockstep.network.problem import make_problem
from lockstep.run.at_sight import SMALL, at_sight
from lockstep.run.steps import AHEAD, records
from lockstep.sides.answer import Answer
from manual_backprop import two_layer
from manual_backprop.activations import activation
from manual_backprop.losses import loss_function
from tests.campaigns.hard_problems import KINDS, hard_problem
from torch_reference import two_layer as torch_two_layer


def start_and_quantities(problem):
    x, y = problem.batch(1)
    start = problem.parameters, x, y, problem.lr
    return start, torch_two_layer.step(
        **problem.parameters, x=x, y=y, lr=problem.lr, **problem.network_settings
    )


def values(problem):
    return values_in(COMPUTED, problem.sizes, problem.samples)


def agrees(problem, turns, answers):
    return [
        said() for said in at_sight(problem)(turns, [Answer(values, {}, {}) for values in answers])
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_just_beyond_the_bound_never_agrees(kind):
    random = np.random.default_rng(7)
    tried = 0
    while tried < 12:
        problem = replace(hard_problem(random, kind, largest=6, steps=1), frozen=())
        start, torch = start_and_quantities(problem)
        bound = allowed(problem, *start)
        if values(problem) > SMALL or not all(np.isfinite(array).all() for array in bound.values()):
            continue
        tried += 1
        wrong = []
        for name in COMPUTED:
            for element in range(min(torch[name].size, 4)):
                array = np.array(torch[name], np.float64)
                array.flat[element] += random.choice([-1, 1]) * 1.01 * bound[name].flat[element]
                wrong.append(torch | {name: array})
        assert not any(agrees(problem, [(start, torch)] * len(wrong), wrong))


def test_near_a_solution_what_cancels_in_o_minus_y_is_known():
    random = np.random.default_rng(3)
    agree = []
    for _ in range(60):
        drawn = hard_problem(random, "plain", largest=5, steps=1, dtype="float32")
        problem = replace(drawn, output_activation="linear", frozen=())
        o = start_and_quantities(problem)[1]["o"]
        problem = replace(problem, y=(o * (1 + 1e-6)).astype("float32"))
        start, torch = start_and_quantities(problem)
        o = np.nextafter(torch["o"], np.float32(np.inf))
        L, L_prime = loss_function(problem.loss)
        slopes = [activation(which)[1] for which in (problem.hidden_activation, "linear")]
        at = torch["z_h"], torch["h"], torch["z_o"], o
        back = two_layer.backward(
            problem.parameters["W_o"], problem.x, problem.y, *at, L_prime, *slopes
        )
        by_hand = dict(zip(BACKWARD, back, strict=True)) | {
            "loss": np.asarray(two_layer.loss_of(o, problem.y, L))
        }
        if (np.abs(by_hand["delta_o"] - torch["delta_o"]) > 1e-3 * np.abs(torch["delta_o"])).any():
            agree += agrees(
                problem, [(start, torch)], [{name: by_hand[name] for name in ("loss", *BACKWARD)}]
            )
    assert len(agree) > 10
    assert all(agree)


def test_each_step_of_many_is_looked_at_by_itself():
    problem = make_problem({"sizes": (3, 4, 2), "samples": 5, "hidden_activation": "tanh"})
    start, torch = start_and_quantities(problem)
    wrong = torch | {"grad_W_h": torch["grad_W_h"] * (1 + 1e-12)}
    for name in ("z_h", "new_b_o"):
        nan = torch | {name: torch[name] * np.nan}
        assert agrees(problem, [(start, torch)] * 4, [torch, wrong, torch, nan]) == [
            True,
            False,
            True,
            False,
        ]
    part = {"grad_W_h": torch["grad_W_h"], "new_b_o": torch["new_b_o"]}
    assert agrees(
        problem, [(start, torch)] * 2, [part, part | {"grad_W_h": wrong["grad_W_h"]}]
    ) == [True, False]


def test_steps_of_many_values_are_not_looked_at():
    problem = make_problem({"sizes": (30, 20, 10), "samples": 40})
    start, torch = start_and_quantities(problem)
    assert values(problem) > SMALL
    assert agrees(problem, [(start, torch)], [torch]) == [False]


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("samples", [1, 7])
def test_how_many_steps_are_made_together_changes_nothing(samples, free, monkeypatch):
    def run(ahead):
        monkeypatch.setattr("lockstep.run.steps.AHEAD", ahead)
        problem = make_problem(
            {"sizes": (2, 2, 2), "samples": samples, "batch_size": min(samples, 3), "steps": 90}
        )
        return [
            (record, free_run, record.agrees())
            for record, free_run in records(problem, tolerance(problem, {}), free=free)
        ]

    together, one_by_one = run(AHEAD), run(1)
    assert len(together) == len(one_by_one) == 90
    for (record, own, agrees), (other, others_own, other_agrees) in zip(
        together, one_by_one, strict=True
    ):
        assert record.number == other.number
        assert agrees == other_agrees
        np.testing.assert_array_equal(record.flat_manual, other.flat_manual)
        np.testing.assert_array_equal(record.flat_torch, other.flat_torch)
        assert (own is None) == (others_own is None) == (not free)
        for name in own or {}:
            np.testing.assert_array_equal(own[name], others_own[name])
