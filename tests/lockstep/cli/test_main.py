"""The command `lockstep`: its subcommands, its name in messages, numbers as typed, signals."""

import argparse
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lockstep import __version__
from lockstep.__main__ import COMMANDS, main
from lockstep.cli import compare, descend, exercise
from lockstep.cli.main import Parser, line_file, real, signals, status, whole
from tests.campaigns.other_end import forked, posix, wait_until

ROOT = Path(__file__).parents[3]
DOORS = {"compare": compare, "descend": descend, "exercise": exercise}


def ran(capsys, command, *arguments):
    """Exit status, standard output, standard error."""
    try:
        status = command(list(arguments))
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("arguments", [["--steps", "2"], ["--steps", "2", "--lr", "-1e-3"]])
def test_a_subcommand_does_what_its_script_does(capsys, arguments):
    assert ran(capsys, main, "compare", *arguments) == ran(capsys, compare.main, *arguments)
    assert ran(capsys, main, "descend", *arguments) == ran(capsys, descend.main, *arguments)


@pytest.mark.slow
def test_the_exercise_as_a_subcommand_points_to_a_subcommand(capsys, tmp_path):
    path = str(tmp_path / "net.py")
    assert ran(capsys, main, "exercise", path, "--mistake", "sign-flipped")[0] == 0
    assert ran(capsys, main, "exercise", path)[0] == 1
    from lockstep.learn.template import Exercise, template

    Path(path).write_text(template(Exercise(), {}))
    status, out, _ = ran(capsys, main, "exercise", path)
    assert (status, out.splitlines()[-1].split()[:2]) == (0, ["lockstep", "compare"])


def test_python_m_lockstep_is_the_same_command():
    command = [sys.executable, "-m", "lockstep"]
    done = subprocess.run([*command, "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"lockstep {__version__}\n")
    done = subprocess.run([*command, "compare", "--lr", "x"], cwd=ROOT, capture_output=True)
    assert done.returncode == 2
    assert done.stderr == b"lockstep compare: --lr: expected a number, got 'x'\n"


def test_without_a_subcommand_the_subcommands_are_listed_with_status_2(capsys):
    status, out, err = ran(capsys, main)
    assert (status, out) == (2, "")
    words = " ".join(err.split())
    assert all(f" {name} {about}" in words for name, about in COMMANDS.items())
    assert ran(capsys, main, "--help")[::2] == (0, "")


def test_an_unknown_subcommand_is_one_line_that_names_those_there_are(capsys):
    status, out, err = ran(capsys, main, "comprae", "--lr", "1")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("lockstep: ")
    assert "'comprae'" in err
    assert all(name in err for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "--steps", "-1"], "--steps: expected a whole number of steps, 0 or more"),
        (["compare", "--steps", "ten"], "--steps: expected a whole number, got 'ten'"),
        (["compare", "--unknown"], "unrecognized arguments: --unknown"),
        (["descend", "--lr", "inf"], "--lr: expected a finite number, got inf"),
        (["descend", "--lr", "fast"], "--lr: expected a number, got 'fast'"),
        (["exercise"], "the following arguments are required: my_net.py"),
        (["exercise", "no/a.py"], "file no/a.py: cannot be written"),
    ],
)
def test_messages_name_the_command_that_was_typed(capsys, monkeypatch, arguments, words):
    name, *rest = arguments
    status, out, err = ran(capsys, main, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"lockstep {name}: {words}")
    monkeypatch.setattr("sys.argv", [f"/somewhere/{name}.py"])
    assert ran(capsys, DOORS[name].main, *rest)[2] == err.replace(f"lockstep {name}", f"{name}.py")


@pytest.mark.parametrize("script", ["compare.py", "exercise.py", "gradient_descent.py"])
def test_a_script_is_a_door_to_its_command(capsys, monkeypatch, script):
    monkeypatch.setattr("sys.argv", [f"scripts/{script}", "--nothing"])
    with pytest.raises(SystemExit, match="^2$"):
        runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
    assert capsys.readouterr().err.startswith(f"{script}: ")


@pytest.mark.parametrize("text", ["-1", "-1e-3", "-1E3", "-.5", "-inf"])
def test_negative_numbers_are_values_of_every_option_that_takes_a_number(text):
    parser = Parser()
    parser.add_argument("-r", "--rate", type=real)
    parser.add_argument("--count", type=whole)
    parser.add_argument("--file")
    assert parser.parse_args(["--rate", text]).rate == float(text)
    assert parser.parse_args(["-r", text]).rate == float(text)
    assert parser.parse_args(["--count", "-12"]).count == -12


def test_an_option_is_no_value_of_one_that_takes_text(capsys):
    parser = Parser("net")
    parser.add_argument("--file")
    assert ran(capsys, parser.parse_args, "--file", "-x")[2] == (
        "net: --file: expected one argument\n"
    )


HANDLERS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def handlers():
    return {number: signal.getsignal(number) for number in HANDLERS}


@pytest.mark.parametrize(
    "arguments",
    [["compare", "--steps", "2"], ["compare", "--lr", "inf"], ["descend", "--steps", "2"]],
)
def test_the_handlers_of_signals_are_put_back(capsys, arguments):
    def mine(number, frame):
        raise AssertionError

    before = handlers()
    try:
        for number in before:
            signal.signal(number, mine)
        main(arguments)
        assert set(handlers().values()) == {mine}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("name", ["compare", "descend"])
def test_a_command_runs_in_any_thread(capsys, name):
    before, statuses = handlers(), []
    thread = threading.Thread(target=lambda: statuses.append(main([name, "--steps", "2"])))
    thread.start()
    thread.join()
    assert statuses == [0]
    assert handlers() == before
    assert "Traceback" not in capsys.readouterr().err


@posix
def test_an_interrupt_is_noted_and_raised():
    with signals() as interrupted:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupted == [signal.SIGINT]


@posix
def test_a_termination_is_status_143():
    assert status(lambda _: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert status(lambda _: os.kill(os.getpid(), signal.SIGINT)) == 130


def test_a_command_runs_on_a_system_without_sigterm(capsys, monkeypatch):
    before = handlers()
    monkeypatch.delattr(signal, "SIGTERM")
    assert main(["compare", "--steps", "1"]) == 0
    monkeypatch.undo()
    assert handlers() == before


def test_a_descent_that_is_terminated_leaves_no_half_written_picture(tmp_path):
    picture = str(tmp_path / "a.png")
    process = forked(lambda: descend.main(["--steps", "10000000", "--plot", picture]))
    wait_until(lambda: any(name.endswith(".part") for name in os.listdir(tmp_path)))
    process.terminate()
    process.join(20)
    assert process.exitcode == 128 + signal.SIGTERM
    assert os.listdir(tmp_path) == []


def test_every_number_on_a_command_line_is_read_alike():
    for read in (real, whole):
        with pytest.raises(argparse.ArgumentTypeError, match="got 'x'"):
            read("x")
    assert (real("-1e-3"), whole("-3")) == (-1e-3, -3)


@pytest.mark.parametrize("command", [compare.main, descend.main])
def test_a_closed_standard_output_is_reported_by_every_command(capsys, monkeypatch, command):
    monkeypatch.setattr("sys.stdout", None)
    assert command(["--steps", "1"], "lockstep net") == 2
    expected = "lockstep net: standard output is closed; expected it to be open\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (MemoryError(), 2, "net: there is not enough memory; expected smaller sizes"),
        (RuntimeError("can't allocate memory"), 2, "net: there is not enough memory"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "torch is not installed"),
        (ZeroDivisionError("ours"), 70, "this is an error of lockstep, not of yours (ZeroDivision"),
    ],
)
def test_an_error_has_the_status_of_its_kind(capsys, monkeypatch, tmp_path, error, expected, words):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fails(_):
        raise error

    assert status(fails, "net") == expected
    err = capsys.readouterr().err
    assert (words in err, err.count("\n")) == (True, 1)
    files = list(tmp_path.iterdir())
    assert len(files) == (expected == 70)
    assert all(str(file) in err and "ZeroDivisionError: ours" in file.read_text() for file in files)


def test_an_error_whose_details_cannot_be_written_is_one_sentence_too(capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")

    def fails(_):
        raise ZeroDivisionError

    assert status(fails, "net") == 70
    assert "Its details could not be written. Please report it at https" in capsys.readouterr().err


def test_what_a_library_makes_of_an_interrupt_is_still_one(capsys):
    def fails(came):
        came.append(signal.SIGTERM)
        raise ImportError("numpy failed to import")

    assert (status(fails), capsys.readouterr().err) == (143, "")


def test_a_drawing_without_room_is_no_drawing_that_fails():
    from lockstep.report.plots.descent import canvas

    with pytest.raises(MemoryError), canvas(1, 1, 10):
        raise MemoryError


def test_a_system_without_locks_writes_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with line_file(str(tmp_path / "a.jsonl"), "--trace") as write:
        write("one\n")
    assert (tmp_path / "a.jsonl").read_text() == "one\n"
