"""The Makefile prepares its environment: which Python, which PyTorch, in any folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns.other_end import posix

ROOT = Path(__file__).parents[1]
CPU = "--extra-index-url https://download.pytorch.org/whl/cpu"
SENTENCE = "Python 3.11 or later is needed. Name one: make PYTHON=python3.12\n"
PYTHON = """#!/bin/sh
case "$*" in
  *"config list"*) cat "$(dirname "$0")/../../pip.conf" ;;
  *) echo "$@" >> "$(dirname "$0")/../../calls" ;;
esac
"""
pytestmark = [posix, pytest.mark.skipif(not shutil.which("make"), reason="there is no make")]


@pytest.fixture
def folder(tmp_path):
    """A folder with a space in its name, with an environment whose Python notes its arguments."""
    folder = tmp_path / "a folder"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    (folder / "pip.conf").write_text("")
    return folder


def make(folder, *arguments):
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of the make that runs these tests
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def installs(folder, *arguments):
    """What pip is called with by `make compare`."""
    done = make(folder, "compare", *arguments)
    assert done.returncode == 0, done.stderr
    calls = (folder / "calls").read_text().splitlines()
    assert calls[-1] == "scripts/compare.py"
    return done.stdout, calls[:-1]


@pytest.mark.skipif(sys.platform != "linux", reason="PyPI has a CPU build for other systems")
def test_on_linux_pytorch_comes_from_the_index_of_cpu_builds(folder):
    out, (call,) = installs(folder)
    assert call.endswith(f" {CPU} -r requirements.txt")
    assert "Installing PyTorch and the rest of requirements.txt into .venv, once (about" in out


def test_the_index_of_pytorch_can_be_named_or_left_out(folder):
    _, (call,) = installs(folder, "TORCH_INDEX=https://example.org/whl")
    assert "--extra-index-url https://example.org/whl -r" in call
    (folder / ".venv" / "ready").unlink()
    (folder / "calls").unlink()
    _, (call,) = installs(folder, "TORCH_INDEX=")
    assert "index" not in call


@pytest.mark.parametrize(
    "line",
    [
        "global.index-url='https://example.org/simple'",
        "global.extra-index-url='https://example.org/simple'",
        ":env:.find-links='/wheels'",
    ],
)
def test_where_pip_has_indexes_of_the_users_own_none_is_added(folder, line):
    (folder / "pip.conf").write_text(f"global.timeout='60'\n{line}\n")
    _, (call,) = installs(folder)
    assert "index" not in call


def test_what_is_installed_is_not_installed_again(folder):
    installs(folder)
    (folder / "calls").unlink()
    assert installs(folder)[1] == []


@pytest.mark.parametrize("python", ["./old", "./not-there"])
def test_a_python_that_is_too_old_is_one_sentence_before_anything(folder, python):
    shutil.rmtree(folder / ".venv")
    (folder / "old").write_text("#!/bin/sh\nexit 1\n")
    (folder / "old").chmod(0o755)
    done = make(folder, "compare", f"PYTHON={python}")
    assert done.returncode == 2
    assert (done.stdout, SENTENCE in done.stderr) == ("", True)
    assert not (folder / ".venv").exists()
