"""The house: the two sides never meet, they mirror each other, and starting is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lockstep

ROOT = Path(__file__).parents[1]


def imported(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield (node.module or "").split(".")[0]


def test_the_side_by_hand_never_imports_pytorch_or_the_other_rooms():
    assert {"torch", "torch_reference", "lockstep"}.isdisjoint(imported("manual_backprop"))


def test_the_side_by_pytorch_never_imports_the_side_by_hand():
    assert {"manual_backprop", "lockstep", "numpy"}.isdisjoint(imported("torch_reference"))


@pytest.mark.parametrize("name", ["two_layer.py", "network.py", "gradient_descent.py"])
def test_the_two_files_have_the_same_public_names_in_the_same_order(name):
    def public(side):
        body = ast.parse((ROOT / side / name).read_text()).body
        definitions = [
            node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
        return [definition for definition in definitions if not definition.startswith("_")]

    assert public("manual_backprop") == public("torch_reference")
    assert len(public("manual_backprop")) >= 5


def modules_after(code):
    program = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["audit", "check", "compare", "descend", "exercise", "grade", "look", "sheet", ""]
)
def test_help_imports_neither_torch_nor_numpy(command):
    arguments = [command, "--help"] if command else []
    code = f"from lockstep.__main__ import main\ntry: main({arguments})\nexcept SystemExit: pass"
    assert modules_after(code).isdisjoint({"torch", "numpy", "rich", "matplotlib"})


def test_the_options_import_neither_torch_nor_numpy():
    assert modules_after("import lockstep.setup.options").isdisjoint({"torch", "numpy"})


def test_torch_is_not_imported_for_bad_input():
    loaded = modules_after("from lockstep.cli.compare import main\nmain(['--lr', 'inf'])")
    assert "torch" not in loaded


def test_the_public_names_are_where_they_are_said_to_be():
    tree = ast.parse((ROOT / "lockstep" / "__init__.py").read_text())
    typed = {
        (alias.name, node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lockstep.")
        for alias in node.names
    }
    assert typed == {(name, f"lockstep.{home}") for name, home in lockstep._HOMES.items()}
    assert {name for name, _ in typed} == set(lockstep.__all__)
    for name in lockstep.__all__:
        assert getattr(lockstep, name).__name__ == name
