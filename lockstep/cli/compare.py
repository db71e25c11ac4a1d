"""`lockstep compare`: train by hand and by PyTorch, side by side, and compare every number."""

import os
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from lockstep.cli.main import Parser, printer, signals, status
from lockstep.cli.output import line_file, progress, whole_file
from lockstep.errors import Unusable
from lockstep.network.options import OPTIONS, check, file_and_function

if TYPE_CHECKING:  # imported where it is needed: --help and bad input are answered at once
    from lockstep.network.problem import Problem
    from lockstep.run.record import Record
    from lockstep.run.result import Result
    from lockstep.sides.paper import Paper
    from lockstep.sides.recording import Recording

_STATUS = {"match": 0, "mismatch": 1, "undecided": 3}
_Side: TypeAlias = "Callable[..., Any] | Paper | Recording | None"  # what is given by hand


def parser(name: str | None = None) -> Parser:
    """The options of the command; one that is not given is not in what it returns."""
    it = Parser(
        name,
        allow_abbrev=False,
        argument_default=SUPPRESS,
        description="Train a two-layer network by hand and by PyTorch, side by side, and compare "
        "every number. Without arguments: the lecture's 2-2-2 network on fixed example numbers.",
        epilog="Exit status: 0 everything matches, 1 a mismatch, 2 unusable input, 3 the numbers "
        "stopped being finite, 130 interrupted, 143 terminated.",
    )
    about = "a file whose keys are these options, with _ for -"
    it.add_argument("problem", nargs="?", metavar="PROBLEM.toml", help=about)
    it.add_options(OPTIONS.values())
    return it


def main(arguments: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those of the command line; by default the program's own.
        name: What messages call the command; by default as it was started.

    Returns:
        The exit status.
    """
    given = vars(parser(name).parse_args(arguments))
    with signals() as interrupted:
        return status(lambda: _compare(given.pop("problem", None), given, interrupted), name)


def _compare(path: str | None, options: dict[str, Any], interrupted: list[int]) -> int:
    from lockstep.network.problem import make_problem, read_file
    from lockstep.sides.chosen import side_by_hand

    values = {} if path is None else read_file(path)
    values |= check(options, lambda key: OPTIONS[key].flag)
    if "expect" in values and not {"derivation", "numbers"} & values.keys():
        expected = "expected a derivation or numbers to be given too"
        raise Unusable(f"--expect {values['expect']}: {expected}")
    _refuse_shared_files(path, values)
    step = side_by_hand(values)
    problem = make_problem(values)

    from lockstep.api import run  # PyTorch with it, which bad input does not wait for

    screen = _Screen(problem, values, step)
    with ExitStack() as files:
        outputs = _open(problem, values, step, files)
        screen.begin()

        def on_step(record: "Record", result: "Result") -> None:
            if interrupted:
                raise KeyboardInterrupt
            for output in outputs:
                output.take(record, result)
            screen.take(record, result)

        result = run(problem, values, on_step, step)
        for output in outputs:
            output.finish(result)
    screen.finish(result)
    if result.broken:
        raise result.broken
    if result.interrupted:
        return 130
    if "expect" in values:
        return 0 if result.found[:1] and result.found[0].mistake == values["expect"] else 1
    return _STATUS[result.verdict]


def _refuse_shared_files(path: str | None, values: dict[str, Any]) -> None:
    """Refuse to write a file twice or over one that is read, or more than JSON to the screen."""
    derivation, _ = file_and_function(values.get("derivation", ""))
    read = path, values.get("data"), values.get("numbers"), derivation
    taken = {
        os.path.realpath(file): "another file than those that are read" for file in read if file
    }
    for key in ("json", "trace", "html", "plot"):
        if key not in values:
            continue
        where = os.path.realpath(values[key])
        if where in taken or (values[key] == "-" and key != "json"):
            expected = taken.get(where, "the name of a file")
            raise Unusable(f"--{key} {values[key]}: expected {expected}")
        taken[where] = f"another file than that of --{key}"


@dataclass
class _Output:
    """Something that is written: what it does with each step, and with the result in the end."""

    take: "Callable[[Record, Result], object]" = lambda record, result: None
    finish: "Callable[[Result], object]" = lambda result: None


def _open(
    problem: "Problem", values: dict[str, Any], step: _Side, files: ExitStack
) -> list[_Output]:
    """The files that are asked for, each open before anything is computed, and the progress."""
    from lockstep.network.problem import UNTOLD
    from lockstep.report.document import document, problem_line, step_line

    outputs = []
    if values.get("json", "-") != "-":
        json_file = files.enter_context(whole_file(values["json"], "--json"))
        outputs.append(_Output(finish=lambda result: json_file.write(document(result))))
    if "trace" in values:
        trace = files.enter_context(line_file(values["trace"], "--trace"))
        trace(problem_line(problem))
        outputs.append(_Output(lambda record, result: trace(step_line(record))))
    if "html" in values:
        from lockstep.report.page import page

        html = files.enter_context(whole_file(values["html"], "--html"))
        seen = page.new_album(problem)
        outputs.append(_Output(seen.add, lambda result: html.write(page.page(result, seen, step))))
    if "plot" in values:
        from lockstep.report.plots import figure

        kind = values["plot"].rpartition(".")[2].lower()
        plot = files.enter_context(whole_file(values["plot"], "--plot", binary=True))
        drawn = figure.new_album(problem)
        outputs.append(_Output(drawn.add, lambda result: figure.save(plot, kind, result, drawn)))
    total = None if problem.steps == UNTOLD else problem.steps
    show = files.enter_context(progress(total, "steps"))
    return [*outputs, _Output(lambda record, result: show(record.number))]


class _Screen:
    """Standard output: the report, the verdict alone, or the JSON document and nothing else."""

    def __init__(self, problem: "Problem", values: dict[str, Any], step: _Side) -> None:
        self.problem, self.step = problem, step
        self.json = values.get("json") == "-"
        self.quiet, self.code = values.get("quiet", False), values.get("code", False)
        self.printed, self.width = printer()

    def begin(self) -> None:
        """Print what is compared."""
        from lockstep.report.terminal import heading

        if not (self.json or self.quiet):
            self.printed(heading(self.problem, "yours" if self.step else "by hand"))

    def take(self, record: "Record", result: "Result") -> None:
        """Print a step that is to be shown: its values, or both sources with their values."""
        if result.is_shown(record.number) and not (self.json or self.quiet):
            self._print_in_full(record, result)

    def _print_in_full(self, record: "Record", result: "Result") -> None:
        from lockstep.report.code import code_lines
        from lockstep.report.step import step_lines

        if self.code:
            lines = code_lines(record, self.problem, self.width, self.step, result.side)
        else:
            lines = step_lines(record, self.problem, self.width, result.side)
        self.printed(lines)

    def finish(self, result: "Result") -> None:
        """Print the verdict and what it rests on."""
        from lockstep.report.document import document
        from lockstep.report.terminal import summary_lines
        from lockstep.report.verdict import verdict_lines

        if self.json:
            sys.stdout.write(document(result))
        elif self.quiet:
            self.printed(verdict_lines(result, self.width, quiet=True))
        else:
            decisive = result.decisive
            if self.code and decisive and not result.is_shown(decisive.number):
                self._print_in_full(decisive, result)
            self.printed(summary_lines(result, self.width))
        sys.stdout.flush()
