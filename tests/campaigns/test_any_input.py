"""A sample of `python -m tests.campaigns.any_input`: a few hundred inputs of every kind."""

import re
from pathlib import Path

import pytest

from tests.campaigns.any_input import KINDS, tried

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_input_ends_in_a_traceback(kind):
    slow = kind in ("changed derivations", "extreme numbers")  # which write everything
    tried(kind, 3 if slow else 200, derandomize=True)


def test_no_input_is_read_as_a_pickle():
    for package in ("lockstep", "manual_backprop", "torch_reference", "scripts"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text().replace("np.load(io.BytesIO(data), allow_pickle=False)", "")
            assert not re.search(r"pickle\.|np\.load|torch\.load|marshal|yaml", text), path
