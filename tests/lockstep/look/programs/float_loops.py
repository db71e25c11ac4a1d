import math
import random

random.seed(9)
N_IN, N_HIDDEN, N_OUT = 2, 3, 2
RATE = 0.4
hidden_weights = [[random.uniform(-1, 1) for _ in range(N_IN)] for _ in range(N_HIDDEN)]
hidden_bias = [random.uniform(-1, 1) for _ in range(N_HIDDEN)]
output_weights = [[random.uniform(-1, 1) for _ in range(N_HIDDEN)] for _ in range(N_OUT)]
output_bias = [random.uniform(-1, 1) for _ in range(N_OUT)]


def squash(total):
    return math.tanh(total)


def learn(inputs, wanted):
    hidden = []
    for weights, bias in zip(hidden_weights, hidden_bias):
        total = bias
        for weight, value in zip(weights, inputs):
            total += weight * value
        hidden.append(squash(total))
    outputs = []
    for weights, bias in zip(output_weights, output_bias):
        total = bias
        for weight, value in zip(weights, hidden):
            total += weight * value
        outputs.append(squash(total))

    output_deltas = []
    for got, want in zip(outputs, wanted):
        output_deltas.append((got - want) * (1 - got * got))
    hidden_deltas = []
    for j in range(N_HIDDEN):
        error = 0.0
        for k in range(N_OUT):
            error += output_deltas[k] * output_weights[k][j]
        hidden_deltas.append(error * (1 - hidden[j] * hidden[j]))

    for k in range(N_OUT):
        for j in range(N_HIDDEN):
            output_weights[k][j] -= RATE * output_deltas[k] * hidden[j]
        output_bias[k] -= RATE * output_deltas[k]
    for j in range(N_HIDDEN):
        for i in range(N_IN):
            hidden_weights[j][i] -= RATE * hidden_deltas[j] * inputs[i]
        hidden_bias[j] -= RATE * hidden_deltas[j]
    return sum((want - got) ** 2 for got, want in zip(outputs, wanted)) / 2


examples = [((0.1, 0.9), (0.8, -0.2)), ((0.7, 0.3), (-0.5, 0.6)), ((-0.4, 0.2), (0.1, 0.1))]
while True:
    total = sum(learn(inputs, wanted) for inputs, wanted in examples)
    if total < 1e-4:
        break
print(total)
