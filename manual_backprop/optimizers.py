"""The optimisers: from a parameter, its gradient and its memory to the new ones.

p is a parameter, g its gradient ∂L/∂p; everything has p's shape. The formulas are those of
PyTorch's documentation of `torch.optim`, with its names for the settings and its defaults. They
come from Sutskever et al. 2013 (momentum), Kingma and Ba 2015 (Adam), Loshchilov and Hutter 2019
(AdamW), Hinton's lecture 6e of 2012 (RMSprop) and Duchi et al. 2011 (Adagrad).
`d` is what the step goes down along: the gradient, with the decay of the weights where it is
coupled.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from manual_backprop.number import Number

Optimizer: TypeAlias = Callable[..., dict[str, Number]]


def sgd(p: Number, g: Number, lr: Number, velocity: Number = 0, momentum: Number = 0.0,
        dampening: Number = 0.0, nesterov: bool = False,
        weight_decay: Number = 0.0) -> dict[str, Number]:  # fmt: skip
    """Gradient descent, with momentum where it is not 0. The first step is not dampened."""
    d = g + weight_decay * p if weight_decay else g
    new_velocity = momentum * velocity + (1 - dampening) * d if momentum else d
    new = p - lr * (d + momentum * new_velocity) if nesterov else p - lr * new_velocity
    return dict(new_velocity=new_velocity, new=new) if momentum else dict(new=new)


def adam(p: Number, g: Number, lr: Number, step: int, mean: Number = 0, square: Number = 0,
         beta1: Number = 0.9, beta2: Number = 0.999, eps: Number = 1e-8,
         weight_decay: Number = 0.0) -> dict[str, Number]:  # fmt: skip
    """Adam: the mean of the gradients over the root of the mean of their squares."""
    d = g + weight_decay * p if weight_decay else g
    new_mean = beta1 * mean + (1 - beta1) * d
    new_square = beta2 * square + (1 - beta2) * (d * d)
    new = p - lr * (new_mean / (1 - beta1**step)) / (np.sqrt(new_square / (1 - beta2**step)) + eps)
    return dict(new_mean=new_mean, new_square=new_square, new=new)


def adamw(p: Number, g: Number, lr: Number, step: int, mean: Number = 0, square: Number = 0,
          beta1: Number = 0.9, beta2: Number = 0.999, eps: Number = 1e-8,
          weight_decay: Number = 0.01) -> dict[str, Number]:  # fmt: skip
    """Adam with a decay of the weights of its own, decoupled from the gradient."""
    q = p - lr * weight_decay * p if weight_decay else p
    new_mean = beta1 * mean + (1 - beta1) * g
    new_square = beta2 * square + (1 - beta2) * (g * g)
    new = q - lr * (new_mean / (1 - beta1**step)) / (np.sqrt(new_square / (1 - beta2**step)) + eps)
    return dict(new_mean=new_mean, new_square=new_square, new=new)


def rmsprop(p: Number, g: Number, lr: Number, square: Number = 0, alpha: Number = 0.99,
            eps: Number = 1e-8, weight_decay: Number = 0.0) -> dict[str, Number]:  # fmt: skip
    """RMSprop: the gradient over the root of the mean of its squares."""
    d = g + weight_decay * p if weight_decay else g
    new_square = alpha * square + (1 - alpha) * (d * d)
    new = p - lr * d / (np.sqrt(new_square) + eps)
    return dict(new_square=new_square, new=new)


def adagrad(p: Number, g: Number, lr: Number, square: Number = 0, eps: Number = 1e-10,
            weight_decay: Number = 0.0) -> dict[str, Number]:  # fmt: skip
    """Adagrad: the gradient over the root of the sum of its squares."""
    d = g + weight_decay * p if weight_decay else g
    new_square = square + d * d
    new = p - lr * d / (np.sqrt(new_square) + eps)
    return dict(new_square=new_square, new=new)


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
}
