"""A two-layer network by hand, on matrices: the lecture's formulas for any widths and any batch.

torch_reference/two_layer.py is this file's mirror: the same functions in the same order.
"""

from manual_backprop.activations import activation
from manual_backprop.losses import divisor, square


def forward(W_h, b_h, W_o, b_o, x, sigma_h, sigma_o):
    """The outputs, and everything on the way there."""
    z_h = x @ W_h.T + b_h  # (N, n_hidden)
    h = sigma_h(z_h)  # (N, n_hidden)
    z_o = h @ W_o.T + b_o  # (N, n_out)
    o = sigma_o(z_o)  # (N, n_out)
    return z_h, h, z_o, o


def loss_of(o, y, m):
    """L, a scalar. m: see `losses.divisor`."""
    loss = square(y - o).sum() / m  # ()
    return loss  # noqa: RET504 (a formula has its name in front)


def backward(W_o, x, y, z_h, h, z_o, o, m, sigma_h_prime, sigma_o_prime):
    """The error terms δ and the gradients, from the output back to the input."""
    delta_o = 2 * (o - y) / m * sigma_o_prime(z_o, o)  # (N, n_out)
    delta_h = (delta_o @ W_o) * sigma_h_prime(z_h, h)  # (N, n_hidden)
    grad_W_o = delta_o.T @ h  # (n_out, n_hidden)
    grad_b_o = delta_o.sum(axis=0)  # (n_out,)
    grad_W_h = delta_h.T @ x  # (n_hidden, n_in)
    grad_b_h = delta_h.sum(axis=0)  # (n_hidden,)
    return delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h


def update(W_h, b_h, W_o, b_o, grad_W_o, grad_b_o, grad_W_h, grad_b_h, lr):
    """One step of gradient descent."""
    new_W_o = W_o - lr * grad_W_o  # (n_out, n_hidden)
    new_b_o = b_o - lr * grad_b_o  # (n_out,)
    new_W_h = W_h - lr * grad_W_h  # (n_hidden, n_in)
    new_b_h = b_h - lr * grad_b_h  # (n_hidden,)
    return new_W_o, new_b_o, new_W_h, new_b_h


def step(W_h, b_h, W_o, b_o, x, y, lr,
         hidden_activation="linear", output_activation="linear", loss="mse", frozen=()):  # fmt: skip
    """One training step.

    W_h (n_hidden, n_in), b_h (n_hidden,), W_o (n_out, n_hidden), b_o (n_out,), x (N, n_in), y (N, n_out), lr a scalar;
    arrays of any kind of number that can be added and multiplied.
    hidden_activation, output_activation: see `activations.activation`. loss: mse, sum or half_sum.
    frozen: names of parameters that keep their value; their gradients are computed all the same.

    Returns a dict by name, in the order of computation: z_h, h, z_o, o, loss, delta_o, delta_h, grad_… and new_…
    of W_o, b_o, W_h, b_h.
    """
    sigma_h, sigma_h_prime = activation(hidden_activation)
    sigma_o, sigma_o_prime = activation(output_activation)
    m = divisor(loss, *y.shape)

    z_h, h, z_o, o = forward(W_h, b_h, W_o, b_o, x, sigma_h, sigma_o)
    loss = loss_of(o, y, m)
    delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h = backward(
        W_o, x, y, z_h, h, z_o, o, m, sigma_h_prime, sigma_o_prime
    )
    new_W_o, new_b_o, new_W_h, new_b_h = update(
        W_h, b_h, W_o, b_o, grad_W_o, grad_b_o, grad_W_h, grad_b_h, lr
    )

    quantities = dict(
        z_h=z_h, h=h, z_o=z_o, o=o, loss=loss, delta_o=delta_o, delta_h=delta_h,
        grad_W_o=grad_W_o, grad_b_o=grad_b_o, grad_W_h=grad_W_h, grad_b_h=grad_b_h,
        new_W_o=new_W_o, new_b_o=new_b_o, new_W_h=new_W_h, new_b_h=new_b_h,
    )  # fmt: skip
    parameters = dict(W_h=W_h, b_h=b_h, W_o=W_o, b_o=b_o)
    quantities |= {f"new_{name}": parameters[name] for name in frozen}
    return quantities
