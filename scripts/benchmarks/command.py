"""The command of scripts/benchmark.py: how long a step takes by hand, by PyTorch, and verified."""

import itertools
import json
import os
import platform
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any

import numpy as np
import torch

from lockstep.cli.main import Parser, printer, progress, status, whole, whole_file
from lockstep.errors import Unusable
from lockstep.report.plots.descent import write
from lockstep.run.threads import threads
from lockstep.setup.options import check
from lockstep.text import columns
from scripts.benchmarks.gradient_peers import gallery_lines
from scripts.benchmarks.growth import growth_lines
from scripts.benchmarks.peers import peers_lines
from scripts.benchmarks.steps import Row, row

NETWORKS = (
    ((2, 2, 2), 1),
    ((64, 64, 64), 32),
    ((784, 128, 10), 64),
    ((784, 128, 64, 10), 64),
    ((784, 300, 10), 128),
    ((1024, 1024, 1024), 256),
    ((2048, 2048, 2048), 512),
)
HEADS = (
    *("network", "samples", "dtype", "by hand", "PyTorch", "products"),
    *("hand/torch", "hand/products", "turns/both", "verified/both", "run/sides"),
)
CURVES = {
    "manual": "by hand",
    "torch": "PyTorch",
    "turns": "both in turn, nothing compared",
    "lockstep": "both, verified",
    "matmul": "the matrix products alone",
}


def parser() -> Parser:
    it = Parser(
        description="Time a step by hand, by PyTorch, and verified, in turn in one process: "
        "under six minutes.",
        epilog="One thread on both sides, unless --threads gives another number. A ratio is the "
        "median over the rounds, not the quotient of the median times.",
    )
    it.add_argument(
        "--quick", action="store_true", help="the three smaller networks: about twenty seconds"
    )
    it.add_argument(
        "--json",
        metavar="FILE",
        help="write the rows and the machine as one JSON document (-: standard output)",
    )
    it.add_argument(
        "--plot", metavar="FILE.png", help="both sides against size, as a picture (png, svg or pdf)"
    )
    it.add_argument(
        "--threads", type=whole, metavar="N", default=1, help="threads on both sides (default 1)"
    )
    it.add_argument(
        "--peers",
        action="store_true",
        help="instead: gradcheck, check_grad and allclose on the same gradients (five minutes)",
    )
    it.add_argument(
        "--growth",
        action="store_true",
        help="instead: time by steps and by parameters (five minutes)",
    )
    return it


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parser().parse_args(arguments)
    return status(lambda _: _timed(options))


def _timed(options: Namespace) -> int:
    if options.threads < 1:
        raise Unusable(f"--threads: expected 1 or more, got {options.threads}")
    if options.peers or options.growth:
        _other(options)
    else:
        _steps(options)
    return 0


def _steps(options: Namespace) -> None:
    """The table of steps, in every form that is asked for; of an interrupted one what is there."""
    if options.plot:
        check({"plot": options.plot}, lambda key: f"--{key}")
    rows: list[Row] = []
    with ExitStack() as files:
        json_file: IO[Any] = sys.stdout
        if options.json and options.json != "-":
            json_file = files.enter_context(whole_file(options.json, "--json"))
        picture: IO[Any] | None = None
        if options.plot:
            picture = files.enter_context(whole_file(options.plot, "--plot", binary=True))
        try:
            rows.extend(_rows(options))
        except KeyboardInterrupt:
            _print(rows, options)
            raise
        if options.json:
            document = {
                "rows": [it.document() for it in rows],
                "machine": machine(options.threads),
            }
            json_file.write(json.dumps(document, allow_nan=False, indent=1) + "\n")
        if picture:
            _plot(picture, options.plot.rpartition(".")[2].lower(), rows)
    if options.json != "-":
        _print(rows, options)


def _print(rows: list[Row], options: Namespace) -> None:
    printed, _ = printer()
    printed(table(rows))
    printed(about(options.threads))


def _other(options: Namespace) -> None:
    if options.json or options.plot:
        raise Unusable("--json and --plot go with the table of steps, not with --peers or --growth")
    printed, _ = printer()
    with threads(options.threads):
        printed(
            itertools.chain(peers_lines(), gallery_lines()) if options.peers else growth_lines()
        )
    printed(about(options.threads))


def _rows(options: Namespace) -> Iterator[Row]:
    networks = NETWORKS[:4] if options.quick else NETWORKS
    rounds, seconds = (7, 0.03) if options.quick else (9, 0.05)
    cases = list(itertools.product(networks, ("float64", "float32")))
    with progress(len(cases), "networks") as show, threads(options.threads):
        for done, ((sizes, samples), dtype) in enumerate(cases, 1):
            yield row(sizes, samples, dtype, rounds, seconds)
            show(done)


def machine(number: int) -> dict[str, str | int | None]:
    """What the figures depend on. number: of threads, on both sides."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": number,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                line.partition(": ")[2].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor()


def table(rows: list[Row]) -> list[str]:
    """The rows as lines."""
    cells = [
        [
            it.network,
            str(it.samples),
            it.dtype,
            *(f"{1e6 * it.seconds[part]:,.0f} us" for part in ("manual", "torch", "matmul")),
            *(f"{ratio:.2f}" for ratio in it.ratios.values()),
        ]
        for it in rows
    ]
    return [*columns([list(HEADS), *cells], "<><>>>>>>>>"), ""]


def about(number: int) -> Iterator[str]:
    """The machine, in two lines."""
    facts = machine(number)
    counted = "1 thread" if number == 1 else f"{number} threads"
    yield f"{facts['processor']}, {facts['cores']} cores, {counted} on both sides"
    yield f"numpy {facts['numpy']}, torch {facts['torch']}, Python {facts['python']}"


def _plot(file: IO[Any], kind: str, rows: list[Row]) -> None:
    """Both sides' time a step against the multiply-adds of a step, float64."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
    axes = figure.subplots()
    wide = [it for it in rows if it.dtype == "float64"]
    work = [it.multiply_adds for it in wide]
    for (part, label), marker in zip(CURVES.items(), "osv^x", strict=True):
        axes.loglog(work, [1e6 * it.seconds[part] for it in wide], marker=marker, label=label)
    axes.set_xlabel("multiply-adds of a step")
    axes.set_ylabel("microseconds a step")
    axes.set_title("A training step by hand, by PyTorch, and verified (float64)")
    axes.legend()
    axes.grid(alpha=0.3)
    write(figure, file, kind)
