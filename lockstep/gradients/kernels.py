"""A Function in every precision that it takes: every element, or in halves each tensor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lockstep.errors import first_line_of
from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.check import Code, Options
from lockstep.gradients.inputs import rebuilt
from lockstep.gradients.kinks import Kinks
from lockstep.gradients.ladder import (
    HALVES,
    PRECISIONS,
    RATIO,
    on_the_grid,
    precision_of,
    size,
    unit,
)
from lockstep.gradients.measured import Check, Measured
from lockstep.gradients.mistakes import diagnose
from lockstep.gradients.precisions import Climbed, Finding, Sides, climb
from lockstep.gradients.reference import Named, Noise, as_array, gradients, widened
from lockstep.gradients.result import (
    CheckResult,
    GradientMismatch,
    is_single,
    labelled,
    mismatch,
    unraveled,
)
from lockstep.gradients.scalar import Layer
from lockstep.gradients.unseen import untested
from lockstep.gradients.wrong import FACTORS, Wrong
from lockstep.network.names import Quantities
from lockstep.run.record import Entry

_EXACT = ("float64", "float32")  # in which every element is judged
_NAMED = 16  # times what rounding explains, from which a mistake may be told by its numbers
_HIDES = ("unknown", "single-precision")  # mistakes that may be float32's rounding alone


class Built(Protocol):
    """A function that is called by the names of its inputs, in one precision."""

    layer: Layer
    wanted: list[str]

    def answer(self, arrays: Quantities) -> Named:
        """Its outputs and gradients by name."""


@dataclass(frozen=True)
class Kernel:
    """A function, and how it is checked.

    Attributes:
        build: Makes it from inputs, in the precision that these have; where True is said, with a
            reference that computes in float32 and is rounded.
        check: The whole check of every element, of inputs.
        structure: What is checked but for the numbers, of what was built.
        options: How it is done.
    """

    build: Callable[[Named, bool], Built]
    check: Callable[[Named], CheckResult]
    structure: Callable[[Any], None]
    options: Options


def chosen(precision: Any) -> tuple[str, ...] | None:
    """The names of the precisions that are asked for; None where none is.

    Raises:
        ValueError: There is no such precision.
    """
    if precision is None:
        return None
    several = precision if isinstance(precision, list | tuple | set) else [precision]
    names = {precision_of(it) for it in several}
    if not names or not names <= PRECISIONS.keys():
        raise ValueError(
            f"precision is {precision!r}; expected one or several of {', '.join(PRECISIONS)}"
        )
    return tuple(name for name in PRECISIONS if name in names)


def in_precision(inputs: Named, name: str, is_rounded: bool = True) -> Named:
    """Inputs with every floating-point array in a precision; of mixed ones, those in halves.

    Args:
        inputs: Arrays, tensors, dicts and lists of them, anything else.
        name: The precision.
        is_rounded: Whether they are rounded to what float16 and bfloat16 both hold.
    """
    varied = _varied(inputs)

    def converted(tensor: Tensor) -> Tensor:
        if precision_of(tensor.dtype) not in varied:
            return tensor
        numbers = tensor.detach().double()
        if is_rounded:
            numbers = on_the_grid(numbers)
        return numbers.to(PRECISIONS[name]).requires_grad_(tensor.requires_grad)

    found: Named = _each(inputs, converted)
    return found


def _varied(inputs: Named) -> set[str]:
    """The precisions of the inputs that are varied: of mixed ones the halves, else all."""
    found = {precision_of(tensor.dtype) for tensor in _floats(inputs)}
    return found & {*HALVES} or found


def _floats(value: Any) -> list[Tensor]:
    """Every floating-point array, as a tensor."""
    found = list[Tensor]()

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _each(value, note)
    return found


def _each(value: Any, convert: Callable[[Tensor], Tensor]) -> Any:
    """The same with every floating-point array, as a tensor, converted."""

    def changed(it: Any) -> Any:
        if isinstance(it, np.ndarray) and it.dtype.kind == "f":
            it = torch.from_numpy(np.ascontiguousarray(it))
        return convert(it) if isinstance(it, Tensor) and it.is_floating_point() else it

    return rebuilt(value, changed)


def in_float32(reference: Code) -> Code:
    """A reference of halves that computes in float32, and is rounded."""

    def wide(**tensors: Any) -> Any:
        found = reference(**_each(tensors, lambda it: it.float()))
        return _each(found, lambda it: it.to(_floats(tensors)[0].dtype))

    return wide


@np.errstate(all="ignore")
def judged(kernel: Kernel, inputs: Named, asked: tuple[str, ...] | None) -> CheckResult:
    """Judge a function in all precisions that it takes.

    Args:
        kernel: The function.
        inputs: As they were given.
        asked: The precisions that were asked for; None where these are to be found.

    Raises:
        GradientMismatch: It is wrong in one of them.
        ValueError: It does not take a precision that was asked for.
    """
    given = min(_varied(inputs) & {*PRECISIONS}, key=[*PRECISIONS].index, default="float64")
    result, remarks = None, list[str]()
    known: list[str] = []  # the precisions in which every element was judged
    if given in _EXACT and (asked is None or given in asked):  # before any other call
        result, known = _exactly(kernel, inputs, given, given), [given]
    built, refused = _tried(kernel, inputs, asked or tuple(PRECISIONS), remarks)
    if asked and refused:
        name, why = next(iter(refused.items()))
        raise ValueError(f"precision {name}: the function does not take it: {why}")
    if not built or _is_complex(built):
        return result or kernel.check(inputs)  # which says why not
    exact = next((it for it in reversed(_EXACT) if it in built), "")
    if result is None and exact:
        result, known = _exactly(kernel, inputs, given, exact), [exact]
    if result is None:
        kernel.structure(next(iter(built.values())))
        if asked and len({*asked} & {*HALVES}) == 1:
            remarks.append(
                f"{asked[-1]} alone is judged by PyTorch's own error in it; together with the "
                "other half a formula is judged more finely"
            )
    found = _in_others(kernel, built, result, known, asked or (given,))
    found.refused = refused
    found.remarks += remarks
    return found


def _is_complex(built: Mapping[str, Built]) -> bool:
    """Whether anything is complex: of such numbers there are no halves."""
    arrays = (array for it in built.values() for array in it.layer.arrays.values())
    return any(array.dtype.kind == "c" for array in arrays)


def _in_others(
    kernel: Kernel,
    built: Mapping[str, Built],
    result: CheckResult | None,
    known: Sequence[str],
    wanted: Sequence[str],
) -> CheckResult:
    """The result with the precisions in which no element was judged, and each tensor is."""
    climbed, some = Climbed(), next(iter(built.values()))
    if len(built) > len(known):
        climbed = climb(_sides(built, some), [*built], known, kernel.options.seed)
        _demand_right(kernel.options, some, climbed, wanted)
    found = result or _by_tensor(climbed, some)
    found.precisions = climbed.table or _of(found, known)
    found.judged = next(iter(known), "")
    found.in_halves = max(climbed.seen.values(), default=0.0) if result else 0.0
    found.remarks += climbed.remarks
    return found


def _tried(
    kernel: Kernel, inputs: Named, names: Sequence[str], remarks: list[str]
) -> tuple[dict[str, Built], dict[str, str]]:
    """The function in the precisions that it takes, and why it does not take the others."""
    built, refused = dict[str, Built](), dict[str, str]()

    def made(name: str, is_wide: bool) -> None:
        it = kernel.build(in_precision(inputs, name), is_wide)
        with suppress(GradientMismatch):  # which is found again
            it.answer(it.layer.arrays)
        built[name] = it

    for name in names:
        try:
            made(name, False)
        except Exception as error:  # of the user's code, or of a kernel's compiler
            refused[name] = first_line_of(error)
            if name in HALVES and refused[name].startswith("reference raised"):
                with suppress(Exception):
                    made(name, True)
                    remarks.append(
                        f"PyTorch can't compute the reference in {name}: what it gives in float32, "
                        "rounded, stands for it"
                    )
                    del refused[name]
    return built, refused


def _exactly(kernel: Kernel, inputs: Named, given: str, name: str) -> CheckResult:
    """The check of every element in one precision.

    A kernel that takes float64 may compute in float32 inside: its real mistakes are those that it
    has in float32 too.
    """
    try:
        own = inputs if name == given else in_precision(inputs, name, False)
        return kernel.check(own)
    except GradientMismatch as error:
        if name != "float64":
            raise _said_in(error, name) from None
        if not _is_float32(kernel, inputs, error):
            raise
        try:
            kernel.check(in_precision(inputs, "float32", False))
        except GradientMismatch as narrow:
            raise _said_in(narrow, "float32") from None
        raise _single(error) from None


def _said_in(error: GradientMismatch, name: str) -> GradientMismatch:
    """A mismatch whose report says in which precision it is."""
    report = str(error).replace(": mismatch,", f": mismatch in {name},", 1)
    return GradientMismatch(report, error.first_mismatch, error.diagnoses)


def _is_float32(kernel: Kernel, inputs: Named, error: GradientMismatch) -> bool:
    """Whether what is wrong first in float64 has numbers that float32 has too."""
    first, found = error.first_mismatch, error.diagnoses
    if first["index"] is None or (found and found[0]["mistake"] not in _HIDES):
        return False
    it = kernel.build(inputs, False)
    own = as_array(it.answer(it.layer.arrays)[first["quantity"]])
    return is_single(own)


def _single(error: GradientMismatch) -> GradientMismatch:
    """A mismatch in float64 that is none in float32."""
    name = error.first_mismatch["quantity"]
    says = f"{name} is right to float32's digits, as the function computes in float32 inside"
    remedy = 'compute in float64, or check it in float32: precision="float32"'
    found = [Diagnosis(name, "single-precision", says, remedy)]
    return mismatch(Entry(**error.first_mismatch), [*error.head], found)


def _sides(built: Mapping[str, Built], some: Built) -> Sides:
    """Both sides as functions of incoming gradients, on numbers that all precisions hold."""
    names = _names(some)

    def arrays(it: Built, incoming: Quantities) -> Quantities:
        known = it.layer.arrays
        return known | {name: array.astype(known[name].dtype) for name, array in incoming.items()}

    def hand(precision: str, incoming: Quantities) -> Quantities:
        it = built[precision]
        found = it.answer(arrays(it, incoming))
        return {name: np.asarray(as_array(found[name]), np.float64) for name in names}

    def pytorch(precision: str, incoming: Quantities) -> Quantities:
        if precision == "float64" and precision not in built:
            return noise(precision, incoming, 0)
        it = built[precision]
        found = gradients(it.layer.scalar, arrays(it, incoming), names)
        return {name: array.astype(np.float64) for name, array in found.items()}

    def noise(precision: str, incoming: Quantities, draw: int) -> Quantities:
        wide = {name: widened(array) for name, array in arrays(some, incoming).items()}
        mode = Noise(draw, 2 * unit(precision)) if draw else None
        return gradients(some.layer.wide, wide, names, mode)

    shapes = {name: some.layer.arrays[name].shape for name in some.layer.outputs}
    return Sides(hand, pytorch, noise, shapes)


def _names(it: Built) -> list[str]:
    """Of its gradients, and of its outputs."""
    return [*it.wanted, *it.layer.outputs]


def _demand_right(options: Options, some: Built, climbed: Climbed, wanted: Sequence[str]) -> None:
    """Raise the mismatch of the first tensor that is wrong in some precision."""
    findings = list[Finding]()
    for it in climbed.findings:
        if np.isfinite(it.error) or {*it.precisions} & {*wanted}:
            findings.append(it)
        else:
            climbed.remarks.append(
                f"{it.name}: {it.precisions[0]} overflows in the function, and not in PyTorch"
            )
    if not findings:
        return
    firsts = {it.name: it for it in reversed(findings)}
    deadline = time.monotonic() + options.time_limit
    names = dict.fromkeys(it.name for it in findings)
    found = [_named(options, some, climbed, firsts[name], deadline) for name in names]
    right = [name for name in climbed.truth if name not in firsts]
    entry = _entry(findings[0], climbed)
    raise mismatch(entry, list(_report(entry, findings, climbed)), found, right)


def _entry(it: Finding, climbed: Climbed) -> Entry:
    """The element that is furthest off."""
    own, truth = climbed.sides(it)
    off = np.nan_to_num(np.abs(own - truth), nan=np.inf, posinf=np.inf)
    at = unraveled(int(off.argmax()), off.shape)
    yours, right = float(own[at]), float(truth[at])
    apart, allowed = abs(yours - right), it.explained * size(truth)
    return Entry(1, it.name, list(at), labelled(it.name, at), yours, right, apart, allowed)


def _report(entry: Entry, findings: list[Finding], climbed: Climbed) -> Iterator[str]:
    """What is wrong: where, by how much, and what rounding would do."""
    first = findings[0]
    where = f", {first.where}" if first.where else ""
    more = sum(it.name == first.name for it in findings) - 1
    where += f" and {more} more" if more else ""
    yield f"{first.name}: mismatch in {' and '.join(first.precisions)}{where}"
    yield f"  yours     {entry.label} = {entry.manual!r}"
    yield f"  PyTorch   {entry.label} = {entry.torch!r}, in float64"
    tensors = {it: climbed.tensors[it][first.name] for it in first.precisions}
    if len(tensors) > 1:
        (coarse, before), (fine, after) = tensors.items()
        its = (before.torch or 0.0) / (after.torch or np.inf)
        torchs = f", PyTorch's {its:.1f} times" if its else ""
        shrinks = before.hand / after.hand if after.hand else np.inf
        yield (
            f"  apart     {before.hand:.1e} of it in {coarse}, {after.hand:.1e} in {fine}: it "
            f"shrinks {shrinks:.1f} times, rounding 8 times{torchs}"
        )
    else:
        yield f"  apart     {first.error:.1e} of it; rounding explains {first.explained:.1e}"


def _named(
    options: Options, some: Built, climbed: Climbed, it: Finding, deadline: float
) -> Diagnosis:
    """Which mistake a finding looks like."""
    own, _ = climbed.sides(it)
    finest = it.precisions[-1]
    of = it.name if it.name in some.layer.outputs else f"the gradient of {it.name}"
    tensor = climbed.tensors[finest][it.name]
    mistake, says, remedy = "unknown", f"{of} is off by {it.error:.2g} of it", ""
    if not np.isfinite(own).all():
        says = f"{of} overflows in {it.precisions[0]}, where PyTorch's does not"
        remedy = "take the largest number out before exp, or scale"
    elif not own.any():
        mistake, says, remedy = "gradient-missing", f"{of} is zero everywhere", "return it"
    elif it.where:
        mistake, says = "partial-sum", f"{of} is wrong in {it.where}, by {it.error:.2g} of it"
        remedy = "look at the index and the mask of this part"
    elif it.factor is not None and it.factor > 0:
        mistake, remedy = "scaled-by-constant", FACTORS
        says = f"{of} is {it.factor:.3g} times the right one"
    elif options.diagnose and tensor.hand > _NAMED * max(tensor.torch or 0.0, unit(finest)):
        return _as_formula(some, climbed, it, deadline)
    return Diagnosis(it.name, mistake, says, remedy)


def _as_formula(some: Built, climbed: Climbed, it: Finding, deadline: float) -> Diagnosis:
    """What an edit of the reference explains, to the rounding of the precision."""
    name, layer, precision = it.name, some.layer, it.precisions[-1]
    own, truth = climbed.sides(it)
    theirs = climbed.tensors[precision][name].torch or 0.0
    last_place = unit(precision)
    bound = 8 * max(theirs, last_place) * size(truth) + 4 * last_place * np.abs(truth)
    check = _check(some, layer.arrays | climbed.incoming)
    check.inputs = {each: widened(array) for each, array in check.inputs.items()}
    seen = Measured({name: own}, {name: truth}, {}, {}, {}, {}, {name: last_place}, [])
    (found,) = diagnose(check, seen, [Wrong(name, own, truth, bound)], Kinks(), deadline)
    return found


def _check(some: Built, inputs: Quantities) -> Check:
    """PyTorch's side in float64."""
    names = _names(some)
    return Check(None, some.layer.wide, inputs, names, names, incoming=some.layer.outputs)


def _by_tensor(climbed: Climbed, some: Built) -> CheckResult:
    """The result of a function that takes halves alone: each tensor as a whole."""
    tensors = next(iter(climbed.tensors.values()))  # of the finest
    seen = {name: climbed.seen.get(name, 1.0) for name in climbed.truth}
    sizes = sorted(seen.values())
    unknown = [name for name, least in seen.items() if least >= 1]
    return CheckResult(
        verdict="undecided" if unknown else "match",
        resolution={
            "typical": sizes[len(sizes) // 2],
            "worst": sizes[-1],
            "blind": sum(climbed.truth[name].size for name in unknown),
        },
        accuracy={name: {"hand": it.hand, "torch": it.torch} for name, it in tensors.items()},
        remarks=[],
        worst_ratio=max((it.ratio or 0.0) / RATIO for it in tensors.values()),
        values=sum(it.size for it in climbed.truth.values()),
        same=False,
        seen=seen,
        unseen=untested(_check(some, some.layer.arrays)),
        reasons=[f"rounding alone is as large as {name}" for name in unknown],
        by_tensor=True,
    )


def _of(result: CheckResult, known: Sequence[str]) -> dict[str, Named]:
    """The table of the one precision in which every element was judged."""
    sides = result.accuracy.values()
    hand, torchs = (
        max(filter(None, (it[side] for it in sides)), default=None) for side in ("hand", "torch")
    )
    return {name: {"hand": hand, "torch": torchs, "ratio": None} for name in known}
