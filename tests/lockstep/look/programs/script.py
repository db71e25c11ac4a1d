import numpy as np

rng = np.random.default_rng(7)
X = rng.normal(size=(20, 3))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)

w1 = rng.normal(size=(3, 6)) * 0.5
b1 = np.zeros(6)
w2 = rng.normal(size=(6, 2)) * 0.5
b2 = np.zeros(2)
learning_rate = 0.05

for epoch in range(5000):
    hidden_in = X @ w1 + b1
    hidden = np.tanh(hidden_in)
    prediction = hidden @ w2 + b2

    error = prediction - Y
    cost = np.mean(error**2)

    g_out = 2 * error / error.size
    g_w2 = hidden.T @ g_out
    g_b2 = g_out.sum(axis=0)
    g_hidden = (g_out @ w2.T) * (1 - hidden**2)
    g_w1 = X.T @ g_hidden
    g_b1 = g_hidden.sum(axis=0)

    w1 -= learning_rate * g_w1
    b1 -= learning_rate * g_b1
    w2 -= learning_rate * g_w2
    b2 -= learning_rate * g_b2
    if epoch % 500 == 0:
        print(epoch, cost)
