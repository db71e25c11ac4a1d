"""Liger-Kernel's test of its MLP in bfloat16: allclose, rtol 1e-2, atol 1e4.

From test/transformers/test_swiglu.py at ead96b6, the smaller of its sizes.
"""

import torch

rtol, atol = 1e-2, 1e4


def reference(x, gate, up, down, dy):
    return (((torch.nn.functional.silu(x @ gate) * (x @ up)) @ down) * dy).sum()


def inputs(seed):
    torch.manual_seed(seed)
    sizes = {"x": (252, 123), "gate": (123, 431), "up": (123, 431), "down": (431, 123)}
    sizes["dy"] = sizes["x"]
    return {name: torch.randn(shape).bfloat16() for name, shape in sizes.items()}
