import numpy as np

def sigmoid(z): return 1 / (1 + np.exp(-z))
def d_sigmoid(a): return a * (1 - a)

np.random.seed(0)
sizes = [4, 5, 5, 2]
W = [np.random.randn(sizes[i + 1], sizes[i]) for i in range(3)]
b = [np.random.randn(sizes[i + 1]) for i in range(3)]

def backprop(x, y):
    # forward
    a = [x]
    for w_, b_ in zip(W, b):
        a.append(sigmoid(a[-1] @ w_.T + b_))
    # backward
    delta = (a[-1] - y) * d_sigmoid(a[-1]) / len(x)
    gW, gb = [None] * 3, [None] * 3
    for l in (2, 1, 0):
        gW[l] = delta.T @ a[l]
        gb[l] = delta.sum(axis=0)
        if l > 0:
            delta = (delta @ W[l]) * d_sigmoid(a[l + 1] if l == 1 else a[l])
    return gW, gb, 0.5 * np.sum((a[-1] - y) ** 2) / len(x)

x = np.random.randn(10, 4)
y = np.random.rand(10, 2)
for step in range(1000):
    gW, gb, loss = backprop(x, y)
    for l in range(3):
        W[l] -= 0.5 * gW[l]
        b[l] -= 0.5 * gb[l]
    if step % 200 == 0:
        print(step, loss)
