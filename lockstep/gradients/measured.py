"""A bound for any torch expression, measured from what rounding is seen to do.

Two right answers in float64 differ by no more than a constant times what rounding is seen to do to
them: the *ladder* (in float32 it does 2²⁹ times as much; in long double, where there is one, almost
nothing), *moved inputs* (by one unit in the last place), and *noise* (every operation of the
reference, forward and backward, made wrong by a unit in the last place: Monte Carlo arithmetic,
Parker 1997).
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lockstep.network.names import Array, Quantities

Reference = Callable[..., Tensor]
Hand = Callable[[Quantities], Quantities]

DRAWS = 8  # of each kind; the largest effect counts
_WIDE_DRAWS, _WIDE_NUMBERS = 2, 20_000  # long double has no fast products of matrices
_MORE = 24  # draws of moved inputs, by hand alone, where long double is not gone by
_WIDER = np.finfo(np.longdouble).eps < 2.0**-60  # long double is more than float64
SAFETY = 64  # two right answers were seen 24 measured brackets apart
LADDER = 2.0**-29  # float64's unit roundoff over float32's
_EXACT = frozenset(  # operations that only move, select or negate values
    """
    _reshape_alias _to_copy _unsafe_view abs alias amax amin arange argmax argmin as_strided
    bernoulli_ cat clamp clamp_max clamp_min clone constant_pad_nd copy_ detach diagonal embedding
    empty empty_like expand fill_ flip full full_like gather index index_select lift_fresh
    masked_fill masked_fill_ max max_pool2d_with_indices maximum min minimum neg new_empty new_full
    new_ones new_zeros normal_ ones ones_like permute rand randn relu repeat reshape scalar_tensor
    select select_backward set_ sgn sign slice slice_backward sort split squeeze squeeze_ stack t
    threshold_backward topk transpose tril triu unbind unfold uniform_ unsqueeze unsqueeze_ view
    where zero_ zeros zeros_like
    """.split()
)
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
def same_draws() -> Iterator[dict[str, Tensor]]:
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


def leaves(inputs: Quantities, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The inputs as tensors; floating-point ones, in a dtype of their own, are differentiated."""
    return {
        name: torch.tensor(array, dtype=dtype, requires_grad=True)
        if array.dtype.kind == "f"
        else torch.tensor(array)
        for name, array in inputs.items()
    }


class _Noise(TorchDispatchMode):
    """Makes every floating-point result wrong by up to one unit in the last place, at random."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in _EXACT:
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, Tensor) and tensor.dtype == torch.float64:
                    noise = torch.empty(tensor.shape, dtype=torch.float64)
                    by = noise.uniform_(1 - 2.0**-52, 1 + 2.0**-52, generator=self.generator)
                    tensor.mul_(by)
        return out


def reference_gradients(
    reference: Reference,
    inputs: Quantities,
    dtype: torch.dtype = torch.float64,
    mode: TorchDispatchMode | None = None,
) -> Quantities:
    """PyTorch's gradients by name, of floating-point inputs and of what is marked by `watch`.

    An input that the reference does not depend on is left out.

    Raises:
        TypeError: the reference does not give a scalar tensor that is built from the inputs.
        ValueError: it changes them or cannot be differentiated.
    """
    given = leaves(inputs, dtype)
    with same_draws() as marks, torch.enable_grad(), mode or contextlib.nullcontext():
        passed = {name: tensor.clone() for name, tensor in given.items()}
        loss = asked(reference, passed)
        _demand_scalar(loss)
        for name, tensor in given.items():
            if not torch.equal(passed[name], tensor):
                raise ValueError(
                    f"reference changes its input {name!r} in place; "
                    "expected it to work on a copy of it"
                )
            if name in marks and tensor.requires_grad:
                raise ValueError(f"watch: {name!r} is the name of an input; expected another name")
        try:
            gradients = differentiated(loss, given | marks) if loss.requires_grad else {}
        except RuntimeError as error:
            raise blamed("the differentiation of reference", error) from error
    if not gradients:
        raise TypeError(
            "reference gives a tensor that does not depend on the inputs; "
            "expected one built from them"
        )
    return gradients


def _demand_scalar(loss: Any) -> None:
    if not isinstance(loss, Tensor):
        gives = type(loss).__name__
    else:
        gives = f"a tensor of shape {tuple(loss.shape)}"
        if loss.numel() == 1 and loss.is_floating_point():
            return
        if loss.numel() == 1:
            raise TypeError(
                f"reference gives a tensor of {loss.dtype}; expected a floating-point one"
            )
    raise TypeError(f"reference gives {gives}; expected a scalar tensor, such as a loss")


def differentiated(loss: Tensor, tensors: dict[str, Tensor]) -> Quantities:
    """The gradients of the loss, of those tensors that it depends on; may be called again."""
    wanted = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    found = torch.autograd.grad(
        loss.sum(), list(wanted.values()), allow_unused=True, retain_graph=True
    )
    named = zip(wanted, found, strict=True)
    return {name: g.detach().numpy() for name, g in named if g is not None}


def asked(reference: Callable[..., Any], given: dict[str, Tensor]) -> Any:
    """What the reference gives. An exception in it becomes a ValueError or TypeError."""
    try:
        return reference(**given)
    except Exception as error:
        raise blamed("reference", error) from error


def blamed(who: str, error: Exception) -> ValueError | TypeError:
    """The exception that reports one in the user's code; its frames are the user's own."""

    def users(frames: TracebackType | None) -> TracebackType | None:
        """The frames that are the user's."""
        while frames and frames.tb_frame.f_code.co_filename.startswith(NOT_THE_USERS):
            frames = frames.tb_next
        if frames:
            frames.tb_next = users(frames.tb_next)
        return frames

    error.with_traceback(users(error.__traceback__))
    at = ""
    for last in traceback.extract_tb(error.__traceback__)[-1:]:
        at = f" (line {last.lineno} of {Path(last.filename).name})"
    kind = TypeError if isinstance(error, TypeError) else ValueError
    says = str(error).partition("\n")[0]
    return kind(f"{who} raised {type(error).__name__}{': ' if says else ''}{says}{at}")


class Side:
    """One side's gradients by name, and the largest effects of rounding on them that were seen.

    Attributes:
        gradients: In float64, on the inputs themselves.
        moves: How far rounding moves them in float64.
        single: Their errors in float32; empty where they are not finite there, or not to be had.
        lost: The same, each relative to its element.
    """

    def __init__(self, gradients: Quantities) -> None:
        self.gradients = gradients
        self.moves, self.single, self.lost = (_zeros(gradients) for _ in range(3))

    def in_single(self, rough: Quantities, truth: Quantities) -> bool:
        """Take in the errors of gradients in float32, and return whether these are finite."""
        finite = all(name in rough and np.isfinite(rough[name]).all() for name in self.gradients)
        self.single = self.single if finite else {}
        _grow(self.single, rough, truth)
        _grow(self.lost, rough, truth, relative=True)
        return finite


@dataclass
class Measured:
    """What rounding is seen to do to both sides, and how far two right gradients may be apart.

    Attributes:
        hand, torch: The two sides.
        bound: How far they may be apart, by name.
        wide: By hand in long double; empty where there is none, or where hand cannot do it.
        remarks: Sentences.
    """

    hand: Side
    torch: Side
    bound: Quantities
    wide: Quantities
    remarks: list[str]


@np.errstate(all="ignore")
def measure(
    hand: Hand, reference: Reference, inputs: Quantities, values: Quantities, own: Quantities
) -> Measured:
    """What rounding is seen to do to both sides.

    Args:
        hand: From inputs by name to float gradients by name.
        reference: The scalar in torch.
        inputs: In float64.
        values: PyTorch's gradients on the inputs.
        own: Those of hand, in float64.
    """
    yours, pytorch, ladder = Side(own), Side({name: values[name] for name in own}), _zeros(own)
    random = np.random.default_rng(0)

    def moved(by: float) -> Quantities:
        return _floats(inputs, lambda array: array * (1 + by * random.integers(-1, 2, array.shape)))

    by_hand = partial(_by_hand, hand, own)

    def by_torch(given: Quantities, **more: Any) -> Quantities:
        """PyTorch's gradients; zeros where another branch leaves one out."""
        return _zeros(own) | reference_gradients(reference, given, **more)

    few = sum(array.size for array in inputs.values()) <= _WIDE_NUMBERS
    wide = by_hand(inputs, np.longdouble) if _WIDER and few else {}
    blown = False  # hand in float32 gives numbers that are not finite
    for draw in range(DRAWS):
        narrow = in_precision(np.float32, moved(2.0**-20))
        truth = by_torch(narrow)
        pytorch.in_single(by_torch(narrow, dtype=torch.float32), truth)
        rough = by_hand(narrow, np.float32)
        blown |= not yours.in_single(rough, truth) and bool(rough)
        _grow(ladder, rough, by_hand(narrow))  # a wrong formula is no rounding
        shifted = moved(2.0**-52)
        _grow(pytorch.moves, by_torch(shifted), values)
        _grow(pytorch.moves, by_torch(inputs, mode=_Noise(draw)), values)
        again = by_hand(shifted)
        _grow(yours.moves, again, own)
        if wide and again and draw < _WIDE_DRAWS:
            wider = by_hand(shifted, np.longdouble)
            wide = wide if wider else {}
            _grow(yours.moves, again, wider)
    for _ in range(0 if wide else _MORE):  # few draws may all be rounded the same way
        _grow(yours.moves, by_hand(moved(2.0**-51)), own)
    remarks = []
    if not pytorch.single:
        yours.single = {}
        remarks = ["in float32 the reference overflows, so the bound is measured in float64 alone"]
    elif blown:
        remarks = ["in float32 the formula by hand gives numbers that are not finite"]
    bound = _bound(yours, pytorch, [pytorch.single, {} if wide or not yours.single else ladder])
    return Measured(yours, pytorch, bound, wide, remarks)


def _bound(yours: Side, pytorch: Side, ladders: list[Quantities]) -> Quantities:
    """How far two right gradients may be apart, from what was seen of both sides."""
    bound = {}
    for name, value in pytorch.gradients.items():
        size = np.abs(value)
        whole = np.max(size, initial=0.0)  # an error beyond is no rounding that could be scaled
        bound[name] = np.maximum(pytorch.moves[name], yours.moves[name]) + 2.0**-53 * size
        for errors in filter(None, ladders):
            bound[name] += LADDER * np.minimum(errors[name], whole)
        bound[name] *= SAFETY
    return bound


def _by_hand(
    hand: Hand, own: Quantities, inputs: Quantities, kind: type[np.floating[Any]] = np.float64
) -> Quantities:
    """By hand in a precision; empty where that gives nothing like its own gradients."""
    try:
        got = hand(in_precision(kind, inputs))
    except (ValueError, TypeError):  # it knows float64 alone
        return {}
    alike = all(
        name in got
        and got[name].shape == array.shape
        and (kind is not np.longdouble or got[name].dtype == kind)
        for name, array in own.items()
    )
    return got if alike else {}


def in_precision(kind: type[np.floating[Any]], inputs: Quantities) -> Quantities:
    """The inputs with their floating-point arrays in another type."""
    return _floats(inputs, lambda array: array.astype(kind))


def _floats(inputs: Quantities, change: Callable[[Array], Array]) -> Quantities:
    """The inputs with their floating-point arrays changed."""
    return {
        name: change(array) if array.dtype.kind == "f" else array for name, array in inputs.items()
    }


def _zeros(gradients: Quantities) -> Quantities:
    return {name: np.zeros(array.shape) for name, array in gradients.items()}


def _grow(
    largest: Quantities, ones: Quantities, others: Quantities, relative: bool = False
) -> None:
    """Take in the sizes of differences, if both sides are there."""
    for name in largest if ones and others else ():
        apart = ones[name] - others[name]
        apart = apart / np.abs(others[name]) if relative else apart
        size = np.abs(np.where(np.isfinite(apart), apart, 0.0)).astype(np.float64)
        np.maximum(largest[name], size, out=largest[name])
