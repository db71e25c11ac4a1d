"""The exercise checked: every formula of a file by itself, on several examples, against PyTorch."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lockstep.bound.allowed import Limits as Rounding
from lockstep.bound.allowed import allowed
from lockstep.errors import Unusable
from lockstep.explain.search import diagnose
from lockstep.learn.template import HIDDEN, LECTURES, Exercise, classes, described, template
from lockstep.network.names import Array, Quantities
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.network.problem import Problem, Start
from lockstep.run.judge import judge
from lockstep.run.record import Record
from lockstep.run.steps import records
from lockstep.setup.files import read_text
from lockstep.setup.options import DESCRIBING, check
from lockstep.setup.problem import make_problem
from lockstep.sides.answer import sort_out
from lockstep.sides.built_in import BuiltIn
from lockstep.sides.child import Child
from lockstep.sides.code import Statements, reading_python
from lockstep.sides.limits import Limits

# what each formula is tried on: a name for the user, and the problem
SCALAR_EXAMPLES: dict[str, dict[str, Any]] = {
    "the first example": {"seed": 1},
    "other values": {"seed": 2},
    "a large learning rate": {"seed": 3, "lr": 0.9},
}
MATRIX_EXAMPLES: dict[str, dict[str, Any]] = {
    "one sample": {},
    "a batch of 5 samples": {"samples": 5},
    "other widths": {"samples": 3},
}
COMMAND = "--hidden-activation sigmoid --output-activation sigmoid --loss half_sum"


@dataclass
class Verdict:
    """What became of one formula.

    Attributes:
        name: Of the quantity.
        line: Where its formula stands, if it does.
        filled: Whether there is a formula.
        agrees: The examples on which it agrees with PyTorch.
        differs: Those on which it differs.
        says: Which mistake it looks like.
        error: What it raised, or why its value is none.
        torch: PyTorch's value on the first example that differs.
        yours: The formula's.
    """

    name: str
    line: int | None = None
    filled: bool = False
    agrees: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    says: str = ""
    error: str | None = None
    torch: Any = None
    yours: Any = None

    @property
    def done(self) -> bool:
        """Whether the formula is right on every example."""
        return self.filled and not self.differs and self.error is None and bool(self.agrees)


@dataclass(frozen=True)
class Checked:
    """What a file is an exercise in, and what became of its formulas.

    Attributes:
        exercise: What is to be derived.
        verdicts: By name and in order.
        hidden: Whether it has a mistake that is not to be named before that is asked for.
    """

    exercise: Exercise
    verdicts: dict[str, Verdict]
    hidden: bool

    @property
    def counted(self) -> list[Verdict]:
        """The formulas to fill in, and which of the given ones are wrong."""
        asked = self.exercise.asked
        return [it for it in self.verdicts.values() if it.name in asked or not it.done]


class _Example(NamedTuple):
    """What each formula is tried on.

    Attributes:
        name: For the user.
        problem: What is trained.
        record: A step of it that PyTorch has taken.
        names: Those of the exercise's formulas, which tell its vocabulary.
    """

    name: str
    problem: Problem
    record: Record
    names: tuple[str, ...]

    def truth(self) -> dict[str, Any]:
        """PyTorch's values in either vocabulary, copies that a file may change."""
        step = self.record
        network = self.problem.network
        given = step.start.given | {name: step.torch[name] for name in network.judged}
        table = network.scalars(step.samples)
        values: dict[str, Any] = {
            scalar: float(given[of].flat[i]) for scalar, (of, i) in table.items() if of in given
        }
        values |= {name: array.copy() for name, array in given.items()}
        numbers = {"lr": step.start.lr, "step": step.number, "loss": float(step.torch["loss"])}
        return values | numbers


@lru_cache
def _examples(it: Exercise) -> list[_Example]:
    """A step of each example: the second one where there is a memory, which is then not empty."""
    network, found = it.network, []
    sizes = (3, 4, 2) if it.is_the_lectures else network.sizes
    widths = tuple(n + 1 for n in sizes)
    for name, values in (MATRIX_EXAMPLES if it.matrix else SCALAR_EXAMPLES).items():
        values = described(network) | {"steps": 2} | values
        if it.matrix:
            values["sizes"] = "-".join(map(str, widths if name == "other widths" else sizes))
        if network.loss in WITH_ACTIVATION:
            outputs = int(str(values["sizes"]).rpartition("-")[2])
            values["y"] = classes(outputs, network, values.get("samples", 1))
        problem = make_problem(check(values, str))
        steps = records(problem, partial(_rounding, problem), BuiltIn())
        *_, step = islice(steps, 1 + bool(network.memory))
        found.append(_Example(name, problem, step, tuple(it.names)))
    return found


def _rounding(problem: Problem, torch: Quantities, start: Start) -> Rounding:
    """The bound of σ and the loss by any right formula."""
    return allowed(problem, start, torch, noisy=True)


def check_planted(it: Exercise, wrong: Mapping[str, str]) -> dict[str, Verdict]:
    """What becomes of wrong formulas by themselves, which run in this process."""
    alone = dict.fromkeys(it.names, "...") | dict(wrong)
    return _checked(template(it, alone), "planted.py", Statements).verdicts


def check_file(path: str | Path, seconds: float = 0) -> Checked:
    """What became of every formula of a file, by name, in order.

    Args:
        path: The file.
        seconds: That each of its statements may take; 0 for no limit.

    Raises:
        Unusable: The file cannot be read, or is not Python with a function step.
    """
    return check_text(read_text(path, "Python"), str(path), seconds)


def check_text(text: str, path: str, seconds: float = 0) -> Checked:
    """`check_file` for a file's text, which runs in a process of its own."""
    limits, shown = Limits(seconds), list[bool]()
    with contextlib.ExitStack() as children:

        def start(path: str) -> Child:
            child = Child(path, b"", None, limits, shown=not shown)
            children.callback(child.close)
            shown.append(True)  # what the file prints on the first example
            return child

        checked = _checked(text, path, start)
    if all(verdict.done for verdict in checked.verdicts.values()):
        _call(text, path, checked, limits)
    return checked


def _call(text: str, path: str, checked: Checked, limits: Limits) -> None:
    """Call the function as a whole, now that each formula is right by itself.

    A later line may still change a value, or another one may be returned.
    """
    exercise, verdicts = checked.exercise, checked.verdicts
    with contextlib.closing(Child(path, text.encode(), "step", limits, shown=False)) as child:
        for example in _examples(exercise):
            truth = example.truth()
            given = {it.name: truth[it.name] for it in child.arguments if it.name in truth}
            try:
                values = child.call(given)
            except Unusable as reason:
                first, *_ = verdicts.values()
                first.error = f"each formula is right, but the function as a whole is not: {reason}"
                return
            for name in values.keys() & verdicts.keys():
                verdict = verdicts[name]
                _judge(verdict, values[name], example, truth[name])
                if example.name in verdict.differs:
                    verdict.error = "its formula is right, but step returns another value"


def _checked(text: str, path: str, start: Callable[[str], Statements | Child]) -> Checked:
    """The verdict on each formula of a file.

    The function is run statement by statement, in place of a call. A formula counts when it gives
    the value: a quantity is judged after its last statement, and only then replaced by PyTorch's.
    So no statement has PyTorch's value of what it computes.

    Args:
        text: The file's.
        path: Where it is, for messages.
        start: Gives what runs statements that share their names.
    """
    module, step = _parsed(text, path)
    asked = _asked(step)
    exercise = _exercise(module, path, step)
    verdicts = {name: Verdict(name) for name in exercise.names}
    body = list(takewhile(lambda line: not isinstance(line, ast.Return), step.body))
    last = {name: line for line in body for name in _assigned(line)}
    for example in _examples(exercise):
        truth = example.truth()
        running = start(path)
        raised, _ = running.run(ast.unparse(module), {}, [])
        if raised:
            raise Unusable(f"{path}: {raised}")
        given = {name: truth[name] for name in asked & truth.keys()}
        for line in body:
            names = _assigned(line)
            text = "\n" * (line.lineno - 1) + ast.unparse(line)  # at its own line
            raised, values = running.run(text, given, names)
            given = {}
            for name in names:
                if name in verdicts and raised and not verdicts[name].error:
                    verdicts[name].error = f"{raised} (on {example.name})"
                if name in verdicts and last[name] is line:
                    verdicts[name].line = line.lineno
                    verdicts[name].filled = not _is_empty(line)
                    _judge(verdicts[name], values.get(name), example, truth[name])
                if name in verdicts and last[name] is line:
                    given[name] = truth[name]
    return Checked(exercise, verdicts, HIDDEN in (ast.get_docstring(module) or ""))


def exercise_of(text: str, path: str) -> Exercise:
    """What a file is an exercise in. Raises Unusable where it is none."""
    module, step = _parsed(text, path)
    return _exercise(module, path, step)


def _asked(step: ast.FunctionDef) -> set[str]:
    every = (*step.args.posonlyargs, *step.args.args, *step.args.kwonlyargs)
    return {given.arg for given in every}


def _exercise(module: ast.Module, path: str, step: ast.FunctionDef) -> Exercise:
    """What the file says of the network, in its PROBLEM; else the lecture's."""
    asked = _asked(step)
    network = _network(module, path)
    matrix = "w11" not in asked if network else "W_h" in asked
    try:
        it = Exercise(network or LECTURES, matrix)
    except Unusable as reason:
        raise Unusable(f"{path}: PROBLEM: sizes: {reason}") from None
    named = {name for line in step.body for name in _assigned(line)}
    gradients = {own for of in it.network.extras for own in it.own(of)}
    return replace(it, split=not named.isdisjoint(gradients))


def _network(module: ast.Module, path: str) -> Network | None:
    """The network of a file's PROBLEM; None where it has none."""
    for node in module.body:
        match node:
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value) if (
                "PROBLEM" in _assigned(node)
            ):
                break
    else:
        return None

    def where(key: str) -> str:
        return f"{path}: PROBLEM: {key}"

    try:
        own = ast.literal_eval(value)
    except (ValueError, TypeError):
        own = None
    if not isinstance(own, dict) or not all(isinstance(key, str) for key in own):
        words = f"line {node.lineno}: expected a dict of plain values, as it was written"
        raise Unusable(f"{path}: PROBLEM: {words}")
    network = network_of(check(own, where, DESCRIBING))
    if network.masked:
        raise Unusable(f"{path}: PROBLEM: {network.masked[0]}: an exercise has no dropout")
    return network


def network_of(values: dict[str, Any]) -> Network:
    """The network of checked options, with the exercise's usual activations and loss."""
    usual: dict[str, Any] = {"loss": LECTURES.loss}
    if "activations" not in values:
        usual["hidden_activation"] = "sigmoid"
        usual |= {} if values.get("loss") in WITH_ACTIVATION else {"output_activation": "sigmoid"}
    network = replace(make_problem(usual | values).network, labels=False)
    return LECTURES if described(network) == described(LECTURES) else network


def _is_empty(statement: ast.stmt) -> bool:
    """Whether a formula is still to be filled in: name = ..."""
    match statement:
        case ast.Assign(value=ast.Constant(value=value)):
            return value is ...
    return False


def _assigned(statement: ast.stmt) -> list[str]:
    """The names that a statement gives a value to, or to a part of: h, h[0], h.flat, out=h."""
    found = []
    for node in ast.walk(statement):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                found.append(name)
            case (
                ast.Subscript(value=inner, ctx=ast.Store())
                | ast.Attribute(value=inner, ctx=ast.Store())
            ):
                found += [it.id for it in ast.walk(inner) if isinstance(it, ast.Name)]
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
                found.append(name)  # h.append(…), whose result is not used
            case ast.keyword(arg="out", value=ast.Name(id=name)):
                found.append(name)
    return list(dict.fromkeys(found))


def _parsed(text: str, path: str) -> tuple[ast.Module, ast.FunctionDef]:
    """A file without its last function step, and that function."""
    with reading_python(path):
        module = ast.parse(text, path)
    for node in reversed(module.body):
        if isinstance(node, ast.FunctionDef) and node.name == "step":
            module.body.remove(node)
            return module, node
    raise Unusable(
        f"{path}: expected a function step, as in the template that is written where no file is"
    )


@np.errstate(all="ignore")
def _judge(verdict: Verdict, value: Array | Unusable | None, example: _Example, truth: Any) -> None:
    """Enter into a verdict what the value of its formula on an example shows."""
    if verdict.error or not verdict.filled or value is None:
        return
    name, problem, step, beside = example
    given = {verdict.name: value}
    try:
        answer = sort_out(given, problem, step.start, step.torch, verdict.name, beside)
    except Unusable as reason:
        verdict.error = str(reason)
        return
    (of,) = answer.values or answer.misshapen
    order = problem.network.judged
    before = order[: order.index(of)]
    right = {name: step.torch[name] for name in problem.network.computed if name in before}
    alone = replace(
        step,
        manual=right | answer.values,
        covered=answer.covered,
        misshapen=answer.misshapen,
    )
    if judge(alone).verdict == "match":
        verdict.agrees += (name,)
        return
    verdict.differs += (name,)
    if not verdict.says:
        found = diagnose(alone, problem)
        if found and found[0].mistake != "unknown":
            verdict.says = f"{found[0].mistake}: {found[0].says}"
        verdict.torch, verdict.yours = truth, value
