import numpy as np


def g(a):
    return 1 / (1 + np.exp(-a))


rng = np.random.default_rng(11)
data = rng.normal(size=(18, 3))
target = (np.sum(data**2, axis=1, keepdims=True) < 2) * 1.0
ones = np.ones((len(data), 1))
theta1 = rng.normal(size=(4, 5)) * 0.7  # the first row are the biases
theta2 = rng.normal(size=(6, 1)) * 0.7
alpha = 0.6
n = len(data)

for iteration in range(1500):
    a1 = np.hstack([ones, data])
    z2 = a1 @ theta1
    a2 = np.hstack([ones, g(z2)])
    h = g(a2 @ theta2)
    J = (-target * np.log(h) - (1 - target) * np.log(1 - h)).sum() / n

    d3 = h - target
    d2 = (d3 @ theta2.T)[:, 1:] * a2[:, 1:] * (1 - a2[:, 1:])
    grad2 = a2.T @ d3 / n
    grad1 = a1.T @ d2 / n
    theta1 = theta1 - alpha * grad1
    theta2 = theta2 - alpha * grad2
print(J)
