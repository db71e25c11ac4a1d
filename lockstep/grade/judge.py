"""One hand-in judged, in a process of its own: what it returns is plain data."""

from __future__ import annotations

import ast
import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.api import run
from lockstep.errors import Unusable
from lockstep.evidence.comparison import Comparison
from lockstep.grade.hand_ins import ENDINGS, HandIn, key_of
from lockstep.grade.points import Item, awarded, demanded, is_missing, items
from lockstep.look.look import look
from lockstep.look.program import SMALLER
from lockstep.look.source import Program
from lockstep.network.names import Array
from lockstep.network.network import WITH_ACTIVATION, Network
from lockstep.network.problem import Problem
from lockstep.report.remarks import wrong_elsewhere
from lockstep.report.terminal import verdict_lines
from lockstep.run.threads import threads
from lockstep.setup.files import read_bytes
from lockstep.setup.problem import make_problem
from lockstep.sides.chosen import side_by_hand
from lockstep.sides.code import may_define
from lockstep.sides.limits import Budget, Limits
from lockstep.sides.side import Side

_CONVENTIONS = {"layout", "names"}  # what a hand-in may say of itself
_BESIDE = 64 * 2**20  # bytes of the files beside a hand-in that are copied with it
_WRITTEN = 256  # MiB of a file that a hand-in writes
_WIDTH = 80
_DIGITS = 2  # of the numbers that are drawn for a student


@dataclass(frozen=True)
class Task:
    """How hand-ins are judged.

    Attributes:
        values: Checked options of the problem.
        points: By quantity or group; None for one each of what is required.
        require: What must be returned; None for gradients and new parameters.
        is_given: Whether computed quantities may be asked for.
        forbidden: Packages that may not be imported.
        expect: The mistake that is to be found first; empty where it is none.
        seconds: How long a hand-in may run.
        memory: That it may use, in MiB.
        per_student: Whether each has numbers of its own.
        has_page: Whether a page of each is made.
    """

    values: dict[str, Any]
    points: dict[str, float] | None = None
    require: tuple[str, ...] | None = None
    is_given: bool = True
    forbidden: tuple[str, ...] = ()
    expect: str = ""
    seconds: float = 30.0
    memory: int = 4096
    per_student: bool = False
    has_page: bool = False


@dataclass(frozen=True)
class Grade:
    """What was found of a hand-in.

    Attributes:
        name: What it is called.
        file: Its path.
        verdict: match, mismatch, undecided, or failed where it could not be judged.
        points: That it gets.
        of: That it could get.
        first: The first value that differs; empty where none does.
        mistakes: The names of its mistakes.
        seconds: That judging it took.
        remark: What else there is to say; of one that failed why.
        items: The points one by one.
        diagnoses: The mistakes, as in the JSON document of a run.
        report: The verdict in words.
        page: The run as a page; empty where none was asked for.
    """

    name: str
    file: str
    verdict: str
    points: float
    of: float
    first: str = ""
    mistakes: tuple[str, ...] = ()
    seconds: float = 0.0
    remark: str = ""
    items: list[Item] = field(default_factory=list)
    diagnoses: list[dict[str, Any]] = field(default_factory=list)
    report: str = ""
    page: str = ""

    def document(self) -> dict[str, Any]:
        """It as plain data, without the page."""
        return {key: value for key, value in asdict(self).items() if key != "page"}


def judged(hand_in: HandIn, task: Task) -> Grade:
    """Judge a hand-in in the current folder, which is empty.

    Args:
        hand_in: The file.
        task: How it is judged.
    """
    began = time.monotonic()
    try:
        _copy_beside(Path(hand_in.path), Path.cwd())
        with threads(1), np.errstate(all="ignore"):
            found = _judged(hand_in, task)
    except Unusable as reason:
        found = failed(hand_in, task, str(reason).replace(f"; {SMALLER}", ""))
    return replace(found, seconds=round(time.monotonic() - began, 2))


def failed(hand_in: HandIn, task: Task, why: str) -> Grade:
    """The grade of a hand-in that could not be judged."""
    table = task.points
    if table is None:
        table = dict.fromkeys(demanded(task.require, make_problem(task.values).network), 1.0)
    none = [Item(name, of) for name, of in table.items()]
    of = round(sum(table.values()), 2)
    return Grade(hand_in.name, hand_in.path, "failed", 0.0, of, remark=why, items=none, report=why)


def _judged(hand_in: HandIn, task: Task) -> Grade:
    if hand_in.student == "":
        raise Unusable("no name of the roster is in its path; rename it, or add the name")
    own = Path(hand_in.path).name
    source = read_bytes(own, "Python")
    program = Program(own, source)
    _refuse_forbidden(program, task.forbidden)
    seed = _number(task.values.get("seed", 0), hand_in.name)
    limits = Limits(
        budget=Budget(task.seconds),
        memory=task.memory,
        written=_WRITTEN,
        forbidden=task.forbidden,
        is_offline=True,
        seed=seed,
    )
    text = "\n".join(program.lines).encode()
    if may_define(text, "step"):
        return _by_step(hand_in, task, own, text, limits)
    return _by_look(hand_in, task, own, source, limits)


def _by_step(hand_in: HandIn, task: Task, own: str, text: bytes, limits: Limits) -> Grade:
    """Judge the step function of a file."""
    file = f"{Path(own).stem}.py"
    Path(file).write_bytes(text)  # of a notebook the code
    values = task.values | {"derivation": file}
    side = side_by_hand(values, limits=limits)
    with closing(side):
        remarks = list(_own_problem(values, task))
        problem = (
            student_problem(values, hand_in.student or hand_in.name)
            if task.per_student
            else make_problem(values)
        )
        side.prepare(problem)
        if not task.is_given:
            _refuse_asking(side, problem, file)
        return _graded(hand_in, task, problem, values, side, remarks)


def _own_problem(values: dict[str, Any], task: Task) -> Iterator[str]:
    """Take out what a hand-in says of the problem, where that is given; a remark on it."""
    own = values.keys() - task.values.keys() - _CONVENTIONS - {"derivation"}
    if own and task.values:
        for key in own:
            del values[key]
        yield f"its PROBLEM says {', '.join(sorted(own))}, which was left aside"


def _by_look(hand_in: HandIn, task: Task, own: str, source: bytes, limits: Limits) -> Grade:
    """Judge a program as it is."""
    side = look(own, source, {}, {"steps": 2}, limits)
    problem = side.problem
    remarks = list(_of_another_network(problem.network, task))
    if task.per_student:
        remarks.append("its numbers are its own, and not those that were drawn for its name")
    return _graded(hand_in, task, problem, {}, side, remarks)


def _of_another_network(own: Network, task: Task) -> Iterator[str]:
    """A remark where a program trains another network than the problem's."""
    if not task.values:
        return
    asked = make_problem(task.values).network
    for what in ("sizes", "activations", "loss"):
        mine, theirs = getattr(own, what), getattr(asked, what)
        if mine != theirs:
            yield f"{what}: {_words(mine)}, and {_words(theirs)} in the problem"


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "-".join(map(str, value)) if isinstance(value[0], int) else ", ".join(value)


def _graded(
    hand_in: HandIn,
    task: Task,
    problem: Problem,
    values: dict[str, Any],
    side: Side,
    remarks: list[str],
) -> Grade:
    """Run the comparison, and give its grade."""
    network, album = problem.network, None
    table, where = task.points, "--points"
    if table is None:
        table = dict.fromkeys(demanded(task.require, network), 1.0)
    meant = items(table, network, where)
    side.file = hand_in.name
    if task.has_page:
        from lockstep.report.page import page

        album = page.new_album(problem)
    result = run(problem, values, album.add if album else lambda record, result: None, side)
    misshapen = result.decisive.misshapen if result.decisive else {}
    needed = [name for name in demanded(task.require, network) if name not in misshapen]
    result.missing = [name for name in needed if is_missing(result, name)]
    if result.missing:
        result.verdict = "mismatch"
    found = awarded(result, table, meant)
    mistakes = tuple(dict.fromkeys(_likeliest(result)))
    points = sum(it.points for it in found)
    of = sum(it.of for it in found)
    if task.expect:
        is_it = mistakes[:1] == (task.expect,)
        points = of if is_it else 0.0
        remarks.append(f"{task.expect} was expected{'' if is_it else ', and is not the first'}")
    return Grade(
        hand_in.name,
        hand_in.path,
        result.verdict,
        round(points, 2),
        round(of, 2),
        first=result.first.label if result.first else "",
        mistakes=mistakes,
        remark="; ".join(chain(_lost(found, result.missing), _remarks(result), remarks)),
        items=found,
        diagnoses=result.diagnoses,
        report="\n".join(line.plain for line in verdict_lines(result, _WIDTH, quiet=True)),
        page=page.page(result, album, side, hand_in.name) if album else "",
    )


def _likeliest(result: Comparison) -> Iterator[str]:
    """The names of the mistakes, without those that are another word for the same difference."""
    for _, alike in groupby(result.found, lambda it: it.explains):
        first, *others = alike
        yield first.mistake
        yield from (it.mistake for it in others if it.together)


def _lost(found: list[Item], required: list[str]) -> Iterator[str]:
    """What points are lost for."""
    wrong = dict.fromkeys(name for it in found for name in it.wrong)
    if wrong:
        yield f"wrong: {', '.join(wrong)}"
    if required:
        yield f"required, but not returned: {', '.join(required)}"
    missing = dict.fromkeys(name for it in found for name in it.missing if name not in required)
    if missing:
        yield f"not returned: {', '.join(missing)}"


def _remarks(result: Comparison) -> Iterator[str]:
    """What a teacher should know beside the verdict."""
    if result.last and (given := dict.fromkeys([*result.last.given, *result.last.asked])):
        yield f"given, not derived: {', '.join(given)}"
    if result.battery and result.battery["smallest"] and not result.first:
        yield wrong_elsewhere(result.battery)
    yield from (it for it in result.remarks if it.startswith("could not be tried"))
    if result.fits:
        yield f"everything that was returned is right with {result.fits}"
    if result.by_hand.kind == "program":
        yield "it has no step function, so it was judged as it is"


# What a hand-in may say and use


def _refuse_forbidden(program: Program, forbidden: tuple[str, ...]) -> None:
    """Raise Unusable where a hand-in says that it imports what it may not."""
    for node in ast.walk(program.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [it.name for it in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            if name.partition(".")[0] in forbidden:
                where = f"{program.path}, {program.place(getattr(node, 'lineno', 1))}"
                raise Unusable(f"{where}: imports {name}, which is forbidden here")


def _refuse_asking(side: Any, problem: Problem, file: str) -> None:
    """Raise Unusable where a step asks for what it has to derive."""
    asked = [of for of in side.asks_for if of in problem.network.judged]
    if asked:
        names = ", ".join(dict.fromkeys(asked))
        raise Unusable(
            f"{file}: step asks for {names}, which it has to derive; expected arguments out of "
            f"{', '.join(problem.network.given)}, lr, step"
        )


def _copy_beside(path: Path, scratch: Path) -> None:
    """Copy a hand-in, and what lies beside it and is none, into its folder."""
    try:
        shutil.copy(path, scratch / path.name)
    except OSError as error:
        raise Unusable(f"{path.name}: cannot be read: {error.strerror}") from None
    left = _BESIDE
    for it in sorted(path.parent.iterdir()):
        if it.is_file() and it.suffix not in ENDINGS and not it.name.startswith("."):
            left -= it.stat().st_size
            if left >= 0:
                with suppress(OSError):  # one that may not be read
                    shutil.copy(it, scratch / it.name)


# Numbers of one's own


def student_problem(values: Mapping[str, Any], name: str) -> Problem:
    """The problem with numbers drawn for a student: the same name gets the same ones.

    Numbers have two decimals, so that they can be worked with by hand. A table that is read, and
    labels, stay; weights, and what else is given as numbers, are drawn.

    Args:
        values: Checked options of the problem; `seed` is part of the draw.
        name: The student's.
    """
    problem = make_problem({**values})
    random = np.random.default_rng([_number(values.get("seed", 0), name), 0x5EED])
    network = problem.network

    def drawn(shape: tuple[int, ...]) -> Array:
        size = random.integers(10 ** (_DIGITS - 1), 10**_DIGITS, shape) / 10**_DIGITS  # none is 0
        return np.asarray(size * random.choice([-1.0, 1.0], shape), problem.dtype)

    x, y = problem.x, problem.y
    if problem.data is None:
        x = drawn(x.shape)
        if network.loss in WITH_ACTIVATION or set(np.unique(y)) <= {0.0, 1.0}:
            y = y[random.permutation(len(y))]
        else:
            y = np.abs(drawn(y.shape))
    parameters = {n: drawn(p.shape) for n, p in problem.parameters.items()}
    return replace(problem, x=x, y=y, parameters=parameters, memory=None, seed=None)


def _number(seed: int, name: str) -> int:
    """A number that a seed and a name stand for."""
    return int.from_bytes(hashlib.sha256(f"{seed} {key_of(name)}".encode()).digest()[:4], "big")
