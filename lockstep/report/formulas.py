"""The formulas as a reader sees them, taken from the source of the code by hand."""

import ast
from collections.abc import Mapping
from typing import Any

from lockstep.explain.formulas import formulas, inputs_of
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
    tree = formulas(loss, scalars)[name]
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
        .written(formulas(loss, scalars=True)[name])
        .split("\0")
    )
    return [(part,) if i % 2 else part for i, part in enumerate(parts) if part]


def names_in(name: str) -> set[str]:
    """What the formula of a scalar of the 2-2-2 network refers to, the same for every loss."""
    return inputs_of(ast.unparse(formulas("half_sum", scalars=True)[name]))


def number(value: float) -> str:
    """A number put into a formula: nine significant digits, negatives in parentheses."""
    text = f"{float(value):.9g}"
    return f"({text})" if text.startswith("-") else text


class Notation:
    """How a formula is written: here as plain text, in names."""

    # by operator: how it is written, how tightly it binds, and how tightly both sides have to
    operators = {
        ast.Add: ("{} + {}", SUM, SUM, SUM),
        ast.Sub: ("{} − {}", SUM, SUM, JUXTAPOSED),
        ast.MatMult: ("{} {}", JUXTAPOSED, JUXTAPOSED, JUXTAPOSED),
        ast.Mult: ("{}·{}", PRODUCT, PRODUCT, PRODUCT),
        ast.Div: ("{}/{}", PRODUCT, PRODUCT, ATOM),
    }
    constant, brackets, transposed, squared = "{}", "({})", "{}ᵀ", "{}²"
    total, over_samples, elements = "Σ {}", "Σ over samples {}", "N·n_out"
    sigma, sigma_prime = "σ({})", "σ'({})"

    def written(self, tree: ast.expr, at_least: int = SUM) -> str:
        """An expression; in brackets where it does not bind as tightly as asked for.

        Raises:
            TypeError: The expression is of a kind that no formula has.
        """
        text, binds = self._written(tree)
        return text if binds >= at_least else self.brackets.format(text)

    def _written(self, tree: ast.expr) -> tuple[str, int]:
        """The text of an expression, and how tightly it binds."""
        match tree:
            case ast.Name(id=name):
                return self.name(name), ATOM
            case ast.Constant(value=constant):
                return self.constant.format(constant), ATOM
            case ast.Attribute(attr="size"):
                return self.elements, PRODUCT
            case ast.Attribute(value=matrix, attr="T"):
                return self.transposed.format(self.written(matrix, ATOM)), ATOM
            case ast.BinOp(left=left, op=op, right=right):
                template, binds, of_left, of_right = self.operators[type(op)]
                sides = self.written(left, of_left), self.written(right, of_right)
                return template.format(*sides), binds
            case ast.Call(func=ast.Name(id="square"), args=[argument]):
                return self.squared.format(self.written(argument, ATOM)), ATOM
            case ast.Call(func=ast.Name(id=function), args=[ast.Name(id=z), ast.Name(id=s)]):
                return self.slope(function, z, s), ATOM
            case ast.Call(func=ast.Name(id=function), args=[z]):
                return self.activated(function, self.written(z)), ATOM
            case ast.Call(func=ast.Attribute(value=matrix, attr="sum"), keywords=axis):
                template = self.over_samples if axis else self.total
                return template.format(self.written(matrix, JUXTAPOSED)), JUXTAPOSED
        raise TypeError(f"no way to write {ast.unparse(tree)}")

    def name(self, name: str) -> str:
        """A quantity."""
        return name

    def activated(self, function: str, z: str) -> str:
        """σ of the text z. function: its name in the formula, sigma_h or sigma_o."""
        return self.sigma.format(z)

    def slope(self, function: str, z: str, s: str) -> str:
        """σ' at the quantity z. s: the name of σ(z)."""
        return self.sigma_prime.format(self.name(z))


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
