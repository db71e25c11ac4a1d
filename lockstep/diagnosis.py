"""Which mistake explains what was seen: every formula judged by itself, the catalogue's tried in its place."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lockstep.formulas import evaluate, inputs_of, sources, surroundings
from lockstep.mistakes import GRADIENTS, Mistake, catalogue
from lockstep.quantities import COMPUTED
from lockstep.tolerance import Bounded, Precision, bounded_activation, growth


@dataclass
class History:
    """PyTorch's gradients of the steps before this one, by parameter: their sum, and the last one's."""

    accumulated: dict[str, np.ndarray] = field(default_factory=dict)
    previous: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, torch):
        """Take in PyTorch's quantities of a step."""
        self.previous = {name.removeprefix("grad_"): torch[name] for name in torch if name.startswith("grad_")}
        self.accumulated = {name: self.accumulated.get(name, 0.0) + array for name, array in self.previous.items()}


class _Case:
    """A step that differs, and what its formulas give on the derivation's own earlier values."""

    def __init__(self, moment, problem, history):
        self.moment = moment
        precision = Precision.of(moment.dtype)
        activations = [bounded_activation(which) for which in (problem.hidden_activation, problem.output_activation)]
        start = {name: Bounded.exact(array, precision) for name, array in moment.parameters.items()}
        x, y = np.asarray(moment.x, np.float64), np.asarray(moment.y, np.float64)
        self.names = surroundings(problem, start, x, y, moment.lr, activations)
        zeros = {name: np.zeros(np.shape(array)) for name, array in moment.parameters.items()}
        self.names |= dict(
            accumulated=history.accumulated or zeros, previous=history.previous or zeros,
            ones=np.ones(np.shape(moment.parameters["W_o"])),
            positive=lambda z: (z.value > 0).astype(float) if isinstance(z, Bounded) else z > 0,
        )  # fmt: skip
        self.right = sources(problem)
        self.sizes = problem.sizes

    def evaluated(self, replaced):
        """Every quantity as a Bounded, from the derivation's own earlier values.

        replaced: formulas in place of the right ones, by name, as (source, further names).
        """
        names = dict(self.names)
        results: dict[str, Bounded] = {}
        for name in COMPUTED:
            source, extra = replaced.get(name, (self.right[name], {}))
            later = [n for n in inputs_of(source) if n in COMPUTED and n not in results]
            for ahead in later:  # a mistake may use what only a later line computes, such as new weights
                self._compute(ahead, names)
            result = evaluate(source, names | extra)
            results[name] = result if isinstance(result, Bounded) else Bounded.exact(result, Precision.of("float64"))
            names[name] = self._own(name, results[name])
        return results

    def _compute(self, name, names):
        for earlier in inputs_of(self.right[name]):
            if earlier in COMPUTED and earlier not in names:
                self._compute(earlier, names)
        names[name] = evaluate(self.right[name], names)

    def _own(self, name, result):
        """The derivation's value of a quantity with the bound of its formula; where it has none, the formula's."""
        if name not in self.moment.manual:
            return result
        own = np.asarray(self.moment.manual[name], np.float64)
        return Bounded(own, np.maximum(result.scale, np.abs(own)), result.k, result.precision)

    def differing(self, replaced):
        """The returned quantities that are not what their formula gives, in the order of computation."""
        with np.errstate(all="ignore"):
            results = self.evaluated(replaced)
        return {name for name in self.moment.manual if self._differs(name, results[name])}

    def _differs(self, name, result):
        own = np.asarray(self.moment.manual[name], np.float64)
        if np.shape(result.value) != own.shape:
            return True
        covered = self.moment.covered.get(name, np.ones(own.shape, bool))
        with np.errstate(all="ignore"):
            return not (np.abs(own - result.value) <= result.bound())[covered].all()

    def suspects(self, name):
        """The quantities whose formula can be behind a wrong `name`: itself, and what was not returned before it."""
        found, waiting = [name], [name]
        while waiting:
            for earlier in inputs_of(self.right[waiting.pop()]):
                if earlier in COMPUTED and earlier not in self.moment.manual and earlier not in found:
                    found.append(earlier)
                    waiting.append(earlier)
        return found


def diagnose(moment, problem, history=None):
    """Diagnoses of a step that differs: dicts of quantity, mistake, says (interface of the JSON), remedy, explains.

    moment: `comparison.Moment`. Independent mistakes give a diagnosis each; where several names explain the same
    equally well all of them are given, likelier first; where none does, `unknown` with the facts.
    """
    case = _Case(moment, problem, history or History())
    mistakes = catalogue(case.right)
    accepted: dict[str, tuple[str, dict]] = {}
    found: list[dict] = []
    settled: set[str] = set()
    wrong = case.differing(accepted) & _globally_wrong(moment)
    while wrong - settled:
        name = min(wrong - settled, key=COMPUTED.index)
        explanations = list(_explanations(case, name, mistakes, accepted))
        best = max((len(explained) for *_, explained in explanations), default=0)
        kept = [found_here for found_here in explanations if len(found_here[-1]) == best]
        only_scaled = all(mistake.name == "scaled-by-constant" for mistake, *_ in kept)
        fitted = [e for e in kept if only_scaled or e[0].name != "scaled-by-constant" or _nice(e[2]["c"], case)]
        if not fitted:
            found.append(_by_its_digits(case, name, accepted) or _unknown(case, name, accepted))
            settled.add(name)
            continue
        seen = set()
        for mistake, source, extra, explained in fitted:
            if mistake.name not in seen:
                seen.add(mistake.name)
                found.append(_said(case, mistake, source, extra, explained))
        mistake, source, extra, explained = fitted[0]
        accepted[mistake.quantity] = (source, extra)
        settled |= explained
        wrong = case.differing(accepted) & _globally_wrong(moment)
    return found


def _globally_wrong(moment):
    allowed = {name: moment.allowed[name] for name in moment.manual}
    with np.errstate(all="ignore"):
        return {
            name
            for name, own in moment.manual.items()
            if not (np.abs(np.asarray(own, np.float64) - moment.torch[name]) <= allowed[name]).all()
        }


def _explanations(case, name, mistakes, accepted) -> Iterator[tuple[Mistake, str, dict, set[str]]]:
    """The mistakes that make `name` come out as it did: (mistake, formula, further names, all that it explains)."""
    before = case.differing(accepted)
    suspects = case.suspects(name)
    for mistake in mistakes:
        if mistake.quantity not in suspects:
            continue
        for source in mistake.formulas:
            for extra in _tries(case, mistake, source, name, accepted):
                try:
                    after = case.differing(accepted | {mistake.quantity: (source, extra)})
                except (ValueError, IndexError):
                    continue  # the shapes do not fit: nobody made this mistake here
                if name not in after and after <= before:
                    yield mistake, source, extra, before - after
                    break


def _tries(case, mistake, source, name, accepted):
    """The further names that a formula can be tried with: a fitted constant, one sample or output after the other."""
    if " c " in f" {source} ".replace("(", " "):
        constant = _fitted(case, mistake, source, name, accepted)
        return [] if constant is None else [{"c": constant}]
    n, n_out = len(case.moment.x), case.sizes[2]
    if "sample" in source:
        every = range(n) if 2 < n <= 50 else ()
        return [{"sample": [i], "but_sample": [j for j in range(n) if j != i]} for i in every]
    if "one]" in source or "but]" in source:
        every = range(n_out) if 1 < n_out <= 50 else ()
        return [{"one": [i], "but": [j for j in range(n_out) if j != i]} for i in every]
    return [{}]


def _fitted(case, mistake, source, name, accepted):
    """The constant c with which the formula gives the derivation's `name` in the element that tells most."""
    try:
        with np.errstate(all="ignore"):
            at = [case.evaluated(accepted | {mistake.quantity: (source, {"c": c})})[name].value for c in (0.0, 1.0)]
            slope = np.asarray(at[1] - at[0])
            own = np.asarray(case.moment.manual[name], np.float64)
            best = np.unravel_index(int(np.argmax(np.abs(slope))), slope.shape)
            constant = float((own - at[0])[best] / slope[best])
    except (ValueError, IndexError):
        return None
    if not np.isfinite(constant) or abs(constant) < 1e-12 or (constant == -1 and mistake.name == "scaled-by-constant"):
        return None
    nice = _nice(constant, case)
    if mistake.name == "scaled-by-constant" and np.size(own) < 2 and nice is None:
        return None  # every wrong number is some multiple of the right one
    if np.size(own) < 2 and mistake.name in ("weight-decay", "momentum"):
        return None
    return constant if nice is None else nice[0]


def _nice(constant, case):
    """A factor that has a usual cause, as (value, its words), or None."""
    n, (_, _, n_out) = len(case.moment.x), case.sizes
    sizes = {"N": n, "n_out": n_out, "N·n_out": n * n_out}
    factors = {"2": 2.0, "1/2": 0.5, "4": 4.0, "1/4": 0.25}
    for words, size in sizes.items():
        if size > 1:
            factors |= {words: size, f"1/({words})": 1 / size, f"2/({words})": 2 / size, f"{words}/2": size / 2,
                        f"1/(2·{words})": 0.5 / size, f"2·{words}": 2.0 * size}  # fmt: skip
    close = [(value, words) for words, value in factors.items() if abs(constant / value - 1) < 1e-6 and value != 1]
    return close[0] if close else None


def _said(case, mistake, source, extra, explained):
    constant, cause = extra.get("c"), ""
    if constant is not None and mistake.name == "scaled-by-constant":
        nice = _nice(constant, case)
        usual = {"2": ": ½ Σ against Σ, or the 2 of the square", "1/2": ": the 2 of the square's derivative is missing"}
        cause = f", which is {nice[1]}{usual.get(nice[1], ': a mean against a sum')}" if nice else ""
    own = sorted(explained, key=COMPUTED.index)
    says = mistake.says.format(q=mistake.quantity, c="" if constant is None else f"{constant:.9g}", cause=cause)
    return {
        "quantity": mistake.quantity if mistake.quantity in case.moment.manual or len(own) != 1 else own[0],
        "mistake": mistake.name,
        "says": says,
        "remedy": mistake.remedy,
        "formula": source if constant is None else source.replace("c *", f"{constant:.9g} *", 1),
        "explains": own,
    }


def _by_its_digits(case, name, accepted):
    """A quantity that is right to the digits of single precision or of difference quotients, or None."""
    with np.errstate(all="ignore"):
        result = case.evaluated(accepted)[name]
        own = np.asarray(case.moment.manual[name], np.float64)
        error = np.abs(own - result.value)
        off = error > result.bound()
        size = np.abs(result.value).max()
        in_single = growth(result.k) * 2.0**-24 * result.scale
    if case.moment.dtype != "float64" or own.size < 2 or off.sum() < 0.5 * np.count_nonzero(result.value):
        return None  # a single wrong element is no lack of precision
    if (error <= in_single).all() and error.max() < 1e-5 * size:
        rounded = bool((own.astype(np.float32) == own).all())
        if rounded or 1e-9 * size < error.max():
            return _plain(name, "single-precision", f"{name} is right to about 7 digits, as in float32",
                          "compute in float64, or compare with --dtype float32")  # fmt: skip
    if name in GRADIENTS and 1e-12 * size < error.max() < 1e-3 * size:
        digits = int(-np.log10(error.max() / size))
        return _plain(
            name,
            "finite-differences",
            f"{name} is right to about {digits} digits, as difference quotients are",
            "a difference quotient is only near the derivative; derive the formula",
        )
    return None


def _unknown(case, name, accepted):
    """The facts about a quantity that no mistake explains: how many elements, which, and their ratio."""
    with np.errstate(all="ignore"):
        result = case.evaluated(accepted)[name]
        own = np.asarray(case.moment.manual[name], np.float64)
        off = ~(np.abs(own - result.value) <= result.bound())
        ratio = (own / result.value)[off]
    places = [moment_label(case, name, place) for place in zip(*np.nonzero(np.atleast_1d(off)), strict=True)][:3]
    where = f" ({', '.join(places)}{', …' if off.sum() > 3 else ''})" if off.ndim else ""
    says = f"{int(off.sum())} of {off.size} elements of {name} differ{where}"
    if not np.isfinite(own).all():
        says += f"; {int((~np.isfinite(own)).sum())} of yours are not finite"
    elif len(ratio) and np.isfinite(ratio).all():
        low, high = f"{ratio.min():.6g}", f"{ratio.max():.6g}"
        says += f"; yours over the right one is {low if low == high else f'{low} to {high}'}"
    return _plain(name, "unknown", says, "")


def moment_label(case, name, place):
    """What a report calls an element."""
    return case.moment.named(name, tuple(int(i) for i in place))


def _plain(name, mistake, says, remedy):
    return {"quantity": name, "mistake": mistake, "says": says, "remedy": remedy, "formula": "", "explains": [name]}


def diagnose_shape(moment, problem, name):
    """The diagnosis of a quantity of another shape: a broadcast, a transposed gradient, or just another shape."""
    own = moment.misshapen[name]
    expected = np.shape(moment.torch[name])
    shapes = f"{name} has shape {own.shape}; expected {expected}"
    if expected[1:] == (1,) and expected[0] > 1 and own.shape == (expected[0], expected[0]):
        return [
            _plain(
                name,
                "broadcast",
                f"{shapes}: a row of {expected[0]} against a column of {expected[0]} makes a square",
                "give the targets the shape (N, 1): y.reshape(-1, 1)",
            )
        ]
    if name.startswith("grad_W") and own.shape == expected[::-1]:
        with np.errstate(all="ignore"):
            same = (np.abs(own.T - moment.torch[name]) <= moment.allowed[name]).all()
        if same:
            return [_plain(name, "transposed-gradient", f"{shapes}: the outer product the wrong way round",
                           "row j of a weight's gradient belongs to neuron j")]  # fmt: skip
    fits = f"; its {own.size} numbers would fit" if own.size == np.prod(expected) else ""
    return [_plain(name, "wrong-shape", f"{shapes}{fits}", "return it in the shape of the table of names")]


def notes(moment, diagnoses):
    """What else differs, and only because something before it does."""
    explained = {name for diagnosis in diagnoses for name in diagnosis["explains"]}
    led = [name for name in moment.manual if name in _globally_wrong(moment) - explained]
    return [f"{', '.join(led)} differ{'s' * (len(led) == 1)} only because of that"] if led and explained else []


def coverage(moment):
    """A remark on what a derivation did not return and so was not judged."""
    returned = {*moment.manual, *moment.misshapen}
    missing = [name for name in COMPUTED if name not in returned]
    missing += [f"a part of {name}" for name in moment.covered]
    return [f"not returned, so not judged: {', '.join(missing)}"] if missing else []
