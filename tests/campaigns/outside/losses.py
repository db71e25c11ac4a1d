"""Losses: of classes, of distances, of distributions, of overlap; with weights and labels."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from tests.campaigns.outside.case import POSITIVE, REGULAR, case, sizes
from tests.campaigns.outside.formulas import log_softmax, one_hot, sigmoid, softmax


def logits(random):
    """Scores z (N, K) and labels y (N,)."""
    N, K = sizes(random, 2)
    return dict(z=random.normal(size=(N, K)), y=random.integers(0, K, N))


def pair(random):
    N, n = sizes(random, 2)
    a, b = random.normal(size=(2, N, n))
    return dict(a=a, b=b)


@case(kinds=REGULAR)
class binary_cross_entropy:
    """With probabilities, and labels 0 and 1 as floats."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(p=random.uniform(0.05, 0.95, n), y=random.integers(0, 2, n).astype(float))

    def reference(p, y):
        return F.binary_cross_entropy(p, y)

    def hand(p, y):
        return {"p": (p - y) / (p * (1 - p)) / p.size}


@case()
class binary_cross_entropy_with_logits:
    def inputs(random):
        N, n = sizes(random, 2)
        y = random.integers(0, 2, (N, n)).astype(float)
        return dict(z=random.normal(size=(N, n)), y=y, pos_weight=random.uniform(0.5, 3, n))

    def reference(z, y, pos_weight):
        return F.binary_cross_entropy_with_logits(z, y, pos_weight=pos_weight)

    def hand(z, y, pos_weight):
        return {"z": ((1 - y) * sigmoid(z) - pos_weight * y * sigmoid(-z)) / z.size}


@case()
class sigmoid_cross_entropy_of_a_layer:
    """Logistic regression."""

    def inputs(random):
        N, n = sizes(random, 2)
        y = random.integers(0, 2, N).astype(float)
        return dict(x=random.normal(size=(N, n)), w=random.normal(size=n), b=np.array(0.1), y=y)

    def reference(x, w, b, y):
        return F.binary_cross_entropy_with_logits(x @ w + b, y, reduction="sum")

    def hand(x, w, b, y):
        z = x @ w + b  # (N,)
        d_z = np.where(y == 1, -sigmoid(-z), sigmoid(z))  # (N,)
        return {"w": x.T @ d_z, "b": d_z.sum(), "x": np.outer(d_z, w)}


@case()
class weighted_cross_entropy:
    """A weight a class, that the mean is over too."""

    def inputs(random):
        given = logits(random)
        return given | dict(weight=random.uniform(0.2, 2, given["z"].shape[1]))

    def reference(z, y, weight):
        return F.cross_entropy(z, y, weight=weight)

    def hand(z, y, weight):
        d_z = softmax(z) - one_hot(y, z)  # (N, K)
        return {"z": weight[y][:, None] * d_z / weight[y].sum()}


CLASS_WEIGHT = np.array([0.3, 1.7, 0.9])


@case(but="single")
class cross_entropy_with_closed_over_weight:
    """The weight of the classes is a float64 tensor that is no input."""

    def inputs(random):
        (N,) = sizes(random, 1)
        return dict(z=random.normal(size=(N, 3)), y=random.integers(0, 3, N))

    def reference(z, y):
        return F.cross_entropy(z, y, weight=torch.from_numpy(CLASS_WEIGHT), reduction="sum")

    def hand(z, y):
        return {"z": CLASS_WEIGHT[y][:, None] * (softmax(z) - one_hot(y, z))}


@case()
class cross_entropy_with_ignored_labels:
    def inputs(random):
        given = logits(random)
        y = np.where(random.random(len(given["y"])) < 0.3, -100, given["y"])
        y[0], y[1] = 0, -100
        return given | dict(y=y)

    def reference(z, y):
        return F.cross_entropy(z, y, ignore_index=-100)

    def hand(z, y):
        real = y != -100
        d_z = softmax(z) - one_hot(np.where(real, y, 0), z)  # (N, K)
        return {"z": d_z * real[:, None] / float(real.sum())}


@case()
class cross_entropy_of_soft_labels:
    def inputs(random):
        N, K = sizes(random, 2)
        return dict(z=random.normal(size=(N, K)), p=random.dirichlet(np.ones(K), N))

    def reference(z, p):
        return F.cross_entropy(z, p)

    def hand(z, p):
        return {"z": (softmax(z) - p) / len(z)}


@case()
class label_smoothing:
    inputs = logits

    def reference(z, y):
        return F.cross_entropy(z, y, label_smoothing=0.1)

    def hand(z, y):
        target = 0.9 * one_hot(y, z) + 0.1 / z.shape[1]
        return {"z": (softmax(z) - target) / len(z)}


@case()
class focal_loss:
    def inputs(random):
        return logits(random) | dict(gamma=2.0)

    def reference(z, y, gamma):
        log_p = F.log_softmax(z, 1).gather(1, y[:, None])[:, 0]
        return -((1 - log_p.exp()) ** gamma * log_p).sum()

    def hand(z, y, gamma):
        log_p = log_softmax(z)[np.arange(len(y)), y]  # (N,)
        p = np.exp(log_p)
        d_log_p = gamma * (1 - p) ** (gamma - 1) * p * log_p - (1 - p) ** gamma  # (N,)
        return {"z": d_log_p[:, None] * (one_hot(y, z) - softmax(z))}


@case()
class distillation:
    """KL from a softened teacher, times T²."""

    def inputs(random):
        return pair(random) | dict(T=3.0)

    def reference(a, b, T):
        student, teacher = F.log_softmax(a / T, 1), F.softmax(b / T, 1)
        return T * T * F.kl_div(student, teacher, reduction="batchmean")

    def hand(a, b, T):
        return {"a": T * (softmax(a / T) - softmax(b / T)) / len(a)}


@case()
class kl_between_categoricals:
    inputs = pair

    def reference(a, b):
        p = F.softmax(a, 1)
        return (p * (F.log_softmax(a, 1) - F.log_softmax(b, 1))).sum()

    def hand(a, b):
        p, log_ratio = softmax(a), log_softmax(a) - log_softmax(b)  # (N, n)
        mean = (p * log_ratio).sum(axis=1, keepdims=True)
        return {"a": p * (log_ratio - mean), "b": softmax(b) * p.sum(axis=1, keepdims=True) - p}


@case(varied="mu logvar", but="scaled offset saturated graded")
class variational_bound:
    """Squared error of mu + σ·noise, and KL to the standard normal distribution."""

    def inputs(random):
        N, n = sizes(random, 2)
        names = ("mu", "logvar", "noise", "x")
        return {name: random.normal(size=(N, n)) for name in names}

    def reference(mu, logvar, noise, x):
        z = mu + noise * torch.exp(logvar / 2)
        return ((z - x) ** 2).sum() - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()

    def hand(mu, logvar, noise, x):
        s = np.exp(logvar / 2)
        d_z = 2 * (mu + noise * s - x)
        return {"mu": d_z + mu, "logvar": d_z * noise * s / 2 + (s * s - 1) / 2}


@case(kinds=POSITIVE)
class poisson_likelihood:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(rate=random.uniform(0.5, 3, n), k=random.poisson(2, n).astype(float))

    def reference(rate, k):
        return F.poisson_nll_loss(rate, k, log_input=False, eps=1e-8)

    def hand(rate, k):
        return {"rate": (1 - k / (rate + 1e-8)) / rate.size}


@case(but="scaled offset saturated graded")
class poisson_likelihood_of_logs:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(s=random.normal(size=n), k=random.poisson(2, n).astype(float))

    def reference(s, k):
        return F.poisson_nll_loss(s, k)

    def hand(s, k):
        return {"s": (np.exp(s) - k) / s.size}


@case(varied="mu y")
class gaussian_likelihood:
    def inputs(random):
        (n,) = sizes(random, 1)
        mu, y = random.normal(size=(2, n))
        return dict(mu=mu, y=y, var=random.uniform(0.3, 2, n))

    def reference(mu, y, var):
        return F.gaussian_nll_loss(mu, y, var, eps=0)

    def hand(mu, y, var):
        r = mu - y
        return {
            "mu": r / var / r.size,
            "y": -r / var / r.size,
            "var": (1 / var - r * r / var**2) / 2 / r.size,
        }


@case(varied="x mu")
class student_likelihood:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(x=random.normal(size=n), mu=np.array(0.3), scale=np.array(0.8), nu=4)

    def reference(x, mu, scale, nu):
        return -torch.distributions.StudentT(float(nu), mu, scale).log_prob(x).sum()

    def hand(x, mu, scale, nu):
        u = (x - mu) / scale  # (n,)
        d_u = float(nu + 1) * u / (nu + u * u)
        return {
            "x": d_u / scale,
            "mu": -d_u.sum() / scale,
            "scale": (1 - d_u * u).sum() / scale,
        }


@case(smooth=False)
class triplet_margin:
    def inputs(random):
        return pair(random) | dict(c=random.normal(), margin=1.0)

    def reference(a, b, c, margin):
        near, far = (a - b).pow(2).sum(1), (a - c).pow(2).sum(1)
        return F.relu(near - far + margin).mean()

    def hand(a, b, c, margin):
        near, far = ((a - b) ** 2).sum(axis=1), ((a - c) ** 2).sum(axis=1)  # (N,)
        on = ((near - far + margin > 0) * 2)[:, None].astype(a.dtype) / len(a)
        return {"a": on * (c - b), "b": on * (b - a)}


@case(but="zeroed tied integers tiny", smooth=False)
class triplet_of_distances:
    """With roots, as torch's triplet_margin_loss, which adds 1e-6 to every difference."""

    def inputs(random):
        return pair(random) | dict(c=random.normal(size=2)[0] + pair(random)["a"][:1, :1])

    def reference(a, b, c):
        return F.triplet_margin_loss(a, b, c.expand_as(a), margin=0.7, reduction="sum")

    def hand(a, b, c):
        near, far = a - b + 1e-6, a - c + 1e-6  # (N, n)
        d_near, d_far = (np.sqrt((v * v).sum(axis=1, keepdims=True)) for v in (near, far))
        on = d_near - d_far + 0.7 > 0
        u, v = on * near / d_near, on * far / d_far
        return {"a": u - v, "b": -u}


@case(but="zeroed tied integers tiny")
class info_nce:
    """Contrast each with every other, by cosines over a temperature."""

    def inputs(random):
        return pair(random) | dict(tau=0.2)

    def reference(a, b, tau):
        s = F.normalize(a) @ F.normalize(b).T / tau
        return F.cross_entropy(s, torch.arange(len(a)))

    def hand(a, b, tau):
        la, lb = (np.sqrt((v * v).sum(axis=1, keepdims=True)) for v in (a, b))
        u, v = a / la, b / lb  # (N, n)
        d_s = (softmax(u @ v.T / tau) - np.eye(len(a), dtype=a.dtype)) / len(a) / tau
        d_u, d_v = d_s @ v, d_s.T @ u
        return {
            "a": (d_u - u * (d_u * u).sum(axis=1, keepdims=True)) / la,
            "b": (d_v - v * (d_v * v).sum(axis=1, keepdims=True)) / lb,
        }


@case(but="zeroed tied integers tiny", smooth=False)
class cosine_embedding:
    def inputs(random):
        given = pair(random)
        return given | dict(y=random.choice([-1.0, 1.0], len(given["a"])))

    def reference(a, b, y):
        cosine = F.cosine_similarity(a, b, dim=1)
        return torch.where(y > 0, 1 - cosine, F.relu(cosine - 0.2)).mean()

    def hand(a, b, y):
        la, lb = (np.sqrt((v * v).sum(axis=1, keepdims=True)) for v in (a, b))
        u, v = a / la, b / lb
        cosine = (u * v).sum(axis=1, keepdims=True)  # (N, 1)
        d_c = np.where(y[:, None] > 0, -1, cosine > 0.2).astype(a.dtype) / len(a)
        return {"a": d_c * (v - cosine * u) / la, "b": d_c * (u - cosine * v) / lb}


@case(smooth=False)
class margin_ranking:
    def inputs(random):
        given = pair(random)
        return given | dict(y=random.choice([-1.0, 1.0], given["a"].shape))

    def reference(a, b, y):
        return F.margin_ranking_loss(a, b, y, margin=0.1)

    def hand(a, b, y):
        d = -y * (0.1 - y * (a - b) > 0) / y.size
        return {"a": d, "b": -d}


@case(but="zeroed tied integers tiny nearly_cancelling", smooth=False)
class contrastive:
    def inputs(random):
        given = pair(random)
        return given | dict(same=random.random(len(given["a"])) < 0.5)

    def reference(a, b, same):
        d = (a - b).norm(dim=1)
        return torch.where(same, d**2, F.relu(2 - d) ** 2).sum() / 2

    def hand(a, b, same):
        r = a - b  # (N, n)
        d = np.sqrt((r * r).sum(axis=1, keepdims=True))
        d_a = np.where(same[:, None], r, -np.maximum(2 - d, 0) * r / d)
        return {"a": d_a, "b": -d_a}


@case(varied="z")
class soft_dice:
    def inputs(random):
        N, n = sizes(random, 2)
        return dict(z=random.normal(size=(N, n)), y=random.integers(0, 2, (N, n)).astype(float))

    def reference(z, y):
        p = torch.sigmoid(z)
        return (1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)).mean()

    def hand(z, y):
        p = sigmoid(z)  # (N, n)
        above = 2 * (p * y).sum(axis=1, keepdims=True) + 1
        below = p.sum(axis=1, keepdims=True) + y.sum(axis=1, keepdims=True) + 1
        d_p = -(2 * y * below - above) / below**2 / len(z)
        return {"z": d_p * p * sigmoid(-z)}


@case(varied="z")
class soft_intersection_over_union:
    inputs = soft_dice.inputs

    def reference(z, y):
        p = torch.sigmoid(z)
        both = (p * y).sum()
        return 1 - both / (p.sum() + y.sum() - both + 1e-3)

    def hand(z, y):
        p = sigmoid(z)
        both, either = (p * y).sum(), (p + y - p * y).sum() + 1e-3
        d_p = -(y * either - both * (1 - y)) / either**2
        return {"z": d_p * p * sigmoid(-z)}


@case(smooth=False)
class huber:
    inputs = pair

    def reference(a, b):
        return F.huber_loss(a, b, delta=0.7)

    def hand(a, b):
        d = np.clip(a - b, -0.7, 0.7) / a.size
        return {"a": d, "b": -d}


@case(smooth=False)
class smooth_absolute_error:
    inputs = pair

    def reference(a, b):
        return F.smooth_l1_loss(a, b, beta=0.5, reduction="sum")

    def hand(a, b):
        d = np.where(abs(a - b) < 0.5, 2 * (a - b), np.sign(a - b))
        return {"a": d, "b": -d}


@case(smooth=False)
class absolute_error:
    inputs = pair

    def reference(a, b):
        return F.l1_loss(a, b)

    def hand(a, b):
        return {"a": np.sign(a - b) / a.size}


@case(smooth=False)
class pinball:
    """The loss of the q-quantile."""

    def inputs(random):
        return pair(random) | dict(q=0.9)

    def reference(a, b, q):
        r = b - a
        return torch.maximum(q * r, (q - 1) * r).mean()

    def hand(a, b, q):
        return {"a": np.where(b > a, -q, 1 - q).astype(a.dtype) / a.size}


@case(smooth=False)
class hinge:
    def inputs(random):
        N, n = sizes(random, 2)
        y = random.choice([-1.0, 1.0], N)
        return dict(x=random.normal(size=(N, n)), w=random.normal(size=n), y=y)

    def reference(x, w, y):
        return torch.clamp(1 - y * (x @ w), min=0).mean() + 0.01 * w @ w

    def hand(x, w, y):
        on = (y * (x @ w) < 1).astype(x.dtype)  # (N,)
        return {"w": -(y * on) @ x / len(x) + 0.02 * w, "x": -np.outer(y * on, w) / len(x)}


@case(smooth=False)
class multiclass_hinge:
    """Crammer and Singer's: every margin that is too small counts."""

    inputs = logits

    def reference(z, y):
        return F.multi_margin_loss(z, y)

    def hand(z, y):
        N, K = z.shape
        own = z[np.arange(N), y][:, None]
        d_z = (1 - own + z > 0).astype(z.dtype)  # (N, K)
        d_z[np.arange(N), y] = 0
        d_z[np.arange(N), y] = -d_z.sum(axis=1)
        return {"z": d_z / z.size}


@case()
class log_cosh:
    inputs = pair

    def reference(a, b):
        r = a - b
        return (torch.logaddexp(r, -r) - math.log(2)).sum()

    def hand(a, b):
        return {"a": np.tanh(a - b), "b": -np.tanh(a - b)}


@case(smooth=False)
class elastic_net:
    def inputs(random):
        N, n = sizes(random, 2)
        return dict(X=random.normal(size=(N, n)), w=random.normal(size=n), y=random.normal(size=N))

    def reference(X, w, y):
        return ((X @ w - y) ** 2).mean() + 0.1 * w.abs().sum() + 0.05 * (w * w).sum()

    def hand(X, w, y):
        d_r = 2 * (X @ w - y) / len(y)
        return {"w": X.T @ d_r + 0.1 * np.sign(w) + 0.1 * w, "X": np.outer(d_r, w)}


@case(smooth=False, but="scaled saturated offset graded")
class clipped_policy_gradient:
    """PPO's objective."""

    def inputs(random):
        (n,) = sizes(random, 1)
        names = ("logp", "old", "advantage")
        return {name: 0.3 * random.normal(size=n) for name in names}

    def reference(logp, old, advantage):
        r = torch.exp(logp - old)
        return -torch.min(r * advantage, r.clamp(0.8, 1.2) * advantage).mean()

    def hand(logp, old, advantage):
        r = np.exp(logp - old)
        cut = np.where(advantage > 0, r > 1.2, r < 0.8)
        return {"logp": -np.where(cut, 0, r * advantage) / r.size}


@case()
class preference:
    """DPO: −log σ(β(Δ policy − Δ frozen))."""

    def inputs(random):
        (n,) = sizes(random, 1)
        names = ("won", "lost", "frozen")
        return {name: random.normal(size=n) for name in names} | dict(beta=0.3)

    def reference(won, lost, frozen, beta):
        return -F.logsigmoid(beta * (won - lost - frozen)).mean()

    def hand(won, lost, frozen, beta):
        d = -beta * sigmoid(-beta * (won - lost - frozen)) / won.size
        return {"won": d, "lost": -d}


@case()
class softplus_of_minus:
    """The derivative with an exponential that cannot overflow."""

    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(z=random.normal(size=n), w=random.normal(size=n))

    def reference(z, w):
        return -(torch.logaddexp(torch.zeros_like(z), -z) * w).sum()

    def hand(z, w):
        e = np.exp(-np.abs(z))
        return {"z": w * np.where(z > 0, e, 1) / (1 + e)}


@case()
class mean_squared_error_with_weights:
    def inputs(random):
        N, n, m = sizes(random, 3)
        shapes = dict(x=(N, n), W=(m, n), b=m, y=(N, m))
        arrays = {name: random.normal(size=shape) for name, shape in shapes.items()}
        return arrays | dict(sample=random.uniform(0, 2, N))

    def reference(x, W, b, y, sample):
        return (sample[:, None] * (x @ W.T + b - y) ** 2).sum() / sample.sum()

    def hand(x, W, b, y, sample):
        r = x @ W.T + b - y  # (N, m)
        d_z = 2 * sample[:, None] * r / sample.sum()
        return {"W": d_z.T @ x, "b": d_z.sum(axis=0), "x": d_z @ W}
