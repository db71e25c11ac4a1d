"""Numbers that write down what is done with them, so that the code by hand says its own formulas.

A step of the code by hand runs on these as on any number. Each result is an expression of the
results before it: `delta_o @ W_o * sigma_h_prime(z_h, h)`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Part: TypeAlias = "Symbol | float"
Build: TypeAlias = Callable[..., ast.expr]


class Symbol:
    """An expression whose parts are expressions.

    Args:
        build: Puts the trees of the parts together.
        parts: What it was made from.

    Examples:
        >>> a, b = Symbol.called("a"), Symbol.called("b")
        >>> (a * (b + 0)).text()
        'a * b'
    """

    ndim = 2
    dtype = object

    def __init__(self, build: Build, *parts: Part) -> None:
        self.build, self.parts = build, parts

    @classmethod
    def called(cls, name: str) -> Symbol:
        """A name."""
        return cls(lambda: ast.Name(name))

    @classmethod
    def call(cls, function: str, *given: Part) -> Symbol:
        """A function's value."""
        return cls(lambda *trees: ast.Call(ast.Name(function), list(trees), []), *given)

    def tree(self, names: Mapping[int, str] | None = None) -> ast.expr:
        """The expression as a tree. names: of the parts that have one, by their identity."""
        return self.build(*(_tree(part, names or {}) for part in self.parts))

    def text(self, names: Mapping[int, str] | None = None) -> str:
        """The expression as text. names: see `tree`."""
        return ast.unparse(self.tree(names))

    def _with(self, operator: ast.operator, other: Part, turned: bool = False) -> Symbol:
        left, right = (other, self) if turned else (self, other)
        return Symbol(lambda a, b: ast.BinOp(a, operator, b), left, right)

    def __add__(self, other: Part) -> Symbol:
        return self if _is(other, 0) else self._with(ast.Add(), other)

    def __radd__(self, other: Part) -> Symbol:
        return self if _is(other, 0) else self._with(ast.Add(), other, turned=True)

    def __sub__(self, other: Part) -> Symbol:
        return self if _is(other, 0) else self._with(ast.Sub(), other)

    def __rsub__(self, other: Part) -> Symbol:
        return self._with(ast.Sub(), other, turned=True)

    def __mul__(self, other: Part) -> Symbol:
        if other is self:
            return Symbol.call("square", self)
        return self if _is(other, 1) else self._with(ast.Mult(), other)

    def __rmul__(self, other: Part) -> Symbol:
        return self if _is(other, 1) else self._with(ast.Mult(), other, turned=True)

    def __truediv__(self, other: Part) -> Symbol:
        return self if _is(other, 1) else self._with(ast.Div(), other)

    def __rtruediv__(self, other: Part) -> Symbol:
        return self._with(ast.Div(), other, turned=True)

    def __matmul__(self, other: Symbol) -> Symbol:
        return self._with(ast.MatMult(), other)

    def __pow__(self, other: Part) -> Symbol:
        return self._with(ast.Pow(), other)

    def __rpow__(self, other: Part) -> Symbol:
        return self._with(ast.Pow(), other, turned=True)

    def __neg__(self) -> Symbol:
        return Symbol(lambda a: ast.UnaryOp(ast.USub(), a), self)

    def _attribute(self, name: str) -> Symbol:
        return Symbol(lambda a: ast.Attribute(a, name), self)

    def _method(self, name: str, **settings: Any) -> Symbol:
        def build(a: ast.expr) -> ast.expr:
            keywords = [ast.keyword(key, ast.Constant(value)) for key, value in settings.items()]
            return ast.Call(ast.Attribute(a, name), [], keywords)

        return Symbol(build, self)

    @property
    def T(self) -> Symbol:
        return self._attribute("T")

    @property
    def size(self) -> Symbol:
        return self._attribute("size")

    @property
    def shape(self) -> Symbol:
        return self._attribute("shape")

    def __getitem__(self, where: int) -> Symbol:
        return Symbol(lambda a: ast.Subscript(a, ast.Constant(where)), self)

    def sum(self, **settings: Any) -> Symbol:
        return self._method("sum", **settings)

    def max(self, **settings: Any) -> Symbol:
        return self._method("max", **settings)

    def __array_ufunc__(self, ufunc: Any, method: str, *given: Part) -> Symbol:
        """A function of NumPy's, by its name."""
        return Symbol.call(ufunc.__name__, *given)


class Cells(np.ndarray[Any, Any]):
    """An array of symbols, so that the code by hand says its formulas element by element.

    Examples:
        >>> x, W = Cells.called(np.array([["x1", "x2"]])), Cells.called(np.array([["w1", "w2"]]))
        >>> (x @ W.T)[0, 0].text()
        'x1 * w1 + x2 * w2'
    """

    @classmethod
    def called(cls, names: Any) -> Cells:
        """An array of names."""
        return cls.each(Symbol.called, names)

    @classmethod
    def each(cls, function: Callable[..., Symbol], *given: Any) -> Cells:
        """A function of every element."""
        found: Cells = np.vectorize(function, otypes=[object])(*given).view(cls)
        return found

    def __array_ufunc__(self, ufunc: Any, method: str, *given: Any, **settings: Any) -> Any:
        """An operation is the symbols', a function is called by its name."""
        plain = [np.asarray(one) for one in given]
        if ufunc is np.maximum and method == "reduce":  # by which a softmax is shifted: it cancels
            return np.zeros((len(self), 1), int)
        if ufunc in _FUNCTIONS:
            return Cells.each(lambda *one: Symbol.call(ufunc.__name__, *one), *plain)
        return np.asarray(getattr(ufunc, method)(*plain, **settings), object).view(Cells)


_FUNCTIONS = (np.exp, np.log, np.log1p, np.sqrt, np.absolute, np.maximum, np.sign)


def _is(part: Part, number: int) -> bool:
    return isinstance(part, int | float) and part == number


def _tree(part: Part, names: Mapping[int, str]) -> ast.expr:
    if not isinstance(part, Symbol):
        return ast.Constant(part)
    return ast.Name(names[id(part)]) if id(part) in names else part.tree(names)


def written(results: Mapping[str, Any], last: set[str]) -> dict[str, str]:
    """The formula of each result as text, in the names of the others.

    Args:
        results: Symbols by name, in the order of computation. Where two are the very same, the
            later one's formula is the earlier one's name.
        last: Those that stand in no other's formula.
    """
    names: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, symbol in results.items():
        found[name] = names.get(id(symbol)) or symbol.text(names)
        if name not in last:
            names[id(symbol)] = name
    return found
