"""The command of scripts/exercise.py: write the exercise, check it, give hints."""

import os
import select
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from lockstep.cli.main import Parser, printer, status
from lockstep.errors import Unusable

_POLL = 0.2  # seconds between two looks at the file


def parser():
    it = Parser(
        description="Derive back-propagation yourself: a file of formulas to fill in, checked when it is there.",
        allow_abbrev=False,
    )
    it.add_argument("file", metavar="my_net.py")
    it.add_argument(
        "--matrix",
        action="store_true",
        help="the exercise in matrices instead of the lecture's scalars",
    )
    it.add_argument(
        "--mistake", metavar="NAME", help="a finished file with this mistake in it, to be found"
    )
    it.add_argument(
        "--watch",
        action="store_true",
        help="check at each save; h: a further hint, v: the value, q: quit",
    )
    return it


def main(arguments=None):
    """Run the command; returns its exit status: 0 where everything is derived (or written), 1 where not yet, 2."""
    options = parser().parse_args(arguments)
    return status(lambda: _practise(options))


def _practise(options):
    if not os.path.exists(options.file):
        return _write(options)
    if options.mistake is not None:
        raise Unusable(
            f"--mistake {options.mistake}: {options.file} is there already; expected a name not taken yet"
        )
    return _watch(options.file) if options.watch else _check(options.file)


def _write(options):
    from lockstep.cli.output import whole_file
    from lockstep.learn.exercise import plantable
    from lockstep.learn.template import template

    planted = None
    if options.mistake is not None:
        planted = plantable().get(options.mistake)
        if planted is None:
            raise Unusable(f"--mistake {options.mistake}: expected one of {', '.join(plantable())}")
    with whole_file(options.file, "file") as file:
        file.write(template(options.matrix or planted is not None, planted))
    printed, _ = printer()
    what = "A finished step with one mistake" if planted else "An exercise"
    printed(
        [
            f"{what} is in {options.file}. {'Find it' if planted else 'Fill in a formula'}, then run this again."
        ]
    )
    if options.watch:
        return _watch(options.file)
    return 0


def _check(path):
    from lockstep.learn.exercise import check_file

    verdicts = check_file(path)
    printed, _ = printer()
    printed(lines(path, verdicts))
    return 0 if all(verdict.done for verdict in verdicts.values()) else 1


def lines(path, verdicts):
    """What a check prints: how many are right, the first that is not, what is wrong with it, what comes next."""
    from lockstep.learn.exercise import COMMAND, MATRIX_EXAMPLES, SCALAR_EXAMPLES

    matrix = "delta_h" in verdicts
    done = [verdict for verdict in verdicts.values() if verdict.done]
    if len(done) == len(verdicts):
        examples = ", ".join(MATRIX_EXAMPLES if matrix else SCALAR_EXAMPLES)
        yield f"ALL {len(verdicts)} FORMULAS ARE RIGHT. You have derived back-propagation."
        yield f"Each agrees with PyTorch to rounding on {examples}."
        yield "See it train, step by step, next to PyTorch:"
        network = "--sizes 3-4-2 --samples 5" if matrix else "--seed 1"
        yield f"  python scripts/compare.py {network} {COMMAND} --derivation {path}"
        return
    wrong_ones = sum(verdict.filled and not verdict.done for verdict in verdicts.values())
    yield f"{len(done)} of {len(verdicts)} formulas are right" + (
        f", {wrong_ones} not yet." if wrong_ones else "."
    )
    wrong = next(
        (verdict for verdict in verdicts.values() if verdict.filled and not verdict.done), None
    )
    if wrong is not None:
        yield from _about(wrong, verdicts)
    following = next((verdict for verdict in verdicts.values() if not verdict.filled), None)
    if following is not None:
        yield f"{'next to fill in' if wrong else 'next'}: {_at(following)}: {_hint(following, matrix, 0)}"


def _at(verdict):
    return f"{verdict.name} (line {verdict.line})" if verdict.line else verdict.name


def _about(wrong, verdicts):
    if wrong.error is not None:
        yield f"not yet: {_at(wrong)}: {wrong.error}"
        return
    where = f"agrees on {', '.join(wrong.agrees)}; " if wrong.agrees else ""
    yield f"not yet: {_at(wrong)}: {where}differs on {', '.join(wrong.differs)}"
    if wrong.agrees == ("one sample",):
        yield "  something depends on the number of samples"
    if wrong.says:
        yield f"  {wrong.says}"
    yield f"  look at: {_hint(wrong, 'delta_h' in verdicts, 0)}"


def _hint(verdict, matrix, level):
    from lockstep.learn.template import hints

    return hints(verdict.name, matrix)[level]


def _watch(path):
    """Check at each save; keys give hints. Ends when everything is derived, or with q."""
    from lockstep.learn.exercise import check_file
    from lockstep.learn.template import hints

    printed, _ = printer()
    seen, level, current = None, 0, None
    with _keys() as key:
        while True:
            stamp = os.stat(path).st_mtime_ns if Path(path).exists() else None
            if stamp is not None and stamp != seen:
                seen = stamp
                try:
                    verdicts = check_file(path)
                except Unusable as reason:
                    printed([str(reason)])
                else:
                    printed(["", *lines(path, verdicts)])
                    first = next(
                        (verdict for verdict in verdicts.values() if not verdict.done), None
                    )
                    if first is None:
                        return 0
                    level = level if current is not None and first.name == current.name else 0
                    current = first
                    printed(["[h] a further hint  [v] PyTorch's value  [q] quit"])
            pressed = key()
            if pressed == "q":
                return 1
            if current is not None and pressed == "h":
                ladder = hints(current.name, "delta_h" in verdicts)
                level = min(level + 1, len(ladder) - 1)
                printed([f"hint {level} of {len(ladder) - 1}: {ladder[level]}"])
            if current is not None and pressed == "v":
                value = (
                    "fill it in first, so that there is something to compare"
                    if current.torch is None
                    else current.torch
                )
                printed([f"{current.name}: PyTorch {value}, yours {current.yours}"])


@contextmanager
def _keys():
    """A function that waits a moment and gives the key pressed meanwhile, if any."""
    if not sys.stdin.isatty():
        yield lambda: time.sleep(_POLL)
    else:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin)
            yield (
                lambda: sys.stdin.read(1) if select.select([sys.stdin], [], [], _POLL)[0] else None
            )
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
