"""The exercise: a template fails as shipped, a solution passes, a planted mistake is named."""

import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockstep.cli import exercise as practice
from lockstep.cli.compare import main as compare
from lockstep.cli.exercise import main
from lockstep.explain.catalogue import catalogue
from lockstep.learn.exercise import check_text, network_of
from lockstep.learn.mistakes import drawn, plantable
from lockstep.learn.template import HIDDEN, Exercise, hints, right_formula, template
from tests.campaigns.other_end import (
    interrupt,
    piped_input,
    terminal,
    wait_until,
    with_other_end,
)

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("matrix", [False, True])
def test_a_template_has_nothing_right_and_a_solution_everything(matrix):
    empty = check_text(template(Exercise(matrix=matrix)), "a.py")
    assert not any(empty.verdicts[name].filled for name in empty.exercise.asked)
    full = check_text(template(Exercise(matrix=matrix), {}), "a.py")
    assert all(verdict.done for verdict in full.verdicts.values())
    assert len(full.counted) == len(empty.counted) == (15 if matrix else 31)
    assert len(full.verdicts) == (17 if matrix else 41)


@pytest.mark.slow
def test_each_planted_mistake_is_the_only_thing_wrong_and_named(tmp_path, capsys):
    names = plantable(Exercise(split=False))
    assert len(names) >= 18  # most of the catalogue
    for name in names:
        path = tmp_path / f"{name}.py"
        assert main([str(path), "--matrix", "--mistake", name]) == 0
        assert name not in path.read_text()
        capsys.readouterr()
        assert main([str(path)]) == 1
        out = capsys.readouterr().out
        assert out.startswith("14 of 15 formulas are right, 1 not yet.\nnot yet: "), name
        assert f"  {name}: " in out


def filled(tmp_path, **formulas):
    """A file of the exercise in scalars with some formulas filled in."""
    text = template(Exercise(matrix=False))
    for name, formula in formulas.items():
        assert f"    {name} = ..." in text
        text = text.replace(f"    {name} = ...", f"    {name} = {formula}")
    path = tmp_path / "my_net.py"
    path.write_text(text)
    return str(path)


def test_one_slip_gives_one_message(tmp_path, capsys):
    path = filled(
        tmp_path, z_h1="w11 * x1 + w21 * x2", h1="sigma(z_h1)", z_h2="w12 * x1 + w22 * x2 + b2"
    )
    assert main([path]) == 1
    out = capsys.readouterr().out
    assert "2 of 31 formulas are right, 1 not yet.\nnot yet: z_h1 (line 14): differs on" in out
    assert "bias-forgotten: the bias is missing in z_h" in out
    assert "next to fill in: h2 (line 17): activation of hidden neuron 2" in out
    assert "0." not in out.replace("line", "")  # no value of PyTorch's is given away


def test_a_formula_that_raises_is_told_with_its_line(tmp_path, capsys):
    assert main([filled(tmp_path, z_h1="w11 * x3")]) == 1
    assert "not yet: z_h1 (line 14): NameError: name 'x3' is not defined" in capsys.readouterr().out


def test_what_agrees_on_one_sample_only_is_told(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text(template(Exercise(), {"grad_b_o": "delta_o[0]"}))
    assert main([str(path)]) == 1
    out = capsys.readouterr().out
    assert "agrees on one sample; differs on a batch of 5 samples, other widths" in out
    assert "something depends on the number of samples" in out


NETWORKS = [
    "--network 3-4-3 --loss cross_entropy",
    "--network 3-2 --loss cross_entropy_sum --optimizer adamw --l1 0.1",
    "--network 3-4-4-2 --activations tanh,relu,sigmoid --loss bce --optimizer adam",
    "--network 2-3-2 --momentum 0.9 --nesterov --l2 0.1",
    "--network 3-3-3-3-2 --activations gelu,gelu_tanh,silu,linear --optimizer rmsprop --no-biases",
    "--network 3-3-2 --activations leaky_relu:0.2,softplus --optimizer adagrad --loss mse",
    "--activations elu,linear --loss sum_over_n --weight-decay 0.1",
]
OF_SCALARS = [
    "--network 2-2-1",
    "--loss cross_entropy --no-biases",
    "--network 2-2-1 --loss bce --optimizer adam --activations gelu,sigmoid",
    "--activations tanh,relu --momentum 0.9 --nesterov --l1 0.1 --l2 0.1",
    "--network 2-2-2 --loss mse --activations softplus,linear --optimizer adagrad",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "scalars"), [(it, False) for it in NETWORKS] + [(it, True) for it in OF_SCALARS]
)
def test_the_exercise_of_any_network_is_written_checked_and_trained(
    options, scalars, tmp_path, capsys
):
    asked, path = options.split(), tmp_path / "net.py"
    asked += [] if scalars else ["--matrix"]
    assert main([str(path), *asked]) == 0
    assert main([str(path), *asked]) == 0  # nothing is filled in yet
    checked = check_text(path.read_text(), str(path))
    it, total = checked.exercise, len(checked.counted)
    assert it.matrix is not scalars
    assert f"0 of {total} formulas are right." in capsys.readouterr().out
    path.write_text(template(it, {}))
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    assert f"ALL {total} FORMULAS ARE RIGHT" in out
    *_, command = out.splitlines()
    assert command.strip() == f"python scripts/compare.py --derivation {path}"
    assert compare([*command.split()[2:], "--quiet"]) == 0
    assert "match" in capsys.readouterr().out


@pytest.mark.slow
def test_a_network_of_ones_own_has_its_hints_and_its_mistakes(tmp_path, capsys):
    asked, path = (
        ["--matrix", "--network", "3-4-4-3", "--loss", "cross_entropy"],
        tmp_path / "net.py",
    )
    assert main([str(path), *asked, "--mistake", "typo"]) == 2
    possible = capsys.readouterr().err
    for name in ("layer-skipped", "wrong-layer-derivative", "targets-shifted"):
        assert name in possible
    assert main([str(path), *asked, "--mistake", "layer-skipped"]) == 0
    assert main([str(path)]) == 1
    assert "  layer-skipped: " in capsys.readouterr().out
    it = check_text(path.read_text(), str(path)).exercise
    assert hints("delta2", it)[1] == "it is made of delta3, W3, a2"
    assert hints("loss", it)[3] == "loss = -(y * log_softmax(z3)).sum() / y.shape[0]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "others"),
    [
        ("-(y * log_softmax(z_o)).sum() / y.shape[0]", "-np.sum(y * np.log(o)) / len(y)"),
        ("softmax(z_o)", "(lambda e: e / e.sum(axis=1, keepdims=True))(np.exp(z_o))"),
        ("grad_h * (h * (1 - h))", "(delta_o @ W_o) * sigmoid(z_h) * (1 - h)"),
    ],
)
def test_other_right_formulas_of_a_classifier_are_right(right, others, tmp_path, capsys):
    path = tmp_path / "net.py"
    main([str(path), "--matrix", "--network", "3-4-3", "--loss", "cross_entropy"])
    text = template(check_text(path.read_text(), str(path)).exercise, {})
    assert text.count(f" = {right}  #") == 1
    path.write_text(text.replace(f" = {right}  #", f" = {others}  #"))
    assert main([str(path)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--network 3", "--network: expected two or more positive whole numbers"),
        ("--network 3-4-2 --activations tanh", "activations: says"),
        ("--loss hinge", "--loss: expected one of mse"),
        ("--optimizer adam --momentum 0.9", "momentum"),
        (
            "--matrix --network 3-4-2 --loss mse",
            "net.py is there already, for 3-4-3 sigmoid,softmax",
        ),
    ],
)
def test_bad_networks_and_another_one_than_the_files_are_told(options, words, tmp_path, capsys):
    path = tmp_path / "net.py"
    assert main([str(path), "--matrix", "--network", "3-4-3", "--loss", "cross_entropy"]) == 0
    before = path.read_text()
    assert main([str(path), *options.split()]) == 2
    assert words in capsys.readouterr().err
    assert path.read_text() == before


def test_an_exercise_may_freeze_a_parameter(tmp_path, capsys):
    path = tmp_path / "net.py"
    main([str(path), "--matrix", "--network", "3-4-3", "--loss", "cross_entropy"])
    text = path.read_text().replace('"samples": 5,', '"samples": 5, "frozen": ["W1"],')
    it = check_text(text, str(path)).exercise
    assert it.network.frozen == ("W_h",)
    path.write_text(template(it, {}))
    assert main([str(path)]) == 0, capsys.readouterr().out
    path.write_text(template(it, {"new_W_h": "W_h - lr * grad_W_h"}))
    assert main([str(path)]) == 1


@pytest.mark.slow
def test_a_shape_error_says_on_which_example_and_a_hang_at_which_line(tmp_path, capsys):
    path = tmp_path / "net.py"
    main([str(path), "--matrix", "--network", "3-4-3", "--loss", "cross_entropy"])
    empty = path.read_text()
    path.write_text(empty.replace("z_h = ...", "z_h = x @ W_h + b_h"))
    assert main([str(path)]) == 1
    assert "(on one sample)" in capsys.readouterr().out
    path.write_text(empty.replace("    z_h = ...", "    while True: pass\n    z_h = ..."))
    assert main([str(path), "--time-limit", "1"]) == 2
    line = 1 + empty[: empty.index("    z_h = ...")].count("\n")
    assert f"net.py, line {line}: is still running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("PROBLEM = dict(sizes=n)", "line 1: expected a dict of plain values"),
        ("PROBLEM = {'sizes': 'wide'}", "PROBLEM: sizes: expected two or more positive"),
        ("PROBLEM = {'steps': 3}", "PROBLEM: steps: unknown key"),
        ("PROBLEM = {'sizes': '1-1', 3: 4}", "line 1: expected a dict of plain values"),
        ("PROBLEM = {[]: 1}", "line 1: expected a dict of plain values"),
        ("PROBLEM: dict = {'sizes': 'wide'}", "PROBLEM: sizes: expected two or more positive"),
        ("P = PROBLEM = {'sizes': 'wide'}", "PROBLEM: sizes: expected two or more positive"),
        ("PROBLEM = {'sizes': '1-1', 'x': [[1]], 'mask1': [[1]]}", "mask1"),
        ("PROBLEM = {'sizes': '1-2-1', 'x': [[1]], 'mask1': [[1, 2]]}", "has no dropout"),
    ],
)
def test_a_problem_that_cannot_be_read_is_told(problem, words, tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text(f"{problem}\ndef step(x): pass")
    assert main([str(path)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("matrix", [False, True])
def test_finishing_says_what_was_proven_and_points_to_a_command_that_matches(
    matrix, tmp_path, capsys, monkeypatch
):
    path = tmp_path / "net.py"
    path.write_text(template(Exercise(matrix=matrix), {}))
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    assert f"ALL {15 if matrix else 31} FORMULAS ARE RIGHT" in out
    command = out.splitlines()[-1].split()
    assert command[:2] == ["python", "scripts/compare.py"]
    assert compare([*command[2:], "--quiet"]) == 0


def test_hints_say_more_and_more_and_end_with_the_formula():
    for it in (Exercise(), Exercise(matrix=False)):
        for name in it.names:
            ladder = hints(name, it)
            assert len(ladder) == 4
            assert ladder[-1].startswith(f"{name} = ")
    assert hints("delta_h1", Exercise(matrix=False))[1] == "it is made of grad_h1, h1"
    assert hints("delta_h1", Exercise(matrix=False))[2] == "its shape is □ * (□ * (1 - □))"


def test_the_file_is_written_only_where_none_is(tmp_path, capsys):
    path = tmp_path / "net.py"
    assert main([str(path), "--matrix"]) == 0
    assert path.read_text() == template(Exercise())
    path.write_text(template(Exercise(), {}))
    assert main([str(path)]) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def step(:", "line 1: expected Python"),
        ("x = 1", "expected a function step"),
        ("1 / 0\ndef step(w11): pass", "ZeroDivisionError"),
    ],
)
def test_bad_files_are_told_in_a_line(tmp_path, capsys, text, words):
    path = tmp_path / "net.py"
    path.write_text(text)
    assert main([str(path)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_an_unknown_mistake_and_a_folder_that_is_not_there_are_told(tmp_path, capsys):
    assert main([str(tmp_path / "a.py"), "--mistake", "typo"]) == 2
    assert (
        "--mistake typo: expected one of missing-activation-derivative" in capsys.readouterr().err
    )
    assert main([str(tmp_path / "no" / "a.py")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def watched(monkeypatch, path, student):
    """The status of --watch at a terminal where `student(press, read_until)` sits."""
    with terminal(monkeypatch) as (press, read_until):
        return with_other_end(
            lambda: main([str(path), "--watch"]), lambda: student(press, read_until)
        )


@pytest.mark.slow
def test_watching_checks_at_each_save_and_gives_hints_on_a_key(monkeypatch, tmp_path):
    path = Path(filled(tmp_path))

    def student(press, read_until):
        read_until("[q] quit")
        press("h")
        read_until("hint 1 of 3: it is made of w11, x1, w21, x2, b1")
        press("h")
        read_until("hint 2 of 3: its shape is")
        path.write_text(path.read_text().replace("z_h1 = ...", "z_h1 = w11 * x1"))
        read_until("not yet: z_h1")
        press("v")
        read_until("z_h1: PyTorch ")
        path.write_text(template(Exercise(matrix=False), {}))
        read_until("ALL 31 FORMULAS ARE RIGHT")

    assert watched(monkeypatch, path, student) == 0


def test_a_mistake_is_not_planted_over_a_file_that_is_there(tmp_path, capsys):
    path = filled(tmp_path)
    assert main([path, "--mistake", "sign-flipped"]) == 2
    assert "is there already; expected a name not taken yet" in capsys.readouterr().err


def test_a_file_that_is_not_text_or_cannot_be_opened_is_told(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_bytes(b"\xff\xfe")
    assert main([str(path)]) == 2
    assert "net.py: expected Python in UTF-8" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_formula_that_gives_no_number_is_told_with_its_line(tmp_path, capsys):
    assert main([filled(tmp_path, z_h1="'a'")]) == 1
    assert (
        "not yet: z_h1 (line 14): the file gives z_h1 as str; expected an array of real numbers"
        in capsys.readouterr().out
    )


def test_a_function_without_a_return_is_checked_all_the_same():
    checked = check_text(template(Exercise()).rpartition("    return")[0], "a.py")
    filled = {name for name, verdict in checked.verdicts.items() if verdict.filled}
    assert filled == {"new_W_h", "new_b_h"}  # which are given


def test_watching_begins_with_a_template_goes_on_after_a_syntax_error_and_ends_with_q(
    monkeypatch, tmp_path
):
    path = tmp_path / "net.py"

    def student(press, read_until):
        read_until("[q] quit")
        press("v")
        read_until("z_h1: fill it in first")
        path.write_text("def step(:")
        read_until("line 1: expected Python")
        press("q")

    assert watched(monkeypatch, path, student) == 1


@contextmanager
def lines_of_keys(monkeypatch):
    """Standard input as a pipe; gives a function that types keys, each with Enter, and its end."""
    with piped_input(monkeypatch) as written:
        yield lambda keys: written.writelines(f"{key}\n" for key in keys), written.close


def test_a_pipe_gives_keys_a_line_each_and_its_end_ends_watching(monkeypatch, tmp_path, capsys):
    path = filled(tmp_path)
    with lines_of_keys(monkeypatch) as (type_, end):
        type_(["H", "help", "", "x", "v"])
        end()
        assert main([path, "--watch"]) == 1
    out = capsys.readouterr().out
    assert out.count("A letter and Enter: [h] a further hint") == 1
    assert "hint 1 of 3: it is made of w11, x1, w21, x2, b1\nhint 2 of 3" in out
    assert "z_h1: fill it in first" in out
    assert out.endswith("0 of 31 right, 2 hints used.\n")


def test_without_an_input_watching_ends(monkeypatch, tmp_path, capsys):
    for nothing in (None, io.StringIO()):
        monkeypatch.setattr("sys.stdin", nothing)
        assert main([filled(tmp_path), "--watch"]) == 1
        assert capsys.readouterr().out.endswith("0 of 31 right, 0 hints used.\n")


def test_an_interrupt_ends_watching_and_counts_the_hints(monkeypatch, tmp_path, capsys):
    path, asked = filled(tmp_path), []
    with lines_of_keys(monkeypatch) as (type_, _):
        monkeypatch.setattr(practice._Asked, "hint", lambda *_: asked.append(1) or "a hint")

        def student():
            type_("h")
            wait_until(lambda: asked)
            interrupt()

        assert with_other_end(lambda: main([path, "--watch"]), student) == 130
    assert capsys.readouterr().out.endswith("a hint\n0 of 31 right, 0 hints used.\n")


@pytest.mark.parametrize("module", ["termios", "tty"])
def test_on_a_system_without_termios_keys_work_with_enter(monkeypatch, tmp_path, capsys, module):
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "net.py"
    with lines_of_keys(monkeypatch) as (type_, _):
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        hint = practice._Asked.hint

        def finish(*given):
            path.write_text(template(Exercise(), {}))
            os.utime(path, ns=(1, 1))
            return hint(*given)

        monkeypatch.setattr(practice._Asked, "hint", finish)
        type_("h")
        assert main([str(path), "--watch"]) == 0
    out = capsys.readouterr().out
    assert out.count("A letter and Enter: ") == 1
    assert "ALL 15 FORMULAS ARE RIGHT" in out
    assert out.endswith("15 of 15 right, 1 hint used.\n")


def test_control_d_at_a_terminal_ends_watching(monkeypatch, tmp_path):
    path = filled(tmp_path)

    def student(press, read_until):
        read_until("[q] quit")
        press("\x04")
        read_until("0 of 31 right, 0 hints used.")

    assert watched(monkeypatch, path, student) == 1


def test_hints_have_a_budget_and_a_hint_that_was_given_is_given_again(
    monkeypatch, tmp_path, capsys
):
    path = filled(tmp_path, z_h1="w11 * x1 + w21 * x2 + b1")
    with lines_of_keys(monkeypatch) as (type_, end):
        type_("hhhhq")
        end()
        assert main([path, "--watch", "--hints", "3"]) == 1
    out = capsys.readouterr().out
    assert out.count("hint 3 of 3: z_h2 = w12 * x1 + w22 * x2 + b2\n") == 2
    assert out.endswith("1 of 31 right, 3 of 3 hints used.\n")
    with lines_of_keys(monkeypatch) as (type_, end):
        type_("hhq")
        end()
        assert main([path, "--watch", "--hints", "1"]) == 1
    out = capsys.readouterr().out
    assert "hint 1 of 3: " in out
    assert "hint 2 of 3: " not in out
    assert "no hint is left: 1 of 1 hints used\n" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--hints 2", "--hints: expected --watch, which gives them, to be given too"),
        ("--hints -1 --watch", "--hints: expected a whole number, 0 or more, got -1"),
        ("--seed 1", "--seed: expected --mistake random, which draws, to be given too"),
        ("--seed 1 --mistake sign-flipped", "--seed: expected --mistake random"),
        ("--network 2", "--network: expected two or more positive whole numbers"),
        (
            "--mistake bias-correction",
            "no formula of this exercise can have it alone; expected one",
        ),
    ],
)
def test_what_does_not_go_together_is_told_and_nothing_is_written(options, words, tmp_path, capsys):
    path = tmp_path / "net.py"
    assert main([str(path), *options.split()]) == 2
    assert words in capsys.readouterr().err
    assert not path.exists()


def test_a_file_in_scalars_is_none_in_matrices(tmp_path, capsys):
    path = tmp_path / "net.py"
    assert main([str(path)]) == 0
    assert main([str(path), "--matrix"]) == 2
    err = capsys.readouterr().err
    assert "half_sum sgd in scalars, and the options say" in err
    assert "half_sum sgd in matrices; expected the same options" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    ["--network 3-4-3", "--network 2-2-2-2 --mistake random", "--mistake one-sample-only"],
)
def test_what_has_no_scalars_is_written_in_matrices(options, tmp_path, capsys):
    path = tmp_path / "net.py"
    assert main([str(path), *options.split()]) == 0
    assert "w11" not in path.read_text()
    assert main([str(path)]) == (1 if "mistake" in options else 0)


def test_scalars_of_sizes_without_scalars_are_told(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text("PROBLEM = {'sizes': '3-4-2'}\ndef step(w11): pass")
    assert main([str(path)]) == 2
    assert "net.py: PROBLEM: sizes: the lecture's scalars exist for" in capsys.readouterr().err


def test_what_is_wrong_of_the_given_updates_counts(tmp_path, capsys):
    path = filled(tmp_path)
    text = Path(path).read_text()
    assert text.count("    new_w41 = w41 - lr * grad_w41") == 1
    Path(path).write_text(text.replace("w41 - lr * grad_w41", "w41 + lr * grad_w41"))
    assert main([path]) == 0  # nothing is filled in yet
    out = capsys.readouterr().out
    assert out.startswith("0 of 32 formulas are right, 1 not yet.\nnot yet: new_w41 (line ")


DRAWN = [
    "",
    "--matrix",
    "--network 2-2-1 --loss bce --optimizer adam",
    "--loss cross_entropy --no-biases",
    "--matrix --network 3-4-4-2 --activations tanh,relu,sigmoid --optimizer rmsprop --l2 0.1",
]


@pytest.mark.slow
@pytest.mark.parametrize("options", DRAWN)
@pytest.mark.parametrize("seed", range(3))
def test_a_drawn_mistake_is_seen_and_not_named_before_that_is_asked(
    options, seed, monkeypatch, tmp_path, capsys
):
    path = tmp_path / "net.py"
    asked = [str(path), *options.split(), "--mistake", "random", "--seed", str(seed)]
    assert main(asked) == 0
    wrong, text = capsys.readouterr().out, path.read_text()
    assert main([str(path)]) == 1
    first = capsys.readouterr().out
    assert main([str(path), "--solve"]) == 1
    solved = capsys.readouterr().out
    before, said = first.splitlines(), solved.splitlines()
    assert before[0] == said[0]
    assert before[0].endswith(" formulas are right, 1 not yet.")
    assert [line for line in before if line not in said] == [
        "  to have the mistake named: --solve, or h in --watch"
    ]
    (named,) = [line.strip() for line in said if line not in before]
    name, _, what = named.partition(": ")
    assert name in plantable_names(text)
    for shown in (wrong, first):
        assert name not in shown
        assert what not in shown
    finished = template(check_text(text, str(path)).exercise, {}, hidden=True)
    assert text.count(name) == finished.count(name)  # `momentum` is a setting too
    assert HIDDEN in text
    with lines_of_keys(monkeypatch) as (type_, end):
        type_("hh")
        end()
        assert main([str(path), "--watch"]) == 1
    assert f"hint 2 of 4: {named}\n" in capsys.readouterr().out


def plantable_names(text):
    """The mistakes that a file of the exercise may be given."""
    return {mistake.name for mistake in catalogue(check_text(text, "a.py").exercise.network)}


@pytest.mark.slow
def test_a_draw_is_that_of_its_seed_and_else_left_to_chance():
    it = Exercise(network_of({"sizes": (2, 2, 1)}), matrix=False, split=False)
    assert drawn(it, 1) == drawn(it, 1)
    assert len({str(drawn(it, seed)) for seed in range(6)}) > 2
    assert len({str(drawn(it, None)) for _ in range(20)}) > 1


@pytest.mark.slow
def test_a_mistake_in_scalars_is_in_one_line_and_named(tmp_path, capsys):
    for name in ("sign-flipped", "transposed-weights", "updated-weights-used", "bias-forgotten"):
        path = tmp_path / f"{name}.py"
        assert main([str(path), "--mistake", name]) == 0
        text = path.read_text()
        right = template(check_text(text, str(path)).exercise, {}).splitlines()
        assert len(set(text.splitlines()) - set(right)) == 2  # the title, and the line
        assert main([str(path)]) == 1
        out = capsys.readouterr().out
        assert "36 of 37 formulas are right, 1 not yet." in out
        assert f"  {name}: " in out


def test_a_file_may_have_names_of_its_own(tmp_path):
    text = template(Exercise(matrix=False)).replace(
        "    z_h1 = ...", "    mine = w11 * x1\n    z_h1 = mine + w21 * x2 + b1"
    )
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert check_text(text, str(path)).verdicts["z_h1"].done


FAKED = {
    "its own value": "...\n    z_h1 = z_h1",
    "a constant": "0.060000000000000026",
    "nothing that was computed": "None",
    "PyTorch's value from the caller": "__import__('sys')._getframe(2).f_locals['truth']['z_h1']",
    "a value that a later line would have": "h1",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", FAKED)
def test_what_is_no_formula_is_not_right(tmp_path, capsys, how):
    assert main([filled(tmp_path, z_h1=FAKED[how])]) == 1
    assert "0 of 31 formulas are right, 1 not yet." in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "formula",
    [
        "w11 * x1\n    z_h1 = z_h1 + w21 * x2\n    z_h1 += b1",
        "0\n    for w, x in ((w11, x1), (w21, x2)):\n        z_h1 = z_h1 + w * x\n    z_h1 += b1",
        "(lambda *terms: sum(terms))(w11 * x1, w21 * x2, b1)",
        "np.array([w11, w21]) @ np.array([x1, x2]) + b1",
    ],
)
def test_a_formula_may_take_several_statements(tmp_path, capsys, formula):
    assert main([filled(tmp_path, z_h1=formula)]) == 1  # the others are still to be filled in
    assert "1 of 31 formulas are right." in capsys.readouterr().out


def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path, capsys):
    assert main([filled(tmp_path, z_h1="1" + "+1" * 100_000)]) == 2
    assert "nested too deeply" in capsys.readouterr().err


def test_a_file_that_is_as_it_was_written_is_no_failure(tmp_path, capsys):
    path = tmp_path / "net.py"
    assert main([str(path)]) == 0
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as by Notepad
    assert main([str(path)]) == 0
    assert "0 of 31 formulas are right." in capsys.readouterr().out


def test_what_a_file_of_the_exercise_does_stays_in_its_process(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text("import os\nos.chdir('/')\nprint('a word')\n" + template(Exercise(), None))
    before = os.getcwd()
    assert main([str(path)]) == 0
    assert os.getcwd() == before
    out, err = capsys.readouterr()
    assert (err, "a word" in out) == ("net.py | a word\n", False)
    path.write_text("import os\nos._exit(0)\n" + template(Exercise(), None))
    assert main([str(path)]) == 2
    assert "net.py, line 2: ends the process (os._exit(0))" in capsys.readouterr().err


MATRIX = {name: right_formula(name, Exercise()) for name in Exercise().names}


def finished(tmp_path, **lines):
    """A finished file of the exercise in matrices, with some lines in other words."""
    path = tmp_path / "net.py"
    text = template(Exercise(), {})
    for name, words in lines.items():
        assert f"    {name} = {MATRIX[name]}  #" in text
        text = text.replace(f"    {name} = {MATRIX[name]}  #", f"    {words}  #")
    path.write_text(text)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        {"x1": "x1 = x[:, 0]; z_h = x @ W_h.T + b_h"},
        {"z_h": "z_h = x @ W_h.T; np.add(z_h, b_h, out=z_h)"},
        {"z_h": "z_h = []\n    for row in x: z_h.append(W_h @ row + b_h)\n    z_h = np.stack(z_h)"},
        {"h": "h = np.empty_like(z_h); h.flat = sigma(z_h).ravel()"},
        {"new_W_h": "W_h -= lr * grad_W_h; new_W_h = W_h"},
    ],
)
def test_a_formula_may_be_written_in_many_ways(tmp_path, capsys, lines):
    lines = {("z_h" if name == "x1" else name): words for name, words in lines.items()}
    assert main([finished(tmp_path, **lines)]) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (
            "    delta_o = grad_o * (o * (1 - o))",
            "    delta_o = o\n    delta_o *= grad_o * (1 - o)",
            "o",
        ),
        ("        h=h,", "        h=z_h,", "h"),
        ("    z_h = x @ W_h.T + b_h", "    z_h = [*(x @ W_h.T + b_h)]", "z_h"),
    ],
)
def test_the_function_as_a_whole_counts_too(tmp_path, capsys, before, after, name):
    path = tmp_path / "net.py"
    text = template(Exercise(), {})
    assert before in text
    path.write_text(text.replace(before, after))
    assert main([str(path)]) == 1
    assert f"not yet: {name} (line" in capsys.readouterr().out


def test_an_exercise_may_use_what_a_program_may(tmp_path, capsys):
    (tmp_path / "beside.py").write_text("def squash(z): return z\n")
    path = tmp_path / "net.py"
    head = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport beside\n"
        "@dataclass\nclass Net:\n    lr: float\nassert __file__\n"
    )
    path.write_text(
        head
        + template(Exercise(), {})
        .replace("step(W_h,", "step(*, W_h,")
        .replace("h=h,", "h=h, mine=1,")
    )
    assert main([str(path)]) == 0, capsys.readouterr().out


def test_a_statement_that_does_not_end_is_ended_at_its_limit(tmp_path, capsys):
    path = filled(tmp_path, z_h1="0\n    while True: pass")
    assert main([path, "--time-limit", "0.3"]) == 2
    assert "is still running after 0.3 s, the time limit" in capsys.readouterr().err
    assert main([path, "--time-limit", "-1"]) == 2
