# layers as objects
import numpy as np


class Layer:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, a):
        self.a = a
        self.out = 1 / (1 + np.exp(-(a @ self.W.T + self.b)))
        return self.out

    def backward(self, error):
        self.delta = error * self.out * (1 - self.out)
        self.dW = self.delta.T @ self.a
        self.db = self.delta.sum(axis=0)
        return self.delta @ self.W


def step(x, y, W_h, b_h, W_o, b_o, lr):
    hidden, output = Layer(W_h, b_h), Layer(W_o, b_o)
    error = output.forward(hidden.forward(x)) - y
    hidden.backward(output.backward(error))
    found = {}
    for name, layer in (("h", hidden), ("o", output)):
        found[f"delta_{name}"] = layer.delta
        found[f"grad_W_{name}"], found[f"grad_b_{name}"] = layer.dW, layer.db
        found[f"new_W_{name}"] = layer.W - lr * layer.dW
        found[f"new_b_{name}"] = layer.b - lr * layer.db
    return found
