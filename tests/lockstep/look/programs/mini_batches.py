import numpy as np

rng = np.random.default_rng(13)
inputs = rng.normal(size=(120, 6))
labels = np.argmax(inputs @ rng.normal(size=(6, 4)), axis=1)
params = {
    "W1": rng.normal(0, 0.4, (6, 10)),
    "b1": np.zeros(10),
    "W2": rng.normal(0, 0.4, (10, 4)),
    "b2": np.zeros(4),
}
m = {name: np.zeros_like(p) for name, p in params.items()}
v = {name: np.zeros_like(p) for name, p in params.items()}
lr, beta1, beta2, eps = 0.01, 0.9, 0.999, 1e-8


def gradients(X, Y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.tanh(z1)
    scores = a1 @ params["W2"] + params["b2"]
    exp = np.exp(scores - scores.max(1, keepdims=True))
    probs = exp / exp.sum(1, keepdims=True)
    loss = -np.log(probs[range(len(X)), Y]).mean()
    dscores = probs
    dscores[range(len(X)), Y] -= 1
    dscores /= len(X)
    grads = {"W2": a1.T @ dscores, "b2": dscores.sum(0)}
    dz1 = (dscores @ params["W2"].T) * (1 - a1**2)
    grads["W1"], grads["b1"] = X.T @ dz1, dz1.sum(0)
    return loss, grads


t = 0
for epoch in range(20):
    order = rng.permutation(len(inputs))
    for start in range(0, len(inputs), 16):
        rows = order[start : start + 16]
        X_batch, y_batch = inputs[rows], labels[rows]
        loss, grads = gradients(X_batch, y_batch)
        t += 1
        for k in params:
            m[k] = beta1 * m[k] + (1 - beta1) * grads[k]
            v[k] = beta2 * v[k] + (1 - beta2) * grads[k] ** 2
            m_hat = m[k] / (1 - beta1**t)
            v_hat = v[k] / (1 - beta2**t)
            params[k] = params[k] - lr * m_hat / (np.sqrt(v_hat) + eps)
    print(epoch, loss)
