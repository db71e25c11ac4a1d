"""Which one edit of the reference gives the wrong gradient: a way left out, a slope forgotten, a factor dropped.

The reference is traced into simple operations (fused ones, such as softmax, taken apart) and differentiated again with
one place edited at a time; where that gives exactly the numbers by hand, the mistake is found. Two kinds of place:

- a *way*: a value that is used several times gets a part of its gradient by each of its uses.
- an *operation*: its slope, a factor, or what its sum is divided by, is made another.
"""

import linecache
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._decomp import get_decompositions
from torch.fx import Interpreter
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.overrides import TorchFunctionMode

from lockstep.measured import marked, same_draws

_MOST = 500  # operations of a reference, beyond which it is not edited
_SIGNS = {
    "mul": "*", "rmul": "*", "div": "/", "truediv": "/", "rtruediv": "/", "add": "+", "radd": "+", "sub": "-",
    "rsub": "-", "pow": "**", "matmul": "@", "mm": "@", "bmm": "@", "mv": "@", "dot": "@", "permute": ".T", "t": ".T",
    "transpose": ".T", "get": ".T",
}  # fmt: skip
_SLOPED = frozenset("tanh sigmoid relu exp log erf sin cos softplus elu leaky_relu".split())
_NOT_THE_REFERENCE = str(Path(torch.__file__).parent), str(Path(__file__).parent)  # frames that are passed over
_aten = torch.ops.aten


def _var_mean(x, dim=None, *, correction=None, keepdim=False):
    return torch.var(x, dim, correction=correction, keepdim=keepdim), torch.mean(x, dim, keepdim=keepdim)


def _exponentials(x, dim):
    return torch.exp(x - x.amax(dim, keepdim=True).detach())  # the largest cancels, so it is no way of its own


def _softmax(x, dim, _half=False, **_):
    e = _exponentials(x, dim)
    return e / e.sum(dim, keepdim=True)


def _log_softmax(x, dim, _half):
    return x - _logsumexp(x, dim, True)


def _logsumexp(x, dim, keepdim=False):
    total = torch.log(_exponentials(x, dim).sum(dim, keepdim=keepdim))
    return total + x.amax(dim, keepdim=keepdim).detach()


_APART = get_decompositions(
    [_aten.native_layer_norm, _aten.gelu, _aten.silu, _aten.silu_, _aten._fused_rms_norm, _aten.mse_loss,
     _aten.native_batch_norm, _aten._native_batch_norm_legit, _aten._native_batch_norm_legit.no_stats,
     _aten._batch_norm_impl_index]
) | {
    _aten._softmax.default: _softmax, _aten._safe_softmax.default: _softmax, _aten._log_softmax.default: _log_softmax,
    _aten.logsumexp.default: _logsumexp, _aten.var_mean.correction: _var_mean,
}  # fmt: skip

Gradients = dict[str, np.ndarray]


@dataclass
class Run:
    """The reference, run once. wanted: tensors whose gradients are asked for; places: what made a gradient's node."""

    loss: torch.Tensor
    wanted: dict[str, torch.Tensor]
    places: dict[Any, str] = field(default_factory=dict)

    def gradients(self) -> Gradients:
        found = torch.autograd.grad(self.loss, list(self.wanted.values()), allow_unused=True, retain_graph=True)
        return {
            name: (torch.zeros_like(tensor) if gradient is None else gradient).detach().numpy()
            for (name, tensor), gradient in zip(self.wanted.items(), found, strict=True)
        }


def _leaves(inputs):
    values = {name: torch.tensor(array) for name, array in inputs.items()}
    return {name: value.requires_grad_(value.is_floating_point()) for name, value in values.items()}


def plain(reference, inputs: dict[str, np.ndarray]) -> Run:
    """The reference run as it is, for where it cannot be traced, because its branches depend on values, or is long."""
    places: dict[Any, str] = {}

    def tell(out, called, line):
        node = getattr(out, "grad_fn", None)
        if node is not None:
            places.setdefault(node, f"`{_said(called)}` {line}")

    with same_draws(), marked() as marks, _Lines(tell):
        given = _leaves(inputs)
        loss = reference(**{name: leaf.clone() for name, leaf in given.items()})
    wanted = given | marks
    return Run(loss.sum(), {name: leaf for name, leaf in wanted.items() if leaf.requires_grad}, places)


def traced(reference, inputs: dict[str, np.ndarray]) -> tuple[Callable[..., Run], list]:
    """A function that runs the reference operation by operation, one of them edited if asked to, and these operations.

    Raises what tracing raises, and ValueError for too many of them.
    """

    def function(*values):
        with marked() as marks, _Lines(_note_in_the_graph):
            loss = reference(**dict(zip(inputs, values, strict=True)))
        return loss, {name: mark for name, mark in marks.items() if mark.requires_grad}

    def run(node=None, edit: Any = None):
        places: dict[Any, str] = {}

        class Edited(Interpreter):
            def run_node(self, n):
                if n is not node:
                    out = super().run_node(n)
                else:
                    given = [
                        a.clone() if isinstance(a, torch.Tensor) else a for a in self.fetch_args_kwargs_from_env(n)[0]
                    ]
                    out = edit(super().run_node(n), *given)
                for tensor in out if isinstance(out, tuple | list) else (out,):
                    if n.op == "call_function" and isinstance(tensor, torch.Tensor) and tensor.grad_fn is not None:
                        places.setdefault(tensor.grad_fn, place(n))
                return out

        given = _leaves(inputs)
        with same_draws():
            loss, marks = Edited(graph).run(*[leaf.clone() for leaf in given.values()])
        return Run(loss.sum(), {name: leaf for name, leaf in given.items() if leaf.requires_grad} | marks, places)

    with same_draws():
        graph = make_fx(function, decomposition_table=_APART)(*_leaves(inputs).values())
    operations = [node for node in graph.graph.nodes if node.op == "call_function"]
    if len(operations) > _MOST:
        raise ValueError("more operations than can be edited one by one")
    return run, operations


class _Lines(TorchFunctionMode):
    """Tells, of every operation of the reference, its result and in which line it was asked for."""

    def __init__(self, tell):
        super().__init__()
        self.tell = tell

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_NOT_THE_REFERENCE):
            frame = frame.f_back
        if frame is not None:
            file, line = frame.f_code.co_filename, frame.f_lineno
            code = linecache.getline(file, line).strip()
            called = getattr(func, "__name__", "").strip("_")
            self.tell(out, called, f"in {Path(file).name}, line {line}" + (f" ({code})" if code else ""))
        return out


def _note_in_the_graph(_, called, line):
    tracing: Any = get_proxy_mode()
    for node in reversed(tracing.tracer.graph.nodes):
        if "line" in node.meta:
            break
        whole = _said(called) == _said(operation(node))
        node.meta["line"] = line if whole else f"of {called} {line}"


def place(node):
    """An operation in words: which, and in which line of the reference."""
    return f"`{_said(operation(node))}` {node.meta.get('line', '')}".strip()


def operation(node):
    packet = getattr(node.target, "overloadpacket", node.target)
    return getattr(packet, "__name__", str(packet)).strip("_")


def _said(name):
    return _SIGNS.get(name, name)


@dataclass
class Way:
    """One of several uses of a value. place: which, in words; part: what of the gradients comes by it; others: what
    comes by all the other uses of the value, None if that is a single one."""

    place: str
    part: Gradients
    others: Gradients | None


def ways(run: Run) -> Iterator[Way]:
    """Every use of every value that is used more than once."""
    full = run.gradients()
    uses, seen, waiting = defaultdict(list), set(), [run.loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for i, (source, result) in enumerate(node.next_functions):
            if source is not None:
                uses[source, result].append((node, i))
                waiting.append(source)
    for places in uses.values():
        if not 2 <= len(places) <= _MOST:
            continue
        parts = [_subtract(full, _without(run, node, i)) for node, i in places]
        for k, ((node, _), part) in enumerate(zip(places, parts, strict=True)):
            rest = [parts[j] for j in range(len(parts)) if j != k]
            others = {name: np.sum([r[name] for r in rest], axis=0) for name in full} if len(rest) > 1 else None
            yield Way(run.places.get(node, f"`{_said(node.name().removesuffix('Backward0').lower())}`"), part, others)


def _without(run, node, i) -> Gradients:
    def cut(gradients, _):
        return tuple(None if k == i else g for k, g in enumerate(gradients))

    hook = node.register_hook(cut)
    try:
        return run.gradients()
    finally:
        hook.remove()


def _subtract(a: Gradients, b: Gradients) -> Gradients:
    return {name: a[name] - b[name] for name in a}


@dataclass
class Edit:
    """An operation made another. mistake, says, remedy: what that stands for; gradients: what it gives."""

    mistake: str
    says: str
    remedy: str
    gradients: Gradients


def edits(run: Callable[..., Run], operations) -> Iterator[Edit]:
    """Every operation, edited in every way that is a usual mistake."""
    for node in operations:
        for mistake, says, remedy, edit in _usual(node):
            with np.errstate(all="ignore"):
                yield Edit(mistake, says, remedy, run(node, edit).gradients())


def _usual(node):
    """The usual mistakes at an operation: name, sentence, remedy, and a function from its result and arguments to what
    stands in its place."""
    name, at = operation(node), place(node)
    if name in _SLOPED:
        yield ("missing-activation-derivative", f"the derivative of {at} is left out",
               f"multiply with the slope of {name}", lambda out, x, *_: out.detach() + x - x.detach())  # fmt: skip
        yield ("derivative-at-wrong-point", f"the derivative of {at} is taken at its result, not at what goes in",
               f"take the slope of {name} at what goes in",
               lambda out, x, *more: _with_slope_of(node.target, out, x, *more))  # fmt: skip
        if name in ("tanh", "sigmoid"):
            yield ("wrong-activation-derivative", f"1 − {name} in place of the derivative of {at}",
                   f"the slope of {name} is " + ("1 − tanh²" if name == "tanh" else "σ (1 − σ)"),
                   lambda out, x, *_: out.detach() + (x - x.detach()) * (1 - out.detach()))  # fmt: skip
    if name in ("mul", "div"):
        for k, factor in enumerate(node.args[:2]):
            if isinstance(factor, int | float):
                yield from _in_both(f"the factor {'1/' * (name == 'div')}{factor:g} of {at} is left out",
                                    lambda out, *pair, k=k: pair[1 - k])  # fmt: skip
            elif not isinstance(node.args[1 - k], int | float) and not (name == "div" and k == 0):
                yield ("factor-missing", f"a factor of {at} is left out on the way back", "multiply with it",
                       lambda out, *pair, k=k: _without_factor(node.target, out, pair, k))  # fmt: skip
    if name in ("add", "sub") and isinstance(node.args[1], int | float) and node.args[1]:
        yield "term-missing", f"the constant {node.args[1]:g} of {at} is left out", "add it", lambda out, x, *_: x
    if name in ("mean", "var", "std"):
        bessel = f"{at} divides by n − 1 where yours divides by n"
        for words, power in ((f"{at} divides by n, yours by n − 1 (Bessel)", 1), (bessel, -1)):
            yield from _in_both(words, lambda out, x, *_, power=power: out * _bessel(out, x) ** (power * _root(name)))
        yield from _in_both(f"{at} is a mean, yours a sum",
                            lambda out, x, *_: out * (x.numel() / out.numel()) ** _root(name))  # fmt: skip
    if name == "sum":
        yield from _in_both(f"{at} is a sum, yours a mean", lambda out, x, *_: out * (out.numel() / x.numel()))


def _in_both(says, edit):
    """A factor that is another on the way there and back, or on the way there alone."""
    remedy = "check what is divided by"
    yield "scaled-by-constant", says, remedy, edit
    yield ("scaled-by-constant", f"{says}, in the value and not in its derivative", remedy,
           lambda out, *given: out + (edit(out, *given) - out).detach())  # fmt: skip


def _bessel(out, x):
    n = x.numel() / out.numel()
    return n / (n - 1) if n > 1 else math.nan


def _root(name):
    return 0.5 if name == "std" else 1


def _with_slope_of(function, out, x, *more):
    """The result, with the slope of the function at the result."""
    again = out.detach() + x - x.detach()
    away = function(again.clone(), *more)
    return out.detach() + away - away.detach()


def _without_factor(function, out, pair, k):
    """The product, with factor k left out of the derivative by the other one."""
    fixed = list(pair)
    fixed[1 - k] = pair[1 - k].detach()
    away = function(*fixed)
    return out.detach() + (pair[1 - k] - pair[1 - k].detach()) + away - away.detach()
