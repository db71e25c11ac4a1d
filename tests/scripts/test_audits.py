"""The rules of published tests in scripts/examples/audits: what they let through."""

import runpy
from pathlib import Path

import pytest

from lockstep import audit

AUDITS = Path(__file__).parents[2] / "scripts/examples/audits"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "zeros", "mistakes"),
    [
        ("flash_attention_layer_norm", False, True),
        ("kernelbench_rms_norm", True, True),
        ("liger_linear_cross_entropy", True, True),
        ("liger_swiglu", True, True),
        ("transformer_engine_attention", True, True),
        ("triton_layer_norm", False, True),
    ],
)
def test_a_published_rule_lets_through_what_the_documentation_says(file, zeros, mistakes):
    names = runpy.run_path(str(AUDITS / f"{file}.py"))
    own = {key: names[key] for key in ("rule", "rtol", "atol") if key in names}
    found = audit(names["reference"], names["inputs"], **own)
    assert ("zeros" in found.passes) == zeros
    assert bool({*found.passes} - {"zeros", "constant", "stale"}) == mistakes
    assert not found.remarks
