"""Curves, kernels, likelihoods: polynomials, splines, Gaussian processes, mixtures."""

import math

import numpy as np
import torch

from tests.campaigns.outside.case import REGULAR, case, sizes
from tests.campaigns.outside.formulas import softmax


def points(random, **more):
    """x (n, d), and what else has this many rows."""
    n, d = sizes(random, 2)
    return dict(x=random.normal(size=(n, d))) | {
        name: random.normal(size=(n, *shape)) for name, shape in more.items()
    }


@case(but="scaled offset saturated graded")
class polynomial_by_horner:
    def inputs(random):
        n, k = sizes(random, 2)
        return dict(c=random.normal(size=k), x=random.normal(size=n), w=random.normal(size=n))

    def reference(c, x, w):
        return (sum(c[k] * x**k for k in range(len(c))) * w).sum()

    def hand(c, x, w):
        p, slope = np.zeros_like(x), np.zeros_like(x)
        for c_k in c[::-1]:
            slope = slope * x + p
            p = p * x + c_k
        return {"c": np.stack([x**k for k in range(len(c))]) @ w, "x": w * slope}


@case()
class rational_function:
    """(a₀ + a₁x + a₂x²)/(1 + b²x²)"""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(
            x=random.normal(size=n),
            a=random.normal(size=3),
            b=np.array(0.7),
            w=random.normal(size=n),
        )

    def reference(x, a, b, w):
        return ((a[0] + a[1] * x + a[2] * x * x) / (1 + (b * x) ** 2) * w).sum()

    def hand(x, a, b, w):
        q = 1 / (1 + (b * x) ** 2)
        y = (a[0] + a[1] * x + a[2] * x * x) * q  # (n,)
        return {
            "a": np.stack([x**0, x, x * x]) @ (w * q),
            "b": -(w * y * q * 2 * b * x * x).sum(),
            "x": w * q * (a[1] + 2 * a[2] * x - 2 * b * b * x * y),
        }


@case(kinds=REGULAR)
class continued_fraction:
    """a₀ + 1/(a₁ + 1/(a₂ + …))"""

    def inputs(random):
        return dict(a=random.uniform(0.5, 3, int(random.integers(2, 9))))

    def reference(a):
        y = a[-1]
        for a_k in reversed(a[:-1]):
            y = a_k + 1 / y
        return y

    def hand(a):
        y = [a[-1]]
        for a_k in a[-2::-1]:
            y.append(a_k + 1 / y[-1])
        slopes = [1.0]
        for tail in y[-2::-1]:
            slopes.append(-slopes[-1] / tail**2)
        return {"a": np.array(slopes, a.dtype)}


@case(but="scaled offset saturated graded")
class chebyshev_series:
    def inputs(random):
        n, k = sizes(random, 2)
        x, c = random.uniform(-1, 1, n), random.normal(size=k)
        return dict(c=c, x=x, w=random.normal(size=n))

    def reference(c, x, w):
        before, now, total = x, torch.ones_like(x), 0
        for c_k in c:
            total = total + c_k * now
            before, now = now, 2 * x * now - before
        return (total * w).sum()

    def hand(c, x, w):
        T, d_T = [np.ones_like(x), x], [np.zeros_like(x), np.ones_like(x)]
        for _ in c[2:]:
            d_T.append(2 * T[-1] + 2 * x * d_T[-1] - d_T[-2])
            T.append(2 * x * T[-1] - T[-2])
        return {"c": np.stack(T) @ w, "x": w * (c @ np.stack(d_T))}


@case()
class bezier_curve:
    """de Casteljau's subdivision; the weights on the way back are Bernstein's polynomials."""

    def inputs(random):
        n, d = sizes(random, 2)
        return dict(P=random.normal(size=(n, d)), w=random.normal(size=d), t=0.3)

    def reference(P, w, t):
        while len(P) > 1:
            P = (1 - t) * P[:-1] + t * P[1:]
        return P[0] @ w

    def hand(P, w, t):
        n, t = len(P) - 1, float(t)
        B = [math.comb(n, k) * t**k * (1 - t) ** (n - k) for k in range(n + 1)]
        return {"P": np.outer(np.array(B, P.dtype), w)}


@case()
class natural_cubic_spline:
    """Second derivatives from a tridiagonal system at equal distances; the bending energy."""

    def inputs(random):
        (n,) = sizes(random, 1, least=4, most=9)
        return dict(y=random.normal(size=n), w=random.normal(size=n - 2))

    def reference(y, w):
        n = len(y) - 2
        T = 4 * torch.eye(n, dtype=y.dtype)
        T = T + torch.diag(torch.ones(n - 1, dtype=y.dtype), 1)
        T = T + torch.diag(torch.ones(n - 1, dtype=y.dtype), -1)
        return torch.linalg.solve(T, 6 * torch.diff(torch.diff(y))) @ w

    def hand(y, w):
        n, one = len(y) - 2, y.dtype.type(1)
        T = (
            4 * np.eye(n, dtype=y.dtype)
            + np.diag([one] * (n - 1), 1)
            + np.diag([one] * (n - 1), -1)
        )
        z = 6 * np.linalg.solve(T, w)  # (n,)
        d_y = np.zeros_like(y)
        d_y[:-2] += z
        d_y[1:-1] -= 2 * z
        d_y[2:] += z
        return {"y": d_y}


@case(varied="x y")
class gaussian_process:
    """The negative log marginal likelihood."""

    def inputs(random):
        return points(random, y=()) | dict(length=np.array(1.3), noise=np.array(0.4))

    def reference(x, y, length, noise):
        square = ((x[:, None] - x) ** 2).sum(-1)
        K = torch.exp(-square / (2 * length**2)) + noise * torch.eye(len(x), dtype=x.dtype)
        L = torch.linalg.cholesky(K)
        a = torch.cholesky_solve(y[:, None], L)[:, 0]
        return y @ a / 2 + L.diagonal().log().sum()

    def hand(x, y, length, noise):
        r = x[:, None] - x  # (n, n, d)
        square = (r * r).sum(axis=2)
        k = np.exp(-square / (2 * length**2))  # (n, n)
        B = np.linalg.inv(k + noise * np.eye(len(x), dtype=x.dtype))
        a = B @ y  # (n,)
        d_K = (B - np.outer(a, a)) / 2
        return {
            "x": -2 * ((d_K * k)[:, :, None] * r).sum(axis=1) / length**2,
            "y": a,
            "length": (d_K * k * square).sum() / length**3,
            "noise": np.trace(d_K),
        }


@case(varied="x y")
class kernel_ridge_prediction:
    """What a new point z gets."""

    def inputs(random):
        given = points(random, y=())
        return given | dict(z=random.normal(size=given["x"].shape[1]), ridge=0.3)

    def reference(x, y, z, ridge):
        K = torch.exp(-((x[:, None] - x) ** 2).sum(-1)) + ridge * torch.eye(len(x), dtype=x.dtype)
        return torch.exp(-((x - z) ** 2).sum(-1)) @ torch.linalg.solve(K, y)

    def hand(x, y, z, ridge):
        k = np.exp(-((x[:, None] - x) ** 2).sum(axis=2))
        K = k + ridge * np.eye(len(x), dtype=x.dtype)
        q = np.exp(-((x - z) ** 2).sum(axis=1))  # (n,)
        a, d_y = np.linalg.solve(K, y), np.linalg.solve(K, q)  # (n,)
        return {"y": d_y, "z": 2 * (q * a) @ (x - z)}


@case()
class maximum_mean_discrepancy:
    def inputs(random):
        n, m, d = sizes(random, 3)
        return dict(x=random.normal(size=(n, d)), y=random.normal(size=(m, d)))

    def reference(x, y):
        def k(a, b):
            return torch.exp(-((a[:, None] - b) ** 2).sum(-1) / 2).mean()

        return k(x, x) - 2 * k(x, y) + k(y, y)

    def hand(x, y):
        def pull(a, b):
            """The gradient of the mean of k(a, b) in a."""
            r = a[:, None] - b
            k = np.exp(-(r * r).sum(axis=2) / 2)
            return -(k[:, :, None] * r).sum(axis=1) / k.size

        return {
            "x": 2 * pull(x, x) - 2 * pull(x, y),
            "y": 2 * pull(y, y) - 2 * pull(y, x),
        }


@case(but="scaled saturated graded tied integers", varied="x mu")
class gaussian_mixture:
    """The log-likelihood; its gradients are moments under the responsibilities."""

    def inputs(random):
        n, K = sizes(random, 2)
        x, (mu, s, a) = random.normal(size=n), random.normal(size=(3, K))
        return dict(x=x, mu=mu, s=0.3 * s, a=a)

    def reference(x, mu, s, a):
        z = (x[:, None] - mu) * torch.exp(-s)
        return torch.logsumexp(torch.log_softmax(a, 0) - s - z * z / 2, 1).sum()

    def hand(x, mu, s, a):
        z = (x[:, None] - mu) * np.exp(-s)  # (n, K)
        responsible = softmax(a - s - z * z / 2)
        d_z = -responsible * z
        return {
            "x": (d_z * np.exp(-s)).sum(axis=1),
            "mu": -(d_z * np.exp(-s)).sum(axis=0),
            "s": (responsible * (z * z - 1)).sum(axis=0),
            "a": responsible.sum(axis=0) - len(x) * softmax(a),
        }


@case(but="zeroed tied integers tiny")
class pairwise_distances:
    def inputs(random):
        n, m, d = sizes(random, 3)
        x, y = random.normal(size=(n, d)), random.normal(size=(m, d))
        return dict(x=x, y=y, w=random.normal(size=(n, m)))

    def reference(x, y, w):
        return (torch.cdist(x, y) * w).sum()

    def hand(x, y, w):
        r = x[:, None] - y  # (n, m, d)
        u = w[:, :, None] * r / np.sqrt((r * r).sum(axis=2, keepdims=True))
        return {"x": u.sum(axis=1), "y": -u.sum(axis=0)}


@case()
class squared_distances_expanded:
    """x² − 2xy + y², which cancels in the value and not in the gradient."""

    def inputs(random):
        n, m, d = sizes(random, 3)
        x, y = random.normal(size=(n, d)), random.normal(size=(m, d))
        return dict(x=x, y=y, w=random.normal(size=(n, m)))

    def reference(x, y, w):
        return (((x * x).sum(1)[:, None] - 2 * x @ y.T + (y * y).sum(1)) * w).sum()

    def hand(x, y, w):
        r = x[:, None] - y
        return {"x": 2 * (w[:, :, None] * r).sum(axis=1), "y": -2 * (w[:, :, None] * r).sum(axis=0)}


@case()
class soft_clustering:
    """Distances to centres, softened into an assignment."""

    def inputs(random):
        n, K, d = sizes(random, 3)
        return dict(x=random.normal(size=(n, d)), c=random.normal(size=(K, d)))

    def reference(x, c):
        square = ((x[:, None] - c) ** 2).sum(-1)
        return -torch.logsumexp(-square, 1).mean()

    def hand(x, c):
        r = x[:, None] - c  # (n, K, d)
        p = softmax(-(r * r).sum(axis=2))  # (n, K)
        d_x = 2 * p[:, :, None] * r / len(x)
        return {"x": d_x.sum(axis=1), "c": -d_x.sum(axis=0)}


@case(kinds=("plain", "single", "scaled"))
class square_root_by_newton:
    """Unrolled iterations, differentiated one by one."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(x=random.uniform(0.5, 4, n), w=random.normal(size=n))

    def reference(x, w):
        y = torch.ones_like(x)
        for _ in range(5):
            y = (y + x / y) / 2
        return (y * w).sum()

    def hand(x, w):
        y = [np.ones_like(x)]
        for _ in range(5):
            y.append((y[-1] + x / y[-1]) / 2)
        d_x, d_y = np.zeros_like(x), w
        for before in y[-2::-1]:
            d_x += d_y / before / 2
            d_y = d_y * (1 - x / before**2) / 2
        return {"x": d_x}


@case()
class quadrature_on_an_accumulated_grid:
    """∫ a sin(b t) dt by the trapezoidal rule; t is accumulated on one side only."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(a=random.normal(size=n), b=random.normal(size=n), steps=300)

    def reference(a, b, steps):
        t = torch.linspace(0, 3, int(steps) + 1, dtype=a.dtype)
        f = a[:, None] * torch.sin(b[:, None] * t)
        return torch.trapezoid(f, dx=3 / int(steps)).sum()

    def hand(a, b, steps):
        t, dt, steps = 0.0, 3 / int(steps), int(steps)
        d_a, d_b = np.zeros_like(a), np.zeros_like(b)
        for k in range(steps + 1):
            weight = dt / 2 if k in (0, steps) else dt
            d_a += weight * np.sin(b * t)
            d_b += weight * a * t * np.cos(b * t)
            t += dt
        return {"a": d_a, "b": d_b}


@case()
class cosine_by_rotation:
    """Harmonics by a recurrence, which gathers rounding over hundreds of steps."""

    def inputs(random):
        return dict(c=random.normal(size=int(random.integers(2, 300))), step=0.01)

    def reference(c, step):
        k = torch.arange(len(c), dtype=torch.float64)
        return (torch.cos(k * step).to(c.dtype) * c**2).sum()

    def hand(c, step):
        d_c, a, b = np.zeros_like(c), 1.0, 0.0
        turn, lean = math.cos(step), math.sin(step)
        for k in range(len(c)):
            d_c[k] = 2 * a * c[k]
            a, b = a * turn - b * lean, a * lean + b * turn
        return {"c": d_c}


@case()
class sum_in_plain_python:
    """A mean of many numbers, one by one, beside PyTorch's sum in pieces."""

    def inputs(random):
        return dict(x=random.normal(size=int(random.integers(10, 2000))), w=np.array(0.7))

    def reference(x, w):
        return torch.tanh(w * x.mean()) * 3

    def hand(x, w):
        total = 0.0
        for x_i in x.tolist():
            total += x_i
        mean = total / len(x)
        d_z = 3 * (1 - math.tanh(float(w) * mean) ** 2)
        return {"w": d_z * mean, "x": np.full_like(x, d_z * float(w) / len(x))}


@case(but="scaled offset saturated graded")
class horner_of_an_exponential:
    """e^x as its series, on both sides in another order."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(x=random.normal(size=n), w=random.normal(size=n))

    def reference(x, w):
        term, total = torch.ones_like(x), torch.ones_like(x)
        for k in range(1, 25):
            term = term * x / k
            total = total + term
        return (total * w).sum()

    def hand(x, w):
        slope = np.ones_like(x)
        for k in range(23, 0, -1):
            slope = 1 + x / k * slope
        return {"x": w * slope}
