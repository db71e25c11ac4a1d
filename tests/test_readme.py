"""What the README shows is what comes out."""

import math
import re
import runpy
from pathlib import Path

import pytest

from lockstep import GradientMismatch
from lockstep.cli.compare import main
from lockstep.cli.descend import main as gradient_descent
from tests.campaigns.mistakes import PLACES

README = (Path(__file__).parents[1] / "README.md").read_text()
SHOWN = [
    block
    for language, block in re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
    if not language
]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block_with(text):
    """The shown block that has a text in it."""
    return next(block for block in SHOWN if text in block)


NUMBER = r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w|\.\d)"
KEPT = 1e-11  # about twelve significant digits; the last ones differ between processors and BLAS
BOTH = rf"({NUMBER})  by hand\n +({NUMBER})  PyTorch"  # a number that the two round differently
# What is the processor's own is not compared, and no more than that:
OWN = (
    r"\d+ ULP(?= of \d+ allowed)",  # how far apart two roundings of one number are
    # in the table: where they are farthest apart, for what is allowed; how far the weights drifted
    r"(?:\S+ +\d+ ULP|\bnone) +[\d.]+ +\d+ ULP$",
    r"[\d.]+(?: %)?(?=\s+of\s+what\s+rounding)",  # the largest of these in the verdict
    r"(?<=rounding explains )\S+$",  # a bound that is measured by what rounding does here
)


def near(a: str, b: str) -> bool:
    """Whether two printed numbers agree in the digits that rounding leaves."""
    return math.isclose(float(a), float(b), rel_tol=KEPT)


def compared(text: str) -> str:
    """What of a text is compared, with one blank around each number.

    A number is as wide as its last digits make it, so the columns beside it are the processor's.
    """

    def one_line(pair: re.Match[str]) -> str:
        return f"{pair[1]}  on both sides" if near(pair[1], pair[2]) else pair[0]

    text = re.sub(BOTH, one_line, text.strip("\n"))
    text = re.sub("|".join(OWN), "#", text, flags=re.MULTILINE)
    return re.sub(rf"\s*({NUMBER}|#)\s*", r" \1 ", text)


def comes_out(shown: str, printed: str) -> bool:
    """Whether a shown text is in a printed one: its words exactly, its numbers to rounding."""
    shown = compared(shown)
    numbers = re.findall(NUMBER, shown)
    words = (re.escape(part) for part in re.split(NUMBER, shown))
    places = re.finditer(f"({NUMBER})".join(words), compared(printed))
    return any(all(map(near, numbers, place.groups())) for place in places)


SHOWN_ENTRY = """
    new_w12 = w12 − lr·grad_w12
            = 0.2 − 0.05·(-0.1014)
            = 0.20507000000000003  by hand
              0.20507  PyTorch                           1 ULP of 20 allowed  ✓
step    loss by hand  loss by PyTorch  worst difference  of allowed  drift
   1        0.112186         0.112186    new_w12  1 ULP       0.049  1 ULP
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
        ("\n            = 0.2 − 0.05", "\n= 0.2 − 0.05"),
    ],
)
def test_another_word_or_another_number_is_seen(shown, otherwise):
    assert shown in SHOWN_ENTRY
    assert not comes_out(SHOWN_ENTRY, SHOWN_ENTRY.replace(shown, otherwise))
    assert not comes_out(SHOWN_ENTRY.replace(shown, otherwise), SHOWN_ENTRY)


def test_the_report_is_as_shown(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    for block in SHOWN[:2]:
        for part in re.split(r"    …\n| (?:forward|backward|update)\n", block):
            assert comes_out(part, printed), part


def test_the_sources_side_by_side_are_as_shown(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "112")
    assert main(["--code"]) == 0
    printed = capsys.readouterr().out
    for part in block_with("neuron_by_neuron.py  ").split("…\n"):
        assert comes_out(part, printed), part


def test_the_control_is_as_shown(capsys):
    assert main(["--control", "--show", "none"]) == 0
    printed = capsys.readouterr().out
    for part in block_with("planted at").split("  …\n"):
        assert comes_out(part, printed), part


def test_the_pictures_are_there_and_small():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 2
    for picture in pictures:
        assert (Path(__file__).parents[1] / picture).stat().st_size < 150_000


def test_the_descent_is_as_shown(capsys):
    assert gradient_descent([]) == 0
    assert capsys.readouterr().out == block_with("Local minimum")


def test_a_derivation_is_explained_as_shown(capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(next(program for program in PROGRAMS if program.startswith("# mine.py")))
    assert (
        main(["--derivation", str(path), "--sizes", "3-4-2", "--samples", "5", "--show", "none"])
        == 1
    )
    assert comes_out(block_with("delta_h[0, 0]; the 10"), capsys.readouterr().out)


def test_a_forgotten_term_of_a_gradient_is_told_as_shown(tmp_path):
    path = tmp_path / "mine.py"
    program = next(
        program
        for program in PROGRAMS
        if "import check_gradients" in program and "def hand" in program
    )
    path.write_text(program.replace("    p[np.arange(len(z)), label] -= 1\n", ""))
    with pytest.raises(GradientMismatch) as error:
        runpy.run_path(str(path))
    assert comes_out(block_with("z: mismatch"), str(error.value))
    assert comes_out(str(error.value), block_with("z: mismatch"))


def test_the_table_of_mistakes_has_every_mistake():
    rows = re.findall(r"^\| `([\w-]+)` \| 100 \| 100 \|", README, re.MULTILINE)
    assert rows == list(PLACES)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.split("\n")[0])
def test_the_programs_run(program, capsys):
    exec(program, {"__file__": __file__})
    if "1403/500" in program:
        assert capsys.readouterr().out == "1403/500\n"
