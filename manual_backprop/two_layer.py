"""A two-layer network by hand, on matrices: the lecture's formulas for any widths and any batch.

torch_reference/two_layer.py is this file's mirror: the same functions in the same order.
"""

from collections.abc import Collection
from typing import TypeAlias

from manual_backprop.activations import activation
from manual_backprop.losses import loss_function
from manual_backprop.number import Function, Number, Pair

Array: TypeAlias = Number  # a NumPy array of numbers of any kind, or what behaves like one


def forward(W_h: Array, b_h: Array, W_o: Array, b_o: Array, x: Array,
            sigma_h: Function, sigma_o: Function) -> tuple[Array, ...]:  # fmt: skip
    """The outputs, and everything on the way there.

    Args:
        W_h: (n_hidden, n_in).
        b_h: (n_hidden,).
        W_o: (n_out, n_hidden).
        b_o: (n_out,).
        x: (N, n_in), the samples.
        sigma_h: The activation of the hidden layer, a function of an array.
        sigma_o: That of the output layer.

    Returns:
        z_h and h, (N, n_hidden); z_o and o, (N, n_out).
    """
    z_h = x @ W_h.T + b_h  # (N, n_hidden)
    h = sigma_h(z_h)  # (N, n_hidden)
    z_o = h @ W_o.T + b_o  # (N, n_out)
    o = sigma_o(z_o)  # (N, n_out)
    return z_h, h, z_o, o


def loss_of(o: Array, y: Array, L: Function) -> Number:
    """L, a scalar.

    Args:
        o: (N, n_out), the outputs.
        y: (N, n_out), the targets.
        L: The loss, a function of both.
    """
    loss = L(o, y)  # ()
    return loss  # noqa: RET504 (a formula has its name in front)


def backward(W_o: Array, x: Array, y: Array, z_h: Array, h: Array, z_o: Array, o: Array,
             L_prime: Function, sigma_h_prime: Function,
             sigma_o_prime: Function) -> tuple[Array, ...]:  # fmt: skip
    """The error terms δ and the gradients, from the output back to the input.

    Row n is the lecture's δ_o and δ_h of sample n; a gradient is the sum over the samples. All of
    them use the weights from before the update.

    Args:
        W_o: (n_out, n_hidden).
        x: (N, n_in), the samples.
        y: (N, n_out), the targets.
        z_h: (N, n_hidden), from `forward`.
        h: (N, n_hidden), from `forward`.
        z_o: (N, n_out), from `forward`.
        o: (N, n_out), from `forward`.
        L_prime: ∂L/∂o, a function of o and y.
        sigma_h_prime: σ' of the hidden layer, a function of z_h and h.
        sigma_o_prime: σ' of the output layer, a function of z_o and o.

    Returns:
        delta_o, (N, n_out); delta_h, (N, n_hidden); grad_W_o, grad_b_o, grad_W_h and grad_b_h, each
        in the shape of its parameter.
    """
    delta_o = L_prime(o, y) * sigma_o_prime(z_o, o)  # (N, n_out)
    delta_h = (delta_o @ W_o) * sigma_h_prime(z_h, h)  # (N, n_hidden)
    grad_W_o = delta_o.T @ h  # (n_out, n_hidden)
    grad_b_o = delta_o.sum(axis=0)  # (n_out,)
    grad_W_h = delta_h.T @ x  # (n_hidden, n_in)
    grad_b_h = delta_h.sum(axis=0)  # (n_hidden,)
    return delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h


def update(W_h: Array, b_h: Array, W_o: Array, b_o: Array,
           grad_W_o: Array, grad_b_o: Array, grad_W_h: Array, grad_b_h: Array,
           lr: Number) -> tuple[Array, ...]:  # fmt: skip
    """One step of gradient descent: W ← W − α ∂L/∂W.

    Args:
        W_h: (n_hidden, n_in).
        b_h: (n_hidden,).
        W_o: (n_out, n_hidden).
        b_o: (n_out,).
        grad_W_o: (n_out, n_hidden), from `backward`.
        grad_b_o: (n_out,), from `backward`.
        grad_W_h: (n_hidden, n_in), from `backward`.
        grad_b_h: (n_hidden,), from `backward`.
        lr: The learning rate, the lecture's α.

    Returns:
        new_W_o, new_b_o, new_W_h and new_b_h.
    """
    new_W_o = W_o - lr * grad_W_o  # (n_out, n_hidden)
    new_b_o = b_o - lr * grad_b_o  # (n_out,)
    new_W_h = W_h - lr * grad_W_h  # (n_hidden, n_in)
    new_b_h = b_h - lr * grad_b_h  # (n_hidden,)
    return new_W_o, new_b_o, new_W_h, new_b_h


def step(W_h: Array, b_h: Array, W_o: Array, b_o: Array, x: Array, y: Array, lr: Number,
         hidden_activation: str | Pair = "linear", output_activation: str | Pair = "linear",
         loss: str | Pair = "mse", frozen: Collection[str] = ()) -> dict[str, Array]:  # fmt: skip
    """One training step.

    Args:
        W_h: (n_hidden, n_in), an array of any kind of number, as all of them.
        b_h: (n_hidden,).
        W_o: (n_out, n_hidden).
        b_o: (n_out,).
        x: (N, n_in), the samples.
        y: (N, n_out), the targets.
        lr: The learning rate, the lecture's α.
        hidden_activation: A name of `ACTIVATIONS`, or a pair (σ, σ').
        output_activation: The same.
        loss: A name of `LOSSES`, or a pair (L, ∂L/∂o).
        frozen: Names of parameters that keep their value. Their gradients are computed.

    Returns:
        Arrays by name, in the order of computation: z_h, h, z_o, o, loss, delta_o, delta_h,
        grad_… and new_… of W_o, b_o, W_h, b_h.

    Raises:
        ValueError: A name in `frozen` is not W_h, b_h, W_o or b_o; a loss or an activation is
            unknown.

    Examples:
        >>> import numpy as np
        >>> W, b, x, y = np.eye(2), np.zeros(2), np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]])
        >>> quantities = step(W, b, W, b, x, y, lr=0.1, loss="half_sum")
        >>> float(quantities["loss"]), quantities["grad_W_o"].tolist()
        (2.5, [[1.0, 2.0], [2.0, 4.0]])
    """
    parameters = dict(W_h=W_h, b_h=b_h, W_o=W_o, b_o=b_o)
    if not set(frozen) <= set(parameters):
        raise ValueError(f"frozen: expected names out of {', '.join(parameters)}, got {frozen!r}")
    sigma_h, sigma_h_prime = activation(hidden_activation)
    sigma_o, sigma_o_prime = activation(output_activation)
    L, L_prime = loss_function(loss)

    z_h, h, z_o, o = forward(W_h, b_h, W_o, b_o, x, sigma_h, sigma_o)
    loss = loss_of(o, y, L)
    delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h = backward(
        W_o, x, y, z_h, h, z_o, o, L_prime, sigma_h_prime, sigma_o_prime
    )
    new_W_o, new_b_o, new_W_h, new_b_h = update(
        W_h, b_h, W_o, b_o, grad_W_o, grad_b_o, grad_W_h, grad_b_h, lr
    )

    quantities = dict(
        z_h=z_h, h=h, z_o=z_o, o=o, loss=loss, delta_o=delta_o, delta_h=delta_h,
        grad_W_o=grad_W_o, grad_b_o=grad_b_o, grad_W_h=grad_W_h, grad_b_h=grad_b_h,
        new_W_o=new_W_o, new_b_o=new_b_o, new_W_h=new_W_h, new_b_h=new_b_h,
    )  # fmt: skip
    return quantities | {f"new_{name}": parameters[name] for name in frozen}
