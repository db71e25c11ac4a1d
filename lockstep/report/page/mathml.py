"""The formulas as mathematics that browsers draw themselves (MathML), from the source of the code by hand."""

import ast
from functools import lru_cache

from markupsafe import Markup, escape

from lockstep.explain.formulas import formulas, scalar_formulas

_OPERATORS = {
    ast.Add: "+",
    ast.Sub: "−",
    ast.Mult: "·",
    ast.MatMult: "⁢",
}  # the last one is seen by no one
_MEAN = "<mi>N</mi><mo>·</mo><msub><mi>n</mi><mi>out</mi></msub>"
_DIVISORS = {"mse": _MEAN, "sum": "1", "half_sum": "<mn>2</mn>"}
_LETTERS = {"delta": "δ", "lr": "α", "loss": "L"}


@lru_cache(maxsize=512)
def formula(name, scalars, loss):
    """name = formula, as MathML (a `Markup`); a name that stands in it is marked with data-q.

    name: of a scalar of the 2-2-2 network (scalars=True) or of a matrix. loss: mse, sum or half_sum.
    """
    tree = (scalar_formulas() if scalars else formulas())[name]
    constants = {"c": "<mn>2</mn>" if loss == "sum" else "1", "m": _DIVISORS[loss]}
    return Markup(f"<math>{named(name)}<mo>=</mo>{_write(tree, constants)}</math>")


def symbol(name):
    """A name alone, as MathML."""
    return Markup(f"<math>{named(name)}</math>")


def named(name):
    """delta_h1 as δ with h1 below; grad_w11 as ∂L/∂w11; new_w11 as w11 with new above; W_h[0, 1] with its index."""
    return f'<mrow data-q="{escape(name)}">{_symbol(name)}</mrow>'


def _symbol(name):
    if name.startswith("grad_"):
        inside = _symbol(name.removeprefix("grad_"))
        return f"<mfrac><mrow><mi>∂</mi><mi>L</mi></mrow><mrow><mi>∂</mi>{inside}</mrow></mfrac>"
    base, bracket, index = name.removeprefix("new_").partition("[")
    letter, _, below = base.partition("_")
    if not below:
        letter = base.rstrip("0123456789")
        below = base.removeprefix(letter)
    letter = f"<mi>{_LETTERS.get(letter, letter)}</mi>"
    place = f"<mtext>{bracket}{index}</mtext>" if index else ""
    if name.startswith("new_"):
        return f"<msubsup>{letter}<mi>{below}</mi><mi>new</mi></msubsup>{place}"
    return (f"<msub>{letter}<mi>{below}</mi></msub>" if below else letter) + place


def _write(tree, constants):
    tree = _without_ones(tree, constants)
    match tree:
        case ast.Name(id=name) if name in constants:
            return constants[name]
        case ast.Name(id=name):
            return named(name)
        case ast.Constant(value=constant):
            return f"<mn>{constant!r}</mn>"
        case ast.Attribute(value=matrix, attr="T"):
            return f"<msup>{_write(matrix, constants)}<mi>T</mi></msup>"
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return f"<mfrac>{_row(left, constants)}{_row(right, constants)}</mfrac>"
        case ast.BinOp(left=left, op=op, right=right):
            sums = not isinstance(op, ast.Add | ast.Sub)
            sides = [
                _fenced(side, constants) if sums else _write(side, constants)
                for side in (left, right)
            ]
            return f"<mo>{_OPERATORS[type(op)]}</mo>".join(sides)
        case ast.Call(func=ast.Name(id="square"), args=[argument]):
            return f"<msup>{_bracketed(argument, constants)}<mn>2</mn></msup>"
        case ast.Call(func=ast.Name(id=function), args=[z, *_]) if function.endswith("_prime"):
            inner = f"<mo>(</mo>{_write(z, constants)}<mo>)</mo>"
            return f"<msup><mi>σ</mi><mo>′</mo></msup>{inner}"
        case ast.Call(func=ast.Name(), args=[z]):
            return f"<mi>σ</mi><mo>(</mo>{_write(z, constants)}<mo>)</mo>"
        case ast.Call(func=ast.Attribute(value=matrix, attr="sum"), keywords=keywords):
            over = "<munder><mo>Σ</mo><mi>samples</mi></munder>" if keywords else "<mo>Σ</mo>"
            return over + _fenced(matrix, constants)
    raise TypeError(f"no way to write {ast.unparse(tree)}")


def _row(tree, constants):
    return f"<mrow>{_write(tree, constants)}</mrow>"


def _bracketed(tree, constants):
    return f"<mrow><mo>(</mo>{_write(tree, constants)}<mo>)</mo></mrow>"


def _without_ones(tree, constants):
    """The tree without a leading factor c or a divisor m that is 1."""
    match tree:
        case ast.BinOp(left=ast.Name(id="c"), right=right) if constants["c"] == "1":
            return _without_ones(right, constants)
        case ast.BinOp(left=left, op=ast.Div(), right=ast.Name(id="m")) if constants["m"] == "1":
            return _without_ones(left, constants)
    return tree


def _fenced(tree, constants):
    """In brackets where it is a sum."""
    tree = _without_ones(tree, constants)
    is_sum = isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub)
    return _bracketed(tree, constants) if is_sum else _write(tree, constants)
