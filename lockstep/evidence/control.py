"""The control: errors of three times what rounding allows are planted, one a quantity, to show that each is caught."""

from dataclasses import replace

import numpy as np

from lockstep.bound.allowed import allowed
from lockstep.run.judge import Judgement

TIMES = 3


def control(problem, record, fixed, judged):
    """Plant an error into one element of each quantity in turn: {"step", "caught", "planted": [...]}.

    record: a step of the run, a `comparison.Record`. fixed: whether its `allowed` is a tolerance of the user's; what is
    planted is measured by rounding all the same, so that a tolerance that is too wide is seen to be. judged: what the
    run judges a record by, a function to (verdict, position). The elements are the same on every run.

    An entry of "planted" has the element's `quantity`, `index`, `label`, PyTorch's value as `torch`, the `error` that
    was planted on it, what was `allowed`, and whether it was `caught`: told as the first mismatch at this very element.
    """
    bound = allowed(problem, record.start, record.torch) if fixed else record.allowed
    random = np.random.default_rng(0)
    planted = []
    for name in record.manual:
        element = int(random.choice(record.elements(name)))
        index = tuple(int(i) for i in np.unravel_index(element, np.shape(record.torch[name])))
        value = float(record.torch[name][index])
        wrong = max(value + TIMES * float(bound[name][index]), float(np.nextafter(value, np.inf)))
        manual = {
            quantity: np.array(record.torch[quantity], dtype=np.float64)
            for quantity in record.manual
        }
        manual[name][index] = wrong
        verdict = judged(replace(record, manual=manual, misshapen={}, bound=lambda: record.allowed))
        planted.append(
            {
                "quantity": name,
                "index": list(index),
                "label": record.named(name, index),
                "torch": value,
                "error": wrong - value,
                "allowed": float(record.allowed[name][index]),
                "caught": verdict == Judgement("mismatch", record.position(name, index)),
            }
        )
    return {
        "step": record.number,
        "caught": sum(entry["caught"] for entry in planted),
        "planted": planted,
    }
