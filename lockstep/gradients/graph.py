"""A reference as simple operations, fused ones taken apart, with the lines that ask for them."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.overrides import TorchFunctionMode

from lockstep.gradients.reference import (
    NOT_THE_USERS,
    Reference,
    asked,
    differentiated,
    leaves,
    same_draws,
)
from lockstep.network.names import Quantities

MOST = 500  # operations of a reference, beyond which it is not edited
# What tracing, editing and differentiating an edited graph raise; what the reference itself raises
# comes as ValueError or TypeError, see `asked`.
CANNOT = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
)
_NAMES = {  # of the operations that are written with a sign
    "*": "mul rmul",
    "/": "div truediv rtruediv",
    "+": "add radd",
    "-": "sub rsub",
    "**": "pow",
    "@": "matmul mm bmm mv dot",
    ".T": "permute t transpose get",
}
_SIGNS = {name: sign for sign, names in _NAMES.items() for name in names.split()}
_VIEWS = frozenset(
    "unsqueeze squeeze view expand permute t transpose reshape slice select alias".split()
)


def _var_mean(x: Tensor, dim: Any = None, **more: Any) -> tuple[Tensor, Tensor]:
    return torch.var(x, dim, **more), torch.mean(x, dim, keepdim=more.get("keepdim", False))


def _exponentials(x: Tensor, dim: int | list[int]) -> Tensor:
    """e to x less its largest, which cancels, and so is no way of its own."""
    return torch.exp(x - x.amax(dim, keepdim=True).detach())


def _softmax(x: Tensor, dim: int, *_: Any, **__: Any) -> Tensor:
    e = _exponentials(x, dim)
    return e / e.sum(dim, keepdim=True)


def _log_softmax(x: Tensor, dim: int, _half: bool) -> Tensor:
    return x - _logsumexp(x, dim, True)


def _logsumexp(x: Tensor, dim: int | list[int], keepdim: bool = False) -> Tensor:
    total = torch.log(_exponentials(x, dim).sum(dim, keepdim=keepdim))
    return total + x.amax(dim, keepdim=keepdim).detach()


_FUSED = """
native_layer_norm native_group_norm _fused_rms_norm _batch_norm_impl_index native_batch_norm
_native_batch_norm_legit _native_batch_norm_legit.no_stats gelu silu silu_ glu mish hardswish
log_sigmoid_forward mse_loss huber_loss smooth_l1_loss binary_cross_entropy
"""
_BY_US: dict[str, Callable[..., Any]] = {
    "_softmax.default": _softmax,
    "_safe_softmax.default": _softmax,
    "_log_softmax.default": _log_softmax,
    "logsumexp.default": _logsumexp,
    "var_mean.correction": _var_mean,
}


def taken_apart() -> dict[Any, Callable[..., Any]]:
    """What stands in place of the fused operations, as far as this version of PyTorch has them."""

    def present(names: Iterable[str]) -> dict[str, Any]:
        """The operations, or their overloads after a dot."""
        found = {}
        for name in names:
            with suppress(AttributeError):
                found[name] = attrgetter(name)(torch.ops.aten)
        return found

    ours = {operation: _BY_US[name] for name, operation in present(_BY_US).items()}
    return get_decompositions(list(present(_FUSED.split()).values())) | ours


Places = dict[Any, tuple[str, tuple[str, int] | None]]


@dataclass
class Run:
    """The reference, run once.

    tensors: those whose gradients are asked for; places: what made a gradient's node, in words,
    and of which call it is a part: its words and a number.
    """

    loss: Tensor
    tensors: dict[str, Tensor]
    places: Places

    def gradients(self) -> Quantities:
        zeros = {name: np.zeros(tuple(tensor.shape)) for name, tensor in self.tensors.items()}
        return zeros | differentiated(self.loss, self.tensors)


def _clones(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: leaf.clone() for name, leaf in leaves.items()}


def plain(reference: Reference, inputs: Quantities) -> Run:
    """The reference run as it is, for where it cannot be traced."""
    places: Places = {}

    def note(out: Any, called: str, line: str) -> None:
        if (node := getattr(out, "grad_fn", None)) is not None:
            places.setdefault(node, (f"`{sign(called)}` {line}", None))

    given = leaves(inputs, [n for n, a in inputs.items() if a.dtype.kind == "f"])
    with same_draws() as marks, _Lines(note):
        loss = asked(reference, _clones(given))
    return Run(loss, given | marks, places)


class _Interpreted(Interpreter):
    """Runs a graph with some operations edited, and notes what made each gradient's node."""

    def __init__(self, graph: GraphModule, nodes: Sequence[Node], edit: Any) -> None:
        super().__init__(graph)
        self.nodes, self.edit = nodes, edit
        self.places: Places = {}

    def run_node(self, n: Node) -> Any:
        given = [
            argument.clone() if isinstance(argument, Tensor) else argument
            for argument in (self.fetch_args_kwargs_from_env(n)[0] if n in self.nodes else ())
        ]
        out = super().run_node(n)
        if n in self.nodes:
            out = self.edit(out, *given)
        for tensor in (out if isinstance(out, tuple | list) else [out]) * (n.op == "call_function"):
            if getattr(tensor, "grad_fn", None) is not None:
                self.places.setdefault(tensor.grad_fn, (place(n), n.meta.get("call")))
        return out


@dataclass
class Traced:
    """A reference as a graph of simple operations. inputs: those that are differentiated."""

    graph: GraphModule
    inputs: Quantities
    operations: list[Node]

    def run(self, nodes: Sequence[Node] = (), edit: Callable[..., Tensor] | None = None) -> Run:
        """Run it, some operations replaced by what `edit` makes of their result and arguments."""
        given = leaves(self.inputs, self.inputs)
        interpreted = _Interpreted(self.graph, nodes, edit)
        with same_draws():
            loss, marks = interpreted.run(*_clones(given).values())
        return Run(loss, given | marks, interpreted.places)


def traced(reference: Reference, inputs: Quantities) -> Traced:
    """The reference, operation by operation. inputs: by name; integers become a part of the graph.

    Raises what tracing raises, and ValueError for too many operations.
    """
    given = leaves(inputs, [n for n, a in inputs.items() if a.dtype.kind == "f"])
    moving = {name: tensor for name, tensor in given.items() if tensor.requires_grad}

    def function(*values: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with _Lines(_note_in_the_graph):
            loss = asked(reference, given | dict(zip(moving, values, strict=True)))
        return loss, marks

    with same_draws() as marks:
        graph = make_fx(function, decomposition_table=taken_apart())(*moving.values())
    for node, name in zip(graph.graph.find_nodes(op="placeholder"), moving, strict=True):
        node.meta["input"] = name
    operations = [node for node in graph.graph.nodes if node.op == "call_function"]
    if len(operations) > MOST:
        raise ValueError(f"it has more than {MOST} operations")
    return Traced(graph, {name: inputs[name] for name in moving}, operations)


class _Lines(TorchFunctionMode):
    """Reports every operation of the reference: its result, its name and the line of its call."""

    def __init__(self, tell: Callable[[Any, str, str], None]) -> None:
        super().__init__()
        self.tell = tell

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(NOT_THE_USERS):
            frame = frame.f_back
        file, line = frame.f_code.co_filename, frame.f_lineno
        code = linecache.getline(file, line).strip()
        called = getattr(func, "__name__", "").strip("_")
        self.tell(out, called, f"in {Path(file).name}, line {line}{f' ({code})' if code else ''}")
        return out


def _note_in_the_graph(_: Any, called: str, line: str) -> None:
    """Write the line to the operations that were traced since the last one was."""
    tracing: Any = get_proxy_mode()
    nodes = tracing.tracer.graph.nodes
    for node in reversed(nodes):
        if "line" in node.meta:
            break
        node.meta["call"] = f"`{sign(called)}` {line}", len(nodes)
        whole = sign(called) == sign(operation(node))
        node.meta["line"] = line if whole else f"of {called} {line}"


def place(node: Node) -> str:
    """An operation in words: which, and in which line of the reference."""
    name = sign(operation(node))
    if name in _NAMES and name != ".T" and len(node.args) >= 2:
        sides = [
            f"{a:g}" if isinstance(a, int | float) else source(a) or "…" for a in node.args[:2]
        ]
        if operation(node) == "rsub":  # 1 - x, of x and 1
            sides.reverse()
        name = f" {name} ".join(sides)
    return f"`{name}` {node.meta.get('line', '')}".strip()


def source(node: Any) -> str:
    """The name of the input that a node is, or is only a view of; "" for what is computed."""
    while getattr(node, "op", "") == "call_function" and operation(node) in _VIEWS:
        node = node.args[0]
    return node.meta.get("input", "") if getattr(node, "op", "") == "placeholder" else ""


def operation(node: Node) -> str:
    """The name of an operation, without underscores around it and without its overload."""
    packet = getattr(node.target, "overloadpacket", node.target)
    return getattr(packet, "__name__", str(packet)).strip("_")


def sign(name: str) -> str:
    """The sign that an operation is written with, or else its name."""
    return _SIGNS.get(name, name)
