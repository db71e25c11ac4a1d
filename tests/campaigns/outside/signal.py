"""Signals: Fourier transforms, filters, running sums and products; complex numbers."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from tests.campaigns.outside.case import case, sizes


def series(random, *names):
    """So many signals of one length."""
    (n,) = sizes(random, 1, least=3, most=12)
    return {name: random.normal(size=n) for name in names}


def reverse_cumsum(x):
    return np.cumsum(x[::-1])[::-1]


@case(but="tiny")
class power_spectrum:
    def inputs(random):
        return series(random, "x", "w")

    def reference(x, w):
        return (torch.fft.fft(x).abs() ** 2 * w).sum()

    def hand(x, w):
        X = np.fft.fft(x)
        return {"x": 2 * len(x) * np.fft.ifft(w * X).real}


@case()
class one_sided_spectrum:
    def inputs(random):
        x = series(random, "x")["x"]
        return dict(x=x, w=random.normal(size=len(x) // 2 + 1))

    def reference(x, w):
        X = torch.fft.rfft(x)
        return ((X.real**2 + X.imag**2) * w).sum()

    def hand(x, w):
        X = np.fft.rfft(x)
        whole = np.append(2 * w * X, np.zeros(len(x) - len(w), X.dtype))  # (n,)
        return {"x": len(x) * np.fft.ifft(whole).real, "w": X.real**2 + X.imag**2}


@case()
class complex_power_spectrum:
    def inputs(random):
        re, im, w = series(random, "re", "im", "w").values()
        return dict(z=re + 1j * im, w=w)

    def reference(z, w):
        Z = torch.fft.fft(z)
        return ((Z * Z.conj()).real * w).sum()

    def hand(z, w):
        return {"z": 2 * len(z) * np.fft.ifft(w * np.fft.fft(z))}


@case()
class squared_modulus:
    inputs = complex_power_spectrum.inputs

    def reference(z, w):
        return ((z * z.conj()).real * w).sum()

    def hand(z, w):
        return {"z": 2 * w * z, "w": (z * z.conj()).real}


@case()
class complex_square:
    """Holomorphic, so that PyTorch's gradient is the conjugate of the derivative."""

    def inputs(random):
        re, im, a, b = series(random, "re", "im", "a", "b").values()
        return dict(z=re + 1j * im, c=a + 1j * b)

    def reference(z, c):
        return (c * z * z).real.sum()

    def hand(z, c):
        return {"z": np.conj(2 * c * z), "c": np.conj(z * z)}


@case()
class complex_linear:
    def inputs(random):
        m, n = sizes(random, 2)
        A, x, y = (
            random.normal(size=size) + 1j * random.normal(size=size) for size in ((m, n), n, m)
        )
        return dict(A=A, x=x, y=y)

    def reference(A, x, y):
        r = A @ x - y
        return (r.real**2 + r.imag**2).sum()

    def hand(A, x, y):
        r = A @ x - y  # (m,)
        return {"A": 2 * np.outer(r, x.conj()), "x": 2 * A.conj().T @ r, "y": -2 * r}


@case()
class fourier_convolution:
    def inputs(random):
        return series(random, "x", "h", "w")

    def reference(x, h, w):
        return (torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(h), n=len(x)) * w).sum()

    def hand(x, h, w):
        X, H, W = np.fft.rfft(x), np.fft.rfft(h), np.fft.rfft(w)
        return {
            "x": np.fft.irfft(W * H.conj(), n=len(x)),
            "h": np.fft.irfft(W * X.conj(), n=len(x)),
        }


@case()
class direct_convolution:
    def inputs(random):
        n, k = sizes(random, 2)
        n = n + k
        return dict(
            x=random.normal(size=n), h=random.normal(size=k), w=random.normal(size=n + k - 1)
        )

    def reference(x, h, w):
        y = F.conv1d(x[None, None], h.flip(0)[None, None], padding=len(h) - 1)
        return (y[0, 0] * w).sum()

    def hand(x, h, w):
        return {"x": np.correlate(w, h, "valid"), "h": np.correlate(w, x, "valid")}


@case()
class fourier_matrix:
    def inputs(random):
        (n,) = sizes(random, 1, most=64)
        return dict(x=random.normal(size=n), w=random.normal(size=n))

    def reference(x, w):
        return (torch.fft.fft(x).real * w).sum()

    def hand(x, w):
        k = np.arange(len(x))
        return {"x": np.cos(2 * np.pi * np.outer(k, k) / len(x)) @ w}


@case()
class cosine_transform:
    def inputs(random):
        return series(random, "x", "target")

    def reference(x, target):
        n = len(x)
        k = torch.arange(n, dtype=x.dtype)
        C = torch.cos(math.pi * k[:, None] * (2 * k + 1) / (2 * n))
        return ((C @ x - target) ** 2).sum()

    def hand(x, target):
        n = len(x)
        k = np.arange(n, dtype=x.dtype)
        C = np.cos(math.pi * k[:, None] * (2 * k + 1) / (2 * n))  # (n, n)
        d_y = 2 * (C @ x - target)  # (n,)
        return {"x": C.T @ d_y, "target": -d_y}


@case()
class hann_windowed_energy:
    def inputs(random):
        return series(random, "x", "w")

    def reference(x, w):
        window = torch.hann_window(len(x), periodic=True, dtype=x.dtype)
        return ((x * window) ** 2 * w).sum()

    def hand(x, w):
        window = np.sin(np.pi * np.arange(len(x)) / len(x)) ** 2
        return {"x": 2 * x * window**2 * w}


@case()
class cumulative_sum:
    def inputs(random):
        return series(random, "x", "target")

    def reference(x, target):
        return ((torch.cumsum(x, 0) - target) ** 2).mean()

    def hand(x, target):
        d_s = 2 * (np.cumsum(x) - target) / len(x)
        return {"x": reverse_cumsum(d_s), "target": -d_s}


@case(but="tiny")
class cumulative_product:
    def inputs(random):
        return series(random, "x", "w")

    def reference(x, w):
        return (torch.cumprod(x, 0) * w).sum()

    def hand(x, w):
        d_x = np.zeros_like(x)
        for i in range(len(x)):
            others = np.where(np.arange(len(x)) == i, 1, x).astype(x.dtype)
            d_x[i] = (np.cumprod(others) * w)[i:].sum()
        return {"x": d_x, "w": np.cumprod(x)}


@case()
class product:
    def inputs(random):
        return series(random, "x")

    def reference(x):
        return torch.prod(x)

    def hand(x):
        before = np.append(1, np.cumprod(x)[:-1]).astype(x.dtype)
        after = np.append(np.cumprod(x[::-1])[-2::-1], 1).astype(x.dtype)
        return {"x": before * after}


@case()
class cumulative_logsumexp:
    def inputs(random):
        return series(random, "x", "w")

    def reference(x, w):
        return (torch.logcumsumexp(x, 0) * w).sum()

    def hand(x, w):
        y = np.logaddexp.accumulate(x)
        p = np.tril(np.exp(np.minimum(x[None] - y[:, None], 0)))  # (n, n), by sum and term
        return {"x": w @ p, "w": y}


@case()
class exponential_smoothing:
    def inputs(random):
        return series(random, "x", "w") | dict(a=np.array(random.uniform(0.1, 0.9)))

    def reference(x, w, a):
        s, total = x[0], 0.0
        for t in range(len(x)):
            s = a * x[t] + (1 - a) * s
            total = total + w[t] * s
        return total

    def hand(x, w, a):
        s = [x[0]]
        for x_t in x:
            s.append(a * x_t + (1 - a) * s[-1])
        d_x, d_a, d_s = np.zeros_like(x), 0.0, 0.0
        for t in reversed(range(len(x))):
            d_s = d_s + w[t]
            d_x[t] = a * d_s
            d_a = d_a + d_s * (x[t] - s[t])
            d_s = (1 - a) * d_s
        d_x[0] += d_s
        return {"x": d_x, "a": d_a, "w": np.array(s[1:])}


@case()
class smoothed_total_variation:
    def inputs(random):
        return series(random, "x") | dict(eps=1e-3)

    def reference(x, eps):
        return torch.sqrt(torch.diff(x) ** 2 + eps).sum()

    def hand(x, eps):
        d = np.diff(x)
        d_d = d / np.sqrt(d * d + eps)
        return {"x": -np.diff(d_d, prepend=0, append=0).astype(x.dtype)}


@case()
class autocorrelation:
    def inputs(random):
        return series(random, "x", "w")

    def reference(x, w):
        n = len(x)
        return sum(w[k] * (x[: n - k] * x[k:]).sum() for k in range(n))

    def hand(x, w):
        d_x, n = np.zeros_like(x), len(x)
        for k in range(n):
            d_x[: n - k] += w[k] * x[k:]
            d_x[k:] += w[k] * x[: n - k]
        return {"x": d_x}


@case(but="scaled offset saturated graded")
class recursive_filter:
    """y_t = b x_t − a y_{t−1}; it explodes where |a| is large."""

    def inputs(random):
        return series(random, "x", "w") | dict(a=np.array(0.5), b=np.array(random.normal()))

    def reference(x, w, a, b):
        y, total = 0.0, 0.0
        for t in range(len(x)):
            y = b * x[t] - a * y
            total = total + w[t] * y
        return total

    def hand(x, w, a, b):
        y = np.zeros_like(x)
        for t in range(len(x)):
            y[t] = b * x[t] - a * (y[t - 1] if t else 0)
        lam = np.zeros_like(x)
        for t in reversed(range(len(x))):
            lam[t] = w[t] - a * (lam[t + 1] if t + 1 < len(x) else 0)
        return {"x": b * lam, "b": lam @ x, "a": -lam[1:] @ y[:-1]}
