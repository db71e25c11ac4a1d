"""The reference: run on tensors, differentiated, and run again with every operation made noisy."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lockstep.errors import first_line_of
from lockstep.network.names import Array, Quantities

Named = dict[str, Any]  # what is passed, by name
Tensors = dict[str, Tensor]
Reference = Callable[..., Tensor]  # of tensors by name

# Operations whose results are no rounded numbers: they move, select, negate or round values.
# Views say so themselves.
_EXACT = frozenset(
    """
    _reshape_alias _to_copy _unsafe_view abs amax amin arange argmax argmin as_strided
    bernoulli bernoulli_ cat ceil ceil_ clamp clamp_ clamp_max clamp_min clone complex
    constant_pad_nd copy_ copysign cummax cummin dropout embedding empty empty_like eye fill_ flip
    floor floor_ floor_divide fmod full full_like gather index index_fill index_put_ index_select
    kthvalue lift_fresh linspace masked_fill masked_fill_ masked_select max
    max_pool2d_with_indices maximum median min minimum mode native_dropout neg new_empty
    new_full new_ones new_zeros normal_ one_hot ones ones_like rand rand_like randint randn
    randn_like relu relu_ remainder repeat roll round scalar_tensor scatter select_backward
    set_ sgn sign slice_backward sort split_with_sizes stack threshold threshold_backward topk
    tril triu trunc uniform uniform_ unfold_backward unsafe_split unsafe_split_with_sizes where
    zero_ zeros zeros_like
    """.split()
)
_CONSTANTS = frozenset("lift_fresh scalar_tensor full arange linspace _to_copy".split())
_SMALL = 4096  # numbers of a result that take their noise from a pool
NOT_THE_USERS = (str(Path(__file__).parents[1]), *torch.__path__, *np.__path__)  # folders
_watching = threading.local()


def watch(name: str, tensor: Tensor) -> Tensor:
    """Mark an intermediate inside `reference`, so that `hand` may return its gradient by this name.

    Outside a check it has no effect. In a report, gradients come in the order in which `hand`
    returns them, so the first wrong one says where the derivation goes wrong.

    Args:
        name: A name that no input has, and no other intermediate.
        tensor: The intermediate, of any shape.

    Returns:
        The tensor.

    Raises:
        ValueError: The name is used twice.

    Examples:
        >>> import numpy as np, torch
        >>> from lockstep import check_gradients, watch
        >>> def hand(x):
        ...     d_s = np.cos(x * x)
        ...     return {"s": d_s, "x": d_s * 2 * x}
        >>> def reference(x):
        ...     s = watch("s", x * x)
        ...     return torch.sin(s).sum()
        >>> check_gradients(hand, reference, x=np.linspace(-1, 2, 5)).values
        10
    """
    marks = getattr(_watching, "marks", None)
    if marks is not None and isinstance(tensor, Tensor):
        if name in marks:
            raise ValueError(
                f"watch: the name {name!r} is used twice; expected a name for each intermediate"
            )
        marks[name] = tensor
    return tensor


@contextlib.contextmanager
def same_draws() -> Iterator[Tensors]:
    """The tensors that `watch` marks meanwhile, by name; torch draws the same random numbers.

    Afterwards it goes on as if none was drawn.
    """
    # torch.manual_seed does the same, and looks for other devices, slowly
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(0)
    _watching.marks = {}
    try:
        yield _watching.marks
    finally:
        _watching.marks = None
        torch.default_generator.set_state(state)


def leaves(inputs: Quantities, wanted: Iterable[str]) -> Tensors:
    """The inputs as tensors in their own dtype; those that are wanted are differentiated.

    They may share their numbers with the inputs, so the user's code gets clones.
    """
    asked_for = set(wanted)
    return {
        name: (
            torch.from_numpy(array) if array.flags.writeable else torch.tensor(array)
        ).requires_grad_(name in asked_for)
        for name, array in inputs.items()
    }


def clones(inputs: Quantities, wanted: Iterable[str]) -> Tensors:
    """What the user's code gets: clones of `leaves`, which it may overwrite."""
    return {name: leaf.clone() for name, leaf in leaves(inputs, wanted).items()}


def floating(arrays: Quantities) -> list[str]:
    """The names of what can be differentiated: floating-point numbers, real or complex."""
    return [name for name, array in arrays.items() if array.dtype.kind in "fc"]


def widened(array: Array) -> Array:
    """Real numbers in float64; anything else as it is."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def way_back(tensor: Tensor) -> Iterator[Any]:
    """The nodes by which autograd would go back from a tensor, each once."""
    waiting, seen = [tensor.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            yield node
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]


class Noise(TorchDispatchMode):
    """Makes every floating-point result wrong by up to one unit in the last place, at random.

    This is Monte Carlo arithmetic (Parker 1997). Values that are only moved, selected or rounded
    keep theirs, and nothing is written into a view.

    Attributes:
        widest: The unit in the last place that the inputs have.
        narrow: The names of operations with results in a narrower precision than the inputs.
        used: The names of all operations.
        louder: How many units in the last place the noise has.
    """

    def __init__(self, seed: int, widest: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(seed)
        self.pool = torch.rand(3 * _SMALL, generator=self.generator, dtype=torch.float64) * 2 - 1
        self.widest, self.narrow, self.used, self.at = widest, set[str](), set[str](), seed
        self.louder = 1.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first use imports torch._dynamo, which takes seconds

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Named | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.used.add(name)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if (
                isinstance(tensor, Tensor)
                and (tensor.is_floating_point() or tensor.is_complex())
                and self._is_rounded(name, func, tensor, args)
            ):
                self._disturb(name, tensor)
        return out

    def _is_rounded(self, name: str, func: Any, tensor: Tensor, args: Any) -> bool:
        """Whether an operation rounds, so that another right way may give another result."""
        if tensor.layout != torch.strided:
            return False
        if name not in _EXACT:
            alias = func._schema.returns[0].alias_info
            return alias is None or alias.is_write
        if name not in _CONSTANTS or torch.finfo(tensor.dtype).eps <= self.widest:
            return False
        if name == "_to_copy" and args[0].is_floating_point():
            return bool(args[0].dtype != tensor.dtype and (args[0] != tensor).any())
        return not _is_short(tensor)

    def _disturb(self, name: str, tensor: Tensor) -> None:
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
        eps = torch.finfo(tensor.dtype).eps
        if eps > self.widest:
            self.narrow.add(name)
        size = tensor.numel()
        if size <= _SMALL:
            self.at = (self.at * 1_103_515_245 + 12_345) % (2 * _SMALL)
            noise = self.pool[self.at : self.at + size].view(tensor.shape)
        else:
            kind = torch.float64 if eps < 2.0**-30 else torch.float32
            noise = torch.empty(tensor.shape, dtype=kind)
            noise.uniform_(-1, 1, generator=self.generator)
        if noise.dtype == tensor.dtype and noise.device == tensor.device:
            tensor.addcmul_(tensor, noise, value=eps * self.louder)
        else:  # a half would lose the noise's digits
            by = 1 + eps * self.louder * noise.to(tensor.device)
            tensor.copy_(tensor * by.to(torch.float32 if eps > 2.0**-20 else tensor.dtype))


def _is_short(tensor: Tensor) -> bool:
    """Whether numbers have so few bits that they are what was meant: 0.5 is, 0.7 in float32 not."""
    few = tensor.to(torch.float64) * 2.0**8
    return bool((few == few.round()).all())


def gradients(
    reference: Reference,
    inputs: Quantities,
    wanted: Iterable[str],
    mode: TorchDispatchMode | None = None,
) -> Quantities:
    """PyTorch's gradients by name, of the wanted inputs and of what is marked by `watch`.

    An input that the reference does not depend on is left out. Complex ones are ∂L/∂a + i ∂L/∂b,
    for a value a + ib.

    Raises:
        ValueError: The reference changes its inputs, or cannot be differentiated.
    """
    given = leaves(inputs, wanted)
    with same_draws() as marks, torch.enable_grad(), mode or contextlib.nullcontext():
        passed = {name: tensor.clone() for name, tensor in given.items()}
        loss = asked(reference, passed)
        _demand_unchanged(passed, given, marks)
        try:
            return differentiated(loss, given | marks) if loss.requires_grad else {}
        except RuntimeError as error:
            raise blamed("the differentiation of reference", error) from error


def _demand_unchanged(passed: Tensors, given: Tensors, marks: Tensors) -> None:
    for name, tensor in given.items():
        now = passed[name]
        if not same(now, tensor):
            raise ValueError(
                f"reference changes its input {name!r} in place; "
                "expected it to work on a copy of it"
            )
        if name in marks and tensor.requires_grad:
            raise ValueError(f"watch: {name!r} is the name of an input; expected another name")


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same, NaN included."""
    return torch.equal(one, other) or np.array_equal(
        as_array(one), as_array(other), equal_nan=one.is_floating_point() or one.is_complex()
    )


def demand_scalar(reference: Reference, inputs: Quantities) -> None:
    """Raise a TypeError if the reference does not give a scalar tensor."""
    loss, first = None, None
    with same_draws(), torch.enable_grad():
        # it may differentiate inside, or be made of Python's numbers
        for wanted in ([], floating(inputs)):
            try:
                loss = asked(reference, clones(inputs, wanted))
            except (ValueError, TypeError) as error:
                first = first or error
            if isinstance(loss, Tensor):
                break
    if loss is None and first:
        raise first from first.__cause__
    gives, wants = type(loss).__name__, "a scalar tensor, such as a loss"
    if isinstance(loss, Tensor):
        gives = f"a tensor of shape {tuple(loss.shape)}"
        if loss.numel() == 1 and loss.is_floating_point():
            return
        if loss.numel() == 1:
            gives, wants = f"a tensor of {loss.dtype}", "a floating-point one"
    raise TypeError(f"reference gives {gives}; expected {wants}")


def differentiated(loss: Tensor, tensors: Tensors) -> Quantities:
    """The gradients of the loss, of those tensors that it depends on; may be called again."""
    wanted = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    if not wanted:
        return {}
    found = torch.autograd.grad(
        loss.reshape(()), list(wanted.values()), allow_unused=True, retain_graph=True
    )
    named = zip(wanted, found, strict=True)
    return {name: as_array(g) for name, g in named if g is not None}


def as_array(value: Any) -> Array:
    """A tensor of any layout, or anything that NumPy takes, as an array."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    value = value.detach()
    if value.layout == torch.sparse_coo:  # to_dense loses columns of length 1
        dense = torch.zeros(value.shape, dtype=value.dtype, device=value.device)
        at = tuple(value._indices())
        value = dense.index_put_(at, value._values().contiguous(), accumulate=True)
    elif value.layout != torch.strided:
        value = value.to_dense()
    value = value.cpu().resolve_conj().resolve_neg()
    array: Array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return array


def asked(reference: Callable[..., Any], given: Named) -> Any:
    """What the reference gives. An exception in it becomes a ValueError or TypeError."""
    try:
        got = reference(**given)
    except Exception as error:
        raise blamed("reference", error) from error
    return at_once("reference", got)


def at_once(who: str, result: Any) -> Any:
    """What a function of the user's gives, if it is not `async`."""
    if inspect.iscoroutine(result):
        result.close()  # else Python warns that nobody waited for it
        raise TypeError(f"{who} is an async function; expected one without async")
    return result


def blamed(who: str, error: Exception) -> ValueError | TypeError:
    """The exception that reports one in the user's code; its frames are the user's own."""

    frames: list[TracebackType] = []
    frame = error.__traceback__
    while frame is not None:
        if not frame.tb_frame.f_code.co_filename.startswith(NOT_THE_USERS):
            frames.append(frame)
        frame = frame.tb_next
    for one, following in itertools.zip_longest(frames, frames[1:]):
        one.tb_next = following
    error.__traceback__ = frames[0] if frames else None
    at = ""
    for last in frames[-1:]:
        at = f" (line {last.tb_lineno} of {Path(last.tb_frame.f_code.co_filename).name})"
    kind = TypeError if isinstance(error, TypeError) else ValueError
    says = first_line_of(error)
    if isinstance(error, RuntimeError) and re.search("dtype|scalar type", says):
        at += (
            "; expected inputs in the precision that it computes in: x.astype(float), "
            "or x.astype(np.float32) for a module in float32"
        )
    return kind(f"{who} raised {type(error).__name__}{': ' if says else ''}{says}{at}")
