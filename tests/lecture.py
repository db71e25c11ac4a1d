"""The names of the lecture's network with two layers, for tests."""

from dataclasses import replace

from lockstep.network.network import Network

LECTURE = Network((2, 2, 2), ("linear", "linear"), biases=(True, True))
LOSSES = ("mse", "sum", "half_sum")
ACTIVATIONS = ("linear", "sigmoid", "tanh", "relu")
PARAMETERS = LECTURE.parameters
COMPUTED = LECTURE.computed
BACKWARD = LECTURE.backward


def shape_of(name, sizes, samples):
    return replace(LECTURE, sizes=sizes).shape(name, samples)


def scalar_names(name, sizes, samples):
    return replace(LECTURE, sizes=sizes).scalar_names(name, samples)
