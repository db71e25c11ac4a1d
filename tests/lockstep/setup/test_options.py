"""The options stand once, for the command line, problem files, compare() and the reference."""

import argparse

import pytest

from lockstep.cli.compare import parser
from lockstep.errors import Unusable
from lockstep.setup.options import DEFAULTS, FILE, GROUPS, OPTIONS, check
from lockstep.setup.problem import make_problem


def test_every_option_is_on_the_command_line_or_in_files_only():
    flags = {action.dest for action in parser()._actions if action.option_strings}
    flags -= {"help", "template"}
    in_files = {option.name for option in GROUPS[FILE]}
    assert in_files == {"x", "y", "W_h", "b_h", "W_o", "b_o", "biases", "frozen"} | {
        "title",
        "labels",
    }
    assert flags == OPTIONS.keys() - in_files


def test_help_has_every_option_with_what_it_does_and_its_default(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    text = " ".join(parser().format_help().split())
    for option in OPTIONS.values():
        if option not in GROUPS[FILE]:
            metavar = f" {option.kind.metavar}" if option.kind.metavar else ""
            default = f" (default: {option.without})" if option.without else ""
            assert f" {option.flag}{metavar} {option.help}{default}" in text


def test_a_default_is_a_value_that_its_check_accepts():
    assert check(DEFAULTS, str) == DEFAULTS
    assert DEFAULTS["lr"] == 0.05
    assert DEFAULTS["steps"] == 100
    assert DEFAULTS["dtype"] == "float64"


def test_a_default_is_what_a_problem_has_where_nothing_is_given():
    problem = make_problem({})
    for name in ("lr", "steps", "dtype", "loss"):
        assert getattr(problem, name) == DEFAULTS[name]
    assert (problem.frozen, problem.samples) == (DEFAULTS["frozen"], DEFAULTS["samples"])
    assert make_problem({"sizes": (2, 2, 2)}).x == pytest.approx(
        make_problem({"sizes": (2, 2, 2), "seed": DEFAULTS["seed"]}).x
    )


def test_what_is_not_given_on_the_command_line_is_not_there():
    assert parser().parse_args([]) == argparse.Namespace()
    given = parser().parse_args(["a.toml", "--lr", "-1e-3", "--quiet", "--steps", "3"])
    assert vars(given) == {"problem": "a.toml", "lr": -1e-3, "quiet": True, "steps": 3}


def test_a_message_says_what_was_given():
    for name, value, words in (
        ("x", 3, "x: expected a list of rows, each a list of numbers, got 3"),
        ("b_h", 3, "b_h: expected a list of numbers, got 3"),
        ("b_h", [], "b_h: expected numbers, but the list is empty"),
        ("json", "", "json: expected the name of a file, got ''"),
        (
            "plot",
            "a.bmp",
            "plot: expected a file name that ends with .png, .svg, .pdf, got 'a.bmp'",
        ),
        ("plot", 3, "plot: expected a file name that ends with .png, .svg, .pdf, got 3"),
        ("show", "", "show: expected step numbers such as 1,10, or all, or none, got ''"),
        ("steps", True, "steps: expected a whole number of steps, 0 or more, got True"),
        ("expect", "typo", "expect: expected the name of a mistake: sign-flipped"),
        ("atol", float("nan"), "atol: expected a finite number, 0 or more, got nan"),
    ):
        with pytest.raises(Unusable) as error:
            check({name: value}, str)
        assert str(error.value).startswith(words)
