"""Proof: every δ, gradient and update by hand is the derivative that sympy takes of the loss.

The formulas are run on symbols, with the identity for σ and with any differentiable function. A δ
is a derivative with respect to a pre-activation, which has no symbol of its own: σ(z + e) is
differentiated with respect to e at e = 0.
"""

import inspect
import re
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
import sympy

from manual_backprop import neuron_by_neuron, two_layer
from manual_backprop.activations import ACTIVATIONS
from tests.lecture import BACKWARD, shape_of

LOSSES = {
    "mse": lambda count: sympy.Rational(1, count),
    "sum": lambda count: 1,
    "half_sum": lambda _: sympy.Rational(1, 2),
}
KINDS = ("linear", "any")
INPUTS = "w11 w21 w12 w22 b1 b2 w31 w41 w32 w42 b3 b4 x1 x2 y1 y2 lr".split()
WEIGHTS = INPUTS[:12]
DELTAS = ("delta_h1", "delta_h2", "delta_o1", "delta_o2")
SIZES, SAMPLES = (2, 3, 2), 2
ALPHA = sympy.Symbol("lr")


def any_function(name):
    """σ and σ' of which nothing is known but that one is the derivative of the other."""
    derivative = sympy.Function(f"{name}_prime")
    sigma = type(
        name, (sympy.Function,), {"fdiff": lambda self, argindex=1: derivative(self.args[0])}
    )
    return sigma, lambda z, s: derivative(z)


def nudged(kind, name, nudges):
    """The pair (σ, σ'); the nth call of σ gives σ(z + e) with the nth of `nudges` as e."""
    sigma, sigma_prime = ACTIVATIONS["linear"] if kind == "linear" else any_function(name)
    upcoming = iter(nudges)

    def each(function):
        return lambda *numbers: (
            np.vectorize(function, otypes=[object])(*numbers)
            if np.ndim(numbers[0])
            else function(*numbers)
        )

    return lambda z: each(sigma)(z + next(upcoming)), each(sigma_prime)


def symbols(name, shape):
    letters = [sympy.Symbol("_".join((name, *map(str, index)))) for index in np.ndindex(*shape)]
    return np.array([*letters, None], dtype=object)[:-1].reshape(shape)


def derivative(loss, symbol, nudges):
    return sympy.diff(loss, symbol).xreplace(dict.fromkeys(nudges, 0))


def neurons(kind, loss, step=neuron_by_neuron.step):
    """The lecture's network on symbols: its values at e = 0, the loss with e, the nudges by δ."""
    nudges = dict(zip(DELTAS, sympy.symbols("e_h1 e_h2 e_o1 e_o2"), strict=True))
    hidden, output = (
        nudged(kind, f"sigma_{layer}", [nudges[f"delta_{layer}{i}"] for i in (1, 2)])
        for layer in "ho"
    )
    got = step(
        **{name: sympy.Symbol(name) for name in INPUTS},
        hidden_activation=hidden,
        output_activation=output,
        loss=loss,
    )
    at_zero = {
        name: sympy.sympify(value).xreplace(dict.fromkeys(nudges.values(), 0))
        for name, value in got.items()
    }
    return at_zero, got["loss"], nudges


cached_neurons = lru_cache(neurons)


@lru_cache
def claim(kind, loss, name):
    """What sympy says that a quantity of the lecture's network is."""
    _, loss, nudges = cached_neurons(kind, loss)
    weight = sympy.Symbol(name.split("_")[-1])
    if name in DELTAS:
        return derivative(loss, nudges[name], nudges.values())
    gradient = derivative(loss, weight, nudges.values())
    return gradient if name.startswith("grad_") else weight - ALPHA * gradient


def same(a, b):
    return sympy.expand(a - b) == 0


CLAIMS = (*DELTAS, *(f"grad_{name}" for name in WEIGHTS), *(f"new_{name}" for name in WEIGHTS))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_the_lectures_formula_is_the_derivative(name):
    for kind, loss in product(KINDS, LOSSES):
        got, _, _ = cached_neurons(kind, loss)
        assert same(got[name], claim(kind, loss, name)), (kind, loss)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_lectures_loss_is_the_one_named(loss):
    y1, y2 = sympy.symbols("y1 y2")
    for kind in KINDS:
        got, _, _ = cached_neurons(kind, loss)
        assert same(got["loss"], LOSSES[loss](2) * ((y1 - got["o1"]) ** 2 + (y2 - got["o2"]) ** 2))


def test_the_lectures_forward_formulas_are_its_network():
    got, _, _ = cached_neurons("any", "mse")
    w = {name: sympy.Symbol(name) for name in INPUTS}
    for target, (to_h, to_o) in enumerate((("b1", "b3"), ("b2", "b4")), 1):
        assert same(
            got[f"z_h{target}"], w[f"w1{target}"] * w["x1"] + w[f"w2{target}"] * w["x2"] + w[to_h]
        )
        assert same(
            got[f"z_o{target}"],
            w[f"w3{target}"] * got["h1"] + w[f"w4{target}"] * got["h2"] + w[to_o],
        )
        assert str(got[f"h{target}"]) == f"sigma_h({got[f'z_h{target}']})"
        assert str(got[f"o{target}"]) == f"sigma_o({got[f'z_o{target}']})"


# Neighbours of a name: the slips of a hand that copies indices.
SLIPS = {
    "w11": "w12",
    "w21": "w22",
    "w12": "w21",
    "w22": "w21",
    "w31": "w32",
    "w41": "w42",
    "w32": "w31",
    "w42": "w41",
    "x1": "x2",
    "x2": "x1",
    "y1": "y2",
    "y2": "y1",
    "h1": "h2",
    "h2": "h1",
    "o1": "o2",
    "o2": "o1",
    "z_h1": "z_h2",
    "z_h2": "z_h1",
    "z_o1": "z_o2",
    "z_o2": "z_o1",
    "delta_o1": "delta_o2",
    "delta_o2": "delta_o1",
    "delta_h1": "delta_h2",
    "delta_h2": "delta_h1",
    "b1": "b2",
    "b2": "b1",
    "b3": "b4",
    "b4": "b3",
    "+": "-",
    "-": "+",
}


def slips():
    """(line, slip) for every name and sign in the lecture's step that can be mistaken."""
    lines = inspect.getsource(neuron_by_neuron.step).splitlines()
    for number, line in enumerate(lines):
        formula = re.fullmatch(r"    ((?:z_|delta_|grad_|new_)\w+|h\d|o\d|loss) = (.*)", line)
        for word in re.finditer(r"[A-Za-z_]\w*|[-+]", formula[2]) if formula else ():
            if word[0] in SLIPS:
                at = formula.start(2) + word.start()
                yield number, line[:at] + SLIPS[word[0]] + line[at + len(word[0]) :]


ALL_SLIPS = list(slips())


def test_every_formula_of_the_lecture_is_tried_with_slips():
    assert len({number for number, _ in ALL_SLIPS}) == 37
    assert len(ALL_SLIPS) > 100


@pytest.mark.slow
@pytest.mark.parametrize(("number", "slip"), ALL_SLIPS, ids=lambda value: str(value).strip())
def test_a_wrong_sign_or_index_is_refuted(number, slip):
    lines = inspect.getsource(neuron_by_neuron.step).splitlines()
    lines[number] = slip
    names = dict(vars(neuron_by_neuron))
    exec("\n".join(lines), names)
    try:
        got, _, _ = neurons("any", "half_sum", names["step"])
    except UnboundLocalError:
        return  # the slip refers to what is computed later
    right, _, _ = cached_neurons("any", "half_sum")
    y1, y2 = sympy.symbols("y1 y2")
    holds = same(got["loss"], ((y1 - got["o1"]) ** 2 + (y2 - got["o2"]) ** 2) / 2)
    holds = holds and all(
        got[name] == right[name]
        for name in ("z_h1", "z_h2", "h1", "h2", "z_o1", "z_o2", "o1", "o2")
    )
    assert not (holds and all(same(got[name], claim("any", "half_sum", name)) for name in CLAIMS))


@lru_cache
def matrices(kind, loss):
    """The network of 2-3-2 neurons on symbolic matrices of two samples, as `neurons`."""
    given = {
        name: symbols(name, shape_of(name, SIZES, SAMPLES))
        for name in ("W_h", "b_h", "W_o", "b_o", "x", "y")
    }
    nudges = {
        name: symbols(f"e_{name}", shape_of(name, SIZES, SAMPLES))
        for name in ("delta_h", "delta_o")
    }
    hidden, output = (nudged(kind, f"sigma_{layer}", [nudges[f"delta_{layer}"]]) for layer in "ho")
    got = two_layer.step(
        **given, lr=ALPHA, hidden_activation=hidden, output_activation=output, loss=loss
    )
    every = [*nudges["delta_h"].flat, *nudges["delta_o"].flat]
    at_zero = {name: at_nothing(value, every) for name, value in got.items()}
    return given, at_zero, got["loss"], nudges, every


def at_nothing(values, nudges):
    return np.vectorize(
        lambda value: sympy.sympify(value).xreplace(dict.fromkeys(nudges, 0)), otypes=[object]
    )(values)


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKWARD)
def test_the_matrix_formula_is_the_derivative_and_the_update_goes_against_it(name):
    for kind, loss in product(KINDS, LOSSES):
        given, got, nudged_loss, nudges, every = matrices(kind, loss)
        by = nudges[name] if name in nudges else given[name.removeprefix("grad_")]
        new = got[name.replace("grad_", "new_")]  # of a δ: itself
        assert got[name].shape == new.shape == by.shape
        for index, symbol in np.ndenumerate(by):
            right = derivative(nudged_loss, symbol, every)
            assert same(got[name][index], right), (kind, loss)
            assert name in nudges or same(new[index], symbol - ALPHA * right), (kind, loss)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_matrix_loss_and_forward_formulas_are_the_network(loss, kind):
    given, got, _, _, _ = matrices(kind, loss)
    n_in, n_hidden, n_out = SIZES
    for n, j in product(range(SAMPLES), range(n_hidden)):
        assert same(
            got["z_h"][n, j],
            sum(given["x"][n, i] * given["W_h"][j, i] for i in range(n_in)) + given["b_h"][j],
        )
    for n, k in product(range(SAMPLES), range(n_out)):
        terms = sum(got["h"][n, j] * given["W_o"][k, j] for j in range(n_hidden))
        assert same(got["z_o"][n, k], terms + given["b_o"][k])
    errors = sum((given["y"][at] - got["o"][at]) ** 2 for at in np.ndindex(SAMPLES, n_out))
    assert same(got["loss"].item(), LOSSES[loss](SAMPLES * n_out) * errors)
    if kind == "any":
        assert str(got["h"][1, 2]) == f"sigma_h({got['z_h'][1, 2]})"
        assert str(got["o"][1, 0]) == f"sigma_o({got['z_o'][1, 0]})"


@pytest.mark.parametrize(
    ("name", "sigma"), [("sigmoid", lambda z: 1 / (1 + sympy.exp(-z))), ("tanh", sympy.tanh)]
)
def test_the_slope_written_by_its_output_is_the_derivative_of_the_activation(name, sigma):
    z = sympy.Symbol("z")
    _, sigma_prime = ACTIVATIONS[name]
    assert sympy.simplify(sigma_prime(z, sigma(z)) - sympy.diff(sigma(z), z)) == 0
