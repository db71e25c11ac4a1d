"""follow: one line in a training loop of the user's, which judges each of its steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockstep.errors import Unusable
from lockstep.loop.judge import Judge

if TYPE_CHECKING:
    from torch import nn, optim


@dataclass
class NotJudged:
    """The result where LOCKSTEP=off, with the attributes that results share."""

    verdict: str = "undecided"
    steps_run: int = 0
    first_mismatch: None = None
    diagnoses: tuple[()] = ()
    remarks: tuple[str, ...] = ("nothing was judged: LOCKSTEP is off in the environment",)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.remarks[0]}"


class _Off(Judge):
    """Does nothing, and has imported nothing."""

    enabled = False

    def _judged(self, arrays: dict[str, Any]) -> None:
        """Nothing, also where it is switched on later."""

    @property
    def result(self) -> NotJudged:
        return NotJudged()


def follow(
    model: nn.Module | None = None,
    loss_function: Callable[..., Any] | None = None,
    optimizer: optim.Optimizer | None = None,
    /,
    *,
    keep_going: bool = False,
    names: Mapping[str, str] | None = None,
    **settings: Any,
) -> Judge:
    """Judge a training loop from inside, a call a step.

    Without a model it is one of the built-in networks, whose bound is derived: `follow(sizes=…)`.
    With one, it is whatever the model, the loss function and the optimiser compute; the bound is
    then measured, as `check_gradients` does, which takes longer.

    Args:
        model: Any `nn.Module`; it stays as it is. Its parameters are named as in
            `named_parameters()`, their gradients `grad NAME`.
        loss_function: Of the model's output and y, to a scalar.
        optimizer: Of the model's parameters; None where updates are not to be judged. The settings
            of its groups, such as the learning rate, may change on the way.
        keep_going: Collect mismatches in place of raising the first.
        names: By your name what it is of ours, such as {"dZ1": "N*delta1"}, or of the model's, such
            as {"W1": "0.weight.T", "dW1": "grad 0.weight.T"}.
        settings: Of a built-in network, the keys of a problem file: sizes, activations, loss, lr,
            optimizer, layout …

    Returns:
        The judge, to be called with the arrays of each step before the update.

    Raises:
        Unusable: A ValueError: a setting cannot be used.

    Examples:
        >>> import numpy as np
        >>> from lockstep import follow
        >>> judge = follow(sizes="2-1", loss="half_sum", lr=0.1)
        >>> W1, b1 = np.array([[0.5, -0.5]]), np.zeros(1)
        >>> for x, y in [(np.ones((1, 2)), np.ones((1, 1)))] * 3:
        ...     delta1 = x @ W1.T + b1 - y
        ...     dW1, db1 = delta1.T @ x, delta1.sum(axis=0)
        ...     judge(x=x, y=y, W1=W1, b1=b1, dW1=dW1, db1=db1)
        ...     W1, b1 = W1 - 0.1 * dW1, b1 - 0.1 * db1
        >>> judge.result.verdict, judge.result.steps_run
        ('match', 3)
    """
    if os.environ.get("LOCKSTEP", "").lower() in ("off", "0", "false"):
        return _Off(keep_going)
    if model is None:
        from lockstep.loop.network import NetworkJudge

        if loss_function is not None or optimizer is not None:
            raise Unusable("follow: a loss function and an optimiser need a model before them")
        return NetworkJudge(keep_going, dict(settings) | ({"names": names} if names else {}))
    from lockstep.loop.module import ModuleJudge

    if settings:
        unknown = ", ".join(settings)
        raise Unusable(f"follow: {unknown}: settings of a built-in network, given with a model")
    if loss_function is None:
        raise Unusable("follow: expected a loss function after the model, such as nn.MSELoss()")
    return ModuleJudge(keep_going, model, loss_function, optimizer, names or {})
