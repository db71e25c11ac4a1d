"""A tape: whatever PyTorch runs, as a list of simple operations.

It is written below PyTorch's differentiation, on the very numbers. So branches, loops, work in
place and other libraries all become plain lists. Fused operations are taken apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from operator import attrgetter, getitem
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.utils._python_dispatch import TorchDispatchMode

from lockstep.gradients.operations import Node, mapped, sign
from lockstep.gradients.reference import Named

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
_scaled_dot_product_flash_attention_for_cpu
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

    def present(names: Iterable[str]) -> Named:
        """The operations, or their overloads after a dot."""
        found = {}
        for name in names:
            with suppress(AttributeError):
                found[name] = attrgetter(name)(torch.ops.aten)
        return found

    ours = {operation: _BY_US[name] for name, operation in present(_BY_US).items()}
    fused = present((_FUSED + _FUSED_BACKWARD).split())
    return get_decompositions(list(fused.values())) | ours


# Writing down


class TooLong(Exception):
    """The time is up."""


class Tape(TorchDispatchMode):
    """Writes down every operation that is run.

    Attributes:
        nodes: The operations in their order.
        of: The forward operation whose derivative is being run.
        fused: Whether an operation had to be taken apart.
    """

    def __init__(self, aliases: bool, deadline: float) -> None:
        """aliases: whether a detached tensor counts as the tensor; deadline: when to stop."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[Node] = []
        self.of: Node | None = None
        self.fused = False
        self._apart = taken_apart()
        self._aliases = aliases
        self._deadline = deadline
        self._known: dict[int, tuple[Tensor, Node]] = {}  # holds the tensors, so that ids last
        self._sharing: dict[int, list[Tensor]] = {}  # tensors by where their numbers are

    def node(self, it: Any) -> Any:
        """The node of a tensor, which is new for one that is given; other things as they are."""
        if not isinstance(it, Tensor):
            return it
        if id(it) not in self._known:
            self._add("", None, [], {}, it, it)
        return self._known[id(it)][1]

    def differentiated(self) -> dict[Tensor, Node]:
        """The tensors that are differentiated, and what made them."""
        return {tensor: node for tensor, node in self._known.values() if tensor.grad_fn is not None}

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
        options: Named,
        value: Any,
        tensor: Tensor | None,
    ) -> Node:
        tracked = torch.is_grad_enabled()
        node = Node(len(self.nodes), name, run, args, options, value, tracked, of=self.of)
        for used in node.inputs:
            used.users.append(node)
        self.nodes.append(node)
        if tensor is not None:
            if id(tensor) not in self._known and tensor.layout == torch.strided:
                self._sharing.setdefault(_storage(tensor), []).append(tensor)
            self._known[id(tensor)] = tensor, node
        return node

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Named | None = None
    ) -> Any:
        if time.monotonic() > self._deadline:
            raise TooLong
        kwargs = kwargs or {}
        with self:  # what it is made of is written down
            out = self._apart.get(func, func.decompose)(*args, **kwargs)
        if out is not NotImplemented:
            self.fused |= func in self._apart
            return out
        given = mapped(self.node, list(args))
        name = func.overloadpacket.__name__.strip("_")
        before = len(self.nodes)
        if func._schema.is_mutable:
            out = self._written(func, name, args, given, kwargs)
        else:
            out = func(*args, **kwargs)
            self._made(func, name, out, args, given, kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            for node in self.nodes[before:]:
                node.draws = True
        return out

    def _made(
        self, func: Any, name: str, out: Any, args: Any, given: list[Any], options: Named
    ) -> None:
        """Write down an operation and its results."""
        if any(out is one for one in args):
            return
        if self._aliases and name in _ALIASES:
            self._known[id(out)] = out, given[0]
            self._sharing.setdefault(_storage(out), []).append(out)
        elif isinstance(out, Tensor):
            self._add(name, func, given, options, out, out)
        elif isinstance(out, tuple | list):
            whole = self._add(name, func, given, options, out, None)
            for k, one in enumerate(out):
                if isinstance(one, Tensor):
                    self._add("getitem", getitem, [whole, k], {}, one, one)

    def _written(self, func: Any, name: str, args: Any, given: list[Any], options: Named) -> Any:
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
                if _storage(node.value) == _storage(changed):  # pragma: no branch
                    node.value = node.value.detach().clone()
        out = func(*args, **options)
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
    if not one.numel() or not other.numel():
        return False
    numbers = _numbers(one.detach(), _geometry(one), _geometry(other))
    numbers.as_strided(*_geometry(other)).fill_(1)
    return bool(numbers.as_strided(*_geometry(one)).any())


def _seen_through(seen: Any, written: Any, old: Tensor, new: Tensor) -> Tensor:
    """A tensor after numbers of another one, with which it shares them, have been changed."""
    numbers = _numbers(old, seen, written)
    numbers.as_strided(*seen).copy_(old)
    numbers.as_strided(*written).copy_(new)
    return numbers.as_strided(*seen).clone()
