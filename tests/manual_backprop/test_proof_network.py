"""Proof: on symbols, every δ, gradient and update of a three-layer network is sympy's derivative.

σ is any differentiable function. A softmax is shifted by the largest pre-activation, which symbols
do not have: any shift c gives the same, so c stands there.
"""

from functools import cache

import numpy as np
import pytest
import sympy

from manual_backprop import network
from tests.manual_backprop.test_proof import any_function, derivative, symbols

SIZES = (2, 2, 1, 2)  # of a network with three layers
NAMES = ("W1", "b1", "W2", "b2", "W3", "b3")


class Numbers(np.ndarray):
    """Arrays of symbols, whose largest is unknown, with NumPy's functions."""

    def max(self, axis, keepdims):
        return np.full((len(self), 1), sympy.Symbol("c"), dtype=object).view(Numbers)


def numbers(name, shape):
    return symbols(name, shape).view(Numbers)


@pytest.fixture(autouse=True)
def functions(monkeypatch):
    """NumPy asks the elements of an array of objects for these."""
    for name in ("exp", "log", "sqrt"):
        function = getattr(sympy, name)
        monkeypatch.setattr(sympy.Expr, name, lambda it, f=function: f(it), raising=False)
    monkeypatch.setattr(
        "manual_backprop.losses.softplus",
        lambda z: np.frompyfunc(lambda t: sympy.log(1 + sympy.exp(t)), 1, 1)(z),
    )


def elementwise(pair, nudge):
    """A pair (σ, σ') on arrays; σ gives σ(z + e)."""
    sigma, sigma_prime = (np.vectorize(f, otypes=[object]) for f in pair)
    return (lambda z: sigma(z + nudge).view(Numbers)), sigma_prime


def run(loss, y, **more):
    """A step on symbols, with a nudge e at every pre-activation; the nudges by layer."""
    shapes = {"W": lambda l: (SIZES[l], SIZES[l - 1]), "b": lambda l: (SIZES[l],)}
    parameters = {name: numbers(name, shapes[name[0]](int(name[1]))) for name in NAMES}
    nudges = {l: symbols(f"e{l}", (1, SIZES[l])) for l in (1, 2, 3)}
    activations = [elementwise(any_function(f"s{l}"), nudges[l]) for l in (1, 2, 3)]
    if loss == "cross_entropy":
        activations[2] = "softmax"
    if loss == "bce":
        activations[2] = "sigmoid"
    x = numbers("x", (1, SIZES[0]))
    got = network.step(
        parameters, x, y, sympy.Symbol("lr"), activations=activations, loss=loss, **more
    )
    got["loss"] = np.asarray(got["loss"]).item()
    return parameters, got, [e for of in nudges.values() for e in of.flat], nudges


def same(got, true):
    """Whether two expressions are equal, for all values of their symbols."""
    apart = (got - true).doit()
    return sympy.expand(apart) == 0 or sympy.cancel(sympy.expand(apart, power_exp=True)) == 0


TARGETS = {
    "mse": symbols("y", (1, 2)),
    "bce": symbols("y", (1, 2)),
    "cross_entropy": np.array([[1, 0]], dtype=object),
}


@cache
def stepped(loss):
    return run(loss, TARGETS[loss])


@pytest.mark.slow
@pytest.mark.parametrize("loss", TARGETS)
def test_every_gradient_of_three_layers_is_the_derivative(loss):
    parameters, got, nudges, _ = stepped(loss)
    at_zero = dict.fromkeys(nudges, 0)
    for name in NAMES:
        for symbol, found in zip(parameters[name].flat, got[f"grad_{name}"].flat, strict=True):
            true = derivative(got["loss"], symbol, nudges)
            assert same(found.xreplace(at_zero), true), (loss, symbol)


@pytest.mark.parametrize("loss", TARGETS)
def test_every_error_term_is_the_derivative_by_the_pre_activation(loss):
    _, got, nudges, by_layer = stepped(loss)
    at_zero = dict.fromkeys(nudges, 0)
    for l in (1, 2, 3) if loss == "mse" else (1, 2):
        for e, found in zip(by_layer[l].flat, got[f"delta{l}"].flat, strict=True):
            assert same(found.xreplace(at_zero), derivative(got["loss"], e, nudges)), (loss, e)


W, G1, G2 = (np.array([sympy.Symbol(name)], dtype=object) for name in ("w", "g1", "g2"))
ALPHA, DECAY, EPS = sympy.symbols("lr decay eps")
B1, B2, MOMENTUM, TAU = sympy.symbols("beta1 beta2 mu tau")


def two_steps(optimizer, **settings):
    """A parameter after two steps, by the code by hand."""
    p, memory, found = W, {}, {}
    for step, g in ((1, G1), (2, G2)):
        more = {"step": step} if optimizer.startswith("adam") else {}
        first = {"dampening": 0} if step == 1 and optimizer == "sgd" else {}
        found = network.OPTIMIZERS[optimizer](p, g, ALPHA, **memory, **settings | more | first)
        p = found.pop("new")
        memory = {name.removeprefix("new_"): array for name, array in found.items()}
    return p[0]


def by_definition(optimizer):
    """The same as the papers and PyTorch's documentation define it, unrolled."""
    w, g1, g2 = W[0], G1[0], G2[0]
    if optimizer == "sgd":
        d1 = g1 + DECAY * w
        w1 = w - ALPHA * d1
        d2 = g2 + DECAY * w1
        return w1 - ALPHA * (MOMENTUM * d1 + (1 - TAU) * d2)
    if optimizer in ("rmsprop", "adagrad"):
        kept, new = (B2, 1 - B2) if optimizer == "rmsprop" else (1, 1)
        d1 = g1 + DECAY * w
        w1 = w - ALPHA * d1 / (sympy.sqrt(new * d1**2) + EPS)
        d2 = g2 + DECAY * w1
        return w1 - ALPHA * d2 / (sympy.sqrt(kept * new * d1**2 + new * d2**2) + EPS)
    coupled = optimizer == "adam"
    shrunk = 1 if coupled else 1 - ALPHA * DECAY
    d1 = g1 + DECAY * w if coupled else g1
    w1 = shrunk * w - ALPHA * d1 / (sympy.sqrt(d1**2) + EPS)
    d2 = g2 + DECAY * w1 if coupled else g2
    mean = ((1 - B1) * B1 * d1 + (1 - B1) * d2) / (1 - B1**2)
    square = ((1 - B2) * B2 * d1**2 + (1 - B2) * d2**2) / (1 - B2**2)
    return shrunk * w1 - ALPHA * mean / (sympy.sqrt(square) + EPS)


@pytest.mark.parametrize("optimizer", network.OPTIMIZERS)
def test_two_updates_of_every_optimiser_are_its_definition(optimizer):
    settings = {
        "sgd": dict(momentum=MOMENTUM, dampening=TAU, weight_decay=DECAY),
        "adam": dict(beta1=B1, beta2=B2, eps=EPS, weight_decay=DECAY),
        "adamw": dict(beta1=B1, beta2=B2, eps=EPS, weight_decay=DECAY),
        "rmsprop": dict(alpha=B2, eps=EPS, weight_decay=DECAY),
        "adagrad": dict(eps=EPS, weight_decay=DECAY),
    }[optimizer]
    assert same(two_steps(optimizer, **settings), by_definition(optimizer))


def test_a_wrong_formula_is_refuted():
    assert not same(
        two_steps("sgd", momentum=MOMENTUM, dampening=0, weight_decay=DECAY), by_definition("sgd")
    )
