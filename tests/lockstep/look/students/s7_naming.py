import numpy as np
np.random.seed(2)

def layer_sizes(X, Y):
    return X.shape[1], 5, Y.shape[1]

X = np.random.randn(12, 3); Y = np.random.randn(12, 2)
nx, nh, ny = layer_sizes(X, Y)
params = dict(W1=np.random.randn(nx, nh), b1=np.zeros((1, nh)), W2=np.random.randn(nh, ny), b2=np.zeros((1, ny)))

def train_step(params, X, Y, lr):
    W1, b1, W2, b2 = params["W1"], params["b1"], params["W2"], params["b2"]
    m = X.shape[0]
    Z1 = X.dot(W1) + b1
    A1 = np.tanh(Z1)
    Z2 = A1.dot(W2) + b2
    A2 = Z2
    J = np.mean((A2 - Y) ** 2)
    dZ2 = 2 * (A2 - Y) / (m * ny)
    dW2 = A1.T.dot(dZ2)
    db2 = dZ2.sum(axis=0, keepdims=True)
    dA1 = dZ2.dot(W2.T)
    dZ1 = dA1 * (1 - A1)
    dW1 = X.T.dot(dZ1)
    db1 = dZ1.sum(axis=0, keepdims=True)
    params["W1"] = W1 - lr * dW1
    params["b1"] = b1 - lr * db1
    params["W2"] = W2 - lr * dW2
    params["b2"] = b2 - lr * db2
    return J

for t in range(200):
    J = train_step(params, X, Y, 0.05)
    if t % 50 == 0: print(t, J)
