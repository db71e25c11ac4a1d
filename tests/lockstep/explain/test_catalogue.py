"""The catalogue: every formula is an edit of the right one."""

import pytest

from lockstep.api import compare
from lockstep.explain.catalogue import catalogue, trained
from lockstep.explain.formulas import formulas, inputs_of, replaced, split, tidy
from lockstep.setup.options import MISTAKE_NAMES
from lockstep.setup.problem import make_problem
from tests.deep import PROBLEMS, name_of, problem
from tests.lecture import LOSSES

_ZEROS = [
    dict(sizes="3-4-2", optimizer="adam", beta1=0.0, beta2=0.0, eps=0.0),
    dict(sizes="3-4-2", optimizer="adamw", beta1=0.0, weight_decay=0.0),
    dict(sizes="3-4-2", optimizer="adagrad", eps=0.0),
    dict(sizes="3-4-2", optimizer="rmsprop", alpha=0.0, eps=0.0),
    dict(sizes="3-4-2", momentum=0.5, dampening=1.0),
]
_NO_BIAS = dict(sizes="3-4-4-2", biases=[True, False, True], l2=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [*(dict(sizes="2-2-2", loss=it) for it in LOSSES), *PROBLEMS, *_ZEROS, _NO_BIAS],
    ids=name_of,
)
def test_every_mistake_has_other_formulas_than_the_right_one(values):
    network = problem(values).network
    right = formulas(trained(network))
    for mistake in catalogue(network):
        assert mistake.formulas
        assert right[mistake.quantity] not in mistake.formulas
        assert mistake.name in MISTAKE_NAMES


def test_a_mistake_says_what_its_formulas_need():
    for mistake in catalogue(make_problem({}).network):
        for formula in mistake.formulas:
            needed = inputs_of(formula)
            assert mistake.fitted == ("c" in needed)
            assert mistake.history == bool(needed & {"accumulated", "previous"})
            left_out = {"sample", "output"} & {name.removeprefix("but_") for name in needed}
            assert left_out == ({mistake.each} if mistake.each else set())


def test_an_update_of_a_frozen_parameter_can_be_wrong_too():
    result = compare(lambda b_h, lr, grad_b_h: {"new_b_h": b_h + lr * grad_b_h}, frozen=("b_h",))
    assert [found["mistake"] for found in result.diagnoses] == ["update-sign"]


def test_a_formula_is_edited_as_a_tree():
    assert split("delta_o @ W_o * sigma(z, h)") == ("delta_o @ W_o", "sigma(z, h)")
    assert split("x @ W_h.T + b_h") == ("x @ W_h.T", "b_h")
    assert replaced("a.T @ b", {"a": "b", "b": "a + c"}) == "b.T @ (a + c)"
    assert replaced("2 * (o - y) / y.size", {"o - y": "o - y.T"}) == "2 * (o - y.T) / y.size"
    assert tidy("(-1 * (a)) * (b * c)") == "-1 * a * (b * c)"
