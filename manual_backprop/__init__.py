"""Back-propagation by hand: NumPy and plain Python, never PyTorch."""
