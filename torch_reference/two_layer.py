"""A two-layer network by PyTorch, on the CPU: every δ and every gradient comes out of autograd.

manual_backprop/two_layer.py is this file's mirror: the same functions in the same order.
"""

from collections import OrderedDict
from functools import lru_cache
from threading import get_ident
from typing import Any

import torch
from torch import nn

_ACTIVATIONS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
_REDUCTIONS = {"mse": "mean", "sum": "sum", "half_sum": "sum"}


@lru_cache(maxsize=4)  # as in any training loop, one network and one optimiser serve many steps
def _network(n_in, n_hidden, n_out, dtype, hidden_activation, output_activation, frozen, thread):
    network: Any = nn.Sequential(  # its parts are known by name only
        OrderedDict(
            hidden=nn.Linear(n_in, n_hidden, dtype=dtype),
            hidden_activation=_ACTIVATIONS[hidden_activation](),
            output=nn.Linear(n_hidden, n_out, dtype=dtype),
            output_activation=_ACTIVATIONS[output_activation](),
        )
    )
    parameters = dict(
        W_h=network.hidden.weight,
        b_h=network.hidden.bias,
        W_o=network.output.weight,
        b_o=network.output.bias,
    )
    trained = [parameter for name, parameter in parameters.items() if name not in frozen]
    optimizer = torch.optim.SGD(trained, lr=0.0) if trained else None
    return network, parameters, optimizer


def forward(network, x):
    """The outputs, and everything on the way there."""
    z_h = network.hidden(x)  # (N, n_hidden)
    h = network.hidden_activation(z_h)  # (N, n_hidden)
    z_o = network.output(h)  # (N, n_out)
    o = network.output_activation(z_o)  # (N, n_out)
    return z_h, h, z_o, o


def loss_of(o, y, which):
    """L, a scalar. which: mse, sum or half_sum."""
    loss = nn.MSELoss(reduction=_REDUCTIONS[which])(o, y)  # ()
    return loss / 2 if which == "half_sum" else loss


def backward(loss, z_h, z_o, network):
    """The error terms δ and the gradients: autograd alone."""
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


def update(network, optimizer, lr):
    """One step of gradient descent: optim.SGD."""
    if optimizer is not None:  # None: every parameter is frozen
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    new_W_o = network.output.weight.detach().clone()  # (n_out, n_hidden)
    new_b_o = network.output.bias.detach().clone()  # (n_out,)
    new_W_h = network.hidden.weight.detach().clone()  # (n_hidden, n_in)
    new_b_h = network.hidden.bias.detach().clone()  # (n_hidden,)
    return new_W_o, new_b_o, new_W_h, new_b_h


def step(W_h, b_h, W_o, b_o, x, y, lr,
         hidden_activation="linear", output_activation="linear", loss="mse", frozen=()):  # fmt: skip
    """One training step.

    W_h (n_hidden, n_in), b_h (n_hidden,), W_o (n_out, n_hidden), b_o (n_out,), x (N, n_in), y (N, n_out):
    NumPy arrays of one dtype, float64 or float32, none of which is changed; lr a float.
    hidden_activation, output_activation: linear, sigmoid, tanh or relu. loss: mse, sum or half_sum.
    frozen: names of parameters that the optimiser does not get; their gradients are computed all the same.

    Returns a dict of NumPy arrays by name, in the order of computation: z_h, h, z_o, o, loss, delta_o, delta_h,
    grad_… and new_… of W_o, b_o, W_h, b_h.
    """
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    given = dict(W_h=W_h, b_h=b_h, W_o=W_o, b_o=b_o)
    sizes = W_h.shape[1], W_h.shape[0], W_o.shape[0]
    settings = x.dtype, hidden_activation, output_activation, tuple(frozen)
    network, parameters, optimizer = _network(
        *sizes, *settings, thread=get_ident()
    )  # its own in each thread
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.as_tensor(given[name]))
            parameter.grad = None

    z_h, h, z_o, o = forward(network, x)
    loss = loss_of(o, y, loss)
    delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h = backward(loss, z_h, z_o, network)
    new_W_o, new_b_o, new_W_h, new_b_h = update(network, optimizer, lr)

    quantities = dict(
        z_h=z_h, h=h, z_o=z_o, o=o, loss=loss, delta_o=delta_o, delta_h=delta_h,
        grad_W_o=grad_W_o, grad_b_o=grad_b_o, grad_W_h=grad_W_h, grad_b_h=grad_b_h,
        new_W_o=new_W_o, new_b_o=new_b_o, new_W_h=new_W_h, new_b_h=new_b_h,
    )  # fmt: skip
    return {name: value.detach().numpy() for name, value in quantities.items()}
