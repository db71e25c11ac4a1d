"""The exercise checked: every formula of a file by itself, on several examples, against PyTorch."""

import ast
import contextlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.bound.allowed import tolerance
from lockstep.errors import Unusable
from lockstep.explain.catalogue import catalogue
from lockstep.explain.search import diagnose
from lockstep.explain.trees import replaced
from lockstep.learn.template import in_the_files_words, names_to_derive, template
from lockstep.network.names import COMPUTED, scalar_names
from lockstep.network.problem import make_problem
from lockstep.run.judge import judge
from lockstep.run.record import Record
from lockstep.run.steps import records
from lockstep.sides.answer import Answer, sort_out
from lockstep.sides.built_in import BuiltIn

_SETTINGS: dict[str, Any] = dict(
    hidden_activation="sigmoid", output_activation="sigmoid", loss="half_sum", steps=1
)
# what each formula is tried on: a name for the user, and the problem
SCALAR_EXAMPLES: dict[str, dict[str, Any]] = {
    "the first example": {"seed": 1},
    "other values": {"seed": 2},
    "a large learning rate": {"seed": 3, "lr": 0.9},
}
MATRIX_EXAMPLES: dict[str, dict[str, Any]] = {
    "one sample": {"sizes": (3, 4, 2)},
    "a batch of 5 samples": {"sizes": (3, 4, 2), "samples": 5},
    "other widths": {"sizes": (4, 3, 5), "samples": 3},
}
COMMAND = "--hidden-activation sigmoid --output-activation sigmoid --loss half_sum"
_WORDS = {"c": "2", "N": "len(x)", "ones": "np.ones_like(W_o)", "output": "[0]"}


@lru_cache
def plantable():
    """The mistakes that a finished file can have, and for each the formula to plant: {name: {quantity: formula}}."""
    problem = make_problem(_SETTINGS | MATRIX_EXAMPLES["a batch of 5 samples"])
    found: dict[str, dict[str, str]] = {}
    for mistake in catalogue(problem):
        for formula in mistake.formulas:
            text = in_the_files_words(replaced(formula, _WORDS)).replace("-1 * ((o - y) *", "((y - o) *")
            if mistake.quantity in ("delta_h", "grad_W_h", "grad_b_h"):
                text = text.replace(
                    "lr * grad_W_o", "lr * delta_o.T @ h"
                )  # grad_W_o is not there yet
            if mistake.name not in found and _runs(mistake, text):
                found[mistake.name] = {mistake.quantity: text}
    return found


def _runs(mistake, formula):
    """Whether a planted formula runs on every example, shows on one of them, and is told by its name."""
    try:
        outcome = check_text(template(True, {mistake.quantity: formula}), "planted.py", matrix=True)
    except Unusable:
        return False
    told = outcome[mistake.quantity].says.startswith(f"{mistake.name}:")
    return told and all(verdict.error is None for verdict in outcome.values())


@dataclass
class Verdict:
    """What became of one formula. agrees, differs: the examples on which it does. says: which mistake it looks like."""

    name: str
    line: int | None = None
    filled: bool = False
    agrees: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    says: str = ""
    error: str | None = None
    torch: float | None = None
    yours: float | None = None

    @property
    def done(self):
        return self.filled and not self.differs and self.error is None and bool(self.agrees)


def is_matrix(text):
    """Whether a file is the exercise in matrices."""
    return "W_h" in text.partition("def step(")[2].partition(")")[0]


def check_file(path):
    """{name: Verdict} of every formula of a file, in order. Raises Unusable for a file that cannot be read as one."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{path}: expected Python in UTF-8") from None
    return check_text(text, str(path), is_matrix(text))


def check_text(text, path, matrix):
    """`check_file` for a file's text."""
    try:
        module = ast.parse(text, path)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise Unusable(f"{path}{line}: expected Python: {getattr(error, 'msg', error)}") from None
    functions = [
        node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "step"
    ]
    if not functions:
        raise Unusable(
            f"{path}: expected a function step, as in the template that is written where no file is"
        )
    module.body = [node for node in module.body if node is not functions[-1]]
    verdicts = {name: Verdict(name) for name in names_to_derive(matrix)}
    for example, values in (MATRIX_EXAMPLES if matrix else SCALAR_EXAMPLES).items():
        problem = make_problem(_SETTINGS | values)
        record = next(records(problem, tolerance(problem, {}), BuiltIn()))
        _walk(module, functions[-1], path, example, problem, record, verdicts)
    return verdicts


def _walk(module, function, path, example, problem, record, verdicts):
    """Run the function statement by statement; whatever it derives is judged and then replaced by PyTorch's value."""
    truth = {"lr": record.lr}
    for name, array in (
        *record.parameters.items(),
        ("x", record.x),
        ("y", record.y),
        *record.torch.items(),
    ):
        truth[name] = array.copy() if np.ndim(array) else float(array)
        scalars = scalar_names(name, problem.sizes, len(record.x))
        if scalars and name != "loss":
            truth |= {
                scalar: float(value) for scalar, value in zip(scalars, np.ravel(array), strict=True)
            }
    names: dict[str, Any] = {"__name__": "exercise"}
    with contextlib.redirect_stdout(sys.stderr), np.errstate(all="ignore"):
        try:
            exec(compile(module, path, "exec"), names)
        except Exception as error:
            raise Unusable(f"{path}: {type(error).__name__}: {error}") from None
        names |= {
            argument.arg: truth[argument.arg]
            for argument in function.args.args
            if argument.arg in truth
        }
        for statement in function.body:
            if isinstance(statement, ast.Return):
                break
            targets = [
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            ]
            derived = [name for name in targets if name in verdicts]
            try:
                exec(compile(ast.Module([statement], []), path, "exec"), names)
            except Exception as error:
                for name in derived:
                    verdicts[name].filled, verdicts[name].line = True, statement.lineno
                    verdicts[name].error = f"{type(error).__name__}: {error}"
            else:
                for name in derived:
                    verdicts[name].line = statement.lineno
                    _judge(verdicts[name], names.get(name), example, problem, record, truth)
            names |= {name: truth[name] for name in targets if name in truth}


def _judge(verdict, value, example, problem, record, truth):
    if value is ...:
        return
    verdict.filled = True
    try:
        answer: Answer = sort_out(
            {verdict.name: value}, problem, len(record.x), record.torch, verdict.name
        )
    except Unusable as reason:
        verdict.error = str(reason)
        return
    start = (record.number, record.parameters, record.x, record.y, record.lr)
    of = next(iter((*answer.values, *answer.misshapen)))
    before = {
        name: record.torch[name] for name in COMPUTED[: COMPUTED.index(of)]
    }  # what it was given is right
    known = (record.torch, record.bound, record.sizes, record.dtype)
    alone = Record(*start, before | answer.values, *known, answer.covered, answer.misshapen)
    if judge(alone).verdict == "match":
        verdict.agrees += (example,)
        return
    verdict.differs += (example,)
    if not verdict.says:
        found = diagnose(alone, problem)
        verdict.says = (
            f"{found[0].mistake}: {found[0].says}"
            if found and found[0].mistake != "unknown"
            else ""
        )
        verdict.torch, verdict.yours = truth[verdict.name], value
