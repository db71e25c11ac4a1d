"""lockstep grade: a class of 45, points, and hand-ins that try to change their verdict."""

import csv
import json
import multiprocessing
import shutil
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import pytest

from lockstep.__main__ import main
from lockstep.grade.hand_ins import HandIn, of_students
from lockstep.grade.judge import Grade, Task, judged, student_problem
from lockstep.grade.reports import as_csv, file_names
from lockstep.grade.run import _grade, _Judge, _ready
from lockstep.setup.problem import read_file

HERE = Path(__file__).parent
SHEET = HERE / "sheet.toml"
RIGHT = [
    *sorted((HERE / "hand_ins").iterdir()),
    *sorted((HERE.parent / "look/programs").glob("*.*")),
]
STUDENTS = {
    "s1_class": "derivative-at-wrong-point",
    "s3_loops": "term-missing",
    "s5_three_layers": "wrong-layer-derivative",
    "s7_naming": "wrong-activation-derivative",
}
# what stands in anna.py, what in its place, the mistake, the points of 8
MISTAKES = {
    "sign": ("delta_o.T @ h, delta", "-delta_o.T @ h, delta", "sign-flipped", 7),
    "transposed": ("delta_o @ W_o * h", "(delta_o * W_o.sum()) * h", "unknown", 7),
    "no_derivative": ("delta_o @ W_o * h * (1 - h)", "delta_o @ W_o", None, 7),
    "mean": ("delta_h.T @ x, delta", "delta_h.T @ x / 4, delta", "scaled-by-constant", 7),
    "bias": ("delta_h.sum(axis=0)", "0 * delta_h.sum(axis=0)", "bias-gradient-missing", 7),
    "first_sample": ("delta_h.sum(axis=0)", "delta_h[0]", "one-sample-only", 7),
    "ascent": ("W_o - lr * grad", "W_o + lr * grad", "update-sign", 7),
    "not_updated": ("W_h - lr * grad_W_h", "W_h", "not-updated", 7),
    "double": ("(o - y) * o", "2 * (o - y) * o", None, 7),
    "at_o": ("* h * (1 - h)", "* (1 - h)", None, 7),
    "two_slips": ("delta_o.T @ h, delta_o.sum(axis=0)", "-delta_o.T @ h, 3 * delta_o[0]", None, 6),
}
FAILS = {
    "no_python": "def step(x:\n",
    "raises": "def step(x):\n    raise RuntimeError('no')\n",
    "ends": "import os\ndef step(x):\n    os._exit(0)\n",
    "nothing": "x = 3\n",
    "too_much": "import numpy as np\ndef step(x):\n    return dict(h=np.ones((10**5, 10**5)))\n",
}


ENDLESS = {
    "never_ends": "def step(x):\n    while True:\n        pass\n",
    "loads_for_ever": "while True:\n    pass\n",
}


def grade(folder, *options):
    return main(["grade", str(folder), *map(str, options)])


def grades(folder, *options):
    """By name the document of each hand-in."""
    file = folder.parent / "grades.json"
    assert grade(folder, *options, "--json", file) == 0
    return {it["name"]: it for it in json.loads(file.read_text())["hand_ins"]}


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Hand-ins are judged in this process: their own code runs in others all the same."""

    def graded(hand_ins, task, jobs, on_done):
        found = []
        for number, hand_in in enumerate(hand_ins):
            scratch = tmp_path / f"scratch{number}{len(list(tmp_path.iterdir()))}"
            scratch.mkdir()
            with monkeypatch.context() as inside:
                inside.chdir(scratch)
                found.append(judged(hand_in, task))
            on_done(len(found))
        return found

    monkeypatch.setattr("lockstep.grade.run.graded", graded)


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "hand_ins"
    found.mkdir()
    return found


def anna(old="", new=""):
    text = (HERE / "hand_ins/anna.py").read_text()
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.slow
def test_a_class_is_judged_in_all_its_styles(folder, capsys):
    for path in RIGHT:
        shutil.copy(path, folder)
    for name in STUDENTS:
        shutil.copy(HERE.parent / f"look/students/{name}.py", folder)
    for name, (old, new, *_) in MISTAKES.items():
        (folder / f"{name}.py").write_text(anna(old, new))
    for name, text in FAILS.items():
        (folder / f"{name}.py").write_text(text)
    found = grades(folder, SHEET, "--timeout", 120)
    for path in RIGHT:
        assert found[path.stem]["verdict"] == "match", found[path.stem]
        assert found[path.stem]["points"] == found[path.stem]["of"] > 0
    for name, mistake in STUDENTS.items():
        assert found[name]["verdict"] == "mismatch"
        assert found[name]["mistakes"][0] == mistake
    for name, (*_, mistake, points) in MISTAKES.items():
        it = found[name]
        assert (it["verdict"], it["points"], it["of"]) == ("mismatch", points, 8), it
        assert mistake in (None, it["mistakes"][0])
    for name in FAILS:
        assert (found[name]["verdict"], found[name]["points"]) == ("failed", 0), found[name]
    assert "no_python.py, line 1: expected Python" in found["no_python"]["remark"]
    assert "line 2: RuntimeError: no" in found["raises"]["remark"]
    assert "os._exit(0)" in found["ends"]["remark"]
    said = capsys.readouterr().out
    assert f"{len(RIGHT)} match, {len(STUDENTS) + len(MISTAKES)} mismatch, 5 failed" in said


@pytest.mark.slow
def test_what_never_ends_is_ended(folder):
    for name, text in ENDLESS.items():
        (folder / f"{name}.py").write_text(text)
    found = grades(folder, SHEET, "--timeout", 2)
    assert {it["verdict"] for it in found.values()} == {"failed"}
    assert "line 2: is still running after 2 s, the time limit" in found["never_ends"]["remark"]
    remark = "loads_for_ever.py: was still running after 2 s, the time limit"
    assert found["loads_for_ever"]["remark"] == remark


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_what_is_missing_or_given_is_not_right(folder):
    names = "grad_W_h, grad_b_h, grad_W_o, grad_b_o, new_W_h, new_b_h, new_W_o, new_b_o"
    (folder / "given.py").write_text(f"def step({names}):\n    return locals()\n")
    (folder / "h_alone.py").write_text(
        "import numpy as np\ndef step(x, W_h, b_h):\n"
        "    return dict(h=1 / (1 + np.exp(-(x @ W_h.T + b_h))))\n"
    )
    (folder / "no_updates.py").write_text(anna('        "new_W_o": W_o - lr * grad_W_o,\n'))
    found = grades(folder, SHEET)
    assert {it["verdict"] for it in found.values()} == {"mismatch"}
    assert [it["points"] for it in found.values()] == [0, 0, 7]
    assert "given, not derived: grad_W_o" in found["given"]["remark"]
    assert found["no_updates"]["remark"] == "required, but not returned: new_W_o"
    found = grades(folder, SHEET, "--require", "gradients")
    assert (found["no_updates"]["verdict"], found["no_updates"]["of"]) == ("match", 4)
    found = grades(folder, SHEET, "--require", "h")
    assert found["h_alone"]["verdict"] == "match"
    found = grades(folder, SHEET, "--no-given")
    assert found["given"]["verdict"] == "failed"
    assert "step asks for grad_W_h, grad_b_h" in found["given"]["remark"]


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_points_are_for_formulas_on_ones_own_earlier_values(folder, tmp_path):
    points = tmp_path / "points.toml"
    points.write_text("delta_h = 3\ngradients = 4\nnew_W_h = 1\nz_h = 2\n")
    (folder / "right.py").write_text(anna())
    (folder / "slip.py").write_text(anna("* h * (1 - h)", "* h"))
    unseen = anna("* h * (1 - h)", "* h").replace('        "delta_h": delta_h,\n', "")
    (folder / "unseen.py").write_text(unseen)
    found = grades(folder, SHEET, "--points", points, "--require", "gradients")
    assert {name: it["points"] for name, it in found.items()} == {
        "right": 8,  # z_h is not returned
        "slip": 5,
        "unseen": 4,  # nor delta_h; of what follows from it, one gradient is lost
    }
    assert [(it["name"], it["points"], it["missing"]) for it in found["right"]["items"]] == [
        ("delta_h", 3, []),
        ("gradients", 4, []),
        ("new_W_h", 1, []),
        ("z_h", 0, ["z_h"]),
    ]


@pytest.mark.slow
def test_packages_may_be_forbidden(folder):
    (folder / "honest.py").write_text("import torch\n" + anna())
    (folder / "hidden.py").write_text("__import__('tor' + 'ch')\n" + anna())
    (folder / "again.py").write_text(
        "import sys\nsys.modules.pop('manual_backprop', None)\n"
        "m = __import__('manual' + '_backprop')\n" + anna()
    )
    (folder / "fine.py").write_text(anna())
    found = grades(folder, SHEET, "--forbid", "torch,manual_backprop")
    assert [it["verdict"] for it in found.values()] == ["failed", "match", "failed", "failed"]
    assert "line 1: imports torch, which is forbidden here" in found["honest"]["remark"]
    assert "line 1: ImportError: torch may not be imported here" in found["hidden"]["remark"]


HOSTILE = {
    "patches_numpy": "np.array_equal = np.allclose = lambda *a, **k: True",
    "patches_us": "import lockstep.sides.serve as s; s.Channel.send = print",
    "lies": """
class Lie(np.ndarray):
    __eq__ = __le__ = __lt__ = lambda self, other: True
    __sub__ = __rsub__ = lambda self, other: np.zeros(self.shape)
""",
    "looks_up": """
import sys
frame = sys._getframe()
while frame:
    assert 'torch' not in frame.f_locals and 'torch' not in frame.f_globals
    frame = frame.f_back
""",
    "writes_to_all": """
import os
for n in range(3, 64):
    try: os.write(n, b'{"verdict": "match"}')
    except OSError: pass
""",
    "writes_to_the_judge": """
import os
process = os.getpid()
for _ in range(3):  # the guard, the nursery, the judge
    process = int(open(f'/proc/{process}/stat').read().rpartition(')')[2].split()[1])
    try: files = os.listdir(f'/proc/{process}/fd')
    except OSError: continue
    for n in files:
        try: os.write(os.open(f'/proc/{process}/fd/{n}', os.O_WRONLY | os.O_NONBLOCK), b'match')
        except OSError: pass
""",
    "ends_its_parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "leaves_threads": """
import threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
""",
    "floods": "for _ in range(10**5): print('match' * 10)",
    "calls_home": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "ends_quietly": "import sys; sys.exit(0)",
    "recurses": """
def f(): return f()
f()
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hand_in_does_not_change_its_verdict(name, folder):
    wrong = anna("delta_o.T @ h, delta", "-delta_o.T @ h, delta")
    text = wrong.replace("def step", f"{HOSTILE[name]}\n\ndef step", 1)
    if name == "lies":
        text = text.replace("-delta_o.T @ h,", "(-delta_o.T @ h).view(Lie),")
    (folder / f"{name}.py").write_text(text)
    (folder / "zed.py").write_text(anna())
    found = grades(folder, SHEET, "--timeout", 10, "--jobs", 1)
    assert found[name]["verdict"] in ("mismatch", "failed"), found[name]
    assert found["zed"]["verdict"] == "match"


@pytest.mark.slow
def test_what_a_hand_in_leaves_running_is_ended(folder, tmp_path):
    beats = tmp_path / "beats"
    daemon = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        f"        for n in range(100):\n            open({str(beats)!r}, 'w').write(str(n))\n"
        "            time.sleep(0.1)\n    os._exit(0)\n"
    )
    (folder / "forks.py").write_text(daemon + anna())
    found = grades(folder, SHEET)
    assert found["forks"]["verdict"] == "match"
    before = beats.read_text()
    import time

    time.sleep(0.5)
    assert beats.read_text() == before


@pytest.mark.slow
def test_a_hand_in_runs_in_a_folder_of_its_own_with_what_lies_beside_it(folder):
    (folder / "table.csv").write_text("1,2\n")
    (folder / "reads.py").write_text(
        "import os\nassert open('table.csv').read() == '1,2\\n'\n"
        "open('table.csv', 'w').write('mine')\nopen('new', 'w')\n" + anna()
    )
    assert grades(folder, SHEET)["reads"]["verdict"] == "match"
    assert sorted(it.name for it in folder.iterdir()) == ["reads.py", "table.csv"]
    assert (folder / "table.csv").read_text() == "1,2\n"


@pytest.mark.slow
def test_files_of_the_same_name_are_called_by_their_folder(tmp_path, monkeypatch):
    for name in ("ann", "bob"):
        (tmp_path / "students" / name).mkdir(parents=True)
        (tmp_path / "students" / name / "hw3.py").write_text(anna())
    monkeypatch.chdir(tmp_path)
    for places in (
        ["students/*/hw3.py"],
        ["students"],
        [f"students/{n}/hw3.py" for n in ("ann", "bob")],
    ):
        assert main(["grade", *places, str(SHEET), "--csv", "g.csv", "--quiet"]) == 0
        with open("g.csv") as file:
            assert [it["name"] for it in csv.DictReader(file)] == ["ann", "bob"]


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_csv_gradescope_and_pages(folder, tmp_path, capsys):
    (folder / "Ann Ã.py").write_text(anna())
    (folder / "bob.py").write_text(anna("delta_o.T @ h, delta", "-delta_o.T @ h, delta"))
    (folder / "cyd.py").write_text("def step(x:\n")
    files = {key: tmp_path / key for key in ("csv", "gradescope", "html")}
    options = [text for key, path in files.items() for text in (f"--{key}", path)]
    assert grade(folder, SHEET, *options) == 0
    rows = list(csv.reader(files["csv"].read_text().splitlines()))
    assert rows[0] == "name,points,of,verdict,first,mistakes,seconds,remark".split(",")
    assert rows[2][:6] == ["bob", "7", "8", "mismatch", "grad_W_o[0, 0]", "sign-flipped"]
    results = json.loads(files["gradescope"].read_text())
    assert (results["score"], results["max_score"]) == (15, 24)
    assert [it["score"] for it in results["tests"]] == [8, 7, 0]
    pages = {it.name: it.read_text() for it in files["html"].iterdir()}
    assert sorted(pages) == ["Ann_Ã.html", "bob.html", "cyd.html", "index.html"]
    assert "<title>bob: bob next to PyTorch: 3-2-1 network" in pages["bob.html"]
    assert "</span> bob: mismatch: first at step 1" in pages["bob.html"]
    assert "cyd: failed" in pages["cyd.html"]
    assert 'href="bob.html"' in pages["index.html"]
    xml.fromstring(
        pages["index.html"].partition("<table")[2].join(["<table", ""]).partition("</main>")[0]
    )
    assert grade(folder / "bob.py", SHEET, "--gradescope", files["gradescope"]) == 0
    results = json.loads(files["gradescope"].read_text())
    assert [it["name"] for it in results["tests"]][0] == "grad_W_o"
    assert results["tests"][0]["output"] == "wrong: grad_W_o"


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_numbers_of_ones_own(folder):
    copied = "def step():\n    return " + repr(dict(grad_b_h=[0.1, 0.2])) + "\n"
    (folder / "ann.py").write_text(anna())
    (folder / "bob.py").write_text(copied)
    found = grades(folder, SHEET, "--per-student")
    assert [it["verdict"] for it in found.values()] == ["match", "mismatch"]


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_hand_in_is_the_students_whose_name_is_in_its_path(folder, tmp_path, capsys):
    roster = tmp_path / "roster.csv"
    roster.write_text('name\n"Lee, Ann"\nBjörn Öst\nBo\nCyd\nDee\n')
    names = ["Lee, Ann", "Björn Öst", "Bo", "Cyd", "Dee", "Joann", "Jo Ann"]

    def students(*paths):
        found = of_students([HandIn(path, path) for path in paths], names)
        return [(it.student, it.name) for it in found]

    assert students("a/lee_ann_4711.py", "a/bob.py", "a/joann.py") == [
        ("Lee, Ann", "Lee, Ann"),
        ("", "a/bob.py"),
        ("Joann", "Joann"),
    ]
    assert students("cyd_1.py", "cyd_2.py") == [("Cyd", "cyd_1.py"), ("Cyd", "cyd_2.py")]
    assert students("björnöst/hw3.py", "annlee/hw3.py") == [
        ("Björn Öst", "Björn Öst"),
        ("Lee, Ann", "Lee, Ann"),
    ]
    assert students("dee/a.py", "dee/b.py") == [("", "dee/a.py"), ("", "dee/b.py")]
    (folder / "lee_ann_4711.py").write_text(anna())
    (folder / "eve.py").write_text(anna())
    (folder / "dee_1.py").write_text(anna())
    (folder / "dee_2.py").write_text(anna())
    assert grade(folder, SHEET, "--students", roster) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Lee, Ann 8 of 8 match" in printed
    assert "eve: no name of the roster is in its path" in printed
    assert "Several hand-ins are by Dee (2)." in printed
    assert "Nothing was handed in by Björn Öst; Bo; Cyd." in printed
    problem = read_file(SHEET)
    for one, other in (("Lee, Ann", "lee_ann"), ("Bo", "BO")):
        x, same = (student_problem(problem, name).x for name in (one, other))
        assert np.array_equal(x, same)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_zeros_show_no_formula_and_float32_is_one_slip(folder):
    zeros = """def step(W_h, b_h, W_o, b_o):
    new = dict(new_W_h=W_h, new_b_h=b_h, new_W_o=W_o, new_b_o=b_o)
    return new | {f"grad_{name[4:]}": 0 * value for name, value in new.items()}
"""
    (folder / "zeros.py").write_text(zeros)
    (folder / "ann.py").write_text(anna("(o - y) * o", "0 * (o - y) * o"))
    (folder / "nan.py").write_text(anna("(o - y) * o", "np.nan * (o - y) * o"))
    single = """
derive = step
def step(x, y, W_h, b_h, W_o, b_o, lr):
    found = derive(x, y, W_h, b_h, W_o, b_o, lr)
    return {name: np.float32(value) for name, value in found.items()}
"""
    (folder / "single.py").write_text(anna() + single)
    found = grades(folder, SHEET)
    assert {name: it["points"] for name, it in found.items()} == {
        "ann": 0,
        "nan": 0,
        "single": 7,
        "zeros": 0,
    }
    assert found["zeros"]["remark"].startswith("wrong: grad_W_o, grad_b_o, grad_W_h, grad_b_h, new")
    assert found["single"]["mistakes"] == ["single-precision"]


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_one_mistake_may_be_expected(folder):
    (folder / "ann.py").write_text(anna("delta_o.T @ h, delta", "-delta_o.T @ h, delta"))
    (folder / "bob.py").write_text(anna())
    found = grades(folder, SHEET, "--expect", "sign-flipped")
    assert [it["points"] for it in found.values()] == [8, 0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere: cannot be read"),
        (["."], "there is no hand-in"),
        ([], "the following arguments are required"),
        ([str(SHEET)], "expected a folder of hand-ins"),
        ([str(HERE), str(SHEET), "--points", "none.toml"], "none.toml"),
        ([str(HERE), str(SHEET), "--require", "delta_x"], "require: expected all, gradients"),
        ([str(HERE), "--timeout", "0"], "--timeout: expected"),
        ([str(HERE), "--forbid", "a b"], "--forbid: expected"),
        ([str(HERE), "--csv", "there/is/no.csv"], "cannot be written"),
        ([str(HERE), "--expect", "banana"], "--expect: expected"),
        (["notes.txt"], "expected a hand-in that ends with .py or .ipynb"),
    ],
)
def test_what_cannot_be_used_is_said(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    try:
        status = main(["grade", *arguments])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("text", ["banana = 3", "delta_h = -1", "delta_h = 'x'", ""])
def test_points_that_cannot_be_used_are_said(text, tmp_path, capsys):
    points = tmp_path / "points.toml"
    points.write_text(text)
    assert grade(HERE / "hand_ins", SHEET, "--points", points) == 2
    assert "points.toml" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_what_a_hand_in_says_of_the_problem_is_left_aside(folder):
    (folder / "ann.py").write_text(anna() + "\nPROBLEM = dict(lr=0.1, loss='mse')\n")
    found = grades(folder, SHEET)["ann"]
    assert found["verdict"] == "match"
    assert found["remark"] == ""  # the sheet says loss and lr
    (folder / "ann.py").write_text(anna() + "\nPROBLEM = dict(momentum=0.9)\n")
    found = grades(folder, SHEET)["ann"]
    assert found["remark"] == "its PROBLEM says momentum, which was left aside"


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_hand_in_that_is_right_here_and_wrong_elsewhere_is_told(folder):
    (folder / "ann.py").write_text(
        anna("* h * (1 - h)", "* h * (1 - h) * (np.arange(h.shape[1]) < 2)")
    )
    (folder / "bob.py").write_text(anna(*MISTAKES["double"][:2]))
    (folder / "cyd.py").write_text(anna("delta_h.sum(axis=0)", "delta_h.sum(axis=0)[:2]"))
    found = grades(folder, SHEET)
    assert "everything that was returned is right with --loss sum" in found["bob"]["remark"]
    assert "could not be tried on" in found["cyd"]["remark"]
    found = found["ann"]
    assert found["verdict"] == "match"
    assert "within rounding on this problem, but wrong on" in found["remark"]


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_program_is_judged_as_it_is_beside_the_problem(folder, tmp_path):
    shutil.copy(HERE.parent / "look/programs/script.py", folder)
    shutil.copy(HERE.parent / "look/students/s3_loops.py", folder)
    (folder / "nothing.py").write_text("x = 3\n")
    found = grades(folder, SHEET)
    assert "sizes: 3-6-2, and 3-2-1 in the problem" in found["script"]["remark"]
    assert (found["script"]["points"], found["s3_loops"]["points"]) == (8, 7)
    assert found["nothing"]["verdict"] == "failed"
    own = grades(folder, SHEET, "--per-student")["script"]["remark"]
    assert "its numbers are its own" in own
    assert "problem" not in grades(folder)["script"]["remark"]
    points = tmp_path / "points.toml"
    points.write_text("deltas = 2\nupdates = 4\nforward = 1\nall = 1\n")
    assert grades(folder, "--points", points)["script"]["points"] == 8


@pytest.mark.slow
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("option", ["--forbid", "--no-given"])
def test_what_may_not_be_used_is_told(option, folder):
    text = "from torch import nn\n" + anna().replace("W_o, b_o, lr", "W_o, b_o, lr, delta_h")
    (folder / "ann.py").write_text(text)
    (folder / "bob.py").write_text("from . import nothing\n" if option == "--forbid" else anna())
    found = grades(folder, SHEET, *([option, "torch"] if option == "--forbid" else [option]))
    assert found["ann"]["verdict"] == "failed"


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_too_large_files_beside_a_hand_in_are_left_where_they_are(folder, monkeypatch):
    monkeypatch.setattr("lockstep.grade.judge._BESIDE", 3)
    (folder / "a.csv").write_text("12")
    (folder / "b.csv").write_text("12")
    (folder / "inside").mkdir()
    seen = "import os\nassert sorted(os.listdir()) == ['a.csv', 'ann.py'], os.listdir()\n"
    (folder / "ann.py").write_text(seen + anna())
    assert grades(folder, SHEET)["ann"]["verdict"] == "match"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("labels", [True, False])
def test_numbers_of_ones_own_have_the_form_of_the_problems(labels, folder, tmp_path):
    problem = tmp_path / "problem.toml"
    loss = 'loss = "cross_entropy"\noutput_activation = "softmax"' if labels else 'loss = "mse"'
    problem.write_text(f'sizes = "2-3-2"\nsamples = 5\n{loss}\n')
    made = [student_problem(read_file(problem), name) for name in ("ann", "ann", "bob")]
    assert (made[0].x == made[1].x).all()
    assert (made[0].x != made[2].x).any()
    assert made[0].y.dtype.kind == ("i" if labels else "f")
    assert (np.round(made[0].x, 2) == made[0].x).all()
    data = student_problem({"data": str(IRIS)} | READS, "ann")
    assert (data.x == student_problem({"data": str(IRIS)} | READS, "bob").x).all()


IRIS = HERE.parents[2] / "scripts/data/iris.csv"
READS = dict(loss="mse", inputs=["sepal_length"], targets=["petal_width"])


class Ended:
    """A process that does not end as it is told."""

    def __init__(self, deaf):
        self.deaf, self.killed = deaf, False

    def is_alive(self):
        return self.deaf and not self.killed

    def terminate(self):
        pass

    def join(self, seconds=None):
        pass

    def kill(self):
        self.killed = True


@pytest.mark.parametrize("is_late", [True, False])
def test_a_judge_that_says_nothing_has_failed(is_late):
    ours, theirs = multiprocessing.Pipe(False)
    if not is_late:
        theirs.close()
    judge = _Judge(HandIn("ann", "ann.py"), Ended(is_late), 0.0)
    assert _ready({ours: judge}) == [ours]
    found = _grade(ours, judge, Task({}))
    assert found.verdict == "failed"
    assert found.remark.startswith("it took longer than 30 s" if is_late else "its judge was ended")
    assert judge.process.killed is is_late


def test_judges_are_ended_where_the_command_is(folder, monkeypatch):
    (folder / "ann.py").write_text("while True: pass\n")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lockstep.grade.run._ready", interrupted)
    assert grade(folder) == 130


def test_pages_of_the_same_name_are_two():
    names = ["a/b", "a b", "..", "index"]
    assert file_names(names) == ["a_b.html", "a_b_2.html", "hand-in.html", "index_2.html"]


def test_no_cell_is_a_formula():
    text = as_csv([Grade("=1+1", "f.py", "failed", 0.0, 8.0, remark="@x")])
    assert text.splitlines()[1] == "'=1+1,0,8,failed,,,0,'@x"


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_to_standard_output_or_to_where_nothing_can_be_written(folder, tmp_path, capsys):
    (folder / "ann.py").write_text(anna())
    assert grade(folder, SHEET, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["problem"]["sizes"] == "3-2-1"
    assert grade(folder, SHEET, "--quiet") == 0
    assert capsys.readouterr().out == "1 hand-in: 1 match\n"
    (tmp_path / "file").write_text("")
    assert grade(folder, SHEET, "--html", tmp_path / "file") == 2
    assert "cannot be made" in capsys.readouterr().err
    (tmp_path / "pages/index.html").mkdir(parents=True)
    assert grade(folder, SHEET, "--html", tmp_path / "pages") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_problem_file_may_name_data_and_what_is_required(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(IRIS, tmp_path)
    text = 'data = "iris.csv"\ninputs = "sepal_length,sepal_width"\ntargets = "petal_length"\n'
    (tmp_path / "p.toml").write_text(text + 'sizes = "2-3-1"\nrequire = "gradients"\nsteps = 2\n')
    linear = anna("1 / (1 + np.exp(-(x @ W_h.T + b_h)))", "x @ W_h.T + b_h")
    (folder / "ann.py").write_text(linear)
    assert grades(folder, "p.toml")["ann"]["of"] == 4
    (tmp_path / "p.toml").write_text('derivation = "mine.py"\n')
    assert grade(folder, "p.toml") == 2
    assert "the hand-ins stand for it" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_has_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = judged(HandIn("ann", str(tmp_path / "no/ann.py")), Task({}))
    assert (found.verdict, found.remark[:24]) == ("failed", "ann.py: cannot be read: ")


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_what_was_asked_for_and_what_has_another_shape_are_told_as_that(folder):
    (folder / "folder.py").mkdir()
    asks = (
        anna().replace("W_o, b_o, lr", "W_o, b_o, lr, delta_h").replace('"delta_h": delta_h,', "")
    )
    (folder / "asks.py").write_text(asks)
    (folder / "turned.py").write_text(
        anna("delta_h.T @ x, delta", "x.T @ delta_h, delta").replace(
            "W_h - lr * grad_W_h", "W_h - lr * grad_W_h.T"
        )
    )
    found = grades(folder, SHEET)
    assert sorted(found) == ["asks", "turned"]
    assert found["asks"]["remark"] == "given, not derived: delta_h"
    assert found["turned"]["mistakes"] == ["transposed-gradient"]
    assert "not returned" not in found["turned"]["remark"]
