"""The lecture's 2-2-2 network, neuron by neuron: every formula on a line of its own, in the lecture's order.

The subscripts say source, then target: w21 goes from x2 to h1; w31 and w41 go from h1 and h2 to o1.
"""

from manual_backprop.activations import activation
from manual_backprop.losses import square


def step(w11, w21, w12, w22, b1, b2, w31, w41, w32, w42, b3, b4, x1, x2, y1, y2, lr,
         hidden_activation="linear", output_activation="linear", loss="mse", frozen=()):  # fmt: skip
    """One training step on one sample; every argument but the last four is a scalar.

    The numbers may be of any kind that can be added and multiplied: floats, fractions, symbols.
    hidden_activation, output_activation: see `activations.activation`. loss: mse, sum or half_sum.
    frozen: parameters that are not trained, by their matrix names (W_h, b_h, W_o, b_o).

    Returns a dict of scalars by name: z_h1 … o2, loss, delta_o1 … delta_h2, grad_w11 … grad_b4, new_w11 … new_b4.
    """
    sigma_h, sigma_h_prime = activation(hidden_activation)
    sigma_o, sigma_o_prime = activation(output_activation)
    c = (
        2 if loss == "sum" else 1
    )  # 1 is the lecture's ½ Σ, which for two outputs is nn.MSELoss() as well

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
        grad_w31=grad_w31, grad_w41=grad_w41, grad_w32=grad_w32, grad_w42=grad_w42, grad_b3=grad_b3, grad_b4=grad_b4,
        grad_w11=grad_w11, grad_w21=grad_w21, grad_w12=grad_w12, grad_w22=grad_w22, grad_b1=grad_b1, grad_b2=grad_b2,
        new_w31=new_w31, new_w41=new_w41, new_w32=new_w32, new_w42=new_w42, new_b3=new_b3, new_b4=new_b4,
        new_w11=new_w11, new_w21=new_w21, new_w12=new_w12, new_w22=new_w22, new_b1=new_b1, new_b2=new_b2,
    )  # fmt: skip
