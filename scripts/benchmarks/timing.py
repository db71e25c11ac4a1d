"""How long a step takes: the median of a block, and what a verified step is."""

import time
from statistics import median

from lockstep.bound.allowed import tolerance
from lockstep.run.result import Result
from lockstep.run.steps import records


def block_seconds(step, repeats, together=1):
    """The time of a step: the median over `repeats` calls of so many steps together, each divided by their number.

    A call with a step that says that it is out of the ordinary is left out.
    """

    def call():
        extraordinary = False
        for _ in range(together):
            extraordinary |= bool(step())
        return extraordinary

    _rest()
    call()  # what the part before left in the caches, or made ahead, is not its own
    times: list[float] = []
    while len(times) < repeats:
        began = time.perf_counter()
        extraordinary = call()
        if not extraordinary:
            times.append(time.perf_counter() - began)
    return median(times) / together


def _rest():
    """Wait until no other thread works, such as one that makes a step ahead."""
    worked = 1.0
    while worked > 5e-4:
        before = time.process_time()
        time.sleep(1e-3)
        worked = time.process_time() - before


def verified_step(problem, free=True):
    """A step of a run: verified, and, where `free`, the side by hand's own training beside.

    A step whose bound is worked out in any case is out of the ordinary, since few of a long run's are: the first ones,
    and those of the table's rows.
    """
    result = Result(problem, shows="none")
    steps = records(problem, tolerance(problem, {}), free=free)

    def verified():
        record, after_it = next(steps)
        result.add(record, after_it)
        return result.is_in_full(record.number)

    while result.steps_run < 3 or result.is_in_full(result.steps_run + 1):
        verified()
    return verified
