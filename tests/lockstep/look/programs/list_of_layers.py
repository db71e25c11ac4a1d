import numpy as np


class Dense:
    def __init__(self, n_in, n_out, rng):
        self.w = rng.normal(0, n_in**-0.5, (n_in, n_out))
        self.b = np.zeros(n_out)
        self.vw = np.zeros_like(self.w)
        self.vb = np.zeros_like(self.b)

    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, dout):
        self.dw = self.x.T @ dout
        self.db = dout.sum(axis=0)
        return dout @ self.w.T

    def update(self, lr, mu):
        self.vw = mu * self.vw + self.dw
        self.vb = mu * self.vb + self.db
        self.w = self.w - lr * self.vw
        self.b = self.b - lr * self.vb


class ReLU:
    def forward(self, x):
        self.on = x > 0
        return x * self.on

    def backward(self, dout):
        return dout * self.on


class SoftmaxLoss:
    def forward(self, scores, labels):
        scores = scores - scores.max(axis=1, keepdims=True)
        self.p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        self.labels = labels
        return -np.log(self.p[np.arange(len(labels)), labels]).mean()

    def backward(self):
        d = self.p.copy()
        d[np.arange(len(self.labels)), self.labels] -= 1
        return d / len(self.labels)


rng = np.random.default_rng(8)
x = rng.normal(size=(50, 5))
labels = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)
layers = [Dense(5, 9, rng), ReLU(), Dense(9, 6, rng), ReLU(), Dense(6, 3, rng)]
criterion = SoftmaxLoss()
for epoch in range(400):
    out = x
    for layer in layers:
        out = layer.forward(out)
    loss = criterion.forward(out, labels)
    d = criterion.backward()
    for layer in reversed(layers):
        d = layer.backward(d)
    for layer in layers:
        if isinstance(layer, Dense):
            layer.update(0.1, 0.9)
    if epoch % 100 == 0:
        print(epoch, loss)
