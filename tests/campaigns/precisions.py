"""Right kernels in half precision are not blamed, and small mistakes in them are found.

    python -m tests.campaigns.precisions 2000 --seed 7

Each problem is an operation of PyTorch in float32, float16 and bfloat16, computed as it is (eager)
or in float32 inside (fused), or, where Triton is there, one of the example kernels under its
interpreter; with random inputs of random shape. It is judged as it is, and with planted mistakes:
all gradients off by 1 % and by 0.1 %, a row and a block of columns that are zero.
"""

import argparse
import importlib.util
import math
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from lockstep.gradients.ladder import HALVES, PRECISIONS, on_the_grid, unit
from lockstep.gradients.precisions import Sides, climb
from lockstep.gradients.reference import Noise, gradients

LARGE = 4096  # numbers of a tensor, from which the figures count
ALL = "float32", *HALVES
SHAPES = ((64, 256), (7, 33), (33, 1024), (1, 128), (128, 64), (17, 257), (64, 65))


def normal(*shape):
    return torch.randn(*shape)


def turned(x):
    """Rotary embedding."""
    angle = torch.arange(x.shape[1] // 2, dtype=torch.float64) / 7
    c, s = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[:, : len(c)], x[:, len(c) : 2 * len(c)]
    return torch.cat([a * c - b * s, a * s + b * c], -1)


OPERATIONS = {
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b),
        lambda n, d: dict(x=normal(n, d), w=torch.rand(d) + 0.5, b=normal(d)),
    ),
    "layer_norm in steps": (
        lambda x, w, b: (
            (x - x.mean(-1, keepdim=True))
            * torch.rsqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5)
            * w
            + b
        ),  # fmt: skip
        lambda n, d: dict(x=normal(n, d), w=torch.rand(d) + 0.5, b=normal(d)),
    ),
    "rms_norm": (
        lambda x, w: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w,
        lambda n, d: dict(x=normal(n, d), w=torch.rand(d) + 0.5),
    ),
    "cross_entropy, sum": (
        lambda z, t: F.cross_entropy(z, t, reduction="sum"),
        lambda n, d: dict(z=3 * normal(n, d), t=torch.randint(0, d, (n,))),
    ),
    "cross_entropy, mean": (
        F.cross_entropy,
        lambda n, d: dict(input=3 * normal(n, d), target=torch.randint(0, d, (n,))),
    ),
    "cross_entropy, rows": (
        lambda z, t: F.cross_entropy(z, t, reduction="none"),
        lambda n, d: dict(z=3 * normal(n, d), t=torch.randint(0, d, (n,))),
    ),
    "swiglu": (
        lambda a, c: F.silu(a) * c,
        lambda n, d: dict(a=2 * normal(n, d), c=normal(n, d)),
    ),
    "gelu": (F.gelu, lambda n, d: dict(input=2 * normal(n, d))),
    "softplus": (F.softplus, lambda n, d: dict(input=3 * normal(n, d))),
    "relu network": (
        lambda x, a, b: torch.relu(x @ a) @ b,
        lambda n, d: dict(x=normal(n, d), a=normal(d, d) / d**0.5, b=normal(d, 16) / d**0.5),
    ),
    "attention in steps": (
        lambda q, k, v: torch.softmax(q @ k.T / math.sqrt(q.shape[1]), -1) @ v,
        lambda n, d: dict(q=normal(n, 32), k=normal(d, 32), v=normal(d, 32)),
    ),
    "attention, causal": (
        lambda q, k, v: F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[
            0
        ],
        lambda n, d: dict(q=normal(n, 64), k=normal(n, 64), v=normal(n, 64)),
    ),
    "matmul": (
        lambda a, m: a @ m,
        lambda n, d: dict(a=normal(n, d), m=normal(d, 48)),
    ),
    "softmax": (lambda x: torch.softmax(x, -1), lambda n, d: dict(x=2 * normal(n, d))),
    "logsumexp": (lambda x: torch.logsumexp(x, -1), lambda n, d: dict(x=2 * normal(n, d))),
    "max of a product": (
        lambda x, w: (x @ w).max(-1).values,
        lambda n, d: dict(x=normal(n, d), w=normal(d, 32)),
    ),
    "conv1d": (
        lambda x, w: F.conv1d(x[None], w)[0],
        lambda n, d: dict(x=normal(n, d), w=normal(16, n, 3) / (3 * n) ** 0.5),
    ),
    "rotary": (turned, lambda n, d: dict(x=normal(n, d))),
    "constant factors": (
        lambda x, w: (x * torch.tensor(3**-0.5, dtype=x.dtype)) @ w * 7**-0.5,
        lambda n, d: dict(x=normal(n, d), w=normal(d, 32)),
    ),
    "mse": (F.mse_loss, lambda n, d: dict(input=normal(n, d), target=normal(n, d))),
    "bce of logits": (
        lambda x, y: F.binary_cross_entropy_with_logits(x, torch.sigmoid(y)),
        lambda n, d: dict(x=normal(n, d), y=normal(n, d)),
    ),
    "kl_div": (
        lambda x, y: F.kl_div(F.log_softmax(x, -1), F.softmax(y, -1), reduction="batchmean"),
        lambda n, d: dict(x=normal(n, d), y=normal(n, d)),
    ),
    "embedding": (
        lambda w, t: F.embedding(t, w),
        lambda n, d: dict(w=normal(64, d), t=torch.randint(0, 64, (4 * n,))),
    ),
    "cosine": (
        lambda a, b: F.cosine_similarity(a, b),
        lambda n, d: dict(a=normal(n, d), b=normal(n, d)),
    ),
    "exp": (torch.exp, lambda n, d: dict(input=normal(n, d))),
    "cumsum": (lambda x: torch.cumsum(x, -1), lambda n, d: dict(x=normal(n, d))),
    "cumprod": (lambda x: torch.cumprod(1 + 0.1 * x, -1), lambda n, d: dict(x=normal(n, d))),
    "normalize": (lambda x: F.normalize(x, dim=-1), lambda n, d: dict(x=normal(n, d))),
}


KERNELS = {
    "rms_norm": ("RMSNorm", lambda n, d: dict(x=normal(n, d), w=torch.rand(d) + 0.5)),
    "cross_entropy": (
        "CrossEntropy",
        lambda n, d: dict(z=3 * normal(n, d), t=torch.randint(0, d, (n,))),
    ),
    "attention": ("Attention", lambda n, d: {name: normal(n, 64) for name in "qkv"}),
}
EXAMPLES = Path(__file__).parents[2] / "scripts/examples/kernels"


def kernels():
    """The example kernels as problems: the reference, its inputs, the kernel; {} without Triton."""
    if importlib.util.find_spec("triton") is None:
        return {}
    os.environ["TRITON_INTERPRET"] = "1"
    found = {}
    for name, (function, make) in KERNELS.items():
        # not by its own name, which an example of another folder has too
        it = importlib.util.spec_from_file_location(f"kernel_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(it)
        it.loader.exec_module(module)
        found[f"Triton's {name}"] = module.reference, make, getattr(module, function).apply
    return found


def sides(operation, inputs, is_fused, own=None):
    """An operation by PyTorch as both sides; own: a kernel that is the side by hand."""
    floats = [name for name, it in inputs.items() if it.is_floating_point()]
    numbers = {n: on_the_grid(it.double()) if n in floats else it for n, it in inputs.items()}
    arrays = {name: it.numpy() for name, it in numbers.items()}
    out = operation(**{name: torch.from_numpy(it) for name, it in arrays.items()})

    def scalar(kind, operation=operation):
        def of(**tensors):
            given = tensors.pop("output")
            cast = {n: it.to(kind) if n in floats else it for n, it in tensors.items()}
            made = operation(**cast)
            return (made * given.to(made.dtype)).sum()

        return of

    def torchs(precision, incoming):
        kind = PRECISIONS[precision]
        return gradients(scalar(kind), arrays | incoming, [*floats, "output"])

    def hand(precision, incoming):
        if own:
            of = scalar(PRECISIONS[precision], lambda **cast: own(*cast.values()))
            return gradients(of, arrays | incoming, [*floats, "output"])
        if not is_fused:
            return torchs(precision, incoming)
        found = gradients(scalar(torch.float32), arrays | incoming, [*floats, "output"])
        kind = PRECISIONS[precision]
        return {n: torch.from_numpy(it).to(kind).double().numpy() for n, it in found.items()}

    def noise(precision, incoming, draw):
        mode = Noise(draw, 2 * unit(precision))
        return gradients(scalar(torch.float64), arrays | incoming, [*floats, "output"], mode)

    return Sides(hand, torchs, noise, {"output": tuple(out.shape)})


def row(array, random):
    wrong = array.copy()
    wrong[random.integers(len(array))] = 0
    return wrong


def block(array, random):
    wrong, first = array.copy(), 16 * random.integers(max(array.shape[-1] // 16, 1))
    wrong[..., first : first + 16] = 0
    return wrong


PLANTED = {
    "1 %": lambda array, random: 1.01 * array,
    "0.1 %": lambda array, random: 1.001 * array,
    "a row": row,
    "a block": block,
}


def is_large(name, array):
    """Whether a mistake is planted in a gradient that counts: no part of it is nothing anyway."""
    is_matrix = name != "output" and array.ndim > 1 and array.size >= LARGE
    return is_matrix and array.any(axis=-1).all() and array.any(axis=0).all()


def with_mistake(right, mistake, random):
    """A side by hand whose gradients all have a mistake, the same one in each precision."""
    seed = int(random.integers(2**31))

    def hand(precision, incoming):
        found = right.hand(precision, incoming)
        return {
            name: mistake(it, np.random.default_rng(seed))
            if name != "output" and it.ndim > 1
            else it
            for name, it in found.items()
        }

    return replace(right, hand=hand)


def main(arguments=None):
    reads = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    reads.add_argument("problems", type=int, nargs="?", default=200)
    reads.add_argument("--seed", type=int, default=0)
    given = reads.parse_args(arguments)
    random = np.random.default_rng(given.seed)
    torch.manual_seed(given.seed)
    blamed, tensors, numbers = Counter(), 0, Counter()
    planted, found = Counter(), Counter()
    operations = {name: (*it, None) for name, it in OPERATIONS.items()} | kernels()
    for number in range(given.problems):
        name = [*operations][number % len(operations)]
        operation, make, own = operations[name]
        is_fused = bool(random.integers(2))
        n, d = SHAPES[random.integers(len(SHAPES))]
        try:
            right = sides(operation, make(n, d), is_fused, own)
        except RuntimeError:  # a shape that it does not take
            continue
        climbed = climb(right, ALL, (), number)
        overflowed = {it.name for it in climbed.findings if not np.isfinite(it.error)}
        tensors += len(climbed.truth)
        numbers["problems"] += 1
        numbers["overflows"] += len(overflowed)
        wrong = {it.name for it in climbed.findings} - overflowed
        if wrong:
            which = "fused" if is_fused else "eager"
            blamed[name, which] += 1
            print(f"blamed: {name}, {which}, {n} x {d}: {climbed.findings[0]}")
        for which, mistake in PLANTED.items():
            shapes = {
                each
                for each, it in climbed.truth.items()
                if is_large(each, it) and np.isfinite(climbed.tensors["float16"][each].hand)
            }
            if not shapes:
                continue
            seen = climb(with_mistake(right, mistake, random), HALVES, (), number)
            names = {it.name for it in seen.findings}
            planted[which] += len(shapes)
            found[which] += len(names & shapes)
    print(f"{'planted':10}{'tensors':>9}{'found':>9}")
    for which in PLANTED:
        share = found[which] / max(planted[which], 1)
        print(f"{which:10}{planted[which]:9}{share:9.1%}")
    print(
        f"{numbers['problems']} problems, {tensors} tensors: {sum(blamed.values())} blamed, "
        f"{numbers['overflows']} tensors overflowed"
    )
    return int(bool(blamed))


if __name__ == "__main__":
    sys.exit(main())
