"""Choice and order: tables, scatter and gather, segments, graphs; ties of max and sort."""

import numpy as np
import torch
import torch.nn.functional as F

from tests.campaigns.outside.case import case, sizes
from tests.campaigns.outside.formulas import draw


def items(random, *names, most=8):
    (n,) = sizes(random, 1, least=3, most=most)
    return {name: random.normal(size=n) for name in names}


def table(random):
    """A table (V, n), and T rows to look up, often the same ones."""
    V, n, T = sizes(random, 3)
    return dict(W=random.normal(size=(V, n)), i=random.integers(0, V, T + 2))


@case()
class sparse_embedding:
    def inputs(random):
        given = table(random)
        return given | dict(w=random.normal(size=(len(given["i"]), given["W"].shape[1])))

    def reference(W, i, w):
        return (F.embedding(i, W, sparse=True) * w).sum()

    def hand(W, i, w):
        d_W = np.zeros_like(W)
        np.add.at(d_W, i, w)
        return {"W": d_W, "w": W[i]}


@case()
class embedding_with_padding:
    """Row 0 is padding: it gets no gradient."""

    inputs = sparse_embedding.inputs

    def reference(W, i, w):
        return (F.embedding(i, W, padding_idx=0) ** 2 * w).sum()

    def hand(W, i, w):
        counts = np.zeros_like(W)
        np.add.at(counts, i, w)
        counts[0] = 0
        return {"W": 2 * W * counts}


@case()
class embedding_bag:
    """The mean of each bag's rows."""

    def inputs(random):
        given = table(random)
        cut = int(random.integers(1, len(given["i"])))
        w = random.normal(size=(2, given["W"].shape[1]))
        return given | dict(offsets=np.array([0, cut]), w=w)

    def reference(W, i, offsets, w):
        return (F.embedding_bag(i, W, offsets, mode="mean") * w).sum()

    def hand(W, i, offsets, w):
        d_W, ends = np.zeros_like(W), [*offsets[1:], len(i)]
        for b, (start, end) in enumerate(zip(offsets, ends, strict=True)):
            np.add.at(d_W, i[start:end], w[b] / int(end - start))
        return {"W": d_W}


@case()
class tied_softmax_embedding:
    """The same table looks up the input and scores the output."""

    inputs = table

    def reference(W, i):
        return F.cross_entropy(F.embedding(i[:-1], W) @ W.T, i[1:])

    def hand(W, i):
        h = W[i[:-1]]  # (T-1, n)
        z = h @ W.T
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        d_z = (p - np.eye(len(W), dtype=W.dtype)[i[1:]]) / len(h)  # (T-1, V)
        d_W = d_z.T @ h
        np.add.at(d_W, i[:-1], d_z @ W)
        return {"W": d_W}


@case()
class gathered:
    def inputs(random):
        N, n, k = sizes(random, 3)
        i = random.integers(0, n, (N, k))
        return dict(x=random.normal(size=(N, n)), i=i, w=random.normal(size=(N, k)))

    def reference(x, i, w):
        return (torch.gather(x, 1, i) * w).sum()

    def hand(x, i, w):
        d_x = np.zeros_like(x)
        np.add.at(d_x, (np.arange(len(x))[:, None], i), w)
        return {"x": d_x}


@case()
class scattered_sum:
    def inputs(random):
        n, m = sizes(random, 2)
        i = random.integers(0, m, n)
        return dict(x=random.normal(size=n), i=i, target=random.normal(size=m))

    def reference(x, i, target):
        return ((torch.zeros_like(target).scatter_add(0, i, x) - target) ** 2).sum()

    def hand(x, i, target):
        s = np.zeros_like(target)
        np.add.at(s, i, x)
        d_s = 2 * (s - target)
        return {"x": d_s[i], "target": -d_s}


@case()
class index_added:
    def inputs(random):
        given = table(random)
        T, n = len(given["i"]), given["W"].shape[1]
        return given | dict(x=random.normal(size=(T, n)), w=random.normal(size=given["W"].shape))

    def reference(W, i, x, w):
        return (torch.tanh(W.index_add(0, i, x)) * w).sum()

    def hand(W, i, x, w):
        s = W.copy()
        np.add.at(s, i, x)
        d_s = w * (1 - np.tanh(s) ** 2)
        return {"W": d_s, "x": d_s[i]}


@case()
class segment_means:
    def inputs(random):
        N, S, n = sizes(random, 3)
        segment = np.sort(random.integers(0, S, N))
        return dict(x=random.normal(size=(N, n)), segment=segment, w=random.normal(size=(S, n)))

    def reference(x, segment, w):
        one_hot = (segment == torch.arange(len(w))[:, None]).to(x.dtype)
        return (one_hot @ x / one_hot.sum(1, keepdim=True).clamp(min=1) * w).sum()

    def hand(x, segment, w):
        count = np.bincount(segment).astype(x.dtype)
        return {"x": w[segment] / count[segment][:, None]}


@case()
class segment_softmax:
    """Attention over the edges that reach a node."""

    def inputs(random):
        (S,) = sizes(random, 1)
        node = random.permutation(np.repeat(np.arange(S), random.integers(2, 5, S)))
        return draw(random, z=len(node), w=len(node)) | dict(node=node)

    def reference(z, node, w):
        same = node[:, None] == node
        return (torch.softmax(torch.where(same, z, -torch.inf), 1).diagonal() * w).sum()

    def hand(z, node, w):
        p, total = np.zeros_like(z), np.zeros_like(z)
        for s in np.unique(node):
            here = node == s
            e = np.exp(z[here] - z[here].max())
            p[here] = e / e.sum()
            total[here] = (w[here] * p[here]).sum()
        return {"z": p * (w - total), "w": p}


@case()
class message_passing:
    """h'_j = tanh(h_j U + Σ h_i W over the edges i → j)"""

    def inputs(random):
        V, E, n, m = sizes(random, 4)
        h, U, W = (random.normal(size=shape) for shape in ((V, n), (n, m), (n, m)))
        start, end = random.integers(0, V, (2, E))
        return dict(h=h, U=U, W=W, start=start, end=end, w=random.normal(size=(V, m)))

    def reference(h, U, W, start, end, w):
        received = torch.zeros_like(h).index_add(0, end, h[start])
        return (torch.tanh(h @ U + received @ W) * w).sum()

    def hand(h, U, W, start, end, w):
        received = np.zeros_like(h)
        np.add.at(received, end, h[start])
        d_z = w * (1 - np.tanh(h @ U + received @ W) ** 2)  # (V, m)
        d_h = d_z @ U.T
        np.add.at(d_h, start, (d_z @ W.T)[end])
        return {"h": d_h, "U": h.T @ d_z, "W": received.T @ d_z}


@case()
class graph_convolution:
    """Â = D^-½ (A + I) D^-½, from edges 0 and 1 as floats."""

    def inputs(random):
        V, n, m = sizes(random, 3)
        A = np.triu(random.integers(0, 2, (V, V)), 1)
        x, W, w = (random.normal(size=shape) for shape in ((V, n), (n, m), (V, m)))
        return dict(A=(A + A.T).astype(float), x=x, W=W, w=w)

    def reference(A, x, W, w):
        A = A + torch.eye(len(A), dtype=A.dtype)
        r = A.sum(1).rsqrt()
        return ((r[:, None] * A * r) @ x @ W * w).sum()

    def hand(A, x, W, w):
        A = A + np.eye(len(A), dtype=A.dtype)
        r = 1 / np.sqrt(A.sum(axis=1))
        S = r[:, None] * A * r  # (V, V)
        return {"x": S.T @ w @ W.T, "W": (S @ x).T @ w}


@case(smooth=False)
class largest:
    """At a tie any of the largest may take the gradient, or a share of it."""

    def inputs(random):
        return items(random, "x")

    def reference(x):
        return x.max() ** 2

    def hand(x):
        d_x = np.zeros_like(x)
        d_x[x.argmax()] = 2 * x.max()
        return {"x": d_x}


@case(smooth=False)
class largest_of_rows:
    def inputs(random):
        N, n = sizes(random, 2)
        return dict(x=random.normal(size=(N, n)), w=random.normal(size=N))

    def reference(x, w):
        return x.amax(1) @ w

    def hand(x, w):
        first = x == x.max(axis=1, keepdims=True)
        share = first / first.sum(axis=1, keepdims=True)
        return {"x": w[:, None] * share.astype(x.dtype), "w": x.max(axis=1)}


@case(smooth=False)
class top_two:
    def inputs(random):
        return items(random, "x") | dict(w=random.normal(size=2))

    def reference(x, w):
        return (torch.topk(x, 2).values * w).sum()

    def hand(x, w):
        d_x = np.zeros_like(x)
        d_x[np.argsort(-x, kind="stable")[:2]] = w
        return {"x": d_x}


@case(smooth=False)
class sorted_values:
    def inputs(random):
        return items(random, "x", "w")

    def reference(x, w):
        return (torch.sort(x).values * w).sum()

    def hand(x, w):
        d_x = np.zeros_like(x)
        d_x[np.argsort(x)] = w
        return {"x": d_x, "w": np.sort(x)}


@case(smooth=False)
class earth_mover_distance:
    """Between two samples on a line: sort both."""

    def inputs(random):
        return items(random, "x", "y")

    def reference(x, y):
        return ((x.sort().values - y.sort().values) ** 2).mean()

    def hand(x, y):
        i, j = np.argsort(x), np.argsort(y)
        d = 2 * (x[i] - y[j]) / len(x)
        d_x, d_y = np.zeros_like(x), np.zeros_like(y)
        d_x[i], d_y[j] = d, -d
        return {"x": d_x, "y": d_y}


@case(smooth=False)
class median:
    def inputs(random):
        N = int(random.integers(1, 5))
        return dict(x=random.normal(size=(N, 5)), w=random.normal(size=N))

    def reference(x, w):
        return x.median(1).values @ w

    def hand(x, w):
        d_x = np.zeros_like(x)
        middle = np.argsort(x, axis=1)[:, 2]
        d_x[np.arange(len(x)), middle] = w
        return {"x": d_x}


@case(smooth=False)
class larger_of_two:
    def inputs(random):
        return items(random, "a", "b", "w")

    def reference(a, b, w):
        return (torch.maximum(a, b) * w).sum()

    def hand(a, b, w):
        return {"a": np.where(a >= b, w, 0), "b": np.where(a < b, w, 0)}


@case(smooth=False)
class smaller_of_two:
    def inputs(random):
        return items(random, "a", "b", "w")

    def reference(a, b, w):
        return (torch.minimum(a, b) ** 2 * w).sum()

    def hand(a, b, w):
        d = 2 * np.minimum(a, b) * w
        share = np.where(a == b, 0.5, a < b).astype(a.dtype)
        return {"a": d * share, "b": d * (1 - share)}


@case(smooth=False)
class running_maximum:
    def inputs(random):
        return items(random, "x", "w")

    def reference(x, w):
        return (torch.cummax(x, 0).values * w).sum()

    def hand(x, w):
        d_x, best = np.zeros_like(x), 0
        for t in range(len(x)):
            best = t if x[t] >= x[best] else best
            d_x[best] += w[t]
        return {"x": d_x}


@case(smooth=False)
class value_at_the_best_score:
    """The index has no gradient; what it picks has."""

    def inputs(random):
        N, n = sizes(random, 2)
        s, v = random.normal(size=(2, N, n))
        return dict(s=s, v=v)

    def reference(s, v):
        return (v.gather(1, s.argmax(1, keepdim=True)) ** 2).sum()

    def hand(s, v):
        d_v, rows, best = np.zeros_like(v), np.arange(len(s)), s.argmax(axis=1)
        d_v[rows, best] = 2 * v[rows, best]
        return {"v": d_v}


@case()
class masked_mean:
    def inputs(random):
        N, n = sizes(random, 2)
        keep = random.random(size=(N, n)) < 0.6
        keep[0, 0] = True
        return dict(x=random.normal(size=(N, n)), keep=keep)

    def reference(x, keep):
        return (x[keep] ** 2).mean()

    def hand(x, keep):
        return {"x": np.where(keep, 2 * x, 0) / int(keep.sum())}


@case()
class rolled_product:
    def inputs(random):
        return items(random, "x", "w")

    def reference(x, w):
        return (x * torch.roll(x, 1) * torch.flip(x, (0,)) * w).sum()

    def hand(x, w):
        before, behind = np.roll(x, 1), x[::-1]
        return {"x": w * before * behind + np.roll(w * x * behind, -1) + (w * x * before)[::-1]}
