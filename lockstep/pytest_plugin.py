"""The pytest plugin: checks of gradients as fixtures, a page of all checks of a session.

It imports no PyTorch before a check does. Installed, it is loaded by pytest; else by
`-p lockstep.pytest_plugin`.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import pytest

from lockstep.errors import OBSERVERS, Mismatch, Unusable

_Hook = Generator[None, Any, Any]
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Gradients: {verdicts}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
         padding: 0 1rem; color: #1c2328; background: #fff }}
  h1 {{ font-size: 1.5rem }} table {{ border-collapse: collapse; width: 100% }}
  td, th {{ text-align: left; white-space: nowrap; padding: .3rem .8rem .3rem 0;
           border-bottom: 1px solid #d5dadd; vertical-align: top }}
  .mismatch {{ color: #a3152a; font-weight: 600 }} .match {{ color: #0b6b3a }}
  pre {{ white-space: pre-wrap; background: #f4f6f7; padding: .8rem; margin: .3rem 0 }}
  @media (prefers-color-scheme: dark) {{
    body {{ color: #e4e8ea; background: #14181b }} pre {{ background: #20262a }}
    td, th {{ border-color: #394147 }} .mismatch {{ color: #ff8c99 }} .match {{ color: #7fd6a4 }}
  }}
</style>
<h1>Gradients: {verdicts}</h1>
<table><tr><th>test</th><th>verdict</th><th>mistake</th><th>smallest detectable error</th></tr>
{rows}</table>
</html>
"""
_ROW = """<tr><td>{test}<details><summary>report</summary><pre>{report}</pre></details></td>
<td class="{verdict}">{verdict}</td><td>{mistake}</td><td>{resolution}</td></tr>
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --gradients-report."""
    parser.getgroup("lockstep").addoption(
        "--gradients-report",
        metavar="FILE.html",
        help="write a page of all checks of gradients: verdict, mistake, smallest detectable error",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the checks where a page is wanted; a worker sends its own with its reports."""
    path = config.getoption("gradients_report", None)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(path), "lockstep-page")


@pytest.fixture(name="check_gradients")
def _check_gradients() -> Callable[..., Any]:
    """`lockstep.check_gradients`."""
    return _named("check_gradients")


@pytest.fixture(name="check_function")
def _check_function() -> Callable[..., Any]:
    """`lockstep.check_function`."""
    return _named("check_function")


def _named(name: str) -> Callable[..., Any]:
    def check(*arguments: Any, **settings: Any) -> Any:
        __tracebackhide__ = True
        return getattr(import_module("lockstep"), name)(*arguments, **settings)

    return check


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what PyTorch logs for its own developers out of a test's report."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _noted_in(item: pytest.Item) -> Iterator[None]:
    """Note the checks of a phase of a test, as properties of its report too."""
    found: list[dict[str, Any]] = []

    def note(it: Any) -> None:
        if isinstance(it, Mismatch) or hasattr(it, "verdict"):  # else it could not be used
            found.append(_noted(it))

    OBSERVERS.append(note)
    try:
        with _quiet():
            yield
    finally:
        OBSERVERS.remove(note)
        for it in found:
            said = ", ".join(filter(None, (it["verdict"], it["mistake"] or it["resolution"])))
            item.user_properties.append(("gradients", said))
        item.stash[_CHECKS] = found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> _Hook:
    """Note the checks of a test, and those of its fixtures at their beginning and end."""
    with _noted_in(item):
        return (yield)


pytest_runtest_setup = pytest_runtest_teardown = pytest_runtest_call

_CHECKS = pytest.StashKey[list[dict[str, Any]]]()


def _noted(it: Any) -> dict[str, Any]:
    """A result, or a mismatch, as plain data."""
    if isinstance(it, Mismatch):
        mistake = it.diagnoses[0]["mistake"] if it.diagnoses else "unknown"
        return dict(verdict="mismatch", mistake=mistake, resolution="", report=str(it))
    typical = it.resolution["typical"]
    seen = f"{typical:.0e}" if typical else ""
    if in_halves := getattr(it, "in_halves", 0.0):
        seen += f" in {it.judged}, {in_halves:.0e} in halves"
    return dict(verdict=it.verdict, mistake="", resolution=seen, report=str(it))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> _Hook:
    """Begin the line of a failed test's summary with the mistake: what is longer is cut off."""
    report: Any = yield
    report.gradient_checks = item.stash.get(_CHECKS, [])
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, Mismatch) and error.diagnoses:
        it = error.diagnoses[0]
        with suppress(AttributeError):  # of a plain text, as --tb=native gives
            crash = report.longrepr.reprcrash
            crash.message = f"{it['mistake']} ({it['quantity']}): {it['says']}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line for each mismatch, mistake first: pytest's own summary may have no room for it."""
    lines = [
        f"{it['mistake']}: {report.nodeid}"
        for kind in ("failed", "error")
        for report in terminalreporter.stats.get(kind, ())
        for it in getattr(report, "gradient_checks", ())
        if it["verdict"] == "mismatch"
    ]
    if lines:
        terminalreporter.section("gradients")
        terminalreporter.write("".join(f"{line}\n" for line in lines))


class _Page:
    """Collects the checks of a session, and writes the page."""

    def __init__(self, path: str) -> None:
        self.path, self.rows = path, list[str]()
        self.verdicts: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take in the checks of a test, which may have run in another process."""
        for it in getattr(report, "gradient_checks", ()):
            verdict = it["verdict"]
            self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
            cells = dict(it, test=report.nodeid)
            self.rows.append(
                _ROW.format(**{key: html.escape(str(cell)) for key, cell in cells.items()})
            )

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        counts = [f"{count} {verdict}" for verdict, count in sorted(self.verdicts.items())]
        page = _PAGE.format(verdicts=", ".join(counts) or "no checks", rows="".join(self.rows))
        from lockstep.cli.main import whole_file

        try:
            with whole_file(self.path, "--gradients-report") as file:
                file.write(page)
        except Unusable as error:
            raise pytest.UsageError(str(error)) from None
