"""The benchmark's command on small networks: what it writes, and what it refuses."""

import json
import math

import numpy as np
import pytest

from lockstep.run.result import Result
from scripts.benchmarks import command, gradient_peers, growth, peers, steps, timing

FIELDS = (
    "sizes samples dtype manual_us torch_us turns_us lockstep_us run_us matmul_us turns_over_both "
    "manual_over_torch manual_over_matmul lockstep_over_both run_over_sides"
).split()

PEERS_SECONDS = peers.seconds


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(command, "NETWORKS", (((2, 2, 2), 1), ((5, 4, 4, 3), 6)))
    monkeypatch.setattr(
        steps,
        "block_seconds",
        lambda step, repeats: [step() for _ in range(2)] and 1e-5 * repeats,
    )
    for module in (peers, gradient_peers):
        monkeypatch.setattr(
            module, "seconds", lambda check: 1e-3 if check() in (True, False) else 0.0
        )


@pytest.mark.slow
def test_rows_and_machine_as_json(tmp_path, capsys):
    assert command.main(["--json", str(tmp_path / "b.json"), "--quick"]) == 0
    document = json.loads((tmp_path / "b.json").read_text())
    assert [(row["sizes"], row["samples"], row["dtype"]) for row in document["rows"]] == [
        (sizes, samples, dtype)
        for sizes, samples in (("2-2-2", 1), ("5-4-4-3", 6))
        for dtype in ("float64", "float32")
    ]
    for row in document["rows"]:
        assert sorted(row) == sorted(FIELDS)
        assert row["manual_over_torch"] == pytest.approx(row["manual_us"] / row["torch_us"])
        assert row["run_over_sides"] == pytest.approx(
            row["run_us"] / (2 * row["manual_us"] + row["torch_us"])
        )
    assert document["machine"]["threads"] == 1
    out = capsys.readouterr().out
    assert "5-4-4-3" in out
    assert "1 thread on both sides" in out


@pytest.mark.slow
def test_json_to_standard_output_is_alone_there(capsys):
    assert command.main(["--json", "-", "--threads", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["machine"]["threads"] == 2


@pytest.mark.slow
def test_the_plot_is_a_picture(tmp_path):
    assert command.main(["--plot", str(tmp_path / "b.png")]) == 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--threads", "0"], "--threads: expected 1 or more, got 0"),
        (
            ["--plot", "nowhere/b.png"],
            "--plot nowhere/b.png: cannot be written: No such file or directory",
        ),
        (["--plot", "b.nonsense"], "--plot: expected a file name that ends with .png, .svg, .pdf"),
        (["--plot", "-"], "--plot: expected a file name that ends with"),
        (["--json", "nowhere/b.json"], "--json nowhere/b.json: cannot be written"),
        (["--peers", "--json", "-"], "--json and --plot go with the table"),
    ],
)
def test_what_cannot_be_done_is_told(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 2
    assert told in capsys.readouterr().err


def test_interrupted_it_tells_the_rows_so_far_and_writes_no_file(monkeypatch, capsys, tmp_path):
    timed, calls = command.row, []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return timed(*arguments)

    monkeypatch.setattr(command, "row", interrupt)
    assert command.main(["--json", str(tmp_path / "b.json")]) == 130
    out = capsys.readouterr().out
    assert "float64" in out
    assert "float32" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_processor_without_proc_is_named_as_python_does(monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(OSError))
    assert isinstance(command._processor(), str)


def test_by_hand_and_by_torch_train_the_same_weights():
    problem = steps.network((5, 4, 3), 6, "float64")
    manual, torch = steps.by_hand(problem), steps.by_torch(problem)
    for _ in range(3):
        by_hand, by_torch = manual().parameters, torch().parameters
    assert set(by_hand) == set(by_torch) == set(problem.parameters)
    for name, array in problem.parameters.items():
        np.testing.assert_allclose(by_hand[name], by_torch[name], rtol=1e-12)
        assert not np.array_equal(by_hand[name], array)


def test_growth_has_a_row_for_each_length_and_width(monkeypatch, capsys):
    monkeypatch.setattr(growth, "STEPS", (10, 120))
    monkeypatch.setattr(growth, "WIDTHS", (2, 3, 4))
    assert command.main(["--growth"]) == 0
    out = capsys.readouterr().out
    assert "MiB" in out
    assert all(row in out for row in ("   10 ", "  120 ", "2-2-2", "4-4-4"))
    assert math.isfinite(float(out.split("log-log paper: ")[1].split()[0]))


@pytest.mark.slow
def test_peers_find_larger_errors_than_the_referee(monkeypatch, capsys):
    monkeypatch.setattr(peers, "NETWORKS", peers.NETWORKS[:1])
    monkeypatch.setattr(command, "gallery_lines", lambda: [])
    assert command.main(["--peers"]) == 0
    rows = {
        line.rsplit(None, 1)[0]: line.rsplit(None, 1)[1]
        for line in capsys.readouterr().out.splitlines()
        if " s" in line
    }
    finest = {name.split("  ")[0]: found for name, found in rows.items()}
    assert float(finest["lockstep"]) <= 1e-13
    assert finest["gradcheck"] == "none" or float(finest["gradcheck"]) >= 1e-4


@pytest.mark.slow
def test_on_the_gallery_check_gradients_finds_smaller_errors_than_its_peers():
    lines = list(gradient_peers.gallery_lines(["cross_entropy"], [("layer_norm", dict(N=2, n=3))]))
    _, numbers, *cells = lines[1].split()
    assert numbers == "40"
    one, everywhere = zip(
        *(pair.split(", ") for pair in lines[1].split("  ") if ", " in pair), strict=True
    )
    assert int(one[0]) <= -12
    assert int(everywhere[0]) <= -12
    assert one[2] == "-" or int(one[2]) >= -3  # fast mode
    assert int(one[3]) >= -5  # allclose
    assert any(line.startswith("layer_norm") and " x" in line for line in lines)


def test_without_the_gallery_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(gradient_peers, "FOLDER", tmp_path / "nowhere")
    assert list(gradient_peers.gallery_lines()) == [
        "the gallery of gradients is not installed: no table of it"
    ]


@pytest.mark.slow
def test_without_scipy_its_checker_is_left_out_and_that_is_said(monkeypatch):
    monkeypatch.setattr(peers, "NETWORKS", peers.NETWORKS[:1])
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    lines = list(peers.peers_lines())
    assert lines[0] == "scipy is not installed: no check_grad"
    assert not any("check_grad" in line for line in lines[1:])


def test_a_block_is_the_median_of_its_calls_after_one_that_is_not_timed(monkeypatch):
    clock, calls = iter([0.0, 5.0, 10.0, 11.0, 20.0, 22.0]), []
    monkeypatch.setattr("scripts.benchmarks.timing.time.perf_counter", lambda: next(clock))
    assert timing.block_seconds(lambda: calls.append(1), 3) == 2.0
    assert len(calls) == 4


def test_a_verified_step_is_judged_and_goes_on_from_there():
    problem = steps.network((5, 4, 3), 6, "float64")
    for free in (True, False):
        verified = timing.verified_step(problem, free)
        for _ in range(3):
            verified()
        results = [cell.cell_contents for cell in verified.__closure__]
        result = next(it for it in results if isinstance(it, Result))
        assert (result.verdict, result.steps_run) == ("match", 3)
        assert (result.free is not None) is free


def test_every_part_of_a_row_is_called_as_often(monkeypatch):
    made = dict.fromkeys(("by hand", "by PyTorch"), 0)

    def counted(name):
        def step():
            made[name] += 1

        return step

    monkeypatch.setattr(steps, "by_hand", lambda _: counted("by hand"))
    monkeypatch.setattr(steps, "by_torch", lambda _: counted("by PyTorch"))
    steps.row((2, 2, 2), 1, "float64", 1, 2e-5)
    assert made == {"by hand": 4, "by PyTorch": 4}  # to see how long a call takes, and in a round


def test_output_that_cannot_be_written_ends_with_its_status(monkeypatch):
    def broken(_):
        raise BrokenPipeError

    monkeypatch.setattr(command, "_steps", broken)
    monkeypatch.setattr("lockstep.cli.main.os.dup2", lambda *_: None)
    assert command.main([]) == 141


def test_a_checker_that_finds_everything_is_told_as_finding_the_smallest_error():
    assert peers.finest(lambda error: True) == pytest.approx(1e-15)
    assert peers.finest(lambda error: error > 1e-4) == pytest.approx(1e-3)


def test_a_short_verification_is_timed_twenty_times():
    calls = []
    assert PEERS_SECONDS(lambda: calls.append(1)) >= 0
    assert len(calls) == 20
