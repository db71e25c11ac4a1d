import numpy as np


def initialise(layer_dims):
    np.random.seed(5)
    parameters = {}
    for l in range(1, len(layer_dims)):
        parameters["W" + str(l)] = np.random.randn(layer_dims[l], layer_dims[l - 1]) * 0.4
        parameters["b" + str(l)] = np.zeros((layer_dims[l], 1))
    return parameters


def forward(X, parameters):
    L = len(parameters) // 2
    caches, A = [], X
    for l in range(1, L + 1):
        A_prev = A
        Z = np.dot(parameters["W" + str(l)], A_prev) + parameters["b" + str(l)]
        A = 1 / (1 + np.exp(-Z)) if l == L else np.maximum(0, Z)
        caches.append((A_prev, Z))
    return A, caches


def backward(AL, Y, caches, parameters):
    m = Y.shape[1]
    L = len(caches)
    grads = {}
    dZ = AL - Y
    for l in range(L, 0, -1):
        A_prev, _ = caches[l - 1]
        grads["dW" + str(l)] = np.dot(dZ, A_prev.T) / m
        grads["db" + str(l)] = np.sum(dZ, axis=1, keepdims=True) / m
        if l > 1:
            dA = np.dot(parameters["W" + str(l)].T, dZ)
            dZ = dA * (caches[l - 2][1] > 0)
    return grads


def update(parameters, grads, learning_rate):
    for name in parameters:
        parameters[name] = parameters[name] - learning_rate * grads["d" + name]
    return parameters


X = np.random.RandomState(6).randn(3, 40)
Y = (X[:1] + X[1:2] > 0).astype(float)
parameters = initialise([3, 6, 5, 1])
for i in range(2500):
    AL, caches = forward(X, parameters)
    cost = -np.mean(Y * np.log(AL) + (1 - Y) * np.log(1 - AL))
    parameters = update(parameters, backward(AL, Y, caches, parameters), 0.1)
    if i % 500 == 0:
        print("cost", cost)
