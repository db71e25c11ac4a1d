"""Causal attention, o = softmax(q kᵀ / √d) v, as Triton kernels: TRITON_INTERPRET=1 on the CPU."""

import torch
import triton
import triton.language as tl

from lockstep import check_function


@triton.jit
def load(A, i, n, D: tl.constexpr):
    at = i[:, None] * D + tl.arange(0, D)
    return tl.load(A + at, mask=i[:, None] < n, other=0.0).to(tl.float32)


@triton.jit
def weights(q, k, i, j, n):  # exp(q kᵀ / √d), where query i may see key j
    s = tl.dot(q, tl.trans(k), input_precision="ieee") / tl.sqrt(1.0 * q.shape[1])
    return tl.where((j <= i[:, None]) & (j < n), tl.exp(s), 0.0)


@triton.jit
def forward_kernel(Q, K, V, O, T, n, D: tl.constexpr, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    q, o, total = load(Q, i, n, D), tl.zeros((B, D), tl.float32), tl.zeros((B,), tl.float32)
    for first in range(0, n, B):
        j = first + tl.arange(0, B)
        e = weights(q, load(K, j, n, D), i, j, n)
        o = tl.dot(e, load(V, j, n, D), o, input_precision="ieee")
        total += tl.sum(e, 1)
    tl.store(O + i[:, None] * D + tl.arange(0, D), o / total[:, None], mask=i[:, None] < n)
    tl.store(T + i, total, mask=i < n)


@triton.jit
def backward_kernel(Q, K, V, O, T, DO, DQ, DK, DV, n, D: tl.constexpr, B: tl.constexpr):
    block, c = tl.program_id(0), tl.arange(0, D)  # of keys; each has its part of DQ
    j = block * B + tl.arange(0, B)
    k, v, scale = load(K, j, n, D), load(V, j, n, D), 1 / tl.sqrt(1.0 * D)
    dk, dv = tl.zeros((B, D), tl.float32), tl.zeros((B, D), tl.float32)
    for first in range(0, n, B):
        i = first + tl.arange(0, B)
        q, o, do = load(Q, i, n, D), load(O, i, n, D), load(DO, i, n, D)
        p = weights(q, k, i, j, n) / tl.load(T + i, mask=i < n, other=1.0)[:, None]
        dv = tl.dot(tl.trans(p), do, dv, input_precision="ieee")
        dp = tl.dot(do, tl.trans(v), input_precision="ieee")
        ds = scale * p * (dp - tl.sum(do * o, 1)[:, None])
        dk = tl.dot(tl.trans(ds), q, dk, input_precision="ieee")
        dq = tl.dot(ds, k, input_precision="ieee")
        tl.store(DQ + (block * n + i[:, None]) * D + c, dq, mask=i[:, None] < n)
    tl.store(DK + j[:, None] * D + c, dk, mask=j[:, None] < n)
    tl.store(DV + j[:, None] * D + c, dv, mask=j[:, None] < n)


class Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        o, total = torch.empty_like(q), q.new_empty(len(q), dtype=torch.float32)
        forward_kernel[(triton.cdiv(len(q), 16),)](q, k, v, o, total, *q.shape, 16)
        ctx.save_for_backward(q, k, v, o, total)
        return o

    @staticmethod
    def backward(ctx, do):
        q, k, v, *_ = ctx.saved_tensors
        dq = q.new_empty(triton.cdiv(len(q), 16), *q.shape, dtype=torch.float32)
        dk, dv = torch.empty_like(k), torch.empty_like(v)
        backward_kernel[(len(dq),)](*ctx.saved_tensors, do.contiguous(), dq, dk, dv, *q.shape, 16)
        return dq.sum(dim=0).to(q.dtype), dk, dv


def reference(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


if __name__ == "__main__":
    q, k, v = torch.randn(3, 40, 16, dtype=torch.bfloat16)
    print(check_function(Attention, reference, q=q, k=k, v=v))
