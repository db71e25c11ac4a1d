"""The gallery of gradients: each matches on several problems, and prints its report when run."""

import runpy

import numpy as np
import pytest

from lockstep import check_gradients
from tests.gallery import FOLDER, NAMES, any_size, expression


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_right_derivations_match(name, seed):
    it = expression(name)
    result = check_gradients(it.hand, it.reference, **any_size(name, np.random.default_rng(seed)))
    assert result.verdict == "match"
    assert result.worst_ratio < 0.5
    assert result.resolution["typical"] < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-4, 30.0])
def test_right_derivations_match_at_any_scale(name, scale):
    it = expression(name)
    given = it.inputs(np.random.default_rng(9))
    given = {
        key: value if np.asarray(value).dtype.kind == "i" else value * scale
        for key, value in given.items()
    }
    assert check_gradients(it.hand, it.reference, **given).verdict == "match"


@pytest.mark.parametrize("name", NAMES)
def test_each_file_of_the_gallery_prints_its_report(name, capsys):
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("match: ")
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 60
