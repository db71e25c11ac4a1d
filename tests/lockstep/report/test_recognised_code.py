"""The source of a recognised program beside PyTorch's: what is shown, aligned, left out, marked."""

import sys
from pathlib import Path

import pytest

from lockstep.__main__ import main
from lockstep.report import sources
from lockstep.setup.problem import make_problem
from lockstep.sides.code import Source
from lockstep.sides.side import Side

LOOK = Path(__file__).parents[1] / "look"
TWO_LAYERS = make_problem({"sizes": (3, 4, 2), "samples": 5})
DEEP = make_problem({"sizes": (3, 4, 4, 2), "samples": 5})


class Known(Side):
    """A side whose lines are known.

    parts: by name a text, in which `#: z_h, o` says what a line computes.
    """

    file = "mine.py"

    def __init__(self, **parts):
        self.parts = parts

    def answer(self, turn, problem, torch):
        raise NotImplementedError

    def sources(self, step):
        found = []
        for name, text in self.parts.items():
            lines = text.splitlines(keepends=True)
            computes = {
                n: {of: f"my_{of}" for of in line.partition("#:")[2].strip().split(", ")}
                for n, line in enumerate(lines, 1)
                if "#:" in line
            }
            found.append(Source(f"{name}.py", tuple(lines), 1, computes))
        return found


def shown(**parts):
    """By hand, the numbers and the texts of what is shown."""
    lines = sources.by_hand(TWO_LAYERS, Known(**parts)).lines
    return [(line.number, line.text.partition("  #:")[0]) for line in lines]


def rows(problem, text):
    left, right = sources.by_hand(problem, Known(mine=text)), sources.by_torch(problem)
    return sources.aligned(left, right), right


def test_functions_that_compute_something_are_shown_whole_and_the_rest_is_told():
    text = (
        "import this\nimport that\n\n\n"
        "@decorated\n@twice\ndef forward(x):\n    '''Says.'''\n    z = x  #: z_h\n    return z\n\n"
        "def plot():\n    pass\n\n\n"
    )
    assert shown(mine=text) == [
        (0, "lines 1 to 2: nothing recognised"),
        (5, "@decorated"),
        (6, "@twice"),
        (7, "def forward(x):"),
        (8, "    '''Says.'''"),
        (9, "    z = x"),
        (10, "    return z"),
        (0, "lines 12 to 13: nothing recognised"),
    ]


def test_of_a_class_its_first_line_and_the_methods_that_compute_something_are_shown():
    text = (
        "class Net:\n    def __init__(self):\n        self.w = 1\n\n"
        "    def run(self):\n        self.z = 1  #: z_h\n\n"
        "class Idle:\n    def run(self):\n        pass\n"
    )
    assert [number for number, _ in shown(mine=text)] == [1, 0, 5, 6, 0]


def test_of_the_top_level_what_stands_from_one_computing_statement_to_another_is_shown():
    text = (
        "load()\nprepare()\nfor i in range(2):\n    z = x  #: z_h\nreport()\n\nz = 1  #: o\n"
        "plot()\nshow()\n"
    )
    assert [number for number, _ in shown(mine=text)] == [0, 3, 4, 5, 6, 7, 0]


def test_below_if_main_the_statements_are_chosen_likewise():
    text = "if __name__ == '__main__':\n    load()\n    more()\n    z = 1  #: z_h\n    plot()\n"
    assert [number for number, _ in shown(mine=text)] == [1, 0, 4, 5]


def test_a_single_line_between_two_that_are_shown_is_shown_itself():
    text = "def a():\n    z = 1  #: z_h\n\n\nn = 3\n\n\ndef b():\n    z = 1  #: o\n\n\n"
    assert [number for number, _ in shown(mine=text)] == [1, 2, 5, 8, 9]
    text += "def c():\n    z = 1  #: z_o\n"
    assert [number for number, _ in shown(mine=text)] == [1, 2, 5, 8, 9, 10, 12, 13]


def test_each_file_has_its_name_and_files_without_anything_are_named():
    parts = {
        "run": "go()\n",
        "data": "load()\n",
        "mine": "z = 1  #: z_h\n",
        "layers": "a = 1  #: h\n",
    }
    assert shown(**parts) == [
        (0, "run.py, data.py: nothing recognised"),
        (1, "z = 1"),
        (0, "layers.py"),
        (1, "a = 1"),
    ]
    titles = [line.is_title for line in sources.by_hand(TWO_LAYERS, Known(**parts)).lines]
    assert titles == [False, False, True, False]


def test_every_recognised_line_has_the_line_of_pytorch_that_computes_the_same():
    text = "z1 = 1  #: z1\na1 = 1  #: a1\nz2 = 1  #: z2\nd = 1  #: delta2\nz3 = 1  #: z3\n"
    text += "w = 1  #: new_W1\n"
    pairs, _ = rows(DEEP, text)
    beside = {ours.text[:2]: theirs for ours, theirs in pairs if ours and ours.of}
    assert [beside[name].text.strip()[:4] for name in ("z1", "a1", "z2", "z3")] == [
        "z[l]",
        "a[l]",
        "z[l]",
        "z[l]",
    ]
    assert beside["d "].text.strip().startswith("delta = {")
    assert beside["w "].text.strip().startswith('new[f"new_{name}"]')
    assert [beside[name].is_again for name in ("z1", "z2", "z3")] == [False, True, True]
    assert (beside["z1"].of, beside["z2"].of) == (("z1", "z2", "z3"), ("z2",))


def test_pytorchs_lines_stand_there_once_besides_repetitions_whatever_the_order():
    text = "w = 1  #: new_b_o\nd = 1  #: delta_h\nz = 1  #: z_h, z_o\na = 1  #: h\nz = 1  #: z_o\n"
    pairs, right = rows(TWO_LAYERS, text)
    numbers = [theirs.number for _, theirs in pairs if theirs and not theirs.is_again]
    assert len(set(numbers)) == len(numbers)
    last = max(line.number for line in right.lines if line.of and line.of != ("loss",))
    assert sorted(numbers) == [line.number for line in right.lines if line.number <= last]
    texts = [theirs.text.strip()[:12] for _, theirs in pairs if theirs]
    assert (
        texts[0] == "def update(n"
    )  # what leads to a line comes with the first one of its function
    assert texts.index("def backward") < texts.index("delta_h = z_")


def test_a_line_that_computes_two_layers_has_both_lines_of_pytorch_and_each_its_values():
    pairs, right = rows(TWO_LAYERS, "z = 1  #: z_h, z_o\n")
    told = [
        (line.of, theirs.text.strip()[:3])
        for ours, theirs in pairs
        if (line := sources.telling(ours, theirs, right)) and set(line.of) & {"z_h", "z_o"}
    ]
    assert told == [(("z_h",), "z_h"), (("z_o",), "z_o")]


def test_what_no_line_of_pytorch_computes_is_told_beside_another():
    pairs, right = rows(TWO_LAYERS, "d = 1  #: delta_o, grad_o\n")
    lines = [sources.telling(*pair, right) for pair in pairs]
    assert ("delta_o", "grad_o") in [line.of for line in lines if line]


def test_a_long_way_of_pytorch_to_a_line_is_shortened():
    pairs, right = rows(DEEP, "w = 1  #: new_W1\n")
    texts = [theirs.text for _, theirs in pairs if theirs]
    remark = next(i for i, text in enumerate(texts) if text.endswith("left out"))
    assert texts[remark - 1].startswith("def update(")
    assert len(texts) < len(right.lines) - 15


def step_of(out):
    return out.partition("\nstep 1\n")[2].partition("\nstep ")[0]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
def test_the_users_lines_have_their_values_and_the_guilty_one_is_marked(
    columns, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["look", str(LOOK / "students" / "s1_class.py"), "--code"]) == 1
    step = step_of(capsys.readouterr().out)
    assert "yours: s1_class.py" in step
    assert "manual_backprop" not in step
    marked = [line for line in step.splitlines() if "▶" in line]
    assert len(marked) == 1
    assert marked[0].startswith("▶ 30          d1 = np.dot(d2, self.W2.T)")
    below = step.partition("▶")[2]
    assert "d1 / 4: delta_h[3, 3] = 0.0207" in below.partition("self.dW1 =")[0]
    assert "self.dW1.T: grad_W_h[3, 1] = " in below
    assert all(len(line) <= columns for line in step.splitlines())


@pytest.mark.slow
def test_with_code_the_first_step_of_a_right_program_is_shown(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["look", str(LOOK / "programs" / "list_of_layers.py"), "--code"]) == 0
    step = step_of(capsys.readouterr().out)
    assert "▶" not in step
    line = next(line for line in step.splitlines() if "self.dw = self.x.T @ dout" in line)
    assert "grad_W = {l: network[2 * l - 2].weight.grad" in line
    below = step.partition("self.dw = self.x.T @ dout")[2].partition("self.db = ")[0]
    assert [f"self.dw.T: grad_W{l}" in below for l in (1, 2, 3)] == [True] * 3


@pytest.mark.slow
def test_of_a_notebook_the_cells_are_shown_with_their_own_lines(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["look", str(LOOK / "programs" / "notebook.ipynb"), "--code"]) == 0
    step = step_of(capsys.readouterr().out)
    assert "cell 1, cell 2: nothing recognised" in step
    assert "\n      cell 4\n   1  for j in range(10000):\n" in step
    assert "\n   3      l1 = sigmoid(l0.dot(syn0))\n          l1: h[3, 4] = " in step
    assert "-l2_delta: delta_o[" in step


@pytest.fixture
def program_and_module(tmp_path):
    text = (LOOK / "programs" / "script.py").read_text()
    (tmp_path / "mathematics.py").write_text(
        "import numpy as np\n\n\ndef weighted(a, w, b):\n    total = a @ w + b\n    return total\n"
    )
    (tmp_path / "main.py").write_text(
        "from mathematics import weighted\n"
        + text.replace("hidden_in = X @ w1 + b1", "hidden_in = weighted(X, w1, b1)")
    )
    yield tmp_path / "main.py"
    sys.modules.pop("mathematics", None)


@pytest.mark.slow
def test_a_module_beside_the_program_is_shown_below_it(program_and_module, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["look", str(program_and_module), "--code"]) == 0
    ours = step_of(capsys.readouterr().out).partition("PyTorch: torch_reference")[0]
    assert "      mathematics.py\n" in ours
    assert "total: z_h[" in ours.partition("total = a @ w + b")[2]
