"""The derivations outside the gallery are right, by PyTorch's automatic differentiation alone."""

import numpy as np
import pytest
import torch

from tests.campaigns.outside import CASES
from tests.campaigns.outside.case import everywhere, flat


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


@pytest.mark.parametrize("name", CASES)
def test_the_derivation_is_right(name):
    it = CASES[name]
    assert all(agrees(it, it.inputs(np.random.default_rng(seed))) for seed in range(3))
