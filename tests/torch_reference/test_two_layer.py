"""PyTorch's side: what it is given stays as it is, bad names are refused."""

import numpy as np
import pytest
import torch

from tests.lecture import COMPUTED, PARAMETERS, shape_of
from torch_reference import two_layer

SIZES, SAMPLES = (3, 4, 2), 5


def given(dtype="float64"):
    random = np.random.default_rng(7)
    return {
        name: random.normal(size=shape_of(name, SIZES, SAMPLES)).astype(dtype)
        for name in (*PARAMETERS, "x", "y")
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("frozen", [(), ("W_h", "b_o"), PARAMETERS])
def test_the_arrays_that_come_in_are_never_changed(dtype, frozen):
    arrays = given(dtype)
    before = {name: array.copy() for name, array in arrays.items()}
    first = two_layer.step(**arrays, lr=0.1, frozen=frozen)
    kept = {name: array.copy() for name, array in first.items()}
    two_layer.step(**arrays, lr=0.7, frozen=frozen)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])
    assert list(first) == list(COMPUTED)
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        assert array.dtype == dtype
        assert array.shape == shape_of(name, SIZES, SAMPLES)
        assert not any(np.shares_memory(array, other) for other in arrays.values())


def test_a_frozen_parameter_keeps_its_value_and_has_a_gradient():
    arrays = given()
    free, held = (two_layer.step(**arrays, lr=0.1, frozen=names) for names in ((), ("W_h", "b_o")))
    for name in PARAMETERS:
        np.testing.assert_array_equal(free[f"grad_{name}"], held[f"grad_{name}"])
        kept = arrays[name] if name in ("W_h", "b_o") else free[f"new_{name}"]
        np.testing.assert_array_equal(held[f"new_{name}"], kept)


def test_the_order_in_memory_of_the_arrays_does_not_matter():
    arrays = given()
    columns = arrays | {name: np.asfortranarray(arrays[name]) for name in PARAMETERS}
    for name, array in two_layer.step(**arrays, lr=0.1).items():
        np.testing.assert_array_equal(array, two_layer.step(**columns, lr=0.1)[name])


def test_building_the_network_draws_no_random_numbers():
    before = torch.random.get_rng_state()
    two_layer.step(**given(), lr=0.1)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("frozen", [("w11",), ("W_h", "grad_W_h"), "W_h"])
def test_an_unknown_frozen_name_is_refused(frozen):
    with pytest.raises(ValueError, match="frozen: expected names out of W_h, b_h, W_o, b_o, got"):
        two_layer.step(**given(), lr=0.1, frozen=frozen)
