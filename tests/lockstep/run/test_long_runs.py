"""Where training must end: least squares, the best map of a lower rank, the largest stable rate."""

import numpy as np
import pytest
import torch

from lockstep import compare
from lockstep.setup.problem import make_problem
from manual_backprop import two_layer
from tests.lecture import PARAMETERS
from tests.lockstep.test_api import ON_IRIS

pytestmark = pytest.mark.slow

SIDES = ("manual", "torch")


def trained(problem, steps, **more):
    """The result of a lock-step run of so many steps that ends well on both sides."""
    values = {name: getattr(problem, name) for name in ("x", "y")} | problem.parameters
    return compare(
        None,
        {name: array.tolist() for name, array in values.items()} | more,
        steps=steps,
        show="none",
    )


def least_squares(x, y):
    """The best affine map of x to y as (slope, intercept), and its loss, the mean square."""
    inputs = np.hstack([x, np.ones((len(x), 1))])
    solution = np.linalg.lstsq(inputs, y, rcond=None)[0]
    return solution[:-1], solution[-1], np.mean((inputs @ solution - y) ** 2)


def best_of_rank(rank, x, y):
    """The best affine map of x to y whose slope has this rank, and its loss.

    It keeps the fitted values' first directions.
    Reduced-rank regression: Izenman, Journal of Multivariate Analysis 5 (1975).
    """
    slope, _, _ = least_squares(x, y)
    fitted = (x - x.mean(axis=0)) @ slope
    directions = np.linalg.svd(fitted, full_matrices=False)[2][:rank].T
    slope = slope @ directions @ directions.T
    intercept = y.mean(axis=0) - x.mean(axis=0) @ slope
    return slope, intercept, np.mean((x @ slope + intercept - y) ** 2)


def map_of(parameters):
    """The affine map that a linear network is: (slope, intercept)."""
    W_h, b_h, W_o, b_o = (np.array(parameters[name]) for name in PARAMETERS)
    return (W_o @ W_h).T, W_o @ b_h + b_o


def assert_ends_at(result, best):
    slope, intercept, loss = best
    assert result.verdict == "match"
    for side, last in zip(SIDES, (result.rows[-1].loss_manual, result.loss["last"]), strict=True):
        assert last == pytest.approx(loss, rel=1e-10)
        reached = map_of(result.parameters[side])
        np.testing.assert_allclose(reached[0], slope, rtol=0, atol=1e-10)
        np.testing.assert_allclose(reached[1], intercept, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("sizes", "seed"), [((2, 4, 3), 1), ((4, 2, 2), 1)])
def test_a_network_that_is_wide_enough_ends_at_least_squares_on_both_sides(sizes, seed):
    problem = make_problem({"sizes": sizes, "samples": 30, "seed": seed})
    result = trained(problem, 800, lr=0.4)
    assert_ends_at(result, least_squares(problem.x, problem.y))


def test_standardized_iris_too():
    problem = make_problem(ON_IRIS | {"standardize": True})
    assert_ends_at(trained(problem, 1000, lr=0.4), least_squares(problem.x, problem.y))


@pytest.mark.parametrize(("sizes", "rank", "seed"), [((4, 1, 3), 1, 2), ((4, 2, 3), 2, 3)])
def test_a_narrow_network_ends_at_the_best_map_of_its_rank_on_both_sides(sizes, rank, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(40, 4))
    y = x @ random.normal(size=(4, 3)) * [2.0, 1.0, 0.4] + 0.1 * random.normal(size=(40, 3))
    problem = make_problem({"sizes": sizes, "x": x, "y": y, "seed": seed})
    best = best_of_rank(rank, x, y)
    assert best[2] > least_squares(x, y)[2] * 1.01  # it is not the least-squares solution
    assert_ends_at(trained(problem, 400, lr=0.25), best)


def curvature(problem, parameters):
    """The largest eigenvalue of the loss's Hessian, and its eigenvector by parameter name."""
    sizes = [parameters[name].size for name in PARAMETERS]
    shapes = [parameters[name].shape for name in PARAMETERS]
    x, y = torch.tensor(problem.x), torch.tensor(problem.y)

    def loss(flat):
        W_h, b_h, W_o, b_o = (
            part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)
        )
        return (((x @ W_h.T + b_h) @ W_o.T + b_o - y) ** 2).mean()

    flat = torch.tensor(np.concatenate([parameters[name].ravel() for name in PARAMETERS]))
    values, vectors = np.linalg.eigh(torch.autograd.functional.hessian(loss, flat).numpy())
    parts = np.split(vectors[:, -1], np.cumsum(sizes)[:-1])
    return values[-1], {
        name: part.reshape(shape)
        for name, part, shape in zip(PARAMETERS, parts, shapes, strict=True)
    }


@pytest.mark.parametrize("seed", range(2))
def test_the_largest_stable_learning_rate_is_two_over_the_largest_curvature(seed):
    problem = make_problem({"sizes": (3, 3, 2), "samples": 30, "seed": seed})
    at = problem.parameters
    for _ in range(5000):
        step = two_layer.step(**at, x=problem.x, y=problem.y, lr=0.3)
        at = {name: step[f"new_{name}"] for name in PARAMETERS}
    largest, direction = curvature(problem, at)
    beside = {name: (at[name] + 1e-5 * direction[name]).tolist() for name in PARAMETERS}
    given = beside | {"x": problem.x.tolist(), "y": problem.y.tolist()}
    best = least_squares(problem.x, problem.y)[2]
    for factor, grows in ((0.99, False), (1.01, True)):
        result = compare(None, given, lr=factor * 2 / largest, steps=101, show="none")
        assert result.verdict == "match"
        above = [result.loss["first"] - best, result.loss["last"] - best]
        # along the steepest direction a step multiplies the distance by 1 − lr·λ,
        # and the loss's excess by its square
        assert above[1] / above[0] == pytest.approx((1 - factor * 2) ** (2 * 100), rel=0.1)
        assert (above[1] > 10 * above[0]) == grows


def test_far_above_it_the_numbers_overflow_on_both_sides():
    problem = make_problem({"sizes": (3, 3, 2), "samples": 30})
    result = trained(problem, 1000, lr=20.0)
    assert result.verdict == "undecided"
