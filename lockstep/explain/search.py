"""Which mistake explains what was seen: every formula judged by itself, the catalogue's tried in its place."""

from dataclasses import replace

import numpy as np

from lockstep.explain.case import Case
from lockstep.explain.catalogue import catalogue
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.facts import by_columns, by_its_digits, by_its_rate, unknown
from lockstep.network.names import COMPUTED, UPDATE
from lockstep.run.result import History

_TRIED = 50  # samples or outputs that are tried one by one


def diagnose(record, problem, history=None):
    """Diagnoses of a step that differs, in the order of computation: dicts as `facts.diagnosis` makes them.

    record: `comparison.Record`. Independent mistakes give a diagnosis each; where several names explain the same
    equally well all of them are given, likelier first; where none does, `unknown` with the facts.
    """
    case = Case(record, problem, history or History())
    if record.misshapen:
        return _of_another_shape(case, next(iter(record.misshapen)))
    mistakes = catalogue(case.right)
    accepted: dict[str, tuple[str, dict]] = {}
    found: list[dict] = []
    settled: set[str] = set()
    while wrong := case.differing(accepted) & case.globally_wrong() - settled:
        name = min(wrong, key=COMPUTED.index)
        explanations = _best(case, list(_explanations(case, name, mistakes, accepted)))
        if not explanations:
            rest = case, name, mistakes, accepted
            found += (
                _of_few_elements(*rest) or _two_at_once(*rest) or _by_facts(case, name, accepted)
            )
            settled.add(name)
        named = set()
        for mistake, replaced, explained in explanations:
            if mistake.name not in named:
                found.append(_said(case, mistake, replaced, explained))
                named.add(mistake.name)
        if explanations:
            _, replaced, explained = explanations[0]
            accepted |= replaced
            settled |= explained
    return found


def _explanations(case, name, mistakes, accepted):
    """The mistakes that make `name` come out as it did: (mistake, replaced formulas, all that they explain)."""
    before = case.differing(accepted)
    suspects = case.suspects(name)
    for mistake in mistakes:
        if mistake.quantity not in suspects:
            continue
        for which in range(len(mistake.formulas)):
            for replaced in _tries(case, mistake, which, mistakes, name, accepted):
                trial = accepted | replaced
                try:
                    if not case.gives(name, trial):
                        continue
                    after = case.differing(trial)
                except (ValueError, IndexError):
                    continue  # the shapes do not fit: nobody made this mistake here
                if after <= before and _tells(case, name, accepted, trial):
                    yield mistake, replaced, before - after
                    break


def _by_facts(case, name, accepted):
    stored = (
        None
        if case.record.covered.get(name) is not None
        else by_columns(case.record, name, case.own[name])
    )
    by_facts = (by_its_digits, by_its_rate, unknown)
    return [stored or next(found for fact in by_facts if (found := fact(case, name, accepted)))]


def _of_few_elements(case, name, mistakes, accepted):
    """A mistake in some elements alone, where the lecture's scalars are written one by one; else []."""
    if case.samples != 1 or case.returned(name) < 2:
        return []
    with np.errstate(all="ignore"):
        off = case.off(name, case.evaluated(accepted, name)[name])
    for mistake, replaced, result in _alone(case, name, mistakes, accepted):
        if not (off & case.off(name, result)).any() and _tells(case, name, accepted, replaced):
            elements = ", ".join(
                case.record.named(name, tuple(map(int, place))) for place in np.argwhere(off)
            )
            told = _said(case, mistake, replaced, {name})
            return [replace(told, says=f"{elements}: {told.says}")]
    return []


def _two_at_once(case, name, mistakes, accepted):
    """A mistake and a turned sign or a lost factor of 2 in the same formula, told as two; else []."""
    second = {mistake.name: mistake for mistake in mistakes if mistake.quantity == name}
    for factor, other in (
        (-1, "sign-flipped"),
        (2, "scaled-by-constant"),
        (0.5, "scaled-by-constant"),
    ):
        for mistake, replaced, result in _alone(case, name, mistakes, accepted):
            if mistake.name in ("sign-flipped", "scaled-by-constant") or other not in second:
                continue
            source, extra = replaced[name]
            both = accepted | {name: (f"{factor} * ({source})", extra)}
            if not case.off(name, factor * result).any() and _tells(case, name, accepted, both):
                of_the_factor = {name: (second[other].formulas[0], {"c": float(factor)})}
                told = [
                    _said(case, mistake, replaced, {name}),
                    _said(case, second[other], of_the_factor, {name}),
                ]
                return [replace(one, formula=both[name][0]) for one in told]
    return []


def _alone(case, name, mistakes, accepted):
    """The formulas without a constant to fit that a mistake puts in place of this very quantity's, and their value."""
    for mistake in mistakes:
        for source in mistake.formulas if mistake.quantity == name else ():
            if "c *" in source:
                continue
            for extra in _further(case, mistake, source, name, accepted):
                replaced = accepted | {name: (source, extra)}
                try:
                    with np.errstate(all="ignore"):
                        result = case.evaluated(replaced, name)[name]
                except (ValueError, IndexError):
                    continue
                if np.shape(result.value) == case.own[name].shape:
                    yield mistake, replaced, result


def _tells(case, name, accepted, replaced):
    """Whether the bound of the replaced formula is finer than what it explains (at relu's kink it is not)."""
    with np.errstate(all="ignore"):
        right, result = (case.evaluated(formulas, name)[name] for formulas in (accepted, replaced))
        apart = np.abs(case.own[name] - right.value)
        worst = np.argmax(np.where(case.off(name, right), apart, -1.0))
        return bool(np.ravel(apart)[worst] > 2 * np.ravel(result.bound())[worst])


def _best(case, explanations):
    """Those that explain most; a fitted factor without a usual cause only where nothing else does."""
    most = max((len(explained) for *_, explained in explanations), default=0)
    kept = [explanation for explanation in explanations if len(explanation[-1]) == most]
    named = [explanation for explanation in kept if not _is_odd_factor(case, *explanation)]
    return named or kept


def _is_odd_factor(case, mistake, replaced, explained):
    return (
        mistake.name == "scaled-by-constant"
        and _nice(replaced[mistake.quantity][1]["c"], case) is None
    )


def _tries(case, mistake, which, mistakes, name, accepted):
    """The formulas to put in place of right ones: this mistake's alone, and in all its quantities alike."""
    source = mistake.formulas[which]
    alone = [
        {mistake.quantity: (source, extra)}
        for extra in _further(case, mistake, source, name, accepted)
    ]
    siblings = [
        other
        for other in mistakes
        if other.name == mistake.name
        and len(other.formulas) == len(mistake.formulas)
        and other is not mistake
        and other.quantity[:4] == mistake.quantity[:4] in ("grad", "new_")
    ]
    if not siblings:
        return alone
    together = [
        {one.quantity: (one.formulas[which], extra) for one in (mistake, *siblings)}
        for replaced in alone
        for _, extra in replaced.values()
    ]
    return together + alone


def _further(case, mistake, source, name, accepted):
    """The further names that a formula can be tried with: a fitted constant, one sample or output after the other."""
    if "c *" in source:
        constant = _fitted(case, mistake, source, name, accepted)
        return [] if constant is None else [{"c": constant}]
    for words, n in (("sample", case.samples), ("one", case.sizes[2])):
        if f"{words}]" in source or f"but_{words}]" in source:
            every = range(n) if 1 < n <= _TRIED else ()
            return [{words: [i], f"but_{words}": [j for j in range(n) if j != i]} for i in every]
    return [{}]


def _fitted(case, mistake, source, name, accepted):
    """The constant c with which the formula gives the derivation's `name` in the element that tells most."""
    with np.errstate(all="ignore"):
        at = [
            case.evaluated(accepted | {mistake.quantity: (source, {"c": c})}, name)[name].value
            for c in (0.0, 1.0)
        ]
        slope = np.atleast_1d(at[1] - at[0]) * np.atleast_1d(case.record.covered.get(name, True))
        best = np.unravel_index(int(np.argmax(np.abs(slope))), slope.shape)
        constant = float(np.atleast_1d(case.own[name] - at[0])[best] / slope[best])
    nice = _nice(constant, case)
    if mistake.name == "scaled-by-constant":
        if constant == -1 or (case.returned(name) < 2 and nice is None):
            return None  # every single number is some multiple of the right one
    elif case.returned(name) < 2:
        return None
    if not np.isfinite(constant) or abs(constant) < 1e-12:
        return None
    return constant if nice is None or mistake.name != "scaled-by-constant" else nice[0]


def _nice(constant, case):
    """A factor that has a usual cause, as (value, its words), or None."""
    n, n_out = case.samples, case.sizes[2]
    factors = {"2": 2.0, "½": 0.5, "4": 4.0, "¼": 0.25}
    for words, size in {"N": n, "n_out": n_out, "N·n_out": n * n_out}.items():
        inverse = f"1/{words}" if words in ("N", "n_out") else f"1/({words})"
        if size > 1:
            factors |= {
                words: size,
                inverse: 1 / size,
                f"{inverse.replace('1', '2', 1)}": 2 / size,
                f"{words}/2": size / 2,
                f"½·{inverse}": 0.5 / size,
                f"2·{words}": 2.0 * size,
            }
    close = [
        (value, words)
        for words, value in factors.items()
        if value != 1 and abs(constant / value - 1) < 1e-6
    ]
    return (close[0][0], " or ".join(words for _, words in close)) if close else None


def _said(case, mistake, replaced, explained):
    source, extra = replaced[mistake.quantity]
    constant, cause = extra.get("c"), ""
    quantity = mistake.quantity
    if mistake.name == "scaled-by-constant":
        nice = _nice(constant, case)
        usual = {
            "2": ": ½ Σ against Σ, or the 2 of the square",
            "½": ": the 2 of the square's derivative is missing",
        }
        cause = (
            f", which is {nice[1]}{usual.get(nice[1].split(' or ')[0], ': a mean against a sum')}"
            if nice
            else ""
        )
        if quantity == "delta_o" and "delta_o" in case.own and _gradients_come_out_right(case):
            cause += "; a convention, for your gradients, where it is made up for, are right"
    number = "" if constant is None else f"{constant:.9g}"
    together = [name for name in replaced if name in explained] if quantity in UPDATE else []
    what = ", ".join(sorted(together, key=COMPUTED.index)) or quantity
    return Diagnosis(
        quantity,
        mistake.name,
        mistake.says.format(q=what, c=number, cause=cause),
        mistake.remedy,
        source if constant is None else source.replace("c *", f"{number} *", 1),
        sorted(explained, key=COMPUTED.index),
    )


def _gradients_come_out_right(case):
    gradients = {name for name in case.own if name.startswith(("grad_", "new_"))}
    return bool(gradients) and not gradients & case.globally_wrong()


def _of_another_shape(case, name):
    """The diagnosis of a quantity of another shape: what would give that very shape, or just another shape."""
    own = np.asarray(case.record.misshapen[name], np.float64)
    expected = np.shape(case.record.torch[name])
    shapes = f"{name} has shape {own.shape}; expected {expected}"
    for mistake in catalogue(case.right):
        if mistake.quantity == name:
            for source in mistake.formulas:
                try:
                    with np.errstate(all="ignore"):
                        result = case.evaluated({name: (source, {"c": 1.0})}, name)[name]
                except (ValueError, IndexError, NameError):
                    continue
                if (
                    np.shape(result.value) == own.shape
                    and (np.abs(own - result.value) <= result.bound()).all()
                ):
                    says = f"{shapes}: {mistake.says.format(q=name, c='', cause='')}"
                    return [Diagnosis(name, mistake.name, says, mistake.remedy, source, [name])]
    if expected[1:] == (1,) and expected[0] > 1 and own.shape == (expected[0], expected[0]):
        n = expected[0]
        says = f"{shapes}: a row of {n} numbers against a column of {n} makes a square"
        return [
            Diagnosis(
                name, "broadcast", says, "give the targets the shape (N, 1): y.reshape(-1, 1)"
            )
        ]
    stored = by_columns(case.record, name, own)
    if stored:
        return [stored]
    fits = f"; its {own.size} numbers would fit" if own.size == np.prod(expected) else ""
    return [
        Diagnosis(
            name, "wrong-shape", f"{shapes}{fits}", "give it in the shape of the table of names"
        )
    ]
