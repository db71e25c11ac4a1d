"""The pytest plugin, in a pytest of its own."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TESTS = """
import logging
import numpy as np, torch

logging.getLogger("torch.quiet").setLevel(logging.NOTSET)


def reference(x):
    return (x * x).sum()


def test_right(check_gradients):
    check_gradients(lambda x: {"x": 2 * x}, reference, x=np.ones(3))


def test_wrong(check_gradients):
    logging.getLogger("torch.quiet").debug("noise of %s", "torch")
    check_gradients(lambda x: {"x": -2 * x}, reference, x=np.arange(3.0))


def test_direct():
    from lockstep import check_gradients

    check_gradients(lambda x: {"x": 2 * x}, reference, x=np.ones(3))


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, given):
        return 3 * given * ctx.saved_tensors[0] ** 2


def test_function(check_function):
    check_function(Cube, lambda x: x**3, x=torch.linspace(-1, 1, 9))


def test_unusable(check_gradients):
    import pytest

    with pytest.raises(ValueError):
        check_gradients(lambda x: {"y": x}, reference, x=np.ones(3))
"""


@pytest.fixture
def run(tmp_path):
    def run(text, *options):
        (tmp_path / "test_it.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-p", "lockstep.pytest_plugin", *options]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        found = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=environment
        )
        return found.returncode, found.stdout + found.stderr

    return run


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")])
def test_checks_are_fixtures_and_a_page_and_properties(workers, run, tmp_path):
    options = "--gradients-report", "page.html", "--junitxml", "junit.xml", "--log-level", "DEBUG"
    status, said = run(TESTS, *options, *workers)
    assert status == 1
    assert "1 failed, 4 passed" in said
    assert "noise of torch" not in said
    assert "functions.py" not in said  # no frames of ours
    assert "sign-flipped: test_it.py::test_wrong" in said
    assert "FAILED test_it.py::test_wrong - sign-flipped (x): the gradient of x" in said
    page = (tmp_path / "page.html").read_text()
    assert "Gradients: 3 match, 1 mismatch" in page
    assert "<td>sign-flipped</td>" in page
    assert "test_it.py::test_direct" in page
    found = {
        case.get("name"): [it.get("value") for it in case.iter("property")]
        for case in xml.parse(tmp_path / "junit.xml").iter("testcase")
    }
    assert found["test_wrong"] == ["mismatch, sign-flipped"]
    assert found["test_right"] == found["test_direct"] == ["match, 5e-15"]
    assert found["test_unusable"] == []


def test_nothing_is_imported_where_nothing_is_checked(run, tmp_path):
    text = "import sys\ndef test_nothing():\n    assert 'torch' not in sys.modules\n"
    status, said = run(text, "--gradients-report", "page.html")
    assert status == 0, said
    assert "Gradients: no checks" in (tmp_path / "page.html").read_text()


def test_a_page_that_cannot_be_written_is_told(run):
    status, said = run("def test_nothing(): pass", "--gradients-report", "there/page.html")
    assert status == 4
    assert "--gradients-report there/page.html: cannot be written" in said


def test_a_traceback_of_pythons_own_keeps_its_form(run):
    status, said = run(TESTS, "--tb=native", "-k", "wrong")
    assert status == 1
    assert "sign-flipped: test_it.py::test_wrong" in said
    mismatch = "import lockstep\ndef test_plain():\n    raise lockstep.Mismatch('no', {}, [])\n"
    status, said = run(mismatch)
    assert "lockstep.Mismatch: no" in said


def test_checks_of_fixtures_are_on_the_page(run, tmp_path):
    text = """
import numpy as np, pytest
from lockstep import assert_gradients_close, check_gradients

@pytest.fixture
def checked():
    check_gradients(lambda x: {"x": 2 * x}, lambda x: (x * x).sum(), x=np.ones(3))
    yield
    check_gradients(lambda x: {"x": -2 * x}, lambda x: (x * x).sum(), x=np.arange(3.0))

def test_it(checked):
    pass

def test_close():
    import torch
    x = torch.ones(3, requires_grad=True)
    like = lambda: torch.autograd.grad((x**2).sum(), x)
    assert_gradients_close([-2 * torch.ones(3)], like(), like=like)
"""
    status, said = run(text, "--gradients-report", "page.html")
    assert status == 1
    assert "sign-flipped: test_it.py::test_it" in said
    assert "sign-flipped: test_it.py::test_close" in said
    assert "Gradients: 1 match, 2 mismatch" in (tmp_path / "page.html").read_text()


HALVES = """
import torch
from lockstep import check_function

def test_it():
    check_function(torch.sin, torch.sin, x=torch.linspace(-2, 2, 64).bfloat16())
"""


def test_the_resolution_of_each_precision_is_a_property(run, tmp_path):
    status, said = run(HALVES, "--junitxml", "junit.xml")
    assert status == 0, said
    (it,) = xml.parse(tmp_path / "junit.xml").iter("property")
    assert re.fullmatch(r"match, \de-\d\d in float32, \de-\d\d in halves", it.get("value"))
