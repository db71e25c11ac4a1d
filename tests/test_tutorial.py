"""The notebook: run from top to bottom it shows what is stored in it."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.shown import ROOT, comes_out

PATH = ROOT / "scripts" / "tutorial.ipynb"
STORED = nbformat.read(PATH, as_version=4).cells
REPOSITORY = "github.com/lockstep-backprop/lockstep-backprop"


@pytest.fixture(scope="module")
def cells():
    """Its cells after a run in a kernel of its own, one that raises ends it."""
    notebook = nbformat.read(PATH, as_version=4)
    folder = {"metadata": {"path": str(Path(PATH).parent)}}
    return NotebookClient(notebook, timeout=120, resources=folder).execute().cells


def texts(cell):
    """What a cell prints, and what stands for its value."""
    outputs = cell.get("outputs", [])
    return "\n".join(out.get("text") or out.data.get("text/plain", "") for out in outputs)


def kinds(cell):
    """What kinds of output a cell has."""
    return [sorted(out.get("data", {"text": ""})) for out in cell.get("outputs", [])]


def headings(cell):
    """The headings of the tables that a cell shows; formulas are among them."""
    html = "".join(out.get("data", {}).get("text/html", "") for out in cell.get("outputs", []))
    return re.findall(r"<th\b[^>]*>(.*?)</th>", html)


@pytest.mark.slow
def test_the_stored_outputs_are_what_comes_out(cells):
    for stored, cell in zip(STORED, cells, strict=True):
        assert comes_out(texts(stored), texts(cell)), f"{stored.id}: {texts(cell)}"
        assert comes_out(texts(cell), texts(stored)), f"{stored.id}: {texts(cell)}"
        assert kinds(stored) == kinds(cell), stored.id
        assert headings(stored) == headings(cell), stored.id


def stored(source):
    """What is stored of the cell with this source."""
    return texts(next(cell for cell in STORED if source in cell.source))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("path = gradient_desc(0.5", "Local minimum occurs at: 2.67\nNumber of steps:  100"),
        ("gradient_desc(-0.5", "no minimum"),
        ("\ncompare()", "match: 15 of 15 quantities, 100 steps, "),
        ("0.0  # your formula", "'mismatch'"),
        ("factor = compare(from_the_lecture", "scaled-by-constant"),
        ('compare(from_the_lecture, sizes="3-4-2", samples=5, loss="half_sum")', "'match'"),
        ("wrong = compare(mine", "mismatch: first at step 1, delta_h[0, 0]"),
        ("compare(corrected", "match: 7 of 15 quantities, 100 steps, "),
        ("check_gradients(softmax_gradient", "scaled-by-constant"),
        ('["z"] / len(z)', "match"),
    ],
)
def test_the_outputs_are_what_the_text_says(source, says):
    assert says in stored(source)


def test_a_picture_and_tables_are_stored():
    everything = [kind for cell in STORED for kinds_of_one in kinds(cell) for kind in kinds_of_one]
    assert everything.count("image/png") == 1
    assert everything.count("text/html") == 3


def test_the_readers_gaps_have_a_right_answer():
    from lockstep import compare

    gaps = next(cell.source for cell in STORED if "# your formula" in cell.source)
    first, second = "delta_o1 * w31 + delta_o2 * w32", "delta_o1 * w41 + delta_o2 * w42"
    filled = gaps.replace("0.0  # your formula", first, 1).replace("0.0  # your formula", second)
    names = {"compare": compare}
    exec(filled.rpartition("\n")[0], names)
    assert names["step"](1, 2, 3, 4, 5, 6)["delta_h2"] == 17
    assert compare(names["step"], steps=10).verdict == "match"


def test_it_opens_in_colab_and_installs_from_the_published_address():
    colab = f"https://colab.research.google.com/{REPOSITORY.replace('.com', '')}"
    assert f"({colab}/blob/main/scripts/tutorial.ipynb)" in STORED[0].source
    first = next(cell.source for cell in STORED if cell.cell_type == "code")
    assert f'"lockstep-backprop[all] @ git+https://{REPOSITORY}"' in first
    assert '"pip", "install"' in first
