"""Sequences: recurrent cells over time, forward recursions of structured models."""

import numpy as np
import torch

from tests.campaigns.outside.case import case, sizes
from tests.campaigns.outside.formulas import logsumexp, sigmoid, softmax


@case()
class recurrent_network:
    def inputs(random):
        T, n, m = sizes(random, 3, most=5)
        shapes = dict(x=(T, n), U=(m, n), W=(m, m), b=m, w=m)
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    def reference(x, U, W, b, w):
        h = torch.zeros_like(b)
        for x_t in x:
            h = torch.tanh(U @ x_t + W @ h + b)
        return h @ w

    def hand(x, U, W, b, w):
        h = [np.zeros_like(b)]
        for x_t in x:
            h.append(np.tanh(U @ x_t + W @ h[-1] + b))
        d_x, d_U, d_W, d_b, d_h = (np.zeros_like(x), 0 * U, 0 * W, 0 * b, w)
        for t in reversed(range(len(x))):
            d_z = d_h * (1 - h[t + 1] ** 2)  # (m,)
            d_U += np.outer(d_z, x[t])
            d_W += np.outer(d_z, h[t])
            d_b += d_z
            d_x[t] = U.T @ d_z
            d_h = W.T @ d_z
        return {"x": d_x, "U": d_U, "W": d_W, "b": d_b, "w": h[-1]}


@case()
class gru_over_time:
    def inputs(random):
        T, N, n, m = sizes(random, 4, most=4)
        shapes = dict(x=(T, N, n), V=(3 * m, n), W=(3 * m, m), a=3 * m, b=3 * m, w=(N, m))
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    def reference(x, V, W, a, b, w):
        h = torch.zeros_like(w)
        for x_t in x:
            h = torch.gru_cell(x_t, h, V, W, a, b)
        return (h * w).sum()

    def hand(x, V, W, a, b, w):
        m = w.shape[1]
        h, steps = np.zeros_like(w), []
        for x_t in x:
            i, j = x_t @ V.T + a, h @ W.T + b  # (N, 3m)
            r, z = sigmoid(i[:, :m] + j[:, :m]), sigmoid(i[:, m:-m] + j[:, m:-m])
            n = np.tanh(i[:, -m:] + r * j[:, -m:])
            steps.append((h, r, z, n, j[:, -m:]))
            h = (1 - z) * n + z * h
        d_x, d_V, d_W, d_a, d_b, d_h = np.zeros_like(x), 0 * V, 0 * W, 0 * a, 0 * b, w
        for t in reversed(range(len(x))):
            h, r, z, n, j_n = steps[t]
            d_n = d_h * (1 - z) * (1 - n * n)  # (N, m)
            d_r = d_n * j_n * r * (1 - r)
            d_z = d_h * (h - n) * z * (1 - z)
            d_i = np.hstack([d_r, d_z, d_n])  # (N, 3m)
            d_j = np.hstack([d_r, d_z, d_n * r])
            d_V += d_i.T @ x[t]
            d_W += d_j.T @ h
            d_a += d_i.sum(axis=0)
            d_b += d_j.sum(axis=0)
            d_x[t] = d_i @ V
            d_h = d_h * z + d_j @ W
        return {"x": d_x, "V": d_V, "W": d_W, "a": d_a, "b": d_b}


@case()
class lstm_over_time:
    def inputs(random):
        T, N, n, m = sizes(random, 4, most=4)
        shapes = dict(x=(T, N, n), V=(4 * m, n), W=(4 * m, m), b=4 * m, w=(N, m))
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    def reference(x, V, W, b, w):
        h = c = torch.zeros_like(w)
        for x_t in x:
            h, c = torch.lstm_cell(x_t, (h, c), V, W, b)
        return (h * w).sum()

    def hand(x, V, W, b, w):
        h, c, steps = np.zeros_like(w), np.zeros_like(w), []
        for x_t in x:
            z = np.split(x_t @ V.T + h @ W.T + b, 4, axis=1)
            i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), np.tanh(z[2]), sigmoid(z[3])
            before = h, c
            c = f * c + i * g
            steps.append((*before, i, f, g, o, np.tanh(c)))
            h = o * np.tanh(c)
        d_x, d_V, d_W, d_b, d_h, d_c = np.zeros_like(x), 0 * V, 0 * W, 0 * b, w, 0 * w
        for t in reversed(range(len(x))):
            h, c, i, f, g, o, s = steps[t]
            d_c = d_c + d_h * o * (1 - s * s)  # (N, m)
            gates = (
                d_c * g * i * (1 - i),
                d_c * c * f * (1 - f),
                d_c * i * (1 - g * g),
                d_h * s * o * (1 - o),
            )
            d_z = np.hstack(gates)  # (N, 4m)
            d_V += d_z.T @ x[t]
            d_W += d_z.T @ h
            d_b += d_z.sum(axis=0)
            d_x[t] = d_z @ V
            d_h, d_c = d_z @ W, d_c * f
        return {"x": d_x, "V": d_V, "W": d_W, "b": d_b}


@case()
class conditional_random_field:
    """The negative log-likelihood of a path; its gradient is marginals − counts."""

    def inputs(random):
        T, K = sizes(random, 2)
        emission, transition = random.normal(size=(T, K)), random.normal(size=(K, K))
        return dict(emission=emission, transition=transition, path=random.integers(0, K, T))

    def reference(emission, transition, path):
        alpha = emission[0]
        for e in emission[1:]:
            alpha = e + torch.logsumexp(alpha[:, None] + transition, 0)
        steps = torch.arange(len(path))
        score = emission[steps, path].sum() + transition[path[:-1], path[1:]].sum()
        return torch.logsumexp(alpha, 0) - score

    def hand(emission, transition, path):
        T = len(emission)
        alpha, beta = emission.copy(), np.zeros_like(emission)
        for t in range(1, T):
            alpha[t] += logsumexp(alpha[t - 1][:, None] + transition, 0)
        for t in reversed(range(T - 1)):
            beta[t] = logsumexp(transition + emission[t + 1] + beta[t + 1], 1)
        log_Z = logsumexp(alpha[-1], 0)
        d_e = np.exp(alpha + beta - log_Z)  # (T, K)
        d_e[np.arange(T), path] -= 1
        d_t = np.zeros_like(transition)
        for t in range(T - 1):
            ahead = emission[t + 1] + beta[t + 1]
            d_t += np.exp(alpha[t][:, None] + transition + ahead - log_Z)
            d_t[path[t], path[t + 1]] -= 1
        return {"emission": d_e, "transition": d_t}


@case(kinds=("plain", "single"))
class hidden_markov_model:
    """The log-probability of what is observed, by the forward recursion in probabilities."""

    def inputs(random):
        T, K, M = sizes(random, 3)
        pi, A, B = (random.dirichlet(np.ones(n), s) for n, s in ((K, None), (K, K), (M, K)))
        return dict(pi=pi, A=A, B=B, seen=random.integers(0, M, T))

    def reference(pi, A, B, seen):
        alpha = pi * B[:, seen[0]]
        for o in seen[1:]:
            alpha = (alpha @ A) * B[:, o]
        return alpha.sum().log()

    def hand(pi, A, B, seen):
        alpha = [pi * B[:, seen[0]]]
        for o in seen[1:]:
            alpha.append((alpha[-1] @ A) * B[:, o])
        d_A, d_B, d_alpha = 0 * A, 0 * B, np.ones_like(pi) / alpha[-1].sum()
        for t in reversed(range(1, len(seen))):
            o = seen[t]
            d_B[:, o] += d_alpha * (alpha[t - 1] @ A)
            d_ahead = d_alpha * B[:, o]
            d_A += np.outer(alpha[t - 1], d_ahead)
            d_alpha = A @ d_ahead
        d_B[:, seen[0]] += d_alpha * pi
        return {"pi": d_alpha * B[:, seen[0]], "A": d_A, "B": d_B}


@case()
class connectionist_temporal_recursion:
    """CTC's recursion over the labels with blanks between; its gradient is p − posterior."""

    def inputs(random):
        (K,) = sizes(random, 1, least=3)
        labels = random.integers(1, K, int(random.integers(1, 4)))
        extended = np.zeros(2 * len(labels) + 1, int)
        extended[1::2] = labels
        T = len(extended) + int(random.integers(0, 4))
        return dict(z=random.normal(size=(T, K)), extended=extended)

    def reference(z, extended):
        y = torch.log_softmax(z, 1)[:, extended]
        S = len(extended)
        alpha = [y[0, 0], y[0, 1]] + [None] * (S - 2)
        for t in range(1, len(y)):
            new = []
            for s in range(S):
                jump = int(s > 1 and extended[s] != 0 and extended[s] != extended[s - 2])
                ways = [alpha[r] for r in range(s - 1 - jump, s + 1) if r >= 0]
                ways = [way for way in ways if way is not None]
                new.append(torch.logsumexp(torch.stack(ways), 0) + y[t, s] if ways else None)
            alpha = new
        return -torch.logaddexp(alpha[-1], alpha[-2])

    def hand(z, extended):
        p = softmax(z)  # (T, K)
        T, S = len(z), len(extended)
        y = (z - logsumexp(z, 1)[:, None])[:, extended]  # (T, S)
        s = np.arange(S)
        same = np.append([0, 0], extended[:-2]) == extended
        jump = (s > 1) & (extended != 0) & ~same
        back = s[:, None] - s
        ways = (back == 0) | (back == 1) | ((back == 2) & jump[:, None])  # to, from
        ways = np.where(ways, 0, -np.inf).astype(z.dtype)
        alpha, beta = np.full_like(y, -np.inf), np.full_like(y, -np.inf)
        alpha[0, :2], beta[-1, -2:] = y[0, :2], 0
        for t in range(1, T):
            alpha[t] = y[t] + np.logaddexp.reduce(ways + alpha[t - 1], axis=1)
        for t in reversed(range(T - 1)):
            ahead = ways + (y[t + 1] + beta[t + 1])[:, None]
            beta[t] = np.logaddexp.reduce(ahead, axis=0)
        total = np.logaddexp(alpha[-1, -1], alpha[-1, -2])
        posterior = np.exp(alpha + beta - total)  # (T, S)
        d_z = p.copy()
        for k in range(S):
            d_z[:, extended[k]] -= posterior[:, k]
        return {"z": d_z}


@case()
class soft_dynamic_time_warping:
    def inputs(random):
        m, n = sizes(random, 2)
        return dict(x=random.normal(size=m), y=random.normal(size=n))

    def reference(x, y):
        D = (x[:, None] - y) ** 2
        R = {}
        for i in range(len(x)):
            for j in range(len(y)):
                before = [R[k] for k in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if k in R]
                soft = -torch.logsumexp(-torch.stack(before), 0) if before else 0
                R[i, j] = D[i, j] + soft
        return R[i, j]

    def hand(x, y):
        m, n = len(x), len(y)
        D = (x[:, None] - y) ** 2  # (m, n)
        R = np.full((m + 1, n + 1), np.inf, D.dtype)
        R[0, 0] = 0
        for i in range(1, m + 1):
            for j in range(1, n + 1):
                before = -np.array([R[i - 1, j], R[i, j - 1], R[i - 1, j - 1]])
                R[i, j] = D[i - 1, j - 1] - logsumexp(before, 0)
        E = np.zeros_like(R)
        E[m, n] = 1
        for i in reversed(range(1, m + 1)):
            for j in reversed(range(1, n + 1)):
                least = R[i, j] - D[i - 1, j - 1]  # the soft minimum
                for k in ((i - 1, j), (i, j - 1), (i - 1, j - 1)):
                    E[k] += E[i, j] * np.exp(least - R[k])
        d_D = E[1:, 1:] * 2 * (x[:, None] - y)
        return {"x": d_D.sum(axis=1), "y": -d_D.sum(axis=0)}


@case(but="scaled offset saturated graded")
class state_space_model:
    """h_t = a h_{t−1} + b x_t, y_t = c·h_t"""

    def inputs(random):
        T, n = sizes(random, 2)
        a, b, c = random.uniform(-1, 1, n), random.normal(size=n), random.normal(size=n)
        return dict(x=random.normal(size=T), a=a, b=b, c=c, w=random.normal(size=T))

    def reference(x, a, b, c, w):
        h, total = torch.zeros_like(a), 0
        for x_t, w_t in zip(x, w, strict=True):
            h = a * h + b * x_t
            total = total + w_t * (c * h).sum()
        return total

    def hand(x, a, b, c, w):
        h = [np.zeros_like(a)]
        for x_t in x:
            h.append(a * h[-1] + b * x_t)
        d_x, d_a, d_b, d_c, d_h = 0 * x, 0 * a, 0 * b, 0 * c, 0 * a
        for t in reversed(range(len(x))):
            d_h = d_h + w[t] * c
            d_c += w[t] * h[t + 1]
            d_a += d_h * h[t]
            d_b += d_h * x[t]
            d_x[t] = d_h @ b
            d_h = a * d_h
        return {"x": d_x, "a": d_a, "b": d_b, "c": d_c}


@case()
class discounted_returns:
    def inputs(random):
        (T,) = sizes(random, 1, most=12)
        return dict(reward=random.normal(size=T), value=random.normal(size=T), gamma=0.9)

    def reference(reward, value, gamma):
        back, total = 0, 0
        for t in reversed(range(len(reward))):
            back = reward[t] + gamma * back
            total = total + (back - value[t]) ** 2
        return total / 2

    def hand(reward, value, gamma):
        G, back = np.zeros_like(reward), 0
        for t in reversed(range(len(reward))):
            back = reward[t] + gamma * back
            G[t] = back
        d_r, forth = np.zeros_like(reward), 0
        for t in range(len(reward)):
            forth = (G[t] - value[t]) + gamma * forth
            d_r[t] = forth
        return {"reward": d_r, "value": value - G}


@case()
class logsumexp_tree:
    """A balanced tree of logaddexp, whose gradient is the softmax of the leaves."""

    def inputs(random):
        (depth,) = sizes(random, 1, least=1, most=4)
        return dict(x=random.normal(size=2**depth))

    def reference(x):
        while len(x) > 1:
            x = torch.logaddexp(x[::2], x[1::2])
        return x[0]

    def hand(x):
        return {"x": softmax(x)}
