"""The file of the exercise: the lecture's formulas to be filled in, what each of them is, and hints."""

import ast
import re

from lockstep.explain.formulas import formulas, scalar_formulas
from lockstep.network.names import COMPUTED, PARAMETERS, scalar_names

_SIZES = (2, 2, 2)
_WHAT = {
    "z_h": "pre-activation of {}: its weighted inputs and its bias",
    "h": "what {} gives on: σ of its pre-activation",
    "z_o": "pre-activation of {}: its weighted inputs and its bias",
    "o": "what {} gives: σ of its pre-activation",
    "loss": "half the sum of the squared differences between targets and outputs",
    "delta_o": "error term of {}: how the loss changes with its pre-activation",
    "delta_h": "error term of {}: the outputs' error terms sent back, times σ'",
    "grad": "how the loss changes with {}",
    "new": "{} after a step of gradient descent",
}


def what_it_is(name, of):
    """One line that says what a quantity is, not how it is computed. of: the table's name it belongs to."""
    kind = of.split("_")[0] if of.startswith(("grad_", "new_")) else of
    bare = name.removeprefix("grad_").removeprefix("new_")
    layer = "hidden" if of.endswith("h") else "output"
    number = re.sub(r"\D", "", name)
    thing = (
        bare
        if kind in ("grad", "new")
        else f"{layer} neuron {number}"
        if number
        else f"the {layer} layer"
    )
    return _WHAT[kind].format(thing)


def names_to_derive(matrix):
    """The names to fill in, in order, and the table's name of each."""
    if matrix:
        return {name: name for name in COMPUTED}
    return {scalar: name for name in COMPUTED for scalar in scalar_names(name, _SIZES, 1) or ()}


def right_formula(name, matrix):
    """The lecture's formula as a line of the file."""
    tree = (formulas() if matrix else scalar_formulas())[name]
    return in_the_files_words(ast.unparse(tree))


def in_the_files_words(source):
    """A formula of the code by hand in the words of the exercise: sigma and sigma_prime, and the loss's factor of ½."""
    for layer in "ho":
        source = re.sub(rf"sigma_{layer}_prime\((\w+), \w+(\(\w+\))?\)", r"sigma_prime(\1)", source)
        source = source.replace(f"sigma_{layer}(", "sigma(")
    source = source.replace("2 * (o - y) / m", "(o - y)").replace(
        "square(y - o).sum() / m", "((y - o) ** 2).sum() / 2"
    )
    return re.sub(r"square\(([^()]+)\)", r"(\1) ** 2", source).replace("c * ", "")


def template(matrix, planted=None):
    """The text of a file to fill in; or, where formulas are given in `planted`, a finished one with these in it."""
    given = [*PARAMETERS, "x", "y"]
    if not matrix:
        given = [scalar for name in given for scalar in scalar_names(name, _SIZES, 1) or ()]
    words = (
        "matrices; x is (N, n_in), rows are samples"
        if matrix
        else "numbers: w21 goes from x2 to h1"
    )
    title = (
        "one formula of it is wrong: find it"
        if planted
        else "fill in the formulas, one after the other"
    )
    lines = [
        f'"""A step of back-propagation: {title}.',
        "",
        f"All quantities are {words}. L = ½ Σ (y − o)². The activation is the sigmoid on both layers.",
        '"""',
        "",
        "import numpy as np",
        "",
        "",
        "def sigma(z):",
        "    return 1 / (1 + np.exp(-z))",
        "",
        "",
        "def sigma_prime(z):",
        "    return sigma(z) * (1 - sigma(z))",
        "",
        "",
        f"def step({', '.join(given)}, lr):",
    ]
    order = names_to_derive(matrix)
    for name, of in order.items():
        formula = "..." if planted is None else planted.get(name, right_formula(name, matrix))
        lines.append(f"    {name} = {formula}  # {what_it_is(name, of)}")
    lines.append("    return dict(")
    lines += [f"        {name}={name}," for name in order]
    return "\n".join([*lines, "    )", ""])


def hints(name, matrix):
    """Ever more of a formula: what it is, what it is made of, its shape, and the lecture's formula itself."""
    formula = right_formula(name, matrix)
    parts = list(
        dict.fromkeys(
            part for part in re.findall(r"[A-Za-z]\w*", formula) if part not in ("sum", "axis", "T")
        )
    )
    blank = re.sub(r"\b(?!sum\b|axis\b|T\b|sigma\b|sigma_prime\b)[A-Za-z]\w*", "□", formula)
    of = names_to_derive(matrix)[name]
    return [
        what_it_is(name, of),
        f"it is made of {', '.join(parts)}",
        f"its shape is {blank}",
        f"{name} = {formula}",
    ]
