"""The formulas as a reader sees them, taken from the source of the code by hand."""

import ast
from collections.abc import Mapping
from typing import Any

from lockstep.explain.formulas import formulas, inputs_of, scalar_formulas
from manual_backprop.activations import activation

SUM, JUXTAPOSED, PRODUCT, ATOM = 1, 2, 3, 4  # how tightly an expression binds


def formula(name: str, scalars: bool, loss: str, values: Mapping[str, Any] | None = None) -> str:
    """A quantity's formula as text: in names, or, where values are given, with the numbers put in.

    Args:
        name: Of a scalar of the 2-2-2 network or of a matrix.
        scalars: Which of the two.
        loss: A name of `LOSSES`.
        values: Numbers by name, and the functions sigma_h, sigma_h_prime, sigma_o, sigma_o_prime.

    Example:
        >>> formula("delta_o", False, "mse")
        "2·(o − y)/(N·n_out)·σ'(z_o)"
    """
    tree = (scalar_formulas if scalars else formulas)(loss)[name]
    return (Notation() if values is None else _Numbers(values)).written(tree)


def places(name: str, loss: str, activations: tuple[str, str]) -> list[str | tuple[str]]:
    """A scalar's formula with a place for each number.

    Args:
        name: Of a scalar of the 2-2-2 network.
        loss: A name of `LOSSES`.
        activations: The names of the hidden and the output layer's.

    Returns:
        Texts, and between them the names of what is put in, each in a tuple.
    """
    hidden, output = (activation(which)[0] for which in activations)
    parts = (
        _Places({"sigma_h": hidden, "sigma_o": output})
        .written(scalar_formulas(loss)[name])
        .split("\0")
    )
    return [(part,) if i % 2 else part for i, part in enumerate(parts) if part]


def names_in(name: str) -> set[str]:
    """What the formula of a scalar of the 2-2-2 network refers to, the same for every loss."""
    return inputs_of(ast.unparse(scalar_formulas("half_sum")[name]))


def number(value: float) -> str:
    """A number put into a formula: nine significant digits, negatives in parentheses."""
    text = f"{float(value):.9g}"
    return f"({text})" if text.startswith("-") else text


class Notation:
    """How a formula is written: here as plain text, in names."""

    operators = {
        ast.Add: (" + ", SUM),
        ast.Sub: (" − ", SUM),
        ast.MatMult: (" ", JUXTAPOSED),
        ast.Mult: ("·", PRODUCT),
    }
    sums = "Σ ", "Σ over samples "
    elements = "N·n_out"

    def written(self, tree: ast.expr, at_least: int = SUM) -> str:
        """An expression; in brackets where it does not bind as tightly as asked for.

        Raises:
            TypeError: The expression is of a kind that no formula has.
        """
        text, binds = self._written(tree)
        return text if binds >= at_least else self.bracketed(text)

    def _written(self, tree: ast.expr) -> tuple[str, int]:
        """The text of an expression, and how tightly it binds."""
        match tree:
            case ast.Name(id=name):
                return self.name(name), ATOM
            case ast.Constant(value=constant):
                return self.constant(str(constant)), ATOM
            case ast.Attribute(attr="size"):
                return self.elements, PRODUCT
            case ast.Attribute(value=matrix, attr="T"):
                return self.transposed(self.written(matrix, ATOM)), ATOM
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self.quotient(left, right)
            case ast.BinOp(left=left, op=op, right=right):
                sign, binds = self.operators[type(op)]
                of_right = self.written(right, binds + isinstance(op, ast.Sub))
                return self.written(left, binds) + sign + of_right, binds
            case ast.Call(func=ast.Name(id="square"), args=[argument]):
                return self.squared(self.written(argument, ATOM)), ATOM
            case ast.Call(func=ast.Name(id=function), args=[ast.Name() as z, ast.Name() as s]):
                return self.slope(function, z.id, s.id), ATOM
            case ast.Call(func=ast.Name(id=function), args=[z]):
                return self.activated(function, self.written(z)), ATOM
            case ast.Call(func=ast.Attribute(value=matrix, attr="sum"), keywords=axis):
                over = self.sums[bool(axis)]
                return over + self.written(matrix, JUXTAPOSED), JUXTAPOSED
        raise TypeError(f"no way to write {ast.unparse(tree)}")

    def name(self, name: str) -> str:
        """A quantity."""
        return name

    def constant(self, digits: str) -> str:
        """A number that stands in the formula itself."""
        return digits

    def bracketed(self, text: str) -> str:
        """In brackets."""
        return f"({text})"

    def transposed(self, matrix: str) -> str:
        """Wᵀ."""
        return f"{matrix}ᵀ"

    def squared(self, text: str) -> str:
        """Text to the power of two."""
        return f"{text}²"

    def quotient(self, left: ast.expr, right: ast.expr) -> tuple[str, int]:
        """A division, and how tightly it binds."""
        return f"{self.written(left, PRODUCT)}/{self.written(right, ATOM)}", PRODUCT

    def activated(self, function: str, z: str) -> str:
        """σ(z)."""
        return f"σ({z})"

    def slope(self, function: str, z: str, s: str) -> str:
        """σ'(z). s: the name of σ(z)."""
        return f"σ'({self.name(z)})"


class _Numbers(Notation):
    """Plain text with numbers in the place of names."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def name(self, name: str) -> str:
        return number(self.values[name])

    def activated(self, function: str, z: str) -> str:
        which: str = self.values[function].__name__
        if which == "linear":
            return z
        return which + (z if z.startswith("(") else f"({z})")

    def slope(self, function: str, z: str, s: str) -> str:
        return number(self.values[function](self.values[z], self.values[s]))


class _Places(_Numbers):
    """The same with each number's name between two zero characters."""

    def name(self, name: str) -> str:
        return f"\0{name}\0"

    def slope(self, function: str, z: str, s: str) -> str:
        return f"\0σ'({z})\0"
