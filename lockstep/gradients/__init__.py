"""check_gradients: any torch expression."""
