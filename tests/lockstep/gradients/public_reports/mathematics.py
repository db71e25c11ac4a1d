"""Reports about geometry, linear algebra, kinks and other mathematics, in NumPy."""

from functools import partial

import numpy as np
import torch

from lockstep import watch
from tests.lockstep.gradients.public_reports import normal


class CrossProductSign:
    """tracel-ai/burn PR #4069 (2025): the cross product's second gradient has the wrong sign."""

    def inputs(random):
        return normal(random, a=(4, 3), b=(4, 3), g=(4, 3))

    def reference(a, b, g):
        return (torch.linalg.cross(a, b) * g).sum()

    def right(a, b, g):
        return {"a": np.cross(b, g), "b": np.cross(g, a)}

    def wrong(a, b, g):
        return {"a": np.cross(b, g), "b": np.cross(a, g)}


class SplattingHalf:
    """graphdeco-inria/gaussian-splatting #551 #567 #596 #1096 (2023–2025): a mistake that is none.

    The conic's gradient off the diagonal has a factor ½, because the next stage counts that entry
    twice. It was reported again and again. A reader who removed the ½ alone made it wrong.
    """

    def inputs(random):
        a, b, c = random.uniform([[1], [-0.5], [1]], [[2], [0.5], [2]], (3, 4))
        return dict(cov=np.stack([a, b, c], 1), **normal(random, d=(4, 2), g=4))

    def reference(cov, d, g):
        a, b, c = cov.T
        det = a * c - b * b
        conic = watch("conic", torch.stack([c, -b, a], 1) / det[:, None])  # (N, 3)
        u, v = d.T
        power = -0.5 * (conic[:, 0] * u**2 + conic[:, 2] * v**2) - conic[:, 1] * u * v  # (N,)
        return (torch.exp(power) * g).sum()

    def with_conic(cov, d, g, half=0.5):
        a, b, c = cov.T
        u, v = d.T
        det = a * c - b * b
        power = -0.5 * (c * u**2 + a * v**2) / det + b * u * v / det
        k = -g * np.exp(power)
        x, y, w = k * u**2 / 2, half * k * u * v, k * v**2 / 2
        d_a = -c * c * x + 2 * b * c * y + (det - a * c) * w
        d_b = 2 * (b * c * x - (det + 2 * b * b) * y + a * b * w)
        d_c = -a * a * w + 2 * a * b * y + (det - a * c) * x
        d_cov = np.stack([d_a, d_b, d_c], 1) / det[:, None] ** 2  # (N, 3)
        return {"conic": np.stack([x, y, w], 1), "cov": d_cov}

    def right(cov, d, g):
        return {"cov": SplattingHalf.with_conic(cov, d, g)["cov"]}

    def wrong(cov, d, g):
        return {"cov": SplattingHalf.with_conic(cov, d, g, half=1)["cov"]}


class QuaternionNorm:
    """nerfstudio-project/gsplat #153 (2024): the backward does not know that q is normalised."""

    def inputs(random):
        return normal(random, q=4, g=(3, 3))

    def reference(q, g):
        w, v = (q / torch.linalg.norm(q)).split([1, 3])
        cross = torch.linalg.cross(torch.eye(3, dtype=q.dtype), v.expand(3, 3))  # rows e_i × v
        rotation = (2 * w * w - 1) * torch.eye(3) + 2 * torch.outer(v, v) + 2 * w * cross
        return (rotation * g).sum()

    def by_unit(q, g):
        w, v = q[0], q[1:]
        cross = np.cross(np.eye(3), v)  # (3, 3)
        axis = np.array([g[2, 1] - g[1, 2], g[0, 2] - g[2, 0], g[1, 0] - g[0, 1]])  # (3,)
        d_w = 4 * w * np.trace(g) + 2 * (cross * g).sum()
        return np.array([d_w, *(2 * (g + g.T) @ v + 2 * w * axis)])  # (4,)

    def right(q, g):
        n = np.sqrt(q @ q)
        u = q / n  # (4,)
        d = QuaternionNorm.by_unit(u, g)
        return {"q": (d - u * (u @ d)) / n}

    def wrong(q, g):
        return {"q": QuaternionNorm.by_unit(q / np.sqrt(q @ q), g)}


class UnitQuaternionNorm(QuaternionNorm):
    """The same with a unit quaternion, where only the projection is missing."""

    def inputs(random):
        given = normal(random, q=4, g=(3, 3))
        return given | dict(q=given["q"] / np.linalg.norm(given["q"]))


class SymmetricMatrix:
    """pytorch/pytorch #18825 #137284, HIPS/autograd PR #56, jax-ml/jax #40421 (2015–2026).

    Is a gradient by a symmetric matrix symmetric, triangular, or doubled off the diagonal? All
    agree in symmetric directions. The maintainers chose symmetric and refused doubled. Cholesky
    reads the lower triangle, so the triangular one is the derivative.
    """

    def inputs(random):
        X = random.normal(size=(4, 4))
        return dict(A=X @ X.T + 2 * np.eye(4))

    def reference(A):
        return 2 * torch.log(torch.diagonal(torch.linalg.cholesky(A))).sum()

    def right(A):
        return {"A": np.linalg.inv(A)}

    def wrong(A):
        S = np.linalg.inv(A)
        return {"A": 2 * S - np.diag(np.diag(S))}

    def triangular(A):
        return {"A": np.tril(SymmetricMatrix.wrong(A)["A"])}


class LogDeterminantLost:
    """timweiland/GaussianMarkovRandomFields.jl PR #193 (2026): the log-determinant's part is 0.

    The gradient of a Gaussian's log-density is 12 to 14 % off, and nothing complains.
    """

    def inputs(random):
        D = np.diff(np.eye(6), axis=0)  # (5, 6)
        return dict(L=D.T @ D, theta=random.uniform(0.5, 2, 2), x=random.normal(size=6))

    def reference(theta, L, x):
        Q = theta[0] * L + theta[1] * torch.eye(len(x), dtype=x.dtype)  # (n, n)
        return 0.5 * torch.logdet(Q) - 0.5 * x @ Q @ x

    def right(theta, L, x, logdet=1):
        V = np.linalg.inv(theta[0] * L + theta[1] * np.eye(len(x)))  # (n, n)
        d_logdet = np.array([(V * L).sum(), np.trace(V)])  # (2,)
        return {"theta": 0.5 * logdet * d_logdet - 0.5 * np.array([x @ L @ x, x @ x])}

    wrong = partial(right, logdet=0)


class MultiplierTwice:
    """kevin-tracy/qpax PR #21 (2026), locuslab/optnet #8: a quadratic programme's multipliers.

    One term of the gradient by the inequality matrix is scaled with λ that contains λ already.
    """

    def inputs(random):
        X = random.normal(size=(4, 4))
        return dict(Q=X @ X.T + np.eye(4), **normal(random, q=4, G=(2, 4), h=2, dz=4))

    def reference(Q, q, G, h, dz):  # all constraints hold with equality at the solution
        zero = torch.zeros(len(h), len(h), dtype=Q.dtype)
        K = torch.cat([torch.cat([Q, G.T], 1), torch.cat([G, zero], 1)])  # (n + m, n + m)
        return (torch.linalg.solve(K, torch.cat([-q, h]))[: len(q)] * dz).sum()

    def right(Q, q, G, h, dz, twice=False):
        K = np.block([[Q, G.T], [G, np.zeros((len(h), len(h)))]])  # (n + m, n + m)
        z, lam = np.split(np.linalg.solve(K, np.concatenate([-q, h])), [len(q)])
        u, v = np.split(np.linalg.solve(K, np.concatenate([dz, 0 * h])), [len(q)])
        return {"G": -np.outer(v, z) - np.outer(lam**2 if twice else lam, u)}  # (m, n)

    wrong = partial(right, twice=True)


class CopysignOfX:
    """chalk-lab/Mooncake.jl #1195 (2026): copysign's derivative lacks the factor sign(x).

    All its tests had positive x, which cannot show it.
    """

    def inputs(random):
        return normal(random, x=12, y=12, g=12)

    def reference(x, y, g):
        return (torch.copysign(x, y) * g).sum()

    def right(x, y, g):
        return {"x": g * np.sign(x) * np.sign(y)}

    def wrong(x, y, g):
        return {"x": g * np.sign(y)}


class CopysignOfPositiveX(CopysignOfX):
    """The same formula where it is right."""

    def inputs(random):
        return normal(random, y=12, g=12) | dict(x=random.uniform(1, 2, 12))


class AdjointWithoutFirstTime:
    """pymc-devs/sunode #35, SciML/SciMLSensitivity.jl #543 (2022): the adjoint at the first time.

    One lacks the loss's own gradient there, the other has the wrong sign.
    """

    def inputs(random):
        y0, p = random.uniform(0.5, 1.5, 2), random.uniform(0.5, 1.5, 4)
        return dict(y0=y0, p=p, w=random.normal(size=(7, 2)))

    def reference(y0, p, w):
        y, loss = y0, w[0] @ y0
        for w_t in w[1:]:
            slope = [p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]]
            y = y + 0.1 * torch.stack(slope)
            loss = loss + w_t @ y
        return loss

    def right(y0, p, w, first=1, sign=1):
        y = [y0]
        for a, b in (y[-1] for _ in w[1:]):
            y.append(y[-1] + 0.1 * np.array([p[0] * a - p[1] * a * b, p[2] * a * b - p[3] * b]))
        lam, d_p = np.zeros_like(y0), np.zeros_like(p)
        for w_t, (a, b) in zip(w[:0:-1], y[-2::-1], strict=True):
            lam = lam + w_t  # (2,)
            d_p = d_p + 0.1 * np.array([a, -a * b, a * b, -b]) * np.repeat(lam, 2)  # (4,)
            jacobian = np.array([[p[0] - p[1] * b, -p[1] * a], [p[2] * b, p[2] * a - p[3]]])
            lam = lam + 0.1 * lam @ jacobian
        return {"y0": sign * (lam + first * w[0]), "p": d_p}

    wrong = partial(right, first=0)
    minus = partial(right, sign=-1)


class TiesInMax:
    """tinygrad/tinygrad PRs #226 #229, huggingface/candle PR #534, TrenTorch/TrenTorch PR #58.

    Which of several equal maxima gets the gradient? Each library has its own answer. Wrong is only
    that each of them gets all of it.
    """

    def inputs(random):
        x = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 1.0], [0.0, 1.0, 5.0, 2.0]])
        return dict(x=x, g=random.normal(size=3))

    def reference(x, g):
        return (x.max(1).values * g).sum()

    def wrong(x, g):
        return {"x": (x == x.max(1, keepdims=True)) * g[:, None]}  # (N, D)

    def right(x, g):
        equals = x == x.max(1, keepdims=True)  # (N, D)
        return {"x": equals / equals.sum(1, keepdims=True) * g[:, None]}

    def last(x, g):
        d = np.zeros_like(x)
        d[np.arange(len(x)), x.shape[1] - 1 - np.argmax(x[:, ::-1], 1)] = g
        return {"x": d}


class TiesInMaximum:
    """microsoft/onnxruntime PR #11275: two equals in maximum(a, b) share the gradient."""

    def inputs(random):
        a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 4.0])
        return dict(a=a, b=b, g=random.normal(size=3))

    def reference(a, b, g):
        return (torch.maximum(a, b) * g).sum()

    def right(a, b, g):
        return {"a": g * ((a > b) + (a == b) / 2), "b": g * ((b > a) + (a == b) / 2)}

    def first(a, b, g):
        return {"a": g * (a >= b), "b": g * (b > a)}


class RangeWithoutMax:
    """FluxML/Zygote.jl #197 #208 (2019): in (x − min)/(max − min) the maximum is a constant."""

    def inputs(random):
        return dict(x=random.random(8))

    def reference(x):
        low, high = x.min(), x.max()
        return ((x - low) / (high - low)).sum()

    def right(x, through_max=1):
        span, total = np.ptp(x), (x - x.min()).sum()
        d = np.full_like(x, 1 / span)
        d[np.argmin(x)] += total / span**2 - len(x) / span
        d[np.argmax(x)] -= through_max * total / span**2
        return {"x": d}

    wrong = partial(right, through_max=0)


class RsqrtWithoutConjugate:
    """pytorch/pytorch PR #43208 (2020): the derivative of 1/√z is not conjugated.

    For real z that changes nothing.
    """

    def inputs(random):
        parts = random.normal(size=(2, 2, 5))  # real and imaginary, of z and g
        return dict(z=parts[0, 0] + 1j * parts[1, 0], g=parts[0, 1] + 1j * parts[1, 1])

    def reference(z, g):
        return (torch.rsqrt(z) * g.conj()).real.sum()

    def right(z, g):
        return {"z": -0.5 * g * np.conj(z**-1.5)}

    def wrong(z, g):
        return {"z": -0.5 * g * z**-1.5}
