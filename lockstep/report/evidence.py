"""The evidence that was asked for: planted errors and whether they were caught; which side is nearer the truth."""

from rich.text import Text

from lockstep.evidence.control import TIMES
from lockstep.text import MOST_ULPS, columns, counted, digits, grouped, wrapped


def control_lines(control, result, width, quiet=False):
    """The planted errors as a table, and how many of them were caught; quiet: without the table."""
    planted, caught = control["planted"], control["caught"]
    if not quiet:
        heads = ["planted at", "value", "error", "allowed", ""]
        rows = [
            [
                f"  {entry['label']}",
                digits(entry["torch"], result.dtype),
                f"{entry['error']:.1e}",
                f"{entry['allowed']:.1e}",
                "caught" if entry["caught"] else "missed",
            ]
            for entry in planted
        ]
        styles = ["dim", *("" if entry["caught"] else "bold red" for entry in planted)]
        yield Text("")
        yield from map(Text, columns([heads, *rows], "<>>><"), styles)
    summary = (
        f"control: an error of {TIMES} times what rounding allows, planted into one element of each quantity of step "
        f"{grouped(control['step'])}: {caught} of {len(planted)} caught."
    )
    if caught < len(planted) and result.fixed_tolerance:
        summary += " A tolerance as wide as the one given passes wrong gradients."
    yield from wrapped(summary, width, "" if caught == len(planted) else "bold red")


def referee_lines(referee, result, width, quiet=False):
    """The elements on which the sides differ most, each side's distance from the truth, and the count over the step."""
    differing = [entry for entry in referee["worst"] if entry["manual"] != entry["torch"]]
    if differing and not quiet:
        rows = [
            [
                f"  {entry['label']}",
                *_away(entry),
                {"manual": result.side, "torch": "PyTorch", "equal": "both alike"}[entry["nearer"]],
            ]
            for entry in differing
        ]
        table = columns([["from the truth", result.side, "PyTorch", "nearer"], *rows], "<>><")
        yield Text("")
        yield from map(Text, table, ["dim", *[""] * len(rows)])
    nearer, values = referee["nearer"], counted(sum(referee["nearer"].values()), "value")
    which = "first that differs" if result.decisive else "one with the largest difference"
    yield from wrapped(
        f"referee: {referee['arithmetic']} on step {grouped(referee['step'])}, the {which}, {values}; "
        f"nearer the truth: {result.side} {grouped(nearer['manual'])}, PyTorch {grouped(nearer['torch'])}, "
        f"equally near {grouped(nearer['equal'])}.",
        width,
    )


def _away(entry):
    """Both sides' distance from the truth: "0.479 ULP", or, where that says nothing, as it is."""
    if max(entry["manual_ulp"], entry["torch_ulp"]) <= MOST_ULPS:
        return [f"{entry[f'{side}_ulp']:.3g} ULP" for side in ("manual", "torch")]
    return [f"{entry[f'{side}_error']:.1e}" for side in ("manual", "torch")]
