"""check_gradients, check_layer, check_function: any torch expression."""
