"""--worksheet: the first step as formulas with boxes to fill in, and its key; own words on it."""

import re
from pathlib import Path

import pytest

from lockstep.cli.compare import main

PROBLEM = """
title = "Blatt 3"
sizes = "3-2-1"
hidden_activation = "sigmoid"
loss = "half_sum"
lr = 0.5
steps = 2
[labels]
en = "de"
h = "a"
delta_h = "e_h"
W_h = "Θ"
lr = "η"
Given = "Gegeben"
forward = "vorwärts"
"the key" = "Lösung"
"The network" = "Das Netz"
agrees = "stimmt <"
"""


@pytest.fixture
def problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.toml").write_text(PROBLEM)
    return "p.toml"


def test_a_worksheet_as_a_page_has_its_key_beside_it(problem):
    assert main([problem, "--worksheet", "w.html", "--quiet"]) == 0
    sheet, key = Path("w.html").read_text(), Path("w_key.html").read_text()
    assert "<h1>Blatt 3<span>Name: ____" in sheet
    assert "<h1>Blatt 3: Lösung<span>" in key
    for page in (sheet, key):
        assert '<html lang="de">' in page
        assert "<h2>Gegeben</h2>" in page
        assert "<h2>vorwärts</h2>" in page
        assert '<mrow data-q="h1"><msub><mi>a</mi><mi>1</mi></msub></mrow>' in page
        assert '<mrow data-q="lr"><mi>η</mi></mrow>' in page
    assert sheet.count('class="box"') == key.count('class="value"') == 32


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["p.toml"],
        ["--sizes", "2-3-3", "--samples", "2", "--loss", "cross_entropy", "--optimizer", "adam"],
        ["--sizes", "2-2-1", "--loss", "bce", "--l1", "0.1", "--l2", "0.1"],
        ["--sizes", "2-2-2-1", "--optimizer", "adagrad", "--activations", "relu,elu,tanh"],
        ["--sizes", "2-2-2", "--momentum", "0.9", "--nesterov"],
    ],
    ids=str,
)
def test_a_worksheet_as_a_pdf_is_in_a4(options, problem):
    if options[0] != problem:
        options = [*options, "--steps", "1"]
    assert main([*options, "--worksheet", "w.pdf", "--quiet"]) == 0
    for name in ("w.pdf", "w_key.pdf"):
        written = Path(name).read_bytes()
        assert written.startswith(b"%PDF")
        assert re.search(rb"/MediaBox \[ 0 0 595[.\d]* 841[.\d]* \]", written)
        assert len(re.findall(rb"/Type /Page\b", written)) >= 1


@pytest.mark.slow
def test_any_name_and_any_title_can_be_in_a_pdf(problem):
    odd = r"a%#{}^_\\$&~"
    Path(problem).write_text(f'title = "$\\\\frac{{$ {"long " * 40}"\n[labels]\nh = "{odd}"\n')
    assert main([problem, "--worksheet", "w.pdf", "--quiet"]) == 0


@pytest.mark.slow
def test_the_lectures_step_has_two_pages(problem):
    assert main(["--worksheet", "w.pdf", "--quiet"]) == 0
    assert len(re.findall(rb"/Type /Page\b", Path("w.pdf").read_bytes())) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sizes", "9-9-9", "--worksheet", "w.pdf"], "9-9-9 is too large for a sheet"),
        (["--worksheet", "w.txt"], "--worksheet: expected a file name that ends with .pdf, .html"),
        (["--worksheet", "no/w.pdf"], "--worksheet no/w.pdf: cannot be written"),
        (["--worksheet", "w.html", "--html", "w.html"], "another file than that of --"),
        (["--worksheet", "w.pdf", "--plot", "w_key.pdf"], "another file than that of --plot"),
    ],
)
def test_what_cannot_be_a_worksheet_is_told(options, says, problem, capsys):
    assert main([*options, "--quiet"]) == 2
    assert says in capsys.readouterr().err


def test_a_page_has_the_teachers_title_words_and_names(problem):
    assert main([problem, "--html", "p.html", "--quiet"]) == 0
    page = Path("p.html").read_text()
    assert "<h1>Blatt 3</h1>" in page
    assert "<h2>Das Netz</h2>" in page
    assert "✓ stimmt &lt;" in page
    assert '<text class="weight" data-touch="W_h[0, 0]"' in page
    assert '<tspan class="of">Θ[0, 0] = </tspan>' in page
    assert '<mrow data-q="delta_h1"><msub><mi>e</mi><mi>h1</mi></msub></mrow>' in page
    assert '<mrow data-q="grad_W_h[0, 0]"><mfrac><mrow><mi>∂</mi><mi>L</mi></mrow>' in page
    assert "<mi>W</mi><mrow><mi>h</mi>" not in page


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ('delta_q = "e"', "labels: delta_q: expected a quantity or a word of the page; did you"),
        ("h = 3", "labels: expected a table of names and what they are called"),
        ('h = " "', "labels: expected a table of names and what they are called"),
    ],
)
def test_labels_that_are_none_are_told(labels, says, problem, capsys):
    Path("p.toml").write_text(f"[labels]\n{labels}\n")
    assert main([problem, "--html", "p.html"]) == 2
    assert says in capsys.readouterr().err
    assert not Path("p.html").exists()
