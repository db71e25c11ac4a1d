"""What is said to the user when something cannot be used."""

import re


class Unusable(ValueError):
    """Input that cannot be used; the message names the culprit and says what is expected."""

    def __init__(self, message):
        super().__init__(brief(message))


def brief(text):
    """The text with words of hundreds of characters cut, so that a message stays one that can be read."""
    return re.sub(r"\S{400,}", lambda word: f"{word[0][:60]}...", text)


def short(value):
    """A value in an error message, in no more than 60 characters."""
    try:
        words = repr(value)
    except ValueError:
        return "a whole number of thousands of digits"
    return words if len(words) <= 60 else words[:57] + "..."
