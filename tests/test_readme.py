"""The front door is short and plain, and its first screen says what to run."""

import re

import pytest

from tests.shown import ROOT

README = (ROOT / "README.md").read_text()
LINES = README.splitlines()
PROSE = re.sub(r"^```.*?^```|^\|.*$", "", README, flags=re.DOTALL | re.MULTILINE)


def test_it_has_at_most_150_lines():
    assert len(LINES) <= 150


@pytest.mark.parametrize("words", ["make compare", "make test", "check_gradients", "  mistake   "])
def test_the_first_screen_has_what_everybody_needs(words):
    assert words in "\n".join(LINES[:60])


def test_no_sentence_is_long():
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)|!\[.*?\]\(.*?\)|`[^`]*`", r"\1", PROSE)
    sentences = re.split(r"[.:!?](?:\s|$)|\n\n|\n- |\n#", text)
    too_long = [it for it in sentences if len(it.split()) > 30]
    assert too_long == []


def test_it_shows_two_pictures():
    assert len(re.findall(r"!\[[^\]]+\]\(docs/pictures/[^)]+\)", README)) == 2


def test_every_link_leads_to_a_file():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
