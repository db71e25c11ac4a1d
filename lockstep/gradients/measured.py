"""A bound for any torch expression, measured: a wrong formula does not get better with precision, rounding does.

Two right answers in float64 differ by no more than a constant times what rounding is seen to do to them:
the *ladder* (in float32 it does 2²⁹ times as much; in long double, where there is one, almost nothing), *moved inputs*
(by one unit in the last place), and *noise* (every operation of the reference, forward and backward, made wrong by a
unit in the last place: Monte Carlo arithmetic).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lockstep.network.names import Quantities

DRAWS = 8  # of each kind; the largest effect counts
_WIDE_DRAWS, _WIDE_NUMBERS = 2, 20_000  # long double has no fast products of matrices
_MORE = 24  # draws of moved inputs, by hand alone, where long double is not gone by
_WIDER = np.finfo(np.longdouble).eps < 2.0**-60  # long double is more than float64
SAFETY = 64  # two right answers were seen 24 measured brackets apart
LADDER = 2.0**-29  # float64's unit roundoff over float32's
_EXACT = frozenset(  # operations that only move, select or negate values
    """
    _reshape_alias _to_copy _unsafe_view abs alias amax amin arange argmax argmin as_strided bernoulli_ cat clamp
    clamp_max clamp_min clone constant_pad_nd copy_ detach diagonal embedding empty empty_like expand fill_ flip
    full full_like gather index index_select lift_fresh masked_fill masked_fill_ max max_pool2d_with_indices maximum
    min minimum neg new_empty new_full new_ones new_zeros normal_ ones ones_like permute rand randn relu repeat
    reshape scalar_tensor select select_backward set_ sgn sign slice slice_backward sort split squeeze squeeze_
    stack t threshold_backward topk transpose tril triu unbind unfold uniform_ unsqueeze unsqueeze_ view where zero_
    zeros zeros_like
    """.split()
)
NOT_THE_USERS = tuple(  # folders
    [str(Path(__file__).parents[1]), *torch.__path__, *np.__path__]
)
_watching = threading.local()
Reference = Callable[..., torch.Tensor]


def watch(name, tensor):
    """Mark an intermediate inside `reference`, so that `hand` may return its gradient under this name.

    Returns the tensor. Outside a check it does nothing else.
    """
    marks = getattr(_watching, "marks", None)
    if marks is not None and isinstance(tensor, torch.Tensor):
        if name in marks:
            raise ValueError(
                f"watch: the name {name!r} is used twice; expected a name for each intermediate"
            )
        marks[name] = tensor
    return tensor


@contextlib.contextmanager
def marked():
    """The tensors that `watch` marks meanwhile, by name."""
    _watching.marks = {}
    try:
        yield _watching.marks
    finally:
        _watching.marks = None


@contextlib.contextmanager
def same_draws():
    """Random numbers of torch start from the same seed, and go on afterwards as if nothing had been drawn."""
    state = (
        torch.default_generator.get_state()
    )  # torch.manual_seed does the same, and looks for other devices, slowly
    torch.default_generator.manual_seed(0)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


class _Noise(TorchDispatchMode):
    """Every floating-point operation's result is off by a random relative error of up to one unit in the last place."""

    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in _EXACT:
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                    noise = torch.empty(tensor.shape, dtype=torch.float64)
                    tensor.mul_(
                        noise.uniform_(1 - 2.0**-52, 1 + 2.0**-52, generator=self.generator)
                    )
        return out


def reference_gradients(reference, inputs, dtype=torch.float64, mode=None):
    """PyTorch's gradients by name, of floating-point inputs and of what is marked by `watch`, as NumPy arrays.

    Raises TypeError where the reference does not give a scalar tensor that is built from the inputs, ValueError where
    it changes them or cannot be differentiated. An input that it does not depend on is left out.
    """
    given = {}
    for name, array in inputs.items():
        tensor = torch.tensor(array)
        given[name] = tensor.to(dtype).requires_grad_() if tensor.is_floating_point() else tensor
    with marked() as marks, same_draws(), torch.enable_grad(), mode or contextlib.nullcontext():
        passed = {name: tensor.clone() for name, tensor in given.items()}
        loss = asked(reference, passed)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            shape = (
                f"a tensor of shape {tuple(loss.shape)}"
                if isinstance(loss, torch.Tensor)
                else type(loss).__name__
            )
            raise TypeError(f"reference gives {shape}; expected a scalar tensor, such as a loss")
        for name, tensor in given.items():
            if not torch.equal(passed[name], tensor):
                raise ValueError(
                    f"reference changes its input {name!r} in place; expected it to work on a copy of it"
                )
        if not loss.is_floating_point():
            raise TypeError(
                f"reference gives a tensor of {loss.dtype}; expected a floating-point one"
            )
        wanted = {name: tensor for name, tensor in given.items() if tensor.requires_grad}
        twice = sorted(wanted.keys() & marks.keys())
        if twice:
            raise ValueError(f"watch: {twice[0]!r} is the name of an input; expected another name")
        wanted |= {name: tensor for name, tensor in marks.items() if tensor.requires_grad}
        found: Sequence[torch.Tensor | None] = [None] * len(wanted)
        if loss.requires_grad:
            try:
                found = torch.autograd.grad(loss.sum(), list(wanted.values()), allow_unused=True)
            except RuntimeError as error:
                raise blamed("the differentiation of reference", error) from error
    gradients = {
        name: g.detach().numpy() for name, g in zip(wanted, found, strict=True) if g is not None
    }
    if not gradients:
        raise TypeError(
            "reference gives a tensor that does not depend on the inputs; expected one built from them"
        )
    return gradients


def asked(reference, given):
    """What the reference gives. An exception in it becomes a ValueError or TypeError, as `blamed` makes them."""
    try:
        return reference(**given)
    except Exception as error:
        raise blamed("reference", error) from error


def blamed(who, error):
    """The exception that tells of one in the user's code; of that one's frames only the user's own are left."""
    frames, kept = error.__traceback__, []
    while frames is not None:
        if not frames.tb_frame.f_code.co_filename.startswith(NOT_THE_USERS):
            kept.append(frames)
        frames = frames.tb_next
    for frame, following in zip(kept, [*kept[1:], None], strict=False):
        frame.tb_next = following
    error.with_traceback(kept[0] if kept else None)
    at = (
        f" (line {kept[-1].tb_lineno} of {Path(kept[-1].tb_frame.f_code.co_filename).name})"
        if kept
        else ""
    )
    kind = TypeError if isinstance(error, TypeError) else ValueError
    says = str(error).partition("\n")[0]
    return kind(f"{who} raised {type(error).__name__}{': ' if says else ''}{says}{at}")


@dataclass
class Measured:
    """bound: how far two right float64 gradients may be apart, by name.

    single_hand, single_torch: the largest errors seen in float32 (None where that overflows, or where hand cannot do
    it); lost_hand, lost_torch: the same, each relative to its element. moves_hand, moves_torch: how much rounding was
    seen to move them in float64. wide: by hand in long double (None where there is none, or where hand cannot do it).
    """

    bound: Quantities
    single_hand: Quantities | None
    single_torch: Quantities | None
    lost_hand: Quantities
    lost_torch: Quantities
    moves_hand: Quantities
    moves_torch: Quantities
    wide: Quantities | None
    remarks: list[str]


def measure(
    hand: Callable[[dict], dict], reference, inputs: dict[str, Any], values: dict, own: dict
) -> Measured:
    """The bound for hand's gradients. hand: from inputs by name to float gradients by name; inputs: float64.

    values, own: PyTorch's and hand's gradients on the inputs.
    """

    def nothing() -> Quantities:
        return {name: np.zeros(values[name].shape) for name in own}

    def by_torch(
        *given, **more
    ) -> Quantities:  # a branch that is not taken there leaves a gradient out
        return nothing() | reference_gradients(reference, *given, **more)

    moves_torch, moves_hand, ladder = nothing(), nothing(), nothing()
    single_hand, single_torch, lost_hand, lost_torch = nothing(), nothing(), nothing(), nothing()
    finite = follows = True
    blown = False
    few = sum(array.size for array in inputs.values()) <= _WIDE_NUMBERS
    wide: Quantities | None = {} if _WIDER and few else None
    random = np.random.default_rng(0)

    def moved(by):
        return {
            name: array * (1 + by * random.integers(-1, 2, array.shape))
            if array.dtype.kind == "f"
            else array
            for name, array in inputs.items()
        }

    with np.errstate(all="ignore"):
        for draw in range(DRAWS):
            narrow = in_precision(np.float32, moved(2.0**-20))
            truth = by_torch(narrow)  # in float64, on those same numbers
            rough = by_torch(narrow, torch.float32)
            finite &= all(np.isfinite(rough[name]).all() for name in own)
            errors = {name: rough[name] - truth[name] for name in own}
            _raise_to(single_torch, errors)
            _raise_to(lost_torch, {name: errors[name] / np.abs(truth[name]) for name in own})
            by_hand = _tried(hand, narrow, own)
            real = by_hand is not None and all(np.isfinite(by_hand[name]).all() for name in own)
            blown |= by_hand is not None and not real
            follows &= real
            if by_hand is not None and follows:
                errors = {name: by_hand[name] - truth[name] for name in own}
                _raise_to(single_hand, errors)
                _raise_to(lost_hand, {name: errors[name] / np.abs(truth[name]) for name in own})
                exact = _tried(
                    hand, in_precision(np.float64, narrow), own
                )  # a wrong formula is no rounding
                _raise_to(ladder, {name: by_hand[name] - exact[name] for name in own if exact})

            shifted = moved(2.0**-52)
            again, by_hand = by_torch(shifted), _tried(hand, shifted, own)
            _raise_to(moves_torch, {name: again[name] - values[name] for name in own})
            noisy = by_torch(inputs, mode=_Noise(draw))
            _raise_to(moves_torch, {name: noisy[name] - values[name] for name in own})
            if by_hand is not None:
                _raise_to(moves_hand, {name: by_hand[name] - own[name] for name in own})
                if wide is not None and draw < _WIDE_DRAWS:
                    wide = _in_long_double(hand, shifted, own)
                    _raise_to(
                        moves_hand, {name: by_hand[name] - wide[name] for name in own if wide}
                    )
        wide = _in_long_double(hand, inputs, own) if wide is not None else None
        for _ in range(0 if wide else _MORE):  # few draws may all be rounded the same way
            by_hand = _tried(hand, moved(2.0**-51), own)
            _raise_to(moves_hand, {name: by_hand[name] - own[name] for name in own if by_hand})

    remarks = (
        []
        if finite
        else ["in float32 the reference overflows, so the bound is measured in float64 alone"]
    )
    if finite and blown:
        remarks.append("in float32 the formula by hand gives numbers that are not finite")
    bound = {}
    for name in own:
        size = np.abs(values[name])
        bound[name] = np.maximum(moves_torch[name], moves_hand[name]) + 2.0**-53 * size
        whole = np.max(
            size, initial=0.0
        )  # an error beyond that is no rounding that could be scaled
        if finite:
            bound[name] += LADDER * np.minimum(single_torch[name], whole)
        if finite and follows and wide is None:
            bound[name] += LADDER * np.minimum(ladder[name], whole)
        bound[name] *= SAFETY
    return Measured(
        bound,
        single_hand if finite and follows else None,
        single_torch if finite else None,
        lost_hand,
        lost_torch,
        moves_hand,
        moves_torch,
        wide,
        remarks,
    )


def in_precision(kind, inputs):
    """The inputs with their floating-point arrays in another type."""
    return {
        name: array.astype(kind) if array.dtype.kind == "f" else array
        for name, array in inputs.items()
    }


def _tried(hand, inputs, own):
    """By hand in another precision, or on slightly moved inputs; None where that gives nothing alike."""
    try:
        got = hand(inputs)
    except Exception:  # it knows float64 alone
        return None
    return got if all(name in got and got[name].shape == own[name].shape for name in own) else None


def _in_long_double(hand, inputs, own):
    got = _tried(hand, in_precision(np.longdouble, inputs), own)
    return got if got and all(got[name].dtype == np.longdouble for name in own) else None


def _raise_to(largest, differences):
    for name, difference in differences.items():
        size = np.abs(np.where(np.isfinite(difference), difference, 0.0)).astype(np.float64)
        np.maximum(largest[name], size, out=largest[name])
