"""No false alarm: check_gradients on right derivations of every field, outside the gallery.

`python -m tests.campaigns.right_expressions [PROBLEMS] [--seed N]` prints, by field and by kind of
input, the largest difference / bound, how small an error of a value would have been found (median,
worst), how many values are out of reach, and what became of the problems. Every right derivation
that was blamed or refused follows, with its text.
"""

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from lockstep.cli.main import progress
from tests.campaigns import expressions
from tests.campaigns.networks import alone
from tests.campaigns.outside import CASES, KINDS
from tests.campaigns.outside.case import everywhere

FINE = ("match", "undecided")


def graded(values, random):
    """Neighbours many decades apart."""
    return values * 10 ** random.uniform(-8, 8, np.shape(values))


def tiny(values, random):
    """Near the smallest numbers, some of them subnormal."""
    return values * 10 ** random.uniform(-310, -290)


def integers(values, random):
    return np.round(values * 10)


CHANGES = {kind.__name__: kind for kind in (*expressions.KINDS, graded, tiny, integers)}
CHANGES["single"] = expressions.plain  # float32, which `as_single` makes of every array


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("problems", type=int, nargs="?", default=len(CASES) * len(KINDS))
    options.add_argument("--seed", type=int, default=7)
    asked = options.parse_args()

    everything = []
    with (
        progress(asked.problems, "problems") as show,
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=alone) as pool,
    ):
        work = partial(judge, seed=asked.seed)
        for judged in pool.map(work, range(asked.problems), chunksize=10):
            everything.append(judged)
            show(len(everything))

    print(f"{'':20}problems  largest ratio  sees, median    worst  out of reach  outcomes")
    for part in ("group", "kind"):
        for value in sorted({judged[part] for judged in everything}):
            print(line(value, [judged for judged in everything if judged[part] == value]))
        print()
    print(line("all", everything))
    blamed = [judged for judged in everything if judged["outcome"] not in FINE]
    for judged in blamed:
        print(f"problem {judged['i']}, {judged['name']}, {judged['kind']}: {judged['says']}")
    return 1 if blamed else 0


def line(label, judged):
    outcomes = Counter(one["outcome"] for one in judged)
    matching = [one for one in judged if one["outcome"] == "match"]
    counts = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())
    if not matching:
        return f"{label:20}{len(judged):8}{'':53}{counts}"
    ratio = max(one["ratio"] for one in matching)
    typical = np.median([one["typical"] for one in matching])
    worst = max((one["worst"] for one in matching if np.isfinite(one["worst"])), default=np.inf)
    blind = sum(one["blind"] for one in matching) / sum(one["values"] for one in matching)
    numbers = f"{len(judged):8}{ratio:15.2g}{typical:14.0e}{worst:9.0e}{blind:14.2%}"
    return f"{label:20}{numbers}  {counts}"


def problem(i, seed):
    """Name, kind and inputs of problem i."""
    random = np.random.default_rng([seed, i])
    name = list(CASES)[i % len(CASES)]
    kinds = CASES[name].kinds
    kind = kinds[i // len(CASES) % len(kinds)]
    return name, kind, changed(CASES[name], kind, random)


def changed(it, kind, random):
    """Inputs of the case, of this kind."""
    given = it.inputs(random)
    with np.errstate(all="ignore"):
        chosen = it.varied or list(it.hand(**given))
    if random.random() < 0.5:
        chosen = [chosen[int(random.integers(len(chosen)))]]
    together = random.random() < 0.5  # all by the same amount
    state = random.bit_generator.state

    def change(values):
        if together:
            random.bit_generator.state = state
        return np.asarray(CHANGES[kind](values, random))

    given |= {name: everywhere(change, given[name]) for name in chosen}
    return everywhere(as_single, given) if kind == "single" else given


def as_single(array):
    single = {"f": np.float32, "c": np.complex64}
    return array.astype(single.get(array.dtype.kind, array.dtype))


def judge(i, seed):
    """What check_gradients says of problem i, whose derivation is right."""
    from lockstep import GradientMismatch, check_gradients

    name, kind, given = problem(i, seed)
    it = CASES[name]
    judged = dict(i=i, name=name, kind=kind, group=it.group)
    try:
        result = check_gradients(it.hand, it.reference, **given)
    except GradientMismatch as error:
        return judged | dict(outcome="mismatch", says=str(error))
    except (ValueError, TypeError) as error:
        return judged | dict(outcome="refused", says=str(error))
    seen = dict(outcome=result.verdict, ratio=result.worst_ratio, values=result.values)
    return judged | seen | result.resolution


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process a core
    sys.exit(main())
