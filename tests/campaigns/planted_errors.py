"""Small errors are found: one element of a right gradient off by 1e-9 of itself, and by less.

`python -m tests.campaigns.planted_errors [DRAWS] [--seed N]` plants an error of each size into a
smooth case outside the gallery, with plain inputs in float64, DRAWS times a case, and prints how
many were found. Every error of 1e-9 has to be. The element is among the largest half of its
gradient.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from lockstep.cli.main import progress
from tests.campaigns.networks import alone
from tests.campaigns.outside import CASES
from tests.campaigns.outside.case import everywhere, flat

SIZES = (1e-9, 1e-10, 1e-11, 1e-12)
CLAIMED = 1e-9
SMOOTH = [name for name, it in CASES.items() if it.smooth and it.agree <= CLAIMED]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("draws", type=int, nargs="?", default=1)
    options.add_argument("--seed", type=int, default=7)
    asked = options.parse_args()

    found, missed, problems = dict.fromkeys(SIZES, 0), [], asked.draws * len(SMOOTH)
    with (
        progress(problems, "problems") as show,
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=alone) as pool,
    ):
        work = partial(judge, seed=asked.seed)
        for i, outcomes in enumerate(pool.map(work, range(problems), chunksize=5)):
            for size, outcome in outcomes.items():
                found[size] += outcome == "mismatch"
                if size >= CLAIMED and outcome != "mismatch":
                    missed.append(f"problem {i}, {SMOOTH[i % len(SMOOTH)]}: {outcome}")
            show(i + 1)
    for size, count in found.items():
        print(f"{size:.0e}  found {count} of {problems}")
    print(*missed, sep="\n")
    return 1 if missed else 0


def planted(hand, size, place):
    """The hand with an error of this size, relative to the element, in one element.

    place: From 0 to 1: in which gradient, and where among the largest half of its elements.
    """

    at = []  # chosen at the first call: no rounding may move it

    def wrong(**given):
        own = everywhere(np.array, hand(**given), object)
        parts = list(flat(own))
        if not at:
            usable = [k for k, part in enumerate(parts) if part.any()]
            which, place_within = divmod(place * len(usable), 1)
            part = parts[usable[int(which)]]
            places = np.argwhere(np.abs(part) >= np.median(np.abs(part[part != 0])))
            at.append((usable[int(which)], tuple(places[int(place_within * len(places))])))
        parts[at[0][0]][at[0][1]] *= 1 + size
        return own

    return wrong


def judge(i, seed):
    """What check_gradients says of each size of error in problem i."""
    from lockstep import GradientMismatch, check_gradients

    name = SMOOTH[i % len(SMOOTH)]
    random = np.random.default_rng([seed, i])
    given, place = CASES[name].inputs(random), random.random()
    outcomes = {}
    for size in SIZES:
        wrong = planted(CASES[name].hand, size, place)
        try:
            outcomes[size] = check_gradients(wrong, CASES[name].reference, **given).verdict
        except GradientMismatch:
            outcomes[size] = "mismatch"
        except (ValueError, TypeError) as error:
            outcomes[size] = str(error)
    return outcomes


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process a core
    sys.exit(main())
