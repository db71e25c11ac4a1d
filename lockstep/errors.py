"""The error that a user sees when something cannot be used."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

_T = TypeVar("_T")
OBSERVERS: list[Callable[[Any], None]] = []  # are told each check's result, or mismatch

# What an extra of the package installs, and only some options need.
_EXTRAS = {"page": ("jinja2", "pygments"), "plot": ("matplotlib",), "exact": ("mpmath",)}


class Unusable(ValueError):
    """Input that cannot be used; the message names it and says what is expected."""

    def __init__(self, message: str) -> None:
        super().__init__(brief(message))


class Mismatch(AssertionError):
    """Something by hand differs by more than rounding explains; the message is the report.

    It is an AssertionError, so a test fails with the report.

    Attributes:
        first_mismatch: The first wrong element, a dict with the keys of the JSON document.
        diagnoses: Which mistakes it looks like, a dict each; their keys are those of the JSON
            document.

    Examples:
        >>> import numpy as np
        >>> from lockstep import Mismatch, follow
        >>> judge = follow(sizes="2-1", no_biases=True)
        >>> x, y, W1 = np.array([[1.0, 2.0]]), np.array([[0.3]]), np.array([[0.5, 0.1]])
        >>> try:
        ...     judge(x=x, y=y, W1=W1, dW1=2 * (y - x @ W1.T) * x)
        ... except Mismatch as mismatch:
        ...     print(mismatch.diagnoses[0]["mistake"])
        sign-flipped
    """

    __module__ = "lockstep"  # a test's summary line has room for little

    def __init__(
        self, report: str, first_mismatch: dict[str, Any], diagnoses: list[dict[str, Any]]
    ) -> None:
        super().__init__(report)
        self.first_mismatch, self.diagnoses = first_mismatch, diagnoses


def observed(found: _T) -> _T:
    """The result of a check, or its mismatch, of which all observers are told."""
    for observer in OBSERVERS:
        observer(found)
    return found


def need(option: str, extra: str) -> None:
    """Raise Unusable where a package that an option needs is not installed.

    Args:
        option: The option, as the message calls it.
        extra: The extra of this package that installs what it needs.
    """
    for package in _EXTRAS[extra]:
        if find_spec(package) is None:  # which does not import it, in whatever state it is
            install = f"pip install 'lockstep-backprop[{extra}]'"
            raise Unusable(f"{option} needs {package}: {install}")


def brief(text: str) -> str:
    """The text with words of hundreds of characters cut, so that a message stays readable."""
    return re.sub(r"\S{400,}", lambda word: f"{word[0][:60]}...", text)


def message_of(error: BaseException) -> str:
    """The message of an exception, which may be one of the user's own making."""
    try:
        return str(error)
    except Exception:  # of its __str__
        return "(its message cannot be shown)"


def first_line_of(error: BaseException) -> str:
    """The first line of an exception's message."""
    return message_of(error).strip().partition("\n")[0]


def short(value: object) -> str:
    """A value in an error message, in no more than 60 characters."""
    try:
        words = repr(value)
    except ValueError:
        return "a whole number of thousands of digits"
    return words if len(words) <= 60 else words[:57] + "..."


def visible(text: str) -> str:
    """The text with control characters as escapes, so that no file's content drives a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
