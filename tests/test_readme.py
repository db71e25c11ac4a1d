"""What the README shows is what comes out.

A README that keeps to the conventions of `tests/shown.py` is one more page in `tests/test_docs.py`.
"""

import re
import runpy
from pathlib import Path

import pytest

from lockstep import GradientMismatch
from lockstep.cli.compare import main
from lockstep.cli.descend import main as gradient_descent
from tests.campaigns.mistakes import PLACES
from tests.shown import comes_out
from tests.test_languages import SOURCE, built, needs_cc, recorded

README = (Path(__file__).parents[1] / "README.md").read_text()
SHOWN = [
    block
    for language, block in re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
    if not language
]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block_with(text):
    """The shown block that has a text in it."""
    return next(block for block in SHOWN if text in block)


def test_the_report_is_as_shown(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    for block in SHOWN[:2]:
        for part in re.split(r"    …\n| (?:forward|backward|update)\n", block):
            assert comes_out(part, printed), part


def test_the_sources_side_by_side_are_as_shown(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "112")
    assert main(["--code"]) == 0
    printed = capsys.readouterr().out
    for part in block_with("neuron_by_neuron.py  ").split("…\n"):
        assert comes_out(part, printed), part


def test_the_control_is_as_shown(capsys):
    assert main(["--control", "--show", "none"]) == 0
    printed = capsys.readouterr().out
    for part in block_with("planted at").split("  …\n"):
        assert comes_out(part, printed), part


def test_the_pictures_are_there_and_small():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 2
    for picture in pictures:
        assert (Path(__file__).parents[1] / picture).stat().st_size < 150_000


def test_the_descent_is_as_shown(capsys):
    assert gradient_descent([]) == 0
    assert capsys.readouterr().out == block_with("Local minimum")


def test_a_derivation_is_explained_as_shown(capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(next(program for program in PROGRAMS if program.startswith("# mine.py")))
    assert (
        main(["--derivation", str(path), "--sizes", "3-4-2", "--samples", "5", "--show", "none"])
        == 1
    )
    assert comes_out(block_with("delta_h[0, 0]; the 10"), capsys.readouterr().out)


@needs_cc
def test_a_slip_in_c_is_explained_as_shown(tmp_path):
    assert SOURCE.count(" * (1 - h[n][j])") == 1
    result = recorded(tmp_path, [built(tmp_path, SOURCE.replace(" * (1 - h[n][j])", "")), "batch"])
    assert comes_out(block_with("wrong-activation-derivative"), str(result))


def test_a_forgotten_term_of_a_gradient_is_told_as_shown(tmp_path):
    path = tmp_path / "mine.py"
    program = next(
        program
        for program in PROGRAMS
        if "import check_gradients" in program and "def hand" in program
    )
    path.write_text(program.replace("    p[np.arange(len(z)), label] -= 1\n", ""))
    with pytest.raises(GradientMismatch) as error:
        runpy.run_path(str(path))
    assert comes_out(block_with("z: mismatch"), str(error.value))
    assert comes_out(str(error.value), block_with("z: mismatch"))


def test_the_table_of_mistakes_has_every_mistake():
    rows = re.findall(r"^\| `([\w-]+)` \| 100 \| 100 \|", README, re.MULTILINE)
    assert rows == list(PLACES)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.split("\n")[0])
def test_the_programs_run(program, capsys):
    exec(program, {"__file__": __file__})
    if "1403/500" in program:
        assert capsys.readouterr().out == "1403/500\n"
