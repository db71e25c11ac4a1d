"""Which version of the package this is."""

import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

_PROJECT = "lockstep-backprop"


@cache
def version() -> str:
    """The version of a checkout as its pyproject.toml says, otherwise of the installed package."""
    try:
        text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text).get("project", {})
    except (OSError, ValueError):
        project = {}
    if project.get("name") == _PROJECT:
        return str(project["version"])
    try:
        return metadata.version(_PROJECT)
    except metadata.PackageNotFoundError:  # a copy of the folder alone
        return "unknown"


def versions() -> dict[str, str]:
    """By package, the version of this one and of those that it computes with."""
    import numpy
    import torch

    return {
        "lockstep": version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }
