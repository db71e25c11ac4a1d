"""The same by PyTorch: nn.Linear, nn.MSELoss, optim.SGD and autograd, never a formula."""
