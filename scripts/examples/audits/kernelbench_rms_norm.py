"""KernelBench's rule for half precision, of outputs alone: allclose, rtol = atol = 1e-2.

From src/kernelbench/eval.py at 423217d. Here a backward is judged by it, as model-written ones are.
"""

import torch

rtol = atol = 1e-2


def reference(x, dy):
    return (x * torch.rsqrt((x * x).mean(dim=1, keepdim=True) + 1e-5) * dy).sum()


def inputs(seed):
    torch.manual_seed(seed)
    shape = 4, 64, 16, 16
    return {"x": torch.rand(shape).bfloat16(), "dy": (torch.rand(shape) / 256).bfloat16()}
