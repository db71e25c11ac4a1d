"""The formulas of the code by hand as text: to be shown, evaluated, replaced.

The code by hand runs on symbols and so says them itself; what it calls of the loss stands there in
full: `2 * (o - y) / y.size`.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from types import CodeType, MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from lockstep.explain.symbols import Cells, Symbol, written
from lockstep.network.network import Network
from lockstep.network.problem import Start
from manual_backprop import network as by_hand
from manual_backprop import neuron_by_neuron
from manual_backprop.activations import ACTIVATIONS, softmax
from manual_backprop.losses import SUMS, divisor, one_hot, penalty, square
from manual_backprop.number import Pair

Texts: TypeAlias = Mapping[str, str]
_NONE: Texts = MappingProxyType({})


def tidy(text: str) -> str:
    """The same formula without superfluous brackets."""
    return replaced(text, {})


def split(text: str) -> tuple[str, str]:
    """Both sides of the outermost operation: the last factor or term, and what is before it."""
    operation = _tree(text)
    assert isinstance(operation, ast.BinOp), text
    return ast.unparse(operation.left), ast.unparse(operation.right)


def replaced(text: str, parts: Texts, functions: Texts = _NONE) -> str:
    """A formula with parts and calls replaced; a factor of 1 that this leaves is dropped.

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
            case ast.BinOp(left=factor, op=ast.Mult(), right=ast.Constant(value=1)):
                return factor
        return node


def functions_of(layer: str) -> tuple[str, str]:
    """The names of a layer's σ and σ' in formulas."""
    return f"sigma{layer}", f"sigma{layer}_prime"


def _symbolic(layer: str, which: str = "") -> Pair:
    """σ and σ' of a layer as symbols."""
    sigma, sigma_prime = functions_of(layer)
    if which == "softmax":
        return lambda z: Symbol.call(which, z), lambda z, s: 1
    return lambda z: Symbol.call(sigma, z), lambda z, s: Symbol.call(sigma_prime, z, s)


@lru_cache(maxsize=256)
def formulas(network: Network) -> dict[str, str]:
    """The text of every formula of a step, in the order of computation; last the `extras`.

    A frozen parameter is not updated.

    Examples:
        >>> from lockstep.setup.problem import make_problem
        >>> formulas(make_problem({"loss": "half_sum"}).network)["delta_o"]
        '(o - y) * sigma_o_prime(z_o, o)'
    """

    def symbols(names: Iterable[str]) -> dict[str, Any]:
        called: dict[str, Any] = {name: Symbol.called(name) for name in names}
        return network.numbered(called)

    training = _named_settings(network, Symbol.called)
    training["activations"] = [
        _symbolic(network.suffix(l), which)
        for l, which in zip(network.layers, network.activations, strict=True)
    ]
    results = by_hand.step(
        symbols(network.parameters),
        Symbol.called("x"),
        Symbol.called("y"),
        Symbol.called("lr"),
        memory=symbols(network.memory),
        masks=symbols(network.masked),
        **training | {"step": Symbol.called("step")},
    )
    found = written(network.named(results), set(network.extras))
    return {name: found[name] for name in (*network.computed, *network.extras)}


def _named_settings(network: Network, called: Callable[[str], Any]) -> dict[str, Any]:
    """How a network is trained, with symbols for the settings that are not 0."""
    training = network.training
    numbers = [name for name, _ in network.settings if name != "nesterov"]
    return training | {name: training[name] and called(name) for name in (*numbers, "l1", "l2")}


def _elementwise(layer: str) -> Pair:
    """σ and σ' of a layer as symbols, element by element."""
    sigma, sigma_prime = _symbolic(layer)
    return lambda z: Cells.each(sigma, z), lambda z, s: Cells.each(sigma_prime, z, s)


@lru_cache(maxsize=64)
def scalar_formulas(network: Network) -> dict[str, str]:
    """The same in the lecture's scalars, of its 2-2-2 network on one sample."""
    names = [name for of in (*network.parameters, "x", "y") for name in _scalars(network, of)]
    results = neuron_by_neuron.step(
        **{name: Symbol.called(name) for name in names},
        lr=Symbol.called("lr"),
        hidden_activation=_symbolic("_h"),
        output_activation=_symbolic("_o"),
        loss=network.loss,
        frozen=network.frozen,
    )
    return written(results, set())


@lru_cache(maxsize=64)
def element_formulas(network: Network, samples: int) -> dict[str, str]:
    """The same element by element, of a step on so many samples, under the elements' labels.

    A cross-entropy is written by the outputs, without what keeps its digits.
    """
    network = replace(network, labels=False)

    def cells(names: Iterable[str]) -> dict[str, Any]:
        return {
            network[name].numbered: Cells.called(labels(network, name, samples)) for name in names
        }

    training, given = _named_settings(network, Cells.called), cells(network.parameters)
    training["activations"] = [
        which if which == "softmax" else _elementwise(network.suffix(l))
        for l, which in zip(network.layers, network.activations, strict=True)
    ]
    y = cells("y")["y"]
    results = by_hand.step(
        given,
        cells("x")["x"],
        y,
        Cells.called("lr"),
        memory=cells(network.memory),
        masks=cells(network.masked),
        **training | {"step": Cells.called("step")},
    )
    if network.loss in SUMS:
        _, by_o, _ = SUMS[network.loss]
        m = divisor(network.loss, samples, network.sizes[-1])
        error = by_o(results[f"a{network.depth}"], y)
        weights = [given[f"W{l}"] for l in network.layers]
        results["loss"] = (error / m if m > 1 else error) + sum(
            penalty(W, training["l1"], training["l2"]) for W in weights
        )
    elements = {
        str(label): symbol
        for name, array in network.named(results).items()
        for label, symbol in zip(
            labels(network, name, samples).flat, np.asarray(array).flat, strict=True
        )
    }
    return written(
        elements, {str(it) for of in network.extras for it in labels(network, of, samples).flat}
    )


def elements_of(text: str, quantity: str, network: Network) -> dict[str, str]:
    """A formula in matrices, right or not, as formulas of the lecture's scalars on one sample.

    Args:
        text: The formula. What only a later line computes is written out in it.
        quantity: What it computes.
        network: One whose quantities have scalars.

    Returns:
        The formulas by scalar; none where the formula has another shape than the quantity.

    Raises:
        ValueError, IndexError, TypeError, AttributeError, NameError: It is none of scalars.
    """
    before = network.judged[: network.judged.index(quantity)]
    names: dict[str, Any] = {
        name: Cells.called(labels(network, name, 1)) for name in (*network.given, *before)
    }
    names |= _named_settings(network, Cells.called)
    names |= {"lr": Cells.called("lr"), "step": Cells.called("step"), "N": 1, "c": 2}
    names |= {function.__name__: function for function in _FUNCTIONS} | {"square": square}
    for l in network.layers:
        suffix = network.suffix(l)
        names |= zip(functions_of(suffix), _elementwise(suffix), strict=True)
    names |= {"softmax": softmax}
    result = np.asarray(evaluate(text, names, formulas(network)))
    wanted = labels(network, quantity, 1)
    if result.shape != wanted.shape:
        return {}
    return {
        own: it.text() if isinstance(it, Symbol) else repr(it)
        for own, it in zip(wanted.flat, result.flat, strict=True)
    }


def labels(network: Network, name: str, samples: int) -> Any:
    """An array of what reports call the elements of a quantity."""
    found = np.empty(network.shape(name, samples), object)
    for index in np.ndindex(found.shape):
        found[index] = network.label(name, index, samples)
    return found


def formula_of(name: str, samples: int | None, network: Network) -> str:
    """The text of a formula.

    Args:
        name: Of an element, or of a matrix.
        samples: Of an element, how many the step is on; None of a matrix.
        network: What it is of.
    """
    if samples is None:
        return formulas(network)[name]
    lectures = samples == 1 and network.sizes == (2, 2, 2) and network.is_plain
    found = scalar_formulas(network) if lectures else {}
    return found.get(name) or element_formulas(network, samples)[name]


def _scalars(network: Network, name: str) -> tuple[str, ...]:
    return network.scalar_names(name, 1) or ()


@lru_cache(maxsize=512)
def compiled(source: str) -> CodeType:
    """A formula as code. source: its text, in the names of `two_layer.py`."""
    return compile(source, "<formula>", "eval")


def inputs_of(source: str) -> set[str]:
    """The names that a formula refers to."""
    return set(compiled(source).co_names)


def surroundings(
    network: Network, start: Start, activation_of: Callable[[str], Pair]
) -> dict[str, Any]:
    """What every formula may refer to besides the quantities, a mistaken one included.

    Args:
        network: Its activations, sizes and settings count.
        start: What the step starts from, in any kind of number.
        activation_of: Gives (σ, σ') for that kind of number, by the activation's name.

    Returns:
        The values and functions by name; `ones_like`, `positive` and `N` are for mistakes alone.
    """
    names: dict[str, Any] = {
        name: np.zeros(network.shape(name, 1), start.x.dtype) for name in network.memory
    }
    names |= start.given
    y = one_hot(start.y, network.sizes[-1], start.x.dtype)
    names |= dict(x=start.x, y=y, lr=start.lr, step=start.step, N=len(start.x))
    names |= dict(network.settings) | {"l1": network.l1, "l2": network.l2}
    if start.memory is None:
        names["dampening"] = 0.0
    names |= {function.__name__: function for function in _FUNCTIONS}
    names |= dict(square=square, positive=lambda z: (z > 0) * 1.0)
    names["roll"] = lambda y, by: np.roll(y, by, axis=1)
    for name in ACTIVATIONS:
        names |= zip((name, f"{name}_prime"), activation_of(name), strict=True)
    names["ones_like"] = lambda W: np.ones(W.shape)
    for l, which in zip(network.layers, network.activations, strict=True):
        pair = activation_of(which)
        names |= dict(zip(functions_of(network.suffix(l)), pair, strict=True))
        names |= {which: pair[0]} if which == "softmax" else {}
    return names


_FUNCTIONS = (np.exp, np.log, np.log1p, np.sqrt, np.absolute, np.maximum, np.sign)


def quantities_of(source: str) -> set[str]:
    """The matrices, or the elements, that a formula refers to, and its settings.

    Examples:
        >>> sorted(quantities_of("W1[0, 1] - lr * sigma(z1)"))
        ['W1[0, 1]', 'lr', 'z1']
    """
    found, nodes = set(), [_tree(source)]
    while nodes:
        match nodes.pop():
            case ast.Name() | ast.Subscript(value=ast.Name()) as quantity:
                found.add(ast.unparse(quantity))
            case ast.Call(func=ast.Name(), args=given):
                nodes += given
            case node:
                nodes += [
                    inner for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.expr)
                ]
    return found


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
    return eval(compiled(source), {"__builtins__": _BUILTINS}, names)


_BUILTINS = {"__import__": __import__}  # NumPy imports parts of itself where they are first used


def what_it_is(name: str, of: str, network: Network) -> str:
    """One line that says what a quantity is, not how to compute it.

    Args:
        name: In either vocabulary.
        of: The name of its matrix.
        network: What it is a quantity of.

    Examples:
        >>> from lockstep.setup.problem import make_problem
        >>> what_it_is("grad_w31", "grad_W_o", make_problem({}).network)
        'how the loss changes with w31'
    """
    it = network[of]
    if it.family.startswith("new_"):
        return f"{name.removeprefix('new_')} after a step of {_STEPS[network.optimizer]}"
    if it.family in ("grad_W", "grad_b"):
        return f"how the loss changes with {name.removeprefix('grad_')}"
    if it.family == "loss":
        return _LOSSES[network.loss]
    *sample, number = re.findall(r"\d+", name.removeprefix(of)) or [""]
    layer = network.adjective(it.layer)
    who = f"the {layer} layer" if network.depth == 2 else layer
    if number and name != of:
        who = f"{layer} neuron {number}" + (f", sample {sample[0]}" if sample else "")
    return _WHAT[it.family].format(who, _error_of(it.layer, network))


def _error_of(layer: int, network: Network) -> str:
    """How a layer's error term comes about."""
    if layer == network.depth:
        return "how the loss changes with its pre-activation"
    sender = "the outputs'" if layer == network.depth - 1 else f"layer {layer + 1}'s"
    return f"{sender} error terms sent back, times σ'"


_WHAT = {
    "z": "pre-activation of {}: its weighted inputs and its bias",
    "a": "activation of {}: σ of its pre-activation",
    "grad_a": "how the loss changes with the activation of {}",
    "delta": "error term of {}: {}",
}
_SQUARES = "the squared differences between targets and outputs"
_CROSS = "the cross-entropy between targets and outputs"
_LOSSES = {
    "mse": f"the mean of {_SQUARES}",
    "sum": f"the sum of {_SQUARES}",
    "half_sum": f"half the sum of {_SQUARES}",
    "sum_over_n": f"{_SQUARES}, summed over the outputs, the mean over the samples",
    "half_sum_over_n": f"half of {_SQUARES}, summed over the outputs, the mean over the samples",
    "bce": f"{_CROSS}, the mean over all elements",
    "bce_sum": f"{_CROSS}, the sum over all elements",
    "bce_over_n": f"{_CROSS}, summed over the outputs, the mean over the samples",
    "cross_entropy": f"{_CROSS}, the mean over the samples",
    "cross_entropy_sum": f"{_CROSS}, the sum over the samples",
}
_STEPS = {
    "sgd": "gradient descent",
    "adam": "Adam",
    "adamw": "AdamW",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
}
