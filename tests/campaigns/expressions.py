"""No false alarm: check_gradients on the gallery, where rounding is at its worst.

`python -m tests.campaigns.expressions [PROBLEMS] [--largest SIZE] [--seed N]` prints, by
expression, the largest difference / bound, how small an error of a value would have been found
(median, worst), and how many values are out of reach. Problems differ in shape, in scale, offset
and precision, and in what is nearly equal, equal or zero.
"""

import argparse
import os
import sys
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from lockstep.cli.main import progress
from tests.campaigns.networks import alone
from tests.gallery import NAMES, any_size, expression


def scaled(values, random):
    return values * 10 ** random.uniform(-6, 6)


def offset(values, random):
    return values + random.choice([-1, 1]) * 10 ** random.uniform(0, 6)


def saturated(values, random):
    return values * 10 ** random.uniform(1, 3)


def nearly_cancelling(values, random):
    """A value, and deviations from it that are a few or many digits smaller."""
    return random.normal() + values * 10 ** random.uniform(-12, -2)


def tied(values, random):
    return np.round(values)


def zeroed(values, random):
    return values * (random.random(np.shape(values)) < random.choice([0.0, 0.5]))


def plain(values, random):
    return values


KINDS = (plain, scaled, offset, saturated, nearly_cancelling, tied, zeroed)
SINGULAR = {
    ("unit_vectors", tied),
    ("unit_vectors", zeroed),
}  # a vector of length 0 has no direction


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("problems", type=int, nargs="?", default=1000)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--largest", type=int, default=12, help="sizes are 1 to so many")
    asked = options.parse_args()

    found = defaultdict(list)
    with (
        progress(asked.problems, "problems") as show,
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=alone) as pool,
    ):
        for i, judged in enumerate(
            pool.map(
                partial(judge, seed=asked.seed, largest=asked.largest),
                range(asked.problems),
                chunksize=10,
            )
        ):
            found[judged["name"]].append(judged)
            show(i + 1)

    print(f"{'':26}problems  largest ratio  sees, median    worst  out of reach")
    for name in NAMES:
        print(f"{name:26}{line(found[name])}")
    everything = [judged for name in NAMES for judged in found[name]]
    print(f"{'all':26}{line(everything)}")
    for kind in KINDS:
        of_kind = [judged for judged in everything if judged["kind"] == kind.__name__]
        print(f"  {kind.__name__:24}{line(of_kind)}")
    outcomes = Counter(judged["outcome"] for judged in everything)
    print(", ".join(f"{outcome}: {count}" for outcome, count in outcomes.most_common()))
    blamed = [judged for judged in everything if judged["outcome"] not in ("match", "undecided")]
    for judged in blamed:
        print(f"problem {judged['i']}, {judged['name']}, {judged['kind']}: {judged['says']}")
    return 1 if blamed else 0


def line(judged):
    matching = [one for one in judged if one["outcome"] == "match"]
    if not matching:
        return f"{len(judged):8}"
    ratio = max(one["ratio"] for one in matching)
    typical = np.median([one["typical"] for one in matching])
    finite = (one["worst"] for one in matching if np.isfinite(one["worst"]))
    worst = max(finite, default=np.inf)
    blind = sum(one["blind"] for one in matching) / sum(one["values"] for one in matching)
    return f"{len(judged):8}{ratio:15.2g}{typical:14.0e}{worst:9.0e}{blind:14.2%}"


def problem(i, seed, largest):
    """Name, kind and inputs of problem i."""
    random = np.random.default_rng([seed, i])
    name, kind = NAMES[i % len(NAMES)], KINDS[i // len(NAMES) % len(KINDS)]
    kind = plain if (name, kind) in SINGULAR else kind
    given = {key: np.asarray(value) for key, value in any_size(name, random, largest).items()}
    chosen = [key for key in given if given[key].dtype.kind == "f"]
    if random.random() < 0.5:
        chosen = [chosen[int(random.integers(len(chosen)))]]
    together = random.random() < 0.5  # all by the same amount
    state = random.bit_generator.state
    for key in chosen:
        if together:
            random.bit_generator.state = state
        given[key] = kind(given[key], random)
    if random.random() < 0.3:
        given = {
            key: array.astype(np.float32) if array.dtype.kind == "f" else array
            for key, array in given.items()
        }
    return name, kind.__name__, given


def judge(i, seed, largest):
    """What check_gradients says of problem i, whose derivation is right."""
    from lockstep import GradientMismatch, check_gradients

    name, kind, given = problem(i, seed, largest)
    it = expression(name)
    judged = dict(i=i, name=name, kind=kind)
    try:
        result = check_gradients(it.hand, it.reference, **given)
    except GradientMismatch as error:
        return judged | dict(outcome="mismatch", says=str(error))
    except ValueError as error:
        return judged | dict(outcome="refused", says=str(error))
    return (
        judged
        | dict(outcome=result.verdict, ratio=result.worst_ratio, values=result.values)
        | result.resolution
    )


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process a core
    sys.exit(main())
