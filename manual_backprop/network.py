"""A network of any depth, by hand: the lecture's formulas, a formula a line, in loops over layers.

Layers count from 1 to L; a[0] is x. Every array has a row a sample, and every formula is the sum
over the samples. torch_reference/network.py is this file's mirror: the same functions in the same
order. With two layers it gives the numbers of two_layer.py, value for value.
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, TypeAlias

from manual_backprop.activations import activation
from manual_backprop.losses import (
    OUTPUT_ACTIVATIONS,
    loss_function,
    one_hot,
    penalty,
    penalty_prime,
)
from manual_backprop.number import Function, Number, Pair
from manual_backprop.optimizers import OPTIMIZERS, Optimizer

Array: TypeAlias = Any  # of any kind of number
Layers: TypeAlias = dict[int, Any]  # by layer


def dropped(a: Array, mask: Array | None) -> Array:
    """What dropout lets through, 1/(1 − p) times as large; everything where there is no mask."""
    return a if mask is None else a * mask


def forward(W: Layers, b: Layers, mask: Layers, x: Array,
            sigma: Layers) -> tuple[Layers, Layers]:  # fmt: skip
    """The pre-activations and the activations, layer by layer.

    Args:
        W: (n_l, n_(l−1)) by layer.
        b: (n_l,) by layer; 0 where a layer has none.
        mask: Of dropout, (N, n_l) by layer, 1/(1 − p) included; None where nothing is dropped.
        x: (N, n_0), the samples.
        sigma: σ by layer.

    Returns:
        z and a, (N, n_l) by layer; a[0] is x.
    """
    z, a = {}, {0: x}
    for l in W:  # 1 … L
        z[l] = dropped(a[l - 1], mask[l - 1]) @ W[l].T + b[l]  # (N, n_l)
        a[l] = sigma[l](z[l])  # (N, n_l)
    return z, a


def loss_of(z: Layers, a: Layers, y: Array, W: Layers, L: Function, by_z: bool,
            R: Function) -> Number:  # fmt: skip
    """L, a scalar, with its penalty on the weights.

    Args:
        z: (N, n_l) by layer.
        a: (N, n_l) by layer.
        y: (N, n_L), the targets.
        W: (n_l, n_(l−1)) by layer.
        L: The loss, a function of the last layer's a or z, and of y.
        by_z: Whether it takes z.
        R: The penalty of a layer's weights.
    """
    last = max(a)
    error = L(z[last], y) if by_z else L(a[last], y)  # ()
    loss = error + sum(R(W[l]) for l in W)  # ()
    return loss  # noqa: RET504 (a formula has its name in front)


def backward(W: Layers, mask: Layers, y: Array, z: Layers, a: Layers, L_prime: Function, by_z: bool,
             sigma_prime: Layers, R_prime: Function) -> tuple[Layers, ...]:  # fmt: skip
    """The error terms δ and the gradients, from the output back to the input.

    All of them use the weights from before the update.

    Args:
        W: (n_l, n_(l−1)) by layer.
        mask: As in `forward`.
        y: (N, n_L), the targets.
        z: (N, n_l) by layer, from `forward`.
        a: (N, n_l) by layer, from `forward`.
        L_prime: ∂L/∂a of the last layer or, `by_z`, ∂L/∂z; a function of a and y.
        by_z: See `L_prime`.
        sigma_prime: σ' by layer, functions of z and σ(z).
        R_prime: ∂R/∂W of the penalty.

    Returns:
        By layer grad_a, ∂L/∂a, `by_z` of all layers but the last, and delta, (N, n_l); grad_W and
        grad_b, in the shape of the parameter.
    """
    grad_a, delta, grad_W, grad_b = {}, {}, {}, {}
    last = max(W)
    if by_z:
        delta[last] = L_prime(a[last], y)  # (N, n_L)
    else:
        grad_a[last] = L_prime(a[last], y)  # (N, n_L)
        delta[last] = grad_a[last] * sigma_prime[last](z[last], a[last])  # (N, n_L)
    for l in range(last - 1, 0, -1):
        grad_a[l] = dropped(delta[l + 1] @ W[l + 1], mask[l])  # (N, n_l)
        delta[l] = grad_a[l] * sigma_prime[l](z[l], a[l])  # (N, n_l)
    for l in range(last, 0, -1):
        grad_W[l] = delta[l].T @ dropped(a[l - 1], mask[l - 1]) + R_prime(W[l])  # (n_l, n_(l−1))
        grad_b[l] = delta[l].sum(axis=0)  # (n_l,)
    return grad_a, delta, grad_W, grad_b


def update(parameters: Mapping[str, Array], gradients: Mapping[str, Array],
           memory: Mapping[str, Array], frozen: Collection[str], optimizer: Optimizer,
           lr: Number, **settings: Any) -> dict[str, Array]:  # fmt: skip
    """A step of the optimiser.

    Args:
        parameters: By name, W1 … bL.
        gradients: By the parameter's name.
        memory: By name, velocity_W1 …; none before the first step.
        frozen: Names of parameters that keep their value, and their memory.
        optimizer: One of `OPTIMIZERS`.
        lr: The learning rate, the lecture's α.
        settings: Of the optimiser.

    Returns:
        new_W1, new_velocity_W1 … by name, in the order of `gradients`.
    """
    new: dict[str, dict[str, Array]] = {}
    for name, gradient in gradients.items():
        p, of_p = parameters[name], f"_{name}"
        old = {kept.removesuffix(of_p): memory[kept] for kept in memory if kept.endswith(of_p)}
        new[name] = optimizer(p, gradient, lr=lr, **old, **settings)
        if name in frozen:
            new[name] = {which: old.get(which[4:], 0 * p) for which in new[name]} | {"new": p}
    return {f"{which}_{name}": of[which] for name, of in new.items() for which in of}


def by_name(z: Layers, a: Layers, loss: Number, grad_a: Layers, delta: Layers) -> dict[str, Any]:
    """z1, a1 … zL, aL; loss; deltaL … delta1, each after its grad_a."""
    quantities = {f"{kind}{l}": of[l] for l in z for kind, of in (("z", z), ("a", a))}
    quantities["loss"] = loss
    for l in reversed(z):
        quantities |= {f"grad_a{l}": grad_a[l]} if l in grad_a else {}
        quantities[f"delta{l}"] = delta[l]
    return quantities


def step(parameters: Mapping[str, Array], x: Array, y: Array, lr: Number, *,
         activations: Collection[str | Pair], loss: str | Pair = "mse", optimizer: str = "sgd",
         memory: Mapping[str, Array] | None = None, step: int = 1,
         masks: Mapping[str, Array] | None = None, frozen: Collection[str] = (),
         l1: Number = 0, l2: Number = 0, **settings: Any) -> dict[str, Array]:  # fmt: skip
    """One training step.

    Args:
        parameters: W1, (n_1, n_0), b1, (n_1,), … WL, bL; a bias may be absent.
        x: (N, n_0), the samples.
        y: (N, n_L), the targets; with a cross-entropy over classes also (N,), the labels.
        lr: The learning rate, the lecture's α.
        activations: Of each layer, a name of `ACTIVATIONS`, or a pair (σ, σ').
        loss: A name of `LOSSES`. The activation of its last layer is its own: sigmoid or softmax.
        optimizer: A name of `OPTIMIZERS`.
        memory: What the optimiser kept, velocity_W1 …; None where there was no step before.
        step: The number of this step, from 1.
        masks: Of dropout, mask1 …, (N, n_l), 1/(1 − p) included.
        frozen: Names of parameters that keep their value. Their gradients are computed.
        l1: λ of the penalty λ Σ |W|, of weights alone.
        l2: λ of the penalty λ/2 Σ W², of weights alone.
        settings: Of the optimiser; see its function in `optimizers`.

    Returns:
        Arrays by name, in the order of computation: z1, a1 … zL, aL; loss; deltaL … delta1, each
        after its grad_a; grad_WL, grad_bL … grad_b1; new_WL … new_b1, each after its new memory.

    Raises:
        ValueError: A name in `frozen` is no parameter; a loss, an activation or an optimiser is
            unknown.

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
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    layers = range(1, len(activations) + 1)
    W = {l: parameters[f"W{l}"] for l in layers}
    b = {l: parameters.get(f"b{l}", 0) for l in layers}
    mask = {l: (masks or {}).get(f"mask{l}") for l in (0, *layers)}
    pairs = list(map(activation, activations))
    sigma = {l: pair[0] for l, pair in zip(layers, pairs, strict=True)}
    sigma_prime = {l: pair[1] for l, pair in zip(layers, pairs, strict=True)}
    L, L_prime = loss_function(loss)
    by_z = loss in OUTPUT_ACTIVATIONS
    R, R_prime = partial(penalty, l1=l1, l2=l2), partial(penalty_prime, l1=l1, l2=l2)
    if optimizer == "sgd" and memory is None:
        settings["dampening"] = 0.0  # there is no memory yet beside which to dampen
    if optimizer in ("adam", "adamw"):
        settings["step"] = step

    z, a = forward(W, b, mask, x, sigma)
    y = one_hot(y, W[max(W)].shape[0], x.dtype)
    total = loss_of(z, a, y, W, L, by_z, R)
    grad_a, delta, grad_W, grad_b = backward(W, mask, y, z, a, L_prime, by_z, sigma_prime, R_prime)
    gradients = {
        f"{kind}{l}": of[l]
        for l in reversed(layers)
        for kind, of in (("W", grad_W), ("b", grad_b))
        if f"{kind}{l}" in parameters
    }
    rule, kept = OPTIMIZERS[optimizer], memory or {}
    new = update(parameters, gradients, kept, frozen, rule, lr, **settings)

    quantities = by_name(z, a, total, grad_a, delta)
    return quantities | {f"grad_{name}": array for name, array in gradients.items()} | new
