"""The file of the exercise: the lecture's formulas to fill in, what each of them is, and hints."""

import ast
from collections.abc import Mapping

from lockstep.explain.formulas import formula_of, replaced, what_it_is
from lockstep.network.network import Network

LOSS = "half_sum"  # the lecture's ½ Σ
NETWORK = Network((2, 2, 2), ("sigmoid", "sigmoid"), LOSS)
_WORDS = {"square": "lambda a: a ** 2"}  # functions of the code by hand, as the file has them
for _s in "ho":
    _WORDS[f"sigma_{_s}"] = "lambda z: sigma(z)"
    _WORDS[f"sigma_{_s}_prime"] = "lambda z, s: sigma_prime(z)"
_FILE = '''"""A step of back-propagation: {title}.

All quantities are {kind}. L = ½ Σ (y − o)². The activation is the sigmoid on both layers.
"""

import numpy as np


def sigma(z):
    return 1 / (1 + np.exp(-z))


def sigma_prime(z):
    return sigma(z) * (1 - sigma(z))


def step({given}, lr):
{formulas}
    return dict(
{returned}
    )
'''


def names_to_derive(matrix: bool) -> dict[str, str]:
    """The names to fill in, in order, and the name of each one's matrix."""
    if matrix:
        return {name: name for name in NETWORK.computed}
    return {scalar: name for name in NETWORK.computed for scalar in _names(name, matrix)}


def _names(name: str, matrix: bool) -> tuple[str, ...]:
    """What stands for a matrix in the exercise: itself, or the lecture's scalars."""
    return (name,) if matrix else NETWORK.scalar_names(name, 1) or ()


def right_formula(name: str, matrix: bool) -> str:
    """The lecture's formula as a line of the file."""
    return in_the_files_words(formula_of(name, not matrix, NETWORK))


def in_the_files_words(source: str) -> str:
    """A formula of the code by hand in the words of the exercise.

    Examples:
        >>> in_the_files_words("(o - y) * sigma_o_prime(z_o, o)")
        '(o - y) * sigma_prime(z_o)'
    """
    return replaced(source, {}, _WORDS)


def template(matrix: bool, planted: Mapping[str, str] | None = None) -> str:
    """The text of a file of the exercise.

    Args:
        matrix: In matrices; else in the lecture's scalars.
        planted: Formulas by name that stand in place of the right ones in a finished file. None: a
            file to be filled in.
    """
    title = "fill in the formulas, one after the other"
    if planted:
        title = "one formula of it is wrong: find it"
    order = names_to_derive(matrix)
    right = {name: "..." if planted is None else right_formula(name, matrix) for name in order}
    lines = [
        f"    {name} = {formula}  # {what_it_is(name, order[name], NETWORK)}"
        for name, formula in (right | dict(planted or {})).items()
    ]
    return _FILE.format(
        title=title,
        kind="matrices; x is (N, n_in), rows are samples"
        if matrix
        else "numbers: w21 goes from x2 to h1",
        given=", ".join(given for name in NETWORK.given for given in _names(name, matrix)),
        formulas="\n".join(lines),
        returned="\n".join(f"        {name}={name}," for name in order),
    )


def hints(name: str, matrix: bool) -> list[str]:
    """Ever more of a formula: what it is, what it is made of, its shape, the formula itself.

    Examples:
        >>> hints("z_o", True)[1:3]
        ['it is made of h, W_o, b_o', 'its shape is □ @ □.T + □']
    """
    formula = right_formula(name, matrix)
    tree = ast.parse(formula, mode="eval")
    words = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    words.sort(key=lambda word: word.col_offset)
    parts = dict.fromkeys(word.id for word in words)
    for word in words:
        if not word.id.startswith("sigma"):
            word.id = "□"
    return [
        what_it_is(name, names_to_derive(matrix)[name], NETWORK),
        f"it is made of {', '.join(parts)}",
        f"its shape is {ast.unparse(tree)}",
        f"{name} = {formula}",
    ]
