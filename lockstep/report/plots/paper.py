"""A worksheet as a PDF: formulas with boxes to fill in, on A4."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from lockstep.report.plots.descent import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Stage: TypeAlias = tuple[str, Sequence[tuple[str, str, str]]]  # formula, numbers, value of each

_WIDTH, _HEIGHT, _MARGIN = 8.27, 11.69, 0.6  # inches
_FORMULA, _BOX = 4.9, 1.5  # how wide these are
_ROW, _LINE, _SMALL = 0.33, 0.2, 0.14  # how high these are
_GIVEN_IN_A_LINE, _CHARACTERS = 5, 105


def pages(
    title: str,
    whose: str,
    sentence: str,
    given_title: str,
    given: Sequence[str],
    stages: Sequence[Stage],
    is_key: bool,
) -> bytes:
    """The file.

    Args:
        title: Of the sheet.
        whose: A line for the name; may be empty.
        sentence: What the network is.
        given_title: Above what is given.
        given: The numbers that are given, each with its symbol, as mathtext.
        stages: The computations by stage, formulas as mathtext.
        is_key: Whether the boxes are filled in.

    Raises:
        Unusable: It cannot be drawn.
    """
    with canvas(_WIDTH, _HEIGHT, 100) as figure:
        sheet = _Paper(figure)
        sheet.text(_MARGIN, title, widest=_WIDTH - 2 * _MARGIN, size=15, weight="bold")
        sheet.down(0.32)
        sheet.text(_MARGIN, sentence, widest=_FORMULA, size=9)
        sheet.text(_WIDTH - _MARGIN, whose, size=10, ha="right")
        sheet.heading(given_title)
        for i in range(0, len(given), _GIVEN_IN_A_LINE):
            for j, number in enumerate(given[i : i + _GIVEN_IN_A_LINE]):
                wide = (_WIDTH - 2 * _MARGIN) / _GIVEN_IN_A_LINE
                sheet.text(_MARGIN + j * wide, number, size=9, parse_math=True)
            sheet.down(_LINE)
        for stage, rows in stages:
            sheet.heading(stage)
            for formula, numbers, value in rows:
                sheet.row(formula, numbers if is_key else "", value if is_key else None)
        return sheet.file()


class _Paper:
    """Pages that are written from the top down."""

    def __init__(self, figure: Figure) -> None:
        from matplotlib.backends.backend_pdf import PdfPages

        self.figure, self.written = figure, io.BytesIO()
        self.pdf = PdfPages(self.written, metadata={"CreationDate": None})
        figure.set_layout_engine("none")
        self.y = _HEIGHT - _MARGIN

    def text(self, x: float, text: str, widest: float = _WIDTH, **how: Any) -> None:
        """Write a text; in smaller letters where it is wider than `widest`."""
        how = {"va": "center", "parse_math": False, **how}
        drawn = self.figure.text(x / _WIDTH, self.y / _HEIGHT, text, **how)
        wide = drawn.get_window_extent().width / self.figure.dpi
        drawn.set_fontsize(how["size"] * min(1.0, widest / max(wide, _SMALL)))

    def down(self, by: float, needed: float = 0.0) -> None:
        """Go down; to the next page where less than what is needed is left."""
        self.y -= by
        if self.y - needed < _MARGIN:
            self.pdf.savefig(self.figure)
            self.figure.clear()
            self.y = _HEIGHT - _MARGIN

    def heading(self, text: str) -> None:
        self.down(0.32, 2 * _ROW)
        self.text(_MARGIN, text, size=11, weight="bold")
        self.down(0.28)

    def row(self, formula: str, numbers: str, value: str | None) -> None:
        """A formula, the numbers put in below it, and a box; the value in it where it is known."""
        from matplotlib.patches import Rectangle

        lines = textwrap.wrap(numbers, _CHARACTERS)
        self.down(0, _ROW + len(lines) * _SMALL)
        self.text(_MARGIN, formula, widest=_FORMULA, size=10, parse_math=True)
        left, high = _WIDTH - _MARGIN - _BOX, 0.8 * _ROW
        if value is None:
            place = left / _WIDTH, (self.y - high / 2) / _HEIGHT
            box = Rectangle(place, _BOX / _WIDTH, high / _HEIGHT, fill=False, lw=0.8)
            self.figure.add_artist(box)
        else:
            self.text(left, value, size=10, weight="bold")
        self.y -= _ROW / 2 if lines else 0
        for line in lines:
            self.text(_MARGIN, f"= {line}" if line == lines[0] else line, size=7, color="0.35")
            self.y -= _SMALL
        self.down(_ROW / 2 if lines else _ROW)

    def file(self) -> bytes:
        self.pdf.savefig(self.figure)
        self.pdf.close()
        return self.written.getvalue()
