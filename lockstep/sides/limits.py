"""What the user's code may use, and how its process is kept to that."""

from __future__ import annotations

import ctypes
import os
import random
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # flags of unshare, in Linux's sched.h
_DUMPABLE = 4  # an option of prctl, in Linux's sys/prctl.h


@dataclass
class Budget:
    """Seconds of a whole run, which several processes share, and those that are left."""

    whole: float
    left: float = 0.0

    def __post_init__(self) -> None:
        self.left = self.whole


@dataclass(frozen=True)
class Limits:
    """What the user's code may use; 0 is no limit.

    Attributes:
        seconds: For loading the file, and for each step.
        budget: In their place the seconds of all of it.
        memory: In MiB.
        written: MiB of a file that it writes.
        forbidden: Packages that it may not import.
        is_offline: Whether it has no network.
        seed: Of its random numbers; None where it is its own affair.
    """

    seconds: float = 0
    budget: Budget | None = None
    memory: int = 0
    written: int = 0
    forbidden: tuple[str, ...] = ()
    is_offline: bool = False
    seed: int | None = None

    @property
    def most(self) -> float:
        """The seconds that a call may take now."""
        return self.budget.left if self.budget else self.seconds

    def spent(self, seconds: float) -> None:
        """Take what a call took from the budget."""
        if self.budget:
            self.budget.left = max(self.budget.left - seconds, 1e-3)

    @property
    def message(self) -> tuple[tuple[str, Any], ...]:
        """What the process that runs the code is told."""
        names = ("memory", "written", "forbidden", "is_offline", "seed")
        return tuple((name, getattr(self, name)) for name in names)


UNLIMITED = Limits()


def keep_to(limits: Mapping[str, Any]) -> None:
    """Keep this process to limits, and what it starts to all but what may not be imported.

    Args:
        limits: `Limits.message`, as a dict.
    """
    if limits["memory"] or limits["written"]:
        import resource

        for which, most in (
            (resource.RLIMIT_AS, limits["memory"]),
            (resource.RLIMIT_FSIZE, limits["written"]),
        ):
            if most:
                resource.setrlimit(which, (most * 2**20, most * 2**20))
    if limits["is_offline"]:  # pragma: no cover (it lasts)
        _leave_the_network()
    if limits["forbidden"]:  # pragma: no cover (it lasts)
        _forbid(limits["forbidden"])
    if limits["seed"] is not None:
        random.seed(limits["seed"])
        np.random.seed(limits["seed"] % 2**32)  # noqa: NPY002 (which the user's code draws from)


@contextmanager
def hidden() -> Iterator[None]:
    """Let no other process of the user look into this one, or write to its files, meanwhile."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)
    try:
        yield
    finally:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DUMPABLE, 1, 0, 0, 0)


def _forbid(packages: Collection[str]) -> None:  # pragma: no cover (it lasts)
    """Let no import of some packages succeed. No code can take an audit hook away."""

    def is_forbidden(name: str) -> bool:
        return name.partition(".")[0] in packages

    for name in [*sys.modules]:
        if is_forbidden(name):
            sys.modules[name] = None  # type: ignore[assignment]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and is_forbidden(str(arguments[0])):
            raise ImportError(f"{arguments[0]} may not be imported here")

    sys.addaudithook(hook)


def _leave_the_network() -> None:  # pragma: no cover (it lasts)
    """Go where there is no network; where the system has no such place, open no connection."""
    with suppress(OSError, AttributeError):
        user, group = os.getuid(), os.getgid()
        # as a user of a new kind it also has no rights over processes that do not show themselves
        if ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK) == 0:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
            return

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith("socket.") and event != "socket.__new__":
            raise PermissionError("there is no network here")

    sys.addaudithook(hook)
