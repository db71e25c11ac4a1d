"""The same gradients verified by the checkers that are in use: how long, and how finely.

The others difference the loss.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lockstep.api import run
from lockstep.network.problem import Problem
from lockstep.setup.problem import make_problem
from lockstep.text import columns
from manual_backprop import two_layer
from manual_backprop.activations import activation
from manual_backprop.losses import loss_function

Array: TypeAlias = "NDArray[Any]"
Arrays: TypeAlias = "dict[str, NDArray[Any]]"

NETWORKS = (
    ((4, 4, 2), 3),
    ((32, 32, 32), 8),
    ((128, 128, 128), 8),
)  # the last has 33 024 parameters
NAMES = ("W_h", "b_h", "W_o", "b_o")
ERRORS = [10.0**-e for e in range(1, 16)]


def peers_lines() -> Iterator[str]:
    """A table as lines: each checker's times, and the smallest planted error that it found."""
    problems = [
        make_problem(
            {
                "sizes": sizes,
                "samples": samples,
                "hidden_activation": "tanh",
                "lr": 1e-3,
                "steps": 1,
            }
        )
        for sizes, samples in NETWORKS
    ]
    checkers = {
        "lockstep": by_lockstep,
        "gradcheck, fast": by_fast_gradcheck,
        "gradcheck": by_gradcheck,
    }
    try:
        from scipy.optimize import check_grad  # noqa: F401 (whether it is there)

        checkers["scipy check_grad"] = by_check_grad
    except ImportError:
        yield "scipy is not installed: no check_grad"
    sizes = ["-".join(map(str, problem.sizes)) for problem in problems]
    cells: list[list[str]] = []
    own: list[float] = []
    for name, checker in checkers.items():
        checker(problems[0])  # the first call imports
        times = [seconds(partial(checker, problem)) for problem in problems]
        own = own or times
        found = finest(partial(checker, problems[0]))
        ratios = [
            f"{took:.3g} s" + (f" ({_times(took / mine)} x)" if name != "lockstep" else "")
            for took, mine in zip(times, own, strict=True)
        ]
        cells.append([name, *ratios, f"{found:.0e}" if found < 1 else "none"])
    yield from columns([["checker", *sizes, f"finds, in {sizes[0]}"], *cells], "<>>>>")
    yield "x: the times of lockstep"
    yield "finds: the smallest relative error planted into one element that was found"
    yield ""


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def by_hand(problem: Problem, error: float = 0.0) -> Callable[..., Arrays]:
    """A step by hand, of which one element of grad_W_o is off by a relative error."""

    def step(
        W_h: Array, b_h: Array, W_o: Array, b_o: Array, x: Array, y: Array, lr: float
    ) -> Arrays:
        got = two_layer.step(W_h, b_h, W_o, b_o, x, y, lr, **problem.network.two_layers)
        got["grad_W_o"][1, 3] *= 1 + error
        return {f"grad_{name}": got[f"grad_{name}"] for name in NAMES}

    return step


def gradients_by_hand(problem: Problem, error: float, **parameters: Array) -> Arrays:
    """Those of `by_hand` at these parameters, by the parameter's name."""
    got = by_hand(problem, error)(**parameters, x=problem.x, y=problem.y, lr=0.0)
    return {name: got[f"grad_{name}"] for name in NAMES}


def by_lockstep(problem: Problem, error: float = 0.0) -> bool:
    """Whether the referee finds the error, in one step."""
    return run(problem, {"show": "none"}, step=by_hand(problem, error)).verdict == "mismatch"


def loss_by_hand(problem: Problem, **parameters: Array) -> Any:
    """The loss by hand of the problem's network, forward alone: what the checkers difference."""
    (sigma_h, _), (sigma_o, _) = (activation(which) for which in problem.network.activations)
    *_, o = two_layer.forward(**parameters, x=problem.x, sigma_h=sigma_h, sigma_o=sigma_o)
    return two_layer.loss_of(o, problem.y, loss_function(problem.loss)[0])


def gradcheck(
    loss: Callable[..., torch.Tensor],
    gradients: Callable[..., Arrays],
    inputs: Arrays,
    fast: bool = False,
) -> bool:
    """Whether gradcheck with its defaults passes gradients, as the backward of a Function.

    Args:
        loss: a number in torch, from the inputs by name.
        gradients: arrays by name, from the inputs by name.
        inputs: arrays by name; those of integers are given to both and not differenced.
        fast: its fast mode, which looks along one random direction.
    """
    names = [name for name, array in inputs.items() if array.dtype.kind == "f"]

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *leaves: torch.Tensor) -> torch.Tensor:
            ctx.given = inputs | {
                name: leaf.detach().numpy() for name, leaf in zip(names, leaves, strict=True)
            }
            return loss(**{name: torch.as_tensor(array) for name, array in ctx.given.items()})

        @staticmethod
        def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            by_name = gradients(**{name: array.copy() for name, array in ctx.given.items()})
            return tuple(given * torch.as_tensor(by_name[name]) for name in names)

    leaves = [torch.tensor(inputs[name], requires_grad=True) for name in names]
    return torch.autograd.gradcheck(Loss.apply, leaves, raise_exception=False, fast_mode=fast)


def by_gradcheck(problem: Problem, error: float = 0.0, fast: bool = False) -> bool:
    """Whether gradcheck finds the error."""

    def loss(**parameters: torch.Tensor) -> torch.Tensor:
        return torch.tensor(
            loss_by_hand(problem, **{name: value.numpy() for name, value in parameters.items()})
        )

    parameters = {name: problem.parameters[name] for name in NAMES}
    return not gradcheck(loss, partial(gradients_by_hand, problem, error), parameters, fast)


def by_fast_gradcheck(problem: Problem, error: float = 0.0) -> bool:
    return by_gradcheck(problem, error, fast=True)


def by_check_grad(problem: Problem, error: float = 0.0) -> bool:
    """Whether scipy.optimize.check_grad does.

    It returns a distance, judged here at 1e-6 of the gradient's length.
    """
    from scipy.optimize import check_grad

    shapes = [problem.parameters[name].shape for name in NAMES]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])

    def named(flat: Array) -> Arrays:
        parts = np.split(flat, ends[:-1])
        return {
            name: part.reshape(shape)
            for name, part, shape in zip(NAMES, parts, shapes, strict=True)
        }

    def value(flat: Array) -> float:
        return float(loss_by_hand(problem, **named(flat)))

    def gradient(flat: Array) -> Array:
        return np.concatenate(
            [g.ravel() for g in gradients_by_hand(problem, error, **named(flat)).values()]
        )

    start = np.concatenate([problem.parameters[name].ravel() for name in NAMES])
    return bool(check_grad(value, gradient, start) > 1e-6 * np.linalg.norm(gradient(start)))


def seconds(check: Callable[[], object]) -> float:
    """The time of one verification, the median of a few where it is short."""
    times: list[float] = []
    while not times or sum(times) < 1 and len(times) < 20:
        began = time.perf_counter()
        check()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def finest(finds: Callable[[float], bool]) -> float:
    """The smallest of ERRORS that is found, with all larger ones; 1 where none is."""
    found = 1.0
    for error in ERRORS:
        if not finds(error):
            break
        found = error
    return found
