"""What compares a page with what comes out: it sees another word, number, message or status."""

import os
import sys
import textwrap
import types

import pytest

from tests.shown import blocks, comes_out, differences, lacking

SHOWN_ENTRY = """
    new_w12 = w12 − lr·grad_w12
            = 0.2 − 0.05·(-0.1014)
            = 0.20507000000000003  by hand
              0.20507  PyTorch                           1 ULP of 20 allowed  ✓
step    loss by hand  loss by PyTorch  worst difference  of allowed  drift
   1        0.112186         0.112186    new_w12  1 ULP       0.049  1 ULP
  63      delta_h1 = (delta_o1 * w31 + delta_o2 *      │    46      delta_h = z_h.grad  # (N, n)
          w32) * sigma_h_prime(z_h1, h1)               │
match: 15 of 15 quantities, 100 steps, 3 700 values. The largest difference is
7.9 % of what rounding explains.
"""


@pytest.mark.parametrize(
    ("shown", "otherwise"),
    [
        ("0.20507000000000003", "0.20507000000000008"),  # the 16th digit
        ("0.05·", "0.05000000000000004·"),
        (
            "= 0.20507000000000003  by hand\n              0.20507  PyTorch",
            "= 0.20507  on both sides",
        ),
        ("1 ULP of 20 allowed", "0 ULP of 20 allowed"),
        ("new_w12  1 ULP       0.049  1 ULP", "none           0  2 ULP"),
        ("  63      delta", "  64      delta"),
        ("│    46 ", "│   117 "),
        (
            "The largest difference is\n7.9 % of what rounding explains",
            "The largest difference is 12 %\nof what rounding explains",
        ),
        (
            "The largest difference is\n7.9 % of what rounding explains",
            "Every value is the same on\nboth sides",
        ),
    ],
)
def test_what_the_processor_rounds_is_not_compared(shown, otherwise):
    assert shown in SHOWN_ENTRY
    assert comes_out(SHOWN_ENTRY, "before\n" + SHOWN_ENTRY.replace(shown, otherwise) + "after\n")


@pytest.mark.parametrize(
    ("shown", "otherwise"),
    [
        ("0.2 − 0.05", "0.2 − 0.06"),
        ("-0.1014", "0.1014"),
        ("0.20507000000000003  by", "0.20508000000000003  by"),  # the fifth digit
        ("  0.20507  PyTorch", "  0.20507000001  PyTorch"),  # the eleventh
        ("0.112186         0.112186", "0.112186         0.112187"),
        ("of 20 allowed", "of 21 allowed"),
        ("lr·grad_w12", "lr·grad_w21"),
        ("by hand\n", "by hands\n"),
        ("worst difference", "largest difference"),
        ("✓", "✗"),
        ("w31 + delta_o2", "w32 + delta_o2"),
        ("z_h.grad  # (N", "z_o.grad  # (N"),
        ("100 steps", "101 steps"),
        ("explains.", "explains!"),
        ("\n            = 0.2 − 0.05", "\n= 0.2 − 0.05"),
    ],
)
def test_another_word_or_another_number_is_seen(shown, otherwise):
    assert shown in SHOWN_ENTRY
    assert not comes_out(SHOWN_ENTRY, SHOWN_ENTRY.replace(shown, otherwise))
    assert not comes_out(SHOWN_ENTRY.replace(shown, otherwise), SHOWN_ENTRY)


def page(text):
    return textwrap.dedent(text).replace("~~~", "```")


@pytest.mark.parametrize(
    "text",
    [
        """
        ~~~python
        print(0.1 + 0.2)
        ~~~
        Between the two stands a sentence.
        ~~~text
        0.30000000000000004
        ~~~
        """,
        """
        ~~~python
        a = 3
        ~~~
        ~~~python
        raise ValueError(f"expected {a + 1}")
        ~~~
        ~~~text
        expected 4
        ~~~
        """,
        """
        ~~~python
        # mine.py
        import sys
        print("first", sys.argv[1])
        print("between")
        print("last")
        sys.exit(3)
        ~~~
        ~~~console
        $ python mine.py \\
            7
        first 7
        …
        last
        $ echo $?
        3
        ~~~
        """,
        """
        ~~~toml
        # numbers.toml
        h1 = "0.5"
        ~~~
        ~~~console
        $ cat numbers.toml | tail -1
        h1 = "0.5"
        ~~~
        """,
        """
        ~~~console
        $ echo '{"step": 1, "h": [[0.06, 0.46]]}' | python scripts/compare.py --numbers - --quiet
        match: 1 of 15 quantities
        ~~~
        """,
        """
        ~~~sh
        false
        ~~~
        """,
    ],
)
def test_a_page_that_shows_what_comes_out_has_no_difference(text, tmp_path):
    assert differences(page(text), tmp_path) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("~~~python\nprint(1)\n~~~\n~~~text\n2\n~~~\n", "but this comes out\n1"),
        ("~~~python\nprint(1)\n~~~\n~~~text\n1\n…\n2\n~~~\n", "but this comes out\n1"),
        ("~~~python\nraise ValueError('four')\n~~~\n~~~text\nfive\n~~~\n", "four"),
        ("~~~python\nraise ValueError('four')\n~~~\n", "four"),
        ("~~~console\n$ lockstep --version\nlockstep 7.7.7\n~~~\n", "lockstep 0."),
        ("~~~console\n$ lockstep compare --sizes two\n~~~\n", "exit status 2"),
        ("~~~python\n# mine.py\n1 / 0\n~~~\n~~~console\n$ python mine.py\n~~~\n", "ZeroDivision"),
        ("~~~console\n$ cat nothing.toml | head -1\n~~~\n", "No such file"),
    ],
)
def test_a_page_that_shows_something_else_is_found(text, reason, tmp_path):
    [found] = differences(page(text), tmp_path)
    assert reason in found
    assert found.startswith("line ")


def test_a_page_says_what_its_machine_lacks(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert lacking(page("~~~console\n$ cc -o net net.c\n~~~\n")) == ["no cc: `apt install gcc`"]
    assert lacking(page("~~~console\n$ ./net | node net.mjs\n~~~\n")) == [
        "no node: `apt install nodejs`"
    ]
    assert lacking(page("~~~console\n$ python cc.py\n~~~\n~~~sh\ncc net.c\n~~~\n")) == []


def test_blocks_know_their_line_and_their_file():
    text = page(
        "one\n~~~python\n# a/mine.py\nx = 1\n~~~\n- in a list\n\n  ~~~c\n  // net.c\n  ~~~\n"
    )
    assert [(block.line, block.language, block.name) for block in blocks(text)] == [
        (2, "python", "a/mine.py"),
        (8, "c", "net.c"),
    ]


def test_a_file_of_a_page_is_imported_though_a_module_has_its_name(tmp_path, monkeypatch):
    elsewhere = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", elsewhere)
    text = "~~~python\n# mine.py\nx = 3\n~~~\n~~~python\nimport mine\n\nprint(mine.x)\n~~~\n"
    assert differences(page(text + "~~~text\n3\n~~~\n"), tmp_path) == []
    assert sys.modules["mine"] is elsewhere


def test_what_a_page_changes_is_put_back(tmp_path):
    before = os.getcwd(), dict(os.environ), list(sys.argv), list(sys.path), sys.stdin
    text = "~~~python\n# mine.py\nimport sys\n\nsys.path.append('here')\n1 / 0\n~~~\n"
    assert differences(page(text + "~~~console\n$ COLUMNS=7 python mine.py\n~~~\n"), tmp_path)
    assert (os.getcwd(), dict(os.environ), sys.argv, sys.path, sys.stdin) == before
    assert "mine" not in sys.modules
