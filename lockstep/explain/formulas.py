"""The formulas of the code by hand, read from its source: to be shown, evaluated, replaced.

The first assignment to a quantity's name is its formula. What it calls of the loss, L and L_prime,
stands there in full: `2 * (o - y) / y.size` in the place of `L_prime(o, y)`.
"""

import ast
import inspect
from collections.abc import Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from lockstep.network.names import COMPUTED, PARAMETERS, Array
from lockstep.network.problem import Problem
from manual_backprop import neuron_by_neuron, two_layer
from manual_backprop.losses import loss_function, square
from manual_backprop.number import Function, Pair


class Inlined(ast.NodeTransformer):
    """A formula with names replaced by expressions, and calls by the one line of their function.

    A factor of 1 that this leaves in front is dropped.
    """

    def __init__(self, names: Mapping[str, ast.expr], functions: Mapping[str, Function]) -> None:
        self.names, self.functions = names, functions

    def applied(self, formula: ast.expr) -> ast.expr:
        """The formula with everything replaced."""
        result: ast.expr = self.visit(formula)
        return result

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The expression that stands for a name."""
        return self.names.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """The body of a function in place of its call, the arguments in place of its parameters."""
        self.generic_visit(node)
        match node.func:
            case ast.Name(id=name) if name in self.functions:
                parameters, line = _one_line(self.functions[name])
                return Inlined(dict(zip(parameters, node.args, strict=True)), {}).applied(line)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """A product without a leading 1."""
        self.generic_visit(node)
        is_one = isinstance(node.left, ast.Constant) and node.left.value == 1
        return node.right if is_one and isinstance(node.op, ast.Mult) else node


def _one_line(function: Function) -> tuple[list[str], ast.expr]:
    """The parameters of a function that is one formula, and the formula."""
    match ast.parse(inspect.getsource(function)).body:
        case [
            ast.FunctionDef(args=given, body=[*docstring, ast.Return(value=ast.expr() as formula)])
        ] if all(isinstance(line, ast.Expr) for line in docstring):
            return [parameter.arg for parameter in given.args], formula
    raise TypeError(f"{function.__name__} is not one formula that can stand in place of its call")


@lru_cache
def formulas(loss: str, scalars: bool = False) -> dict[str, ast.expr]:
    """The right-hand sides in the code by hand, by the name that is assigned to.

    Args:
        loss: A name of `LOSSES`, whose formulas stand in place of L and L_prime, or of c.
        scalars: In the lecture's scalars; else in matrices.
    """
    found: dict[str, ast.expr] = {}
    for line in ast.walk(ast.parse(inspect.getsource(neuron_by_neuron if scalars else two_layer))):
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, value)
    factors: dict[str, ast.expr] = {}
    if scalars:
        factors["c"] = ast.Constant(evaluate(ast.unparse(found.pop("c")), {"loss": loss}))
    L, L_prime = loss_function(loss)
    inlined = Inlined(factors, {"L": L, "L_prime": L_prime})
    return {name: inlined.applied(tree) for name, tree in found.items()}


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
    problem: Problem,
    parameters: Mapping[str, Any],
    x: Array,
    y: Array,
    lr: float,
    activations: list[Pair],
) -> dict[str, Any]:
    """What every formula may refer to besides the quantities, a mistaken one included.

    Args:
        problem: Its loss and sizes count.
        parameters: W_h, b_h, W_o, b_o, of any kind of number.
        x: (N, n_in).
        y: (N, n_out).
        lr: The learning rate.
        activations: The pairs (σ, σ') of the hidden and the output layer, for that kind of number.

    Returns:
        The values and functions by name; `ones`, `positive` and `N` are for mistakes alone.
    """
    (sigma_h, sigma_h_prime), (sigma_o, sigma_o_prime) = activations
    return dict(
        parameters,
        x=x,
        y=y,
        lr=lr,
        square=square,
        sigma_h=sigma_h,
        sigma_h_prime=sigma_h_prime,
        sigma_o=sigma_o,
        sigma_o_prime=sigma_o_prime,
        ones=np.ones(problem.sizes[:0:-1]),
        positive=lambda z: (z > 0) * 1.0,
        N=len(x),
    )


def look_ahead(source: str, names: dict[str, Any], right: Mapping[str, str]) -> None:
    """Put into names the computed quantities that a formula refers to and that are not there yet.

    A mistake may use what only a later line computes, such as new weights.
    right: the text of the right formulas by name.
    """
    for name in inputs_of(source) & set(COMPUTED) - names.keys():
        look_ahead(right[name], names, right)
        names[name] = evaluate(right[name], names)


def evaluate(source: str, names: dict[str, Any]) -> Any:
    """The value of a formula. names: what it refers to."""
    return eval(compiled(source), {"__builtins__": {}}, names)


def sources(problem: Problem) -> dict[str, str]:
    """The text of every formula of a step, in the order of computation.

    A frozen parameter is not updated.

    Example:
        >>> sources(make_problem({"loss": "half_sum"}))["delta_o"]
        '(o - y) * sigma_o_prime(z_o, o)'
    """
    right = {name: source_of(name, problem.loss) for name in COMPUTED}
    return right | {f"new_{name}": name for name in PARAMETERS if name in problem.frozen}
