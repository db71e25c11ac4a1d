"""The control: errors of three times what rounding allows are planted, one a quantity, to show that each is caught."""

from dataclasses import replace

import numpy as np

from lockstep.tolerance import allowed

TIMES = 3


def control(problem, moment, fixed, judged):
    """Plant an error into one element of each quantity in turn: {"step", "caught", "planted": [...]}.

    moment: a step of the run, a `comparison.Moment`. fixed: whether its `allowed` is a tolerance of the user's; what is
    planted is measured by rounding all the same, so that a tolerance that is too wide is seen to be. judged: what the
    run judges a moment by, a function to (verdict, position). The elements are the same on every run.

    An entry of "planted" has the element's `quantity`, `index`, `label`, PyTorch's value as `torch`, the `error` that
    was planted on it, what was `allowed`, and whether it was `caught`: told as the first mismatch at this very element.
    """
    bound = allowed(problem, moment.parameters, moment.x, moment.y, moment.lr) if fixed else moment.allowed
    random = np.random.default_rng(0)
    planted = []
    for name in moment.manual:
        element = int(random.choice(moment.elements(name)))
        index = tuple(int(i) for i in np.unravel_index(element, np.shape(moment.torch[name])))
        value = float(moment.torch[name][index])
        wrong = max(value + TIMES * float(bound[name][index]), float(np.nextafter(value, np.inf)))
        manual = {quantity: np.array(moment.torch[quantity], dtype=np.float64) for quantity in moment.manual}
        manual[name][index] = wrong
        verdict = judged(replace(moment, manual=manual, misshapen={}, bound=lambda: moment.allowed))
        planted.append({
            "quantity": name,
            "index": list(index),
            "label": moment.named(name, index),
            "torch": value,
            "error": wrong - value,
            "allowed": float(moment.allowed[name][index]),
            "caught": verdict == ("mismatch", moment.position(name, index)),
        })  # fmt: skip
    return {"step": moment.number, "caught": sum(entry["caught"] for entry in planted), "planted": planted}
