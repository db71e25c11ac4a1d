"""Which mistake explains what was seen.

Every formula is judged by itself, on the derivation's own values before it. Where one is wrong, the
catalogue's mistakes are tried in its place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from lockstep.bound.bounded import Bounded
from lockstep.explain.case import Case, Replaced, StandIn
from lockstep.explain.catalogue import GRADIENTS, Mistake, catalogue
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import by_columns, by_facts
from lockstep.explain.trees import replaced, tidy
from lockstep.network.names import COMPUTED, UPDATE
from lockstep.network.problem import Problem
from lockstep.run.record import Record
from lockstep.run.result import History

_TRIED = 50  # the most samples or outputs that are tried one by one
_FACTOR, _SIGN = "scaled-by-constant", "sign-flipped"


@dataclass(frozen=True)
class Explanation:
    """A mistake, the formulas that it puts in place of right ones, and the quantities explained."""

    mistake: Mistake
    formulas: Replaced
    explained: set[str]

    @property
    def stand_in(self) -> StandIn:
        return self.formulas[self.mistake.quantity]


@dataclass(frozen=True)
class _Search:
    """A wrong quantity to be explained. accepted: the formulas with mistakes before it."""

    case: Case
    mistakes: tuple[Mistake, ...]
    accepted: Replaced
    name: str

    def value(self, formulas: Replaced) -> Bounded:
        """The quantity with these formulas in place of right ones, besides the accepted ones."""
        return self.case.value(self.name, self.accepted | formulas)

    def fits(self, result: Bounded) -> bool:
        """Whether the derivation's value is this one, to rounding."""
        return not self.case.off(self.name, result).any()


@np.errstate(all="ignore")
def diagnose(record: Record, problem: Problem, history: History | None = None) -> list[Diagnosis]:
    """The diagnoses of a step that differs, in the order of computation.

    Independent mistakes have a diagnosis each. Where several mistakes explain the same equally
    well, all are given, likelier ones first. Where none does, it is `unknown`, with the facts.
    """
    case = Case(record, problem, history or History())
    mistakes = catalogue(problem)
    if record.misshapen:
        return [_of_another_shape(_Search(case, mistakes, {}, next(iter(record.misshapen))))]
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
            found += (
                _of_few_elements(search)
                or _two_at_once(search)
                or [by_facts(case, search.name, accepted)]
            )
            settled.add(search.name)
    return found


# One mistake of the catalogue


def _best(search: _Search) -> list[Explanation]:
    """Those that explain most, one a mistake; odd factors only where nothing else does."""
    found = list(_explanations(search))
    most = max((len(one.explained) for one in found), default=0)
    kept = [one for one in found if len(one.explained) == most]
    likely = [one for one in kept if one.mistake.name != _FACTOR or _usual(search.case, one)]
    by_name: dict[str, Explanation] = {}
    for one in likely or kept:
        by_name.setdefault(one.mistake.name, one)
    return list(by_name.values())


def _explanations(search: _Search) -> Iterator[Explanation]:
    """The mistakes that make the quantity come out as it did: one explanation a formula."""
    before = search.case.differing(search.accepted)
    suspects = search.case.suspects(search.name)
    for mistake in search.mistakes:
        for which in range(len(mistake.formulas) if mistake.quantity in suspects else 0):
            found = (
                Explanation(mistake, formulas, explained)
                for formulas in _tries(search, mistake, which)
                if (explained := _explained(search, formulas, before))
            )
            yield from islice(found, 1)


def _tries(search: _Search, mistake: Mistake, which: int) -> list[Replaced]:
    """What to put in place of right formulas: in all gradients or updates alike, or in one."""
    alike = next((group for group in (GRADIENTS, UPDATE) if mistake.quantity in group), ())
    family = [
        other for other in search.mistakes if other.name == mistake.name and other.quantity in alike
    ]
    givens = _givens(search, mistake, mistake.formulas[which])
    return [
        {one.quantity: StandIn(one.formulas[which], given) for one in together}
        for together in ([family, [mistake]] if len(family) > 1 else [[mistake]])
        for given in givens
    ]


def _explained(search: _Search, formulas: Replaced, before: set[str]) -> set[str]:
    """What formulas explain, or nothing. before: what differs without them."""
    try:
        result = search.value(formulas)
        if not search.fits(result):
            return set()
        after = search.case.differing(search.accepted | formulas)
    except (ValueError, IndexError):
        return set()  # the shapes do not fit: nobody made this mistake here
    return before - after if after <= before and _is_finer(search, result) else set()


def _is_finer(search: _Search, result: Bounded) -> bool:
    """Whether the bound of a result is finer than what it explains (at relu's kink it is not)."""
    right = search.value({})
    apart = np.abs(search.case.own[search.name] - right.value)
    worst = np.argmax(np.where(search.case.off(search.name, right), apart, -1.0))
    return bool(np.ravel(apart)[worst] > 2 * np.ravel(result.bound())[worst])


def _givens(search: _Search, mistake: Mistake, text: str) -> list[dict[str, Any]]:
    """What to try a formula with: a fitted constant, each sample or output in turn, or nothing."""
    if mistake.fitted:
        return [{"c": constant} for constant in _fitted(search, mistake, text)]
    if not mistake.each:
        return [{}]
    n = search.case.samples if mistake.each == "sample" else search.case.sizes[2]
    every = set(range(n)) if 1 < n <= _TRIED else set()
    return [{mistake.each: [i], f"but_{mistake.each}": sorted(every - {i})} for i in sorted(every)]


def _fitted(search: _Search, mistake: Mistake, text: str) -> list[float]:
    """The constant that gives the derivation's value in the element that tells most; [] if none."""
    case, name = search.case, search.name
    returned = list(case.record.elements(name))
    trials = [search.value({mistake.quantity: StandIn(text, {"c": c})}).value for c in (0.0, 1.0)]
    at_0, at_1, own = (np.ravel(value)[returned] for value in (*trials, case.own[name]))
    best = np.argmax(np.abs(at_1 - at_0))
    constant = float((own - at_0)[best] / (at_1 - at_0)[best])
    usual = _usual_factors(case, constant) if mistake.name == _FACTOR else {}
    if not 1e-12 <= abs(constant) < np.inf or (mistake.name == _FACTOR and constant == -1):
        return []
    if len(returned) < 2 and not usual:
        return []  # every single number is some multiple of the right one
    return [*usual.values(), constant][:1]


# Factors


def _usual_factors(case: Case, constant: float) -> dict[str, float]:
    """The factors with a usual cause that a constant may be: {words: factor}."""
    n, n_out = case.samples, case.sizes[2]
    factors = {"2": 2.0, "½": 0.5, "4": 4.0, "¼": 0.25}
    for below, size in {"N": n, "n_out": n_out, "(N·n_out)": n * n_out}.items():
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
    return {
        words: value
        for words, value in factors.items()
        if value != 1 and abs(constant / value - 1) < 1e-6
    }


def _usual(case: Case, found: Explanation) -> dict[str, float]:
    return _usual_factors(case, found.stand_in.given["c"])


def _cause(case: Case, found: Explanation) -> str:
    """Where a factor usually comes from, as the rest of a sentence."""
    usual, cause = _usual(case, found), ""
    if usual:
        causes = {
            "2": "½ Σ against Σ, or the 2 of the square",
            "½": "the 2 of the square's derivative is missing",
        }
        why = causes.get(next(iter(usual)), "a mean against a sum")
        cause = f", which is {' or '.join(usual)}: {why}"
    if found.mistake.quantity == "delta_o" in case.own:
        after = {name for name in case.own if name.startswith(("grad_", "new_"))}
        if after and not after & case.globally_wrong():
            cause += "; your gradients are right, so it is only a convention"
    return cause


# What no single mistake explains


def _alone(search: _Search) -> Iterator[tuple[Explanation, Bounded]]:
    """The mistakes without a constant in this very quantity, and the value that each gives it."""
    name = search.name
    for mistake in search.mistakes:
        for text in mistake.formulas if mistake.quantity == name and not mistake.fitted else ():
            for given in _givens(search, mistake, text):
                formulas = {name: StandIn(text, given)}
                try:
                    yield Explanation(mistake, formulas, {name}), search.value(formulas)
                except (ValueError, IndexError):
                    continue


def _of_few_elements(search: _Search) -> list[Diagnosis]:
    """A mistake in some elements alone, where scalars are written one by one; else []."""
    case, name = search.case, search.name
    if case.samples != 1 or case.returned(name) < 2:
        return []
    off = case.off(name, search.value({}))
    for found, result in _alone(search):
        if not (off & case.off(name, result)).any() and _is_finer(search, result):
            places = [tuple(map(int, place)) for place in np.argwhere(off)]
            return [_at(", ".join(case.record.named(name, at) for at in places), case, found)]
    return []


def _two_at_once(search: _Search) -> list[Diagnosis]:
    """A mistake and a turned sign or a lost factor of 2 in the same formula, as two; else []."""
    case, name = search.case, search.name
    here = {mistake.name: mistake for mistake in search.mistakes if mistake.quantity == name}
    for factor, second in ((-1, _SIGN), (2, _FACTOR), (0.5, _FACTOR)) if _SIGN in here else ():
        for found, result in _alone(search):
            if found.mistake.name == _SIGN or not search.fits(factor * result):
                continue
            both = replace(found.stand_in, text=tidy(f"{factor} * ({found.stand_in.text})"))
            if _is_finer(search, search.value({name: both})):
                alone = {name: StandIn(both.text, {"c": float(factor)})}
                pair = (found, Explanation(here[second], alone, {name}))
                return [replace(_diagnosis(case, one), formula=both.text) for one in pair]
    return []


def _of_another_shape(search: _Search) -> Diagnosis:
    """The diagnosis of a quantity of another shape: what gives that shape, or just the shapes."""
    case, name = search.case, search.name
    own = case.own[name] = np.asarray(case.record.misshapen[name], np.float64)
    expected = np.shape(case.record.torch[name])
    shapes = f"{name} has shape {own.shape}; expected {expected}"
    for found, result in _alone(search):
        if search.fits(result):
            return _at(shapes, case, found)
    n = max(expected, default=1)
    if expected == (n, 1) and own.shape == (n, n):
        says = f"{shapes}: a row of {n} numbers against a column of {n} makes a square"
        remedy = "give the targets the shape (N, 1): y.reshape(-1, 1)"
        return Diagnosis(name, "broadcast", says, remedy)
    fits = f"; its {own.size} numbers would fit" if own.size == np.prod(expected) else ""
    remedy = f"return {name} in shape {expected}"
    wrong = Diagnosis(name, "wrong-shape", shapes + fits, remedy)
    return by_columns(case.record, name, own) or wrong


# In words


def _diagnosis(case: Case, found: Explanation) -> Diagnosis:
    mistake, text = found.mistake, found.stand_in.text
    number = f"{found.stand_in.given['c']:.9g}" if mistake.fitted else ""
    together = found.formulas.keys() & found.explained if mistake.quantity in UPDATE else set()
    what = ", ".join(sorted(together, key=COMPUTED.index)) or mistake.quantity
    cause = _cause(case, found) if mistake.name == _FACTOR else ""
    return Diagnosis(
        mistake.quantity,
        mistake.name,
        mistake.says.format(q=what, c=number, cause=cause),
        mistake.remedy,
        replaced(text, {"c": number}) if mistake.fitted else text,
        sorted(found.explained, key=COMPUTED.index),
    )


def _at(where: str, case: Case, found: Explanation) -> Diagnosis:
    """A diagnosis whose sentence starts with where the mistake is."""
    diagnosis = _diagnosis(case, found)
    return replace(diagnosis, says=f"{where}: {diagnosis.says}")
