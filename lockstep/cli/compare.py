"""The command line of compare.py, installed as `lockstep`."""

import os
import signal
import sys
from contextlib import suppress

from lockstep.cli.main import (
    Parser,
    interrupts,
    join_negative_numbers,
    printer,
    real,
    status,
    whole,
)

_STATUS = {"match": 0, "mismatch": 1, "undecided": 3}


def parser():
    """The options; their defaults are all None, so that a problem file can tell what was not given."""
    it = Parser(
        prog=os.path.basename(sys.argv[0]),
        allow_abbrev=False,
        description="Train a two-layer network by hand and by PyTorch, side by side, and compare every number. "
        "Without arguments: the lecture's 2-2-2 network on fixed example numbers.",
        epilog="Exit status: 0 everything matches, 1 a mismatch, 2 unusable input, 3 the numbers stopped being finite, "
        "130 interrupted.",
    )
    it.add_argument(
        "problem",
        nargs="?",
        metavar="PROBLEM.toml",
        help="a file whose keys are these options, with _ for -",
    )
    group = it.add_argument_group("network and data")
    group.add_argument(
        "--sizes",
        metavar="2-2-2",
        help="inputs-hidden-outputs (default: what the data say, or 2-2-2)",
    )
    group.add_argument(
        "--samples", type=whole, metavar="N", help="so many random samples (default 1)"
    )
    group.add_argument("--data", metavar="FILE.csv", help="samples from a table with a header line")
    group.add_argument("--inputs", metavar="A,B", help="its columns that are inputs")
    group.add_argument("--targets", metavar="C,D", help="its columns that are targets")
    group.add_argument(
        "--standardize",
        action="store_true",
        default=None,
        help="every column to mean 0 and variance 1",
    )
    group = it.add_argument_group("settings")
    for layer in ("hidden", "output"):
        group.add_argument(
            f"--{layer}-activation", metavar="NAME", help="linear (default), sigmoid, tanh or relu"
        )
    group.add_argument(
        "--loss",
        metavar="NAME",
        help="mse (default: the mean, nn.MSELoss()), sum, or half_sum: half the sum",
    )
    group.add_argument("--lr", type=real, metavar="RATE", help="learning rate (default 0.05)")
    group.add_argument("--steps", type=whole, metavar="N", help="training steps (default 100)")
    group.add_argument(
        "--batch-size", type=whole, metavar="B", help="a step sees B samples in turn (default: all)"
    )
    group.add_argument("--dtype", metavar="TYPE", help="float64 (default) or float32")
    group.add_argument(
        "--seed", type=whole, metavar="N", help="of what is drawn at random (default 0)"
    )
    group = it.add_argument_group("the side by hand")
    group.add_argument(
        "--derivation",
        metavar="FILE.py",
        help="your own step: FILE.py or FILE.py:FUNCTION (default: step)",
    )
    group.add_argument(
        "--numbers",
        metavar="FILE",
        help="results by name: FILE.toml from paper or a book, or FILE.jsonl recorded by a program (-: standard input)",
    )
    group = it.add_argument_group("how hard to look")
    group.add_argument(
        "--battery",
        type=whole,
        metavar="N",
        help="N other problems decide too (default: 30 for a remark)",
    )
    group.add_argument(
        "--control",
        action="store_true",
        default=None,
        help="plant errors, and show that each is caught",
    )
    group.add_argument(
        "--referee",
        action="store_true",
        default=None,
        help="which side is nearer the truth, by exact arithmetic",
    )
    group = it.add_argument_group("verdict")
    group.add_argument(
        "--rtol",
        type=real,
        metavar="R",
        help="with --atol: allow atol + rtol * |value| in place of what rounding allows",
    )
    group.add_argument("--atol", type=real, metavar="A", help="see --rtol")
    group.add_argument(
        "--keep-going",
        action="store_true",
        default=None,
        help="do not stop at the first mismatching step",
    )
    group.add_argument(
        "--expect",
        metavar="MISTAKE",
        help="status 0 if exactly this is the first diagnosis, else 1",
    )
    group = it.add_argument_group("output")
    group.add_argument(
        "--show", metavar="1,10", help="steps to print in full, or all, or none (default 1)"
    )
    group.add_argument(
        "--json",
        metavar="FILE",
        help="write the result as one JSON document (-: standard output, nothing else)",
    )
    group.add_argument("--trace", metavar="FILE.jsonl", help="write a line of JSON a step")
    group.add_argument(
        "--html", metavar="FILE", help="write the run as a page to step through in a browser"
    )
    group.add_argument(
        "--plot", metavar="FILE.png", help="draw the run as one picture (png, svg or pdf)"
    )
    group.add_argument(
        "--code",
        action="store_true",
        default=None,
        help="show steps as both sources side by side, with their values",
    )
    group.add_argument("--quiet", action="store_true", default=None, help="print the verdict alone")
    return it


def main(arguments=None):
    """Run the command; returns its exit status."""
    given = join_negative_numbers(
        sys.argv[1:] if arguments is None else arguments, "--lr", "--rtol", "--atol"
    )
    options = {
        name: value for name, value in vars(parser().parse_args(given)).items() if value is not None
    }
    from lockstep.cli.output import complain

    if sys.stdout is None:
        complain("standard output is closed; expected it to be open")
        return 2
    with suppress(ValueError):  # not the main thread
        signal.signal(
            signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
        )  # nothing half written is left
    return status(lambda: _compare(options.pop("problem", None), options))


def _compare(path, options):
    from lockstep.errors import Unusable
    from lockstep.network.options import check
    from lockstep.network.problem import make_problem, read_file
    from lockstep.sides.chosen import side_by_hand

    values = read_file(path) if path is not None else {}
    values |= check(options, lambda key: f"--{key.replace('_', '-')}")
    if "expect" in values and not {"derivation", "numbers"} & values.keys():
        raise Unusable(
            f"--expect {values['expect']}: expected a derivation or numbers to be given too"
        )
    _distinct_files(path, values)
    step = side_by_hand(values)
    problem = make_problem(values)
    return _run(problem, values, step)


def _distinct_files(path, values):
    """No file is written twice, or read and written, and only one document goes to standard output."""
    from lockstep.errors import Unusable
    from lockstep.network.options import file_and_function

    read = [
        path,
        values.get("data"),
        values.get("numbers"),
        file_and_function(values.get("derivation", ""))[0],
    ]
    taken = {
        os.path.realpath(file): "another file than those that are read" for file in read if file
    }
    for key in ("json", "trace", "html", "plot"):
        if key not in values:
            continue
        where = os.path.realpath(values[key])
        if where in taken or (values[key] == "-" and key != "json"):
            raise Unusable(
                f"--{key} {values[key]}: expected {taken.get(where, 'the name of a file')}"
            )
        taken[where] = f"another file than that of --{key}"


def _run(problem, values, step):
    from contextlib import ExitStack

    from lockstep.cli.output import line_file, progress, whole_file
    from lockstep.network.problem import UNTOLD
    from lockstep.report.document import document, problem_line, step_line
    from lockstep.report.terminal import heading, summary_lines, verdict_lines

    quiet, to_stdout = values.get("quiet", False), values.get("json") == "-"
    printed, width = printer()
    in_full = _in_full(values, problem, width, step)
    with ExitStack() as files:
        json_file = (
            files.enter_context(whole_file(values["json"], "--json"))
            if "json" in values and not to_stdout
            else None
        )
        trace = (
            files.enter_context(line_file(values["trace"], "--trace"))
            if "trace" in values
            else None
        )
        if trace:
            trace(problem_line(problem))
        views = _views(values, problem, step, files)
        show_progress = files.enter_context(
            progress(None if problem.steps == UNTOLD else problem.steps, "steps")
        )

        interrupted = files.enter_context(interrupts())

        def on_step(record, result):
            if interrupted:
                raise KeyboardInterrupt
            if trace:
                trace(step_line(record))
            for album, _ in views:
                album.add(record, result)
            if result.is_shown(record.number) and not (quiet or to_stdout):
                printed(in_full(record, result))
            show_progress(record.number)

        from lockstep.api import run

        if not (quiet or to_stdout):
            printed(heading(problem, "yours" if step else "by hand"))
        result = run(problem, values, on_step, step)
        if json_file:
            json_file.write(document(result))
        for album, write in views:
            write(result, album)
    if to_stdout:
        sys.stdout.write(document(result))
    else:
        if (
            values.get("code")
            and result.decisive
            and not (quiet or result.is_shown(result.decisive.number))
        ):
            printed(in_full(result.decisive, result))
        printed(verdict_lines(result, width, quiet) if quiet else summary_lines(result, width))
    sys.stdout.flush()
    if result.broken:
        raise result.broken
    if result.interrupted:
        return 130
    if "expect" in values:
        return 0 if result.found[:1] and result.found[0].mistake == values["expect"] else 1
    return _STATUS[result.verdict]


def _in_full(values, problem, width, step):
    """A function of (record, result) that gives the lines of a step that is shown: its values, or with its sources."""
    if values.get("code"):
        from lockstep.report.code import code_lines

        return lambda record, result: code_lines(record, problem, width, step, result.side)
    from lockstep.report.step import step_lines

    return lambda record, result: step_lines(record, problem, width, result.side)


def _views(values, problem, step, files):
    """Pairs of an album for the run's steps and a function that writes the page or the picture made of it."""
    from lockstep.cli.output import whole_file

    views = []
    if "html" in values:
        from lockstep.report.page import page

        html = files.enter_context(whole_file(values["html"], "--html"))
        views.append(
            (
                page.new_album(problem),
                lambda result, album: html.write(page.page(result, album, step)),
            )
        )
    if "plot" in values:
        from lockstep.report.plots import figure

        kind = values["plot"].rpartition(".")[2].lower()
        picture = files.enter_context(whole_file(values["plot"], "--plot", binary=True))
        views.append(
            (
                figure.new_album(problem),
                lambda result, album: figure.save(picture, kind, result, album),
            )
        )
    return views


if __name__ == "__main__":
    sys.exit(main())
