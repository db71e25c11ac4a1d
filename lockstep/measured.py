"""A bound for any torch expression, measured: a wrong formula does not get better with precision, rounding does.

Two right answers in float64 differ by no more than a constant times what rounding is seen to do to them:
the *ladder* (in float32 it does 2²⁹ times as much), *moved inputs* (by one unit in the last place), and *noise* (every
operation of the reference, forward and backward, made wrong by a unit in the last place: Monte Carlo arithmetic).
"""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

DRAWS = 8  # of each kind; the largest effect counts
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

_watching = threading.local()


def watch(name, tensor):
    """Mark an intermediate inside `reference`, so that `hand` may return its gradient under this name.

    Returns the tensor. Outside a check it does nothing else.
    """
    marks = getattr(_watching, "marks", None)
    if marks is not None and isinstance(tensor, torch.Tensor):
        if name in marks:
            raise ValueError(f"watch: the name {name!r} is used twice; expected a name for each intermediate")
        marks[name] = tensor
    return tensor


@contextlib.contextmanager
def _marks():
    _watching.marks = {}
    try:
        yield _watching.marks
    finally:
        _watching.marks = None


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
                    noise = torch.rand(tensor.shape, generator=self.generator, dtype=torch.float64) * 2 - 1
                    tensor.mul_(1 + 2.0**-52 * noise)
        return out


def reference_gradients(reference, inputs, dtype=torch.float64, mode=None):
    """PyTorch's gradients by name, of floating-point inputs and of what is marked by `watch`, as NumPy arrays.

    Raises TypeError where the reference does not give a scalar tensor that is built from the inputs.
    """
    given = {}
    for name, array in inputs.items():
        tensor = torch.tensor(array)
        given[name] = tensor.to(dtype).requires_grad_() if tensor.is_floating_point() else tensor
    with _marks() as marks, torch.random.fork_rng(devices=[]), torch.enable_grad(), mode or contextlib.nullcontext():
        torch.manual_seed(0)
        loss = reference(**{name: tensor.clone() if tensor.requires_grad else tensor for name, tensor in given.items()})
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            shape = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise TypeError(f"reference gives {shape}; expected a scalar tensor, such as a loss")
        if not loss.is_floating_point() or not loss.requires_grad:
            raise TypeError("reference gives a tensor that does not depend on the inputs; expected one built from them")
        wanted = {name: tensor for name, tensor in given.items() if tensor.requires_grad}
        twice = sorted(wanted.keys() & marks.keys())
        if twice:
            raise ValueError(f"watch: {twice[0]!r} is the name of an input; expected another name")
        wanted |= {name: tensor for name, tensor in marks.items() if tensor.requires_grad}
        found = torch.autograd.grad(loss.sum(), list(wanted.values()), allow_unused=True)
    return {
        name: (torch.zeros_like(tensor) if gradient is None else gradient).detach().numpy()
        for (name, tensor), gradient in zip(wanted.items(), found, strict=True)
    }


@dataclass
class Measured:
    """bound: how far two right float64 gradients may be apart, by name. single_hand, single_torch: the largest errors
    seen in float32 (None where that overflows, or where hand cannot do it)."""

    bound: dict[str, np.ndarray]
    single_hand: dict[str, np.ndarray] | None
    single_torch: dict[str, np.ndarray] | None
    remarks: list[str]


def measure(hand: Callable[[dict], dict], reference, inputs: dict[str, Any], values: dict, own: dict) -> Measured:
    """The bound for hand's gradients. hand: from inputs by name to float gradients by name; inputs: float64.

    values, own: PyTorch's and hand's gradients on the inputs.
    """
    names = list(own)
    effect = {name: np.zeros(values[name].shape) for name in names}
    single_hand = {name: np.zeros(values[name].shape) for name in names}
    single_torch = {name: np.zeros(values[name].shape) for name in names}
    remarks = []
    finite = follows = True
    random = np.random.default_rng(0)

    def moved(by):
        return {
            name: array * (1 + by * random.integers(-1, 2, array.shape)) if array.dtype.kind == "f" else array
            for name, array in inputs.items()
        }

    with np.errstate(all="ignore"):
        for draw in range(DRAWS):
            narrow = {
                name: array.astype(np.float32) if array.dtype.kind == "f" else array
                for name, array in moved(2.0**-20).items()
            }
            truth = reference_gradients(reference, narrow)  # in float64, on those same numbers
            rough = reference_gradients(reference, narrow, torch.float32)
            finite &= all(np.isfinite(rough[name]).all() for name in names)
            _raise_to(single_torch, {name: rough[name] - truth[name] for name in names})
            try:
                by_hand = hand(narrow)
            except Exception:
                follows = False
            else:
                alike = all(name in by_hand and by_hand[name].shape == truth[name].shape for name in names)
                follows &= alike and all(np.isfinite(by_hand[name]).all() for name in names)
                if follows:
                    _raise_to(single_hand, {name: by_hand[name].astype(np.float64) - truth[name] for name in names})

            shifted = moved(2.0**-52)
            again, by_hand = reference_gradients(reference, shifted), hand(shifted)
            _raise_to(effect, {name: again[name] - values[name] for name in names})
            if all(name in by_hand and by_hand[name].shape == own[name].shape for name in names):
                _raise_to(effect, {name: by_hand[name].astype(np.float64) - own[name] for name in names})

            noisy = reference_gradients(reference, inputs, mode=_Noise(draw))
            _raise_to(effect, {name: noisy[name] - values[name] for name in names})

    if not finite:
        remarks.append("in float32 the reference overflows, so the bound is measured in float64 alone")
    bound = {}
    for name in names:
        total = effect[name] + 2.0**-53 * np.abs(values[name])
        if finite:
            total = total + LADDER * single_torch[name]
        if finite and follows:
            total = total + LADDER * single_hand[name]
        bound[name] = SAFETY * total
    return Measured(bound, single_hand if finite and follows else None, single_torch if finite else None, remarks)


def _raise_to(largest, differences):
    for name, difference in differences.items():
        size = np.abs(np.where(np.isfinite(difference), difference, 0.0))
        np.maximum(largest[name], size, out=largest[name])
