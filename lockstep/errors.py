"""The error that a user sees when something cannot be used."""

import re


class Unusable(ValueError):
    """Input that cannot be used; the message names it and says what is expected."""

    def __init__(self, message: str) -> None:
        super().__init__(brief(message))


def brief(text: str) -> str:
    """The text with words of hundreds of characters cut, so that a message stays readable."""
    return re.sub(r"\S{400,}", lambda word: f"{word[0][:60]}...", text)


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
