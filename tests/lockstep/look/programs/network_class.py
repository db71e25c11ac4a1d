import numpy as np


class Classifier:
    """A network with one hidden layer for two classes."""

    def __init__(self, inputs, hidden, rate):
        random = np.random.RandomState(1)
        self.weights_in = random.uniform(-0.5, 0.5, (hidden, inputs))
        self.bias_in = random.uniform(-0.5, 0.5, hidden)
        self.weights_out = random.uniform(-0.5, 0.5, (1, hidden))
        self.bias_out = random.uniform(-0.5, 0.5, 1)
        self.rate = rate

    @staticmethod
    def logistic(t):
        return 1.0 / (1.0 + np.exp(-t))

    def predict(self, inputs):
        self.hidden = np.maximum(0, inputs @ self.weights_in.T + self.bias_in)
        return self.logistic(self.hidden @ self.weights_out.T + self.bias_out)

    def learn(self, inputs, answers):
        guess = self.predict(inputs)
        self.loss = -np.mean(answers * np.log(guess) + (1 - answers) * np.log(1 - guess))
        delta_out = (guess - answers) / len(inputs)
        delta_in = delta_out @ self.weights_out
        delta_in[self.hidden <= 0] = 0
        self.weights_out -= self.rate * (delta_out.T @ self.hidden)
        self.bias_out -= self.rate * delta_out.sum(0)
        self.weights_in -= self.rate * (delta_in.T @ inputs)
        self.bias_in -= self.rate * delta_in.sum(0)


points = np.random.RandomState(2).randn(30, 2)
answers = (points[:, :1] * points[:, 1:] > 0).astype(float)
classifier = Classifier(2, 5, 0.3)
for _ in range(2000):
    classifier.learn(points, answers)
print(classifier.loss)
