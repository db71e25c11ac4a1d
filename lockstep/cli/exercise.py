"""`lockstep exercise`: write the exercise, check it, give hints."""

import os
import select
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from lockstep.cli.main import Parser, Printed, printer, real, status, whole_file
from lockstep.errors import Unusable
from lockstep.network.options import MISTAKE_NAMES, OPTIONS, check

if TYPE_CHECKING:
    from lockstep.learn.exercise import Checked, Verdict
    from lockstep.learn.template import Exercise

_Verdicts: TypeAlias = "Mapping[str, Verdict]"
_NETWORK = (
    replace(OPTIONS["sizes"], name="network", otherwise="2-2-2, the lecture's"),
    replace(OPTIONS["activations"], otherwise="sigmoid, or the one that belongs to the loss"),
    replace(OPTIONS["loss"], default="half_sum"),
    *(OPTIONS[name] for name in ("optimizer", "momentum", "nesterov", "beta1", "beta2", "alpha")),
    *(OPTIONS[name] for name in ("eps", "weight_decay", "l1", "l2", "no_biases")),
)
_POLL = 0.2  # seconds between two looks at the file
_KEYS = "[h] a further hint  [v] PyTorch's value  [q] quit"
_NO_KEYS = "Save the file to check it again; Ctrl-C quits. Keys cannot be read here."


def parser(name: str | None = None) -> Parser:
    """The options of the command."""
    it = Parser(
        name,
        description="Derive back-propagation yourself: a file of formulas to fill in. "
        "Once it is there, each formula is checked against PyTorch.",
    )
    it.add_argument("file", metavar="my_net.py", help="the file, written where it is not there")
    about = "write the exercise in matrices instead of the lecture's scalars"
    it.add_argument("--matrix", action="store_true", help=about)
    about = "write a finished file with this mistake in it, for you to find"
    it.add_argument("--mistake", metavar="NAME", help=about)
    about = "check at each save; h: a further hint, v: the value, q: quit"
    it.add_argument("--watch", action="store_true", help=about)
    limit = OPTIONS["time_limit"]
    about = "seconds for each statement of the file (default: none)"
    it.add_argument(limit.flag, metavar=limit.kind.metavar, type=real, help=about, default=0)
    it.add_options({"another network than the lecture's, in matrices": _NETWORK})
    return it


def main(arguments: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those of the command line; by default the program's own.
        name: What messages call the command; by default as it was started.

    Returns:
        The exit status: 0 where every formula is right, or none is there yet; 1 where not yet;
        2 for input that cannot be used.
    """
    options = parser(name).parse_args(arguments)
    compare = "lockstep compare" if name else "python scripts/compare.py"
    return status(lambda _: _practise(options, compare), name)


def _practise(options: Namespace, compare: str) -> int:
    printed, _ = printer()
    if options.time_limit:
        check({"time_limit": options.time_limit}, lambda key: OPTIONS[key].flag)
    written = not os.path.exists(options.file)
    asked = _asked(options)
    if written:
        printed([_write(options, asked)])
    else:
        _demand_the_same(options, asked)
    if options.watch:
        return _watch(options.file, options.time_limit, compare, printed)
    if written:
        return 0
    _, verdicts = _check(options.file, options.time_limit, compare, printed)
    begun = any(verdict.filled for verdict in verdicts.values())
    return int(begun and _current(verdicts) is not None)


def _asked(options: Namespace) -> "Exercise | None":
    """What the options ask for; None where they ask for nothing."""
    flags = {option.name: option for option in _NETWORK}
    given = {name: value for name, value in vars(options).items() if name in flags}
    if not given:
        return None
    from lockstep.learn.exercise import network_of
    from lockstep.learn.template import LECTURES, Exercise

    values = check(given, lambda key: flags[key].flag, flags)
    if "network" in values:
        values["sizes"] = values.pop("network")
    network = network_of(values)
    return Exercise(network, options.matrix or network != LECTURES)


def _demand_the_same(options: Namespace, asked: "Exercise | None") -> None:
    """Raise Unusable where a file is there already, and it is not what is asked for."""
    from lockstep.learn.exercise import exercise_of
    from lockstep.network.files import read_text

    taken = f"{options.file} is there already"
    if options.mistake is not None:
        raise Unusable(f"--mistake {options.mistake}: {taken}; expected a name not taken yet")
    if asked is not None:
        there = exercise_of(read_text(options.file, "Python"), options.file)
        if there.network != asked.network:
            raise Unusable(
                f"{taken}, for {_words(there)}, and the options say {_words(asked)}; expected the "
                "same options, or none, or a name not taken yet"
            )


def _words(it: "Exercise") -> str:
    """A network in a few words."""
    network = it.network
    sizes, sigmas = "-".join(map(str, network.sizes)), ",".join(network.activations)
    return " ".join((sizes, sigmas, network.loss, network.optimizer))


def _write(options: Namespace, asked: "Exercise | None") -> str:
    """Write the file; the sentence that says what it is."""
    from lockstep.learn.exercise import plantable, planted
    from lockstep.learn.template import Exercise, template

    it = asked or Exercise(matrix=options.matrix)
    what, task, wrong = "An exercise", "Fill in a formula", None
    if options.mistake is not None:
        what, task, it = "A finished step with one mistake", "Find it", replace(it, matrix=True)
        wrong = planted(options.mistake, it.network)
        if wrong is None:
            names, known = ", ".join(plantable(it.network)), options.mistake in MISTAKE_NAMES
            why = "no formula of this network can have it alone; " if known else ""
            raise Unusable(f"--mistake {options.mistake}: {why}expected one of {names}")
    with whole_file(options.file, "file") as file:
        file.write(template(it, wrong))
    return f"{what} is in {options.file}. {task}, then run this again."


def _check(path: str, seconds: float, compare: str, printed: Printed) -> "Checked":
    """Check the file and print what is right and what is not."""
    from lockstep.learn.exercise import check_file

    checked = check_file(path, seconds)
    printed(lines(path, checked, compare))
    return checked


def _current(verdicts: _Verdicts) -> "Verdict | None":
    """The first formula that is not right yet."""
    return next((verdict for verdict in verdicts.values() if not verdict.done), None)


def _watch(path: str, seconds: float, compare: str, printed: Printed) -> int:
    """Check at each save; keys give hints. Ends when everything is right, or with q."""
    from lockstep.learn.template import hints

    seen = pressed = None
    current: Verdict | None = None
    checked: Checked | None = None
    hint = 0  # which was given last for the current formula
    with _keys() as (key, help):
        while pressed != "q":
            stamp = os.stat(path).st_mtime_ns if os.path.exists(path) else seen
            if stamp != seen:
                seen = stamp
                try:
                    checked = _check(path, seconds, compare, printed)
                    before, current = current, _current(checked.verdicts)
                    if current is None:
                        return 0
                    hint = hint if before and before.name == current.name else 0
                    printed([help, ""])
                except Unusable as reason:  # no Python at the moment
                    printed([str(reason)])
            pressed = key()
            if checked and current and pressed == "v":
                unknown = "fill it in first, so that there is something to compare"
                value = unknown if current.torch is None else current.torch
                printed([f"{current.name}: PyTorch {value}, yours {current.yours}"])
            elif checked and current and pressed == "h":
                ladder = hints(current.name, checked.exercise)
                hint = min(hint + 1, len(ladder) - 1)
                printed([f"hint {hint} of {len(ladder) - 1}: {ladder[hint]}"])
    return 1


def lines(path: str, checked: "Checked", compare: str) -> Iterator[str]:
    """What a check prints: what is right, the first formula that is not, and what comes next.

    Args:
        path: The file.
        checked: What became of each formula.
        compare: The command that trains with the file.
    """
    from lockstep.learn.exercise import COMMAND, MATRIX_EXAMPLES, SCALAR_EXAMPLES
    from lockstep.learn.template import hints

    it, verdicts = checked
    total = len(verdicts)
    done = sum(verdict.done for verdict in verdicts.values())
    if done == total:
        examples = ", ".join(MATRIX_EXAMPLES if it.matrix else SCALAR_EXAMPLES)
        network = ("--sizes 3-4-2 --samples 5 " if it.matrix else "--seed 1 ") + f"{COMMAND} "
        yield f"ALL {total} FORMULAS ARE RIGHT. You have derived back-propagation."
        yield f"Each agrees with PyTorch to rounding on {examples}."
        yield "See it train, step by step, next to PyTorch:"
        yield f"  {compare} {network if it.is_the_lectures else ''}--derivation {path}"
        return
    wrong = [verdict for verdict in verdicts.values() if verdict.filled and not verdict.done]
    empty = [verdict for verdict in verdicts.values() if not verdict.filled]
    others = f", {len(wrong)} not yet" if wrong else ""
    yield f"{done} of {total} formulas are right{others}."
    for verdict in wrong[:1]:
        yield from _about(verdict, hints(verdict.name, it)[0])
    for verdict in empty[:1]:
        following = "next to fill in" if wrong else "next"
        yield f"{following}: {_at(verdict)}: {hints(verdict.name, it)[0]}"


def _about(wrong: "Verdict", hint: str) -> Iterator[str]:
    """What is wrong with a formula."""
    if wrong.error is not None:
        yield f"not yet: {_at(wrong)}: {wrong.error}"
        return
    agrees = f"agrees on {', '.join(wrong.agrees)}; " if wrong.agrees else ""
    yield f"not yet: {_at(wrong)}: {agrees}differs on {', '.join(wrong.differs)}"
    if wrong.agrees == ("one sample",):
        yield "  something depends on the number of samples"
    if wrong.says:
        yield f"  {wrong.says}"
    yield f"  look at: {hint}"


def _at(verdict: "Verdict") -> str:
    return f"{verdict.name} (line {verdict.line})" if verdict.line else verdict.name


@contextmanager
def _keys() -> "Iterator[tuple[Callable[[], str | None], str]]":
    """A function that waits a moment for a key, and what to tell the user about keys.

    It returns the key that was pressed meanwhile, if any: never one where standard input is no
    terminal, or the system (Windows) has no termios.
    """
    try:
        import termios
        import tty
    except ImportError:
        readable = False
    else:
        readable = sys.stdin.isatty()
    if not readable:
        yield lambda: time.sleep(_POLL), _NO_KEYS
        return

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield (
            lambda: sys.stdin.read(1) if select.select([sys.stdin], [], [], _POLL)[0] else None,
            _KEYS,
        )
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
