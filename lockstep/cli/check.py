"""`lockstep check`: gradients that a program in any language computed, against PyTorch's."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Any

from lockstep.cli.main import (
    Parser,
    command,
    printer,
    refuse_shared_files,
    whole_file,
)
from lockstep.errors import Unusable, first_line_of, short
from lockstep.setup.options import OPTIONS, Kind, Option, check, file_kind

_FILES = {
    "reference": Option(
        "reference",
        "has a function `reference`, from torch tensors by name to a scalar, and `inputs`: "
        "a dict of arrays, or a function that returns one",
        file_kind("REFERENCE.py"),
    ),
    "gradients": Option(
        "gradients",
        "the gradients by the names of inputs: nested lists in .json, or in .jsonl, "
        "an object a line; arrays in .npz",
        file_kind("FILE", ".json", ".jsonl", ".npz"),
    ),
}
_GROUPS = {
    "how to check": (
        OPTIONS["rtol"],
        OPTIONS["atol"],
        Option("seed", "seed of the noise by which the bound is measured", OPTIONS["seed"].kind, 0),
        Option(
            "device",
            "where PyTorch computes, such as cuda",
            Kind("the name of a device", lambda value: value or None, "NAME"),
            otherwise="cpu",
        ),
        Option(
            "time_limit",
            "seconds that the search for the mistake may take",
            OPTIONS["time_limit"].kind,
            otherwise="10",
        ),
    ),
    "output": (OPTIONS["json"], OPTIONS["quiet"]),
}
_OPTIONS = _FILES | {option.name: option for group in _GROUPS.values() for option in group}
_STATUS = {"match": 0, "mismatch": 1, "undecided": 3}


def parser(name: str | None = None) -> Parser:
    """The options of the command; one that is not given is not in what it returns."""
    it = Parser(
        name,
        description="Check gradients that a program in any language computed against PyTorch's.",
        epilog="Exit status: 0 every gradient is right, 1 one is not, 2 unusable input, 3 nothing "
        "is known of a gradient, 130 interrupted, 143 terminated.",
    )
    code, file = _FILES.values()
    it.add_argument("reference", metavar=code.kind.metavar, help=code.help)
    it.add_argument(file.flag, metavar=file.kind.metavar, help=file.help, required=True)
    it.add_options(_GROUPS)
    return it


def _check(given: dict[str, Any], came: list[int]) -> int:
    from lockstep.setup.files import read_bytes

    values = check(given, lambda key: _OPTIONS[key].flag, _OPTIONS)
    path, file = values.pop("reference"), values.pop("gradients")
    to, quiet = values.pop("json", ""), values.pop("quiet", False)
    refuse_shared_files({"json": to} if to else {}, path, file)
    source = read_bytes(path, "Python")

    from lockstep.gradients.check import Options
    from lockstep.gradients.numbers import check_numbers, read_objects

    try:
        options = Options(**values)
    except ValueError as error:
        raise Unusable(f"--{error}") from None
    objects = read_objects(file)

    def judged() -> Any:
        reference, inputs = _loaded(source, path)
        return check_numbers(objects, file, reference, inputs, options)

    result = published(judged, path, file, to, quiet, came)
    return _STATUS[result.verdict]


main = command(parser, _check)


def published(
    judged: Callable[[], Any], path: str, file: str, to: str, quiet: bool, came: list[int]
) -> Any:
    """What code of the user's gives, after its document and its report are written.

    Args:
        judged: Runs the code, and gives a result that prints and has a document.
        path: The file that the code is in.
        file: What a message may be about.
        to: Where the document goes; empty where nowhere, "-" for standard output.
        quiet: Whether the first line of the report is enough.
        came: The signals that came.
    """
    from lockstep.report.document import line

    with ExitStack() as files:
        document = sys.stdout
        if to not in ("", "-"):
            document = files.enter_context(whole_file(to, "--json"))
        with _users_code(path, file):
            result = judged()
        if came:  # and the user's code went on
            raise KeyboardInterrupt
        if to:
            document.write(line(result.document()))
        if to != "-":
            printed, _ = printer()
            printed(str(result).splitlines()[: 1 if quiet else None])
        sys.stdout.flush()
    return result


def _loaded(source: bytes, path: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The reference and the inputs that a file defines."""
    from lockstep.sides.code import function_of, names_of, users_code

    names = names_of(source, path)
    reference = function_of(names, path, "reference")
    inputs = names.get("inputs")
    if callable(inputs):
        with users_code(path):
            inputs = inputs()
    if not isinstance(inputs, dict) or not inputs or not all(isinstance(n, str) for n in inputs):
        there = f"`inputs` is {short(inputs)}" if "inputs" in names else "has no `inputs`"
        raise Unusable(
            f"{path}: {there}. Expected a dict of arrays by name, such as "
            '`inputs = {"x": np.ones(3)}`, or a function that returns one'
        )
    return reference, inputs


@contextmanager
def _users_code(path: str, file: str) -> Iterator[None]:
    """Run code of the user's: what it prints goes to standard error, and it cannot end the process.

    An end that looks like a match is none.

    Args:
        path: The file that it is in.
        file: The gradients, which a message may be about.

    Raises:
        Unusable: For whatever cannot be used.
    """
    from lockstep.gradients.check import WrongAnswer
    from lockstep.sides.code import raised

    process, end = os.getpid(), os._exit

    def exits(status: int) -> None:
        if os.getpid() != process:  # a process that the user's code forked
            end(status)
        raise SystemExit(f"os._exit({status!r})")

    os._exit = exits  # type: ignore[assignment]
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Unusable:
        raise
    except WrongAnswer as error:
        raise Unusable(f"{file}: gives {error.says}") from None
    except (ValueError, TypeError) as error:
        raise Unusable(f"{path}: {first_line_of(error)}") from None
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # an end of the process, or what test runners raise
        raise Unusable(raised(error, path)) from None
    finally:
        os._exit = end
