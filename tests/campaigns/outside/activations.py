"""Functions of one number: smooth ones, and ones with a kink."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from tests.campaigns.outside.case import POSITIVE, REGULAR, case, sizes
from tests.campaigns.outside.formulas import sigmoid, softplus

erf = np.vectorize(math.erf, otypes=[float])


def weighted(random):
    """x and incoming gradient w."""
    (n,) = sizes(random, 1, most=10)
    x, w = random.normal(size=(2, n))
    return dict(x=2 * x, w=w)


def positive(random):
    (n,) = sizes(random, 1, most=10)
    return dict(x=random.uniform(0.3, 3, n), w=random.normal(size=n))


@case()
class silu:
    inputs = weighted

    def reference(x, w):
        return (F.silu(x) * w).sum()

    def hand(x, w):
        s = sigmoid(x)
        return {"x": w * (s + x * s * sigmoid(-x)), "w": x * s}


@case()
class mish:
    inputs = weighted

    def reference(x, w):
        return (F.mish(x) * w).sum()

    def hand(x, w):
        t = np.tanh(softplus(x))
        return {"x": w * (t + x * (1 - t * t) * sigmoid(x))}


@case()
class exact_gelu:
    inputs = weighted

    def reference(x, w):
        return (F.gelu(x) * w).sum()

    def hand(x, w):
        Phi = ((1 + erf(x / math.sqrt(2))) / 2).astype(x.dtype)
        phi = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return {"x": w * (Phi + x * phi)}


@case()
class quick_gelu:
    inputs = weighted

    def reference(x, w):
        return (x * torch.sigmoid(1.702 * x) * w).sum()

    def hand(x, w):
        s = sigmoid(1.702 * x)
        return {"x": w * s * (1 + 1.702 * x * (1 - s))}


@case(varied="x")
class swish_with_a_slope:
    def inputs(random):
        return weighted(random) | dict(beta=np.array(random.uniform(0.5, 2)))

    def reference(x, w, beta):
        return (x * torch.sigmoid(beta * x) * w).sum()

    def hand(x, w, beta):
        s = sigmoid(beta * x)
        d_s = w * x * s * sigmoid(-beta * x)
        return {"x": w * s + beta * d_s, "beta": (d_s * x).sum()}


@case()
class softplus_with_threshold:
    """Above 20 torch takes the line, which is off by less than e^-20."""

    inputs = weighted

    def reference(x, w):
        return (F.softplus(x) * w).sum()

    def hand(x, w):
        return {"x": w * np.where(x > 20, 1, sigmoid(x)), "w": np.where(x > 20, x, softplus(x))}


@case()
class log_sigmoid:
    inputs = weighted

    def reference(x, w):
        return (F.logsigmoid(x) * w).sum()

    def hand(x, w):
        return {"x": w * sigmoid(-x), "w": -softplus(-x)}


@case(kinds=REGULAR)
class naive_log_sigmoid_of_reference:
    """The reference takes the logarithm of 1/(1 + e^-x), as it stands in the book."""

    inputs = weighted

    def reference(x, w):
        return (torch.log(1 / (1 + torch.exp(-x))) * w).sum()

    def hand(x, w):
        return {"x": w / (1 + np.exp(x))}


@case()
class elu:
    inputs = weighted

    def reference(x, w):
        return (F.elu(x, alpha=1.0) * w).sum()

    def hand(x, w):
        return {"x": w * np.exp(np.minimum(x, 0))}


@case(smooth=False)
class selu:
    inputs = weighted

    def reference(x, w):
        return (F.selu(x) * w).sum()

    def hand(x, w):
        scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
        return {"x": w * scale * np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))}


@case()
class celu:
    inputs = weighted

    def reference(x, w):
        return (F.celu(x, alpha=2.0) * w).sum()

    def hand(x, w):
        return {"x": w * np.exp(np.minimum(x, 0) / 2)}


@case(smooth=False)
class hard_swish:
    inputs = weighted

    def reference(x, w):
        return (F.hardswish(x) * w).sum()

    def hand(x, w):
        return {"x": w * np.where(x <= -3, 0, np.where(x < 3, x / 3 + 0.5, 1)).astype(x.dtype)}


@case(smooth=False)
class hard_tanh:
    inputs = weighted

    def reference(x, w):
        return (F.hardtanh(x, -1.5, 1.5) * w).sum()

    def hand(x, w):
        return {"x": w * (np.abs(x) < 1.5), "w": np.clip(x, -1.5, 1.5)}


@case(smooth=False)
class relu:
    inputs = weighted

    def reference(x, w):
        return (torch.relu(x) * w).sum()

    def hand(x, w):
        return {"x": w * (x > 0), "w": np.maximum(x, 0)}


@case(smooth=False)
class two_relu_layers:
    def inputs(random):
        N, n, m, k = sizes(random, 4)
        shapes = dict(x=(N, n), W=(m, n), b=m, V=(k, m), w=(N, k))
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    def reference(x, W, b, V, w):
        return (torch.relu(torch.relu(x @ W.T + b) @ V.T) * w).sum()

    def hand(x, W, b, V, w):
        z = x @ W.T + b  # (N, m)
        h = np.maximum(z, 0)
        d_a = w * (h @ V.T > 0)  # (N, k)
        d_z = d_a @ V * (z > 0)  # (N, m)
        return {"x": d_z @ W, "W": d_z.T @ x, "b": d_z.sum(axis=0), "V": d_a.T @ h}


@case(smooth=False)
class relu6:
    inputs = weighted

    def reference(x, w):
        return (F.relu6(x) ** 2 * w).sum()

    def hand(x, w):
        y = np.clip(x, 0, 6)
        return {"x": 2 * y * w * ((x > 0) & (x < 6))}


@case(smooth=False)
class leaky_relu:
    inputs = weighted

    def reference(x, w):
        return (F.leaky_relu(x, 0.1) * w).sum()

    def hand(x, w):
        return {"x": np.where(x > 0, w, 0.1 * w)}


@case(smooth=False)
class parametric_relu:
    def inputs(random):
        N, C = sizes(random, 2)
        x, w = random.normal(size=(2, N, C))
        return dict(x=x, a=random.uniform(0, 0.5, C), w=w)

    def reference(x, a, w):
        return (F.prelu(x, a) * w).sum()

    def hand(x, a, w):
        return {"x": w * np.where(x > 0, 1, a), "a": (w * np.minimum(x, 0)).sum(axis=0)}


@case(smooth=False)
class absolute_value:
    inputs = weighted

    def reference(x, w):
        return (x.abs() * w).sum()

    def hand(x, w):
        return {"x": w * np.sign(x)}


@case(smooth=False)
class clamped:
    def inputs(random):
        return weighted(random) | dict(low=-1, high=2)

    def reference(x, w, low, high):
        return (torch.clamp(x, low, high) * w).sum()

    def hand(x, w, low, high):
        return {"x": np.where((x < low) | (x > high), 0, w)}


@case(smooth=False)
class soft_threshold:
    inputs = weighted

    def reference(x, w):
        return (F.softshrink(x, 0.5) * w).sum()

    def hand(x, w):
        return {"x": w * (np.abs(x) > 0.5)}


@case()
class soft_sign:
    inputs = weighted

    def reference(x, w):
        return (F.softsign(x) * w).sum()

    def hand(x, w):
        return {"x": w / (1 + np.abs(x)) ** 2}


@case()
class tanh_shrink:
    inputs = weighted

    def reference(x, w):
        return (F.tanhshrink(x) * w).sum()

    def hand(x, w):
        return {"x": w * np.tanh(x) ** 2}


@case()
class arctangent_of_a_product:
    inputs = weighted

    def reference(x, w):
        return torch.atan(x * w).sum()

    def hand(x, w):
        d_u = 1 / (1 + (x * w) ** 2)
        return {"x": d_u * w, "w": d_u * x}


@case(kinds=POSITIVE)
class logarithm:
    inputs = positive

    def reference(x, w):
        return (torch.log(x) * w).sum()

    def hand(x, w):
        return {"x": w / x, "w": np.log(x)}


@case(kinds=POSITIVE)
class square_root:
    inputs = positive

    def reference(x, w):
        return (torch.sqrt(x) * w).sum()

    def hand(x, w):
        return {"x": w / (2 * np.sqrt(x))}


@case(kinds=POSITIVE, varied="x")
class learnt_power:
    def inputs(random):
        return positive(random) | dict(p=np.array(random.uniform(-2, 2)))

    def reference(x, w, p):
        return (x**p * w).sum()

    def hand(x, w, p):
        y = x**p
        return {"x": w * p * x ** (p - 1), "p": (w * y * np.log(x)).sum()}


@case(kinds=POSITIVE)
class entropy:
    """Of what becomes a distribution by division."""

    def inputs(random):
        return dict(x=positive(random)["x"])

    def reference(x):
        p = x / x.sum()
        return -(p * p.log()).sum()

    def hand(x):
        p = x / x.sum()
        H = -(p * np.log(p)).sum()
        return {"x": -(np.log(p) + H) / x.sum()}


@case(kinds=REGULAR)
class logit:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(p=random.uniform(0.05, 0.95, n), w=random.normal(size=n))

    def reference(p, w):
        return (torch.logit(p) * w).sum()

    def hand(p, w):
        return {"p": w / (p * (1 - p))}


@case(kinds=REGULAR)
class arcsine_and_tangent:
    def inputs(random):
        (n,) = sizes(random, 1)
        x, w = random.uniform(-0.9, 0.9, (2, n))
        return dict(x=x, w=w)

    def reference(x, w):
        return (torch.asin(x) * w + torch.tan(x) + torch.atanh(x)).sum()

    def hand(x, w):
        return {"x": w / np.sqrt(1 - x * x) + 1 / np.cos(x) ** 2 + 1 / (1 - x * x)}


@case(but="scaled offset saturated graded")
class small_exponentials:
    inputs = weighted

    def reference(x, w):
        return (torch.expm1(x) * w + torch.log1p(x * x)).sum()

    def hand(x, w):
        return {"x": w * np.exp(x) + 2 * x / (1 + x * x), "w": np.expm1(x)}
