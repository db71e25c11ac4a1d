"""What a name of the user's stands for, as they write it: W1.T, -delta2, N*delta1, [b1 | W1]."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lockstep.errors import Unusable, short

# by name, what it says in words
LAYOUTS = {
    "linear": "",
    "in_out": "weights are (inputs, outputs)",
    "columns": "samples are columns",
    "columns_in_out": "samples are columns, weights are (inputs, outputs)",
}
_FORMS = "a name, such as W1.T, -delta2, N*delta1, grad_W1/N or [b1 | W1]"
_WORDS = ("N", "n_out", "lr")


@dataclass(frozen=True)
class Term:
    """What an array of the user's is: a factor times one of ours, or biases beside weights.

    Attributes:
        parts: The names of ours; of two the one is that of biases, or 1 for a column of ones.
        transposed: Whether it is the transpose.
        number: The factor's number.
        powers: The factor's words, N, n_out and lr, and to which power each.
    """

    parts: tuple[str, ...]
    transposed: bool = False
    number: float = 1.0
    powers: tuple[tuple[str, int], ...] = ()

    def factor(self, numbers: Mapping[str, float]) -> float:
        """Its factor. numbers: The values of N, n_out and lr."""
        return self.number * math.prod(numbers[word] ** power for word, power in self.powers)

    @property
    def words(self) -> str:
        """Its factor as a formula, such as −N·."""
        above = [word for word, power in self.powers if power > 0]
        below = [f"/{word}" for word, power in self.powers if power < 0]
        size = [f"{abs(self.number):g}"] if abs(self.number) != 1 or (below and not above) else []
        before = "·".join([*size, *above]) + "".join(below)
        return ("−" if self.number < 0 else "") + (f"{before} · " if before else "")


def term(text: Any) -> Term:
    """What a text such as -N*delta2.T says.

    Raises:
        Unusable: It says nothing of the kind.

    Examples:
        >>> term("-delta2/N")
        Term(parts=('delta2',), transposed=False, number=-1.0, powers=(('N', -1),))
        >>> term("[b1 | W1]").parts
        ('b1', 'W1')
    """
    try:
        found = _term(ast.parse(str(text).strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, ZeroDivisionError):
        found = None
    if found == Term((), powers=(("lr", 1),)):
        return Term(("lr",))
    if found is None or len(found.parts) not in (1, 2) or not found.number:
        raise Unusable(f"expected {_FORMS}, got {short(text)}")
    return found


def _term(node: ast.AST) -> Term | None:
    """What an expression says; None where it is of no such form. A number has no parts."""
    match node:
        case ast.Name(id=name):
            return Term((), powers=((name, 1),)) if name in _WORDS else Term((name,))
        case ast.Constant(value=int() | float() as number):
            return Term((), number=float(number))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            found = _term(inner)
            return found and replace(found, number=-found.number)
        case ast.Attribute(value=inner, attr="T"):
            found = _term(inner)
            return found and replace(found, transposed=not found.transposed)
        case ast.List(elts=[ast.BinOp(op=ast.BitOr(), left=left, right=right)]):
            parts = tuple(map(ast.unparse, (left, right)))
            return (
                Term(parts) if all(part.isidentifier() or part == "1" for part in parts) else None
            )
        case ast.BinOp(op=ast.Mult() | ast.Div() as op, left=left, right=right):
            pair = _term(left), _term(right)
            return _product(pair[0], pair[1], isinstance(op, ast.Div))
    return None


def _product(left: Term | None, right: Term | None, divides: bool) -> Term | None:
    """The product of two, or their quotient; one of them at most has a name."""
    if left is None or right is None or (right.parts and (left.parts or divides)):
        return None
    if divides:
        powers = tuple((word, -power) for word, power in right.powers)
        right = replace(right, number=1 / right.number, powers=powers)
    return Term(
        left.parts or right.parts,
        left.transposed or right.transposed,
        left.number * right.number,
        left.powers + right.powers,
    )


def terms(value: Any) -> dict[str, Term] | None:
    """The terms of a dict of texts, or of a text such as syn0=W1.T,l2_delta=-delta2.

    Raises:
        Unusable: A text that is of no such form, or a name that is there twice.
    """
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",")]
        if not all(equals for _, equals, _ in pairs):
            return None
        names = [name.strip() for name, _, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise Unusable(f"{twice} stands there twice; expected each name once")
        value = {name: text for name, (_, _, text) in zip(names, pairs, strict=True)}
    if not isinstance(value, dict):
        return None
    found = {}
    for name, text in value.items():
        try:
            found[str(name)] = text if isinstance(text, Term) else term(text)
        except Unusable as reason:
            raise Unusable(f"{name}: {reason}") from None
    return found


def factors(numbers: Mapping[str, float]) -> Iterator[Term]:
    """The factors that a convention may have, simple ones first.

    Args:
        numbers: The values of N, n_out and lr.
    """
    words = [word for word in _WORDS if numbers[word] not in (0.0, 1.0)]
    powers = [
        tuple((word, power) for word, power in zip(words, each, strict=True) if power)
        for each in itertools.product((0, 1, -1), repeat=len(words))
    ]
    for some in sorted(powers, key=len):
        for number in (1.0, -1.0, 2.0, 0.5, -2.0, -0.5):
            yield Term((), number=number, powers=some)
