"""A reference as simple operations, fused ones such as softmax taken apart, each with the line that asked for it."""

import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._decomp import get_decompositions
from torch.fx import Interpreter
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.overrides import TorchFunctionMode

from lockstep.gradients.measured import NOT_THE_USERS, asked, marked, same_draws

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
_SIGNS = {
    "mul": "*",
    "rmul": "*",
    "div": "/",
    "truediv": "/",
    "rtruediv": "/",
    "add": "+",
    "radd": "+",
    "sub": "-",
    "rsub": "-",
    "pow": "**",
    "matmul": "@",
    "mm": "@",
    "bmm": "@",
    "mv": "@",
    "dot": "@",
    "permute": ".T",
    "t": ".T",
    "transpose": ".T",
    "get": ".T",
}
_BETWEEN = frozenset(["*", "/", "+", "-", "@", "**"])
_VIEWS = frozenset(
    "unsqueeze squeeze view expand permute t transpose reshape slice select alias".split()
)


def _var_mean(x, dim=None, *, correction=None, keepdim=False):
    return torch.var(x, dim, correction=correction, keepdim=keepdim), torch.mean(
        x, dim, keepdim=keepdim
    )


def _exponentials(x, dim):
    return torch.exp(
        x - x.amax(dim, keepdim=True).detach()
    )  # the largest cancels, so it is no way of its own


def _softmax(x, dim, _half=False, **_):
    e = _exponentials(x, dim)
    return e / e.sum(dim, keepdim=True)


def _log_softmax(x, dim, _half):
    return x - _logsumexp(x, dim, True)


def _logsumexp(x, dim, keepdim=False):
    total = torch.log(_exponentials(x, dim).sum(dim, keepdim=keepdim))
    return total + x.amax(dim, keepdim=keepdim).detach()


_FUSED = """
native_layer_norm native_group_norm _fused_rms_norm _batch_norm_impl_index native_batch_norm
_native_batch_norm_legit gelu silu silu_ glu mish hardswish log_sigmoid_forward mse_loss huber_loss
smooth_l1_loss binary_cross_entropy
""".split()
_BY_US = {
    "_softmax.default": _softmax,
    "_safe_softmax.default": _softmax,
    "_log_softmax.default": _log_softmax,
    "logsumexp.default": _logsumexp,
    "var_mean.correction": _var_mean,
}


def _present(name):
    """The operation, or its overload after a dot; None where this version of PyTorch has none."""
    packet, _, overload = name.partition(".")
    found = getattr(torch.ops.aten, packet, None)
    return getattr(found, overload, None) if overload else found


def taken_apart():
    """What stands in place of the fused operations, as far as this version of PyTorch has them."""
    names = [*_FUSED, "_native_batch_norm_legit.no_stats"]
    fused = [found for name in names if (found := _present(name)) is not None]
    ours = {_present(name): function for name, function in _BY_US.items()}
    return get_decompositions(fused) | {key: ours[key] for key in ours if key is not None}


Gradients = dict[str, np.ndarray]


@dataclass
class Run:
    """The reference, run once. wanted: tensors whose gradients are asked for; places: what made a gradient's node, in
    words, and of which call it is a part: its words and a number."""

    loss: torch.Tensor
    wanted: dict[str, torch.Tensor]
    places: dict[Any, tuple[str, tuple | None]] = field(default_factory=dict)

    def gradients(self) -> Gradients:
        found = torch.autograd.grad(
            self.loss, list(self.wanted.values()), allow_unused=True, retain_graph=True
        )
        return {
            name: (torch.zeros_like(tensor) if gradient is None else gradient).detach().numpy()
            for (name, tensor), gradient in zip(self.wanted.items(), found, strict=True)
        }


def _leaves(inputs):
    values = {name: torch.tensor(array) for name, array in inputs.items()}
    return {name: value.requires_grad_(value.is_floating_point()) for name, value in values.items()}


def plain(reference, inputs: dict[str, np.ndarray]) -> Run:
    """The reference run as it is, for where it cannot be traced, because its branches depend on values, or is long."""
    places: dict[Any, tuple[str, tuple | None]] = {}

    def tell(out, called, line):
        node = getattr(out, "grad_fn", None)
        if node is not None:
            places.setdefault(node, (f"`{said(called)}` {line}", None))

    with same_draws(), marked() as marks, _Lines(tell):
        given = _leaves(inputs)
        loss = asked(reference, {name: leaf.clone() for name, leaf in given.items()})
    wanted = given | marks
    return Run(
        loss.sum(), {name: leaf for name, leaf in wanted.items() if leaf.requires_grad}, places
    )


def traced(reference, inputs: dict[str, np.ndarray]) -> tuple[Callable[..., Run], list]:
    """A function that runs the reference operation by operation, some of them edited if asked to, and these operations.

    Raises what tracing raises, and ValueError for too many of them.
    """

    fixed = {name: torch.tensor(array) for name, array in inputs.items() if array.dtype.kind != "f"}
    inputs = {
        name: array for name, array in inputs.items() if name not in fixed
    }  # integers are part of the graph

    def function(*values):
        with marked() as marks, _Lines(_note_in_the_graph):
            loss = asked(reference, dict(zip(inputs, values, strict=True)) | fixed)
        return loss, {name: mark for name, mark in marks.items() if mark.requires_grad}

    def run(nodes=(), edit: Any = None):
        places: dict[Any, tuple[str, tuple | None]] = {}

        class Edited(Interpreter):
            def run_node(self, n):
                if n not in nodes:
                    out = super().run_node(n)
                else:
                    given = [
                        a.clone() if isinstance(a, torch.Tensor) else a
                        for a in self.fetch_args_kwargs_from_env(n)[0]
                    ]
                    out = edit(super().run_node(n), *given)
                for tensor in out if isinstance(out, tuple | list) else (out,):
                    if (
                        n.op == "call_function"
                        and isinstance(tensor, torch.Tensor)
                        and tensor.grad_fn is not None
                    ):
                        places.setdefault(tensor.grad_fn, (place(n), n.meta.get("call")))
                return out

        given = _leaves(inputs)
        with same_draws():
            loss, marks = Edited(graph).run(*[leaf.clone() for leaf in given.values()])
        return Run(
            loss.sum(),
            {name: leaf for name, leaf in given.items() if leaf.requires_grad} | marks,
            places,
        )

    with same_draws():
        graph = make_fx(function, decomposition_table=taken_apart())(*_leaves(inputs).values())
    for node, name in zip(graph.graph.find_nodes(op="placeholder"), inputs, strict=True):
        node.meta["input"] = name
    operations = [node for node in graph.graph.nodes if node.op == "call_function"]
    if len(operations) > MOST:
        raise ValueError(f"it has more than {MOST} operations")
    return run, operations


class _Lines(TorchFunctionMode):
    """Tells, of every operation of the reference, its result and in which line it was asked for."""

    def __init__(self, tell):
        super().__init__()
        self.tell = tell

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        frame: Any = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(NOT_THE_USERS):
            frame = frame.f_back
        file, line = frame.f_code.co_filename, frame.f_lineno
        code = linecache.getline(file, line).strip()
        called = getattr(func, "__name__", "").strip("_")
        self.tell(
            out, called, f"in {Path(file).name}, line {line}" + (f" ({code})" if code else "")
        )
        return out


def _note_in_the_graph(_, called, line):
    tracing: Any = get_proxy_mode()
    nodes = tracing.tracer.graph.nodes
    for node in reversed(nodes):
        if "line" in node.meta:
            break
        node.meta["call"] = f"`{said(called)}` {line}", len(nodes)
        whole = said(called) == said(operation(node))
        node.meta["line"] = line if whole else f"of {called} {line}"


def place(node):
    """An operation in words: which, and in which line of the reference."""
    name = said(operation(node))
    if name in _BETWEEN and len(node.args) >= 2:
        left, right = (
            f"{a:g}" if isinstance(a, int | float) else source(a) or "…" for a in node.args[:2]
        )
        if operation(node) == "rsub":  # 1 - x, of x and 1
            left, right = right, left
        name = f"{left} {name} {right}"
    return f"`{name}` {node.meta.get('line', '')}".strip()


def source(node):
    """The name of the input that a node is, or is only a view of; "" for what is computed."""
    while getattr(node, "op", "") == "call_function" and operation(node) in _VIEWS:
        node = node.args[0]
    return node.meta.get("input", "") if getattr(node, "op", "") == "placeholder" else ""


def operation(node):
    packet = getattr(node.target, "overloadpacket", node.target)
    return getattr(packet, "__name__", str(packet)).strip("_")


def said(name):
    return _SIGNS.get(name, name)
