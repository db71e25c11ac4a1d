import random

import numpy as np


class Network:
    """Stochastic gradient descent on mini-batches, one sample at a time."""

    def __init__(self, sizes):
        np.random.seed(14)
        self.sizes = sizes
        self.biases = [np.random.randn(n, 1) for n in sizes[1:]]
        self.weights = [np.random.randn(n, k) for k, n in zip(sizes[:-1], sizes[1:])]

    def train(self, examples, epochs, size, eta):
        for epoch in range(epochs):
            random.shuffle(examples)
            for k in range(0, len(examples), size):
                self.update(examples[k : k + size], eta)
            print("epoch", epoch, "complete")

    def update(self, batch, eta):
        sum_b = [np.zeros(b.shape) for b in self.biases]
        sum_w = [np.zeros(w.shape) for w in self.weights]
        for x, y in batch:
            one_b, one_w = self.backprop(x, y)
            sum_b = [total + one for total, one in zip(sum_b, one_b)]
            sum_w = [total + one for total, one in zip(sum_w, one_w)]
        self.weights = [w - (eta / len(batch)) * s for w, s in zip(self.weights, sum_w)]
        self.biases = [b - (eta / len(batch)) * s for b, s in zip(self.biases, sum_b)]

    def backprop(self, x, y):
        grad_b = [np.zeros(b.shape) for b in self.biases]
        grad_w = [np.zeros(w.shape) for w in self.weights]
        activation = x
        activations, zs = [x], []
        for b, w in zip(self.biases, self.weights):
            z = np.dot(w, activation) + b
            zs.append(z)
            activation = sigmoid(z)
            activations.append(activation)
        delta = (activations[-1] - y) * sigmoid_prime(zs[-1])
        grad_b[-1] = delta
        grad_w[-1] = np.dot(delta, activations[-2].T)
        for l in range(2, len(self.sizes)):
            delta = np.dot(self.weights[-l + 1].T, delta) * sigmoid_prime(zs[-l])
            grad_b[-l] = delta
            grad_w[-l] = np.dot(delta, activations[-l - 1].T)
        return grad_b, grad_w


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


random.seed(15)
source = np.random.RandomState(16)
points = [source.randn(3, 1) for _ in range(60)]
examples = [(p, np.array([[float(p[0, 0] > 0)], [float(p.sum() > 0)]])) for p in points]
Network([3, 5, 2]).train(examples, 30, 6, 3.0)
