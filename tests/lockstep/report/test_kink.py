"""Where z is exactly 0 both slopes of ReLU are right: what is shown of such values, and said."""

import pytest

from lockstep.cli.compare import main
from lockstep.report.step import compared
from lockstep.run.record import Entry

PROBLEM = """
sizes = [2, 3, 1]
hidden_activation = "relu"
steps = 1
x = [[0, 0], [1, 2], [2, 1]]
y = [[1], [0], [-1]]
W_h = [[0.5, 0.2], [-0.3, 0.4], [0.1, 0.6]]
b_h = [0, 0, 0]
W_o = [[0.5, -0.2, 0.3]]
b_o = [0.1]
"""
# ruff: noqa: E501
STEP = """
import numpy as np

def step(x, y, W_h, b_h, W_o, b_o, lr):
    z_h = x @ W_h.T + b_h
    h = np.maximum(z_h, 0)
    o = h @ W_o.T + b_o
    delta_o = 2 * (o - y) / len(x)
    delta_h = delta_o @ W_o * (z_h {sign} 0)
    grad_b_h = delta_h.{reduced}(axis=0)
    return dict(z_h=z_h, h=h, o=o, delta_o=delta_o, delta_h=delta_h, grad_b_h=grad_b_h)
"""


@pytest.fixture
def look_at(tmp_path, capsys):
    """The exit status and the output of a comparison, its page included."""

    def run(sign, reduced):
        problem, step = tmp_path / "problem.toml", tmp_path / "mine.py"
        problem.write_text(PROBLEM)
        step.write_text(STEP.format(sign=sign, reduced=reduced))
        page = tmp_path / "page.html"
        options = ["--derivation", str(step), "--code", "--html", str(page), "--battery", "0"]
        status = main([str(problem), *options])
        return status, capsys.readouterr().out, page.read_text()

    return run


def test_the_other_slope_is_a_match_but_is_not_called_the_same(look_at):
    status, out, page = look_at(">=", "sum")
    assert status == 0
    assert "≈" in out
    assert "≈ not judged" in page
    assert "✗" not in out


def test_the_same_slope_has_no_such_mark(look_at):
    status, out, _ = look_at(">", "sum")
    assert status == 0
    assert "≈" not in out


@pytest.mark.parametrize("sign", [">", ">="])
def test_a_mistake_beside_a_kink_is_named_and_what_the_kink_explains_is_said(look_at, sign):
    status, out, _ = look_at(sign, "mean")
    words = " ".join(out.split())
    assert status == 1
    assert "mistake bias-gradient-averaged" in words
    assert "and z = 0 at relu's kink, explain" in words


@pytest.mark.parametrize(
    ("manual", "allowed", "mark"),
    [(0.5, 0.6, "✓"), (0.4, 0.6, "≈"), (0.4, 0.2, "✓"), (0.4, 0.05, "✗")],
)
def test_a_value_is_not_judged_where_it_looks_different_and_may(manual, allowed, mark):
    entry = Entry(1, "grad_b_h", [0], "grad_b1", manual, 0.5, abs(manual - 0.5), allowed)
    assert compared(entry, "float64").mark == mark
