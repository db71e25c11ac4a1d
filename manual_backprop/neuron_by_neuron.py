"""The lecture's 2-2-2 network, neuron by neuron: a formula a line, in the lecture's order.

The subscripts say source, then target: w21 goes from x2 to h1; w31 and w41 go from h1 and h2 to o1.
Names besides the lecture's: z_h1 for the pre-activation of h1, grad_w31 for the product δ_o1·h1.
"""

from collections.abc import Collection

from manual_backprop.activations import activation
from manual_backprop.losses import LOSSES, square
from manual_backprop.number import Number, Pair


def step(w11: Number, w21: Number, w12: Number, w22: Number, b1: Number, b2: Number,
         w31: Number, w41: Number, w32: Number, w42: Number, b3: Number, b4: Number,
         x1: Number, x2: Number, y1: Number, y2: Number, lr: Number,
         hidden_activation: str | Pair = "linear", output_activation: str | Pair = "linear",
         loss: str = "mse", frozen: Collection[str] = ()) -> dict[str, Number]:  # fmt: skip
    """One training step on one sample, on numbers of any kind: floats, fractions, symbols.

    Args:
        w11: The weight from x1 to h1.
        w21: From x2 to h1.
        w12: From x1 to h2.
        w22: From x2 to h2.
        b1: The bias of h1.
        b2: The bias of h2.
        w31: The weight from h1 to o1.
        w41: From h2 to o1.
        w32: From h1 to o2.
        w42: From h2 to o2.
        b3: The bias of o1.
        b4: The bias of o2.
        x1: The first input.
        x2: The second input.
        y1: The target of o1.
        y2: The target of o2.
        lr: The learning rate, the lecture's α.
        hidden_activation: A name of `ACTIVATIONS`, or a pair (σ, σ').
        output_activation: The same.
        loss: A name of `LOSSES`.
        frozen: Parameters that keep their value, by their matrix names: W_h, b_h, W_o, b_o. Their
            gradients are computed.

    Returns:
        Numbers by name: z_h1 … o2, loss, delta_o1 … delta_h2, grad_w31 … grad_b2, new_w31 … new_b2.

    Raises:
        ValueError: A name in `frozen` is not W_h, b_h, W_o or b_o; a loss or an activation is
            unknown.

    Examples:
        >>> from fractions import Fraction
        >>> names = "w11 w21 w12 w22 b1 b2 w31 w41 w32 w42 b3 b4 x1 x2 y1 y2 lr".split()
        >>> print(step(**{name: Fraction(i + 1, 10) for i, name in enumerate(names)})["delta_h1"])
        1403/500
    """
    if not set(frozen) <= {"W_h", "b_h", "W_o", "b_o"}:
        raise ValueError(f"frozen: expected names out of W_h, b_h, W_o, b_o, got {frozen!r}")
    if loss not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {loss!r}")
    sigma_h, sigma_h_prime = activation(hidden_activation)
    sigma_o, sigma_o_prime = activation(output_activation)
    c = 2 if loss == "sum" else 1  # 1: the lecture's ½ Σ, of two outputs nn.MSELoss() as well

    # forward
    z_h1 = w11 * x1 + w21 * x2 + b1
    z_h2 = w12 * x1 + w22 * x2 + b2
    h1 = sigma_h(z_h1)
    h2 = sigma_h(z_h2)
    z_o1 = w31 * h1 + w41 * h2 + b3
    z_o2 = w32 * h1 + w42 * h2 + b4
    o1 = sigma_o(z_o1)
    o2 = sigma_o(z_o2)
    loss = c * (square(y1 - o1) + square(y2 - o2)) / 2

    # error terms at the output layer
    delta_o1 = c * (o1 - y1) * sigma_o_prime(z_o1, o1)
    delta_o2 = c * (o2 - y2) * sigma_o_prime(z_o2, o2)

    # error terms at the hidden layer, with the weights from before the update
    delta_h1 = (delta_o1 * w31 + delta_o2 * w32) * sigma_h_prime(z_h1, h1)
    delta_h2 = (delta_o1 * w41 + delta_o2 * w42) * sigma_h_prime(z_h2, h2)

    # gradients
    grad_w31 = delta_o1 * h1
    grad_w41 = delta_o1 * h2
    grad_w32 = delta_o2 * h1
    grad_w42 = delta_o2 * h2
    grad_b3 = delta_o1
    grad_b4 = delta_o2
    grad_w11 = delta_h1 * x1
    grad_w21 = delta_h1 * x2
    grad_w12 = delta_h2 * x1
    grad_w22 = delta_h2 * x2
    grad_b1 = delta_h1
    grad_b2 = delta_h2

    # updates
    new_w31 = w31 - lr * grad_w31
    new_w41 = w41 - lr * grad_w41
    new_w32 = w32 - lr * grad_w32
    new_w42 = w42 - lr * grad_w42
    new_b3 = b3 - lr * grad_b3
    new_b4 = b4 - lr * grad_b4
    new_w11 = w11 - lr * grad_w11
    new_w21 = w21 - lr * grad_w21
    new_w12 = w12 - lr * grad_w12
    new_w22 = w22 - lr * grad_w22
    new_b1 = b1 - lr * grad_b1
    new_b2 = b2 - lr * grad_b2

    if "W_h" in frozen:
        new_w11, new_w21, new_w12, new_w22 = w11, w21, w12, w22
    if "b_h" in frozen:
        new_b1, new_b2 = b1, b2
    if "W_o" in frozen:
        new_w31, new_w41, new_w32, new_w42 = w31, w41, w32, w42
    if "b_o" in frozen:
        new_b3, new_b4 = b3, b4

    return dict(
        z_h1=z_h1, z_h2=z_h2, h1=h1, h2=h2, z_o1=z_o1, z_o2=z_o2, o1=o1, o2=o2, loss=loss,
        delta_o1=delta_o1, delta_o2=delta_o2, delta_h1=delta_h1, delta_h2=delta_h2,
        grad_w31=grad_w31, grad_w41=grad_w41, grad_w32=grad_w32, grad_w42=grad_w42,
        grad_b3=grad_b3, grad_b4=grad_b4,
        grad_w11=grad_w11, grad_w21=grad_w21, grad_w12=grad_w12, grad_w22=grad_w22,
        grad_b1=grad_b1, grad_b2=grad_b2,
        new_w31=new_w31, new_w41=new_w41, new_w32=new_w32, new_w42=new_w42,
        new_b3=new_b3, new_b4=new_b4,
        new_w11=new_w11, new_w21=new_w21, new_w12=new_w12, new_w22=new_w22,
        new_b1=new_b1, new_b2=new_b2,
    )  # fmt: skip
