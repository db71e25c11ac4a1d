"""Softmax and cross-entropy as one Triton kernel that computes the gradient on the way forward.

The kernel works in place: it overwrites a copy of the logits with softmax(z) − onehot(t), so that
the backward is a product with the incoming gradient.

    TRITON_INTERPRET=1 python scripts/examples/kernels/cross_entropy.py    # on the CPU
"""

import torch
import triton
import triton.language as tl

from lockstep import check_function


@triton.jit
def forward_kernel(Z, T, LOSS, n, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    inside = at < n
    z = tl.load(Z + row * n + at, mask=inside, other=-float("inf")).to(tl.float32)
    t = tl.load(T + row)
    e = tl.exp(z - tl.max(z, 0))
    p = e / tl.sum(e, 0)
    tl.store(LOSS + row, -tl.log(tl.sum(tl.where(at == t, p, 0.0), 0)))
    tl.store(Z + row * n + at, p - tl.where(at == t, 1.0, 0.0), mask=inside)


@triton.jit
def backward_kernel(G, DLOSS, DZ, n, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    inside = at < n
    g = tl.load(G + row * n + at, mask=inside).to(tl.float32)
    dloss = tl.load(DLOSS + row).to(tl.float32)
    tl.store(DZ + row * n + at, dloss * g, mask=inside)


class CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, t):
        rows, n = z.shape
        gradient = z.clone(memory_format=torch.contiguous_format)
        loss = z.new_empty(rows)
        forward_kernel[(rows,)](gradient, t, loss, n, triton.next_power_of_2(n))
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx, dloss):
        (gradient,) = ctx.saved_tensors
        rows, n = gradient.shape
        dz = torch.empty_like(gradient)
        backward_kernel[(rows,)](gradient, dloss.contiguous(), dz, n, triton.next_power_of_2(n))
        return dz, None


def reference(z, t):
    return torch.nn.functional.cross_entropy(z, t, reduction="none")


def inputs(seed=0, device="cpu", kind=torch.bfloat16):
    torch.manual_seed(seed)
    z, t = 2 * torch.randn(33, 100), torch.randint(0, 100, (33,))
    return {"z": z.to(device, kind), "t": t.to(device)}


if __name__ == "__main__":
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(check_function(CrossEntropy, reference, device=device, **inputs(device=device)))
