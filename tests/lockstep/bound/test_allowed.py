"""The bound: what it is made of, and that right code stays within it at its worst rounding."""

import math

import numpy as np
import pytest

from lockstep.api import compare, run
from lockstep.bound.activations import bounded_activation
from lockstep.bound.allowed import allowed
from lockstep.bound.bounded import Bounded, Precision, growth
from lockstep.evidence.exact import error, truth
from lockstep.setup.options import check
from lockstep.setup.problem import make_problem
from manual_backprop import network, two_layer
from manual_backprop.activations import activation
from tests.campaigns.hard_problems import DRESSES, KINDS, STYLES, hard_problem, right_step
from tests.lecture import COMPUTED

DOUBLE = Precision.of("float64")


def exact(*values):
    return Bounded.exact(np.array(values), DOUBLE)


def test_growth_is_five_roots_until_the_chain_is_longer():
    assert growth(0) == 0
    assert growth(4) == 10
    assert growth(25) == 25
    assert growth(400) == 400


def test_a_sum_adds_scales_whatever_cancels():
    total = exact(3.0, 1.0) - exact(3.0, -1.0)
    assert list(total.value) == [0.0, 2.0]
    assert list(total.scale) == [6.0, 2.0]
    assert total.k == 1
    assert list(total.bound()) == [growth(1) * 2**-53 * 6, growth(1) * 2**-53 * 2]


def test_a_product_with_an_exact_number_multiplies_scales():
    product = 2.0 * (exact(3.0) - exact(3.0))
    assert product.value == 0.0
    assert product.scale == pytest.approx(12.0, rel=1e-15)
    assert product.k == 2


def test_a_product_of_two_computed_numbers_is_tight_where_both_cancel():
    small = exact(1.0 + 1e-8) - exact(1.0)
    square = small * small
    assert square.scale[0] == pytest.approx(
        2 * 1e-8 * 2 + growth(1) * 2**-53 * 4, rel=1e-6
    )  # not 4
    assert square.k == 2


def test_a_matrix_product_counts_its_inner_dimension():
    a = Bounded.exact(np.ones((2, 7)), DOUBLE)
    assert (a @ np.ones((7, 3))).k == 7
    assert (np.ones((3, 2)) @ a).k == 2
    assert (np.ones((3, 2)) @ a).value.shape == (3, 7)
    assert a.sum(axis=0).k == 2
    assert a.sum().k == 14
    assert a.T.value.shape == (7, 2)


def test_a_computed_number_is_compared_by_its_value():
    assert list(exact(-1.0, 0.0, 1.0) > 0) == [False, False, True]


def test_underflow_has_room_of_its_own():
    tiny = exact(1e-200) * exact(1e-200)
    assert tiny.value == 0.0
    assert tiny.bound()[0] >= 2**-1074


def test_division_keeps_the_relative_scale():
    half = (exact(3.0) - exact(1.0)) / 2
    assert half.value == 1.0
    assert half.scale[0] == pytest.approx(2.0, rel=1e-15)


def test_the_slope_of_an_activation_is_the_steepest_within_zs_own_bound():
    sigma, _ = bounded_activation("sigmoid")
    far = Bounded(np.array([30.0]), np.array([1e17]), 4, DOUBLE)  # z could as well be 0
    assert sigma(far).scale[0] >= 0.25 * 1e17
    relu, _ = bounded_activation("relu")
    z = Bounded(np.array([-1e-20, -1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 4, DOUBLE)
    assert list(relu(z).scale > 1e-200) == [True, False, True]


def test_the_sigmoids_far_tail_keeps_its_slope():
    sigma, _ = bounded_activation("sigmoid")
    z = Bounded(np.array([-50.0]), np.array([50.0]), 4, DOUBLE)
    assert sigma(z).scale[0] == pytest.approx(51 * math.exp(-50), rel=1e-6, abs=0)


def test_at_relus_kink_either_derivative_is_right():
    _, prime = bounded_activation("relu")
    z = Bounded(np.array([0.0, 1e-17, 1.0, -1.0]), np.array([1.0, 1.0, 1.0, 1.0]), 4, DOUBLE)
    slope = prime(z, None)
    assert list(slope.value) == [0.0, 1.0, 1.0, 0.0]
    assert list(slope.bound() >= 1 - 1e-15) == [True, True, False, False]


def test_the_derivatives_of_sigmoid_and_tanh_are_bound_through_the_rounded_output():
    sigma, prime = bounded_activation("tanh")
    z = exact(30.0)
    s = sigma(z)
    assert s.value == 1.0
    assert prime(z, s).value == 0.0
    assert prime(z, s).bound()[0] >= 2**-53  # 1 − h² can be off by a rounding of 1


def test_frozen_parameters_have_no_room_at_all():
    problem = make_problem({"frozen": ("b_o",)})
    bound = allowed(problem, problem.start(1, problem.state))
    assert not bound["new_b_o"].any()
    assert bound["new_b_h"].all()
    assert bound["grad_b_o"].all()


def test_roundings_are_counted_as_the_formulas_make_them():
    seen = {}

    def spy(z):
        seen["z"] = z.k
        return Bounded(z.value, z.scale, z.k + 3, z.precision)

    random = np.random.default_rng(0)
    parameters = {
        n: Bounded.exact(random.normal(size=s), DOUBLE)
        for n, s in (("W_h", (7, 5)), ("b_h", (7,)), ("W_o", (3, 7)), ("b_o", (3,)))
    }
    step = two_layer.step(
        **parameters,
        x=random.normal(size=(11, 5)),
        y=random.normal(size=(11, 3)),
        lr=0.1,
        hidden_activation=(spy, lambda z, s: s * (1 - s)),
        output_activation=(lambda z: z, lambda z, s: 1),
    )
    k = {name: quantity.k for name, quantity in step.items()}
    assert seen["z"] == 5 + 1
    assert k["h"] == k["z_h"] + 3
    assert k["o"] == k["h"] + 7 + 1
    assert k["loss"] == k["o"] + 2 + 33 + 1
    assert k["delta_o"] == k["o"] + 3 + 1
    assert k["delta_h"] == k["delta_o"] + 3 + 1
    assert k["grad_W_o"] == k["delta_o"] + 11
    assert k["grad_b_h"] == k["delta_h"] + 11
    assert k["new_W_h"] == k["grad_W_h"] + 2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_right_answer_is_blamed(kind, dtype):
    largest = 0.0
    for i in range(20):
        random = np.random.default_rng([KINDS.index(kind), i])
        problem = hard_problem(random, kind, dtype=dtype)
        step = right_step(problem, list(STYLES)[i % 6])
        result = run(problem, {}, step=list(DRESSES.values())[i // 5](step))
        assert result.verdict != "mismatch", (i, result.first_mismatch)
        largest = max(largest, result.worst_ratio)
    assert largest > 0.02  # a bound so wide that nothing comes near it proves nothing


def test_a_bias_that_swallows_every_small_term_is_not_blamed():
    # started from the bias each of the 200 terms is lost to rounding, added up first none is
    term = 2.0**-53 * (1 - 2.0**-20)
    values = {"x": np.ones((1, 200)), "W_h": np.full((1, 200), term), "b_h": np.ones(1), "steps": 1}
    problem = make_problem(values)

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        z_h = b_h.copy()
        for weight in W_h[0]:
            z_h = z_h + weight
        return {"z_h": z_h[None]}

    result = run(problem, {}, step=step)
    assert result.last.manual["z_h"][0, 0] == 1.0
    assert result.verdict == "match"


def test_right_tails_better_than_pytorchs_are_not_blamed():
    problem = make_problem(
        {
            "x": np.array([[40.0]]),
            "W_h": np.ones((1, 1)),
            "b_h": np.zeros(1),
            "steps": 1,
            "hidden_activation": "sigmoid",
        }
    )

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        o = (1 / (1 + np.exp(-x))) @ W_o.T + b_o
        return {
            "delta_h": 2 / o.size * (o - y) @ W_o * (np.exp(-x) / (1 + np.exp(-x)) ** 2)
        }  # PyTorch says 0

    result = run(problem, {}, step=step)
    assert not result.last.torch["delta_h"].any()
    assert result.last.manual["delta_h"].any()
    assert result.verdict == "match"


@pytest.mark.parametrize(("layer", "name"), [("hidden", "h"), ("output", "o")])
def test_a_formula_that_loses_digits_where_sigma_is_small_is_a_match_with_a_remark(layer, name):
    values = {
        "x": [[1.0]],
        "y": [[0.0]],
        "W_h": [[-30.0]],
        "b_h": [0.0],
        "W_o": [[1.0]],
        "b_o": [0.0],
        "steps": 1,
    }

    def step(z_h, z_o):
        return {name: (1 + np.tanh((z_h if name == "h" else z_o) / 2)) / 2}

    result = compare(step, values | {f"{layer}_activation": "sigmoid"})
    assert result.verdict == "match"
    assert result.remarks[0].startswith(
        f"{name} is right, but its formula for sigmoid loses digits"
    )

    def wrong(z_h, z_o):
        return {name: step(z_h, z_o)[name] + 1e-14}

    assert compare(wrong, values | {f"{layer}_activation": "sigmoid"}).verdict == "mismatch"


@pytest.mark.parametrize(
    ("dtype", "weight", "target"), [("float32", 1e25, -1e18), ("float64", 1e200, -1e150)]
)
def test_an_overflow_that_relu_hides_on_one_side_is_undecided(dtype, weight, target):
    values = {
        "x": [[1.0]],
        "y": [[target]],
        "W_h": [[-1.0]],
        "b_h": [0.0],
        "W_o": [[weight]],
        "b_o": [0.0],
    }
    result = compare(problem=values, hidden_activation="relu", dtype=dtype, steps=1)
    assert np.isnan(
        result.last.manual["delta_h"][0, 0]
    )  # inf·0, where PyTorch takes 0 by selection
    assert result.last.torch["delta_h"][0, 0] == 0
    assert (result.verdict, result.undecided.quantity) == ("undecided", "delta_h")


@pytest.mark.parametrize(
    ("dtype", "error", "weight"), [("float32", 1e15, 1e24), ("float64", 1e145, 1e164)]
)
def test_an_overflow_where_the_mean_is_taken_last_is_undecided(dtype, error, weight):
    # delta_o·W_o is 6 % of the largest number; before the division by N·n_out = 100 it is beyond
    values = {
        "x": [[1.0]] * 100,
        "y": [[-error]] * 100,
        "W_h": [[-1.0]],
        "b_h": [0.0],
        "W_o": [[weight]],
        "b_o": [0.0],
        "hidden_activation": "relu",
        "dtype": dtype,
        "steps": 1,
    }
    problem = make_problem(check(values, str))
    assert run(problem, {}).verdict == "match"
    result = run(problem, {}, step=right_step(problem, "factor last"))
    assert np.isnan(result.last.manual["delta_h"]).all()
    assert (result.verdict, result.undecided.quantity) == ("undecided", "delta_h")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_lie_within_their_bound_of_the_exact_step(kind):
    largest = 0.0
    for seed in range(12):
        problem = hard_problem(
            np.random.default_rng([KINDS.index(kind), seed]), kind, largest=6, steps=1
        )
        result = run(problem, {})
        if result.verdict == "undecided":
            continue
        record = result.last
        exact = truth(problem, record.start)
        for name in COMPUTED:
            values = exact[name]
            for side in (record.manual, record.torch):
                pairs = zip(
                    np.ravel(side[name]),
                    np.ravel(values),
                    np.ravel(record.allowed[name]),
                    strict=True,
                )
                for value, true, room in pairs:
                    off = error(value, true)
                    assert off <= room, (name, seed)
                    largest = max(largest, off / room if room else 0.0)
    assert largest > 0.02


def test_a_quotient_has_room_for_underflow_too():
    assert (exact(1e-310) / 3).bound()[0] >= 2**-1074
    assert (exact(0.0) / 3).scale[0] == DOUBLE.tiny / DOUBLE.u


def test_the_identity_rounds_nothing():
    z = exact(2.0) - exact(3.0)
    assert bounded_activation("linear")[0](z) is z


def test_a_noisy_formulas_terms_are_of_size_one():
    tail = Bounded(np.array([-50.0]), np.array([50.0]), 4, DOUBLE)
    assert bounded_activation("sigmoid", noisy=True)[0](tail).scale[0] == pytest.approx(
        1.0, rel=1e-12
    )
    small = Bounded(np.array([1e-3]), np.array([1e-3]), 4, DOUBLE)
    assert bounded_activation("tanh", noisy=True)[0](small).scale[0] == pytest.approx(
        1.001, rel=1e-6
    )
    assert bounded_activation("relu", noisy=True)[0](small).scale[0] == pytest.approx(2e-3)


def test_the_kink_reaches_to_zs_bound_and_there_the_derivative_may_be_off_by_one():
    _, prime = bounded_activation("relu")
    edge = growth(4) * DOUBLE.u
    z = Bounded(np.array([edge, -edge, edge * 1.01]), np.ones(3), 4, DOUBLE)
    bound = list(prime(z, None).bound())
    assert bound == [pytest.approx(1.0), pytest.approx(1.0), 0.0]


@pytest.mark.parametrize("values", [np.array([1e30], np.float32), [2], [True]])
def test_values_and_scales_are_in_double_precision_whatever_the_run_is_in(values):
    number = Bounded.exact(values, Precision.of("float32"))
    assert (number.value.dtype, number.scale.dtype) == (np.float64, np.float64)
    assert (number * number).value[0] == float(values[0]) ** 2


def test_a_product_with_an_exact_number_counts_it_once():
    product = 2.0 * (exact(3.0) + exact(1.0))
    assert product.scale[0] == pytest.approx(8.0, rel=1e-12)


def test_a_product_of_two_that_cancel_wholly_has_the_second_order_term_left():
    nothing = exact(3.0) - exact(3.0)
    assert (nothing * nothing).scale[0] == pytest.approx(growth(1) * 2**-53 * 36, rel=1e-12, abs=0)


def test_a_scale_beyond_the_largest_number_is_infinite():
    small = Precision(DOUBLE.u, 1e-300, 8.0, "float64")
    one, two = (Bounded.exact(np.array([value]), small) for value in (4.0, 2.0))
    assert (one * two).scale[0] == pytest.approx(8.0)
    assert list((one * (two + 0.25)).scale) == [np.inf]
    both = Bounded.exact(np.array([2.0, 3.0]), small)
    assert list((both * one).scale) == [8.0, np.inf]


def test_a_value_that_no_scale_needs_is_not_worked_out_and_one_that_is_needed_only_once():
    asked = []
    number = Bounded(lambda: asked.append(1) or np.array([3.0]), np.array([3.0]), 2, DOUBLE)
    total = number + exact(1.0)
    assert total.scale.tolist() == [4.0]
    assert asked == []
    assert (total.value.tolist(), number.value.tolist()) == ([4.0], [3.0])
    assert asked == [1]


@pytest.mark.parametrize("size", [1e-40, 1e-25, 1.0, 1e20, 1e40])
def test_the_scale_of_a_wide_product_is_never_too_small(size):
    random = np.random.default_rng(0)
    a = random.normal(size=(64, 300)) * size
    b = random.normal(size=(300, 80)) * 10.0 ** random.integers(-12, 1, (300, 80))
    product = Bounded.exact(a, DOUBLE) @ Bounded.exact(b, DOUBLE)
    scale = np.abs(a) @ np.abs(b)
    assert (product.scale >= scale * (1 - 1e-12)).all()
    assert (product.scale <= scale * (1 + 1e-4)).all()


def test_the_scale_of_a_wide_product_with_zeros_and_tiny_terms_is_right():
    a, b = np.full((64, 64), 1e-30), np.full((64, 64), 1e-30)
    a[0], b[:, 0] = 0.0, 0.0
    product = Bounded.exact(a, DOUBLE) @ Bounded.exact(b, DOUBLE)
    assert product.scale[1, 1] == pytest.approx(64e-60)
    assert product.scale[0, 0] == DOUBLE.underflow


@pytest.mark.parametrize("number", [0, 0.25])
def test_the_bound_of_a_large_sum_is_the_same_piece_by_piece(number):
    random = np.random.default_rng(0)
    W, gradient = random.normal(size=(2, 300, 200))
    carried = Bounded.exact(gradient, DOUBLE) * Bounded.exact(np.ones((300, 200)), DOUBLE)
    new = Bounded.exact(W, DOUBLE) - 0.1 * carried + number
    whole = new.bound().ravel()
    pieces = [new.unit() * new.piece(slice(i, i + 7000)) for i in range(0, 60_000, 7000)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_allclose(
        new.scale, np.abs(W) + 0.1 * (np.abs(gradient) + DOUBLE.underflow) + number, rtol=1e-15
    )


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_the_steepest_slope_is_one_of_those_within_the_bound(name):
    sigma, sigma_prime = activation(name)
    z = np.linspace(-30, 30, 601)
    given = Bounded(z, np.full(z.shape, 60.0), 100, DOUBLE)
    steepest = (bounded_activation(name)[0](given).scale - np.abs(sigma(z))) / given.scale
    for moved in (z - given.bound(), z, z + given.bound()):
        assert (steepest >= sigma_prime(moved, sigma(moved)) * (1 - 1e-3)).all()
    small = np.abs(z) < 15
    assert (steepest <= sigma_prime(z, sigma(z)) * 1.03 + 1e-12)[small].all()


def test_every_quantity_has_its_bound():
    problem = make_problem({})
    limits = allowed(problem, problem.start(1, problem.state))
    assert {*COMPUTED} <= {*limits}
    assert len(limits) == 17  # with the gradients by the activations
    assert all(limits[name].shape == np.shape(limits[name]) for name in limits)


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"optimizer": "adam"}])
def test_a_kink_is_worth_what_the_other_slope_would_change_however_long_the_sum(settings):
    """Every third sample is all zeros, the biases too, so that both layers' z are exactly 0."""
    random = np.random.default_rng(5)
    x = random.normal(size=(300, 2))
    x[::3] = 0
    problem = make_problem(
        {
            "x": x,
            "y": random.normal(size=(300, 1)),
            "sizes": (2, 4, 3, 1),
            "activations": ("relu", "relu", "linear"),
            "b1": np.zeros(4),
            "b2": np.zeros(3),
            **settings,
        }
    )
    start = problem.start(1, problem.state)
    bound = allowed(problem, start)

    def with_slope_at_0(slope):
        pair = (lambda z: z * (z > 0), lambda z, s: (z > 0) + slope * (z == 0))
        training = problem.network.training | {"activations": [pair, pair, "linear"]}
        step = network.step(**problem.network.start(start), **training)
        return problem.network.named(step)

    left, right = with_slope_at_0(0.0), with_slope_at_0(1.0)
    part = {}
    for name, room in bound.items():
        off = np.abs(right[name] - left[name])
        assert (off <= room).all(), name
        part[name] = (off / np.maximum(room, 1e-300)).max()
    assert min(part["delta1"], part["grad_b1"], part["grad_b2"]) > 0.1
    assert settings.get("optimizer") or part["new_b1"] > 0.1
