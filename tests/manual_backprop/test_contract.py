"""What the readers of the formulas rely on; see the docstring of `manual_backprop`."""

import ast
import re
from pathlib import Path

import pytest

import manual_backprop
from tests.lecture import COMPUTED, scalar_names

FOLDER = Path(manual_backprop.__file__).parent
SHAPES = {
    **dict.fromkeys(("z_h", "h", "delta_h"), "(N, n_hidden)"),
    **dict.fromkeys(("z_o", "o", "delta_o"), "(N, n_out)"),
    "loss": "()",
    "W_h": "(n_hidden, n_in)",
    "b_h": "(n_hidden,)",
    "W_o": "(n_out, n_hidden)",
    "b_o": "(n_out,)",
}
MATRICES = {name: SHAPES[re.sub("^(grad|new)_", "", name)] for name in COMPUTED}
SCALARS = dict.fromkeys(scalar for name in COMPUTED for scalar in scalar_names(name, (2, 2, 2), 1))
# What `step` of the scalars makes of its settings.
SETTINGS = {"sigma_h", "sigma_h_prime", "sigma_o", "sigma_o_prime", "c"}
RULE = "the first assignment to a quantity's name is its formula (rule 3 in CONTRIBUTING.md): "


def targets(line):
    """The names that an assignment assigns to."""
    names = (node for node in ast.walk(line) if isinstance(node, ast.Name))
    return [node.id for node in names if isinstance(node.ctx, ast.Store)]


def first_assignments(tree, quantities):
    """By quantity: the first assignment to it, and what its function is given."""
    first = {}
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        given = {argument.arg for argument in function.args.args}
        for line in (node for node in ast.walk(function) if isinstance(node, ast.Assign)):
            for name in quantities.keys() & set(targets(line)):
                if name not in first or line.lineno < first[name][0].lineno:
                    first[name] = line, given
    return first


def broken(source, quantities):
    """A sentence for each quantity whose first assignment is not its formula, alone on a line.

    quantities: the shape of each by name, or None where it is a number.
    """
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    imported = {alias.name for line in imports for alias in line.names}
    first = first_assignments(tree, quantities)
    for name, shape in quantities.items():
        if name not in first:
            yield f"{name} is never assigned to; {RULE}write it on a line of its own"
            continue
        line, given = first[name]
        text = source.splitlines()[line.lineno - 1].strip()
        above = {other for other in first if first[other][0].lineno < line.lineno}
        used = {node.id for node in ast.walk(line.value) if isinstance(node, ast.Name)}
        unknown = used - given - above - imported - SETTINGS
        at = f"line {line.lineno}: {text}; {RULE}"
        if targets(line) != [name] or line.end_lineno != line.lineno or ";" in text:
            yield f"{at}{name} must stand alone on its line"
        elif shape is not None and not text.endswith(f"  # {shape}"):
            yield f"{at}the line must end with the shape, # {shape}"
        elif unknown:
            yield f"{at}{', '.join(sorted(unknown))} is not known where it is evaluated alone"


@pytest.mark.parametrize(
    ("file", "quantities"), [("two_layer.py", MATRICES), ("neuron_by_neuron.py", SCALARS)]
)
def test_the_first_assignment_to_a_quantity_is_its_formula(file, quantities):
    sentences = list(broken((FOLDER / file).read_text(), quantities))
    assert not sentences, "\n".join([file, *sentences])


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ("    h = sigma_h(z_h)  # (N, n_hidden)\n", "", "h must stand alone"),
        ("    h = sigma_h(z_h)", "    hidden = sigma_h(z_h)", "h must stand alone"),
        ("    h = sigma_h(z_h)  #", "    h = a = sigma_h(z_h)  #", "h must stand alone"),
        ("sigma_h(z_h)  #", "(\n        sigma_h(z_h)\n    )  #", "h must stand alone"),
        ("(z_h)  # (N, n_hidden)", "(z_h)", "end with the shape, # (N, n_hidden)"),
        ("(z_h)  # (N, n_hidden)", "(z_h)  # (N, n_out)", "end with the shape, # (N, n_hidden)"),
        ("    z_h = x @", "    scale = 1\n    z_h = scale * x @", "scale is not known"),
        ("h @ W_o.T", "o @ W_o.T", "o is not known"),
    ],
)
def test_what_breaks_the_contract_is_told_in_a_sentence(right, wrong, sentence):
    source = (FOLDER / "two_layer.py").read_text()
    assert source.count(right) >= 1
    sentences = list(broken(source.replace(right, wrong, 1), MATRICES))
    assert any(RULE in it and sentence in it for it in sentences), sentences


def test_a_quantity_without_a_formula_is_told():
    assert list(broken("", {"h": "()"})) == [
        f"h is never assigned to; {RULE}write it on a line of its own"
    ]
