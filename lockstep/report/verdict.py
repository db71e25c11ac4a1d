"""The verdict in words, as plain data: every view renders these parts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from lockstep.evidence.comparison import Comparison
from lockstep.evidence.control import TIMES
from lockstep.network.problem import UNTOLD
from lockstep.report.formulas import formula
from lockstep.report.remarks import would_show, wrong_elsewhere
from lockstep.report.step import compared, in_numbers, is_in_scalars, numbers_of
from lockstep.run.record import Entry, Record
from lockstep.text import counted, digits, grouped, percent, relative

_NONE = 1e-20  # a part of a value that no float of its size can be off by
# a word in front of a text: formula, yours, PyTorch, mistake, remedy, note …
Labelled: TypeAlias = tuple[str, str]


@dataclass
class Verdict:
    """What a report says of a result; a part that a run does not have is empty.

    Attributes:
        stopped: where a run stopped before its time.
        headline: the verdict in a sentence or two.
        difference: the first value that differs: its formula, the numbers in it, both sides.
        far: how far these are apart, and how far rounding explains.
        explanation: which mistake it looks like, on what evidence, what to do.
        sentences: the likely cause, the smallest detectable error, what was not tested.
        control, referee: what they found.
        remarks: what is not the verdict.
    """

    stopped: str
    headline: str
    difference: list[Labelled] = field(default_factory=list)
    far: str = ""
    explanation: list[Labelled] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    control: str = ""
    referee: str = ""
    remarks: list[str] = field(default_factory=list)


def verdict(result: Comparison) -> Verdict:
    """The verdict on a run, in words."""
    sentences = _likely_cause(result), _resolution(result), _not_tested(result)
    head = headline(result)
    words = Verdict(
        _stopped(result),
        head,
        sentences=[text for text in sentences if text],
        control=_control(result),
        referee=_referee(result),
        remarks=[f"remark: {remark}" for remark in result.remarks if remark not in head],
    )
    if result.first and result.decisive:
        words.difference = list(_difference(result, result.first, result.decisive))
        words.far = _how_far(result, result.first, result.decisive)
        words.explanation = list(_explanation(result))
    return words


def headline(result: Comparison) -> str:
    """The verdict alone."""
    if result.verdict == "mismatch":
        fits = f"everything that was returned is right with {result.fits}; " if result.fits else ""
        return f"mismatch: {fits}{_mismatch(result)}"
    if result.verdict == "undecided" and not result.undecided:
        if result.values:
            return "undecided: no value could be judged, since the bound of each overflowed."
        return "undecided: nothing was compared."
    if result.undecided:
        of = compared(result.undecided, result.dtype)
        return (
            f"undecided: at step {grouped(result.undecided.step)}, {of.label} overflowed on both "
            f"sides ({of.manual} {result.side}, {of.torch} PyTorch), "
            "so there is nothing to compare."
        )
    judged = (
        f"match: {len(result.returned)} of {_all_there_are(result)} quantities, "
        f"{counted(result.steps_run, 'step')}, {counted(result.values, 'value')}"
    )
    has_updates = any(name.startswith("new_") for name in result.returned)
    is_partial = result.by_hand.kind == "program" and not has_updates
    judged += "; its updates were not judged." if is_partial else "."
    limit = "the tolerance given" if result.fixed_tolerance else "what rounding explains"
    if result.worst_ratio == 0 and result.largest and result.largest.difference == 0:
        return f"{judged} Every value is the same on both sides."
    if not np.isfinite(result.worst_ratio):
        return f"{judged} Rounding alone could explain any difference: its bound overflowed."
    return f"{judged} The largest difference is {percent(result.worst_ratio)} of {limit}."


def _all_there_are(result: Comparison) -> int:
    """How many quantities there are, with those that need not be returned and were."""
    network = result.problem.network
    return len(network.computed) + len(result.returned & {*network.extras})


def _mismatch(result: Comparison) -> str:
    first, record = result.first, result.decisive
    if first is None or record is None:
        if result.missing:
            return f"required, but not returned: {', '.join(result.missing)}"
        return wrong_elsewhere(result.battery or {})
    if first.index is None:
        name = first.quantity + record.yours(first.quantity)
        return f"at step {grouped(first.step)}, the shape of {name} differs"
    if record.jump:
        return (
            f"step {grouped(first.step)} does not start where step {grouped(record.jump.before)} "
            f"ended: {first.label}"
        )
    before = record.position(first.quantity, tuple(first.index)) + result.values_before_decisive
    agree = f"; the {grouped(before)} values before it agree" if before else ""
    if before == 1:
        agree = "; the value before it agrees"
    own = result.by_hand.called(first.quantity, first.step, tuple(first.index))
    yours = f" (your {own})" if own else record.yours(first.quantity)
    return f"first at step {grouped(first.step)}, {first.label}{yours}{agree}"


def _stopped(result: Comparison) -> str:
    """Where a run stopped that was interrupted, or whose recording cannot be read on."""
    run = counted(result.steps_run, "step")
    if result.broken:
        return f"only {run} of the recording could be read. So far:"
    if not result.interrupted:
        return ""
    if result.problem.steps != UNTOLD:
        run = f"{grouped(result.steps_run)} of {counted(result.steps_asked, 'step')}"
    return f"interrupted after {run}. So far:"


def _likely_cause(result: Comparison) -> str:
    """Why the numbers overflowed, where they did."""
    at = result.undecided
    if result.verdict != "undecided" or at is None:
        return ""
    if at.step == 1 and not at.quantity.startswith("new_"):
        return "No weight has been updated yet: the problem's own values are too large."
    return f"The likely cause is the learning rate, {result.problem.lr!r}. Try one nearer to 0."


def _resolution(result: Comparison) -> str:
    """How small an error the run could detect, and how many values could be judged."""
    seen, judged, where = result.resolution, result.values, ""
    if result.undecided and result.last:
        judged, where = judged - result.last.size, " before that"
    if seen["typical"] is None:
        return ""
    if seen["typical"] == 0:
        return "Any difference would have been detected."
    smallest = ""
    if seen["typical"] < 1:
        worst = "" if seen["blind"] else f", {seen['worst']:.0e} (worst)"
        smallest = f"Smallest detectable error: {seen['typical']:.0e} of a value (typical){worst}. "
    if not seen["blind"]:
        all_of = f"All {grouped(judged)} values" if judged > 1 else "The value"
        return f"{smallest}{all_of}{where} could be judged."
    hides = "rounding alone could change them"
    if result.fixed_tolerance:
        hides = "the tolerance given lets them change"
    return (
        f"{smallest}{grouped(seen['blind'])} of {counted(judged, 'value')}{where} could not be "
        f"judged: {hides} by their whole value."
    )


def _not_tested(result: Comparison) -> str:
    """The mistakes that a problem could not have shown, where it matches."""
    if result.verdict != "match" or not result.cannot_see:
        return ""
    options = (
        ""
        if result.numbers
        else would_show(result.problem, result.steps_run, result.by_hand.is_users)
    )
    more = f" Try {options}." if options else ""
    return f"Not tested by this problem: {', '.join(result.cannot_see)}.{more}"


def _difference(result: Comparison, first: Entry, record: Record) -> Iterator[Labelled]:
    """The first value that differs, by its formula, the numbers in it, and both sides."""
    name, problem = first.quantity, result.problem
    if record.jump:
        yield "ended at", digits(record.jump.end, result.dtype)
        yield "starts at", digits(record.jump.start, result.dtype)
        return
    if first.index is None:
        yield result.side, str(record.misshapen[name].shape)
        yield "expected", str(record.torch[name].shape)
        return
    if is_in_scalars(record):
        yield "formula", formula(first.label, 1, problem.network)
        yield "numbers", in_numbers(first.label, problem, numbers_of(record, problem))
    else:
        yield "formula", formula(name, None, problem.network)
    line = result.by_hand.line_of(name, first.step, tuple(first.index))
    if line:
        yield "line", line
    of = compared(first, result.dtype)
    place = problem.network.torch_place(name, tuple(first.index))
    yield result.side, of.manual
    yield "PyTorch", f"{of.torch}    {place}"


def _how_far(result: Comparison, first: Entry, record: Record) -> str:
    """How far the first values that differ are apart, and how far rounding explains: one scale."""
    if first.index is None or record.jump:
        return ""
    off, allowed, torch = first.difference or 0.0, first.allowed or 0.0, first.torch or 0.0
    if not np.isfinite(off):
        return "not finite on one side"
    printed = record.printed.get(first.quantity)
    is_printed = result.by_hand.kind != "program"  # whose inputs may be float32
    if is_printed and printed is not None and printed[tuple(first.index)]:
        return f"off by {off:.2g}; its last digit allows {allowed:.2g}"
    explains = "rounding explains"
    if result.fixed_tolerance:
        explains = "the tolerance allows"
    elif _is_at_a_kink(record):
        explains = "rounding, and z = 0 at relu's kink, explain"
    of = compared(first, result.dtype)
    apart, most = f"off by {off:.2g}", f"{allowed:.2g}"
    if of.far.endswith("ULP"):
        apart, most = f"{of.far} off", f"{of.limit} ULP"
    elif torch:
        apart, most = f"{of.far} off", relative(allowed / abs(torch))
        if allowed < _NONE * abs(torch):  # underflow alone
            most = "none of it"
    return f"{apart}; {explains} {most}"


def _is_at_a_kink(record: Record) -> bool:
    """Whether some z is exactly 0, where either slope of relu and its like is right."""
    network = record.network
    return any((record.torch[network.of("z", l)] == 0).any() for l in network.kinked)


def _explanation(result: Comparison) -> Iterator[Labelled]:
    """What the mismatch looks like, on what evidence, and what to do."""
    explained: list[str] | None = None
    for diagnosis in result.found:
        word = "or" if diagnosis.explains == explained else "mistake"
        word = "and" if diagnosis.together else word
        explained = diagnosis.explains
        yield word, f"{diagnosis.mistake}: {diagnosis.says}"
        if diagnosis.formula:
            evidence = f"{diagnosis.quantity} = {diagnosis.formula} gives your numbers"
            if explained != [diagnosis.quantity]:
                evidence += f" of {', '.join(explained)}"
            digits = "their digits" if result.by_hand.written is not None else "rounding"
            yield "evidence", f"{evidence}, to {digits}"
        if diagnosis.remedy:
            yield "remedy", diagnosis.remedy
    for note in result.notes:
        yield "note", note
    yours = _yours(result)
    if yours:
        yield "names", yours


def _yours(result: Comparison) -> str:
    """What the user calls the quantities that the diagnoses speak of, where that differs."""
    record = result.decisive
    assert record is not None
    said = " ".join(f"{it.says} {it.formula} {it.remedy}" for it in result.found)
    words = {*re.findall(r"\w+", said), *(name for it in result.found for name in it.explains)}
    names = {of: own for of, own in record.names.items() if of in words}
    for word, (name, at) in record.network.scalars(record.samples).items():
        if word in words:
            index = np.unravel_index(at, record.network.shape(name, record.samples))
            own = result.by_hand.called(name, record.number, tuple(map(int, index)))
            if own:
                names.pop(name, None)  # all of them together
                names[word] = own
    return ", ".join(f"{of} is your {own}" for of, own in names.items())


def _control(result: Comparison) -> str:
    """How many of the planted errors were caught."""
    control = result.control
    if not control:
        return ""
    caught, planted = control["caught"], len(control["planted"])
    found = (
        f"control: {caught} of {planted} planted errors were caught (one in each quantity of "
        f"step {grouped(control['step'])}, {TIMES} times what rounding explains)."
    )
    if caught < planted and result.fixed_tolerance:
        found += " A tolerance as wide as the one given passes wrong gradients."
    return found


def _referee(result: Comparison) -> str:
    """Which side is nearer the truth, and how often."""
    referee = result.referee
    if not referee:
        return ""
    nearer = referee["nearer"]
    which = "the first that differs" if result.decisive else "the one with the largest difference"
    return (
        f"referee: {referee['arithmetic']} on step {grouped(referee['step'])} ({which}), "
        f"{counted(sum(nearer.values()), 'value')}. Nearer the truth: {result.side} "
        f"{grouped(nearer['manual'])}, PyTorch {grouped(nearer['torch'])}, equally near "
        f"{grouped(nearer['equal'])}."
    )
