"""Geometry and physics: rotations, angles, energies, integration over time with its adjoint."""

import math

import numpy as np
import torch

from tests.campaigns.outside.case import REGULAR, SCALABLE, case, sizes

APART = "zeroed tied integers tiny nearly_cancelling"  # points that must not coincide


def vectors(random, *names):
    (n,) = sizes(random, 1)
    return {name: random.normal(size=(n, 3)) for name in names}


def dot(a, b):
    return (a * b).sum(axis=-1, keepdims=True)


def hamilton(p, q):
    """The product of quaternions (…, 4), with PyTorch or NumPy, as four numbers."""
    a, b, c, d = (p[..., i] for i in range(4))
    e, f, g, h = (q[..., i] for i in range(4))
    return (
        a * e - b * f - c * g - d * h,
        a * f + b * e + c * h - d * g,
        a * g - b * h + c * e + d * f,
        a * h + b * g - c * f + d * e,
    )


@case()
class cross_product:
    def inputs(random):
        return vectors(random, "a", "b", "w")

    def reference(a, b, w):
        return (torch.linalg.cross(a, b) * w).sum()

    def hand(a, b, w):
        return {"a": np.cross(b, w), "b": np.cross(w, a), "w": np.cross(a, b)}


@case()
class quaternion_product:
    def inputs(random):
        p, q, w = random.normal(size=(3, int(random.integers(1, 6)), 4))
        return dict(p=p, q=q, w=w)

    def reference(p, q, w):
        return (torch.stack(hamilton(p, q), -1) * w).sum()

    def hand(p, q, w):
        sign = np.array([1, -1, -1, -1], p.dtype)  # conjugation
        return {
            "p": np.stack(hamilton(w, q * sign), -1),
            "q": np.stack(hamilton(p * sign, w), -1),
        }


@case(but="zeroed tied integers tiny")
class quaternion_rotation:
    """v' = v + 2 s (u × v) + 2 u × (u × v), with (s, u) = q/‖q‖"""

    def inputs(random):
        return vectors(random, "v", "w") | dict(q=random.normal(size=4))

    def reference(q, v, w):
        s, u = (q / q.norm()).split([1, 3])
        once = torch.linalg.cross(u.expand_as(v), v)
        return ((v + 2 * s * once + 2 * torch.linalg.cross(u.expand_as(v), once)) * w).sum()

    def hand(q, v, w):
        length = np.sqrt(q @ q)
        s, u = q[0] / length, q[1:] / length
        once, back = np.cross(u, v), np.cross(w, u)  # (n, 3)
        d_s = 2 * (once * w).sum()
        d_u = 2 * (s * np.cross(v, w) + np.cross(once, w) + np.cross(v, back)).sum(axis=0)
        d_unit, unit = np.append(d_s, d_u), q / length
        return {
            "q": (d_unit - unit * (unit @ d_unit)) / length,
            "v": w + 2 * s * back + 2 * np.cross(back, u),
        }


@case()
class plane_rotation:
    def inputs(random):
        (n,) = sizes(random, 1)
        x, w = random.normal(size=(2, n, 2))
        return dict(x=x, w=w, angle=np.array(random.normal()))

    def reference(x, w, angle):
        c, s = torch.cos(angle), torch.sin(angle)
        R = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
        return (x @ R.T * w).sum()

    def hand(x, w, angle):
        c, s = np.cos(angle), np.sin(angle)
        R, d_R = np.array([[c, -s], [s, c]]), w.T @ x
        return {"x": w @ R, "angle": (d_R * np.array([[-s, -c], [c, -s]])).sum()}


@case()
class spherical_coordinates:
    """From (r, θ, φ) to (x, y, z)."""

    def inputs(random):
        n = int(random.integers(1, 6))
        r, theta, phi = random.normal(size=(3, n))
        return dict(r=r, theta=theta, phi=phi, w=random.normal(size=(n, 3)))

    def reference(r, theta, phi, w):
        x = r * theta.sin() * phi.cos()
        y = r * theta.sin() * phi.sin()
        return (torch.stack([x, y, r * theta.cos()], 1) * w).sum()

    def hand(r, theta, phi, w):
        (s, c), (S, C), (x, y, z) = (np.sin(theta), np.cos(theta)), (np.sin(phi), np.cos(phi)), w.T
        return {
            "r": x * s * C + y * s * S + z * c,
            "theta": r * (x * c * C + y * c * S - z * s),
            "phi": r * s * (y * C - x * S),
        }


@case(kinds=SCALABLE)
class polar_coordinates:
    """hypot and atan2."""

    def inputs(random):
        n = int(random.integers(1, 8))
        return {name: random.normal(size=n) for name in ("x", "y", "a", "b")}

    def reference(x, y, a, b):
        return (torch.hypot(x, y) * a + torch.atan2(y, x) * b).sum()

    def hand(x, y, a, b):
        r = np.hypot(x, y)
        return {"x": a * x / r - b * y / r / r, "y": a * y / r + b * x / r / r}


@case(kinds=SCALABLE)
class angle_between:
    def inputs(random):
        return vectors(random, "a", "b")

    def reference(a, b):
        return torch.atan2(torch.linalg.cross(a, b).norm(dim=1), (a * b).sum(1)).sum()

    def hand(a, b):
        la, lb = np.sqrt(dot(a, a)), np.sqrt(dot(b, b))
        u, v = a / la, b / lb
        c = np.cross(u, v)
        s, cosine = np.sqrt(dot(c, c)), dot(u, v)
        return {"a": (cosine * u - v) / (la * s), "b": (cosine * v - u) / (lb * s)}


@case(kinds=SCALABLE)
class triangle_areas:
    def inputs(random):
        return vectors(random, "a", "b", "c")

    def reference(a, b, c):
        return torch.linalg.cross(b - a, c - a).norm(dim=1).sum() / 2

    def hand(a, b, c):
        n = np.cross(b - a, c - a)
        u = n / np.sqrt(dot(n, n)) / 2
        d_b, d_c = np.cross(c - a, u), np.cross(u, b - a)
        return {"a": -d_b - d_c, "b": d_b, "c": d_c}


@case()
class polygon_area:
    """The shoelace formula."""

    def inputs(random):
        (n,) = sizes(random, 1, least=3, most=8)
        return dict(x=random.normal(size=n), y=random.normal(size=n))

    def reference(x, y):
        return (x * y.roll(-1) - y * x.roll(-1)).sum() / 2

    def hand(x, y):
        return {
            "x": (np.roll(y, -1) - np.roll(y, 1)) / 2,
            "y": (np.roll(x, 1) - np.roll(x, -1)) / 2,
        }


@case(kinds=REGULAR)
class distance_on_a_globe:
    """The haversine formula, in radians."""

    def inputs(random):
        n = int(random.integers(1, 6))
        return {name: random.uniform(-1, 1, n) for name in ("a", "b", "along")}

    def reference(a, b, along):
        h = ((b - a) / 2).sin() ** 2 + a.cos() * b.cos() * (along / 2).sin() ** 2
        return 2 * torch.asin(torch.sqrt(h)).sum()

    def hand(a, b, along):
        s = np.sin(along / 2) ** 2
        h = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * s
        d_h = 1 / np.sqrt(h * (1 - h))
        return {
            "a": d_h * (-np.sin(b - a) / 2 - np.sin(a) * np.cos(b) * s),
            "b": d_h * (np.sin(b - a) / 2 - np.cos(a) * np.sin(b) * s),
            "along": d_h * np.cos(a) * np.cos(b) * np.sin(along) / 2,
        }


def bodies(random):
    n, d = int(random.integers(2, 6)), int(random.integers(2, 4))
    return dict(x=random.normal(size=(n, d)), m=random.uniform(0.5, 2, n))


@case(but=APART, varied="x")
class gravitational_energy:
    inputs = bodies

    def reference(x, m):
        i, j = torch.triu_indices(len(x), len(x), 1)
        return -(m[i] * m[j] / (x[i] - x[j]).norm(dim=1)).sum()

    def hand(x, m):
        d_x, d_m = np.zeros_like(x), np.zeros_like(m)
        for i in range(len(x)):
            for j in range(i):
                r = x[i] - x[j]
                length = np.sqrt(r @ r)
                force = m[i] * m[j] * r / length**3
                d_x[i] += force
                d_x[j] -= force
                d_m[i] -= m[j] / length
                d_m[j] -= m[i] / length
        return {"x": d_x, "m": d_m}


@case(but=f"{APART} scaled saturated graded offset", varied="x")
class lennard_jones_energy:
    def inputs(random):
        return dict(x=bodies(random)["x"], epsilon=0.5, sigma=1.1)

    def reference(x, epsilon, sigma):
        i, j = torch.triu_indices(len(x), len(x), 1)
        s = (sigma**2 / ((x[i] - x[j]) ** 2).sum(1)) ** 3
        return 4 * epsilon * (s * s - s).sum()

    def hand(x, epsilon, sigma):
        r = x[:, None] - x  # (n, n, d)
        square = (r * r).sum(axis=2)
        np.fill_diagonal(square, np.inf)
        s = (sigma**2 / square) ** 3
        d_square = -12 * epsilon * (2 * s * s - s) / square  # (n, n)
        return {"x": 2 * (d_square[:, :, None] * r).sum(axis=1)}


@case()
class spring_chain:
    def inputs(random):
        (n,) = sizes(random, 1, least=3, most=10)
        return dict(x=random.normal(size=n), k=random.normal(size=n - 1), rest=1.0)

    def reference(x, k, rest):
        return (k * (torch.diff(x) - rest) ** 2).sum() / 2

    def hand(x, k, rest):
        stretch = np.diff(x) - rest
        pull = k * stretch
        d_x = np.zeros_like(x)
        d_x[1:] += pull
        d_x[:-1] -= pull
        return {"x": d_x, "k": stretch**2 / 2}


@case(but="scaled saturated offset graded")
class euler_integration:
    """ẋ = tanh(A x), with the adjoint by hand; the time is accumulated."""

    def inputs(random):
        n = int(random.integers(2, 5))
        x, w = random.normal(size=(2, n))
        return dict(A=random.normal(size=(n, n)), x=x, w=w, dt=0.1, end=0.75)

    def reference(A, x, w, dt, end):
        t = 0.0
        while t < end:
            x = x + dt * torch.tanh(A @ x) * math.cos(t)
            t += dt
        return x @ w

    def hand(A, x, w, dt, end):
        t, steps = 0.0, []
        while t < end:
            f = np.tanh(A @ x)
            steps.append((x, f, float(dt) * math.cos(t)))
            x = x + steps[-1][2] * f
            t += float(dt)
        d_A, lam = np.zeros_like(A), w
        for x, f, h in reversed(steps):
            d_z = h * lam * (1 - f * f)
            d_A += np.outer(d_z, x)
            lam = lam + A.T @ d_z
        return {"A": d_A, "x": lam}


@case(but="scaled saturated offset graded")
class runge_kutta_step:
    """One step of RK4 of ẋ = −x³ + u, stage by stage on the way back."""

    def inputs(random):
        (n,) = sizes(random, 1)
        x, u, w = random.normal(size=(3, n))
        return dict(x=x, u=u, w=w, h=0.2)

    def reference(x, u, w, h):
        def f(x):
            return u - x**3

        a = f(x)
        b = f(x + h / 2 * a)
        c = f(x + h / 2 * b)
        d = f(x + h * c)
        return ((x + h / 6 * (a + 2 * b + 2 * c + d)) * w).sum()

    def hand(x, u, w, h):
        def f(x):
            return u - x**3

        a = f(x)
        p = x + h / 2 * a
        b = f(p)
        q = x + h / 2 * b
        c = f(q)
        r = x + h * c
        d_d = h / 6 * w
        d_r = -3 * r * r * d_d
        d_c = h / 3 * w + h * d_r
        d_q = -3 * q * q * d_c
        d_b = h / 3 * w + h / 2 * d_q
        d_p = -3 * p * p * d_b
        d_a = h / 6 * w + h / 2 * d_p
        return {
            "x": w + d_r + d_q + d_p - 3 * x * x * d_a,
            "u": d_a + d_b + d_c + d_d,
        }


@case()
class leapfrog:
    """The harmonic oscillator: kick, drift, kick; the steps are linear."""

    def inputs(random):
        (n,) = sizes(random, 1)
        q, p, k, w = random.normal(size=(4, n))
        return dict(q=q, p=p, k=k, w=w, steps=int(random.integers(1, 6)), dt=0.3)

    def reference(q, p, k, w, steps, dt):
        for _ in range(steps):
            p = p - dt / 2 * k * q
            q = q + dt * p
            p = p - dt / 2 * k * q
        return (q * w + p**2 / 2).sum()

    def hand(q, p, k, w, steps, dt):
        qs = [q]
        for _ in range(steps):
            p = p - dt / 2 * k * q
            q = q + dt * p
            p = p - dt / 2 * k * q
            qs.append(q)
        d_q, d_p, d_k = w, p, np.zeros_like(k)
        for before, after in zip(qs[-2::-1], qs[:0:-1], strict=True):
            d_k = d_k - dt / 2 * after * d_p
            d_q = d_q - dt / 2 * k * d_p
            d_p = d_p + dt * d_q
            d_k = d_k - dt / 2 * before * d_p
            d_q = d_q - dt / 2 * k * d_p
        return {"q": d_q, "p": d_p, "k": d_k}


@case(varied="m z")
class kalman_update:
    """One measurement; the squared error of the estimate."""

    def inputs(random):
        n, k = sizes(random, 2, most=4)
        X = random.normal(size=(n, n))
        H, P = random.normal(size=(k, n)), X @ X.T + np.eye(n)
        return dict(m=random.normal(size=n), P=P, H=H, z=random.normal(size=k), r=0.5)

    def reference(m, P, H, z, r):
        S = H @ P @ H.T + r * torch.eye(len(z), dtype=m.dtype)
        return ((m + P @ H.T @ torch.linalg.solve(S, z - H @ m)) ** 2).sum() / 2

    def hand(m, P, H, z, r):
        S = H @ P @ H.T + r * np.eye(len(z), dtype=m.dtype)
        e = np.linalg.solve(S, z - H @ m)  # (k,)
        g = m + P @ H.T @ e  # the estimate, and its gradient
        d_e = np.linalg.solve(S.T, H @ P.T @ g)  # (k,)
        return {
            "m": g - H.T @ d_e,
            "z": d_e,
            "P": np.outer(g, H.T @ e) - np.outer(H.T @ d_e, H.T @ e),
        }


@case()
class heat_equation:
    """Explicit steps on a ring; the diffusivity is learnt."""

    def inputs(random):
        (n,) = sizes(random, 1, least=3, most=8)
        u, target = random.normal(size=(2, n))
        return dict(u=u, target=target, a=np.array(0.2), steps=int(random.integers(1, 5)))

    def reference(u, target, a, steps):
        for _ in range(steps):
            u = u + a * (u.roll(1) - 2 * u + u.roll(-1))
        return ((u - target) ** 2).sum()

    def hand(u, target, a, steps):
        def laplacian(u):
            return np.roll(u, 1) - 2 * u + np.roll(u, -1)

        seen = []
        for _ in range(steps):
            seen.append(laplacian(u))
            u = u + a * seen[-1]
        d_u, d_a = 2 * (u - target), 0.0
        for lap in reversed(seen):
            d_a = d_a + d_u @ lap
            d_u = d_u + a * laplacian(d_u)
        return {"u": d_u, "a": d_a}


@case()
class gradient_penalty:
    """(‖∇ₓ f‖² − 1)² of f = v·tanh(W x), the inner gradient by PyTorch in the reference."""

    def inputs(random):
        n, m = sizes(random, 2)
        return dict(W=random.normal(size=(m, n)), v=random.normal(size=m), x=random.normal(size=n))

    def reference(W, v, x):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(v @ torch.tanh(W @ x), x, create_graph=True)
        return (g @ g - 1) ** 2

    def hand(W, v, x):
        t = np.tanh(W @ x)  # (m,)
        s = v * (1 - t * t)
        g = W.T @ s  # (n,)
        d_g = 4 * (g @ g - 1) * g
        d_s = W @ d_g
        d_z = -2 * t * s * d_s  # through t
        return {"W": np.outer(s, d_g) + np.outer(d_z, x), "v": (1 - t * t) * d_s}


@case()
class residual_of_an_equation:
    """A physics-informed loss: u'' + u at some places, for u = Σ c sin(k t)."""

    def inputs(random):
        n, T = sizes(random, 2)
        return dict(c=random.normal(size=n), k=random.normal(size=n), t=random.uniform(0, 2, T))

    def reference(c, k, t):
        t = t.detach().requires_grad_()
        u = torch.sin(t[:, None] * k) @ c
        (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
        return ((ddu + u) ** 2).mean()

    def hand(c, k, t):
        s, cosine = np.sin(np.outer(t, k)), np.cos(np.outer(t, k))  # (T, n)
        r = (s * (1 - k * k)) @ c
        d_r = 2 * r / len(t)
        return {
            "c": d_r @ s * (1 - k * k),
            "k": c * ((d_r * t) @ cosine * (1 - k * k) - 2 * k * (d_r @ s)),
        }
