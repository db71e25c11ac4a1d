"""The figures of the house are counted as they say."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import house
from tests.house import Figure, branches, functions, is_annotated, passage, tokens


def only(source):
    return next(functions(source))


def test_line_breaks_and_comments_are_no_tokens():
    assert tokens("x = [1, 2]\n") == tokens("# a list\nx = [\n    1, 2\n]\n\n") == 7


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("pass", 0),
        ("if a: pass\n    elif b: pass\n    else: pass", 2),
        ("while a and b and not c: pass", 3),
        ("return [x for x in y if x if z for w in x]", 4),
        ("return a if b or c else d", 2),
        ("with a as b, c as d: assert b", 2),
        ("try: pass\n    except A: pass\n    except B: pass\n    finally: pass", 2),
        ("def g():\n        for x in y: pass", 2),
        ("match a:\n        case 1: pass\n        case 2 | 3: pass", 2),
    ],
)
def test_branches_are_counted_with_what_stands_nested(body, number):
    assert branches(only(f"def f():\n    {body}\n")) == number


@pytest.mark.parametrize(
    ("head", "annotated"),
    [
        ("def f() -> None", True),
        ("def f()", False),
        ("def f(a) -> int", False),
        ("def f(self, a: int, *b: int, c: int = 1, **d: int) -> int", True),
        ("def f(*b) -> int", False),
        ("def f(**d) -> int", False),
    ],
)
def test_a_function_is_annotated_where_everything_of_it_is(head, annotated):
    assert is_annotated(only(f"{head}: ...")) is annotated


def test_functions_of_classes_and_in_functions_are_functions():
    names = [it.name for it in functions("class A:\n    def f(): \n        async def g(): ...\n")]
    assert names == ["f", "g"]


@pytest.mark.slow
def test_a_derivation_passes_from_the_command_to_the_judge():
    passed = passage()
    assert {"cli/compare.py", "sides/function.py", "run/judge.py"} <= {
        Path(file).relative_to(house.REFEREE).as_posix() for file in passed.files
    }
    assert passed.has_ended
    assert len(passed.functions) > len(passed.files)
    assert not any(name == "<module>" for _, name in passed.functions)


def test_a_figure_above_its_limit_is_over_and_status_1(monkeypatch, capsys):
    for value, status, word in ((3, 0, "ok"), (4, 1, "over")):
        monkeypatch.setattr(house, "figures", lambda value=value: [Figure("x", value, 3)])
        assert house.main() == status
        assert capsys.readouterr().out.endswith(f"{word}\n")
    assert str(Figure("x", 2)).split() == ["x", "2"]
    over = [f"a.py:{line} f" for line in range(30)]
    assert str(Figure("x", 30, 0, over=over)).splitlines()[1:] == [
        *(f"    {place}" for place in over[:20]),
        "    …",
    ]
    assert Figure("share", 100, 100, at_least=True).holds
    assert not Figure("share", 99.9, 100, at_least=True).holds


@pytest.mark.skipif(not find_spec("ruff"), reason="no ruff: `make check` installs it")
def test_ruffs_own_count_is_what_is_above_a_complexity():
    above_one = house.too_complex(1)
    assert len(above_one) > len(house.too_complex(12))
    assert any(it.startswith("manual_backprop/neuron_by_neuron.py:") for it in above_one)
