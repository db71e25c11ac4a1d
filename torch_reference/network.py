"""A network of any depth by PyTorch, on the CPU: autograd, the loss modules, torch.optim.

manual_backprop/network.py is this file's mirror: the same functions in the same order.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Array: TypeAlias = Any  # a NumPy array, which this side never computes with
Network: TypeAlias = Any  # an nn.Sequential of nn.Linear and activation in turn
Layers: TypeAlias = dict[int, Tensor]  # by layer
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]

ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "softmax": partial(nn.Softmax, dim=1),
}
# by name, the loss module, and what its value is divided by besides: a function of the targets
LOSSES: dict[str, tuple[Loss, Callable[[Tensor], float]]] = {
    "mse": (nn.MSELoss(), lambda y: 1),
    "sum": (nn.MSELoss(reduction="sum"), lambda y: 1),
    "half_sum": (nn.MSELoss(reduction="sum"), lambda y: 2),
    "sum_over_n": (nn.MSELoss(reduction="sum"), len),
    "half_sum_over_n": (nn.MSELoss(reduction="sum"), lambda y: 2 * len(y)),
    "bce": (nn.BCEWithLogitsLoss(), lambda y: 1),
    "bce_sum": (nn.BCEWithLogitsLoss(reduction="sum"), lambda y: 1),
    "bce_over_n": (nn.BCEWithLogitsLoss(reduction="sum"), len),
    "cross_entropy": (nn.CrossEntropyLoss(), lambda y: 1),
    "cross_entropy_sum": (nn.CrossEntropyLoss(reduction="sum"), lambda y: 1),
}
OF_LOGITS = ("bce", "bce_sum", "bce_over_n", "cross_entropy", "cross_entropy_sum")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}
# by optimiser, our name of what it keeps of a parameter, and PyTorch's
MEMORY = {
    "sgd": {"velocity": "momentum_buffer"},
    "adam": {"mean": "exp_avg", "square": "exp_avg_sq"},
    "adamw": {"mean": "exp_avg", "square": "exp_avg_sq"},
    "rmsprop": {"square": "square_avg"},
    "adagrad": {"square": "sum"},
}


def dropped(a: Tensor, mask: Tensor | None) -> Tensor:
    """What dropout lets through, 1/(1 − p) times as large; everything where there is no mask."""
    return a if mask is None else a * mask


def forward(network: Network, mask: dict[int, Tensor | None], x: Tensor) -> tuple[Layers, Layers]:
    """The pre-activations and the activations, layer by layer.

    Args:
        network: Its modules are, of each layer in turn, an nn.Linear and the activation.
        mask: Of dropout, (N, n_l) by layer, 1/(1 − p) included; None where nothing is dropped.
        x: (N, n_0), the samples.

    Returns:
        z and a, (N, n_l) by layer; a[0] is x.
    """
    z, a = {}, {0: x}
    for l in range(1, len(network) // 2 + 1):
        z[l] = network[2 * l - 2](dropped(a[l - 1], mask[l - 1]))  # (N, n_l)
        a[l] = network[2 * l - 1](z[l])  # (N, n_l)
    return z, a


def loss_of(z: Layers, a: Layers, y: Tensor, network: Network, which: str,
            l1: float, l2: float) -> Tensor:  # fmt: skip
    """L, a scalar, with its penalty on the weights.

    Args:
        z: (N, n_l) by layer.
        a: (N, n_l) by layer.
        y: (N, n_L), the targets, or (N,), the labels.
        network: See `forward`.
        which: A name of `LOSSES`.
        l1: λ of λ Σ |W|.
        l2: λ of λ/2 Σ W².
    """
    last = max(a)
    L, m = LOSSES[which]
    loss = L(z[last] if which in OF_LOGITS else a[last], y) / m(y)  # ()
    for linear in network[::2] if l1 or l2 else ():
        loss = loss + l2 / 2 * linear.weight.square().sum() + l1 * linear.weight.abs().sum()
    return loss


def backward(loss: Tensor, z: Layers, a: Layers, network: Network) -> tuple[Any, ...]:
    """The error terms δ and the gradients: autograd alone.

    Args:
        loss: L, a scalar.
        z: (N, n_l) by layer, from `forward`; its gradient is delta.
        a: (N, n_l) by layer, from `forward`.
        network: See `forward`.

    Returns:
        By layer grad_a, ∂L/∂a, where the loss takes z of all layers but the last, and delta,
        (N, n_l); grad_W and grad_b, in the shape of the parameter.
    """
    for l in z:
        z[l].retain_grad()
        a[l].retain_grad()
    loss.backward()
    grad_a = {l: a[l].grad for l in z if a[l].grad is not None}  # (N, n_l)
    delta = {l: z[l].grad for l in z}  # (N, n_l)
    grad_W = {l: network[2 * l - 2].weight.grad for l in z}  # (n_l, n_(l−1))
    grad_b = {l: network[2 * l - 2].bias.grad for l in z if network[2 * l - 2].bias is not None}
    return grad_a, delta, grad_W, grad_b


def update(parameters: Mapping[str, nn.Parameter], memory: Mapping[str, Tensor] | None,
           frozen: Collection[str], optimizer: str, lr: float, step: int,
           **settings: Any) -> dict[str, Tensor]:  # fmt: skip
    """A step of torch.optim.

    Args:
        parameters: By name, W1 … bL, in the order of what is returned; they have their gradients.
        memory: What the optimiser kept, by name, velocity_W1 …; None where there is none yet.
        frozen: Names of parameters that the optimiser does not get.
        optimizer: A name of `OPTIMIZERS`.
        lr: The learning rate, the lecture's α.
        step: The number of this step, from 1.
        settings: Of the optimiser, under our names.

    Returns:
        new_W1, new_velocity_W1 … by name.
    """
    if "beta1" in settings or "beta2" in settings:
        settings["betas"] = settings.pop("beta1", 0.9), settings.pop("beta2", 0.999)
    trained = {name: p for name, p in parameters.items() if name not in frozen}
    names = MEMORY[optimizer] if optimizer != "sgd" or settings.get("momentum") else {}
    kept: dict[str, Mapping[str, Any]] = {
        name: {
            theirs: torch.zeros_like(p) if memory is None else memory[f"{ours}_{name}"]
            for ours, theirs in names.items()
        }
        for name, p in parameters.items()
    }
    if trained:  # an optimiser needs a parameter
        running = OPTIMIZERS[optimizer](list(trained.values()), lr=0.0, **settings)
        running.param_groups[0]["lr"] = lr  # any number: the optimiser itself refuses negative ones
        if names and (memory is not None or optimizer != "sgd"):
            for name, p in trained.items():
                running.state[p] = {"step": torch.tensor(step - 1.0), **kept[name]}
        running.step()
        kept |= {name: running.state[p] for name, p in trained.items()}
    new: dict[str, Tensor] = {}
    for name, p in parameters.items():
        new |= {f"new_{ours}_{name}": kept[name][theirs] for ours, theirs in names.items()}
        new[f"new_{name}"] = p
    return new


def by_name(z: Layers, a: Layers, loss: Tensor, grad_a: Layers, delta: Layers) -> dict[str, Any]:
    """z1, a1 … zL, aL; loss; deltaL … delta1, each after its grad_a."""
    quantities = {f"{kind}{l}": of[l] for l in z for kind, of in (("z", z), ("a", a))}
    quantities["loss"] = loss
    for l in reversed(z):
        quantities |= {f"grad_a{l}": grad_a[l]} if l in grad_a else {}
        quantities[f"delta{l}"] = delta[l]
    return quantities


def step(parameters: Mapping[str, Array], x: Array, y: Array, lr: float, *,
         activations: Collection[str], loss: str = "mse", optimizer: str = "sgd",
         memory: Mapping[str, Array] | None = None, step: int = 1,
         masks: Mapping[str, Array] | None = None, frozen: Collection[str] = (),
         l1: float = 0, l2: float = 0, **settings: Any) -> dict[str, Array]:  # fmt: skip
    """One training step.

    Args:
        parameters: W1, (n_1, n_0), b1, (n_1,), … WL, bL, NumPy arrays, float64 or float32, as all
            of them; a bias may be absent.
        x: (N, n_0), the samples.
        y: (N, n_L), the targets; with a cross-entropy over classes also (N,), the labels.
        lr: The learning rate, the lecture's α.
        activations: Of each layer, a name of `ACTIVATIONS`, or leaky_relu:0.2 with its slope.
        loss: A name of `LOSSES`.
        optimizer: A name of `OPTIMIZERS`.
        memory: What the optimiser kept, velocity_W1 …; None where there was no step before.
        step: The number of this step, from 1.
        masks: Of dropout, mask1 …, (N, n_l), 1/(1 − p) included.
        frozen: Names of parameters that the optimiser does not get. Their gradients are computed.
        l1: λ of the penalty λ Σ |W|, of weights alone.
        l2: λ of the penalty λ/2 Σ W², of weights alone.
        settings: Of the optimiser.

    Returns:
        NumPy arrays by name, in the order of computation: z1, a1 … zL, aL; loss; deltaL … delta1,
        each after its grad_a; grad_WL, grad_bL … grad_b1; new_WL … new_b1, each after its new
        memory. The arrays that came in are never changed.

    Raises:
        ValueError: A name in `frozen` is no parameter.

    Examples:
        >>> import numpy as np
        >>> W, x, y = np.eye(2), np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]])
        >>> quantities = step({"W1": W, "W2": W}, x, y, 0.1, activations=["linear"] * 2,
        ...                   loss="half_sum")
        >>> float(quantities["loss"]), quantities["grad_W2"].tolist()
        (2.5, [[1.0, 2.0], [2.0, 4.0]])
    """
    if not set(frozen) <= set(parameters):
        raise ValueError(f"frozen: expected names out of {', '.join(parameters)}, got {frozen!r}")
    layers = range(1, len(activations) + 1)
    own = {  # copies: the optimiser changes them in place
        f"{kind}{l}": nn.Parameter(torch.tensor(parameters[f"{kind}{l}"]).contiguous())
        for l in reversed(layers)
        for kind in "Wb"
        if f"{kind}{l}" in parameters
    }
    network: Network = nn.Sequential()
    for l, which in zip(layers, activations, strict=True):
        n_l, n_before = own[f"W{l}"].shape
        linear = nn.Linear(n_before, n_l, bias=f"b{l}" in own, device="meta")
        linear.weight = own[f"W{l}"]
        if f"b{l}" in own:
            linear.bias = own[f"b{l}"]
        name, _, slope = which.partition(":")
        network.append(linear)
        network.append(ACTIVATIONS[name](float(slope)) if slope else ACTIVATIONS[name]())
    given = {name: torch.as_tensor(mask) for name, mask in (masks or {}).items()}
    mask = {l: given.get(f"mask{l}") for l in (0, *layers)}
    start = memory and {name: torch.tensor(array) for name, array in memory.items()}

    z, a = forward(network, mask, torch.as_tensor(x))
    total = loss_of(z, a, torch.as_tensor(y), network, loss, l1, l2)
    grad_a, delta, grad_W, grad_b = backward(total, z, a, network)
    gradients = {
        f"grad_{kind}{l}": of[l]
        for l in reversed(layers)
        for kind, of in (("W", grad_W), ("b", grad_b))
        if l in of
    }
    new = update(own, start, frozen, optimizer, lr, step, **settings)

    quantities = by_name(z, a, total, grad_a, delta) | gradients | new
    return {name: value.detach().numpy() for name, value in quantities.items()}
