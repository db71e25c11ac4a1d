"""Back-propagation by hand: NumPy and plain Python, never PyTorch.

The formulas are written once, here. Whoever needs them runs them on numbers of its own: the bound
on numbers that carry their errors; the catalogue of mistakes, the exercise and the page on symbols
that write down what is done with them. `network.py` has them for any depth. The lecture's exhibits,
`two_layer.py` and `neuron_by_neuron.py`, keep to this:

- The first assignment to a quantity's name is its formula. It stands alone on one line, in
  `two_layer.py` with the shape of its result at the end: `z_h = x @ W_h.T + b_h  # (N, n_hidden)`.
- A formula can be evaluated alone. It uses parameters, data, the learning rate, the functions of
  the activations and of the loss, and quantities that stand above it; no other local names.
- A formula works on every kind of number: floats, arrays, fractions, symbols, numbers that carry
  their rounding errors.
"""
