"""Every formula of the lecture by name, in exact arithmetic; the weights from before the update."""

from fractions import Fraction
from types import SimpleNamespace

import pytest

from manual_backprop import neuron_by_neuron

NUMBERS = {
    name: Fraction(numerator, 7)
    for name, numerator in zip(
        "w11 w21 w12 w22 b1 b2 w31 w41 w32 w42 b3 b4 x1 x2 y1 y2 lr".split(),
        (3, -5, 2, 11, -1, 4, 13, -2, 6, -9, 8, -3, 5, 12, -4, 10, 1),
        strict=True,
    )
}


def a_slope(z, s):
    return 3 * z + 2 * s + 1  # any function of both


def an_activation(z):
    return z * z / 2 + 5


SIGMA = (an_activation, a_slope)
GIVEN = SimpleNamespace(**NUMBERS)
STEP = SimpleNamespace(
    **neuron_by_neuron.step(
        **NUMBERS, hidden_activation=SIGMA, output_activation=SIGMA, loss="half_sum"
    )
)

# The lecture's formulas, from what is given (g) and from the step's own earlier quantities (s).
LECTURE = {
    "z_h1": lambda g, s: g.w11 * g.x1 + g.w21 * g.x2 + g.b1,
    "z_h2": lambda g, s: g.w12 * g.x1 + g.w22 * g.x2 + g.b2,
    "h1": lambda g, s: an_activation(s.z_h1),
    "h2": lambda g, s: an_activation(s.z_h2),
    "z_o1": lambda g, s: g.w31 * s.h1 + g.w41 * s.h2 + g.b3,
    "z_o2": lambda g, s: g.w32 * s.h1 + g.w42 * s.h2 + g.b4,
    "o1": lambda g, s: an_activation(s.z_o1),
    "o2": lambda g, s: an_activation(s.z_o2),
    "loss": lambda g, s: Fraction(1, 2) * ((g.y1 - s.o1) ** 2 + (g.y2 - s.o2) ** 2),
    "delta_o1": lambda g, s: (s.o1 - g.y1) * a_slope(s.z_o1, s.o1),
    "delta_o2": lambda g, s: (s.o2 - g.y2) * a_slope(s.z_o2, s.o2),
    "delta_h1": lambda g, s: (s.delta_o1 * g.w31 + s.delta_o2 * g.w32) * a_slope(s.z_h1, s.h1),
    "delta_h2": lambda g, s: (s.delta_o1 * g.w41 + s.delta_o2 * g.w42) * a_slope(s.z_h2, s.h2),
    "new_w31": lambda g, s: g.w31 - g.lr * s.delta_o1 * s.h1,
    "new_w41": lambda g, s: g.w41 - g.lr * s.delta_o1 * s.h2,
    "new_w32": lambda g, s: g.w32 - g.lr * s.delta_o2 * s.h1,
    "new_w42": lambda g, s: g.w42 - g.lr * s.delta_o2 * s.h2,
    "new_b3": lambda g, s: g.b3 - g.lr * s.delta_o1,
    "new_b4": lambda g, s: g.b4 - g.lr * s.delta_o2,
    "new_w11": lambda g, s: g.w11 - g.lr * s.delta_h1 * g.x1,
    "new_w21": lambda g, s: g.w21 - g.lr * s.delta_h1 * g.x2,
    "new_w12": lambda g, s: g.w12 - g.lr * s.delta_h2 * g.x1,
    "new_w22": lambda g, s: g.w22 - g.lr * s.delta_h2 * g.x2,
    "new_b1": lambda g, s: g.b1 - g.lr * s.delta_h1,
    "new_b2": lambda g, s: g.b2 - g.lr * s.delta_h2,
}


@pytest.mark.parametrize("name", LECTURE)
def test_formula_of_the_lecture(name):
    assert getattr(STEP, name) == LECTURE[name](GIVEN, STEP)


@pytest.mark.parametrize(
    "name", [name.removeprefix("new_") for name in LECTURE if name.startswith("new_")]
)
def test_gradient_is_what_the_update_takes_away(name):
    assert (
        getattr(STEP, f"grad_{name}")
        == (getattr(GIVEN, name) - getattr(STEP, f"new_{name}")) / GIVEN.lr
    )


def test_hidden_delta_uses_weights_from_before_the_update():
    with_new_weights = (STEP.delta_o1 * STEP.new_w31 + STEP.delta_o2 * STEP.new_w32) * a_slope(
        STEP.z_h1, STEP.h1
    )
    assert STEP.delta_h1 != with_new_weights


def test_mean_over_two_outputs_is_the_lectures_half_sum_and_the_sum_is_twice_it():
    losses = {
        loss: neuron_by_neuron.step(**NUMBERS, loss=loss) for loss in ("mse", "half_sum", "sum")
    }
    assert losses["mse"] == losses["half_sum"]
    for name in ("loss", "delta_o1", "delta_h2", "grad_w31", "grad_b1"):
        assert losses["sum"][name] == 2 * losses["mse"][name]


@pytest.mark.parametrize(
    ("frozen", "kept"),
    [("W_h", "w11 w21 w12 w22"), ("b_h", "b1 b2"), ("W_o", "w31 w41 w32 w42"), ("b_o", "b3 b4")],
)
def test_frozen_parameters_keep_their_value_but_have_gradients(frozen, kept):
    free = neuron_by_neuron.step(**NUMBERS)
    held = neuron_by_neuron.step(**NUMBERS, frozen=[frozen])
    for name in (name.removeprefix("new_") for name in LECTURE if name.startswith("new_")):
        assert held[f"grad_{name}"] == free[f"grad_{name}"]
        assert held[f"new_{name}"] == (
            NUMBERS[name] if name in kept.split() else free[f"new_{name}"]
        )


@pytest.mark.parametrize("frozen", [("w11",), ("W_h", "new_W_h"), "W_h"])
def test_an_unknown_frozen_name_is_refused(frozen):
    with pytest.raises(ValueError, match="frozen: expected names out of W_h, b_h, W_o, b_o, got"):
        neuron_by_neuron.step(**NUMBERS, frozen=frozen)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss: expected one of mse, sum, .* got 'banana'"):
        neuron_by_neuron.step(**NUMBERS, loss="banana")
