"""The derivations outside the gallery are right, by PyTorch's automatic differentiation alone."""

import numpy as np
import pytest
import torch

from tests.campaigns.outside import CASES


def as_tensors(value, differentiate):
    """Arrays, alone or in dicts and lists, as tensors."""
    if isinstance(value, dict):
        return {key: as_tensors(one, differentiate) for key, one in value.items()}
    if isinstance(value, list):
        return [as_tensors(one, differentiate) for one in value]
    if not isinstance(value, np.ndarray):
        return value
    return torch.tensor(value, requires_grad=differentiate and value.dtype.kind in "fc")


def of(tensor):
    """The gradients in the arrangement of the tensors."""
    if isinstance(tensor, dict):
        return {key: of(one) for key, one in tensor.items()}
    if isinstance(tensor, list):
        return [of(one) for one in tensor]
    gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
    return gradient.to_dense().numpy()


def flat(value):
    if isinstance(value, dict):
        return [one for key in sorted(value) for one in flat(value[key])]
    return [one for part in value for one in flat(part)] if isinstance(value, list) else [value]


def pairs(it, inputs):
    """Each gradient by hand, with PyTorch's."""
    own = it.hand(**inputs)
    tensors = {key: as_tensors(value, key in own) for key, value in inputs.items()}
    it.reference(**tensors).backward()
    for name, value in own.items():
        yield from zip(flat(value), flat(of(tensors[name])), strict=True)


@pytest.mark.parametrize("name", CASES)
def test_the_derivation_is_right(name):
    it = CASES[name]
    for seed in range(3):
        for value, right in pairs(it, it.inputs(np.random.default_rng(seed))):
            assert np.shape(value) == right.shape
            assert np.abs(value - right).max() <= it.agree * np.abs(right).max()
