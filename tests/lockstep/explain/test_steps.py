"""Slips in a classifier's step and in its optimiser, as people write them, and their names."""

from types import SimpleNamespace

import numpy as np
import pytest

from lockstep.api import compare, run
from lockstep.explain.catalogue import catalogue, on_top
from lockstep.explain.formulas import formulas
from lockstep.setup.options import check
from lockstep.setup.problem import make_problem
from manual_backprop.activations import softmax

NETWORK = {
    "sizes": "5-4-4-3",
    "activations": "tanh,relu,linear",
    "loss": "cross_entropy",
    "samples": 6,
    "steps": 3,
}
NAMES = ("W3", "b3", "W2", "b2", "W1", "b1")


def step_of(update, keeps=(), slip=lambda name, value: value):
    """A step function whose optimiser is `update(parameter, gradient, kept, t, lr)`.

    slip: changes a value of the way back by its name.
    """

    def computed(x, y, lr, step, given):
        W1, W2, W3 = (given[f"W{l}"] for l in (1, 2, 3))
        z1 = x @ W1.T + given["b1"]
        a1 = np.tanh(z1)
        z2 = a1 @ W2.T + given["b2"]
        a2 = np.maximum(z2, 0)
        z3 = a2 @ W3.T + given["b3"]
        a3 = slip("a3", softmax(z3))
        loss = -np.log(a3[np.arange(len(x)), y]).mean()
        d3 = slip("delta3", (a3 - np.eye(3)[y]) / len(x))
        d2 = slip("delta2", d3 @ W3 * (z2 > 0))
        d1 = slip("delta1", d2 @ W2 * (1 - a1 * a1))
        found = dict(z1=z1, a1=a1, z2=z2, a2=a2, z3=z3, a3=a3, loss=loss)
        found |= dict(delta3=d3, delta2=d2, delta1=d1)
        for l, delta, a in ((3, d3, a2), (2, d2, a1), (1, d1, x)):
            found[f"grad_W{l}"] = slip(f"grad_W{l}", delta.T @ a)
            found[f"grad_b{l}"] = slip(f"grad_b{l}", delta.sum(axis=0))
        for name in NAMES:
            kept = [given[f"{which}_{name}"] for which in keeps]
            new, *memory = update(given[name], found[f"grad_{name}"], kept, step, lr)
            found[f"new_{name}"] = new
            found |= {f"new_{w}_{name}": value for w, value in zip(keeps, memory, strict=False)}
        return found

    asked = [*NAMES, *(f"{which}_{name}" for name in NAMES for which in keeps)]
    scope = {"computed": computed}
    given = ", ".join(asked)
    pairs = ", ".join(f"{name}={name}" for name in asked)
    text = f"def step(x, y, lr, step, {given}):\n    return computed(x, y, lr, step, dict({pairs}))"
    exec(text, scope)
    return scope["step"]


def named(update, keeps=(), slip=lambda name, value: value, **options):
    result = compare(step_of(update, keeps, slip), **NETWORK | options)
    assert result.verdict == "mismatch"
    return [it["mistake"] for it in result.diagnoses], result


def sgd(p, g, kept, t, lr):
    return (p - lr * g,)


@pytest.mark.parametrize("name", ["delta2", "delta1", "grad_W1", "grad_W3"])
def test_what_is_zero_is_called_zero(name):
    found, result = named(sgd, slip=lambda of, value: 0 * value if of == name else value)
    assert found[0] == "scaled-by-constant"
    assert result.diagnoses[0]["says"] == f"{name} is zero"


def test_a_loss_that_is_right_for_wrong_outputs_is_not_blamed():
    _, result = named(sgd, slip=lambda of, value: 0.9 * value if of == "a3" else value)
    assert [it["quantity"] for it in result.diagnoses] == ["a3"]


MOMENTUM = {
    "another number": lambda p, g, v, lr: (p - lr * (0.45 * v + g), 0.45 * v + g),
    "no velocity in the step": lambda p, g, v, lr: (p - lr * g, 0.9 * v + g),
    "the velocity before is left out": lambda p, g, v, lr: (p - lr * g, g),
    "the learning rate inside": lambda p, g, v, lr: (p - 0.9 * v - lr * g, 0.9 * v + lr * g),
}


@pytest.mark.parametrize("how", MOMENTUM)
def test_momentum_in_another_form(how):
    found, _ = named(
        lambda p, g, kept, t, lr: MOMENTUM[how](p, g, kept[0], lr), ["velocity"], momentum=0.9
    )
    assert found == ["momentum-form"]


def adam(p, g, kept, t, lr, m=(0.9, 0.1), v=(0.999, 0.001), squared=True, step=None):
    mean = m[0] * kept[0] + m[1] * g
    square = v[0] * kept[1] + v[1] * (g * g if squared else g)
    m_hat, v_hat = mean / (1 - 0.9**t), square / (1 - 0.999**t)
    moved = lr * m_hat / (np.sqrt(v_hat) + 1e-8) if step is None else step(m_hat, v_hat, g, lr)
    return p - moved, mean, square


ADAM = {
    "swapped betas": dict(m=(0.999, 0.001), v=(0.9, 0.1)),
    "another beta": dict(m=(0.8, 0.2)),
    "not squared": dict(squared=False),
    "no root": dict(step=lambda m, v, g, lr: lr * m / (v + 1e-8)),
    "not divided": dict(step=lambda m, v, g, lr: lr * m),
    "gradient alone": dict(step=lambda m, v, g, lr: lr * g),
    "gradient for its mean": dict(step=lambda m, v, g, lr: lr * g / (np.sqrt(v) + 1e-8)),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ADAM)
def test_adam_in_another_form(how):
    found, _ = named(
        lambda p, g, kept, t, lr: adam(p, g, kept, t, lr, **ADAM[how]),
        ["mean", "square"],
        optimizer="adam",
    )
    assert {*found} == {"momentum-form"}


@pytest.mark.slow
def test_a_decay_that_is_left_out_everywhere_is_one_mistake():
    found, result = named(
        adam,
        ["mean", "square"],
        optimizer="adam",
        weight_decay=0.1,
    )
    assert found == ["weight-decay-form"]
    assert "everything that was returned is right with --weight-decay 0" in result.remarks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"momentum": 0.9}, "--momentum 0"),
        ({"l2": 0.1}, "--l2 0"),
        ({"l1": 0.1}, "--l1 0"),
        ({"weight_decay": 0.1}, "--weight-decay 0"),
        ({"optimizer": "adamw"}, "--optimizer sgd"),
    ],
)
def test_a_setting_that_the_step_does_not_have_is_told(options, setting):
    _, result = named(sgd, **options)
    assert f"everything that was returned is right with {setting}" in result.remarks


def test_nesterovs_step_for_the_plain_one_is_told_as_an_option():
    def plain(p, g, kept, t, lr):
        velocity = 0.9 * kept[0] + g
        return p - lr * velocity, velocity

    _, result = named(plain, ["velocity"], momentum=0.9, nesterov=True)
    assert "everything that was returned is right with no --nesterov" in result.remarks

    def nesterov(p, g, kept, t, lr):
        velocity = 0.9 * kept[0] + g
        return p - lr * (g + 0.9 * velocity), velocity

    _, result = named(nesterov, ["velocity"], momentum=0.9)
    assert "everything that was returned is right with --nesterov" in result.remarks


@pytest.mark.slow
def test_a_nan_is_told_once():
    def slip(name, value):
        return np.where(np.arange(4) == 0, np.nan, value) if name == "delta2" else value

    found, _ = named(sgd, slip=slip)
    assert len(found) == 1


def test_the_right_steps_of_these_tests_match():
    for update, keeps, options in (
        (sgd, (), {}),
        (adam, ("mean", "square"), {"optimizer": "adam"}),
    ):
        problem = make_problem(check(NETWORK | options, str))
        assert run(problem, {}, step=step_of(update, keeps)).verdict == "match"


@pytest.mark.slow
def test_of_formulas_that_agree_at_the_first_step_the_second_one_decides():
    def swapped(p, g, kept, t, lr):  # at t = 1 and lr = 0.01 just as without lr
        mean, square = 0.9 * kept[0] + 0.1 * g, 0.999 * kept[1] + 0.001 * g * g
        step = mean / (1 - 0.999**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        return p - lr * step, mean, square

    found, _ = named(swapped, ["mean", "square"], optimizer="adam", lr=0.01)
    assert found == ["bias-correction"]


def test_a_memory_that_is_kept_corrected_is_named():
    def corrected(p, g, kept, t, lr):
        mean = (0.9 * kept[0] + 0.1 * g) / (1 - 0.9**t)
        square = 0.999 * kept[1] + 0.001 * g * g
        step = mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        return p - lr * step, mean, square

    found, result = named(corrected, ["mean", "square"], optimizer="adam")
    assert found == ["bias-correction"]
    assert "new_mean_W3, new_mean_b3" in result.diagnoses[0]["says"]


@pytest.mark.slow
def test_the_square_of_the_mean_and_a_memory_that_starts_anew_are_told():
    def of_mean(p, g, kept, t, lr):
        mean = 0.9 * kept[0] + 0.1 * g
        return p - lr * mean, mean, 0.999 * kept[1] + 0.001 * mean * mean

    _, result = named(of_mean, ["mean", "square"], optimizer="adam")
    assert "the square of the mean" in result.diagnoses[0]["says"]

    def anew(p, g, kept, t, lr):
        mean, square = 0.1 * g, 0.001 * g * g
        step = mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        return p - lr * step, mean, square

    found, _ = named(anew, ["mean", "square"], optimizer="adam")
    assert found == ["momentum-form"]


@pytest.mark.slow
def test_a_decay_after_adamws_step_is_no_other_beta():
    def step(W_h, grad_W_h, mean_W_h, square_W_h, step, lr):
        mean, square = 0.9 * mean_W_h + 0.1 * grad_W_h, 0.999 * square_W_h + 0.001 * grad_W_h**2
        root = np.sqrt(square / (1 - 0.999**step))
        new = W_h - lr * (mean / (1 - 0.9**step) / (root + 1e-8))
        return dict(new_W_h=new - lr * 0.01 * new)

    result = compare(step, sizes="3-4-2", samples=5, optimizer="adamw")
    assert [it["mistake"] for it in result.diagnoses] == ["weight-decay-form"]


def test_what_the_step_was_given_is_not_behind_its_mistake():
    def step(delta_h, x):
        return dict(grad_W_h=0.5 * delta_h.T @ x)

    result = compare(step, sizes="3-4-2", samples=8)
    assert [(it["quantity"], it["mistake"]) for it in result.diagnoses] == [
        ("grad_W_h", "scaled-by-constant")
    ]


def test_a_weight_that_is_left_as_it_was_is_that_first():
    result = compare(
        lambda W_h: dict(new_W_h=W_h),
        sizes="3-4-2",
        x=[[30.0, 20, 10]] * 2,
        y=[[1.0, 2]] * 2,
        steps=1,
    )
    assert result.diagnoses[0]["mistake"] == "not-updated"


CLASSES = {"sizes": "3-4-3", "activations": "tanh,softmax", "loss": "cross_entropy", "samples": 5}
SLIPS = {
    "z2 from z1": (lambda v: dict(z1=v.z1, h=v.h, z_o=v.z1 @ v.W.T + v.b), "activation-forgotten"),
    "softmax by all": (lambda v: dict(o=np.exp(v.z) / np.exp(v.z).sum()), "activation-forgotten"),
    "softmax by columns": (
        lambda v: dict(o=(e := np.exp(v.z - v.z.max(axis=1, keepdims=True))) / e.sum(axis=0)),
        "activation-forgotten",
    ),
    "every label in every row": (
        lambda v: dict(delta_o=(v.o - np.isin(np.arange(3), v.y)) / len(v.y)),
        "targets-shifted",
    ),
    "bias by what is sent back": (
        lambda v: dict(delta_h=v.delta_h, grad_b_h=(v.delta_o @ v.W).sum(axis=0)),
        "missing-activation-derivative",
    ),
}


@pytest.mark.parametrize("how", SLIPS)
def test_slips_of_a_classifier(how):
    slip, name = SLIPS[how]

    def step(x, W_h, b_h, W_o, b_o, y):
        v = SimpleNamespace(W=W_o, b=b_o, y=y)
        v.z1 = x @ W_h.T + b_h
        v.h = np.tanh(v.z1)
        v.z = v.h @ W_o.T + b_o
        v.o = softmax(v.z)
        v.delta_o = (v.o - np.eye(3)[y]) / len(x)
        v.delta_h = v.delta_o @ W_o * (1 - v.h * v.h)
        return slip(v)

    result = compare(step, **CLASSES)
    assert [it["mistake"] for it in result.diagnoses] == [name]


def test_an_activation_after_its_mask_is_told():
    mask = [[2.0, 0.0, 2.0, 2.0], [0.0, 2.0, 2.0, 0.0]]
    given = {"sizes": "3-4-2", "x": [[1.0, 2, 3], [0.5, -1, 2]], "mask1": mask}
    result = compare(lambda h, mask_h: dict(h=h * mask_h), **given)
    assert [it["mistake"] for it in result.diagnoses] == ["dropout-mask"]
    assert result.diagnoses[0]["says"] == "your h is h·mask_h: after the mask"


@pytest.mark.slow
def test_two_slips_in_one_step_of_adam_are_two(monkeypatch):
    monkeypatch.setattr("lockstep.explain.search._SECONDS", 300.0)  # also on a busy machine
    found, _ = named(
        lambda p, g, kept, t, lr: adam(
            p, g, kept, t, lr, step=lambda m, v, g, lr: -lr * m / (v + 1e-8)
        ),
        ["mean", "square"],
        optimizer="adam",
    )
    assert {*found} == {"momentum-form", "update-sign"}


def test_a_step_without_its_root_has_no_epsilon_inside_it():
    network = make_problem(check(NETWORK | {"optimizer": "adam"}, str)).network
    right = formulas(network)["new_W1"]
    rootless = right.replace("sqrt(", "(")
    assert "epsilon-placement" in {it.name for it in catalogue(network)}
    on_it = {it.name for it in on_top(network, "new_W1", rootless)}
    assert "update-sign" in on_it
    assert "epsilon-placement" not in on_it
