"""audit: what a test's rule lets through."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lockstep import audit, watch
from lockstep.__main__ import main
from lockstep.gradients.audit import _with_incoming


def gated(x, w1, w2):
    return F.silu(x @ w1) * (x @ w2)


def inputs(seed=0, kind=torch.bfloat16):
    torch.manual_seed(seed)
    sizes = dict(x=(4, 16), w1=(16, 12), w2=(16, 12))
    return {name: torch.randn(size).to(kind) for name, size in sizes.items()}


def test_a_wide_tolerance_lets_zeros_and_named_mistakes_through():
    found = audit(gated, inputs(), rtol=1e-2, atol=1e4)
    assert found.passes[:3] == ["zeros", "constant", "stale"]
    assert {"factor-missing", "one-sample-only", "wrong-weights"} <= {*found.passes}
    assert found.planted["zeros"].tried == found.planted["zeros"].passed == 3
    assert found.precision == "bfloat16"
    assert all(it > 10 for it in found.smallest.values())
    said = str(found)
    assert "among them zeros, constant, stale; a factor that puts a tensor off" in said


def test_what_a_reference_watches_is_no_gradient_of_the_test():
    def watched(x, w1):
        h = watch("h", torch.tanh(x @ w1))
        beside = watch("beside", 0 * x + 1)  # a mistake behind it changes no gradient of an input
        return (h * h).sum() + (beside * beside).sum()

    given = inputs(kind=torch.float64)
    found = audit(watched, {name: given[name] for name in ("x", "w1")}, rtol=1e-9)
    assert found.passes == []
    assert {*found.smallest} == {"x", "w1"}
    assert found.planted["factor-missing"].tried


def test_an_incoming_gradient_is_called_that():
    text = "output, a factor of `… * output` in <frozen runpy>, line 88, is left out; no_output"
    said = "the incoming gradient, a factor of the product with it, is left out; no_output"
    assert _with_incoming(text, ["output"]) == said


def test_the_suggested_tolerance_lets_pytorch_through_and_no_zeros():
    found = audit(gated, inputs, rtol=1e-2, atol=1e4)
    again = audit(gated, inputs, **found.suggested)
    assert "zeros" not in again.passes
    assert 0.005 < again.smallest["x"] < 0.5
    for kind in (torch.float32, torch.float64):
        fine = audit(gated, inputs(kind=kind), rtol=1.0)
        assert fine.suggested["atol"] < 1e-4


def test_a_cosine_sees_no_factor():
    def rule(actual, expected):
        return F.cosine_similarity(actual.flatten(), expected.flatten(), 0) > 0.99

    found = audit(gated, inputs(kind=torch.float32), rule)
    assert all(map(math.isinf, found.smallest.values()))
    assert "scaled-by-constant" in found.passes or found.planted["factor-twice"].tried
    assert "the rule sees no error at all" in str(found)
    assert found.document()["smallest"] == {"x": None, "w1": None, "w2": None}


def test_a_rule_may_raise_and_an_amax_without_abs_misses_half():
    def rule(actual, expected):
        assert (actual - expected).amax() < 1e-3

    found = audit(lambda x: x.exp().sum(), {"x": torch.linspace(0, 2, 40)}, rule)
    assert "zeros" in found.passes  # too small is never more than the limit
    assert math.isinf(
        audit(lambda x: -x.exp(), {"x": np.linspace(0, 1, 9)}, lambda a, e: None).smallest["x"]
    )


def test_labels_and_scalars_are_taken():
    def labelled(seed):
        torch.manual_seed(seed)
        return dict(z=torch.randn(6, 10), t=torch.randint(0, 10, (6,)))

    found = audit(
        F.cross_entropy,
        lambda seed: dict(zip(("input", "target"), labelled(seed).values(), strict=True)),
        rtol=1e-5,
        atol=1e-8,
    )
    assert not found.passes
    assert 1e-6 < found.smallest["input"] < 1e-4
    assert str(found).startswith("the rule lets through 0 of ")


def test_what_the_reference_cannot_be_edited_for_is_said():
    found = audit(lambda x: (x**2).sum(), {"x": np.ones(3)}, rtol=1e-5, time_limit=0.0)
    assert any("not all mistakes could be planted" in it for it in found.remarks)
    assert "remark: not all" in str(found)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda a, e: 1 / 0, "the rule raised ZeroDivisionError"),
        (lambda a, e: (a - e).abs() < 1, "the rule gives numbers of shape"),
        (lambda a, e: "yes", "the rule gives 'yes'; expected True or False"),
        (lambda a: True, "the rule raised TypeError"),
    ],
)
def test_a_rule_that_says_nothing_is_told(rule, words):
    with pytest.raises((ValueError, TypeError), match=words):
        audit(gated, inputs(), rule)


@pytest.mark.parametrize(
    ("reference", "given", "words"),
    [
        (lambda x: torch.ones(3), {"x": torch.ones(3)}, "reference does not depend on the inputs"),
        (lambda x: 0 * x, {"x": torch.ones(3)}, "the gradient of x is zero, empty or not finite"),
        (lambda x: x, lambda: {}, "inputs, called with a seed, raised TypeError"),
    ],
)
def test_inputs_that_nothing_can_be_planted_in_are_told(reference, given, words):
    with pytest.raises((ValueError, TypeError), match=words):
        audit(reference, given, rtol=1.0)
    with pytest.raises(ValueError, match="rtol is -1; expected a finite number, 0 or more"):
        audit(reference, given, rtol=-1)


def test_a_rule_that_rejects_rounding_is_told():
    found = audit(gated, inputs(), lambda a, e: np.bool_(torch.equal(a, e)))
    assert any(
        "the rule rejects gradients that are wrong by nothing but" in it for it in found.remarks
    )
    assert "and seen more" not in str(found)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ((gated, {}), TypeError, "no input holds floating-point numbers"),
        ((gated, [1]), TypeError, "inputs is list; expected a dict, or a function of a seed"),
    ],
)
def test_what_cannot_be_audited_is_told(given, error, words):
    with pytest.raises(error, match=words):
        audit(*given, rtol=1.0)
    with pytest.raises(ValueError, match="expected a rule, or rtol and atol"):
        audit(*given)
    with pytest.raises(ValueError, match="expected a rule, or rtol and atol"):
        audit(*given, lambda a, b: True, rtol=1.0)


FILE = """
import torch

def reference(x, w):
    return torch.tanh(x @ w)

def inputs(seed):
    torch.manual_seed(seed)
    return dict(x=torch.randn(5, 8), w=torch.randn(8, 3))

"""


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("rtol, atol = 1e-5, 1e-7", 0),
        ("atol = 100.0", 1),
        ("def rule(actual, expected):\n    return torch.allclose(actual, expected, atol=9.0)", 1),
    ],
)
def test_the_command_has_the_verdict_as_its_exit_status(rule, status, tmp_path, capsys):
    path = tmp_path / "rule.py"
    path.write_text(FILE + rule)
    assert main(["audit", str(path), "--json", str(tmp_path / "out.json")]) == status
    said = capsys.readouterr().out
    assert said.startswith("the rule lets through ")
    document = json.loads((tmp_path / "out.json").read_text())
    assert bool(document["passes"]) == bool(status)
    assert main(["audit", str(path), "--quiet", "--seed", "3"]) == status
    assert capsys.readouterr().out.count("\n") == 1
    assert main(["audit", str(path), "--json", "-"]) == status
    assert json.loads(capsys.readouterr().out)["precision"] == "float32"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def reference(x): return x", "has no `inputs`; expected a dict"),
        ("inputs = {}", "reference"),
        ("def reference(x): return x\ninputs = dict(x=[1.0])", "has no `rule(actual, expected)`"),
        (
            "def reference(x): return y\ninputs = dict(x=[1.0])\nrtol = 1",
            "reference raised NameError",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_told(text, words, tmp_path, capsys):
    path = tmp_path / "rule.py"
    path.write_text(text)
    assert main(["audit", str(path)]) == 2
    assert words in capsys.readouterr().err


def test_an_interrupt_that_the_users_code_swallows_ends_the_command(tmp_path, capsys):
    path = tmp_path / "rule.py"
    text = FILE + (
        "import os, signal\nrtol = 1e-5\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    import time; time.sleep(1)\n"
        "except KeyboardInterrupt:\n    pass\n"
    )
    path.write_text(text)
    assert main(["audit", str(path)]) == 130


def test_labels_stay_and_other_lengths_are_not_stale():
    torch.manual_seed(0)
    given = dict(input=torch.randn(6, 10), target=torch.randint(0, 10, (6,)))
    assert audit(F.cross_entropy, given, rtol=1e-4, atol=1e-6).planted["stale"].tried == 1
    drawn = lambda seed: {"x": torch.arange(3.0 + seed) + 1}  # noqa: E731
    assert audit(lambda x: x**3, drawn, rtol=1e-5).planted["stale"].tried == 0


def square(x):
    return (x * x).sum()


X = {"x": torch.linspace(0.5, 2.0, 64)}


def test_a_rule_may_change_what_it_gets():
    def greedy(actual, expected):
        actual.sub_(expected)
        return bool(actual.abs_().max() < 1e-4)

    given = {"x": X["x"].double()}
    assert audit(square, given, greedy).suggested == audit(square, given, rtol=1e-5).suggested


def test_the_suggestion_says_what_it_would_let_through():
    found = audit(gated, inputs(), rtol=1e-2, atol=1e4)
    passed = sum(it.passed for it in found.planted.values())
    rule = audit(gated, inputs(), **found.suggested)
    assert sum(it.passed for it in rule.planted.values()) == found.suggested_passed < passed
    assert f"through, and {found.suggested_passed} of these wrong gradients" in str(found)
    assert found.document()["suggested_passed"] == found.suggested_passed


def test_a_rule_that_sees_one_sign_alone_is_told():
    found = audit(square, X, lambda actual, expected: bool((actual - expected).amax() < 1e-3))
    assert math.isinf(found.smallest["x"])
    assert "the rule sees that x is too large, and not the reverse" in found.remarks
    never = audit(square, X, lambda actual, expected: False)
    assert "the rule rejects x as it is, with no error at all" in never.remarks


@pytest.mark.parametrize(
    "reference", [torch.sqrt, lambda input: F.binary_cross_entropy(input, HALF.to(input))]
)
def test_stale_values_are_of_inputs_that_the_reference_takes(reference):
    found = audit(reference, {"input": torch.linspace(0.1, 0.9, 64)}, rtol=1e-3)
    assert found.planted["stale"].tried == 1


HALF = torch.linspace(0.0, 1.0, 64)


def test_a_failure_of_pytests_is_none_of_the_audits():
    def rule(actual, expected):
        if not torch.allclose(actual, expected):
            pytest.fail("apart")

    assert audit(square, X, rule).planted["zeros"].passed == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"x": torch.ones(3, dtype=torch.complex64)}, "x is complex; expected real numbers"),
        (lambda seed: {"x": torch.ones(3)} if seed == 0 else None, "inputs is NoneType"),
    ],
)
def test_inputs_that_cannot_be_audited_are_told(given, words):
    with pytest.raises((ValueError, TypeError), match=words):
        audit(lambda x: (x.abs() ** 2).sum(), given, rtol=1e-3)


def test_too_little_time_is_told():
    (remark, *_) = audit(square, X, rtol=1e-3, time_limit=0.0).remarks
    assert remark == "not all mistakes could be planted: the time was over"


def test_an_interrupt_in_a_rule_is_one():
    def rule(actual, expected):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(square, X, rule)


def test_stale_values_of_nested_inputs():
    given = {"of": {"w": X["x"], "n": 2}, "more": [X["x"], (X["x"] + 1, 3)], "at": torch.arange(4)}

    def reference(of, more, at):
        return (of["w"] ** of["n"] * more[0] + more[1][0] ** more[1][1])[at].sum()

    assert audit(reference, given, rtol=1e-5).planted["stale"].tried == 3
