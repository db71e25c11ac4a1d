"""The command line as a user meets it: exit statuses, JSON, traces, bad input, streams."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lockstep.cli.compare import main
from tests.campaigns.other_end import (
    forked,
    full_disk,
    interrupt,
    posix,
    wait_until,
    with_other_end,
)

ROOT = Path(__file__).parents[3]
SCRIPT = [sys.executable, str(ROOT / "scripts" / "compare.py")]


def ran(capsys, *arguments):
    """Exit status, standard output, standard error."""
    try:
        status = main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_without_arguments_the_lectures_network_is_shown_and_matches(capsys):
    status, out, err = ran(capsys)
    assert (status, err) == (0, "")
    for line in (
        "    z_h1 = w11·x1 + w21·x2 + b1",
        "         = 0.4·0.5 + (-0.3)·0.8 + 0.1",
        "    delta_o1 = (o1 − y1)·σ'(z_o1)",
        "    delta_h1 = (delta_o1·w31 + delta_o2·w32)·σ'(z_h1)",
        "             = ((-0.244)·0.6 + (-0.406)·(-0.4))·1",
        "    new_w11 = w11 − lr·grad_w11",
    ):
        assert line in out.splitlines()
    assert out.count("✓") == 37
    said = " ".join(out.split())
    assert "match: 15 of 15 quantities, 100 steps, 3 700 values. The largest difference is" in said
    assert "(worst). All 3 700 values could be judged." in said
    assert max(map(len, out.splitlines())) <= 80


UPDATED = """
def step(w31, w32, o1, o2, y1, y2, h1, h2, x1, lr):
    delta_o1, delta_o2 = o1 - y1, o2 - y2
    w31 = w31 - lr * delta_o1 * h1
    w32 = w32 - lr * delta_o2 * h1
    delta_h1 = delta_o1 * w31 + delta_o2 * w32
    print("from the derivation")
    deltas = dict(delta_o1=delta_o1, delta_o2=delta_o2, delta_h1=delta_h1)
    return deltas | dict(grad_w11=delta_h1 * x1, new_w31=w31)
"""


@pytest.mark.slow
def test_a_mismatch_is_status_1_and_tells_where_and_which_mistake_it_is(capsys, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(UPDATED)
    status, out, err = ran(capsys, "--derivation", str(path), "--steps", "20")
    assert status == 1
    assert err == "net.py | from the derivation\n"
    assert "mismatch: first at step 1, delta_h1; the 2 values before it agree" in out
    assert "  formula   (delta_o1·w31 + delta_o2·w32)·σ'(z_h1)\n" in out
    assert "  numbers   ((-0.244)·0.6 + (-0.406)·(-0.4))·1\n" in out
    assert "  yours     0.0153268840000" in out
    assert "  PyTorch   0.016000000000000" in out
    assert "    z_h.grad[0, 0]\n" in out
    assert "              ^ 4.2 % off; rounding explains" in out
    assert "  mistake   updated-weights-used: the hidden error was computed" in out
    assert "  remedy    compute delta_h before you assign the new output weights" in out
    assert "  note      grad_W_h differs only because of that" in out
    assert "remark: not returned, so not judged: z_h, h, z_o, o, loss, grad_W_o" in out
    assert out.count("✗") == 2
    assert ran(capsys, "--derivation", str(path), "--quiet")[1].startswith("mismatch: ")
    document = json.loads(ran(capsys, "--json", "-", "--derivation", str(path))[1])
    assert document["first_mismatch"]["label"] == "delta_h1"
    assert document["diagnoses"][0]["mistake"] == "updated-weights-used"


@pytest.mark.slow
def test_expect_is_status_0_for_exactly_the_first_diagnosis(capsys, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(UPDATED)
    assert ran(capsys, "--derivation", str(path), "--expect", "updated-weights-used")[0] == 0
    assert ran(capsys, "--derivation", str(path), "--expect", "sign-flipped")[0] == 1


def test_a_blow_up_is_status_3_with_step_and_cause(capsys):
    status, out, _ = ran(capsys, "--lr", "30", "--show", "none")
    assert status == 3
    assert (
        "undecided: at step 6, loss overflowed on both sides (inf by hand, inf PyTorch)"
        in " ".join(out.split())
    )
    assert "learning rate, 30.0" in " ".join(out.split())


def test_quiet_prints_the_verdict_alone(capsys):
    status, out, _ = ran(capsys, "--quiet")
    assert status == 0
    assert out.startswith("match: ")
    assert "step" not in out.split("match: 15 of 15 quantities, 100 steps")[1].split("could")[0]


def test_shown_steps(capsys):
    assert "\nstep 3\n" in ran(capsys, "--show", "3,5", "--steps", "6")[1]
    assert ran(capsys, "--show", "all", "--steps", "4")[1].count("\n forward") == 4
    assert " forward" not in ran(capsys, "--show", "none", "--steps", "4")[1]


def test_json_on_standard_output_is_one_strict_document(capsys):
    status, out, _ = ran(
        capsys, "--json", "-", "--hidden-activation", "sigmoid", "--sizes", "3-2-1"
    )
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert status == 0
    keys = "lockstep torch numpy problem "
    keys += "verdict steps_asked steps_run dtype loss first_mismatch worst resolution"
    keys += " cannot_see diagnoses battery remarks"
    assert list(document) == [
        *keys.split(),
        "control",
        "referee",
        "parameters",
        "quantities",
    ]
    assert (document["verdict"], document["steps_asked"], document["steps_run"]) == (
        "match",
        100,
        100,
    )
    assert set(document["worst"]) >= {
        "step",
        "quantity",
        "index",
        "manual",
        "torch",
        "difference",
        "allowed",
    }
    assert np.shape(document["parameters"]["torch"]["W_h"]) == (2, 3)
    assert np.shape(document["quantities"]["manual"]["delta_h"]) == (1, 2)


def test_non_finite_numbers_in_json_are_strings(capsys):
    _, out, _ = ran(capsys, "--json", "-", "--lr", "30")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert document["loss"]["last"] == "inf"


def test_the_same_run_gives_the_same_bytes(capsys):
    arguments = [
        "--sizes",
        "5-6-3",
        "--samples",
        "7",
        "--steps",
        "20",
        "--dtype",
        "float32",
        "--hidden-activation",
        "tanh",
    ]
    assert ran(capsys, *arguments) == ran(capsys, *arguments)
    assert ran(capsys, *arguments, "--json", "-") == ran(capsys, *arguments, "--json", "-")


def test_json_file_is_written_whole_beside_the_report(capsys, tmp_path):
    path = tmp_path / "result.json"
    status, out, _ = ran(capsys, "--json", str(path), "--steps", "3")
    assert status == 0
    assert "match: 15 of 15 quantities, 3 steps" in out
    assert json.loads(path.read_text())["steps_run"] == 3
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_trace_has_the_problem_and_a_line_a_step_and_reads_back_to_the_same_floats(
    capsys, tmp_path, dtype
):
    from lockstep import compare

    path = tmp_path / "run.jsonl"
    arguments = ["--sizes", "3-2-2", "--samples", "5", "--batch-size", "2", "--dtype", dtype]
    assert ran(capsys, *arguments, "--steps", "4", "--trace", str(path))[0] == 0
    head, *steps = map(json.loads, path.read_text().splitlines())
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert steps[1]["W_h"] == steps[0]["torch"]["new_W_h"]
    records = []
    compare(None, head["problem"] | {"steps": 4}, on_step=lambda record, _: records.append(record))
    for record, line in zip(records, steps, strict=True):
        for name, array in record.manual.items():
            np.testing.assert_array_equal(np.array(line[name], dtype=dtype), array)
            np.testing.assert_array_equal(
                np.array(line["torch"][name], dtype=dtype), record.torch[name]
            )


def test_a_problem_file_and_flags_that_override_it(capsys, tmp_path):
    path = tmp_path / "problem.toml"
    path.write_text(
        'sizes = "3-4-2"\nlr = 0.1\nsteps = 7\nfrozen = ["b_h"]\nhidden_activation = "relu"\n'
    )
    _, out, _ = ran(capsys, str(path), "--steps", "5", "--show", "none")
    assert "3-4-2 network" in out
    assert "hidden relu, output linear, loss mse, lr 0.1, 5 steps, b_h frozen" in out


def test_iris_as_the_readme_shows_it(capsys):
    data = str(ROOT / "scripts" / "data" / "iris.csv")
    status, out, _ = ran(
        capsys,
        "--data",
        data,
        "--inputs",
        "sepal_length,sepal_width",
        "--targets",
        "petal_length,petal_width",
        "--lr",
        "0.02",
        "--steps",
        "50",
        "--show",
        "1",
    )
    assert status == 0
    assert "2-2-2 network, 150 samples" in out
    assert " grad_W_o[" in out
    assert max(map(len, out.splitlines())) <= 84


BAD = [
    (["missing.toml"], "missing.toml: cannot be read"),
    (["--steps", "-1"], "--steps: expected a whole number of steps, 0 or more, got -1"),
    (["--steps", "ten"], "--steps: expected a whole number, got 'ten'"),
    (["--lr", "inf"], "--lr: expected a finite number, got inf"),
    (["--lr", "-inf"], "--lr: expected a finite number, got -inf"),
    (["--lr", "fast"], "--lr: expected a number, got 'fast'"),
    (["--loss", "mae"], "--loss: expected one of mse, sum, half_sum, sum_over_n"),
    (["--sizes", "2"], "--sizes: expected two or more positive whole numbers"),
    (["--dtype", "half"], "--dtype: expected one of float64, float32"),
    (["--batch-size", "0"], "--batch-size: expected a positive whole number, got 0"),
    (["--unknown"], "unrecognized arguments: --unknown"),
    (["--json", "/nowhere/a.json"], "--json /nowhere/a.json: cannot be written"),
    (["--trace", "/nowhere/a.jsonl"], "--trace /nowhere/a.jsonl: cannot be written"),
    (["--json", "/"], "--json /: cannot be written"),
    (["--trace", "-"], "--trace -: expected the name of a file"),
    (["--json", "a", "--trace", "a"], "--trace a: expected another file than that of --json"),
    (["--derivation", "none.py"], "none.py: cannot be read"),
    (
        ["--expect", "sign-flipped"],
        "--expect sign-flipped: expected a derivation or numbers to be given too",
    ),
    (["--expect", "typo"], "--expect: expected the name of a mistake: sign-flipped"),
    (["--data", "x.csv"], "data: expected inputs as well"),
    (["a\x1b[31m.toml"], "a\\x1b[31m.toml: cannot be read"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_status_2_and_one_clear_line(capsys, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = ran(capsys, *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == []  # nothing half written


def test_bad_input_leaves_an_earlier_file_alone(capsys, tmp_path):
    path = tmp_path / "result.json"
    path.write_text("earlier")
    assert ran(capsys, "--json", str(path), "--lr", "nan")[0] == 2
    assert path.read_text() == "earlier"


def assert_plain(text, encoding):
    assert "\x1b" not in text
    assert "\r" not in text
    assert "…" not in text
    assert ("σ'(z_o1)" in text) == (encoding == "utf-8")
    assert ("sigma'(z_o1)" in text) == (encoding != "utf-8")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.slow
def test_a_pipe_gets_plain_uncut_text_and_matplotlib_is_imported_only_to_draw():
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    environment["PYTHONIOENCODING"] = "utf-8"
    command = [sys.executable, "-X", "importtime", "-m", "lockstep", "compare", "--steps", "2"]
    done = subprocess.run(command, capture_output=True, env=environment, check=True, cwd=ROOT)
    assert_plain(done.stdout.decode(), "utf-8")
    imported = {line.rpartition(" ")[2] for line in done.stderr.decode().splitlines()}
    assert imported >= {"torch", "lockstep.api"}
    assert "matplotlib" not in imported


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_pipe_of_another_encoding_gets_what_that_can_say(encoding, monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", pipe)
    assert main(["--steps", "2"]) == 0
    pipe.flush()
    assert_plain(pipe.buffer.getvalue().decode(encoding), encoding)


def test_wide_terminals_get_an_entry_a_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    _, out, _ = ran(capsys, "--steps", "1")
    assert "delta_o1 = (o1 − y1)·σ'(z_o1) = (0.056 − 0.3)·1 = -0.24399999999999994" in out
    _, out, _ = ran(capsys, "--steps", "1", "--sizes", "3-4-2")
    assert "delta_h = " not in out
    assert "(delta_o W_o)·σ'(z_h)" in out


@pytest.mark.slow
@posix
def test_a_reader_that_leaves_early_gets_no_traceback():
    done = subprocess.run(
        f"{shlex.join(SCRIPT)} --show all --steps 60 | head -3",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("\n") == 3
    assert done.stderr == ""


def test_an_output_never_takes_the_place_of_an_input(capsys, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(UPDATED)
    for option in ("--json", "--trace"):
        status, _, err = ran(capsys, "--derivation", str(path), option, str(path))
        assert status == 2
        assert "expected a file that this run does not read" in err
    assert path.read_text() == UPDATED


@pytest.mark.slow
@full_disk
def test_a_full_disk_is_told_in_a_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SCRIPT, "--steps", "2"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "standard output cannot be written: No space left on device" in done.stderr


def test_an_interrupt_ends_a_run_with_the_verdict_so_far_and_status_130(capsys, tmp_path):
    trace = tmp_path / "run.jsonl"

    def user():
        wait_until(lambda: trace.exists() and trace.stat().st_size > 50_000)
        interrupt()

    run = ["--steps", "10000000", "--show", "none", "--trace", str(trace)]
    assert with_other_end(lambda: main(run), user) == 130
    out, err = capsys.readouterr()
    assert "interrupted after" in out
    assert "match: " in out
    assert err == ""
    assert all(json.loads(line) for line in trace.read_text().splitlines())


def test_progress_is_drawn_on_a_terminal_only(monkeypatch):
    from lockstep.cli import main as shared

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    clock = iter(range(0, 1000, 1))
    monkeypatch.setattr(shared.time, "monotonic", lambda: next(clock))
    monkeypatch.setenv("TERM", "xterm")
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with shared.progress(10, "steps") as show:
            for done in range(1, 11):
                show(done)
        assert bool(stream.getvalue()) == drawn


def test_a_killed_run_leaves_a_trace_of_whole_lines(tmp_path):
    trace = tmp_path / "run.jsonl"
    process = forked(lambda: main(["--steps", "10000000", "--show", "none", "--trace", str(trace)]))
    wait_until(lambda: trace.exists() and trace.stat().st_size > 200_000)
    process.kill()
    process.join()
    whole = trace.read_text().rpartition("\n")[0].split("\n")
    assert [json.loads(line)["step"] for line in whole[1:]] == list(range(1, len(whole)))


def test_a_run_that_is_terminated_leaves_no_half_written_file(tmp_path):
    trace = tmp_path / "run.jsonl"
    arguments = ["--show", "none", "--json", str(tmp_path / "a.json"), "--trace", str(trace)]
    process = forked(lambda: main(["--steps", "10000000", *arguments]))
    wait_until(lambda: trace.exists() and trace.stat().st_size > 50_000)
    assert len(os.listdir(tmp_path)) == 2
    process.terminate()
    process.join(20)
    assert process.exitcode == 128 + signal.SIGTERM
    assert sorted(os.listdir(tmp_path)) == ["a.json", "run.jsonl"]
    assert json.loads((tmp_path / "a.json").read_text())["verdict"] == "match"  # so far


@posix
def test_a_closed_standard_output_is_told():
    command = shlex.join(SCRIPT)
    done = subprocess.run(f"{command} >&-", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "compare.py: standard output is closed; expected it to be open\n",
    )


@full_disk
def test_a_full_disk_is_told_for_each_file(capsys):
    for option in ("--json", "--trace"):
        status, _, err = ran(capsys, option, "/dev/full", "--steps", "1", "--show", "none")
        assert status == 2
        assert f"{option} /dev/full: cannot be written: No space left on device" in err


@posix
def test_a_device_is_written_to_as_it_is(capsys):
    assert ran(capsys, "--json", "/dev/null", "--steps", "1")[0] == 0
    assert os.path.exists("/dev/null")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_document_at_any_thread_count(capsys):
    arguments = [
        "--sizes",
        "784-32-4",
        "--samples",
        "64",
        "--steps",
        "2",
        "--json",
        "-",
        "--seed",
        "4",
    ]
    names = (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
    )  # these tests have one of each
    environment = os.environ | dict.fromkeys(names, "5")
    done = subprocess.run(
        [*SCRIPT, *arguments], capture_output=True, env=environment, check=True, text=True
    )
    assert done.stdout == ran(capsys, *arguments)[1]


def test_threads_are_given_back_after_a_run():
    import torch

    from lockstep import compare

    seen = []
    torch.set_num_threads(2)
    try:
        compare(None, None, steps=1, on_step=lambda *_: seen.append(torch.get_num_threads()))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)


def test_a_program_that_is_interrupted_gets_no_verdict_on_half_a_run():
    from lockstep import compare

    def step(o1, y1):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(step)


def test_an_interrupt_before_the_run_is_status_130(capsys, monkeypatch):
    from lockstep.setup import problem

    def interrupted(values):
        raise KeyboardInterrupt

    monkeypatch.setattr(problem, "make_problem", interrupted)
    assert ran(capsys) == (130, "", "")


@pytest.mark.slow
def test_no_width_of_the_terminal_is_too_small(capsys, monkeypatch, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(UPDATED)
    for columns in ("0", "1", "39"):
        monkeypatch.setenv("COLUMNS", columns)
        assert "mistake" in ran(capsys, "--derivation", str(path))[1]


def test_what_a_file_says_cannot_drive_the_terminal(capsys, tmp_path):
    path = tmp_path / "net.py"
    path.write_text("def step(o):\n    return {'\x1b[2Jo': o}\n")
    _, out, err = ran(capsys, "--derivation", str(path))
    assert "\x1b" not in out + err
    assert "\\x1b[2Jo" in err
    table = tmp_path / "table.csv"
    table.write_text("a,\x1b[31mb\n1,2\n")
    _, out, err = ran(capsys, "--data", str(table), "--inputs", "a", "--targets", "c")
    assert "\x1b" not in out + err
    assert "column 'c' is not there; it has 2 columns" in err
    _, _, err = ran(capsys, "--data", str(table), "--inputs", "a", "--targets", "[31mb")
    assert "did you mean \\x1b[31mb?" in err
    assert "\x1b" not in err


def test_numbers_too_large_at_the_first_step_are_not_the_learning_rates_fault(capsys, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        "W_h = [[1e300, 0.0], [0.0, 1.0]]\nW_o = [[1e300, 0.0], [0.0, 1.0]]\nx = [[1.0, 1.0]]\n"
    )
    status, out, _ = ran(capsys, str(path))
    assert status == 3
    assert "No weight has been updated yet: the problem's own values are too large." in out


def test_a_tolerance_of_nothing_sees_everything(capsys):
    status, out, _ = ran(capsys, "--rtol", "0", "--sizes", "1-1-1", "--steps", "1")
    assert status in (0, 1)
    assert "Any difference would have been detected." in out


def test_a_drift_of_many_ulps_is_told_as_a_relative_error(capsys):
    _, out, _ = ran(
        capsys, "--lr", "2.4", "--steps", "200", "--hidden-activation", "tanh", "--show", "none"
    )
    assert re.search(r"\d e-|e-\d\d$", out, re.M)


def test_without_a_step_the_document_has_the_parameters_and_no_quantities(capsys):
    document = json.loads(ran(capsys, "--steps", "0", "--json", "-")[1])
    assert document["parameters"]["manual"] == document["parameters"]["torch"]
    assert document["parameters"]["manual"]["b_h"] == [0.1, -0.2]
    assert document["quantities"] == {"manual": {}, "torch": {}}


def test_a_step_without_a_value_is_shown_as_such(capsys, tmp_path):
    path = tmp_path / "numbers.toml"
    path.write_text("[step.2]\nh1 = 0.6\n")
    _, out, _ = ran(capsys, "--numbers", str(path), "--sizes", "2-2-2", "--show", "1")
    assert "step 1" in out


def test_the_package_has_only_the_names_it_says():
    import lockstep

    with pytest.raises(AttributeError, match="module 'lockstep' has no attribute 'nothing'"):
        _ = lockstep.nothing


INTERRUPTING = """
import os, signal, time
called = []
def step(o1, y1):
    called.append(1)
    if len(called) == {at}:
        os.kill({process}, signal.{signal})
        time.sleep(60)
    return dict(delta_o1=o1 - y1)
"""


def interrupting(tmp_path, at=1, signal="SIGINT"):
    """A derivation that sends the command a signal at a step, and does not return from it."""
    path = tmp_path / "net.py"
    path.write_text(INTERRUPTING.format(at=at, process=os.getpid(), signal=signal))
    return "--derivation", str(path)


@pytest.mark.parametrize(("signal", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_the_users_code_gives_the_verdict_so_far(capsys, tmp_path, signal, expected):
    status, out, err = ran(capsys, *interrupting(tmp_path, 8, signal), "--show", "none")
    assert (status, err) == (expected, "")
    assert "interrupted after 7 of 100 steps. So far:" in out
    assert "\n   7 " in out


@pytest.mark.parametrize(("signal", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_the_battery_gives_the_verdict_so_far(capsys, tmp_path, signal, expected):
    asked = ["--steps", "2", "--battery", "5", "--json", str(tmp_path / "a.json")]
    status, out, _ = ran(capsys, *interrupting(tmp_path, 3, signal), *asked)
    assert status == expected
    assert "match: 1 of 15 quantities, 2 steps" in out
    assert "remark: interrupted before the end of the battery" in out
    assert json.loads((tmp_path / "a.json").read_text())["battery"] is None


def test_an_interrupt_that_python_drops_ends_the_run_at_the_next_step(capsys, monkeypatch):
    monkeypatch.setattr("lockstep.cli.main.status", lambda command, name: command([2]))
    status, out, _ = ran(capsys, "--show", "none")
    assert status == 130
    assert "interrupted after 1 of 100 steps" in out


def test_an_interrupt_that_the_users_code_raises_is_its_own(capsys, tmp_path):
    path = tmp_path / "net.py"
    path.write_text("def step(o1):\n    raise KeyboardInterrupt\n")
    status, out, err = ran(capsys, "--derivation", str(path))
    assert status == 2
    assert "net.py, line 2: KeyboardInterrupt" in err


@pytest.mark.parametrize("text", ["a if b else c", "f(a, b, c)"])
def test_a_formula_that_cannot_be_written_is_refused(text):
    import ast

    from lockstep.report.formulas import Notation

    with pytest.raises(TypeError, match=f"no way to write {re.escape(text)}"):
        Notation().written(ast.parse(text, mode="eval").body)


def test_an_interrupt_says_what_was_left_out(capsys, tmp_path):
    asked = ["--control", "--referee", "--battery", "3"]
    status, out, _ = ran(capsys, *interrupting(tmp_path), *asked, "--show", "none")
    assert status == 130
    for key in ("control", "referee", "battery"):
        assert f"remark: interrupted before the {key} that was asked for" in out


def test_quiet_evidence_is_its_summary(capsys):
    _, out, _ = ran(capsys, "--quiet", "--control", "--referee")
    assert "control: 15 of 15 planted errors were caught (one in each quantity of" in out
    assert "Nearer the truth: by hand" in " ".join(out.split())
    assert "planted at" not in out
    assert "from the truth" not in out


def test_of_one_thing_there_is_no_plural(capsys):
    _, out, _ = ran(capsys, "--steps", "1", "--sizes", "2-2-1")
    assert "1 sample, float64" in out
    assert "lr 0.05, 1 step\n" in out


def test_a_wide_tolerance_is_said_to_hide_what_it_hides(capsys):
    _, out, _ = ran(capsys, "--atol", "1e-6", "--show", "none")
    assert "the tolerance given lets them change by their whole value" in " ".join(out.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--sizes", "4-6-5-3", "--loss", "cross_entropy", "--optimizer", "adam", "--l2", "0.1"),
        ("--sizes", "2-3-1", "--loss", "bce", "--no-biases"),
    ],
)
def test_the_template_is_a_right_step_of_the_network_that_is_asked_for(options, tmp_path, capsys):
    assert main(["--template", *options]) == 0
    mine = tmp_path / "mine.py"
    mine.write_text(capsys.readouterr().out)

    assert main(["--derivation", str(mine), "--quiet", "--steps", "3", "--require", "all"]) == 0
    assert capsys.readouterr().out.startswith("match: ")


def test_there_is_no_template_with_dropout(tmp_path, capsys):
    (tmp_path / "p.toml").write_text("x = [[1.0, 2.0]]\nmask1 = [[0.0, 2.0]]\n")

    assert main(["--template", str(tmp_path / "p.toml")]) == 2
    assert "--template: mask_h: there is none with dropout" in capsys.readouterr().err
