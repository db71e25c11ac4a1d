"""The names on every side, in the order of a step's computation, and the lecture's scalars."""

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Quantities: TypeAlias = "dict[str, NDArray[Any]]"
Sizes: TypeAlias = tuple[int, int, int]
Index: TypeAlias = tuple[int, ...]

PARAMETERS = ("W_h", "b_h", "W_o", "b_o")
FORWARD = ("z_h", "h", "z_o", "o", "loss")
BACKWARD = ("delta_o", "delta_h", "grad_W_o", "grad_b_o", "grad_W_h", "grad_b_h")
UPDATE = ("new_W_o", "new_b_o", "new_W_h", "new_b_h")
COMPUTED = FORWARD + BACKWARD + UPDATE
GIVEN = (*PARAMETERS, "x", "y")  # what a step starts from
# where the PyTorch side's number is found; {} is the element
TORCH_PLACES = {
    "z_h": "network.hidden(x){}",
    "h": "network.hidden_activation(z_h){}",
    "z_o": "network.output(h){}",
    "o": "network.output_activation(z_o){}",
    "loss": "loss.item()",
    "delta_o": "z_o.grad{}",
    "delta_h": "z_h.grad{}",
    "grad_W_o": "output.weight.grad{}",
    "grad_b_o": "output.bias.grad{}",
    "grad_W_h": "hidden.weight.grad{}",
    "grad_b_h": "hidden.bias.grad{}",
    "new_W_o": "output.weight{}",
    "new_b_o": "output.bias{}",
    "new_W_h": "hidden.weight{}",
    "new_b_h": "hidden.bias{}",
}


@lru_cache(maxsize=4096)
def shape_of(name: str, sizes: Sizes, samples: int) -> tuple[int, ...]:
    """The shape of a quantity; lr and loss are scalars, ()."""
    n_in, n_hidden, n_out = sizes
    base = name.removeprefix("grad_").removeprefix("new_")
    return {
        "x": (samples, n_in),
        "y": (samples, n_out),
        "z_h": (samples, n_hidden),
        "h": (samples, n_hidden),
        "z_o": (samples, n_out),
        "o": (samples, n_out),
        "delta_o": (samples, n_out),
        "delta_h": (samples, n_hidden),
        "W_h": (n_hidden, n_in),
        "b_h": (n_hidden,),
        "W_o": (n_out, n_hidden),
        "b_o": (n_out,),
        "loss": (),
        "lr": (),
    }[base]


@lru_cache(maxsize=64)
def values_in(names: tuple[str, ...], sizes: Sizes, samples: int) -> int:
    """How many values these quantities have together."""
    return sum(math.prod(shape_of(name, sizes, samples)) for name in names)


@lru_cache(maxsize=4096)
def scalar_names(name: str, sizes: Sizes, samples: int) -> tuple[str, ...] | None:
    """The lecture's names of a quantity's elements, in their order; None where it has none.

    Per-neuron names (x1, z_h3, delta_o2) exist for one sample, any widths; the weights' names
    (w11 … b4) for one sample, two inputs, two hidden neurons, one or two outputs.
    """
    if name in ("loss", "lr"):
        return (name,)
    if samples != 1:
        return None
    prefix, base = "", name
    for start in ("grad_", "new_"):
        if name.startswith(start):
            prefix, base = start, name.removeprefix(start)
    if base not in PARAMETERS:
        return tuple(f"{name}{i + 1}" for i in range(shape_of(name, sizes, 1)[1]))
    n_in, n_hidden, n_out = sizes
    if (n_in, n_hidden) != (2, 2) or n_out > 2:
        return None
    outputs = range(1, n_out + 1)
    names = {
        "W_h": ["w11", "w21", "w12", "w22"],
        "b_h": ["b1", "b2"],
        "W_o": [f"w{source}{target}" for target in outputs for source in (3, 4)],
        "b_o": [f"b{target + 2}" for target in outputs],
    }[base]
    return tuple(prefix + name for name in names)


@lru_cache(maxsize=64)
def scalars(sizes: Sizes, samples: int) -> dict[str, tuple[str, int]]:
    """Every scalar name but lr and loss: of which quantity, and which element."""
    return {
        scalar: (name, i)
        for name in (*GIVEN, *COMPUTED)
        if name != "loss"
        for i, scalar in enumerate(scalar_names(name, sizes, samples) or ())
    }


@lru_cache(maxsize=4096)
def label(name: str, index: Index, sizes: Sizes, samples: int) -> str:
    """What a report calls an element: delta_h1, or delta_h[2, 1]. index: a tuple, () for loss."""
    names = scalar_names(name, sizes, samples)
    if names:
        return names[_position(index, shape_of(name, sizes, samples))]
    return name + element(index)


def _position(index: Index, shape: tuple[int, ...]) -> int:
    """The place of an element in its array's row-by-row order."""
    place = 0
    for i, length in zip(index, shape, strict=True):
        place = place * length + i
    return place


def element(index: Index) -> str:
    """[2, 1] of an index (2, 1), nothing of ()."""
    return f"[{', '.join(map(str, index))}]" if index else ""


def torch_place(name: str, index: Index) -> str:
    """Where PyTorch keeps an element: output.weight.grad[0, 1]."""
    return TORCH_PLACES[name].format(element(index))
