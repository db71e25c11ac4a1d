"""check_gradients: any hand-derived gradient against PyTorch's, and the likely mistake."""

from __future__ import annotations

import difflib
import inspect
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.errors import first_line_of, observed
from lockstep.explain.facts import agree
from lockstep.gradients.derivative import yours_is_the_derivative
from lockstep.gradients.inputs import Given, digest, each_in, flat, given, largest, parts
from lockstep.gradients.kinks import Kinks, crossed_by_rounding, look_around
from lockstep.gradients.measured import (
    SAFETY,
    SMALL,
    Check,
    Measured,
    fixed,
    measure,
    moved_by_hand,
)
from lockstep.gradients.mistakes import by_shape, diagnose
from lockstep.gradients.quotients import quotient
from lockstep.gradients.reference import (
    Named,
    as_array,
    at_once,
    blamed,
    demand_scalar,
    floating,
    gradients,
)
from lockstep.gradients.result import (
    CheckResult,
    GradientMismatch,
    first_of,
    in_lines,
    matched,
    mismatch,
)
from lockstep.gradients.saturation import saturated
from lockstep.gradients.wrong import Wrong
from lockstep.network.names import Array, Quantities
from lockstep.run.record import Entry
from lockstep.run.threads import threads
from lockstep.text import counted

Code = Callable[..., Any]  # of the user's
REPORTED = (GradientMismatch, ValueError, TypeError)


class WrongAnswer(Exception):
    """What the side by hand returned cannot be used.

    Attributes:
        says: What it returned, and what is expected.
    """

    def __init__(self, says: str) -> None:
        super().__init__(f"hand returned {says}")
        self.says = says


class WrongValue(WrongAnswer, ValueError):
    """A name or a number that is not expected."""


class WrongKind(WrongAnswer, TypeError):
    """No dict of numbers."""


@dataclass
class Options:
    """How a check is done.

    Attributes:
        rtol, atol: A fixed tolerance in place of the measured bound.
        seed: Of the noise, and of random incoming gradients.
        device: Where PyTorch computes; "cpu" is where the inputs lie.
        diagnose: Whether mistakes are to be named.
        time_limit: Seconds for that.
    """

    rtol: float | None = None
    atol: float | None = None
    seed: int = 0
    device: str = "cpu"
    diagnose: bool = True
    time_limit: float = 10.0

    def __post_init__(self) -> None:
        for name in ("rtol", "atol", "time_limit"):
            value = getattr(self, name)
            if value is None and name != "time_limit":
                continue
            if not isinstance(value, int | float) or not (0 <= value < math.inf):
                raise ValueError(f"{name} is {value!r}; expected a finite number, 0 or more")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed is {self.seed!r}; expected a whole number, 0 or more")
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError, TypeError) as error:
            says = first_line_of(error)
            raise ValueError(f"device {self.device!r} can't be used: {says}") from None

    @property
    def is_fixed(self) -> bool:
        """Whether there is a fixed tolerance."""
        return self.rtol is not None or self.atol is not None


def check_gradients(
    hand: Code | dict[str, Any],
    reference: Code,
    /,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    diagnose: bool = True,
    time_limit: float = 10.0,
    **inputs: Any,
) -> CheckResult:
    """Check gradients derived by hand against PyTorch's automatic differentiation.

    How far two right gradients may be apart is measured for every element, from what rounding does
    to both sides; there is no tolerance to choose.

    Args:
        hand: Gets the inputs by name, arrays as NumPy arrays in the dtype given. It returns a dict
            of gradients by input name, any subset, each an array or a tensor in the shape of its
            input. Intermediates that the reference marks with `lockstep.watch` may be returned
            too. Or a dict of numbers that were computed elsewhere.
        reference: Gets the inputs by name, arrays as torch tensors. It returns a scalar built with
            torch.
        rtol: A relative tolerance in place of the measured bound; 0 if only `atol` is given.
        atol: An absolute tolerance, added to the relative one; 0 if only `rtol` is given.
        seed: Of the noise by which the bound is measured.
        device: Where PyTorch computes, such as "cuda"; by default where the inputs lie.
        diagnose: Whether a wrong gradient is looked at for its mistake.
        time_limit: Seconds that this may take.
        inputs: Arrays or tensors of any shape, dicts and lists of them, and constants of any type.
            Those that `hand` gives a gradient for are differentiated; all others are passed on as
            they are. A name that is an option is an input if `reference` has that argument.

    Returns:
        A match, with how fine the check could see; `print` it. Its verdict is "undecided" where
        rounding alone could change a gradient by all that it is.

    Raises:
        GradientMismatch: A gradient is wrong. It is an AssertionError, and its message is the
            report.
        ValueError: Something cannot be used: a side that gives other numbers when called again, an
            exception in `hand` or `reference`, differentiated inputs that are not finite.
        TypeError: `hand` returns no dict of numbers, or the reference no scalar tensor.

    Examples:
        >>> import numpy as np
        >>> from lockstep import check_gradients
        >>> def hand(x, w):
        ...     return {"x": 2 * (x @ w)[:, None] * w, "w": 2 * x.T @ (x @ w)}
        >>> def reference(x, w):
        ...     return ((x @ w) ** 2).sum()
        >>> random = np.random.default_rng(0)
        >>> x, w = random.normal(size=(5, 3)), random.normal(size=3)
        >>> check_gradients(hand, reference, x=x, w=w).verdict
        'match'
    """
    __tracebackhide__ = True
    try:
        options = taken_out(
            reference,
            inputs,
            rtol=rtol,
            atol=atol,
            seed=seed,
            device=device,
            diagnose=diagnose,
            time_limit=time_limit,
        )
        with threads(1):
            return observed(_checked(hand, reference, inputs, options))
    except REPORTED as error:  # without the frames between the user's code and its cause
        raise observed(error).with_traceback(None) from error.__cause__


def taken_out(reference: Code, inputs: Named, **chosen: Any) -> Options:
    """The options; a name that is an argument of the reference becomes an input.

    Raises:
        TypeError: A name is no argument of the reference, and nearly an option.
    """
    arguments: Mapping[str, inspect.Parameter] = {}
    with suppress(TypeError, ValueError):
        arguments = inspect.signature(reference).parameters
    takes_all = not arguments or any(it.kind is it.VAR_KEYWORD for it in arguments.values())
    known = vars(Options())
    for name, default in known.items():
        argument, value = arguments.get(name), chosen[name]
        usual = isinstance(value, type(default)) and value == default
        if argument and (argument.default is argument.empty or not usual):
            inputs[name] = chosen.pop(name)
    for name in inputs:
        near = difflib.get_close_matches(name.lower(), known, 1, 0.7)
        if near and name not in arguments and not takes_all:
            raise TypeError(
                f"{name!r} is no option and no argument of reference; did you mean {near[0]!r}?"
            )
    if chosen.get("device") == Options.device:
        chosen["device"] = _device_of(inputs) or Options.device
    return Options(**chosen)


def _device_of(value: Any) -> str:
    """Where tensors lie that are not on the CPU; empty where none is elsewhere."""
    tensors = (it for it in each_in(value) if isinstance(it, Tensor))
    return next((str(it.device) for it in tensors if it.device.type != "cpu"), "")


def _checked(hand: Code | Named, reference: Code, inputs: Named, options: Options) -> CheckResult:
    known = given(inputs)
    if not (isinstance(hand, dict) or callable(hand)):
        raise TypeError(f"hand is {type(hand).__name__}; expected a function, or a dict of numbers")

    def by_hand(arrays: Quantities) -> Any:
        return hand if isinstance(hand, dict) else hand(**known.for_hand(arrays))

    found = checked(known, by_hand, as_function(reference, known, options), options, hand)
    found.seed, found.inputs = options.seed, digest(known)
    return found


def as_function(reference: Code, known: Given, options: Options) -> Code:
    """The reference as a function of tensors by the names of arrays.

    Python's own numbers reach it as they are; if it takes only tensors there, as tensors.
    """
    as_numbers = bool(known.numbers)

    def function(**tensors: Tensor) -> Any:
        nonlocal as_numbers
        try:
            return reference(**known.for_torch(tensors, options.device, as_numbers))
        except TypeError:
            if not as_numbers:
                raise
        as_numbers = False
        return reference(**known.for_torch(tensors, options.device, numbers=False))

    return function


def checked(
    known: Given,
    by_hand: Code,
    reference: Code,
    options: Options,
    hand: Any,
    who: str = "hand",
    incoming: Sequence[str] = (),
    tolerance: str = "",
) -> CheckResult:
    """Judge gradients by hand.

    Args:
        known: The inputs.
        by_hand: Gives the answer of the user's code, from arrays by name.
        reference: The scalar from tensors by name.
        options: How it is done.
        hand: What the user passed; a dict is not called again.
        who: What computes by hand, in words.
        incoming: The names of inputs that are known to be incoming gradients.
        tolerance: What rtol and atol are, in words, where the user did not choose them.

    Raises:
        GradientMismatch: A gradient is wrong.
        ValueError, TypeError: Something cannot be used.
    """
    demand_scalar(reference, known.arrays)
    began = time.monotonic()
    first = answered(by_hand, known, known.arrays, who)
    seconds = time.monotonic() - began
    wanted = [name for name in first if name in known.arrays]
    _demand_usable(wanted, known)
    attached, found = _differentiated(reference, known, first)
    own = {name: _alike(name, array, found[name]) for name, array in first.items()}

    def again(arrays: Quantities) -> Quantities:
        return _real(answered(by_hand, known, arrays, who), found, who)

    it = Check(
        hand=None if isinstance(hand, dict) else again,
        reference=reference,
        inputs=known.arrays,
        wanted=wanted,
        attached=attached,
        who=who,
        seed=options.seed,
        on_cpu=torch.device(options.device).type == "cpu",
        incoming=list(incoming),
        seconds=seconds,
        units={name: torch.finfo(kind).eps / 2 for name, kind in known.kinds.items()},
    )
    values = {name: parts(found[name]) for name in own}
    with np.errstate(all="ignore"):
        if options.is_fixed:
            seen = fixed(it, own, values, options.rtol or 0.0, options.atol or 0.0, tolerance)
        else:
            seen = measure(it, own, values)
        _demand_right(it, seen, options, {name for name in own if found[name].dtype.kind == "c"})
    return matched(it, seen)


def attached_for(
    reference: Code, known: Given, names: Collection[str]
) -> tuple[list[str], Quantities]:
    """The inputs that are attached for some gradients, and PyTorch's gradients.

    These are the inputs that are named; if gradients of intermediates are missing, all that can be.
    """
    floats = floating(known.arrays)
    wanted = [name for name in floats if name in names]
    found = gradients(reference, known.arrays, wanted)
    if not found or any(name not in known.arrays and name not in found for name in names):
        return floats, gradients(reference, known.arrays, floats)
    return wanted, found


def _differentiated(
    reference: Code, known: Given, first: Quantities
) -> tuple[list[str], Quantities]:
    """The inputs that are attached, and PyTorch's gradients, with every one that hand returned."""
    wanted, found = attached_for(reference, known, first)
    if not found:
        raise TypeError(
            "reference gives a tensor that does not depend on the inputs; "
            "expected one built from them"
        )
    for name in first:
        if name in wanted and name not in found and not first[name].any():
            found[name] = np.zeros_like(known.arrays[name])  # as it has no effect
        if name not in found:
            raise WrongValue(_why_not(name, found, known))
    return wanted, found


def _real(answer: Quantities, found: Quantities, who: str) -> Quantities:
    """The gradients by hand of another call, as `checked` compares them."""
    answer = {name: array for name, array in answer.items() if name in found}
    if any(array.shape != found[name].shape for name, array in answer.items()):
        raise ValueError(f"{who} gives different shapes when it is called twice")
    return {name: _alike(name, array, found[name]) for name, array in answer.items()}


def answered(by_hand: Code, known: Given, arrays: Quantities, who: str) -> Quantities:
    """What the user's code returns, as arrays by name."""
    try:
        with np.errstate(all="ignore"):
            got = by_hand(arrays)
    except GradientMismatch:
        raise
    except Exception as error:
        raise blamed(who, error) from error
    if not isinstance(at_once(who, got), dict):
        kind = "nothing" if got is None else type(got).__name__
        raise WrongKind(f"{kind}; expected a dict of gradients by input name")
    if not got:
        raise WrongValue("an empty dict; expected at least one gradient")
    answer = {}
    for name, value in flat(got, known).items():
        array = np.array(as_array(value))  # a copy: a buffer may be used again
        if array.dtype.kind not in "fiubc":
            kind = type(value).__name__ if array.dtype.kind == "O" else str(array.dtype)
            raise WrongKind(f"{kind} for {name!r}; expected real numbers")
        answer[name] = array if array.dtype.kind in "fc" else array.astype(np.float64)
    return answer


def _alike(name: str, array: Array, right: Array) -> Array:
    """A gradient by hand, if it has the shape of the right one; complex ones as pairs.

    Raises:
        GradientMismatch: It has another shape.
        TypeError: It is complex and the right one is real.
    """
    if array.shape != right.shape:
        first, diagnosis = Entry(1, name, None, name), by_shape(name, array, right)
        raise mismatch(first, [f"{name}: mismatch, another shape"], [diagnosis])
    if right.dtype.kind == "c":
        return parts(array.astype(np.complex128))
    if array.dtype.kind == "c":
        raise WrongKind(f"{array.dtype} for {name!r}; expected real numbers")
    return parts(array)


def _demand_usable(wanted: list[str], known: Given) -> None:
    for name in wanted:
        array = known.arrays[name]
        if array.dtype.kind not in "fc":
            holds = "booleans" if array.dtype.kind == "b" else "integers"
            raise WrongValue(
                f"a gradient for {name!r}, which holds {holds}; expected none "
                "(pass it as floating-point numbers if it is to be differentiated)"
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"input {name!r} has a value that is not finite; expected finite numbers"
            )


def _why_not(name: str, values: Quantities, known: Given) -> str:
    """Why there is no gradient by this name."""
    if name in known.arrays:
        return (
            f"a gradient for {name!r}, which reference does not depend on (what is used under "
            "no_grad or detached does not count); expected it left out, or used in reference"
        )
    if name in known.tree:
        parts_of = [each for each in known.arrays if each.startswith(f"{name}[")]
        if parts_of:
            return f"one gradient for {name!r}; expected its parts, such as {parts_of[0]}"
        return f"a gradient for {name!r}, which is no array of numbers; expected none"
    named = ", ".join(dict.fromkeys([*floating(known.arrays), *values]))
    return f"{name!r}; expected the name of an input or of what is watched: {named}"


def _demand_right(it: Check, seen: Measured, options: Options, complex_ones: set[str]) -> None:
    """Raise the mismatch, if there is one, with its diagnoses."""
    crossed = crossed_by_rounding(it, seen) if it.on_cpu and not seen.tolerance else {}
    looked = [
        Wrong(name, seen.own[name], value, seen.bound[name], name in complex_ones)
        for name, value in seen.torch.items()
    ]
    if not seen.tolerance:
        _judge_by_hand(it, seen, looked)
    kinks = _excuse(it, seen, looked)
    seen.remarks += [
        f"{name}: rounding alone decides between the two sides of a kink or tie for "
        f"{counted(where.sum(), 'value')}"
        for name, where in crossed.items()
    ]
    wrong = [one for one in looked if one.wrong.any()]
    if wrong:
        first, report = _first(wrong[0], seen.tolerance)
        right = [one.name for one in looked if one not in wrong]
        deadline = time.monotonic() + options.time_limit
        found = diagnose(it, seen, wrong, kinks, deadline) if options.diagnose else []
        raise mismatch(first, report, found, right)
    _demand_finite(looked)
    for one in looked:  # what they were judged by
        bound = seen.bound[one.name]
        seen.bound[one.name] = np.where(np.isfinite(one.bound), one.bound, bound)


def _judge_by_hand(it: Check, seen: Measured, looked: list[Wrong]) -> None:
    """Look again at what only the side by hand explains, as its own rounding or not."""
    if any(_may_be_rounding(one) for one in looked):
        moved_by_hand(it, seen)
        for one in looked:
            one.judge(np.maximum(one.bound, SAFETY * seen.by_hand[one.name]))
    for one in looked if it.hand is not None else ():
        bound = SAFETY * seen.references(one.name)
        by_yours = ~agree(one.own, one.value, bound) & ~one.off
        # difference quotients are not excused by how far rounding moves them
        if quotient(it, one.name, one.own, one.value, by_yours):
            one.judge(bound)


def _excuse(it: Check, seen: Measured, looked: list[Wrong]) -> Kinks:
    """Accept elements that are right though they differ from PyTorch's."""
    off = {one.name: one.wrong for one in looked}
    if not any(where.any() for where in off.values()):
        return Kinks()
    if seen.truth:
        nearer = {
            one.name: one.wrong & agree(one.own, seen.truth.get(one.name, one.value), one.bound)
            for one in looked
        }
        seen.remarks += [
            f"{one.name}: PyTorch's gradient loses digits in this precision; yours is right by its "
            f"gradient in float64 ({counted(where.sum(), 'value')})"
            for one, where in _some(nearer, looked)
        ]
        off = _accepted(seen, nearer, off, looked)
    tails = saturated(it, seen, off)
    seen.remarks += [
        f"{one.name}: right, but your gradient loses digits at {one.label(first_of(where))}, "
        f"where it saturates ({counted(where.sum(), 'value')})"
        for one, where in _some(tails, looked)
    ]
    off = _accepted(seen, tails, off, looked)
    kinks = look_around(it, seen, off)
    absolved = {name: kinks.jumps[name] & ~kinks.outside[name] for name in off}
    seen.remarks += [_at_a_kink(one, where, kinks) for one, where in _some(absolved, looked)]
    off = _accepted(seen, absolved, off, looked)
    if yours_is_the_derivative(it, seen, off):
        seen.remarks.append(_not_the_derivative(_some(off, looked)))
        _accepted(seen, off, off, looked)
    return kinks


def _some(which: Quantities, looked: list[Wrong]) -> list[tuple[Wrong, Array]]:
    """The gradients of which some elements are meant, and these."""
    return [(one, where) for one in looked if (where := which[one.name]).any()]


def _may_be_rounding(one: Wrong) -> bool:
    """Whether some elements are wrong by so little that rounding could explain it after all."""
    near = np.abs(one.own - one.value) <= SAFETY * SMALL * largest(one.own)
    return bool((one.off & near).any())


def _accepted(
    seen: Measured, right: Quantities, off: Quantities, looked: list[Wrong]
) -> Quantities:
    """What is still wrong, when some elements are right though they differ from PyTorch's."""
    for one in looked:
        where = right[one.name]
        seen.accepted[one.name] = seen.accepted.get(one.name, False) | where
        one.judge(np.where(where, np.inf, one.bound))
    return {name: where & ~right[name] for name, where in off.items()}


def _not_the_derivative(some: list[tuple[Wrong, Array]]) -> str:
    places = ", ".join(one.label(first_of(where)) for one, where in some)
    more = " and elsewhere" if sum(where.sum() for _, where in some) > len(some) else ""
    return (
        f"PyTorch's gradient is not the derivative of this reference at {places}{more}; yours is, "
        "by difference quotients of the reference's value"
    )


def _at_a_kink(one: Wrong, where: Array, kinks: Kinks) -> str:
    """The remark on a gradient with elements that differ from PyTorch's at a kink."""
    at, label = first_of(where), one.label(first_of(where))
    low, high, slack = (side[one.name][at] for side in (kinks.low, kinks.high, kinks.slack))
    more = f" ({counted(where.sum(), 'value')} like this)" if where.sum() > 1 else ""
    if high - low <= 2 * slack:
        return (
            f"PyTorch's gradient is not the derivative of this reference at {label}: "
            f"on both sides it is {low:.6g}, as yours{more}"
        )
    return (
        f"{label} is at a kink or tie, where the gradient may be anything "
        f"from {low:.6g} to {high:.6g}; yours is{more}"
    )


def _demand_finite(looked: list[Wrong]) -> None:
    """Refuse what has no number on PyTorch's side alone."""
    for one in looked:
        if one.off.any():
            at = first_of(one.off)
            raise ValueError(
                f"reference is not differentiable there: PyTorch's gradient of {one.name} is "
                f"{one.value[at]} at {one.label(at)}, yours {one.own[at]!s}; "
                "expected a reference with finite gradients "
                "(torch.where passes on NaN also from the branch that it leaves out)"
            )


def _first(it: Wrong, tolerance: str) -> tuple[Entry, list[str]]:
    """The first wrong element, and what the report says of it."""
    at = first_of(it.wrong)
    own, value, allowed = (float(array[at]) for array in (it.own, it.value, it.bound))
    first = Entry(1, it.name, list(at), it.label(at), own, value, abs(own - value), allowed)
    how_many = f"{it.wrong.sum()} of {counted(it.wrong.size, 'element')} differ"
    explained = f"{tolerance} allows" if tolerance else "rounding explains"
    return first, in_lines(first, how_many, explained)
