"""What a page and a sheet call things: the teacher's own words in place of ours."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from functools import partial

from lockstep.errors import Unusable
from lockstep.explain.formulas import labels as elements
from lockstep.network.files import nearest
from lockstep.network.problem import Problem
from lockstep.report.formulas import named

Say = Callable[[str], str]

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


def checked(problem: Problem) -> Say:
    """What each word and each quantity is called, by its own name.

    Raises:
        Unusable: There is no such word, and no such quantity.
    """
    known = {*WORDS, *_quantities(problem)}
    for key in problem.labels:
        if key not in known:
            raise Unusable(
                f"labels: {key}: expected a quantity or a word of the page"
                f"{nearest(key, tuple(sorted(known)))}"
            )
    return partial(called, problem.labels)


def _quantities(problem: Problem) -> list[str]:
    """The names of matrices, of elements, and of elements without their numbers, as h of h1."""
    network = problem.network
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


def relabelled(formula: str, problem: Problem) -> str:
    """A formula in MathML with the names that the quantities are called by."""
    if not problem.labels:
        return formula
    network = problem.network
    for of in (*network.given, *network.computed):
        for name in (of, *elements(network, of, problem.batch_samples).flat):
            own = called(problem.labels, name)
            if own != name:
                formula = formula.replace(named(name), named(name, html.escape(own)))
    rate = html.escape(called(problem.labels, "lr"))
    return formula.replace(named("lr"), named("lr", rate))
