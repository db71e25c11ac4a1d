# with PyTorch's tensors, and no autograd
import torch


def step(x, y, W1, b1, W2, b2, lr):
    x, y, W1, b1, W2, b2 = (torch.from_numpy(it) for it in (x, y, W1, b1, W2, b2))
    a1 = torch.sigmoid(x @ W1.T + b1)
    a2 = torch.sigmoid(a1 @ W2.T + b2)
    delta2 = (a2 - y) * a2 * (1 - a2)
    delta1 = (delta2 @ W2) * a1 * (1 - a1)
    gradients = {
        "W2": delta2.T @ a1,
        "b2": delta2.sum(0),
        "W1": delta1.T @ x,
        "b1": delta1.sum(0),
    }
    old = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    found = {f"grad_{name}": it for name, it in gradients.items()}
    return found | {f"new_{name}": old[name] - lr * it for name, it in gradients.items()}
