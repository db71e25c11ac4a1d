"""Mistakes to find: finished files of the exercise, of which one formula is wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

from lockstep.errors import Unusable
from lockstep.explain.catalogue import Mistake, catalogue
from lockstep.explain.formulas import elements_of, replaced, tidy
from lockstep.learn.exercise import check_planted
from lockstep.learn.template import Exercise, in_the_files_words, right_formula
from lockstep.setup.options import MISTAKE_NAMES

RANDOM = "random"
# the catalogue's names, and what stands for them in a file in matrices
_WORDS = {"c": "2", "N": "len(x)", "ones_like": "np.ones_like", "output": "[0]"}
# what a formula may raise that is none of scalars: its shapes do not fit, it is of several samples
_NO_SCALARS = (ValueError, IndexError, TypeError, AttributeError, NameError)


@lru_cache
def plantable(it: Exercise) -> list[str]:
    """The mistakes that a finished file can have."""
    names = dict.fromkeys(mistake.name for mistake in catalogue(it.network))
    return [name for name in names if next(_shown(name, it), None)]


def planted(mistake: str, it: Exercise) -> tuple[Exercise, dict[str, str]]:
    """The exercise, in matrices where a mistake has no scalars, and what to plant in what.

    Raises:
        Unusable: There is no such mistake, or no formula with it will do.
    """
    in_matrices = replace(it, matrix=True)
    for form in dict.fromkeys((it, in_matrices)):
        found = next(_shown(mistake, form), None)
        if found:
            return form, found
    names, known = ", ".join((*plantable(in_matrices), RANDOM)), mistake in MISTAKE_NAMES
    why = "no formula of this exercise can have it alone; " if known else ""
    raise Unusable(f"--mistake {mistake}: {why}expected one of {names}")


def drawn(it: Exercise, seed: int | None) -> dict[str, str]:
    """The same for a mistake that is drawn, each name as likely as any other.

    Args:
        it: The exercise.
        seed: Of what is drawn; None to leave it to chance.
    """
    chance = random.Random(seed)
    names = list(dict.fromkeys(mistake.name for mistake in catalogue(it.network)))
    chance.shuffle(names)
    return next(found for name in names for found in _shown(name, it, chance))


def _shown(
    name: str, it: Exercise, chance: random.Random | None = None
) -> Iterator[dict[str, str]]:
    """Each formula with a mistake that runs on every example and is named on one."""
    ways = [
        wrong
        for mistake in catalogue(it.network)
        if mistake.name == name
        for formula in mistake.formulas
        for wrong in _lines(mistake, formula, it)
    ]
    if chance:
        chance.shuffle(ways)
    for wrong in ways:
        (own,) = wrong
        verdicts = check_planted(it, wrong)
        raised = any(verdict.error for verdict in verdicts.values())
        if verdicts[own].says.startswith(f"{name}:") and not raised:
            yield wrong


def _lines(mistake: Mistake, formula: str, it: Exercise) -> list[dict[str, str]]:
    """A formula of the catalogue as lines of a finished file, each in place of its right one."""
    quantity, wrong = mistake.quantity, dict[str, str]()
    if mistake.fitted and not it.matrix and mistake.name != "scaled-by-constant":
        return []  # some constant fits any single number, so none of them is named
    if it.matrix:
        wrong = {quantity: _in_matrices(formula, quantity, it)}
    else:
        with suppress(*_NO_SCALARS):
            wrong = elements_of(formula, quantity, it.network)
    lines = {own: _in_the_files_words(text, it) for own, text in wrong.items()}
    return [{own: text} for own, text in lines.items() if text != right_formula(own, it)]


def _in_matrices(formula: str, quantity: str, it: Exercise) -> str:
    """A formula of the catalogue with what stands in a file for the catalogue's own names."""
    words, of = dict(_WORDS), it.network[quantity]
    if of.family == "delta" and of.layer < it.network.depth:  # these gradients are not there yet
        gradient = f"grad_{it.network.of('W', of.layer + 1)}"
        words[f"lr * {gradient}"] = f"lr * ({right_formula(gradient, it)})"
    return replaced(formula, words)


def _in_the_files_words(text: str, it: Exercise) -> str:
    text = in_the_files_words(text, it.network)
    return tidy(re.sub(r"-1 \* \(\((o\d?) - (y\d?)\)", r"((\2 - \1)", text))
