"""Four discussions in which people argued over a gradient, each settled by one call.

pytorch/pytorch #141425, #121133 and #195527, and harvard-edge/cs249r_book #1342 with #1399.
"""

import math

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients


def layer_norm(x, weight, bias, given):
    return (torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias) * given).sum()


def d_layer_norm(x, weight, bias, given):
    mean = x.mean(axis=-1, keepdims=True)  # (N, 1)
    r = 1 / np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + 1e-5)  # (N, 1)
    x_hat = (x - mean) * r  # (N, n)
    g = given * weight  # (N, n)
    d_x = r * (
        g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True)
    )  # (N, n)
    return {"x": d_x, "weight": (given * x_hat).sum(axis=0), "bias": given.sum(axis=0)}


def test_pytorch_141425_layer_norm_in_float32_is_right_and_both_sides_round():
    random = np.random.default_rng(0)
    given = dict(
        x=random.normal(size=(32, 64)) * 10 + 300,
        weight=random.normal(size=64),
        bias=random.normal(size=64),
        given=random.normal(size=(32, 64)),
    )
    result = check_gradients(
        d_layer_norm,
        layer_norm,
        **{name: array.astype(np.float32) for name, array in given.items()},
    )
    assert result.verdict == "match"
    hand, pytorch = result.accuracy["x"]["hand"], result.accuracy["x"]["torch"]
    assert 1e-7 < hand < 1e-3
    assert 1e-7 < pytorch < 1e-3
    assert f"x: right; in float32 yours is off by {hand:.2g}, PyTorch by {pytorch:.2g}" in str(
        result
    )


def test_pytorch_121133_the_gradient_of_tanh_is_right_and_its_tail_is_lost_on_both_sides_alike():
    x = np.linspace(-12, 12, 49).astype(np.float32)
    result = check_gradients(
        lambda x: {"x": 1 - np.tanh(x) ** 2}, lambda x: torch.tanh(x).sum(), x=x
    )
    assert result.verdict == "match"
    assert result.remarks == []


def test_pytorch_121133_one_minus_tanh_squared_from_cosh_is_right_and_better_than_pytorch_in_the_tail():
    x = np.linspace(-12, 12, 49).astype(np.float32)
    result = check_gradients(
        lambda x: {"x": 1 / np.cosh(x) ** 2}, lambda x: torch.tanh(x).sum(), x=x
    )
    assert result.verdict == "match"
    assert any(
        "PyTorch's gradient loses" in remark and "in a tail" in remark for remark in result.remarks
    )


def d_sigmoid(x):
    e = np.exp(-np.abs(x))
    return {"x": e / (1 + e) ** 2}


def test_pytorch_195527_the_sigmoids_tail_by_hand_is_right_where_pytorch_says_zero():
    x = np.array([-40.0, -1.0, 0.0, 2.0, 40.0])
    result = check_gradients(d_sigmoid, lambda x: torch.sigmoid(x).sum(), x=x)
    assert result.verdict == "match"
    assert result.resolution["blind"] == 1  # the one where PyTorch's gradient is 0
    assert len(result.remarks) == 1
    assert result.remarks[0].startswith("x: right, but in float64 PyTorch's gradient loses")
    assert "x[4], in a tail" in result.remarks[0]


def test_pytorch_195527_the_other_way_round_a_hand_by_o_times_one_minus_o_is_a_match_that_loses_its_digits():
    x = np.array([-40.0, -1.0, 0.5, 2.0])
    result = check_gradients(
        lambda x: {"x": 1 / (1 + np.exp(x)) - 1},  # −σ(x), which PyTorch has without a difference
        lambda x: torch.nn.functional.logsigmoid(-x).sum(),
        x=x,
    )
    assert result.verdict == "match"
    assert "your gradient loses" in result.remarks[0]
    assert "x[0], in a tail" in result.remarks[0]


def test_harvard_cs249r_1342_and_1399_the_backward_of_another_gelu_is_no_rounding():
    """Forward by tanh, backward by erf: finite differences with rtol 1e-3 called that noise."""

    def d_exact(x):
        Phi = (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
        return {"x": Phi + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)}

    def by_tanh(x):
        return torch.nn.functional.gelu(x, approximate="tanh").sum()

    with pytest.raises(GradientMismatch) as error:
        check_gradients(d_exact, by_tanh, x=np.random.default_rng(0).normal(size=50))
    assert error.value.diagnoses[0]["mistake"] == "unknown"
    assert "elements differ" in error.value.diagnoses[0]["says"]
    first = error.value.first_mismatch
    assert first["difference"] > 1e8 * first["allowed"]
    assert first["difference"] < 1e-2 * abs(
        first["torch"]
    )  # which is why a loose tolerance lets it pass
