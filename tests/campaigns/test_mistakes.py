"""A small sample of `python -m tests.campaigns.mistakes`: planted mistakes are found and named."""

import pytest

from lockstep.setup.options import MISTAKE_NAMES
from tests.campaigns import deep_mistakes
from tests.campaigns.deep_mistakes import PLANTED
from tests.campaigns.mistakes import PLACES, row


def test_every_mistake_of_the_catalogue_is_planted():
    assert set(MISTAKE_NAMES) - set(PLACES) - set(PLANTED) == {"unknown", "too-few-digits"}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", PLANTED)
def test_a_mistake_planted_in_a_network_of_any_depth_is_found_and_named(mistake):
    planted, found, named, _, misnamed = deep_mistakes.row(mistake, 3, seed=1)
    assert planted == found == named == 3
    assert misnamed == 0


@pytest.mark.slow
@pytest.mark.parametrize("mistake", PLACES)
def test_a_planted_mistake_is_found_and_named(mistake):
    _, planted, found, named, misnamed, _ = row(mistake, 8, seed=1)
    assert planted == found == 8
    assert named >= 7
    assert misnamed == 0
