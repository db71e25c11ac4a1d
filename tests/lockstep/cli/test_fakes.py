"""Ways to fake a verdict: what the user's code does to its own process does not reach the judge."""

import json
import os

import pytest

from lockstep.cli.compare import main

WRONG = "def step(x): return dict(delta_h=x * 0 + 7)\n"
NAMES = "z_h, h, z_o, o, loss, delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h"
FAKES = {
    "PyTorch's values, asked for and returned": (3, f"def step({NAMES}): return dict(locals())\n"),
    "PyTorch's values, from the caller's frames": (
        2,
        "import sys\ndef step(x): return dict(sys._getframe(1).f_locals['torch'])\n",
    ),
    "another judge": (
        1,
        "import lockstep.run.judge as it\nit.judge = lambda *_: it.MATCH\n"
        "import lockstep.run.result as it\nit.judge = it.worst = lambda *_: it.MATCH\n" + WRONG,
    ),
    "another NumPy": (1, "import numpy as np\nnp.abs = np.subtract = lambda *_, **__: 0\n" + WRONG),
    "other statuses": (
        1,
        "import lockstep.cli.compare as it\nit._STATUS = dict(mismatch=0)\n" + WRONG,
    ),
    "an early end": (
        2,
        "import os\nprint('match: 15 of 15 quantities, 100 steps, 3 700 values.')\n"
        "os.write(1, b'match: 15 of 15 quantities')\nos._exit(0)\n",
    ),
    "another document, at the end": (
        1,
        "import atexit, json\n"
        "def fix(): json.dump(dict(verdict='match'), open('a.json', 'w'))\n"
        "atexit.register(fix)\n" + WRONG,
    ),
    "another document, from a process that stays": (
        1,
        "import os, time\n"
        "if os.fork() == 0:\n    time.sleep(0.3)\n"
        "    open('a.json', 'w').write('{}')\n    os._exit(0)\n" + WRONG,
    ),
    "nothing": (2, "def step(x): return {}\n"),
    "a dict that hides what it has": (
        1,
        "class Lie(dict):\n    def items(self): return []\n"
        "def step(x): return Lie(delta_h=x * 0 + 7)\n",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", FAKES)
def test_a_verdict_cannot_be_faked(capsys, monkeypatch, tmp_path, how):
    expected, source = FAKES[how]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(source)
    status = main("--derivation net.py --json a.json --show none".split())
    assert status == expected
    assert "\nmatch" not in capsys.readouterr().out
    if expected == 1:
        os.stat("a.json")
        assert json.loads((tmp_path / "a.json").read_text())["verdict"] == "mismatch"


GIVEN = {"x": [[0.5, 0.8]], "y": [[0.3, 0.9]], "W_h": [[0.4, -0.3], [0.2, 0.7]], "b_h": [0.1, -0.2]}
GIVEN |= {"W_o": [[0.6, -0.5], [-0.4, 0.8]], "b_o": [0.25, 0.15]}
OF_THE_USER = {"atol": 1e300, "rtol": 1.0, "expect": "unknown", "steps": 0, "battery": 0}
OF_THE_USER |= {"keep_going": True, "show": "none", "control": True, "referee": True}
OF_THE_USER |= {"data": "/etc/passwd", "derivation": "net.py", "numbers": "a.toml"}
OF_THE_USER |= {"json": "b.json", "trace": "b.jsonl", "html": "b.html", "plot": "b.png"}
OF_THE_USER |= {"time_limit": 1e9, "memory_limit": 1, "require": "loss", "untrusted": False}


@pytest.mark.parametrize("key", OF_THE_USER)
def test_a_recording_cannot_say_how_to_judge_what_to_read_or_to_write(
    capsys, monkeypatch, tmp_path, key
):
    monkeypatch.chdir(tmp_path)
    problem = json.dumps({"problem": GIVEN | {key: OF_THE_USER[key]}})
    (tmp_path / "run.jsonl").write_text(f'{problem}\n{{"step": 1, "h1": 7}}\n')
    assert main(["--numbers", "run.jsonl", "--quiet"]) == 2
    assert f"line 1: {key}: a recording cannot set this" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["run.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["atol", "steps", "derivation", "json"])
def test_an_untrusted_problem_file_cannot_either(capsys, monkeypatch, tmp_path, key):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(f"{key} = {json.dumps(OF_THE_USER[key])}\n")
    assert main(["a.toml", "--untrusted", "--quiet"]) == 2
    assert f"a.toml: {key}: an untrusted file cannot set this" in capsys.readouterr().err
    (tmp_path / "a.toml").write_text('lr = 0.1\nsizes = "3-4-2"\n')
    assert main(["a.toml", "--untrusted", "--quiet"]) == 0


OVERFLOWING = """
x = [[3e157, 3e157]]
y = [[0.0, 0.0]]
W_h = [[1e150, -1e150], [1e150, -1e150]]
b_h = [0.0, 0.0]
W_o = [[1e-150, 1e-150], [1e-150, 1e-150]]
b_o = [0.0, 0.0]
steps = 1
"""


@pytest.mark.slow
def test_a_value_that_rounding_alone_could_be_is_no_match(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.toml").write_text(OVERFLOWING)
    (tmp_path / "net.py").write_text("def step(x): return dict(grad_W_o=[[123, 7], [8, 9]])\n")
    assert main(["p.toml", "--derivation", "net.py", "--quiet"]) == 3
    assert "undecided: no value could be judged, since the bound" in capsys.readouterr().out
    (tmp_path / "a.toml").write_text('h1 = "0e400"\n')
    assert main(["--numbers", "a.toml", "--quiet"]) == 2


def test_what_was_compared_nowhere_is_right_nowhere(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text(
        "def step(W_h, b_h, x, h):\n    if len(x) == 1 and W_h.shape == (2, 2):\n"
        "        return dict(z_h=x @ W_h.T + b_h)\n    return dict(h=h)\n"
    )
    assert main(["--derivation", str(path), "--battery", "5", "--quiet"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "could not be tried on 5 of 5 other problems: nothing was compared" in out


def test_what_is_required_is_required_at_every_step(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text(
        "n = []\ndef step(W_h, b_h, x):\n    n.append(1)\n    z_h = x @ W_h.T + b_h\n"
        "    return dict(z_h=z_h, h=z_h) if len(n) == 1 else dict(h=z_h)\n"
    )
    assert main(["--derivation", str(path), "--require", "h,z_h", "--battery", "0"]) == 1
    assert "required, but not returned: z_h" in capsys.readouterr().out


@pytest.mark.slow
def test_a_mismatch_is_told_though_a_later_step_raises(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text(
        "n = []\ndef step(x):\n    n.append(1)\n    if len(n) == 3: raise ValueError('late')\n"
        "    return dict(h=x + 7)\n"
    )
    assert main(["--derivation", str(path), "--keep-going", "--show", "none"]) == 2
    out, err = capsys.readouterr()
    assert "mismatch: first at step 1" in out
    assert "ValueError: late" in err
