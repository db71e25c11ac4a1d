"""The evidence that was asked for: planted errors and whether they were caught; which side is nearer the truth."""

import textwrap

from rich.text import Text

from lockstep.control import TIMES
from lockstep.report.digits import MOST_ULPS, digits, grouped
from lockstep.report.step import columns


def wrapped(text, width, style=""):
    """A paragraph in lines of `rich.text.Text`."""
    return [Text(line, style) for line in textwrap.wrap(text, width, break_on_hyphens=False)]


def control_lines(control, result, width):
    """The planted errors as a table, and how many of them were caught."""
    planted, caught = control["planted"], control["caught"]
    yield Text("")
    heads = ["planted at", "value", "error", "allowed", ""]
    rows = [
        [f"  {entry['label']}", digits(entry["torch"], result.dtype), f"{entry['error']:.1e}",
         f"{entry['allowed']:.1e}", "caught" if entry["caught"] else "missed"]
        for entry in planted
    ]  # fmt: skip
    table = columns([heads, *rows], "<>>><")
    yield Text(table[0], "dim")
    for entry, line in zip(planted, table[1:], strict=True):
        yield Text(line, "" if entry["caught"] else "bold red")
    summary = (
        f"control: an error of {TIMES} times what rounding allows, planted into one element of each quantity of step "
        f"{grouped(control['step'])}: {caught} of {len(planted)} caught."
    )
    if caught < len(planted) and result.fixed_tolerance:
        summary += " A tolerance as wide as the one given passes wrong gradients."
    yield from wrapped(summary, width, "" if caught == len(planted) else "bold red")


def referee_lines(referee, result, width):
    """The elements on which the sides differ most, each side's distance from the truth, and the count over the step."""
    differing = [entry for entry in referee["worst"] if entry["manual"] != entry["torch"]]
    yield Text("")
    if differing:
        rows = [
            [f"  {entry['label']}", _away(entry, "manual"), _away(entry, "torch"),
             {"manual": result.side, "torch": "PyTorch", "equal": "both alike"}[entry["nearer"]]]
            for entry in differing
        ]  # fmt: skip
        table = columns([["from the truth", result.side, "PyTorch", "nearer"], *rows], "<>><")
        yield Text(table[0], "dim")
        yield from map(Text, table[1:])
    nearer = referee["nearer"]
    yield from wrapped(
        f"referee: {referee['arithmetic']} on step {grouped(referee['step'])}: of {grouped(sum(nearer.values()))} "
        f"values {grouped(nearer['manual'])} nearer the truth {result.side}, {grouped(nearer['torch'])} by PyTorch, "
        f"{grouped(nearer['equal'])} equally near.", width,
    )  # fmt: skip


def _away(entry, side):
    """A side's distance from the truth: "0.5 ULP", or, where that says nothing, as it is."""
    ulp, error = entry[f"{side}_ulp"], entry[f"{side}_error"]
    return f"{ulp:.2g} ULP" if ulp <= MOST_ULPS else f"{error:.1e}"
