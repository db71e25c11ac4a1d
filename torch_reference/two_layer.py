"""A two-layer network by PyTorch, on the CPU: every δ and every gradient comes out of autograd.

manual_backprop/two_layer.py is this file's mirror: the same functions in the same order.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Array: TypeAlias = Any  # a NumPy array, which this side never computes with
Network: TypeAlias = Any  # an nn.Sequential, whose layers are known by name only
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]

ACTIVATIONS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
LOSSES: dict[str, Loss] = {
    "mse": nn.MSELoss(),
    "sum": nn.MSELoss(reduction="sum"),
    "half_sum": lambda o, y: nn.MSELoss(reduction="sum")(o, y) / 2,
}


def forward(network: Network, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The outputs, and everything on the way there.

    Args:
        network: Its modules are `hidden`, `hidden_activation`, `output` and `output_activation`.
        x: (N, n_in), the samples.

    Returns:
        z_h and h, (N, n_hidden); z_o and o, (N, n_out).
    """
    z_h = network.hidden(x)  # (N, n_hidden)
    h = network.hidden_activation(z_h)  # (N, n_hidden)
    z_o = network.output(h)  # (N, n_out)
    o = network.output_activation(z_o)  # (N, n_out)
    return z_h, h, z_o, o


def loss_of(o: Tensor, y: Tensor, L: Loss) -> Tensor:
    """L, a scalar.

    Args:
        o: (N, n_out), the outputs.
        y: (N, n_out), the targets.
        L: The loss, a function of both.
    """
    loss = L(o, y)  # ()
    return loss  # noqa: RET504 (a formula has its name in front)


def backward(loss: Tensor, z_h: Tensor, z_o: Tensor, network: Network) -> tuple[Any, ...]:
    """The error terms δ and the gradients: autograd alone.

    Args:
        loss: L, a scalar.
        z_h: (N, n_hidden), from `forward`; its gradient is delta_h.
        z_o: (N, n_out), from `forward`; its gradient is delta_o.
        network: See `forward`.

    Returns:
        delta_o, (N, n_out); delta_h, (N, n_hidden); grad_W_o, grad_b_o, grad_W_h and grad_b_h, each
        in the shape of its parameter.
    """
    z_o.retain_grad()
    z_h.retain_grad()
    loss.backward()
    delta_o = z_o.grad  # (N, n_out)
    delta_h = z_h.grad  # (N, n_hidden)
    grad_W_o = network.output.weight.grad  # (n_out, n_hidden)
    grad_b_o = network.output.bias.grad  # (n_out,)
    grad_W_h = network.hidden.weight.grad  # (n_hidden, n_in)
    grad_b_h = network.hidden.bias.grad  # (n_hidden,)
    return delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h


def update(network: Network, trained: list[nn.Parameter], lr: float) -> tuple[Tensor, ...]:
    """One step of gradient descent: optim.SGD.

    Args:
        network: See `forward`; its parameters have their gradients.
        trained: The parameters that are to be changed.
        lr: The learning rate, the lecture's α.

    Returns:
        new_W_o, new_b_o, new_W_h and new_b_h.
    """
    if trained:  # an optimiser needs a parameter
        optimizer = torch.optim.SGD(trained, lr=0.0)
        optimizer.param_groups[0]["lr"] = lr  # any number: SGD itself refuses a negative one
        optimizer.step()
    new_W_o = network.output.weight.detach()  # (n_out, n_hidden)
    new_b_o = network.output.bias.detach()  # (n_out,)
    new_W_h = network.hidden.weight.detach()  # (n_hidden, n_in)
    new_b_h = network.hidden.bias.detach()  # (n_hidden,)
    return new_W_o, new_b_o, new_W_h, new_b_h


def step(W_h: Array, b_h: Array, W_o: Array, b_o: Array, x: Array, y: Array, lr: float,
         hidden_activation: str = "linear", output_activation: str = "linear",
         loss: str = "mse", frozen: Collection[str] = ()) -> dict[str, Array]:  # fmt: skip
    """One training step.

    Args:
        W_h: (n_hidden, n_in), a NumPy array, float64 or float32, as all of them.
        b_h: (n_hidden,).
        W_o: (n_out, n_hidden).
        b_o: (n_out,).
        x: (N, n_in), the samples.
        y: (N, n_out), the targets.
        lr: The learning rate, the lecture's α.
        hidden_activation: A name of `ACTIVATIONS`.
        output_activation: The same.
        loss: A name of `LOSSES`.
        frozen: Names of parameters that the optimiser does not get. Their gradients are computed.

    Returns:
        NumPy arrays by name, in the order of computation: z_h, h, z_o, o, loss, delta_o, delta_h,
        grad_… and new_… of W_o, b_o, W_h, b_h. The arrays that came in are never changed.

    Raises:
        ValueError: A name in `frozen` is not W_h, b_h, W_o or b_o.

    Examples:
        >>> import numpy as np
        >>> W, b, x, y = np.eye(2), np.zeros(2), np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]])
        >>> quantities = step(W, b, W, b, x, y, lr=0.1, loss="half_sum")
        >>> float(quantities["loss"]), quantities["grad_W_o"].tolist()
        (2.5, [[1.0, 2.0], [2.0, 4.0]])
    """
    given = dict(W_h=W_h, b_h=b_h, W_o=W_o, b_o=b_o)
    if not set(frozen) <= set(given):
        raise ValueError(f"frozen: expected names out of {', '.join(given)}, got {frozen!r}")
    parameters = {  # copies: the optimiser changes them in place
        name: nn.Parameter(torch.tensor(array).contiguous()) for name, array in given.items()
    }
    trained = [parameter for name, parameter in parameters.items() if name not in frozen]
    n_hidden, n_in = W_h.shape
    network: Network = nn.Sequential(
        OrderedDict(
            hidden=nn.Linear(n_in, n_hidden, device="meta"),  # without numbers: they are given
            hidden_activation=ACTIVATIONS[hidden_activation](),
            output=nn.Linear(n_hidden, len(W_o), device="meta"),
            output_activation=ACTIVATIONS[output_activation](),
        )
    )
    network.hidden.weight, network.hidden.bias = parameters["W_h"], parameters["b_h"]
    network.output.weight, network.output.bias = parameters["W_o"], parameters["b_o"]

    z_h, h, z_o, o = forward(network, torch.as_tensor(x))
    L = loss_of(o, torch.as_tensor(y), LOSSES[loss])
    delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h = backward(L, z_h, z_o, network)
    new_W_o, new_b_o, new_W_h, new_b_h = update(network, trained, lr)

    quantities: dict[str, Tensor] = dict(
        z_h=z_h, h=h, z_o=z_o, o=o, loss=L, delta_o=delta_o, delta_h=delta_h,
        grad_W_o=grad_W_o, grad_b_o=grad_b_o, grad_W_h=grad_W_h, grad_b_h=grad_b_h,
        new_W_o=new_W_o, new_b_o=new_b_o, new_W_h=new_W_h, new_b_h=new_b_h,
    )  # fmt: skip
    return {name: value.detach().numpy() for name, value in quantities.items()}
