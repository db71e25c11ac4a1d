"""RMSNorm as a Triton kernel: y = x / √(mean(x²) + ε) · w, and its backward.

TRITON_INTERPRET=1 python scripts/examples/kernels/rms_norm.py    # on the CPU, without a GPU
"""

import torch
import triton
import triton.language as tl

from lockstep import check_function

EPS = 1e-6


@triton.jit
def forward_kernel(X, W, Y, R, n, eps, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    inside = at < n
    x = tl.load(X + row * n + at, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(W + at, mask=inside, other=0.0).to(tl.float32)
    r = 1 / tl.sqrt(tl.sum(x * x, 0) / n + eps)
    tl.store(R + row, r)
    tl.store(Y + row * n + at, x * r * w, mask=inside)


@triton.jit
def backward_kernel(DY, X, W, R, DX, DW, n, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    inside = at < n
    dy = tl.load(DY + row * n + at, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(X + row * n + at, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(W + at, mask=inside, other=0.0).to(tl.float32)
    r = tl.load(R + row)
    x_hat, g = x * r, dy * w
    dx = r * (g - x_hat * tl.sum(g * x_hat, 0) / n)
    tl.store(DX + row * n + at, dx, mask=inside)
    tl.store(DW + row * n + at, dy * x_hat, mask=inside)  # each row's part; they are summed below


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        x, w = x.contiguous(), w.contiguous()
        rows, n = x.shape
        y = torch.empty_like(x)
        r = x.new_empty(rows, dtype=torch.float32)
        forward_kernel[(rows,)](x, w, y, r, n, EPS, triton.next_power_of_2(n))
        ctx.save_for_backward(x, w, r)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, w, r = ctx.saved_tensors
        rows, n = x.shape
        dx = torch.empty_like(x)
        dw = x.new_empty(rows, n, dtype=torch.float32)
        backward_kernel[(rows,)](dy.contiguous(), x, w, r, dx, dw, n, triton.next_power_of_2(n))
        return dx, dw.sum(dim=0).to(w.dtype)


def reference(x, w):
    return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + EPS) * w


def inputs(seed=0, device="cpu", kind=torch.bfloat16):
    torch.manual_seed(seed)
    x, w = torch.randn(33, 100), torch.rand(100) + 0.5
    return {"x": x.to(device, kind), "w": w.to(device, kind)}


if __name__ == "__main__":
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(check_function(RMSNorm, reference, device=device, **inputs(device=device)))
