"""TransformerEngine's attention in bfloat16, one backend against another: rtol = atol = 1.5e-2.

From tests/pytorch/attention/test_attention.py at d0067d0; q, k, v and dy as they are drawn there.
"""

import torch

rtol = atol = 1.5e-2


def reference(q, k, v, dy):
    return (torch.softmax(q @ k.mT / 8, dim=-1) @ v * dy).sum()


def inputs(seed):
    torch.manual_seed(seed)
    given = {name: (0.1 * torch.randn(2, 128, 64)).bfloat16() for name in "qkv"}
    return given | {"dy": (0.001 * torch.randint(0, 200, (2, 128, 64))).bfloat16()}
