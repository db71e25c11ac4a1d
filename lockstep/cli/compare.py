"""`lockstep compare`: train by hand and by PyTorch, side by side, and compare every number."""

import sys
from argparse import SUPPRESS
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from lockstep.cli.main import (
    Parser,
    command,
    interrupted,
    line_file,
    printer,
    progress,
    refuse_shared_files,
    whole_file,
)
from lockstep.errors import Unusable, need
from lockstep.setup.options import GROUPS, OPTIONS, check, file_and_function

if TYPE_CHECKING:  # imported where it is needed: --help and bad input are answered at once
    from lockstep.evidence.comparison import Comparison
    from lockstep.network.problem import Problem
    from lockstep.run.record import Record
    from lockstep.sides.side import Side

_Take: TypeAlias = "Callable[[Record, Comparison], object]"
_Finish: TypeAlias = "Callable[[Comparison], object]"
_STATUS = {"match": 0, "mismatch": 1, "undecided": 3}


def parser(name: str | None = None) -> Parser:
    """The options of the command; one that is not given is not in what it returns."""
    it = Parser(
        name,
        argument_default=SUPPRESS,
        description="Train a network by hand and by PyTorch, side by side, and compare every "
        "number. Without arguments: the lecture's 2-2-2 network on fixed example numbers.",
        epilog="Exit status: 0 everything matches, 1 a mismatch, 2 unusable input, 3 the numbers "
        "stopped being finite, 130 interrupted, 143 terminated.",
    )
    about = "a problem file: its keys are these options, with _ for -"
    it.add_argument("problem", nargs="?", metavar="PROBLEM.toml", help=about)
    about = "print a step function of this network to start from, and run nothing"
    it.add_argument("--template", action="store_true", help=about)
    it.add_options(GROUPS)
    return it


def _compare(given: dict[str, Any], came: list[int]) -> int:
    from lockstep.setup.problem import make_problem, read_file, required
    from lockstep.sides.chosen import side_by_hand

    path, is_asked = given.pop("problem", None), given.pop("template", False)
    values = {} if path is None else read_file(path, given.pop("untrusted", False))
    values |= check(given, lambda key: OPTIONS[key].flag)
    if is_asked:
        return _template(values)
    if "expect" in values and not {"derivation", "numbers"} & values.keys():
        expected = "expected a derivation or numbers to be given too"
        raise Unusable(f"--expect {values['expect']}: {expected}")
    derivation, _ = file_and_function(values.get("derivation", ""))
    refuse_shared_files(values, path, values.get("data"), values.get("numbers"), derivation)
    step = side_by_hand(values)
    problem = make_problem(values)
    values["require"] = required(values.get("require", ()), problem.network)
    step.prepare(problem)
    return judged(problem, values, step, came)


main = command(parser, _compare)


def _template(values: dict[str, Any]) -> int:
    """Print a right step of the network that options describe."""
    from dataclasses import replace

    from lockstep.learn.template import Exercise, template
    from lockstep.setup.problem import make_problem

    network = make_problem(values).network
    if network.masked:
        raise Unusable(f"--template: {network.masked[0]}: there is none with dropout")
    printed, _ = printer()
    printed(template(Exercise(replace(network, labels=False), split=False), {}).splitlines())
    return 0


def judged(problem: "Problem", values: dict[str, Any], step: "Side", came: list[int]) -> int:
    """Run a comparison, report it, write its files, and give its exit status.

    Args:
        problem: What is trained.
        values: Checked options.
        step: The side by hand.
        came: The signals that came.
    """
    import numpy as np

    from lockstep.api import run  # PyTorch with it, which bad input does not wait for

    with ExitStack() as files, np.errstate(all="ignore"):  # the judge looks at every value
        takes, finishes = _open(problem, values, step, files)
        take, report = _report(problem, values, step)

        def on_step(record: "Record", result: "Comparison") -> None:
            if came:
                raise KeyboardInterrupt
            for each in (*takes, take):
                each(record, result)

        result = run(problem, values, on_step, step)
        report(result)
        sys.stdout.flush()
        for finish in finishes:
            finish(result)
    if result.broken:
        raise result.broken
    if result.interrupted:
        return interrupted(came)
    if "expect" in values:
        return 0 if result.found[:1] and result.found[0].mistake == values["expect"] else 1
    return _STATUS[result.verdict]


def _open(
    problem: "Problem", values: dict[str, Any], step: "Side", files: ExitStack
) -> tuple[list[_Take], list[_Finish]]:
    """Open the files that are asked for, before anything is computed, and the progress.

    Returns:
        What to do with each step, and with the result in the end.
    """
    from lockstep.network.problem import UNTOLD
    from lockstep.report.document import document, problem_line, step_line

    takes: list[_Take] = []
    finishes: list[_Finish] = []
    if values.get("json", "-") != "-":
        finishes.append(
            _whole(files, values, "json", lambda file, result: file.write(document(result)))
        )
    if "trace" in values:
        trace = files.enter_context(line_file(values["trace"], "--trace"))
        trace(problem_line(problem))
        takes.append(lambda record, result: trace(step_line(record)))
    if "html" in values:
        from lockstep.report.page import page

        seen = page.new_album(problem)
        takes.append(seen.add)
        finishes.append(
            _whole(
                files,
                values,
                "html",
                lambda file, result: file.write(page.page(result, seen, step)),
            )
        )
    if "worksheet" in values:
        _write_worksheet(problem, values["worksheet"])
    if "plot" in values:
        from lockstep.report.plots import figure

        kind = values["plot"].rpartition(".")[2].lower()
        drawn = figure.new_album(problem)
        takes.append(drawn.add)
        finishes.append(
            _whole(
                files, values, "plot", lambda file, result: figure.save(file, kind, result, drawn)
            )
        )
    total = None if problem.steps == UNTOLD else problem.steps
    show = files.enter_context(progress(total, "steps"))
    takes.append(lambda record, result: show(record.number))
    return takes, finishes


def _write_worksheet(problem: "Problem", path: str) -> None:
    """Write a worksheet of the first step, and its key beside it."""
    from lockstep.grade.sheets import as_html, as_pdf
    from lockstep.setup.files import key_beside

    is_pdf = path.lower().endswith(".pdf")
    need("--worksheet", "page")
    if is_pdf:
        need("--worksheet", "plot")
    for is_key, own in ((False, path), (True, key_beside(path))):
        with whole_file(own, "--worksheet", binary=True) as file:
            text = as_pdf(problem, is_key) if is_pdf else as_html(problem, is_key).encode()
            file.write(text)


def _whole(
    files: ExitStack,
    values: dict[str, Any],
    key: str,
    write: Callable[[IO[Any], "Comparison"], object],
) -> _Finish:
    """Open the file that an option names; what to do with the result is to write it, whole."""
    own = files.enter_context(ExitStack())
    file = own.enter_context(whole_file(values[key], f"--{key}", binary=key == "plot"))

    def finish(result: "Comparison") -> None:
        write(file, result)
        own.close()  # it is there whatever happens to the files after it

    return finish


def _report(problem: "Problem", values: dict[str, Any], step: "Side") -> tuple[_Take, _Finish]:
    """Begin the report on standard output, which may be the JSON document or the verdict alone.

    Returns:
        What to do with each step, and with the result in the end.
    """
    from lockstep.report.document import document
    from lockstep.report.step import step_lines
    from lockstep.report.terminal import heading, summary_lines, verdict_lines

    def nothing(record: "Record", result: "Comparison") -> None:
        """Print nothing of a step."""

    printed, width = printer()
    if values.get("json") == "-":
        return nothing, lambda result: sys.stdout.write(document(result))
    if values.get("quiet"):
        return nothing, lambda result: printed(verdict_lines(result, width, quiet=True))
    printed(heading(problem, step.title))
    code = values.get("code")

    def in_full(record: "Record", result: "Comparison") -> None:
        if code:
            from lockstep.report.code import code_lines

            of_this = result.first if record is result.decisive else None
            guilty = of_this.quantity if of_this else ""
            printed(code_lines(record, problem, width, step, result.side, guilty))
        else:
            printed(step_lines(record, problem, width, result.side))

    def take(record: "Record", result: "Comparison") -> None:
        if result.is_shown(record.number):
            in_full(record, result)

    def finish(result: "Comparison") -> None:
        decisive = result.decisive
        if code and decisive and not result.is_shown(decisive.number):
            in_full(decisive, result)
        printed(summary_lines(result, width))

    return take, finish
