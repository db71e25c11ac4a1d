"""Kernels on a GPU: PyTorch's own, and the Triton examples compiled."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lockstep import check_function, check_gradients
from lockstep.gradients.check import _device_of

KERNELS = Path(__file__).parents[3] / "scripts/examples/kernels"
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_where_inputs_lie():
    elsewhere = torch.zeros(2, device="meta")
    assert _device_of({"x": torch.zeros(2), "more": [np.ones(3), (elsewhere, 1)]}) == "meta"
    assert _device_of({"x": torch.zeros(2), "n": 3, "s": "text"}) == ""


def drawn(*shapes, kind=torch.bfloat16):
    torch.manual_seed(0)
    return [torch.randn(shape, device="cuda").to(kind) for shape in shapes]


@gpu
@pytest.mark.parametrize(
    "backend", ["FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"]
)
def test_attention_of_each_backend_is_right(backend):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def own(q, k, v):
        with sdpa_kernel(getattr(SDPBackend, backend)):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def reference(q, k, v):
        hidden = ~torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        s = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(hidden, -float("inf"))
        return torch.softmax(s, -1) @ v

    q, k, v = drawn(*[(1, 2, 64, 64)] * 3)
    halves = ["float16", "bfloat16"]
    result = check_function(own, reference, q=q, k=k, v=v, precision=halves)
    print(backend, result)
    assert result.verdict == "match"


@gpu
@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b), [(65, 200), 200, 200]),
        (lambda x, w: F.rms_norm(x, x.shape[-1:], w), [(65, 200), 200]),
        (
            lambda x: F.cross_entropy(x, torch.arange(65, device=x.device), reduction="none"),
            [(65, 200)],
        ),
    ],
)
def test_pytorchs_own_kernels_are_right(function, shapes):
    inputs = dict(zip("xwb", drawn(*shapes), strict=False))
    result = check_function(function, function, **inputs)
    print(result)
    assert result.verdict == "match"


@gpu
@pytest.mark.parametrize("name", ["rms_norm", "cross_entropy", "attention"])
def test_the_triton_examples_compiled_are_right(name, monkeypatch):
    monkeypatch.syspath_prepend(str(KERNELS))
    monkeypatch.delitem(sys.modules, name, raising=False)
    kernel = importlib.import_module(name)
    function = {"rms_norm": "RMSNorm", "cross_entropy": "CrossEntropy", "attention": "Attention"}
    x, w = drawn((33, 100), 100)
    q, k, v = drawn(*[(40, 16)] * 3)
    inputs = {
        "rms_norm": dict(x=x, w=w),
        "cross_entropy": dict(z=x, t=torch.arange(33, device="cuda")),
        "attention": dict(q=q, k=k, v=v),
    }[name]
    result = check_function(getattr(kernel, function[name]), kernel.reference, **inputs)
    print(name, result)
    assert result.verdict == "match"


@gpu
def test_gradients_of_inputs_on_a_gpu_are_checked_there():
    (x,) = drawn((5, 4), kind=torch.float64)

    def reference(x):
        assert x.is_cuda
        return (x**3).sum()

    assert check_gradients(lambda x: {"x": 3 * x**2}, reference, x=x).verdict == "match"
