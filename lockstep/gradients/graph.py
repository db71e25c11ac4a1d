"""A reference, forward and backward, as one list of simple operations with their values.

The forward pass is recorded first, and then run again, operation by operation, with its
differentiation, so that the gradients too are made of simple steps. Where that gives other
gradients (a Function with its own backward, say), the reference is recorded as it is.
"""

from __future__ import annotations

import contextlib
import linecache
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lockstep.gradients.operations import Edits, Node, rerun
from lockstep.gradients.reference import NOT_THE_USERS, Reference, Tensors, same_draws
from lockstep.gradients.tape import Tape
from lockstep.network.names import Quantities


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
            moves = node in edits or any(used in values for used in node.inputs)
            if node.run and not node.draws and moves:
                with contextlib.nullcontext() if node.tracked else torch.no_grad():
                    values[node] = rerun(node, values, edits.get(node))
                after(node)

    def gradients(self, edits: Edits) -> Tensors:
        """The gradients by name where some operations are edited."""
        values = self.start()
        self.run(values, edits)
        moving = self.moving(values)
        found = torch.autograd.grad(
            values[self.loss].sum(),
            list(moving.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        return dict(zip(moving, found, strict=True))

    def moving(self, values: dict[Node, Any]) -> Tensors:
        """What it is differentiated by, by name."""
        return {name: values[node] for name, node in (self.inputs | self.marks).items()}


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


def traced(
    reference: Reference, inputs: Quantities, wanted: Iterable[str], deadline: float = math.inf
) -> Joint:
    """The reference forward and backward, of simple operations throughout.

    Raises what the reference and PyTorch raise.
    """
    first = Tape(False, deadline)
    forward = _recorded(first, reference, inputs, wanted)[0]
    given = {id(node.value): node for node in forward.nodes if isinstance(node.value, Tensor)}
    tape = Tape(True, deadline)

    def after(node: Node) -> None:
        for made in reversed(tape.nodes):  # pragma: no branch
            if made.line or made.of:
                break
            _described_as(made, given.get(id(made.value), node) if made.run is None else node)

    values = forward.start()
    for node, tensor in values.items():
        _described_as(tape.node(tensor), node)
    with torch.enable_grad(), tape:
        forward.run(values, {}, after)
    joint = _with_gradients(tape, values[forward.loss], forward.moving(values))
    _let_go(forward.nodes)
    joint.forward, joint.fused = forward, first.fused
    return joint


def traced_as_it_is(
    reference: Reference, inputs: Quantities, wanted: Iterable[str], deadline: float = math.inf
) -> Joint:
    """The reference and its own way back, whose fused operations are taken apart separately."""
    tape = Tape(True, deadline)
    _, loss, moving = _recorded(tape, reference, inputs, wanted)
    return _with_gradients(tape, loss, moving)


def _recorded(
    tape: Tape, reference: Reference, inputs: Quantities, wanted: Iterable[str]
) -> tuple[Forward, Tensor, Tensors]:
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


def _with_gradients(tape: Tape, loss: Tensor, moving: Tensors) -> Joint:
    """Go all the way back on the tape."""
    seed = torch.ones_like(loss)
    start = tape.node(seed)
    results = tape.differentiated()
    makers: dict[Any, Node] = {tensor.grad_fn: node for tensor, node in results.items()}
    asked = {name: tensor for name, tensor in moving.items() if tensor.requires_grad}
    hooks = [maker.register_prehook(partial(tape.go_back, node)) for maker, node in makers.items()]
    try:
        with tape:
            found = torch.autograd.grad(loss, [*asked.values(), *results], seed, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    reached = [tape.node(gradient) for gradient in found]
    named, others = reached[: len(asked)], reached[len(asked) :]
    _let_go(tape.nodes)
    return Joint(
        tape.nodes,
        start,
        {name: node for name, node in zip(asked, named, strict=True) if node},
        {node: g for node, g in zip(results.values(), others, strict=True) if g},
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
