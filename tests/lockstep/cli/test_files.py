"""Files are written whole, where they belong, with what they had; streams may be closed."""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.cli.compare import main
from lockstep.cli.main import line_file
from lockstep.errors import Unusable
from tests.campaigns.other_end import posix

ROOT = Path(__file__).parents[3]
SCRIPT = [sys.executable, str(ROOT / "scripts" / "compare.py"), "--quiet"]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_of_the_users_is_not_taken_for_a_half_written_one(folder):
    (folder / "o.json.part").write_text("mine")
    assert main("--quiet --json o.json".split()) == 0
    assert (folder / "o.json.part").read_text() == "mine"
    assert json.loads((folder / "o.json").read_text())["verdict"] == "match"
    assert sorted(os.listdir(folder)) == ["o.json", "o.json.part"]


@pytest.mark.slow
@posix
@pytest.mark.parametrize("option", ["--json", "--html", "--plot"])
def test_what_a_file_had_stays_but_for_its_content(folder, option):
    path = folder / "o.svg"
    path.write_text("before")
    path.chmod(0o640)
    (folder / "link.svg").symlink_to(path)
    assert main(["--quiet", option, "link.svg"]) == 0
    assert (folder / "link.svg").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text() != "before"
    new = folder / "new.svg"
    assert main(["--quiet", option, "new.svg"]) == 0
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~mask


def test_a_read_only_file_is_refused(folder, capsys, monkeypatch):
    (folder / "o.json").write_text("before")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anything
    assert main("--quiet --json o.json".split()) == 2
    assert "--json o.json: cannot be written: it is read-only" in capsys.readouterr().err
    assert (folder / "o.json").read_text() == "before"


@posix
def test_the_same_file_under_another_name_is_the_same_file(folder, capsys):
    (folder / "net.py").write_text("def step(x): return dict(h=x)\n")
    os.link("net.py", "other.json")
    assert main("--derivation net.py --json other.json".split()) == 2
    assert "expected a file that this run does not read" in capsys.readouterr().err
    (folder / "a.json").write_text("")
    os.link("a.json", "b.json")
    assert main("--json a.json --html b.json".split()) == 2
    assert "expected another file than that of --json" in capsys.readouterr().err


@posix
def test_standard_input_is_not_written_over(folder):
    (folder / "run.jsonl").write_text('{"step": 1, "h1": 0.06}\n')
    with open("run.jsonl") as numbers:
        done = subprocess.run(
            [*SCRIPT, "--numbers", "-", "--trace", "run.jsonl"],
            stdin=numbers,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert "--trace run.jsonl: expected a file that this run does not read" in done.stderr
    assert (folder / "run.jsonl").read_text() == '{"step": 1, "h1": 0.06}\n'


@posix
def test_two_runs_do_not_write_one_trace():
    with line_file("a.jsonl", "--trace") as write:
        write("one\n")
        with (
            pytest.raises(Unusable, match="--trace a.jsonl: cannot be written: another run is"),
            line_file("a.jsonl", "--trace"),
        ):
            pass
        write("two\n")
    assert Path("a.jsonl").read_text() == "one\ntwo\n"


@pytest.mark.slow
def test_a_picture_that_fails_leaves_the_verdict_and_the_document(capsys, monkeypatch, folder):
    def fails(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr("lockstep.report.plots.figure.draw", fails)
    assert main("--show none --json a.json --html a.html --plot a.png".split()) == 2
    out, err = capsys.readouterr()
    assert "match: 15 of 15 quantities" in out
    assert err.endswith("the picture could not be drawn: RuntimeError: no ink\n")
    assert sorted(os.listdir(folder)) == ["a.html", "a.json"]
    assert json.loads((folder / "a.json").read_text())["verdict"] == "match"


@pytest.mark.slow
@posix
def test_closed_streams_change_nothing(folder):
    command = f"{shlex.join(SCRIPT)} --json a.json --numbers a.jsonl <&- 2>&-"
    (folder / "a.jsonl").write_text('{"step": 1, "h1": 0.060000000000000026}\n')
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert "match: 1 of 15 quantities" in done.stdout
    assert json.loads((folder / "a.json").read_text())["verdict"] == "match"


@pytest.mark.slow
def test_settings_of_the_machine_do_not_change_a_picture(folder):
    (folder / "matplotlibrc").write_bytes(b"text.usetex: True\nnonsense\n\xff: 3\n")
    command = [*SCRIPT, "--steps", "2", "--plot", "a.svg"]
    settings = {"MPLBACKEND": "nonsense", "MATPLOTLIBRC": str(folder)}
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert main("--quiet --steps 2 --plot b.svg".split()) == 0
    assert (folder / "a.svg").read_bytes() == (folder / "b.svg").read_bytes()


def test_a_file_that_is_no_table_is_not_quoted(folder, capsys):
    (folder / "secret").write_text("root:x:0:0\nword\n")
    (folder / "a.toml").write_text('data = "secret"\ninputs = ["a"]\ntargets = ["b"]\n')
    assert main(["a.toml"]) == 2
    assert capsys.readouterr().err.endswith("secret: column 'a' is not there; it has 1 columns\n")
    (folder / "secret").write_text(",".join(f"c{i}" for i in range(100_000)) + "\n1\n")
    assert main(["a.toml"]) == 2
    assert len(capsys.readouterr().err) < 200


@posix
@pytest.mark.parametrize("option", ["--derivation", "--numbers"])
def test_a_file_without_an_end_is_refused(capsys, monkeypatch, option):
    monkeypatch.setattr("lockstep.setup.files.MOST_BYTES", 1000)
    monkeypatch.setattr("lockstep.setup.files.MOST", 1000)
    os.symlink("/dev/zero", "endless.jsonl")
    assert main([option, "endless.jsonl"]) == 2
    assert "is longer than 1,000" in capsys.readouterr().err


def test_what_is_misshapen_reads_back_as_the_mismatch_that_it_was(folder):
    (folder / "net.py").write_text("def step(W_h, b_h, x): return dict(z_h=(x @ W_h.T + b_h)[0])\n")
    assert main("--derivation net.py --trace a.jsonl --battery 0 --json a.json".split()) == 1
    line = json.loads((folder / "a.jsonl").read_text().split("\n")[1])
    assert len(line["z_h"]) == 2
    assert json.loads((folder / "a.json").read_text())["quantities"]["manual"]["z_h"] == line["z_h"]
    assert main("--numbers a.jsonl --json b.json".split()) == 1
    first = json.loads((folder / "b.json").read_text())["diagnoses"][0]
    assert (first["quantity"], first["mistake"]) == ("z_h", "wrong-shape")


@pytest.mark.slow
def test_what_was_returned_in_part_is_in_part_in_every_output(folder):
    (folder / "net.py").write_text(
        "def step(w11, w21, b1, x1, x2): return dict(z_h1=w11 * x1 + w21 * x2 + b1)\n"
    )
    assert main("--derivation net.py --trace a.jsonl --steps 2 --json a.json".split()) == 0
    line = json.loads((folder / "a.jsonl").read_text().split("\n")[1])
    assert sorted(line.keys() - {"torch"}) == ["W_h", "W_o", "b_h", "b_o", "step", "z_h1"]
    found = json.loads((folder / "a.json").read_text())["quantities"]
    assert found["manual"].keys() == {"z_h1"}
    assert main("--numbers a.jsonl --quiet".split()) == 0
