import numpy as np

class NeuralNetwork:
    def __init__(self, n_in, n_hidden, n_out):
        np.random.seed(42)
        self.W1 = np.random.randn(n_in, n_hidden)
        self.b1 = np.zeros((1, n_hidden))
        self.W2 = np.random.randn(n_hidden, n_out)
        self.b2 = np.zeros((1, n_out))

    def sigmoid(self, x):
        return 1 / (1 + np.exp(-x))

    def sigmoid_derivative(self, x):
        return x * (1 - x)

    def forward(self, X):
        self.z1 = np.dot(X, self.W1) + self.b1
        self.a1 = self.sigmoid(self.z1)
        self.z2 = np.dot(self.a1, self.W2) + self.b2
        self.a2 = self.sigmoid(self.z2)
        return self.a2

    def backward(self, X, y):
        m = X.shape[0]
        error = self.a2 - y
        d2 = error * self.sigmoid_derivative(self.a2)
        self.dW2 = np.dot(self.a1.T, d2) / m
        self.db2 = np.sum(d2, axis=0, keepdims=True) / m
        d1 = np.dot(d2, self.W2.T) * self.sigmoid_derivative(self.z1)
        self.dW1 = np.dot(X.T, d1) / m
        self.db1 = np.sum(d1, axis=0, keepdims=True) / m

    def update(self, lr):
        self.W1 -= lr * self.dW1
        self.b1 -= lr * self.db1
        self.W2 -= lr * self.dW2
        self.b2 -= lr * self.db2

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([[0], [1], [1], [0]])

nn = NeuralNetwork(2, 4, 1)
for epoch in range(10000):
    out = nn.forward(X)
    nn.backward(X, y)
    nn.update(0.5)
    if epoch % 1000 == 0:
        print("Epoch", epoch, "Loss", np.mean((y - out) ** 2))

print(nn.forward(X))
