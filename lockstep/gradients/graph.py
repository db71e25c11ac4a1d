"""A reference, forward and backward, as a list of simple operations with their values.

Whatever PyTorch runs is written down below its differentiation, on the very numbers: branches,
loops, work in place and other libraries are then plain lists of operations. Fused operations are
taken apart. The forward pass is recorded first, and then run again, operation by operation, with
its differentiation, so that the gradients too are made of simple steps; where that gives other
gradients (a Function with its own backward, say), the reference is recorded as it is.
"""

from __future__ import annotations

import contextlib
import linecache
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter, getitem
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lockstep.gradients.reference import NOT_THE_USERS, Reference, same_draws
from lockstep.network.names import Array, Quantities

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
    """
    alias clone detach expand permute reshape select slice squeeze t transpose unsafe_view unsqueeze
    view
    """.split()
)
_ALIASES = frozenset("alias detach lift_fresh".split())


# Fused operations


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


def _embedding_backward(
    given: Tensor, indices: Tensor, rows: int, padding: int, by_frequency: bool
) -> Any:
    if padding >= 0 or by_frequency:
        return NotImplemented
    zeros = given.new_zeros(rows, *given.shape[indices.dim() :])
    return zeros.index_put((indices,), given, accumulate=True)


_FUSED = """
native_layer_norm native_group_norm _fused_rms_norm _batch_norm_impl_index native_batch_norm
_native_batch_norm_legit _native_batch_norm_legit.no_stats gelu silu silu_ glu mish hardswish
log_sigmoid_forward mse_loss huber_loss smooth_l1_loss binary_cross_entropy
"""
_FUSED_BACKWARD = """
sigmoid_backward tanh_backward threshold_backward softplus_backward elu_backward
leaky_relu_backward hardtanh_backward hardswish_backward hardsigmoid_backward silu_backward
gelu_backward log_sigmoid_backward logit_backward glu_backward mish_backward mse_loss_backward
smooth_l1_loss_backward huber_loss_backward binary_cross_entropy_backward nll_loss_backward
_softmax_backward_data _log_softmax_backward_data native_layer_norm_backward
native_group_norm_backward native_batch_norm_backward native_dropout_backward
_fused_rms_norm_backward
"""
_BY_US: dict[str, Callable[..., Any]] = {
    "_softmax.default": _softmax,
    "_safe_softmax.default": _softmax,
    "_log_softmax.default": _log_softmax,
    "logsumexp.default": _logsumexp,
    "var_mean.correction": _var_mean,
    "embedding_dense_backward.default": _embedding_backward,
}


def taken_apart() -> dict[Any, Callable[..., Any]]:
    """What stands in place of the fused operations, as far as this version of PyTorch has them."""

    def present(names: Iterable[str]) -> dict[str, Any]:
        """The operations, or their overloads after a dot."""
        found = {}
        for name in names:
            with contextlib.suppress(AttributeError):
                found[name] = attrgetter(name)(torch.ops.aten)
        return found

    ours = {operation: _BY_US[name] for name, operation in present(_BY_US).items()}
    fused = present((_FUSED + _FUSED_BACKWARD).split())
    return get_decompositions(list(fused.values())) | ours


# Operations


@dataclass(eq=False)
class Node:
    """An operation that was run, or a tensor that was given.

    Attributes:
        index: Its place in the list.
        name: Of the operation, such as "mm"; "" for what was given.
        run: The operation; None for what was given.
        args: What it was given; other operations stand for their results.
        options: The same, by keyword.
        value: Its result.
        tracked: Whether gradients go back through it.
        draws: Whether it draws random numbers, which then stay as they are.
        input: The name of the input that it is.
        line: Where the reference asks for it: "in FILE, line N (CODE)".
        call: The call that it is a part of, in words, and a number of its own.
        of: The forward operation whose derivative it is a part of.
        users: The operations that use its result.
    """

    index: int
    name: str
    run: Callable[..., Any] | None
    args: list[Any]
    options: dict[str, Any]
    value: Any
    tracked: bool = True
    draws: bool = False
    input: str = ""
    line: str = ""
    call: tuple[str, int] | None = None
    of: Node | None = None
    users: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The operations that it uses."""
        self.inputs = list(_nodes_in(self.args))


def _nodes_in(it: Any) -> Iterator[Node]:
    if isinstance(it, Node):
        yield it
    elif isinstance(it, list | tuple):
        for part in it:
            yield from _nodes_in(part)


def mapped(function: Callable[[Any], Any], it: Any) -> Any:
    """What is inside lists and tuples, each through a function."""
    if isinstance(it, list | tuple):
        return [mapped(function, part) for part in it]
    return function(it)


def rerun(node: Node, values: dict[Node, Any], edit: Callable[..., Any] | None = None) -> Any:
    """Its result where others have other values, or what an edit makes of its arguments."""

    def value(it: Any) -> Any:
        return values.get(it, it.value) if isinstance(it, Node) else it

    args = [mapped(value, it) if isinstance(it, list) else value(it) for it in node.args]
    if edit:
        return edit(*args)
    return unedited(node, *args)


def unedited(node: Node, *args: Any) -> Any:
    """What an operation makes of its arguments."""
    assert node.run
    return node.run(*args, **node.options)


class Tape(TorchDispatchMode):
    """Writes down every operation that is run.

    Attributes:
        nodes: The operations in their order.
        of: The forward operation whose derivative is being run.
        fused: Whether an operation had to be taken apart.
    """

    def __init__(self, aliases: bool) -> None:
        """aliases: whether a detached tensor counts as the tensor itself."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[Node] = []
        self.of: Node | None = None
        self.fused = False
        self._apart = taken_apart()
        self._aliases = aliases
        self._known: dict[int, tuple[Tensor, Node]] = {}  # holds the tensors, so that ids last
        self._sharing: dict[int, list[Tensor]] = {}  # tensors by where their numbers are

    def node(self, it: Any) -> Any:
        """The node of a tensor, which is new for one that is given; other things as they are."""
        if not isinstance(it, Tensor):
            return it
        if id(it) not in self._known:
            self._add("", None, [], {}, it, it)
        return self._known[id(it)][1]

    def differentiated(self) -> list[tuple[Tensor, Node]]:
        """The tensors that are differentiated, and what made them."""
        return [(t, node) for t, node in self._known.values() if t.grad_fn is not None]

    def go_back(self, node: Node, *_: Any) -> None:
        """Hook: what is run from now on is a part of the derivative of an operation."""
        self.of = node

    def note(self, called: str, line: str) -> None:
        """Write the line of a call to the operations that were run since the last one was."""
        for node in reversed(self.nodes):
            if node.line:
                break
            node.call = f"`{sign(called)}` {line}", len(self.nodes)
            whole = sign(called) == sign(node.name)
            node.line = line if whole else f"of {called} {line}"

    def _add(
        self,
        name: str,
        run: Callable[..., Any] | None,
        args: list[Any],
        options: dict[str, Any],
        value: Any,
        tensor: Tensor | None,
    ) -> Node:
        node = Node(len(self.nodes), name, run, args, options, value, of=self.of)
        node.tracked = torch.is_grad_enabled()
        for used in node.inputs:
            used.users.append(node)
        self.nodes.append(node)
        if tensor is not None:
            if id(tensor) not in self._known and tensor.layout == torch.strided:
                self._sharing.setdefault(_storage(tensor), []).append(tensor)
            self._known[id(tensor)] = tensor, node
        return node

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with self:  # what it is made of is written down
            apart = self._apart.get(func, func.decompose)
            out = apart(*args, **kwargs)
        if out is not NotImplemented:
            self.fused |= func in self._apart
            return out
        given = mapped(self.node, list(args))
        options = dict(kwargs)
        name = func.overloadpacket.__name__.strip("_")
        before = len(self.nodes)
        if func._schema.is_mutable:
            out = self._written(func, name, args, kwargs, given, options)
        else:
            out = func(*args, **kwargs)
            self._made(func, name, out, args, given, options)
        if torch.Tag.nondeterministic_seeded in func.tags:
            for node in self.nodes[before:]:
                node.draws = True
        return out

    def _made(
        self, func: Any, name: str, out: Any, args: Any, given: list[Any], options: dict[str, Any]
    ) -> None:
        """Write down an operation and its results."""
        if isinstance(out, Tensor):
            if not any(out is one for one in args):
                if self._aliases and name in _ALIASES:
                    self._known[id(out)] = out, given[0]
                    self._sharing.setdefault(_storage(out), []).append(out)
                else:
                    self._add(name, func, given, options, out, out)
        elif isinstance(out, tuple | list):
            whole = self._add(name, func, given, options, out, None)
            for k, one in enumerate(out):
                if isinstance(one, Tensor):
                    self._add("getitem", getitem, [whole, k], {}, one, one)

    def _written(
        self,
        func: Any,
        name: str,
        args: Any,
        kwargs: dict[str, Any],
        given: list[Any],
        options: dict[str, Any],
    ) -> Any:
        """Write down an operation in place as one that makes a new tensor.

        Every other tensor that shares the numbers is a new one then too.
        """
        places = [
            k
            for k, (declared, it) in enumerate(zip(func._schema.arguments, args, strict=False))
            if isinstance(it, Tensor) and declared.alias_info and declared.alias_info.is_write
        ]
        shared = [
            (k, args[k], [it for it in self._sharing[_storage(args[k])] if _overlap(it, args[k])])
            for k in places
        ]
        for _, changed, sharing in shared:
            for node in {self._known[id(one)][1] for one in sharing}:
                if _storage(node.value) == _storage(changed):
                    node.value = node.value.detach().clone()
        out = func(*args, **kwargs)
        for k, changed, sharing in shared:
            before = {id(one): self._known[id(one)][1] for one in sharing}
            run = partial(_on_a_copy, func, k)
            after = self._add(name, run, given, options, changed, changed)
            for one in sharing:
                if _geometry(one) == _geometry(changed):
                    self._known[id(one)] = one, after
                else:
                    seen = partial(_seen_through, _geometry(one), _geometry(changed))
                    self._add("view", seen, [before[id(one)], after], {}, one, one)
        return out


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _geometry(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset()


def _on_a_copy(func: Any, k: int, *args: Any, **options: Any) -> Tensor:
    """What an operation in place makes of argument k, which stays as it is."""
    copied = [it.clone() if i == k else it for i, it in enumerate(args)]
    func(*copied, **options)
    result: Tensor = copied[k]
    return result


def _numbers(like: Tensor, *geometries: Any) -> Tensor:
    """Zeros in a row, enough for tensors that share them."""
    ends = (
        offset + 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        for shape, steps, offset in geometries
    )
    return like.new_zeros(max(ends))


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors share numbers."""
    numbers = _numbers(one.detach(), _geometry(one), _geometry(other))
    numbers.as_strided(*_geometry(other)).fill_(1)
    return bool(numbers.as_strided(*_geometry(one)).any())


def _seen_through(seen: Any, written: Any, old: Tensor, new: Tensor) -> Tensor:
    """A tensor after numbers of another one, with which it shares them, have been changed."""
    numbers = _numbers(old, seen, written)
    numbers.as_strided(*seen).copy_(old)
    numbers.as_strided(*written).copy_(new)
    return numbers.as_strided(*seen).clone()


# Recording

Edit = Callable[..., Any]  # from the arguments of an operation to what stands in its result's place
Edits = dict[Node, Edit]


@dataclass
class Forward:
    """The forward pass of a reference.

    Attributes:
        nodes: Its operations.
        inputs: Those that are differentiated, by name.
        marks: What `watch` marks, by name.
        loss: The last one.
    """

    nodes: list[Node]
    inputs: dict[str, Node]
    marks: dict[str, Node]
    loss: Node

    def start(self) -> dict[Node, Any]:
        """The inputs, to be differentiated."""
        return {node: node.value.detach().clone().requires_grad_() for node in self.inputs.values()}

    def run(
        self,
        values: dict[Node, Any],
        edits: Edits,
        after: Callable[[Node], None] = lambda _: None,
    ) -> None:
        """Run it again with its differentiation, and add what moves with the inputs to the values.

        after: What is done after each operation.
        """
        for node in self.nodes:
            if node.run and not node.draws and any(used in values for used in node.inputs):
                with contextlib.nullcontext() if node.tracked else torch.no_grad():
                    values[node] = rerun(node, values, edits.get(node))
                after(node)

    def gradients(self, edits: Edits) -> dict[str, Tensor]:
        """The gradients by name where some operations are edited."""
        values = self.start()
        self.run(values, edits)
        moving = {name: values[node] for name, node in (self.inputs | self.marks).items()}
        found = torch.autograd.grad(
            values[self.loss].sum(), list(moving.values()), allow_unused=True
        )
        return {
            name: torch.zeros_like(tensor) if g is None else g
            for (name, tensor), g in zip(moving.items(), found, strict=True)
        }


@dataclass
class Joint:
    """A reference, forward and backward.

    Attributes:
        nodes: All operations.
        seed: The gradient of the loss by itself, with which the way back begins.
        gradients: What gives the gradients, by the name of an input or a mark.
        reaching: By operation of the forward pass, what gives the gradient of its result.
        forward: What it was made from; None where the reference was recorded as it is.
        fused: Whether operations of the forward pass were taken apart for it.
    """

    nodes: list[Node]
    seed: Node
    gradients: dict[str, Node]
    reaching: dict[Node, Node]
    forward: Forward | None = None
    fused: bool = False


def traced(reference: Reference, inputs: Quantities, wanted: Iterable[str]) -> Joint:
    """The reference forward and backward, of simple operations throughout.

    Raises what the reference and PyTorch raise.
    """
    first = Tape(aliases=False)
    forward = _recorded(first, reference, inputs, wanted)[0]
    given = {id(node.value): node for node in forward.nodes if isinstance(node.value, Tensor)}
    tape = Tape(aliases=True)

    def after(node: Node) -> None:
        for made in reversed(tape.nodes):
            if made.line or made.of:
                break
            _described_as(made, given.get(id(made.value), node) if made.run is None else node)

    values = forward.start()
    for node, tensor in values.items():
        _described_as(tape.node(tensor), node)
    with torch.enable_grad(), tape:
        forward.run(values, {}, after)
    moving = {name: values[node] for name, node in (forward.inputs | forward.marks).items()}
    joint = _with_gradients(tape, values[forward.loss], moving)
    _let_go(forward.nodes)
    joint.forward, joint.fused = forward, first.fused
    return joint


def traced_as_it_is(reference: Reference, inputs: Quantities, wanted: Iterable[str]) -> Joint:
    """The reference and its own way back, whose fused operations are taken apart separately."""
    tape = Tape(aliases=True)
    _, loss, moving = _recorded(tape, reference, inputs, wanted)
    return _with_gradients(tape, loss, moving)


def _recorded(
    tape: Tape, reference: Reference, inputs: Quantities, wanted: Iterable[str]
) -> tuple[Forward, Tensor, dict[str, Tensor]]:
    """The forward pass: as operations; the loss; and the tensors whose gradients are asked for."""
    wanted = set(wanted)
    given = {name: torch.tensor(array) for name, array in inputs.items()}
    for name, tensor in given.items():
        tensor.requires_grad_(name in wanted)
        tape.node(tensor).input = name
    with same_draws() as marks, torch.enable_grad(), tape, _Lines(tape.note):
        loss = reference(**given)
    moving = {name: tensor for name, tensor in given.items() if name in wanted}
    forward = Forward(
        tape.nodes,
        {name: tape.node(tensor) for name, tensor in moving.items()},
        {name: tape.node(tensor) for name, tensor in marks.items() if tensor.requires_grad},
        tape.node(loss),
    )
    return forward, loss, moving | marks


def _with_gradients(tape: Tape, loss: Tensor, moving: dict[str, Tensor]) -> Joint:
    """Go all the way back on the tape."""
    seed = torch.ones_like(loss)
    start = tape.node(seed)
    results = tape.differentiated()
    makers: dict[Any, Node] = {tensor.grad_fn: node for tensor, node in results}
    asked = {name: tensor for name, tensor in moving.items() if tensor.requires_grad}
    tensors = [*asked.values(), *(tensor for tensor, _ in results)]
    hooks = [maker.register_prehook(partial(tape.go_back, node)) for maker, node in makers.items()]
    try:
        with tape:
            found = torch.autograd.grad(loss, tensors, seed, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    reached = [None if g is None else tape.node(g) for g in found]
    _let_go(tape.nodes)
    named, others = reached[: len(asked)], reached[len(asked) :]
    return Joint(
        tape.nodes,
        start,
        {name: node for name, node in zip(asked, named, strict=True) if node},
        {node: g for (_, node), g in zip(results, others, strict=True) if g},
    )


def _let_go(nodes: list[Node]) -> None:
    """Forget how values were made, and what is needed to differentiate them."""
    for node in nodes:
        if isinstance(node.value, Tensor):
            node.value = node.value.detach()


def _described_as(node: Node, other: Node) -> None:
    node.input, node.line, node.call = other.input, other.line, other.call
    node.name = node.name or other.name


class _Lines(TorchFunctionMode):
    """Reports every call of the reference: its name and its line."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
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
        self.tell(called, f"in {Path(file).name}, line {line}{f' ({code})' if code else ''}")
        return out


# Words


def place(node: Node) -> str:
    """An operation in words: which, and in which line of the reference."""
    name = sign(node.name)
    if name in _NAMES and name != ".T" and len(node.args) >= 2:
        sides = [
            f"{a:g}" if isinstance(a, int | float) else source(a) or "…" for a in node.args[:2]
        ]
        if node.name == "rsub":  # 1 - x, of x and 1
            sides.reverse()
        name = f" {name} ".join(sides)
    return f"`{name}` {node.line}".strip()


def source(node: Any) -> str:
    """The name of the input that a node is, or is only a view of; "" for what is computed."""
    while isinstance(node, Node) and node.name in _VIEWS and node.run:
        node = node.args[0]
    return node.input if isinstance(node, Node) else ""


def described(node: Node) -> str:
    """A value in words: the name of an input, or the result of which operation."""
    return source(node) or (f"the result of {place(node)}" if node.name else "a constant")


def sign(name: str) -> str:
    """The sign that an operation is written with, or else its name."""
    return _SIGNS.get(name, name)


@dataclass
class Intermediate:
    """A value of the forward pass, and the gradient that reaches it."""

    value: Array
    gradient: Array


def intermediates(joint: Joint) -> dict[str, Intermediate]:
    """What calls in the reference give, by words such as "the result of `tanh` in FILE, line 7"."""
    last = {node.call: node for node in joint.reaching if node.call}  # of a call, its result
    return {
        f"the result of {call[0]}": Intermediate(
            node.value.detach().numpy(), joint.reaching[node].value.detach().numpy()
        )
        for call, node in last.items()
        if call
    }
