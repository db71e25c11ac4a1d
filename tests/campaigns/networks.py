"""No false alarm: the strict check on many random problems where rounding is at its worst.

`python -m tests.campaigns.networks [PROBLEMS] [--deep] [--largest WIDTH] [--seed N]` prints the
largest difference / allowed by kind: with two layers as the lecture has them or, with --deep, with
1 to 8 layers, every activation, loss, optimiser, penalty and setting.
"""

import argparse
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch

from lockstep.api import run
from lockstep.cli.main import progress
from tests.campaigns import deep_problems
from tests.campaigns.hard_problems import DRESSES, KINDS, STYLES, hard_problem, right_step


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("problems", type=int, nargs="?", default=1000)
    options.add_argument(
        "--largest", type=int, default=256, help="widths and most samples are 1 to so many"
    )
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--deep", action="store_true", help="networks of any depth and kind")
    asked = options.parse_args()

    kinds = deep_problems.KINDS if asked.deep else KINDS
    largest = {(kind, dtype): 0.0 for kind in kinds for dtype in ("float64", "float32")}
    steps = values = undecided = 0
    blamed = []
    judge = partial(judged, seed=asked.seed, largest=asked.largest, deep=asked.deep)
    with (
        progress(asked.problems, "problems") as show,
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=alone) as pool,
    ):
        for i, row in enumerate(pool.map(judge, range(asked.problems), chunksize=10)):
            steps, values = steps + row["steps"], values + row["values"]
            undecided += row["verdict"] == "undecided"
            if row["verdict"] == "mismatch":
                blamed.append((i, row["first_mismatch"]))
            key = row["kind"], row["dtype"]
            largest[key] = max(largest[key], row["worst_ratio"])
            show(i + 1)

    for (kind, dtype), ratio in largest.items():
        print(f"{kind:12}{dtype:9}largest difference / allowed {ratio:.2f}")
    print(
        f"{asked.problems} problems, {steps} steps, {values} values: "
        f"{len(blamed)} right answers blamed, {undecided} overflowed on both sides, "
        f"largest difference / allowed {max(largest.values()):.2f}"
    )
    for i, mismatch in blamed:
        print(f"problem {i}: {mismatch}")
    return 1 if blamed else 0


def alone():
    """Prepare a process that shares the cores with others."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # overflow is part of the game


def judged(i, seed, largest, deep=False):
    """What the strict check says of problem i, whose side by hand is right."""
    random = np.random.default_rng([seed, i])
    kinds = deep_problems.KINDS if deep else KINDS
    kind = kinds[i % len(kinds)]
    size = dict(largest=largest, steps=int(random.integers(1, 5)))
    if deep:
        if i % 50 == i // 50 % len(kinds):
            size = dict(largest=12, steps=int(random.integers(50, 201)))
        problem = deep_problems.deep_problem(random, kind, **size)
        style = list(STYLES)[i // len(kinds) % len(STYLES)]
        return found(kind, problem, run(problem, {}, step=deep_problems.right_step(problem, style)))
    if i % 50 == 20 + i // 50 % len(KINDS):  # now and then many samples, or many steps
        size = dict(largest=16, steps=2, most_samples=30_000)
    elif i % 50 == 35 + i // 50 % len(KINDS):
        size = dict(largest=12, steps=int(random.integers(100, 1001)))
    problem = hard_problem(random, kind, **size)
    style = list(STYLES)[i // len(KINDS) % len(STYLES)]
    dress = DRESSES[str(random.choice(list(DRESSES)))]
    return found(kind, problem, run(problem, {}, step=dress(right_step(problem, style))))


def found(kind, problem, result):
    """What a table's row is made from."""
    return dict(
        kind=kind,
        dtype=problem.dtype,
        steps=result.steps_run,
        values=result.values,
        verdict=result.verdict,
        first_mismatch=result.first_mismatch,
        worst_ratio=result.worst_ratio,
    )


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process a core
    sys.exit(main())
