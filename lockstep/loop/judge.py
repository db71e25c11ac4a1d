"""What `follow` returns, whichever network it follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lockstep.errors import Mismatch


class Judge(ABC):
    """What `follow` returns: call it once a step, before the update.

    Attributes:
        enabled: Whether it judges; where this is False, a call does nothing. LOCKSTEP=off in the
            environment does the same for all, and PyTorch is not even imported.
    """

    enabled = True

    def __init__(self, keep_going: bool) -> None:
        self._keeps_going = keep_going
        self._was_off = False  # for a call at least

    def __call__(self, **arrays: Any) -> None:
        """Judge a step, and the update of the one before by the parameters that it led to.

        Args:
            arrays: By name, what the step starts from (x, y, the parameters) and what it computed;
                NumPy arrays, tensors, lists or numbers. They are copied.

        Raises:
            Mismatch: Something differs; with `keep_going` it is collected instead.
            Unusable: A ValueError: something cannot be used, and one sentence says why.
        """
        if not self.enabled:
            self._was_off = True
            return
        __tracebackhide__ = True
        found = self._judged(arrays)
        if found is not None and not self._keeps_going:
            raise found

    @abstractmethod
    def _judged(self, arrays: dict[str, Any]) -> Mismatch | None:
        """Take in a call; the mismatch, where there is one."""

    @property
    @abstractmethod
    def result(self) -> Any:
        """What was found so far: `verdict`, `first_mismatch`, `diagnoses`, `remarks`; print it.

        The update of the last step is not judged: no call came after it.
        """
