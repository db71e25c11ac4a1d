"""The formulas in JavaScript: Node computes with them what PyTorch computes, to rounding."""

import ast
import json
import shutil
import subprocess
from dataclasses import replace

import pytest

from lockstep.bound.allowed import tolerance
from lockstep.report.page.script import _written, script
from lockstep.report.page.step_data import changeable, row_names, step_data
from lockstep.run.steps import records
from lockstep.setup.options import ACTIVATION_NAMES
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn

PROBLEMS = [
    {},
    *(
        {"sizes": (3, 2, 1), "hidden_activation": it}
        for it in (*ACTIVATION_NAMES, "leaky_relu:0.2")
    ),
    {"sizes": (2, 3, 3), "loss": "cross_entropy", "optimizer": "adam", "l2": 0.1, "samples": 2},
    {"sizes": (2, 2, 2, 1), "momentum": 0.9, "nesterov": True, "l1": 0.1, "frozen": ("b1",)},
]


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_node_computes_what_pytorch_computes(problem):
    own = replace(make_problem(dict(problem)), steps=2)
    n = own.batch_samples
    text = script(own, n)
    if shutil.which("node") is None:
        pytest.skip("no node")
    for record in records(own, tolerance(own, {}), BuiltIn()):
        given = step_data(record, own, n)["given"]
        assert {*changeable(own)} <= {*given}
        program = (
            f"{text} const q = {json.dumps(given)};"
            "for (const [name, formula] of Object.entries(formulas)) q[name] = formula(q);"
            "console.log(JSON.stringify(q));"
        )
        done = subprocess.run(
            ["node", "-e", program], capture_output=True, text=True, check=True, timeout=60
        )
        found = json.loads(done.stdout)
        for name, of, index in row_names(own, n):
            off = abs(found[name] - float(record.torch[of][index]))
            assert off <= float(record.allowed[of][index]), name


def test_what_no_formula_has_is_told():
    with pytest.raises(TypeError, match="no way to write"):
        _written(ast.parse("[x for x in y]", mode="eval").body, str)
