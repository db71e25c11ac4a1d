"""What these inputs could not show: mistakes that would have changed nothing."""

from __future__ import annotations

from lockstep.gradients.measured import Check, Measured


def untested(it: Check, seen: Measured) -> list[tuple[str, str]]:
    """Names of mistakes, each with a sentence: what was not tested, and inputs that show it."""
    return []
