"""A small edit of the gallery is found, and named as it deserves: one of each kind in every file.

`python -m tests.campaigns.gallery_mistakes` goes through all of them.
"""

import pytest

from tests.campaigns.gallery_mistakes import (
    CURVED,
    PLANTED,
    by_difference_quotients,
    diagnosed,
    planted,
)

ONE_OF_A_KIND = {(case[0], case[3]): case for case in PLANTED}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "written", "instead", "deserved"), ONE_OF_A_KIND.values())
def test_a_planted_mistake_is_found_and_named(name, written, instead, deserved):
    assert diagnosed(name, planted(name, written, instead))["mistake"] == deserved


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVED[::3])
def test_difference_quotients_are_named_with_their_step(name):
    got = diagnosed(name, by_difference_quotients(name))
    assert got["mistake"] == "finite-differences"
    assert "0.001" in got["says"]
