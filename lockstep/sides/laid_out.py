"""Which conventions an answer keeps to where nothing is said: those under which it fits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.conventions import Conventions
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Network
from lockstep.network.problem import Problem, Start
from lockstep.network.terms import LAYOUTS, Term, factors
from lockstep.setup.problem import alike, make_problem
from lockstep.sides.answer import Answer
from lockstep.sides.side import Side, Turn

Torch = Callable[[Problem, Start], Quantities]
_ALIKE = 1e-6  # relative to the largest element: far above rounding, far below another layout
_WIDTHS = (4, 3, 5, 6, 7, 8, 9, 10)  # of the probe's layers, in turn
_SAMPLES = 11
_OF_SHAPES = ("ValueError", "IndexError", "RuntimeError", "TypeError")  # what arrays raise
_MEANINGS = {"delta": "∂L/∂z", "grad_a": "∂L/∂a", "grad_W": "∂L/∂W", "grad_b": "∂L/∂b"}


@dataclass
class _Trial:
    """An answer under some conventions.

    Attributes:
        conventions: These.
        answer: What came.
        fits: The quantities that have the right shape.
        right: Those that have PyTorch's values as well.
    """

    conventions: Conventions
    answer: Answer
    fits: set[str]
    right: set[str]

    @property
    def rank(self) -> tuple[int, int]:
        """How many fit, and of how many the values are right: more is better."""
        return -len(self.answer.misshapen), len(self.right)

    def is_better_than(self, other: _Trial | None) -> bool:
        """Whether more matrices agree with these conventions, two at least, and none with those."""
        if other is None:  # which does not run
            is_more_than_chance = bool(self.right) or len(self.fits) > 1
            return is_more_than_chance and len(self.answer.misshapen) < max(1, len(self.fits) // 2)
        gained = {*(self.fits - other.fits), *(self.right - other.right)}
        gained = {self.answer.names.get(own, own) for own in gained}
        lost = (other.fits - self.fits) | (other.right - self.right)
        return len(gained) >= 2 and not lost and not self.answer.misshapen


def first_answer(
    side: Side, turn: Turn, problem: Problem, torch: Quantities, by_torch: Torch
) -> Answer:
    """The first answer of a side, by the conventions that it keeps to.

    They are looked for where it does not fit as it is: on a probe, a problem with unequal sizes.

    Args:
        side: By hand; it adopts what is found.
        turn: Where the step starts.
        problem: What is trained.
        torch: PyTorch's quantities.
        by_torch: Gives them for another problem.
    """
    try:
        answer = side.answer(turn, problem, torch)
    except Unusable as reason:
        is_of_shapes = any(kind in str(reason) for kind in _OF_SHAPES)
        if not (is_of_shapes and _is_found(side, turn, problem, torch, by_torch)):
            raise
        return side.answer(turn, problem, torch)
    if not answer.misshapen and all(_is_right(answer, name, torch) for name in answer.values):
        return answer
    is_found = _is_found(side, turn, problem, torch, by_torch)
    return side.answer(turn, problem, torch) if is_found else answer


def _is_found(side: Side, turn: Turn, problem: Problem, torch: Quantities, by_torch: Torch) -> bool:
    """Whether conventions were found; the side has adopted them then."""
    if not side.is_open:
        return False
    found = None
    if side.others:
        probe = _probe(problem)
        first = Turn(1, probe.start(1, probe.state))
        found = _best(side, probe, first, by_torch(probe, first.start), is_probe=True)
    if found is None:  # it may be written for this problem's sizes
        found = _best(side, problem, turn, torch)
    conventions = found.conventions if found else side.conventions
    is_new = conventions != side.conventions
    side.adopt(conventions)
    return is_new


def _best(
    side: Side, problem: Problem, turn: Turn, torch: Quantities, is_probe: bool = False
) -> _Trial | None:
    """The answer under the conventions that fit best; None where it runs under none.

    Of a probe the sizes are all different, so that shapes leave no doubt.
    """

    def tried(conventions: Conventions) -> _Trial | None:
        other = side.under(conventions)
        with contextlib.closing(other), contextlib.suppress(Unusable), np.errstate(all="ignore"):
            other.prepare(problem)
            answer = other.answer(turn, problem, torch)
            right = {name for name in answer.values if _is_right(answer, name, torch)}
            return _Trial(conventions, answer, set(answer.values), right)
        return None

    best = tried(side.conventions)
    for group in (_layouts, _with_biases, _returned):
        if best and is_probe and not best.answer.misshapen:
            break
        trials = map(tried, group(best.conventions if best else side.conventions))
        found = max(filter(None, trials), key=lambda trial: trial.rank, default=None)
        if found and found.is_better_than(best):
            best = found
    if best is None:
        return None
    scales = _scales(best, problem, turn, torch)
    return replace(best, conventions=replace(best.conventions, scales=scales))


def _layouts(said: Conventions) -> Iterator[Conventions]:
    for layout in LAYOUTS:
        if layout != "linear":  # as it is
            yield replace(said, layout=layout)


def _with_biases(said: Conventions) -> Iterator[Conventions]:
    for biases in ("first", "last"):
        for ones in (False, True):
            for layout in LAYOUTS:
                yield replace(said, layout=layout, biases=biases, ones=ones)


def _returned(said: Conventions) -> Iterator[Conventions]:
    """What is returned may have its samples the other way round; weights are as they are given."""
    given = said.layout or "linear"
    for layout in LAYOUTS:
        if layout != given and layout.endswith("in_out") == given.endswith("in_out"):
            yield replace(said, returned=layout)


def _probe(problem: Problem) -> Problem:
    """A problem like this one, whose widths and number of samples are all different."""
    network = problem.network
    *before, last = network.sizes  # it may be written for this number of outputs
    widths = [width for width in _WIDTHS if width != last]
    sizes = (*(widths[i % len(widths)] for i in range(len(before))), last)
    samples = _SAMPLES if problem.batch_samples > 1 else 1
    own = problem.network_settings | dict(lr=0.37, dtype=problem.dtype, sizes=sizes)
    return alike(problem, make_problem(own | dict(samples=samples, seed=1)))


def _is_right(answer: Answer, name: str, torch: Quantities) -> bool:
    """Whether a quantity has PyTorch's values, roughly."""
    value, right = answer.values[name], torch[name]
    with np.errstate(all="ignore"):
        return bool((np.abs(value - right) <= _ALIKE * np.abs(right).max(initial=0.0)).all())


def _scales(trial: _Trial, problem: Problem, turn: Turn, torch: Quantities) -> dict[str, Term]:
    """By the user's name a factor of a quantity, of which what is made of it is right.

    A name of ours means ours: there a factor is a mistake.
    """
    network, conventions = problem.network, trial.conventions
    numbers = turn.start.numbers(network)
    proven: dict[str, Term] = {}
    for own, name in trial.answer.names.items():
        family = network[own].family
        is_open = family in _MEANINGS and name not in conventions.names
        if is_open and own in trial.fits - trial.right and _is_used(own, trial, network):
            scale = _scale(trial.answer.values[own], torch[own], numbers)
            proven |= {name: replace(scale, parts=(_MEANINGS[family],))} if scale else {}
    found = dict(proven)
    for own, name in trial.answer.names.items():  # an error term of another layer, like its fellows
        family = network[own].family
        fellows = {it for it in proven.values() if it.parts == (_MEANINGS.get(family),)}
        if family in ("delta", "grad_a") and own not in trial.right and len(fellows) == 1:
            found.setdefault(name, next(iter(fellows)))
    return found


def _scale(value: Array, right: Array, numbers: Mapping[str, float]) -> Term | None:
    """The factor between two arrays; None where it is none of a convention's."""
    for factor in factors(numbers):
        by = factor.factor(numbers) * right
        if (np.abs(value - by) <= _ALIKE * np.abs(by).max(initial=0.0)).all():
            return factor
    return None


def _is_used(own: str, trial: _Trial, network: Network) -> bool:
    """Whether something that is made of a quantity was returned, and is right."""
    it, right = network[own], trial.right
    if it.family.startswith("grad_") and it.family != "grad_a":
        return f"new_{network.parameter(own)}" in right
    layer = {f"{kind}{parameter}" for kind in ("grad_", "new_") for parameter in network.parameters
             if network[parameter].layer == it.layer}  # fmt: skip
    return bool(layer & right)
