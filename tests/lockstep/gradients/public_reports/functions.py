"""Reports about subclasses of torch.autograd.Function, and about their calls."""

import torch
from torch.autograd import Function
from torch.nn import functional

from tests.lockstep.gradients.public_reports import normal

EPS = 1e-6


def isrlu_factor(x):
    return torch.rsqrt(1 + x.clamp(max=0) ** 2)


class IsrluSlopeAlone:
    """pytorch/pytorch #4355 (2017): an activation's backward returns its slope alone.

    The activation is x / √(1 + min(x, 0)²). gradcheck reported the mistake without a cause.
    """

    def inputs(random):
        return normal(random, x=(4, 3))

    def reference(x):
        return x / (1 + x.clamp(max=0) ** 2).sqrt()

    class right(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * isrlu_factor(x)

        @staticmethod
        def backward(ctx, g):
            return g * isrlu_factor(*ctx.saved_tensors) ** 3

    class wrong(right):
        @staticmethod
        def backward(ctx, g):
            return isrlu_factor(*ctx.saved_tensors) ** 3


class HuberAlone:
    """chainer/chainer #1175 (2016): the Huber loss times 0 has the same gradient as before."""

    def inputs(random):
        return normal(random, x=(4, 3), t=(4, 3))

    def reference(x, t):
        return functional.huber_loss(x, t, reduction="none").sum(1)

    class right(Function):
        @staticmethod
        def forward(ctx, x, t):
            ctx.d = (x - t).clamp(-1, 1)  # (N, D)
            return (ctx.d * (x - t - ctx.d / 2)).sum(1)  # (N,)

        @staticmethod
        def backward(ctx, g):
            return ctx.d * g[:, None], -ctx.d * g[:, None]

    class wrong(right):
        @staticmethod
        def backward(ctx, g):
            return ctx.d, -ctx.d


class LossScaledByTheFirst:
    """linkedin/Liger-Kernel PR #1298 (2026): every row is scaled by row 0's incoming gradient.

    With reduction="none" each row has its own.
    """

    def inputs(random):
        return normal(random, z=(5, 4)) | dict(y=random.integers(0, 4, 5))

    def reference(z, y):
        return functional.cross_entropy(z, y, reduction="none")

    class right(Function):
        @staticmethod
        def forward(ctx, z, y):
            p = torch.softmax(z, 1)
            ctx.d = p - functional.one_hot(y, z.shape[1])  # (N, K)
            return -torch.log(p[range(len(z)), y])  # (N,)

        @staticmethod
        def backward(ctx, g):
            return ctx.d * g[:, None], None

    class wrong(right):
        @staticmethod
        def backward(ctx, g):
            return ctx.d * g[0], None


class RmsNormWithoutWeight:
    """unslothai/unsloth #4533, PR #4550 (2026): the weight gets None and is never trained."""

    def inputs(random):
        return normal(random, x=(5, 7), weight=7)

    def reference(x, weight):
        return functional.rms_norm(x, x.shape[-1:], weight, EPS)

    class right(Function):
        @staticmethod
        def forward(ctx, x, weight):
            r = torch.rsqrt((x * x).mean(1, keepdim=True) + EPS)  # (N, 1)
            ctx.save_for_backward(r, x * r, weight)
            return x * r * weight

        @staticmethod
        def backward(ctx, dy):
            r, n, weight = ctx.saved_tensors
            g = dy * weight  # (N, D)
            return r * (g - n * (g * n).mean(1, keepdim=True)), (dy * n).sum(0)

    class wrong(right):
        @staticmethod
        def backward(ctx, dy):
            return RmsNormWithoutWeight.right.backward(ctx, dy)[0], None


class SigmoidSlopeAtInput:
    """BoltzmannEntropy/interviews.ai #15 (2025): a book's solution has x (1 − x) for σ'(x)."""

    def inputs(random):
        return normal(random, x=(4, 3))

    def reference(x):
        return torch.sigmoid(x)

    class right(Function):
        @staticmethod
        def forward(ctx, x):
            s = torch.sigmoid(x)
            ctx.save_for_backward(x, s)
            return s

        @staticmethod
        def backward(ctx, g):
            _, s = ctx.saved_tensors
            return g * s * (1 - s)

    class wrong(right):
        @staticmethod
        def backward(ctx, g):
            x, _ = ctx.saved_tensors
            return g * x * (1 - x)


class Square(Function):
    """Right: what the next reports get wrong in the way they deal with tensors."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * x


class FixedStrides:
    """flagos-ai/FlagGems #1068, fla-org/flash-linear-attention PR #871, pytorch/pytorch #133671.

    Kernels read the incoming gradient as if it were contiguous. That of a plain sum is expanded,
    and that of q, k, v cut from one tensor is a slice: these give silently wrong numbers.
    """

    right = Square

    def inputs(random):
        return normal(random, x=(3, 4))

    def reference(x):
        return x**2

    class wrong(Square):
        @staticmethod
        def backward(ctx, g):
            stored = g.untyped_storage().nbytes() // g.element_size()
            n = min(g.numel(), stored)
            read = torch.as_strided(g, (n,), (1,), 0)
            read = functional.pad(read, (0, g.numel() - n)).view(g.shape)
            return Square.backward(ctx, read)


class IncomingGradientOverwritten:
    """pytorch/pytorch #81417 (2022): a backward may change the gradient that it is given.

    PyTorch may need it elsewhere, and computes silently wrong gradients there.
    """

    right = Square

    def inputs(random):
        return normal(random, x=(3, 4))

    def reference(x):
        return x**2

    class wrong(Square):
        @staticmethod
        def backward(ctx, g):
            return g.mul_(2 * ctx.saved_tensors[0])


def silu_slope(a):
    return torch.sigmoid(a) * (1 + a * torch.sigmoid(-a))


class SavedInputsOverwritten:
    """linkedin/Liger-Kernel #254 (2024): SwiGLU's backward writes the gradients over its inputs.

    Whoever else saved them for a backward, such as exp its result, computes with gradients.
    """

    def inputs(random):
        return normal(random, a=(3, 4), b=(3, 4))

    def reference(a, b):
        return functional.silu(a) * b

    class right(Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.given = a.detach(), b.detach()
            return functional.silu(a) * b

        @staticmethod
        def backward(ctx, g):
            a, b = ctx.given
            return g * b * silu_slope(a), g * functional.silu(a)

    class wrong(right):
        @staticmethod
        def backward(ctx, g):
            a, b = ctx.given
            d_a, d_b = g * b * silu_slope(a), g * functional.silu(a)
            return a.copy_(d_a), b.copy_(d_b)


class RotationInPlace:
    """unslothai/unsloth #5001 (2026): the rotary embedding is written over q itself."""

    def inputs(random):
        return normal(random, q=(5, 4), angle=(5, 2))

    def reference(q, angle):
        q1, q2 = q.chunk(2, 1)  # (N, D / 2)
        c, s = torch.cos(angle), torch.sin(angle)
        return torch.cat([q1 * c - q2 * s, q2 * c + q1 * s], 1)

    class right(Function):
        @staticmethod
        def forward(ctx, q, angle):
            rotated = RotationInPlace.reference(q, angle)
            ctx.save_for_backward(angle, rotated.clone())
            return rotated

        @staticmethod
        def backward(ctx, g):
            angle, rotated = ctx.saved_tensors
            (g1, g2), (r1, r2) = g.chunk(2, 1), rotated.chunk(2, 1)
            return RotationInPlace.reference(g, -angle), g2 * r1 - g1 * r2

    class wrong(right):
        @staticmethod
        def forward(ctx, q, angle):
            return q.detach().copy_(RotationInPlace.right.forward(ctx, q, angle)).clone()


class SecondDerivativeLost:
    """pytorch/pytorch #58509 #76185 #104040 (2021): an intermediate result is kept on ctx.

    The backward is right. A derivative of it takes the intermediate result for a constant.
    """

    right = Square

    def inputs(random):
        return normal(random, x=5)

    def reference(x):
        return x**2

    class wrong(Square):
        @staticmethod
        def forward(ctx, x):
            ctx.slope = 2 * x
            return x**2

        @staticmethod
        def backward(ctx, g):
            return g * ctx.slope
