"""A network whose state lives in closures."""

import numpy as np


def make_network(sizes, seed):
    rng = np.random.default_rng(seed)
    U = rng.normal(0, 0.6, (sizes[1], sizes[0]))
    c = rng.normal(0, 0.1, sizes[1])
    V = rng.normal(0, 0.6, (sizes[2], sizes[1]))
    d = rng.normal(0, 0.1, sizes[2])

    def softmax(scores):
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def forward(batch):
        state = np.tanh(batch @ U.T + c)
        return state, softmax(state @ V.T + d)

    def train(batch, one_hot, rate):
        nonlocal U, c, V, d
        state, probabilities = forward(batch)
        loss = -np.sum(one_hot * np.log(probabilities)) / len(batch)
        dscores = (probabilities - one_hot) / len(batch)
        dstate = dscores @ V * (1 - state * state)
        dV, dd = dscores.T @ state, dscores.sum(axis=0)
        dU, dc = dstate.T @ batch, dstate.sum(axis=0)
        U, c = U - rate * dU, c - rate * dc
        V, d = V - rate * dV, d - rate * dd
        return loss

    return train


train = make_network((4, 7, 3), seed=3)
data = np.random.default_rng(4).normal(size=(24, 4))
classes = np.argmax(data[:, :3], axis=1)
targets = np.eye(3)[classes]
for i in range(3000):
    loss = train(data, targets, 0.2)
    if i % 1000 == 0:
        print(f"{i}: {loss:.4f}")
