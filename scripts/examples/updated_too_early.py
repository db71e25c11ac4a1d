def step(W_h, b_h, W_o, b_o, x, y, lr):
    """The output weights are updated too early: δ_h then uses the new ones."""
    h = x @ W_h.T + b_h
    o = h @ W_o.T + b_o
    delta_o = 2 * (o - y) / o.size
    W_o = W_o - lr * delta_o.T @ h
    delta_h = delta_o @ W_o
    return dict(delta_o=delta_o, delta_h=delta_h, grad_W_h=delta_h.T @ x, new_W_o=W_o)
