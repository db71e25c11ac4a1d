"""The formulas of the code by hand, read from its source: to be shown, evaluated, replaced.

The first assignment to a quantity's name is its formula. What it calls of the loss, L and L_prime,
stands there in full: `2 * (o - y) / y.size` in the place of `L_prime(o, y)`.
"""

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import CodeType, MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from lockstep.network.names import COMPUTED, PARAMETERS
from lockstep.network.problem import Problem, Start
from manual_backprop import neuron_by_neuron, two_layer
from manual_backprop.losses import loss_function, square
from manual_backprop.number import Function, Pair

Texts: TypeAlias = Mapping[str, str]
_NONE: Texts = MappingProxyType({})

_WHAT = {
    "z_h": "pre-activation of {}: its weighted inputs and its bias",
    "h": "activation of {}: σ of its pre-activation",
    "z_o": "pre-activation of {}: its weighted inputs and its bias",
    "o": "activation of {}: σ of its pre-activation",
    "loss": "half the sum of the squared differences between targets and outputs",
    "delta_o": "error term of {}: how the loss changes with its pre-activation",
    "delta_h": "error term of {}: the outputs' error terms sent back, times σ'",
    "grad": "how the loss changes with {}",
    "new": "{} after a step of gradient descent",
}


def tidy(text: str) -> str:
    """The same formula without superfluous brackets."""
    return replaced(text, {})


def split(text: str) -> tuple[str, str]:
    """Both sides of the outermost operation: the last factor or term, and what is before it."""
    operation = _tree(text)
    assert isinstance(operation, ast.BinOp), text
    return ast.unparse(operation.left), ast.unparse(operation.right)


def replaced(text: str, parts: Texts, functions: Texts = _NONE) -> str:
    """A formula with parts and calls replaced; a factor of 1 that this leaves in front is dropped.

    Args:
        text: The formula.
        parts: What stands in place of a part of it, by that part; all are replaced at once.
        functions: By name the lambda expression whose body stands in place of a call.

    Examples:
        >>> replaced("2 * f(o - y)", {"o": "o.T"}, {"f": "lambda a: a * a"})
        '2 * ((o.T - y) * (o.T - y))'
    """
    return ast.unparse(_Replacing(parts, functions).visit(_tree(text)))


def _tree(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


class _Replacing(ast.NodeTransformer):
    def __init__(self, parts: Texts, functions: Texts) -> None:
        self.parts, self.functions = parts, functions

    def visit(self, node: ast.AST) -> ast.AST:
        part = ast.unparse(node) if isinstance(node, ast.expr) else ""
        if part in self.parts:
            return _tree(self.parts[part])
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id=name), args=given) if name in self.functions:
                function = _tree(self.functions[name])
                assert isinstance(function, ast.Lambda)
                parameters = (parameter.arg for parameter in function.args.args)
                arguments = dict(zip(parameters, map(ast.unparse, given), strict=True))
                return _Replacing(arguments, {}).visit(function.body)
            case ast.BinOp(left=ast.Constant(value=1), op=ast.Mult(), right=factor):
                return factor
        return node


def as_lambda(function: Function) -> str:
    """A function that is one formula, as a lambda expression."""
    match ast.parse(inspect.getsource(function)).body:
        case [
            ast.FunctionDef(args=given, body=[*docstring, ast.Return(value=ast.expr() as formula)])
        ] if all(isinstance(line, ast.Expr) for line in docstring):
            names = ", ".join(parameter.arg for parameter in given.args)
            return f"lambda {names}: {ast.unparse(formula)}"
    raise TypeError(f"{function.__name__} is not one formula that can stand in place of its call")


@lru_cache
def formulas(loss: str, scalars: bool = False) -> dict[str, ast.expr]:
    """The right-hand sides in the code by hand, by the name that is assigned to.

    Args:
        loss: A name of `LOSSES`, whose formulas stand in place of L and L_prime, or of c.
        scalars: In the lecture's scalars; else in matrices.
    """
    found: dict[str, str] = {}
    for line in ast.walk(ast.parse(inspect.getsource(neuron_by_neuron if scalars else two_layer))):
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, ast.unparse(value))
    c = {"c": repr(evaluate(found.pop("c"), {"loss": loss}))} if scalars else {}
    calls = dict(zip(("L", "L_prime"), map(as_lambda, loss_function(loss)), strict=True))
    return {name: _tree(replaced(text, c, calls)) for name, text in found.items()}


@lru_cache
def source_of(name: str, loss: str) -> str:
    """The text of a quantity's right formula."""
    return ast.unparse(formulas(loss)[name])


@lru_cache(maxsize=512)
def compiled(source: str) -> CodeType:
    """A formula as code. source: its text, in the names of `two_layer.py`."""
    return compile(source, "<formula>", "eval")


def inputs_of(source: str) -> set[str]:
    """The names that a formula refers to."""
    return set(compiled(source).co_names)


def surroundings(
    problem: Problem, start: Start, activation_of: Callable[[str], Pair]
) -> dict[str, Any]:
    """What every formula may refer to besides the quantities, a mistaken one included.

    Args:
        problem: Its activations and sizes count.
        start: What the step starts from, in any kind of number.
        activation_of: Gives (σ, σ') for that kind of number, by the activation's name.

    Returns:
        The values and functions by name; `ones`, `positive` and `N` are for mistakes alone.
    """
    names: dict[str, Any] = dict(start.parameters, x=start.x, y=start.y, lr=start.lr)
    names |= dict(square=square, positive=lambda z: (z > 0) * 1.0)
    names |= dict(N=len(start.x), ones=np.ones(problem.sizes[:0:-1]))
    for s, which in (("h", problem.hidden_activation), ("o", problem.output_activation)):
        names[f"sigma_{s}"], names[f"sigma_{s}_prime"] = activation_of(which)
    return names


def evaluate(source: str, names: dict[str, Any], right: Texts = _NONE) -> Any:
    """The value of a formula.

    Args:
        source: Its text.
        names: What it refers to.
        right: The right formulas, for the quantities that are not in `names` yet: a mistake may use
            what only a later line computes, such as new weights.
    """
    for name in inputs_of(source) & right.keys() - names.keys():
        names = names | {name: evaluate(right[name], names, right)}
    return eval(compiled(source), {"__builtins__": {}}, names)


def sources(problem: Problem) -> dict[str, str]:
    """The text of every formula of a step, in the order of computation.

    A frozen parameter is not updated.

    Examples:
        >>> from lockstep.network.problem import make_problem
        >>> sources(make_problem({"loss": "half_sum"}))["delta_o"]
        '(o - y) * sigma_o_prime(z_o, o)'
    """
    right = {name: source_of(name, problem.loss) for name in COMPUTED}
    return right | {f"new_{name}": name for name in PARAMETERS if name in problem.frozen}


def what_it_is(name: str, of: str) -> str:
    """One line that says what a quantity is, not how to compute it.

    Args:
        name: In either vocabulary.
        of: The name of its matrix.

    Examples:
        >>> what_it_is("grad_w31", "grad_W_o")
        'how the loss changes with w31'
    """
    prefix, _, parameter = name.partition("_")
    if prefix in ("grad", "new"):
        return _WHAT[prefix].format(parameter)
    layer = "hidden" if of.endswith("h") else "output"
    number = re.sub(r"\D", "", name)
    return _WHAT[of].format(f"{layer} neuron {number}" if number else f"the {layer} layer")
