"""How long a step takes: the median of a block, and what a block of verified steps is."""

import time
from itertools import islice
from statistics import median

from lockstep.moments import moments, most_ahead
from lockstep.result import Result
from lockstep.tolerance import tolerance


def block_seconds(step, repeats):
    """The median time of a step in a block of `repeats`, of steps that do not say that they are out of the ordinary."""
    _rest()
    step()  # what the part before left in the caches, or made ahead, is not its own
    times: list[float] = []
    while len(times) < repeats:
        began = time.perf_counter()
        extraordinary = step()
        if not extraordinary:
            times.append(time.perf_counter() - began)
    return median(times)


def _rest():
    """Wait until no other thread works, such as one that makes a step ahead."""
    worked = 1.0
    while worked > 5e-4:
        before = time.process_time()
        time.sleep(1e-3)
        worked = time.process_time() - before


def verified_block(problem, free=True):
    """As many steps of a run as PyTorch is ahead: verified, and, where `free`, the side by hand's own training beside.

    Steps whose bound is worked out in any case are out of the ordinary, since few of a long run's are: the first ones,
    and those of the table's rows.
    """
    result = Result(problem, shows="none")
    steps, together = moments(problem, tolerance(problem, {}), free=free), most_ahead(problem)

    def verified():
        extraordinary = False
        for moment, after_it in islice(steps, together):
            result.add(moment, after_it)
            extraordinary |= result.is_in_full(moment.number)
        return extraordinary

    while result.steps_run < 3 or result.is_in_full(result.steps_run + 1):
        verified()
    return verified
