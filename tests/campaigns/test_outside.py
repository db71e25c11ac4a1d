"""The derivations outside the gallery are right, by PyTorch's automatic differentiation alone.

Samples of what `right_expressions`, `planted_errors` and `formula_mistakes` make of them follow.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.campaigns import formula_mistakes, planted_errors, right_expressions
from tests.campaigns.outside import CASES
from tests.campaigns.outside.case import everywhere, flat
from tests.campaigns.right_expressions import changed


def gradient(tensor):
    return (torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).to_dense().numpy()


def pairs(it, inputs):
    """Each gradient by hand, with PyTorch's."""
    own = it.hand(**inputs)
    tensors = everywhere(torch.tensor, inputs)
    for name in own:
        everywhere(torch.Tensor.requires_grad_, tensors[name], torch.Tensor)
    it.reference(**tensors).backward()
    for name, value in own.items():
        right = everywhere(gradient, tensors[name], torch.Tensor)
        if isinstance(right, dict):
            assert value.keys() == right.keys()
            value = {key: value[key] for key in right}
        yield from zip(flat(value), flat(right), strict=True)


def agrees(it, inputs):
    """Whether every gradient is right, relative to its largest element."""
    return all(
        np.shape(own) == right.shape and np.abs(own - right).max() <= it.agree * np.abs(right).max()
        for own, right in pairs(it, inputs)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_derivation_is_right(name):
    it = CASES[name]
    assert all(agrees(it, it.inputs(np.random.default_rng(seed))) for seed in range(3))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_input_is_in_the_domain(name):
    for kind in CASES[name].kinds:
        given = changed(CASES[name], kind, np.random.default_rng(1))
        with np.errstate(all="ignore"):
            found = list(pairs(CASES[name], given))
        assert all(np.isfinite(own).all() and np.isfinite(right).all() for own, right in found)


@pytest.mark.parametrize("i", range(25, 2600, 315))
def test_no_right_derivation_is_blamed(i):
    assert right_expressions.judge(i, seed=7)["outcome"] in right_expressions.FINE


@pytest.mark.slow
@pytest.mark.parametrize("i", range(7, len(planted_errors.SMOOTH), 40))
def test_an_error_in_the_tenth_digit_is_found(i):
    assert planted_errors.judge(i, seed=7)[planted_errors.CLAIMED] == "mismatch"


@pytest.mark.parametrize("mistake", formula_mistakes.PLANTED, ids=lambda one: one.case)
def test_a_mistake_is_one(mistake):
    it = CASES[mistake.case]
    wrong = replace(it, hand=formula_mistakes.planted(mistake))
    assert not agrees(wrong, it.inputs(np.random.default_rng(0)))


@pytest.mark.slow
@pytest.mark.parametrize("mistake", formula_mistakes.PLANTED[5::30], ids=lambda one: one.case)
def test_a_mistake_is_found(mistake):
    assert formula_mistakes.diagnosed(mistake)["mistake"] in (*mistake.names.split(), "unknown")
