def would_show(problem, steps):
    """Options with which the same network would show more, as text; "" where nothing is left to ask for."""
    options = []
    if problem.batch_samples == 1:
        options.append("--samples 5")
    if "linear" in (problem.hidden_activation, problem.output_activation):
        options.append("--hidden-activation sigmoid --output-activation tanh")
    if steps < 2:
        options.append("--steps 2")
    if len(set(problem.sizes)) > 1:
        options.append("a square network such as --sizes 3-3-3")
    return ", ".join(options)
