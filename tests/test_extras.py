"""What only some options need may be missing: everything else works, and these options say so."""

import subprocess
import sys
from pathlib import Path

import pytest

from lockstep import compare
from lockstep.__main__ import main
from lockstep.errors import Unusable
from lockstep.setup.options import check

ROOT = Path(__file__).parents[1]
WITHOUT = """
import builtins, sys
packages = "matplotlib", "PIL", "jinja2", "pygments", "scipy", "threadpoolctl"
sys.modules |= dict.fromkeys(packages)  # None: it cannot be imported
imported = builtins.__import__
def without_mpmath(name, globals=None, *rest, **more):  # PyTorch itself needs that one
    if name.startswith("mpmath") and (globals or {}).get("__name__", "").startswith("lockstep"):
        raise ImportError(name)
    return imported(name, globals, *rest, **more)
builtins.__import__ = without_mpmath
"""


def ran(program, cwd=ROOT, *arguments):
    """A program in which the optional packages cannot be imported."""
    command = [sys.executable, "-c", WITHOUT + program, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def lacks(monkeypatch):
    """Make a package unimportable in this process."""
    return lambda package: monkeypatch.setitem(sys.modules, package, None)


COMMANDS = {  # with the status of each
    "compare --control --battery 2 --json -": 0,
    "compare scripts/examples/mazur.toml --steps 2": 0,
    "compare --derivation scripts/examples/updated_too_early.py --sizes 3-4-2 --samples 5": 1,
    "descend": 0,
    "--version": 0,
    "exercise FILE": 0,
    "exercise  FILE": 0,  # and once more, now that it is there
}
EACH = """
import contextlib, io
from lockstep.__main__ import main
for words in sys.argv[1:]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            status = main(words.split())
        except SystemExit as end:
            status = end.code
    print(status, bool(out.getvalue()))
"""


@pytest.mark.slow
def test_a_command_needs_no_optional_package(tmp_path):
    path = str(tmp_path / "net.py")
    done = ran(EACH, ROOT, *(words.replace("FILE", path) for words in COMMANDS))
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"{status} True" for status in COMMANDS.values()]


@pytest.mark.slow
def test_the_functions_need_no_optional_package():
    done = ran(
        "import torch, lockstep\n"
        "result = lockstep.compare(steps=3)\n"
        "print(result)\n"
        "assert result._repr_html_() is None\n"
        "x = torch.linspace(-1, 1, 6, dtype=torch.float64)\n"
        "square, hand = lambda x: (x * x).sum(), lambda x: {'x': 2 * x}\n"
        "print(lockstep.check_gradients(hand, square, x=x))\n"
        "try:\n"
        "    lockstep.check_gradients(lambda x: {'x': -2 * x}, square, x=x)\n"
        "except lockstep.GradientMismatch as error:\n"
        "    print(error)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("match") >= 3
    assert "sign-flipped" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "package", "message"),
    [
        (
            ["compare", "--plot", "a.png"],
            "matplotlib",
            "lockstep compare: --plot needs matplotlib: pip install 'lockstep-backprop[plot]'\n",
        ),
        (
            ["compare", "--html", "a.html"],
            "jinja2",
            "lockstep compare: --html needs jinja2: pip install 'lockstep-backprop[page]'\n",
        ),
        (
            ["compare", "--html", "a.html"],
            "pygments",
            "lockstep compare: --html needs pygments: pip install 'lockstep-backprop[page]'\n",
        ),
        (
            ["compare", "--referee"],
            "mpmath",
            "lockstep compare: --referee needs mpmath: pip install 'lockstep-backprop[exact]'\n",
        ),
        (
            ["descend", "--plot", "a.png"],
            "matplotlib",
            "lockstep descend: --plot needs matplotlib: pip install 'lockstep-backprop[plot]'\n",
        ),
        (
            ["descend", "--animate", "a.gif"],
            "matplotlib",
            "lockstep descend: --animate needs matplotlib: pip install 'lockstep-backprop[plot]'\n",
        ),
        (
            ["descend", "--show"],
            "matplotlib",
            "lockstep descend: --show needs matplotlib: pip install 'lockstep-backprop[plot]'\n",
        ),
    ],
)
def test_an_option_says_what_to_install_before_anything_is_computed(
    capsys, monkeypatch, tmp_path, lacks, arguments, package, message
):
    monkeypatch.chdir(tmp_path)
    lacks(package)
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", message)
    assert list(tmp_path.iterdir()) == []


def test_a_problem_file_and_a_setting_say_it_by_their_own_names(capsys, tmp_path, lacks):
    lacks("mpmath")
    path = tmp_path / "p.toml"
    path.write_text("referee = true\n")
    assert main(["compare", str(path)]) == 2
    assert f"{path}: referee needs mpmath: pip install" in capsys.readouterr().err
    with pytest.raises(Unusable, match=r"^referee needs mpmath: pip install '.*\[exact\]'$"):
        compare(referee=True)


def test_an_option_that_is_off_needs_nothing(lacks):
    lacks("mpmath")
    assert check({"referee": False}, str) == {"referee": False}


def test_a_notebook_without_jinja2_shows_the_text(monkeypatch, lacks):
    result = compare(steps=1)
    monkeypatch.delitem(sys.modules, "lockstep.report.page.page", raising=False)
    lacks("jinja2")
    assert result._repr_html_() is None
