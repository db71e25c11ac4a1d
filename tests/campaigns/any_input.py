"""Input of every kind: no traceback, no hang, and no number is silently read as another.

`python -m tests.campaigns.any_input [CASES]` tries that many cases of each kind: problem files,
tables, numbers on paper, recordings, command lines, what a derivation returns, derivations that are
broken in places, and numbers that are not finite or nearly so, with everything written that can be.
"""

import contextlib
import datetime
import io
import json
import os
import sys
import tempfile
import warnings
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockstep import compare
from lockstep.cli.compare import main
from lockstep.errors import Unusable
from lockstep.setup.options import OPTIONS
from lockstep.setup.problem import LECTURE
from tests.lecture import COMPUTED, PARAMETERS

WRITTEN = ("json", "trace", "html", "plot")
NASTY = st.sampled_from(
    [
        "",
        " ",
        "\x1b[31m",
        "\x00",
        "​",
        "<b>",
        "a,b",
        '"',
        "'",
        "\\",
        "\n",
        "nan",
        "inf",
        "-0",
        "1e400",
        "1e-400",
        "0_1",
        "é",
        "\ud800",
        "../x",
        "/dev/null",
        "x" * 5000,
        "9" * 5000,
    ]
)
TEXT = NASTY | st.text(max_size=12)
NUMBER = st.one_of(
    st.floats(),
    st.integers(-3, 12),
    st.sampled_from([10**400, 10**5000, -(10**20), 2**63, 5e-324, 1e308, 1e-310, True, False]),
)
ROWS = st.lists(st.lists(NUMBER, max_size=3), max_size=3)


def told(arguments):
    """Run the command: its status, standard output and standard error.

    Whatever escapes it is a failure of the test.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            with mock.patch("sys.stdin", io.StringIO()):
                status = main(arguments)
        except SystemExit as stop:
            status = stop.code
    return status, out.getvalue(), err.getvalue()


def fine(arguments, begun=False):
    """Assert that the command ends with a status of its own.

    For bad input it prints one visible line, else strict JSON.

    begun: a verdict may stand before the line, on what had been read by then.
    """
    status, out, err = told([*arguments, "--json", "-"])
    assert status in (0, 1, 2, 3), status
    assert all(character.isprintable() or character == "\n" for character in out + err)
    if status == 2:
        assert out == "" or (begun and json.loads(out))
        assert err.count("\n") == 1
        assert len(err) < 2000
    elif not out.startswith("usage"):
        json.loads(out, parse_constant=lambda name: 1 / 0)


# Problem files.
LITERAL = st.one_of(
    st.floats().map(repr),
    st.integers(-3, 12).map(str),
    st.sampled_from(
        [
            "9" * 400,
            "0x" + "f" * 9000,
            "1e-400",
            "-1e999",
            "1_000",
            "1e5",
            "true",
            "1979-05-27",
            "07:32:00",
            "{}",
            "{a = 1}",
            "[]",
            "[[]]",
            "[[1], [2, 3]]",
            "[[[1]]]",
            "'x'",
            '"""a\n"""',
            '"2-2-2"',
            '"3-1"',
            '"relu"',
            '"tanh"',
            '"sum"',
            '"float32"',
            '["b_h"]',
            '"all"',
            '"none"',
            "[",
        ]
    ),
    TEXT.map(json.dumps),
    st.lists(st.lists(st.floats() | st.integers(-9, 9), max_size=3), max_size=3).map(str),
)
KEY = st.sampled_from(
    [key for key in OPTIONS if key not in (*WRITTEN, "steps", "show")]
) | st.sampled_from(["hidden-activation", "W_x", "a.b", '"quoted key"', "[table]", "= 3", "#"])
LINES = st.lists(st.tuples(KEY, LITERAL).map(" = ".join), max_size=5).map("\n".join).map(str.encode)
TOML = LINES | LINES.map(lambda text: b"\xef\xbb\xbf" + text) | st.binary(max_size=40)


def a_problem_file(folder, content):
    path = folder / "problem.toml"
    path.write_bytes(content)
    fine([str(path), "--steps", "1"])


# Tables.
CELL = st.one_of(st.floats().map(repr), st.integers(-9, 9).map(str), NASTY, st.text(max_size=5))
BODY = st.lists(st.lists(CELL, min_size=2, max_size=2).map(",".join), max_size=4).map("\n".join)
HEAD = st.sampled_from(["a,b\n", "a,b,c\n", "\ufeffa,b\r\n", "a,a\n", ""])
CSV = st.tuples(HEAD, BODY).map(
    lambda parts: "".join(parts).encode(errors="surrogatepass")
) | st.binary(max_size=40)


def a_table(folder, content):
    path = folder / "table.csv"
    path.write_bytes(content)
    fine(["--data", str(path), "--inputs", "a", "--targets", "b", "--steps", "1"])


# Numbers on paper.
WHERE = st.sampled_from(
    [
        *COMPUTED,
        "h1",
        "new_w31",
        "delta_o2",
        "W_h",
        "x1",
        "lr",
        "[step.2]\nh1",
        "[step.x]\nh1",
        "step",
        f"[step.{'9' * 5000}]\nh",
    ]
)
PRINTED = st.sampled_from(
    ['"0.5"', '"0_5"', '"1e-400"', '"1e999999999"', "0.593", '"nan"', '[["1", 2], [3, "4"]]']
)
PAPER = st.lists(st.tuples(WHERE, LITERAL | PRINTED).map(" = ".join), max_size=4).map(
    "\n".join
) | st.text(max_size=30)


def numbers_on_paper(folder, content):
    path = folder / "numbers.toml"
    path.write_bytes(content.encode(errors="surrogatepass"))
    fine(["--numbers", str(path), "--steps", "2"])


# Recordings: right ones, of which some pieces are replaced.
RECORDED = [
    json.dumps({"problem": LECTURE | {"lr": 0.05, "loss": "mse"}}),
    '{"step": 1, "h": [[0.060000000000000026, 0.4599999999999999]], '
    '"delta_o1": -0.24399999999999994, "loss": 0.1}',
    '{"step": 2, "W_h": [[0.4, -0.3], [0.2, 0.7]], "b_h": [0.1, -0.2], '
    '"z_h": [[0.06, 0.46]], "new_b_o": [0.2, 0.1]}',
    '{"step": 3, "x": [[1, 2]], "y": [[3, 4]], "lr": 0.5, "o": [["0.1", "nan"]]}',
]
PIECE = st.sampled_from(
    [
        "nan",
        '"nan"',
        "null",
        "true",
        "[]",
        "{}",
        "[[1, 2], [3, 4]]",
        "1e999",
        '"1e-400"',
        "9" * 5000,
        '"step"',
        '"x"',
        '"problem"',
        '"W_o"',
        "]",
        "[",
        "{",
        "}",
        ",",
        "\n",
        "0",
        "-1",
        '"batch_size"',
        '{"step": 4}',
        "[" * 3000,
    ]
) | TEXT.map(json.dumps)
CHANGES = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 1), st.integers(0, 30), PIECE), max_size=4
)


def a_recording(folder, changes):
    lines = list(RECORDED)
    for line, where, length, piece in changes:
        at = int(where * len(lines[line]))
        lines[line] = lines[line][:at] + piece + lines[line][at + length :]
    path = folder / "run.jsonl"
    path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    fine(["--numbers", str(path), "--keep-going"], begun=True)


# Command lines.
FLAGS = [
    f"--{key.replace('_', '-')}"
    for key in OPTIONS
    if key not in (*WRITTEN, "steps", *PARAMETERS, "x", "y")
]
ARGUMENT = st.one_of(
    st.sampled_from(FLAGS),
    st.tuples(st.sampled_from(FLAGS), TEXT).map("=".join),
    st.sampled_from(
        "--sizes=2-3-1 --sizes=999999-999999-999999 --samples=99999999999 --samples=3 -1 2 relu "
        "float32 sum --rtol=0 --atol=1e-9 --battery=2 --help -- -x a.toml".split()
    ),
    TEXT,
)


def a_command_line(folder, arguments):
    with contextlib.chdir(folder):
        fine([argument.replace("\x00", "") for argument in arguments] + ["--steps=1"])


# What a derivation returns.
class Awkward:
    """An object that fails wherever it is looked at."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no array")

    def __float__(self):
        raise OverflowError("no float")

    def __repr__(self):
        return "Awkward"


CIRCLE: list = []
CIRCLE.append(CIRCLE)
SHAPE = st.sampled_from([(), (0,), (1,), (2,), (1, 2), (2, 1), (2, 2), (2, 2, 2)])
KINDS_OF_ARRAY = st.sampled_from(
    ["f2", "f4", "f8", "g", "i1", "u8", "?", "c16", "O", "M8[s]", "S3", "U2", [("a", "f8")]]
)
KINDS_OF_TENSOR = st.sampled_from("float16 bfloat16 float32 int8 bool complex64".split())
VALUE = st.one_of(
    st.floats(),
    NUMBER,
    TEXT,
    ROWS,
    st.builds(np.zeros, SHAPE, KINDS_OF_ARRAY),
    st.builds(
        lambda shape, kind: torch.zeros(shape, dtype=getattr(torch, kind)), SHAPE, KINDS_OF_TENSOR
    ),
    st.sampled_from(
        [
            None,
            ...,
            [],
            {},
            {1, 2},
            Awkward(),
            [Awkward()],
            CIRCLE,
            Fraction(1, 3),
            [Fraction(10) ** 400] * 2,
            1j,
            b"12",
            object(),
            datetime.date(2020, 1, 1),
            float,
            np.longdouble(1) / 3,
            np.ma.masked_array([1.0, 2.0], [1, 0]),
            torch.ones(2, requires_grad=True),
            torch.zeros(2, device="meta"),
            torch.eye(2).to_sparse(),
            [torch.tensor(1.0), torch.tensor(2.0)],
            range(2),
            iter([1.0, 2.0]),
        ]
    ),
)
NAME = (
    st.sampled_from([*COMPUTED, "h1", "delta_o2", "grad_b4", "x", "W_h", "lr", "loss "])
    | TEXT
    | st.integers()
)
RETURNED = st.dictionaries(NAME, VALUE, max_size=4) | VALUE


def a_derivations_return(folder, returned):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = compare(lambda W_h, x: returned, None, steps=2)
        except Unusable as reason:
            said = str(reason)
        else:
            said = str(result)
            assert result.verdict in ("match", "mismatch", "undecided")
    assert 0 < len(said) < 5000


# Derivations, broken in places, with everything written.
DERIVED = """
import numpy as np

def step(W_h, b_h, W_o, b_o, x, y, lr):
    z_h = x @ W_h.T + b_h
    o = z_h @ W_o.T + b_o
    delta_o = 2 * (o - y) / o.size
    delta_h = delta_o @ W_o
    return dict(z_h=z_h, o=o, delta_o=delta_o, delta_h=delta_h, grad_b_h=delta_h.sum(axis=0))
"""
SOURCE_PIECE = (
    st.sampled_from(
        "W_h W_o .T @ * + - / 0 1e308 x y lr o ( ) : = , np.inf None ... [] {} raise 1/0 exit() "
        "yield await del return import os; os._exit(3) \n #".split(" ")
    )
    | TEXT
)
SOURCE_CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), SOURCE_PIECE), max_size=3)
EVERYTHING = "--json a.json --html a.html --plot a.svg --trace a.jsonl --code --control --referee"


def a_changed_derivation(folder, changes):
    source = DERIVED
    for where, length, piece in changes:
        at = int(where * len(source))
        source = source[:at] + piece + source[at + length :]
    (folder / "net.py").write_bytes(source.encode(errors="surrogatepass"))
    with_everything(folder, "--derivation net.py --battery 1 --time-limit 5")


# Numbers that are not finite, or nearly so, in one quantity.
EXTREME = st.tuples(
    st.sampled_from(COMPUTED),
    st.sampled_from(["inf", "-inf", "nan", "1e308", "-1e308", "5e-324", "1e-308"]),
    st.sampled_from(["2-2-2", "2-3-1", "3-4-2"]),
    st.sampled_from(["linear", "sigmoid", "tanh", "relu"]),
)


def an_extreme_number(folder, case):
    name, value, sizes, kind = case
    source = f"def step({name}):\n    a = 0.0 * {name}\n    a = a + float('{value}')\n"
    (folder / "net.py").write_text(f"{source}    return dict({name}=a)\n")
    with_everything(
        folder,
        f"--derivation net.py --battery 0 --sizes {sizes} --hidden-activation {kind}",
    )
    assert told(["--numbers", str(folder / "a.jsonl"), "--quiet"])[0] == 1


def with_everything(folder, options):
    """Run a derivation with every output; what is written is whole, and its verdict the status."""
    for file in folder.glob("a.*"):
        file.unlink()
    with contextlib.chdir(folder):
        status, out, err = told([*options.split(), "--steps", "2", *EVERYTHING.split()])
    assert status in (0, 1, 2, 3), err
    assert "Traceback" not in out + err
    if (folder / "a.json").exists():
        verdict = json.loads((folder / "a.json").read_text())["verdict"]
        assert ["match", "mismatch", "", "undecided"].index(verdict) == status
        assert (folder / "a.html").exists()
        assert (folder / "a.svg").exists()
    left = {file.name for file in folder.iterdir()} - {"net.py", "__pycache__"}
    assert left <= {"a.json", "a.html", "a.svg", "a.jsonl"}


KINDS = {
    "problem files": (TOML, a_problem_file),
    "tables": (CSV, a_table),
    "numbers on paper": (PAPER, numbers_on_paper),
    "recordings": (CHANGES, a_recording),
    "command lines": (st.lists(ARGUMENT, max_size=4), a_command_line),
    "returned values": (RETURNED, a_derivations_return),
    "changed derivations": (SOURCE_CHANGES, a_changed_derivation),
    "extreme numbers": (EXTREME, an_extreme_number),
}


def tried(kind, cases, **more):
    """Try so many cases of a kind. Raises where one fails."""
    strategy, check = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:

        @given(strategy)
        @settings(
            max_examples=cases,
            deadline=20_000,
            database=None,
            suppress_health_check=list(HealthCheck),
            **more,
        )
        def each(case):
            check(Path(folder), case)

        each()


if __name__ == "__main__":
    os.environ["COLUMNS"] = "80"
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for name in KINDS:
        tried(name, count)
        print(f"{name}: {count} cases, no traceback, no hang", flush=True)
