"""Lines of JSON read one by one, from a file or from standard input: each an object, whatever else is refused."""

import json
import sys

from lockstep.keys import Unusable, short

MOST = 2**26  # characters of a line


def read_lines(path):
    """(where, values, text) of each line that is not empty; where: what a message starts with. Raises Unusable.

    path: of a file, or - for standard input, which is read as it comes.
    """
    name = "standard input" if path == "-" else path
    number = 0
    try:
        with sys.stdin if path == "-" else open(path, encoding="utf-8-sig") as file:
            while text := file.readline(MOST + 1):
                number += 1
                where = f"{name}: line {number}: "
                if len(text) > MOST:
                    raise Unusable(f"{where}is longer than {MOST:,} characters; expected a line a step")
                if text.strip():
                    yield where, _parsed(text, where), text
    except OSError as error:
        raise Unusable(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{name}: expected lines of JSON in UTF-8") from None


def _parsed(text, where):
    """The object that a line holds."""
    try:
        values = json.loads(text, object_pairs_hook=lambda pairs: _without_doubles(pairs, where))
    except RecursionError:
        raise Unusable(f"{where}is nested too deeply; expected a line of JSON") from None
    except json.JSONDecodeError as error:
        raise Unusable(f"{where}{_what_is_wrong(text, error)}") from None
    except ValueError as error:
        raise error if isinstance(error, Unusable) else Unusable(f"{where}a number of too many digits") from None
    if not isinstance(values, dict):
        raise Unusable(f'{where}expected an object such as {{"step": 1, "h": [[0.5]]}}, got {short(values)}')
    return values


def _without_doubles(pairs, where):
    values = {}
    for name, value in pairs:
        if name in values:
            raise Unusable(f"{where}{short(name)} stands there twice; expected each name once")
        values[name] = value
    return values


def _what_is_wrong(text, error):
    """Why a line is no JSON, and what to do about it."""
    rest = text[error.pos :]
    if rest.lstrip("-+").lower().startswith(("nan", "inf")):
        word = rest.replace("]", ",").replace("}", ",").partition(",")[0].strip()
        return f'{word} is no number of JSON; expected it in quotes: "{word}"'
    if text.lstrip().startswith("["):
        return 'expected an object a line, such as {"step": 1, "h": [[0.5]]}, got the beginning of a list'
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "is cut off; expected a whole line of JSON"
    return (
        f"expected JSON; column {error.pos + 1}: {error.msg[0].lower()}{error.msg[1:]}, at {short(rest[:20].rstrip())}"
    )
