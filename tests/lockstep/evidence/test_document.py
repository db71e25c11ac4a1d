"""What the document of a run says of the run itself: versions, the problem, the side by hand."""

import json

import numpy as np
import pytest
import torch

import lockstep
from lockstep import compare
from lockstep.cli.compare import main

WRONG = "def step(o1, y1):\n    return {'delta_o1': y1 - o1}\nother = step\n"
SETTINGS = {
    "sizes": "2-2-2",
    "samples": 1,
    "data": None,
    "standardize": False,
    "seed": None,
    "hidden_activation": "linear",
    "output_activation": "linear",
    "loss": "mse",
    "lr": 0.05,
    "batch_size": None,
    "frozen": (),
    "dtype": "float64",
    "by_hand": {"kind": "built-in", "file": None},
}


def problem(*arguments, **settings):
    return compare(*arguments, steps=1, **settings).document()["problem"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a derivation, numbers on paper, a recording and a table."""
    (tmp_path / "mine.py").write_text(WRONG)
    (tmp_path / "paper.toml").write_text('delta_o1 = "0.1"\n')
    (tmp_path / "run.jsonl").write_text('{"step": 1, "delta_o1": 0.1}\n')
    (tmp_path / "table.csv").write_text("a,b,c\n1,2,3\n2,4,5\n")
    return tmp_path


def test_the_versions_are_those_that_ran():
    document = compare(steps=1).document()
    assert [document[name] for name in ("lockstep", "torch", "numpy")] == [
        lockstep.__version__,
        torch.__version__,
        np.__version__,
    ]
    assert type(document["torch"]) is str


def test_the_problem_is_the_settings_that_were_used():
    assert problem() == SETTINGS
    changed = {
        "samples": 5,
        "seed": 3,
        "hidden_activation": "tanh",
        "output_activation": "sigmoid",
        "loss": "sum",
        "lr": 0.5,
        "batch_size": 2,
        "frozen": ("b_o",),
        "dtype": "float32",
        "standardize": True,
    }
    assert problem(sizes="3-4-2", **changed) == SETTINGS | changed | {"sizes": "3-4-2"}


def test_a_seed_counts_where_something_was_drawn():
    given = {"x": [[1.0, 2]], "y": [[1.0, 2]], "W_h": [[1.0, 2], [3, 4]], "b_h": [0.1, 0.2]}
    assert problem(None, given)["seed"] == 0
    assert problem(None, given, W_o=[[1.0, 2], [3, 4]], b_o=[0.1, 0.2], seed=7)["seed"] is None


@pytest.mark.slow
def test_files_are_named_without_their_folders(folder):
    table = problem(data=str(folder / "table.csv"), inputs="a,b", targets="c")
    assert (table["data"], table["samples"], table["sizes"]) == ("table.csv", 2, "2-2-1")
    for kind, file, arguments in (
        ("function", "mine.py", {"derivation": str(folder / "mine.py")}),
        ("function", "mine.py:other", {"derivation": f"{folder / 'mine.py'}:other"}),
        ("numbers", "paper.toml", {"numbers": str(folder / "paper.toml")}),
        ("recording", "run.jsonl", {"numbers": str(folder / "run.jsonl")}),
    ):
        assert problem(**arguments)["by_hand"] == {"kind": kind, "file": file}
    assert problem(folder / "mine.py")["by_hand"]["file"] == "mine.py"


def test_a_function_has_no_file():
    assert problem(lambda o1, y1: {"delta_o1": o1 - y1})["by_hand"] == {
        "kind": "function",
        "file": None,
    }


@pytest.mark.slow
def test_a_recording_on_standard_input_has_no_file(monkeypatch, folder):
    with open(folder / "run.jsonl") as lines:
        monkeypatch.setattr("sys.stdin", lines)
        assert problem(numbers="-")["by_hand"] == {"kind": "recording", "file": None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "file"),
    [("--derivation", "mine.py"), ("--numbers", "paper.toml"), ("--numbers", "run.jsonl")],
)
def test_a_file_stands_in_the_heading_and_in_the_titles_of_the_views(
    monkeypatch, capsys, folder, option, file
):
    figures = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.suptitle", lambda _, *text, **__: figures.append(text)
    )
    page, picture = folder / "run.html", folder / "run.png"
    path = str(folder / file)
    main([option, path, "--html", str(page), "--plot", str(picture), "--steps", "1"])
    out, html = capsys.readouterr().out, page.read_text(encoding="utf-8")
    assert out.startswith(f"{file} next to PyTorch: 2-2-2 network, 1 sample, float64\n")
    assert f"<title>{file} next to PyTorch: 2-2-2 network" in html
    assert f"<h1>{file} next to PyTorch: 2-2-2 network" in html
    assert figures == [(f"{file} next to PyTorch, 2-2-2: mismatch, first at step 1 (dotted line)",)]
    assert str(folder) not in out + html
    assert "  yours     " in out


@pytest.mark.slow
def test_an_odd_file_name_can_be_shown_everywhere(capsys, folder):
    odd = folder / "a$<b>\udcff$.py"
    odd.write_text(WRONG)
    page, picture = folder / "run.html", folder / "run.png"
    arguments = ["--derivation", str(odd), "--html", str(page), "--plot", str(picture)]
    assert main([*arguments, "--quiet", "--steps", "1"]) == 1
    assert "<title>a$&lt;b&gt;\N{REPLACEMENT CHARACTER}$.py next to" in page.read_text("utf-8")
    assert picture.stat().st_size > 1000
    capsys.readouterr()
    assert main(["--derivation", str(odd), "--json", "-", "--steps", "1"]) == 1
    file = json.loads(capsys.readouterr().out)["problem"]["by_hand"]["file"]
    assert file == "a$<b>\N{REPLACEMENT CHARACTER}$.py"
