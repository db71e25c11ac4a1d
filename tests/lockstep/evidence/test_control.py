"""Planted errors are caught where they were planted, and what is too small is not."""

import numpy as np
import pytest

from lockstep import compare
from lockstep.api import run
from lockstep.bound.allowed import allowed
from lockstep.network.problem import Start
from lockstep.setup.problem import make_problem
from tests.lecture import ACTIVATIONS, COMPUTED, LOSSES
from torch_reference import two_layer as torch_two_layer


def drawn(seed):
    """A random problem, and a random step, quantity and element of its run."""
    random = np.random.default_rng([77, seed])
    problem = make_problem(
        dict(
            sizes=tuple(int(n) for n in random.integers(1, 9, 3)),
            samples=int(random.integers(1, 9)),
            seed=seed,
            steps=6,
            hidden_activation=str(random.choice(ACTIVATIONS)),
            output_activation=str(random.choice(ACTIVATIONS)),
            loss=str(random.choice(LOSSES)),
            lr=0.01,
        )
    )
    number, name = int(random.integers(1, 7)), str(random.choice(COMPUTED))
    return random, problem, number, name


def planting(random, problem, number, name, times):
    """PyTorch's own step, but for one element at one step, off by a multiple of the bound.

    Returns the step and a function that gives the element's index.
    """
    called = 0
    index = None

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        nonlocal called, index
        called += 1
        parameters = dict(W_h=W_h, b_h=b_h, W_o=W_o, b_o=b_o)
        got = torch_two_layer.step(**parameters, x=x, y=y, lr=lr, **problem.network_settings)
        if called == number:
            bound = allowed(problem, Start(parameters, x, y, lr))[name]
            index = tuple(int(random.integers(n)) for n in bound.shape)
            got[name] = np.array(got[name])
            got[name][index] += times * bound[index]
        return got

    return step, lambda: index


@pytest.mark.slow
@pytest.mark.parametrize("times", [2, 10, 1000])
def test_a_planted_error_is_told_at_its_step_quantity_and_element(times):
    for seed in range(30):
        random, problem, number, name = drawn(seed)
        step, index = planting(random, problem, number, name, times)
        result = run(problem, {}, step=step)
        if (
            result.verdict == "match"
        ):  # a formula for σ may lose digits where σ is small: said in a remark
            assert times < 1000
            assert any("loses digits" in remark for remark in result.remarks)
            assert name in ("h", "o")
            continue
        told = result.first_mismatch
        assert (told["step"], told["quantity"], tuple(told["index"])) == (number, name, index()), (
            seed
        )
        assert told["difference"] == pytest.approx(times * told["allowed"], rel=0.3, abs=0)


@pytest.mark.slow
def test_half_the_bound_is_no_mismatch():
    for seed in range(60):
        random, problem, number, name = drawn(seed)
        step, index = planting(random, problem, number, name, 0.5)
        result = run(problem, {}, step=step)
        assert index() is not None
        assert (result.verdict, result.remarks[1:]) == ("match", []), seed
        assert result.worst_ratio == pytest.approx(0.5, abs=0.2)


def test_the_control_catches_an_error_in_every_quantity():
    for values in (
        {},
        {"sizes": "3-4-2", "samples": 5, "hidden_activation": "relu", "dtype": "float32"},
        {"hidden_activation": "tanh", "frozen": ["W_h", "b_o"], "dtype": "float32"},
    ):
        result = compare(None, values, steps=3, control=True)
        assert [entry["quantity"] for entry in result.control["planted"]] == list(COMPUTED)
        assert all(entry["caught"] for entry in result.control["planted"])
        assert (result.control["step"], result.control["caught"]) == (3, 15)
        for entry in result.control["planted"]:
            value = np.array(result.quantities["torch"][entry["quantity"]])[tuple(entry["index"])]
            assert entry["torch"] == value
            assert entry["label"] == result.last.named(entry["quantity"], tuple(entry["index"]))
            if entry["allowed"] > 0:
                assert entry["error"] == pytest.approx(3 * entry["allowed"], rel=0.2, abs=0)
        said = " ".join(str(result).split())
        assert "control: 15 of 15 planted errors were caught (one in each quantity of" in said
        assert "of step 3, 3 times what rounding explains)." in said
        assert result.verdict == "match"


def test_a_fixed_tolerance_is_shown_to_pass_wrong_gradients():
    result = compare(None, None, steps=3, control=True, atol=1e-8)
    assert (result.verdict, result.control["caught"]) == ("match", 0)
    assert "A tolerance as wide as the one given passes wrong gradients." in " ".join(
        str(result).split()
    )
    strict = compare(None, None, steps=3, control=True, rtol=1e-16)
    assert strict.control["caught"] == 15


def test_the_control_does_not_need_the_side_by_hand_to_be_right():
    result = compare(lambda o, y: {"delta_o": y - o}, None, steps=2, control=True)
    assert result.verdict == "mismatch"
    assert [(entry["quantity"], entry["caught"]) for entry in result.control["planted"]] == [
        ("delta_o", True)
    ]


def test_of_scalars_only_those_returned_get_an_error():
    result = compare(lambda o1, y1: {"delta_o1": o1 - y1}, None, steps=2, control=True)
    (entry,) = result.control["planted"]
    assert (entry["label"], entry["caught"]) == ("delta_o1", True)


def test_the_control_says_what_a_lenient_look_at_sigma_lets_through():
    def step(z_h):
        return {"h": 1 / (1 + np.exp(-z_h))}

    values = {
        "x": [[1.0]],
        "y": [[0.0]],
        "W_h": [[-30.0]],
        "b_h": [0.0],
        "W_o": [[1.0]],
        "b_o": [0.0],
    }
    result = compare(step, values | {"hidden_activation": "sigmoid"}, steps=1, control=True)
    assert (result.verdict, result.control["caught"]) == ("match", 0)
    assert "control: 0 of 1 planted errors were caught" in " ".join(str(result).split())
    assert not any("loses digits" in remark for remark in result.remarks)


def test_without_a_step_that_can_be_judged_there_is_no_control():
    said = "no control: there is no step whose numbers could all be judged"
    assert said in compare(None, None, steps=0, control=True).remarks
    blown_up = compare(None, {"W_h": [[1e200]], "W_o": [[1e200]], "x": [[1.0]]}, control=True)
    assert (blown_up.verdict, blown_up.control) == ("undecided", None)
    assert said in blown_up.remarks


def test_in_a_run_that_overflows_the_last_step_that_could_be_judged_gets_the_errors():
    result = compare(None, None, lr=1e300, control=True)
    assert (result.verdict, result.control["step"], result.control["caught"]) == (
        "undecided",
        1,
        15,
    )
    assert compare(None, None, steps=1).control is None


def test_the_same_run_plants_the_same_errors():
    one, same = (compare(None, {"sizes": "9-9-9"}, steps=1, control=True).control for _ in range(2))
    assert one == same
    assert (
        len({tuple(entry["index"][:1]) for entry in one["planted"]}) > 2
    )  # drawn, not always the first


def test_what_has_another_shape_does_not_hide_the_control():
    def step(o, y):
        return {"delta_o": 2 * (o - y) / y.size, "grad_b_o": 0.0}

    result = compare(step, None, steps=1, control=True)
    assert (result.verdict, result.control["caught"], len(result.control["planted"])) == (
        "mismatch",
        1,
        1,
    )


def test_printed_numbers_have_room_for_their_last_digit_in_the_control_too(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text('h1 = "0.06"')
    result = compare(None, {"numbers": str(path)}, control=True)
    (entry,) = result.control["planted"]
    assert entry["error"] == pytest.approx(3 * entry["allowed"])
    assert entry["allowed"] == pytest.approx(0.005)
    assert entry["caught"]
