"""Transformers: attention with masks and positions, adapters, experts, gated units."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from tests.campaigns.outside.case import case, sizes
from tests.campaigns.outside.formulas import sigmoid, softmax, softmax_backward


def swap(x):
    return np.swapaxes(x, -1, -2)


def heads(random, *names):
    """Arrays of (heads, T, d)."""
    H, T, d = sizes(random, 3, most=5)
    return {name: random.normal(size=(H, T, d)) for name in names}


@case()
class causal_attention:
    def inputs(random):
        return heads(random, "q", "k", "v", "w")

    def reference(q, k, v, w):
        return (F.scaled_dot_product_attention(q, k, v, is_causal=True) * w).sum()

    def hand(q, k, v, w):
        T, scale = q.shape[1], 1 / math.sqrt(q.shape[2])
        p = softmax(np.where(np.tri(T, dtype=bool), scale * q @ swap(k), -np.inf))  # (H, T, T)
        d_s = softmax_backward(w @ swap(v), p)
        return {"q": scale * d_s @ k, "k": scale * swap(d_s) @ q, "v": swap(p) @ w}


@case()
class padded_attention:
    """Keys that are padding get no weight."""

    def inputs(random):
        T = int(random.integers(2, 6))
        B, d = sizes(random, 2)
        arrays = {name: random.normal(size=(B, T, d)) for name in "qkvw"}
        return arrays | dict(real=np.arange(T) < random.integers(1, T + 1, B)[:, None])

    def reference(q, k, v, w, real):
        return (F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None]) * w).sum()

    def hand(q, k, v, w, real):
        scale = 1 / math.sqrt(q.shape[2])
        p = softmax(np.where(real[:, None], scale * q @ swap(k), -np.inf))  # (B, T, T)
        d_s = softmax_backward(w @ swap(v), p)
        return {
            "v": swap(p) @ w,
            "k": scale * swap(d_s) @ q,
            "q": scale * d_s @ k,
        }


@case()
class grouped_query_attention:
    """Several heads of queries share a head of keys and values."""

    def inputs(random):
        G, R, T, d = sizes(random, 4, most=4)
        q, w = random.normal(size=(2, G * R, T, d))
        k, v = random.normal(size=(2, G, T, d))
        return dict(q=q, k=k, v=v, w=w)

    def reference(q, k, v, w):
        R = len(q) // len(k)
        k, v = k.repeat_interleave(R, 0), v.repeat_interleave(R, 0)
        a = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
        return (a @ v * w).sum()

    def hand(q, k, v, w):
        (G, T, d), scale = k.shape, 1 / math.sqrt(k.shape[2])
        q, w = q.reshape(G, -1, T, d), w.reshape(G, -1, T, d)
        p = softmax(scale * q @ swap(k[:, None]))  # (G, R, T, T)
        d_s = softmax_backward(w @ swap(v[:, None]), p)
        d_q = scale * d_s @ k[:, None]
        return {
            "q": d_q.reshape(-1, T, d),
            "k": (scale * swap(d_s) @ q).sum(axis=1),
            "v": (swap(p) @ w).sum(axis=1),
        }


@case()
class linear_bias_attention:
    """ALiBi: the further back a key, the lower its score, with a slope a head."""

    def inputs(random):
        return heads(random, "q", "k", "v", "w")

    def reference(q, k, v, w):
        H, T, d = q.shape
        slope = 2.0 ** -torch.arange(1, H + 1, dtype=q.dtype)
        far = torch.arange(T)[:, None] - torch.arange(T)
        s = q @ k.mT / math.sqrt(d) - slope[:, None, None] * far
        p = torch.softmax(s.masked_fill(far < 0, -math.inf), -1)
        return (p @ v * w).sum()

    def hand(q, k, v, w):
        H, T, d = q.shape
        slope = (0.5 ** np.arange(1, H + 1)).astype(q.dtype)[:, None, None]
        far = np.subtract.outer(np.arange(T), np.arange(T)).astype(q.dtype)
        s = q @ swap(k) / math.sqrt(d) - slope * far  # (H, T, T)
        p = softmax(np.where(far < 0, -np.inf, s))
        d_s = softmax_backward(w @ swap(v), p) / math.sqrt(d)
        return {"q": d_s @ k, "k": swap(d_s) @ q, "v": swap(p) @ w}


@case()
class sliding_window_attention:
    def inputs(random):
        return heads(random, "q", "k", "v", "w") | dict(width=int(random.integers(1, 4)))

    def reference(q, k, v, w, width):
        T = q.shape[1]
        far = torch.arange(T)[:, None] - torch.arange(T)
        s = (q @ k.mT).masked_fill((far < 0) | (far >= width), -math.inf)
        return ((torch.softmax(s, -1) @ v - w) ** 2).mean()

    def hand(q, k, v, w, width):
        T = q.shape[1]
        far = np.subtract.outer(np.arange(T), np.arange(T))
        p = softmax(np.where((far >= 0) & (far < width), q @ swap(k), -np.inf))  # (H, T, T)
        d_o = 2 * (p @ v - w) / w.size  # (H, T, d)
        d_s = softmax_backward(d_o @ swap(v), p)
        return {"q": d_s @ k, "k": swap(d_s) @ q, "v": swap(p) @ d_o, "w": -d_o}


@case()
class rotary_positions:
    """RoPE on halves: a rotation, so that the way back turns by −θ."""

    def inputs(random):
        T, half = sizes(random, 2)
        return dict(x=random.normal(size=(T, 2 * half)), w=random.normal(size=(T, 2 * half)))

    def reference(x, w):
        T, d = x.shape
        frequency = 10000.0 ** (-torch.arange(0, d, 2, dtype=x.dtype) / d)
        angle = torch.outer(torch.arange(T, dtype=x.dtype), frequency).repeat(1, 2)
        rotated = torch.cat([-x[:, d // 2 :], x[:, : d // 2]], 1)
        return ((x * angle.cos() + rotated * angle.sin()) * w).sum()

    def hand(x, w):
        T, d = x.shape
        frequency = 10000.0 ** (-np.arange(0, d, 2, dtype=x.dtype) / d)
        angle = np.outer(np.arange(T, dtype=x.dtype), frequency)  # (T, d/2)
        c, s = np.cos(angle), np.sin(angle)
        a, b = w[:, : d // 2], w[:, d // 2 :]
        return {"x": np.hstack([a * c + b * s, b * c - a * s])}


@case()
class rotary_positions_as_complex_numbers:
    def inputs(random):
        T, half = sizes(random, 2)
        x, target = random.normal(size=(2, T, half, 2))
        return dict(x=x, target=target)

    def reference(x, target):
        T, h, _ = x.shape
        frequency = 100.0 ** (-torch.arange(h, dtype=x.dtype) / h)
        angle = torch.outer(torch.arange(T, dtype=x.dtype), frequency)
        turn = torch.polar(torch.ones_like(angle), angle)
        y = torch.view_as_real(torch.view_as_complex(x) * turn)
        return ((y - target) ** 2).sum()

    def hand(x, target):
        T, h, _ = x.shape
        frequency = 100.0 ** (-np.arange(h, dtype=x.dtype) / h)
        angle = np.outer(np.arange(T, dtype=x.dtype), frequency)  # (T, h)
        turn = np.cos(angle) + 1j * np.sin(angle)
        z, goal = x[..., 0] + 1j * x[..., 1], target[..., 0] + 1j * target[..., 1]
        d_y = 2 * (z * turn - goal)
        d_z = d_y * turn.conj()
        return {
            "x": np.stack([d_z.real, d_z.imag], axis=-1),
            "target": -np.stack([d_y.real, d_y.imag], axis=-1),
        }


@case(but="scaled offset saturated graded")
class linear_attention:
    """φ(q)·(φ(k)ᵀ v) over its normaliser, φ = elu + 1."""

    def inputs(random):
        H, T, d = sizes(random, 3, most=5)
        return {name: random.normal(size=(H, T, d)) for name in "qkvw"}

    def reference(q, k, v, w):
        q, k = F.elu(q) + 1, F.elu(k) + 1
        return ((q @ (k.mT @ v)) / (q @ k.sum(1)[..., None]) * w).sum()

    def hand(q, k, v, w):
        fq, fk = (np.where(x > 0, x, np.expm1(np.minimum(x, 0))) + 1 for x in (q, k))
        S, z = swap(fk) @ v, fk.sum(axis=1)[..., None]  # (H, d, d), (H, d, 1)
        n, o = fq @ z, fq @ S  # (H, T, 1), (H, T, d)
        d_o, d_n = w / n, -(w * o).sum(axis=-1, keepdims=True) / n**2
        d_fq = d_o @ swap(S) + d_n * swap(z)
        d_S, d_z = swap(fq) @ d_o, (d_n * fq).sum(axis=1, keepdims=True)
        d_fk = v @ swap(d_S) + d_z
        return {
            "q": d_fq * np.exp(np.minimum(q, 0)),
            "k": d_fk * np.exp(np.minimum(k, 0)),
            "v": fk @ d_S,
        }


@case()
class additive_attention:
    def inputs(random):
        T, n, m, a = sizes(random, 4)
        shapes = dict(H=(T, n), s=m, U=(a, n), W=(a, m), v=a, w=n)
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    def reference(H, s, U, W, v, w):
        p = torch.softmax(torch.tanh(H @ U.T + W @ s) @ v, 0)
        return p @ H @ w

    def hand(H, s, U, W, v, w):
        t = np.tanh(H @ U.T + W @ s)  # (T, a)
        p = softmax(t @ v)  # (T,)
        d_e = softmax_backward(H @ w, p)  # (T,)
        d_z = np.outer(d_e, v) * (1 - t * t)  # (T, a)
        return {
            "H": np.outer(p, w) + d_z @ U,
            "s": W.T @ d_z.sum(axis=0),
            "U": d_z.T @ H,
            "W": np.outer(d_z.sum(axis=0), s),
            "v": t.T @ d_e,
        }


@case()
class projected_attention:
    """Self-attention with its projections."""

    def inputs(random):
        T, n, d = sizes(random, 3, most=5)
        arrays = {name: random.normal(size=(n, d)) for name in ("Q", "K", "V")}
        return dict(x=random.normal(size=(T, n)), **arrays, w=random.normal(size=(T, d)))

    def reference(x, Q, K, V, w):
        p = torch.softmax((x @ Q) @ (x @ K).T / math.sqrt(Q.shape[1]), 1)
        return (p @ (x @ V) * w).sum()

    def hand(x, Q, K, V, w):
        q, k, v, root = x @ Q, x @ K, x @ V, math.sqrt(Q.shape[1])
        p = softmax(q @ k.T / root)  # (T, T)
        d_s = softmax_backward(w @ v.T, p) / root
        d_q, d_k, d_v = d_s @ k, d_s.T @ q, p.T @ w  # (T, d)
        return {
            "x": d_q @ Q.T + d_k @ K.T + d_v @ V.T,
            "Q": x.T @ d_q,
            "K": x.T @ d_k,
            "V": x.T @ d_v,
        }


@case()
class low_rank_adapter:
    """LoRA: W stays as it is, A and B learn."""

    def inputs(random):
        N, n, m, r = sizes(random, 4)
        shapes = dict(x=(N, n), W=(m, n), A=(r, n), B=(m, r), target=(N, m))
        arrays = {name: random.normal(size=shape) for name, shape in shapes.items()}
        return arrays | dict(alpha=8, rank=r)

    def reference(x, W, A, B, target, alpha, rank):
        y = x @ W.T + alpha / rank * (x @ A.T @ B.T)
        return F.mse_loss(y, target)

    def hand(x, W, A, B, target, alpha, rank):
        s = float(alpha / rank)
        d_y = 2 * (x @ (W + s * B @ A).T - target) / target.size  # (N, m)
        return {"A": s * B.T @ d_y.T @ x, "B": s * d_y.T @ x @ A.T, "x": d_y @ (W + s * B @ A)}


@case()
class mixture_of_experts:
    def inputs(random):
        N, E, n, m = sizes(random, 4)
        shapes = dict(x=(N, n), G=(E, n), W=(E, m, n), w=(N, m))
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    def reference(x, G, W, w):
        g = torch.softmax(x @ G.T, 1)
        return (torch.einsum("ne,emi,ni->nm", g, W, x) * w).sum()

    def hand(x, G, W, w):
        g = softmax(x @ G.T)  # (N, E)
        y = np.einsum("emi,ni->nem", W, x)  # (N, E, m)
        d_g = (y * w[:, None]).sum(axis=2)  # (N, E)
        d_s = softmax_backward(d_g, g)  # (N, E)
        return {
            "x": d_s @ G + np.einsum("ne,emi,nm->ni", g, W, w),
            "G": d_s.T @ x,
            "W": np.einsum("ne,nm,ni->emi", g, w, x),
        }


@case(smooth=False, but="tied zeroed integers")
class two_experts_of_many:
    """The two highest scores are kept, and the gate is a softmax of these two."""

    def inputs(random):
        N, E, m = sizes(random, 3, least=3)
        return dict(s=random.normal(size=(N, E)), y=random.normal(size=(N, E, m)))

    def reference(s, y):
        top, chosen = s.topk(2, 1)
        rows = torch.arange(len(s))[:, None]
        return ((torch.softmax(top, 1)[..., None] * y[rows, chosen]).sum(1) ** 2).sum()

    def hand(s, y):
        chosen = np.argsort(-s, axis=1, kind="stable")[:, :2]
        rows = np.arange(len(s))[:, None]
        g = softmax(s[rows, chosen])  # (N, 2)
        d_o = 2 * (g[..., None] * y[rows, chosen]).sum(axis=1, keepdims=True)  # (N, 1, m)
        d_s, d_y = np.zeros_like(s), np.zeros_like(y)
        d_s[rows, chosen] = softmax_backward((y[rows, chosen] * d_o).sum(axis=2), g)
        d_y[rows, chosen] = g[..., None] * d_o
        return {"s": d_s, "y": d_y}


@case()
class gated_gelu_tanh:
    """GeGLU with GELU's version by tanh."""

    def inputs(random):
        N, n, m = sizes(random, 3)
        shapes = dict(x=(N, n), V=(m, n), W=(m, n), w=(N, m))
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    def reference(x, V, W, w):
        return (F.gelu(x @ V.T, approximate="tanh") * (x @ W.T) * w).sum()

    def hand(x, V, W, w):
        a, b, c = x @ V.T, x @ W.T, math.sqrt(2 / math.pi)
        t = np.tanh(c * (a + 0.044715 * a**3))  # (N, m)
        g = a * (1 + t) / 2
        slope = (1 + t) / 2 + a * (1 - t * t) * c * (1 + 3 * 0.044715 * a * a) / 2
        d_a, d_b = w * b * slope, w * g  # (N, m)
        return {"x": d_a @ V + d_b @ W, "V": d_a.T @ x, "W": d_b.T @ x}


@case()
class gated_linear_unit:
    def inputs(random):
        N, n = sizes(random, 2)
        return dict(x=random.normal(size=(N, 2 * n)), w=random.normal(size=(N, n)))

    def reference(x, w):
        return (F.glu(x, 1) * w).sum()

    def hand(x, w):
        a, b = np.split(x, 2, axis=1)
        s = sigmoid(b)
        return {"x": np.hstack([w * s, w * a * s * (1 - s)]), "w": a * s}


@case(varied="z w")
class tempered_softmax:
    def inputs(random):
        N, K = sizes(random, 2)
        return dict(z=random.normal(size=(N, K)), w=random.normal(size=(N, K)), tau=np.array(0.5))

    def reference(z, w, tau):
        return (torch.softmax(z / tau, 1) * w).sum()

    def hand(z, w, tau):
        p = softmax(z / tau)  # (N, K)
        d_s = softmax_backward(w, p)
        return {"z": d_s / tau, "tau": -(d_s * z).sum() / tau**2, "w": p}


@case()
class log_softmax:
    def inputs(random):
        N, K = sizes(random, 2)
        return dict(z=random.normal(size=(N, K)), w=random.normal(size=(N, K)))

    def reference(z, w):
        return (F.log_softmax(z, 1) * w).sum()

    def hand(z, w):
        return {"z": w - softmax(z) * w.sum(axis=1, keepdims=True)}
