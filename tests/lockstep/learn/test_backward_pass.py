"""The exercise of the notebook: each gradient is judged by itself, and its mistake is named."""

import ast
import json
import linecache
import re
import textwrap

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from lockstep.gradients.result import CheckResult
from lockstep.learn import backward_pass
from lockstep.learn.backward_pass import FORWARD, GRADIENTS, STEPWISE, Lesson, write_key
from tests.shown import ROOT, comes_out

NOTEBOOK = ROOT / "scripts" / "backward_pass.ipynb"
CELLS = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
SETUP = [cell.source for cell in CELLS if "sys.path" not in cell.source]
SETUP = SETUP[: next(k for k, source in enumerate(SETUP) if source.startswith("@derive"))]


@pytest.fixture
def student():
    """The names of the notebook, run down to the first blank."""
    names = {}
    for source in SETUP:
        exec(source, names)
    return names


def written(name, body, names):
    """A cell in which a student has written a body, run."""
    body = textwrap.indent(body.replace("; ", "\n").strip(), "    ")
    exec(f"@derive\ndef {name}():\n{body}", names)


def answer(name, body, names, capsys):
    capsys.readouterr()
    written(name, body, names)
    return capsys.readouterr().out.strip()


def run(path):
    """What the code cells of a notebook print, in a kernel of its own."""
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    cells = NotebookClient(notebook, timeout=120, resources=folder).execute().cells
    return [
        "".join(out.get("text", "") for out in cell.outputs)
        for cell in cells
        if cell.cell_type == "code"
    ]


@pytest.mark.slow
def test_as_handed_out_nothing_is_filled_in_and_nothing_raises():
    assert all(not cell.outputs for cell in CELLS)
    printed = [text for text in run(NOTEBOOK) if text]
    assert printed[0].startswith("163 windows, 26 letters")
    assert printed[1:-2] == [f"{name}: not filled yet.\n" for name in GRADIENTS]
    assert printed[-2].startswith(
        "0 of 27 right, 0 hints used of 10.\nnot filled yet: d_log_p, d_p,"
    )
    assert printed[-1] == "Training waits until 25 more gradients of the 25 are right.\n"


@pytest.mark.slow
def test_with_the_key_all_is_right_and_it_trains_as_pytorch_does(tmp_path):
    write_key(NOTEBOOK, tmp_path / "key.ipynb")
    printed = [text for text in run(tmp_path / "key.ipynb") if text]
    for k, (name, text) in enumerate(zip(GRADIENTS, printed[1:-2], strict=True)):
        assert text.startswith(f"{name}: right ({k + 1} of 27). "), text
    assert printed[-2] == "27 of 27 right, 0 hints used of 10.\n"
    apart = re.search(r"In 100 steps the two losses differ by at most (\S+)\.\n$", printed[-1])
    assert float(apart[1]) < 1e-12
    losses = [float(row.split()[1]) for row in printed[-1].splitlines()[1:-1]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 1


def test_the_key_changes_nothing_but_the_blanks(tmp_path):
    write_key(NOTEBOOK, tmp_path / "key.ipynb")
    blank, key = (json.loads(path.read_text()) for path in (NOTEBOOK, tmp_path / "key.ipynb"))
    changed = []
    for one, other in zip(blank["cells"], key["cells"], strict=True):
        if "".join(one["source"]) != "".join(other["source"]):
            changed.append(re.search(r"def (\w+)", other["source"])[1])
    assert changed == list(GRADIENTS)


def test_the_notebook_has_the_forward_pass_that_is_judged():
    assert FORWARD.strip() in SETUP
    text = NOTEBOOK.read_text()
    assert not any(it.key.strip().splitlines()[-1] in text for it in GRADIENTS.values())


def test_it_opens_in_colab_and_installs_from_the_published_address():
    text, address = NOTEBOOK.read_text(), "github.com/lockstep-backprop/lockstep-backprop"
    colab = f"colab.research.google.com/{address.replace('.com', '')}/blob/main/scripts/"
    assert f"(https://{colab}backward_pass.ipynb)" in text
    assert f"lockstep-backprop @ git+https://{address}" in text


def test_the_shapes_at_the_ends_of_the_lines_are_those_of_the_values(student):
    names = student | {"n_letters": 3}
    for line in FORWARD.strip().splitlines():
        code, shape = line.split("  # ")
        expected = tuple(np.atleast_1d(eval(shape.replace("·", "*"), {}, names)).astype(int))
        assert np.shape(names[code.split(" = ")[0]]) == expected, line


def test_the_forward_pass_is_that_of_pytorchs_own_layers(student):
    lesson = student["lesson"]
    tensors = {name: torch.tensor(it) for name, it in lesson.parameters.items()}
    assert lesson._torch_step(tensors, 0.0) == pytest.approx(student["loss"], abs=1e-14)


MISTAKES = [
    ("d_log_p", "d = np.zeros_like(p); d[np.arange(N), y] = -1; return d", "scaled-by-constant"),
    ("d_log_p", "d = np.zeros_like(p); d[np.arange(N), y] = 1 / N; return d", "sign-flipped"),
    ("d_p", "return d_log_p", "missing-activation-derivative"),
    ("d_total", "return -(d_p * odds / total**2)", "wrong-shape"),
    ("d_total", "return -(d_p * odds / total).sum(axis=1, keepdims=True)", "factor-missing"),
    ("d_total", "return -(d_p * odds / total**2).sum(axis=0, keepdims=True)", "wrong-axis"),
    ("d_odds", "return d_p / total", "term-missing"),
    ("d_below", "return d_odds * below", "derivative-at-wrong-point"),
    ("d_top", "return d_below.sum(axis=1, keepdims=True)", "sign-flipped"),
    ("d_top", "return -d_below", "wrong-shape"),
    ("d_o", "return d_below", "term-missing"),
    ("d_o", "return d_below + d_top", "factor-missing"),
    ("d_W_o", "return h.T @ d_o", "transposed-gradient"),
    ("d_W_o", "return d_o.T @ bn", "wrong-layer-input"),
    ("d_b_o", "return d_o.sum(axis=1)", "wrong-axis"),
    ("d_bn", "return d_h * (1 - bn**2)", "derivative-at-wrong-point"),
    ("d_gamma", "return d_bn.sum(axis=0)", "factor-missing"),
    ("d_inv_std", "return (d_normed * diff).mean(axis=0, keepdims=True)", "scaled-by-constant"),
    ("d_var", "return d_inv_std * -0.5 * var**-1.5", "term-missing"),
    ("d_square", "return np.ones_like(square) * d_var / (N - 1)", "scaled-by-constant"),
    ("d_square", "return d_var / N", "wrong-shape"),
    ("d_diff", "return d_normed * inv_std", "term-missing"),
    ("d_diff", "return d_bn * inv_std + d_square * 2 * diff", "wrong-layer-input"),
    ("d_mean", "return -d_diff.sum(axis=1, keepdims=True)", "wrong-axis"),
    ("d_z", "return d_diff", "term-missing"),
    ("d_z", "return d_diff + d_mean / (N - 1)", "scaled-by-constant"),
    ("d_b_h", "return d_z.mean(axis=0)", "scaled-by-constant"),
    ("d_C", "d = np.zeros_like(C); d[x] += d_e; return d", "one-sample-only"),
    ("d_o_at_once", "return p - np.eye(26)[y]", "scaled-by-constant"),
    ("d_z_at_once", "return gamma * inv_std * (d_bn - d_bn.mean(axis=0))", "term-missing"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "body", "mistake"), MISTAKES)
def test_a_mistake_has_the_name_that_it_deserves(name, body, mistake, student, capsys):
    said = answer(name, body, student, capsys)
    assert said.startswith(f"{name}: wrong"), said
    assert f"\n  mistake   {mistake}: " in said
    student["lesson"].summary()
    assert f"wrong: {name} ({mistake})" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("d_log_p", MISTAKES[0][1], "163 times the right one, which is the length of axis 0"),
        ("d_square", "return np.ones_like(square) * d_var / (N - 1)", "which is n/(n − 1) for"),
        ("d_square", "return np.ones_like(square) * d_var / (N - 1)", "; rounding explains "),
        (
            "d_diff",
            "return d_normed * inv_std",
            "`diff ** 2` in the forward pass, line 6 (square =",
        ),
        ("d_z", "return d_diff", "through `mean` in the forward pass, line 4 (mean = z.mean("),
        (
            "d_C",
            "d = np.zeros_like(C); d[x] = d_e; return d",
            "repeated indices in x only the last",
        ),
        ("d_mean", "return -d_diff.sum(axis=1)", "its shape is (163,), as of a sum over axis 1;"),
        ("d_mean", "return -d_diff.sum(axis=1)", "remedy    sum over axis 0"),
        ("d_o", "return d_below", "d_o: wrong as a formula. Its value is right, but only because"),
        (
            "d_top",
            "return -d_below",
            "d_top: wrong shape.\n  mistake   wrong-shape: the gradient of",
        ),
        ("d_p", "return d_log_p * p", '  remedy    check each factor, or ask for hint("d_p")'),
        ("d_W_o", "return d_o.T @ bn", "bn is in the place of h\n  remedy    use h"),
        ("d_h", "return d_z", "It uses d_z. Of the gradients, it may use those that come before"),
        (
            "d_o_at_once",
            "return d_o",
            "It uses d_o. Of the gradients, it may use no other gradient.",
        ),
        ("d_z_at_once", "return d_z", "It uses d_z. Of the gradients, it may use only d_bn."),
        ("d_h", "return typo", "d_h: wrong. It raised NameError: name 'typo' is not defined."),
        ("d_h", "return 'text'", "d_h: wrong. It returned <U4 for d_h; expected real numbers."),
        ("d_h", "return None", "d_h: not filled yet."),
        ("d_top", "return 0 * top", "It is zero, to rounding. Can you say why?"),
        (
            "d_p",
            "return d_log_p / p",
            "d_p: right (1 of 27). The same as PyTorch's to the last bit.",
        ),
    ],
)
def test_the_answer_says_what_a_student_needs(name, body, says, student, capsys):
    linecache.clearcache()  # as other tools do
    assert says in answer(name, body, student, capsys)


@pytest.mark.slow
def test_the_guide_shows_an_answer(student, capsys):
    page = (ROOT / "docs" / "how-to" / "teach.md").read_text()
    cell, shown = re.search(r"```py\n(.*?)```.*?```text\n(.*?)```", page, re.DOTALL).groups()
    capsys.readouterr()
    exec(cell, student)
    assert comes_out(shown, capsys.readouterr().out)


@pytest.mark.slow
def test_one_slip_costs_one_gradient(student, capsys):
    for name, it in GRADIENTS.items():
        written(name, "return d_diff" if name == "d_z" else it.key, student)
    student["lesson"].summary()
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["26 of 27 right, 0 hints used of 10.", "wrong: d_z (term-missing)"]


@pytest.mark.slow
def test_a_name_stands_for_pytorchs_gradient_whatever_was_written(student):
    for body in ("return d_o", "return ...", "return np.nan * h"):
        written("d_h", body, student)
        torchs = student["d_h"]
        assert torchs.shape == student["h"].shape
        assert np.isfinite(torchs).all()
    written("d_o", "return ...", student)
    assert np.allclose(torchs, student["d_o"] @ student["W_o"], atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("d_o", "return (p - np.eye(26)[y]) / N"),
        ("d_o", "return d_below - (o == top) * d_below.sum(axis=1, keepdims=True)"),
        ("d_odds", "return (d_p - (d_p * p).sum(axis=1, keepdims=True)) / total"),
        ("d_odds", "return d_p / total + 1 / (N * total)"),
        ("d_total", "return -d_log_p.sum(axis=1, keepdims=True) / total"),
        ("d_bn", "return ((p - np.eye(26)[y]) / N) @ W_o * (1 - h**2)"),
        ("d_z", "return d_diff - d_diff.mean(axis=0)"),
        ("d_var", "return -0.5 * (d_normed * normed).sum(axis=0, keepdims=True) * inv_std**2"),
        ("d_o_at_once", "d = p.copy(); d[np.arange(N), y] -= 1; return d / N"),
        ("d_top", "return np.zeros_like(top)"),
    ],
)
@pytest.mark.parametrize(("seed", "size"), [(0, 1), (7, 3), (11, 3), (23, 3)])
def test_another_right_formula_is_right(name, body, seed, size, student, capsys):
    """A large size saturates the softmax: 1 − p loses digits, which rounding has to explain."""
    random = np.random.default_rng(seed)
    parameters = {k: size * random.normal(size=it.shape) for k, it in student["parameters"].items()}
    student["derive"] = Lesson(student["x"], student["y"], parameters).derive
    assert answer(name, body, student, capsys).startswith(f"{name}: right (1 of 27). ")


def test_a_formula_leaves_the_values_of_the_notebook_as_they_are(student, capsys):
    before = {name: it.copy() for name, it in student.items() if isinstance(it, np.ndarray)}
    said = answer("d_h", "print('seen'); o[:] = 0; W_o[:] = 1; return 0 * h", student, capsys)
    assert said.count("seen") == 1
    for name, it in before.items():
        assert np.array_equal(student[name], it), name


def test_a_cell_that_is_run_again_counts_as_it_is_now(student, capsys):
    lesson = student["lesson"]
    for body, first in (
        (GRADIENTS["d_p"].key, "1 of 27 right"),
        ("return d_log_p", "0 of 27 right"),
        ("return ...", "0 of 27 right"),
    ):
        written("d_p", body, student)
        capsys.readouterr()
        lesson.summary()
        assert capsys.readouterr().out.startswith(first)
    assert not lesson._wrong


def test_what_rounding_hides_is_neither_right_nor_blamed(student, capsys, monkeypatch):
    empty = dict.fromkeys(("resolution", "accuracy", "seen"), {})
    found = CheckResult("undecided", **empty, remarks=[], worst_ratio=0, values=0, same=False)
    found.reasons = ["not finite"]
    monkeypatch.setattr(backward_pass, "check_gradients", lambda *_, **__: found)
    assert answer("d_p", "return d_log_p", student, capsys) == "d_p: not judged: not finite."
    student["lesson"].summary()
    assert "0 of 27 right" in (said := capsys.readouterr().out)
    assert "wrong: d_p (not judged)" in said


def test_hints_go_from_a_question_to_the_formula_and_are_counted(student, capsys):
    hint = student["hint"]
    for _ in range(4):
        hint("d_C")
    said = capsys.readouterr().out
    assert said.startswith("d_C, hint 1 of 3. You have 9 left.\n  A letter that stands in several")
    assert "d_C, hint 3 of 3. You have 7 left.\n  d = np.zeros_like(C)\n  np.add.at(d, x" in said
    assert said.endswith("You have all 3 hints for d_C. The last one is its formula.\n")
    for _ in range(8):
        for name in ("d_h", "d_a", "d_e"):
            hint(name)
    assert "You have 0 left." in (said := capsys.readouterr().out)
    assert "No hint is left: you have used all 10.\n" in said
    student["lesson"].summary()
    assert capsys.readouterr().out.startswith("0 of 27 right, 10 hints used of 10.\n")


def test_a_name_that_is_no_gradient_is_said(student, capsys):
    student["hint"]("d_foo")
    written("d_bar", "return ...", student)
    said = capsys.readouterr().out
    assert "d_foo is no gradient of this exercise. They are d_log_p, d_p, " in said
    assert "d_bar is no gradient" in said
    assert student["d_bar"] is None


def test_each_gradient_has_two_hints_of_its_own_and_a_formula():
    assert len(STEPWISE) == 25
    assert len({hint for it in GRADIENTS.values() for hint in it.hints}) == 2 * len(GRADIENTS)
    for name, it in GRADIENTS.items():
        assert it.hints[0].count("?") >= 1, name
        ast.parse(f"def {name}():\n{textwrap.indent(it.key, '    ')}")
