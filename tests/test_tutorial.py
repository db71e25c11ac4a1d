"""The notebook runs from top to bottom and shows what its text says."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "scripts" / "tutorial.ipynb"


def shown(cells, source):
    """The text and the HTML that the cell with this source shows."""
    cell = next(cell for cell in cells if cell.cell_type == "code" and source in cell.source)
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", ""))
        parts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(parts)


def test_it_is_kept_without_output():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")


def the_descent_ends_as_in_the_lecture_and_runs_away_from_the_left(cells):
    assert "Local minimum occurs at: 2.67\nNumber of steps:  100" in shown(
        cells, "path = gradient_desc(0.5"
    )
    assert "no minimum" in shown(cells, "gradient_desc(-0.5")


def the_picture_is_drawn(cells):
    cell = next(cell for cell in cells if "draw(plt.figure" in cell.source)
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)


def results_show_themselves_as_tables(cells):
    result = shown(cells, "from lockstep import compare\n")
    assert "match: 15 of 15 quantities, 100 steps, " in result
    assert '<table class="step"' in result


def the_slip_is_named_and_the_corrected_derivation_matches(cells):
    assert "updated-weights-used" in shown(cells, "wrong = compare(mine")
    assert "match: 7 of 15 quantities, 100 steps, " in shown(cells, "print(compare(corrected")


def the_factor_between_the_losses_is_named_and_gone_with_the_right_loss(cells):
    assert "scaled-by-constant" in shown(cells, "factor = compare(from_the_lecture")
    assert "'match'" in shown(
        cells, 'compare(from_the_lecture, sizes="3-4-2", samples=5, loss="half_sum")'
    )


def the_softmax_gradient_is_found_wrong_and_then_right(cells):
    assert "scaled-by-constant" in shown(cells, "check_gradients(softmax_gradient")
    assert "match" in shown(cells, '["z"] / len(z)')


def test_run_from_top_to_bottom_it_shows_what_its_text_says():
    """One test for all, since a run takes seconds; a cell that raises ends it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    for check in (
        the_descent_ends_as_in_the_lecture_and_runs_away_from_the_left,
        the_picture_is_drawn,
        results_show_themselves_as_tables,
        the_slip_is_named_and_the_corrected_derivation_matches,
        the_factor_between_the_losses_is_named_and_gone_with_the_right_loss,
        the_softmax_gradient_is_found_wrong_and_then_right,
    ):
        check(notebook.cells)
