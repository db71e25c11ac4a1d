"""The formulas of a step in JavaScript, so that the page computes with numbers of the reader's own.

They are the lines of the code by hand: each element's formula, and σ and σ' from their source.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from lockstep.explain.formulas import formula_of, functions_of
from lockstep.network.problem import Problem
from lockstep.report.page.step_data import row_names
from lockstep.report.step import is_frozen
from manual_backprop import activations
from manual_backprop.activations import named

_CALLS = {
    **{name: f"Math.{name}" for name in ("exp", "expm1", "log", "log1p", "sqrt", "sign", "tanh")},
    "absolute": "Math.abs",
    "abs": "Math.abs",
    "maximum": "Math.max",
    "minimum": "Math.min",
}
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
# JavaScript has no error function: its series, whose terms have one sign
_OWN = """
const square = (a) => a * a;
const erf = (x) => {
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum) && n < 400; n += 1) {
    sum += term *= (2 * x * x) / (2 * n + 1);
  }
  return Math.abs(x) > 6 ? Math.sign(x) : (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
};
""".strip()


def script(problem: Problem, n: int) -> str:
    """`formulas`: by element its value as a function of the numbers q before it, in their order.

    Args:
        problem: What is trained.
        n: How many samples a step has.
    """
    network = problem.network
    functions: dict[str, str] = {}
    primes: dict[str, tuple[str, str]] = {}  # by z the name of σ', and σ(z)
    for l, which in zip(network.layers, network.activations, strict=True):
        if which != "softmax":  # whose formula has its exponentials
            both = functions_of(network.suffix(l))
            functions |= zip(both, _define(which, functions), strict=True)
            primes[network.of("z", l)] = both[1], network.of("a", l)
    texts, slopes = dict[str, str](), dict[str, str]()
    for name, of, index in row_names(problem, n):
        parameter = name.removeprefix("new_")
        texts[name] = parameter if is_frozen(of, problem) else formula_of(name, n, network)
        if of in primes:
            prime, a = primes[of]
            slopes[f"σ'({name})"] = f"{prime}({name}, {network.label(a, index, n)})"
    defined = [f"const {name} = {text};" for name, text in functions.items()]
    lines = [
        f"  {_key(name)}: (q) => {_of_quantities(text)}," for name, text in (texts | slopes).items()
    ]
    return "\n".join([_OWN, *defined, "const formulas = {", *lines, "};"])


def _key(name: str) -> str:
    return f'"{name}"'


def _of_quantities(formula: str) -> str:
    tree = ast.parse(formula, mode="eval").body
    return _written(tree, lambda name: f"q[{_key(name)}]")


def _define(which: str, functions: dict[str, str]) -> Iterator[str]:
    """σ and σ' of an activation; what they call is defined on the way."""
    name, slope = named(which)
    for function in (name, f"{name}_prime"):
        _translate(function, functions)
        own = "s, " if function != name else ""
        yield f"(z, {own}) => {function}(z, {own}{slope})" if slope is not None else function


def _translate(name: str, functions: dict[str, str]) -> None:
    """The function of `manual_backprop.activations`, and before it those that it calls."""
    if name in functions:
        return
    tree = ast.parse(inspect.getsource(getattr(activations, name))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    arguments = [it.arg for it in tree.args.args]
    given = [f" = {ast.unparse(it)}" for it in tree.args.defaults]
    given = [""] * (len(arguments) - len(given)) + given
    result = next(it for it in ast.walk(tree) if isinstance(it, ast.Return)).value
    assert result is not None

    def local(found: str) -> str:
        value = getattr(activations, found, None)
        return repr(value) if isinstance(value, float) and found not in arguments else found

    for call in ast.walk(result):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id != "erf":
            _translate(call.func.id, functions)
    text = _written(result, local)
    both = ", ".join(name + default for name, default in zip(arguments, given, strict=True))
    functions[name] = f"({both}) => {text}"


def _written(tree: Any, name: Callable[[str], str]) -> str:
    """An expression in JavaScript. name: how a name is written.

    Raises:
        TypeError: It is of a kind that no formula has.
    """

    def inside(part: Any) -> str:
        return _written(part, name)

    match tree:
        case ast.Constant(value=value):
            return repr(value)
        case ast.Attribute(value=ast.Name(id="math"), attr=attribute):
            return f"Math.{attribute.upper()}"
        case ast.Name() | ast.Subscript():
            return name(ast.unparse(tree))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"(-{inside(operand)})"
        case ast.BinOp(left=left, op=op, right=right):
            return f"({inside(left)} {_OPERATORS[type(op)]} {inside(right)})"
        case ast.Compare(left=left, ops=[ast.Gt()], comparators=[right]):
            return f"Number({inside(left)} > {inside(right)})"
        case ast.Call(func=function, args=given):
            return _call(function, [inside(it) for it in given])
    raise TypeError(f"no way to write {ast.unparse(tree)}")


def _call(function: ast.expr, given: list[str]) -> str:
    own = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
    if own == "where":
        return "({} ? {} : {})".format(*given)
    if own == "ones_like":
        return "1"
    return f"{_CALLS.get(own, own)}({', '.join(given)})"
