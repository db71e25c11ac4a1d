"""The test at sight: whatever the bound fails, it fails; right answers pass; it is trusted only where it is sound."""

from dataclasses import replace

import numpy as np
import pytest

from lockstep.api import compare, run
from lockstep.bound.allowed import tolerance
from lockstep.network.names import COMPUTED
from lockstep.network.problem import make_problem
from lockstep.run.at_sight import SMALL, at_sight
from lockstep.run.first_test import _scales, first_test
from lockstep.run.judge import judge
from lockstep.run.result import Result
from lockstep.run.steps import records
from lockstep.sides.answer import Answer
from manual_backprop import two_layer

KINDS = [
    {"sizes": (2, 2, 2)},
    {"sizes": (30, 20, 10), "samples": 40},
    {
        "sizes": (30, 20, 10),
        "samples": 40,
        "hidden_activation": "sigmoid",
        "output_activation": "tanh",
    },
    {
        "sizes": (20, 40, 15),
        "samples": 30,
        "hidden_activation": "tanh",
        "output_activation": "sigmoid",
        "loss": "sum",
    },
    {"sizes": (50, 30, 5), "samples": 64, "hidden_activation": "relu", "loss": "half_sum"},
    {"sizes": (300, 20, 4), "samples": 30, "hidden_activation": "sigmoid"},  # saturated
    {"sizes": (300, 20, 4), "samples": 30, "hidden_activation": "tanh"},
]


def a_record(settings, dtype="float64", steps=2):
    problem = make_problem({"dtype": dtype, "lr": 0.01} | settings | {"steps": steps})
    *_, (record, _) = records(problem, tolerance(problem, {}))
    return problem, record


def looked_at(problem, record, **changed):
    """The record with other arrays, as a run would have made it."""
    other = replace(record, bound=lambda: record.allowed, **changed)
    start = other.parameters, other.x, other.y, other.lr
    (other.agrees,) = at_sight(problem)([(start, other.torch)], [Answer(other.manual, {}, {})])
    return other


def with_manual(problem, record, name, array):
    return looked_at(problem, record, manual=record.manual | {name: array})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS[:5])
def test_right_answers_pass(kind, dtype):
    problem, record = a_record(kind, dtype)
    passes, sound = first_test(problem)
    assert sound(record)
    assert passes(record, True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_bound_fails_it_fails(kind, dtype):
    problem, record = a_record(kind, dtype)
    passes, sound = first_test(problem)
    assert sound(record)
    random = np.random.default_rng(1)
    for name in COMPUTED:
        for element in random.choice(
            record.torch[name].size, min(12, record.torch[name].size), replace=False
        ):
            array = np.array(record.torch[name], dtype=np.float64)
            array.flat[element] += random.choice([-1, 1]) * 1.5 * record.allowed[name].flat[element]
            wrong = with_manual(problem, record, name, array)
            assert judge(wrong)[0] == "mismatch"
            assert not passes(wrong, True)
            assert not passes(wrong, False)


def test_untrusted_it_passes_only_what_is_certain():
    problem, record = a_record(KINDS[0])
    assert first_test(problem)[0](record, False)
    problem, record = a_record({"sizes": (30, 20, 10), "samples": 40})
    assert record.size > SMALL
    assert not first_test(problem)[0](record, False)


def test_it_is_not_sound_where_rows_and_columns_hardly_meet():
    x = np.eye(40)  # each row meets one weight of each column, which may be as small as it likes
    problem, record = a_record({"sizes": (40, 20, 5), "x": x, "y": np.ones((40, 5))})
    assert not first_test(problem)[1](record)
    result = run(replace(problem, steps=300), {})
    assert (result.verdict, result.steps_in_full) == ("match", 300)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_what_is_not_finite_does_not_pass(kind, value):
    problem, record = a_record(kind)
    passes, _ = first_test(problem)
    for name in COMPUTED:
        array = np.array(record.torch[name])
        array.flat[-1] = value
        assert not passes(with_manual(problem, record, name, array), True)
        changed = {name: array}
        both = looked_at(
            problem, record, manual=record.manual | changed, torch=record.torch | changed
        )
        assert not passes(both, True)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float64", 1e152), ("float32", 1e18), ("float32", 1e20)]
)
def test_lengths_whose_products_overflow_say_nothing(dtype, scale):
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 30)) * scale
    problem, record = a_record(
        {"sizes": (30, 20, 10), "x": x, "y": np.ones((40, 10)), "lr": 1e-300}, dtype, 1
    )
    passes, sound = first_test(problem)
    assert not sound(record) or dtype == "float32" and scale == 1e18
    array = np.array(record.torch["z_h"], dtype=np.float64)
    array[3, 4] += 1.01 * record.allowed["z_h"][3, 4]
    assert not passes(with_manual(problem, record, "z_h", array), True)


def test_a_late_mistake_is_found_where_it_is():
    def step(W_h, b_h, W_o, b_o, x, y, lr, calls=[0]):  # noqa: B006 (it counts)
        calls[0] += 1
        got = two_layer.step(W_h, b_h, W_o, b_o, x, y, lr, hidden_activation="sigmoid")
        if calls[0] == 177:
            got["grad_W_o"] = got["grad_W_o"] * (1 + 1e-9)
        return got

    for sizes, samples in (((2, 2, 2), 1), ((9, 8, 7), 30)):
        step.__defaults__[0][0] = 0
        settings = {
            "sizes": sizes,
            "samples": samples,
            "hidden_activation": "sigmoid",
            "lr": 0.001,
            "steps": 300,
        }
        result = compare(step, **settings)
        assert result.first_mismatch["step"] == 177
        assert result.first_mismatch["quantity"] == "grad_W_o"
        assert result.steps_in_full < 120


@pytest.mark.parametrize("kind", KINDS[:5])
def test_batches_have_scales_of_their_own(kind):
    if kind.get("samples", 1) < 10:
        kind = kind | {"samples": 10}
    problem = make_problem(kind | {"lr": 0.001, "steps": 250, "batch_size": 7})
    result = run(problem, {})
    assert 100 < result.steps_in_full < 120
    assert result.verdict == "match"


def test_small_batches_do_not_inherit_room_from_large_ones():
    random = np.random.default_rng(0)
    x = np.concatenate([1e6 * random.normal(size=(40, 30)), 1e-6 * random.normal(size=(40, 30))])
    problem = make_problem(
        {
            "x": x,
            "y": random.normal(size=(80, 10)),
            "sizes": (30, 20, 10),
            "lr": 1e-14,
            "steps": 4,
            "batch_size": 40,
        }
    )
    passes, _ = first_test(problem)
    large, small, *_ = [record for record, _ in records(problem, tolerance(problem, {}))]
    assert passes(large, True)
    assert passes(small, True)
    array = np.array(small.torch["grad_W_h"])
    array[3, 4] += 1.01 * small.allowed["grad_W_h"][3, 4]
    assert not passes(with_manual(problem, small, "grad_W_h", array), True)


def test_a_tolerance_of_ones_own_frozen_parameters_and_shown_steps_are_worked_out_in_full():
    problem = make_problem({"steps": 201})
    assert run(problem, {}).steps_in_full == 102
    assert run(problem, {"rtol": 1e-9}).steps_in_full == 201
    assert run(make_problem({"steps": 201, "frozen": ("W_h",)}), {}).steps_in_full == 201
    assert run(problem, {"show": "all"}).steps_in_full == 201
    assert run(problem, {"show": frozenset({150})}).steps_in_full == 103


@pytest.mark.parametrize(
    "drawn",
    [
        {"sizes": (128, 96, 64), "samples": 10, "hidden_activation": "tanh"},
        {
            "sizes": (64, 64, 64),
            "samples": 32,
            "hidden_activation": "sigmoid",
            "output_activation": "sigmoid",
        },
        {"sizes": (200, 32, 10), "samples": 20, "hidden_activation": "tanh", "dtype": "float32"},
    ],
)
def test_saturated_neurons_do_not_keep_a_step_from_passing(drawn):
    result = run(make_problem(drawn | {"lr": 1e-4, "steps": 240}), {})
    assert result.verdict == "match"
    assert result.steps_in_full < 130


def test_scales_are_worked_out_seldom_where_they_hardly_change(monkeypatch):
    made = []
    monkeypatch.setattr(
        "lockstep.run.first_test._scales", lambda *given: made.append(1) or _scales(*given)
    )
    settings = {"sizes": (30, 20, 10), "samples": 40, "hidden_activation": "sigmoid", "steps": 400}
    assert run(make_problem(settings | {"lr": 1e-4}), {}).steps_in_full < 110
    steady = len(made)
    assert steady < 20
    falling = {
        "x": np.ones((40, 30)),
        "y": np.zeros((40, 10)),
        "W_o": np.full((10, 20), 1.0),
        "b_o": np.zeros(10),
    }
    run(make_problem(settings | falling | {"lr": 0.05}), {})
    assert len(made) - steady > 2 * steady


def test_a_large_networks_first_steps_are_worked_out_only_as_far_as_that_is_quick():
    result = Result(make_problem({"sizes": (100, 200, 100), "samples": 100, "steps": 1000}))
    assert [number for number in range(1, 101) if result.is_in_full(number)] == [
        *range(1, 26),
        50,
        100,
    ]


def test_what_is_returned_in_part_or_alone_passes_too():
    problem = make_problem({"steps": 300, "sizes": (30, 20, 10), "samples": 40})

    def some(x, W_h, b_h, delta_h):
        return {"z_h": x @ W_h.T + b_h, "grad_W_h": delta_h.T @ x, "delta_h": delta_h}

    assert run(problem, {}, step=some).steps_in_full < 150
    scalar = run(
        make_problem({"steps": 300}),
        {},
        step=lambda x1, x2, w11, w21, b1: {"z_h1": w11 * x1 + w21 * x2 + b1},
    )
    assert (scalar.verdict, scalar.steps_in_full) == ("match", 300)


@pytest.mark.parametrize("kind", KINDS[1:5])
def test_large_quantities_are_looked_at_block_by_block(kind, monkeypatch):
    monkeypatch.setattr("lockstep.run.differences.BYTES", 512)
    problem, record = a_record(kind)
    passes, _ = first_test(problem)
    assert passes(record, True)
    for name in COMPUTED:
        array = np.array(record.torch[name])
        array.flat[-1] += 1.5 * record.allowed[name].flat[-1]
        assert not passes(with_manual(problem, record, name, array), True)


def test_a_derivation_may_return_other_quantities_at_other_steps():
    calls = []

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        calls.append(1)
        got = two_layer.step(W_h, b_h, W_o, b_o, x, y, lr)
        return got if len(calls) % 3 == 0 else {"z_h": got["z_h"]}

    result = compare(step, sizes="30-20-10", samples=40, steps=300, lr=0.001)
    assert (result.verdict, len(calls)) == ("match", 300)
    assert result.steps_in_full < 150
