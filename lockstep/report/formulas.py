"""The formulas as a reader sees them, taken from the source of the code by hand: no second copy can go stale."""

import ast

from lockstep.explain.formulas import formulas, inputs_of, scalar_formulas
from manual_backprop.activations import activation

_SUM, _JUXTAPOSED, _PRODUCT, _ATOM = 1, 2, 3, 4  # how tightly an expression binds
_OPERATORS = {
    ast.Add: (" + ", _SUM),
    ast.Sub: (" − ", _SUM),
    ast.MatMult: (" ", _JUXTAPOSED),
    ast.Mult: ("·", _PRODUCT),
    ast.Div: ("/", _PRODUCT),
}


def formula(name, scalars, loss, values=None):
    """A quantity's formula as text: in names, or, where values are given, with the numbers put in.

    name: of a scalar of the 2-2-2 network (scalars=True) or of a matrix. loss: mse, sum or half_sum.
    values: numbers by name, and the functions sigma_h, sigma_h_prime, sigma_o, sigma_o_prime.
    """
    tree = (scalar_formulas() if scalars else formulas())[name]
    constants = {
        "c": 2 if loss == "sum" else 1,
        "m": {"mse": "(N·n_out)", "sum": "1", "half_sum": "2"}[loss],
    }
    return _write(tree, constants, values)[0]


def places(name, loss, activations):
    """A scalar's formula with a place for each number put in, as a list: texts, and the names of places in tuples.

    activations: the names of the hidden and the output layer's.
    """
    values: dict = {node: f"\0{node}\0" for node in names_in(name)}
    for layer, which in zip("ho", activations, strict=True):
        values[f"sigma_{layer}"] = activation(which)[0]
        values[f"sigma_{layer}_prime"] = lambda z, s: f"\0σ'({z.strip(chr(0))})\0"
    parts = formula(name, True, loss, values).split("\0")
    return [(part,) if i % 2 else part for i, part in enumerate(parts) if part]


def names_in(name):
    """What the formula of a scalar of the 2-2-2 network refers to."""
    return inputs_of(ast.unparse(scalar_formulas()[name]))


def _write(tree, constants, values):
    """The text of an expression, and how tightly it binds."""
    match tree:
        case ast.Name(id=name):
            known = (
                str(constants[name])
                if name in constants
                else name
                if values is None
                else number(values[name])
            )
            return known, _ATOM
        case ast.Constant(value=constant):
            return str(constant), _ATOM
        case ast.Attribute(value=matrix, attr="T"):
            return _write(matrix, constants, values)[0] + "ᵀ", _ATOM
        case ast.BinOp(left=ast.Name(id="c"), right=right) if constants["c"] == 1:
            return _write(right, constants, values)
        case ast.BinOp(left=left, op=op, right=right):
            sign, binds = _OPERATORS[type(op)]
            strict = binds + isinstance(op, ast.Sub | ast.Div)
            return _tight(left, constants, values, binds) + sign + _tight(
                right, constants, values, strict
            ), binds
        case ast.Call(func=ast.Name(id="square"), args=[argument]):
            return _tight(argument, constants, values, _ATOM) + "²", _ATOM
        case ast.Call(func=ast.Name(id=function), args=[z, *rest]) if function.endswith("_prime"):
            if values is None:
                return f"σ'({_write(z, constants, values)[0]})", _ATOM
            return number(
                values[function](*(values[ast.unparse(argument)] for argument in (z, *rest)))
            ), _ATOM
        case ast.Call(func=ast.Name(id=function), args=[z]):
            inner = _write(z, constants, values)[0]
            name = "σ" if values is None else values[function].__name__
            return inner if name == "linear" else name + (
                inner if inner.startswith("(") else f"({inner})"
            ), _ATOM
        case ast.Call(func=ast.Attribute(value=matrix, attr="sum"), keywords=keywords):
            over = "Σ over samples " if keywords else "Σ "
            return over + _tight(matrix, constants, values, _JUXTAPOSED), _JUXTAPOSED
    raise TypeError(f"no way to write {ast.unparse(tree)}")


def _tight(tree, constants, values, at_least):
    text, binds = _write(tree, constants, values)
    return text if binds >= at_least else f"({text})"


def number(value):
    """A number put into a formula: nine significant digits, negatives in parentheses. A text stays as it is."""
    if isinstance(value, str):
        return value
    text = f"{float(value):.9g}"
    return f"({text})" if text.startswith("-") else text
