"""The page as a file: self-contained, escaped, repeatable, small; without a script it says all.

test_browser.py opens it.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lockstep import compare
from lockstep.bound.allowed import tolerance
from lockstep.cli.compare import main
from lockstep.cli.look import main as main_of_look
from lockstep.cli.main import line_file, whole_file
from lockstep.evidence.trainings import Trainings
from lockstep.report.album import Album
from lockstep.report.page.labels import WORDS
from lockstep.report.page.step_data import heat, is_drawable, loss_curve, widths
from lockstep.run.steps import records
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn

ROOT = Path(__file__).parents[4]
WRONG = """
def step(W_h, b_h, W_o, b_o, x, y, lr):
    h = x @ W_h.T + b_h  # <script>alert("text of a file")</script>
    o = h @ W_o.T + b_o
    delta_o = 2 * (o - y) / o.size
    W_o = W_o - lr * delta_o.T @ h
    return dict(h=h, o=o, delta_o=delta_o, delta_h=delta_o @ W_o)
"""


def written(tmp_path, *arguments, name="run.html"):
    path = tmp_path / name
    main([*arguments, "--html", str(path), "--quiet"])
    return path.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")


def data(html):
    return json.loads(
        re.search(r'<script type="application/json" id="run">(.*?)</script>', html, re.DOTALL)[1]
    )


def without_scripts(html):
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    return str(path)


@pytest.mark.slow
def test_a_hundred_steps_of_the_lectures_network_are_one_file_below_a_megabyte_with_all_its_steps(
    tmp_path,
):
    html = written(tmp_path)
    assert len(html.encode()) < 1_000_000
    assert [step["step"] for step in data(html)["steps"]] == list(range(1, 101))


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(tmp_path):
    assert written(tmp_path) == written(tmp_path, name="again.html")


@pytest.mark.slow
def test_nothing_is_fetched_from_anywhere(tmp_path):
    html = written(tmp_path)
    assert not re.findall(
        r"(?:src|href)=|url\(|@import|import ", without_scripts(html).replace("a[href]", "")
    )
    assert set(re.findall(r"https?://[^\"' ]+", html)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not an address
    assert "default-src 'none'" in html


@pytest.mark.slow
def test_without_a_script_the_first_step_and_the_verdict_are_there(tmp_path):
    html = without_scripts(written(tmp_path))
    assert "match: 15 of 15 quantities, 100 steps, 3 700 values. " in html
    assert html.count('data-row="') == 37
    assert "0.016000000000000125" in html  # delta_h1 of step 1
    assert html.count("✓ agrees") == 37


@pytest.mark.slow
def test_a_mismatch_at_a_later_step_is_there_without_a_script(tmp_path, capsys):
    path = tmp_path / "late.py"
    path.write_text(
        "calls = []\ndef step(delta_o):\n    calls.append(1)\n    "
        "return dict(grad_b_o=delta_o.sum(axis=0) * (2 if len(calls) > 2 else 1))\n"
    )
    html = without_scripts(written(tmp_path, "--derivation", str(path)))
    assert "<h2>Step 3</h2>" in html
    assert "✗ differs" in html.partition("<h2>Step 3</h2>")[2]
    assert "scaled-by-constant" in html


def test_a_frozen_parameter_has_no_formula(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    html = written(tmp_path, "scripts/examples/mazur.toml", "--steps", "2")
    row = re.search(r'<tr [^>]*data-row="new_b1".*?</tr>', html, re.DOTALL)[0]
    assert "not trained" in row
    assert "<mo>=</mo>" not in row
    assert html.count("not trained") == 4


@pytest.mark.slow
def test_text_of_files_is_shown_as_text(tmp_path, wrong):
    html = written(tmp_path, "--derivation", wrong, "--sizes", "3-4-2", "--samples", "5")
    assert "<script>alert" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.slow
def test_data_cannot_end_the_script_that_it_stands_in(tmp_path):
    assert "<" not in json.dumps(data(written(tmp_path))).replace("\\u003c", "")


@pytest.mark.slow
def test_the_page_of_a_mismatch_tells_the_mistake_and_starts_at_its_step(tmp_path, wrong):
    html = written(tmp_path, "--derivation", wrong, "--sizes", "3-4-2", "--samples", "5")
    for text in (
        "updated-weights-used",
        "compute delta_h before you assign",
        "mismatch: first at step 1, delta_h",
    ):
        assert text in html
    run = data(html)
    assert run["start"] == 0
    rows = run["steps"][0]["rows"]
    assert rows["delta_h[0, 0]"][3] is False
    assert rows["delta_o[4, 1]"][3] is True
    assert rows["grad_W_o[1, 3]"][2] == "not given"


def test_numbers_on_paper_have_the_projects_formulas_beside_them(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text('h1 = "0.061"\n')
    html = written(tmp_path, "--numbers", str(path))
    assert "numbers; their formulas in manual_backprop/neuron_by_neuron.py" in html
    assert data(html)["steps"][0]["rows"]["h1"][3] is False


@pytest.mark.slow
def test_what_was_not_given_has_pytorchs_numbers_in_its_formula(tmp_path):
    path = tmp_path / "part.py"
    path.write_text("def step(o, y):\n    return dict(delta_o=2 * (o - y))\n")
    html = written(tmp_path, "--derivation", str(path))
    step = data(html)["steps"][0]
    assert (step["put"]["delta_o1"], step["by_torch"]["delta_o1"]) == ("(-0.488)", "(-0.244)")
    row = re.search(r'<tr [^>]*data-row="grad_w31".*?</tr>', html, re.DOTALL)[0]
    assert '<span data-put="delta_o1">(-0.244)</span>' in row


def test_a_run_that_is_undecided_has_its_page_with_numbers_that_json_lacks_as_words(tmp_path):
    html = written(tmp_path, "--lr", "1e200", "--steps", "20")
    assert "undecided: at step 2" in html
    assert data(html)["steps"][-1]["rows"]["z_o1"][0] == "nan"


def test_a_run_without_a_step_has_its_page(tmp_path):
    html = written(tmp_path, "--steps", "0")
    assert "no step was run" in html
    assert "<script" not in html


@pytest.mark.slow
def test_a_quantity_of_another_shape_is_told_in_its_row(tmp_path):
    path = tmp_path / "shape.py"
    path.write_text("def step(delta_o, h):\n    return dict(grad_W_o=(delta_o.T @ h).ravel())\n")
    rows = data(written(tmp_path, "--derivation", str(path)))["steps"][0]["rows"]
    assert rows["grad_w31"][0] == "shape (4,)"
    assert rows["grad_w31"][2:4] == ["expected shape (2, 2)", False]


@pytest.mark.slow
def test_a_long_run_keeps_a_selection_and_says_so(tmp_path):
    html = written(tmp_path, "--steps", "1000")
    numbers = [step["step"] for step in data(html)["steps"]]
    assert numbers[0] == 1
    assert numbers[-1] == 1000
    assert {b - a for a, b in zip(numbers[:-2], numbers[1:-1], strict=True)} == {16}
    assert f"This page keeps {len(numbers)} of 1 000 steps" in html


@pytest.mark.slow
def test_a_large_network_is_drawn_as_maps_of_its_matrices_and_stays_below_a_megabyte(tmp_path):
    html = written(tmp_path, "--sizes", "100-60-10", "--samples", "30", "--steps", "40")
    assert len(html.encode()) < 1_000_000
    run = data(html)
    assert 'id="network"' not in html
    assert "of this one there are maps of its matrices" in html
    assert run["steps"][0]["heat"]["W_h" if "W_h" in run["steps"][0]["heat"] else "new_W_h"][
        "grid"
    ] == [24, 24]


class _Run:
    steps_differing = 0


def _record(number):
    return type("M", (), {"number": number})


def test_an_album_keeps_the_first_the_last_and_evenly_in_between_in_bounded_memory():
    album, run = Album(lambda record, result: record.number, 10), _Run()
    for number in range(1, 1235):
        album.add(_record(number), run)
        assert len(album.kept) <= 11
    kept = album.steps(run)
    assert kept[0] == 1
    assert kept[-1] == 1234
    assert len({b - a for a, b in zip(kept[:-2], kept[1:-1], strict=True)}) == 1


def test_an_album_keeps_the_first_ten_steps_that_differ():
    album, run = Album(lambda record, result: record.number, 4), _Run()
    for number in range(1, 201):
        run.steps_differing += number % 7 == 0
        album.add(_record(number), run)
    assert set(range(7, 71, 7)) <= set(album.steps(run))
    assert 77 not in album.steps(run)


def _record_of(settings):
    problem = make_problem(settings | {"steps": 1})
    return next(records(problem, tolerance(problem, {}), BuiltIn())), problem


def test_a_map_of_a_small_matrix_has_its_elements():
    record, _ = _record_of({"sizes": (3, 4, 2), "samples": 5})
    of = heat(record)["grad_W_h"]
    assert (of["shape"], of["grid"], of["at"]) == ([4, 3], [4, 3], None)
    assert of["hand"] == [float(f"{value:.6g}") for value in record.manual["grad_W_h"].ravel()]


def test_a_cell_of_a_large_matrix_is_the_element_of_its_block_that_differs_most():
    record, _ = _record_of({"sizes": (50, 30, 2), "samples": 5})
    record.manual["grad_W_h"] = record.manual["grad_W_h"].copy()
    record.manual["grad_W_h"][7, 31] += 1e-3
    of = heat(record)["grad_W_h"]
    worst = int(np.argmax(of["ratio"]))
    assert of["at"][worst] == 7 * 50 + 31
    assert of["ratio"][worst] > 1
    assert of["torch"][worst] is not None


def test_the_drawing_has_every_neuron_and_every_weight(tmp_path):
    html = written(tmp_path, "--sizes", "3-4-2", "--samples", "5", "--steps", "1")
    neurons = re.findall(r'<g class="node \w+" [^>]*aria-label="\w+ ([^"]*)"', html)
    assert neurons[:4] == ["x[0, 0]", "x[0, 1]", "x[0, 2]", "h[0, 0]"]
    assert len(neurons) == 3 + 4 + 2
    assert len(re.findall(r'data-edge="', html)) == 3 * 4 + 4 * 2
    weights = re.findall(r'data-edge="([^"]*)"', written(tmp_path, "--steps", "1"))
    assert weights == ["w11", "w21", "w12", "w22", "w31", "w41", "w32", "w42"]
    assert not is_drawable(make_problem({"sizes": (2, 7, 2)}))


def test_edges_are_as_wide_as_their_weights_and_carry_their_signs():
    assert widths({"a": -0.5, "b": 0.25}) == {"a": -100, "b": 50}
    assert widths({"a": 0.0, "b": 0.0}) == {"a": 0, "b": 0}


def test_the_loss_curve_falls_and_is_logarithmic_only_where_that_shows_more():
    steps = [{"step": n, "loss": [loss, loss]} for n, loss in ((1, 1.0), (2, 1e-2), (3, 1e-4))]
    curve = loss_curve(steps)
    assert curve["log"]
    assert curve["torch"] == "0.0,10.0 280.0,75.0 560.0,140.0"
    assert not loss_curve(steps[:1])["log"]


def test_the_loss_of_both_trainings_is_drawn_until_one_is_far_off():
    steps = [{"step": n, "loss": [1.0, 1.0]} for n in (1, 2, 9)]
    both = Trainings([1.0, 1e3, 1e9, float("inf")], [1.0, 0.5])
    curve = loss_curve(steps, both)
    assert curve["manual"].count(",") == 2
    assert curve["torch"].count(",") == 2
    assert (curve["first"], curve["last"]) == (1, 4)
    assert [",".join(mark) for mark in curve["marks"][:2]] == curve["torch"].split()
    assert curve["marks"][2] == ["560.0", "nan"]  # PyTorch's training was not that long


@pytest.mark.slow
def test_a_result_shows_itself_in_a_notebook_without_a_script(wrong, tmp_path):
    html = compare(wrong, sizes="3-4-2", samples=5)._repr_html_()
    assert "updated-weights-used" in html
    assert "✗ differs" in html
    assert "The run ended at step 1 of 100." in written(
        tmp_path, "--derivation", wrong, "--sizes", "3-4-2"
    )
    assert "<script" not in html
    assert "data-row" not in html
    assert "no step was run" in compare(steps=0)._repr_html_()
    assert "step 1" in compare(steps=3)._repr_html_()
    assert repr(compare(steps=3)).startswith("<match: 15 of 15 quantities, 3 steps, 111 values.")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--html", "/nowhere/x.html"], "--html /nowhere/x.html: cannot be written"),
        (["--html", "-"], "--html -: expected the name of a file"),
        (["--plot", "x.bmp"], "--plot: expected a file name that ends with .png, .svg, .pdf"),
        (["--plot", "/nowhere/x.png"], "--plot /nowhere/x.png: cannot be written"),
        (
            ["--html", "same", "--trace", "same"],
            "--html same: expected another file than that of --trace",
        ),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_run(arguments, reason, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert reason in err
    assert err.count("\n") == 1
    assert out == ""


def test_planted_errors_are_counted_on_the_page(tmp_path):
    assert "control: 15 of 15 planted errors were caught" in written(
        tmp_path, "--control", "--steps", "2"
    )


def test_a_reader_that_leaves_is_no_fault_of_the_file(tmp_path):
    for opened in (
        whole_file(str(tmp_path / "a"), "--json"),
        line_file(str(tmp_path / "b"), "--trace"),
    ):
        with pytest.raises(BrokenPipeError), opened:
            raise BrokenPipeError
    assert not (tmp_path / "a").exists()


STUDENT = str(ROOT / "tests" / "lockstep" / "look" / "students" / "s5_three_layers.py")


def looked(tmp_path, program):
    path = tmp_path / "looked.html"
    main_of_look([program, "--html", str(path), "--quiet"])
    html = path.read_text(encoding="utf-8")
    return html.partition('aria-label="Both sources"')[2].partition("</section>")[0]


@pytest.mark.slow
def test_the_page_of_a_program_shows_its_source_with_values_and_marks_the_guilty_line(tmp_path):
    code = looked(tmp_path, STUDENT)
    assert "yours: s5_three_layers.py" in code
    assert "manual_backprop" not in code
    rows = re.findall(r'<tr(?: class="(\w+)[^"]*")?[^>]*>(.*?)</tr>', code, re.DOTALL)
    guilty = [text for kind, text in rows if kind == "guilty"]
    assert len(guilty) == 1
    assert '<span class="number">23</span>' in guilty[0]
    assert 'class="again"' in guilty[0]  # PyTorch's line of all δ
    values = [re.sub(r"<[^>]+>", "", text) for kind, text in rows if kind == "value"]
    assert len(values) == 21
    assert any(re.match(r"delta: delta1\[.*\] = \S+ ✗delta1\[", text) for text in values)
    assert any(re.match(r"gW\[2\]: grad_W3\[.*\] = \S+ ✓grad_W3\[", text) for text in values)
    assert '<td class="remark">lines 4 to 9: nothing recognised</td>' in code


@pytest.mark.slow
def test_of_a_small_program_the_first_element_that_differs_stands_below_its_line(tmp_path):
    code = looked(tmp_path, STUDENT.replace("s5_three_layers", "s1_class"))
    values = re.findall(r'<tr class="value[^"]*" data-value-of="([^"]+)">(.*?)</tr>', code)
    texts = {names.split("[")[0]: re.sub(r"<[^>]+>", "", text) for names, text in values}
    assert texts["delta_h"].startswith("d1 / 4: delta_h[0, 0] = -0.0 ✗")
    assert texts["h"].startswith("self.a1: h[0, 0] = 0.5 ✓")


@pytest.mark.slow
def test_the_page_of_a_derivation_has_no_values_in_its_code(tmp_path, wrong):
    code = written(tmp_path, "--derivation", wrong).partition('aria-label="Both sources"')[2]
    assert not re.findall(r'class="(?:value|guilty|again|remark)"', code)


def test_each_word_of_the_page_may_be_given_in_another_language():
    templates = ROOT / "lockstep/report/page/templates"
    text = "".join(file.read_text(encoding="utf-8") for file in templates.iterdir())
    said = {*re.findall(r'say\("([^"]*)"', text)} - {"lr", "y"}
    beside = {"by hand", "forward", "backward", "update", "change", "element", "Worksheet"}
    assert said | beside == {*WORDS}
