"""lockstep sheet: worksheets with numbers for each student, and keys."""

import re
from pathlib import Path

import numpy as np
import pytest

from lockstep import compare
from lockstep.__main__ import main
from lockstep.grade.judge import student_problem
from lockstep.setup.problem import read_file

PROBLEM = """
sizes = "3-2-1"
hidden_activation = "sigmoid"
output_activation = "sigmoid"
loss = "half_sum"
lr = 0.5
"""


@pytest.fixture
def problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.toml").write_text(PROBLEM)
    return "p.toml"


def values(page):
    return [float(it) for it in re.findall(r'class="value">([^<]*)<', page)]


def test_each_student_has_a_sheet_and_a_key_with_numbers_of_their_own(problem, capsys):
    Path("roster.csv").write_text("mail;Name\na@x;ann\nb@x;ben\n\n")
    arguments = [problem, "--students", "roster.csv", "--title", "Sheet <3>", "--out", "here"]
    assert main(["sheet", *arguments]) == 0
    assert capsys.readouterr().out == "2 sheets, each with its key, in here\n"
    pages = {path.name: path.read_text() for path in Path("here").iterdir()}
    assert sorted(pages) == ["ann.html", "ann_key.html", "ben.html", "ben_key.html"]
    assert "<h1>Sheet &lt;3&gt;<span>ann</span></h1>" in pages["ann.html"]
    boxes = pages["ann.html"].count('class="box"')
    assert boxes == len(values(pages["ann_key.html"])) == 32
    assert values(pages["ann.html"]) == []
    assert values(pages["ann_key.html"]) != values(pages["ben_key.html"])
    own = student_problem(read_file(problem), "ann")
    z_h1 = float(own.x[0] @ own.parameters["W_h"][0] + own.parameters["b_h"][0])
    assert values(pages["ann_key.html"])[0] == pytest.approx(z_h1, rel=1e-5)


def test_without_students_there_is_one_with_the_problems_numbers(problem, capsys):
    Path("p.toml").write_text(PROBLEM + 'frozen = ["b_o"]\n')
    assert main(["sheet", problem]) == 0
    key = Path("sheets/sheet_key.html").read_text()
    record = []
    compare(problem="p.toml", steps=1, on_step=lambda it, _: record.append(it))
    assert values(key)[-1] == pytest.approx(float(record[0].torch["new_b_h"][1]), rel=1e-5)
    assert "new_b_o" not in key
    assert "1 step" in key
    assert "____" in Path("sheets/sheet.html").read_text()


def test_labels_are_given_as_numbers_of_their_class(problem):
    text = 'sizes = "2-2-3"\nloss = "cross_entropy"\noutput_activation = "softmax"\n'
    text += "y = [2]\nx = [[1, 2]]\n"
    Path("p.toml").write_text(text)
    assert main(["sheet", problem]) == 0
    assert "= 2</span>" in Path("sheets/sheet.html").read_text()
    assert np.isfinite(values(Path("sheets/sheet_key.html").read_text())).all()


@pytest.mark.parametrize(
    ("text", "roster", "words"),
    [
        ('sizes = "9-9-9"\n', None, "sizes: 9-9-9 is too large for a sheet; expected up to 4"),
        (PROBLEM, "name\n", "roster.csv: has no name"),
        (PROBLEM, "ann\nann\n", "roster.csv: ann is there twice; expected"),
        (PROBLEM, "Ann Lee\nann_lee\n", "roster.csv: Ann Lee, as ann_lee, is there twice"),
        (PROBLEM, "", "roster.csv: has no name"),
    ],
)
def test_what_cannot_be_used_is_said(text, roster, words, problem, capsys):
    Path("p.toml").write_text(text)
    options = []
    if roster is not None:
        Path("roster.csv").write_text(roster)
        options = ["--students", "roster.csv"]
    assert main(["sheet", problem, *options]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said(problem, capsys):
    Path("sheets").write_text("")
    assert main(["sheet", problem]) == 2
    assert "--out sheets: cannot be written" in capsys.readouterr().err
