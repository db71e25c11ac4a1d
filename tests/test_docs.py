"""Every page of the guide shows what comes out."""

import pytest

from tests.shown import ROOT, differences, lacking

PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_what_comes_out(page, tmp_path):
    text = page.read_text()
    if lacks := lacking(text):
        pytest.skip("; ".join(lacks))
    found = differences(text, tmp_path)
    assert not found, "\n".join(found)


def test_pictures_are_small():
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 150_000, picture.name
