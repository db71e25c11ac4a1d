"""No false alarm: the strict check on many random problems where rounding is at its worst.

`python -m tests.campaign [PROBLEMS] [--largest WIDTH] [--seed N]` prints the largest difference / allowed by kind.
"""

import argparse
import sys
import warnings

import numpy as np

from lockstep.output import progress
from lockstep.run import run
from tests.hard_problems import DRESSES, KINDS, PRODUCTS, hard_problem, right_step


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("problems", type=int, nargs="?", default=1000)
    options.add_argument("--largest", type=int, default=200, help="widths and samples are 1 to so many")
    options.add_argument("--seed", type=int, default=7)
    asked = options.parse_args()
    warnings.simplefilter("ignore")  # overflow is part of the game

    largest = {(kind, dtype): 0.0 for kind in KINDS for dtype in ("float64", "float32")}
    values = undecided = 0
    blamed = []
    with progress(asked.problems, "problems") as show:
        for i in range(asked.problems):
            random = np.random.default_rng([asked.seed, i])
            problem = hard_problem(random, KINDS[i % len(KINDS)], asked.largest, steps=int(random.integers(1, 5)))
            style = list(PRODUCTS)[i // len(KINDS) % len(PRODUCTS)]
            dress = DRESSES[str(random.choice(list(DRESSES)))]
            result = run(problem, {}, step=dress(right_step(problem, style, factor_last=random.random() < 0.2)))
            values += result.values
            undecided += result.verdict == "undecided"
            if result.verdict == "mismatch":
                blamed.append((i, result.first_mismatch))
            key = KINDS[i % len(KINDS)], problem.dtype
            largest[key] = max(largest[key], result.worst_ratio)
            show(i + 1)

    for (kind, dtype), ratio in largest.items():
        print(f"{kind:12}{dtype:9}largest difference / allowed {ratio:.2f}")
    print(f"{asked.problems} problems, {values} values, {undecided} overflowed on both sides, {len(blamed)} blamed")
    for i, mismatch in blamed:
        print(f"problem {i}: {mismatch}")
    return 1 if blamed else 0


if __name__ == "__main__":
    sys.exit(main())
