"""Which mistake explains what was seen: every formula judged by itself, the catalogue's tried in its place."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from lockstep.bound.bounded import Bounded
from lockstep.explain.case import Case, History, Replaced, StandIn
from lockstep.explain.catalogue import GRADIENTS, Mistake, catalogue
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import by_columns, by_its_digits, by_its_rate, unknown
from lockstep.explain.trees import replaced, tidy
from lockstep.network.names import COMPUTED, UPDATE, Array
from lockstep.network.problem import Problem
from lockstep.run.record import Record

_TRIED = 50  # the most samples or outputs that are tried one by one


@dataclass(frozen=True)
class Explanation:
    """A mistake, the formulas that it puts in place of right ones, and the quantities that it explains."""

    mistake: Mistake
    formulas: Replaced
    explained: set[str]

    @property
    def stand_in(self) -> StandIn:
        return self.formulas[self.mistake.quantity]


@dataclass(frozen=True)
class _Search:
    """A wrong quantity for which an explanation is wanted. accepted: the wrong formulas before it."""

    case: Case
    mistakes: tuple[Mistake, ...]
    accepted: Replaced
    name: str

    def off(self, formulas: Replaced) -> Array:
        """Which elements differ from what these formulas give."""
        return self.case.off(self.name, self.case.value(self.name, formulas))


@np.errstate(all="ignore")
def diagnose(record: Record, problem: Problem, history: History | None = None) -> list[Diagnosis]:
    """The diagnoses of a step that differs, in the order of computation.

    Independent mistakes have a diagnosis each. Where several explain the same equally well all of them are given,
    likelier ones first; where none does, `unknown` with the facts.
    """
    case = Case(record, problem, history or History())
    mistakes = catalogue(case.right)
    if record.misshapen:
        return [_of_another_shape(case, mistakes, next(iter(record.misshapen)))]
    accepted: Replaced = {}
    found: list[Diagnosis] = []
    settled: set[str] = set()
    while wrong := case.differing(accepted) & case.globally_wrong() - settled:
        search = _Search(case, mistakes, accepted, min(wrong, key=COMPUTED.index))
        if explanations := _best(search):
            found += [_diagnosis(case, explanation) for explanation in explanations]
            accepted = accepted | explanations[0].formulas
            settled |= explanations[0].explained
        else:
            found += _of_few_elements(search) or _two_at_once(search) or [_by_facts(search)]
            settled.add(search.name)
    return found


# A mistake of the catalogue


def _best(search: _Search) -> list[Explanation]:
    """Those that explain most, one a mistake; a factor without a usual cause only where nothing else does."""
    found = list(_explanations(search))
    most = max((len(one.explained) for one in found), default=0)
    kept = [one for one in found if len(one.explained) == most]
    likely = [one for one in kept if not _is_odd_factor(search.case, one)] or kept
    by_name: dict[str, Explanation] = {}
    for one in likely:
        by_name.setdefault(one.mistake.name, one)
    return list(by_name.values())


def _explanations(search: _Search) -> Iterator[Explanation]:
    """The mistakes that make the quantity come out as it did, one explanation for each of their formulas."""
    before = search.case.differing(search.accepted)
    suspects = search.case.suspects(search.name)
    for mistake in search.mistakes:
        for which in range(len(mistake.formulas) if mistake.quantity in suspects else 0):
            tried = (
                Explanation(mistake, formulas, explained)
                for formulas in _tries(search, mistake, which)
                if (explained := _explained(search, formulas, before))
            )
            yield from islice(tried, 1)


def _explained(search: _Search, formulas: Replaced, before: set[str]) -> set[str]:
    """What formulas in place of right ones explain; nothing unless they explain the quantity at hand.

    before: what differs without them.
    """
    trial = search.accepted | formulas
    try:
        if search.off(trial).any():
            return set()
        after = search.case.differing(trial)
    except (ValueError, IndexError):
        return set()  # the shapes do not fit: nobody made this mistake here
    return before - after if after <= before and _is_finer(search, trial) else set()


def _is_finer(search: _Search, trial: Replaced) -> bool:
    """Whether the bound of the formulas is finer than what they explain (at relu's kink it is not)."""
    case, name = search.case, search.name
    right, result = case.value(name, search.accepted), case.value(name, trial)
    apart = np.abs(case.own[name] - right.value)
    worst = np.argmax(np.where(case.off(name, right), apart, -1.0))
    return bool(np.ravel(apart)[worst] > 2 * np.ravel(result.bound())[worst])


def _tries(search: _Search, mistake: Mistake, which: int) -> list[Replaced]:
    """The formulas to put in place of right ones: in all gradients or updates alike, and in this one alone."""
    alike = next((names for names in (GRADIENTS, UPDATE) if mistake.quantity in names), ())
    family = [other for other in search.mistakes if other.name == mistake.name]
    family = [other for other in family if other.quantity in alike]
    givens = _givens(search, mistake, mistake.formulas[which])
    return [
        {one.quantity: StandIn(one.formulas[which], given) for one in mistakes}
        for mistakes in ([family] if len(family) > 1 else []) + [[mistake]]
        for given in givens
    ]


def _givens(search: _Search, mistake: Mistake, text: str) -> list[dict[str, float | list[int]]]:
    """What a formula can be tried with: a fitted constant, one sample or output after the other, or nothing."""
    if mistake.fitted:
        constant = _fitted(search, mistake, text)
        return [] if constant is None else [{"c": constant}]
    if mistake.each:
        n = search.case.samples if mistake.each == "sample" else search.case.sizes[2]
        but = f"but_{mistake.each}"
        every = range(n) if 1 < n <= _TRIED else ()
        return [{mistake.each: [i], but: [j for j in range(n) if j != i]} for i in every]
    return [{}]


def _fitted(search: _Search, mistake: Mistake, text: str) -> float | None:
    """The constant with which the formula gives the derivation's value in the element that tells most."""
    case, name = search.case, search.name
    at_0, at_1 = (
        case.value(name, search.accepted | {mistake.quantity: StandIn(text, {"c": c})}).value
        for c in (0.0, 1.0)
    )
    slope = np.atleast_1d(at_1 - at_0) * np.atleast_1d(case.record.covered.get(name, True))
    best = np.unravel_index(int(np.argmax(np.abs(slope))), slope.shape)
    constant = float(np.atleast_1d(case.own[name] - at_0)[best] / slope[best])
    if not np.isfinite(constant) or abs(constant) < 1e-12:
        return None
    usual = _usual_factors(case, constant) if mistake.name == "scaled-by-constant" else []
    if case.returned(name) < 2 and not usual:
        return None  # every single number is some multiple of the right one
    if mistake.name == "scaled-by-constant" and constant == -1:
        return None
    return usual[0].value if usual else constant


# Factors


@dataclass(frozen=True)
class _Factor:
    value: float
    words: str
    cause: str = "a mean against a sum"


def _usual_factors(case: Case, constant: float) -> list[_Factor]:
    """The factors with a usual cause that a constant may be."""
    n, n_out = case.samples, case.sizes[2]
    factors = [
        _Factor(2.0, "2", "½ Σ against Σ, or the 2 of the square"),
        _Factor(0.5, "½", "the 2 of the square's derivative is missing"),
        _Factor(4.0, "4"),
        _Factor(0.25, "¼"),
    ]
    for words, size in (("N", n), ("n_out", n_out), ("N·n_out", n * n_out)):
        below = f"({words})" if "·" in words else words
        factors += [
            _Factor(size, words),
            _Factor(1 / size, f"1/{below}"),
            _Factor(2 / size, f"2/{below}"),
            _Factor(size / 2, f"{words}/2"),
            _Factor(0.5 / size, f"½·1/{below}"),
            _Factor(2.0 * size, f"2·{words}"),
        ] * (size > 1)
    return [one for one in factors if one.value != 1 and abs(constant / one.value - 1) < 1e-6]


def _is_odd_factor(case: Case, found: Explanation) -> bool:
    return found.mistake.name == "scaled-by-constant" and not _usual_factors(
        case, found.stand_in.given["c"]
    )


def _cause(case: Case, found: Explanation) -> str:
    """Where a factor usually comes from, as the rest of a sentence."""
    usual, cause = _usual_factors(case, found.stand_in.given["c"]), ""
    if usual:
        cause = f", which is {' or '.join(one.words for one in usual)}: {usual[0].cause}"
    if found.mistake.quantity == "delta_o" and "delta_o" in case.own:
        after = {name for name in case.own if name.startswith(("grad_", "new_"))}
        if after and not after & case.globally_wrong():
            cause += "; a convention, for your gradients, where it is made up for, are right"
    return cause


# What no single mistake of the catalogue explains


def _alone(search: _Search) -> Iterator[tuple[Explanation, Bounded]]:
    """The mistakes without a constant in this very quantity, and the value that each gives it."""
    for mistake in search.mistakes:
        if mistake.quantity != search.name or mistake.fitted:
            continue
        for text in mistake.formulas:
            for given in _givens(search, mistake, text):
                formulas = {search.name: StandIn(text, given)}
                try:
                    result = search.case.value(search.name, search.accepted | formulas)
                except (ValueError, IndexError):
                    continue
                yield Explanation(mistake, formulas, {search.name}), result


def _of_few_elements(search: _Search) -> list[Diagnosis]:
    """A mistake in some elements alone, where the lecture's scalars are written one by one; else []."""
    case, name = search.case, search.name
    if case.samples != 1 or case.returned(name) < 2:
        return []
    off = search.off(search.accepted)
    for found, result in _alone(search):
        trial = search.accepted | found.formulas
        if not (off & case.off(name, result)).any() and _is_finer(search, trial):
            places = [tuple(map(int, place)) for place in np.argwhere(off)]
            elements = ", ".join(case.record.named(name, place) for place in places)
            diagnosis = _diagnosis(case, found)
            return [replace(diagnosis, says=f"{elements}: {diagnosis.says}")]
    return []


def _two_at_once(search: _Search) -> list[Diagnosis]:
    """A mistake and a turned sign or a lost factor of 2 in the same formula, as two diagnoses; else []."""
    case, name = search.case, search.name
    here = {mistake.name: mistake for mistake in search.mistakes if mistake.quantity == name}
    seconds = ((-1, "sign-flipped"), (2, "scaled-by-constant"), (0.5, "scaled-by-constant"))
    for factor, second in seconds if "sign-flipped" in here else ():
        for found, result in _alone(search):
            if found.mistake.name == "sign-flipped" or case.off(name, factor * result).any():
                continue
            both = replace(found.stand_in, text=tidy(f"{factor} * ({found.stand_in.text})"))
            if _is_finer(search, search.accepted | {name: both}):
                alone = {name: StandIn(both.text, {"c": float(factor)})}
                pair = (found, Explanation(here[second], alone, {name}))
                return [replace(_diagnosis(case, one), formula=both.text) for one in pair]
    return []


def _by_facts(search: _Search) -> Diagnosis:
    """What can be said without a formula."""
    case, name = search.case, search.name
    if name not in case.record.covered:
        stored = by_columns(case.record, name, case.own[name])
        if stored:
            return stored
    facts = (by_its_digits, by_its_rate, unknown)
    return next(found for fact in facts if (found := fact(case, name, search.accepted)))


def _of_another_shape(case: Case, mistakes: tuple[Mistake, ...], name: str) -> Diagnosis:
    """The diagnosis of a quantity of another shape: what gives that very shape, or just another shape."""
    own = np.asarray(case.record.misshapen[name], np.float64)
    expected = np.shape(case.record.torch[name])
    shapes = f"{name} has shape {own.shape}; expected {expected}"
    for mistake in mistakes:
        for text in mistake.formulas if mistake.quantity == name and mistake.is_plain else ():
            if _gives(case, name, text, own):
                says = f"{shapes}: {mistake.says.format(q=name)}"
                return Diagnosis(name, mistake.name, says, mistake.remedy, text)
    n = expected[0] if expected else 1
    if expected == (n, 1) and n > 1 and own.shape == (n, n):
        says = f"{shapes}: a row of {n} numbers against a column of {n} makes a square"
        remedy = "give the targets the shape (N, 1): y.reshape(-1, 1)"
        return Diagnosis(name, "broadcast", says, remedy)
    fits = f"; its {own.size} numbers would fit" if own.size == np.prod(expected) else ""
    remedy = "give it in the shape of the table of names"
    return by_columns(case.record, name, own) or Diagnosis(
        name, "wrong-shape", shapes + fits, remedy
    )


def _gives(case: Case, name: str, text: str, own: Array) -> bool:
    """Whether a formula gives numbers of another shape than the table's."""
    try:
        result = case.value(name, {name: StandIn(text)})
    except (ValueError, IndexError):
        return False
    same = np.shape(result.value) == own.shape
    return same and bool((np.abs(own - result.value) <= result.bound()).all())


def _diagnosis(case: Case, found: Explanation) -> Diagnosis:
    """An explanation in words."""
    mistake, constant = found.mistake, found.stand_in.given.get("c")
    cause = _cause(case, found) if mistake.name == "scaled-by-constant" else ""
    number = "" if constant is None else f"{constant:.9g}"
    together = found.formulas.keys() & found.explained if mistake.quantity in UPDATE else set()
    what = ", ".join(sorted(together, key=COMPUTED.index)) or mistake.quantity
    return Diagnosis(
        mistake.quantity,
        mistake.name,
        mistake.says.format(q=what, c=number, cause=cause),
        mistake.remedy,
        replaced(found.stand_in.text, {"c": number} if number else {}),
        sorted(found.explained, key=COMPUTED.index),
    )
