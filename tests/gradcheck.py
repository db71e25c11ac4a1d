"""What torch.autograd.gradcheck sees with its defaults, and what the referee sees, of the same wrong gradient.

`python -m tests.gradcheck` plants ever smaller relative errors into one element of grad_W_o of a 4-4-2 network, and
into all of them, and prints the smallest that each finds.
"""

import numpy as np
import torch

from lockstep import compare
from manual_backprop import two_layer

PROBLEM = {"sizes": (4, 4, 2), "samples": 3, "seed": 0, "steps": 1, "show": "none"}
ERRORS = [m * 10.0**-e for e in range(1, 16) for m in (5, 2, 1)]


def planted(error, everywhere):
    """A right step but for grad_W_o[1, 3], or all of grad_W_o, which is off by a relative error."""

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        got = two_layer.step(W_h, b_h, W_o, b_o, x, y, lr)
        got["grad_W_o"][... if everywhere else (1, 3)] *= 1 + error
        return {"grad_W_o": got["grad_W_o"]}

    return step


def gradcheck_finds(error, everywhere):
    """Whether gradcheck with its defaults fails on the same gradient as the backward of a Function."""
    from lockstep.problem import make_problem

    problem = make_problem(PROBLEM)
    rest = {name: problem.parameters[name] for name in ("W_h", "b_h", "b_o")}

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, W_o):
            given = dict(W_o=W_o.detach().numpy(), x=problem.x, y=problem.y, lr=0.0, **rest)
            ctx.gradient = torch.tensor(planted(error, everywhere)(**given)["grad_W_o"])
            return torch.tensor(two_layer.step(**given)["loss"])

        @staticmethod
        def backward(ctx, given):
            return given * ctx.gradient

    W_o = torch.tensor(problem.parameters["W_o"], requires_grad=True)
    return not torch.autograd.gradcheck(Loss.apply, (W_o,), raise_exception=False)


def lockstep_finds(error, everywhere):
    return compare(planted(error, everywhere), PROBLEM).verdict == "mismatch"


def smallest(finds, everywhere):
    """The smallest of ERRORS that is found, all larger ones being found as well."""
    found = np.inf
    for error in ERRORS:
        if not finds(error, everywhere):
            break
        found = error
    return found


if __name__ == "__main__":
    for everywhere, where in ((False, "one element"), (True, "all elements")):
        for name, finds in (("gradcheck", gradcheck_finds), ("lockstep", lockstep_finds)):
            print(f"{where:14}{name:12}smallest relative error found {smallest(finds, everywhere):.0e}")
