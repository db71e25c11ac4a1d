"""What the tests of `lockstep look` on programs in strings share."""

import json

from lockstep.__main__ import main


def judged(tmp_path, capsys, text, *options):
    """The exit status, and what is printed; there is time enough on a busy machine, too."""
    path = tmp_path / "program.py"
    path.write_text(text)
    status = main(["look", str(path), "--time-limit", "600", *options])
    return status, capsys.readouterr()


def judged_with(right, wrong, text, tmp_path, capsys):
    """The exit status, and the document, of a program with a planted mistake."""
    assert right in text
    status, said = judged(tmp_path, capsys, text.replace(right, wrong), "--json", "-")
    return status, json.loads(said.out)
