import torch

torch.manual_seed(12)
N, D_in, H, D_out = 16, 10, 8, 4
x = torch.randn(N, D_in, dtype=torch.float64)
y = torch.randn(N, D_out, dtype=torch.float64)
w1 = torch.randn(D_in, H, dtype=torch.float64)
w2 = torch.randn(H, D_out, dtype=torch.float64)

learning_rate = 1e-4
for t in range(500):
    h = x.mm(w1)
    h_relu = h.clamp(min=0)
    y_pred = h_relu.mm(w2)
    loss = (y_pred - y).pow(2).sum().item()
    if t % 100 == 99:
        print(t, loss)

    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.t().mm(grad_y_pred)
    grad_h_relu = grad_y_pred.mm(w2.t())
    grad_h = grad_h_relu.clone()
    grad_h[h < 0] = 0
    grad_w1 = x.t().mm(grad_h)
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2
