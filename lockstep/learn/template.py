"""The file of the exercise: a network's formulas to fill in, what each of them is, and hints."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lockstep.errors import Unusable
from lockstep.explain.formulas import (
    element_formulas,
    formula_of,
    functions_of,
    replaced,
    what_it_is,
)
from lockstep.explain.symbols import Symbol
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.setup.options import OPTIMIZERS
from manual_backprop import activations, losses

LECTURES = Network((2, 2, 2), ("sigmoid", "sigmoid"), "half_sum")  # the lecture's ½ Σ
SAMPLES = 5
HIDDEN = "a mistake is hidden in this file"
_WIDTH = 91  # of a line behind "def step("
_NUMPY = {f: f"lambda a: np.{f}(a)" for f in ("exp", "log", "log1p", "sqrt", "abs", "sign")}
_FUNCTIONS = {
    "square": "lambda a: a ** 2",
    "maximum": "lambda a, b: np.maximum(a, b)",
    "roll": "lambda y, by: np.roll(y, by, axis=1)",  # of mistakes alone, as the next
    "positive": "lambda z: (z > 0)",
    "absolute": _NUMPY.pop("abs"),
    **_NUMPY,
}
_FILE = '''"""A step of back-propagation: {title}.

{about}
"""

{imports}

{before}def step({given}):
{formulas}
    return dict(
{returned}
    )
'''
_SIGMA = """
def sigma(z):
    return 1 / (1 + np.exp(-z))


"""


def has_scalars(network: Network) -> bool:
    """Whether the lecture has names for each weight of a network."""
    return network.scalar_names(network.parameters[0], 1) is not None


@dataclass(frozen=True)
class Exercise:
    """What is to be derived.

    Attributes:
        network: Whose step.
        matrix: Whether in matrices; else in the lecture's scalars.
        split: Whether an error term is derived in two lines, the first of which is ∂L/∂a; not so
            in a finished file.
    """

    network: Network = LECTURES
    matrix: bool = True
    split: bool = True

    def __post_init__(self) -> None:
        if not (self.matrix or has_scalars(self.network)):
            raise Unusable(
                "the lecture's scalars exist for the sizes 2-2-1 and 2-2-2; "
                "expected one of these, or the exercise in matrices (--matrix)"
            )

    @property
    def is_the_lectures(self) -> bool:
        return self.network == LECTURES

    @property
    def names(self) -> dict[str, str]:
        """The names of the formulas, in order, and the name of each one's matrix."""
        order = self.network.judged if self.split else self.network.computed
        return {own: of for of in order for own in self.own(of)}

    @property
    def asked(self) -> list[str]:
        """The names to fill in: of updates that are alike, the first one; the others are given.

        In a finished file, all.
        """
        if not self.split:
            return list(self.names)
        first: dict[tuple[str, ...], str] = {}
        for name, of in self.names.items():
            frozen = str(self.network.parameter(of) in self.network.frozen)
            alike = (self.network[of].family, frozen) if of in self.network.update else (name,)
            first.setdefault(alike, name)
        return list(first.values())

    def own(self, name: str) -> tuple[str, ...]:
        """What stands for a matrix in the file: itself, or the lecture's scalars."""
        return (name,) if self.matrix else self.network.scalar_names(name, 1) or ()

    @property
    def settings(self) -> dict[str, float]:
        """The numbers that its formulas have by name."""
        network = self.network
        penalties = {"l1": network.l1, "l2": network.l2}
        return {
            name: value
            for name, value in (dict(network.settings) | penalties).items()
            if value and name != "nesterov"
        }


def described(network: Network) -> dict[str, Any]:
    """A network as the keys of a problem file that are not the usual ones."""
    usual = {"optimizer": "sgd", "l1": 0.0, "l2": 0.0, **OPTIMIZERS[network.optimizer]}
    settings: dict[str, Any] = {"optimizer": network.optimizer, "l1": network.l1, "l2": network.l2}
    settings |= dict(network.settings)
    values: dict[str, Any] = {"sizes": "-".join(map(str, network.sizes))}
    values |= {"activations": list(network.activations), "loss": network.loss}
    values |= {name: value for name, value in settings.items() if value != usual.get(name)}
    values |= {"frozen": list(network.frozen)} if network.frozen else {}
    return values if all(network.biases) else values | {"biases": list(network.biases)}


def classes(outputs: int, network: Network, samples: int) -> list[list[int]]:
    """Targets of a cross-entropy: 1 at each sample's class, or of each output either 0 or 1."""
    if network.activations[-1] == "softmax":
        return [[int(k == n % outputs) for k in range(outputs)] for n in range(samples)]
    return [[(n + k) % 2 for k in range(outputs)] for n in range(samples)]


def right_formula(name: str, it: Exercise) -> str:
    """The right formula as a line of the file."""
    if not it.split or it.network[it.names[name]].family != "delta":
        return in_the_files_words(_formula(name, it), it.network)
    before = {_formula(own, it): own for of in it.network.extras for own in it.own(of)}
    return in_the_files_words(replaced(_formula(name, it), before), it.network)


def _formula(name: str, it: Exercise) -> str:
    """A right formula in the words of the code by hand."""
    if it.matrix or it.split:
        return formula_of(name, None if it.matrix else 1, it.network)
    return element_formulas(it.network, 1)[name]  # as a planted mistake is written


def in_the_files_words(source: str, network: Network = LECTURES) -> str:
    """A formula of the code by hand in the words of the exercise.

    Examples:
        >>> in_the_files_words("(o - y) * sigma_o_prime(z_o, o)")
        '(o - y) * (o * (1 - o))'
    """
    return replaced(source, *_words(network))


@lru_cache
def _words(network: Network) -> tuple[dict[str, str], dict[str, str]]:
    """What the file says for a part of a formula, and for a function."""
    z = network.of("z", network.depth)
    parts = {
        function(Symbol.called(z)).text(): f"{function.__name__}({z})"
        for function in (losses.log_softmax, activations.softplus)
    }
    functions = dict(_FUNCTIONS)
    for l, which in zip(network.layers, network.activations, strict=True):
        name, _, slope = which.partition(":")
        more = f", {slope}" if slope else ""
        called = "sigma" if network == LECTURES else name
        sigma = "lambda z: z" if name == "linear" else f"lambda z: {called}(z{more})"
        prime = _written_out(f"{name}_prime") or f"lambda z, s: {name}_prime(z, s{more})"
        functions |= zip(functions_of(network.suffix(l)), (sigma, prime), strict=True)
    return parts, functions


def _written_out(function: str) -> str:
    """A derivative that calls no function, as a lambda expression; nothing where it calls one."""
    node = dict(_parts(activations)).get(function)
    match node:
        case ast.FunctionDef(body=[*_, ast.Return(value=ast.expr() as value)]) if not any(
            isinstance(part, ast.Call) for part in ast.walk(value)
        ):
            return f"lambda z, s: {ast.unparse(value)}"
    return ""


def template(it: Exercise, planted: Mapping[str, str] | None = None, hidden: bool = False) -> str:
    """The text of a file of the exercise.

    Args:
        it: What is to be derived.
        planted: Formulas by name that stand in place of the right ones in a finished file; empty
            for one that is right. None: a file to be filled in.
        hidden: Whether the mistake is not to be named before that is asked for.
    """
    title = "fill in the formulas, one after the other"
    if planted is not None:
        title = "one formula of it is wrong: find it" if planted else "put your own in its place"
    title = HIDDEN if hidden else title
    order = it.names
    right = {name: right_formula(name, it) for name in order}
    shown = right | (dict.fromkeys(it.asked, "...") if planted is None else dict(planted))
    lines = [
        f"    {name} = {formula}  # {what_it_is(name, order[name], it.network)}"
        for name, formula in shown.items()
    ]
    functions = _SIGMA if it.is_the_lectures else _functions(right.values())
    given = [own for name in it.network.given for own in it.own(name)] + ["lr"]
    given += ["step"] if it.network.optimizer in ("adam", "adamw") else []
    return _FILE.format(
        title=title,
        about=_about(it),
        imports=("import math\n\n" if "math." in functions else "") + "import numpy as np",
        before=functions if it.is_the_lectures else _problem(it) + functions,
        given=textwrap.fill(", ".join(given), _WIDTH, subsequent_indent=" " * len("def step(")),
        formulas="\n".join(lines),
        returned="\n".join(f"        {name}={name}," for name in order),
    )


def _about(it: Exercise) -> str:
    """What the file says of its quantities."""
    network, kind = it.network, "matrices; x is (N, n_in), rows are samples"
    kind = kind if it.matrix else "numbers: w21 goes from x2 to h1"
    if it.is_the_lectures:
        loss, sigmas = "½ Σ (y − o)²", "The activation is the sigmoid on both layers."
        return f"All quantities are {kind}. L = {loss}. {sigmas}"
    lines = [
        f"All quantities are {kind}.",
        f"L is {what_it_is('loss', 'loss', network)}.",
        f"The activations are {', '.join(network.activations)}.",
    ]
    penalties = {"l1": "l1 Σ |W|", "l2": "l2/2 Σ W²"}
    lines += [f"Its penalty is {penalties[name]}." for name in penalties if name in it.settings]
    if network.activations[-1] == "softmax":
        where = "y has a row a sample too:" if it.matrix else "y1, y2:"
        lines.append(f"{where} 1 at its class, 0 elsewhere.")
    return "\n".join(lines)


def _problem(it: Exercise) -> str:
    """The lines that say which network it is, and the settings' values."""
    samples = SAMPLES if it.matrix else 1
    values = described(it.network) | {"samples": samples}
    if it.network.loss in WITH_ACTIVATION:
        values["y"] = classes(it.network.sizes[-1], it.network, samples)
    lines = [f"    {name!r}: {value!r},".replace("'", '"') for name, value in values.items()]
    text = "\n".join(["PROBLEM = {  # what the commands train with this file", *lines, "}\n"])
    return text + "".join(f"{name} = {value!r}\n" for name, value in it.settings.items()) + "\n\n"


def _functions(formulas: Iterable[str]) -> str:
    """The code by hand of the functions that formulas call, and of what these need."""
    nodes = {name: node for module in (activations, losses) for name, node in _parts(module)}
    wanted, found = {name for formula in formulas for name in _named(ast.parse(formula))}, set()
    while wanted:
        name = wanted.pop()
        if name in nodes and name not in found:
            found.add(name)
            wanted |= _named(nodes[name])
    return "".join(f"{ast.unparse(node)}\n\n\n" for name, node in nodes.items() if name in found)


def _named(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _parts(module: Any) -> Iterable[tuple[str, ast.stmt]]:
    """The functions and constants of a module by name, without annotations."""
    for node in ast.parse(inspect.getsource(module)).body:
        match node:
            case ast.FunctionDef(name=name):
                node.returns = None
                for argument in node.args.args:
                    argument.annotation = None
                yield name, node
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name, node


def hints(name: str, it: Exercise) -> list[str]:
    """Ever more of a formula: what it is, what it is made of, its shape, the formula itself.

    Examples:
        >>> hints("z_o", Exercise())[1:3]
        ['it is made of h, W_o, b_o', 'its shape is □ @ □.T + □']
    """
    formula = right_formula(name, it)
    tree = ast.parse(formula, mode="eval")
    words = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id != "np"]
    words.sort(key=lambda word: word.col_offset)
    parts = dict.fromkeys(word.id for word in words)
    functions = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for word in words:
        if word not in functions:
            word.id = "□"
    return [
        what_it_is(name, it.names[name], it.network),
        f"it is made of {', '.join(parts)}",
        f"its shape is {ast.unparse(tree)}",
        f"{name} = {formula}",
    ]
