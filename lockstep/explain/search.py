"""Which mistake explains what was seen.

Every formula is judged by itself, on the derivation's own values before it. Where one is wrong, the
catalogue's mistakes are tried in its place.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, groupby, permutations
from typing import Any

import numpy as np

from lockstep.bound.bounded import Bounded
from lockstep.explain.case import Case, Replaced, StandIn
from lockstep.explain.catalogue import Mistake, on_top
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import by_columns, by_facts, is_single, usual
from lockstep.explain.formulas import inputs_of, replaced, tidy
from lockstep.network.names import Array
from lockstep.network.network import PER_SAMPLE, Network
from lockstep.network.problem import Problem
from lockstep.run.record import Record
from lockstep.run.result import History

_TRIED = 50  # the most samples or outputs that are tried one by one
# what an edit of an edit may raise: its shapes do not fit, or nothing but a number is left of it
_NO_FORMULA = (ValueError, IndexError, TypeError, AttributeError)
_SECONDS = 3.0  # that two mistakes in one formula are looked for
_FACTOR, _SIGN, _FORM = "scaled-by-constant", "sign-flipped", "momentum-form"


@dataclass(frozen=True)
class Explanation:
    """A mistake, the formulas that it puts in place of right ones, and the quantities explained."""

    mistake: Mistake
    formulas: Replaced
    explained: set[str]

    @property
    def stand_in(self) -> StandIn:
        return self.formulas[self.mistake.quantity]

    @property
    def constant(self) -> float:
        return float(self.stand_in.given["c"])


@np.errstate(all="ignore")
def diagnose(record: Record, problem: Problem, history: History | None = None) -> list[Diagnosis]:
    """The diagnoses of a step that differs, in the order of computation.

    Independent mistakes have a diagnosis each. Where several mistakes explain the same equally
    well, all are given, likelier ones first. Where none does, it is `unknown`, with the facts.
    """
    case = Case(record, problem, history or History())
    found = [_of_another_shape(case, name) for name in record.misshapen]
    behind = {
        name for name in case.own if not record.misshapen.keys().isdisjoint(case.suspects(name))
    }
    settled = set[str]()
    while wrong := case.differing({}) & case.globally_wrong() - settled:
        name = min(wrong, key=problem.network.judged.index)
        single = next((it for it in found if it.mistake == "single-precision"), None)
        if single and is_single(case.own[name], case.value(name, {})):
            single.explains.append(name)
            settled.add(name)
            continue
        diagnoses, best = _diagnosed(case, name, name in behind)
        found += diagnoses
        if best:
            case.accepted |= best.formulas
            settled |= best.explained
        settled.add(name)
    return found


def _diagnosed(
    case: Case, name: str, is_behind: bool
) -> tuple[list[Diagnosis], Explanation | None]:
    """The diagnoses of a wrong quantity, and the mistake of the first, where it is one.

    Args:
        case: The step.
        name: The quantity.
        is_behind: Whether something of another shape may be behind it: then it is known of its own
            formula alone.
    """
    if unfrozen := _trained_though_frozen(case, name):
        return unfrozen, None
    best = _best(case, name)
    if is_behind:
        best = [one for one in best if one.mistake.quantity == name and not one.mistake.fitted]
    if best:
        return [_diagnosis(case, one) for one in best], best[0]
    return [] if is_behind else _without_one_mistake(case, name), None


def confirmed(found: list[Diagnosis], later: list[Diagnosis]) -> list[Diagnosis]:
    """Those diagnoses of a first step that the second one has too.

    At the first step a memory is 0 and t is 1, so that different formulas give the same numbers.

    Args:
        found: Of the first step.
        later: Of the second one.
    """
    kept: list[Diagnosis] = []
    for _, group in groupby(found, lambda it: it.explains):
        alike = list(group)
        again = [it for it in later if it.quantity in {one.quantity for one in alike}]
        names = {it.mistake for it in alike}
        same = [it for it in again if it.mistake in names]  # its formula fits later numbers too
        known = [it for it in again if it.mistake != "unknown"]
        kept += same or known or alike
    return kept


def _trained_though_frozen(case: Case, name: str) -> list[Diagnosis]:
    """A frozen parameter that is trained like any other."""
    right = case.trained[name]
    if right == case.right[name] or case.off(name, case.value(name, {name: StandIn(right)})).any():
        return []
    parameter = case.network.parameter(name)
    says = f"{parameter} is frozen here, and yours is trained"
    return [
        Diagnosis(name, "unknown", says, f"leave {parameter} as it is, or out of frozen", right)
    ]


# One mistake of the catalogue


def _best(case: Case, name: str) -> list[Explanation]:
    """Those that explain most, one a mistake; odd factors only where nothing else does."""
    before, suspects = case.differing({}), case.suspects(name)
    found = [
        Explanation(mistake, formulas, explained)
        for mistake, formulas in _tries(
            case, name, [one for one in _possible(case) if one.quantity in suspects]
        )
        if (explained := _explained(case, name, formulas, before))
    ]
    found = [one for one in found if not _is_unseen_zero(case, one.mistake)] or found
    most = max((len(one.explained) for one in found), default=0)
    kept = [one for one in found if len(one.explained) == most]
    exact = any(not one.mistake.fitted for one in kept)
    likely = [one for one in kept if _is_likely(case, one, exact)]
    if name in case.network.update:  # what was seen, first
        likely.sort(key=lambda one: one.mistake.quantity not in case.own)
    by_name: dict[str, Explanation] = {}
    for one in likely or kept:
        by_name.setdefault(one.mistake.name, one)
    return list(by_name.values())


def _is_likely(case: Case, one: Explanation, exact: bool) -> bool:
    """Whether a cause is likely by itself, and not a constant that fits anything.

    exact: some other cause explains as much without a constant.
    """
    if one.mistake.name == _FACTOR and one.mistake.fitted:
        return bool(_usual(case, one.constant))
    return not (one.mistake.fitted and exact)


def _is_unseen_zero(case: Case, mistake: Mistake) -> bool:
    """Whether a mistake says that something is zero which was not returned: that would be seen."""
    is_zero = mistake.name == _FACTOR and not mistake.fitted
    return is_zero and mistake.quantity not in case.own


def _possible(case: Case) -> list[Mistake]:
    """The catalogue's mistakes; the biases' own learning rate only where weights are right."""
    updates = {name for name in case.network.update if case.network[name].family == "new_W"}
    out = set() if updates.isdisjoint(case.globally_wrong()) else {"bias-learning-rate"}
    return [one for one in case.mistakes if one.name not in out and not _is_unseen(case, one)]


def _is_unseen(case: Case, mistake: Mistake) -> bool:
    """Whether a constant would be fitted to a memory that was not returned."""
    return mistake.fitted and mistake.name == _FORM and mistake.quantity not in case.own


def _tries(case: Case, name: str, mistakes: list[Mistake]) -> Iterator[tuple[Mistake, Replaced]]:
    """What to put in place of right formulas: in all gradients or updates alike, or in one."""
    for mistake in mistakes:
        if mistake.history and not case.has_history:
            continue
        family = [one for one in case.mistakes if _is_alike(case.network, one, mistake)]
        kind = [one for one in family if _kind(case.network, one) == _kind(case.network, mistake)]
        letter = case.network[mistake.quantity].family
        like = [one for one in kind if case.network[one.quantity].family == letter]
        groups = [family or [mistake]]
        for group in (kind, like, [mistake]):
            if 0 < len(group) < len(groups[-1]):
                groups.append(group)
        for which, text in enumerate(mistake.formulas):
            for given in _givens(case, name, mistake, text):
                for together in groups:
                    yield (
                        mistake,
                        {one.quantity: StandIn(one.formulas[which], given) for one in together},
                    )


def _is_alike(network: Network, one: Mistake, other: Mistake) -> bool:
    """Whether two are the same mistake in gradients, or in updates, of several parameters."""
    if one.name != other.name or len(one.formulas) != len(other.formulas):
        return False
    if one.fitted and _kind(network, one) != _kind(network, other):
        return False  # a constant is that of one kind of memory
    groups = (network.gradients, network.update)
    same = _without_names(network, one) == _without_names(network, other)
    return same and any({one.quantity, other.quantity} <= {*group} for group in groups)


def _kind(network: Network, mistake: Mistake) -> str:
    """Of which kind a mistake's quantity is, whatever the parameter: new_mean_, grad_."""
    return network[mistake.quantity].family.rstrip("Wb")


def _without_names(network: Network, mistake: Mistake) -> str:
    """What a mistake says, without the name of its parameter."""
    return mistake.says.replace(network.parameter(mistake.quantity), "")


def _explained(case: Case, name: str, formulas: Replaced, before: set[str]) -> set[str]:
    """What formulas explain, or nothing. before: what differs without them."""
    try:
        result = case.value(name, formulas)
        after = before if case.off(name, result).any() else case.differing(formulas)
    except (ValueError, IndexError):
        return set()  # the shapes do not fit: nobody made this mistake here
    return before - after if after < before and _is_finer(case, name, result) else set()


def _is_finer(case: Case, name: str, result: Bounded) -> bool:
    """Whether the bound of a result is finer than what it explains (at relu's kink it is not)."""
    right = case.value(name, {})
    apart = np.abs(case.own[name] - right.value)
    worst = np.argmax(np.where(case.off(name, right), apart, -1.0))
    return bool(np.ravel(apart)[worst] > 2 * np.ravel(result.bound())[worst])


def _givens(case: Case, name: str, mistake: Mistake, text: str) -> list[dict[str, Any]]:
    """What to try a formula with: a fitted constant, each sample or output in turn, or nothing."""
    if mistake.fitted:
        return _fitted(case, name, mistake, text)
    if not mistake.each:
        return [{}]
    n = case.many(mistake)
    every = set(range(n)) if 1 < n <= _TRIED else set()
    return [{mistake.each: [i], f"but_{mistake.each}": sorted(every - {i})} for i in sorted(every)]


def _fitted(case: Case, name: str, mistake: Mistake, text: str) -> list[dict[str, Any]]:
    """The constant that gives the derivation's value in the element that tells most; [] if none."""
    returned = list(case.record.elements(name))
    trials = (case.value(name, {mistake.quantity: StandIn(text, {"c": c})}).value for c in (0, 1))
    at_0, at_1, own = (np.ravel(value)[returned] for value in (*trials, case.own[name]))
    best = np.argmax(np.abs(at_1 - at_0))
    c = float((own - at_0)[best] / (at_1 - at_0)[best])
    is_factor = mistake.name == _FACTOR
    found = [*(_usual(case, c).values() if is_factor else ()), c]
    is_any = len(returned) < 2 and len(found) == 1  # a single number is some multiple of any other
    is_none = not 1e-12 <= abs(c) < np.inf or (is_factor and c == -1)
    is_none |= mistake.name == _FORM and not 0 < c < 1
    return [] if is_any or is_none else [{"c": found[0]}]


# Factors


def _usual(case: Case, constant: float) -> dict[str, float]:
    """The factors with a usual cause that a fitted constant may be: {words: factor}."""
    n, n_out = case.samples, case.network.sizes[-1]
    factors = {"2": 2.0, "½": 0.5, "4": 4.0, "¼": 0.25}
    for below, size in (("N", n), ("n_out", n_out), ("(N·n_out)", n * n_out)):
        words = below.strip("()")
        if size > 1:
            factors |= {
                words: size,
                f"1/{below}": 1 / size,
                f"2/{below}": 2 / size,
                f"{words}/2": size / 2,
                f"½·1/{below}": 0.5 / size,
                f"2·{words}": 2.0 * size,
            }
    factors = {words: value for words, value in factors.items() if value != 1}
    return usual(constant, factors, 1e-6)


def _cause(case: Case, found: Explanation) -> str:
    """Where a factor usually comes from, as the rest of a sentence."""
    factors, cause = list(_usual(case, found.constant)), ""
    if factors:
        causes = {
            "2": "½ Σ against Σ, or the 2 of the square",
            "½": "the 2 of the square's derivative is missing",
        }
        why = causes.get(factors[0], "a mean against a sum")
        cause = f", which is {' or '.join(factors)}: {why}"
    after = {name for name in case.own if name.startswith(("grad_", "new_"))}
    error = case.network.of("delta", case.network.depth)
    is_delta = found.mistake.quantity == error in case.own
    if is_delta and after and not after & case.globally_wrong():
        cause += "; your gradients are right, so it is only a convention"
    return cause


# What no single mistake explains


def _without_one_mistake(case: Case, name: str) -> list[Diagnosis]:
    """What can be said of a quantity that no single mistake explains."""
    end = time.monotonic() + _SECONDS
    found = _of_few_elements(case, name, end) or _two_at_once(case, name)
    return found or [by_facts(case, name, case.accepted)]


def _alone(case: Case, name: str) -> Iterator[tuple[Explanation, Bounded]]:
    """The mistakes without a constant in this very quantity, and the value that each gives it."""
    here = [one for one in case.mistakes if one.quantity == name and not one.fitted]
    for mistake, formulas in _tries(case, name, here):
        with suppress(ValueError, IndexError):  # the shapes do not fit
            yield Explanation(mistake, formulas, {name}), case.value(name, formulas)


def _of_few_elements(case: Case, name: str, end: float) -> list[Diagnosis]:
    """A mistake in some elements alone, as where each has a line of its own; else [].

    end: when to give up.
    """
    off = case.off(name, case.value(name, {}))
    neurons = off.any(axis=0) if case.network[name].family in PER_SAMPLE else off
    if case.samples > 1 and neurons.all():
        return []
    for found, result in _alone(case, name) if case.returned(name) > 1 else ():
        if not (off & case.off(name, result)).any() and _is_finer(case, name, result):
            return [_diagnosis(case, found, _places(case, name, off))]
    return [] if neurons.all() else _of_a_neighbour(case, name, off, end)


def _places(case: Case, name: str, off: Array) -> str:
    """What the report calls some elements; of several samples, the columns of their neurons."""
    by_column = case.samples > 1 and case.network[name].family in PER_SAMPLE
    indices = (tuple(map(int, place)) for place in np.argwhere(off))
    places = dict.fromkeys((..., at[-1]) if by_column else at for at in indices)
    return ", ".join(_label(case, name, place) for place in places)


def _label(case: Case, name: str, place: tuple[Any, ...]) -> str:
    """What the report calls a place in an array: an element, or a row or column, as W_o[:, 1]."""
    is_sample = case.samples == 1 and case.network[name].family in PER_SAMPLE
    index = (0, place[-1]) if is_sample else place
    if ... not in index and len(index) == len(case.network.shape(name, case.samples)):
        return case.record.named(name, index)
    return f"{name}[{', '.join(':' if part is ... else str(part) for part in index)}]"


def _of_a_neighbour(case: Case, name: str, off: Array, end: float) -> list[Diagnosis]:
    """A number of the right array, but not of the right place in it: w5 for w6; else [].

    end: when to give up.
    """
    remedy = "compare the numbers in the names: each neuron has its own"
    known = case.evaluated({}, name) | case.own | case.names
    for operand in sorted(inputs_of(case.right[name])):
        shape = getattr(known.get(operand), "shape", ())
        of_samples = operand in case.network and case.network[operand].family in PER_SAMPLE
        text = replaced(case.right[name], {operand: f"{operand}[taken]"})
        for at, target, source in _neighbours(shape, of_samples) if shape else ():
            if time.monotonic() > end:
                return []
            with suppress(*_NO_FORMULA):
                result = case.value(name, {name: StandIn(text, {"taken": at})})
                if not (off & case.off(name, result)).any() and _is_finer(case, name, result):
                    wrong, right = (_label(case, operand, place) for place in (source, target))
                    where = _places(case, name, off)
                    says = f"{where}: {wrong} stands where {right} belongs"
                    return [Diagnosis(name, "wrong-index", says, remedy)]
    return []


def _neighbours(
    shape: tuple[int, ...], of_samples: bool
) -> Iterator[tuple[tuple[Array, ...], tuple[Any, ...], tuple[Any, ...]]]:
    """An array's indices with one place, row or column in place of another, and these two.

    Args:
        shape: The array's.
        of_samples: Whether a row is a sample, so that only columns are neurons.
    """
    grid = np.indices(shape)
    is_matrix = len(shape) == 2
    columns = [(..., j) for j in range(shape[-1])] if is_matrix else []
    rows = [] if of_samples else [(i,) for i in range(shape[0])]
    is_small = is_matrix and not of_samples and np.prod(shape) <= _TRIED
    for kind in (columns, rows, [*np.ndindex(*shape)] if is_small else []):
        for target, source in permutations(kind[:_TRIED], 2):
            at = grid.copy()
            at[:, *target] = grid[:, *source]
            yield tuple(at), target, source


def _two_at_once(case: Case, name: str) -> list[Diagnosis]:
    """Two mistakes in the same formula, neither of which explains it alone; else []."""
    end = time.monotonic() + _SECONDS
    return next(chain(_with_factors(case, name), _pairs(case, name, end)), [])


def _with_factors(case: Case, name: str) -> Iterator[list[Diagnosis]]:
    """A mistake, and a turned sign or a factor with a usual cause."""
    here = {one.name: one for one in case.mistakes if one.quantity == name}  # the last of a name
    if _SIGN not in here:
        return
    n, n_out = case.samples, case.network.sizes[-1]
    sizes = [f for size in (n, n_out, n * n_out) for f in (size, 1 / size) if size > 1]
    sizes += [f * size for size in sizes for f in (2, 0.5)]
    factors = [-1, *dict.fromkeys([2, 0.5, *sizes])]
    for found, result in _alone(case, name):
        changes = _changes(case, name, result)
        for factor in factors if found.mistake.name != _SIGN and changes else ():
            given = float(factor) * result
            if case.off(name, given).any() or not _is_finer(case, name, given):
                continue
            text = tidy(f"{factor} * ({found.stand_in.text})")
            alone = {name: StandIn(text, {"c": float(factor)})}
            second = here[_SIGN if factor == -1 else _FACTOR]
            yield _as_two(case, found, Explanation(second, alone, {name}), text)


def _changes(case: Case, name: str, result: Bounded) -> bool:
    """Whether a mistake's value is another one than the right one, beyond rounding and printing."""
    right = case.value(name, {})
    if np.shape(result.value) != np.shape(right.value):
        return True
    room = right.bound() + result.bound() + case.record.printed.get(name, 0.0)
    return bool((np.abs(result.value - right.value) > room).any())


def _pairs(case: Case, name: str, end: float) -> Iterator[list[Diagnosis]]:
    """A mistake, and another one on top of it. end: when to give up."""
    for found, _ in _alone(case, name):
        if found.mistake.each:
            continue
        for second in on_top(case.network, name, found.stand_in.text):
            if second.each or second.name == found.mistake.name:
                continue
            for text in second.formulas:
                if time.monotonic() > end:
                    return
                both = {name: StandIn(text)}
                with suppress(*_NO_FORMULA):
                    result = case.value(name, both)
                    if not case.off(name, result).any() and _is_finer(case, name, result):
                        yield _as_two(case, found, Explanation(second, both, {name}), text)


def _as_two(case: Case, one: Explanation, other: Explanation, text: str) -> list[Diagnosis]:
    """A diagnosis for each of two mistakes, with the formula that has both."""
    first, second = (replace(_diagnosis(case, each), formula=text) for each in (one, other))
    alone = (it for it in case.mistakes if it.quantity == second.quantity)
    remedy = next((it.remedy for it in alone if it.name == second.mistake), second.remedy)
    return [first, replace(second, remedy=remedy, together=True)]


def _of_another_shape(case: Case, name: str) -> Diagnosis:
    """The diagnosis of a quantity of another shape: what gives that shape, or just the shapes."""
    case.own[name] = np.asarray(case.record.misshapen[name], np.float64)
    try:
        return _by_its_shape(case, name)
    finally:
        del case.own[name]


def _by_its_shape(case: Case, name: str) -> Diagnosis:
    """The diagnosis, with what was returned among the case's own."""
    own, expected = case.own[name], np.shape(case.record.torch[name])
    if not own.size:
        says = f"{name} is empty, of shape {own.shape}; expected {expected}"
        return Diagnosis(name, "wrong-shape", says, f"return {name} in shape {expected}")
    shapes = f"{name} has shape {own.shape}; expected {expected}"
    for found, result in _alone(case, name):
        if not case.off(name, result).any():
            return _diagnosis(case, found, shapes)
    n = max(expected, default=1)
    if expected == (n, 1) and own.shape == (n, n):
        says = f"{shapes}: a row of {n} numbers against a column of {n} makes a square"
        remedy = "give the targets the shape (N, 1): y.reshape(-1, 1)"
        return Diagnosis(name, "broadcast", says, remedy)
    fits = f"; its {own.size} numbers would fit" if own.size == np.prod(expected) else ""
    remedy = f"return {name} in shape {expected}"
    wrong = Diagnosis(name, "wrong-shape", shapes + fits, remedy)
    return by_columns(case.record, name, own) or wrong


def _number(constant: float) -> str:
    """A fitted constant: nine significant digits, and what it takes to tell it from 1."""
    apart = abs(constant - 1)
    return f"{constant:.{2 - int(np.log10(apart)) if 0 < apart < 1e-7 else 9}g}"


def _diagnosis(case: Case, found: Explanation, where: str = "") -> Diagnosis:
    """An explanation in words; where: what its sentence starts with."""
    mistake, text = found.mistake, found.stand_in.text
    number = _number(found.constant) if mistake.fitted else ""
    order, is_update = case.network.judged.index, mistake.quantity in case.network.update
    together = found.formulas.keys() & found.explained if is_update else set()
    what = ", ".join(sorted(together, key=order)) or mistake.quantity
    cause = _cause(case, found) if mistake.name == _FACTOR and mistake.fitted else ""
    says = mistake.says.format(q=what, c=number, cause=cause)
    return Diagnosis(
        mistake.quantity,
        mistake.name,
        f"{where}: {says}" if where else says,
        mistake.remedy,
        replaced(text, {"c": number}) if mistake.fitted else text,
        sorted(found.explained, key=order),
    )
