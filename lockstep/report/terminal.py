"""The report in the terminal: the shown steps, the table over the steps, the verdict."""

from rich.text import Text

from lockstep.network.problem import UNTOLD
from lockstep.report.step import step_lines
from lockstep.report.verdict import verdict_lines
from lockstep.text import MOST_ULPS, columns, counted, distance, grouped, relative, wrapped


def report(result, width=80):
    """The whole report as plain text."""
    return "\n".join(line.plain for line in lines(result, width))


def lines(result, width):
    """The whole report, a `rich.text.Text` a line."""
    yield from heading(result.problem, result.side)
    for record in result.shown:
        yield from step_lines(record, result.problem, width, result.side)
    yield from summary_lines(result, width)


def heading(problem, side="by hand"):
    """What was compared, in two lines. side: what the side by hand is called, "by hand" or "yours"."""
    size = "-".join(map(str, problem.sizes))
    samples = counted(problem.samples, "sample")
    batches = f" in batches of {problem.batch_size}" if problem.batch_size else ""
    frozen = f", {', '.join(problem.frozen)} frozen" if problem.frozen else ""
    steps = "steps as recorded" if problem.steps == UNTOLD else counted(problem.steps, "step")
    yield Text(
        f"{side} next to PyTorch: {size} network, {samples}{batches}, {problem.dtype}", "bold"
    )
    yield Text(
        f"hidden {problem.hidden_activation}, output {problem.output_activation}, loss {problem.loss}, "
        f"lr {problem.lr!r}, {steps}{frozen}"
    )


def summary_lines(result, width):
    """The table over the steps, then the verdict."""
    if result.rows:
        yield Text("")
        heads = [
            "step",
            f"loss {result.side}",
            "loss by PyTorch",
            "worst difference",
            "of allowed",
            "drift",
        ]
        cells = [_row(row, result.dtype) for row in result.rows]
        filled = [at for at in range(len(heads)) if any(row[at] for row in cells)]
        table = columns([[row[at] for at in filled] for row in (heads, *cells)], ">" * len(filled))
        yield Text(table[0], "dim")
        yield from map(Text, table[1:])
        if any(row.drift is not None for row in result.rows):
            who = (
                "the recording is from PyTorch's own run"
                if result.numbers
                else ("the run by hand on its own weights is from PyTorch's")
            )
            yield from wrapped(
                f"drift: how far {who}, rounding carried on from step to step", width, "dim"
            )
    yield Text("")
    yield from verdict_lines(result, width)


def _row(row, dtype):
    worst = row.worst
    apart = distance(worst.manual, worst.torch, dtype)
    drift = ""
    if row.drift is not None:
        far = row.drift > MOST_ULPS
        drift = relative(row.drift_relative) if far else f"{grouped(round(row.drift))} ULP"
    return [
        grouped(row.number),
        "" if row.loss_manual is None else f"{row.loss_manual:.9g}",
        f"{row.loss_torch:.9g}",
        f"{worst.label}  {apart}" if apart != "0 ULP" else "none",
        f"{row.worst_ratio:.2g}",
        drift,
    ]
