"""Random networks of any depth on which rounding is at its worst; right steps in other orders."""

import inspect

import numpy as np

from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.network.problem import Problem
from lockstep.setup.options import ACTIVATION_NAMES, LOSS_NAMES, OPTIMIZERS
from manual_backprop import network as by_hand
from tests.campaigns.hard_problems import STYLES

KINDS = (
    "plain",
    "decades",
    "saturated",  # a softmax or a sigmoid of pre-activations far from 0
    "wrong labels",  # the same, and the targets are the least likely ones
    "solved",  # gradients of 0 but for rounding
    "one class",  # the others are missing
    "equal logits",
    "equal samples",
    "zeros",
    "tiny",
    "cancelling",
)
DEEPEST = 8


def deep_problem(random, kind, largest=32, steps=3, dtype=None, most_samples=None):
    """A Problem of a kind of KINDS, of 1 to 8 layers, drawn from a numpy Generator."""
    dtype = dtype or str(random.choice(["float64", "float32"]))
    depth = int(random.integers(1, DEEPEST + 1))
    sizes = [int((largest + 1) ** random.uniform(0, 1)) for _ in range(depth + 1)]
    loss = str(random.choice(LOSS_NAMES))
    own = WITH_ACTIVATION.get(loss)
    if own == "softmax":
        sizes[-1] = max(sizes[-1], 2)
    activations = [str(which) for which in random.choice(ACTIVATION_NAMES, depth)]
    activations[-1] = own or activations[-1]
    n, normal = int(((most_samples or largest) + 1) ** random.uniform(0, 1)), random.standard_normal
    weights = [normal((b, a)) / np.sqrt(a) for a, b in zip(sizes, sizes[1:], strict=False)]
    biases = [normal(width) for width in sizes[1:]]
    x, y = normal((n, sizes[0])), _targets(random, loss, n, sizes[-1])
    match kind:
        case "decades":
            x = x * 10 ** random.uniform(-3, 3, (1, sizes[0]))
            weights = [W * 10 ** random.uniform(-2, 2) for W in weights]
        case "saturated" | "wrong labels":
            weights[-1], biases[-1] = weights[-1] * 10 ** random.uniform(1, 3), biases[-1] * 30
        case "one class" if own:
            y = y * 0 if y.ndim == 1 else np.tile(y[:1], (n, 1))
        case "equal logits":
            weights[-1] = np.tile(weights[-1][:1], (sizes[-1], 1))
            biases[-1] = np.full(sizes[-1], biases[-1][0])
        case "equal samples":
            x, y = np.repeat(x[:1], n, axis=0), np.repeat(y[:1], n, axis=0)
        case "zeros":
            weights[int(random.integers(depth))] *= 0
            x = x * (random.random() < 0.5)
        case "tiny":
            scale = float(np.finfo(dtype).tiny) ** random.uniform(0.1, 0.5)
            x, weights[0] = x * scale, weights[0] * scale
        case "cancelling":
            x = np.hstack([x, -x]) * 1e3
            weights[0] = np.hstack([weights[0], weights[0] * (1 + 1e-6 * normal(weights[0].shape))])
            sizes[0] *= 2
    network = _network(random, sizes, activations, loss, y)
    arrays = {f"W{l}": W for l, W in enumerate(weights, 1)}
    arrays |= {f"b{l}": b for l, b in enumerate(biases, 1) if network.biases[l - 1]}
    arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    x, y = x.astype(dtype), y if network.labels else y.astype(dtype)
    if kind in ("solved", "wrong labels"):
        y = _answered(random, kind, network, arrays, x, y)
    masks = {
        name: (random.random(network.shape(name, n)) < 0.7).astype(dtype)
        / np.dtype(dtype).type(0.7)
        for name in network.masked
    }
    return Problem(
        network,
        {network.name(f"{p}"): arrays[network[p].numbered] for p in network.parameters},
        x,
        y,
        lr=float(10 ** random.uniform(-4, -1)),
        steps=steps,
        batch_size=None,
        dtype=dtype,
        masks=masks,
    )


def _network(random, sizes, activations, loss, y):
    """A network with a random optimiser, penalty, dropout, frozen parameters, absent biases."""
    optimizer = str(random.choice(list(OPTIMIZERS)))
    settings = dict(OPTIMIZERS[optimizer])
    if optimizer == "sgd" and random.random() < 0.7:
        settings["momentum"] = float(random.choice([0.5, 0.9, 0.99]))
        settings["nesterov"] = bool(random.random() < 0.3)
        settings["dampening"] = 0.0 if settings["nesterov"] else float(random.choice([0, 0.3]))
    if random.random() < 0.3:
        settings["weight_decay"] = float(10 ** random.uniform(-4, -1))
    depth = len(activations)
    network = Network(
        tuple(sizes),
        tuple(activations),
        loss,
        optimizer,
        tuple(settings.items()),
        l1=float(random.choice([0, 0, 0, 1e-3])),
        l2=float(random.choice([0, 0, 1e-2])),
        biases=tuple(bool(random.random() < 0.85) for _ in range(depth)),
        masks=tuple(bool(l < depth and random.random() < 0.15) for l in range(1, depth + 1)),
        labels=y.ndim == 1,
    )
    frozen = tuple(name for name in network.parameters if random.random() < 0.05)
    return Network(
        **{name: getattr(network, name) for name in network.__dataclass_fields__}
        | {"frozen": frozen}
    )


def _targets(random, loss, n, n_out):
    """Targets of a kind that the loss takes."""
    if loss.startswith("cross"):
        labels = random.integers(0, n_out, n)
        return labels if random.random() < 0.7 else np.eye(n_out)[labels]
    if loss.startswith("bce"):
        return random.choice([random.integers(0, 2, (n, n_out)) * 1.0, random.random((n, n_out))])
    return random.standard_normal((n, n_out))


def _answered(random, kind, network, arrays, x, y):
    """Targets that are the network's own outputs but for rounding, or the least likely ones."""
    with np.errstate(all="ignore"):
        got = by_hand.step(arrays, x, y, 0.0, activations=network.activations, loss=network.loss)
    out = got[f"a{network.depth}"]
    if network.labels:
        return (out.argmax if kind == "solved" else out.argmin)(axis=1)
    if network.loss not in WITH_ACTIVATION and kind == "solved":
        noise = random.standard_normal(out.shape) * 10 ** random.uniform(-16, -3)
        return (out * (1 + noise)).astype(out.dtype)
    if network.loss.startswith("bce"):
        likely = out > 0.5
        return (likely if kind == "solved" else ~likely).astype(out.dtype)
    return y


class Ordered(np.ndarray):
    """Arrays that multiply matrices and add in an order of their own."""

    times = staticmethod(np.matmul)

    def __matmul__(self, other):
        return self.times(np.asarray(self), np.asarray(other)).view(type(self))

    def sum(self, axis=None, keepdims=False):
        plain = np.asarray(self)
        if axis == 1 or plain.ndim != 2:
            return np.sum(plain, axis=axis, keepdims=keepdims).view(type(self))
        if axis is None:
            plain = plain.reshape(-1, 1)
        added = self.times(np.ones((1, len(plain)), plain.dtype), plain)[0]
        return added[0] if axis is None else added.view(type(self))


def right_step(problem, style="as written"):
    """A right step in another order of summation, as `compare` takes it. style: a key of STYLES."""
    network = problem.network
    kind = type(style, (Ordered,), {"times": staticmethod(STYLES[style][0])})
    names = (*network.given, "lr", "step")

    def step(**given):
        arrays = {name: given[name].view(kind) for name in (*network.given,) if name != "y"}
        memory = {network[name].numbered: arrays[name] for name in network.memory}
        settings = network.training
        if given["step"] == 1 and not any(array.any() for array in memory.values()):
            memory = None
        return by_hand.step(
            {network[name].numbered: arrays[name] for name in network.parameters},
            arrays["x"],
            given["y"],
            given["lr"],
            memory=memory or None,
            masks={network[name].numbered: arrays[name] for name in network.masked},
            step=given["step"],
            **settings,
        )

    kinds = inspect.Parameter.KEYWORD_ONLY
    step.__signature__ = inspect.Signature([inspect.Parameter(name, kinds) for name in names])
    return step
