"""A bound for any torch expression, measured from what rounding is seen to do.

Two right answers in float64 differ by no more than a constant times what rounding is seen to do to
them: the *ladder* (in float32 it does 2²⁹ times as much; in long double, where there is one, almost
nothing), *moved inputs* (by one unit in the last place), and *noise* (every operation of the
reference, forward and backward, made wrong by a unit in the last place: Monte Carlo arithmetic).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
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

    Returns the tensor. Outside a check it does nothing else.
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
def marked() -> Iterator[dict[str, Tensor]]:
    """The tensors that `watch` marks meanwhile, by name."""
    _watching.marks = {}
    try:
        yield _watching.marks
    finally:
        _watching.marks = None


@contextlib.contextmanager
def same_draws() -> Iterator[None]:
    """Torch draws the same random numbers, and goes on afterwards as if none was drawn."""
    # torch.manual_seed does the same, and looks for other devices, slowly
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(0)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


class _Noise(TorchDispatchMode):
    """Makes every floating-point result wrong by up to one unit in the last place, at random."""

    def __init__(self, seed: int) -> None:
        super().__init__()
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
    given = {}
    for name, array in inputs.items():
        tensor = torch.tensor(array)
        given[name] = tensor.to(dtype).requires_grad_() if tensor.is_floating_point() else tensor
    with marked() as marks, same_draws(), torch.enable_grad(), mode or contextlib.nullcontext():
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
        wanted = {name: t for name, t in (given | marks).items() if t.requires_grad}
        gradients = _differentiated(loss, wanted)
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


def _differentiated(loss: Tensor, wanted: dict[str, Tensor]) -> Quantities:
    """The gradients of the loss, of those tensors that it depends on."""
    if not loss.requires_grad:
        return {}
    try:
        found = torch.autograd.grad(loss.sum(), list(wanted.values()), allow_unused=True)
    except RuntimeError as error:
        raise blamed("the differentiation of reference", error) from error
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
    kept: list[TracebackType] = []
    frames = error.__traceback__
    while frames is not None:
        if not frames.tb_frame.f_code.co_filename.startswith(NOT_THE_USERS):
            kept.append(frames)
        frames = frames.tb_next
    for frame, following in zip(kept, [*kept[1:], None], strict=False):
        frame.tb_next = following
    error.with_traceback(kept[0] if kept else None)
    at = ""
    if kept:
        at = f" (line {kept[-1].tb_lineno} of {Path(kept[-1].tb_frame.f_code.co_filename).name})"
    kind = TypeError if isinstance(error, TypeError) else ValueError
    says = str(error).partition("\n")[0]
    return kind(f"{who} raised {type(error).__name__}{': ' if says else ''}{says}{at}")


class Measured:
    """The largest effects of rounding, by name, and how far two right gradients may be apart.

    bound: how far they may be apart. single_hand, single_torch: the largest errors seen in float32
    (None where that overflows, or where hand cannot do it). lost_hand, lost_torch: the same, each
    relative to its element. moves_hand, moves_torch: how much rounding was seen to move them in
    float64. wide: by hand in long double (None where there is none, or where hand cannot do it).
    """

    def __init__(self, hand: Hand, reference: Reference, *arrays: Quantities) -> None:
        self.hand, self.reference = hand, reference
        self.inputs, self.values, self.own = arrays
        self.moves_torch, self.moves_hand, self.ladder = (self._nothing() for _ in range(3))
        self.lost_hand, self.lost_torch = self._nothing(), self._nothing()
        self.single_hand: Quantities | None = self._nothing()
        self.single_torch: Quantities | None = self._nothing()
        self.bound: Quantities = {}
        self.remarks: list[str] = []
        self.blown = False  # hand in float32 gives numbers that are not finite
        few = sum(array.size for array in self.inputs.values()) <= _WIDE_NUMBERS
        self.wide: Quantities | None = {} if _WIDER and few else None
        self.random = np.random.default_rng(0)

    def _nothing(self) -> Quantities:
        return {name: np.zeros(self.values[name].shape) for name in self.own}

    def _by_torch(self, inputs: Quantities, **more: Any) -> Quantities:
        """PyTorch's gradients; zeros where another branch leaves one out."""
        return self._nothing() | reference_gradients(self.reference, inputs, **more)

    def _moved(self, by: float) -> Quantities:
        return {
            name: array * (1 + by * self.random.integers(-1, 2, array.shape))
            if array.dtype.kind == "f"
            else array
            for name, array in self.inputs.items()
        }

    def _tried(self, inputs: Quantities) -> Quantities | None:
        """By hand in another precision or on moved inputs; None where that gives nothing alike."""
        try:
            got = self.hand(inputs)
        except (ValueError, TypeError):  # it knows float64 alone
            return None
        alike = all(name in got and got[name].shape == a.shape for name, a in self.own.items())
        return got if alike else None

    def _in_long_double(self, inputs: Quantities) -> Quantities | None:
        got = self._tried(in_precision(np.longdouble, inputs))
        return got if got and all(got[name].dtype == np.longdouble for name in self.own) else None

    def _finite(self, gradients: Quantities) -> bool:
        return all(np.isfinite(gradients[name]).all() for name in self.own)

    def in_single(self) -> None:
        """Both sides in float32 on other numbers, against the truth in float64 on the same."""
        narrow = in_precision(np.float32, self._moved(2.0**-20))
        truth = self._by_torch(narrow)
        rough = self._by_torch(narrow, dtype=torch.float32)
        self.single_torch = self._errors(self.single_torch, self.lost_torch, rough, truth)
        by_hand = self._tried(narrow)
        if by_hand is None:
            self.single_hand = None
            return
        self.blown |= not self._finite(by_hand)
        self.single_hand = self._errors(self.single_hand, self.lost_hand, by_hand, truth)
        if self.single_hand is not None:
            exact = self._tried(in_precision(np.float64, narrow))  # a wrong formula is no rounding
            _raise_to(self.ladder, by_hand, exact)

    def _errors(
        self, single: Quantities | None, lost: Quantities, rough: Quantities, truth: Quantities
    ) -> Quantities | None:
        """Take in one side's errors; None from where its numbers are not finite on."""
        if single is None or not self._finite(rough):
            return None
        _raise_to(single, rough, truth)
        for name, largest in lost.items():
            _grow(largest, (rough[name] - truth[name]) / np.abs(truth[name]))
        return single

    def in_double(self, draw: int) -> None:
        """Both sides on moved inputs, PyTorch with noise, and hand in long double."""
        shifted = self._moved(2.0**-52)
        _raise_to(self.moves_torch, self._by_torch(shifted), self.values)
        noisy = self._by_torch(self.inputs, mode=_Noise(draw))
        _raise_to(self.moves_torch, noisy, self.values)
        by_hand = self._tried(shifted)
        _raise_to(self.moves_hand, by_hand, self.own)
        if by_hand is not None and self.wide is not None and draw < _WIDE_DRAWS:
            self.wide = self._in_long_double(shifted)
            _raise_to(self.moves_hand, by_hand, self.wide)

    def conclude(self) -> None:
        """Long double on the inputs themselves, more draws where there is none, and the bound."""
        self.wide = self._in_long_double(self.inputs) if self.wide is not None else None
        for _ in range(0 if self.wide else _MORE):  # few draws may all be rounded the same way
            _raise_to(self.moves_hand, self._tried(self._moved(2.0**-51)), self.own)
        if self.single_torch is None:
            self.single_hand = None
            overflows = "in float32 the reference overflows"
            self.remarks.append(f"{overflows}, so the bound is measured in float64 alone")
        elif self.blown:
            strange = "in float32 the formula by hand gives numbers that are not finite"
            self.remarks.append(strange)
        self.bound = {name: self._bound(name) for name in self.own}

    def _bound(self, name: str) -> Array:
        size = np.abs(self.values[name])
        bound = np.maximum(self.moves_torch[name], self.moves_hand[name]) + 2.0**-53 * size
        whole = np.max(size, initial=0.0)  # an error beyond is no rounding that could be scaled
        if self.single_torch is not None:
            bound += LADDER * np.minimum(self.single_torch[name], whole)
        if self.single_hand is not None and self.wide is None:
            bound += LADDER * np.minimum(self.ladder[name], whole)
        return bound * SAFETY


@np.errstate(all="ignore")
def measure(
    hand: Hand, reference: Reference, inputs: Quantities, values: Quantities, own: Quantities
) -> Measured:
    """What rounding is seen to do to both sides.

    Args:
        hand: from inputs by name to float gradients by name.
        reference: the scalar in torch.
        inputs: in float64.
        values, own: PyTorch's and hand's gradients on the inputs.
    """
    seen = Measured(hand, reference, inputs, values, own)
    for draw in range(DRAWS):
        seen.in_single()
        seen.in_double(draw)
    seen.conclude()
    return seen


def in_precision(kind: type[np.floating[Any]], inputs: Quantities) -> Quantities:
    """The inputs with their floating-point arrays in another type."""
    return {
        name: array.astype(kind) if array.dtype.kind == "f" else array
        for name, array in inputs.items()
    }


def _raise_to(largest: Quantities, ones: Quantities | None, others: Quantities | None) -> None:
    """Take in the sizes of differences, if both sides are there."""
    if ones and others:
        for name in largest:
            _grow(largest[name], ones[name] - others[name])


def _grow(largest: Array, difference: Array) -> None:
    size = np.abs(np.where(np.isfinite(difference), difference, 0.0)).astype(np.float64)
    np.maximum(largest, size, out=largest)
