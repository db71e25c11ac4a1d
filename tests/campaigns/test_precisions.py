"""A sample of the campaign on half precision."""

import pytest

from tests.campaigns.precisions import OPERATIONS, main


@pytest.mark.slow
def test_right_kernels_are_not_blamed_and_planted_mistakes_are_found(capsys):
    assert main([str(len(OPERATIONS)), "--seed", "3"]) == 0
    said = capsys.readouterr().out
    figures = {line[:9].strip(): line.split()[-1] for line in said.splitlines()}
    assert figures["1 %"] == figures["a row"] == figures["a block"] == "100.0%"
    assert float(figures["0.1 %"][:-1]) > 80
    assert "0 blamed" in said
