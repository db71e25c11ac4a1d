"""How the time of a verified step grows: with a run's steps, with a network's parameters."""

import os
import time
from collections.abc import Iterator

import numpy as np

from lockstep.bound.allowed import tolerance
from lockstep.cli.main import progress
from lockstep.run.result import Result
from lockstep.run.steps import records
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn
from lockstep.text import columns
from scripts.benchmarks.timing import block_seconds, verified_step

STEPS = (100, 1_000, 10_000, 100_000)
WIDTHS = (2, 8, 32, 128, 512, 2236)  # of all three layers; the last has 10^7 parameters


def growth_lines() -> Iterator[str]:
    """Two tables as lines, and the slope of the second on log-log paper."""
    by_steps = run_of_steps()
    yield from columns([["steps", "us a step since the line before", "memory"], *by_steps], ">>>")
    yield ""
    cells: list[list[str]] = []
    parameters: list[int] = []
    times: list[float] = []
    for width in WIDTHS:
        parameters.append(2 * width * (width + 1))
        times.append(seconds_of_a_step(width))
        cells.append([f"{width}-{width}-{width}", f"{parameters[-1]:,}", f"{1e6 * times[-1]:,.0f}"])
    yield from columns([["network", "parameters", "us a verified step, 8 samples"], *cells], "<>>")
    slope = np.polyfit(np.log(parameters[-3:]), np.log(times[-3:]), 1)[0]
    yield f"slope of the last three on log-log paper: {slope:.2f}"
    yield ""


def run_of_steps() -> list[list[str]]:
    """Rows of a run of 2-2-2: steps so far, the time of a step, resident memory."""
    problem = make_problem(
        {
            "sizes": (2, 2, 2),
            "samples": 1,
            "hidden_activation": "sigmoid",
            "lr": 1e-6,
            "steps": STEPS[-1],
        }
    )
    result = Result(problem, shows="none")
    rows: list[list[str]] = []
    seconds_of_a_step(2)  # the first step imports
    began, before = time.perf_counter(), 0
    with progress(STEPS[-1], "steps") as show:
        for record in records(problem, tolerance(problem, {}), BuiltIn()):
            result.add(record)
            show(record.number)
            if record.number in STEPS:
                passed = time.perf_counter() - began
                took = f"{1e6 * passed / (record.number - before):.0f}"
                rows.append([f"{record.number:,}", took, _memory()])
                began, before = time.perf_counter(), record.number
    return rows


def _memory() -> str:
    """The resident memory of this process."""
    with open("/proc/self/statm") as file:
        return f"{int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20:.1f} MiB"


def seconds_of_a_step(width: int) -> float:
    """Seconds, median of several steps after the first ones."""
    weights = np.random.default_rng(0).uniform(-1, 1, (width, width)) / np.sqrt(width)
    problem = make_problem(
        {
            "sizes": (width,) * 3,
            "samples": 8,
            "W_h": weights,
            "W_o": weights,
            "lr": 1e-4,
            "hidden_activation": "sigmoid",
            "steps": 10**9,
        }
    )
    return block_seconds(verified_step(problem), 9)
