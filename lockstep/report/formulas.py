"""The formulas as a reader sees them, from the source of the code by hand: as text, as MathML."""

import ast
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

from lockstep.explain.formulas import formula_of, functions_of
from lockstep.network.network import Network
from lockstep.network.problem import Problem

SUM, JUXTAPOSED, PRODUCT, ATOM = 1, 2, 3, 4  # how tightly an expression binds
_ON_A_LINE = 3  # terms of a sum that stay together
_LETTERS = {"delta": "δ", "lr": "α", "loss": "L"}


def formula(name: str, samples: int | None, network: Network) -> str:
    """A quantity's formula as text, in names. For the arguments see `formula_of`.

    Examples:
        >>> from lockstep.setup.problem import make_problem
        >>> formula("delta_o", None, make_problem({}).network)
        "2·(o − y)/(N·n_out)·σ'(z_o)"
    """
    return Notation().written(_tree(name, samples, network))


def _tree(name: str, samples: int | None, network: Network) -> ast.expr:
    return ast.parse(formula_of(name, samples, network), mode="eval").body


def places(name: str, problem: Problem) -> list[str | tuple[str]]:
    """An element's formula with a place for each number.

    Args:
        name: Of the element.
        problem: Its network and its number of samples count.

    Returns:
        Texts, and between them the names of what is put in, each in a tuple.
    """
    text = _Places(problem.network).written(_tree(name, problem.batch_samples, problem.network))
    return [(part,) if i % 2 else part for i, part in enumerate(text.split("\0")) if part]


def number(value: float) -> str:
    """A number put into a formula: nine significant digits, negatives in parentheses."""
    text = f"{float(value):.9g}"
    return f"({text})" if text.startswith("-") else text


def _axis(keywords: list[ast.keyword]) -> int | None:
    """The axis of a sum; None where it is over everything."""
    return next((ast.literal_eval(it.value) for it in keywords if it.arg == "axis"), None)


class Notation:
    """How a formula is written: here as plain text, in names."""

    # by operator: how it is written, how tightly it binds, and how tightly both sides have to
    operators: ClassVar = {
        ast.Add: ("{} + {}", SUM, SUM, SUM),
        ast.Sub: ("{} − {}", SUM, SUM, JUXTAPOSED),
        ast.MatMult: ("{} {}", JUXTAPOSED, JUXTAPOSED, JUXTAPOSED),
        ast.Mult: ("{}·{}", PRODUCT, PRODUCT, PRODUCT),
        ast.Div: ("{}/{}", PRODUCT, PRODUCT, ATOM),
    }
    constant, brackets, transposed, squared = "{}", "({})", "{}ᵀ", "{}²"
    sums: ClassVar = {None: "Σ {}", 0: "Σ over samples {}", 1: "Σ over classes {}"}
    elements, samples, largest, minus, power = "N·n_out", "N", "max over classes {}", "−{}", "{}^{}"
    functions: ClassVar = {
        "softmax": "softmax({})",
        "exp": "exp({})",
        "log": "log({})",
        "log1p": "log(1 + {})",
        "sqrt": "√({})",
        "absolute": "|{}|",
        "maximum": "max({}, {})",
        "sign": "sign({})",
    }
    sigma_prime = "σ'({})"

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
            case ast.Name() | ast.Subscript(value=ast.Name()):
                return self.name(ast.unparse(tree)), ATOM
            case ast.Constant(value=constant):
                return self.constant.format(constant), ATOM
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return self.minus.format(self.written(inner, JUXTAPOSED)), JUXTAPOSED
            case ast.Attribute(attr="size"):
                return self.elements, PRODUCT
            case ast.Subscript(value=ast.Attribute(attr="shape")):
                return self.samples, ATOM
            case ast.Attribute(value=matrix, attr="T"):
                return self.transposed.format(self.written(matrix, ATOM)), ATOM
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return self.power.format(self.written(left, ATOM), self.written(right)), ATOM
            case ast.BinOp(left=left, op=op, right=right):
                template, binds, of_left, of_right = self.operators[type(op)]
                sides = self.written(left, of_left), self.written(right, of_right)
                return template.format(*sides), binds
            case ast.Call():
                return self._called(tree)
        raise TypeError(f"no way to write {ast.unparse(tree)}")

    def _called(self, call: ast.Call) -> tuple[str, int]:
        """The text of a call, and how tightly it binds."""
        match call:
            case ast.Call(func=ast.Name(id="square"), args=[argument]):
                return self.squared.format(self.written(argument, ATOM)), ATOM
            case ast.Call(func=ast.Name(id=function), args=given) if function in self.functions:
                inside = (self.written(one) for one in given)
                return self.functions[function].format(*inside), ATOM
            case ast.Call(func=ast.Name(), args=[z, _]):
                return self.slope(ast.unparse(z)), ATOM
            case ast.Call(func=ast.Name(id=function), args=[z]):
                return self.sigma(function).format(self.written(z)), ATOM
            case ast.Call(func=ast.Attribute(value=matrix, attr="max")):
                return self.largest.format(self.written(matrix, ATOM)), JUXTAPOSED
            case ast.Call(func=ast.Attribute(value=matrix, attr="sum"), keywords=axis):
                template = self.sums[_axis(axis)]
                return template.format(self.written(matrix, JUXTAPOSED)), JUXTAPOSED
        raise TypeError(f"no way to write {ast.unparse(call)}")

    def name(self, name: str) -> str:
        """A quantity."""
        return name

    def sigma(self, function: str) -> str:
        """σ of {}. function: its name in the formula, sigma_h or sigma_o."""
        return "σ({})"

    def slope(self, z: str) -> str:
        """σ' at the quantity z."""
        return self.sigma_prime.format(self.name(z))


class _Places(Notation):
    """Plain text with each number's name between two zero characters."""

    def __init__(self, network: Network) -> None:
        names = (functions_of(network.suffix(l))[0] for l in network.layers)
        self.activations = dict(zip(names, network.activations, strict=True))

    def name(self, name: str) -> str:
        return f"\0{name}\0"

    def sigma(self, function: str) -> str:
        which = self.activations[function]
        return "{}" if which == "linear" else f"{which}({{}})"

    def slope(self, z: str) -> str:
        return f"\0σ'({z})\0"


def in_tex(name: str, samples: int, network: Network, called: Callable[[str], str]) -> str:
    """name = formula of an element, in TeX. called: gives what a quantity is called."""
    notation = TeX(called)
    return f"{notation.name(name)} = {notation.written(_tree(name, samples, network))}"


@lru_cache(maxsize=2048)
def equation(name: str, samples: int | None, network: Network) -> str:
    """name = formula, as MathML; a name that stands in it is marked with data-q.

    A long sum has an element for each term, between which a line can break. For the arguments see
    `formula_of`.
    """
    tree = _tree(name, samples, network)
    terms = _terms(tree)
    if len(terms) <= _ON_A_LINE:
        terms = [("", tree)]
    first, *rest = (sign + MathML().written(term) for sign, term in terms)
    return " ".join(
        (f"<math>{named(name)}<mo>=</mo>{first}</math>", *(f"<math>{term}</math>" for term in rest))
    )


def _terms(tree: ast.expr) -> list[tuple[str, ast.expr]]:
    """The terms of a sum, each with the sign in front of it."""
    match tree:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_terms(left), ('<mo form="infix">+</mo>', right)]
    return [("", tree)]


def symbol(name: str) -> str:
    """A name alone, as MathML."""
    return f"<math>{named(name)}</math>"


def named(name: str, own: str = "") -> str:
    """A name as its symbol, marked with data-q. own: what it is called in its place.

    delta_h1 is δ with h1 below; grad_w11 is ∂L/∂w11; new_w11 is w11 with new above; W_h[0, 1] has
    its index below, too.
    """
    return f'<mrow data-q="{name}">{_symbol(own or name)}</mrow>'


def _symbol(name: str) -> str:
    if name.startswith("grad_"):
        inside = _symbol(name.removeprefix("grad_"))
        return f"<mfrac><mrow><mi>∂</mi><mi>L</mi></mrow><mrow><mi>∂</mi>{inside}</mrow></mfrac>"
    letter, below = _parts(name.removeprefix("new_"))
    below, bracket, index = below.partition("[")
    letter, below = f"<mi>{_LETTERS.get(letter, letter)}</mi>", f"<mi>{below}</mi>" if below else ""
    if bracket:
        below = f"<mrow>{below}<mtext>{bracket}{index}</mtext></mrow>"
    if name.startswith("new_"):
        return f"<msubsup>{letter}{below}<mi>new</mi></msubsup>"
    return f"<msub>{letter}{below}</msub>" if below else letter


# characters of a name that mean something in TeX
_IN_TEX = str.maketrans(
    {it: rf"\{it}" for it in "%#${}_"}
    | {"\\": r"\backslash ", "^": r"\wedge ", "~": r"\sim ", "&": r"\mathrm{and}"}
)


class TeX(Notation):
    """A formula in TeX, as matplotlib reads it."""

    operators: ClassVar = {
        ast.Add: ("{} + {}", SUM, SUM, SUM),
        ast.Sub: ("{} - {}", SUM, SUM, JUXTAPOSED),
        ast.Mult: (r"{} \cdot {}", PRODUCT, PRODUCT, PRODUCT),
        ast.Div: (r"\frac{{{}}}{{{}}}", ATOM, SUM, SUM),
    }
    squared, minus, power, brackets = "{}^2", "-{}", "{}^{{{}}}", "({})"
    functions: ClassVar = {
        "exp": r"\exp({})",
        "log": r"\log({})",
        "sign": r"\mathrm{{sign}}({})",
        "sqrt": r"\sqrt{{{}}}",
        "absolute": "|{}|",
    }
    sigma_prime = r"\sigma'({})"

    def __init__(self, called: Callable[[str], str] = str) -> None:
        self.called = called

    def name(self, name: str) -> str:
        return self._symbol(self.called(name))

    def sigma(self, function: str) -> str:
        return r"\sigma({})"

    def _symbol(self, name: str) -> str:
        if name.startswith("grad_"):
            below = self._symbol(name.removeprefix("grad_"))
            return rf"\frac{{\partial L}}{{\partial {below}}}"
        letter, below = _parts(name.removeprefix("new_"))
        new = r"^{\mathrm{new}}" if name.startswith("new_") else ""
        letter, below = letter.translate(_IN_TEX), below.translate(_IN_TEX)
        letter = {"delta": r"\delta", "lr": r"\alpha", "loss": "L"}.get(letter, letter)
        return letter + (f"_{{{below}}}" if below else "") + new


def _parts(name: str) -> tuple[str, str]:
    """The letter of a name, and what stands below it."""
    base, bracket, index = name.partition("[")
    letter, _, below = base.partition("_")
    if not below:
        letter = base.rstrip("0123456789")
        below = base.removeprefix(letter)
    return letter, below + bracket + index


class MathML(Notation):
    """A formula in MathML."""

    operators: ClassVar = {
        ast.Add: ("{}<mo>+</mo>{}", SUM, SUM, SUM),
        ast.Sub: ("{}<mo>−</mo>{}", SUM, SUM, JUXTAPOSED),
        ast.MatMult: ("{}<mo>\N{INVISIBLE TIMES}</mo>{}", PRODUCT, PRODUCT, PRODUCT),
        ast.Mult: ("{}<mo>·</mo>{}", PRODUCT, PRODUCT, PRODUCT),
        ast.Div: ("<mfrac><mrow>{}</mrow><mrow>{}</mrow></mfrac>", ATOM, SUM, SUM),
    }
    constant = "<mn>{}</mn>"
    brackets = "<mrow><mo>(</mo>{}<mo>)</mo></mrow>"
    transposed = "<msup>{}<mi>T</mi></msup>"
    squared = "<msup>{}<mn>2</mn></msup>"
    sums: ClassVar = {
        None: "<mo>Σ</mo>{}",
        0: "<munder><mo>Σ</mo><mi>samples</mi></munder>{}",
        1: "<munder><mo>Σ</mo><mi>classes</mi></munder>{}",
    }
    samples, minus = "<mi>N</mi>", "<mo>−</mo>{}"
    largest = "<munder><mo>max</mo><mi>classes</mi></munder>{}"
    power = "<msup>{}<mrow>{}</mrow></msup>"
    functions: ClassVar = {
        name: f"<mi>{name}</mi><mo>(</mo>{{}}<mo>)</mo>"
        for name in ("softmax", "exp", "log", "sign")
    } | {
        "log1p": "<mi>log</mi><mo>(</mo><mn>1</mn><mo>+</mo>{}<mo>)</mo>",
        "sqrt": "<msqrt>{}</msqrt>",
        "absolute": "<mo>|</mo>{}<mo>|</mo>",
        "maximum": "<mi>max</mi><mo>(</mo>{}<mo>,</mo>{}<mo>)</mo>",
    }
    elements = "<mi>N</mi><mo>·</mo><msub><mi>n</mi><mi>out</mi></msub>"
    sigma_prime = "<msup><mi>σ</mi><mo>′</mo></msup><mo>(</mo>{}<mo>)</mo>"

    def name(self, name: str) -> str:
        return named(name)

    def sigma(self, function: str) -> str:
        return "<mi>σ</mi><mo>(</mo>{}<mo>)</mo>"
