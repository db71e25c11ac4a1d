"""Every page of the guide shows what comes out."""

import re

import pytest

from tests.campaigns.mistakes import PLACES
from tests.shown import ROOT, differences, lacking

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.slow
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


def test_the_table_of_planted_mistakes_has_every_mistake():
    page = (ROOT / "docs" / "explanation" / "why-trust-it.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \| 100 \| 100 \|", page, re.MULTILINE) == list(PLACES)


def test_the_guide_loads_nothing_from_elsewhere():
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in settings
    assert not re.search(r"^(extra_css|extra_javascript|repo_url)\b", settings, re.MULTILINE)
