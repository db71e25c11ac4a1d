"""The exercise of scripts/backward_pass.ipynb: a backward pass, one gradient after the other.

Its forward pass, hints and formulas are in backward_pass.toml. The student's notebook runs the
forward pass by NumPy; here the same lines are run by PyTorch.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
import linecache
import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lockstep.errors import first_line_of
from lockstep.explain.facts import agree
from lockstep.gradients.check import WrongAnswer, check_gradients
from lockstep.gradients.reference import as_array, gradients, watch
from lockstep.gradients.result import CheckResult, GradientMismatch
from lockstep.network.names import Array, Quantities
from lockstep.text import columns, counted, listed, percent

Formula = Callable[[], Any]
Shape = tuple[int, ...]

_TABLE: dict[str, Any] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
FORWARD: str = _TABLE.pop("forward")
_FILE = "the forward pass"  # what a report calls it
_NOTHING = 1e-12  # beside the gradient of the loss by itself, which is 1
_ONLY_HERE = (
    " as a formula. Its value is right, but only because a gradient is zero here, to rounding.\n"
    "  With other gradients coming in, it is not right."
)
_BLANK = re.compile(r"^(def (d_\w+)\(\):\n)    return \.\.\.$", re.MULTILINE)


@dataclass(frozen=True)
class Gradient:
    """What is to be derived.

    Attributes:
        of: The quantity whose gradient it is.
        hints: A question, and a step.
        key: The formula, which is the last hint: the body of a function.
        to: The quantity whose gradient comes in; empty: the lines that use `of`.
    """

    of: str
    hints: list[str]
    key: str
    to: str = ""


GRADIENTS = {
    name: Gradient(**({"of": name.removeprefix("d_")} | it)) for name, it in _TABLE.items()
}
STEPWISE = [name for name, it in GRADIENTS.items() if not it.to]


@dataclass(frozen=True)
class _Line:
    """A line of the forward pass: its right side, and the names that it reads."""

    value: ast.expr
    reads: frozenset[str]

    def weighted(self, incoming: str) -> ast.expr:
        """Its value times the gradient that comes in."""
        product = ast.BinOp(self.value, ast.Mult(), ast.Name(incoming, ast.Load()))
        return ast.fix_missing_locations(ast.copy_location(product, self.value))


def _lines() -> dict[str, _Line]:
    """The lines of the forward pass, by what they compute."""
    trees: list[Any] = ast.parse(FORWARD).body  # assignments
    found = {}
    for tree in trees:
        names = {node.id for node in ast.walk(tree.value) if isinstance(node, ast.Name)}
        found[tree.targets[0].id] = _Line(tree.value, frozenset(names - {"np"}))
    return found


LINES = _lines()


def _evaluated(value: ast.expr, known: Mapping[str, Any], by: Any) -> Any:
    """The value of an expression by NumPy or by PyTorch, whose functions have the same names."""
    return eval(compile(ast.Expression(value), _FILE, "eval"), {**known, "np": by})


def forward(known: Mapping[str, Any], by: Any) -> dict[str, Any]:
    """All values of the forward pass.

    Args:
        known: Parameters, data, and N, as arrays or as tensors.
        by: The module `numpy` or `torch`.
    """
    values = dict(known)
    for name, line in LINES.items():
        values[name] = _evaluated(line.value, values, by)
    return values


def _uses(it: Gradient) -> list[str]:
    """The lines whose gradients come in, in their order."""
    return [it.to] if it.to else [name for name, line in LINES.items() if it.of in line.reads]


def _way(it: Gradient) -> list[str]:
    """The lines by which a quantity reaches those whose gradients come in, and these."""
    if not it.to:
        return _uses(it)
    moving = [it.of]
    for name, line in LINES.items():
        if line.reads.intersection(moving):
            moving.append(name)
    return moving[1 : moving.index(it.to) + 1]


@dataclass
class Lesson:
    """The exercise, as one student does it.

    Attributes:
        x: The letters of each window, (N, n_letters).
        y: The letter that follows, (N,).
        parameters: C, W_h, b_h, gamma, beta, W_o and b_o, in float64.
        hints: How many hints there are.
    """

    x: Array
    y: Array
    parameters: Quantities
    hints: int = 10
    _right: dict[str, Formula] = field(default_factory=dict, init=False)
    _wrong: dict[str, str] = field(default_factory=dict, init=False)  # their mistakes
    _hinted: dict[str, int] = field(default_factory=dict, init=False)

    def derive(self, formula: Formula) -> Array | None:
        """Judge a formula, and print what became of it. For use as a decorator.

        Args:
            formula: A function without arguments, by the name of the gradient. It uses the values
                of the forward pass, and the gradients that come before it, by their names. They
                are PyTorch's, whatever the formulas before it give.

        Returns:
            PyTorch's gradient, so that its name stands for the right values from now on.
        """
        name = formula.__name__
        if not _is_known(name):
            return None
        self._right.pop(name, None)
        self._wrong.pop(name, None)
        print(f"{name}: {self._judged(name, formula)}")
        return self._gradients()[f"d_{GRADIENTS[name].of}"]

    def hint(self, name: str) -> None:
        """Print the next hint for a gradient: a question, a step, the formula.

        Args:
            name: Of the gradient, such as "d_z".
        """
        if not _is_known(name):
            return
        steps = [*GRADIENTS[name].hints, GRADIENTS[name].key.strip()]
        given, left = self._hinted.get(name, 0), self.hints - sum(self._hinted.values())
        if given == len(steps):
            print(f"You have all {given} hints for {name}. The last one is its formula.")
        elif left <= 0:
            print(f"No hint is left: you have used all {self.hints}.")
        else:
            self._hinted[name] = given + 1
            print(f"{name}, hint {given + 1} of {len(steps)}. You have {left - 1} left.")
            print(textwrap.indent(steps[given], "  "))

    def summary(self) -> None:
        """Print how many gradients are right, which are not, and how many hints were used."""
        used = f"{counted(sum(self._hinted.values()), 'hint')} used of {self.hints}"
        print(f"{len(self._right)} of {len(GRADIENTS)} right, {used}.")
        wrong = [f"{name} ({self._wrong[name]})" for name in GRADIENTS if name in self._wrong]
        empty = [name for name in GRADIENTS if name not in self._right | self._wrong]
        for what, names in (("wrong", wrong), ("not filled yet", empty)):
            if names:
                print(textwrap.fill(f"{what}: {', '.join(names)}", subsequent_indent="  "))

    def train(self, steps: int = 100, lr: float = 0.3) -> None:
        """Train by the student's gradients, next to PyTorch, and print both losses.

        Args:
            steps: How many steps of gradient descent.
            lr: The learning rate.
        """
        left = counted(len([name for name in STEPWISE if name not in self._right]), "more gradient")
        if not self._right.keys() >= {*STEPWISE}:
            print(f"Training waits until {left} of the {len(STEPWISE)} are right.")
            return
        mine = {name: array.copy() for name, array in self.parameters.items()}
        theirs = {name: torch.tensor(array) for name, array in self.parameters.items()}
        rows, largest = [["step", "loss, your gradients", "loss, PyTorch's", "apart"]], 0.0
        for step in range(steps + 1):
            values = forward(self._start(mine), np)
            for name in STEPWISE:
                values[name] = as_array(_called(self._right[name], values))
            own, loss = values["loss"], self._torch_step(theirs, lr)
            largest = max(largest, abs(own - loss))
            if step % max(steps // 5, 1) == 0:
                rows.append([str(step), f"{own:.12f}", f"{loss:.12f}", f"{abs(own - loss):.0e}"])
            mine = {name: array - lr * values[f"d_{name}"] for name, array in mine.items()}
        print("\n".join(columns(rows, ">>>>")))
        print(f"In {steps} steps the two losses differ by at most {largest:.0e}.")

    def _torch_step(self, parameters: dict[str, Tensor], lr: float) -> float:
        """The loss by PyTorch's own layers; then a step of gradient descent by its gradients."""
        p = {name: tensor.requires_grad_() for name, tensor in parameters.items()}
        a = functional.embedding(torch.tensor(self.x), p["C"]).flatten(1)
        z = functional.linear(a, p["W_h"], p["b_h"])
        bn = functional.batch_norm(z, None, None, p["gamma"], p["beta"], training=True)
        o = functional.linear(torch.tanh(bn), p["W_o"], p["b_o"])
        loss = functional.cross_entropy(o, torch.tensor(self.y))
        found = torch.autograd.grad(loss, list(p.values()))
        with torch.no_grad():
            for parameter, gradient in zip(p.values(), found, strict=True):
                parameter -= lr * gradient
        return loss.item()

    def _start(self, parameters: Quantities) -> dict[str, Any]:
        return parameters | {"x": self.x, "y": self.y, "N": len(self.y)}

    def _gradients(self, start: str = "loss") -> Quantities:
        """PyTorch's gradients, by `d_` and a name.

        Args:
            start: Where the way back starts: at the loss, or at a quantity with random numbers.
        """
        weights: Any = 1.0

        def reference(**tensors: Tensor) -> Tensor:
            values = forward(tensors | {"N": len(self.y)}, torch)
            for name in LINES:
                watch(name, values[name])
            total: Tensor = (values[start] * weights).sum()
            return total

        if start != "loss":  # numbers that no rounding changes
            shape = forward(self._start(self.parameters), np)[start].shape
            weights = torch.from_numpy(np.random.default_rng(0).random(shape) - 0.5)
        arrays = self.parameters | {"x": self.x, "y": self.y}
        found = gradients(reference, arrays, self.parameters)
        return {f"d_{name}": array for name, array in found.items()}

    def _known(self, name: str, start: str = "loss") -> dict[str, Any]:
        """What a formula may use: the forward pass, and the gradients before it."""
        it, found = GRADIENTS[name], self._gradients()
        if start != "loss":
            found |= self._gradients(start)
        before = [f"d_{it.to}"] if it.to else STEPWISE[: STEPWISE.index(name)]
        given = forward(self._start(self.parameters), np)
        return given | {each: found[each] for each in before if each in found}

    def _judged(self, name: str, formula: Formula) -> str:
        """What became of a formula, in words; it is entered among the right or the wrong ones."""
        try:
            value = _called(formula, self._known(name))
            if value is None or value is ...:
                return "not filled yet."
            with contextlib.redirect_stdout(io.StringIO()):  # it is called many times
                found = self._tried(name, formula)
                other = None
                if isinstance(found, GradientMismatch) or self._vanishes(name):
                    other = self._elsewhere(name, formula, value)
        except Exception as error:
            self._wrong[name] = "error"
            return f"wrong. {_raised(name, error)}"
        if isinstance(found, GradientMismatch) or isinstance(other, GradientMismatch):
            return f"wrong{self._report(name, value, found, other)}"
        if found.verdict == "undecided":
            self._wrong[name] = "not judged"
            return f"not judged: {'; '.join(found.reasons)}."
        self._right[name] = formula
        return f"right ({len(self._right)} of {len(GRADIENTS)}). {_praise(found)}"

    def _report(self, name: str, value: Any, *found: CheckResult | GradientMismatch | None) -> str:
        """Where a formula is wrong, by how much, and which mistake it looks like.

        Args:
            name: Of the gradient.
            value: What the formula gives.
            found: What became of it by its value, and with other gradients coming in.
        """
        report = str(found[0]).partition("mismatch")[2].partition("\n  mistake")[0]
        report = report.replace(", another shape", " shape.") or _ONLY_HERE
        likely = [it for it in found if isinstance(it, GradientMismatch)][-1].diagnoses[0]
        mistake, says, remedy = likely["mistake"], likely["says"], likely["remedy"]
        if mistake == "wrong-shape":
            mistake, says, remedy = self._wrong_axis(name, value) or (mistake, says, remedy)
        elif mistake == "unknown":
            remedy = f'check each factor, or ask for hint("{name}")'
            swapped = _swapped(GRADIENTS[name], self._known(name), as_array(value))
            mistake, says, remedy = swapped or (mistake, says, remedy)
        self._wrong[name] = mistake
        return f"{report}\n  mistake   {mistake}: {says}\n  remedy    {remedy}"

    def _tried(
        self, name: str, formula: Formula, start: str = "loss"
    ) -> CheckResult | GradientMismatch:
        """Judge a formula on the lines that use its quantity; a wrong one on all up to the start.

        Then all is computed again with the processor rounding otherwise: a formula in other terms
        than those of its line has their rounding errors.
        """
        it, known = GRADIENTS[name], self._known(name, start)
        found = _checked(it, lambda given: _called(formula, known | given), known)
        if isinstance(found, CheckResult):
            return found
        anew = _checked(
            replace(it, to=start),
            lambda _: _called(formula, self._known(name, start)),
            known,
            diagnose=False,
        )
        matches = isinstance(anew, CheckResult) and anew.verdict == "match"
        return anew if matches else found

    def _vanishes(self, name: str) -> bool:
        """Whether a gradient, or one that comes in, is zero to rounding. Its value shows little."""
        it, found = GRADIENTS[name], self._gradients()
        return any(np.abs(found[f"d_{of}"]).max() <= _NOTHING for of in (it.of, *_uses(it)))

    def _elsewhere(
        self, name: str, formula: Formula, value: Any
    ) -> CheckResult | GradientMismatch | None:
        """A formula judged where random gradients come in; None if it does not use these.

        The loss gives many gradients that are alike, or zero. That hides mistakes.
        """
        start = _uses(GRADIENTS[name])[-1]
        if start == "loss":
            return None
        there = _called(formula, self._known(name, start))
        if np.array_equal(as_array(there), as_array(value)):
            return None
        return self._tried(name, formula, start)

    def _wrong_axis(self, name: str, value: Any) -> tuple[str, str, str] | None:
        """The mistake, if a gradient has the shape that a sum over another axis leaves."""
        it, given = GRADIENTS[name], forward(self._start(self.parameters), np)
        own, right, full = np.shape(value), given[it.of].shape, given[_uses(it)[0]].shape
        padded = (1,) * (len(full) - len(right)) + right
        summed = [axis for axis, n in enumerate(full) if padded[axis] == 1 < n]
        for axis, n in enumerate(full):
            sums = full[:axis] + full[axis + 1 :], full[:axis] + (1,) + full[axis + 1 :]
            if own in sums and summed and padded[axis] == n:
                says = f"its shape is {own}, as of a sum over axis {axis}; {it.of} has {right}"
                return "wrong-axis", says, f"sum over axis {summed[0]}"
        return None


def _is_known(name: str) -> bool:
    """Whether a gradient has this name; if not, it is said."""
    if name not in GRADIENTS:
        print(f"{name} is no gradient of this exercise. They are {listed([*GRADIENTS])}.")
    return name in GRADIENTS


@np.errstate(all="ignore")
def _called(formula: Formula, known: Mapping[str, Any]) -> Any:
    """What a formula gives where the names of its notebook have these values.

    They are copies. Other gradients are not known meanwhile. Afterwards all is as before.
    """
    space = formula.__globals__
    before = {name: space.pop(name) for name in {*known, *GRADIENTS} if name in space}
    space.update({name: np.copy(it) if np.ndim(it) else it for name, it in known.items()})
    try:
        return formula()
    finally:
        for name in known:
            del space[name]
        space.update(before)


def _part(it: Gradient) -> tuple[Callable[..., Any], set[str]]:
    """The lines between a quantity and what comes in, as a scalar of tensors; and their names."""
    way, uses = _way(it), _uses(it)
    computed = [other for other in way if other not in uses or other == "loss"]
    incoming = [f"d_{other}" for other in uses if other != "loss"]

    def reference(**given: Any) -> Any:
        values, total = dict(given), 0.0
        for other in way:
            line = LINES[other]
            if other in computed:
                values[other] = _evaluated(line.value, values, torch)
            else:
                total = total + _evaluated(line.weighted(f"d_{other}"), values, torch).sum()
        return total + values.get("loss", 0.0)

    return reference, {it.of}.union(incoming, *(LINES[other].reads for other in way)) - {*computed}


def _swapped(it: Gradient, known: dict[str, Any], own: Array) -> tuple[str, str, str] | None:
    """The mistake, if another value in the place of one gives these numbers."""
    reference, names = _part(it)
    inputs = {name: known[name] for name in known if name in names}
    arrays = {name: value for name, value in known.items() if np.ndim(value)}
    for name, other in itertools.permutations(arrays, 2):
        if name in inputs and arrays[name].shape == arrays[other].shape:
            part = partial(reference, N=known["N"]) if "N" in names else reference
            given = {each: inputs[each] for each in inputs if each != "N"} | {name: arrays[other]}
            found = gradients(part, given, [it.of])[it.of]
            if agree(own, found, 1e-9 * np.abs(found) + 1e-12 * np.abs(own).max()).all():
                return "wrong-layer-input", f"{other} is in the place of {name}", f"use {name}"
    return None


def _checked(
    it: Gradient,
    formula: Callable[[dict[str, Any]], Any],
    known: dict[str, Any],
    diagnose: bool = True,
) -> CheckResult | GradientMismatch:
    """Judge a formula by `check_gradients`, on the lines between it and what comes in.

    Args:
        it: The gradient.
        formula: Gives it, from the values of some names.
        known: The values of all.
        diagnose: Whether a mistake is to be named.
    """
    reference, names = _part(it)
    inputs = {name: known[name] for name in known if name in names}
    quoted = [f"{line.partition('  #')[0]}\n" for line in FORWARD.splitlines()]
    linecache.cache[_FILE] = (len(FORWARD), None, quoted, _FILE)  # for reports; others may clear it
    try:
        return check_gradients(
            lambda **given: {it.of: formula(given)}, reference, diagnose=diagnose, **inputs
        )
    except GradientMismatch as mismatch:
        return mismatch


def _praise(found: CheckResult) -> str:
    """How near a right gradient is to PyTorch's."""
    says = f"The largest difference is {percent(found.worst_ratio)} of what rounding explains."
    if found.same:
        says = "The same as PyTorch's to the last bit."
    zero = any("zero on both sides" in remark for remark in found.remarks)
    return f"{says} It is zero, to rounding. Can you say why?" if zero else says


def _raised(name: str, error: Exception) -> str:
    """Why a formula could not be judged."""
    to = GRADIENTS[name].to
    unknown = error.name if isinstance(error, NameError) else None
    if unknown in GRADIENTS:
        may = "those that come before it on the way back"
        if to:
            may = "no other gradient" if to == "loss" else f"only d_{to}"
        return f"It uses {unknown}. Of the gradients, it may use {may}."
    if isinstance(error, WrongAnswer):
        return f"It returned {error.says.replace(repr(GRADIENTS[name].of), name)}."
    return f"It raised {type(error).__name__}: {first_line_of(error).rstrip('.')}."


def write_key(notebook: str | Path, key: str | Path) -> None:
    """Write a notebook of the exercise with its blanks filled in, for teachers.

    Args:
        notebook: The notebook as students get it.
        key: The file to write.
    """
    document = json.loads(Path(notebook).read_text(encoding="utf-8"))

    def filled(blank: re.Match[str]) -> str:
        return blank[1] + textwrap.indent(GRADIENTS[blank[2]].key.strip(), "    ")

    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = _BLANK.sub(filled, "".join(cell["source"]))
    text = json.dumps(document, indent=1, ensure_ascii=False)
    Path(key).write_text(f"{text}\n", encoding="utf-8")
