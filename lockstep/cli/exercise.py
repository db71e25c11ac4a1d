"""`lockstep exercise`: write the exercise, check it, give hints."""

import os
import queue
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, TYPE_CHECKING

from lockstep.cli.main import Parser, Printed, printer, status, whole_file
from lockstep.errors import Unusable
from lockstep.setup.options import OPTIONS, check

if TYPE_CHECKING:
    from lockstep.learn.exercise import Checked, Verdict
    from lockstep.learn.template import Exercise

_NETWORK = (
    replace(OPTIONS["sizes"], name="network", otherwise="2-2-2, the lecture's"),
    replace(OPTIONS["activations"], otherwise="sigmoid, or the one that belongs to the loss"),
    replace(OPTIONS["loss"], default="half_sum"),
    *(OPTIONS[name] for name in ("optimizer", "momentum", "nesterov", "beta1", "beta2", "alpha")),
    *(OPTIONS[name] for name in ("eps", "weight_decay", "l1", "l2", "no_biases")),
)
_OWN = {
    option.name: option
    for option in (
        replace(OPTIONS["seed"], help="seed of --mistake random", default=None, otherwise="chance"),
        replace(OPTIONS["time_limit"], help="seconds for each statement of the file"),
        replace(
            OPTIONS["seed"],
            name="hints",
            help="how many hints --watch gives",
            default=None,
            otherwise="all",
        ),
    )
}
_POLL = 0.2  # seconds between two looks at the file
_KEYS = "[h] a further hint  [v] PyTorch's value  [q] quit"


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
    about += "; random: with one that is drawn, and not named before you ask for it"
    it.add_argument("--mistake", metavar="NAME", help=about)
    it.add_argument("--solve", action="store_true", help="name the mistake that was drawn")
    about = "check at each save; h: a further hint, v: the value, q: quit"
    it.add_argument("--watch", action="store_true", help=about)
    it.add_options({"settings": _OWN.values(), "another network": _NETWORK})
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
    given = {name: value for name, value in vars(options).items() if name in _OWN}
    own = check(given, lambda key: _OWN[key].flag, _OWN)
    if "hints" in own and not options.watch:
        raise Unusable("--hints: expected --watch, which gives them, to be given too")
    if "seed" in own and options.mistake != "random":
        raise Unusable("--seed: expected --mistake random, which draws, to be given too")
    if os.path.isdir(options.file):
        raise Unusable(f"{options.file}: cannot be read: it is a folder; expected a file")
    written = not os.path.exists(options.file)
    asked = _asked(options)
    if written:
        printed([_write(options, asked, own.get("seed"))])
    else:
        _demand_the_same(options, asked)

    def look() -> "Checked":
        from lockstep.learn.exercise import check_file

        checked = check_file(options.file, own.get("time_limit", 0))
        printed(lines(options.file, checked, compare, options.solve))
        return checked

    if options.watch:
        return _watch(options.file, look, _Asked(own.get("hints")), printed)
    if written:
        return 0
    checked = look()
    begun = any(checked.verdicts[name].filled for name in checked.exercise.asked)
    return int(begun and _current(checked) is not None)


def _asked(options: Namespace) -> "Exercise | None":
    """What the options ask for; None where they ask for nothing."""
    flags = {option.name: option for option in _NETWORK}
    given = {name: value for name, value in vars(options).items() if name in flags}
    if not (given or options.matrix):
        return None
    from lockstep.learn.exercise import network_of
    from lockstep.learn.template import Exercise, has_scalars

    values = check(given, lambda key: flags[key].flag, flags)
    if "network" in values:
        values["sizes"] = values.pop("network")
    network = network_of(values)
    return Exercise(network, options.matrix or not has_scalars(network))


def _demand_the_same(options: Namespace, asked: "Exercise | None") -> None:
    """Raise Unusable where a file is there already, and it is not what is asked for."""
    from lockstep.learn.exercise import exercise_of
    from lockstep.setup.files import read_text

    taken = f"{options.file} is there already"
    if options.mistake is not None:
        raise Unusable(f"--mistake {options.mistake}: {taken}; expected a name not taken yet")
    if asked is not None:
        there = exercise_of(read_text(options.file, "Python"), options.file)
        if (there.network, there.matrix) != (asked.network, asked.matrix):
            raise Unusable(
                f"{taken}, for {_words(there)}, and the options say {_words(asked)}; expected the "
                "same options, or none, or a name not taken yet"
            )


def _words(it: "Exercise") -> str:
    """What is to be derived in a few words."""
    network = it.network
    sizes, sigmas = "-".join(map(str, network.sizes)), ",".join(network.activations)
    form = "in matrices" if it.matrix else "in scalars"
    return " ".join((sizes, sigmas, network.loss, network.optimizer, form))


def _write(options: Namespace, asked: "Exercise | None", seed: int | None) -> str:
    """Write the file; the sentence that says what it is."""
    from lockstep.learn.template import Exercise, template

    it = asked or Exercise(matrix=False)
    if options.mistake is None:
        what, task, text = "An exercise", "Fill in a formula", template(it)
    else:
        from lockstep.learn.mistakes import RANDOM, drawn, planted

        what, task, it = "A finished step with one mistake", "Find it", replace(it, split=False)
        hidden = options.mistake == RANDOM
        it, wrong = (it, drawn(it, seed)) if hidden else planted(options.mistake, it)
        text = template(it, wrong, hidden)
    with whole_file(options.file, "file") as file:
        file.write(text)
    return f"{what} is in {options.file}. {task}, then run this again."


def _current(checked: "Checked") -> "Verdict | None":
    """The first formula that is not right yet."""
    return next((verdict for verdict in checked.verdicts.values() if not verdict.done), None)


@dataclass
class _Asked:
    """What was asked for at the keyboard.

    Attributes:
        most: How many hints there are; None where there is no limit.
        hints: How many were given, by formula.
    """

    most: int | None
    hints: dict[str, int] = field(default_factory=dict)

    def said(self) -> str:
        """How many hints were given, in words."""
        used = sum(self.hints.values())
        if self.most is not None:
            return f"{used} of {self.most} hints used"
        return f"{used} hint{'' if used == 1 else 's'} used"

    def hint(self, checked: "Checked", current: "Verdict") -> str:
        """The next hint for a formula; the last one again where there is no further one."""
        from lockstep.learn.template import hints

        ladder = hints(current.name, checked.exercise)
        if checked.hidden and current.says:
            ladder.insert(2, current.says)  # before the formula's shape
        last, n = len(ladder) - 1, self.hints.get(current.name, 0)
        if n < last and self.most is not None and sum(self.hints.values()) >= self.most:
            return f"no hint is left: {self.said()}"
        self.hints[current.name] = n = min(n + 1, last)
        return f"hint {n} of {last}: {ladder[n]}"


def _watch(path: str, look: "Callable[[], Checked]", asked: _Asked, printed: Printed) -> int:
    """Check at each save; keys give hints. Ends when everything is right, with q, or without keys.

    Args:
        path: The file.
        look: Checks it and prints what is right.
        asked: The hints.
        printed: Prints lines.
    """
    seen = None
    checked: Checked | None = None
    current: Verdict | None = None
    with _keys() as (key, help):
        pressed = ""
        try:
            while pressed != "q":
                stamp = os.stat(path).st_mtime_ns if os.path.exists(path) else seen
                if stamp != seen:
                    seen = stamp
                    try:
                        checked = look()
                        current = _current(checked)
                        if current is None:
                            return 0
                        printed([help, ""])
                    except Unusable as reason:  # no Python at the moment
                        printed([str(reason)])
                pressed = key()
                if checked and current and pressed == "v":
                    both = f"PyTorch {current.torch}, yours {current.yours}"
                    unknown = "fill it in first, so that there is something to compare"
                    printed([f"{current.name}: {unknown if current.torch is None else both}"])
                elif checked and current and pressed == "h":
                    printed([asked.hint(checked, current)])
            return 1
        finally:
            if checked:
                printed([f"{_count(checked)} right, {asked.said()}."])


def _count(checked: "Checked") -> str:
    """How many formulas are right: 14 of 31."""
    counted = checked.counted
    return f"{sum(verdict.done for verdict in counted)} of {len(counted)}"


def lines(path: str, checked: "Checked", compare: str, solve: bool = False) -> Iterator[str]:
    """What a check prints: what is right, the first formula that is not, and what comes next.

    Args:
        path: The file.
        checked: What became of each formula.
        compare: The command that trains with the file.
        solve: Whether a mistake is named that is hidden in the file.
    """
    from lockstep.learn.exercise import COMMAND, MATRIX_EXAMPLES, SCALAR_EXAMPLES
    from lockstep.learn.template import hints

    it, counted = checked.exercise, checked.counted
    if _current(checked) is None:
        examples = ", ".join(MATRIX_EXAMPLES if it.matrix else SCALAR_EXAMPLES)
        network = ("--sizes 3-4-2 --samples 5 " if it.matrix else "--seed 1 ") + f"{COMMAND} "
        yield f"ALL {len(counted)} FORMULAS ARE RIGHT. You have derived back-propagation."
        yield f"Each agrees with PyTorch to rounding on {examples}."
        yield "See it train, step by step, next to PyTorch:"
        yield f"  {compare} {network if it.is_the_lectures else ''}--derivation {path}"
        return
    wrong = [verdict for verdict in counted if verdict.filled and not verdict.done]
    empty = [verdict for verdict in counted if not verdict.filled]
    others = f", {len(wrong)} not yet" if wrong else ""
    yield f"{_count(checked)} formulas are right{others}."
    for verdict in wrong[:1]:
        hidden = checked.hidden and not solve
        yield from _about(verdict, hints(verdict.name, it)[0], hidden)
    for verdict in empty[:1]:
        following = "next to fill in" if wrong else "next"
        yield f"{following}: {_at(verdict)}: {hints(verdict.name, it)[0]}"


def _about(wrong: "Verdict", hint: str, hidden: bool) -> Iterator[str]:
    """What is wrong with a formula."""
    if wrong.error is not None:
        yield f"not yet: {_at(wrong)}: {wrong.error}"
        return
    agrees = f"agrees on {', '.join(wrong.agrees)}; " if wrong.agrees else ""
    yield f"not yet: {_at(wrong)}: {agrees}differs on {', '.join(wrong.differs)}"
    if wrong.agrees == ("one sample",):
        yield "  something depends on the number of samples"
    if wrong.says:
        yield (
            "  to have the mistake named: --solve, or h in --watch" if hidden else f"  {wrong.says}"
        )
    yield f"  look at: {hint}"


def _at(verdict: "Verdict") -> str:
    return f"{verdict.name} (line {verdict.line})" if verdict.line else verdict.name


@contextmanager
def _keys() -> "Iterator[tuple[Callable[[], str], str]]":
    """A function that waits a moment for a key, and what to tell the user about keys.

    It returns the key that was pressed meanwhile, if any, and q at the end of the input. Where
    standard input is no terminal, or the system (Windows) has no termios, a key is a line.
    """
    try:
        import termios
        import tty
    except ImportError:
        by_line = True
    else:
        by_line = sys.stdin is None or not sys.stdin.isatty()
    keys = queue.SimpleQueue[str]()

    def pressed() -> str:
        with suppress(queue.Empty):
            return keys.get(timeout=_POLL)
        return ""

    reader = threading.Thread(target=_read, args=(sys.stdin, by_line, keys), daemon=True)
    if by_line:
        reader.start()
        yield pressed, f"A letter and Enter: {_KEYS}"
        return

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        reader.start()
        yield pressed, _KEYS
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _read(stdin: "IO[str]", by_line: bool, keys: "queue.SimpleQueue[str]") -> None:
    """Put each key into the queue, and q at the end of the input.

    It reads past Python's own buffer, whose lock a process cannot end with while it is held.
    """
    with (
        suppress(OSError, AttributeError),  # it is closed, it has hung up
        open(stdin.fileno(), "rb", buffering=0, closefd=False) as typed,
    ):
        read = typed.readline if by_line else partial(typed.read, 1)
        while (key := read()) not in (b"", b"\x04"):  # which Ctrl-D is where keys come one by one
            keys.put(key.decode(errors="replace").strip()[:1].lower())
    keys.put("q")
