"""What a page and a sheet call things: the teacher's own words in place of ours."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace

from lockstep.errors import Unusable
from lockstep.explain.formulas import labels as elements
from lockstep.network.problem import Problem
from lockstep.report.formulas import named
from lockstep.setup.files import nearest

# the words of a page and a sheet that may be given in another language; `en` names the language
WORDS = (
    "en",
    *("The network", "Loss", "The code", "Step", "How fine the run could see"),
    *("back", "play", "pause", "on", "play by", "computation", "training step", "of", "step"),
    *("formula", "numbers put in", "numbers", "worst element", "element"),
    *("by hand", "yours", "PyTorch", "apart", "verdict", "looks like", "recorded", "change"),
    *("agrees", "not judged", "differs", "none", "the same", "return", "Yours", "not trained"),
    *("forward", "backward", "update", "positive", "negative", "wide: large"),
    "in a neuron its value, below it δ",
    *("Worksheet", "Given", "Name", "the key"),
)


def own_names(problem: Problem) -> dict[str, str]:
    """By word and by quantity what it is called, where the problem has a label for it.

    Raises:
        Unusable: There is no such word, and no such quantity.
    """
    if not problem.labels:
        return {}
    known = dict.fromkeys((*WORDS, *_quantities(problem)))
    for key in problem.labels:
        if key not in known:
            raise Unusable(
                f"labels: {key}: expected a quantity or a word of the page"
                f"{nearest(key, tuple(sorted(known)))}"
            )
    names = {name: called(problem.labels, name) for name in known}
    return {name: own for name, own in names.items() if own != name}


def _quantities(problem: Problem) -> list[str]:
    """The names of matrices, of elements, and of elements without their numbers, as h of h1."""
    network = replace(problem.network, labels=False)  # a class is drawn as a 1
    found = ["lr"]
    for of in (*network.given, *network.computed):
        names = elements(network, of, problem.batch_samples).flat
        found += [of, *names, *(name.rstrip("0123456789") for name in names)]
    return found


def called(labels: Mapping[str, str], name: str) -> str:
    """What a name is called.

    Examples:
        >>> own = {"h": "a", "W_h": "Θ", "w11": "θ1"}
        >>> [called(own, name) for name in ("h2", "W_h[0, 1]", "grad_w11", "o1")]
        ['a2', 'Θ[0, 1]', 'grad_θ1', 'o1']
    """
    if name in labels:
        return labels[name]
    for prefix in ("grad_", "new_"):
        if name.startswith(prefix):
            return prefix + called(labels, name.removeprefix(prefix))
    base, bracket, index = name.partition("[")
    if bracket:
        return labels.get(base, base) + bracket + index
    stem = name.rstrip("0123456789")
    return labels.get(stem, stem) + name[len(stem) :]


def relabelled(formula: str, own: Mapping[str, str]) -> str:
    """A formula in MathML with what its quantities are called. own: see `own_names`."""
    for name in own.keys() - {*WORDS}:
        formula = formula.replace(named(name), named(name, html.escape(own[name])))
    return formula
