"""What is trained: how many layers, of what size and kind; and the names of its quantities.

Layers count from 1 to L. A quantity is one of a family, such as delta, of one layer. Numbered names
(`delta1`) serve any depth; with two layers the lecture's are shown (`delta_h`), and both are
understood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from lockstep.network.names import Index, Quantities, Sizes, element

Meant: TypeAlias = "tuple[str, int | None]"  # a quantity, and which element of it a scalar is

KINKED = ("relu", "leaky_relu")
# what an optimiser keeps of each parameter, and where PyTorch has it
KEPT = {
    "velocity": ("momentum_buffer",),
    "mean": ("exp_avg",),
    "square": ("exp_avg_sq", "square_avg", "sum"),
}
_LECTURES = {"z": "z_", "a": "", "delta": "delta_", "W": "W_", "b": "b_", "mask": "mask_"}
_LAYERS = {1: "h", 2: "o"}
_WORDS = {1: "hidden", 2: "output"}
# by family, what a layer's quantity may be called besides; {} is the layer
_SYNONYMS = {
    "W": ("w{}", "weights{}", "theta{}"),
    "b": ("bias{}",),
    "z": ("Z{}", "net{}"),
    "a": ("A{}", "h{}", "out{}"),
    "delta": ("dZ{}", "dz{}", "d_z{}", "delta_{}"),
    "grad_a": ("dA{}", "da{}"),
    "grad_W": ("dW{}", "gW{}", "d_W{}"),
    "grad_b": ("db{}", "gb{}", "d_b{}"),
    "velocity_W": ("vW{}", "v_dW{}"),
    "velocity_b": ("vb{}", "v_db{}"),
    "mean_W": ("mW{}", "m_dW{}"),
    "mean_b": ("mb{}", "m_db{}"),
    "square_W": ("sW{}", "s_dW{}"),
    "square_b": ("sb{}", "s_db{}"),
}
_OTHERS = {
    "x": ("X",),
    "y": ("Y", "targets"),
    "loss": ("cost", "J", "L"),
    "lr": ("alpha", "eta", "learning_rate"),
    "step": ("t",),
}


@dataclass(frozen=True)
class Quantity:
    """One named array of a step.

    Attributes:
        name: What reports call it.
        family: What it is of its layer: z, a, delta, grad_a, W, b, velocity_W, mask …, grad_W,
            new_W, new_velocity_W …; or x, y, loss.
        layer: Its layer; 0 where it has none.
        numbered: Its name in the numbered vocabulary.
    """

    name: str
    family: str
    layer: int
    numbered: str


@dataclass(frozen=True)
class Network:
    """A network and how it is trained: all that names, shapes and formulas depend on.

    Attributes:
        sizes: (n_0, …, n_L), the widths from the inputs to the outputs.
        activations: Of each layer, a name of `ACTIVATIONS`; softmax for a cross-entropy's last.
        loss: A name of `LOSSES`.
        optimizer: A name of `OPTIMIZERS`.
        settings: The optimiser's, as pairs of name and value.
        l1: λ of λ Σ |W|.
        l2: λ of λ/2 Σ W².
        biases: Of each layer, whether it has biases.
        masks: Of each layer, whether dropout's mask is given.
        labels: Whether the targets are whole numbers, (N,).
        frozen: The parameters that are not trained.
    """

    sizes: Sizes
    activations: tuple[str, ...]
    loss: str = "mse"
    optimizer: str = "sgd"
    settings: tuple[tuple[str, float], ...] = ()
    l1: float = 0.0
    l2: float = 0.0
    biases: tuple[bool, ...] = ()
    masks: tuple[bool, ...] = ()
    labels: bool = False
    frozen: tuple[str, ...] = ()

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, it.name) for it in fields(self)))

    def __hash__(self) -> int:
        return self._hash  # what is looked up by a network is looked up dozens of times a step

    def __getstate__(self) -> dict[str, Any]:
        """Its fields alone: names have another hash in another process."""
        return {it.name: getattr(self, it.name) for it in fields(self)}

    @property
    def depth(self) -> int:
        """L, the number of layers."""
        return len(self.sizes) - 1

    @property
    def layers(self) -> range:
        """1 … L."""
        return range(1, self.depth + 1)

    @property
    def kinked(self) -> list[int]:
        """The layers whose σ has a kink at 0."""
        return [l for l in self.layers if self.activations[l - 1].partition(":")[0] in KINKED]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """W1, b1 … WL, bL; a layer without biases has no b."""
        return tuple(
            self.name(f"{kind}{l}")
            for l in self.layers
            for kind in "Wb"
            if kind == "W" or not self.biases or self.biases[l - 1]
        )

    @cached_property
    def keeps(self) -> tuple[str, ...]:
        """What the optimiser keeps of each parameter."""
        if self.optimizer == "sgd":
            return ("velocity",) if dict(self.settings).get("momentum") else ()
        return ("mean", "square") if self.optimizer in ("adam", "adamw") else ("square",)

    @cached_property
    def memory(self) -> tuple[str, ...]:
        """velocity_W1 …, what the optimiser keeps from step to step."""
        return tuple(f"{kept}_{name}" for name in self.parameters for kept in self.keeps)

    @cached_property
    def masked(self) -> tuple[str, ...]:
        """mask1 …, those that are given."""
        return tuple(self.name(f"mask{l}") for l, is_given in enumerate(self.masks, 1) if is_given)

    @cached_property
    def given(self) -> tuple[str, ...]:
        """What a step starts from."""
        return (*self.parameters, *self.memory, *self.masked, "x", "y")

    @cached_property
    def forward(self) -> tuple[str, ...]:
        """z1, a1 … zL, aL, loss."""
        return (*(self.name(f"{kind}{l}") for l in self.layers for kind in "za"), "loss")

    @cached_property
    def gradients(self) -> tuple[str, ...]:
        """grad_WL, grad_bL … grad_b1."""
        return tuple(f"grad_{name}" for name in self._from_the_last)

    @cached_property
    def backward(self) -> tuple[str, ...]:
        """deltaL … delta1, then the gradients."""
        return (*(self.name(f"delta{l}") for l in reversed(self.layers)), *self.gradients)

    @cached_property
    def update(self) -> tuple[str, ...]:
        """new_WL, new_bL … new_b1, each after its new memory."""
        return tuple(
            f"new_{kept}{name}"
            for name in self._from_the_last
            for kept in (*(f"{kept}_" for kept in self.keeps), "")
        )

    @cached_property
    def computed(self) -> tuple[str, ...]:
        """Every quantity that a step computes, in the order of computation."""
        return self.forward + self.backward + self.update

    @cached_property
    def extras(self) -> tuple[str, ...]:
        """grad_a1 …, which are judged where they are returned."""
        last = self.layers if self.loss not in WITH_ACTIVATION else self.layers[:-1]
        return tuple(self.name(f"grad_a{l}") for l in reversed(last))

    @cached_property
    def judged(self) -> tuple[str, ...]:
        """What may be returned, in the order of computation."""
        found = list(self.computed)
        for extra in self.extras:
            found.insert(found.index(self.name(f"delta{self[extra].layer}")), extra)
        return tuple(found)

    @cached_property
    def _from_the_last(self) -> tuple[str, ...]:
        """The parameters, from the last layer's to the first's."""
        order = sorted(self.parameters, key=lambda name: -self[name].layer)
        return tuple(order)

    def name(self, numbered: str) -> str:
        """What reports call a quantity: with two layers the lecture's name.

        Examples:
            >>> Network((2, 2, 2), ("linear", "linear")).name("new_W1")
            'new_W_h'
        """
        return _lectures(numbered) if self.depth == 2 else numbered

    def __getitem__(self, name: str) -> Quantity:
        """The quantity that a name of this network's means.

        Raises:
            KeyError: There is none.
        """
        return self._quantities[name]

    def __contains__(self, name: str) -> bool:
        return name in self._quantities

    @cached_property
    def _quantities(self) -> dict[str, Quantity]:
        """Every quantity that it could have, by name."""
        parameters = [f"{before}{kind}" for before in ("", *_PREFIXES) for kind in "Wb"]
        families = ["z", "a", "delta", "grad_a", "mask", *parameters]
        found = {}
        for family in families:
            for l in self.layers:
                numbered = f"{family}{l}"
                found[self.name(numbered)] = Quantity(self.name(numbered), family, l, numbered)
        return found | {name: Quantity(name, name, 0, name) for name in ("x", "y", "loss", "lr")}

    def suffix(self, layer: int) -> str:
        """What stands behind the name of a layer's function: _h, _o, or its number."""
        return f"_{_LAYERS[layer]}" if self.depth == 2 else str(layer)

    def adjective(self, layer: int) -> str:
        """What a sentence calls a layer in front of a noun: hidden, output, or layer 3."""
        return _WORDS[layer] if self.depth == 2 else f"layer {layer}"

    def of(self, family: str, layer: int) -> str:
        """The name of a layer's quantity: x of a and 0."""
        return "x" if layer == 0 else self.name(f"{family}{layer}")

    def parameter(self, name: str) -> str:
        """The parameter that a gradient, a new value or a memory belongs to."""
        return re.sub("^(new_)?(grad_|velocity_|mean_|square_)?", "", name)

    def shape(self, name: str, samples: int) -> tuple[int, ...]:
        """The shape of a quantity; lr and loss are scalars, ()."""
        return _shape(self, name, samples)

    def size(self, names: Iterable[str], samples: int) -> int:
        """How many values these quantities have together."""
        return sum(math.prod(self.shape(name, samples)) for name in names)

    def scalar_names(self, name: str, samples: int) -> tuple[str, ...] | None:
        """The lecture's names of a quantity's elements, in their order; None where it has none.

        Of networks with two layers, for one sample: per-neuron names (x1, z_h3, delta_o2), and the
        weights' names (w11 … b4) for two inputs, two hidden neurons, one or two outputs.
        """
        return _scalar_names(self, name, samples)

    def scalars(self, samples: int) -> dict[str, tuple[str, int]]:
        """Every scalar name but lr and loss: of which quantity, and which element."""
        return _scalars(self, samples)

    def label(self, name: str, index: Index, samples: int) -> str:
        """What a report calls an element: delta_h1, or delta_h[2, 1]. index: () for loss."""
        names = self.scalar_names(name, samples)
        if names:
            return names[_position(index, self.shape(name, samples))]
        return name + element(index)

    def meant(
        self, names: Iterable[str], samples: int, among: Iterable[str], wide: Iterable[str] = ()
    ) -> dict[str, Meant]:
        """What names mean that are used together; those that mean nothing are left out.

        A name that both vocabularies have (b1, h1) is read in that of the other names; alone, in
        the lecture's for its 2-2-2 network on one sample, else in the numbered one.

        Args:
            names: As they are used.
            samples: How many samples the step sees.
            among: The quantities that may be meant.
            wide: Names that stand for more than one number, so for no scalar.
        """
        possible = {*among, "lr", "step"}
        readings = [
            {name: table[name] for name in names if name in table and table[name][0] in possible}
            for table in _vocabularies(self, samples)
        ]
        by_lecture, by_number = readings
        both = by_lecture.keys() & by_number.keys()
        only_lecture = by_lecture.keys() - both
        only_numbered = by_number.keys() - both
        first = bool(only_lecture) or (
            not only_numbered and self.sizes == (2, 2, 2) and samples == 1
        )
        if any(by_lecture[name][1] is not None for name in both.intersection(wide)):
            first = False
        return by_number | by_lecture if first else by_lecture | by_number

    def quantity(self, name: str, among: Iterable[str]) -> str:
        """The quantity that a name alone means, in either vocabulary; itself where it means none.

        Examples:
            >>> network = Network((2, 2, 2), ("linear", "linear"))
            >>> network.quantity("dW1", network.judged)
            'grad_W_h'
        """
        return self.meant([name], 0, among).get(name, (name, None))[0]

    def torch_place(self, name: str, index: Index) -> str:
        """Where PyTorch keeps an element: output.weight.grad[0, 1]."""
        return self._place(self[name]) + (element(index) if name != "loss" else "")

    def _place(self, it: Quantity) -> str:
        if self.depth == 2 and self.is_plain:
            return _PLACES[it.name]
        l = it.layer
        linear, activation = f"network[{2 * l - 2}]", f"network[{2 * l - 1}]"
        if it.family in ("W", "b") or it.family.startswith(("grad_W", "grad_b", "new_")):
            return self._parameter_place(it, linear)
        before = "x" if l == 1 else f"a[{l - 1}]"
        return {
            "z": f"{linear}({before})",
            "a": f"{activation}(z[{l}])",
            "loss": "loss.item()",
            "delta": f"z[{l}].grad",
            "grad_a": f"a[{l}].grad",
        }[it.family]

    def _parameter_place(self, it: Quantity, linear: str) -> str:
        """Where PyTorch keeps a parameter, its gradient or its memory."""
        *before, kind = it.family.split("_")
        parameter = f"{linear}.{'weight' if kind == 'W' else 'bias'}"
        if "grad" in before:
            return f"{parameter}.grad"
        kept = next((kept for kept in before if kept in KEPT), "")
        if not kept:
            return parameter
        places = dict(zip(("adam", "rmsprop", "adagrad"), KEPT["square"], strict=True))
        theirs = KEPT[kept][0] if kept != "square" else places.get(self.optimizer, "exp_avg_sq")
        return f"optimizer.state[{parameter}]['{theirs}']"

    @property
    def is_plain(self) -> bool:
        """Whether it is of the lecture's kind: what two_layer.py and its mirror train."""
        return (
            self.depth == 2
            and self.loss in ("mse", "sum", "half_sum")
            and {*self.activations} <= {"linear", "sigmoid", "tanh", "relu"}
            and self.optimizer == "sgd"
            and not any(value for _, value in self.settings)
            and not (self.l1 or self.l2 or self.masked)
            and all(self.biases)
        )

    @property
    def training(self) -> dict[str, Any]:
        """The keyword arguments of `network.step` of either side, in the numbered vocabulary."""
        frozen = [self[name].numbered for name in self.frozen]
        return dict(
            activations=list(self.activations),
            loss=self.loss,
            optimizer=self.optimizer,
            frozen=frozen,
            l1=self.l1,
            l2=self.l2,
            **dict(self.settings),
        )

    @property
    def two_layers(self) -> dict[str, Any]:
        """The keyword arguments of `two_layer.step` of either side, where it `is_plain`."""
        hidden, output = self.activations
        return dict(
            hidden_activation=hidden,
            output_activation=output,
            loss=self.loss,
            frozen=self.frozen,
        )

    def start(self, start: Any) -> dict[str, Any]:
        """What a step starts from, a `Start`, as arguments of `network.step` of either side."""
        return dict(
            parameters=self.numbered(start.parameters),
            x=start.x,
            y=start.y,
            lr=start.lr,
            memory=None if start.memory is None else self.numbered(start.memory),
            masks=self.numbered(start.masks),
            step=start.step,
        )

    def numbered(self, arrays: Quantities) -> Quantities:
        """The same under the numbered names."""
        return {self[name].numbered: array for name, array in arrays.items()}

    def after(self, quantities: Quantities) -> Quantities:
        """The parameters after a step, those that are there."""
        return {n: quantities[f"new_{n}"] for n in self.parameters if f"new_{n}" in quantities}

    def kept(self, quantities: Quantities) -> Quantities | None:
        """What the optimiser keeps after a step; None where it keeps nothing."""
        return {name: quantities[f"new_{name}"] for name in self.memory} or None

    def named(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """What has numbered names under the names that reports use."""
        return {self.name(name): array for name, array in arrays.items()}


# the families that have a row a sample
PER_SAMPLE = ("x", "y", "z", "a", "delta", "grad_a", "mask")
# the losses that contain the derivative of the last activation, and which that is: what
# `losses.OUTPUT_ACTIVATIONS` says, here for a command's help, which starts without NumPy
WITH_ACTIVATION = {
    "bce": "sigmoid",
    "bce_sum": "sigmoid",
    "bce_over_n": "sigmoid",
    "cross_entropy": "softmax",
    "cross_entropy_sum": "softmax",
}
_PREFIXES = (
    "grad_",
    "new_",
    *(f"{kept}_" for kept in KEPT),
    *(f"new_{kept}_" for kept in KEPT),
)
# with two layers, where the PyTorch side's number is found in torch_reference/two_layer.py
_PLACES = {
    "z_h": "network.hidden(x)",
    "h": "network.hidden_activation(z_h)",
    "z_o": "network.output(h)",
    "o": "network.output_activation(z_o)",
    "loss": "loss.item()",
    "delta_o": "z_o.grad",
    "delta_h": "z_h.grad",
    "grad_h": "h.grad",
    "grad_o": "o.grad",
    "grad_W_o": "output.weight.grad",
    "grad_b_o": "output.bias.grad",
    "grad_W_h": "hidden.weight.grad",
    "grad_b_h": "hidden.bias.grad",
    "new_W_o": "output.weight",
    "new_b_o": "output.bias",
    "new_W_h": "hidden.weight",
    "new_b_h": "hidden.bias",
}


@lru_cache(maxsize=4096)
def _lectures(numbered: str) -> str:
    """A numbered name of a network with two layers in the lecture's vocabulary."""
    found = re.fullmatch(r"(.*?)(W|b|z|a|delta|mask)([12])", numbered)
    if not found:
        return numbered
    before, family, layer = found.groups()
    return before + _LECTURES[family] + _LAYERS[int(layer)]


@lru_cache(maxsize=4096)
def _shape(network: Network, name: str, samples: int) -> tuple[int, ...]:
    if name in ("loss", "lr", "step"):
        return ()
    if name == "x":
        return samples, network.sizes[0]
    if name == "y":
        return (samples,) if network.labels else (samples, network.sizes[-1])
    it = network[name]
    n_before, n = network.sizes[it.layer - 1 : it.layer + 1]
    if it.family in ("z", "a", "delta", "grad_a", "mask"):
        return samples, n
    return (n, n_before) if it.family.endswith("W") else (n,)


@lru_cache(maxsize=4096)
def _scalar_names(network: Network, name: str, samples: int) -> tuple[str, ...] | None:
    if name in ("loss", "lr"):
        return (name,)
    if samples != 1 or network.depth != 2:
        return None
    shape = network.shape(name, 1)
    parameter = network.parameter(name)
    prefix = name.removesuffix(parameter)
    if parameter not in network.parameters:
        return tuple(f"{name}{i + 1}" for i in range(math.prod(shape)))
    n_in, n_hidden, n_out = network.sizes
    if (n_in, n_hidden) != (2, 2) or n_out > 2:
        return None
    outputs = range(1, n_out + 1)
    names = {
        "W_h": ["w11", "w21", "w12", "w22"],
        "b_h": ["b1", "b2"],
        "W_o": [f"w{source}{target}" for target in outputs for source in (3, 4)],
        "b_o": [f"b{target + 2}" for target in outputs],
    }[parameter]
    return tuple(prefix + name for name in names)


@lru_cache(maxsize=64)
def _scalars(network: Network, samples: int) -> dict[str, tuple[str, int]]:
    return {
        scalar: (name, i)
        for name in (*network.given, *network.judged)
        if name != "loss"
        for i, scalar in enumerate(network.scalar_names(name, samples) or ())
    }


@lru_cache(maxsize=64)
def _vocabularies(network: Network, samples: int) -> tuple[dict[str, Meant], dict[str, Meant]]:
    """By name what it means, in the lecture's vocabulary and in the numbered one."""
    neutral: dict[str, Meant] = {
        word: (name, None) for name, others in _OTHERS.items() for word in (name, *others)
    }
    lectures, numbered = dict(neutral), dict(neutral)
    if network.depth == 2:
        lectures |= {name: (name, None) for name in (*network.given, *network.judged)}
        lectures |= dict(network.scalars(samples))
    for it in network._quantities.values():
        if it.layer:
            for word in _words(it):
                numbered[word] = it.name, None
    return lectures, numbered


def _words(it: Quantity) -> Iterator[str]:
    """The numbered name of a quantity, and its synonyms."""
    yield it.numbered
    before, family = ("new_", it.family[4:]) if it.family.startswith("new_") else ("", it.family)
    for synonym in _SYNONYMS.get(family, ()):
        yield before + synonym.format(it.layer)


def _position(index: Index, shape: tuple[int, ...]) -> int:
    """The place of an element in its array's row-by-row order."""
    place = 0
    for i, length in zip(index, shape, strict=True):
        place = place * length + i
    return place
