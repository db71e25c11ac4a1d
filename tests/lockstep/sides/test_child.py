"""The user's code in a process of its own: what it breaks stays there, and is one sentence here."""

import os
import sys
import threading

import numpy as np
import pytest

from lockstep import compare
from lockstep.cli.compare import main
from lockstep.errors import Unusable
from lockstep.sides import child
from lockstep.sides.child import Child, Limits
from tests.campaigns.other_end import wait_until

RIGHT = "def step(W_h, b_h, x):\n    return dict(z_h=x @ W_h.T + b_h)\n"


def judged(tmp_path, source, *options):
    """The status of a derivation."""
    path = tmp_path / "net.py"
    path.write_text(source)
    return main(["--derivation", str(path), "--show", "none", *options])


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.chdir('/')\n" + RIGHT,
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n" + RIGHT,
        "import os, time\nif not os.fork():\n    time.sleep(60)\n" + RIGHT,
        "import sys\nsys.stdout.close()\nsys.stderr = None\n" + RIGHT,
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Net:\n    lr: float\n" + RIGHT,
        "from functools import partial\ndef net(W_h, b_h, x, c): return dict(z_h=x @ W_h.T + b_h)\n"
        "step = partial(net, c=1)\n",
        "class Net:\n    def __call__(self, W_h, b_h, x): return dict(z_h=x @ W_h.T + b_h)\n"
        "step = Net()\n",
        "import contextlib\n@contextlib.contextmanager\ndef timed():\n    yield\n@timed()\n"
        + RIGHT,
        "import sys\nsys.setrecursionlimit(50)\n" + RIGHT,
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + RIGHT,
    ],
)
def test_what_a_derivation_does_to_its_process_changes_nothing_here(tmp_path, source):
    here, streams = os.getcwd(), (sys.stdout, sys.stderr)
    assert judged(tmp_path, source, "--battery", "2") == 0
    assert (os.getcwd(), (sys.stdout, sys.stderr)) == (here, streams)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\ndef step(x):\n    os._exit(0)\n", "line 3: ends the process (os._exit(0))"),
        ("import os\ndef step(x):\n    os.abort()\n", "its process was ended by SIGABRT"),
        ("import sys\ndef step(x):\n    sys.exit(0)\n", "line 3: SystemExit: 0"),
        ("def step(x):\n    return step(x)\n", "line 2: RecursionError: maximum recursion depth"),
        ("def step(x):\n    raise KeyboardInterrupt\n", "line 2: KeyboardInterrupt"),
        (
            "class E(Exception):\n    def __str__(self): raise E\ndef step(x):\n    raise E\n",
            "line 4: E",
        ),
        (
            "class A:\n    def __array__(self, *_, **__): raise OSError(5, 'mine')\n"
            "def step(x): return dict(h=A())\n",
            "returned h as A, which raises OSError when it is read",
        ),
        ("def step(x):\n    z = 1" + "+1" * 100_000 + "\n", "nested too deeply"),
    ],
)
def test_what_ends_a_derivation_is_one_line_with_its_place(tmp_path, capsys, source, words):
    assert judged(tmp_path, source) == 2
    out, err = capsys.readouterr()
    assert (words in err, err.count("\n")) == (True, 1)
    assert "Traceback" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", ["while True: pass\ndef step(x): pass\n", "def step(x):\n    while True: pass\n"]
)
def test_what_does_not_end_is_ended_at_its_limit(tmp_path, capsys, source):
    assert judged(tmp_path, source, "--time-limit", "0.3") == 2
    assert "is still running after 0.3 s, the time limit" in capsys.readouterr().err


def test_what_takes_too_much_memory_is_ended_at_its_limit(tmp_path, capsys):
    source = "def step(x):\n    return dict(h=bytearray(10**10))\n"
    assert judged(tmp_path, source, "--memory-limit", "2000") == 2
    assert "line 2: MemoryError" in capsys.readouterr().err


def test_what_is_printed_is_marked_and_never_mixed_with_the_document(tmp_path, capfd):
    source = "import os, sys\nos.system('echo one')\nprint('two')\nsys.stderr.write('three\\n')\n"
    path = tmp_path / "net.py"
    path.write_text(source + RIGHT)
    assert main(["--derivation", str(path), "--json", "-", "--battery", "2"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("{")
    assert out.count("\n") == 1
    assert sorted(err.split("\n")) == ["", "net.py | one", "net.py | three", "net.py | two"]


def test_a_file_is_read_once_so_that_it_may_be_a_pipe(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, RIGHT.encode())
    os.close(writer)
    assert main(["--derivation", f"/dev/fd/{reader}", "--battery", "2", "--quiet"]) == 0
    os.close(reader)


@pytest.mark.slow
def test_no_torch_is_imported_there_unless_the_user_does(tmp_path):
    source = (
        "import sys\ndef step(x):\n    assert 'torch' not in sys.modules\n    return dict(h=7)\n"
    )
    assert judged(tmp_path, source, "--battery", "0") == 1
    source = (
        "import torch\ndef step(W_h, x, b_h):\n    return dict(z_h=torch.tensor(x @ W_h.T + b_h))\n"
    )
    assert judged(tmp_path, source) == 0


def test_arrays_that_are_used_again_are_copied_at_the_door():
    kept = {}

    def step(W_h, b_h, x):
        kept.setdefault("z_h", np.empty((1, 2)))[...] = x @ W_h.T + b_h
        return kept

    first, last = [], []
    compare(step, steps=3, on_step=lambda record, _: first.append(record.manual["z_h"]))
    assert not np.array_equal(first[0], first[-1])
    assert last == []


def test_a_child_has_no_state_of_another(tmp_path):
    source = b"called = []\ndef step(x):\n    called.append(1)\n    return dict(loss=len(called))\n"
    first = Child("net.py", source, "step")
    x = np.zeros((1, 2))
    try:
        assert [first.call({"x": x})["loss"] for _ in range(2)] == [1, 2]
        assert first.again().call({"x": x})["loss"] == 1
        assert first.call({"x": x})["loss"] == 3
    finally:
        first.close()


@pytest.mark.parametrize("forks", [True, False])
def test_a_system_that_cannot_fork_starts_a_process_each(monkeypatch, forks):
    if not forks:
        monkeypatch.delattr(child.socket, "send_fds")
    first = Child("net.py", RIGHT.encode(), "step", Limits(seconds=20))
    try:
        given = {"W_h": np.eye(2), "b_h": np.zeros(2), "x": np.ones((3, 2))}
        for each in (first, first.again()):
            np.testing.assert_array_equal(each.call(dict(given))["z_h"], np.ones((3, 2)))
        with pytest.raises(Unusable, match="net.py, line 2: UFuncTypeError"):
            first.call({"W_h": np.eye(2), "b_h": np.zeros(2), "x": "none"})
    finally:
        first.close()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f8"])
def test_numbers_pass_unchanged_in_both_directions(dtype):
    kept = Child("net.py", b"def step(x, lr): return dict(h=x, z_h=x[::-1].T, loss=lr)\n", "step")
    x = np.array([[1e-5, np.inf, np.nan], [-0.0, 2.0, 3.0]], dtype)
    try:
        found = kept.call({"x": x, "lr": 0.1})
        np.testing.assert_array_equal(found["h"], x)
        np.testing.assert_array_equal(found["z_h"], x[::-1].T)
        assert (float(found["loss"]), kept.call({"x": x, "lr": float("inf")})["loss"]) == (
            0.1,
            np.inf,
        )
    finally:
        kept.close()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import posix\ndef step(x): posix._exit(3)\n", "its process ended with status 3"),
        (
            "import os\ndef step(x):\n    os.kill(os.getppid(), 9)\n    os.kill(os.getpid(), 9)\n",
            "its process ended; expected it to return",
        ),
    ],
)
def test_a_process_that_ends_without_a_word_is_told(tmp_path, capsys, source, words):
    assert judged(tmp_path, source) == 2
    assert words in capsys.readouterr().err


def test_where_there_are_no_groups_the_process_alone_is_ended():
    it = Child("net.py", RIGHT.encode(), "step")
    it.group = 0
    it.close()
    wait_until(lambda: not os.path.exists(f"/proc/{it.process}"))


@pytest.mark.slow
def test_the_nursery_is_started_again_where_it_has_ended():
    first = Child("net.py", RIGHT.encode(), "step")
    first.close()
    child._nursery.process.kill()
    child._nursery.process.wait()
    second = Child("net.py", RIGHT.encode(), "step")
    assert second.arguments == first.arguments
    second.close()


@pytest.mark.slow
def test_what_does_not_listen_is_ended_all_the_same(tmp_path, capsys):
    source = (
        "import signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "def step(x):\n    while True: pass\n"
    )
    assert judged(tmp_path, source, "--time-limit", "0.2") == 2
    assert "its process was still running after 0.2 s, the time limit" in capsys.readouterr().err


@pytest.mark.parametrize(
    "source",
    [
        "import os\ndef step(W_h, b_h, x):\n    if os.fork() == 0:\n"
        "        os._exit(0)\n    os.wait()\n    return dict(z_h=x @ W_h.T + b_h)\n",
        "import multiprocessing\ndef step(W_h, b_h, x):\n"
        "    with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "        return dict(z_h=x @ W_h.T + b_h + pool.apply(int))\n",
    ],
)
def test_a_derivation_may_have_processes_of_its_own(tmp_path, source):
    assert judged(tmp_path, source, "--steps", "2", "--battery", "1") == 0


def test_signals_without_a_name_have_a_number(tmp_path, capsys):
    assert judged(tmp_path, "import os\ndef step(x): os.kill(os.getpid(), 40)\n") == 2
    assert "its process was ended by signal 40" in capsys.readouterr().err


@pytest.mark.slow
def test_several_threads_may_compare_at_once(tmp_path, monkeypatch):
    path = tmp_path / "net.py"
    path.write_text(RIGHT)
    monkeypatch.setattr(child, "_nursery", None)
    found, before = [], sys.stderr
    threads = [
        threading.Thread(target=lambda: found.append(compare(str(path), battery=3).verdict))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, sys.stderr) == (["match"] * 4, before)


@pytest.mark.slow
def test_a_folder_that_is_gone_is_no_obstacle(tmp_path, monkeypatch):
    assert judged(tmp_path, RIGHT, "--battery", "1") == 0  # everything is imported
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    monkeypatch.setattr(child, "_nursery", None)
    assert judged(tmp_path, RIGHT, "--battery", "1") == 0
    monkeypatch.chdir(tmp_path)


def test_what_the_files_modules_are_is_nobodys_trouble(tmp_path):
    source = (
        "import sys\nclass Odd:\n    def __getattr__(self, name): raise KeyError(name)\n"
        "sys.modules['odd'], sys.modules['even'] = Odd(), 3\n"
    )
    assert judged(tmp_path, source + RIGHT, "--battery", "1") == 0
