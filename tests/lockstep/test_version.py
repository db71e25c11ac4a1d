"""Which version the package says it is: a checkout's own, otherwise the installed one."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import lockstep
from lockstep import version as home

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def version_in(monkeypatch, tmp_path):
    """What the package says in a folder with this pyproject.toml, None for no such file."""

    def version_in(pyproject, installed=None):
        if pyproject is not None:
            (tmp_path / "pyproject.toml").write_text(pyproject)
        monkeypatch.setattr(home, "__file__", str(tmp_path / "lockstep" / "version.py"))

        def version(name):
            assert name == PROJECT["name"]
            if installed is None:
                raise metadata.PackageNotFoundError
            return installed

        monkeypatch.setattr(metadata, "version", version)
        home.version.cache_clear()
        return home.version()

    yield version_in
    home.version.cache_clear()


def test_a_checkout_has_the_version_of_its_pyproject():
    assert lockstep.__version__ == PROJECT["version"]


def test_the_checkouts_version_wins_over_an_installed_one(version_in):
    ours = '[project]\nname = "lockstep-backprop"\nversion = "9.1"\n'
    assert version_in(ours, "0.1.0") == "9.1"


@pytest.mark.parametrize("pyproject", [None, '[project]\nname = "other"\n', "[tool.x]", "[", ""])
def test_beside_no_pyproject_of_ours_the_installed_version_counts(version_in, pyproject):
    assert version_in(pyproject, "0.1.0") == "0.1.0"


def test_a_copy_of_the_folder_has_no_known_version(version_in):
    assert version_in(None) == "unknown"


def test_the_version_is_looked_for_only_when_it_is_asked_for():
    program = (
        "import sys, lockstep\n"
        "print('lockstep.version' in sys.modules)\n"
        "print(lockstep.__version__, 'lockstep.version' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"False\n{PROJECT['version']} True\n"


def test_the_command_is_the_packages_main():
    assert PROJECT["scripts"] == {"lockstep": "lockstep.__main__:main"}


def test_the_package_needs_three_others():
    names = {requirement.split(">")[0] for requirement in PROJECT["dependencies"]}
    assert names == {"numpy", "rich", "torch"}


def test_every_file_that_names_the_version_names_this_one():
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == PROJECT["version"]
