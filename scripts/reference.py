"""Write what is generated in docs/reference: tables, lists, and the reports of mistakes.

A page is written by hand, but for two things:

- What stands between `<!-- NAME ARGUMENT -->` and `<!-- end -->` is what the function PARTS[NAME]
  gives for the argument.
- On a page of a mistake, what stands below the command is its report, from `mistake` to `note`.

`python scripts/reference.py` writes the pages anew; with `--check` it only names those that differ,
and exits with status 1 if there are any.
"""

import argparse
import ast
import contextlib
import inspect
import io
import linecache
import os
import re
import runpy
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from lockstep import compare  # noqa: E402
from lockstep.cli import compare as command  # noqa: E402
from lockstep.explain.formulas import what_it_is  # noqa: E402
from lockstep.network.network import Network  # noqa: E402
from lockstep.report.formulas import formula  # noqa: E402
from lockstep.report.page.labels import WORDS  # noqa: E402
from lockstep.setup.options import GROUPS, LOSS_NAMES, MISTAKE_NAMES, OPTIONS  # noqa: E402
from manual_backprop.losses import LOSSES  # noqa: E402

PAGES = ROOT / "docs" / "reference"
# Every name that a report may give has a page; those of a network's steps come first.
MISTAKES = (
    *MISTAKE_NAMES,
    *sorted({path.stem for path in (PAGES / "mistakes").iterdir()} - {*MISTAKE_NAMES, "index"}),
)
LECTURES = Network((2, 2, 2), ("linear", "linear"), "half_sum", biases=(True, True))
# Which check can give the names in a room of lockstep/, or in one file of it.
CHECKS = {
    "explain": "`compare`",
    "gradients": "`check_gradients`",
    "gradients/layers.py": "`check_function`",  # and `check_layer`
    "gradients/functions.py": "`check_function`",
    "gradients/scalar.py": "`check_function`",
}
# On which problems the mistakes are tried, to see what hides them.
PROBLEMS = (
    "",
    "--steps 1",
    "--samples 5",
    "--sizes 3-4-1 --hidden-activation sigmoid --output-activation tanh",
    "--sizes 3-4-2 --samples 5",
    "--sizes 3-3-3 --samples 5",
    "--sizes 3-3-3 --samples 5 --hidden-activation relu --output-activation relu",
    "--sizes 3-3-3 --samples 5 --hidden-activation sigmoid --output-activation tanh",
    "--sizes 3-3-3 --samples 5 --lr 0",
)
_PART = re.compile(r"<!-- ([\w-]+)(?: (\S+))? -->\n.*?<!-- end -->", re.DOTALL)
_FILE = re.compile(r"```\w+\n(# (\S+)\n.*?)```", re.DOTALL)
_COMMAND = re.compile(r"^```console\n\$ (.*)\n(?:.*\n)*?```$", re.MULTILINE)


def written(path: Path) -> str:
    """A page as it should be."""
    text = path.read_text("utf-8")
    if path.stem in MISTAKES:
        text = _COMMAND.sub(lambda found: _with_report(path.stem, text, found[1]), text)
    return _PART.sub(_part, text)


def _part(found: re.Match[str]) -> str:
    head, _, _ = found[0].partition("\n")
    return f"{head}\n\n{PARTS[found[1]](found[2] or '')}\n\n<!-- end -->"


# The report of a mistake


def _with_report(mistake: str, page: str, line: str) -> str:
    """The command of a mistake's page with its report."""
    report = _explanation(_printed(line, _FILE.findall(page)))
    if not report.startswith(f"  mistake   {mistake}:"):
        raise SystemExit(
            f"{mistake}.md: expected the report to name {mistake} first, got\n{report}"
        )
    return f"```console\n$ {line}\n…\n{report}\n```"


def _printed(line: str, files: Iterable[tuple[str, str]]) -> str:
    """What a command line prints in a folder that has scripts/ and these files: text, name."""
    _, script, *arguments = shlex.split(line)
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    linecache.clearcache()  # another page has another mine.py
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("scripts").symlink_to(ROOT / "scripts")
        for text, name in files:
            Path(name).write_text(text, "utf-8")
        with contextlib.redirect_stdout(output):
            if script == "scripts/compare.py":
                command.main(arguments, "compare.py")
            else:
                runpy.run_path(script)
    output.seek(0)
    return output.read()


def _explanation(report: str) -> str:
    """The lines of a report from `mistake` on, to the end of its paragraph."""
    paragraph = report[report.find("  mistake ") :]
    return paragraph.partition("\n\n")[0].rstrip()


# What is known of each mistake


@cache
def strings(path: Path) -> set[str]:
    """The strings in a file of code, and so the mistakes that it can name."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {it.value for it in nodes if isinstance(it, ast.Constant) and isinstance(it.value, str)}


def _named_by(mistake: str) -> list[str]:
    """Which checks can give a mistake's name. What check_gradients gives, check_function does."""
    named = set()
    for room in ("explain", "gradients"):
        for path in (ROOT / "lockstep" / room).glob("*.py"):
            if mistake in strings(path):
                named.add(CHECKS.get(f"{room}/{path.name}", CHECKS[room]))
    if CHECKS["gradients"] in named:
        named.discard(CHECKS["gradients/layers.py"])
    return [check for check in dict.fromkeys(CHECKS.values()) if check in named]


@cache
def _hidden(options: str) -> list[str]:
    """The mistakes that a problem cannot show."""
    settings: dict[str, Any] = {"steps": 2} | vars(command.parser().parse_args(options.split()))
    return compare(None, settings).cannot_see or []


def _problem(options: str) -> str:
    return f"`{options}`" if options else "the lecture's network (no options)"


def _hidden_by(mistake: str) -> str:
    """The problems that a mistake is hidden by, as a list."""
    hiding = [f"- {_problem(options)}" for options in PROBLEMS if mistake in _hidden(options)]
    of = "[the problems that were tried](index.md#what-hides-a-mistake)"
    if not hiding:
        return f"All of {of} show it."
    return "\n".join([f"Of {of}, these report it as *not tested*:", "", *hiding])


def _what(mistake: str) -> str:
    """The line below the title of a mistake's page."""
    return (PAGES / "mistakes" / f"{mistake}.md").read_text("utf-8").split("\n")[2]


def _mistakes() -> Iterator[Sequence[str]]:
    for mistake in MISTAKES:
        yield f"[{mistake}]({mistake}.md)", _what(mistake), ", ".join(_named_by(mistake))


def _problems() -> Iterator[Sequence[str]]:
    for options in PROBLEMS:
        links = (f"[{mistake}]({mistake}.md)" for mistake in _hidden(options))
        yield _problem(options), ", ".join(links) or "none"


# Tables


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    every = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in every)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _options(name: str) -> Iterator[Sequence[str]]:
    """The options of a command."""
    reads: argparse.ArgumentParser = import_module(f"lockstep.cli.{name}").parser("")
    for group in reads._action_groups:
        actions = [it for it in group._group_actions if it.dest != "help"]
        if actions:
            yield f"**{group.title}**", ""
        for it in actions:
            words = [*it.option_strings[-1:], *filter(None, [str(it.metavar or "")])]
            yield f"`{' '.join(words)}`", it.help or ""


def _keys() -> Iterator[Sequence[str]]:
    """The keys of a problem file."""
    for heading, options in GROUPS.items():
        yield f"**{heading}**", "", "", ""
        for it in options:
            yield f"`{it.name}`", it.kind.words, it.help, it.without


def _quantities() -> Iterator[Sequence[str]]:
    """The names, in the order in which a step computes."""
    sizes: Any = ("n_in", "n_hidden", "n_out")
    samples: Any = "N"
    general = replace(LECTURES, sizes=sizes)
    for name in ("x", "y", *LECTURES.parameters, "lr", *LECTURES.computed):
        given = name in OPTIONS and name != "loss"
        axes = ", ".join(map(str, general.shape(name, samples)))
        scalars = LECTURES.scalar_names(name, 1) or ()
        meaning = OPTIONS[name].help if given else what_it_is(name, name, LECTURES)
        yield (
            f"`{name}`",
            f"({axes},)" if axes and "," not in axes else f"({axes})",
            "the loss" if name == "loss" else meaning,
            " ".join(f"`{scalar}`" for scalar in scalars),
            "" if given else "see below" if name in ("loss", "delta_o") else _formula(name),
            "" if given else f"`{LECTURES.torch_place(name, ())}`",
        )


def _formula(name: str, loss: str = "mse") -> str:
    return formula(name, None, replace(LECTURES, loss=loss))


def _losses() -> Iterator[Sequence[str]]:
    for loss in LOSS_NAMES:
        about = inspect.getdoc(LOSSES[loss][0]) or ""
        yield f"`{loss}`", about, _formula("loss", loss), _formula("delta_o", loss)


def _scalars() -> Iterator[Sequence[str]]:
    """The lecture's formulas, with the lecture's loss."""
    for name in LECTURES.computed:
        for scalar in LECTURES.scalar_names(name, 1) or ():
            about = what_it_is(scalar, name, LECTURES)
            yield f"`{scalar}`", about, formula(scalar, True, LECTURES)


def _fields(place: str) -> Iterator[Sequence[str]]:
    """The attributes of a dataclass, by the docstring of it and of those that it extends."""
    module, _, name = place.rpartition(".")
    it = getattr(import_module(module), name)
    about: dict[str, str] = {}
    for base in it.__mro__[:-1]:
        about = attributes(base.__doc__ or "") | about
    for field in fields(it):
        yield f"`{field.name}`", _json_type(field.type), about[field.name].replace("None", "null")


def attributes(docstring: str) -> dict[str, str]:
    """The section Attributes of a docstring in Google's style, by name."""
    section = inspect.cleandoc(docstring).partition("Attributes:\n")[2].split("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _json_type(annotation: Any) -> str:
    """A type as JSON has it, in words."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    words = {
        "str": "string",
        "int": "integer",
        "float": "number",
        "bool": "true or false",
        "None": "null",
    }

    def in_words(part: str) -> str:
        inside = re.fullmatch(r"list\[(.*)\]", part)
        return f"list of {in_words(inside[1])}s" if inside else words.get(part, "object")

    return " or ".join(in_words(part.strip()) for part in text.split("|"))


PARTS: dict[str, Callable[[str], str]] = {
    "named-by": lambda mistake: f"Named by {' and '.join(_named_by(mistake))}.",
    "hidden-by": _hidden_by,
    "mistakes": lambda _: _table(("name", "what it is", "named by"), _mistakes()),
    "problems": lambda _: _table(("problem", "mistakes that it hides"), _problems()),
    "options": lambda name: _table(("option", "meaning"), _options(name)),
    "keys": lambda _: _table(("key", "value", "meaning", "without it"), _keys()),
    "words": lambda _: ", ".join(f"`{word}`" for word in WORDS),
    "quantities": lambda _: _table(
        ("name", "shape", "meaning", "the lecture's scalars", "formula", "where PyTorch has it"),
        _quantities(),
    ),
    "losses": lambda _: _table(("name", "L", "its formula", "δ_o"), _losses()),
    "scalars": lambda _: _table(("name", "meaning", "formula"), _scalars()),
    "fields": lambda place: _table(("key", "type", "meaning"), _fields(place)),
}


def run(pages: Iterable[Path], only_check: bool) -> int:
    """Write pages anew where they differ, or only name these.

    Returns:
        The exit status: 1 where a page differs that is not to be written.
    """
    status = 0
    for path in pages:
        text = written(path)
        if text == path.read_text("utf-8"):
            continue
        if not only_check:
            path.write_text(text, "utf-8")
        status |= only_check
        print(f"{os.path.relpath(path)}: {'is not what is generated' if only_check else 'written'}")
    return status


if __name__ == "__main__":
    reads = argparse.ArgumentParser(description="Write what is generated in docs/reference.")
    reads.add_argument("--check", action="store_true", help="only name the pages that differ")
    os.environ["COLUMNS"] = "80"
    sys.exit(run(sorted(PAGES.rglob("*.md")), reads.parse_args().check))
