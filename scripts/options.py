"""Print the options of `lockstep compare` and of problem files as a table in Markdown."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lockstep.network.options import FILE, GROUPS, Option  # noqa: E402


def reference(groups: Mapping[str, Sequence[Option]] = GROUPS) -> str:
    """The options as a table in Markdown, a line an option."""
    rows = ["| option | key in a file | meaning | without it |", "|---|---|---|---|"]
    for heading, options in groups.items():
        rows.append(f"| **{heading}** | | | |")
        for option in options:
            typed = f"`{option.flag} {option.kind.metavar or ''}".rstrip() + "`"
            flag = "" if heading == FILE else typed
            meaning = option.help.replace("|", r"\|")
            rows.append(f"| {flag} | `{option.name}` | {meaning} | {option.without} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
