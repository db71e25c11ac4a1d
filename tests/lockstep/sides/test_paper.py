"""Numbers from paper: judged to their printed digits, explained by a training with a mistake."""

from pathlib import Path

import pytest

from lockstep import compare
from lockstep.cli.compare import main
from lockstep.errors import Unusable
from lockstep.sides.paper import read_numbers

EXAMPLES = Path(__file__).parents[3] / "scripts" / "examples"


@pytest.mark.slow
def test_mazurs_published_numbers_are_told_as_updated_weights_to_every_digit(capsys):
    arguments = [
        str(EXAMPLES / "mazur.toml"),
        "--numbers",
        str(EXAMPLES / "mazur_published.toml"),
        "--show",
        "none",
    ]
    assert main([*arguments, "--expect", "updated-weights-used"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "mismatch: first at step 2, loss; the 14 values before it agree" in out
    assert "mistake updated-weights-used" in out
    assert "every digit of loss of step 2, o of step 10001 comes out" in out
    assert "its last digit allows 5e-10" in out
    assert " or " not in out.split("mistake")[1].split("remedy")[0]


def numbers(tmp_path, text):
    path = tmp_path / "paper.toml"
    path.write_text(text)
    return read_numbers(str(path))


def test_a_printed_number_is_judged_to_half_a_unit_of_its_last_digit(tmp_path):
    problem = {
        "x": [[1.0, 1.0]],
        "steps": 1,
    }  # z_h1 = 0.4 - 0.3 + 0.1 = 0.2, z_h2 = 0.2 + 0.7 - 0.2 = 0.7
    problem |= {"W_h": [[0.4, -0.3], [0.2, 0.7]], "b_h": [0.1, -0.2]}
    for text, verdict in (
        ("0.2", "match"),
        ("0.24", "mismatch"),
        ("0.2000000", "match"),
        ("2e-1", "match"),
    ):
        assert compare(numbers(tmp_path, f'z_h1 = "{text}"'), problem).verdict == verdict
    assert compare(numbers(tmp_path, 'z_h = [["0.2", "0.7"]]'), problem).verdict == "match"
    assert compare(numbers(tmp_path, "z_h1 = 0.2000001"), problem).verdict == "mismatch"
    assert compare(numbers(tmp_path, "z_h1 = 0.2"), problem).verdict == "match"


def test_a_computed_number_that_is_wrong_gets_its_mistake(tmp_path):
    paper = numbers(tmp_path, "delta_o1 = 0.244\ndelta_o2 = 0.406")
    result = compare(paper, steps=1)
    assert (result.first_mismatch["label"], result.diagnoses[0]["mistake"]) == (
        "delta_o1",
        "sign-flipped",
    )


def test_numbers_of_another_shape_are_a_mismatch(tmp_path):
    result = compare(numbers(tmp_path, "h = [0.1, 0.2]"), steps=1)
    assert result.diagnoses[0]["mistake"] == "wrong-shape"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no number"),
        ("[step.2]", "has no number"),
        ("h1 = ", "expected a TOML file"),
        (
            'h1 = "abc"',
            "step 1, h1: expected a number, got 'abc'",
        ),
        ('h1 = "nan"', "step 1, h1: expected a number"),
        ("h1 = inf", "step 1, h1: expected a number"),
        ("h1 = true", "step 1, h1: expected a number"),
        ("step = 3", "step: expected tables"),
        ("[step.first]\nh1 = 1", "step.first: expected a table named by a step number"),
        ("[step.0]\nh1 = 1", "step.0: expected a table named by a step number"),
    ],
)
def test_bad_files_of_numbers_are_told(tmp_path, text, words):
    with pytest.raises(Unusable) as error:
        numbers(tmp_path, text)
    assert words in str(error.value)
    assert "paper.toml" in str(error.value)


def test_numbers_beyond_the_run_are_refused(tmp_path):
    with pytest.raises(Unusable, match="step 9 is beyond the run's 3 steps"):
        compare(numbers(tmp_path, '[step.9]\nloss = "1"'), steps=3)


def test_unknown_names_are_told_with_the_nearest(tmp_path):
    with pytest.raises(
        Unusable, match="step 1 'delta_hh1': expected names of computed quantities; did you mean"
    ):
        compare(numbers(tmp_path, "delta_hh1 = 0.5"))


def test_numbers_and_a_derivation_together_are_refused(capsys):
    assert main(["--numbers", "a.toml", "--derivation", "b.py"]) == 2
    assert "expected one of the two" in capsys.readouterr().err


def test_printed_numbers_without_quotes_are_told_as_such(tmp_path):
    paper = numbers(tmp_path, 'h1 = 0.593269992\nnew_w31 = "3.5891648e-1"')
    result = compare(paper, str(EXAMPLES / "mazur.toml"))
    assert result.verdict == "mismatch"
    assert [diagnosis["mistake"] for diagnosis in result.diagnoses] == ["too-few-digits"]
    assert "put a printed number in quotes" in str(result)


def test_a_computed_number_that_is_nearly_right_is_judged_as_such(tmp_path):
    result = compare(numbers(tmp_path, "h1 = 0.06000000001"))
    assert (result.verdict, result.first_mismatch["label"]) == ("mismatch", "h1")
    assert result.diagnoses[0]["mistake"] == "unknown"


def test_numbers_that_are_right_do_not_have_to_be_explained(tmp_path):
    result = compare(numbers(tmp_path, 'loss = "0.056093"\ndelta_o1 = "-0.244"'))
    assert (result.verdict, result.first_mismatch["label"]) == ("mismatch", "loss")
    assert result.diagnoses[0]["mistake"] == "scaled-by-constant"


def test_a_right_number_beside_a_wrong_one_does_not_keep_it_from_being_explained(tmp_path):
    result = compare(
        numbers(tmp_path, '[step.2]\nh1 = "0.59"\nloss = "0.291027924"'),
        str(EXAMPLES / "mazur.toml"),
    )
    assert result.first_mismatch["label"] == "loss"
    assert result.diagnoses[0]["mistake"] == "updated-weights-used"


def test_a_shown_step_without_numbers_is_just_its_heading(tmp_path, capsys):
    path = tmp_path / "paper.toml"
    path.write_text("[step.2]\nloss = 0.5")
    assert main(["--numbers", str(path), "--sizes", "3-2-1", "--show", "1,2"]) == 1
    assert "\nstep 1\n\nstep 2\nworst element" in capsys.readouterr().out
