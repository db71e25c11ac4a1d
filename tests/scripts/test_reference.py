"""docs/reference: what is generated is up to date, and nothing is left out."""

import ast
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from lockstep import audit, check_gradients
from lockstep.cli import check, compare, descend, exercise, look
from lockstep.grade.judge import Grade
from lockstep.grade.reports import as_json
from lockstep.setup.options import FILE, GROUPS, MISTAKE_NAMES, OPTIONS
from scripts import reference
from tests.lecture import COMPUTED, PARAMETERS

PAGES = sorted(reference.PAGES.rglob("*.md"))
MISTAKES = reference.PAGES / "mistakes"
HEADINGS = [
    "In code",
    "Why it is wrong",
    "Remedy",
    "The report",
    "Where it is hard to see",
]
# Keys of the JSON document that an older one does not have.
NEW = {"lockstep", "torch", "numpy", "problem"}


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_what_is_generated(path):
    assert reference.written(path) == path.read_text()


def test_check_names_the_page_that_differs_and_leaves_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "names.md"
    wrong = (reference.PAGES / "names.md").read_text().replace("learning rate", "teaching rate")
    page.write_text(wrong)
    assert reference.run([page], only_check=True) == 1
    assert capsys.readouterr().out == "names.md: is not what is generated\n"
    assert page.read_text() == wrong
    assert reference.run([page], only_check=False) == 0
    assert page.read_text() == reference.written(page)
    assert reference.run([page], only_check=True) == 0


def test_a_name_is_given_by_a_check():
    assert reference._named_by("momentum") == ["`compare`"]
    assert reference._named_by("sign-flipped") == ["`compare`", "`check_gradients`"]
    assert reference._named_by("strides") == ["`check_function`"]
    assert reference._named_by("wrong-shape") == ["`compare`", "`check_gradients`"]


@pytest.mark.parametrize("mistake", ["factor-missing", "momentum", "strides"])
def test_a_report_is_what_the_command_prints(mistake, tmp_path):
    text = (MISTAKES / f"{mistake}.md").read_text()
    page = tmp_path / f"{mistake}.md"
    for stale in (text.replace("  remedy ", "  redemy "), re.sub(r"(?s)…\n.*?```", "```", text)):
        assert stale != text
        page.write_text(stale)
        assert reference.written(page) == text


def test_a_report_that_names_another_mistake_first_is_refused(tmp_path):
    page = tmp_path / "sign-flipped.md"
    for new in ("2 * (o - y)", "3 * (o - y)"):  # right, and another mistake
        text = (MISTAKES / "sign-flipped.md").read_text().replace("2 * (y - o)", new)
        page.write_text(text)
        with pytest.raises(SystemExit, match=r"sign-flipped\.md: expected the report to name"):
            reference.written(page)


# Mistakes


def test_every_mistake_has_a_page_and_a_line_in_the_list():
    assert set(MISTAKE_NAMES) < set(reference.MISTAKES)
    assert {path.stem for path in MISTAKES.iterdir()} == {*reference.MISTAKES, "index"}
    listed = re.findall(r"^\| \[(.*)\]\(\1\.md\) \| .+ \| .+ \|$", index(), re.MULTILINE)
    assert listed == list(reference.MISTAKES)


def names_given():
    """The mistakes that lockstep/gradients can name.

    A name of several words is any string that looks like one. One of a single word is an argument
    `mistake` of something that is called.
    """
    files = sorted((reference.ROOT / "lockstep" / "gradients").glob("*.py"))
    diagnosis = reference.ROOT / "lockstep" / "explain" / "diagnosis.py"
    nodes = [it for path in (*files, diagnosis) for it in ast.walk(ast.parse(path.read_text()))]
    given = {text for path in files for text in reference.strings(path)}
    given = {text for text in given if re.fullmatch("[a-z]+(-[a-z]+)+", text)} - {"one-sided"}
    places = {it.name: parameters(it).index("mistake") for it in nodes if takes_mistake(it)}
    for it in nodes:
        if isinstance(it, ast.Call) and isinstance(it.func, ast.Name) and it.func.id in places:
            passed = it.args[places[it.func.id] :][:1]
            given |= {each.value for each in passed if isinstance(each, ast.Constant)}
    return given


def takes_mistake(node):
    return isinstance(node, ast.FunctionDef | ast.ClassDef) and "mistake" in parameters(node)


def parameters(node):
    """The names of a function's arguments, or of a dataclass's fields."""
    if isinstance(node, ast.FunctionDef):
        return [it.arg for it in node.args.args]
    return [it.target.id for it in node.body if isinstance(it, ast.AnnAssign)]


def test_every_name_that_gradients_can_have_has_a_page():
    given = names_given()
    assert {"kink", "mask", "strides", "swapped-gradients"} <= given
    assert given <= set(reference.MISTAKES)


def index():
    return (MISTAKES / "index.md").read_text()


def test_every_mistake_stands_in_the_navigation():
    settings = reference.ROOT / "mkdocs.yml"
    if not settings.exists():
        pytest.skip("no mkdocs.yml")
    for name in (*reference.MISTAKES, "index"):
        assert f"reference/mistakes/{name}.md" in settings.read_text()


@pytest.mark.parametrize("mistake", reference.MISTAKES)
def test_the_page_of_a_mistake_has_its_parts_and_one_command(mistake):
    text = (MISTAKES / f"{mistake}.md").read_text()
    assert text.startswith(f"# {mistake}\n\n{reference._what(mistake)}\n\n")
    assert re.findall("^## (.*)", text, re.MULTILINE) == HEADINGS
    assert len(re.findall(r"^\$ ", text, re.MULTILINE)) == 1
    assert "# wrong" in text or "right:" in text
    assert f"  mistake   {mistake}:" in text
    assert f"<!-- named-by {mistake} -->\n\nNamed by `" in text


def test_a_page_says_what_hides_its_mistake_where_that_is_known():
    hidden = {name for options in reference.PROBLEMS for name in reference._hidden(options)}
    for mistake in reference.MISTAKES:
        says = "report it as *not tested*" in (MISTAKES / f"{mistake}.md").read_text()
        assert says == (mistake in hidden), mistake


# Options


def test_every_option_has_a_line():
    text = (reference.PAGES / "command-line.md").read_text()
    for command in (check, compare, descend, exercise, look):
        for action in command.parser("")._actions:
            typed = (action.option_strings or [action.metavar])[-1]
            assert typed == "--help" or re.search(rf"^\| `{typed}[ `]", text, re.MULTILINE), typed
    assert "| `--lr X` | learning rate (default: 0.05) |\n" in text
    in_a_file = {option.name for option in GROUPS[FILE]} - {"x", "y", "frozen", "title"}
    assert not any(f"--{name}" in text for name in in_a_file)  # those are other commands' too


def test_every_key_of_a_problem_file_has_a_line():
    text = (reference.PAGES / "problem-file.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(OPTIONS)
    assert "| `lr` | a finite number | learning rate | 0.05 |\n" in text
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert set(tomllib.loads(example[1])) <= set(OPTIONS)


# JSON

MINE = """
def step(W_o, x, delta_o, lr):
    return dict(delta_h=delta_o @ W_o)  # right only where the activation is linear
"""
RUNS = (
    ["--control", "--referee", "--steps", "2"],
    ["--derivation", "mine.py", "--battery", "4", "--keep-going"],
    ["--derivation", "mine.py", "--hidden-activation", "tanh", "--battery", "4", "--referee"],
    ["--derivation", "mine.py", "--sizes", "2-3-2", "--battery", "0"],
    ["--lr", "30"],
    ["--steps", "0"],
    ["--sizes", "2-3-3-2", "--momentum", "0.9", "--steps", "1"],
    ["--optimizer", "adam", "--steps", "1"],
    ["--optimizer", "rmsprop", "--steps", "1"],
)


def tables(text):
    """The keys that a page describes, by the place of their object: "" is the whole document."""
    found = {}
    for section in re.split(r"^##+ ", text, flags=re.MULTILINE):
        heading, _, body = section.partition("\n")
        keys = set(re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE))
        for place in re.findall("`(.*?)`", heading) or [heading]:
            found[place] = keys
    return {"": found.pop("The document"), "trace": found.pop("The trace")} | {
        place: keys for place, keys in found.items() if keys
    }


def keys_of(value, place=""):
    """(place, key) of every key in a value, without those that are names of quantities."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            for key, inner in item.items():
                yield place, key
                if place not in ("parameters", "quantities"):
                    yield from keys_of(inner, f"{place}.{key}".lstrip("."))


def checked(folder, capsys):
    """The keys of the documents of `lockstep check`, right and wrong."""
    (folder / "cube.py").write_text("inputs = {'a': 2.0}\ndef reference(a): return a * a * a\n")
    seen = set()
    for gradient in (12.0, 13.0):
        (folder / "cube.json").write_text(json.dumps({"a": gradient}))
        check.main("cube.py --gradients cube.json --json -".split())
        seen |= set(json.loads(capsys.readouterr().out))
    return seen


@pytest.mark.slow
def test_every_key_of_a_document_is_described_and_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    seen = {}
    for arguments in RUNS:
        compare.main([*arguments, "--json", "-"])
        for place, key in keys_of(json.loads(capsys.readouterr().out)):
            seen.setdefault(place, set()).add(key)
    described = tables((reference.PAGES / "json.md").read_text())
    trace = described.pop("trace")
    assert trace == {"step", "torch"}
    assert described.pop("lockstep check") == checked(tmp_path, capsys)
    audited = audit(lambda x: x * x, {"x": np.ones(3)}, rtol=1.0).document()
    assert described.pop("lockstep audit") == {*audited}
    (own,) = json.loads(as_json([Grade("ann", "ann.py", "match", 8.0, 8.0)], {}))["hand_ins"]
    assert described.pop("lockstep grade") == {*own}
    result = check_gradients(lambda x: {"x": 2 * x}, lambda x: (x * x).sum(), x=np.ones(3))
    assert described.pop("The document of a check in Python") == {*result.document()}
    program = Path(__file__).parents[1] / "lockstep" / "look" / "programs" / "script.py"
    look.main([str(program), "--json", "-"])
    (recognised, *_) = json.loads(capsys.readouterr().out)["recognised"]
    assert described.pop("recognised") == {*recognised}
    described[""].remove("recognised")
    if not seen[""] & NEW:
        described[""] -= NEW
        del described["problem"], described["problem.by_hand"]
    assert described == seen


def test_every_key_of_a_trace_is_described(tmp_path):
    path = tmp_path / "run.jsonl"
    compare.main(["--steps", "2", "--trace", str(path), "--show", "none"])
    head, *steps = map(json.loads, path.read_text().splitlines())
    assert list(head) == ["problem"]
    assert head["problem"].keys() <= OPTIONS.keys()
    for step in steps:
        assert set(step) == {"step", "torch", *PARAMETERS, *COMPUTED}
        assert set(step["torch"]) == set(COMPUTED)


def test_the_attributes_of_a_docstring_are_read_with_their_further_lines():
    text = """One line.

    Attributes:
        first: A sentence that
            goes on.
        second: Another: with a colon.

    Examples:
        third: none.
    """
    assert reference.attributes(text) == {
        "first": "A sentence that goes on.",
        "second": "Another: with a colon.",
    }
